//! Dead letters: records that a target refuses for what they hold, set aside so that their keys go on.
//!
//! When a record dies is decided in `relay/outcome.rs`; the row is written by `store/dead.rs` before the record leaves
//! the relay's window. Here is what an operator does with them: look, send again, drop.
//!
//! # Bounds
//!
//! [`DEAD_LETTERS_MAX`] per target. At the bound a record that is refused holds up its key, as one does that was not
//! tried often enough yet, and the log says so.

use std::sync::Arc;

use store::{DeadLetter, PartitionId, Sequence, Store};
use tidings_store as store;

use crate::control::{ControlError, named};
use crate::notifier::Notifier;
use crate::target::{Delivery, Outcome};

/// Refusals of a record by a target that is well, after which it is a dead letter. With the delays of
/// [`Backoff`](crate::backoff::Backoff) between them they take no less than 16 s.
pub const DEAD_AFTER_TRIES: u32 = 10;

/// Dead letters a target may have, in all partitions.
pub const DEAD_LETTERS_MAX: u64 = 10_000;

/// Bytes that are kept of a target's reason.
const REASON_BYTES_MAX: usize = 1024;

/// What became of a dead letter that was sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resent {
    /// The target took it, and it is gone from the dead letters.
    Acknowledged,
    /// It is kept; why, a clause.
    Kept(String),
}

impl Notifier {
    /// Up to `limit` dead letters of a target (`id:type`) whose changes come after a sequence, the oldest first.
    ///
    /// # Errors
    ///
    /// `NoSuchTarget`, and what the store says.
    pub async fn dead_letters(
        &self,
        target: &str,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, ControlError> {
        let store = self.store_of(target).await?;
        let after = after.unwrap_or(Sequence::ZERO);
        let mut letters = Vec::new();
        for &partition in store.partitions() {
            letters.extend(store.dead_letters(partition, target, after, limit).await?);
        }
        letters.sort_by_key(|letter| (letter.change.sequence, letter.partition));
        letters.truncate(limit);
        Ok(letters)
    }

    /// A dead letter by the sequence of its change, from one partition or from whichever has it.
    ///
    /// # Errors
    ///
    /// `NoSuchTarget`, `NoSuchDeadLetter`, and what the store says.
    pub async fn dead_letter(
        &self,
        target: &str,
        partition: Option<PartitionId>,
        sequence: Sequence,
    ) -> Result<DeadLetter, ControlError> {
        let store = self.store_of(target).await?;
        let places =
            store.partitions().iter().filter(|&&place| partition.is_none_or(|wanted| wanted == place));
        for &place in places {
            if let Some(letter) = store.dead_letter(place, target, sequence).await? {
                return Ok(letter);
            }
        }
        Err(ControlError::NoSuchDeadLetter { target: target.to_owned(), sequence })
    }

    /// Delivers a dead letter now, out of turn: records of its key that came after it may have been delivered.
    ///
    /// It is gone when the target has taken it, and kept with the new reason when not. Waits as long as the target
    /// takes to answer or to give up. A crash in between may send it once more.
    ///
    /// # Errors
    ///
    /// `NoSuchTarget`, `NoSuchDeadLetter`, `Unusable`, and what the store says.
    pub async fn resend(&self, target: &str, sequence: Sequence) -> Result<Resent, ControlError> {
        let mut letter = self.dead_letter(target, None, sequence).await?;
        let store = self.started()?;
        let (live, health) = {
            let targets = self.targets.lock().await;
            let running = named(targets.values(), target)?;
            let live = running.target.clone().ok_or_else(|| ControlError::Unusable {
                target: target.to_owned(),
                reason: running.fault().to_owned(),
            })?;
            (live, Arc::clone(&running.health))
        };
        let delivery = Delivery::of(&letter.change, &live.form(), target, &self.identity);
        let in_progress = health.begin(true);
        let outcome = live.deliver(delivery).await;
        drop(in_progress);
        match outcome {
            Outcome::Acknowledged => {
                health.acknowledged();
                if store.drop_dead_letter(letter.partition, target, sequence).await? {
                    health.release_dead(letter.partition);
                }
                Ok(Resent::Acknowledged)
            }
            Outcome::Away(reason) | Outcome::Refused(reason) => {
                health.refused();
                letter.reason = cut(&reason);
                letter.tries = letter.tries.saturating_add(1);
                store.update_dead_letter(target, &letter).await?;
                Ok(Resent::Kept(letter.reason))
            }
        }
    }

    /// Gives up a dead letter.
    ///
    /// # Errors
    ///
    /// `NoSuchTarget`, `NoSuchDeadLetter`, and what the store says.
    pub async fn drop_dead(&self, target: &str, sequence: Sequence) -> Result<(), ControlError> {
        let letter = self.dead_letter(target, None, sequence).await?;
        let (store, health) = (self.store_of(target).await?, self.health_of(target).await?);
        if store.drop_dead_letter(letter.partition, target, sequence).await? {
            health.release_dead(letter.partition);
        }
        Ok(())
    }

    /// The store, if a target of this name is configured.
    async fn store_of(&self, target: &str) -> Result<Arc<Store>, ControlError> {
        self.health_of(target).await?;
        self.started()
    }
}

/// As much of a reason as is kept.
pub(crate) fn cut(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use store::Sequence;
    use store::testing::fixture::HOME;
    use tidings_store as store;
    use tokio::time::Instant;

    use super::{DEAD_AFTER_TRIES, Resent};
    use crate::control::ControlError;
    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, by_key, keys, told, within_an_hour};

    const TARGET: &str = "1:memory";

