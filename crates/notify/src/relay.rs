//! The relay: takes changes from the log to one target, in order per key, at least once.
//!
//! One task per target and partition. It reads changes after the target's cursor, keeps those that name the
//! target, renders the form the target takes, delivers, and moves the cursor over what is done with. The
//! cursor lies in the store: after a crash the relay begins there and repeats what was sent but not recorded.
//!
//! # Invariants
//!
//! 1. The cursor never passes a change that names the target and is neither acknowledged, nor durably a dead letter,
//!    nor counted in a gap that the same commit writes.
//! 2. Changes of one key are delivered in the order of their sequences: the next one starts when the one
//!    before is done with. Different keys may overtake one another.
//! 3. A relay waits for nothing but its own target: a sick one slows neither others nor requests.
//! 4. A relay that is paused, or whose target could not be made, delivers nothing; it goes on reading and measuring.
//!    Changes of a bucket that is being sent anew wait meanwhile.
//!
//! # Bounds
//!
//! For each relay [`WINDOW_CHANGES_MAX`](crate::window::WINDOW_CHANGES_MAX) changes in memory, the target's
//! `in_flight_max` deliveries under way, one while the target is sick. A delivery is a batch: what is due when there is
//! room for one more, at most the target's `batch_max` records of as many keys, and none after the one that brings
//! their bodies to [`BATCH_BYTES`]; of a sick target, one. Nothing ever waits for a batch to fill. What waits beyond
//! that stays in the change log. It is counted there: the relay reads on to the log's end, once, and forgets all but
//! the sums. The log's end is read at most once in [`READ_EVERY`]. When more waits than the target's `Bounds` allow,
//! `relay/overflow.rs` says what happens.
//!
//! What is not here: how a record looks (`record`), when to try again (`backoff`, `retries`), what acknowledged means
//! (`targets`). What becomes of an outcome is in `relay/outcome.rs`, how the cursor moves in `relay/advance.rs`, how a
//! relay ends in `relay/drain.rs`.

mod advance;
mod batch;
mod drain;
mod outcome;
mod overflow;
mod steps;

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use store::{BucketName, Change, Gap, PartitionId, Sequence, Store};
use tidings_store as store;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::bounds::Bounds;
use crate::health::{Health, Wait};
use crate::notifier::{Live, ServerIdentity};
use crate::relay::advance::{Advance, Advanced};
pub(crate) use crate::relay::batch::BATCH_BYTES;
use crate::relay::batch::Batch;
use crate::relay::outcome::Settled;
use crate::relay::overflow::OpenGap;
use crate::relay::steps::Steps;
use crate::retries::Retries;
use crate::rules_of_now::RulesOfNow;
use crate::running::Held;
use crate::target::Target;
use crate::window::{Window, change_bytes};

/// Changes read from the log at once.
const PAGE_CHANGES: usize = 500;

/// Room in the window at which it is filled again: one read for many changes, not one for each.
const ROOM_TO_READ_CHANGES: usize = 100;

/// How long the log's end is left alone after it was measured with a full window. Without this every commit would have
/// the relay read a page of a few changes, at the cost of those who write.
const MEASURE_EVERY: Duration = Duration::from_millis(50);

/// How long the log's end is left alone after it was read. A stream of commits would otherwise have every relay run,
/// and take the index's lock, once for each of them; a change that comes alone is read at once.
const READ_EVERY: Duration = Duration::from_millis(1);

/// See the module header.
pub(crate) struct Relay {
    pub(crate) store: Arc<Store>,
    pub(crate) partition: PartitionId,
    /// `id:type`, as changes name it.
    pub(crate) name: String,
    /// Absent when it could not be made of its settings.
    pub(crate) target: Option<Arc<dyn Target>>,
    pub(crate) bounds: Bounds,
    pub(crate) retries: Retries,
    pub(crate) health: Arc<Health>,
    pub(crate) server: Arc<ServerIdentity>,
    /// Targets for which nothing more may wait.
    pub(crate) full: Arc<ArcSwap<Live>>,
    /// Changes with every commit that the notifier hears of.
    pub(crate) commits: watch::Receiver<u64>,
    pub(crate) held: watch::Receiver<Held>,
    pub(crate) stop: CancellationToken,
    /// Who decides of what happened before a replay by the rules of now; the changes themselves otherwise.
    pub(crate) rules_of_now: Option<Arc<RulesOfNow>>,
}

