//! Pace: the bandwidth class of work in the background, and the end of it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What may be done ahead of the pace: a wait shorter than this is not worth its wake-up.
const AHEAD_MAX: Duration = Duration::from_millis(20);

/// Why a walk ended before its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// The engine stops.
    Stopped,
    /// Another drive came back, or one that was being healed failed: what is to be done is another thing now.
    Changed,
    /// A segment of the journal has a hole: a reason for the operator.
    Broken { segment: u32, reason: String },
}

/// Lets at most so many bytes a second pass.
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When what passed so far is due.
    due: Instant,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Pace {
        Pace { bytes_per_second: bytes_per_second.max(1), due: Instant::now() }
    }

    /// Waits until `bytes` more may pass.
    pub(super) fn pass(&mut self, bytes: u64, stop: &Receiver<()>) -> Result<(), Ended> {
        pause(self.wait(bytes), stop)
    }

    /// Lets `bytes` more pass, after this time.
    pub(super) fn wait(&mut self, bytes: u64) -> Duration {
        let now = Instant::now();
        // What was not used is not kept for later: a class is a ceiling.
        self.due = self.due.max(now) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let wait = self.due.saturating_duration_since(now);
        if wait > AHEAD_MAX { wait } else { Duration::ZERO }
    }
}

/// Waits, unless the engine stops.
pub(super) fn pause(wait: Duration, stop: &Receiver<()>) -> Result<(), Ended> {
    match stop.recv_timeout(wait) {
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => Err(Ended::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn bytes_pass_at_the_pace_and_a_stop_ends_the_wait() {
        let (stopper, stop) = channel();
        let mut pace = Pace::new(1_000_000);
        let began = Instant::now();
        for _ in 0..5 {
            pace.pass(20_000, &stop).unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(70), "{:?}", began.elapsed());
        drop(stopper);
        assert!(matches!(pace.pass(1_000_000_000, &stop), Err(Ended::Stopped)));
    }
}
