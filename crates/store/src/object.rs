//! Objects: what is known of one, how it is written and looked up, how its reads are announced.
//!
//! An object is one entry of the engine: a row that listings need, and a payload with its headers and, when
//! it is small, its bytes; so HEAD and GET are one question to the engine. How bodies are read is in
//! `read`, how objects are deleted in `delete`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::bucket::Bucket;
use crate::change::{ChangeKind, Origin, Sequence};
use crate::content::{Body, Content};
use crate::engine::{EngineError, Entry, PartitionId};
use crate::error::Error;
use crate::names::{BucketName, ObjectKey, UploadId, VersionId};
use crate::precondition::WriteCondition;
use crate::schema::{self, ObjectHead, ObjectRow};
use crate::store::{COMMIT_TRIES_MAX, Store, bucket_unchanged};
use crate::summary::summary;
use crate::write::{Draft, contended};

pub use crate::delete::{DeleteObject, Deleted};

/// An entity tag without quotes: 32 hex digits, the same with `-parts`, or opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ETag(pub String);

/// A stored checksum of a whole object or part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// Which algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// Base64, as told to clients; a composite one ends in `-parts`.
    pub value: String,
    /// Whether it covers the object's bytes (`FULL_OBJECT`) or its parts' checksums (`COMPOSITE`).
    pub is_full_object: bool,
}

/// The five core S3 checksum algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// The headers stored with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectHeaders {
    /// `content-type`, `cache-control`, `content-disposition`, `content-encoding`, `content-language`,
    /// `expires`, `x-amz-website-redirect-location`: lower-case names, sorted, each once.
    pub system: Vec<(String, String)>,
    /// User metadata: names in lower case without `x-amz-meta-`, sorted, each once.
    pub user: Vec<(String, String)>,
    /// Storage class when it is not `STANDARD`.
    pub storage_class: Option<String>,
}

impl ObjectHeaders {
    /// A system header by its lower-case name.
    pub fn system(&self, name: &str) -> Option<&str> {
        self.system.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// One part of an object that was uploaded in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPart {
    /// 1 to 10,000.
    pub number: u32,
    /// Bytes.
    pub size_bytes: u64,
    /// MD5 of the part, hex.
    pub etag: ETag,
    /// The part's checksum in base64, if the upload has one.
    pub checksum: Option<String>,
}

/// An object as of one moment; reading its body later gives the bytes of that moment or an error.
#[derive(Clone, Debug)]
pub struct Object {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// Which version.
    pub version: VersionId,
    /// The commit that wrote it.
    pub sequence: Sequence,
    /// Logical size in bytes.
    pub size_bytes: u64,
    /// Entity tag.
    pub etag: ETag,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
    /// Stored headers.
    pub headers: ObjectHeaders,
    /// Stored checksum.
    pub checksum: Option<Checksum>,
    /// Its parts, when it was uploaded in parts; else empty.
    pub parts: Vec<ObjectPart>,
    /// The upload it was completed from: a repeated Complete finds it here.
    pub upload: Option<UploadId>,
    pub(crate) partition: PartitionId,
    pub(crate) body: Body,
}

/// What PutObject and CopyObject write.
#[derive(Debug)]
pub struct PutObject {
    /// Where to.
    pub bucket: BucketName,
    /// Under which key.
    pub key: ObjectKey,
    /// The bytes.
    pub content: Content,
    /// Their entity tag.
    pub etag: ETag,
    /// Headers to store.
    pub headers: ObjectHeaders,
    /// Checksum to store.
    pub checksum: Option<Checksum>,
    /// Condition on what is there now, judged inside the commit.
    pub condition: WriteCondition,
    /// `Put`, `Post` or `Copy`.
    pub kind: ChangeKind,
    /// Who asks.
    pub origin: Origin,
}

impl Store {
    /// Writes an object, replacing what is there; durable on return.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `PreconditionFailed`, `NoSuchKey` (If-Match on a key that is not there), `Contended`,
    /// and what the engine refuses. On an error the old object stands; the content is given back.
    pub async fn put_object(&self, put: PutObject) -> Result<Object, Error> {
        let PutObject { bucket, key, content, etag, headers, checksum, condition, kind, origin } = put;
        let locations = content.locations();
        let head = ObjectHead {
            headers,
            checksum,
            staged_bytes: locations.iter().map(|_| content.size_bytes).collect(),
            ..ObjectHead::default()
        };
        let draft = Draft {
            bucket,
            key,
            content,
            etag,
            head,
            locations,
            condition,
            kind,
            origin,
            demands: Vec::new(),
            removals: Vec::new(),
        };
        let written = self.write_object(draft).await;
        if written.is_err() {
            self.reclaim_abandoned().await;
        }
        written
    }

