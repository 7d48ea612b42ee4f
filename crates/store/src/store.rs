//! The façade: buckets, and what every other operation needs to build its batch.
//!
//! Every write goes the same way: take the bucket as it is known, build one batch with the bucket's record
//! as first precondition, commit, wake the recorder, give back what the commit unnamed. When the bucket's
//! record has changed meanwhile it is loaded again and the batch built anew, at most
//! [`COMMIT_TRIES_MAX`] times.
//!
//! The store runs nothing of its own: the future of a write must be driven to its end. One that is dropped
//! halfway may have committed; the recorder then hears of it with the next commit, and bytes that it no
//! longer needs are found when the engine next starts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::lock::Mutex;
use parking_lot::RwLock;

use crate::batch::{Batch, Precondition};
use crate::bucket::{Bucket, Creations};
use crate::change::{Change, ChangeKind, ObjectSummary, Origin, Sequence};
use crate::clock::Clock;
use crate::content::Abandoned;
use crate::engine::{Committed, Engine, EngineError, KeyRange, Location, PartitionId};
use crate::error::Error;
use crate::names::{BucketName, ObjectKey, VersionId};
use crate::recorder::{Recipients, Recorder};
use crate::schema;

/// How often an operation is begun again because others changed what it rests on.
pub const COMMIT_TRIES_MAX: u32 = 16;

/// Entries read at once where everything under a prefix is wanted.
pub(crate) const SCAN_ENTRIES: usize = 1000;

/// What buckets, objects and uploads mean, over one engine. One per server; shared by reference.
pub struct Store {
    pub(crate) engine: Arc<dyn Engine>,
    /// Those of the engine, in its order.
    pub(crate) partitions: Vec<PartitionId>,
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
    pub(crate) buckets: RwLock<BTreeMap<BucketName, Arc<Bucket>>>,
    /// Held while a bucket's record is written or loaded again, so that `buckets` follows the commits in
    /// their order.
    pub(crate) bucket_writes: Mutex<Creations>,
    newest: BTreeMap<PartitionId, AtomicU64>,
    /// Shared by whoever moves a cursor forward, alone for whoever moves one back: what a commit says that every target
    /// has acknowledged is true then when it is durable.
    pub(crate) cursors: async_lock::RwLock<()>,
    pub(crate) abandoned: Arc<Abandoned>,
}

impl Store {
    /// Opens the store: every bucket and its rules are loaded on return.
    ///
    /// # Errors
    ///
    /// What the engine says, and `Unreadable`: also when two partitions have the same bucket.
    pub async fn open(
        engine: Arc<dyn Engine>,
        recorder: Arc<dyn Recorder>,
        clock: Arc<dyn Clock>,
    ) -> Result<Store, Error> {
        let partitions: Vec<PartitionId> =
            engine.partitions().into_iter().map(|partition| partition.id).collect();
        let mut buckets = BTreeMap::<BucketName, Arc<Bucket>>::new();
        let mut newest = BTreeMap::new();
        for &partition in &partitions {
            for (key, entry) in scan_all(&*engine, partition, schema::BUCKETS).await? {
                let bucket = Bucket::from_entry(partition, &key, &entry)?;
                if let Some(twin) = buckets.get(&bucket.name) {
                    let (one, other) = (twin.partition.0, partition.0);
                    return Err(schema::unreadable(
                        &key,
                        &format!(
                            "partitions {one} and {other} both have this bucket: drives of two servers are mixed"
                        ),
                    ));
                }
                buckets.insert(bucket.name.clone(), Arc::new(bucket));
            }
            let sequence = newest_change(&*engine, partition).await?;
            newest.insert(partition, AtomicU64::new(sequence.0));
        }
        Ok(Store {
            engine,
            partitions,
            recorder,
            clock,
            buckets: RwLock::new(buckets),
            bucket_writes: Mutex::default(),
            newest,
            cursors: async_lock::RwLock::default(),
            abandoned: Arc::default(),
        })
    }

    /// All buckets, sorted by name.
    pub fn buckets(&self) -> Vec<Arc<Bucket>> {
        self.buckets.read().values().cloned().collect()
    }

