//! Uploads in parts: an upload is a record, each part is one beside it with a body of its own.
//!
//! Nothing of an upload shows in listings of objects and no change tells of it. How the parts become an
//! object is in `complete`.

use crate::batch::{Batch, Mutation, Precondition, Put};
use crate::change::Sequence;
use crate::content::Content;
use crate::engine::{EngineError, Entry, KeyRange};
use crate::error::Error;
use crate::names::{BucketName, ObjectKey, UploadId};
use crate::object::{ChecksumAlgorithm, ETag, ObjectHeaders};
use crate::schema::{self, CompactETag, PartRow, UploadRow};
use crate::store::{SCAN_ENTRIES, Store};
use crate::walk::{After, Step, Walk};

pub use crate::complete::{CompleteUpload, ListedPart};

/// Smallest part but the last, in bytes: 5 MiB. S3 user guide, "Multipart upload limits".
pub const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;

/// What CreateMultipartUpload fixes.
#[derive(Clone, Debug)]
pub struct CreateUpload {
    /// Bucket of the object to be.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// Its headers.
    pub headers: ObjectHeaders,
    /// Algorithm and whether the object's checksum is to cover its bytes (`FULL_OBJECT`).
    pub checksum: Option<(ChecksumAlgorithm, bool)>,
    /// Access key of the initiator.
    pub initiator: String,
}

/// An open upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Bucket of the object to be.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// Headers the object will have.
    pub headers: ObjectHeaders,
    /// Algorithm and `is_full_object`.
    pub checksum: Option<(ChecksumAlgorithm, bool)>,
    /// Access key of the initiator.
    pub initiator: String,
    /// When it was created, milliseconds since 1970.
    pub initiated_ms: u64,
    pub(crate) sequence: Sequence,
}

/// An uploaded part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// Bytes.
    pub size_bytes: u64,
    /// MD5 in hex.
    pub etag: ETag,
    /// Base64 of its checksum under the upload's algorithm.
    pub checksum: Option<String>,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
    pub(crate) sequence: Sequence,
}

/// A part being added.
#[derive(Debug)]
pub struct PutPart {
    /// The upload.
    pub upload: UploadId,
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// 1 to 10,000.
    pub number: u32,
    /// The bytes.
    pub content: Content,
    /// MD5 in hex.
    pub etag: ETag,
    /// Base64 of the checksum under the upload's algorithm.
    pub checksum: Option<String>,
}

/// A page of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// By key, then by initiation.
    pub uploads: Vec<Upload>,
    /// Common prefixes, sorted.
    pub common_prefixes: Vec<String>,
    /// Key and upload id (none for a prefix) to go on after; `None` when this is the last page.
    pub next: Option<(String, Option<UploadId>)>,
}

/// What to list of uploads.
#[derive(Clone, Debug, Default)]
pub struct UploadQuery {
    /// Keys begin with this.
    pub prefix: String,
    /// Groups end with this; empty = none.
    pub delimiter: String,
    /// Go on after this key…
    pub key_marker: String,
    /// …and this upload of it.
    pub upload_marker: Option<UploadId>,
    /// At most so many uploads and prefixes.
    pub limit: usize,
}

impl Store {
    /// Opens an upload. No change tells of it.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, and what the engine refuses.
    pub async fn create_upload(&self, create: CreateUpload) -> Result<Upload, Error> {
        let CreateUpload { bucket: name, key, headers, checksum, initiator } = create;
        let bucket = self.bucket(&name)?;
        let initiated_ms = self.clock().now_ms();
        let id = new_upload_id(initiated_ms);
        let row = UploadRow { initiated_ms, initiator, headers, checksum };
        let put =
            Put { key: schema::upload_key(&name, &key, id), value: schema::encode(&row), ..Put::default() };
        let batch = Batch {
            preconditions: vec![Precondition::Exists(schema::bucket_key(&name))],
            mutations: vec![Mutation::Put(put)],
            ..Batch::default()
        };
        match self.commit(bucket.partition, batch).await {
            Ok(committed) => Ok(upload_of(id, name, key, row, committed.sequence)),
            Err(EngineError::Precondition { .. }) => Err(Error::NoSuchBucket { bucket: name }),
            Err(error) => Err(error.into()),
        }
    }

