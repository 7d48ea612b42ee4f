//! Steps of the wall clock: setting it forward does not make what waits older.
//!
//! Changes are timed by the wall clock, and so their age is told by it. When it is set forward, for an hour or for the
//! years between 1970 and the true time, everything that waits would be as much older at once, and `wait_age` would
//! drop it. A relay therefore compares the clock with one that nobody sets at each look, and takes off what it was set
//! forward from the age of what happened before that.
//!
//! Setting it back makes what waits younger until the clock is where it was; nothing is dropped too early by that. How
//! the clock was set while the server did not run, or the machine slept, cannot be told from time that passed.
//!
//! # Bounds
//!
//! The last [`STEPS_MAX`] steps are told apart; earlier ones are taken together with the next, by which what happened
//! between them is taken for younger than it is. A step below [`STEP_MS`] counts as time that passed.

/// Steps that are remembered.
const STEPS_MAX: usize = 8;

/// The smallest step, in milliseconds: clocks are slewed by less from one look to the next.
const STEP_MS: u64 = 1000;

/// See the module header. Times are in milliseconds.
#[derive(Debug)]
pub(super) struct Steps {
    /// The wall clock and the steady one at the last look.
    last: (u64, u64),
    /// Until when the wall clock had come when it was set forward, and by how much; the earliest first.
    forward: Vec<(u64, u64)>,
}

impl Steps {
    /// None so far, at this time of the wall clock and the steady one.
    pub(super) fn since(wall_ms: u64, steady_ms: u64) -> Steps {
        Steps { last: (wall_ms, steady_ms), forward: Vec::new() }
    }

    /// Looks at the clocks. What it would be now by the wall clock, had that not been set forward since `then_ms`.
    pub(super) fn now_since(&mut self, then_ms: u64, wall_ms: u64, steady_ms: u64) -> u64 {
        let (last_wall_ms, last_steady_ms) = std::mem::replace(&mut self.last, (wall_ms, steady_ms));
        let due_ms = last_wall_ms + steady_ms.saturating_sub(last_steady_ms);
        let step_ms = wall_ms.saturating_sub(due_ms);
        if step_ms >= STEP_MS {
            self.remember(due_ms, step_ms);
        }
        let since = self.forward.iter().filter(|(until_ms, _)| then_ms <= *until_ms);
        wall_ms.saturating_sub(since.map(|(_, step_ms)| step_ms).sum())
    }

    fn remember(&mut self, until_ms: u64, step_ms: u64) {
        self.forward.push((until_ms, step_ms));
        if self.forward.len() > STEPS_MAX {
            let (_, earliest_ms) = self.forward.remove(0);
            self.forward[0].1 += earliest_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{STEPS_MAX, Steps};

    #[test]
    fn a_step_forward_is_taken_off_the_age_of_what_happened_before_it_alone() {
        let mut steps = Steps::since(1_000_000, 0);
        assert_eq!(steps.now_since(1_000_000, 1_005_000, 5_000), 1_005_000);
        // An hour forward, after another second.
        assert_eq!(steps.now_since(1_000_000, 4_606_000, 6_000), 1_006_000);
        assert_eq!(steps.now_since(4_606_000, 4_607_000, 7_000), 4_607_000);
        assert_eq!(steps.now_since(1_000_000, 4_608_000, 8_000), 1_008_000);
    }

    #[test]
    fn slewing_and_steps_back_are_left_to_the_wall_clock() {
        let mut steps = Steps::since(1_000_000, 0);
        assert_eq!(steps.now_since(0, 1_060_500, 60_000), 1_060_500);
        assert_eq!(steps.now_since(0, 960_500, 61_000), 960_500);
        assert_eq!(steps.now_since(0, 961_500, 62_000), 961_500);
    }

    #[test]
    fn more_steps_than_are_remembered_make_nothing_older() {
        let mut steps = Steps::since(0, 0);
        let mut now = 0;
        for hour in 1..=2 * STEPS_MAX as u64 {
            now = steps.now_since(0, hour * 3_600_000, hour);
        }
        assert_eq!(now, 2 * STEPS_MAX as u64);
        assert_eq!(steps.forward.len(), STEPS_MAX);
    }
}
