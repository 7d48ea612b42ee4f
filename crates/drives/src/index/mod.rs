//! The index: what the journal says, by key and by sequence.
//!
//! It is never the truth. It follows the journal: a batch is applied whole and in order, after it is durable on
//! the write quorum, to the memtable. When that is full it is frozen, and its content written to the copies of the
//! lower index on two drives, all or nothing, with a statement up to which batch they follow. A start reads the
//! journal from there; without a copy that counts, from its first batch. A change costs its position here, not
//! its record; the record is read back from the journal.
//!
//! # Invariants
//!
//! 1. What is not in memory is in every copy that is full: a frozen memtable stays until all copies hold it, and is
//!    read until another takes its place.
//! 2. No thread that others wait for waits for a copy without a deadline; a copy that errs or is late is out, and
//!    another drive takes over. Losing both costs a rebuild from the journal, during which nothing is answered.
//!
//! Bounds: the memtable of at most [`MEMTABLE_BYTES`], twice that while the one before is written; then commits wait.
//! While a drive has no space for its copy, those that take space are refused before. Without a drive that can hold a
//! copy (drives in memory) everything is in memory.
//!
//! Here is what batches mean. The parts: [`memtable`], [`copies`] over [`ordered`] and [`rows`], [`lookup`] and
//! [`page`] for those who ask, [`checkpoint`] for when what is written, [`recent`].
//!
//! What is not here: the journal itself.

pub(crate) mod checkpoint;
mod copies;
mod desk;
mod graves;
pub(crate) mod lookup;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod memory;
mod memtable;
pub(crate) mod ordered;
mod page;
mod recent;
mod restore;
mod retention;
mod rows;
pub(crate) mod sorted;
mod statement;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use store::{Change, Entry, KeyRange, Location, Sequence, engine::successor};

use crate::digest::crc64;
use crate::frame::{Address, HEADER_BYTES, Shared};
use crate::live::{Live, Weight};
use crate::record::{self, Commit, Extent, Recorded};
use copies::{Asked, Copy, Frozen, Leaving, Lower};
pub(crate) use copies::{GROWTH_MAX, Opened, open, reserve_bytes};
pub(crate) use graves::{GRAVES_BYTES_MAX, Graves};
use lookup::Below;
use memtable::Memtable;
pub(crate) use memtable::{Found, growth_of};
pub(crate) use page::Part;
use recent::Recent;
pub use retention::Retention;
pub(crate) use retention::{AT_A_TIME, oldest};
pub(crate) use statement::Statement;

/// Largest size at which the memtable is frozen unless the set is opened otherwise, in bytes: 32 MiB, about 100,000
/// keys.
pub(crate) const MEMTABLE_BYTES: usize = 32 << 20;

/// The smallest: 1 MiB. Several flushes a second, each with its syncs, would hold up those who write.
const MEMTABLE_BYTES_MIN: usize = 1 << 20;

/// The share of the smallest drive that it is in between.
const MEMTABLE_SHARE: u64 = 1024;

/// Size at which the memtable is frozen over a smallest drive of `total_bytes`: what a drive keeps free for the index
/// follows from it.
pub(crate) fn memtable_bytes_on(total_bytes: u64) -> usize {
    let share = usize::try_from(total_bytes / MEMTABLE_SHARE).unwrap_or(usize::MAX);
    share.clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES)
}