    /// An open upload.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `NoSuchUpload`.
    pub async fn upload(&self, bucket: &BucketName, key: &ObjectKey, id: UploadId) -> Result<Upload, Error> {
        let partition = self.bucket(bucket)?.partition;
        let record_key = schema::upload_key(bucket, key, id);
        match self.engine.get(partition, &record_key).await? {
            Some(entry) => {
                let row = schema::decode(&record_key, &entry.value)?;
                Ok(upload_of(id, bucket.clone(), key.clone(), row, entry.sequence))
            }
            None => Err(Error::NoSuchUpload { upload: id }),
        }
    }

    /// Adds or replaces a part; the last to finish wins.
    ///
    /// # Errors
    ///
    /// `NoSuchUpload` also when the upload ended meanwhile.
    pub async fn put_part(&self, put: PutPart) -> Result<Part, Error> {
        let PutPart { upload, bucket, key, number, mut content, etag, checksum } = put;
        let partition = self.bucket(&bucket)?.partition;
        let row = PartRow {
            size_bytes: content.size_bytes,
            etag: CompactETag::from(&etag),
            checksum,
            modified_ms: self.clock().now_ms(),
        };
        let put = Put {
            key: schema::part_key(&bucket, upload, number),
            value: schema::encode(&row),
            payload: content.inline.clone(),
            locations: content.locations(),
        };
        let batch = Batch {
            preconditions: vec![Precondition::Exists(schema::upload_key(&bucket, &key, upload))],
            mutations: vec![Mutation::Put(put)],
            ..Batch::default()
        };
        let error = match self.commit_naming(&mut content, partition, batch).await {
            Ok(committed) => return Ok(part_of(number, row, committed.sequence)),
            // A body in another partition: the upload went with the bucket it was for.
            Err(EngineError::Precondition { .. } | EngineError::NoSuchLocation { .. }) => {
                Error::NoSuchUpload { upload }
            }
            Err(error) => Error::Engine(error),
        };
        self.discard(content).await;
        Err(error)
    }

    /// Up to `limit` parts with a number above `after`, and whether there are more.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, and what the engine says.
    pub async fn parts(&self, upload: &Upload, after: u32, limit: usize) -> Result<(Vec<Part>, bool), Error> {
        let Some(first) = after.checked_add(1).filter(|_| limit > 0) else {
            return Ok((Vec::new(), false));
        };
        let partition = self.bucket(&upload.bucket)?.partition;
        let mut range = KeyRange::prefix(&schema::parts(&upload.bucket, upload.id));
        range.start = schema::part_key(&upload.bucket, upload.id, first);
        let limit = limit.min(SCAN_ENTRIES);
        let mut page = self.engine.scan(partition, range, limit + 1).await?;
        let is_truncated = page.len() > limit;
        page.truncate(limit);
        let parts = page.iter().map(|(key, entry)| read_part(key, entry));
        Ok((parts.collect::<Result<_, _>>()?, is_truncated))
    }

    /// Ends an upload and gives its parts back.
    ///
    /// # Errors
    ///
    /// `NoSuchUpload`.
    pub async fn abort_upload(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        id: UploadId,
    ) -> Result<(), Error> {
        let partition = self.bucket(bucket)?.partition;
        let record_key = schema::upload_key(bucket, key, id);
        let batch = Batch {
            preconditions: vec![Precondition::Exists(record_key.clone())],
            mutations: vec![Mutation::Delete(record_key), Mutation::DeletePrefix(schema::parts(bucket, id))],
            ..Batch::default()
        };
        match self.commit(partition, batch).await {
            Ok(_) => Ok(()),
            Err(EngineError::Precondition { .. }) => Err(Error::NoSuchUpload { upload: id }),
            Err(error) => Err(error.into()),
        }
    }

