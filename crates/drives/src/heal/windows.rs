//! Windows: pieces of the segments of all drives, read in order and past the page cache.

use crate::drive::{AlignedBytes, BLOCK_BYTES};
use crate::frame::{Address, Frame, Header, nonce_of};
use crate::set::Set;

/// Bytes read from a drive at a time, unless a frame is larger: 256 KiB.
const WINDOW_BYTES: usize = 256 * 1024;

/// One window a drive.
pub(super) struct Windows {
    windows: Vec<Option<Window>>,
}

/// A piece of a segment.
struct Window {
    segment: u32,
    start: u64,
    bytes: AlignedBytes,
}

impl Windows {
    pub(super) fn new(drives: usize) -> Windows {
        Windows { windows: (0..drives).map(|_| None).collect() }
    }

    /// What a drive has at a place: a sound header that was written for this drive and this place, of any epoch.
    pub(super) fn header(&mut self, set: &Set, position: usize, address: Address) -> Option<Header> {
        let block = self.bytes(set, position, address, BLOCK_BYTES)?;
        let nonce = nonce_of(block)?;
        Header::decode(block, &nonce, address).filter(|header| usize::from(header.position) == position)
    }

    /// The frame of a drive at a place, every part of it verified.
    pub(super) fn frame(&mut self, set: &Set, position: usize, address: Address) -> Option<Frame> {
        let header = self.header(set, position, address)?;
        let bytes = self.bytes(set, position, address, header.frame_bytes())?;
        Some(Frame::of(header, bytes))
    }

    /// Forgets what was read of a drive that was written since.
    pub(super) fn forget(&mut self, position: usize) {
        self.windows[position] = None;
    }

    /// Whole blocks of a segment; `None` where they cannot be read.
    pub(super) fn bytes(
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
            let segment = set.members[position].segment(address.segment).ok()?;
            let rest = usize::try_from(segment.file().size_bytes().checked_sub(offset)?).ok()?;
            if rest < length {
                return None;
            }
            let mut bytes = AlignedBytes::zeroed(length.max(WINDOW_BYTES.min(rest)));
            if segment.file().read_medium_at(offset, &mut bytes).is_err() {
                // One bad block must not hide what stands beside it.
                bytes = AlignedBytes::zeroed(length);
                segment.file().read_medium_at(offset, &mut bytes).ok()?;
            }
            *window = Some(Window { segment: address.segment, start: offset, bytes });
        }
        let window = window.as_ref()?;
        let at = usize::try_from(offset - window.start).ok()?;
        window.bytes.get(at..at + length)
    }
}
