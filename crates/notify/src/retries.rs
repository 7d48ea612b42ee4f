//! How often a record is tried again and after how long, where the settings say it: only those of topics do.
//!
//! Where they do not, a record whose target is away is tried without end and one that is refused
//! [`DEAD_AFTER_TRIES`] times, after the delays of [`Backoff`](crate::backoff::Backoff). Where they say how often,
//! every failed try of a record counts, whatever failed, and one that is over its retries becomes a dead letter. Where
//! they say how long, that lies between two tries of a record; a target that is away is meanwhile tried with others,
//! one at a time, as every target is.

use std::time::Duration;

use crate::backoff::FIRST_DELAY_MS;
use crate::dead::DEAD_AFTER_TRIES;
use crate::target::TargetSettings;

/// The setting that says how often: a whole number, 0 for no end.
pub const MAX_RETRIES: &str = "max_retries";

/// The setting that says how long: a duration. None at all is the first delay of every target, since a target that
/// fails at once must not keep the relay busy.
pub const RETRY_PAUSE: &str = "retry_pause";

/// See the module header. What is `None` is as for every target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retries {
    max: Option<u32>,
    pub(crate) pause: Option<Duration>,
}

impl Retries {
    /// What settings say that passed their check.
    pub(crate) fn of(settings: &TargetSettings) -> Retries {
        let max = u32::try_from(settings.number(MAX_RETRIES)).unwrap_or(u32::MAX);
        let pause = match settings.value(RETRY_PAUSE) {
            "" => None,
            _ => Some(settings.duration(RETRY_PAUSE).max(Duration::from_millis(FIRST_DELAY_MS))),
        };
        Retries { max: Some(max).filter(|&max| max > 0), pause }
    }

    /// Whether every failed try counts.
    pub(crate) fn are_bounded(self) -> bool {
        self.max.is_some()
    }

    /// Tries that count, after which a record is given up.
    pub(crate) fn tries_max(self) -> u32 {
        self.max.map_or(DEAD_AFTER_TRIES, |retries| retries.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MAX_RETRIES, RETRY_PAUSE, Retries};
    use crate::target::{TargetId, TargetSettings};

    #[test]
    fn nothing_said_and_zero_retries_are_without_end_and_no_pause_is_a_short_one() {
        let of = |max: &str, pause: &str| {
            let values = [(MAX_RETRIES, max.to_owned()), (RETRY_PAUSE, pause.to_owned())].into();
            Retries::of(&TargetSettings { target: TargetId::default(), values })
        };
        assert_eq!([of("", ""), of("0", "")], [Retries::default(); 2]);
        let told = of("3", "0s");
        assert_eq!((told.tries_max(), told.pause), (4, Some(Duration::from_millis(100))));
        assert_eq!(of("", "60s").pause, Some(Duration::from_secs(60)));
    }
}
