//! The index: what the journal says, in memory.
//!
//! It is never the truth. It is rebuilt from the journal at start and follows it from then on: a batch is
//! applied whole and in order, after it is durable on the write quorum. A change costs its position here,
//! not its record; the record is read back from the journal.
//!
//! What is here is what batches mean; how keys and places of changes are kept is [`keys`] and [`changes`].
//!
//! What is not here: the journal itself, and checkpoints (a start reads every frame's metadata).

mod changes;
mod keys;
mod recent;
mod restore;
mod retention;

use bytes::Bytes;
use store::{Change, Entry, KeyRange, Location, Sequence, engine::successor};

use crate::digest::crc64;
use crate::frame::{Address, HEADER_BYTES};
use crate::live::{Live, Weight};
use crate::record::{self, Commit, Extent, Recorded};
use changes::Changes;
use keys::Keys;
use recent::Recent;

pub(crate) use restore::Graves;
pub(crate) use retention::Retention;

/// Everything committed, in order.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: Keys,
    changes: Changes,
    recent: Recent,
    undecided: Vec<Touched>,
    /// The last sequence given.
    pub last_sequence: Sequence,
    /// Changes up to this sequence are kept for their targets alone.
    pub floor: Sequence,
    /// Every target has acknowledged what changes up to this sequence had for it.
    pub released: Sequence,
    /// Encoded bytes of the changes after the floor.
    kept_bytes: u64,
    /// What of each segment it names.
    pub live: Live,
}

/// A key's current value.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub sequence: Sequence,
    pub value: Bytes,
    pub locations: Vec<Location>,
    pub extent: Option<StoredExtent>,
    /// The segment its record lies in, with or without a payload.
    pub segment: u32,
}

impl Stored {
    fn of(
        frame: FramePlace,
        sequence: Sequence,
        value: &[u8],
        locations: Vec<Location>,
        extent: Option<Extent>,
    ) -> Stored {
        Stored {
            sequence,
            value: Bytes::copy_from_slice(value),
            locations,
            extent: extent.map(|extent| StoredExtent { extent, frame }),
            segment: frame.address.segment,
        }
    }

    /// Whether it is the same state at the same place.
    pub(crate) fn is_at(&self, other: &Stored) -> bool {
        let frame = |stored: &Stored| stored.extent.map(|extent| extent.frame);
        self.sequence == other.sequence && frame(self) == frame(other)
    }

    /// What a drive spends on it.
    fn weight(&self, key: &[u8]) -> Weight {
        let payload_bytes = self.extent.map_or(0, |extent| extent.extent.length);
        Weight::of_put(key, &self.value, &self.locations, payload_bytes)
    }

    /// The entry without its payload.
    pub(crate) fn entry(&self) -> Entry {
        Entry {
            sequence: self.sequence,
            value: self.value.clone(),
            payload: Bytes::new(),
            locations: self.locations.clone(),
        }
    }
}

/// A payload's place in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredExtent {
    pub extent: Extent,
    pub frame: FramePlace,
}

/// A frame that holds something the index names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FramePlace {
    pub batch: u64,
    pub address: Address,
    pub meta_bytes: u32,
}

impl FramePlace {
    /// Offset of its columns in the segment.
    pub(crate) fn column_offset(self) -> u64 {
        u64::from(self.address.offset) + HEADER_BYTES as u64 + u64::from(self.meta_bytes)
    }
}

/// Where a change's record lies: the same place on every drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangePlace {
    pub sequence: Sequence,
    pub crc: u64,
    pub segment: u32,
    pub offset: u32,
    pub length: u32,
    /// Whether it names targets, which must all have been told before it may go.
    pub has_targets: bool,
}

/// What a batch whose fate is undecided may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    Key(Bytes),
    Prefix(Bytes),
}

/// The metadata of a frame has a sound checksum and cannot be read.
#[derive(Debug)]
pub(crate) struct Malformed;

impl Index {
    /// The current value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Stored> {
        self.keys.get(key)
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> usize {
        self.keys.len()
    }

    /// Whether a batch of undecided fate may have changed the key.
    pub(crate) fn is_undecided(&self, key: &[u8]) -> bool {
        self.undecided.iter().any(|touched| match touched {
            Touched::Key(undecided) => undecided == key,
            Touched::Prefix(prefix) => key.starts_with(prefix),
        })
    }

    /// Whether a batch of undecided fate may have changed a key of the range.
    pub(crate) fn has_undecided(&self, start: &[u8], end: Option<&[u8]>) -> bool {
        let before_end = |key: &[u8]| end.is_none_or(|end| key < end);
        self.undecided.iter().any(|touched| match touched {
            Touched::Key(key) => &key[..] >= start && before_end(key),
            Touched::Prefix(prefix) => {
                before_end(prefix) && successor(prefix).is_none_or(|beyond| &beyond[..] > start)
            }
        })
    }

    /// States which keys a batch of undecided fate may have changed; none when everything is decided.
    pub(crate) fn set_undecided(&mut self, undecided: Vec<Touched>) {
        self.undecided = undecided;
    }

