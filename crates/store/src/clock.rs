//! Time comes in through a trait, so that tests own it.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock, and one beside it that only runs.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since 1970. May step back; who needs order uses a [`crate::Sequence`].
    fn now_ns(&self) -> u64;

    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000
    }

    /// Milliseconds since a moment of its own, the same for as long as the program runs. Nobody sets it.
    fn steady_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now_ns(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    fn steady_ms(&self) -> u64 {
        static FIRST_ASKED: LazyLock<Instant> = LazyLock::new(Instant::now);
        u64::try_from(FIRST_ASKED.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
