//! Reads frames from the medium: past the page cache, in large pieces from one drive, and from the others where that
//! one fails.

use crate::drive::BLOCK_BYTES;
use crate::format::Nonce;
use crate::frame::{Address, FRAME_BYTES_MAX, Header, Shared};
use crate::replay::End;
use crate::segment::{SEGMENT_HEADER_BYTES, first_address};
use crate::set::Set;
use crate::table::Row;
use crate::windows::Windows;

/// Bytes read from a drive at a time: 2 MiB, so that a largest frame lies in one or two pieces.
const WINDOW_BYTES: usize = 2 * FRAME_BYTES_MAX;

/// How far behind the end of the journal every drive is searched for frames that would make it a hole, in bytes:
/// 4 MiB, four of the largest frames.
const HOLE_BYTES_MAX: u64 = 4 * FRAME_BYTES_MAX as u64;

/// Reads frames of all online drives.
pub(crate) struct FrameReader<'a> {
    set: &'a Set,
    windows: Windows,
    /// The drive read first: the one that had the last frame.
    primary: usize,
}

impl FrameReader<'_> {
    pub(crate) fn new(set: &Set) -> FrameReader<'_> {
        FrameReader { set, windows: Windows::new(set.members.len(), WINDOW_BYTES), primary: 0 }
    }

    /// The next frame with sound metadata, from any drive.
    pub(crate) fn find(&mut self, nonce: &Nonce, end: &End) -> Option<(Shared, Vec<u8>)> {
        end.heads.candidates().find_map(|address| {
            self.read_any(address, |header| header.is_of(nonce) && end.is_next(&header.shared))
        })
    }

    /// The frame that is known to stand at an address of a segment of the table, whichever its epoch.
    pub(crate) fn known(&mut self, row: &Row, address: Address) -> Option<(Shared, Vec<u8>)> {
        let batches = row.first_batch..=row.last_batch;
        self.read_any(address, |header| batches.contains(&header.shared.batch))
    }

    fn read_any(
        &mut self,
        address: Address,
        is_wanted: impl Fn(&Header) -> bool,
    ) -> Option<(Shared, Vec<u8>)> {
        let set = self.set;
        let count = set.members.len();
        for turn in 0..count {
            let member = &set.members[(self.primary + turn) % count];
            if !member.is_online() {
                continue;
            }
            let header = self.windows.header(set, member.position, address).filter(&is_wanted);
            let Some(frame) = header.and_then(|header| self.windows.frame(set, header)) else {
                continue;
            };
            if let Some(metadata) = frame.metadata {
                self.primary = member.position;
                return Some((frame.header.shared, metadata));
            }
        }
        None
    }

    /// The number of a batch that stands behind a missing one: then it is no end but a hole.
    ///
    /// Looks through the rest of the streams' segments on the drive that had the last frame, through
    /// [`HOLE_BYTES_MAX`] of them on the others, through the first frames of the next segment, and at the first frame
    /// of every later one on all.
    pub(crate) fn find_later(&mut self, nonce: &Nonce, end: &End) -> Option<u64> {
        let set = self.set;
        let fresh = end.heads.fresh().segment;
        for member in set.online() {
            let length = if member.position == self.primary { u64::MAX } else { HOLE_BYTES_MAX };
            let heads = [end.heads.hot, end.heads.cold].into_iter().flatten();
            let rests = heads.map(|head| (head.segment, u64::from(head.offset), length));
            let next = (fresh, u64::from(SEGMENT_HEADER_BYTES), FRAME_BYTES_MAX as u64);
            for (segment, start, length) in rests.chain([next]) {
                let mut offset = start;
                while offset - start < length {
                    let address = Address { segment, offset: u32::try_from(offset).ok()? };
                    if self.windows.bytes(set, member.position, address, BLOCK_BYTES).is_none() {
                        break;
                    }
                    if let Some(header) = self.windows.header(set, member.position, address)
                        && header.is_of(nonce)
                        && header.shared.durable_upto >= end.batch
                    {
                        return Some(header.shared.batch);
                    }
                    offset += BLOCK_BYTES as u64;
                }
            }
            let later = set
                .patiently(member.position, |member| member.drive()?.segments())
                .unwrap_or_default()
                .numbers;
            for segment in later.into_iter().filter(|number| *number > fresh) {
                // Where every segment has a frame, so that no payload can stand there.
                if let Some(header) = self.windows.header(set, member.position, first_address(segment)) {
                    return Some(header.shared.batch);
                }
            }
        }
        None
    }
}
