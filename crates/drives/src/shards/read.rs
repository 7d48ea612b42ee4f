//! Reading a body: verifies every block and rebuilds what is missing or damaged.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use store::{ByteStream, EngineError, Location};

use super::{
    BLOCK_BYTES, CRC_BYTES, HEADER_BYTES, Pin, Pins, STRIPES_PER_BUFFER, block_crc, blocking, no_such,
};
use crate::drive::ShardReader;
use crate::location::Place;
use crate::set::Set;

/// A body being read.
struct ShardRead {
    set: Arc<Set>,
    place: Place,
    /// By column.
    readers: Vec<Option<Arc<dyn ShardReader>>>,
    range: Range<u64>,
    _pin: Pin,
}

/// Streams `range` of a body.
pub(crate) async fn read(
    set: Arc<Set>,
    pins: Arc<Pins>,
    location: Location,
    range: Range<u64>,
) -> Result<ByteStream, EngineError> {
    let place = Place::from_location(&location).ok_or_else(|| no_such(&location))?;
    let range = range.start.min(place.size_bytes)..range.end.min(place.size_bytes);
    let pin = Pin::new(Arc::clone(&set), pins, place.id);
    let read = blocking(move || {
        let readers = open_readers(&set, &place, &location)?;
        Ok(ShardRead { set, place, readers, range, _pin: pin })
    })
    .await?;
    Ok(Box::pin(stream::unfold(Some(read), |read| async move {
        let mut read = read.filter(|read| read.range.start < read.range.end)?;
        let step = blocking(move || {
            let bytes = read.next_chunk()?;
            Ok((bytes, read))
        });
        Some(match step.await {
            Ok((bytes, read)) => (Ok(bytes), Some(read)),
            Err(error) => (Err(error), None),
        })
    })))
}

fn open_readers(
    set: &Set,
    place: &Place,
    location: &Location,
) -> Result<Vec<Option<Arc<dyn ShardReader>>>, EngineError> {
    let mut readers: Vec<Option<Arc<dyn ShardReader>>> = vec![None; place.geometry.drives()];
    let (mut answered, mut absent) = (0, 0);
    for (column, opened) in readers.iter_mut().enumerate() {
        let position = place.drive_of(column);
        let Some(member) = set.members.get(position).filter(|member| member.is_online()) else {
            continue;
        };
        match member.drive().and_then(|drive| drive.open_shard(place.id)) {
            Ok(reader) => {
                answered += 1;
                absent += usize::from(reader.is_none());
                *opened = reader;
            }
            Err(error) => {
                tracing::warn!(drive = %member.path, %error, "A shard cannot be opened; parity stands in.")
            }
        }
    }
    let needed = place.geometry.read_quorum();
    // Too few cannot say that there is no such body: others may have it.
    if answered < needed {
        return Err(EngineError::ReadQuorum { answered, needed });
    }
    if absent == answered {
        return Err(no_such(location));
    }
    Ok(readers)
}

impl ShardRead {
    /// The next bytes of the range: at most a buffer of stripes; blocks.
    fn next_chunk(&mut self) -> Result<Bytes, EngineError> {
        let stripe_bytes = (self.place.geometry.data * BLOCK_BYTES) as u64;
        let first = self.range.start / stripe_bytes;
        let last = (self.range.end - 1) / stripe_bytes;
        let end = (last + 1).min(first + STRIPES_PER_BUFFER as u64);
        let mut chunk = Vec::with_capacity(((end - first) * stripe_bytes) as usize);
        for number in first..end {
            self.read_stripe(number, &mut chunk)?;
        }
        let skipped = (self.range.start - first * stripe_bytes) as usize;
        let stop = (self.range.end - first * stripe_bytes).min(chunk.len() as u64) as usize;
        self.range.start = first * stripe_bytes + stop as u64;
        let mut bytes = Bytes::from(chunk);
        bytes.truncate(stop);
        Ok(bytes.split_off(skipped))
    }

    /// Appends a stripe's bytes, rebuilt where blocks are missing or damaged.
    fn read_stripe(&self, number: u64, chunk: &mut Vec<u8>) -> Result<(), EngineError> {
        let geometry = self.place.geometry;
        let whole = (geometry.data * BLOCK_BYTES) as u64;
        let stripe_bytes = (self.place.size_bytes - number * whole).min(whole) as usize;
        let block_bytes = stripe_bytes.div_ceil(geometry.data);
        let mut columns: Vec<Option<Vec<u8>>> = vec![None; geometry.drives()];
        for (column, block) in columns.iter_mut().enumerate().take(geometry.data) {
            *block = self.read_block(column, number, block_bytes);
        }
        if columns[..geometry.data].iter().any(Option::is_none) {
            for (column, block) in columns.iter_mut().enumerate().skip(geometry.data) {
                *block = self.read_block(column, number, block_bytes);
            }
            if !self.set.codec.rebuild_data(&mut columns) {
                let damaged = columns.iter().filter(|column| column.is_none()).count();
                return Err(EngineError::Damaged { damaged, parity: geometry.parity });
            }
        }
        let end = chunk.len() + stripe_bytes;
        for column in columns.iter().take(geometry.data).flatten() {
            let rest = end - chunk.len();
            chunk.extend_from_slice(&column[..rest.min(column.len())]);
        }
        Ok(())
    }

    fn read_block(&self, column: usize, number: u64, block_bytes: usize) -> Option<Vec<u8>> {
        let reader = self.readers[column].as_ref()?;
        let offset = HEADER_BYTES as u64 + number * (CRC_BYTES + BLOCK_BYTES) as u64;
        let mut bytes = vec![0; CRC_BYTES + block_bytes];
        reader.read_at(offset, &mut bytes).ok()?;
        let block = bytes.split_off(CRC_BYTES);
        let crc = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        if block_crc(self.place.id, column, number, &block) == crc {
            return Some(block);
        }
        let drive = &self.set.members[self.place.drive_of(column)].path;
        tracing::warn!(%drive, shard = %self.place.id.to_name(), block = number, "A damaged block was found; parity stands in.");
        None
    }
}
