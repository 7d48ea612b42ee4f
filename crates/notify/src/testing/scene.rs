//! A store in memory with one bucket, `album`, a notifier, and words to use them in a line each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::object::PutObject;
use store::testing::MemoryEngine;
use store::testing::fixture::{ELSEWHERE, HandClock, bucket, key};
use store::{
    Bucket, BucketName, ChangeKind, Clock, ETag, Object, ObjectHeaders, Origin, PartitionId, Recorder,
    Sequence, Store, WriteCondition,
};
use tidings_store as store;

use crate::arn::Arn;
use crate::event::Event;
use crate::filter::Filter;
use crate::notifier::Notifier;
use crate::rule::{Configuration, RawConfiguration, RawRule, Rule};
use crate::target::{Delivery, TargetId, TargetReport, TargetSettings};
use crate::testing::memory::MemoryTarget;

/// How long anything in a test may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long anything may take in a test whose clock runs by itself.
const PAUSED_DEADLINE: Duration = Duration::from_secs(3600);

/// See the module header.
pub(crate) struct Scene {
    pub(crate) engine: MemoryEngine,
    /// The clock of store and notifier, and in a fresh scene of the engine.
    pub(crate) clock: Arc<HandClock>,
    pub(crate) store: Arc<Store>,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) album: BucketName,
}

impl Scene {
    /// A fresh store and a notifier that knows these targets and runs all of them.
    pub(crate) async fn new(targets: &[(&str, &MemoryTarget)]) -> Scene {
        let clock = clock();
        let engine = MemoryEngine::with(Arc::<HandClock>::clone(&clock), 2);
        // The album is not in the first partition: what is looked for there goes astray.
        engine.set_room(ELSEWHERE, 0, 1);
        let scene = Scene::by(clock, engine, targets).await;
        let created = scene.store.create_bucket(scene.album.clone(), Origin::default()).await;
        created.expect("the store is empty");
        let ids: Vec<&str> = targets.iter().map(|&(id, _)| id).collect();
        assert_eq!(scene.apply(&ids).await, []);
        scene
    }

    /// As a server finds it that starts over what another one left; no target runs yet.
    pub(crate) async fn over(engine: MemoryEngine, targets: &[(&str, &MemoryTarget)]) -> Scene {
        Scene::by(clock(), engine, targets).await
    }

    async fn by(clock: Arc<HandClock>, engine: MemoryEngine, targets: &[(&str, &MemoryTarget)]) -> Scene {
        let notifier = MemoryTarget::notifier(targets, Arc::<HandClock>::clone(&clock));
        let recorder: Arc<dyn Recorder> = Arc::<Notifier>::clone(&notifier);
        let own_clock: Arc<dyn Clock> = Arc::<HandClock>::clone(&clock);
        let store = Store::open(Arc::new(engine.clone()), recorder, own_clock).await;
        let store = Arc::new(store.expect("the engine can be read"));
        notifier.start(Arc::clone(&store));
        Scene { engine, clock, store, notifier, album: bucket("album") }
    }

    /// The same server seen from another bucket, which is made.
    pub(crate) async fn in_bucket(&self, name: &str) -> Scene {
        let created = self.store.create_bucket(bucket(name), Origin::default()).await;
        created.expect("the name is free");
        Scene {
            engine: self.engine.clone(),
            clock: Arc::clone(&self.clock),
            store: Arc::clone(&self.store),
            notifier: Arc::clone(&self.notifier),
            album: bucket(name),
        }
    }

    /// Where the album lives.
    fn partition(&self) -> PartitionId {
        self.store.bucket(&self.album).expect("the album is there").partition
    }

    /// Makes these the targets.
    pub(crate) async fn apply(&self, ids: &[&str]) -> Vec<(String, String)> {
        self.notifier.apply(ids.iter().map(|id| settings(id, "")).collect()).await
    }

