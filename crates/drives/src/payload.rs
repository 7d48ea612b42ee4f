//! Reads payloads and changes back from the journal, verified, rebuilt from parity where needed.
//!
//! A healthy read of a small object is one read on one drive, from the page cache without waiting where it
//! is there. Anything else (a drive away, lagging or damaged) reads the columns of the frame, each verified,
//! and rebuilds.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use store::{Change, EngineError, Entry};

use crate::columns::{column_on, drive_of, extract, piece_bytes};
use crate::digest::{crc64, extent_crc};
use crate::drive::BLOCK_BYTES;
use crate::frame::{FRAME_BYTES_MAX, Form, HEADER_BYTES};
use crate::index::{ChangePlace, Stored, StoredExtent};
use crate::member::Member;
use crate::record::Lie;
use crate::set::Set;

/// Whether a read may wait for the medium.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Cached,
    Waiting,
}

/// The payload of a key if it lies in memory and is sound; never waits for a medium.
pub(crate) fn read_cached(set: &Set, key: &[u8], stored: &Stored) -> Option<Bytes> {
    match &stored.extent {
        None => Some(Bytes::new()),
        Some(extent) => read_healthy(set, key, stored, extent, Patience::Cached),
    }
}

/// The payload of a key; blocks.
pub(crate) fn read(set: &Set, key: &[u8], stored: &Stored) -> Result<Bytes, EngineError> {
    let Some(extent) = &stored.extent else {
        return Ok(Bytes::new());
    };
    if let Some(payload) = read_healthy(set, key, stored, extent, Patience::Waiting) {
        return Ok(payload);
    }
    rebuild(set, key, stored, extent)
}

/// The entry of a key that had this state a moment ago, with its payload; blocks.
///
/// Its segment may have been retired and used again meanwhile, so that something else lies there. That is damage only
/// if the index still names the place.
pub(crate) fn read_current(set: &Set, key: &[u8], mut stored: Stored) -> Result<Option<Entry>, EngineError> {
    loop {
        let healthy = match &stored.extent {
            None => Some(Bytes::new()),
            Some(extent) => read_healthy(set, key, &stored, extent, Patience::Waiting),
        };
        if let Some(payload) = healthy {
            return Ok(Some(Entry { payload, ..stored.entry() }));
        }
        let current = set.index.read().get(key).cloned();
        match current {
            None => return Ok(None),
            Some(current) if current.is_at(&stored) => {}
            Some(current) => {
                stored = current;
                continue;
            }
        }
        let rebuilt = read(set, key, &stored);
        // It may have moved while it was rebuilt.
        match (rebuilt, set.index.read().get(key).cloned()) {
            (Err(_), Some(current)) if !current.is_at(&stored) => stored = current,
            (Err(_), None) => return Ok(None),
            (rebuilt, _) => return rebuilt.map(|payload| Some(Entry { payload, ..stored.entry() })),
        }
    }
}

fn read_healthy(
    set: &Set,
    key: &[u8],
    stored: &Stored,
    extent: &StoredExtent,
    patience: Patience,
) -> Option<Bytes> {
    let geometry = set.geometry;
    let batch = extent.frame.batch;
    let start = extent.frame.column_offset() + u64::from(extent.extent.offset);
    let length = extent.extent.length as usize;
    let mut payload = vec![0; length];
    match extent.extent.lie {
        Lie::Replicated => {
            // Spread over the drives by key; the next one serves when a drive is away.
            let first = extent.extent.crc as usize % geometry.drives();
            let member = (0..geometry.drives())
                .map(|turn| &set.members[(first + turn) % geometry.drives()])
                .find(|member| holds(member, batch))?;
            read_into(member, extent.frame.address.segment, start, &mut payload, patience)?;
        }
        Lie::Column(column) => {
            let member = &set.members[drive_of(geometry, batch, usize::from(column))];
            read_into(holding(member, batch)?, extent.frame.address.segment, start, &mut payload, patience)?;
        }
        Lie::Split => {
            let piece = piece_bytes(length, geometry);
            for (column, part) in payload.chunks_mut(piece).enumerate() {
                let member = &set.members[drive_of(geometry, batch, column)];
                read_into(holding(member, batch)?, extent.frame.address.segment, start, part, patience)?;
            }
        }
    }
    (extent_crc(key, stored.sequence.0, &payload) == extent.extent.crc).then(|| Bytes::from(payload))
}

fn holds(member: &Member, batch: u64) -> bool {
    member.is_online() && member.written.load(Ordering::Acquire) >= batch
}

fn holding(member: &Member, batch: u64) -> Option<&Member> {
    holds(member, batch).then_some(member)
}

fn read_into(
    member: &Member,
    segment: u32,
    offset: u64,
    buffer: &mut [u8],
    patience: Patience,
) -> Option<()> {
    let segment = member.segment(segment).ok()?;
    match patience {
        Patience::Cached => segment.file().read_cached_at(offset, buffer).ok()?.then_some(()),
        Patience::Waiting => segment.file().read_at(offset, buffer).ok(),
    }
}

