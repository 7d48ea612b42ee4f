//! Columns: how the payloads of one batch lie on the drives.
//!
//! An object larger than max(16 KiB, payload/k) is split over all k data columns, a smaller one goes whole
//! into one of them, the shortest first; m parity columns are computed over them. A healthy read of a small
//! object is one read on one drive. Columns are zero beyond their end for the parity, and those zeroes are
//! never written. A batch whose replicated frames take no more space than its columns is replicated.
//!
//! # Invariants
//!
//! 1. Any k of the k+m columns give back every payload.
//! 2. Column c of batch b lies on the drive of position (c + b) mod n, so that parity spreads over drives.

use reed_solomon_erasure::galois_8::ReedSolomon;

use crate::drive::BLOCK_BYTES;
use crate::frame::{Form, HEADER_BYTES};
use crate::quorum::Geometry;
use crate::record::{Extent, Lie, Payload};

/// Objects up to this size are never split, in bytes: 16 KiB.
const WHOLE_BYTES_MAX: usize = 16 * 1024;

/// Parity of a set: computes and repairs.
pub struct Codec {
    geometry: Geometry,
    /// `None` without parity.
    matrix: Option<ReedSolomon>,
}

impl Codec {
    /// The codec of a geometry.
    pub fn new(geometry: Geometry) -> Codec {
        let matrix = (geometry.parity > 0).then(|| {
            ReedSolomon::new(geometry.data, geometry.parity).expect("a set has 1 to 16 drives and m ≤ k")
        });
        Codec { geometry, matrix }
    }

    /// Data and parity it works with.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Fills the last m of n equally long columns from the first k.
    pub fn encode(&self, columns: &mut [Vec<u8>]) {
        if let Some(matrix) = &self.matrix
            && !columns[0].is_empty()
        {
            matrix.encode(columns).expect("n columns of equal length");
        }
    }

    /// Fills m blocks of parity from k blocks of data, all of one length.
    pub fn encode_blocks(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        if let Some(matrix) = &self.matrix
            && !data[0].is_empty()
        {
            matrix.encode_sep(data, parity).expect("n blocks of equal length");
        }
    }

    /// Fills in the missing ones of n equally long columns. Answers `false` when fewer than k are there.
    pub fn rebuild(&self, columns: &mut [Option<Vec<u8>>]) -> bool {
        if columns.iter().flatten().count() < self.geometry.data {
            return false;
        }
        match &self.matrix {
            Some(matrix) => matrix.reconstruct(columns).is_ok(),
            None => true,
        }
    }

    /// As [`Codec::rebuild`] for the data columns alone.
    pub fn rebuild_data(&self, columns: &mut [Option<Vec<u8>>]) -> bool {
        if columns.iter().flatten().count() < self.geometry.data {
            return false;
        }
        match &self.matrix {
            Some(matrix) => matrix.reconstruct_data(columns).is_ok(),
            None => true,
        }
    }
}

/// The column of `batch` on the drive of `position`.
pub(crate) fn column_on(geometry: Geometry, batch: u64, position: usize) -> usize {
    let drives = geometry.drives();
    (position + drives - (batch % drives as u64) as usize) % drives
}

/// The drive that holds `column` of `batch`.
pub(crate) fn drive_of(geometry: Geometry, batch: u64, column: usize) -> usize {
    let drives = geometry.drives();
    (column + (batch % drives as u64) as usize) % drives
}

/// A batch's payloads laid out.
#[derive(Debug)]
pub(crate) struct Layout {
    pub form: Form,
    /// Where each payload lies, in their order.
    pub places: Vec<(Lie, u32)>,
    /// What each column writes, n of them; one when replicated, none when there is no payload.
    pub columns: Vec<Vec<u8>>,
    /// Length of the longest column.
    pub stripe_bytes: usize,
}

