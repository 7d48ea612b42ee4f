//! A walk over everything a set holds: verifies the copies of some drives in place and rebuilds those that are not
//! sound. Healing walks over drives that join, scrubbing over all that are in.
//!
//! Frames first, segment by segment, in the order of the journal; then the bodies that keys name. A walk goes by
//! steps, each of at most about [`STEP_BYTES`], and can go on at any later time from where a step ended.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use store::{KeyRange, Sequence, Share};

use super::frames::Frames;
use super::pace::Ended;
use super::tally::Tally;
use super::verify::Looking;
use crate::bodies::Positions;
use crate::drive::{is_full, is_shortage};
use crate::frame::Address;
use crate::index::lookup;
use crate::location::Place;
use crate::segment::first_address;
use crate::sequencer::Granted;
use crate::set::Set;
use crate::shards::Pins;

/// Bytes of the journal looked at in one step: 1 MiB.
const STEP_BYTES: u64 = 1024 * 1024;

/// Keys looked at in one step.
const STEP_KEYS: usize = 256;

/// A drive whose copies are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub position: usize,
    /// It was written this batch and all later ones: older ones are looked at.
    pub below: u64,
    /// Which joining of a drive this is, of all since the start; 0 for a drive that is in.
    pub joining: u64,
}

impl Target {
    /// A drive that is in: of what batches before `below` wrote.
    pub(super) fn of(position: usize, below: u64) -> Target {
        Target { position, below, joining: 0 }
    }
}

/// Where a walk goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cursor {
    /// At a frame, which is that of `batch` unless it is the first.
    Frames {
        address: Address,
        batch: Option<u64>,
    },
    /// At the first key from here on, behind so many.
    Keys {
        start: Bytes,
        seen: u64,
    },
    End,
}

impl Cursor {
    pub(super) fn start() -> Cursor {
        Cursor::Frames { address: first_address(0), batch: None }
    }

    /// At the first key.
    pub(super) fn keys() -> Cursor {
        Cursor::Keys { start: Bytes::new(), seen: 0 }
    }

    /// Behind a segment.
    pub(super) fn behind(segment: u32) -> Cursor {
        Cursor::Frames { address: first_address(segment + 1), batch: None }
    }
}

/// A walk and its state.
pub(super) struct Walk<'t> {
    pub set: Arc<Set>,
    pub pins: Arc<Pins>,
    pub tally: Arc<Tally>,
    pub targets: Vec<Target>,
    /// Where the journal ended when the walk began.
    pub end: Granted,
    /// Only what at least so many of the targets lack is rebuilt.
    pub degree: usize,
    /// Of keys, only those written after it are looked at.
    pub since: Sequence,
    pub frames: Frames,
    /// Tells the sequencer that a drive failed.
    pub fault: Box<dyn Fn(usize, String) + Send>,
    /// Bytes that the last steps went beyond what was due.
    pub ahead: u64,
    /// Drives that could not be written what they lack.
    pub unwritten: Positions,
    /// Who is told what is found, where nothing is to be rebuilt.
    pub looking: Option<Looking<'t>>,
    /// Keys seen since the walk over keys began.
    keys: u64,
    /// Bytes looked at since the last step began.
    stepped: u64,
}

