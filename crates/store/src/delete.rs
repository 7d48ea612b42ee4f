//! Deleting objects: one by one, and many in one batch.

use bytes::Bytes;

use crate::batch::{Batch, Mutation, Precondition};
use crate::bucket::Bucket;
use crate::change::{Change, ChangeKind, Origin};
use crate::engine::EngineError;
use crate::error::Error;
use crate::names::{BucketName, ObjectKey, VersionId};
use crate::precondition::WriteCondition;
use crate::schema;
use crate::store::{COMMIT_TRIES_MAX, Store, bucket_unchanged};
use crate::write::{as_it_is, contended, unmet_error};

/// Most objects one batch deletes.
pub const DELETE_BATCH_KEYS_MAX: usize = 1000;

/// Most bytes of keys, changes and targets in one batch of deletes, as estimated before it is encoded:
/// 256 KiB, a quarter of the smallest frame an engine may have.
pub const DELETE_BATCH_BYTES_MAX: usize = 256 * 1024;

/// What a delete names.
#[derive(Clone, Debug)]
pub struct DeleteObject {
    /// The key.
    pub key: ObjectKey,
    /// A version, or the current object.
    pub version: Option<VersionId>,
    /// Condition on what is there now; of something that is not there nothing is asked.
    pub condition: WriteCondition,
}

/// What a delete did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Whether something was there. A delete among many does not look and says `true`.
    pub existed: bool,
}

impl Store {
    /// Deletes one object or version. The change is `Delete` when something was there, `NoOp` when not.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `PreconditionFailed`, `Contended`, and what the engine refuses.
    pub async fn delete_object(
        &self,
        bucket: &BucketName,
        delete: DeleteObject,
        origin: Origin,
    ) -> Result<Deleted, Error> {
        self.delete_one(bucket, &delete, ChangeKind::NoOp, &origin).await
    }

    /// Deletes up to 1,000 objects in as few commits as can be: those without a condition in batches of at
    /// most [`DELETE_BATCH_KEYS_MAX`] keys and [`DELETE_BATCH_BYTES_MAX`] bytes, the others one by one.
    /// The change of each is `Delete`, also of a key that was not there (as MinIO tells it).
    ///
    /// # Errors
    ///
    /// `NoSuchBucket` for all; per key as [`Store::delete_object`].
    pub async fn delete_objects(
        &self,
        bucket: &BucketName,
        deletes: Vec<DeleteObject>,
        origin: Origin,
    ) -> Result<Vec<Result<Deleted, Error>>, Error> {
        self.bucket(bucket)?;
        let mut answers = Vec::with_capacity(deletes.len());
        let mut rest = &deletes[..];
        while let Some(first) = rest.first() {
            let together = self.batchable(rest, &origin);
            if together == 0 {
                answers.push(self.delete_one(bucket, first, ChangeKind::Delete, &origin).await);
                rest = &rest[1..];
            } else {
                let (batch, after) = rest.split_at(together);
                let answer = self.delete_together(bucket, batch, &origin).await;
                answers.extend(batch.iter().map(|_| answer.clone()));
                rest = after;
            }
        }
        Ok(answers)
    }

    /// How many of the first deletes go into one batch: none when the first has a condition.
    fn batchable(&self, deletes: &[DeleteObject], origin: &Origin) -> usize {
        let origin_bytes = 64
            + origin.principal.len()
            + origin.source_host.len()
            + origin.user_agent.len()
            + origin.request_id.len()
            + origin.endpoint.len();
        let mut bytes = 0;
        let fits = deletes.iter().take(DELETE_BATCH_KEYS_MAX).take_while(|delete| {
            // The key stands in the mutation and in the change.
            bytes += origin_bytes + 2 * delete.key.as_str().len();
            delete.condition.is_empty() && bytes <= DELETE_BATCH_BYTES_MAX
        });
        fits.count()
    }

