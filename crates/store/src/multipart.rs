//! Uploads in parts: parts are bodies of their own, Complete is one record that lists them.
//!
//! A staged part passes its place to the object, so that completing copies nothing but the bytes of small
//! parts; and of those there is one at most, the last. In the batch that makes the object the upload and
//! all its parts go: what was not listed is given back.

use bytes::Bytes;

use crate::batch::{Batch, Mutation, Precondition, Put};
use crate::change::{ChangeKind, Origin, Sequence};
use crate::content::Content;
use crate::engine::{EngineError, Entry, KeyRange, Location, PartitionId};
use crate::error::Error;
use crate::names::{BucketName, ObjectKey, UploadId};
use crate::object::{Checksum, ChecksumAlgorithm, Draft, ETag, Object, ObjectHeaders};
use crate::precondition::WriteCondition;
use crate::schema::{self, CompactETag, ObjectHead, PartLine, PartRow, UploadRow};
use crate::store::{SCAN_ENTRIES, Store, scan_all};
use crate::walk::{After, Step, Walk};

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

/// One line of a Complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// Part number.
    pub number: u32,
    /// ETag without quotes.
    pub etag: String,
    /// Base64 checksum, if the client repeated it.
    pub checksum: Option<String>,
}

/// What a Complete request writes: parts chosen with [`Store::choose_parts`], and what was computed over them.
#[derive(Debug)]
pub struct CompleteUpload {
    /// The upload, as `Store::upload` gave it.
    pub upload: Upload,
    /// The chosen parts, in order, as `Store::choose_parts` gave them.
    pub parts: Vec<Part>,
    /// `md5(md5s)-count`.
    pub etag: ETag,
    /// The object's checksum.
    pub checksum: Option<Checksum>,
    /// Condition on what is there now.
    pub condition: WriteCondition,
    /// Who asks.
    pub origin: Origin,
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
        let CreateUpload {
            bucket: name,
            key,
            headers,
            checksum,
            initiator,
        } = create;
        let bucket = self.bucket(&name)?;
        let initiated_ms = self.clock().now_ms();
        let id = new_upload_id(initiated_ms);
        let row = UploadRow {
            initiated_ms,
            initiator,
            headers,
            checksum,
        };
        let put = Put {
            key: schema::upload_key(&name, &key, id),
            value: schema::encode(&row),
            ..Put::default()
        };
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
        let PutPart {
            upload,
            bucket,
            key,
            number,
            mut content,
            etag,
            checksum,
        } = put;
        let partition = self.bucket(&bucket)?.partition;
        let row = PartRow {
            size_bytes: content.size_bytes,
            etag: CompactETag::from(&etag),
            checksum,
            modified_ms: self.clock().now_ms(),
        };
        let location = content.take_location();
        let put = Put {
            key: schema::part_key(&bucket, upload, number),
            value: schema::encode(&row),
            payload: std::mem::take(&mut content.inline),
            locations: location.clone().into_iter().collect(),
        };
        let batch = Batch {
            preconditions: vec![Precondition::Exists(schema::upload_key(&bucket, &key, upload))],
            mutations: vec![Mutation::Put(put)],
            ..Batch::default()
        };
        match self.commit(partition, batch).await {
            Ok(committed) => Ok(part_of(number, row, committed.sequence)),
            Err(refused) => {
                let error = match refused {
                    EngineError::Precondition { .. } => Error::NoSuchUpload { upload },
                    other => Error::Engine(other),
                };
                self.take_back(location, &error).await;
                Err(error)
            }
        }
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

    /// Checks the parts a Complete request lists and gives them with what is known of each.
    ///
    /// # Errors
    ///
    /// `InvalidPartOrder` (numbers not strictly ascending), `InvalidPart` (missing, ETag or checksum
    /// differs), `EntityTooSmall` (a part but the last under 5 MiB).
    pub async fn choose_parts(&self, upload: &Upload, listed: &[ListedPart]) -> Result<Vec<Part>, Error> {
        if let Some(pair) = listed.windows(2).find(|pair| pair[0].number >= pair[1].number) {
            return Err(Error::InvalidPartOrder {
                number: pair[1].number,
            });
        }
        let partition = self.bucket(&upload.bucket)?.partition;
        let entries = scan_all(
            &*self.engine,
            partition,
            &schema::parts(&upload.bucket, upload.id),
        )
        .await?;
        let mut entries = entries.iter();
        let mut chosen = Vec::with_capacity(listed.len());
        for wanted in listed {
            let key = schema::part_key(&upload.bucket, upload.id, wanted.number);
            // Both ascend: what was passed over is not listed.
            let entry = entries
                .by_ref()
                .find(|(have, _)| *have >= key)
                .filter(|(have, _)| *have == key);
            let (key, entry) = entry.ok_or(Error::InvalidPart {
                number: wanted.number,
            })?;
            let part = read_part(key, entry)?;
            let differs =
                part.etag.0 != wanted.etag || wanted.checksum.is_some() && wanted.checksum != part.checksum;
            if differs {
                return Err(Error::InvalidPart {
                    number: wanted.number,
                });
            }
            chosen.push(part);
        }
        check_sizes(&chosen)?;
        Ok(chosen)
    }

