//! Rebuilding what a target keeps of a bucket: it forgets the bucket's entries and is sent the objects that are there.
//!
//! For targets that keep an entry per object: a table, a hash, an index. Changes of the bucket wait for the target
//! meanwhile, those of other buckets go on. What happened while they waited is delivered behind it in its own order, so
//! an entry may show an older state for a moment and shows the newest when the target has caught up.
//!
//! An object is told as it is now, by the rules as they are now: with the sequencer and the time of the change that
//! made it, and without its caller, who is not kept.
//!
//! # Bounds
//!
//! One page of [`PAGE_OBJECTS`] objects in memory. A target that is away for [`PATIENCE`] ends it, and so do new
//! settings of the target and the end of the server: what is in the target then is a part of the bucket. To begin again
//! is right at any time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use store::{Bucket, BucketName, Change, ChangeKind, Store};
use tidings_store as store;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::control::{ControlError, named};
use crate::health::Health;
use crate::matching::CompiledRules;
use crate::notifier::{Notifier, ServerIdentity};
use crate::relay::BATCH_BYTES;
use crate::running::Held;
use crate::target::{Delivery, Outcome, Target};

/// Objects read at once.
const PAGE_OBJECTS: usize = 1000;

/// How long a target may take nothing before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// In which ways an object may have been made: a rule that tells of any of them tells of the object.
const CREATIONS: [ChangeKind; 4] =
    [ChangeKind::Put, ChangeKind::Post, ChangeKind::Copy, ChangeKind::CompleteMultipartUpload];

/// How far it is, and at the end what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resynced {
    /// Objects that the target was told of.
    pub told: u64,
    /// Objects whose record it refused for what it holds.
    pub refused: u64,
    /// Objects that no rule of the bucket tells it of.
    pub passed: u64,
}

/// A rebuilding that may begin: everything was checked, and the changes of the bucket wait.
pub struct Resync {
    store: Arc<Store>,
    server: Arc<ServerIdentity>,
    health: Arc<Health>,
    target: Arc<dyn Target>,
    /// `id:type`.
    name: String,
    bucket: Arc<Bucket>,
    rules: Arc<CompiledRules>,
    stop: CancellationToken,
    // Last: the changes go on when everything else is done with.
    _hold: Hold,
}

/// Has the changes of a bucket wait for a target until it is dropped.
struct Hold {
    held: watch::Sender<Held>,
    bucket: BucketName,
}

impl Hold {
    /// `None` when they wait already.
    fn begin(held: &watch::Sender<Held>, bucket: &BucketName) -> Option<Hold> {
        let is_first = held.send_if_modified(|held| held.buckets.insert(bucket.clone()));
        is_first.then(|| Hold { held: held.clone(), bucket: bucket.clone() })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.send_modify(|held| _ = held.buckets.remove(&self.bucket));
    }
}

impl Notifier {
    /// Prepares to have a target (`id:type`) rebuild what it keeps of a bucket. Changes of the bucket wait for it until
    /// the answer is dropped.
    ///
    /// # Errors
    ///
    /// `NoSuchTarget`, `Unusable`, `NotTold`, `Resyncing`; of the store `NoSuchBucket`.
    pub async fn resync(&self, target: &str, bucket: &BucketName) -> Result<Resync, ControlError> {
        let store = self.started()?;
        let targets = self.targets.lock().await;
        let running = named(targets.values(), target)?;
        let made = running.target.clone();
        let made = made.ok_or_else(|| unusable(target, running.fault().to_owned()))?;
        let bucket = store.bucket(bucket)?;
        let rules = self.rules.rules(&bucket);
        if !rules.lead_to(target) {
            let (target, bucket) = (target.to_owned(), bucket.name.clone());
            return Err(ControlError::NotTold { target, bucket });
        }
        let hold = Hold::begin(&running.held, &bucket.name).ok_or_else(|| ControlError::Resyncing {
            target: target.to_owned(),
            bucket: bucket.name.clone(),
        })?;
        Ok(Resync {
            server: Arc::clone(&self.identity),
            health: Arc::clone(&running.health),
            target: made,
            name: target.to_owned(),
            stop: running.stop.clone(),
            store,
            bucket,
            rules,
            _hold: hold,
        })
    }
}

fn unusable(target: &str, reason: String) -> ControlError {
    ControlError::Unusable { target: target.to_owned(), reason }
}

