//! What happens when more waits for a target than its bounds allow.
//!
//! With `overflow=gap` the oldest changes go, as many as are too many. The relay first lets end what is under way, at
//! most ten times a second, so that what goes is always a whole piece of the log's beginning: then one commit writes a
//! gap for each bucket concerned and moves the cursor over what it counts. Until that is durable nothing is delivered.
//! The log may let go of those changes from then on, even while the target is away. The target is told of a bucket's
//! gap before anything else of that bucket; a gap that is not told yet grows. A crash at any point repeats a delivery
//! or a gap, and loses neither.
//!
//! With `overflow=refuse` the target is marked full, and the store refuses what would have to wait for it.
//!
//! # Bounds
//!
//! Each holds for every drive set by itself, and is kept to what comes in while it is noticed: with `gap` that is one
//! delivery's deadline and a tenth of a second at most, with `refuse` the time a relay takes to read what was
//! committed, which it does twenty times a second once its window is full. What names the target of a gap record
//! refuses it ten times over is not told: the log says so then.

use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use store::{BucketName, Change, Gap};
use tidings_store as store;
use tokio::time::Instant;

use super::Course;
use super::advance::ADVANCE_EVERY;
use super::outcome::Settled;
use crate::backoff::Backoff;
use crate::bounds::Overflow;
use crate::dead::DEAD_AFTER_TRIES;
use crate::event::Event;
use crate::notifier::Live;
use crate::record::gap;
use crate::target::{Delivery, Outcome, Target};

/// The age of what waits is looked at so often at least, and with it how the clock was set.
const LOOK_AT_AGE_EVERY: Duration = Duration::from_secs(60);

/// A gap that the target is still to be told.
pub(super) struct OpenGap {
    gap: Gap,
    /// Whether its row says the same.
    is_durable: bool,
    is_under_way: bool,
    was_tried: bool,
    backoff: Backoff,
    /// After a refusal: not before.
    not_before: Option<Instant>,
}

impl OpenGap {
    /// One whose row is there.
    pub(super) fn durable(gap: Gap) -> OpenGap {
        OpenGap {
            gap,
            is_durable: true,
            is_under_way: false,
            was_tried: false,
            backoff: Backoff::default(),
            not_before: None,
        }
    }

    /// When it may be tried again, if that is not yet.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|&time| time > now)
    }
}

impl Course {
    /// Sees to it that no more waits than may.
    pub(super) fn keep_bounds(&mut self, now: Instant) {
        let (wait, now_ms) = (self.waiting(), self.now_ms());
        if self.relay.bounds.overflow == Overflow::Refuse {
            return self.set_full(self.relay.bounds.are_reached(&wait, now_ms));
        }
        if !self.relay.bounds.are_exceeded(&wait, now_ms) {
            self.is_dropping = false;
        } else if now >= self.drop_after {
            self.is_dropping = true;
            if self.in_flight.is_empty() && self.advancing.is_none() {
                self.drop_oldest(now);
            }
        }
    }

    /// Drops the oldest changes of the window until no more waits than may.
    fn drop_oldest(&mut self, now: Instant) {
        let mut dropped = 0;
        while self.is_over_bounds()
            && let Some(change) = self.window.drop_oldest()
        {
            self.count_missing(&change);
            dropped += 1;
        }
        self.is_dropping = false;
        self.relay.health.dropped(dropped);
        // When the whole window had to go, what follows it may have to go too.
        self.drop_after = if self.window.len() == 0 { now } else { now + ADVANCE_EVERY };
        self.advance_after = now;
        self.tell_waiting();
    }

    fn is_over_bounds(&mut self) -> bool {
        let (wait, now_ms) = (self.waiting(), self.now_ms());
        self.relay.bounds.are_exceeded(&wait, now_ms)
    }

    fn count_missing(&mut self, change: &Change) {
        match self.gaps.entry(change.bucket.clone()) {
            Entry::Occupied(mut open) => {
                open.get_mut().gap.grow(change);
                open.get_mut().is_durable = false;
            }
            Entry::Vacant(place) => {
                tracing::warn!(target_id = %self.relay.name, bucket = %change.bucket, first = %change.sequence.to_sequencer(), "more waits for the target than may: the oldest is dropped, and the target will be told");
                place.insert(OpenGap { is_durable: false, ..OpenGap::durable(Gap::of(change)) });
            }
        }
    }

