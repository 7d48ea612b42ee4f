//! The changes of reads: committed beside a response, never before it.
//!
//! A GET or HEAD that a rule or a listener asks for becomes a change once its response is decided. The
//! response does not wait for it, and where the set cannot commit the read succeeds all the same.
//!
//! # Bounds
//!
//! At most [`IN_FLIGHT_MAX`] changes are under way. One more is not committed. Each that is not committed is
//! counted, and the first after one that was is logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use store::{Bucket, ChangeKind, Object, Origin};
use tidings_store as store;

use crate::Gateway;
use crate::work::Work;

/// Most access changes under way at once.
pub(crate) const IN_FLIGHT_MAX: usize = 4096;

/// Access changes under way.
pub(crate) struct Accesses {
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    losses: Arc<Losses>,
}

/// Accesses that were not told.
#[derive(Default)]
struct Losses {
    count: AtomicU64,
    /// Whether the last one tried was lost too.
    is_running: AtomicBool,
}

impl Losses {
    fn count(&self, reason: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if !self.is_running.swap(true, Ordering::Relaxed) {
            tracing::warn!(reason, "A read was not announced. Further ones are only counted until one is.");
        }
    }
}

impl Default for Accesses {
    fn default() -> Accesses {
        Accesses {
            permits: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            tasks: TaskTracker::new(),
            losses: Arc::default(),
        }
    }
}

impl Accesses {
    /// How many accesses were not told, since start.
    pub(crate) fn lost(&self) -> u64 {
        self.losses.count.load(Ordering::Relaxed)
    }

    /// Tells of a read, if anybody asks for it.
    pub(crate) fn announce(
        &self,
        gateway: &Gateway,
        bucket: Arc<Bucket>,
        kind: ChangeKind,
        object: Object,
        origin: impl FnOnce() -> Origin,
    ) {
        if !gateway.setup.store.is_access_announced(&bucket, kind, &object) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.losses.count("too many access changes are under way");
            return;
        };
        let store = Arc::clone(&gateway.setup.store);
        let losses = Arc::clone(&self.losses);
        let origin = origin();
        self.tasks.spawn(async move {
            match store.announce_access(bucket, kind, object, origin).await {
                Ok(_) => losses.is_running.store(false, Ordering::Relaxed),
                Err(error) => losses.count(&error.to_string()),
            }
            drop(permit);
        });
    }

    /// Begins work that a stopping server waits for.
    pub(crate) fn begin<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Work<T> {
        Work::new(&self.tasks, work)
    }

    /// Waits for what is under way.
    pub(crate) async fn drain(&self, seconds_max: u64) {
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(seconds_max), self.tasks.wait()).await.is_err() {
            let left = self.tasks.len();
            tracing::warn!(left, "Some reads were not announced before the server stopped.");
        }
    }
}
