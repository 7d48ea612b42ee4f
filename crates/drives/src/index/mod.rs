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

use bytes::Bytes;
use store::{Change, Entry, KeyRange, Location, Sequence, engine::successor};

use crate::digest::crc64;
use crate::frame::{Address, HEADER_BYTES};
use crate::record::{self, Extent, Recorded};
use changes::Changes;
use keys::Keys;
use recent::Recent;

/// Everything committed, in order.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: Keys,
    changes: Changes,
    recent: Recent,
    undecided: Vec<Touched>,
    /// The last sequence given.
    pub last_sequence: Sequence,
}

/// A key's current value.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub sequence: Sequence,
    pub value: Bytes,
    pub locations: Vec<Location>,
    pub extent: Option<StoredExtent>,
}

impl Stored {
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
#[derive(Clone, Copy, Debug)]
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
            for mutation in commit.mutations {
                self.apply_mutation(frame, commit.sequence, mutation);
            }
            let count = commit.changes.len() as u64;
            for (nth, (at, length)) in commit.changes.into_iter().enumerate() {
                let offset = frame.address.offset + (HEADER_BYTES + at) as u32;
                self.changes.insert(ChangePlace {
                    sequence: Sequence(commit.sequence.0 - count + 1 + nth as u64),
                    crc: crc64(&[&metadata[at..at + length]]),
                    segment: frame.address.segment,
                    offset,
                    length: length as u32,
                });
            }
            self.last_sequence = self.last_sequence.max(commit.sequence);
        }
        Ok(())
    }

    fn apply_mutation(&mut self, frame: FramePlace, sequence: Sequence, mutation: Recorded<'_>) {
        match mutation {
            Recorded::Put { key, value, locations, extent } => {
                // Copied: a slice of the metadata would keep all of it in memory.
                let stored = Stored {
                    sequence,
                    value: Bytes::copy_from_slice(value),
                    locations,
                    extent: extent.map(|extent| StoredExtent { extent, frame }),
                };
                self.keys.insert(Bytes::copy_from_slice(key), stored);
            }
            Recorded::Delete(key) => self.keys.remove(key),
            Recorded::DeletePrefix(prefix) => self.keys.remove_prefix(prefix),
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
