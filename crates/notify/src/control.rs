//! What an operator does with a target at work: pause it, resume it, send it the past again. Sending it a bucket as it
//! is now is in `resync`.
//!
//! A pause is a row of the store: a restart and new settings keep it. A replay moves the target's cursor back, which
//! is the whole of it: what named the target is read, bounded and delivered in order per key like anything that waits.

use std::sync::Arc;

use store::{BucketName, PartitionId, Sequence, Store};
use tidings_store as store;

use crate::health::Health;
use crate::notifier::Notifier;
use crate::rules_of_now::RulesOfNow;
use crate::running::{Launch, Running};
use crate::target::TargetId;

/// Nanoseconds in a millisecond: sequences are nanoseconds since 1970, or later where the clock stood.
const MS_NS: u64 = 1_000_000;

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayFrom {
    /// With everything that happened at this time or later, milliseconds since 1970.
    Time(u64),
    /// With this change.
    Sequence(Sequence),
}

/// By which rules a replay finds what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayBy {
    /// Those of then: what named the target when it happened.
    #[default]
    RulesOfThen,
    /// Those of now: what would name it today. A restart and new settings of the target end it: what is left is then
    /// sent by the rules of then.
    RulesOfNow,
}

/// What a replay will send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The oldest change that the log still has of those that were asked for, in each partition; where that is missing
    /// there is none. Changes whose targets were all told are kept for the retention only.
    pub begins: Vec<(PartitionId, Sequence)>,
}

/// Why an operator's wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No target of this name is configured.
    #[error("there is no target {target}")]
    NoSuchTarget {
        /// As it was named.
        target: String,
    },
    /// The target has no dead letter of this change.
    #[error("{target} has no dead letter {}", sequence.to_sequencer())]
    NoSuchDeadLetter {
        /// `id:type`.
        target: String,
        /// The change.
        sequence: Sequence,
    },
    /// The target cannot be made of its settings.
    #[error("{target} cannot be used: {reason}")]
    Unusable {
        /// `id:type`.
        target: String,
        /// What is wrong with them.
        reason: String,
    },
    /// No rule of the bucket leads to the target.
    #[error("no rule of the bucket {bucket} tells {target} of anything")]
    NotTold {
        /// `id:type`.
        target: String,
        /// The bucket.
        bucket: BucketName,
    },
    /// The target is being sent the bucket.
    #[error("{target} is being sent the bucket {bucket} already")]
    Resyncing {
        /// `id:type`.
        target: String,
        /// The bucket.
        bucket: BucketName,
    },
    /// The target was taken away or given other settings meanwhile, or the server is shutting down.
    #[error("{target} was stopped meanwhile")]
    Stopped {
        /// `id:type`.
        target: String,
    },
    /// The notifier was shut down.
    #[error("the server is shutting down")]
    Closed,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Notifier {
    /// Lets a target (`id:type`) wait: what is under way ends, nothing more is delivered until
    /// [`Notifier::resume`], also after a restart.
    ///
    /// # Errors
    ///
    /// `NoSuchTarget`, and what the store says; the target goes on then.
    pub async fn pause(&self, target: &str) -> Result<(), ControlError> {
        self.set_paused(target, true).await
    }

    /// Ends what [`Notifier::pause`] began.
    ///
    /// # Errors
    ///
    /// As [`Notifier::pause`]; the target goes on waiting then.
    pub async fn resume(&self, target: &str) -> Result<(), ControlError> {
        self.set_paused(target, false).await
    }

    async fn set_paused(&self, target: &str, is_paused: bool) -> Result<(), ControlError> {
        let store = self.started()?;
        // Held over the commit, so that row and relays say the same.
        let targets = self.targets.lock().await;
        let running = named(targets.values(), target)?;
        store.set_paused(target, is_paused).await?;
        let is_new = running
            .held
            .send_if_modified(|held| std::mem::replace(&mut held.is_paused, is_paused) != is_paused);
        if is_new {
            let told = if is_paused { "the target is paused" } else { "the target is resumed" };
            tracing::info!(target_id = target, "{told}");
        }
        Ok(())
    }

    /// Sends a target again what named it from a place on, or what names it by the rules of now. Its cursors move back
    /// to that place, never forward.
    ///
    /// The future must be driven to its end: dropped halfway it leaves the target stopped until settings are applied.
    ///
    /// # Errors
    ///
    /// `NoSuchTarget`, and what the store says; cursors of some partitions may have moved then.
    pub async fn replay(
        &self,
        target: &str,
        from: ReplayFrom,
        by: ReplayBy,
    ) -> Result<Replayed, ControlError> {
        let store = self.started()?;
        let first = match from {
            ReplayFrom::Time(time_ms) => Sequence(time_ms.saturating_mul(MS_NS)),
            ReplayFrom::Sequence(sequence) => sequence,
        };
        let before = Sequence(first.0.saturating_sub(1));
        let mut targets = self.targets.lock().await;
        let id: TargetId = named(targets.values(), target)?.settings.target.clone();
        let running = targets.remove(&id).expect("the target was found just now");
        let (settings, health) = (running.settings.clone(), Arc::clone(&running.health));
        running.stop().await;
        let rules = match by {
            ReplayBy::RulesOfThen => Ok(None),
            ReplayBy::RulesOfNow => RulesOfNow::until_now(&store, &self.rules, target).await.map(Some),
        };
        let (rules, moved) = match rules {
            Ok(rules) => (rules, rewind(&store, target, before).await),
            Err(error) => (None, Err(error.into())),
        };
        // Also after a failure: it goes on where it stands.
        let launch = Launch { rules_of_now: rules.map(Arc::new), ..self.launch(&store) };
        targets.insert(id, launch.run(settings, health).await);
        let replayed = moved?;
        tracing::info!(target_id = target, from = %first.to_sequencer(), "the target is sent the past again");
        Ok(replayed)
    }

    /// The store, while there is one.
    pub(crate) fn started(&self) -> Result<Arc<Store>, ControlError> {
        self.store.load_full().ok_or(ControlError::Closed)
    }

    /// How a target is doing.
    pub(crate) async fn health_of(&self, target: &str) -> Result<Arc<Health>, ControlError> {
        let targets = self.targets.lock().await;
        Ok(Arc::clone(&named(targets.values(), target)?.health))
    }
}

