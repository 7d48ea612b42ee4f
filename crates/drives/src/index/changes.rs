//! The table of changes: where the record of each lies, by sequence.

use std::collections::BTreeMap;
use std::ops::Bound;

use store::Sequence;

use super::ChangePlace;

/// Places of changes in the order of their sequences.
#[derive(Debug, Default)]
pub(super) struct Changes {
    places: BTreeMap<Sequence, ChangePlace>,
}

impl Changes {
    /// Takes a place in, and answers the one that was known for that sequence.
    pub(super) fn insert(&mut self, place: ChangePlace) -> Option<ChangePlace> {
        self.places.insert(place.sequence, place)
    }

    /// Takes a place out.
    pub(super) fn remove(&mut self, sequence: Sequence) -> Option<ChangePlace> {
        self.places.remove(&sequence)
    }

    /// The place of a change.
    pub(super) fn get(&self, sequence: Sequence) -> Option<&ChangePlace> {
        self.places.get(&sequence)
    }

    /// The places after a sequence, in order.
    pub(super) fn after(&self, after: Sequence) -> impl Iterator<Item = &ChangePlace> {
        self.places.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, place)| place)
    }

    /// The last `count` places, in order.
    pub(super) fn last(&self, count: usize) -> Vec<ChangePlace> {
        let mut last: Vec<ChangePlace> = self.places.values().rev().take(count).copied().collect();
        last.reverse();
        last
    }
}