    async fn delete_together(
        &self,
        name: &BucketName,
        deletes: &[DeleteObject],
        origin: &Origin,
    ) -> Result<Deleted, Error> {
        for _ in 0..COMMIT_TRIES_MAX {
            let bucket = self.bucket(name)?;
            let named = deletes.iter().filter_map(|delete| record_key(name, delete));
            let changes =
                deletes.iter().map(|delete| self.delete_change(&bucket, ChangeKind::Delete, delete, origin));
            let batch = Batch {
                preconditions: vec![bucket_unchanged(&bucket)],
                mutations: named.map(Mutation::Delete).collect(),
                changes: changes.collect(),
                rides: false,
                released: None,
            };
            self.admit(bucket.partition, &batch)?;
            match self.commit(bucket.partition, batch).await {
                Ok(_) => return Ok(Deleted { existed: true }),
                Err(EngineError::Precondition { .. }) => self.reload_bucket(&bucket).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended(name, &deletes[0].key))
    }

    /// Deletes what a key or version names; the change says `when_absent` when nothing was there.
    ///
    /// Without a condition nothing is looked at before: the commit judges whether it is there as supposed.
    async fn delete_one(
        &self,
        name: &BucketName,
        delete: &DeleteObject,
        when_absent: ChangeKind,
        origin: &Origin,
    ) -> Result<Deleted, Error> {
        let record_key = record_key(name, delete);
        let mut is_supposed = true;
        for _ in 0..COMMIT_TRIES_MAX {
            let bucket = self.bucket(name)?;
            let guard = match record_key.clone() {
                None => None,
                Some(key) if !delete.condition.is_empty() => Some(self.judged(&bucket, key, delete).await?),
                Some(key) if is_supposed => Some(Precondition::Exists(key)),
                Some(key) => Some(Precondition::Absent(key)),
            };
            let existed = matches!(guard, Some(Precondition::Exists(_) | Precondition::Unchanged(..)));
            let removed = record_key.clone().filter(|_| existed);
            let kind = if existed { ChangeKind::Delete } else { when_absent };
            let batch = Batch {
                preconditions: [bucket_unchanged(&bucket)].into_iter().chain(guard).collect(),
                mutations: removed.map(Mutation::Delete).into_iter().collect(),
                changes: vec![self.delete_change(&bucket, kind, delete, origin)],
                rides: false,
                released: None,
            };
            self.admit(bucket.partition, &batch)?;
            match self.commit(bucket.partition, batch).await {
                Ok(_) => return Ok(Deleted { existed }),
                Err(EngineError::Precondition { index: 0 }) => self.reload_bucket(&bucket).await?,
                // It is not as supposed, or came or went since it was looked at.
                Err(EngineError::Precondition { .. }) => is_supposed = !existed,
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended(name, &delete.key))
    }

    /// Judges the condition of a delete; gives the precondition under which the verdict stands.
    async fn judged(
        &self,
        bucket: &Bucket,
        record_key: Bytes,
        delete: &DeleteObject,
    ) -> Result<Precondition, Error> {
        let there = self.row(bucket.partition, &record_key).await?;
        if let Some((_, row)) = &there {
            let unmet = |unmet| unmet_error(unmet, &bucket.name, &delete.key);
            delete.condition.judge(Some(row)).map_err(unmet)?;
        }
        Ok(as_it_is(record_key, there.map(|(sequence, _)| sequence)))
    }

    /// The change of a delete: it names the version that the client named.
    fn delete_change(
        &self,
        bucket: &Bucket,
        kind: ChangeKind,
        delete: &DeleteObject,
        origin: &Origin,
    ) -> Change {
        let change = self.change(bucket, kind, &delete.key, None, origin);
        Change { version: delete.version.or(change.version), ..change }
    }
}

/// The key of what a delete names; `None` for a version that cannot be there: only null versions are
/// written as yet.
fn record_key(bucket: &BucketName, delete: &DeleteObject) -> Option<Bytes> {
    match delete.version {
        None | Some(VersionId::Null) => Some(schema::object_key(bucket, &delete.key)),
        Some(VersionId::Id(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{DeleteObject, Deleted};
    use crate::change::Origin;
    use crate::error::Error;
    use crate::names::VersionId;
    use crate::precondition::{EntityMatch, WriteCondition};
    use crate::testing::fixture::{Fixture, key, to_delete};

    fn if_match(name: &str, etag: &str) -> DeleteObject {
        let if_match = Some(EntityMatch::OneOf(vec![etag.to_owned()]));
        DeleteObject {
            condition: WriteCondition { if_match, ..WriteCondition::default() },
            ..to_delete(name)
        }
    }

    #[tokio::test]
    async fn a_delete_tells_whether_something_was_there() {
        let fixture = Fixture::new().await;
        fixture.put("rose.jpg", b"ab").await;
        assert_eq!(fixture.delete("rose.jpg").await, Ok(Deleted { existed: true }));
        assert_eq!(fixture.delete("rose.jpg").await, Ok(Deleted { existed: false }));
        let told =
            ["BucketCreated album/", "Put album/rose.jpg", "Delete album/rose.jpg", "NoOp album/rose.jpg"];
        assert_eq!(fixture.told().await, told);
        assert!(fixture.changes().await[2..].iter().all(|change| change.object.is_none()));
    }

    #[tokio::test]
    async fn a_delete_without_a_condition_looks_at_nothing_before_its_commit() {
        let fixture = Fixture::new().await;
        fixture.put("rose.jpg", b"ab").await;
        let before = fixture.engine.scanned_entries();
        fixture.delete("rose.jpg").await.unwrap();
        fixture.delete("rose.jpg").await.unwrap();
        assert_eq!(fixture.engine.scanned_entries(), before);
    }

    #[tokio::test]
    async fn a_delete_names_the_version_it_was_asked_to() {
        let fixture = Fixture::new().await;
        fixture.put("rose.jpg", b"ab").await;
        for version in [VersionId::Id(7), VersionId::Null] {
            let delete = DeleteObject { version: Some(version), ..to_delete("rose.jpg") };
            fixture.store.delete_object(&fixture.album, delete, Origin::default()).await.unwrap();
        }
        let told: Vec<_> = fixture.changes().await.into_iter().map(|change| change.version).collect();
        assert_eq!(told, [None, None, Some(VersionId::Id(7)), Some(VersionId::Null)]);
        let kinds = fixture.told().await;
        assert_eq!(kinds[2..], ["NoOp album/rose.jpg", "Delete album/rose.jpg"]);
    }

    #[tokio::test]
    async fn a_condition_on_what_is_not_there_asks_nothing() {
        let fixture = Fixture::new().await;
        let (store, album) = (&fixture.store, &fixture.album);
        let gone = store.delete_object(album, if_match("rose.jpg", "x"), Origin::default()).await;
        assert_eq!(gone, Ok(Deleted { existed: false }));

        let etag = fixture.put("rose.jpg", b"ab").await.etag;
        let refused = store.delete_object(album, if_match("rose.jpg", "x"), Origin::default()).await;
        let condition = "If-Match";
        let failed = Error::PreconditionFailed { bucket: album.clone(), key: key("rose.jpg"), condition };
        assert_eq!(refused, Err(failed));
        let deleted = store.delete_object(album, if_match("rose.jpg", &etag.0), Origin::default()).await;
        assert_eq!(deleted, Ok(Deleted { existed: true }));
    }

    #[tokio::test]
    async fn many_are_deleted_in_one_commit_and_conditions_judged_one_by_one() {
        let fixture = Fixture::new().await;
        fixture.put("a", b"ab").await;
        fixture.put("c", b"ab").await;
        let deletes = vec![to_delete("a"), to_delete("b"), if_match("c", "x"), to_delete("d")];

        let answers = fixture.store.delete_objects(&fixture.album, deletes, Origin::default()).await.unwrap();

        let condition = "If-Match";
        let failed = Error::PreconditionFailed { bucket: fixture.album.clone(), key: key("c"), condition };
        let gone = Ok(Deleted { existed: true });
        assert_eq!(answers, [gone.clone(), gone.clone(), Err(failed), gone]);
        let told = fixture.told().await;
        assert_eq!(told[3..], ["Delete album/a", "Delete album/b", "Delete album/d"]);
        assert_eq!(fixture.recorder.woken().len(), 5, "bucket, two puts, two batches of deletes");
    }

    #[tokio::test]
    async fn a_thousand_of_the_longest_keys_are_cut_into_batches() {
        let fixture = Fixture::new().await;
        let deletes = (0..1000).map(|number| to_delete(&format!("{number:01024}"))).collect();
        let answers = fixture.store.delete_objects(&fixture.album, deletes, Origin::default()).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(fixture.told().await.len(), 1001);
        let batches = fixture.recorder.woken().len() - 1;
        assert!((8..=10).contains(&batches), "{batches} batches");
    }
}