    /// Gives the only target these settings.
    pub(crate) async fn set(&self, target: &str, values: &[(&'static str, &str)]) {
        let values = values.iter().map(|&(name, value)| (name, value.to_owned())).collect();
        let settings = TargetSettings { values, ..settings(target, "") };
        assert_eq!(self.notifier.apply(vec![settings]).await, []);
    }

    /// Sets the album's rules: pairs of prefix and target, for everything created and removed.
    pub(crate) async fn announce(&self, rules: &[(&str, &str)]) {
        let rules = rules.iter().map(|(prefix, target)| RawRule {
            id: String::new(),
            arn: format!("arn:minio:sqs::{target}:memory"),
            events: vec!["s3:ObjectCreated:*".to_owned(), "s3:ObjectRemoved:*".to_owned()],
            filters: vec![("prefix".to_owned(), (*prefix).to_owned())],
            ..RawRule::default()
        });
        let raw = RawConfiguration { rules: rules.collect(), ..RawConfiguration::default() };
        let rules = self.notifier.check_rules(&raw, None).expect("the rules are right");
        let set = self
            .store
            .set_document(&self.album, Bucket::NOTIFICATION, Some(Bytes::from(rules.encode())))
            .await;
        set.expect("the album is there");
    }

    /// Sets a rule for everything, of a target that need not be configured.
    pub(crate) async fn announce_any(&self, target: &str) {
        let arn = Arn { region: String::new(), id: target.to_owned(), kind: "memory".to_owned() };
        let events = vec![Event::parse("s3:ObjectCreated:*").expect("the name is known")];
        let rule = Rule {
            id: String::new(),
            events,
            prefix: None,
            suffix: None,
            filter: Filter::default(),
            target: arn,
        };
        let text = Bytes::from(Configuration { rules: vec![rule] }.encode());
        self.store
            .set_document(&self.album, Bucket::NOTIFICATION, Some(text))
            .await
            .expect("the album is there");
    }

    /// Puts an empty object into the album.
    pub(crate) async fn put(&self, name: &str) {
        self.try_put(name).await.expect("nothing speaks against the put");
    }

    /// The same where something may.
    pub(crate) async fn try_put(&self, name: &str) -> Result<Object, store::Error> {
        let writer = self.store.receive(&self.album, Some(0)).await.expect("the album is there");
        let put = PutObject {
            bucket: self.album.clone(),
            key: key(name),
            content: writer.finish().await.expect("the engine takes bodies"),
            etag: ETag("d41d8cd98f00b204e9800998ecf8427e".to_owned()),
            headers: ObjectHeaders::default(),
            checksum: None,
            condition: WriteCondition::default(),
            kind: ChangeKind::Put,
            origin: Origin::default(),
        };
        self.store.put_object(put).await
    }

    /// Puts several, one after the other.
    pub(crate) async fn put_all(&self, names: &[&str]) {
        for name in names {
            self.put(name).await;
        }
    }

    /// What a target of the album must have received: key and sequencer of every change that names it.
    pub(crate) async fn owed(&self, target: &str) -> Vec<(String, String)> {
        let name = format!("{target}:memory");
        let changes = self
            .store
            .changes(self.partition(), Sequence::ZERO, 100_000)
            .await
            .expect("the engine can be read");
        let own = changes.into_iter().filter(|change| change.targets.contains(&name));
        own.map(|change| (format!("{}/{}", change.bucket, change.key), change.sequence.to_sequencer()))
            .collect()
    }

    /// Where a target stands.
    pub(crate) async fn cursor(&self, target: &str) -> Option<Sequence> {
        self.store
            .cursor(self.partition(), &format!("{target}:memory"))
            .await
            .expect("the engine can be read")
    }

    /// How a target is.
    pub(crate) async fn report(&self, target: &str) -> TargetReport {
        let reports = self.notifier.reports().await.into_iter();
        reports.into_iter().find(|report| report.target.id == target).expect("the target is configured")
    }

    /// Waits until a report of a target is as it should be. For tests whose clock runs by itself too.
    pub(crate) async fn reported(&self, target: &str, is_so: impl Fn(&TargetReport) -> bool) {
        until(async || is_so(&self.report(target).await)).await;
    }

    /// Waits until a target has so many dead letters.
    pub(crate) async fn has_dead(&self, target: &str, letters: usize) {
        // They are counted just before they are written.
        let name = format!("{target}:memory");
        until(async || {
            let found = self.notifier.dead_letters(&name, None, 100).await;
            found.expect("the engine can be read").len() == letters
        })
        .await;
    }

    /// Waits until so many changes wait for a target.
    pub(crate) async fn waiting(&self, target: &str, changes: u64) {
        self.reported(target, |report| report.waiting == changes).await;
    }

    /// Waits until a target has acknowledged everything there is.
    pub(crate) async fn caught_up(&self, target: &str) {
        let newest = self
            .store
            .changes(self.partition(), Sequence::ZERO, 100_000)
            .await
            .expect("the engine can be read");
        let newest = newest.last().map_or(Sequence::ZERO, |change| change.sequence);
        until(async || self.cursor(target).await >= Some(newest)).await;
    }
}

/// Settings of a target in memory; a different note makes them differ.
pub(crate) fn settings(id: &str, note: &str) -> TargetSettings {
    TargetSettings {
        target: TargetId { id: id.to_owned(), kind: "memory" },
        values: BTreeMap::from([("comment", note.to_owned())]),
    }
}

/// Fails the test when something takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("what the test waits for comes in time")
}

/// Looks until it is so, for a time that a clock which runs by itself does not shorten.
pub(crate) async fn until(is_so: impl AsyncFn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < DEADLINE, "what the test waits for comes in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// As [`within`], for tests whose clock runs by itself.
pub(crate) async fn within_an_hour<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PAUSED_DEADLINE, future).await.expect("what the test waits for comes in time")
}

/// Key and sequencer of what was delivered, in the order received.
pub(crate) fn told(received: &[Delivery]) -> Vec<(String, String)> {
    let told = received.iter().map(|delivery| {
        let record: serde_json::Value = serde_json::from_slice(&delivery.body).expect("a record is JSON");
        let sequencer =
            record["Records"][0]["s3"]["object"]["sequencer"].as_str().expect("a record has a sequencer");
        (delivery.key.clone(), sequencer.to_owned())
    });
    told.collect()
}

/// Just the keys of what was delivered, in the order received.
pub(crate) fn keys(received: &[Delivery]) -> Vec<&str> {
    received.iter().map(|delivery| delivery.key.as_str()).collect()
}

/// The sequencers of each key, in the order received.
pub(crate) fn by_key(told: Vec<(String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, sequencer) in told {
        by_key.entry(key).or_default().push(sequencer);
    }
    by_key
}

fn clock() -> Arc<HandClock> {
    Arc::new(HandClock::at_ms(1_700_000_000_000))
}