impl<'t> Walk<'t> {
    pub(super) fn new(
        set: &Arc<Set>,
        pins: &Arc<Pins>,
        tally: &Arc<Tally>,
        targets: Vec<Target>,
        end: Granted,
        fault: Box<dyn Fn(usize, String) + Send>,
    ) -> Walk<'t> {
        Walk {
            set: Arc::clone(set),
            pins: Arc::clone(pins),
            tally: Arc::clone(tally),
            targets,
            end,
            degree: 1,
            since: Sequence::ZERO,
            frames: Frames::new(set.members.len()),
            fault,
            ahead: 0,
            unwritten: 0,
            looking: None,
            keys: 0,
            stepped: 0,
        }
    }

    /// Looks at the next part and says where to go on.
    pub(super) fn step(&mut self, cursor: Cursor) -> Result<Cursor, Ended> {
        self.stepped = 0;
        match cursor {
            Cursor::Frames { mut address, mut batch } => {
                while self.stepped < STEP_BYTES {
                    match self.next_frame(address, batch)? {
                        Some((next, following)) => (address, batch) = (next, Some(following)),
                        None => {
                            self.flush();
                            return Ok(Cursor::keys());
                        }
                    }
                }
                self.flush();
                Ok(Cursor::Frames { address, batch })
            }
            Cursor::Keys { start, seen } => self.step_keys(start, seen),
            Cursor::End => Ok(Cursor::End),
        }
    }

    /// Bytes of the last step.
    pub(super) fn stepped(&self) -> u64 {
        self.stepped
    }

    /// Keys seen since the walk over keys began.
    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    /// How much of everything lies before a place, in batches and keys.
    pub(super) fn share(&self, cursor: &Cursor) -> Share {
        let rows = || self.end.table.rows();
        let batches: u64 = rows().map(|row| row.last_batch - row.first_batch + 1).sum();
        let total = batches + self.set.index.read().count();
        let done = match cursor {
            Cursor::Frames { address, batch } => {
                let behind = rows().take_while(|row| row.number < address.segment);
                let behind: u64 = behind.map(|row| row.last_batch - row.first_batch + 1).sum();
                let row = self.end.table.get(address.segment);
                let within = row.zip(*batch).map_or(0, |(row, batch)| {
                    batch.clamp(row.first_batch, row.last_batch + 1) - row.first_batch
                });
                behind + within
            }
            Cursor::Keys { seen, .. } => batches + seen,
            Cursor::End => total,
        };
        Share { done: done.min(total), total }
    }

    pub(super) fn count(&mut self, bytes: u64) {
        self.stepped += bytes;
    }

    fn step_keys(&mut self, start: Bytes, seen: u64) -> Result<Cursor, Ended> {
        self.keys = seen;
        let page =
            lookup::scan(&self.set, &KeyRange { start, end: None }, STEP_KEYS).map_err(|_| Ended::Changed)?;
        let mut looked_at = None;
        for (key, entry) in &page {
            if entry.sequence > self.since {
                let mut healed = false;
                for location in &entry.locations {
                    if let Some(place) = Place::from_location(location) {
                        healed |= self.body(Some(key), &place, &self.targets.clone());
                    }
                }
                Tally::add(&self.tally.objects_healed, u64::from(healed));
            }
            self.keys += 1;
            Tally::add(&self.tally.objects_seen, 1);
            looked_at = Some(key);
            // Bodies are of any size.
            if self.stepped >= STEP_BYTES {
                break;
            }
        }
        let is_last = page.len() < STEP_KEYS && looked_at == page.last().map(|(key, _)| key);
        match looked_at {
            Some(key) if !is_last => {
                let next: Bytes = [&key[..], &[0]].concat().into();
                Ok(Cursor::Keys { start: next, seen: self.keys })
            }
            _ => Ok(Cursor::End),
        }
    }

    /// Takes a drive out of the walk that could not be written, and tells the sequencer of its fault. That there is no
    /// space, or that the process is short of something, is none: the drive keeps what it has, and what it lacks is
    /// found again. One that is being healed waits for its next turn.
    pub(super) fn fail(&mut self, position: usize, what: &str, error: &io::Error) {
        self.targets.retain(|target| target.position != position);
        self.unwritten |= 1 << position;
        let member = &self.set.members[position];
        if member.is_online() && (is_full(error) || is_shortage(error)) {
            tracing::warn!(drive = %member.path, what, %error, "A drive's part is not repaired for now.");
        } else {
            (self.fault)(position, format!("{what} could not be healed: {error}"));
        }
    }

    /// Notes a part that is missing or damaged on drives that should hold it, repaired or not.
    pub(super) fn note_damage(&self, positions: &[usize], what: &str, repaired: bool) {
        for position in positions {
            let member = &self.set.members[*position];
            // Of a drive that is being healed it is no news.
            if member.is_online() {
                tracing::warn!(drive = %member.path, what, repaired, "A drive's part was missing or damaged.");
                if self.tally.damage(*position, repaired) {
                    tracing::error!(drive = %member.path, "A drive returns damaged data often: replace it.");
                }
            }
        }
    }

    /// Tells the operator of something that cannot be read any more, once.
    pub(super) fn note_lost(&self, name: String) {
        if self.tally.lose(&name) {
            tracing::error!(
                what = name,
                "More drives have this damaged than parity makes up for: it is refused, never served."
            );
        }
    }
}
