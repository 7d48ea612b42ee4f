//! The statement of an index: of which set it is, and up to where it follows the journal. Tabled in
//! `docs/formats.md`.

use store::Sequence;
use uuid::Uuid;

use crate::digest::crc64;
use crate::frame::Address;

/// Version of the rows and of the statement.
const VERSION: u32 = 1;

/// What an index says of itself; written with every batch of rows, all or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub set: Uuid,
    /// Number of the flush that wrote it, from 1.
    pub flush: u64,
    /// The last batch it holds; batch 0 while it holds no more than a part of the journal.
    pub upto: Upto,
    pub last_sequence: Sequence,
    /// Changes up to this sequence are kept for their targets alone.
    pub floor: Sequence,
    /// Bytes that the changes after that take of a drive.
    pub kept_bytes: u64,
    /// Keys it holds.
    pub keys: u64,
    /// Live bytes of the segments, in a form of their own.
    pub live: Vec<u8>,
}

/// A batch of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upto {
    pub batch: u64,
    pub hash: u64,
    pub address: Address,
}

/// Encoded size without the live bytes, in bytes.
const BYTES: usize = 96;

impl Statement {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES + self.live.len());
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(self.set.as_bytes());
        bytes.extend_from_slice(&self.flush.to_le_bytes());
        bytes.extend_from_slice(&self.upto.batch.to_le_bytes());
        bytes.extend_from_slice(&self.upto.hash.to_le_bytes());
        bytes.extend_from_slice(&self.upto.address.segment.to_le_bytes());
        bytes.extend_from_slice(&self.upto.address.offset.to_le_bytes());
        for number in [self.last_sequence.0, self.floor.0, self.kept_bytes, self.keys] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let live_bytes = u32::try_from(self.live.len()).expect("counters of fewer than 2^32 segments");
        bytes.extend_from_slice(&live_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.live);
        let crc = crc64(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` when it is damaged or of another version: then the index counts for nothing.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Statement> {
        let end = bytes.len().checked_sub(8).filter(|_| bytes.len() >= BYTES)?;
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let address = |at: usize| Address { segment: short(at), offset: short(at + 4) };
        if short(0) != VERSION || long(end) != crc64(&[&bytes[..end]]) {
            return None;
        }
        let live = bytes[88..end].to_vec();
        Some(Statement {
            set: Uuid::from_bytes(bytes[4..20].try_into().expect("sixteen bytes")),
            flush: long(20),
            upto: Upto { batch: long(28), hash: long(36), address: address(44) },
            last_sequence: Sequence(long(52)),
            floor: Sequence(long(60)),
            kept_bytes: long(68),
            keys: long(76),
            live: (live.len() == short(84) as usize).then_some(live)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_read_back_and_a_damaged_one_is_none() {
        let statement = Statement {
            set: Uuid::from_u128(7),
            flush: 3,
            upto: Upto { batch: 90, hash: 91, address: Address { segment: 2, offset: 8192 } },
            floor: Sequence(5),
            kept_bytes: 6,
            keys: 7,
            last_sequence: Sequence(1 << 60),
            live: vec![1, 2, 3],
        };
        let bytes = statement.encode();
        assert_eq!(Statement::decode(&bytes), Some(statement));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(Statement::decode(&damaged), None, "byte {at}");
        }
    }
}