/// Lays payloads out behind `meta_bytes` of metadata. `usable` says of each column whether its drive is there:
/// small objects go into usable data columns first.
pub(crate) fn lay_out(codec: &Codec, payloads: &[Payload], meta_bytes: usize, usable: &[bool]) -> Layout {
    let total: usize = payloads.iter().map(|payload| payload.bytes.len()).sum();
    if total == 0 {
        return Layout { form: Form::Empty, places: Vec::new(), columns: Vec::new(), stripe_bytes: 0 };
    }
    let geometry = codec.geometry;
    let base = HEADER_BYTES + meta_bytes;
    let plan = Plan::of(payloads, total, base, geometry, usable);
    let stripe_bytes = plan.fills.iter().copied().max().unwrap_or(0);
    let rounded = |bytes: usize| (base + bytes).next_multiple_of(BLOCK_BYTES);
    let in_columns =
        plan.fills.iter().map(|fill| rounded(*fill)).sum::<usize>() + geometry.parity * rounded(stripe_bytes);
    if geometry.drives() * rounded(total) <= in_columns {
        return replicate(payloads, total);
    }
    let mut columns = vec![vec![0; stripe_bytes]; geometry.drives()];
    for (payload, (lie, offset)) in payloads.iter().zip(&plan.places) {
        let offset = *offset as usize;
        match lie {
            Lie::Column(column) => {
                columns[usize::from(*column)][offset..offset + payload.bytes.len()]
                    .copy_from_slice(&payload.bytes);
            }
            Lie::Split => {
                for (column, piece) in
                    payload.bytes.chunks(piece_bytes(payload.bytes.len(), geometry)).enumerate()
                {
                    columns[column][offset..offset + piece.len()].copy_from_slice(piece);
                }
            }
            Lie::Replicated => unreachable!("a plan places in columns"),
        }
    }
    codec.encode(&mut columns);
    for (column, fill) in columns.iter_mut().zip(&plan.fills) {
        column.truncate(*fill);
    }
    Layout { form: Form::Columns, places: plan.places, columns, stripe_bytes }
}

fn replicate(payloads: &[Payload], total: usize) -> Layout {
    let mut column = Vec::with_capacity(total);
    let mut places = Vec::with_capacity(payloads.len());
    for payload in payloads {
        places.push((Lie::Replicated, short(column.len())));
        column.extend_from_slice(&payload.bytes);
    }
    Layout { form: Form::Replicated, places, columns: vec![column], stripe_bytes: total }
}

/// Bytes of each piece of a split object but the last ones.
pub(crate) fn piece_bytes(length: usize, geometry: Geometry) -> usize {
    length.div_ceil(geometry.data)
}

fn short(number: usize) -> u32 {
    u32::try_from(number).expect("a column is smaller than a frame")
}

/// Where every payload goes and how far each data column is filled.
struct Plan {
    places: Vec<(Lie, u32)>,
    fills: Vec<usize>,
}

impl Plan {
    fn of(payloads: &[Payload], total: usize, base: usize, geometry: Geometry, usable: &[bool]) -> Plan {
        let split_above = WHOLE_BYTES_MAX.max(total / geometry.data);
        let mut places = vec![(Lie::Split, 0); payloads.len()];
        let mut fill = 0;
        let mut last_piece = vec![0; geometry.data];
        let mut whole = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            let length = payload.bytes.len();
            if length > split_above && geometry.data > 1 {
                places[index] = (Lie::Split, short(fill));
                for (column, piece) in last_piece.iter_mut().enumerate() {
                    let rest = length.saturating_sub(column * piece_bytes(length, geometry));
                    let filled = rest.min(piece_bytes(length, geometry));
                    if filled > 0 {
                        *piece = fill + filled;
                    }
                }
                fill += piece_bytes(length, geometry);
            } else {
                whole.push(index);
            }
        }
        let mut fills = last_piece;
        // The largest first: the greedy choice then ends nearly level.
        whole.sort_by_key(|index| std::cmp::Reverse(payloads[*index].bytes.len()));
        let any_usable = usable[..geometry.data].contains(&true);
        let mut padding = 0;
        for index in whole {
            let length = payloads[index].bytes.len();
            let column = (0..geometry.data)
                .filter(|column| usable[*column] || !any_usable)
                .min_by_key(|column| fills[*column])
                .expect("a set has a data column");
            let mut offset = fills[column];
            let within = (base + offset) % BLOCK_BYTES;
            let gap = (BLOCK_BYTES - within) % BLOCK_BYTES;
            // A small extent that straddles a block costs a read of two; padding may lose up to a tenth.
            if length < BLOCK_BYTES && within + length > BLOCK_BYTES && (padding + gap) * 10 <= total {
                offset += gap;
                padding += gap;
            }
            places[index] = (Lie::Column(u8::try_from(column).expect("at most 16 columns")), short(offset));
            fills[column] = offset + length;
        }
        Plan { places, fills }
    }
}

