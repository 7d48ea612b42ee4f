//! Which changes are kept: those that a target still waits for, and all of a while.
//!
//! A change is needed while it is younger than a day and among the last bytes that [`Retention`] allows, or while it
//! names targets and not all have acknowledged it. What is needed no longer leaves the index; its bytes are then garbage
//! to compaction.

use std::time::Duration;

use store::Sequence;

use super::Index;
use crate::live::Weight;

/// How long a change is kept that nobody waits for: a day.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of such changes, at most: 1 GiB.
const KEPT_BYTES_MAX: u64 = 1 << 30;

/// The same as a share of the smallest drive: a twentieth.
const KEPT_SHARE: u64 = 20;

/// Changes looked at under one lock.
const AT_A_TIME: usize = 4096;

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Encoded bytes of changes.
    pub bytes_max: u64,
}

impl Retention {
    /// What a set keeps whose smallest drive has `total_bytes`.
    pub(crate) fn of(total_bytes: u64) -> Retention {
        Retention { bytes_max: KEPT_BYTES_MAX.min(total_bytes / KEPT_SHARE) }
    }
}

impl Index {
    /// Lets go of changes that nobody may ask for any more. Answers whether there are more of them: no more than
    /// [`AT_A_TIME`] are looked at.
    pub(crate) fn expire(&mut self, retention: Retention, now_ns: u64) -> bool {
        let kept_for = u64::try_from(KEPT_FOR.as_nanos()).unwrap_or(u64::MAX);
        let oldest = Sequence(now_ns.saturating_sub(kept_for));
        for _ in 0..AT_A_TIME {
            if !self.raise_floor(retention, oldest) && !self.drop_released() {
                return false;
            }
        }
        true
    }

    /// Takes one more change out of what is kept for everybody.
    fn raise_floor(&mut self, retention: Retention, oldest: Sequence) -> bool {
        let Some(place) = self.changes.after(self.floor).next().copied() else {
            return false;
        };
        if place.sequence >= oldest && self.kept_bytes <= retention.bytes_max {
            return false;
        }
        self.floor = place.sequence;
        self.kept_bytes -= u64::from(place.length);
        if !place.has_targets || place.sequence <= self.released {
            self.forget_change(place.sequence);
        }
        true
    }

    /// Lets go of one change that its targets have acknowledged.
    fn drop_released(&mut self) -> bool {
        let end = self.floor.min(self.released);
        let Some(place) = self.changes.after(Sequence::ZERO).next().copied() else {
            return false;
        };
        if place.sequence > end {
            return false;
        }
        self.forget_change(place.sequence);
        true
    }

    fn forget_change(&mut self, sequence: Sequence) {
        if let Some(place) = self.changes.remove(sequence) {
            self.live.end(place.segment, Weight::of_change(place.length));
        }
    }
}