/// The target of a name (`id:type`).
pub(crate) fn named<'a>(
    mut targets: impl Iterator<Item = &'a Running>,
    name: &str,
) -> Result<&'a Running, ControlError> {
    let found = targets.find(|running| running.settings.target.to_string() == name);
    found.ok_or_else(|| ControlError::NoSuchTarget { target: name.to_owned() })
}

/// Moves the cursors that stand after a place back to it.
async fn rewind(store: &Store, target: &str, before: Sequence) -> Result<Replayed, ControlError> {
    let mut begins = Vec::new();
    for &partition in store.partitions() {
        if store.cursor(partition, target).await?.is_some_and(|cursor| cursor > before) {
            store.rewind(partition, target, before).await?;
        }
        let oldest = store.changes(partition, before, 1).await?;
        begins.extend(oldest.first().map(|change| (partition, change.sequence)));
    }
    Ok(Replayed { begins })
}

#[cfg(test)]
mod tests {
    use store::testing::fixture::HOME;
    use store::{Clock, Sequence};
    use tidings_store as store;

    use super::{ControlError, ReplayBy, ReplayFrom};
    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, by_key, keys, settings, told, within};

    const TARGET: &str = "1:memory";

    async fn announced(target: &MemoryTarget) -> Scene {
        let scene = Scene::new(&[("1", target)]).await;
        scene.announce(&[("", "1")]).await;
        scene
    }

    #[tokio::test]
    async fn a_paused_target_gets_nothing_until_it_is_resumed_and_then_everything() {
        let target = MemoryTarget::default();
        let scene = announced(&target).await;
        scene.put("a").await;
        scene.caught_up("1").await;
        scene.notifier.pause(TARGET).await.unwrap();
        scene.put_all(&["b", "c", "b"]).await;
        scene.waiting("1", 3).await;
        assert_eq!((keys(&target.received()), target.tries()), (vec!["album/a"], 1));
        assert!(scene.notifier.reports().await[0].is_paused);

        scene.notifier.resume(TARGET).await.unwrap();
        scene.caught_up("1").await;
        assert_eq!(by_key(told(&target.received())), by_key(scene.owed("1").await));
        assert!(!scene.notifier.reports().await[0].is_paused);
    }

    #[tokio::test]
    async fn a_pause_outlives_a_restart_and_new_settings() {
        let target = MemoryTarget::default();
        let scene = announced(&target).await;
        scene.notifier.pause(TARGET).await.unwrap();
        scene.notifier.apply(vec![settings("1", "another note")]).await;
        scene.put("a").await;
        scene.waiting("1", 1).await;
        scene.notifier.shutdown().await;
        let scene = Scene::over(scene.engine, &[("1", &target)]).await;
        scene.apply(&["1"]).await;
        scene.put("b").await;
        scene.waiting("1", 2).await;
        assert_eq!(target.tries(), 0);

        scene.notifier.resume(TARGET).await.unwrap();
        within(target.wait_for(2)).await;
    }

    #[tokio::test]
    async fn a_pause_that_cannot_be_kept_is_refused_and_the_target_goes_on() {
        let target = MemoryTarget::default();
        let scene = announced(&target).await;
        scene.engine.lose_quorum(1, 3);
        assert!(matches!(scene.notifier.pause(TARGET).await, Err(ControlError::Store(_))));
        scene.engine.restore_quorum();
        scene.put("a").await;
        within(target.wait_for(1)).await;
    }

    #[tokio::test]
    async fn what_is_under_way_when_a_pause_begins_ends_and_is_not_sent_again() {
        let target = MemoryTarget::default();
        let scene = announced(&target).await;
        target.set(Mood::Blocked);
        scene.put_all(&["a", "a"]).await;
        within(target.wait_for_tries(1)).await;
        scene.notifier.pause(TARGET).await.unwrap();
        target.set(Mood::Well);
        within(target.wait_for(1)).await;
        scene.waiting("1", 1).await;

        scene.notifier.resume(TARGET).await.unwrap();
        scene.caught_up("1").await;
        assert_eq!(told(&target.received()), scene.owed("1").await);
    }

    #[tokio::test]
    async fn a_replay_sends_again_what_named_the_target_from_a_place_on_in_order_per_key() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("own/", "1")]).await;
        scene.put_all(&["own/a", "own/b", "foreign", "own/a", "own/c"]).await;
        scene.caught_up("1").await;
        let owed = scene.owed("1").await;
        let from = Sequence::from_sequencer(&owed[1].1).unwrap();

        let replayed =
            scene.notifier.replay(TARGET, ReplayFrom::Sequence(from), ReplayBy::default()).await.unwrap();
        within(target.wait_for(7)).await;
        scene.caught_up("1").await;

        assert_eq!(replayed.begins, [(HOME, from)]);
        assert_eq!(by_key(told(&target.received()[4..])), by_key(owed[1..].to_vec()));
    }

    #[tokio::test]
    async fn a_replay_from_a_time_begins_with_the_first_change_of_that_time() {
        let target = MemoryTarget::default();
        let scene = announced(&target).await;
        scene.put("a").await;
        scene.clock.advance_ms(1000);
        let now_ms = scene.clock.now_ms();
        scene.put("b").await;
        scene.caught_up("1").await;

        scene.notifier.replay(TARGET, ReplayFrom::Time(now_ms), ReplayBy::default()).await.unwrap();
        within(target.wait_for(3)).await;
        scene.caught_up("1").await;
        assert_eq!(keys(&target.received()), ["album/a", "album/b", "album/b"]);
    }

    #[tokio::test]
    async fn a_replay_never_moves_a_cursor_forward() {
        let target = MemoryTarget::default();
        let scene = announced(&target).await;
        target.set(Mood::Away);
        scene.put_all(&["a", "b"]).await;
        within(target.wait_for_tries(1)).await;

        let newest = scene.store.newest(HOME);
        let replayed = scene
            .notifier
            .replay(TARGET, ReplayFrom::Sequence(Sequence(newest.0 + 1)), ReplayBy::default())
            .await;
        assert_eq!(replayed.unwrap().begins, []);
        target.set(Mood::Well);
        within(target.wait_for(2)).await;
    }

    #[tokio::test]
    async fn a_replay_that_is_cut_off_by_a_crash_goes_on_after_it() {
        let target = MemoryTarget::default();
        let scene = announced(&target).await;
        scene.put_all(&["a", "b"]).await;
        scene.caught_up("1").await;
        target.set(Mood::Blocked);
        scene.notifier.replay(TARGET, ReplayFrom::Time(0), ReplayBy::default()).await.unwrap();
        // The first server hangs for ever with what it has under way.
        let after = MemoryTarget::default();
        let second = Scene::over(scene.engine.clone(), &[("1", &after)]).await;
        second.apply(&["1"]).await;
        within(after.wait_for(2)).await;
        assert_eq!(by_key(told(&after.received())), by_key(second.owed("1").await));
    }

    #[tokio::test]
    async fn a_target_that_is_not_configured_is_told_so() {
        let scene = Scene::new(&[]).await;
        let unknown = ControlError::NoSuchTarget { target: TARGET.to_owned() };
        assert_eq!(scene.notifier.pause(TARGET).await, Err(unknown.clone()));
        assert_eq!(
            scene.notifier.replay(TARGET, ReplayFrom::Time(0), ReplayBy::default()).await,
            Err(unknown)
        );
    }
}