/// Takes a payload out of the data columns of its batch, each as long as the stripe.
pub(crate) fn extract(extent: &Extent, columns: &[Option<Vec<u8>>], geometry: Geometry) -> Option<Vec<u8>> {
    let (offset, length) = (extent.offset as usize, extent.length as usize);
    match extent.lie {
        Lie::Replicated => Some(columns.iter().flatten().next()?.get(offset..offset + length)?.to_vec()),
        Lie::Column(column) => {
            let column = columns.get(usize::from(column))?.as_ref()?;
            Some(column.get(offset..offset + length)?.to_vec())
        }
        Lie::Split => {
            let mut payload = Vec::with_capacity(length);
            for column in &columns[..geometry.data] {
                let piece = piece_bytes(length, geometry).min(length - payload.len());
                payload.extend_from_slice(column.as_ref()?.get(offset..offset + piece)?);
            }
            Some(payload)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::extent_crc;
    use crate::record::{Metadata, Recorded, decode};
    use bytes::Bytes;
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};
    use store::{Mutation, Put, Sequence};

    fn metadata(bodies: &[Vec<u8>]) -> Metadata {
        let mutations: Vec<Mutation> = bodies
            .iter()
            .map(|body| Mutation::Put(Put { payload: Bytes::from(body.clone()), ..Put::default() }))
            .collect();
        let mut metadata = Metadata::new();
        metadata.push(Sequence(1), &mutations, &[]);
        metadata
    }

    proptest! {
        /// Whatever the payloads and whichever drives are lost, up to the parity count, every payload of a
        /// batch comes back as it was written.
        #[test]
        fn payloads_survive_the_loss_of_as_many_columns_as_there_is_parity(
            lengths in prop::collection::vec(1usize..40_000, 1..12),
            (data, more) in (1usize..=4, 0usize..=3),
            lost in any::<[u8; 4]>(),
        ) {
            let geometry = Geometry { data, parity: more.min(data) };
            let codec = Codec::new(geometry);
            let bodies: Vec<Vec<u8>> = lengths
                .iter()
                .enumerate()
                .map(|(seed, length)| (0..*length).map(|at| (at * 7 + seed * 13) as u8).collect())
                .collect();
            let metadata = metadata(&bodies);
            let layout = lay_out(&codec, metadata.payloads(), metadata.len(), &vec![true; geometry.drives()]);
            let bytes = metadata.finish(&layout.places);

            let mut columns: Vec<Option<Vec<u8>>> = match layout.form {
                Form::Replicated => vec![Some(layout.columns[0].clone()); geometry.drives()],
                _ => layout.columns.iter().cloned().map(Some).collect(),
            };
            for column in columns.iter_mut().flatten() {
                column.resize(layout.stripe_bytes, 0);
            }
            for lost in lost.iter().take(geometry.parity) {
                columns[usize::from(*lost) % geometry.drives()] = None;
            }
            if layout.form == Form::Columns {
                prop_assert!(codec.rebuild_data(&mut columns));
            }
            let commits = decode(&bytes).unwrap();
            for (recorded, body) in commits[0].mutations.iter().zip(&bodies) {
                let Recorded::Put { extent: Some(extent), .. } = recorded else { panic!("no extent") };
                let payload = extract(extent, &columns, geometry);
                prop_assert_eq!(payload.as_ref(), Some(body));
                prop_assert_eq!(extent.crc, extent_crc(b"", 1, body));
            }
        }
    }

    #[test]
    fn a_small_extent_does_not_straddle_a_block_unless_padding_would_lose_a_tenth() {
        let geometry = Geometry { data: 2, parity: 2 };
        let bodies = vec![vec![1; 3000]; 64];
        let metadata = metadata(&bodies);
        let layout = lay_out(&Codec::new(geometry), metadata.payloads(), metadata.len(), &[true; 4]);
        let base = HEADER_BYTES + metadata.len();
        let straddling = layout
            .places
            .iter()
            .filter(|(_, offset)| (base + *offset as usize) % BLOCK_BYTES + 3000 > BLOCK_BYTES)
            .count();
        let loss = layout.columns[..2].iter().map(Vec::len).sum::<usize>() - 64 * 3000;
        assert!(straddling < 64 && loss * 10 <= 64 * 3000, "{straddling} straddle, {loss} bytes lost");
    }
}
