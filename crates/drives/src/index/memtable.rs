//! The memtable: what batches did since the last flush, in memory and in order.
//!
//! What it does not name lies below it, if anything lies below: therefore a removed key leaves a grave, and a removed
//! prefix one for all its keys.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use store::{KeyRange, Location, Mutation, Sequence};

use super::{ChangePlace, Stored};

/// What a key, a value and their places in the tree cost beside their bytes, as measured.
const ENTRY_BYTES: usize = 200;

/// What a change's place costs, likewise.
const CHANGE_BYTES: usize = 56;

/// Keys and changes since the last flush.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    /// `None` is a grave.
    keys: BTreeMap<Bytes, Option<Arc<Stored>>>,
    /// Prefixes removed; none begins with another.
    graves: BTreeSet<Bytes>,
    /// `None` is a grave.
    changes: BTreeMap<Sequence, Option<ChangePlace>>,
    /// Whether there may be something below, which graves must hide.
    covers: bool,
    bytes: usize,
}

/// What a layer says of a key.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Stored(Arc<Stored>),
    Removed,
    /// It says nothing: look below.
    Below,
}

impl Memtable {
    /// An empty one, with something below it.
    pub(super) fn covering() -> Memtable {
        Memtable { covers: true, ..Memtable::default() }
    }

    /// What it costs in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether anything was applied to it.
    pub(super) fn has_content(&self) -> bool {
        !(self.keys.is_empty() && self.graves.is_empty() && self.changes.is_empty())
    }

    pub(super) fn get(&self, key: &[u8]) -> Found {
        match self.keys.get(key) {
            Some(Some(stored)) => Found::Stored(Arc::clone(stored)),
            Some(None) => Found::Removed,
            None if self.is_grave(key) => Found::Removed,
            None => Found::Below,
        }
    }

    /// Whether it has an entry of the key itself.
    pub(super) fn names(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    /// Whether there may be something below.
    pub(super) fn covers(&self) -> bool {
        self.covers
    }

    /// Whether a prefix of the key was removed. Of prefixes none of which begins with another, only the last one not
    /// behind the key can be the key's.
    pub(super) fn is_grave(&self, key: &[u8]) -> bool {
        let last = self.graves.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        last.is_some_and(|prefix| key.starts_with(prefix))
    }

    pub(super) fn insert(&mut self, key: Bytes, stored: Stored) {
        let cost = cost_of(&key, Some(&stored));
        self.forget(&key);
        self.bytes += cost;
        self.keys.insert(key, Some(Arc::new(stored)));
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.forget(key);
        if self.covers && !self.is_grave(key) {
            let key = Bytes::copy_from_slice(key);
            self.bytes += cost_of(&key, None);
            self.keys.insert(key, None);
        }
    }

    pub(super) fn remove_prefix(&mut self, prefix: &[u8]) {
        let doomed: Vec<Bytes> = self.range(&KeyRange::prefix(prefix)).map(|(key, _)| key.clone()).collect();
        for key in doomed {
            self.forget(&key);
        }
        if self.covers && !self.is_grave(prefix) {
            let within: Vec<Bytes> = self
                .graves
                .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
                .take_while(|grave| grave.starts_with(prefix))
                .cloned()
                .collect();
            for grave in within {
                self.bytes -= cost_of(&grave, None);
                self.graves.remove(&grave);
            }
            let prefix = Bytes::copy_from_slice(prefix);
            self.bytes += cost_of(&prefix, None);
            self.graves.insert(prefix);
        }
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some((key, stored)) = self.keys.remove_entry(key) {
            self.bytes -= cost_of(&key, stored.as_deref());
        }
    }

    /// Keys of a range with what became of them.
    pub(super) fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&Bytes, &Option<Arc<Stored>>)> {
        let end = match &range.end {
            // An empty range with its ends swapped is no range a map takes.
            Some(end) if *end <= range.start => Bound::Excluded(&range.start),
            Some(end) => Bound::Excluded(end),
            None => Bound::Unbounded,
        };
        self.keys.range::<Bytes, _>((Bound::Included(&range.start), end))
    }

