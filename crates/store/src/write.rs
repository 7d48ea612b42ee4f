//! Writing an object's record: conditions judged, rules matched, one commit.

use bytes::Bytes;

use crate::batch::{Batch, Mutation, Precondition, Put};
use crate::bucket::Bucket;
use crate::change::{ChangeKind, Origin, Sequence};
use crate::content::{Body, Content};
use crate::engine::{EngineError, Entry, KeyRange, Location, PartitionId};
use crate::error::Error;
use crate::names::{BucketName, ObjectKey};
use crate::object::{ETag, Object, assemble};
use crate::precondition::{Unmet, WriteCondition};
use crate::schema::{self, CompactETag, ObjectHead, ObjectRow};
use crate::store::{COMMIT_TRIES_MAX, Store, bucket_unchanged};
use crate::summary::summary;

impl Store {
    /// Writes the record of an object whose bytes are there, and the change that tells of it.
    ///
    /// A demand that does not hold comes back as `EngineError::Precondition` with its place, counted from
    /// 1: the bucket's record is precondition 0.
    pub(crate) async fn write_object(&self, mut draft: Draft) -> Result<Object, Error> {
        let record_key = schema::object_key(&draft.bucket, &draft.key);
        let payload = schema::encode_payload(&draft.head, &draft.content.inline);
        let guard_index = 1 + draft.demands.len();
        for _ in 0..COMMIT_TRIES_MAX {
            let bucket = self.bucket(&draft.bucket)?;
            let guard = self.guard(&bucket, &draft.key, &record_key, &draft.condition).await?;
            let summary = summary(draft.content.size_bytes, &draft.etag, &draft.head.headers);
            let change = self.change(&bucket, draft.kind, &draft.key, Some(summary), &draft.origin);
            let modified_ms = change.time_ms;
            let put = Put {
                key: record_key.clone(),
                value: schema::encode(&draft.row(modified_ms)),
                payload: payload.clone(),
                locations: draft.locations.clone(),
            };
            let mut preconditions = vec![bucket_unchanged(&bucket)];
            preconditions.extend_from_slice(&draft.demands);
            preconditions.extend(guard);
            let mut mutations = draft.removals.clone();
            mutations.push(Mutation::Put(put));
            let batch =
                Batch { preconditions, mutations, changes: vec![change], rides: false, released: None };
            self.admit(bucket.partition, &batch)?;
            match self.commit_naming(&mut draft.content, bucket.partition, batch).await {
                Ok(committed) => return Ok(draft.into_object(&bucket, committed.sequence, modified_ms)),
                Err(EngineError::Precondition { index: 0 }) => self.reload_bucket(&bucket).await?,
                // The object was replaced since it was judged: judge what is there now.
                Err(EngineError::Precondition { index }) if index == guard_index => {}
                // The bucket the body was received for is gone; one of its name is in another partition.
                Err(EngineError::NoSuchLocation { .. }) => {
                    return Err(Error::NoSuchBucket { bucket: draft.bucket.clone() });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended(&draft.bucket, &draft.key))
    }

    /// Judges the condition of a write; gives the precondition under which the verdict stands.
    async fn guard(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        record_key: &Bytes,
        condition: &WriteCondition,
    ) -> Result<Option<Precondition>, Error> {
        if condition.is_empty() {
            return Ok(None);
        }
        let there = self.row(bucket.partition, record_key).await?;
        let row = there.as_ref().map(|(_, row)| row);
        condition.judge(row).map_err(|unmet| unmet_error(unmet, &bucket.name, key))?;
        Ok(Some(as_it_is(record_key.clone(), there.map(|(sequence, _)| sequence))))
    }

    /// What listings know of an object: no drive reads its payload for it.
    pub(crate) async fn row(
        &self,
        partition: PartitionId,
        record_key: &Bytes,
    ) -> Result<Option<(Sequence, ObjectRow)>, Error> {
        match self.entry_without_payload(partition, record_key).await? {
            Some(entry) => Ok(Some((entry.sequence, schema::decode(record_key, &entry.value)?))),
            None => Ok(None),
        }
    }

    /// An entry as a listing sees it.
    pub(crate) async fn entry_without_payload(
        &self,
        partition: PartitionId,
        key: &Bytes,
    ) -> Result<Option<Entry>, EngineError> {
        Ok(self.engine.scan(partition, KeyRange::only(key), 1).await?.pop().map(|(_, entry)| entry))
    }
}

/// An object about to be written: its bytes are there, its place in the order is not.
pub(crate) struct Draft {
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
    /// Its inline bytes, and what was staged for it alone.
    pub(crate) content: Content,
    pub(crate) etag: ETag,
    pub(crate) head: ObjectHead,
    /// All its staged bodies, in order, as the head gives their sizes.
    pub(crate) locations: Vec<Location>,
    pub(crate) condition: WriteCondition,
    pub(crate) kind: ChangeKind,
    pub(crate) origin: Origin,
    /// What else must hold when it is written.
    pub(crate) demands: Vec<Precondition>,
    /// What goes when it is written.
    pub(crate) removals: Vec<Mutation>,
}

impl Draft {
    fn row(&self, modified_ms: u64) -> ObjectRow {
        ObjectRow {
            size_bytes: self.content.size_bytes,
            etag: CompactETag::from(&self.etag),
            modified_ms,
            version: None,
            flags: 0,
            storage_class: self.head.headers.storage_class.clone(),
            checksum: self
                .head
                .checksum
                .as_ref()
                .map(|checksum| (checksum.algorithm, checksum.is_full_object)),
        }
    }

    fn into_object(self, bucket: &Bucket, sequence: Sequence, modified_ms: u64) -> Object {
        let row = self.row(modified_ms);
        let body = Body {
            staged: self.locations.into_iter().zip(self.head.staged_bytes.iter().copied()).collect(),
            inline: self.content.inline,
        };
        assemble(self.bucket, self.key, bucket.partition, sequence, row, self.head, body)
    }
}

/// That an object is as it was seen: written by the batch of that sequence, or not there.
pub(crate) fn as_it_is(record_key: Bytes, seen: Option<Sequence>) -> Precondition {
    match seen {
        Some(sequence) => Precondition::Unchanged(record_key, sequence),
        None => Precondition::Absent(record_key),
    }
}

pub(crate) fn contended(bucket: &BucketName, key: &ObjectKey) -> Error {
    Error::Contended { bucket: bucket.clone(), key: key.clone(), tries: COMMIT_TRIES_MAX }
}

pub(crate) fn unmet_error(unmet: Unmet, bucket: &BucketName, key: &ObjectKey) -> Error {
    let (bucket, key) = (bucket.clone(), key.clone());
    match unmet {
        Unmet::Missing => Error::NoSuchKey { bucket, key },
        Unmet::Differs(condition) => Error::PreconditionFailed { bucket, key, condition },
    }
}