impl Resync {
    /// Does it, and tells how far it is.
    ///
    /// # Errors
    ///
    /// `Unusable` when the target does not forget, or takes nothing for [`PATIENCE`]; `Stopped`; what the store says.
    pub async fn run(self, told: &watch::Sender<Resynced>) -> Result<Resynced, ControlError> {
        let stop = self.stop.clone();
        let (target, bucket) = (self.name.clone(), self.bucket.name.clone());
        tracing::info!(target_id = %target, %bucket, "the target forgets the bucket and is sent what is in it");
        let done = tokio::select! {
            done = self.rebuild(told) => done,
            () = stop.cancelled() => Err(ControlError::Stopped { target: target.clone() }),
        };
        match &done {
            Ok(sum) => {
                tracing::info!(target_id = %target, %bucket, objects = sum.told, "the target has what is in the bucket");
            }
            Err(error) => {
                tracing::warn!(target_id = %target, %bucket, %error, "the target has only a part of what is in the bucket");
            }
        }
        done
    }

    async fn rebuild(self, told: &watch::Sender<Resynced>) -> Result<Resynced, ControlError> {
        let forgotten = self.target.forget(self.bucket.name.as_str()).await;
        forgotten.map_err(|reason| unusable(&self.name, reason))?;
        let mut sum = Resynced::default();
        let mut after = Some(String::new());
        while let Some(key) = after {
            let page = self.store.current_page(&self.bucket.name, &key, PAGE_OBJECTS).await?;
            let objects = page.changes.len() as u64;
            let deliveries = page.changes.into_iter().filter_map(|change| self.delivery(change));
            let batches = batches(deliveries, self.target.batch_max());
            sum.passed += objects - batches.iter().map(|batch| batch.len() as u64).sum::<u64>();
            let sending: Vec<_> = batches.into_iter().map(|batch| self.deliver(batch)).collect();
            let mut sent = stream::iter(sending).buffer_unordered(self.target.in_flight_max());
            while let Some((taken, refused)) = sent.try_next().await? {
                sum.told += taken;
                sum.refused += refused;
                told.send_replace(sum);
            }
            after = page.next;
        }
        told.send_replace(sum);
        Ok(sum)
    }

    /// The record of an object, if a rule tells this target of it.
    fn delivery(&self, change: Change) -> Option<Delivery> {
        let kinds = std::iter::once(change.kind).chain(CREATIONS);
        let (kind, rule) = kinds
            .filter_map(|kind| {
                let rule = self.rules.rule_for(&self.name, kind, &change.key, change.object.as_ref())?;
                Some((kind, rule.to_owned()))
            })
            .next()?;
        let change = Change { kind, targets: vec![self.name.clone()], rules: vec![rule], ..change };
        Some(Delivery::of(&change, &self.target.form(), &self.name, &self.server))
    }

    /// Delivers, again what the target was away for; how many it took and how many it refused.
    async fn deliver(&self, mut batch: Vec<Delivery>) -> Result<(u64, u64), ControlError> {
        let (mut taken, mut refused) = (0, 0);
        let mut backoff = Backoff::default();
        let mut heard = Instant::now();
        loop {
            let begin = |_| self.health.begin(backoff.failures() > 0);
            let in_progress: Vec<_> = batch.iter().map(begin).collect();
            let outcomes = self.target.deliver_batch(batch.clone()).await;
            drop(in_progress);
            let mut away = None;
            let mut left = Vec::new();
            for (delivery, outcome) in batch.into_iter().zip(outcomes) {
                match outcome {
                    Outcome::Acknowledged => {
                        self.health.acknowledged();
                        taken += 1;
                        heard = Instant::now();
                    }
                    Outcome::Refused(reason) => {
                        self.health.refused();
                        tracing::warn!(target_id = %self.name, key = %delivery.key, reason, "the target refuses the record of an object, it is left out");
                        refused += 1;
                    }
                    Outcome::Away(reason) => {
                        left.push(delivery);
                        away = Some(reason);
                    }
                }
            }
            match away {
                None => return Ok((taken, refused)),
                Some(reason) if heard.elapsed() >= PATIENCE => return Err(unusable(&self.name, reason)),
                Some(_) => tokio::time::sleep(backoff.next_delay()).await,
            }
            batch = left;
        }
    }
}