    /// Prefixes that were removed and may have keys of the range, in order.
    pub(super) fn graves_in(&self, range: &KeyRange) -> Vec<Bytes> {
        let mut around = self.graves.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(&range.start[..])));
        let around = around.next_back().filter(|grave| range.start.starts_with(grave)).into_iter();
        let within = self.graves.range::<Bytes, _>(&range.start..);
        let within = within.take_while(|grave| range.end.as_ref().is_none_or(|end| *grave < end));
        around.chain(within).cloned().collect()
    }

    /// Prefixes that were removed.
    pub(super) fn graves(&self) -> impl Iterator<Item = &Bytes> {
        self.graves.iter()
    }

    /// Takes the place of a change in, instead of the one known for that sequence.
    pub(super) fn insert_change(&mut self, place: ChangePlace) {
        if self.changes.insert(place.sequence, Some(place)).is_none() {
            self.bytes += CHANGE_BYTES;
        }
    }

    /// Takes a change out.
    pub(super) fn remove_change(&mut self, sequence: Sequence) {
        if self.changes.remove(&sequence).is_some() {
            self.bytes -= CHANGE_BYTES;
        }
        if self.covers {
            self.changes.insert(sequence, None);
            self.bytes += CHANGE_BYTES;
        }
    }

    /// What is known of a change: its place, or that it was taken out.
    #[expect(clippy::option_option, reason = "the outer one is that nothing is known")]
    pub(super) fn change(&self, sequence: Sequence) -> Option<Option<ChangePlace>> {
        self.changes.get(&sequence).copied()
    }

    /// Changes after a sequence, in order, with their places.
    pub(super) fn changes_after(
        &self,
        after: Sequence,
    ) -> impl Iterator<Item = (Sequence, Option<ChangePlace>)> + use<'_> {
        let changes = self.changes.range((Bound::Excluded(after), Bound::Unbounded));
        changes.map(|(sequence, place)| (*sequence, *place))
    }

    /// The last `count` places, in order.
    pub(super) fn last_changes(&self, count: usize) -> Vec<ChangePlace> {
        let mut last: Vec<ChangePlace> = self.changes.values().rev().copied().flatten().take(count).collect();
        last.reverse();
        last
    }
}

/// What mutations, and so many changes, add at most.
pub(crate) fn growth_of(mutations: &[Mutation], changes: usize) -> usize {
    let of_mutation = |mutation: &Mutation| match mutation {
        Mutation::Put(put) => {
            let locations: usize = put.locations.iter().map(cost_of_location).sum();
            ENTRY_BYTES + put.key.len() + put.value.len() + locations
        }
        Mutation::Delete(name) | Mutation::DeletePrefix(name) => cost_of(name, None),
    };
    mutations.iter().map(of_mutation).sum::<usize>() + CHANGE_BYTES * changes
}

fn cost_of_location(location: &Location) -> usize {
    40 + location.0.len()
}

fn cost_of(key: &[u8], stored: Option<&Stored>) -> usize {
    let value = stored.map_or(0, |stored| {
        let locations: usize = stored.locations.iter().map(cost_of_location).sum();
        stored.value.len() + locations
    });
    ENTRY_BYTES + key.len() + value
}

#[cfg(test)]
mod tests {
    use store::Put;

    use super::*;

    fn stored(number: u64) -> Stored {
        Stored {
            sequence: Sequence(number),
            value: Bytes::new(),
            locations: Vec::new(),
            extent: None,
            segment: 0,
        }
    }

    #[test]
    fn a_removed_prefix_hides_what_is_below_it_and_not_what_is_put_there_later() {
        let mut memtable = Memtable::covering();
        memtable.insert(Bytes::from_static(b"a/1"), stored(1));
        memtable.remove_prefix(b"a/1/");
        memtable.remove_prefix(b"a/");
        memtable.insert(Bytes::from_static(b"a/2"), stored(2));
        assert!(matches!(memtable.get(b"a/1"), Found::Removed));
        assert!(matches!(memtable.get(b"a/1/x"), Found::Removed));
        assert!(matches!(memtable.get(b"a/2"), Found::Stored(_)));
        assert!(matches!(memtable.get(b"a"), Found::Below));
        assert!(matches!(memtable.get(b"b"), Found::Below));
        assert_eq!(memtable.graves().count(), 1);
    }

    #[test]
    fn what_it_costs_comes_back_to_nothing_when_nothing_is_below_and_everything_is_removed() {
        let mut memtable = Memtable::default();
        for number in 0..100 {
            memtable.insert(Bytes::from(format!("key/{}", number % 30)), stored(number));
        }
        assert!(memtable.bytes() > 30 * ENTRY_BYTES);
        memtable.remove(b"key/7");
        memtable.remove_prefix(b"key/");
        assert_eq!(memtable.bytes(), 0);
    }

    /// The room that is kept for a flush rests on it.
    #[test]
    fn what_is_written_adds_no_more_than_was_told_before() {
        let (key, value) = (Bytes::from_static(b"key/1"), Bytes::from_static(b"content type"));
        let locations = vec![Location(b"a place of a body".to_vec())];
        let put =
            Put { key: key.clone(), value: value.clone(), locations: locations.clone(), ..Put::default() };
        let told = growth_of(&[Mutation::Put(put), Mutation::Delete(Bytes::from_static(b"key/2"))], 3);
        let mut memtable = Memtable::covering();
        memtable.insert(key, Stored { value, locations, ..stored(1) });
        memtable.remove(b"key/2");
        for number in 1..=3 {
            let place = ChangePlace {
                sequence: Sequence(number),
                crc: 0,
                segment: 0,
                offset: 0,
                length: 70,
                has_targets: false,
            };
            memtable.insert_change(place);
        }
        assert_eq!(memtable.bytes(), told);
    }
}