    /// Makes the object of the chosen parts: one record; what was not listed is given back.
    ///
    /// # Errors
    ///
    /// `NoSuchUpload` when it ended meanwhile, `InvalidPart` when a chosen part was replaced meanwhile,
    /// `EntityTooSmall`, `NoSuchKey` and `PreconditionFailed` (the upload stays usable).
    pub async fn complete_upload(&self, complete: CompleteUpload) -> Result<Object, Error> {
        let CompleteUpload {
            upload,
            parts,
            etag,
            checksum,
            condition,
            origin,
        } = complete;
        check_sizes(&parts)?;
        let partition = self.bucket(&upload.bucket)?.partition;
        let gathered = self.gather(&upload, &parts, partition).await?;
        let mut demands = vec![Precondition::Unchanged(
            schema::upload_key(&upload.bucket, &upload.key, upload.id),
            upload.sequence,
        )];
        demands.extend(parts.iter().map(|part| {
            let key = schema::part_key(&upload.bucket, upload.id, part.number);
            Precondition::Unchanged(key, part.sequence)
        }));
        let removals = vec![
            Mutation::Delete(schema::upload_key(&upload.bucket, &upload.key, upload.id)),
            Mutation::DeletePrefix(schema::parts(&upload.bucket, upload.id)),
        ];
        let draft = Draft {
            bucket: upload.bucket,
            key: upload.key,
            size_bytes: parts.iter().map(|part| part.size_bytes).sum(),
            etag,
            head: ObjectHead {
                headers: upload.headers,
                checksum,
                parts: parts.iter().map(part_line).collect(),
                upload: Some(upload.id),
                staged_bytes: gathered.staged_bytes,
            },
            inline: gathered.inline,
            locations: gathered.locations,
            condition,
            kind: ChangeKind::CompleteMultipartUpload,
            origin,
            demands,
            removals,
        };
        self.write_object(draft).await.map_err(|error| match error {
            Error::Engine(EngineError::Precondition { index: 1 }) => {
                Error::NoSuchUpload { upload: upload.id }
            }
            // Precondition 0 is the bucket's, 1 the upload's, the parts' follow.
            Error::Engine(EngineError::Precondition { index }) => Error::InvalidPart {
                number: parts[index - 2].number,
            },
            other => other,
        })
    }