/// A relay at work.
struct Course {
    relay: Relay,
    window: Window,
    ahead: Ahead,
    in_flight: FuturesUnordered<Pin<Box<dyn Future<Output = Settled> + Send>>>,
    /// Everything durable was read or measured when it was last looked.
    at_end: bool,
    /// After a failed read, and after one that reached the end: not before.
    read_after: Option<Instant>,
    /// What lies beyond a full window: not before.
    measure_after: Instant,
    read_backoff: Backoff,
    /// While the target is sick: not to be tried before.
    sick_until: Option<Instant>,
    sick_backoff: Backoff,
    refused_in_row: u32,
    /// What the store has as cursor.
    committed: Sequence,
    advancing: Option<Advance>,
    advance_after: Instant,
    finished_since: usize,
    /// What the target has to be told that it missed, before anything else of the bucket.
    gaps: BTreeMap<BucketName, OpenGap>,
    /// Gaps that were told and whose rows are still there.
    told: Vec<BucketName>,
    /// Whether deliveries wait for the oldest changes to be dropped.
    is_dropping: bool,
    drop_after: Instant,
    is_full: bool,
    /// Whether it was told to stop.
    is_ending: bool,
    /// How the wall clock was set.
    steps: Steps,
}

/// What lies in the log beyond the window, as far as it was measured.
struct Ahead {
    /// How far; never less than what the window has read.
    to: Sequence,
    /// Changes of the target after the window.
    changes: u64,
    /// Their bytes, by [`change_bytes`].
    bytes: u64,
}

impl Relay {
    /// A change as the target is told of it; `None` when it is not.
    fn own(&self, change: Arc<Change>) -> Option<Arc<Change>> {
        match &self.rules_of_now {
            Some(rules) => rules.told(self.partition, &self.name, change),
            None => change.targets.contains(&self.name).then_some(change),
        }
    }

    /// Delivers until it is told to stop, beginning after `cursor`.
    pub(crate) async fn run(self, cursor: Sequence, gaps: Vec<(BucketName, Gap)>) {
        let clock = self.store.clock();
        let steps = Steps::since(clock.now_ms(), clock.steady_ms());
        let mut course = Course {
            relay: self,
            window: Window::new(cursor),
            ahead: Ahead { to: cursor, changes: 0, bytes: 0 },
            in_flight: FuturesUnordered::new(),
            at_end: false,
            read_after: None,
            measure_after: Instant::now(),
            read_backoff: Backoff::default(),
            sick_until: None,
            sick_backoff: Backoff::default(),
            refused_in_row: 0,
            committed: cursor,
            advancing: None,
            advance_after: Instant::now(),
            finished_since: 0,
            gaps: gaps.into_iter().map(|(bucket, gap)| (bucket, OpenGap::durable(gap))).collect(),
            told: Vec::new(),
            is_dropping: false,
            drop_after: Instant::now(),
            is_full: false,
            is_ending: false,
            steps,
        };
        let stop = course.relay.stop.clone();
        while !stop.is_cancelled() {
            course.read().await;
            course.keep_bounds(Instant::now());
            course.dispatch();
            course.begin_advance(Instant::now());
            course.wait(&stop).await;
        }
        course.drain().await;
    }
}

