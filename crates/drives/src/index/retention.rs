//! Which changes are kept: those that a target still waits for, and all of a while.
//!
//! A change is needed while it is as young and among the last bytes as [`Retention`] says, or while it
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
const KEPT_BYTES: u64 = 1 << 30;

/// Their largest share of the smallest drive, whatever an operator says: a twentieth.
const KEPT_SHARE: u64 = 20;

/// Changes looked at under one lock, at most: more are looked at the next time.
pub(crate) const AT_A_TIME: usize = 4096;

/// How much of the past is kept that nobody waits for: what both allow. What is `None` bounds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long.
    pub age: Option<Duration>,
    /// Bytes that changes take of each drive of a set; a twentieth of the smallest at most, also when it is `None`.
    pub bytes: Option<u64>,
}

impl Default for Retention {
    /// A day or 1 GiB, whichever is reached first.
    fn default() -> Retention {
        Retention { age: Some(KEPT_FOR), bytes: Some(KEPT_BYTES) }
    }
}

impl Retention {
    /// The same within the share of a set whose smallest drive has `total_bytes`.
    pub(crate) fn on(self, total_bytes: u64) -> Retention {
        let share = total_bytes / KEPT_SHARE;
        if self != Retention::default() && self.bytes.is_some_and(|bytes| bytes > share) {
            tracing::warn!(
                bytes = share,
                "The past that is to be kept is larger than a twentieth of the smallest drive: so much is kept."
            );
        }
        Retention { bytes: Some(self.bytes.map_or(share, |bytes| bytes.min(share))), ..self }
    }

    /// Changes of this sequence and later ones are young enough to be kept.
    fn young(self, now_ns: u64) -> Sequence {
        let age_ns = self.age.map_or(u64::MAX, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        Sequence(now_ns.saturating_sub(age_ns))
    }

    /// Whether so many bytes are more than is kept.
    fn is_exceeded(self, kept_bytes: u64) -> bool {
        self.bytes.is_some_and(|bytes| kept_bytes > bytes)
    }
}

/// The oldest changes, as they were looked up.
pub(crate) struct Oldest {
    generation: u64,
    /// After the floor.
    behind_floor: Vec<ChangePlace>,
    /// Of all.
    of_all: Vec<ChangePlace>,
    /// So many of either, at most.
    limit: usize,
}

/// Looks up the oldest changes, no more than `limit`; blocks.
pub(crate) fn oldest(set: &Set, limit: usize) -> Result<Oldest, EngineError> {
    let (generation, floor) = {
        let index = set.index.read();
        (index.generation(), index.floor)
    };
    let behind_floor = lookup::places_after(set, floor, limit)?;
    let of_all = lookup::places_after(set, Sequence::ZERO, limit)?;
    Ok(Oldest { generation, behind_floor, of_all, limit })
}

impl Index {
    /// Lets go of changes that nobody may ask for any more, of the oldest that were looked up. Answers whether there
    /// may be more of them.
    pub(crate) fn expire(&mut self, oldest: &Oldest, retention: Retention, now_ns: u64) -> bool {
        if oldest.generation != self.generation {
            return true;
        }
        let young = retention.young(now_ns);
        for place in oldest
            .behind_floor
            .iter()
            .filter(|place| place.sequence > self.floor)
            .copied()
            .collect::<Vec<_>>()
        {
            if place.sequence >= young && !retention.is_exceeded(self.kept_bytes) {
                break;
            }
            self.floor = place.sequence;
            // An index of an earlier version counted less for each.
            self.kept_bytes = self.kept_bytes.saturating_sub(Weight::of_change(place.length).metadata);
            if !place.has_targets || place.sequence <= self.released {
                self.forget_change(place);
            }
        }
        let end = self.floor.min(self.released);
        let released = oldest.of_all.iter().take_while(|place| place.sequence <= end);
        let count = released.map(|place| self.forget_change(*place)).count();
        count == oldest.limit
            || (oldest.behind_floor.len() == oldest.limit
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
        let oldest =
            Oldest { generation: 0, behind_floor: places.clone(), of_all: places.clone(), limit: 10 };
        index.expire(&oldest, Retention { age: None, bytes: Some(0) }, 0);
        let told: Vec<ChangePlace> =
            index.changes_part(Sequence::ZERO, 10).into_iter().filter_map(|(_, place)| place).collect();
        assert_eq!(told, [places[5]]);
        let mut expected = Live::default();
        expected.begin_put(0, weight);
        expected.begin(0, Weight::of_change(70));
        assert_eq!(index.live.bytes(1), expected.bytes(1));
    }

    #[test]
    fn the_past_is_kept_for_as_long_and_as_large_as_both_bounds_allow() {
        let places = [1, 2, 3, 4].map(|number| ChangePlace {
            sequence: Sequence(number * 1_000_000_000),
            crc: 0,
            segment: 0,
            offset: 4096,
            length: 100,
            has_targets: false,
        });
        let kept = |retention: Retention| {
            let mut index = Index::bounded(usize::MAX);
            places.iter().for_each(|place| index.set_change(*place, &Below::default()));
            let oldest =
                Oldest { generation: 0, behind_floor: places.to_vec(), of_all: places.to_vec(), limit: 10 };
            index.expire(&oldest, retention, 5_000_000_000);
            index.changes_part(Sequence::ZERO, 10).into_iter().filter(|(_, place)| place.is_some()).count()
        };
        let (age, bytes) = (Some(Duration::from_secs(2)), Some(Weight::of_change(100).metadata));
        assert_eq!(kept(Retention { age: None, bytes: None }), 4);
        assert_eq!(kept(Retention { age, bytes: None }), 2);
        assert_eq!(kept(Retention { age: None, bytes }), 1);
        assert_eq!(kept(Retention { age, bytes }), 1);
    }

    #[test]
    fn no_setting_keeps_more_than_a_twentieth_of_the_smallest_drive() {
        let day = Some(KEPT_FOR);
        assert_eq!(Retention::default().on(1 << 40), Retention { age: day, bytes: Some(KEPT_BYTES) });
        assert_eq!(Retention::default().on(2000), Retention { age: day, bytes: Some(100) });
        assert_eq!(Retention { age: day, bytes: None }.on(2000), Retention { age: day, bytes: Some(100) });
        assert_eq!(Retention { age: None, bytes: Some(7) }.on(2000), Retention { age: None, bytes: Some(7) });
    }
}