    /// The object that a finished upload made, while it is still the current one: for a repeated Complete.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, and what the engine says.
    pub async fn completed_object(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        id: UploadId,
    ) -> Result<Option<Object>, Error> {
        match self.object(bucket, key, None).await {
            Ok(object) => Ok(Some(object).filter(|object| object.upload == Some(id))),
            Err(Error::NoSuchKey { .. }) => Ok(None),
            Err(error) => Err(error),
        }
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
            mutations: vec![
                Mutation::Delete(record_key),
                Mutation::DeletePrefix(schema::parts(bucket, id)),
            ],
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
        let after = After {
            name: &query.key_marker,
            suffix: marker.as_ref().map(|id| &id[..]),
        };
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

    /// The places of the chosen parts, and the bytes of those that are inline.
    async fn gather(
        &self,
        upload: &Upload,
        parts: &[Part],
        partition: PartitionId,
    ) -> Result<Gathered, Error> {
        let entries = scan_all(
            &*self.engine,
            partition,
            &schema::parts(&upload.bucket, upload.id),
        )
        .await?;
        let mut entries = entries.into_iter();
        let mut gathered = Gathered::default();
        for part in parts {
            let replaced = Error::InvalidPart { number: part.number };
            let key = schema::part_key(&upload.bucket, upload.id, part.number);
            let entry = entries
                .by_ref()
                .find(|(have, _)| *have >= key)
                .filter(|(have, _)| *have == key);
            let Some((_, entry)) = entry.filter(|(_, entry)| entry.sequence == part.sequence) else {
                return Err(self
                    .upload(&upload.bucket, &upload.key, upload.id)
                    .await
                    .err()
                    .unwrap_or(replaced));
            };
            if entry.locations.is_empty() && part.size_bytes > 0 {
                let whole = self.engine.get(partition, &key).await?;
                let whole = whole
                    .filter(|whole| whole.sequence == part.sequence)
                    .ok_or(replaced)?;
                // Inline bytes stand behind all staged ones: only the last part may be that small.
                gathered.inline = whole.payload;
            }
            for location in entry.locations {
                gathered.locations.push(location);
                gathered.staged_bytes.push(part.size_bytes);
            }
        }
        Ok(gathered)
    }
}

/// The bytes of an object to be, as its parts have them.
#[derive(Default)]
struct Gathered {
    locations: Vec<Location>,
    staged_bytes: Vec<u64>,
    inline: Bytes,
}

/// Every part but the last has at least [`PART_BYTES_MIN`] bytes.
fn check_sizes(parts: &[Part]) -> Result<(), Error> {
    let but_last = &parts[..parts.len().saturating_sub(1)];
    match but_last.iter().find(|part| part.size_bytes < PART_BYTES_MIN) {
        None => Ok(()),
        Some(part) => Err(Error::EntityTooSmall {
            number: part.number,
            size_bytes: part.size_bytes,
            min_bytes: PART_BYTES_MIN,
            etag: part.etag.0.clone(),
        }),
    }
}

/// Creation in the upper 48 bits, so that ids sort by it; the rest is random.
fn new_upload_id(initiated_ms: u64) -> UploadId {
    const RANDOM_BITS: u32 = 80;
    UploadId(u128::from(initiated_ms) << RANDOM_BITS | rand::random::<u128>() >> (u128::BITS - RANDOM_BITS))
}

fn upload_of(id: UploadId, bucket: BucketName, key: ObjectKey, row: UploadRow, sequence: Sequence) -> Upload {
    let UploadRow {
        initiated_ms,
        initiator,
        headers,
        checksum,
    } = row;
    Upload {
        id,
        bucket,
        key,
        headers,
        checksum,
        initiator,
        initiated_ms,
        sequence,
    }
}

fn read_upload(bucket: &BucketName, name: &str, suffix: &[u8], entry: &Entry) -> Result<Upload, Error> {
    let row = schema::decode(name.as_bytes(), &entry.value)?;
    let malformed = || schema::unreadable(name.as_bytes(), "its key is not that of an upload");
    let key = ObjectKey::new(name).ok_or_else(malformed)?;
    let id = suffix
        .try_into()
        .map(u128::from_be_bytes)
        .map_err(|_| malformed())?;
    Ok(upload_of(UploadId(id), bucket.clone(), key, row, entry.sequence))
}

fn part_of(number: u32, row: PartRow, sequence: Sequence) -> Part {
    let PartRow {
        size_bytes,
        etag,
        checksum,
        modified_ms,
    } = row;
    Part {
        number,
        size_bytes,
        etag: ETag::from(&etag),
        checksum,
        modified_ms,
        sequence,
    }
}

fn read_part(key: &[u8], entry: &Entry) -> Result<Part, Error> {
    let number = key.last_chunk::<4>().copied().map(u32::from_be_bytes);
    let number = number.ok_or_else(|| schema::unreadable(key, "its key is not that of a part"))?;
    Ok(part_of(
        number,
        schema::decode(key, &entry.value)?,
        entry.sequence,
    ))
}

fn part_line(part: &Part) -> PartLine {
    PartLine {
        number: part.number,
        size_bytes: part.size_bytes,
        etag: CompactETag::from(&part.etag),
        checksum: part.checksum.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{
        CompleteUpload, CreateUpload, ListedPart, PART_BYTES_MIN, Part, PutPart, Upload, UploadQuery,
    };
    use crate::change::Origin;
    use crate::engine::{Engine, PartitionId};
    use crate::error::Error;
    use crate::names::UploadId;
    use crate::object::{ETag, Object, ObjectHeaders};
    use crate::precondition::{EntityMatch, WriteCondition};
    use crate::testing::fixture::{Fixture, key};

    const MIN: usize = PART_BYTES_MIN as usize;

    async fn create(fixture: &Fixture, name: &str) -> Upload {
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

    async fn part(fixture: &Fixture, upload: &Upload, number: u32, body: &[u8]) -> Part {
        try_part(fixture, upload, number, body).await.unwrap()
    }

    fn listed(numbers: &[u32]) -> Vec<ListedPart> {
        let part = |&number| ListedPart {
            number,
            etag: format!("{number:032x}"),
            checksum: None,
        };
        numbers.iter().map(part).collect()
    }

    fn to_complete(upload: &Upload, parts: Vec<Part>) -> CompleteUpload {
        CompleteUpload {
            upload: upload.clone(),
            etag: ETag(format!("{:032x}-{}", 7, parts.len())),
            parts,
            checksum: None,
            condition: WriteCondition::default(),
            origin: Origin::default(),
        }
    }

    /// An object of parts of these sizes; part `n` is made of the byte `n`.
    pub(crate) async fn complete(fixture: &Fixture, name: &str, sizes_bytes: &[usize]) -> Object {
        let upload = create(fixture, name).await;
        let mut parts = Vec::new();
        for (number, &size_bytes) in (1u8..).zip(sizes_bytes) {
            parts.push(part(fixture, &upload, number.into(), &vec![number; size_bytes]).await);
        }
        fixture
            .store
            .complete_upload(to_complete(&upload, parts))
            .await
            .unwrap()
    }

    /// Every key the engine has, except the bucket's own record.
    async fn keys(fixture: &Fixture) -> Vec<String> {
        let range = crate::engine::KeyRange::prefix(b"");
        let page = fixture.engine.scan(PartitionId(0), range, 1000).await.unwrap();
        let keys = page.into_iter().map(|(key, _)| key.escape_ascii().to_string());
        keys.filter(|key| key != "balbum").collect()
    }

    #[tokio::test]
    async fn parts_become_one_object_and_nothing_of_the_upload_is_left() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        part(&fixture, &upload, 2, &vec![2; MIN]).await;
        part(&fixture, &upload, 5, &vec![9; 300_000]).await;
        part(&fixture, &upload, 7, &[7; 10]).await;
        part(&fixture, &upload, 5, &vec![5; MIN + 1]).await;
        part(&fixture, &upload, 9, &vec![9; 200_000]).await;
        let chosen = fixture
            .store
            .choose_parts(&upload, &listed(&[2, 5, 7]))
            .await
            .unwrap();

        let object = fixture
            .store
            .complete_upload(to_complete(&upload, chosen))
            .await
            .unwrap();

        let whole = [vec![2; MIN], vec![5; MIN + 1], vec![7; 10]].concat();
        let found = fixture.object("film").await.unwrap();
        assert_eq!(format!("{found:?}"), format!("{object:?}"));
        assert_eq!(found.upload, Some(upload.id));
        assert_eq!(found.headers, upload.headers);
        let parts: Vec<_> = found
            .parts
            .iter()
            .map(|part| (part.number, part.size_bytes as usize))
            .collect();
        assert_eq!(parts, [(2, MIN), (5, MIN + 1), (7, 10)]);
        assert!(fixture.body(&found).await == whole, "the bytes differ");
        let (start, end) = (MIN - 3, 2 * MIN + 4);
        assert!(
            fixture.range(&found, start as u64..end as u64).await == whole[start..end],
            "a range differs"
        );
        assert_eq!(
            keys(&fixture).await,
            ["oalbum\\x00film\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00"]
        );
        assert_eq!(fixture.engine.body_count(), 2);
        assert_eq!(
            fixture.told().await,
            ["BucketCreated album/", "CompleteMultipartUpload album/film"]
        );
    }

    #[tokio::test]
    async fn what_a_complete_request_lists_is_checked_part_by_part() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        part(&fixture, &upload, 1, b"short").await;
        part(&fixture, &upload, 3, &vec![3; MIN]).await;
        let choose =
            async |listed: &[ListedPart]| fixture.store.choose_parts(&upload, listed).await.unwrap_err();

        assert_eq!(
            choose(&listed(&[3, 1])).await,
            Error::InvalidPartOrder { number: 1 }
        );
        assert_eq!(
            choose(&listed(&[1, 1])).await,
            Error::InvalidPartOrder { number: 1 }
        );
        assert_eq!(
            choose(&listed(&[1, 2, 3])).await,
            Error::InvalidPart { number: 2 }
        );
        assert_eq!(choose(&listed(&[3, 4])).await, Error::InvalidPart { number: 4 });
        let other = ListedPart {
            etag: "x".to_owned(),
            ..listed(&[3])[0].clone()
        };
        assert_eq!(choose(&[other]).await, Error::InvalidPart { number: 3 });
        let summed = ListedPart {
            checksum: Some("AAAA".to_owned()),
            ..listed(&[3])[0].clone()
        };
        assert_eq!(choose(&[summed]).await, Error::InvalidPart { number: 3 });
        let too_small = Error::EntityTooSmall {
            number: 1,
            size_bytes: 5,
            min_bytes: PART_BYTES_MIN,
            etag: format!("{:032x}", 1),
        };
        assert_eq!(choose(&listed(&[1, 3])).await, too_small);
        assert_eq!(
            fixture
                .store
                .choose_parts(&upload, &listed(&[1]))
                .await
                .unwrap()
                .len(),
            1
        );
    }

    #[tokio::test]
    async fn a_part_that_was_replaced_since_it_was_chosen_is_not_taken() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        let chosen = vec![part(&fixture, &upload, 1, &[1; 200_000]).await];
        part(&fixture, &upload, 1, &[2; 200_000]).await;
        let refused = fixture
            .store
            .complete_upload(to_complete(&upload, chosen))
            .await
            .unwrap_err();
        assert_eq!(refused, Error::InvalidPart { number: 1 });
        let chosen = fixture.store.choose_parts(&upload, &listed(&[1])).await.unwrap();
        fixture
            .store
            .complete_upload(to_complete(&upload, chosen))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn of_two_completes_one_makes_the_object_and_the_other_can_find_it() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        let chosen = vec![part(&fixture, &upload, 1, b"ab").await];
        let object = fixture
            .store
            .complete_upload(to_complete(&upload, chosen.clone()))
            .await
            .unwrap();
        let again = fixture
            .store
            .complete_upload(to_complete(&upload, chosen))
            .await
            .unwrap_err();
        assert_eq!(again, Error::NoSuchUpload { upload: upload.id });

        let found = fixture
            .store
            .completed_object(&fixture.album, &upload.key, upload.id)
            .await
            .unwrap();
        assert_eq!(found.map(|found| found.sequence), Some(object.sequence));
        fixture.put("film", b"other").await;
        let found = fixture
            .store
            .completed_object(&fixture.album, &upload.key, upload.id)
            .await
            .unwrap();
        assert!(found.is_none());
    }