impl Course {
    /// Reads the log on, a page at most: into the window while that has room, else to measure what waits.
    async fn read(&mut self) {
        if self.may_read(Instant::now()) {
            // Seen before the read: what becomes durable during it wakes the relay again.
            self.relay.commits.borrow_and_update();
            let (from, limit) = match self.has_room() {
                true => (self.window.read_to(), PAGE_CHANGES.min(self.window.room())),
                false => (self.ahead.to, PAGE_CHANGES),
            };
            match self.relay.store.changes(self.relay.partition, from, limit).await {
                Ok(changes) => {
                    self.read_backoff.reset();
                    self.at_end = changes.len() < limit;
                    self.read_after = self.at_end.then(|| Instant::now() + READ_EVERY);
                    if self.at_end && !self.has_room() {
                        self.measure_after = Instant::now() + MEASURE_EVERY;
                    }
                    self.take_in(changes);
                }
                Err(error) => {
                    tracing::warn!(target_id = %self.relay.name, %error, "the change log cannot be read, the relay tries again");
                    self.read_after = Some(Instant::now() + self.read_backoff.next_delay());
                }
            }
        }
        self.tell_waiting();
    }

    fn has_room(&self) -> bool {
        self.window.room() >= ROOM_TO_READ_CHANGES
    }

    /// Whether there may be something in the log to be read.
    fn has_to_read(&self) -> bool {
        !self.at_end || (self.has_room() && self.window.read_to() < self.ahead.to)
    }

    /// Whether it is to be read now.
    fn may_read(&self, now: Instant) -> bool {
        let is_time = self.has_room() || self.measure_after <= now;
        self.has_to_read() && is_time && self.read_after.is_none_or(|time| time <= now)
    }

    /// Takes in a page of the log.
    fn take_in(&mut self, changes: Vec<Arc<Change>>) {
        let is_filling = self.has_room();
        for change in changes {
            let sequence = change.sequence;
            let own = self.relay.own(change);
            let (is_own, bytes) = (own.is_some(), own.as_deref().map_or(0, change_bytes));
            if is_filling && sequence <= self.ahead.to {
                self.ahead.changes = self.ahead.changes.saturating_sub(u64::from(is_own));
                self.ahead.bytes = self.ahead.bytes.saturating_sub(bytes);
            } else if !is_filling {
                self.ahead.changes += u64::from(is_own);
                self.ahead.bytes += bytes;
            }
            self.ahead.to = self.ahead.to.max(sequence);
            match own {
                Some(change) if is_filling => self.window.push(change),
                None if is_filling => self.window.pass(sequence),
                _ => {}
            }
        }
    }

    /// Starts deliveries, as many as the target wants at once; one by one while it is sick.
    fn dispatch(&mut self) {
        let held = self.relay.held.borrow().clone();
        let may_deliver = !held.is_paused && !self.is_held();
        let Some(target) = self.relay.target.clone().filter(|_| may_deliver) else {
            return;
        };
        let now = Instant::now();
        let (at_once, records_max) = match self.sick_until {
            Some(until) if until > now => return,
            Some(_) => (1, 1),
            None => (target.in_flight_max(), target.batch_max()),
        };
        while self.in_flight.len() < at_once {
            if !self.is_ending && self.tell_gap(&target, now) {
                continue;
            }
            let batch = self.next_batch(&target.form(), records_max, &held, now);
            let Batch { keys, deliveries, in_progress } = batch;
            if keys.is_empty() {
                return;
            }
            let target = Arc::clone(&target);
            self.in_flight.push(Box::pin(async move {
                let outcomes = target.deliver_batch(deliveries).await;
                drop(in_progress);
                assert_eq!(keys.len(), outcomes.len(), "a target tells what became of each record");
                Settled::Delivered(keys.into_iter().zip(outcomes).collect())
            }));
        }
    }

