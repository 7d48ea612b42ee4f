//! How a target is doing: what its relays count and tell, read by reports and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use store::PartitionId;
use tidings_store as store;
use tokio::time::Instant;

use crate::target::{TargetId, Totals};

/// Counters over all targets. They outlive the targets.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent: AtomicU64,
    errors: AtomicU64,
    in_progress: AtomicU64,
}

impl Counters {
    pub(crate) fn totals(&self) -> Totals {
        Totals {
            sent: self.sent.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            skipped: 0,
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
    pub(crate) in_progress: AtomicU64,
    waits: Mutex<BTreeMap<PartitionId, Wait>>,
    contact: Mutex<Contact>,
}

/// What waits for a target in one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wait {
    /// Changes.
    pub(crate) changes: u64,
    /// When the oldest of them happened, milliseconds since 1970.
    pub(crate) oldest_ms: Option<u64>,
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
            in_progress: AtomicU64::new(0),
            waits: Mutex::default(),
            contact: Mutex::default(),
        }
    }

    /// A delivery begins; it has ended when the answer is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InProgress {
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

    /// A delivery failed because of its record: the target itself is well.
    pub(crate) fn refused(&self, key: &str, reason: &str, refusals: u32) {
        self.count_failure();
        if refusals == 1 {
            tracing::warn!(target_id = %self.target, key, reason, "the target refuses a record, it is tried again and holds up its key");
        }
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
            oldest_ms: [sum.oldest_ms, wait.oldest_ms].into_iter().flatten().min(),
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
