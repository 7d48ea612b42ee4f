//! When to try again: delays that double up to a bound, shortened at random so that targets do not march in step.

use std::time::Duration;

/// The first delay after a failure.
pub const FIRST_DELAY_MS: u64 = 100;

/// The longest delay, however often it failed: a target that is back is noticed within this time.
pub const LONGEST_DELAY_MS: u64 = 10_000;

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay before the next try: between half of it and all of `FIRST_DELAY_MS` × 2ⁿ, never more than
    /// `LONGEST_DELAY_MS`.
    pub fn next_delay(&mut self) -> Duration {
        let doubled = FIRST_DELAY_MS.checked_shl(self.failures.min(32)).unwrap_or(LONGEST_DELAY_MS);
        self.failures = self.failures.saturating_add(1);
        let longest_ms = doubled.min(LONGEST_DELAY_MS);
        Duration::from_millis(rand::random_range(longest_ms / 2..=longest_ms))
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, FIRST_DELAY_MS, LONGEST_DELAY_MS};

    #[test]
    fn delays_double_up_to_the_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        for failure in 0..100 {
            let longest_ms = FIRST_DELAY_MS.saturating_mul(1 << failure.min(20)).min(LONGEST_DELAY_MS);
            let delay_ms = u64::try_from(backoff.next_delay().as_millis()).unwrap();
            assert!((longest_ms / 2..=longest_ms).contains(&delay_ms), "failure {failure}: {delay_ms} ms");
        }
        backoff.reset();
        assert!(backoff.next_delay().as_millis() <= u128::from(FIRST_DELAY_MS));
    }
}
