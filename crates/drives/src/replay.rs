//! Replay: reads the journal from its first frame and builds the index.
//!
//! Epochs are found by walking back from the identity: the first frame of each names the one before. They
//! are then read forward. A frame is applied once it is proven durable: by a decision that kept it, or by a
//! later frame that says so. The last frame may be of undecided fate; [`crate::recovery`] decides it.
//!
//! Reads go past the page cache, in large pieces from one drive, and to the others where that one fails.

use crate::chain::Chain;
use crate::drive::{AlignedBytes, BLOCK_BYTES};
use crate::error::OpenError;
use crate::format::{EpochLog, Identity, Nonce};
use crate::frame::{Address, FRAME_BYTES_MAX, Frame, Header, Kind, Shared};
use crate::index::FramePlace;
use crate::member::Member;
use crate::segment::{SEGMENT_HEADER_BYTES, first_address};
use crate::set::Set;

/// Bytes read from a drive at a time: 2 MiB, so that a largest frame lies in one or two pieces.
const WINDOW_BYTES: usize = 2 * FRAME_BYTES_MAX;

/// How far behind the end of the journal every drive is searched for frames that would make it a hole, in bytes:
/// 4 MiB, four of the largest frames.
const HOLE_BYTES_MAX: u64 = 4 * FRAME_BYTES_MAX as u64;

/// Reads the journal into the set's index and answers where its proven part ends.
pub(crate) fn replay(set: &Set, identity: &Identity) -> Result<Chain, OpenError> {
    let logs = epochs(set, identity)?;
    let mut reader = Reader { set, windows: set.members.iter().map(|_| None).collect(), primary: 0 };
    let mut chain = Chain::begin(logs[0], None, std::collections::VecDeque::new());
    for (nth, log) in logs.iter().enumerate() {
        let previous = nth.checked_sub(1).map(|before| logs[before]);
        chain = Chain::begin(*log, previous, std::mem::take(&mut chain.recent));
        let kept = logs.get(nth + 1).map(|next| next.kept_batch);
        replay_epoch(set, &mut reader, &mut chain, kept)?;
    }
    Ok(chain)
}

/// All epochs that have frames, oldest first; the last is the current one, which may have none.
fn epochs(set: &Set, identity: &Identity) -> Result<Vec<EpochLog>, OpenError> {
    let mut logs = vec![identity.log];
    let mut previous = identity.previous;
    while let Some(log) = previous {
        logs.push(log);
        let first = set.online().find_map(|member| {
            let frame = member.read_frame(&log.nonce, log.start).ok()??;
            (frame.header.shared.kind == Kind::EpochStart).then_some(frame.metadata).flatten()
        });
        let first = first
            .ok_or_else(|| missing(set, log.kept_batch + 1, "the first frame of its epoch is damaged"))?;
        previous = decode_epoch_start(&first);
    }
    logs.reverse();
    Ok(logs)
}

/// The metadata of an epoch's first frame: the epoch before it.
pub(crate) fn encode_epoch_start(previous: Option<EpochLog>) -> Vec<u8> {
    let mut bytes = vec![u8::from(previous.is_some())];
    if let Some(log) = previous {
        bytes.extend_from_slice(&log.encode());
    }
    bytes
}

fn decode_epoch_start(metadata: &[u8]) -> Option<EpochLog> {
    let (_, rest) = metadata.split_first()?;
    rest.first_chunk::<{ EpochLog::BYTES }>().map(EpochLog::decode)
}

fn replay_epoch(
    set: &Set,
    reader: &mut Reader<'_>,
    chain: &mut Chain,
    kept: Option<u64>,
) -> Result<(), OpenError> {
    // Found, and not yet proven durable.
    let mut pending: Option<(Shared, Vec<u8>)> = None;
    loop {
        let mut next = chain.clone_end();
        if let Some((shared, _)) = &pending {
            next.pass(shared);
        }
        if kept.is_some_and(|kept| next.batch > kept) {
            // Everything up to the decision is proven; the rest of the epoch is void.
            return apply(set, chain, pending);
        }
        match reader.find(&chain.log.nonce, &next) {
            Some((shared, metadata)) => {
                apply(set, chain, pending.take())?;
                pending = Some((shared, metadata));
            }
            None if kept.is_some() => {
                return Err(missing(set, next.batch, "its frames are damaged on every drive present"));
            }
            None => {
                if let Some(later) = reader.find_later(&chain.log.nonce, &next) {
                    let reason =
                        format!("its frames are damaged on every drive present, and batch {later} follows");
                    return Err(missing(set, next.batch, &reason));
                }
                return Ok(());
            }
        }
    }
}

fn apply(set: &Set, chain: &mut Chain, proven: Option<(Shared, Vec<u8>)>) -> Result<(), OpenError> {
    let Some((shared, metadata)) = proven else {
        return Ok(());
    };
    apply_batch(set, &shared, &metadata)?;
    chain.pass(&shared);
    Ok(())
}

/// Applies a durable batch to the index.
pub(crate) fn apply_batch(set: &Set, shared: &Shared, metadata: &[u8]) -> Result<(), OpenError> {
    if shared.kind != Kind::Commits {
        return Ok(());
    }
    let place = FramePlace { batch: shared.batch, address: shared.address, meta_bytes: shared.meta_bytes };
    let mut index = set.index.write();
    index
        .apply(place, metadata)
        .map_err(|_| missing(set, shared.batch, "its metadata has a sound checksum and no known form"))
}