    /// A page of open uploads.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, and what the engine says.
    pub async fn uploads(&self, bucket: &BucketName, query: &UploadQuery) -> Result<UploadPage, Error> {
        let walk = Walk {
            engine: &*self.engine,
            partition: self.bucket(bucket)?.partition,
            table: schema::uploads(bucket),
            suffix_bytes: schema::UPLOAD_ID_BYTES,
            prefix: &query.prefix,
            delimiter: &query.delimiter,
        };
        let marker = query.upload_marker.map(|id| id.0.to_be_bytes());
        let after = After { name: &query.key_marker, suffix: marker.as_ref().map(|id| &id[..]) };
        let (steps, is_truncated) = walk.steps(after, query.limit).await?;
        let mut page = UploadPage::default();
        for step in steps {
            page.next = match step {
                Step::Group(group) => {
                    page.common_prefixes.push(group.clone());
                    Some((group, None))
                }
                Step::Entry { name, suffix, entry } => {
                    let upload = read_upload(bucket, &name, &suffix, &entry)?;
                    let next = (name, Some(upload.id));
                    page.uploads.push(upload);
                    Some(next)
                }
            };
        }
        page.next = page.next.filter(|_| is_truncated);
        Ok(page)
    }
}

/// Creation in the upper 48 bits, so that ids sort by it; the rest is random.
fn new_upload_id(initiated_ms: u64) -> UploadId {
    const RANDOM_BITS: u32 = 80;
    UploadId(u128::from(initiated_ms) << RANDOM_BITS | rand::random::<u128>() >> (u128::BITS - RANDOM_BITS))
}

fn upload_of(id: UploadId, bucket: BucketName, key: ObjectKey, row: UploadRow, sequence: Sequence) -> Upload {
    let UploadRow { initiated_ms, initiator, headers, checksum } = row;
    Upload { id, bucket, key, headers, checksum, initiator, initiated_ms, sequence }
}

fn read_upload(bucket: &BucketName, name: &str, suffix: &[u8], entry: &Entry) -> Result<Upload, Error> {
    let row = schema::decode(name.as_bytes(), &entry.value)?;
    let malformed = || schema::unreadable(name.as_bytes(), "its key is not that of an upload");
    let key = ObjectKey::new(name).ok_or_else(malformed)?;
    let id = suffix.try_into().map(u128::from_be_bytes).map_err(|_| malformed())?;
    Ok(upload_of(UploadId(id), bucket.clone(), key, row, entry.sequence))
}

fn part_of(number: u32, row: PartRow, sequence: Sequence) -> Part {
    let PartRow { size_bytes, etag, checksum, modified_ms } = row;
    Part { number, size_bytes, etag: ETag::from(&etag), checksum, modified_ms, sequence }
}