    /// Whether nothing may be delivered at the moment.
    pub(super) fn is_held(&self) -> bool {
        self.is_dropping || self.has_unwritten_gaps()
    }

    pub(super) fn has_unwritten_gaps(&self) -> bool {
        self.gaps.values().any(|open| !open.is_durable)
    }

    pub(super) fn unwritten_gaps(&self) -> Vec<(BucketName, Gap)> {
        let unwritten = self.gaps.iter().filter(|(_, open)| !open.is_durable);
        unwritten.map(|(bucket, open)| (bucket.clone(), open.gap)).collect()
    }

    /// Their rows are there. What grew meanwhile is written anew.
    pub(super) fn gaps_are_durable(&mut self, written: Vec<(BucketName, Gap)>) {
        for (bucket, gap) in written {
            if let Some(open) = self.gaps.get_mut(&bucket) {
                open.is_durable = open.gap == gap;
            }
        }
    }

    /// Begins to tell the target of a gap, if one is due.
    pub(super) fn tell_gap(&mut self, target: &Arc<dyn Target>, now: Instant) -> bool {
        let due = |open: &OpenGap| !open.is_under_way && open.next_due(now).is_none();
        let Some((bucket, open)) = self.gaps.iter_mut().find(|(_, open)| due(open)) else {
            return false;
        };
        open.is_under_way = true;
        let in_progress = self.relay.health.begin(std::mem::replace(&mut open.was_tried, true));
        let delivery = Delivery {
            key: format!("{bucket}/"),
            event: Event::GAP,
            time_ms: open.gap.last_ms,
            body: gap::render(&target.form(), bucket, &open.gap),
            attributes: Vec::new(),
        };
        let (target, bucket) = (Arc::clone(target), bucket.clone());
        self.in_flight.push(Box::pin(async move {
            let outcome = target.deliver(delivery).await;
            drop(in_progress);
            Settled::Told { bucket, outcome }
        }));
        true
    }

    /// Records what became of telling a gap.
    pub(super) fn settle_gap(&mut self, bucket: BucketName, outcome: Outcome) {
        let Some(open) = self.gaps.get_mut(&bucket) else {
            return;
        };
        open.is_under_way = false;
        match outcome {
            Outcome::Acknowledged => {
                let Gap { first, last, changes, .. } = open.gap;
                let (first, last) = (first.to_sequencer(), last.to_sequencer());
                tracing::info!(target_id = %self.relay.name, %bucket, first, last, changes, "the target was told of a gap");
                self.gaps.remove(&bucket);
                self.told.push(bucket);
                self.took_something();
            }
            Outcome::Away(reason) => self.turn_sick(&reason),
            Outcome::Refused(reason) => {
                self.relay.health.refused();
                open.not_before = Some(Instant::now() + open.backoff.next_delay());
                if open.backoff.failures() >= DEAD_AFTER_TRIES {
                    tracing::error!(target_id = %self.relay.name, %bucket, reason, gap = ?open.gap, "the target refuses to be told of a gap, it is left untold");
                    self.gaps.remove(&bucket);
                    self.told.push(bucket);
                }
            }
        }
    }

    /// Says whether the store may take more for the target.
    pub(super) fn set_full(&mut self, is_full: bool) {
        if std::mem::replace(&mut self.is_full, is_full) == is_full {
            return;
        }
        let (name, partition) = (&self.relay.name, self.relay.partition);
        if is_full {
            tracing::warn!(target_id = %name, "as much waits for the target as may: writes it would have to be told of are refused");
        } else {
            tracing::info!(target_id = %name, "writes that the target is told of are taken again");
        }
        self.relay.full.rcu(|full| {
            let mut full = Live::clone(full);
            let targets = full.entry(partition).or_default();
            if is_full {
                targets.insert(name.clone())
            } else {
                targets.remove(name)
            };
            full
        });
    }

