//! What travels together: the records that are due when a delivery can begin, up to a bound.

use std::sync::Arc;

use store::Change;
use tidings_store as store;
use tokio::time::Instant;

use super::Course;
use crate::health::InProgress;
use crate::record::Form;
use crate::running::Held;
use crate::target::Delivery;

/// Bodies of a batch, in bytes, with which it is full.
pub(crate) const BATCH_BYTES: usize = 512 << 10;

/// Records that travel together: their keys in the window, and each as it is delivered and counted.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) keys: Vec<Arc<str>>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) in_progress: Vec<InProgress>,
}

impl Course {
    /// Takes what is due, as far as it may travel together.
    pub(super) fn next_batch(&mut self, form: &Form, records_max: usize, held: &Held, now: Instant) -> Batch {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.keys.len() < records_max && bytes < BATCH_BYTES {
            let (gaps, newest) = (&self.gaps, self.may_start_to());
            let is_held = |change: &Change| {
                let bucket = &change.bucket;
                change.sequence > newest || gaps.contains_key(bucket) || held.buckets.contains(bucket)
            };
            let started = self.window.start(now, is_held);
            let Some((key, change, was_tried)) = started else {
                break;
            };
            let delivery = Delivery::of(change, form, &self.relay.name, &self.relay.server);
            bytes += delivery.body.len();
            batch.keys.push(key);
            batch.deliveries.push(delivery);
            batch.in_progress.push(self.relay.health.begin(was_tried));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use store::Sequence;
    use tidings_store as store;

    use super::BATCH_BYTES;
    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, by_key, keys, told, until, within};

    /// A scene whose target has everything that is put travel as far as it may: it waited until all of it was there.
    async fn gathered(target: &MemoryTarget, names: &[impl AsRef<str>]) -> Scene {
        let scene = Scene::new(&[("1", target)]).await;
        scene.announce(&[("", "1")]).await;
        scene.notifier.pause("1:memory").await.unwrap();
        scene.put_all(&names.iter().map(AsRef::as_ref).collect::<Vec<_>>()).await;
        scene.waiting("1", names.len() as u64).await;
        scene.notifier.resume("1:memory").await.unwrap();
        scene
    }

    #[tokio::test]
    async fn what_waits_travels_together_and_each_key_once_in_a_batch() {
        let target = MemoryTarget::taking_batches_of(4);
        let scene = gathered(&target, &["a", "b", "a", "c", "d", "e", "a"]).await;
        scene.caught_up("1").await;

        assert_eq!(target.batches()[..2], [4, 1], "a, b, c, d; then e, as the others of a have to wait");
        assert_eq!(by_key(told(&target.received())), by_key(scene.owed("1").await));
    }

    #[tokio::test]
    async fn a_poisoned_record_in_a_batch_dies_alone_and_the_others_arrive_once() {
        let target = MemoryTarget::taking_batches_of(10);
        target.refuse(&["album/4"]);
        let scene = gathered(&target, &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]).await;
        scene.waiting("1", 1).await;

        let mut arrived = keys(&target.received()).into_iter().map(str::to_owned).collect::<Vec<_>>();
        arrived.sort();
        assert_eq!(arrived, [0, 1, 2, 3, 5, 6, 7, 8, 9].map(|name| format!("album/{name}")));
        let poison = Sequence::from_sequencer(&scene.owed("1").await[4].1).unwrap();
        until(async || scene.cursor("1").await == Some(Sequence(poison.0 - 1))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn many_poisoned_records_in_a_batch_of_which_some_arrive_do_not_make_the_target_sick() {
        let target = MemoryTarget::taking_batches_of(50);
        let names: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        let poison: Vec<String> = names[..30].iter().map(|name| format!("album/{name}")).collect();
        target.refuse(&poison.iter().map(String::as_str).collect::<Vec<_>>());
        let scene = gathered(&target, &names).await;
        scene.waiting("1", 30).await;
        assert_eq!(scene.report("1").await.reason, "");
    }

    #[tokio::test]
    async fn a_target_that_leaves_within_a_batch_gets_the_rest_later_in_order_per_key() {
        let target = MemoryTarget::taking_batches_of(8);
        target.leave_after(3);
        let scene = gathered(&target, &["a", "b", "c", "d", "e", "f", "a", "b", "c", "d"]).await;
        scene.waiting("1", 7).await;
        within(target.wait_for_tries(7)).await;
        assert_eq!(target.batches()[..2], [6, 1], "a sick target is tried with one record");

        target.set(Mood::Well);
        scene.caught_up("1").await;
        assert_eq!(by_key(told(&target.received())), by_key(scene.owed("1").await));
    }

    #[tokio::test]
    async fn a_batch_ends_with_the_record_that_makes_it_large() {
        let target = MemoryTarget::taking_batches_of(1000);
        let names: Vec<String> = (0..700).map(|number| format!("{number:0>900}")).collect();
        let scene = gathered(&target, &names).await;
        scene.caught_up("1").await;

        let received = target.received();
        let body = received[0].body.len();
        assert!(received.iter().all(|delivery| delivery.body.len() == body));
        assert_eq!(target.batches()[0], BATCH_BYTES.div_ceil(body));
    }
}
