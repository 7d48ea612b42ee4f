//! Reads payloads back from the journal, verified, rebuilt from parity where needed.
//!
//! A healthy read of a small object is one read on one drive, from the page cache without waiting where it
//! is there. When the drive is away, late or slow, the same range of other columns is read and the payload computed,
//! which its own checksum proves. Only when a checksum does not hold are whole columns read, each verified: that
//! finds the damage, which is told.
//!
//! Bounds: a read holds the payload and, to rebuild it, n columns of at most a frame each.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::future::{Either, join_all, select};
use parking_lot::Mutex;
use store::EngineError;

use crate::columns::{column_on, drive_of, extract, piece_bytes};
use crate::damage::Damage;
use crate::digest::extent_crc;
use crate::index::{Stored, StoredExtent};
use crate::lane;
use crate::member::Member;
use crate::record::Lie;
use crate::set::Set;
use crate::slice::{self, Slice};

/// A payload that is looked for.
struct Wanted<'a> {
    set: &'a Arc<Set>,
    key: &'a [u8],
    stored: &'a Stored,
    extent: StoredExtent,
    /// Drives whose part of the batch is damaged, as far as it was found.
    damaged: Mutex<Vec<usize>>,
}

/// What came of a read.
pub(crate) struct Read {
    pub payload: Result<Bytes, EngineError>,
    /// Positions of the drives whose frame of the batch is damaged, unless the payload lies elsewhere by now.
    pub damaged: Vec<usize>,
}

/// Why the drives that hold a payload itself did not give it.
enum Miss {
    /// One is out, behind or does not answer.
    Away,
    /// What came is not what was written.
    Broken,
}

/// The payload of a key if it lies in memory and is sound; never waits for a medium.
pub(crate) fn read_cached(set: &Set, key: &[u8], stored: &Stored) -> Option<Bytes> {
    let Some(extent) = &stored.extent else {
        return Some(Bytes::new());
    };
    let mut payload = vec![0; extent.extent.length as usize];
    let mut rest = &mut payload[..];
    for (position, bytes) in pieces(set, extent) {
        let (piece, after) = rest.split_at_mut(bytes);
        let member = holding(set, position?, extent)?;
        let segment = member.kept_segment(extent.frame.address.segment)?;
        segment.file().read_cached_at(start_of(extent), piece).ok()?.then_some(())?;
        rest = after;
    }
    (extent_crc(key, stored.sequence.0, &payload) == extent.extent.crc).then(|| Bytes::from(payload))
}

/// The payload of a key.
pub(crate) async fn read(set: &Arc<Set>, key: &[u8], stored: &Stored) -> Read {
    let Some(extent) = stored.extent else {
        return Read { payload: Ok(Bytes::new()), damaged: Vec::new() };
    };
    let wanted = Wanted { set, key, stored, extent, damaged: Mutex::default() };
    let payload = wanted.read().await;
    Read { payload, damaged: wanted.damaged.into_inner() }
}

/// As [`read`], on a thread of the background, which waits for each drive in turn; blocks.
pub(crate) fn read_blocking(set: &Arc<Set>, key: &[u8], stored: &Stored) -> Result<Bytes, EngineError> {
    match stored.extent {
        Some(extent) => Wanted { set, key, stored, extent, damaged: Mutex::default() }.read_blocking(),
        None => Ok(Bytes::new()),
    }
}

/// Tells of the damage that a read found.
pub(crate) fn tell(set: &Set, stored: &Stored, damaged: &[usize]) {
    let Some(StoredExtent { frame, .. }) = stored.extent else {
        return;
    };
    for &position in damaged {
        let damage = Damage::Frame { position, batch: frame.batch, address: frame.address };
        if set.damages.tell(damage) {
            let drive = &set.members[position].path;
            tracing::warn!(%drive, batch = frame.batch, "A drive's part of a batch is damaged; parity stands in.");
        }
    }
}

/// The drives whose bytes make up a payload and how many each gives; `None` where it is replicated and none has it.
fn pieces(set: &Set, extent: &StoredExtent) -> Vec<(Option<usize>, usize)> {
    let (geometry, batch) = (set.geometry, extent.frame.batch);
    let length = extent.extent.length as usize;
    match extent.extent.lie {
        Lie::Replicated => vec![(copies(set, extent).next(), length)],
        Lie::Column(column) => vec![(Some(drive_of(geometry, batch, usize::from(column))), length)],
        Lie::Split => {
            let piece = piece_bytes(length, geometry);
            let columns = length.div_ceil(piece.max(1));
            let of =
                |column: usize| (Some(drive_of(geometry, batch, column)), piece.min(length - column * piece));
            (0..columns).map(of).collect()
        }
    }
}

