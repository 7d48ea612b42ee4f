//! Targets that have a place in the change log and are not configured: they were missing when the server started.
//!
//! Their place is kept, so that a start with an incomplete environment loses nothing. What waits for them is bounded
//! all the same, or a target that never comes back would have the log kept for ever: a relay without a target reads,
//! measures and drops for each. Their settings are not known, so the bounds are those that every target has when its
//! settings say nothing. Changes do not name them, and reports do not tell of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use store::Store;
use tidings_store as store;

use crate::health::Health;
use crate::notifier::Notifier;
use crate::running::{Launch, Running};
use crate::target::{KeySpec, TARGETS, TargetId, TargetSettings};
use crate::topic;

/// Kinds of target beside those in [`TARGETS`].
const FURTHER_KINDS: &[&str] = &[
    topic::KIND,
    #[cfg(test)]
    "memory",
];

impl Notifier {
    /// Lets go of targets (`id:type`) that are back, before they are set to work.
    pub(crate) async fn let_go_of_absent(&self, configured: &BTreeSet<String>) {
        let mut absent = self.absent.lock().await;
        let (back, gone) =
            std::mem::take(&mut *absent).into_iter().partition(|(name, _)| configured.contains(name));
        *absent = gone;
        let back: BTreeMap<String, Running> = back;
        for running in back.into_values() {
            running.stop().await;
        }
    }

    /// Bounds what waits for targets that are not among these (`id:type`).
    pub(crate) async fn bound_absent(&self, store: &Arc<Store>, configured: &BTreeSet<String>) {
        let mut absent = self.absent.lock().await;
        for &partition in store.partitions() {
            let names = match store.targets_with_cursor(partition).await {
                Ok(names) => names,
                Err(error) => {
                    tracing::warn!(%error, "which targets have a place in the change log cannot be read: what waits for those that are not configured is not bounded");
                    continue;
                }
            };
            for name in names.into_iter().filter(|name| !configured.contains(name)) {
                if !absent.contains_key(&name)
                    && let Some(settings) = settings(&name)
                {
                    tracing::warn!(target_id = %name, "the target is not configured: what waits for it is kept, within the bounds of every target");
                    let running =
                        self.bounding(store).run(settings.clone(), self.fresh_health(&settings)).await;
                    absent.insert(name, running);
                }
            }
        }
    }

    /// What it takes to have a relay without a target.
    fn bounding(&self, store: &Arc<Store>) -> Launch {
        Launch {
            // Its own: no change is to name the target.
            live: Arc::default(),
            make: Arc::new(|_, _| Err("it is not configured".to_owned())),
            ..self.launch(store)
        }
    }

    fn fresh_health(&self, settings: &TargetSettings) -> Arc<Health> {
        Arc::new(Health::new(settings.target.clone(), Arc::clone(&self.counters)))
    }
}

/// The settings of a target (`id:type`) of which nothing is known; `None` of a kind that this build does not know.
fn settings(name: &str) -> Option<TargetSettings> {
    let (id, kind) = name.rsplit_once(':')?;
    let kinds = TARGETS.iter().map(|row| row.kind).chain(FURTHER_KINDS.iter().copied());
    let kind = kinds.into_iter().find(|&known| known == kind)?;
    let values = KeySpec::OF_EVERY_KIND.iter().map(|key| (key.name, key.default.to_owned())).collect();
    Some(TargetSettings { target: TargetId { id: id.to_owned(), kind }, values })
}

#[cfg(test)]
mod tests {
    use store::Sequence;
    use store::testing::fixture::HOME;
    use tidings_store as store;

    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, keys, told, until, within};

    const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;

    /// A server that starts without the target for which these waited when it ended.
    async fn without(target: &MemoryTarget, waiting: &[&str]) -> Scene {
        let scene = Scene::new(&[("1", target)]).await;
        scene.announce(&[("", "1")]).await;
        target.set(Mood::Away);
        scene.put_all(waiting).await;
        within(target.wait_for_tries(1)).await;
        scene.notifier.shutdown().await;
        target.set(Mood::Well);
        let without = Scene::over(scene.engine, &[("1", target)]).await;
        without.apply(&[]).await;
        without
    }

    #[tokio::test]
    async fn what_waits_for_a_missing_target_goes_when_it_waited_too_long_and_the_target_is_told_when_it_is_back()
     {
        let target = MemoryTarget::default();
        let scene = without(&target, &["a", "b"]).await;
        scene.clock.advance_ms(WEEK_MS + 1);
        // Not its own any more, and it wakes the relay.
        scene.put("c").await;
        let newest = scene.store.newest(HOME);
        until(async || scene.cursor("1").await >= Some(Sequence(newest.0))).await;
        let gaps = scene.store.gaps(HOME, "1:memory").await.unwrap();
        assert_eq!(gaps.iter().map(|(_, gap)| gap.changes).collect::<Vec<_>>(), [2]);
        assert_eq!(target.received(), []);

        scene.apply(&["1"]).await;
        scene.put("d").await;
        scene.caught_up("1").await;
        assert_eq!(keys(&target.received()), ["album/", "album/d"]);
    }

    #[tokio::test]
    async fn a_missing_target_that_is_back_in_time_misses_nothing() {
        let target = MemoryTarget::default();
        let scene = without(&target, &["a", "b"]).await;
        scene.clock.advance_ms(WEEK_MS - 1000);
        scene.put("c").await;
        scene.apply(&["1"]).await;
        within(target.wait_for(2)).await;
        assert_eq!(told(&target.received()), scene.owed("1").await);
        assert_eq!(scene.notifier.totals().skipped, 0);
    }
}
