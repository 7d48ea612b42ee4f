//! What becomes of a delivery: done with, to be tried again, or a dead letter.
//!
//! # Is it the record, or is it the target?
//!
//! A target may refuse a record for what it holds, and it may refuse every record because something is wrong with
//! the target: a table that was dropped, a receiver that answers 400 to everything. Only the first makes dead letters.
//!
//! - [`REFUSED_IN_ROW_MAX`] refusals in a row, of any keys, without one acknowledgement between them mean the target.
//!   It is sick then, is tried one record at a time, and is well with the next acknowledgement. Of a batch of which some
//!   records are acknowledged, the others do not count.
//! - A refusal counts towards a record's [`DEAD_AFTER_TRIES`] only while the target is well.
//!
//! A target that refuses everything is therefore sick before a record dies if two keys or more wait for it (each has
//! eight refusals at most by then), and after a single one if only one key does: sixteen is less than twice ten.
//! Nothing else dies until the target has taken something. What it refuses when it is well again counts from where it
//! stood. The other side of it: where sixteen or more records that really are poison wait alone, they wait until
//! something is put that the target takes.
//!
//! Tries are counted in memory: after a restart they begin anew.

use std::sync::Arc;

use store::{BucketName, DeadLetter};
use tidings_store as store;
use tokio::time::Instant;

use super::Course;
use crate::dead::{self, DEAD_AFTER_TRIES};
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
                self.window.put_off(key, Instant::now());
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
            self.window.put_back(key);
            self.turn_sick(&reason);
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
            self.sick_until = Some(now + self.sick_backoff.next_delay());
        }
    }

    fn refused(&mut self, key: Arc<str>, reason: String) {
        self.refused_in_row = self.refused_in_row.saturating_add(1);
        if self.refused_in_row >= REFUSED_IN_ROW_MAX {
            self.turn_sick(&reason);
        } else if self.sick_until.is_some() {
            self.relay.health.refused();
        } else {
            self.relay.health.refused();
            let tries = self.window.count_refusal(&key);
            if tries == 1 {
                tracing::warn!(target_id = %self.relay.name, %key, reason, "the target refuses a record, it is tried again and holds up its key");
            }
            if tries >= DEAD_AFTER_TRIES && self.relay.health.reserve_dead(self.relay.partition) {
                return self.bury(key, &reason, tries);
            }
        }
        self.window.put_off(key, Instant::now());
    }

    /// Begins to make a record a dead letter. Its key waits until that is durable.
    fn bury(&mut self, key: Arc<str>, reason: &str, tries: u32) {
        let letter = DeadLetter {
            partition: self.relay.partition,
            change: self.window.under_way(&key).clone(),
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
                tracing::warn!(target_id = %name, %key, reason, tries, "a record that the target refuses is a dead letter now, its key goes on");
            } else {
                health.release_dead(letter.partition);
            }
            Settled::Buried { key, result }
        }));
    }
}
