//! Rebuilding: the frames that some drives lack, from what the others hold of them.

use crate::columns::{Codec, column_on};
use crate::digest::crc64;
use crate::drive::AlignedBytes;
use crate::frame::{Form, Frame, Header, Shared};

/// The frames of one batch that could be read, with the positions of their drives. Parts that are not sound are
/// missing in them.
pub(crate) struct Sources<'a> {
    pub shared: &'a Shared,
    pub frames: &'a [(usize, Frame)],
}

/// How much of a frame could be rebuilt.
pub(crate) enum Rebuilt {
    /// All of it, for each position asked for.
    Whole(Vec<(usize, AlignedBytes)>),
    /// The metadata and no payload. These frames say of their column that it is not sound, which it is not anywhere.
    Hollow(Vec<(usize, AlignedBytes)>),
    /// Nothing: no drive has its metadata.
    Lost,
}

/// The frames of a batch for the drives of `positions`.
pub(crate) fn rebuild(codec: &Codec, sources: &Sources<'_>, positions: &[usize]) -> Rebuilt {
    let Sources { shared, frames } = sources;
    let Some(metadata) = frames.iter().find_map(|(_, frame)| frame.metadata.as_ref()) else {
        return Rebuilt::Lost;
    };
    let columns = columns(codec, sources);
    let frame_for = |position: usize| {
        let column = match &columns {
            Some(columns) => columns[column_on(codec.geometry(), shared.batch, position)].as_slice(),
            None => &[],
        };
        let column_crc = if columns.is_some() { crc64(&[column]) } else { !crc64(&[column]) };
        let header = Header {
            shared: (*shared).clone(),
            position: u16::try_from(position).expect("a set has at most 16 drives"),
            column_bytes: u32::try_from(column.len()).expect("a column is smaller than a frame"),
            column_crc,
        };
        (position, header.frame(metadata, column))
    };
    let rebuilt = positions.iter().map(|position| frame_for(*position)).collect();
    if columns.is_some() { Rebuilt::Whole(rebuilt) } else { Rebuilt::Hollow(rebuilt) }
}

/// All columns of a batch, by column; `None` when too few are sound.
fn columns(codec: &Codec, sources: &Sources<'_>) -> Option<Vec<Vec<u8>>> {
    let Sources { shared, frames } = sources;
    let geometry = codec.geometry();
    match shared.form {
        Form::Empty => Some(vec![Vec::new(); geometry.drives()]),
        Form::Replicated => {
            let copy = frames.iter().find_map(|(_, frame)| frame.column.clone())?;
            Some(vec![copy; geometry.drives()])
        }
        Form::Columns => {
            let mut columns = vec![None; geometry.drives()];
            for (position, frame) in *frames {
                if let Some(mut column) = frame.column.clone() {
                    column.resize(shared.stripe_bytes as usize, 0);
                    columns[column_on(geometry, shared.batch, *position)] = Some(column);
                }
            }
            codec.rebuild(&mut columns).then(|| columns.into_iter().flatten().collect())
        }
    }
}