    /// When bounds are to be looked at again without anything happening.
    pub(super) fn next_bound(&mut self, now: Instant) -> Option<Instant> {
        let (wait, now_ms) = (self.waiting(), self.now_ms());
        if self.relay.bounds.overflow == Overflow::Gap && self.relay.bounds.are_exceeded(&wait, now_ms) {
            // What is under way or being written wakes the relay by itself.
            return (self.drop_after > now).then_some(self.drop_after);
        }
        let left_ms = self.relay.bounds.age_left_ms(&wait, now_ms).filter(|&left_ms| left_ms > 0)?;
        Some(now + LOOK_AT_AGE_EVERY.min(Duration::from_millis(left_ms)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use serde_json::Value;
    use store::object::DeleteObject;
    use store::testing::fixture::HOME;
    use store::testing::fixture::key;
    use store::{ChangeKind, Error, Origin, Sequence, WriteCondition};
    use tidings_store as store;

    use crate::target::Delivery;
    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, by_key, told, until, within};
    use crate::window::WINDOW_CHANGES_MAX;

    /// A scene whose target is away and may keep so many records waiting.
    async fn away_with(target: &MemoryTarget, values: &[(&'static str, &str)]) -> Scene {
        let scene = Scene::new(&[("1", target)]).await;
        scene.announce(&[("", "1")]).await;
        target.set(Mood::Away);
        scene.set("1", values).await;
        scene
    }

    fn is_gap(delivery: &Delivery) -> bool {
        delivery.event.as_str() == "tidings:Gap"
    }

    /// What gap records say: bucket, first, last, count.
    fn gaps(received: &[Delivery]) -> Vec<(String, String, String, u64)> {
        let gaps = received.iter().filter(|delivery| is_gap(delivery)).map(|delivery| {
            let record: Value = serde_json::from_slice(&delivery.body).unwrap();
            let gap = &record["Records"][0];
            let text = |name: &str| gap[name].as_str().unwrap().to_owned();
            (text("bucket"), text("first"), text("last"), gap["count"].as_u64().unwrap())
        });
        gaps.collect()
    }

    fn records(received: &[Delivery]) -> Vec<Delivery> {
        received.iter().filter(|delivery| !is_gap(delivery)).cloned().collect()
    }

    #[tokio::test]
    async fn at_the_bound_the_oldest_go_and_the_target_is_told_in_their_place() {
        let target = MemoryTarget::default();
        let scene = away_with(&target, &[("queue_limit", "3")]).await;
        scene.put_all(&["a", "b", "c", "a", "b", "c"]).await;
        scene.reported("1", |report| (report.dropped, report.waiting) == (3, 3)).await;
        let owed = scene.owed("1").await;
        // The log may let go of what is gone, though the target heard nothing yet.
        let last = Sequence::from_sequencer(&owed[2].1);
        until(async || scene.cursor("1").await >= last).await;

        target.set(Mood::Well);
        scene.caught_up("1").await;
        let received = target.received();
        assert!(is_gap(&received[0]), "{received:?}");
        assert_eq!(gaps(&received), [("album".to_owned(), owed[0].1.clone(), owed[2].1.clone(), 3)]);
        assert_eq!(by_key(told(&records(&received))), by_key(owed[3..].to_vec()));
        assert_eq!(scene.notifier.totals().skipped, 3);
    }

    #[tokio::test]
    async fn a_gap_outlives_a_crash_and_is_told_before_what_follows_it() {
        let target = MemoryTarget::default();
        let scene = away_with(&target, &[("queue_limit", "2")]).await;
        scene.put_all(&["a", "a", "a", "a"]).await;
        scene.reported("1", |report| (report.dropped, report.waiting) == (2, 2)).await;
        let owed = scene.owed("1").await;
        let place = HOME;
        until(async || !scene.store.gaps(place, "1:memory").await.unwrap().is_empty()).await;

        // The first server hangs for ever; another one starts over what it left.
        let after = MemoryTarget::default();
        let second = Scene::over(scene.engine.clone(), &[("1", &after)]).await;
        second.apply(&["1"]).await;
        let received = within(after.wait_for(3)).await;
        assert_eq!(gaps(&received[..1]), [("album".to_owned(), owed[0].1.clone(), owed[1].1.clone(), 2)]);
        assert_eq!(told(&received[1..]), owed[2..]);
        second.caught_up("1").await;
        assert_eq!(second.store.gaps(HOME, "1:memory").await, Ok(vec![]));
    }

    #[tokio::test]
    async fn nothing_is_delivered_before_a_gap_is_durable() {
        let target = MemoryTarget::default();
        let scene = away_with(&target, &[]).await;
        scene.put_all(&["a", "a", "a"]).await;
        scene.waiting("1", 3).await;
        scene.notifier.pause("1:memory").await.unwrap();
        scene.engine.lose_quorum(1, 3);
        scene.set("1", &[("queue_limit", "1")]).await;
        scene.reported("1", |report| (report.dropped, report.waiting) == (2, 1)).await;
        target.set(Mood::Well);
        let running = scene.notifier.targets.lock().await;
        running.values().for_each(|running| running.held.send_modify(|held| held.is_paused = false));
        drop(running);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(target.received(), []);

        scene.engine.restore_quorum();
        scene.caught_up("1").await;
        let owed = scene.owed("1").await;
        assert_eq!(gaps(&target.received()[..1])[0].3, 2);
        assert_eq!(told(&target.received()[1..]), owed[2..]);
    }

    #[tokio::test]
    async fn a_gap_over_two_buckets_is_a_record_for_each_and_holds_up_no_other() {
        let target = MemoryTarget::default();
        let album = away_with(&target, &[("queue_limit", "2")]).await;
        let attic = album.in_bucket("attic").await;
        attic.announce(&[("", "1")]).await;
        album.put("a").await;
        attic.put("b").await;
        album.put_all(&["c", "d"]).await;
        album.reported("1", |report| (report.dropped, report.waiting) == (2, 2)).await;

        target.set(Mood::Well);
        album.caught_up("1").await;
        let counts = gaps(&target.received()).into_iter().map(|(bucket, .., count)| (bucket, count));
        assert_eq!(counts.collect::<Vec<_>>(), [("album".to_owned(), 1), ("attic".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn what_is_under_way_ends_before_anything_is_dropped() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        scene.set("1", &[("queue_limit", "3")]).await;
        target.set(Mood::Blocked);
        scene.put_all(&["a", "b", "c"]).await;
        within(target.wait_for_tries(3)).await;
        scene.put_all(&["d", "e", "f", "g", "a", "b", "c", "d", "e"]).await;
        scene.waiting("1", 12).await;
        assert_eq!((scene.report("1").await.dropped, target.tries()), (0, 3));

        target.set(Mood::Well);
        scene.caught_up("1").await;
        let owed = scene.owed("1").await;
        assert_eq!(scene.report("1").await.dropped, 6);
        let kept = [owed[..3].to_vec(), owed[9..].to_vec()].concat();
        assert_eq!(by_key(told(&records(&target.received()))), by_key(kept));
    }

    #[tokio::test]
    async fn what_waits_too_long_or_weighs_too_much_goes_too() {
        let target = MemoryTarget::default();
        let scene = away_with(&target, &[("wait_age", "168h")]).await;
        scene.put_all(&["a", "b"]).await;
        scene.waiting("1", 2).await;
        let bytes = scene.report("1").await.waiting_bytes;
        scene.clock.advance_ms(8 * 24 * 3600 * 1000);
        scene.put_all(&["c", "d"]).await;
        scene.reported("1", |report| (report.dropped, report.waiting) == (2, 2)).await;

        scene.set("1", &[("wait_bytes", &bytes.to_string())]).await;
        scene.put("e").await;
        scene.reported("1", |report| (report.dropped, report.waiting) == (3, 2)).await;
    }

    #[tokio::test]
    async fn a_clock_that_is_set_forward_makes_nothing_that_waits_older() {
        let target = MemoryTarget::default();
        let scene = away_with(&target, &[("wait_age", "168h")]).await;
        scene.put_all(&["a", "b"]).await;
        scene.waiting("1", 2).await;
        scene.clock.step_ms(8 * 24 * 3600 * 1000);
        scene.put_all(&["c", "d"]).await;
        scene.waiting("1", 4).await;
        scene.clock.advance_ms(6 * 24 * 3600 * 1000);
        scene.put("e").await;
        scene.waiting("1", 5).await;
        assert_eq!(scene.report("1").await.dropped, 0);

        scene.clock.advance_ms(2 * 24 * 3600 * 1000);
        scene.put("f").await;
        scene.reported("1", |report| (report.dropped, report.waiting) == (4, 2)).await;
    }

    #[tokio::test]
    async fn a_full_target_that_refuses_has_writes_refused_and_reads_untold_until_it_is_back() {
        let target = MemoryTarget::default();
        let scene = away_with(&target, &[("queue_limit", "2"), ("overflow", "refuse")]).await;
        let attic = scene.in_bucket("attic").await;
        scene.put_all(&["a", "b"]).await;
        let full = Error::TargetFull { target: "1:memory".to_owned() };
        // A put that is taken before the relay has counted adds to what waits.
        until(async || scene.try_put("c").await.is_err()).await;
        assert_eq!(scene.try_put("d").await.unwrap_err(), full);
        let delete = DeleteObject { key: key("a"), version: None, condition: WriteCondition::default() };
        assert_eq!(
            scene.store.delete_object(&scene.album, delete, Origin::default()).await,
            Err(full.clone())
        );
        attic.put("free").await;

        target.set(Mood::Well);
        scene.caught_up("1").await;
        until(async || scene.try_put("d").await.is_ok()).await;
        scene.caught_up("1").await;
        assert_eq!(by_key(told(&target.received())), by_key(scene.owed("1").await));
        assert_eq!(scene.report("1").await.dropped, 0);
        assert_eq!(target.received()[0].event, crate::event::Event::of(ChangeKind::Put));
    }

    #[tokio::test]
    async fn what_waits_is_counted_beyond_the_window_and_anew_after_a_restart() {
        let target = MemoryTarget::default();
        let scene = away_with(&target, &[]).await;
        let names: Vec<String> =
            (0..2 * WINDOW_CHANGES_MAX + 7).map(|number| (number % 99).to_string()).collect();
        scene.put_all(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        scene.waiting("1", names.len() as u64).await;
        let report = scene.report("1").await;
        assert_eq!(report.oldest.map(Sequence::to_sequencer), Some(scene.owed("1").await[0].1.clone()));
        scene.notifier.shutdown().await;

        let scene = Scene::over(scene.engine, &[("1", &target)]).await;
        scene.apply(&["1"]).await;
        scene.waiting("1", names.len() as u64).await;
        let again = scene.report("1").await;
        assert_eq!((again.waiting_bytes, again.oldest), (report.waiting_bytes, report.oldest));
        target.set(Mood::Well);
        scene.caught_up("1").await;
        scene.reported("1", |report| (report.waiting, report.waiting_bytes) == (0, 0)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_that_the_target_refuses_to_be_told_of_does_not_hold_its_bucket_for_ever() {
        let target = MemoryTarget::default();
        let scene = away_with(&target, &[("queue_limit", "1")]).await;
        scene.put_all(&["a", "b"]).await;
        scene.reported("1", |report| (report.dropped, report.waiting) == (1, 1)).await;
        target.refuse(&["album/"]);
        target.set(Mood::Well);
        scene.caught_up("1").await;
        assert_eq!(told(&target.received()), scene.owed("1").await[1..]);
    }

    /// One life of a target that is away, fails, loses acknowledgements and is bounded, over several restarts: each
    /// change was delivered or lies in a gap that was told, and of each key what came first came in order.
    async fn live_through(seed: u64) {
        let mut chance = StdRng::seed_from_u64(seed);
        let (limit, target) = (chance.random_range(1..30).to_string(), MemoryTarget::default());
        let mut scene = away_with(&target, &[("queue_limit", &limit)]).await;
        for _ in 0..120 {
            match chance.random_range(0..20) {
                0 => target.set(Mood::Away),
                1 => target.set(Mood::TakesAndDenies),
                2..=4 => target.set(Mood::Well),
                5 => {
                    scene.notifier.shutdown().await;
                    scene = Scene::over(scene.engine, &[("1", &target)]).await;
                    scene.set("1", &[("queue_limit", &limit)]).await;
                }
                6..=9 => tokio::task::yield_now().await,
                _ => scene.put(&chance.random_range(0..5).to_string()).await,
            }
        }
        target.set(Mood::Well);
        scene.caught_up("1").await;

        let received = target.received();
        let told_gaps = gaps(&received);
        let delivered: HashSet<_> = told(&records(&received)).into_iter().collect();
        for change in scene.owed("1").await {
            let is_told = told_gaps.iter().any(|(_, first, last, _)| (first..=last).contains(&&change.1));
            assert!(delivered.contains(&change) || is_told, "seed {seed}: {change:?} is lost");
        }
        for (key, sequencers) in by_key(told(&records(&received))) {
            let mut newest = String::new();
            let mut seen = HashSet::new();
            for sequencer in sequencers {
                assert!(
                    !seen.insert(sequencer.clone()) || sequencer > newest,
                    "seed {seed}: {key} out of order"
                );
                newest = newest.max(sequencer);
            }
        }
    }

    #[tokio::test]
    async fn whatever_happens_to_a_bounded_target_it_is_told_everything_or_of_the_gap() {
        for seed in 0..12 {
            live_through(seed).await;
        }
    }
}