pub(crate) fn read_part(key: &[u8], entry: &Entry) -> Result<Part, Error> {
    let number = key.last_chunk::<4>().copied().map(u32::from_be_bytes);
    let number = number.ok_or_else(|| schema::unreadable(key, "its key is not that of a part"))?;
    Ok(part_of(number, schema::decode(key, &entry.value)?, entry.sequence))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{CreateUpload, Part, PutPart, Upload, UploadQuery};
    use crate::change::Origin;
    use crate::engine::Engine;
    use crate::error::Error;
    use crate::names::UploadId;
    use crate::object::{ETag, ObjectHeaders};
    use crate::testing::fixture::{Fixture, HOME, key};

    pub(crate) async fn create(fixture: &Fixture, name: &str) -> Upload {
        let create = CreateUpload {
            bucket: fixture.album.clone(),
            key: key(name),
            headers: ObjectHeaders {
                user: vec![("color".to_owned(), "red".to_owned())],
                ..ObjectHeaders::default()
            },
            checksum: None,
            initiator: "minioadmin".to_owned(),
        };
        fixture.store.create_upload(create).await.unwrap()
    }

    async fn try_part(fixture: &Fixture, upload: &Upload, number: u32, body: &[u8]) -> Result<Part, Error> {
        let put = PutPart {
            upload: upload.id,
            bucket: fixture.album.clone(),
            key: upload.key.clone(),
            number,
            content: fixture.content(body).await,
            etag: ETag(format!("{number:032x}")),
            checksum: None,
        };
        fixture.store.put_part(put).await
    }

    pub(crate) async fn part(fixture: &Fixture, upload: &Upload, number: u32, body: &[u8]) -> Part {
        try_part(fixture, upload, number, body).await.unwrap()
    }

    /// Every key of the album's partition, except the bucket's own record.
    pub(crate) async fn keys(fixture: &Fixture) -> Vec<String> {
        let range = crate::engine::KeyRange::prefix(b"");
        let page = fixture.engine.scan(HOME, range, 1000).await.unwrap();
        let keys = page.into_iter().map(|(key, _)| key.escape_ascii().to_string());
        keys.filter(|key| key != "balbum").collect()
    }

    #[tokio::test]
    async fn an_ended_upload_takes_no_parts_and_keeps_none() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        part(&fixture, &upload, 1, &[1; 200_000]).await;
        let abort = async || fixture.store.abort_upload(&fixture.album, &upload.key, upload.id).await;
        abort().await.unwrap();
        let gone = Error::NoSuchUpload { upload: upload.id };
        assert_eq!(abort().await.unwrap_err(), gone);
        assert_eq!(try_part(&fixture, &upload, 2, &[2; 200_000]).await.unwrap_err(), gone);
        let found = fixture.store.upload(&fixture.album, &upload.key, upload.id).await;
        assert_eq!(found, Err(gone));
        assert_eq!(fixture.engine.body_count(), 0);
        assert_eq!(keys(&fixture).await, [""; 0]);
    }

    #[tokio::test]
    async fn a_bucket_goes_with_its_open_uploads_and_their_parts() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        part(&fixture, &upload, 1, &[1; 200_000]).await;
        part(&fixture, &upload, 2, b"inline").await;
        fixture.store.delete_bucket(&fixture.album, Origin::default()).await.unwrap();
        assert_eq!(fixture.engine.body_count(), 0);
        assert_eq!(keys(&fixture).await, [""; 0]);
    }

    #[tokio::test]
    async fn parts_come_in_pages_by_number() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        for number in [300, 1, 2, 10_000] {
            part(&fixture, &upload, number, b"ab").await;
        }
        let page = async |after, limit| {
            let (parts, more) = fixture.store.parts(&upload, after, limit).await.unwrap();
            (parts.into_iter().map(|part| part.number).collect::<Vec<_>>(), more)
        };
        assert_eq!(page(0, 1000).await, (vec![1, 2, 300, 10_000], false));
        assert_eq!(page(0, 3).await, (vec![1, 2, 300], true));
        assert_eq!(page(300, 3).await, (vec![10_000], false));
        assert_eq!(page(0, 0).await, (vec![], false));
        assert_eq!(page(u32::MAX, 3).await, (vec![], false));
    }

    #[tokio::test]
    async fn uploads_come_by_key_and_then_by_creation() {
        let fixture = Fixture::new().await;
        let mut made = Vec::new();
        for name in ["b", "a", "b", "b", "c/1", "c/2"] {
            fixture.clock.advance_ms(1);
            made.push(create(&fixture, name).await);
        }
        let list = async |delimiter: &str, marker: Option<(String, Option<UploadId>)>, limit| {
            let (key_marker, upload_marker) = marker.unwrap_or_default();
            let delimiter = delimiter.to_owned();
            let query = UploadQuery { delimiter, key_marker, upload_marker, limit, ..UploadQuery::default() };
            fixture.store.uploads(&fixture.album, &query).await.unwrap()
        };
        let ordered: Vec<Upload> = [1, 0, 2, 3, 4, 5].map(|index: usize| made[index].clone()).to_vec();
        assert_eq!(list("", None, 100).await.uploads, ordered);

        let (mut together, mut next) = (Vec::new(), None);
        loop {
            let page = list("", next, 2).await;
            together.extend(page.uploads);
            assert!(together.len() <= ordered.len(), "pages repeat themselves");
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(together, ordered);
        assert_eq!(list("", Some(("b".to_owned(), None)), 100).await.uploads, ordered[4..]);
        let page = list("/", Some(("b".to_owned(), Some(made[2].id))), 100).await;
        assert_eq!((page.uploads, page.common_prefixes), (vec![made[3].clone()], vec!["c/".to_owned()]));
    }
}
