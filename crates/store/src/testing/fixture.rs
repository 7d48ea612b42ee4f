//! A store over a memory engine with one bucket, `album`, and words to use it in a line each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::TryStreamExt;
use parking_lot::Mutex;

use crate::bucket::Bucket;
use crate::change::{Change, ChangeKind, ObjectSummary, Origin, Sequence};
use crate::clock::Clock;
use crate::content::Content;
use crate::engine::{Engine, PartitionId};
use crate::error::Error;
use crate::names::{BucketName, ObjectKey};
use crate::object::{DeleteObject, Deleted, ETag, Object, ObjectHeaders, PutObject};
use crate::precondition::WriteCondition;
use crate::recorder::{Recipients, Recorder};
use crate::store::Store;
use crate::testing::MemoryEngine;

/// The partition of the album, and of every bucket that is made beside it. It is not the first one, so that what is
/// looked for or written without asking where the bucket lives goes astray.
pub const HOME: PartitionId = PartitionId(1);

/// The partition of which no bucket of a fixture is.
pub const ELSEWHERE: PartitionId = PartitionId(0);

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct HandClock {
    now_ns: AtomicU64,
    steady_ms: AtomicU64,
}

impl HandClock {
    /// A clock that stands at so many milliseconds since 1970.
    pub fn at_ms(now_ms: u64) -> HandClock {
        HandClock { now_ns: AtomicU64::new(now_ms * 1_000_000), steady_ms: AtomicU64::new(0) }
    }

    /// Moves it on: so much time passes.
    pub fn advance_ms(&self, by_ms: u64) {
        self.steady_ms.fetch_add(by_ms, Ordering::Relaxed);
        self.step_ms(by_ms);
    }