/// The drives that have a copy of a replicated payload, spread by its checksum.
fn copies(set: &Set, extent: &StoredExtent) -> impl Iterator<Item = usize> {
    let drives = set.geometry.drives();
    let first = extent.extent.crc as usize % drives;
    (0..drives)
        .map(move |turn| (first + turn) % drives)
        .filter(|position| holding(set, *position, extent).is_some())
}

/// The drive, if it is in and has the frame.
fn holding<'a>(set: &'a Set, position: usize, extent: &StoredExtent) -> Option<&'a Member> {
    let member = &set.members[position];
    (member.is_online() && member.written.load(Ordering::Acquire) >= extent.frame.batch).then_some(member)
}

/// Offset of the payload, or of each of its pieces, in the segment.
fn start_of(extent: &StoredExtent) -> u64 {
    extent.frame.column_offset() + u64::from(extent.extent.offset)
}

impl Wanted<'_> {
    async fn read(&self) -> Result<Bytes, EngineError> {
        let mut healthy = pin!(self.read_healthy());
        loop {
            let due = pin!(lane::hedge_due(self.set));
            match select(healthy.as_mut(), due).await {
                Either::Left((Ok(payload), _)) => return Ok(payload),
                Either::Left((Err(miss), _)) => return self.make_up_for(miss).await,
                Either::Right(_) if lane::have_room(self.set, self.others()) => break,
                Either::Right(_) => {}
            }
        }
        match select(healthy, pin!(self.rebuild())).await {
            Either::Left((Ok(payload), _)) | Either::Right((Ok(payload), _)) => Ok(payload),
            Either::Left((Err(Miss::Away), rebuilt)) => rebuilt.await,
            Either::Left((Err(miss), _)) => self.make_up_for(miss).await,
            Either::Right((Err(error), healthy)) => healthy.await.map_err(|_| error),
        }
    }

    async fn make_up_for(&self, miss: Miss) -> Result<Bytes, EngineError> {
        match miss {
            Miss::Away => self.rebuild().await,
            Miss::Broken => self.rebuild_whole().await,
        }
    }

    fn holders(&self) -> impl Iterator<Item = usize> {
        (0..self.set.members.len()).filter(|position| holding(self.set, *position, &self.extent).is_some())
    }

    /// Drives that a hedged read asks.
    fn others(&self) -> Vec<usize> {
        let asked: Vec<usize> =
            pieces(self.set, &self.extent).into_iter().filter_map(|(position, _)| position).collect();
        self.holders().filter(|position| !asked.contains(position)).collect()
    }

    fn sound(&self, payload: Option<Vec<u8>>) -> Option<Bytes> {
        payload
            .filter(|payload| extent_crc(self.key, self.stored.sequence.0, payload) == self.extent.extent.crc)
            .map(Bytes::from)
    }

    /// From the drives whose columns hold it, all asked at once.
    async fn read_healthy(&self) -> Result<Bytes, Miss> {
        let (segment, start) = (self.extent.frame.address.segment, start_of(&self.extent));
        let mut asked = Vec::new();
        for (position, bytes) in pieces(self.set, &self.extent) {
            let position = position.filter(|position| holding(self.set, *position, &self.extent).is_some());
            let position = position.ok_or(Miss::Away)?;
            asked.push(async move {
                let read = lane::read(self.set, position, move |member| {
                    let mut piece = vec![0; bytes];
                    member.segment(segment)?.file().read_at(start, &mut piece)?;
                    Ok(piece)
                });
                read.await.map_err(|error| if is_silence(&error) { Miss::Away } else { Miss::Broken })
            });
        }
        let mut pieces = Vec::with_capacity(asked.len());
        for answer in join_all(asked).await {
            pieces.push(answer?);
        }
        let payload = if pieces.len() == 1 { pieces.pop() } else { Some(pieces.concat()) };
        self.sound(payload).ok_or(Miss::Broken)
    }

    /// From the same range of other columns, or from another copy.
    async fn rebuild(&self) -> Result<Bytes, EngineError> {
        self.set.check_readable()?;
        let payload = match self.extent.extent.lie {
            Lie::Replicated => self.read_copies().await,
            Lie::Column(_) | Lie::Split => {
                let slices = slice::Slices::ask(self.set, &self.extent, self.holders());
                slices
                    .first(|columns| self.compute(columns), |position, error| self.note(position, error))
                    .await
            }
        };
        match payload {
            Some(payload) => Ok(payload),
            None => self.rebuild_whole().await,
        }
    }

    async fn read_copies(&self) -> Option<Bytes> {
        let (segment, start) = (self.extent.frame.address.segment, start_of(&self.extent));
        let (length, crc) = (self.extent.extent.length as usize, self.extent.extent.crc);
        let (key, sequence) = (Bytes::copy_from_slice(self.key), self.stored.sequence.0);
        let copies: Vec<usize> = copies(self.set, &self.extent).collect();
        let read = move |member: &Member| {
            let mut payload = vec![0; length];
            member.segment(segment)?.file().read_at(start, &mut payload)?;
            if extent_crc(&key, sequence, &payload) == crc { Ok(payload) } else { Err(wrong_checksum()) }
        };
        let (payload, failures) = lane::first(self.set, copies, read).await;
        failures.iter().for_each(|(position, error)| self.note(*position, error));
        payload.map(Bytes::from)
    }

    /// Computes the payload from a range of at least k columns.
    fn compute(&self, mut columns: Vec<Option<Vec<u8>>>) -> Option<Bytes> {
        if !self.set.codec.rebuild_data(&mut columns) {
            return None;
        }
        let mut extent = self.extent.extent;
        extent.offset = 0;
        self.sound(extract(&extent, &columns, self.set.geometry))
    }

    /// From whole columns, each verified: what is damaged is found, and told.
    async fn rebuild_whole(&self) -> Result<Bytes, EngineError> {
        self.set.check_readable()?;
        let frame = self.extent.frame;
        let asked = self.holders().map(|position| async move {
            (position, lane::read(self.set, position, move |member| Slice::whole(member, frame)).await)
        });
        self.compute_whole(join_all(asked).await)
    }

    /// From the drives in turn, as a thread of the background reads; blocks.
    fn read_blocking(&self) -> Result<Bytes, EngineError> {
        let (segment, start) = (self.extent.frame.address.segment, start_of(&self.extent));
        let read = |(position, bytes): (Option<usize>, usize)| {
            let mut piece = vec![0; bytes];
            let member = holding(self.set, position?, &self.extent)?;
            let kept = member.kept_segment(segment);
            if kept.is_some_and(|open| open.file().read_cached_at(start, &mut piece).unwrap_or(false)) {
                return Some(piece);
            }
            let read = move |member: &Member| {
                member.segment(segment)?.file().read_at(start, &mut piece)?;
                Ok(piece)
            };
            self.set.patiently(member.position, read).ok()
        };
        let pieces: Option<Vec<Vec<u8>>> = pieces(self.set, &self.extent).into_iter().map(read).collect();
        if let Some(payload) = self.sound(pieces.map(|pieces| pieces.concat())) {
            return Ok(payload);
        }
        self.set.check_readable()?;
        let frame = self.extent.frame;
        let whole =
            |position| (position, self.set.patiently(position, move |member| Slice::whole(member, frame)));
        self.compute_whole(self.holders().map(whole).collect())
    }

    /// Computes the payload from whole columns, and notes which are damaged.
    fn compute_whole(&self, answers: Vec<(usize, io::Result<Slice>)>) -> Result<Bytes, EngineError> {
        let (geometry, frame) = (self.set.geometry, self.extent.frame);
        let mut columns: Vec<Option<Vec<u8>>> = vec![None; geometry.drives()];
        for (position, answer) in answers {
            match answer {
                Ok(Slice { stripe_bytes, mut bytes }) => {
                    bytes.resize(stripe_bytes, 0);
                    columns[column_on(geometry, frame.batch, position)] = Some(bytes);
                }
                Err(error) => self.note(position, &error),
            }
        }
        let there = columns.iter().flatten().count();
        let payload = match self.extent.extent.lie {
            Lie::Replicated => columns
                .into_iter()
                .flatten()
                .find_map(|copy| self.sound(extract(&self.extent.extent, &[Some(copy)], geometry))),
            Lie::Column(_) | Lie::Split if self.set.codec.rebuild_data(&mut columns) => {
                self.sound(extract(&self.extent.extent, &columns, geometry))
            }
            Lie::Column(_) | Lie::Split => None,
        };
        payload.ok_or_else(|| self.why_not(there))
    }

    fn why_not(&self, there: usize) -> EngineError {
        let geometry = self.set.geometry;
        let (damaged, online) = (self.damaged.lock().len(), self.set.online().count());
        if there < geometry.read_quorum() && damaged + geometry.drives() - online <= geometry.parity {
            // The others did not answer: they may later.
            return EngineError::ReadQuorum { answered: there, needed: geometry.read_quorum() };
        }
        EngineError::Damaged { damaged: geometry.drives() - there, parity: geometry.parity }
    }

    fn note(&self, position: usize, error: &io::Error) {
        let mut damaged = self.damaged.lock();
        if !is_silence(error) && !damaged.contains(&position) {
            damaged.push(position);
        }
    }
}

/// Whether a drive said nothing, rather than something wrong.
pub(crate) fn is_silence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut
}

pub(crate) fn wrong_checksum() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a checksum does not hold")
}
