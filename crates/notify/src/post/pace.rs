//! How many requests an endpoint is given at once on one connection.
//!
//! As many as it answers within [`WINDOW`], by the moving mean of what an answer took: so those that travel together
//! are answered not much later than each would be alone, and a slow endpoint has one request on each of as many
//! connections as there can be. The window is no shorter because an answer takes some milliseconds wherever the
//! processors are busy, which says nothing of the endpoint.
//!
//! # Bounds
//!
//! One at a time until something was answered, at most [`DEPTH_MAX`] ever. After an exchange of several that was not
//! answered as a whole, one at a time for [`ONE_BY_ONE`]: a server that loses what is behind a request, or closes
//! connections unannounced, costs that once in so long.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Requests on a connection at once.
pub(super) const DEPTH_MAX: usize = 16;

/// How long what travels together may take.
const WINDOW: Duration = Duration::from_millis(8);

/// How long an endpoint that left some of several unanswered is given one at a time.
const ONE_BY_ONE: Duration = Duration::from_secs(600);

/// The moving mean takes in this part of each exchange: one of so many.
const MEAN_OF: u32 = 8;

/// See the module header.
#[derive(Default)]
pub(super) struct Pace(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    /// What an answer takes, by the moving mean.
    each: Option<Duration>,
    one_by_one_until: Option<Instant>,
}

impl Pace {
    /// How many requests it is given at once.
    pub(super) fn depth(&self) -> usize {
        let mut heard = self.0.lock();
        if heard.one_by_one_until.is_some_and(|until| Instant::now() >= until) {
            heard.one_by_one_until = None;
        }
        match (heard.each, heard.one_by_one_until) {
            (Some(each), None) => {
                let answers = WINDOW.as_nanos() / each.as_nanos().max(1);
                usize::try_from(answers).unwrap_or(DEPTH_MAX).clamp(1, DEPTH_MAX)
            }
            _ => 1,
        }
    }

    /// So many were answered, and took so long together.
    pub(super) fn answered(&self, requests: usize, took: Duration) {
        let each = took / u32::try_from(requests).unwrap_or(u32::MAX).max(1);
        let mut heard = self.0.lock();
        heard.each = Some(heard.each.map_or(each, |mean| (mean * (MEAN_OF - 1) + each) / MEAN_OF));
    }

    /// Of several some were not answered.
    pub(super) fn failed(&self) {
        self.0.lock().one_by_one_until = Some(Instant::now() + ONE_BY_ONE);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::{DEPTH_MAX, ONE_BY_ONE, Pace, WINDOW};

    fn after(exchanges: impl IntoIterator<Item = (usize, Duration)>) -> usize {
        let pace = Pace::default();
        exchanges.into_iter().for_each(|(requests, took)| pace.answered(requests, took));
        pace.depth()
    }

    #[test]
    fn it_is_given_as_many_as_it_answers_within_the_window() {
        assert_eq!(after([]), 1, "nothing is known of it");
        assert_eq!(after([(1, Duration::ZERO)]), DEPTH_MAX);
        assert_eq!(after([(1, WINDOW / 100)]), DEPTH_MAX);
        assert_eq!(after([(1, WINDOW / 5)]), 5);
        assert_eq!(after([(10, WINDOW * 2)]), 5, "ten that take twice as long");
        assert_eq!(after([(1, WINDOW)]), 1);
        assert_eq!(after([(1, Duration::from_secs(60))]), 1);
    }

    #[test]
    fn one_late_answer_does_not_make_it_slow_and_several_do() {
        let quick = [(16, WINDOW / 4); 20];
        assert!(after(quick.into_iter().chain([(1, WINDOW)])) > 4);
        assert_eq!(after(quick.into_iter().chain([(1, WINDOW * 10); 3])), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_it_is_given_one_at_a_time_for_ten_minutes() {
        let pace = Pace::default();
        pace.answered(1, Duration::ZERO);
        pace.failed();
        advance(ONE_BY_ONE - Duration::from_millis(1)).await;
        assert_eq!(pace.depth(), 1);
        advance(Duration::from_millis(1)).await;
        assert_eq!(pace.depth(), DEPTH_MAX);
    }
}