    /// A bucket.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`.
    pub fn bucket(&self, name: &BucketName) -> Result<Arc<Bucket>, Error> {
        let bucket = self.buckets.read().get(name).cloned();
        bucket.ok_or_else(|| Error::NoSuchBucket { bucket: name.clone() })
    }

    /// The newest sequence a partition has committed; zero for a partition that is not there.
    pub fn newest(&self, partition: PartitionId) -> Sequence {
        let newest = self.newest.get(&partition).map_or(0, |newest| newest.load(Ordering::Acquire));
        Sequence(newest)
    }

    /// The recorder.
    pub fn recorder(&self) -> &dyn Recorder {
        &*self.recorder
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Refuses a batch that tells something to a target for which nothing more may wait.
    pub(crate) fn admit(&self, partition: PartitionId, batch: &Batch) -> Result<(), Error> {
        let named = batch.changes.iter().filter(|change| !change.targets.is_empty());
        match named.filter_map(|change| self.recorder.full(partition, &change.targets)).next() {
            Some(target) => Err(Error::TargetFull { target }),
            None => Ok(()),
        }
    }

    /// Commits a batch, wakes the recorder and gives back what nothing names any more.
    pub(crate) async fn commit(
        &self,
        partition: PartitionId,
        batch: Batch,
    ) -> Result<Committed, EngineError> {
        let tells_changes = !batch.changes.is_empty();
        let committed = self.engine.commit(partition, batch).await?;
        if let Some(newest) = self.newest.get(&partition) {
            newest.fetch_max(committed.sequence.0, Ordering::AcqRel);
        }
        if tells_changes {
            self.recorder.committed(committed.sequence);
        }
        for location in &committed.unnamed {
            self.reclaim(location.clone()).await;
        }
        self.reclaim_abandoned().await;
        Ok(committed)
    }

    /// Gives back a staged body that nothing names. A failure is not the caller's: the engine finds the
    /// bytes again when it starts.
    pub(crate) async fn reclaim(&self, location: Location) {
        let _ = self.engine.reclaim(location).await;
    }

    /// Gives back the staged bodies that were dropped unused since this was last called.
    pub(crate) async fn reclaim_abandoned(&self) {
        for location in self.abandoned.take() {
            self.reclaim(location).await;
        }
    }

    /// The change of something that happened to a key now, for the targets that the bucket's rules name.
    ///
    /// A record names the null version only for keys that end in a slash: so MinIO tells it.
    pub(crate) fn change(
        &self,
        bucket: &Bucket,
        kind: ChangeKind,
        key: &ObjectKey,
        object: Option<ObjectSummary>,
        origin: &Origin,
    ) -> Change {
        let Recipients { targets, rules } = self.recorder.recipients(bucket, kind, key, object.as_ref());
        Change {
            sequence: Sequence::ZERO,
            time_ms: self.clock.now_ms(),
            kind,
            bucket: bucket.name.clone(),
            key: key.as_str().to_owned(),
            version: told_version(key, VersionId::Null),
            object,
            origin: Some(origin.clone()),
            targets,
            rules,
        }
    }
}

/// The version that the record of a change names: the null version only of an object that looks like a folder.
pub(crate) fn told_version(key: &ObjectKey, version: VersionId) -> Option<VersionId> {
    (version != VersionId::Null || key.as_str().ends_with('/')).then_some(version)
}

/// The precondition under which a bucket's rules are those of the assigned sequence.
pub(crate) fn bucket_unchanged(bucket: &Bucket) -> Precondition {
    Precondition::Unchanged(schema::bucket_key(&bucket.name), bucket.sequence)
}

/// Everything under a prefix, page by page.
pub(crate) async fn scan_all(
    engine: &dyn Engine,
    partition: PartitionId,
    prefix: &[u8],
) -> Result<Vec<(bytes::Bytes, crate::engine::Entry)>, EngineError> {
    let mut range = KeyRange::prefix(prefix);
    let mut all = Vec::new();
    loop {
        let page = engine.scan(partition, range.clone(), SCAN_ENTRIES).await?;
        let is_last = page.len() < SCAN_ENTRIES;
        all.extend(page);
        match all.last() {
            Some((key, _)) if !is_last => range.start = schema::just_after(key),
            _ => return Ok(all),
        }
    }
}

/// The sequence of the newest change of a partition, by halving: at most 64 questions, no writing.
async fn newest_change(engine: &dyn Engine, partition: PartitionId) -> Result<Sequence, EngineError> {
    let (mut at_least, mut at_most) = (0u64, u64::MAX);
    while at_least < at_most {
        let middle = at_least + (at_most - at_least) / 2;
        match engine.changes(partition, Sequence(middle), 1).await?.first() {
            Some(change) => at_least = change.sequence.0,
            None => at_most = middle,
        }
    }
    Ok(Sequence(at_least))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::{COMMIT_TRIES_MAX, Store};
    use crate::bucket::Bucket;
    use crate::change::Origin;
    use crate::engine::{EngineError, PartitionId};
    use crate::error::Error;
    use crate::precondition::{EntityMatch, WriteCondition};
    use crate::testing::fixture::{Fixture, HOME, bucket, key, to_delete};

    #[tokio::test]
    async fn a_rule_that_changes_between_matching_and_commit_decides_over_the_targets() {
        let fixture = Fixture::new().await;
        let other = fixture.another_store().await;
        let rules = Some(Bytes::from_static(b"1:kafka,2:mqtt"));
        other.set_document(&fixture.album, Bucket::NOTIFICATION, rules).await.unwrap();

        fixture.put("rose.jpg", b"ab").await;
        fixture.delete("rose.jpg").await.unwrap();

        let changes = fixture.changes().await;
        let targets: Vec<_> = changes.into_iter().map(|change| change.targets).collect();
        let both = ["1:kafka".to_owned(), "2:mqtt".to_owned()].to_vec();
        assert_eq!(targets, [vec![], both.clone(), both]);
    }

    #[tokio::test]
    async fn a_bucket_that_went_meanwhile_is_not_written_to() {
        let fixture = Fixture::new().await;
        let other = fixture.another_store().await;
        other.delete_bucket(&fixture.album, Origin::default()).await.unwrap();
        let gone = Error::NoSuchBucket { bucket: fixture.album.clone() };

        let put = fixture.to_put("rose.jpg", &[1; 200_000]).await;
        assert_eq!(fixture.store.put_object(put).await.unwrap_err(), gone);
        assert_eq!(fixture.store.bucket(&fixture.album), Err(gone));
        assert_eq!(fixture.engine.body_count(), 0);
        assert_eq!(fixture.told().await, ["BucketCreated album/", "BucketRemoved album/"]);
    }

    #[tokio::test]
    async fn an_operation_gives_up_after_its_tries() {
        let fixture = Fixture::new().await;
        let refusals = vec![EngineError::Precondition { index: 1 }; COMMIT_TRIES_MAX as usize];
        let contended =
            Error::Contended { bucket: fixture.album.clone(), key: key("rose.jpg"), tries: COMMIT_TRIES_MAX };
        let condition = WriteCondition { if_none_match: Some(EntityMatch::Any), ..WriteCondition::default() };

        fixture.engine.fail_commits(refusals.clone());
        assert_eq!(fixture.put_if("rose.jpg", b"ab", condition.clone()).await.unwrap_err(), contended);
        fixture.engine.fail_commits(refusals.clone());
        assert_eq!(fixture.delete("rose.jpg").await.unwrap_err(), contended);
        fixture.engine.fail_commits(refusals[1..].to_vec());
        assert!(fixture.put_if("rose.jpg", b"ab", condition).await.is_ok());
    }

    #[tokio::test]
    async fn what_a_full_target_would_have_to_be_told_is_refused_and_nothing_changes() {
        let fixture = Fixture::new().await;
        fixture.put("free", b"ab").await;
        let rules = Some(Bytes::from_static(b"1:kafka,2:mqtt"));
        fixture.store.set_document(&fixture.album, Bucket::NOTIFICATION, rules).await.unwrap();
        fixture.recorder.set_full(&["2:mqtt"]);
        let full = Error::TargetFull { target: "2:mqtt".to_owned() };
        let put = fixture.to_put("rose.jpg", b"ab").await;
        assert_eq!(fixture.store.put_object(put).await.unwrap_err(), full);
        assert_eq!(fixture.delete("free").await.unwrap_err(), full);
        let deletes = vec![to_delete("free"), to_delete("rose.jpg")];
        let deleted = fixture.store.delete_objects(&fixture.album, deletes, Origin::default()).await;
        assert_eq!(deleted, Ok(vec![Err(full.clone()), Err(full)]));
        assert_eq!(fixture.told().await, ["BucketCreated album/", "Put album/free"]);

        fixture.recorder.set_full(&["3:nats"]);
        fixture.delete("free").await.unwrap();
    }

    #[tokio::test]
    async fn commits_that_tell_something_wake_the_recorder_and_no_others() {
        let fixture = Fixture::new().await;
        let store = &fixture.store;
        let object = fixture.put("rose.jpg", b"ab").await;
        store.set_document(&fixture.album, Bucket::NOTIFICATION, None).await.unwrap();
        store.advance(HOME, "1:kafka", object.sequence).await.unwrap();
        store.change_settings(vec![("config".to_owned(), Some(Bytes::new()))]).await.unwrap();
        store
            .delete_objects(&fixture.album, vec![to_delete("a"), to_delete("b")], Origin::default())
            .await
            .unwrap();

        let told: Vec<_> = fixture.changes().await.iter().map(|change| change.sequence).collect();
        assert_eq!(fixture.recorder.woken(), [told[0], told[1], told[3]]);
        assert_eq!(store.newest(HOME), told[3]);
    }

    #[tokio::test]
    async fn a_store_that_opens_knows_its_buckets_and_the_newest_change() {
        let fixture = Fixture::new().await;
        let rules = Some(Bytes::from_static(b"1:kafka"));
        fixture.store.set_document(&fixture.album, Bucket::NOTIFICATION, rules).await.unwrap();
        fixture.store.create_bucket(bucket("attic"), Origin::default()).await.unwrap();
        fixture.put("rose.jpg", b"ab").await;

        let again = fixture.another_store().await;

        assert_eq!(again.buckets(), fixture.store.buckets());
        assert_eq!(again.newest(HOME), fixture.store.newest(HOME));
        assert_eq!(again.newest(PartitionId(9)).0, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn from_the_first_change_under_a_new_rule_on_no_change_is_under_an_old_one() {
        let fixture = Arc::new(Fixture::new().await);
        let writers = (0..4).map(|writer| {
            let fixture = Arc::clone(&fixture);
            tokio::spawn(async move {
                for _ in 0..100 {
                    fixture.put(&format!("{writer}"), b"ab").await;
                    tokio::task::yield_now().await;
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        for number in 1..=20 {
            let rules = Some(Bytes::from(format!("{number:02}:kafka")));
            fixture.store.set_document(&fixture.album, Bucket::NOTIFICATION, rules).await.unwrap();
            tokio::task::yield_now().await;
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let targets: Vec<_> = fixture.changes().await.into_iter().map(|change| change.targets).collect();
        assert_eq!(targets.len(), 401);
        assert!(targets.is_sorted(), "an old rule decided after a new one: {targets:?}");
    }

    /// So that a task may drive an operation to its end when its caller goes away.
    #[test]
    fn the_futures_of_operations_can_be_sent() {
        fn can_be_sent<A, F: Send>(_operation: impl FnOnce(&'static Store, A) -> F) {}
        can_be_sent(Store::put_object);
        can_be_sent(Store::complete_upload);
        can_be_sent(|store, (object, range)| store.read(object, range));
        can_be_sent(|store, (name, origin)| store.delete_bucket(name, origin));
        can_be_sent(|store, (name, deletes, origin)| store.delete_objects(name, deletes, origin));
        can_be_sent(|store, (name, query)| store.list_objects(name, query));
    }
}
