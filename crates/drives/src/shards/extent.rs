//! Shards in volumes: written whole, and read where they lie.

use std::io;
use std::sync::Arc;

use super::shard_bytes;
use crate::drive::{AlignedBytes, BLOCK_BYTES, Segment, ShardReader, ShardWriter};
use crate::location::{Extent, Place};
use crate::member::Member;

impl Extent {
    /// Where it begins in its volume, in bytes.
    pub(crate) fn offset(self) -> u64 {
        u64::from(self.block) * BLOCK_BYTES as u64
    }
}

/// Writes a whole shard, or the front of one, to where it lies; durable on return.
pub(crate) fn write_extent(member: &Member, extent: Extent, bytes: &[u8]) -> io::Result<()> {
    let mut blocks = AlignedBytes::zeroed(bytes.len());
    blocks[..bytes.len()].copy_from_slice(bytes);
    member.make_volume(extent.volume)?.write_at(extent.offset(), &blocks)
}

/// A shard that is gathered, at most the largest there is in a volume, and written in place when it is synced.
pub(crate) struct ExtentWriter {
    member: Arc<Member>,
    extent: Extent,
    bytes: Vec<u8>,
}

impl ExtentWriter {
    pub(crate) fn new(member: &Arc<Member>, extent: Extent) -> ExtentWriter {
        ExtentWriter { member: Arc::clone(member), extent, bytes: Vec::new() }
    }
}

impl ShardWriter for ExtentWriter {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        write_extent(&self.member, self.extent, &self.bytes)
    }
}

/// A shard in a volume.
struct ExtentReader {
    volume: Arc<dyn Segment>,
    extent: Extent,
    size_bytes: u64,
}

/// Opens a shard of a drive, wherever it lies; `None` when its file is not there.
pub(crate) fn open_shard(member: &Member, place: &Place) -> io::Result<Option<Arc<dyn ShardReader>>> {
    let Some(extent) = place.extent else {
        return member.drive()?.open_shard(place.id);
    };
    let volume = member.find_volume(extent.volume)?;
    let size_bytes = shard_bytes(place);
    Ok(volume.map(|volume| Arc::new(ExtentReader { volume, extent, size_bytes }) as Arc<dyn ShardReader>))
}

impl ShardReader for ExtentReader {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.size_bytes)
    }

    fn read_medium_at(&self, offset: u64, buffer: &mut AlignedBytes) -> io::Result<usize> {
        let rest = usize::try_from(self.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (whole, length) = (buffer.len(), rest.min(buffer.len()));
        buffer.resize(length);
        let read = self.volume.read_medium_at(self.extent.offset() + offset, buffer);
        buffer.resize(whole);
        read.map(|()| length)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.volume.read_at(self.extent.offset() + offset, buffer)
    }
}
