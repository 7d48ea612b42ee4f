//! Moving the cursor: an ordinary commit now and then, over everything that is done with. It carries the gaps that
//! began, grew or were told since.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use store::Sequence;
use store::gap::GapWrites;
use tidings_store as store;
use tokio::time::Instant;

use super::Course;

/// The cursor moves at most this often …
pub(super) const ADVANCE_EVERY: Duration = Duration::from_millis(100);

/// … or when so many changes were finished since.
const ADVANCE_EVERY_CHANGES: usize = 1000;

/// A commit under way.
pub(super) type Advance = Pin<Box<dyn Future<Output = Advanced> + Send>>;

/// What a commit was to write, and what became of it.
pub(super) struct Advanced {
    to: Sequence,
    gaps: GapWrites,
    result: Result<(), store::Error>,
}

impl Course {
    pub(super) fn has_to_advance(&self) -> bool {
        self.window.acknowledged() > self.committed || !self.told.is_empty() || self.has_unwritten_gaps()
    }

    /// Begins to move the cursor, if it is time to.
    pub(super) fn begin_advance(&mut self, now: Instant) {
        let is_time = now >= self.advance_after || self.finished_since >= ADVANCE_EVERY_CHANGES;
        if self.advancing.is_some() || !is_time || !self.has_to_advance() {
            return;
        }
        let (store, partition) = (Arc::clone(&self.relay.store), self.relay.partition);
        let (name, to) = (self.relay.name.clone(), self.window.acknowledged());
        let gaps = GapWrites { told: std::mem::take(&mut self.told), written: self.unwritten_gaps() };
        self.finished_since = 0;
        self.advancing = Some(Box::pin(async move {
            let result = store.advance_over(partition, &name, to, gaps.clone()).await;
            Advanced { to, gaps, result }
        }));
    }

    /// A failed commit is no harm: the next one carries a newer cursor, and the same gaps.
    pub(super) fn end_advance(&mut self, advanced: Advanced) {
        let Advanced { to, gaps, result } = advanced;
        self.advancing = None;
        self.advance_after = Instant::now() + ADVANCE_EVERY;
        match result {
            Ok(()) => {
                self.committed = to;
                self.gaps_are_durable(gaps.written);
            }
            Err(error) => {
                self.told.extend(gaps.told);
                tracing::debug!(target_id = %self.relay.name, %error, "the cursor could not be moved, it is tried again");
            }
        }
    }
}