/// Everything committed, in order.
#[derive(Debug)]
pub(crate) struct Index {
    active: Memtable,
    /// What came before, until the copies hold it and another takes its place.
    frozen: Option<Arc<Frozen>>,
    /// How often a memtable left memory.
    generation: u64,
    copies: Vec<Copy>,
    /// Those that are out and whose threads may not have ended.
    leaving: Vec<Leaving>,
    /// When a copy was last lost on a drive, by position.
    lost_at: Vec<Option<Instant>>,
    memtable_bytes: usize,
    flushes: u64,
    /// The last batch applied.
    upto: u64,
    /// The last sequence of what is below memory.
    lower_sequence: Sequence,
    /// It is being rebuilt and must not be read.
    rebuilding: bool,
    recent: Recent,
    undecided: Vec<Touched>,
    /// Keys there are.
    keys: u64,
    /// The last sequence given.
    pub last_sequence: Sequence,
    /// Changes up to this sequence are kept for their targets alone.
    pub floor: Sequence,
    /// Every target has acknowledged what changes up to this sequence had for it.
    pub released: Sequence,
    /// Bytes that the changes after the floor take of a drive.
    kept_bytes: u64,
    /// What of each segment it names.
    pub live: Live,
}

impl Default for Index {
    fn default() -> Index {
        Index::bounded(MEMTABLE_BYTES)
    }
}

/// A key's current value.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub(crate) fn of(shared: &Shared) -> FramePlace {
        FramePlace { batch: shared.batch, address: shared.address, meta_bytes: shared.meta_bytes }
    }

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

/// Changes with their places, in order; `None` hides the one below.
pub(crate) type ChangesPart = VecDeque<(Sequence, Option<ChangePlace>)>;

/// Memory and what was looked up below it for a batch.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub index: &'a Index,
    pub below: &'a Below,
}

