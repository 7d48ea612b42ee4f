//! The table of keys: the current value of each.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use store::KeyRange;

use super::Stored;

/// Keys in order, with their values.
#[derive(Debug, Default)]
pub(super) struct Keys {
    entries: BTreeMap<Bytes, Stored>,
}

impl Keys {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Stored> {
        self.entries.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Sets a key and answers what it was before.
    pub(super) fn insert(&mut self, key: Bytes, stored: Stored) -> Option<Stored> {
        self.entries.insert(key, stored)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Stored> {
        self.entries.remove(key)
    }

    pub(super) fn remove_prefix(&mut self, prefix: &[u8]) -> Vec<(Bytes, Stored)> {
        let doomed: Vec<Bytes> = self.range(&KeyRange::prefix(prefix)).map(|(key, _)| key.clone()).collect();
        doomed.into_iter().filter_map(|key| self.entries.remove_entry(&key)).collect()
    }

    pub(super) fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&Bytes, &Stored)> {
        let end = match &range.end {
            // An empty range with its ends swapped is no range a map takes.
            Some(end) if *end <= range.start => Bound::Excluded(&range.start),
            Some(end) => Bound::Excluded(end),
            None => Bound::Unbounded,
        };
        self.entries.range::<Bytes, _>((Bound::Included(&range.start), end))
    }
}
