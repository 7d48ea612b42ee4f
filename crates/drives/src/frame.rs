//! A frame: one batch on one drive.
//!
//! Header (256 bytes), metadata, column, each under a checksum of its own; 4 KiB aligned; the bytes are
//! tabled in `docs/formats.md`. A batch has the same address on every drive and takes a slot of the same
//! size there; drives differ in the column alone.
//!
//! # Invariants
//!
//! 1. Bytes are a frame of an epoch only with that epoch's nonce under the header's checksum: a payload
//!    cannot contain one, whoever wrote it.
//! 2. A frame names the hash of the batch before it, and its own place: it is valid there and nowhere else.
//! 3. A frame never crosses a segment and has at most [`FRAME_BYTES_MAX`] bytes.

use crate::chain::Stream;
use crate::digest::crc64;
use crate::drive::{AlignedBytes, BLOCK_BYTES};
use crate::format::Nonce;

/// Largest frame on a drive, in bytes: 1 MiB.
pub(crate) const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Size of the header in bytes.
pub(crate) const HEADER_BYTES: usize = 256;

/// What every frame has in a field of its own: the same on every drive, whose files were reused more or less often.
const FRAME_INCARNATION: u32 = 1;

const MAGIC: &[u8; 8] = b"TIDINGSB";
const VERSION: u16 = 1;

/// A place in the journal, the same on every drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Number of the segment.
    pub segment: u32,
    /// Byte offset in it.
    pub offset: u32,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}

/// What the metadata part of a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Commits.
    Commits = 0,
    /// The first frame of an epoch: the epoch before it.
    EpochStart = 1,
    /// Nothing: it proves what was durable when the set went idle.
    Seal = 2,
    /// Commits and changes of earlier batches, copied by compaction under their own sequences.
    Copies = 3,
}

/// How the payload of a frame lies on the drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// There is none.
    Empty = 0,
    /// The same bytes on every drive.
    Replicated = 1,
    /// One of k data or m parity columns.
    Columns = 2,
}

/// The part of a header that is the same on every drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    pub kind: Kind,
    pub form: Form,
    pub stream: Stream,
    pub address: Address,
    /// Bytes from this frame to the next, on every drive.
    pub slot_bytes: u32,
    pub epoch: u64,
    pub nonce: Nonce,
    pub batch: u64,
    /// Hash of the batch before.
    pub previous_hash: u64,
    /// Every batch up to this one is durable on the write quorum.
    pub durable_upto: u64,
    pub time_ns: u64,
    pub meta_bytes: u32,
    pub meta_crc: u64,
    /// Length of the longest column, which is that of every parity column.
    pub stripe_bytes: u32,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub shared: Shared,
    /// Position of the drive it was written for.
    pub position: u16,
    pub column_bytes: u32,
    pub column_crc: u64,
}

impl Shared {
    /// The hash of the batch: over everything that is the same on every drive. The metadata holds a checksum
    /// of every payload, so it covers them too.
    pub(crate) fn hash(&self) -> u64 {
        crc64(&[&self.encode()])
    }

    fn encode(&self) -> [u8; 120] {
        let mut bytes = Vec::with_capacity(120);
        bytes.extend_from_slice(&[self.kind as u8, self.form as u8, self.stream as u8, 0]);
        for number in [self.address.segment, self.address.offset, FRAME_INCARNATION, self.slot_bytes] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.meta_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.stripe_bytes.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.nonce.0);
        for number in
            [self.epoch, self.batch, self.previous_hash, self.durable_upto, self.time_ns, self.meta_crc]
        {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(120, 0);
        bytes.try_into().expect("resized to the size of the array")
    }

    fn decode(bytes: &[u8; 120]) -> Option<Shared> {
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Some(Shared {
            kind: match bytes[0] {
                0 => Kind::Commits,
                1 => Kind::EpochStart,
                2 => Kind::Seal,
                3 => Kind::Copies,
                _ => return None,
            },
            form: match bytes[1] {
                0 => Form::Empty,
                1 => Form::Replicated,
                2 => Form::Columns,
                _ => return None,
            },
            stream: match bytes[2] {
                0 => Stream::Hot,
                1 => Stream::Cold,
                _ => return None,
            },
            address: Address { segment: short(4), offset: short(8) },
            slot_bytes: short(16),
            meta_bytes: short(20),
            stripe_bytes: short(24),
            nonce: Nonce(bytes[32..48].try_into().expect("sixteen bytes")),
            epoch: long(48),
            batch: long(56),
            previous_hash: long(64),
            durable_upto: long(72),
            time_ns: long(80),
            meta_crc: long(88),
        })
    }
}

impl Header {
    /// Offset of the column from the start of the frame.
    pub(crate) fn column_offset(&self) -> usize {
        HEADER_BYTES + self.shared.meta_bytes as usize
    }

