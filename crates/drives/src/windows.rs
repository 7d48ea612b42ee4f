//! Windows: pieces of the segments of all drives, read in order and past the page cache.

use std::io;

use crate::bodies::Positions;
use crate::drive::{AlignedBytes, BLOCK_BYTES};
use crate::frame::{Address, Frame, Header};
use crate::member::Member;
use crate::payload::is_silence;
use crate::set::Set;

/// One window a drive.
pub(crate) struct Windows {
    /// Bytes read from a drive at a time, unless more are asked for.
    size_bytes: usize,
    windows: Vec<Option<Window>>,
    /// Drives that did not answer, which are not asked any more.
    silent: Positions,
}

/// A piece of a segment.
struct Window {
    segment: u32,
    start: u64,
    bytes: AlignedBytes,
}

impl Windows {
    pub(crate) fn new(drives: usize, size_bytes: usize) -> Windows {
        Windows { size_bytes, windows: (0..drives).map(|_| None).collect(), silent: 0 }
    }

    /// What a drive has at a place: a sound header that was written for this drive and this place, of any epoch.
    pub(crate) fn header(&mut self, set: &Set, position: usize, address: Address) -> Option<Header> {
        let header = Header::decode(self.bytes(set, position, address, BLOCK_BYTES)?, address);
        header.filter(|header| usize::from(header.position) == position)
    }

    /// The frame behind a header, with those of its parts that are sound.
    pub(crate) fn frame(&mut self, set: &Set, header: Header) -> Option<Frame> {
        let position = usize::from(header.position);
        let bytes = self.bytes(set, position, header.shared.address, header.frame_bytes())?;
        Some(Frame::of(header, bytes))
    }

    /// Forgets what was read of a drive that was written since.
    pub(crate) fn forget(&mut self, position: usize) {
        self.windows[position] = None;
    }

    /// Whole blocks of a segment; `None` where they cannot be read.
    pub(crate) fn bytes(
        &mut self,
        set: &Set,
        position: usize,
        address: Address,
        length: usize,
    ) -> Option<&[u8]> {
        let offset = u64::from(address.offset);
        let window = &mut self.windows[position];
        let covers = window.as_ref().is_some_and(|window| {
            window.segment == address.segment
                && window.start <= offset
                && offset + length as u64 <= window.start + window.bytes.len() as u64
        });
        if !covers {
            if self.silent & 1 << position != 0 {
                return None;
            }
            let size_bytes = self.size_bytes;
            let read = set.patiently(position, move |member| read(member, address, length, size_bytes));
            match read {
                Ok(bytes) => {
                    *window = Some(Window { segment: address.segment, start: offset, bytes: bytes? })
                }
                Err(error) => {
                    self.silent |= Positions::from(is_silence(&error)) << position;
                    return None;
                }
            }
        }
        let window = window.as_ref()?;
        let at = usize::try_from(offset - window.start).ok()?;
        window.bytes.get(at..at + length)
    }
}

/// From `address` on `size_bytes` or what the segment has of them, but `length` at least; `None` where it has less.
fn read(
    member: &Member,
    address: Address,
    length: usize,
    size_bytes: usize,
) -> io::Result<Option<AlignedBytes>> {
    let segment = member.segment(address.segment)?;
    let offset = u64::from(address.offset);
    let rest = segment.file().size_bytes().saturating_sub(offset);
    let rest = usize::try_from(rest).unwrap_or(usize::MAX);
    if rest < length {
        return Ok(None);
    }
    let mut bytes = AlignedBytes::zeroed(length.max(size_bytes.min(rest)));
    if segment.file().read_medium_at(offset, &mut bytes).is_err() {
        // One bad block must not hide what stands beside it.
        bytes = AlignedBytes::zeroed(length);
        segment.file().read_medium_at(offset, &mut bytes)?;
    }
    Ok(Some(bytes))
}