/// Records that travel together, in their order.
fn batches(deliveries: impl Iterator<Item = Delivery>, records_max: usize) -> Vec<Vec<Delivery>> {
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for delivery in deliveries {
        bytes += delivery.body.len();
        batch.push(delivery);
        if batch.len() == records_max || bytes >= BATCH_BYTES {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
    }
    batches.extend((!batch.is_empty()).then_some(batch));
    batches
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use store::testing::fixture::to_delete;
    use store::{Error, Origin};
    use tidings_store as store;
    use tokio::sync::watch;

    use super::{Resync, Resynced};
    use crate::control::ControlError;
    use crate::target::Delivery;
    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, settings, until, within, within_an_hour};

    const TARGET: &str = "1:memory";

    /// A target with entries that is told of everything under `in/`.
    async fn table() -> (Scene, MemoryTarget) {
        let target = MemoryTarget::default().keeping_entries();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("in/", "1")]).await;
        (scene, target)
    }

    async fn begun(scene: &Scene) -> Result<Resync, ControlError> {
        scene.notifier.resync(TARGET, &scene.album).await
    }

    async fn run(resync: Resync) -> Result<Resynced, ControlError> {
        within(resync.run(&watch::Sender::default())).await
    }

    async fn delete(scene: &Scene, name: &str) {
        let deleted = scene.store.delete_object(&scene.album, to_delete(name), Origin::default()).await;
        deleted.unwrap();
    }

    fn sequencers(entries: &BTreeMap<String, Delivery>) -> Vec<(String, String)> {
        crate::testing::scene::told(&entries.values().cloned().collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn a_table_that_was_lost_is_again_what_it_was() {
        let (scene, target) = table().await;
        scene.put_all(&["in/a", "in/b", "out", "in/a", "in/c"]).await;
        delete(&scene, "in/b").await;
        scene.caught_up("1").await;
        let before = sequencers(&target.entries());
        assert_eq!(
            before.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
            ["album/in/a", "album/in/c"]
        );
        target.lose_entries();

        let done = run(begun(&scene).await.unwrap()).await.unwrap();

        assert_eq!(done, Resynced { told: 2, refused: 0, passed: 1 });
        assert_eq!(sequencers(&target.entries()), before);
    }

    #[tokio::test]
    async fn what_is_not_in_the_bucket_goes_and_what_is_of_other_buckets_stays() {
        let (scene, target) = table().await;
        let other = scene.in_bucket("album-2").await;
        other.announce(&[("", "1")]).await;
        other.put("x").await;
        scene.put_all(&["in/a", "in/b"]).await;
        scene.caught_up("1").await;
        // The rules tell of less than they did: what they told of then is no longer kept up to date.
        scene.announce(&[("in/a", "1")]).await;

        run(begun(&scene).await.unwrap()).await.unwrap();

        assert_eq!(target.entries().into_keys().collect::<Vec<_>>(), ["album-2/x", "album/in/a"]);
    }

    #[tokio::test]
    async fn changes_of_the_bucket_wait_meanwhile_and_those_of_others_go_on() {
        let (scene, target) = table().await;
        let other = scene.in_bucket("other").await;
        other.announce(&[("", "1")]).await;
        scene.put("in/a").await;
        scene.caught_up("1").await;
        let resync = begun(&scene).await.unwrap();
        scene.put_all(&["in/a", "in/b"]).await;
        delete(&scene, "in/a").await;
        other.put("x").await;
        within(target.wait_for(2)).await;
        scene.waiting("1", 3).await;

        assert_eq!(run(resync).await.unwrap().told, 1);
        scene.caught_up("1").await;
        assert_eq!(target.entries().into_keys().collect::<Vec<_>>(), ["album/in/b", "other/x"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_table_that_is_rebuilt_under_writes_ends_as_the_bucket_does() {
        let (scene, target) = table().await;
        let names: Vec<String> = (0..40).map(|number| format!("in/{number}")).collect();
        for round in 0..10 {
            let writing = async {
                for (number, name) in names.iter().enumerate() {
                    scene.put(name).await;
                    if (number + round) % 3 == 0 {
                        delete(&scene, name).await;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let rebuilding = async { run(begun(&scene).await.unwrap()).await.unwrap() };
            tokio::join!(writing, rebuilding);
        }
        scene.caught_up("1").await;
        let page = scene.store.current_page(&scene.album, "", 1000).await.unwrap();
        let there = page
            .changes
            .iter()
            .map(|change| (format!("album/{}", change.key), change.sequence.to_sequencer()));
        assert_eq!(sequencers(&target.entries()), there.collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_away_for_a_while_is_waited_for_and_one_that_stays_away_ends_it() {
        let (scene, target) = table().await;
        scene.put_all(&["in/a", "in/b"]).await;
        scene.reported("1", |report| report.waiting == 0).await;
        let (told, resync) = (watch::Sender::default(), begun(&scene).await.unwrap());
        target.set(Mood::Away);
        let tries = target.tries();
        let coming_back = async {
            within_an_hour(target.wait_for_tries(tries + 5)).await;
            target.set(Mood::Well);
        };
        let (done, ()) = tokio::join!(within_an_hour(resync.run(&told)), coming_back);
        assert_eq!(done.unwrap().told, 2);

        target.set(Mood::Away);
        let given_up = within_an_hour(begun(&scene).await.unwrap().run(&told)).await;
        let reason = "it is away".to_owned();
        assert_eq!(given_up, Err(ControlError::Unusable { target: TARGET.to_owned(), reason }));
    }

    #[tokio::test]
    async fn a_bucket_is_sent_in_batches_and_what_the_target_left_behind_is_sent_again() {
        let target = MemoryTarget::taking_batches_of(4).keeping_entries();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        scene.put_all(&["a", "b", "c", "d", "e", "f"]).await;
        scene.caught_up("1").await;
        let (before, batches) = (sequencers(&target.entries()), target.batches().len());
        target.leave_after(3);
        let resync = begun(&scene).await.unwrap();
        let coming_back = async {
            until(async || target.batches().len() >= batches + 3).await;
            target.set(Mood::Well);
        };
        let (done, ()) = tokio::join!(run(resync), coming_back);
        assert_eq!(done.unwrap().told, 6);
        assert_eq!(target.batches()[batches], 4);
        assert_eq!(sequencers(&target.entries()), before);
    }

    #[tokio::test]
    async fn a_record_that_the_target_refuses_is_left_out_and_counted() {
        let (scene, target) = table().await;
        scene.put_all(&["in/a", "in/b"]).await;
        scene.caught_up("1").await;
        target.refuse(&["album/in/a"]);
        let done = run(begun(&scene).await.unwrap()).await.unwrap();
        assert_eq!(done, Resynced { told: 1, refused: 1, passed: 0 });
    }

    #[tokio::test]
    async fn new_settings_end_it_and_the_changes_of_the_bucket_go_on() {
        let (scene, target) = table().await;
        scene.put("in/a").await;
        scene.caught_up("1").await;
        target.set(Mood::Blocked);
        let (told, resync) = (watch::Sender::default(), begun(&scene).await.unwrap());
        let tries = target.tries();
        let changing = async {
            within(target.wait_for_tries(tries + 1)).await;
            scene.notifier.apply(vec![settings("1", "another note")]).await;
        };
        let (ended, ()) = tokio::join!(within(resync.run(&told)), changing);
        assert_eq!(ended, Err(ControlError::Stopped { target: TARGET.to_owned() }));
        target.set(Mood::Well);
        scene.put("in/b").await;
        scene.caught_up("1").await;
        assert!(target.entries().contains_key("album/in/b"));
    }

    #[tokio::test]
    async fn what_cannot_begin_says_why_and_holds_nothing() {
        let (scene, _) = table().await;
        let other = scene.in_bucket("other").await;
        let (target, bucket) = (TARGET.to_owned(), other.album.clone());
        assert_eq!(begun(&other).await.err(), Some(ControlError::NotTold { target: target.clone(), bucket }));
        let missing = store::testing::fixture::bucket("missing");
        let refused = scene.notifier.resync(TARGET, &missing).await.err();
        assert_eq!(refused, Some(ControlError::Store(Error::NoSuchBucket { bucket: missing })));

        let first = begun(&scene).await.unwrap();
        let bucket = scene.album.clone();
        assert_eq!(
            begun(&scene).await.err(),
            Some(ControlError::Resyncing { target: target.clone(), bucket })
        );
        drop(first);
        assert!(begun(&scene).await.is_ok());

        let queue = MemoryTarget::default();
        let scene = Scene::new(&[("1", &queue)]).await;
        scene.announce(&[("", "1")]).await;
        let reason = "it keeps no entries per object".to_owned();
        assert_eq!(run(begun(&scene).await.unwrap()).await, Err(ControlError::Unusable { target, reason }));
        scene.put("a").await;
        within(queue.wait_for(1)).await;
    }
}