    /// Sets it forward: no time passes.
    pub fn step_ms(&self, by_ms: u64) {
        self.now_ns.fetch_add(by_ms * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn steady_ms(&self) -> u64 {
        self.steady_ms.load(Ordering::Relaxed)
    }
}

/// A recorder whose rules are plain: the notification document of a bucket lists the targets of every
/// change, separated by commas. It remembers what woke it.
#[derive(Debug, Default)]
pub struct ListedTargets {
    woken: Mutex<Vec<Sequence>>,
    full: Mutex<Vec<String>>,
}

impl ListedTargets {
    /// The sequences it was woken with, in order.
    pub fn woken(&self) -> Vec<Sequence> {
        self.woken.lock().clone()
    }

    /// Says for which targets nothing more may wait in the album's partition.
    pub fn set_full(&self, targets: &[&str]) {
        *self.full.lock() = targets.iter().map(|&target| target.to_owned()).collect();
    }
}

impl Recorder for ListedTargets {
    fn recipients(
        &self,
        bucket: &Bucket,
        _kind: ChangeKind,
        _key: &ObjectKey,
        _object: Option<&ObjectSummary>,
    ) -> Recipients {
        let document =
            bucket.document(Bucket::NOTIFICATION).map(|text| String::from_utf8_lossy(text).into_owned());
        let targets = document.map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default();
        Recipients { targets, rules: Vec::new() }
    }

    fn is_awaited(&self, _bucket: &Bucket, _kind: ChangeKind, _key: &ObjectKey) -> bool {
        false
    }

    fn full(&self, partition: PartitionId, targets: &[String]) -> Option<String> {
        let full = self.full.lock();
        targets.iter().find(|target| partition == HOME && full.contains(target)).cloned()
    }

    fn committed(&self, sequence: Sequence) {
        self.woken.lock().push(sequence);
    }
}

/// See the module header. The clock stands at 1,700,000,000,000 ms.
pub struct Fixture {
    /// The engine.
    pub engine: MemoryEngine,
    /// The clock of engine and store.
    pub clock: Arc<HandClock>,
    /// The recorder of the store.
    pub recorder: Arc<ListedTargets>,
    /// The store.
    pub store: Store,
    /// The bucket `album`.
    pub album: BucketName,
}

impl Fixture {
    /// Makes it.
    pub async fn new() -> Fixture {
        let clock = Arc::new(HandClock::at_ms(1_700_000_000_000));
        let engine = MemoryEngine::with(Arc::<HandClock>::clone(&clock), 2);
        engine.set_room(ELSEWHERE, 0, 1);
        let recorder = Arc::new(ListedTargets::default());
        let store = open(&engine, &recorder, &clock).await;
        let album = bucket("album");
        store.create_bucket(album.clone(), Origin::default()).await.expect("the store is empty");
        Fixture { engine, clock, recorder, store, album }
    }

    /// Another store over the same engine: what it writes, the first one does not know.
    pub async fn another_store(&self) -> Store {
        open(&self.engine, &self.recorder, &self.clock).await
    }

    /// A received body.
    pub async fn content(&self, body: &[u8]) -> Content {
        let size_bytes = Some(body.len() as u64);
        let mut writer = self.store.receive(&self.album, size_bytes).await.expect("the bucket is there");
        writer.write(Bytes::copy_from_slice(body)).await.expect("the engine takes bodies");
        writer.finish().await.expect("the engine takes bodies")
    }

    /// A put into the album, with an entity tag made of the size.
    pub async fn to_put(&self, name: &str, body: &[u8]) -> PutObject {
        PutObject {
            bucket: self.album.clone(),
            key: key(name),
            content: self.content(body).await,
            etag: ETag(format!("{:032x}", body.len())),
            headers: ObjectHeaders::default(),
            checksum: None,
            condition: WriteCondition::default(),
            kind: ChangeKind::Put,
            origin: Origin::default(),
        }
    }

    /// Puts an object into the album.
    pub async fn put(&self, name: &str, body: &[u8]) -> Object {
        self.store.put_object(self.to_put(name, body).await).await.expect("nothing speaks against the put")
    }

    /// Puts an object under a condition.
    pub async fn put_if(&self, name: &str, body: &[u8], condition: WriteCondition) -> Result<Object, Error> {
        let put = PutObject { condition, ..self.to_put(name, body).await };
        self.store.put_object(put).await
    }

    /// The current object of a key of the album.
    pub async fn object(&self, name: &str) -> Result<Object, Error> {
        self.store.object(&self.album, &key(name), None).await
    }

    /// All bytes of an object.
    pub async fn body(&self, object: &Object) -> Vec<u8> {
        self.range(object, 0..object.size_bytes).await
    }

    /// Bytes of an object.
    pub async fn range(&self, object: &Object, range: std::ops::Range<u64>) -> Vec<u8> {
        let stream = self.store.read(object, range).await.expect("the object is there");
        let chunks: Vec<Bytes> = stream.try_collect().await.expect("the body is whole");
        chunks.concat()
    }

    /// Deletes a key of the album.
    pub async fn delete(&self, name: &str) -> Result<Deleted, Error> {
        self.store.delete_object(&self.album, to_delete(name), Origin::default()).await
    }

    /// Every change of the album's partition so far.
    pub async fn changes(&self) -> Vec<Change> {
        let changes = self.engine.changes(HOME, Sequence::ZERO, 10_000).await;
        changes.expect("the engine can be read").into_iter().map(Arc::unwrap_or_clone).collect()
    }

    /// Every change so far, as `Put album/rose.jpg`.
    pub async fn told(&self) -> Vec<String> {
        let changes = self.changes().await;
        changes.iter().map(|change| format!("{:?} {}/{}", change.kind, change.bucket, change.key)).collect()
    }
}

async fn open(engine: &MemoryEngine, recorder: &Arc<ListedTargets>, clock: &Arc<HandClock>) -> Store {
    let opened = Store::open(
        Arc::new(engine.clone()),
        Arc::<ListedTargets>::clone(recorder),
        Arc::<HandClock>::clone(clock),
    );
    opened.await.expect("the engine can be read")
}

/// A bucket's name.
pub fn bucket(name: &str) -> BucketName {
    BucketName::new(name).expect("a bucket's name")
}

/// An object's key.
pub fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).expect("an object's key")
}

/// An unconditional delete of a key.
pub fn to_delete(name: &str) -> DeleteObject {
    DeleteObject { key: key(name), version: None, condition: WriteCondition::default() }
}