/// The refusal for a batch that must exist: names it, and the drives that might hold it.
pub(crate) fn missing(set: &Set, batch: u64, reason: &str) -> OpenError {
    let away: Vec<String> = set
        .members
        .iter()
        .filter(|member| !member.is_online())
        .map(|member| format!("drive {} at {} ({})", member.position + 1, member.path, member.reason()))
        .collect();
    let drives = if away.is_empty() { "none, all are present".to_owned() } else { away.join(", ") };
    OpenError::MissingBatch { batch, reason: reason.to_owned(), drives }
}

/// The end of a chain, without its memory of frames.
pub(crate) struct End {
    pub batch: u64,
    pub hash: u64,
    pub next: Address,
}

impl End {
    fn pass(&mut self, shared: &Shared) {
        self.batch = shared.batch + 1;
        self.hash = shared.hash();
        self.next = Address { offset: shared.address.offset + shared.slot_bytes, ..shared.address };
    }

    /// Where the next frame may stand.
    pub(crate) fn candidates(&self) -> [Address; 2] {
        [self.next, first_address(self.next.segment + 1)]
    }

    /// Whether a frame continues the chain.
    pub(crate) fn is_next(&self, shared: &Shared) -> bool {
        shared.batch == self.batch && shared.previous_hash == self.hash
    }
}

impl Chain {
    /// Its end.
    pub(crate) fn clone_end(&self) -> End {
        End { batch: self.next_batch, hash: self.last_hash, next: self.next }
    }
}

/// Reads frames of all online drives.
struct Reader<'a> {
    set: &'a Set,
    windows: Vec<Option<Window>>,
    /// The drive read first: the one that had the last frame.
    primary: usize,
}

/// A piece of a segment.
struct Window {
    segment: u32,
    start: u64,
    bytes: AlignedBytes,
}

impl Reader<'_> {
    /// The next frame with sound metadata, from any drive.
    fn find(&mut self, nonce: &Nonce, end: &End) -> Option<(Shared, Vec<u8>)> {
        let set = self.set;
        let count = set.members.len();
        for address in end.candidates() {
            for turn in 0..count {
                let member = &set.members[(self.primary + turn) % count];
                if !member.is_online() {
                    continue;
                }
                let Some(frame) = self.frame(member, nonce, address) else {
                    continue;
                };
                if let Some(metadata) = frame.metadata
                    && end.is_next(&frame.header.shared)
                {
                    self.primary = member.position;
                    return Some((frame.header.shared, metadata));
                }
            }
        }
        None
    }

    fn frame(&mut self, member: &Member, nonce: &Nonce, address: Address) -> Option<Frame> {
        let offset = u64::from(address.offset);
        let block = self.bytes(member, address.segment, offset, BLOCK_BYTES)?;
        let header = Header::decode(block, nonce, address)?;
        let bytes = self.bytes(member, address.segment, offset, header.frame_bytes())?;
        Some(Frame::of(header, bytes))
    }

    /// Bytes of a segment through the drive's window; `None` where they cannot be read.
    fn bytes(&mut self, member: &Member, number: u32, offset: u64, length: usize) -> Option<&[u8]> {
        let window = &mut self.windows[member.position];
        let covers = window.as_ref().is_some_and(|window| {
            window.segment == number
                && window.start <= offset
                && offset + length as u64 <= window.start + window.bytes.len() as u64
        });
        if !covers {
            let segment = member.segment(number).ok()?;
            let rest = segment.file().size_bytes().checked_sub(offset)?;
            let size = usize::try_from(rest).unwrap_or(usize::MAX).min(WINDOW_BYTES);
            if size < length {
                return None;
            }
            let mut bytes = AlignedBytes::zeroed(size);
            if segment.file().read_medium_at(offset, &mut bytes).is_err() {
                // One bad block must not hide the frame: read no more than is asked for.
                bytes = AlignedBytes::zeroed(length);
                segment.file().read_medium_at(offset, &mut bytes).ok()?;
            }
            *window = Some(Window { segment: number, start: offset, bytes });
        }
        let window = window.as_ref()?;
        let at = usize::try_from(offset - window.start).ok()?;
        window.bytes.get(at..at + length)
    }

    /// The number of a batch that stands behind a missing one: then it is no end but a hole.
    ///
    /// Looks through the rest of the segment on the drive that had the last frame, through [`HOLE_BYTES_MAX`] of
    /// it on the others, and through the first frames of the next segment on all.
    fn find_later(&mut self, nonce: &Nonce, end: &End) -> Option<u64> {
        let next_segment = end.next.segment + 1;
        let set = self.set;
        for member in set.online() {
            let length = if member.position == self.primary { u64::MAX } else { HOLE_BYTES_MAX };
            let stretches = [
                (end.next.segment, u64::from(end.next.offset), length),
                (next_segment, u64::from(SEGMENT_HEADER_BYTES), FRAME_BYTES_MAX as u64),
            ];
            for (segment, start, length) in stretches {
                let mut offset = start;
                while offset - start < length {
                    let Some(block) = self.bytes(member, segment, offset, BLOCK_BYTES) else {
                        break;
                    };
                    let address = Address { segment, offset: u32::try_from(offset).ok()? };
                    if let Some(header) = Header::decode(block, nonce, address)
                        && header.shared.durable_upto >= end.batch
                    {
                        return Some(header.shared.batch);
                    }
                    offset += BLOCK_BYTES as u64;
                }
            }
        }
        None
    }
}
