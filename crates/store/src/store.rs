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
use crate::bucket::Bucket;
use crate::change::{Change, ChangeKind, Origin, Sequence};
use crate::clock::Clock;
use crate::content::Abandoned;
use crate::engine::{Committed, Engine, EngineError, KeyRange, Location, PartitionId};
use crate::error::Error;
use crate::names::{BucketName, ObjectKey, VersionId};
use crate::recorder::Recorder;
use crate::schema;

/// How often an operation is begun again because others changed what it rests on.
pub const COMMIT_TRIES_MAX: u32 = 16;

/// Entries read at once where everything under a prefix is wanted.
pub(crate) const SCAN_ENTRIES: usize = 1000;

/// What buckets, objects and uploads mean, over one engine. One per server; shared by reference.
pub struct Store {
    pub(crate) engine: Arc<dyn Engine>,
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
    pub(crate) buckets: RwLock<BTreeMap<BucketName, Arc<Bucket>>>,
    /// Held while a bucket's record is written or loaded again, so that `buckets` follows the commits in
    /// their order.
    pub(crate) bucket_writes: Mutex<()>,
    newest: BTreeMap<PartitionId, AtomicU64>,
    pub(crate) abandoned: Arc<Abandoned>,
}

impl Store {
    /// Opens the store: every bucket and its rules are loaded on return.
    ///
    /// # Errors
    ///
    /// What the engine says, and `Unreadable`.
    pub async fn open(
        engine: Arc<dyn Engine>,
        recorder: Arc<dyn Recorder>,
        clock: Arc<dyn Clock>,
    ) -> Result<Store, Error> {
        let mut buckets = BTreeMap::new();
        let mut newest = BTreeMap::new();
        for partition in engine.partitions() {
            for (key, entry) in scan_all(&*engine, partition, schema::BUCKETS).await? {
                let bucket = Bucket::from_entry(partition, &key, &entry)?;
                buckets.insert(bucket.name.clone(), Arc::new(bucket));
            }
            let sequence = newest_change(&*engine, partition).await?;
            newest.insert(partition, AtomicU64::new(sequence.0));
        }
        Ok(Store {
            engine,
            recorder,
            clock,
            buckets: RwLock::new(buckets),
            bucket_writes: Mutex::new(()),
            newest,
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
        let newest = self
            .newest
            .get(&partition)
            .map_or(0, |newest| newest.load(Ordering::Acquire));
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
        origin: &Origin,
    ) -> Change {
        Change {
            sequence: Sequence::ZERO,
            time_ms: self.clock.now_ms(),
            kind,
            bucket: bucket.name.clone(),
            key: key.as_str().to_owned(),
            version: key.as_str().ends_with('/').then_some(VersionId::Null),
            object: None,
            origin: Some(origin.clone()),
            targets: self.recorder.targets(bucket, kind, key),
        }
    }
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
