//! The manifest: where the journal is to be read from, and which segments hold it.
//!
//! The file `manifest` in the root of every drive; its bytes are tabled in `docs/formats.md`. It names an *anchor*, a
//! position of the chain that every voter holds, and the table of segments up to it. A start reads the table and goes
//! on with the chain from the anchor.
//!
//! # Invariants
//!
//! 1. What a manifest says was true of every voter before it was written.
//! 2. A segment is retired when a manifest without it is on the write quorum; the highest manifest of any k voters
//!    is then one without it.

use store::Sequence;
use uuid::Uuid;

use crate::chain::{Chain, Heads, Stream};
use crate::error::OpenError;
use crate::fields::{Fields, push_length};
use crate::format::EpochLog;
use crate::frame::Address;
use crate::sealed::{seal, sound_copies};
use crate::set::Set;
use crate::table::{Row, SegmentTable, Span};

/// Name of the file in the root of a drive.
pub(crate) const MANIFEST_FILE: &str = "manifest";

/// Version of the manifest this code writes; it reads no other.
const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"TIDINGSM";

/// Bytes before the first row.
const HEAD_BYTES: usize = 160;

/// Bytes of a row.
const ROW_BYTES: usize = 48;

/// Smallest copy in bytes; a larger one is a power of two.
const COPY_BYTES_MIN: usize = 4096;

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The set.
    pub set: Uuid,
    /// Counts manifests.
    pub counter: u64,
    /// The epoch of the anchor, which has a frame before it.
    pub log: EpochLog,
    /// The batch behind the anchor.
    pub next_batch: u64,
    /// Hash of the one before it.
    pub last_hash: u64,
    /// Where it may stand.
    pub heads: Heads,
    /// The last sequence given before it.
    pub last_sequence: Sequence,
    /// Changes up to this sequence are kept for their targets alone.
    pub floor: Sequence,
    /// The last batch of any segment that left the table, or 0: an index that does not follow the journal so far lacks
    /// what lay there.
    pub left_upto: u64,
    /// The segments that hold what is before it.
    pub table: SegmentTable,
}

/// What was found of a drive's manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Sound(Box<Manifest>),
    Damaged,
    Newer(u32),
}

impl Manifest {
    /// The end of the chain at the anchor.
    pub(crate) fn chain(&self) -> Chain {
        let mut chain = Chain::begin(self.log);
        chain.next_batch = self.next_batch;
        chain.last_hash = self.last_hash;
        chain.heads = self.heads;
        chain.table = self.table.clone();
        // Sequences follow the clock, and never go back either.
        chain.time_ns = self.last_sequence.0;
        chain
    }

    /// The file's content: two equal copies, so that a drive without space can replace it in place.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let needed = HEAD_BYTES + self.table.len() * ROW_BYTES + 8;
        let size = needed.next_power_of_two().max(COPY_BYTES_MIN);
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        push_length(&mut bytes, self.table.len());
        bytes.extend_from_slice(self.set.as_bytes());
        bytes.extend_from_slice(&self.counter.to_le_bytes());
        bytes.extend_from_slice(&self.log.encode());
        bytes.extend_from_slice(&self.next_batch.to_le_bytes());
        bytes.extend_from_slice(&self.last_hash.to_le_bytes());
        for head in [self.heads.hot, self.heads.cold] {
            let head = head.unwrap_or(Address { segment: 0, offset: 0 });
            bytes.extend_from_slice(&head.segment.to_le_bytes());
            bytes.extend_from_slice(&head.offset.to_le_bytes());
        }
        bytes.extend_from_slice(&self.heads.newest.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.last_sequence.0.to_le_bytes());
        bytes.extend_from_slice(&self.floor.0.to_le_bytes());
        bytes.extend_from_slice(&self.left_upto.to_le_bytes());
        bytes.resize(HEAD_BYTES, 0);
        for row in self.table.rows() {
            push_row(&mut bytes, row);
        }
        seal(bytes, size)
    }

    /// Reads a file's content: the later one of its sound copies.
    pub(crate) fn decode(file: &[u8]) -> Found {
        let mut newer = None;
        let mut sound: Option<Manifest> = None;
        for said in sound_copies(file, MAGIC, file.len().div_ceil(2)) {
            let mut fields = Fields::of(said);
            match fields.short() {
                Some(VERSION) => {}
                version => {
                    newer = version;
                    continue;
                }
            }
            if let Some(manifest) = decode_said(fields)
                && sound.as_ref().is_none_or(|known| known.counter < manifest.counter)
            {
                sound = Some(manifest);
            }
        }
        match (newer, sound) {
            (Some(version), _) => Found::Newer(version),
            (None, Some(manifest)) => Found::Sound(Box::new(manifest)),
            (None, None) => Found::Damaged,
        }
    }
}

