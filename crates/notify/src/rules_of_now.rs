//! A replay by the rules of now: what happened before it was asked for goes to a target by the rules that each bucket
//! has now, whatever they were then.
//!
//! What waited for the target when the replay began is owed to it by the rules of then too, and comes in its place. The
//! order per key is that of every replay. How far it is stands in the target's cursor; by which rules does not: new
//! settings of the target and a restart go on by the rules of then, and the replay is asked for again.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::{Change, Error, PartitionId, Sequence, Store};
use tidings_store as store;

use crate::matching::RuleCache;

/// See the module header.
pub(crate) struct RulesOfNow {
    store: Arc<Store>,
    rules: Arc<RuleCache>,
    spans: BTreeMap<PartitionId, Span>,
}

/// Where the rules of now decide in a partition.
struct Span {
    /// What the target had acknowledged when the replay began: nothing at or before it is owed.
    acknowledged: Sequence,
    /// The newest change there was then.
    until: Sequence,
}

impl RulesOfNow {
    /// Those for everything that happened until now, to a target (`id:type`) that still stands where it stood.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub(crate) async fn until_now(
        store: &Arc<Store>,
        rules: &Arc<RuleCache>,
        target: &str,
    ) -> Result<RulesOfNow, Error> {
        let mut spans = BTreeMap::new();
        for &partition in store.partitions() {
            let until = store.newest(partition);
            let acknowledged = store.cursor(partition, target).await?.unwrap_or(until);
            spans.insert(partition, Span { acknowledged, until });
        }
        Ok(RulesOfNow { store: Arc::clone(store), rules: Arc::clone(rules), spans })
    }

    /// A change as the target is told of it; `None` when it is not.
    pub(crate) fn told(
        &self,
        partition: PartitionId,
        target: &str,
        change: Arc<Change>,
    ) -> Option<Arc<Change>> {
        let is_named = change.targets.iter().any(|named| named == target);
        let Some(span) = self.spans.get(&partition).filter(|span| change.sequence <= span.until) else {
            return is_named.then_some(change);
        };
        match self.rule(target, &change) {
            Some(rule) => {
                let change = Arc::unwrap_or_clone(change);
                Some(Arc::new(Change { targets: vec![target.to_owned()], rules: vec![rule], ..change }))
            }
            None => (is_named && change.sequence > span.acknowledged).then_some(change),
        }
    }

    /// The id of the rule under which the target is told of a change now. A bucket that is gone has no rules.
    fn rule(&self, target: &str, change: &Change) -> Option<String> {
        let bucket = self.store.bucket(&change.bucket).ok()?;
        let rules = self.rules.rules(&bucket);
        rules.rule_for(target, change.kind, &change.key, change.object.as_ref()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use store::Sequence;
    use tidings_store as store;

    use crate::control::{ReplayBy, ReplayFrom};
    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, keys, within};

    const TARGET: &str = "1:memory";

    async fn replay(scene: &Scene, from: Sequence) {
        let from = ReplayFrom::Sequence(from);
        scene.notifier.replay(TARGET, from, ReplayBy::RulesOfNow).await.unwrap();
    }

    #[tokio::test]
    async fn a_target_that_is_told_of_more_than_it_was_gets_what_happened_before_its_rule() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.put_all(&["a", "b", "a", "other"]).await;
        scene.announce(&[("a", "1"), ("b", "1")]).await;
        scene.put("b").await;
        scene.caught_up("1").await;
        assert_eq!(keys(&target.received()), ["album/b"]);

        replay(&scene, Sequence::ZERO).await;
        within(target.wait_for(5)).await;
        scene.caught_up("1").await;
        let again = target.received().split_off(1);
        let of = |key: &str| again.iter().filter(|delivery| delivery.key == key).count();
        assert_eq!((of("album/a"), of("album/b"), again.len()), (2, 2, 4));
    }

    #[tokio::test]
    async fn what_the_rules_do_not_tell_any_more_is_not_sent_again_but_what_still_waited_is() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        scene.put_all(&["a", "b"]).await;
        scene.caught_up("1").await;
        target.set(Mood::Away);
        scene.put_all(&["waits", "b"]).await;
        scene.announce(&[("b", "1")]).await;
        scene.put("a").await;

        replay(&scene, Sequence::ZERO).await;
        target.set(Mood::Well);
        scene.caught_up("1").await;
        let mut again =
            keys(&target.received().split_off(2)).into_iter().map(str::to_owned).collect::<Vec<_>>();
        again.sort();
        assert_eq!(again, ["album/b", "album/b", "album/waits"]);
    }

    #[tokio::test]
    async fn what_happens_after_the_replay_was_asked_for_goes_by_the_rules_of_its_time() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        scene.notifier.pause(TARGET).await.unwrap();
        scene.put("before").await;
        replay(&scene, Sequence::ZERO).await;
        scene.put("after").await;
        scene.announce(&[("none", "1")]).await;
        scene.put("untold").await;

        scene.notifier.resume(TARGET).await.unwrap();
        scene.caught_up("1").await;
        let mut told = keys(&target.received()).into_iter().map(str::to_owned).collect::<Vec<_>>();
        told.sort();
        assert_eq!(told, ["album/after", "album/before"]);
    }
}
