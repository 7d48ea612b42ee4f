//! What the requests of this process were: counted per call, read by the metrics pages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

/// Upper bounds of the ranges of durations, in milliseconds; one more range has no bound.
pub(super) const DURATION_BOUNDS_MS: [u64; 8] = [50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// Counts requests since the process started. Bounded by the calls that exist: one row for each name.
#[derive(Default)]
pub(crate) struct Counters {
    calls: RwLock<BTreeMap<&'static str, Arc<Call>>>,
}

#[derive(Default)]
struct Call {
    requests: AtomicU64,
    errors_4xx: AtomicU64,
    errors_5xx: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    duration_us: AtomicU64,
    durations: [AtomicU64; DURATION_BOUNDS_MS.len()],
}

/// The counts of one call at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CallCounts {
    pub(super) requests: u64,
    pub(super) errors_4xx: u64,
    pub(super) errors_5xx: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) duration_us: u64,
    /// Requests that took at most as long as each bound.
    pub(super) durations: [u64; DURATION_BOUNDS_MS.len()],
}

impl Counters {
    /// Counts one answered request.
    ///
    /// `api` is the call's name (`PutObject`; pages write it in lower case); `received` and `sent` are the
    /// bytes of the bodies; `duration` runs until the answer's head was decided.
    pub(crate) fn count(&self, api: &'static str, status: u16, received: u64, sent: u64, duration: Duration) {
        let call = self.call(api);
        let add = |counter: &AtomicU64, amount: u64| counter.fetch_add(amount, Ordering::Relaxed);
        add(&call.requests, 1);
        match status {
            400..500 => add(&call.errors_4xx, 1),
            500..600 => add(&call.errors_5xx, 1),
            _ => 0,
        };
        add(&call.received_bytes, received);
        add(&call.sent_bytes, sent);
        add(&call.duration_us, u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        for (counter, bound_ms) in call.durations.iter().zip(DURATION_BOUNDS_MS) {
            if duration <= Duration::from_millis(bound_ms) {
                add(counter, 1);
            }
        }
    }

    /// All calls that were counted, by name.
    pub(super) fn read(&self) -> Vec<(&'static str, CallCounts)> {
        self.calls.read().iter().map(|(api, call)| (*api, call.read())).collect()
    }

    fn call(&self, api: &'static str) -> Arc<Call> {
        if let Some(call) = self.calls.read().get(api) {
            return Arc::clone(call);
        }
        Arc::clone(self.calls.write().entry(api).or_default())
    }
}

impl Call {
    fn read(&self) -> CallCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut durations = [0; DURATION_BOUNDS_MS.len()];
        for (count, counter) in durations.iter_mut().zip(&self.durations) {
            *count = read(counter);
        }
        CallCounts {
            requests: read(&self.requests),
            errors_4xx: read(&self.errors_4xx),
            errors_5xx: read(&self.errors_5xx),
            received_bytes: read(&self.received_bytes),
            sent_bytes: read(&self.sent_bytes),
            duration_us: read(&self.duration_us),
            durations,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CallCounts, Counters};

    #[test]
    fn requests_are_counted_by_call_status_bytes_and_time() {
        let counters = Counters::default();
        counters.count("putobject", 200, 10, 0, Duration::from_millis(60));
        counters.count("putobject", 403, 5, 7, Duration::from_millis(20));
        counters.count("getobject", 503, 0, 3, Duration::from_secs(60));

        let put = CallCounts {
            requests: 2,
            errors_4xx: 1,
            errors_5xx: 0,
            received_bytes: 15,
            sent_bytes: 7,
            duration_us: 80_000,
            durations: [1, 2, 2, 2, 2, 2, 2, 2],
        };
        let get = CallCounts {
            requests: 1,
            errors_5xx: 1,
            sent_bytes: 3,
            duration_us: 60_000_000,
            ..CallCounts::default()
        };
        assert_eq!(counters.read(), [("getobject", get), ("putobject", put)]);
    }
}
