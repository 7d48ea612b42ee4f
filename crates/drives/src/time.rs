//! Time, as far as it can be believed.
//!
//! A wall clock may be set wrong, and right again. Frames never go back in time: see
//! [`crate::chain::Chain::time_ns`]. What ends by time alone, ends only while the wall clock goes with the monotonic
//! one: one that was set by more than [`STEP_MAX`] ends nothing, until it is set back or the process starts anew.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How far the wall clock may be from where it should be.
const STEP_MAX: Duration = Duration::from_secs(60 * 60);

/// Holds the wall clock against the monotonic one.
pub(crate) struct StepWatch {
    /// What the wall clock said when the process began, or the time of the last frame if that is later.
    began_ns: AtomicU64,
    began: Instant,
    told: AtomicBool,
}

impl StepWatch {
    /// Begins at `now_ns` of the wall clock.
    pub(crate) fn begin(now_ns: u64) -> StepWatch {
        let began_ns = AtomicU64::new(now_ns);
        StepWatch { began_ns, began: Instant::now(), told: AtomicBool::new(false) }
    }

    /// The journal has a frame of this time: it was not earlier when the process began.
    pub(crate) fn note_frame(&self, time_ns: u64) {
        self.began_ns.fetch_max(time_ns, Ordering::Relaxed);
    }

    /// Whether the wall clock, which says `now_ns`, was not set since; tells the operator when that changes.
    pub(crate) fn trusts(&self, now_ns: u64) -> bool {
        let trusted = self.is_near(now_ns, self.began.elapsed());
        match (trusted, self.told.swap(!trusted, Ordering::Relaxed)) {
            (false, false) => tracing::error!(
                "The wall clock was set by more than an hour: nothing expires until it is set back or the server is restarted."
            ),
            (true, true) => tracing::info!("The wall clock is right again."),
            _ => {}
        }
        trusted
    }

    fn is_near(&self, now_ns: u64, elapsed: Duration) -> bool {
        let elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let expected_ns = self.began_ns.load(Ordering::Relaxed).saturating_add(elapsed_ns);
        Duration::from_nanos(expected_ns.abs_diff(now_ns)) <= STEP_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;

    #[test]
    fn a_clock_that_goes_with_time_is_trusted_however_long_and_one_that_was_set_is_not() {
        let watch = StepWatch::begin(100 * HOUR_NS);
        let near = |now_ns: u64, hours: u64| watch.is_near(now_ns, Duration::from_nanos(hours * HOUR_NS));
        assert!(near(1100 * HOUR_NS, 1000));
        assert!(near(101 * HOUR_NS, 0) && near(99 * HOUR_NS, 0));
        assert!(!near(102 * HOUR_NS, 0) && !near(98 * HOUR_NS, 0));
        assert!(!near(100 * HOUR_NS, 2));
    }

    #[test]
    fn a_clock_behind_the_last_frame_is_not_trusted_and_one_that_is_set_right_is() {
        let watch = StepWatch::begin(100 * HOUR_NS);
        watch.note_frame(90 * HOUR_NS);
        assert!(watch.trusts(100 * HOUR_NS));
        watch.note_frame(110 * HOUR_NS);
        assert!(!watch.trusts(100 * HOUR_NS));
        assert!(watch.trusts(110 * HOUR_NS));
    }
}