    /// Up to `limit` entries of a range, without payloads.
    pub(crate) fn scan(&self, range: &KeyRange, limit: usize) -> Vec<(Bytes, Entry)> {
        self.range(range).take(limit).map(|(key, stored)| (key.clone(), stored.entry())).collect()
    }

    /// All entries of a range.
    pub(crate) fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&Bytes, &Stored)> {
        self.keys.range(range)
    }

    /// Places of up to `limit` changes after a sequence.
    pub(crate) fn changes_after(&self, after: Sequence, limit: usize) -> Vec<ChangePlace> {
        self.changes.after(after).take(limit).copied().collect()
    }

    /// The changes after a sequence, if all of them are still kept decoded.
    pub(crate) fn recent_after(&self, after: Sequence, limit: usize) -> Option<Vec<Change>> {
        match self.changes.after(after).next() {
            None => Some(Vec::new()),
            Some(first) => self.recent.from(first.sequence, limit),
        }
    }

    /// Applies a batch, whole. On an error nothing changed.
    pub(crate) fn apply(&mut self, frame: FramePlace, metadata: &[u8]) -> Result<(), Malformed> {
        let commits = record::decode(metadata).ok_or(Malformed)?;
        for commit in commits {
            for place in places_of(frame, metadata, &commit) {
                self.set_change(place);
            }
            for mutation in commit.mutations {
                self.apply_mutation(frame, commit.sequence, mutation);
            }
            self.last_sequence = self.last_sequence.max(commit.sequence);
        }
        Ok(())
    }

    fn apply_mutation(&mut self, frame: FramePlace, sequence: Sequence, mutation: Recorded<'_>) {
        let segment = frame.address.segment;
        match mutation {
            Recorded::Put { key, value, locations, extent } => {
                self.live.put(segment);
                self.set_key(key, Stored::of(frame, sequence, value, locations, extent));
            }
            Recorded::Delete(key) => {
                self.live.grave(segment, Weight::of_grave(key));
                self.remove_key(key);
            }
            Recorded::DeletePrefix(prefix) => {
                self.live.grave(segment, Weight::of_grave(prefix));
                for (key, before) in self.keys.remove_prefix(prefix) {
                    self.live.end_put(before.segment, before.weight(&key));
                }
            }
        }
    }

    fn set_key(&mut self, key: &[u8], stored: Stored) {
        self.live.begin_put(stored.segment, stored.weight(key));
        // Copied: a slice of the metadata would keep all of it in memory.
        if let Some(before) = self.keys.insert(Bytes::copy_from_slice(key), stored) {
            self.live.end_put(before.segment, before.weight(key));
        }
    }

    fn remove_key(&mut self, key: &[u8]) {
        if let Some(before) = self.keys.remove(key) {
            self.live.end_put(before.segment, before.weight(key));
        }
    }

    fn set_change(&mut self, place: ChangePlace) {
        let is_kept = place.sequence > self.floor;
        if !is_kept && !place.has_targets {
            return;
        }
        self.live.begin(place.segment, Weight::of_change(place.length));
        match self.changes.insert(place) {
            Some(before) => self.live.end(before.segment, Weight::of_change(before.length)),
            None if is_kept => self.kept_bytes += u64::from(place.length),
            None => {}
        }
    }

    /// Keeps changes just applied in their decoded form, within bounds.
    pub(crate) fn remember(&mut self, changes: Vec<Change>) {
        let places = self.changes.last(changes.len());
        for (place, change) in places.into_iter().zip(changes) {
            self.recent.push(place.length as usize, change);
        }
    }

    /// Forgets the decoded changes: after a batch was applied that did not pass through this process.
    pub(crate) fn forget_recent(&mut self) {
        self.recent.clear();
    }
}

/// Where the changes of a commit lie.
pub(crate) fn places_of(frame: FramePlace, metadata: &[u8], commit: &Commit<'_>) -> Vec<ChangePlace> {
    let count = commit.changes.len() as u64;
    let places = commit.changes.iter().enumerate().map(|(nth, (at, length))| {
        let encoded = &metadata[*at..at + length];
        ChangePlace {
            sequence: Sequence(commit.sequence.0 - count + 1 + nth as u64),
            crc: crc64(&[encoded]),
            segment: frame.address.segment,
            offset: frame.address.offset + (HEADER_BYTES + at) as u32,
            length: *length as u32,
            has_targets: record::names_targets(encoded),
        }
    });
    places.collect()
}

/// What a batch touches, from its metadata.
pub(crate) fn touched(metadata: &[u8]) -> Vec<Touched> {
    let commits = record::decode(metadata).unwrap_or_default();
    commits
        .into_iter()
        .flat_map(|commit| commit.mutations)
        .map(|mutation| match mutation {
            Recorded::Put { key, .. } | Recorded::Delete(key) => Touched::Key(Bytes::copy_from_slice(key)),
            Recorded::DeletePrefix(prefix) => Touched::Prefix(Bytes::copy_from_slice(prefix)),
        })
        .collect()
}