    /// Waits for whatever comes first: an outcome, new changes, the end of a delay or a pause, the cursor's commit.
    async fn wait(&mut self, stop: &CancellationToken) {
        let now = Instant::now();
        let (wake, may_read) = (self.next_wake(now), self.may_read(now));
        let settled = tokio::select! {
            () = stop.cancelled() => return,
            Some(settled) = self.in_flight.next(), if !self.in_flight.is_empty() => settled,
            changed = self.relay.commits.changed(), if self.at_end => {
                // The sender lives as long as the notifier, which stops its relays before it goes.
                self.at_end = changed.is_err();
                return;
            }
            _ = self.relay.held.changed() => return,
            result = poll_advance(&mut self.advancing), if self.advancing.is_some() => {
                self.end_advance(result);
                return;
            }
            () = tokio::task::yield_now(), if may_read => return,
            () = sleep_until_some(wake) => return,
        };
        self.settle(settled);
        // Whatever else ended meanwhile is settled in the same round.
        while let Some(Some(settled)) = self.in_flight.next().now_or_never() {
            self.settle(settled);
        }
    }

    /// When something is due without anything happening.
    fn next_wake(&mut self, now: Instant) -> Option<Instant> {
        let sick = self.sick_until.filter(|&until| until > now);
        let refused = self.window.next_due(now);
        let read = self.read_after.filter(|&time| time > now && self.has_to_read());
        let measure = Some(self.measure_after).filter(|&time| time > now && !self.at_end && !self.has_room());
        let advance = (self.has_to_advance() && self.advancing.is_none()).then_some(self.advance_after);
        let gap = self.gaps.values().filter_map(|gap| gap.next_due(now)).min();
        [sick, refused, read, measure, advance, gap, self.next_bound(now)].into_iter().flatten().min()
    }

    /// What waits, as far as the log was measured.
    fn waiting(&self) -> Wait {
        Wait {
            changes: self.window.len() as u64 + self.ahead.changes,
            bytes: self.window.bytes() + self.ahead.bytes,
            oldest: self.window.oldest(),
        }
    }

    /// The time by which the oldest that waits is judged, in milliseconds since 1970.
    fn now_ms(&mut self) -> u64 {
        let clock = self.relay.store.clock();
        let (wall_ms, steady_ms) = (clock.now_ms(), clock.steady_ms());
        let oldest_ms = self.window.oldest().map_or(wall_ms, |(_, oldest_ms)| oldest_ms);
        self.steps.now_since(oldest_ms, wall_ms, steady_ms)
    }

    fn tell_waiting(&self) {
        self.relay.health.waits(self.relay.partition, self.waiting());
    }
}

async fn poll_advance(advancing: &mut Option<Advance>) -> Advanced {
    match advancing {
        Some(advancing) => advancing.await,
        None => pending().await,
    }
}