/// Whether both copies of a drive's manifest are sound and say the same, of this set. An empty one is that of a drive
/// that became a voter before there was any.
pub(crate) fn is_whole(file: &[u8], set: Uuid) -> bool {
    let copies: Vec<&[u8]> = sound_copies(file, MAGIC, file.len().div_ceil(2)).collect();
    let is_ours = || matches!(Manifest::decode(file), Found::Sound(manifest) if manifest.set == set);
    file.is_empty() || (copies.len() == 2 && copies[0] == copies[1] && is_ours())
}

fn push_row(bytes: &mut Vec<u8>, row: &Row) {
    bytes.extend_from_slice(&row.number.to_le_bytes());
    bytes.extend_from_slice(&row.end.to_le_bytes());
    bytes.extend_from_slice(&[row.stream as u8, 0, 0, 0, 0, 0, 0, 0]);
    let span = row.span.unwrap_or(Span { first: Sequence::ZERO, last: Sequence::ZERO });
    for number in [row.first_batch, row.last_batch, span.first.0, span.last.0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

/// What a copy says behind its version.
fn decode_said(mut fields: Fields<'_>) -> Option<Manifest> {
    let count = fields.length()?;
    let set = fields.uuid()?;
    let counter = fields.long()?;
    let log = EpochLog::take(&mut fields)?;
    let (next_batch, last_hash) = (fields.long()?, fields.long()?);
    let (hot, cold) = (decode_head(&mut fields)?, decode_head(&mut fields)?);
    let heads = Heads { hot, cold, newest: fields.short()? };
    fields.short()?;
    let (last_sequence, floor) = (Sequence(fields.long()?), Sequence(fields.long()?));
    let left_upto = fields.long()?;
    // The magic is not among the fields.
    fields.take(HEAD_BYTES - MAGIC.len() - fields.offset())?;
    let rows: Option<Vec<Row>> = (0..count).map(|_| decode_row(&mut fields)).collect();
    let table = SegmentTable::of(rows?);
    // An anchor has a frame of its epoch before it, and counts in 64 bits.
    let sound = table.len() == count && next_batch > log.kept_batch.checked_add(1)?;
    sound.then_some(Manifest {
        set,
        counter,
        log,
        next_batch,
        last_hash,
        heads,
        last_sequence,
        floor,
        left_upto,
        table,
    })
}

#[expect(clippy::option_option, reason = "the outer one is the end of the bytes, the inner one no head")]
fn decode_head(fields: &mut Fields<'_>) -> Option<Option<Address>> {
    let address = fields.address()?;
    Some((address.offset != 0).then_some(address))
}

fn decode_row(fields: &mut Fields<'_>) -> Option<Row> {
    let (number, end) = (fields.short()?, fields.short()?);
    let stream = match fields.take(8)?[0] {
        0 => Stream::Hot,
        1 => Stream::Cold,
        _ => return None,
    };
    let (first_batch, last_batch) = (fields.long()?, fields.long()?);
    let span = Span { first: Sequence(fields.long()?), last: Sequence(fields.long()?) };
    let span = (span.last != Sequence::ZERO).then_some(span);
    Some(Row { number, stream, end, first_batch, last_batch, span })
}

/// The highest manifest of the voters that are there; `None` when the set has none yet.
///
/// # Errors
///
/// When so many are damaged that a higher one may be among them: an older one may name segments that hold something
/// else by now.
pub(crate) fn newest(set: &Set) -> Result<Option<Manifest>, OpenError> {
    let mut highest: Option<Manifest> = None;
    let mut damaged = Vec::new();
    let mut known = 0;
    for member in set.online() {
        let loaded = set.patiently(member.position, |member| member.drive()?.load(MANIFEST_FILE));
        match loaded {
            Ok(None) => known += 1,
            // Of a drive that became a voter before there was one.
            Ok(Some(file)) if file.is_empty() => known += 1,
            Ok(Some(file)) => match Manifest::decode(&file) {
                Found::Sound(manifest) if manifest.set == set.id => {
                    known += 1;
                    if highest.as_ref().is_none_or(|known| known.counter < manifest.counter) {
                        highest = Some(*manifest);
                    }
                }
                Found::Newer(found) => {
                    return Err(OpenError::NewerFormat { path: member.path.clone(), found, known: VERSION });
                }
                Found::Sound(_) | Found::Damaged => damaged.push(member.path.clone()),
            },
            Err(error) => damaged.push(format!("{} ({error})", member.path)),
        }
    }
    // So many voters may lack the highest one.
    let lacking = set.geometry.drives() - set.geometry.write_quorum();
    if !damaged.is_empty() && known <= lacking {
        return Err(OpenError::ManifestDamaged { drives: damaged.join(", ") });
    }
    Ok(highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Nonce;
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert_ne, proptest};

    fn row(number: u32) -> Row {
        Row {
            number,
            stream: Stream::Cold,
            end: 0x0102_0304,
            first_batch: 7,
            last_batch: 9,
            span: Some(Span { first: Sequence(5), last: Sequence(6) }),
        }
    }

    fn manifest(rows: u32) -> Manifest {
        Manifest {
            set: Uuid::from_bytes([0xaa; 16]),
            counter: 3,
            log: EpochLog {
                epoch: 2,
                nonce: Nonce([0xbb; 16]),
                kept_batch: 10,
                kept_hash: 0xcc,
                start: Address { segment: 1, offset: 4096 },
            },
            next_batch: 12,
            last_hash: 0xdd,
            heads: Heads { hot: Some(Address { segment: 4, offset: 8192 }), cold: None, newest: 5 },
            last_sequence: Sequence(0xee),
            floor: Sequence(0xff),
            left_upto: 0x0807_0605,
            table: SegmentTable::of((0..rows).map(row)),
        }
    }

    #[test]
    fn a_manifest_is_read_back_and_its_bytes_are_those_of_the_table_in_the_documentation() {
        for rows in [0, 1, 100] {
            let bytes = manifest(rows).encode();
            assert_eq!(Manifest::decode(&bytes), Found::Sound(Box::new(manifest(rows))));
            assert!(is_whole(&bytes, manifest(rows).set) && !is_whole(&bytes, Uuid::nil()));
        }
        let bytes = manifest(1).encode();
        let hex = |range: std::ops::Range<usize>| -> String {
            bytes[range].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!((bytes.len(), bytes[..4096] == bytes[4096..]), (8192, true));
        assert_eq!(hex(0..16), "544944494e47534d0100000001000000");
        assert_eq!(hex(16..40), format!("{}0300000000000000", "aa".repeat(16)));
        assert_eq!(hex(40..64), format!("0200000000000000{}", "bb".repeat(16)));
        assert_eq!(hex(64..88), "0a00000000000000cc000000000000000100000000100000");
        assert_eq!(hex(88..104), "0c00000000000000dd00000000000000");
        assert_eq!(hex(104..128), "040000000020000000000000000000000500000000000000");
        assert_eq!(hex(128..160), "ee00000000000000ff0000000000000005060708000000000000000000000000");
        assert_eq!(hex(160..176), "00000000040302010100000000000000");
        assert_eq!(hex(176..208), "0700000000000000090000000000000005000000000000000600000000000000");
    }

    #[test]
    fn one_damaged_copy_of_a_manifest_is_stood_in_for_by_the_other_and_the_later_one_counts() {
        let (mut bytes, newer) = (manifest(1).encode(), Manifest { counter: 4, ..manifest(1) });
        bytes[4096..].copy_from_slice(&newer.encode()[4096..]);
        assert_eq!(Manifest::decode(&bytes), Found::Sound(Box::new(newer)));
        assert!(!is_whole(&bytes, manifest(1).set));
        bytes[4096 + 50] ^= 1;
        assert_eq!(Manifest::decode(&bytes), Found::Sound(Box::new(manifest(1))));
        assert!(!is_whole(&bytes, manifest(1).set));
        bytes[50] ^= 1;
        assert_eq!(Manifest::decode(&bytes), Found::Damaged);
    }

    proptest! {
        /// Whatever stands in the file, reading it neither panics nor takes damage for a manifest.
        #[test]
        fn bytes_that_are_no_manifest_are_damaged(
            at in 0usize..8192,
            flip in 1u8..=255,
            cut in 0usize..8192,
            noise in prop::collection::vec(any::<u8>(), 0..600)
        ) {
            let mut bytes = manifest(3).encode();
            bytes[at % 4096] ^= flip;
            bytes[4096 + at % 4096] ^= flip;
            prop_assert_ne!(Manifest::decode(&bytes), Found::Sound(Box::new(manifest(3))));
            Manifest::decode(&bytes[..cut]);
            Manifest::decode(&noise);
        }
    }
}
