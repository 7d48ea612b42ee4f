//! Room: how many more segments can be begun on the fullest drive, and what compaction and commits make of it. Those
//! that are free count, and those that lie ready: made ahead, the reserve among them, or retired.
//!
//! Everything follows the room smoothly, so that nobody meets a wall. As it shrinks compaction finds ever fuller
//! segments worth its while, and may write ever more beside commits. Where it is behind all the same, commits wait
//! until what they owe it is written, longer with every segment that is missing and never longer than
//! [`Room::delay_max`] for a frame.
//!
//! Room that is kept free has its price: what lives is packed into the rest, so that compaction meets fuller segments
//! there. Of 64 segments, four fifths of them needed and overwritten by Zipf's law, two that are free make commits cost
//! 3.0 times their bytes, five 3.9 times, and eight 6.3 times (simulated; `docs/decisions/0021`). So nothing is done in
//! earnest while there is room for [`WORTH_BELOW`] segments. Of these three are the next and the reserve, without which
//! the set counts as full: with less than eight it does now and then.

use std::time::Duration;

/// With room for so many segments, space is not short.
const AMPLE: f64 = 16.0;

/// With room for so many it is as short as a set in use gets.
const SCARCE: f64 = 4.0;

/// With room for fewer than so many, segments are compacted that would not be worth it else, up to
/// [`FILL_MIN_SHORT`] where it is scarce.
const WORTH_BELOW: f64 = 8.0;

/// With room for fewer than so many, commits wait.
const WAITS_BELOW: f64 = 2.0;

/// A segment is compacted when less than this share of it is needed.
pub(crate) const FILL_MIN: f64 = 0.6;

/// The same where room is scarce. Frames that one large object each makes are filled better than that; and segments
/// are as full as that on average on drives that are four fifths full, less their heads, the next and the reserve.
const FILL_MIN_SHORT: f64 = 0.9;

/// Bytes of copies that go with each byte of commits: in ample room, where it is scarce, and where none is left.
const SHARE_AMPLE: f64 = 0.5;
const SHARE_SCARCE: f64 = 2.0;
const SHARE_NONE: f64 = 8.0;

/// How long a frame of commits waits for the copies that it owes, where no room is left.
const DELAY_MAX: Duration = Duration::from_millis(20);

/// Room for so many more segments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Room(f64);

impl Room {
    /// None at all.
    pub(crate) const NONE: Room = Room(0.0);

    pub(crate) fn of(segments: u64) -> Room {
        Room(u32::try_from(segments).map_or(f64::INFINITY, f64::from))
    }

    /// How short space is, from 0 (not at all) to 1.
    pub(crate) fn shortness(self) -> f64 {
        self.ramp((AMPLE, 0.0), (SCARCE, 1.0))
    }

    /// The share of a segment below which what is needed of it is copied elsewhere.
    pub(crate) fn fill_min(self) -> f64 {
        self.ramp((WORTH_BELOW, FILL_MIN), (SCARCE, FILL_MIN_SHORT))
    }

    /// Bytes of copies that go with so many of commits.
    pub(crate) fn owed(self, commit_bytes: usize) -> usize {
        let share = if self.0 > SCARCE {
            self.ramp((AMPLE, SHARE_AMPLE), (SCARCE, SHARE_SCARCE))
        } else {
            self.ramp((SCARCE, SHARE_SCARCE), (0.0, SHARE_NONE))
        };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bytes of a frame, times at most eight"
        )]
        let owed = (commit_bytes as f64 * share) as usize;
        owed
    }

    /// How long a frame of commits waits at most for the copies that it owes: with the square of what is missing.
    pub(crate) fn delay_max(self) -> Duration {
        let missing = self.ramp((WAITS_BELOW, 0.0), (0.0, 1.0));
        DELAY_MAX.mul_f64(missing * missing)
    }

    /// A straight line between what holds in `ample` room and what holds in `scarce`, each with its segments first;
    /// level beyond both.
    fn ramp(self, ample: (f64, f64), scarce: (f64, f64)) -> f64 {
        let missing = (ample.0 - self.0.clamp(scarce.0, ample.0)) / (ample.0 - scarce.0);
        ample.1 + (scarce.1 - ample.1) * missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Per cent of a segment that may be needed, bytes of copies for a thousand of commits, and milliseconds.
    fn at(segments: u64) -> (f64, usize, u128) {
        let room = Room::of(segments);
        ((room.fill_min() * 100.0).round(), room.owed(1000), room.delay_max().as_millis())
    }

    #[test]
    fn in_ample_room_only_what_is_mostly_garbage_is_compacted_and_nobody_waits() {
        for segments in [16, 1000, u64::MAX] {
            assert_eq!(at(segments), (60.0, 500, 0));
            assert_eq!(Room::of(segments).shortness(), 0.0);
        }
    }

    #[test]
    fn as_room_shrinks_compaction_gets_more_and_only_then_do_commits_wait() {
        assert_eq!(at(10), (60.0, 1250, 0));
        assert_eq!(at(6), (75.0, 1750, 0));
        assert_eq!(at(4), (90.0, 2000, 0));
        assert_eq!(at(2), (90.0, 5000, 0));
        assert_eq!(at(1), (90.0, 6500, 5));
        assert_eq!(at(0), (90.0, 8000, 20));
        assert_eq!(
            (Room::of(10).shortness(), Room::of(4).shortness(), Room::NONE.shortness()),
            (0.5, 1.0, 1.0)
        );
    }

    #[test]
    fn no_step_is_a_wall() {
        for tenths in 0_u32..200 {
            let (more, less) = (Room(f64::from(tenths + 1) / 10.0), Room(f64::from(tenths) / 10.0));
            let fuller = less.fill_min() - more.fill_min();
            let owed = less.owed(1000) - more.owed(1000);
            let later = less.delay_max() - more.delay_max();
            assert!((0.0..0.008).contains(&fuller), "{tenths}: {fuller}");
            assert!(owed <= 151 && later <= Duration::from_millis(2), "{tenths}: {owed} bytes, {later:?}");
        }
    }
}