async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use store::Sequence;
    use store::testing::fixture::HOME;
    use tidings_store as store;

    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, by_key, keys, told, within};

    #[tokio::test]
    async fn records_of_a_key_arrive_in_order_though_the_target_fails_in_between() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;

        for round in 0..6 {
            target.set(if round % 2 == 0 { Mood::Away } else { Mood::Well });
            scene.put_all(&["a", "b", "a", "c", "a"]).await;
        }
        within(target.wait_for(30)).await;

        assert_eq!(by_key(told(&target.received())), by_key(scene.owed("1").await));
    }

    #[tokio::test]
    async fn a_lost_acknowledgement_repeats_a_record_and_skips_none() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;

        target.set(Mood::TakesAndDenies);
        scene.put_all(&["a", "b", "a"]).await;
        within(target.wait_for_tries(2)).await;
        target.set(Mood::Well);
        scene.caught_up("1").await;

        let mut received = told(&target.received());
        assert!(received.len() > 3, "nothing was repeated: {received:?}");
        let owed = by_key(scene.owed("1").await);
        for sequencers in by_key(received.clone()).values() {
            assert!(sequencers.is_sorted(), "{sequencers:?}");
        }
        received.sort();
        received.dedup();
        assert_eq!(by_key(received), owed);
    }

    #[test]
    fn a_crash_repeats_what_was_not_recorded_and_skips_nothing() {
        let (before, after) = (MemoryTarget::default(), MemoryTarget::default());
        let first = tokio::runtime::Runtime::new().unwrap();
        let engine = first.block_on(async {
            let scene = Scene::new(&[("1", &before)]).await;
            scene.announce(&[("", "1")]).await;
            scene.put_all(&["a", "b"]).await;
            scene.caught_up("1").await;
            before.set(Mood::Blocked);
            scene.put_all(&["a", "c", "c"]).await;
            within(before.wait_for_tries(4)).await;
            scene.engine
        });
        // Every task stops where it stands, as with SIGKILL.
        first.shutdown_background();

        let second = tokio::runtime::Runtime::new().unwrap();
        second.block_on(async {
            let scene = Scene::over(engine, &[("1", &after)]).await;
            assert_eq!(scene.apply(&["1"]).await, []);
            within(after.wait_for(3)).await;
            scene.caught_up("1").await;

            let all = [told(&before.received()), told(&after.received())].concat();
            assert_eq!(by_key(all), by_key(scene.owed("1").await));
        });
    }

    #[tokio::test]
    async fn a_sick_target_slows_no_other() {
        let (sick, blocked, well) =
            (MemoryTarget::default(), MemoryTarget::default(), MemoryTarget::default());
        let scene = Scene::new(&[("sick", &sick), ("blocked", &blocked), ("well", &well)]).await;
        scene.announce(&[("", "sick"), ("", "blocked"), ("", "well")]).await;
        sick.set(Mood::Away);
        blocked.set(Mood::Blocked);

        scene.put_all(&["a"; 50]).await;
        within(well.wait_for(50)).await;

        assert_eq!((sick.received(), blocked.received()), (vec![], vec![]));
    }

    #[tokio::test]
    async fn the_cursor_never_passes_a_record_that_is_refused() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        target.refuse(&["album/poison"]);

        scene.put_all(&["a", "poison", "poison", "b", "c", "a"]).await;
        within(target.wait_for(4)).await;
        scene.notifier.shutdown().await;

        assert_eq!(
            by_key(told(&target.received())).into_keys().collect::<Vec<_>>(),
            ["album/a", "album/b", "album/c"]
        );
        let poison = Sequence::from_sequencer(&scene.owed("1").await[1].1).unwrap();
        assert_eq!(scene.cursor("1").await, Some(Sequence(poison.0 - 1)));
    }

    #[tokio::test]
    async fn a_refused_record_holds_up_its_own_key_alone_and_comes_when_it_is_taken() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        target.refuse(&["album/poison"]);

        scene.put_all(&["poison", "a", "poison"]).await;
        within(target.wait_for(1)).await;
        assert_eq!(keys(&target.received()), ["album/a"]);
        target.refuse(&[]);
        within(target.wait_for(3)).await;

        assert_eq!(by_key(told(&target.received())), by_key(scene.owed("1").await));
    }

    #[tokio::test]
    async fn more_than_a_window_waits_in_the_log_and_is_all_delivered() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        target.set(Mood::Away);

        let names: Vec<String> = (0..2 * crate::window::WINDOW_CHANGES_MAX + 7)
            .map(|number| format!("{}", number % 300))
            .collect();
        scene.put_all(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        target.set(Mood::Well);
        within(target.wait_for(names.len())).await;

        assert_eq!(by_key(told(&target.received())), by_key(scene.owed("1").await));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_commits_is_read_many_at_a_time() {
        let target = MemoryTarget::taking_batches_of(100);
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        scene.put("a").await;
        within(target.wait_for(1)).await;

        // The clock stands while somebody has something to do.
        for name in ["b", "c", "d", "e"] {
            scene.put(name).await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(target.batches(), [1]);
        scene.caught_up("1").await;
        assert_eq!(target.batches(), [1, 4]);
    }

    #[tokio::test]
    async fn the_cursor_moves_past_changes_of_others_too() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("own/", "1")]).await;

        scene.put_all(&["own/a", "foreign", "foreign"]).await;
        scene.caught_up("1").await;

        assert_eq!(keys(&target.received()), ["album/own/a"]);
        let newest = scene.store.newest(HOME);
        assert!(scene.cursor("1").await <= Some(newest));
    }
}