    /// A scene in which the record of `poison` is a dead letter, and its sequence.
    async fn with_a_dead_letter(target: &MemoryTarget) -> (Scene, Sequence) {
        let scene = Scene::new(&[("1", target)]).await;
        scene.announce(&[("", "1")]).await;
        target.refuse(&["album/poison"]);
        scene.put_all(&["poison", "a"]).await;
        scene.has_dead("1", 1).await;
        let sequence = Sequence::from_sequencer(&scene.owed("1").await[0].1).unwrap();
        (scene, sequence)
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_is_refused_ten_times_is_a_dead_letter_and_its_key_goes_on() {
        let target = MemoryTarget::default();
        let begun = Instant::now();
        let (scene, sequence) = with_a_dead_letter(&target).await;

        assert!(begun.elapsed() >= Duration::from_secs(16), "it died after {:?}", begun.elapsed());
        let letter = scene.notifier.dead_letters(TARGET, None, 10).await.unwrap().remove(0);
        assert_eq!((letter.change.sequence, letter.tries), (sequence, DEAD_AFTER_TRIES));
        assert_eq!((letter.change.key.as_str(), letter.reason.as_str()), ("poison", "it was told to"));
        target.refuse(&[]);
        scene.put("poison").await;
        scene.caught_up("1").await;
        assert_eq!(keys(&target.received()), ["album/a", "album/poison"]);
        assert_eq!(scene.notifier.reports().await[0].dead_letters, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_letter_that_cannot_be_written_holds_up_its_key_until_it_can() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        target.refuse(&["album/poison"]);
        scene.put("poison").await;
        scene.engine.lose_quorum(1, 3);
        within_an_hour(target.wait_for_tries(DEAD_AFTER_TRIES as usize + 2)).await;
        assert!(scene.cursor("1").await < Some(scene.store.newest(HOME)));

        scene.engine.restore_quorum();
        scene.has_dead("1", 1).await;
        scene.caught_up("1").await;
        assert_eq!(target.received(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_refuses_everything_is_sick_and_loses_nothing_to_the_dead_letters() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        target.set(Mood::Refuses);
        scene.put_all(&["a", "b", "c", "a", "b"]).await;
        within_an_hour(target.wait_for_tries(100)).await;
        assert_eq!(scene.notifier.reports().await[0].dead_letters, 0);

        target.set(Mood::Well);
        scene.caught_up("1").await;
        assert_eq!(by_key(told(&target.received())), by_key(scene.owed("1").await));
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_single_key_one_record_at_most_dies_of_a_target_that_refuses_everything() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        target.set(Mood::Refuses);
        scene.put_all(&["a"; 5]).await;
        within_an_hour(target.wait_for_tries(60)).await;
        assert_eq!(scene.notifier.reports().await[0].dead_letters, 1);

        target.set(Mood::Well);
        scene.caught_up("1").await;
        assert_eq!(told(&target.received()), scene.owed("1").await[1..]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_letter_outlives_a_restart_and_can_be_sent_again() {
        let target = MemoryTarget::default();
        let (scene, sequence) = with_a_dead_letter(&target).await;
        scene.caught_up("1").await;
        scene.notifier.shutdown().await;
        let scene = Scene::over(scene.engine, &[("1", &target)]).await;
        scene.apply(&["1"]).await;

        let refused = scene.notifier.resend(TARGET, sequence).await;
        assert_eq!(refused, Ok(Resent::Kept("it was told to".to_owned())));
        assert_eq!(scene.notifier.dead_letter(TARGET, None, sequence).await.unwrap().tries, 11);
        target.refuse(&[]);
        assert_eq!(scene.notifier.resend(TARGET, sequence).await, Ok(Resent::Acknowledged));

        assert_eq!(keys(&target.received()), ["album/a", "album/poison"]);
        assert_eq!(scene.notifier.dead_letters(TARGET, None, 10).await, Ok(vec![]));
        assert_eq!(scene.notifier.reports().await[0].dead_letters, 0);
        let gone = ControlError::NoSuchDeadLetter { target: TARGET.to_owned(), sequence };
        assert_eq!(scene.notifier.resend(TARGET, sequence).await, Err(gone));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_letter_can_be_dropped_and_goes_with_its_target() {
        let target = MemoryTarget::default();
        let (scene, sequence) = with_a_dead_letter(&target).await;
        assert_eq!(scene.notifier.drop_dead(TARGET, sequence).await, Ok(()));
        assert_eq!(scene.notifier.reports().await[0].dead_letters, 0);
        scene.put_all(&["poison", "a"]).await;
        scene.has_dead("1", 1).await;

        scene.apply(&[]).await;
        let unknown = scene.notifier.dead_letters(TARGET, None, 10).await;
        assert_eq!(unknown, Err(ControlError::NoSuchTarget { target: TARGET.to_owned() }));
        scene.apply(&["1"]).await;
        assert_eq!(scene.notifier.dead_letters(TARGET, None, 10).await, Ok(vec![]));
        assert_eq!(scene.notifier.reports().await[0].dead_letters, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn at_their_bound_a_refused_record_holds_up_its_key_until_one_is_dropped() {
        let target = MemoryTarget::default();
        let (scene, sequence) = with_a_dead_letter(&target).await;
        let health = scene.notifier.health_of(TARGET).await.unwrap();
        health.count_dead(HOME, super::DEAD_LETTERS_MAX);
        scene.put("poison").await;
        for _ in 0..120 {
            // What the target takes shows that it is well.
            scene.put("a").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(scene.notifier.dead_letters(TARGET, None, 10).await.unwrap().len(), 1);

        scene.notifier.drop_dead(TARGET, sequence).await.unwrap();
        within_an_hour(async {
            while scene.notifier.dead_letters(TARGET, None, 10).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
        .await;
    }
}