    #[tokio::test]
    async fn an_upload_stays_usable_when_the_condition_of_its_complete_fails() {
        let fixture = Fixture::new().await;
        fixture.put("film", b"old").await;
        let upload = create(&fixture, "film").await;
        let chosen = vec![part(&fixture, &upload, 1, &[1; 200_000]).await];
        let condition = WriteCondition {
            if_none_match: Some(EntityMatch::Any),
            ..WriteCondition::default()
        };
        let conditional = || CompleteUpload {
            condition: condition.clone(),
            ..to_complete(&upload, chosen.clone())
        };
        let refused = fixture.store.complete_upload(conditional()).await.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::PreconditionFailed {
                    condition: "If-None-Match",
                    ..
                }
            ),
            "{refused}"
        );
        fixture.delete("film").await.unwrap();
        fixture.store.complete_upload(conditional()).await.unwrap();
    }

    #[tokio::test]
    async fn an_ended_upload_takes_no_parts_and_keeps_none() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        part(&fixture, &upload, 1, &[1; 200_000]).await;
        let abort = async || {
            fixture
                .store
                .abort_upload(&fixture.album, &upload.key, upload.id)
                .await
        };
        abort().await.unwrap();
        let gone = Error::NoSuchUpload { upload: upload.id };
        assert_eq!(abort().await.unwrap_err(), gone);
        assert_eq!(
            try_part(&fixture, &upload, 2, &[2; 200_000]).await.unwrap_err(),
            gone
        );
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
        fixture
            .store
            .delete_bucket(&fixture.album, Origin::default())
            .await
            .unwrap();
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
            (
                parts.into_iter().map(|part| part.number).collect::<Vec<_>>(),
                more,
            )
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
            let query = UploadQuery {
                delimiter,
                key_marker,
                upload_marker,
                limit,
                ..UploadQuery::default()
            };
            fixture.store.uploads(&fixture.album, &query).await.unwrap()
        };
        let ordered: Vec<Upload> = [1, 0, 2, 3, 4, 5]
            .map(|index: usize| made[index].clone())
            .to_vec();
        assert_eq!(list("", None, 100).await.uploads, ordered);

        let (mut together, mut next) = (Vec::new(), None);
        loop {
            let page = list("", next, 2).await;
            together.extend(page.uploads);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(together, ordered);
        assert_eq!(
            list("", Some(("b".to_owned(), None)), 100).await.uploads,
            ordered[4..]
        );
        let page = list("/", Some(("b".to_owned(), Some(made[2].id))), 100).await;
        assert_eq!(
            (page.uploads, page.common_prefixes),
            (vec![made[3].clone()], vec!["c/".to_owned()])
        );
    }
}