impl View<'_> {
    /// The current value of a key that the batch touches.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Stored>> {
        match self.index.get(key) {
            Found::Stored(stored) => Some(stored),
            Found::Removed => None,
            Found::Below => self.below.keys.get(key).cloned(),
        }
    }

    /// Keys under a prefix that are there.
    pub(crate) fn under(&self, prefix: &[u8]) -> impl Iterator<Item = Bytes> {
        let range = KeyRange::prefix(prefix);
        let memory = self.index.part(&range, usize::MAX).alone();
        let below =
            self.below.keys.range(range.start.clone()..).take_while(move |(key, _)| range.contains(key));
        let below = below.filter(|(key, _)| matches!(self.index.get(key), Found::Below));
        memory.into_iter().map(|(key, _)| key).chain(below.map(|(key, _)| key.clone()))
    }
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
    /// An empty one whose memtable is frozen at this size.
    pub(crate) fn bounded(memtable_bytes: usize) -> Index {
        Index {
            active: Memtable::default(),
            frozen: None,
            generation: 0,
            copies: Vec::new(),
            leaving: Vec::new(),
            lost_at: Vec::new(),
            memtable_bytes,
            flushes: 0,
            upto: 0,
            lower_sequence: Sequence::ZERO,
            rebuilding: false,
            recent: Recent::default(),
            undecided: Vec::new(),
            keys: 0,
            last_sequence: Sequence::ZERO,
            floor: Sequence::ZERO,
            released: Sequence::ZERO,
            kept_bytes: 0,
            live: Live::default(),
        }
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> u64 {
        self.keys
    }

    /// What memory says of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Found {
        let found = match (self.active.get(key), &self.frozen) {
            (Found::Below, Some(frozen)) => frozen.memtable.get(key),
            (found, _) => found,
        };
        match found {
            Found::Below if self.is_bottom() => Found::Removed,
            found => found,
        }
    }

    /// Whether nothing lies below memory.
    pub(crate) fn is_bottom(&self) -> bool {
        self.frozen.as_ref().map_or(!self.active.covers(), |frozen| !frozen.memtable.covers())
    }

    /// What lies below, from the first copy that works.
    pub(crate) fn lower(&self) -> Option<Lower> {
        self.lower_but(&[])
    }

    /// The same from a copy that is none of these.
    fn lower_but(&self, others: &[&Asked]) -> Option<Lower> {
        self.copies
            .iter()
            .filter_map(Copy::lower)
            .find(|lower| !others.iter().any(|other| other.is_same(&lower.asked)))
    }

    /// How often a memtable left memory: what was looked up below holds as long as that stays.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether every copy of what is below memory is lost.
    pub(crate) fn is_lost(&self) -> bool {
        !self.is_bottom() && !self.copies.iter().any(Copy::is_full)
    }

    /// Whether it cannot be asked at the moment.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.rebuilding || self.is_lost()
    }

    /// Whether a batch of undecided fate may have changed the key.
    pub(crate) fn is_undecided(&self, key: &[u8]) -> bool {
        self.undecided.iter().any(|touched| match touched {
            Touched::Key(undecided) => undecided == key,
            Touched::Prefix(prefix) => key.starts_with(prefix),
        })
    }

    /// Whether any batch is of undecided fate.
    pub(crate) fn has_undecided(&self) -> bool {
        !self.undecided.is_empty()
    }

    /// States which keys a batch of undecided fate may have changed; none when everything is decided.
    pub(crate) fn set_undecided(&mut self, undecided: Vec<Touched>) {
        self.undecided = undecided;
    }

    /// What memory says of changes after a sequence: `limit` of which it knows the place, and what lies between them.
    pub(crate) fn changes_part(&self, after: Sequence, limit: usize) -> ChangesPart {
        let mut newer = self.active.changes_after(after).peekable();
        let mut older = self.frozen.iter().flat_map(|frozen| frozen.memtable.changes_after(after)).peekable();
        let mut part = ChangesPart::default();
        let mut there = 0;
        while there < limit {
            let (new, old) = (newer.peek().map(|(at, _)| *at), older.peek().map(|(at, _)| *at));
            if new.is_some() && new == old {
                older.next();
            }
            let next = if new.is_some_and(|new| old.is_none_or(|old| new <= old)) {
                newer.next()
            } else {
                older.next()
            };
            let Some((sequence, place)) = next else { break };
            there += usize::from(place.is_some());
            part.push_back((sequence, place));
        }
        part
    }

    /// What memory knows of a change: where it lies, or `Some(None)` when it is gone.
    pub(crate) fn change(&self, sequence: Sequence) -> Option<Option<ChangePlace>> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.memtable.change(sequence));
        self.active.change(sequence).or_else(frozen)
    }

    /// Whether memory knows what became of a change.
    pub(crate) fn has_change(&self, sequence: Sequence) -> bool {
        self.change(sequence).is_some()
    }

    /// Whether changes after a sequence may lie below memory.
    pub(crate) fn has_changes_below(&self, after: Sequence) -> bool {
        !self.is_bottom() && after < self.lower_sequence
    }

    /// The changes after a sequence, if all of them are still kept decoded.
    pub(crate) fn recent_after(&self, after: Sequence, limit: usize) -> Option<Vec<Arc<Change>>> {
        self.recent.after(after, limit)
    }

    /// The last batch applied.
    pub(crate) fn upto(&self) -> u64 {
        self.upto
    }

    /// States that a batch was passed which changes nothing here.
    pub(crate) fn pass(&mut self, batch: u64) {
        self.upto = self.upto.max(batch);
    }

    /// The current value of a key, from memory or from what was looked up below it.
    fn current(&self, key: &[u8], below: &Below) -> Option<Arc<Stored>> {
        View { index: self, below }.get(key)
    }

    /// Where a change lies, likewise.
    fn current_change(&self, sequence: Sequence, below: &Below) -> Option<ChangePlace> {
        let found = match self.active.change(sequence) {
            None => self.frozen.as_ref().and_then(|frozen| frozen.memtable.change(sequence)),
            found => found,
        };
        match found {
            Some(place) => place,
            None => below.changes.get(&sequence).copied(),
        }
    }

    /// Applies a batch, whole, which follows the last one; `below` is what lies below the keys it touches. On an error
    /// nothing changed.
    pub(crate) fn apply(
        &mut self,
        frame: FramePlace,
        metadata: &[u8],
        below: &Below,
    ) -> Result<(), Malformed> {
        for commit in record::decode(metadata).ok_or(Malformed)? {
            for place in places_of(frame, metadata, &commit) {
                self.set_change(place, below);
            }
            for mutation in commit.mutations {
                self.apply_mutation(frame, commit.sequence, mutation, below);
            }
            self.last_sequence = self.last_sequence.max(commit.sequence);
        }
        self.upto = self.upto.max(frame.batch);
        Ok(())
    }

    fn apply_mutation(
        &mut self,
        frame: FramePlace,
        sequence: Sequence,
        mutation: Recorded<'_>,
        below: &Below,
    ) {
        let segment = frame.address.segment;
        match mutation {
            Recorded::Put { key, value, locations, extent } => {
                self.live.put(segment);
                self.set_key(key, Stored::of(frame, sequence, value, locations, extent), below);
            }
            Recorded::Delete(key) => {
                self.live.grave(segment, Weight::of_grave(key));
                self.remove_key(key, below);
            }
            Recorded::DeletePrefix(prefix) => {
                self.live.grave(segment, Weight::of_grave(prefix));
                let doomed: Vec<Bytes> = View { index: self, below }.under(prefix).collect();
                for key in doomed {
                    if let Some(before) = self.current(&key, below) {
                        self.live.end_put(before.segment, before.weight(&key));
                        self.keys -= 1;
                    }
                }
                self.active.remove_prefix(prefix);
            }
        }
    }

    fn set_key(&mut self, key: &[u8], stored: Stored, below: &Below) {
        self.live.begin_put(stored.segment, stored.weight(key));
        match self.current(key, below) {
            Some(before) => self.live.end_put(before.segment, before.weight(key)),
            None => self.keys += 1,
        }
        // Copied: a slice of the metadata would keep all of it in memory.
        self.active.insert(Bytes::copy_from_slice(key), stored);
    }

    fn remove_key(&mut self, key: &[u8], below: &Below) {
        if let Some(before) = self.current(key, below) {
            self.live.end_put(before.segment, before.weight(key));
            self.keys -= 1;
            self.active.remove(key);
        }
    }

    fn set_change(&mut self, place: ChangePlace, below: &Below) {
        let is_kept = place.sequence > self.floor;
        if !is_kept && !place.has_targets {
            return;
        }
        self.live.begin(place.segment, Weight::of_change(place.length));
        match self.current_change(place.sequence, below) {
            Some(before) => self.live.end(before.segment, Weight::of_change(before.length)),
            None if is_kept => self.kept_bytes += Weight::of_change(place.length).metadata,
            None => {}
        }
        self.active.insert_change(place);
    }

    /// Keeps changes just applied in their decoded form, within bounds.
    pub(crate) fn remember(&mut self, changes: Vec<Change>) {
        let places = self.active.last_changes(changes.len());
        for (place, change) in places.into_iter().zip(changes) {
            self.recent.push(place.length as usize, change);
        }
    }

    /// Forgets the decoded changes: after a batch was applied that did not pass through this process.
    pub(crate) fn forget_recent(&mut self) {
        self.recent.clear(self.last_sequence);
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

/// Keys and prefixes of undecided fate, as of a page.
#[derive(Debug)]
pub(crate) struct Undecided(Vec<Touched>);

impl Undecided {
    /// Those that may be of the range.
    pub(crate) fn of(index: &Index, range: &KeyRange) -> Undecided {
        let all = Undecided(index.undecided.clone());
        if all.touches(&range.start, range.end.as_deref()) { all } else { Undecided(Vec::new()) }
    }

    /// Whether a batch of undecided fate may have changed a key of the range.
    pub(crate) fn touches(&self, start: &[u8], end: Option<&[u8]>) -> bool {
        let before_end = |key: &[u8]| end.is_none_or(|end| key < end);
        self.0.iter().any(|touched| match touched {
            Touched::Key(key) => &key[..] >= start && before_end(key),
            Touched::Prefix(prefix) => {
                before_end(prefix) && successor(prefix).is_none_or(|beyond| &beyond[..] > start)
            }
        })
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
