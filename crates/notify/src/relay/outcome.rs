//! What becomes of a delivery: done with, to be tried again, or a dead letter.
//!
//! # Is it the record, or is it the target?
//!
//! A target may refuse a record for what it holds, and it may refuse every record because something is wrong with
//! the target: a table that was dropped, a receiver that answers 400 to everything. Only the first makes dead letters.
//!
//! - [`REFUSED_IN_ROW_MAX`] refusals in a row, of any keys, without one acknowledgement between them mean the target.
//!   It is sick then, is tried one record at a time, and is well with the next acknowledgement. Of a batch of which
//!   some records are acknowledged, the others do not count.
//! - A refusal counts towards a record's [`DEAD_AFTER_TRIES`](crate::dead::DEAD_AFTER_TRIES) only while the target
//!   is well.
//!
//! A target that refuses everything is therefore sick before a record dies if two keys or more wait for it (each has
//! eight refusals at most by then), and after a single one if only one key does: sixteen is less than twice ten.
//! Nothing else dies until the target has taken something. What it refuses when it is well again counts from where it
//! stood. The other side of it: where sixteen or more records that really are poison wait alone, they wait until
//! something is put that the target takes.
//!
//! That holds where the settings do not say how often a record is tried; where they do, [`retries`](crate::retries)
//! says which failures count.
//!
//! Tries are counted in memory: after a restart they begin anew.

use std::sync::Arc;

use store::{BucketName, Change, DeadLetter};
use tidings_store as store;
use tokio::time::Instant;

use super::Course;
use crate::dead;
use crate::target::Outcome;

/// Refusals in a row, of any keys, after which the target itself is taken to be sick.
const REFUSED_IN_ROW_MAX: u32 = 16;

/// What was under way for a key ended.
pub(super) enum Settled {
    /// A delivery: what became of each record that travelled in it.
    Delivered(Vec<(Arc<str>, Outcome)>),
    /// The commit of a dead letter; whether it was a new one.
    Buried { key: Arc<str>, result: Result<bool, store::Error> },
    /// The delivery of a gap record.
    Told { bucket: BucketName, outcome: Outcome },
}

impl Course {
    /// Records an outcome.
    pub(super) fn settle(&mut self, settled: Settled) {
        match settled {
            Settled::Delivered(outcomes) => self.settle_batch(outcomes),
            Settled::Told { bucket, outcome } => self.settle_gap(bucket, outcome),
            Settled::Buried { key, result: Ok(_) } => self.finish(&key),
            Settled::Buried { key, result: Err(error) } => {
                tracing::warn!(target_id = %self.relay.name, %key, %error, "a dead letter could not be written, its record is tried again");
                self.window.put_off(key, Instant::now(), None);
            }
        }
    }

    /// Records what became of records that travelled together. What was taken comes first: it shows that the target
    /// works, so that what it refused of the same batch is refused for what it holds.
    fn settle_batch(&mut self, outcomes: Vec<(Arc<str>, Outcome)>) {
        let (mut refused, mut away, mut has_taken) = (Vec::new(), Vec::new(), false);
        for (key, outcome) in outcomes {
            match outcome {
                Outcome::Acknowledged => {
                    self.finish(&key);
                    self.took_something();
                    has_taken = true;
                }
                Outcome::Refused(reason) => refused.push((key, reason)),
                Outcome::Away(reason) => away.push((key, reason)),
            }
        }
        for (key, reason) in refused {
            if has_taken {
                self.refused_in_row = 0;
            }
            self.refused(key, reason);
        }
        // Each goes before all that wait, so the last comes first.
        for (key, reason) in away.into_iter().rev() {
            self.away(key, &reason);
        }
    }

    fn finish(&mut self, key: &Arc<str>) {
        self.window.finish(key);
        self.finished_since += 1;
    }

    /// The target acknowledged a delivery: it is well.
    pub(super) fn took_something(&mut self) {
        self.refused_in_row = 0;
        self.sick_until = None;
        self.sick_backoff.reset();
        self.relay.health.acknowledged();
    }

    /// Failures of deliveries that were under way together are one failure: the delay grows once.
    pub(super) fn turn_sick(&mut self, reason: &str) {
        self.relay.health.failed(reason);
        let now = Instant::now();
        if self.sick_until.is_none_or(|until| until <= now) {
            let delay = self.sick_backoff.next_delay();
            // A record that is to be tried sooner than the target would be must not wait for it.
            self.sick_until = Some(now + self.relay.retries.pause.map_or(delay, |pause| delay.min(pause)));
        }
    }

    fn away(&mut self, key: Arc<str>, reason: &str) {
        self.turn_sick(reason);
        if self.relay.retries.are_bounded() && self.gives_up(&key, reason) {
            return;
        }
        match self.relay.retries.pause {
            Some(pause) => self.window.put_off(key, Instant::now(), Some(pause)),
            None => self.window.put_back(key),
        }
    }

    fn refused(&mut self, key: Arc<str>, reason: String) {
        self.refused_in_row = self.refused_in_row.saturating_add(1);
        let is_of_the_target = self.refused_in_row >= REFUSED_IN_ROW_MAX;
        let counts = self.relay.retries.are_bounded() || !is_of_the_target && self.sick_until.is_none();
        if is_of_the_target {
            self.turn_sick(&reason);
        } else {
            self.relay.health.refused();
        }
        if !counts || !self.gives_up(&key, &reason) {
            self.window.put_off(key, Instant::now(), self.relay.retries.pause);
        }
    }

