//! How a relay ends: with the cursor behind everything that is done with, where the target answers in time.

use std::time::Duration;

use futures_util::StreamExt;
use store::Sequence;
use tidings_store as store;
use tokio::time::Instant;

use super::Course;
use crate::health::Wait;

/// How long deliveries under way may still be acknowledged when a relay ends.
const DRAIN: Duration = Duration::from_secs(2);

impl Course {
    /// Gives deliveries under way a moment, and those that are older than what is done with: else the cursor stays
    /// before them, and what is done with is told again by the next start. Then records how far the target came.
    pub(super) async fn drain(mut self) {
        let deadline = Instant::now() + DRAIN;
        self.is_ending = true;
        self.dispatch();
        while let Ok(Some(settled)) = tokio::time::timeout_at(deadline, self.in_flight.next()).await {
            self.settle(settled);
            self.dispatch();
        }
        drop(std::mem::take(&mut self.in_flight));
        for _ in 0..2 {
            // First the commit that is under way, then a last one.
            if let Some(advancing) = self.advancing.take() {
                let result = advancing.await;
                self.end_advance(result);
            }
            self.advance_after = Instant::now();
            self.begin_advance(self.advance_after);
        }
        self.set_full(false);
        self.relay.health.waits(self.relay.partition, Wait::default());
    }

    /// The newest change that may be started.
    pub(super) fn may_start_to(&self) -> Sequence {
        if self.is_ending { self.window.finished() } else { Sequence(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use store::Sequence;
    use tidings_store as store;

    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, keys, within};

    #[tokio::test]
    async fn what_was_acknowledged_before_older_records_of_another_key_is_not_told_again_after_a_clean_stop()
    {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        target.set(Mood::Blocked);
        scene.put_all(&["a", "a", "a", "b", "b"]).await;
        within(target.wait_for_tries(2)).await;

        let mut stop = Box::pin(scene.notifier.shutdown());
        for _ in 0..100 {
            assert!(poll!(&mut stop).is_pending());
            tokio::task::yield_now().await;
        }
        target.set(Mood::Well);
        within(stop).await;
        let mut received = keys(&target.received()).into_iter().map(str::to_owned).collect::<Vec<_>>();
        received.sort();
        assert_eq!(received, ["album/a", "album/a", "album/a", "album/b"], "the second b can wait");
        let first_b = Sequence::from_sequencer(&scene.owed("1").await[3].1).unwrap();
        assert_eq!(scene.cursor("1").await, Some(first_b));
    }
}
