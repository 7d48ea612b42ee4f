//! Rows of the lower index: what keys and places of changes are in bytes. Tabled in `docs/formats.md`.
//!
//! Three tables, by the first byte of a row's key: the store's keys, changes by sequence, and the statement; in an
//! index that is being filled also the marks of keys that were removed meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use store::{Location, Sequence};

use super::{ChangePlace, FramePlace, Stored, StoredExtent};
use crate::fields::{Fields, push_field, push_length};
use crate::record::{Extent, Lie};

/// The table of changes.
pub(super) const CHANGES: u8 = b'c';

/// The table of the store's keys.
pub(super) const KEYS: u8 = b'k';

/// The table of marks: keys removed while the index is filled.
pub(super) const MARKS: u8 = b'm';

/// The key of the statement's row.
pub(super) const STATEMENT: &[u8] = b"s";

/// The row's key of a key in a table.
pub(super) fn in_table(table: u8, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + key.len());
    row.push(table);
    row.extend_from_slice(key);
    row
}

/// Where a range of keys of a table ends in rows.
pub(super) fn end_in_table(table: u8, end: Option<&[u8]>) -> Vec<u8> {
    end.map_or_else(|| vec![table + 1], |end| in_table(table, end))
}

pub(super) fn encode_stored(stored: &Stored) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + stored.value.len());
    bytes.extend_from_slice(&stored.sequence.0.to_le_bytes());
    bytes.extend_from_slice(&stored.segment.to_le_bytes());
    push_field(&mut bytes, &stored.value);
    push_length(&mut bytes, stored.locations.len());
    for location in &stored.locations {
        push_field(&mut bytes, &location.0);
    }
    let Some(StoredExtent { extent, frame }) = &stored.extent else {
        bytes.push(0);
        return bytes;
    };
    let (form, column) = extent.lie.encode();
    bytes.extend_from_slice(&[form, column]);
    bytes.extend_from_slice(&extent.offset.to_le_bytes());
    bytes.extend_from_slice(&extent.length.to_le_bytes());
    bytes.extend_from_slice(&extent.crc.to_le_bytes());
    bytes.extend_from_slice(&frame.batch.to_le_bytes());
    bytes.extend_from_slice(&frame.address.segment.to_le_bytes());
    bytes.extend_from_slice(&frame.address.offset.to_le_bytes());
    bytes.extend_from_slice(&frame.meta_bytes.to_le_bytes());
    bytes
}

/// `None` when the row is no such value.
pub(super) fn decode_stored(bytes: &[u8]) -> Option<Arc<Stored>> {
    let mut row = Fields::of(bytes);
    let sequence = Sequence(row.long()?);
    let segment = row.short()?;
    let value = Bytes::copy_from_slice(row.field()?);
    let count = row.short()?;
    let mut locations = Vec::new();
    for _ in 0..count {
        locations.push(Location(row.field()?.to_vec()));
    }
    let form = row.byte()?;
    let extent = if form == 0 {
        None
    } else {
        let lie = Lie::decode(form, row.byte()?)?;
        let extent = Extent { lie, offset: row.short()?, length: row.short()?, crc: row.long()? };
        let batch = row.long()?;
        let address = row.address()?;
        Some(StoredExtent { extent, frame: FramePlace { batch, address, meta_bytes: row.short()? } })
    };
    row.is_empty().then(|| Arc::new(Stored { sequence, value, locations, extent, segment }))
}

/// The row's key of a change.
pub(super) fn change_key(sequence: Sequence) -> Vec<u8> {
    in_table(CHANGES, &sequence.0.to_be_bytes())
}

pub(super) fn encode_change(place: &ChangePlace) -> Vec<u8> {
    let mut bytes = place.crc.to_le_bytes().to_vec();
    for number in [place.segment, place.offset, place.length] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.push(u8::from(place.has_targets));
    bytes
}

/// `None` when the row is no such place.
pub(super) fn decode_change(key: &[u8], value: &[u8]) -> Option<ChangePlace> {
    let sequence = Sequence(u64::from_be_bytes(key.get(1..)?.try_into().ok()?));
    let mut row = Fields::of(value);
    let place = ChangePlace {
        sequence,
        crc: row.long()?,
        segment: row.short()?,
        offset: row.short()?,
        length: row.short()?,
        has_targets: row.byte()? != 0,
    };
    row.is_empty().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Address;

    #[test]
    fn a_stored_value_is_read_back_from_its_row_and_not_from_a_part_of_it() {
        let extent = Extent { lie: Lie::Column(1), offset: 5, length: 6, crc: 7 };
        let frame = FramePlace { batch: 8, address: Address { segment: 9, offset: 4096 }, meta_bytes: 10 };
        let stored = Stored {
            sequence: Sequence(3),
            value: Bytes::from_static(b"value"),
            locations: vec![Location(vec![1, 2]), Location(vec![])],
            extent: Some(StoredExtent { extent, frame }),
            segment: 9,
        };
        let row = encode_stored(&stored);
        assert_eq!(decode_stored(&row).as_deref(), Some(&stored));
        for length in 0..row.len() {
            assert_eq!(decode_stored(&row[..length]), None, "{length} bytes");
        }
    }
}
