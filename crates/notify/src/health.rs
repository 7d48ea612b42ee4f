//! How a target is doing: what its relays count and tell, read by reports and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use store::{PartitionId, Sequence};
use tidings_store as store;
use tokio::time::Instant;

use crate::dead::DEAD_LETTERS_MAX;
use crate::target::{TargetId, Totals};

/// Counters over all targets. They outlive the targets.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent: AtomicU64,
    errors: AtomicU64,
    dropped: AtomicU64,
    in_progress: AtomicU64,
}

impl Counters {
    pub(crate) fn totals(&self) -> Totals {
        Totals {
            sent: self.sent.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            skipped: self.dropped.load(Ordering::Relaxed),
            in_progress: self.in_progress.load(Ordering::Relaxed),
        }
    }
}

/// One target's counters and whether it is well; shared by its relays.
#[derive(Debug)]
pub(crate) struct Health {
    target: TargetId,
    totals: Arc<Counters>,
    pub(crate) delivered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) in_progress: AtomicU64,
    waits: Mutex<BTreeMap<PartitionId, Wait>>,
    dead: Mutex<Dead>,
    contact: Mutex<Contact>,
}

/// What waits for a target in one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wait {
    /// Changes.
    pub(crate) changes: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The oldest of them, and when it happened, milliseconds since 1970.
    pub(crate) oldest: Option<(Sequence, u64)>,
}

/// The dead letters there are.
#[derive(Debug, Default)]
struct Dead {
    /// Also those that are being written.
    counts: BTreeMap<PartitionId, u64>,
    /// The log says that there is no room for more.
    is_full_told: bool,
}

impl Dead {
    fn sum(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// What is known from the last contact.
#[derive(Debug, Default)]
struct Contact {
    /// Deliveries fail. Ends with the next acknowledgement.
    is_sick: bool,
    /// Why the last contact failed, a clause; empty when it went well.
    reason: String,
    last: Option<Instant>,
}

impl Health {
    pub(crate) fn new(target: TargetId, totals: Arc<Counters>) -> Health {
        Health {
            target,
            totals,
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            in_progress: AtomicU64::new(0),
            waits: Mutex::default(),
            dead: Mutex::default(),
            contact: Mutex::default(),
        }
    }

    /// A delivery begins, of a record that was tried before or not; it has ended when the answer is dropped.
    pub(crate) fn begin(self: &Arc<Self>, was_tried: bool) -> InProgress {
        self.retried.fetch_add(u64::from(was_tried), Ordering::Relaxed);
        self.in_progress.fetch_add(1, Ordering::Relaxed);
        self.totals.in_progress.fetch_add(1, Ordering::Relaxed);
        InProgress(Arc::clone(self))
    }

    /// A delivery was acknowledged.
    pub(crate) fn acknowledged(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        self.totals.sent.fetch_add(1, Ordering::Relaxed);
        let mut contact = self.contact.lock();
        if contact.is_sick {
            tracing::info!(target_id = %self.target, "the target takes records again");
        }
        *contact = Contact { is_sick: false, reason: String::new(), last: Some(Instant::now()) };
    }

    /// A delivery failed because of the target. One log line when it was well before.
    pub(crate) fn failed(&self, reason: &str) {
        self.count_failure();
        let mut contact = self.contact.lock();
        if !contact.is_sick {
            tracing::warn!(target_id = %self.target, reason, "the target takes no records, they wait in the change log");
        }
        *contact = Contact { is_sick: true, reason: reason.to_owned(), last: Some(Instant::now()) };
    }

    /// A delivery failed because of its record: the target itself may be well.
    pub(crate) fn refused(&self) {
        self.count_failure();
    }

    /// So many changes will never be told.
    pub(crate) fn dropped(&self, changes: u64) {
        self.dropped.fetch_add(changes, Ordering::Relaxed);
        self.totals.dropped.fetch_add(changes, Ordering::Relaxed);
    }

    /// There are so many dead letters in a partition.
    pub(crate) fn count_dead(&self, partition: PartitionId, letters: u64) {
        self.dead.lock().counts.insert(partition, letters);
    }

    /// Takes room for one more dead letter, if there is any. One log line when there is none.
    pub(crate) fn reserve_dead(&self, partition: PartitionId) -> bool {
        let mut dead = self.dead.lock();
        let has_room = dead.sum() < DEAD_LETTERS_MAX;
        if has_room {
            *dead.counts.entry(partition).or_default() += 1;
        } else if !std::mem::replace(&mut dead.is_full_told, true) {
            tracing::error!(target_id = %self.target, letters = DEAD_LETTERS_MAX, "the target has as many dead letters as it may have: records it refuses hold up their keys until some are sent again or dropped");
        }
        has_room
    }

    /// A dead letter is gone, or did not come to be.
    pub(crate) fn release_dead(&self, partition: PartitionId) {
        let mut dead = self.dead.lock();
        let count = dead.counts.entry(partition).or_default();
        *count = count.saturating_sub(1);
        dead.is_full_told = false;
    }

    /// Dead letters in all partitions.
    pub(crate) fn dead(&self) -> u64 {
        self.dead.lock().sum()
    }

    /// A probe ended.
    pub(crate) fn probed(&self, found: Result<(), String>) {
        let mut contact = self.contact.lock();
        // A target that answers and yet takes no records is not well: only a delivery proves it is.
        if !contact.is_sick {
            contact.reason = found.err().unwrap_or_default();
            contact.last = Some(Instant::now());
        }
    }

    /// What waits in a partition is now this.
    pub(crate) fn waits(&self, partition: PartitionId, wait: Wait) {
        self.waits.lock().insert(partition, wait);
    }

    /// What waits in all partitions.
    pub(crate) fn wait(&self) -> Wait {
        self.waits.lock().values().fold(Wait::default(), |sum, wait| Wait {
            changes: sum.changes + wait.changes,
            bytes: sum.bytes + wait.bytes,
            oldest: [sum.oldest, wait.oldest].into_iter().flatten().min_by_key(|(_, time_ms)| *time_ms),
        })
    }

    /// Whether it was contacted within this time.
    pub(crate) fn was_contacted_within(&self, time: Duration) -> bool {
        self.contact.lock().last.is_some_and(|last| last.elapsed() < time)
    }

    /// Why it is offline; empty when the last contact went well.
    pub(crate) fn reason(&self) -> String {
        let contact = self.contact.lock();
        match contact.last {
            Some(_) => contact.reason.clone(),
            None => "it was not contacted yet".to_owned(),
        }
    }

    fn count_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.totals.errors.fetch_add(1, Ordering::Relaxed);
    }
}

/// A delivery under way.
pub(crate) struct InProgress(Arc<Health>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Ordering::Relaxed);
        self.0.totals.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}