    /// The current object of a key, or the version named.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`.
    pub async fn object(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: Option<VersionId>,
    ) -> Result<Object, Error> {
        let partition = self.bucket(bucket)?.partition;
        let record_key = schema::object_key(bucket, key);
        let entry = match version {
            None | Some(VersionId::Null) => self.engine.get(partition, &record_key).await?,
            // Buckets have no versioning yet, so nothing but the null version was ever written.
            Some(VersionId::Id(_)) => None,
        };
        match (entry, version) {
            (Some(entry), _) => read_object(bucket.clone(), key.clone(), partition, &record_key, entry),
            (None, None) => Err(Error::NoSuchKey { bucket: bucket.clone(), key: key.clone() }),
            (None, Some(version)) => {
                Err(Error::NoSuchVersion { bucket: bucket.clone(), key: key.clone(), version })
            }
        }
    }

    /// Commits the change of a read, if a rule or a listener asks for it; `false` when nobody does.
    ///
    /// The caller has decided its response and does not wait for this: it is best effort where the set
    /// cannot commit.
    ///
    /// # Errors
    ///
    /// What the engine refuses; for a counter and a log line.
    pub async fn announce_access(
        &self,
        bucket: Arc<Bucket>,
        kind: ChangeKind,
        object: Object,
        origin: Origin,
    ) -> Result<bool, Error> {
        let mut bucket = bucket;
        for _ in 0..COMMIT_TRIES_MAX {
            if !self.is_access_announced(&bucket, kind, &object) {
                return Ok(false);
            }
            let told = summary(object.size_bytes, &object.etag, &object.headers);
            let change = self.change(&bucket, kind, &object.key, Some(told), &origin);
            let batch = Batch {
                preconditions: vec![bucket_unchanged(&bucket)],
                changes: vec![change],
                ..Batch::default()
            };
            self.admit(bucket.partition, &batch)?;
            match self.commit(bucket.partition, batch).await {
                Ok(_) => return Ok(true),
                Err(EngineError::Precondition { .. }) => {
                    self.reload_bucket(&bucket).await?;
                    bucket = self.bucket(&bucket.name)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended(&object.bucket, &object.key))
    }

    /// Whether a read of this object would be announced: asked first, so that an unwatched read costs nothing.
    pub fn is_access_announced(&self, bucket: &Bucket, kind: ChangeKind, object: &Object) -> bool {
        let has_rules = bucket.document(Bucket::NOTIFICATION).is_some();
        let is_named = has_rules && {
            let told = summary(object.size_bytes, &object.etag, &object.headers);
            !self.recorder().recipients(bucket, kind, &object.key, Some(&told)).targets.is_empty()
        };
        is_named || self.recorder().is_awaited(bucket, kind, &object.key)
    }
}

fn read_object(
    bucket: BucketName,
    key: ObjectKey,
    partition: PartitionId,
    record_key: &[u8],
    entry: Entry,
) -> Result<Object, Error> {
    let row: ObjectRow = schema::decode(record_key, &entry.value)?;
    let (head, inline) = schema::decode_payload(record_key, &entry.payload)?;
    let held_bytes = head.staged_bytes.iter().sum::<u64>() + inline.len() as u64;
    if head.staged_bytes.len() != entry.locations.len() || held_bytes != row.size_bytes {
        let reason = format!("it holds {held_bytes} bytes of {}", row.size_bytes);
        return Err(schema::unreadable(record_key, &reason));
    }
    let staged = entry.locations.into_iter().zip(head.staged_bytes.iter().copied()).collect();
    Ok(assemble(bucket, key, partition, entry.sequence, row, head, Body { staged, inline }))
}

pub(crate) fn assemble(
    bucket: BucketName,
    key: ObjectKey,
    partition: PartitionId,
    sequence: Sequence,
    row: ObjectRow,
    head: ObjectHead,
    body: Body,
) -> Object {
    let parts = head.parts.into_iter().map(|part| ObjectPart {
        number: part.number,
        size_bytes: part.size_bytes,
        etag: ETag::from(&part.etag),
        checksum: part.checksum,
    });
    Object {
        bucket,
        key,
        version: row.version.map_or(VersionId::Null, VersionId::Id),
        sequence,
        size_bytes: row.size_bytes,
        etag: ETag::from(&row.etag),
        modified_ms: row.modified_ms,
        headers: head.headers,
        checksum: head.checksum,
        parts: parts.collect(),
        upload: head.upload,
        partition,
        body,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::future::join_all;

    use super::{Checksum, ChecksumAlgorithm, ObjectHeaders, PutObject};
    use crate::bucket::Bucket;
    use crate::change::{Change, ChangeKind, ObjectSummary, Origin};
    use crate::error::Error;
    use crate::names::VersionId;
    use crate::precondition::{EntityMatch, WriteCondition};
    use crate::testing::fixture::{Fixture, key};

    fn origin() -> Origin {
        Origin { principal: "minioadmin".to_owned(), request_id: "18E9".to_owned(), ..Origin::default() }
    }

    #[tokio::test]
    async fn what_is_put_is_what_is_looked_up_and_what_is_told() {
        let fixture = Fixture::new().await;
        let put = PutObject {
            headers: ObjectHeaders {
                system: vec![("content-type".to_owned(), "text/plain".to_owned())],
                user: vec![("color".to_owned(), "red".to_owned())],
                storage_class: Some("REDUCED_REDUNDANCY".to_owned()),
            },
            checksum: Some(Checksum {
                algorithm: ChecksumAlgorithm::Crc32,
                value: "i9aeUg==".to_owned(),
                is_full_object: true,
            }),
            kind: ChangeKind::Copy,
            origin: origin(),
            ..fixture.to_put("rose.txt", b"hello").await
        };
        let headers = put.headers.clone();

        let written = fixture.store.put_object(put).await.unwrap();

        let found = fixture.object("rose.txt").await.unwrap();
        assert_eq!(format!("{found:?}"), format!("{written:?}"));
        assert_eq!(found.headers, headers);
        assert_eq!(found.modified_ms, 1_700_000_000_000);
        let told = Change {
            sequence: written.sequence,
            time_ms: 1_700_000_000_000,
            kind: ChangeKind::Copy,
            bucket: fixture.album.clone(),
            key: "rose.txt".to_owned(),
            version: None,
            object: Some(ObjectSummary {
                size_bytes: 5,
                etag: "00000000000000000000000000000005".to_owned(),
                content_type: "text/plain".to_owned(),
                metadata: vec![
                    ("X-Amz-Meta-Color".to_owned(), "red".to_owned()),
                    ("content-type".to_owned(), "text/plain".to_owned()),
                    ("x-amz-storage-class".to_owned(), "REDUCED_REDUNDANCY".to_owned()),
                ],
                tags: vec![],
            }),
            origin: Some(origin()),
            targets: vec![],
            rules: vec![],
        };
        assert_eq!(fixture.changes().await[1..], [told]);
    }

    #[tokio::test]
    async fn a_change_of_a_key_that_ends_in_a_slash_names_the_null_version() {
        let fixture = Fixture::new().await;
        fixture.put("folder/", b"").await;
        fixture.delete("folder/").await.unwrap();
        let versions: Vec<_> = fixture.changes().await.into_iter().map(|change| change.version).collect();
        assert_eq!(versions, [None, Some(VersionId::Null), Some(VersionId::Null)]);
    }

    #[tokio::test]
    async fn versions_other_than_null_are_not_there() {
        let fixture = Fixture::new().await;
        let written = fixture.put("rose.jpg", b"ab").await;
        let (album, rose) = (&fixture.album, key("rose.jpg"));
        let null = fixture.store.object(album, &rose, Some(VersionId::Null)).await.unwrap();
        assert_eq!(null.sequence, written.sequence);
        let version = VersionId::Id(7);
        let missing = fixture.store.object(album, &rose, Some(version)).await.unwrap_err();
        assert_eq!(missing, Error::NoSuchVersion { bucket: album.clone(), key: rose, version });
    }

    #[tokio::test]
    async fn a_condition_is_judged_by_what_is_there_and_a_failed_one_changes_nothing() {
        let fixture = Fixture::new().await;
        let tag = |size: u32| Some(EntityMatch::OneOf(vec![format!("{size:032x}")]));
        let absent = WriteCondition { if_none_match: Some(EntityMatch::Any), ..WriteCondition::default() };
        let two_bytes = WriteCondition { if_match: tag(2), ..WriteCondition::default() };
        let names = (fixture.album.clone(), key("rose.jpg"));
        let failed = |condition| Error::PreconditionFailed {
            bucket: names.0.clone(),
            key: names.1.clone(),
            condition,
        };

        let missing = fixture.put_if("rose.jpg", b"ab", two_bytes.clone()).await.unwrap_err();
        assert_eq!(missing, Error::NoSuchKey { bucket: names.0.clone(), key: names.1.clone() });
        fixture.put_if("rose.jpg", b"ab", absent.clone()).await.unwrap();
        let refused = fixture.put_if("rose.jpg", &[1; 200_000], absent).await.unwrap_err();
        assert_eq!(refused, failed("If-None-Match"));
        fixture.put_if("rose.jpg", b"abc", two_bytes.clone()).await.unwrap();
        assert_eq!(fixture.put_if("rose.jpg", b"x", two_bytes).await.unwrap_err(), failed("If-Match"));

        let object = fixture.object("rose.jpg").await.unwrap();
        assert_eq!(fixture.body(&object).await, b"abc");
        assert_eq!(fixture.engine.body_count(), 0);
        assert_eq!(
            fixture.told().await,
            ["BucketCreated album/", "Put album/rose.jpg", "Put album/rose.jpg"]
        );
    }

    #[tokio::test]
    async fn a_read_is_told_only_where_a_rule_asks_for_it() {
        let fixture = Fixture::new().await;
        let object = fixture.put("rose.jpg", b"ab").await;
        let bucket = fixture.store.bucket(&fixture.album).unwrap();
        let announce = async |bucket: &Arc<Bucket>| {
            let bucket = Arc::clone(bucket);
            fixture.store.announce_access(bucket, ChangeKind::Get, object.clone(), origin()).await
        };
        assert_eq!(announce(&bucket).await, Ok(false));

        let rules = Some(Bytes::from_static(b"1:kafka"));
        fixture.store.set_document(&fixture.album, Bucket::NOTIFICATION, rules).await.unwrap();
        let now = fixture.store.bucket(&fixture.album).unwrap();
        assert_eq!(announce(&now).await, Ok(true));
        let told = fixture.changes().await.pop().unwrap();
        assert_eq!((told.kind, told.targets), (ChangeKind::Get, vec!["1:kafka".to_owned()]));
        assert_eq!(told.object.map(|object| object.size_bytes), Some(2));

        fixture.store.set_document(&fixture.album, Bucket::NOTIFICATION, None).await.unwrap();
        assert_eq!(announce(&now).await, Ok(false), "the rule that asked for it is gone");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_who_put_where_nothing_is_one_does() {
        let fixture = Arc::new(Fixture::new().await);
        let condition = WriteCondition { if_none_match: Some(EntityMatch::Any), ..WriteCondition::default() };
        for round in 0..20 {
            let writers = (0..8).map(|_| {
                let (fixture, condition) = (Arc::clone(&fixture), condition.clone());
                tokio::spawn(
                    async move { fixture.put_if(&format!("{round}"), &[1; 200_000], condition).await },
                )
            });
            let mut written = 0;
            for answer in join_all(writers.collect::<Vec<_>>()).await {
                match answer.unwrap() {
                    Ok(_) => written += 1,
                    Err(Error::PreconditionFailed { condition: "If-None-Match", .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(written, 1);
            assert_eq!(fixture.engine.body_count(), round + 1);
        }
    }
}