    /// Size of the frame on this drive, in whole blocks.
    pub(crate) fn frame_bytes(&self) -> usize {
        (self.column_offset() + self.column_bytes as usize).next_multiple_of(BLOCK_BYTES)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.position.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.column_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.column_crc.to_le_bytes());
        bytes[24..144].copy_from_slice(&self.shared.encode());
        bytes[144..152].copy_from_slice(&self.shared.hash().to_le_bytes());
        let crc = crc64(&[&bytes[..HEADER_BYTES - 8]]);
        bytes[HEADER_BYTES - 8..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header at this address, of whichever epoch; `None` for anything else. A payload may look like one: where
    /// no frame is known to stand, only [`Header::is_of`] tells.
    pub(crate) fn decode(bytes: &[u8], address: Address) -> Option<Header> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().expect("of that size");
        let (body, crc) = bytes.split_last_chunk::<8>().expect("a header is longer");
        if &bytes[..8] != MAGIC || crc64(&[body]) != u64::from_le_bytes(*crc) {
            return None;
        }
        if u16::from_le_bytes([bytes[8], bytes[9]]) != VERSION {
            return None;
        }
        let shared = Shared::decode(bytes[24..144].try_into().expect("120 bytes"))?;
        let header = Header {
            position: u16::from_le_bytes([bytes[10], bytes[11]]),
            column_bytes: u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")),
            column_crc: u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes")),
            shared,
        };
        let slot = header.shared.slot_bytes as usize;
        let sound = header.shared.address == address
            && header.frame_bytes() <= slot
            && slot <= FRAME_BYTES_MAX
            && slot.is_multiple_of(BLOCK_BYTES);
        sound.then_some(header)
    }

    /// Whether it belongs to the epoch that has this secret.
    pub(crate) fn is_of(&self, nonce: &Nonce) -> bool {
        self.shared.nonce == *nonce
    }

    /// The frame, ready to write.
    pub(crate) fn frame(&self, metadata: &[u8], column: &[u8]) -> AlignedBytes {
        let mut frame = AlignedBytes::zeroed(self.frame_bytes());
        self.write_to(&mut frame, metadata, column);
        frame
    }

    /// Writes the frame to memory of its size, whatever is in it.
    pub(crate) fn write_to(&self, frame: &mut [u8], metadata: &[u8], column: &[u8]) {
        let (head, padding) = frame.split_at_mut(self.column_offset() + column.len());
        head[..HEADER_BYTES].copy_from_slice(&self.encode());
        head[HEADER_BYTES..self.column_offset()].copy_from_slice(metadata);
        head[self.column_offset()..].copy_from_slice(column);
        padding.fill(0);
    }
}

/// A frame read from a drive, every part of it verified.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub header: Header,
    /// `None` when its checksum does not hold.
    pub metadata: Option<Vec<u8>>,
    /// `None` when its checksum does not hold.
    pub column: Option<Vec<u8>>,
}

impl Frame {
    /// Splits and verifies the bytes that follow a sound header.
    pub(crate) fn of(header: Header, bytes: &[u8]) -> Frame {
        let metadata = &bytes[HEADER_BYTES..header.column_offset()];
        let column = &bytes[header.column_offset()..][..header.column_bytes as usize];
        let metadata = (crc64(&[metadata]) == header.shared.meta_crc).then(|| metadata.to_vec());
        let column = (crc64(&[column]) == header.column_crc).then(|| column.to_vec());
        Frame { header, metadata, column }
    }

    /// Whether the drive holds all of its part of the batch.
    pub(crate) fn is_whole(&self) -> bool {
        self.metadata.is_some() && self.column.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            shared: Shared {
                kind: Kind::Commits,
                form: Form::Columns,
                stream: Stream::Cold,
                address: Address { segment: 3, offset: 8192 },
                slot_bytes: 8192,
                epoch: 5,
                nonce: Nonce([9; 16]),
                batch: 77,
                previous_hash: 1234,
                durable_upto: 76,
                time_ns: 1,
                meta_bytes: 3,
                meta_crc: crc64(&[b"abc"]),
                stripe_bytes: 5,
            },
            position: 2,
            column_bytes: 4,
            column_crc: crc64(&[b"wxyz"]),
        }
    }

    #[test]
    fn a_frame_is_read_back_at_its_own_place_in_its_own_epoch_and_nowhere_else() {
        let frame = header().frame(b"abc", b"wxyz");
        let read = |nonce, offset| {
            let header = Header::decode(&frame, Address { segment: 3, offset });
            header.filter(|header| header.is_of(&Nonce(nonce)))
        };

        assert_eq!(read([9; 16], 8192), Some(header()));
        assert_eq!(read([8; 16], 8192), None);
        assert_eq!(read([9; 16], 4096), None);
        let whole = Frame::of(header(), &frame);
        assert_eq!(
            (whole.metadata.as_deref(), whole.column.as_deref()),
            (Some(&b"abc"[..]), Some(&b"wxyz"[..]))
        );
    }

    #[test]
    fn a_frame_is_the_same_in_memory_that_was_used_before() {
        let frame = header().frame(b"abc", b"wxyz");
        let mut used = AlignedBytes::zeroed(4 * frame.len());
        used.fill(0xa5);
        used.resize(frame.len());
        header().write_to(&mut used, b"abc", b"wxyz");
        assert_eq!(used[..], frame[..]);
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let frame = header().frame(b"abc", b"wxyz");
        for bit in 0..(HEADER_BYTES + 7) * 8 {
            let mut bytes = frame.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let sound = Header::decode(&bytes, Address { segment: 3, offset: 8192 })
                .is_some_and(|header| Frame::of(header, &bytes).is_whole());
            assert!(!sound, "bit {bit}");
        }
    }
}
