//! Which changes are kept: those that a target still waits for, and all of a while.
//!
//! A change is needed while it is younger than a day and among the last bytes that [`Retention`] allows, or while it
//! names targets and not all have acknowledged it. What is needed no longer leaves the index; its bytes are then
//! garbage to compaction.

use std::time::Duration;

use store::{EngineError, Sequence};

use super::lookup::{self, Below};
use super::{ChangePlace, Index};
use crate::live::Weight;
use crate::set::Set;

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

/// The oldest changes, as they were looked up.
pub(crate) struct Oldest {
    generation: u64,
    /// After the floor.
    behind_floor: Vec<ChangePlace>,
    /// Of all.
    of_all: Vec<ChangePlace>,
}

/// Looks up the oldest changes, no more than [`AT_A_TIME`]; blocks.
pub(crate) fn oldest(set: &Set) -> Result<Oldest, EngineError> {
    let (generation, floor) = {
        let index = set.index.read();
        (index.generation(), index.floor)
    };
    let behind_floor = lookup::places_after(set, floor, AT_A_TIME)?;
    let of_all = lookup::places_after(set, Sequence::ZERO, AT_A_TIME)?;
    Ok(Oldest { generation, behind_floor, of_all })
}

impl Index {
    /// Lets go of changes that nobody may ask for any more, of the oldest that were looked up. Answers whether there
    /// may be more of them.
    pub(crate) fn expire(&mut self, oldest: &Oldest, retention: Retention, now_ns: u64) -> bool {
        if oldest.generation != self.generation {
            return true;
        }
        let kept_for = u64::try_from(KEPT_FOR.as_nanos()).unwrap_or(u64::MAX);
        let young = Sequence(now_ns.saturating_sub(kept_for));
        for place in oldest
            .behind_floor
            .iter()
            .filter(|place| place.sequence > self.floor)
            .copied()
            .collect::<Vec<_>>()
        {
            if place.sequence >= young && self.kept_bytes <= retention.bytes_max {
                break;
            }
            self.floor = place.sequence;
            self.kept_bytes -= u64::from(place.length);
            if !place.has_targets || place.sequence <= self.released {
                self.forget_change(place);
            }
        }
        let end = self.floor.min(self.released);
        let released = oldest.of_all.iter().take_while(|place| place.sequence <= end);
        let count = released.map(|place| self.forget_change(*place)).count();
        count == AT_A_TIME
            || (oldest.behind_floor.len() == AT_A_TIME
                && oldest.behind_floor.last().is_some_and(|last| last.sequence == self.floor))
    }

    /// Takes a change out, from where it lies by now.
    fn forget_change(&mut self, looked_up: ChangePlace) {
        let mut below = Below::default();
        if !self.is_bottom() {
            // With nothing below memory, what memory does not know is gone: it was taken out since it was looked up.
            below.changes.insert(looked_up.sequence, looked_up);
        }
        if let Some(place) = self.current_change(looked_up.sequence, &below) {
            self.live.end(place.segment, Weight::of_change(place.length));
            self.active.remove_change(place.sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Live;

    /// Of changes that lie in memory alone, those that nobody waits for and those that all have acknowledged are let
    /// go of together: each counts once.
    #[test]
    fn a_change_that_is_let_go_of_leaves_no_more_than_its_own_bytes() {
        let mut index = Index::bounded(usize::MAX);
        let weight = Weight::of_put(b"key", b"value", &[], 100);
        index.live.begin_put(0, weight);
        let place = |number| ChangePlace {
            sequence: Sequence(number),
            crc: 0,
            segment: 0,
            offset: 4096,
            length: 70,
            has_targets: number % 2 == 0,
        };
        let places: Vec<ChangePlace> = (1..=6).map(place).collect();
        places.iter().for_each(|place| index.set_change(*place, &Below::default()));
        index.released = Sequence(4);
        let oldest = Oldest { generation: 0, behind_floor: places.clone(), of_all: places.clone() };
        index.expire(&oldest, Retention { bytes_max: 0 }, 0);
        let told: Vec<ChangePlace> =
            index.changes_part(Sequence::ZERO, 10).into_iter().filter_map(|(_, place)| place).collect();
        assert_eq!(told, [places[5]]);
        let mut expected = Live::default();
        expected.begin_put(0, weight);
        expected.begin(0, Weight::of_change(70));
        assert_eq!(index.live.bytes(1), expected.bytes(1));
    }
}