/// The payload from whatever sound columns there are.
fn rebuild(set: &Set, key: &[u8], stored: &Stored, extent: &StoredExtent) -> Result<Bytes, EngineError> {
    let geometry = set.geometry;
    let frame = extent.frame;
    let online = set.online().count();
    if online < geometry.read_quorum() {
        return Err(EngineError::ReadQuorum { answered: online, needed: geometry.read_quorum() });
    }
    let mut columns: Vec<Option<Vec<u8>>> = vec![None; geometry.drives()];
    let mut damaged = geometry.drives() - online;
    for member in set.online() {
        match column_of(set, member, extent) {
            Some((_, column)) if extent.extent.lie == Lie::Replicated => {
                // Any copy will do, if it is the right one.
                let only = [Some(column)];
                if let Some(payload) = sound(key, stored, extent, extract(&extent.extent, &only, geometry)) {
                    return Ok(payload);
                }
                damaged += 1;
            }
            Some((stripe_bytes, mut column)) => {
                column.resize(stripe_bytes, 0);
                columns[column_on(geometry, frame.batch, member.position)] = Some(column);
            }
            None => {
                tracing::warn!(drive = %member.path, batch = frame.batch, "A drive's part of a batch is damaged or late.");
                damaged += 1;
            }
        }
    }
    if extent.extent.lie != Lie::Replicated && set.codec.rebuild_data(&mut columns) {
        let payload = extract(&extent.extent, &columns, geometry);
        if let Some(payload) = sound(key, stored, extent, payload) {
            return Ok(payload);
        }
    }
    Err(EngineError::Damaged { damaged, parity: geometry.parity })
}

fn sound(key: &[u8], stored: &Stored, extent: &StoredExtent, payload: Option<Vec<u8>>) -> Option<Bytes> {
    payload
        .filter(|payload| extent_crc(key, stored.sequence.0, payload) == extent.extent.crc)
        .map(Bytes::from)
}

/// A drive's column of a frame, verified, and the length of the frame's longest column.
fn column_of(set: &Set, member: &Member, extent: &StoredExtent) -> Option<(usize, Vec<u8>)> {
    let nonce = {
        let segment = member.segment(extent.frame.address.segment).ok()?;
        let mut block = vec![0; BLOCK_BYTES];
        segment.file().read_at(u64::from(extent.frame.address.offset), &mut block).ok()?;
        crate::frame::nonce_of(&block)?
    };
    let frame = member.read_frame(&nonce, extent.frame.address).ok()??;
    if frame.header.shared.batch != extent.frame.batch || frame.header.shared.form == Form::Empty {
        return None;
    }
    debug_assert!(frame.header.shared.stripe_bytes as usize <= FRAME_BYTES_MAX, "on set {}", set.id);
    Some((frame.header.shared.stripe_bytes as usize, frame.column?))
}

/// The changes at these places; blocks. Any drive serves, the metadata is on all.
pub(crate) fn read_changes(set: &Set, places: &[ChangePlace]) -> Result<Vec<Change>, EngineError> {
    let mut changes = Vec::with_capacity(places.len());
    let mut rest = places;
    while let Some(first) = rest.first() {
        // Neighbours in one frame are read at once.
        let near = rest
            .iter()
            .take_while(|place| {
                place.segment == first.segment
                    && place.offset >= first.offset
                    && ((place.offset - first.offset + place.length) as usize)
                        < FRAME_BYTES_MAX - HEADER_BYTES
            })
            .count();
        let (run, after) = rest.split_at(near.max(1));
        changes.extend(read_run(set, run)?);
        rest = after;
    }
    Ok(changes)
}

fn read_run(set: &Set, run: &[ChangePlace]) -> Result<Vec<Change>, EngineError> {
    let (first, last) = (run[0], run[run.len() - 1]);
    let length = (last.offset + last.length - first.offset) as usize;
    let mut buffer = vec![0; length];
    let mut answered = 0;
    for member in set.online() {
        let Ok(segment) = member.segment(first.segment) else {
            continue;
        };
        if segment.file().read_at(u64::from(first.offset), &mut buffer).is_err() {
            continue;
        }
        answered += 1;
        let decoded: Option<Vec<Change>> =
            run.iter().map(|place| decode(&buffer, first.offset, place)).collect();
        if let Some(changes) = decoded {
            return Ok(changes);
        }
    }
    if answered < set.geometry.read_quorum() {
        return Err(EngineError::ReadQuorum { answered, needed: set.geometry.read_quorum() });
    }
    Err(EngineError::Damaged { damaged: set.geometry.drives(), parity: set.geometry.parity })
}

fn decode(buffer: &[u8], base: u32, place: &ChangePlace) -> Option<Change> {
    let at = (place.offset - base) as usize;
    let bytes = buffer.get(at..at + place.length as usize)?;
    if crc64(&[bytes]) != place.crc {
        return None;
    }
    postcard::from_bytes(bytes).ok()
}
