//! Moving the cursor: an ordinary commit now and then, over everything that is done with.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use store::Sequence;
use tidings_store as store;
use tokio::time::Instant;

use super::Course;

/// The cursor moves at most this often …
const ADVANCE_EVERY: Duration = Duration::from_millis(100);

/// … or when so many changes were finished since.
const ADVANCE_EVERY_CHANGES: usize = 1000;

/// A commit under way, and the cursor once it is durable.
pub(super) type Advance = Pin<Box<dyn Future<Output = Result<Sequence, store::Error>> + Send>>;

impl Course {
    pub(super) fn has_to_advance(&self) -> bool {
        self.window.acknowledged() > self.committed
    }

    /// Begins to move the cursor, if it is time to.
    pub(super) fn begin_advance(&mut self, now: Instant) {
        let is_time = now >= self.advance_after || self.finished_since >= ADVANCE_EVERY_CHANGES;
        if self.advancing.is_some() || !is_time || !self.has_to_advance() {
            return;
        }
        let (store, partition) = (Arc::clone(&self.relay.store), self.relay.partition);
        let (name, to) = (self.relay.name.clone(), self.window.acknowledged());
        self.finished_since = 0;
        self.advancing =
            Some(Box::pin(async move { store.advance(partition, &name, to).await.map(|()| to) }));
    }

    /// A failed commit is no harm: the next one carries a newer cursor.
    pub(super) fn end_advance(&mut self, result: Result<Sequence, store::Error>) {
        self.advancing = None;
        self.advance_after = Instant::now() + ADVANCE_EVERY;
        match result {
            Ok(to) => self.committed = to,
            Err(error) => {
                tracing::debug!(target_id = %self.relay.name, %error, "the cursor could not be moved, it is tried again");
            }
        }
    }
}