    /// Counts a failed try of a record; whether it was the last and the record begins to be a dead letter.
    fn gives_up(&mut self, key: &Arc<str>, reason: &str) -> bool {
        let tries = self.window.count_failure(key);
        let is_last = tries >= self.relay.retries.tries_max();
        if is_last && self.relay.health.reserve_dead(self.relay.partition) {
            self.bury(Arc::clone(key), reason, tries);
            return true;
        }
        if tries == 1 && self.sick_until.is_none() {
            tracing::warn!(target_id = %self.relay.name, %key, reason, "the target refuses a record, it is tried again and holds up its key");
        }
        false
    }

    /// Begins to make a record a dead letter. Its key waits until that is durable.
    fn bury(&mut self, key: Arc<str>, reason: &str, tries: u32) {
        let letter = DeadLetter {
            partition: self.relay.partition,
            change: Change::clone(self.window.under_way(&key)),
            reason: dead::cut(reason),
            tries,
            died_ms: self.relay.store.clock().now_ms(),
        };
        let (store, name) = (Arc::clone(&self.relay.store), self.relay.name.clone());
        let health = Arc::clone(&self.relay.health);
        self.in_flight.push(Box::pin(async move {
            let result = store.bury(&name, &letter).await;
            if let Ok(true) = result {
                let (reason, tries) = (&letter.reason, letter.tries);
                tracing::warn!(target_id = %name, %key, reason, tries, "a record that the target does not take is a dead letter now, its key goes on");
            } else {
                health.release_dead(letter.partition);
            }
            Settled::Buried { key, result }
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use crate::retries::{MAX_RETRIES, RETRY_PAUSE};
    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, by_key, keys, told, within_an_hour};

    /// A scene whose target is in a mood, is tried again as these settings say, and is owed these keys.
    async fn owing(
        target: &MemoryTarget,
        mood: Mood,
        values: &[(&'static str, &str)],
        owed: &[&str],
    ) -> Scene {
        let scene = Scene::new(&[("1", target)]).await;
        scene.announce(&[("", "1")]).await;
        target.set(mood);
        scene.set("1", values).await;
        scene.put_all(owed).await;
        scene
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_over_its_retries_is_a_dead_letter_also_when_its_target_is_away_and_its_key_goes_on() {
        let target = MemoryTarget::default();
        let begun = Instant::now();
        let scene = owing(&target, Mood::Away, &[(MAX_RETRIES, "2"), (RETRY_PAUSE, "5s")], &["a"]).await;
        scene.has_dead("1", 1).await;

        let letter = scene.notifier.dead_letters("1:memory", None, 10).await.unwrap().remove(0);
        assert_eq!((letter.tries, target.tries(), letter.reason.as_str()), (3, 3, "it is away"));
        assert!(begun.elapsed() >= Duration::from_secs(10), "it was given up after {:?}", begun.elapsed());
        target.set(Mood::Well);
        scene.put("a").await;
        scene.caught_up("1").await;
        assert_eq!(told(&target.received()), scene.owed("1").await[1..]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_record_is_tried_as_often_as_its_retries_say_and_no_oftener() {
        let target = MemoryTarget::default();
        target.refuse(&["album/poison"]);
        let scene = owing(&target, Mood::Well, &[(MAX_RETRIES, "20")], &["poison", "a"]).await;
        scene.has_dead("1", 1).await;

        let letter = scene.notifier.dead_letters("1:memory", None, 10).await.unwrap().remove(0);
        assert_eq!((letter.tries, target.tries()), (21, 22));
        assert_eq!(keys(&target.received()), ["album/a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_away_is_tried_with_other_records_while_one_pauses() {
        let target = MemoryTarget::default();
        let scene = owing(&target, Mood::Away, &[(RETRY_PAUSE, "600s")], &["a"]).await;
        within_an_hour(target.wait_for_tries(1)).await;
        target.set(Mood::Well);
        let begun = Instant::now();
        scene.put_all(&["b", "a"]).await;
        within_an_hour(target.wait_for(1)).await;
        assert!(begun.elapsed() < Duration::from_secs(60), "b waited {:?} for a", begun.elapsed());

        scene.caught_up("1").await;
        assert_eq!(keys(&target.received())[..1], ["album/b"]);
        assert_eq!(by_key(told(&target.received())), by_key(scene.owed("1").await));
    }

    #[tokio::test(start_paused = true)]
    async fn without_retries_to_count_a_record_outlasts_any_absence_of_its_target() {
        let target = MemoryTarget::default();
        let scene = owing(&target, Mood::Away, &[(MAX_RETRIES, "0"), (RETRY_PAUSE, "1s")], &["a", "a"]).await;
        let begun = Instant::now();
        within_an_hour(target.wait_for_tries(100)).await;
        assert!(begun.elapsed() <= Duration::from_secs(110), "the pauses grew: {:?}", begun.elapsed());
        target.set(Mood::Well);
        scene.caught_up("1").await;
        assert_eq!(told(&target.received()), scene.owed("1").await);
    }
}
