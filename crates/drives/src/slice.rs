//! Slices: the same range of several columns of a frame, from which a lost column's range is computed.
//!
//! Parity works byte by byte, so a payload whose drive is away costs the bytes it has, not a column. A slice carries no
//! checksum of its own: what is computed from it is proven by the payload's.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::columns::{column_on, piece_bytes};
use crate::frame::{Form, HEADER_BYTES, Header};
use crate::index::{FramePlace, StoredExtent};
use crate::lane;
use crate::member::Member;
use crate::payload::wrong_checksum;
use crate::record::Lie;
use crate::set::Set;

/// A part of a column.
pub(crate) struct Slice {
    /// Length of the frame's longest column.
    pub stripe_bytes: usize,
    /// Its bytes, without the zeroes beyond its column's end.
    pub bytes: Vec<u8>,
}

impl Slice {
    /// `length` bytes from `offset` on of a drive's column; less where the column ends.
    fn of(member: &Member, place: FramePlace, offset: usize, length: usize) -> io::Result<Slice> {
        let segment = member.segment(place.address.segment)?;
        let mut block = [0; HEADER_BYTES];
        segment.file().read_at(u64::from(place.address.offset), &mut block)?;
        let header = Header::decode(&block, place.address)
            .filter(|header| is_of(header, place))
            .ok_or_else(wrong_checksum)?;
        let length = length.min((header.column_bytes as usize).saturating_sub(offset));
        let mut bytes = vec![0; length];
        segment.file().read_at(place.column_offset() + offset as u64, &mut bytes)?;
        Ok(Slice { stripe_bytes: header.shared.stripe_bytes as usize, bytes })
    }

    /// A drive's whole column, verified, from the medium.
    pub(crate) fn whole(member: &Member, place: FramePlace) -> io::Result<Slice> {
        let frame =
            member.read_frame(place.address, |header| is_of(header, place))?.ok_or_else(wrong_checksum)?;
        let stripe_bytes = frame.header.shared.stripe_bytes as usize;
        Ok(Slice { stripe_bytes, bytes: frame.column.ok_or_else(wrong_checksum)? })
    }
}

fn is_of(header: &Header, place: FramePlace) -> bool {
    header.shared.batch == place.batch
        && header.shared.form != Form::Empty
        && header.shared.meta_bytes == place.meta_bytes
}

/// The ranges of all columns in which a payload lies, on their way.
pub(crate) struct Slices<'a> {
    set: Arc<Set>,
    batch: u64,
    length: usize,
    asked: FuturesUnordered<BoxFuture<'a, (usize, io::Result<Slice>)>>,
}

impl<'a> Slices<'a> {
    /// Asks these drives at once.
    pub(crate) fn ask(
        set: &'a Arc<Set>,
        extent: &StoredExtent,
        holders: impl Iterator<Item = usize>,
    ) -> Slices<'a> {
        let (place, offset) = (extent.frame, extent.extent.offset as usize);
        let length = match extent.extent.lie {
            Lie::Split => piece_bytes(extent.extent.length as usize, set.geometry),
            Lie::Column(_) | Lie::Replicated => extent.extent.length as usize,
        };
        let ask = |position| {
            let slice = lane::read(set, position, move |member| Slice::of(member, place, offset, length));
            slice.map(move |slice| (position, slice)).boxed()
        };
        Slices { set: Arc::clone(set), batch: place.batch, length, asked: holders.map(ask).collect() }
    }

    /// Gives them to `compute`, in the order of columns, as soon as k are there and again with each that follows, until
    /// it has the payload. `fails` hears of each that cannot be read.
    pub(crate) async fn first(
        mut self,
        compute: impl Fn(Vec<Option<Vec<u8>>>) -> Option<Bytes>,
        fails: impl Fn(usize, &io::Error),
    ) -> Option<Bytes> {
        let geometry = self.set.geometry;
        let mut columns: Vec<Option<Vec<u8>>> = vec![None; geometry.drives()];
        while let Some((position, slice)) = self.asked.next().await {
            match slice {
                Ok(Slice { mut bytes, .. }) => {
                    bytes.resize(self.length, 0);
                    columns[column_on(geometry, self.batch, position)] = Some(bytes);
                }
                Err(error) => {
                    fails(position, &error);
                    continue;
                }
            }
            if columns.iter().flatten().count() >= geometry.data
                && let Some(payload) = compute(columns.clone())
            {
                return Some(payload);
            }
        }
        None
    }
}
