//! A directory whose segments are seen through something else, and which may have a size of its own.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::directory::DirectoryDrive;
use crate::drive::{Drive, Segment, SegmentFiles, ShardReader, ShardWriter, Space};
use crate::index::ordered::OrderedIndex;
use crate::location::ShardId;

/// What an engine gets for a segment of the directory.
type Wrap = Box<dyn Fn(Arc<dyn Segment>) -> Arc<dyn Segment> + Send + Sync>;

/// See the module header.
pub struct WrappedDrive {
    directory: DirectoryDrive,
    wrap: Wrap,
    /// Bytes it says it has, of which its journal takes some; those of its file system for `None`.
    capacity: Option<u64>,
}

impl WrappedDrive {
    /// The directory, with each of its segments as `wrap` gives it.
    pub fn new(
        directory: DirectoryDrive,
        wrap: impl Fn(Arc<dyn Segment>) -> Arc<dyn Segment> + Send + Sync + 'static,
    ) -> WrappedDrive {
        WrappedDrive { directory, wrap: Box::new(wrap), capacity: None }
    }

    /// … full when its journal takes so many bytes.
    pub fn with_capacity(self, capacity: u64) -> WrappedDrive {
        WrappedDrive { capacity: Some(capacity), ..self }
    }

    /// Bytes of `capacity` that its journal does not take.
    fn free_bytes(&self, capacity: u64) -> io::Result<u64> {
        let mut used = 0;
        match std::fs::read_dir(Path::new(self.path()).join("log")) {
            Ok(entries) => {
                for entry in entries {
                    // One that was renamed meanwhile is counted the next time.
                    used += entry?.metadata().map_or(0, |metadata| metadata.len());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(capacity.saturating_sub(used))
    }
}

impl Drive for WrappedDrive {
    fn space(&self) -> io::Result<Space> {
        let space = self.directory.space()?;
        match self.capacity {
            Some(capacity) => {
                Ok(Space { total_bytes: capacity, free_bytes: self.free_bytes(capacity)?, ..space })
            }
            None => Ok(space),
        }
    }

    fn create_segment(&self, number: u32, size_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        if let Some(segment) = self.open_segment(number)? {
            return Ok(segment);
        }
        if let Some(capacity) = self.capacity
            && self.free_bytes(capacity)? < size_bytes
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok((self.wrap)(self.directory.create_segment(number, size_bytes)?))
    }

    fn open_segment(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>> {
        Ok(self.directory.open_segment(number)?.map(&self.wrap))
    }

    fn reuse_segment(&self, retired: u32, number: u32) -> io::Result<Arc<dyn Segment>> {
        Ok((self.wrap)(self.directory.reuse_segment(retired, number)?))
    }

    fn path(&self) -> &str {
        self.directory.path()
    }

    fn claim(&self) -> io::Result<()> {
        self.directory.claim()
    }

    fn inspect(&self) -> io::Result<()> {
        self.directory.inspect()
    }

    fn durable(&self) -> bool {
        self.directory.durable()
    }

    fn device(&self) -> Option<u64> {
        self.directory.device()
    }

    fn is_mount(&self) -> Option<bool> {
        self.directory.is_mount()
    }

    fn check_present(&self) -> io::Result<()> {
        self.directory.check_present()
    }

    fn contents(&self) -> io::Result<Vec<String>> {
        self.directory.contents()
    }

    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.directory.load(name)
    }

    fn load_medium(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.directory.load_medium(name)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.directory.replace(name, bytes)
    }

    fn segments(&self) -> io::Result<SegmentFiles> {
        self.directory.segments()
    }

    fn retire_segment(&self, number: u32) -> io::Result<()> {
        self.directory.retire_segment(number)
    }

    fn remove_retired(&self, retired: u32) -> io::Result<()> {
        self.directory.remove_retired(retired)
    }

    fn remove_segment(&self, number: u32) -> io::Result<()> {
        self.directory.remove_segment(number)
    }

    fn create_volume(&self, number: u32, size_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        self.directory.create_volume(number, size_bytes)
    }

    fn open_volume(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>> {
        self.directory.open_volume(number)
    }

    fn create_shard(&self, id: ShardId) -> io::Result<Box<dyn ShardWriter>> {
        self.directory.create_shard(id)
    }

    fn replace_shard(&self, id: ShardId) -> io::Result<Box<dyn ShardWriter>> {
        self.directory.replace_shard(id)
    }

    fn open_shard(&self, id: ShardId) -> io::Result<Option<Arc<dyn ShardReader>>> {
        self.directory.open_shard(id)
    }

    fn keeps_indexes(&self) -> bool {
        self.directory.keeps_indexes()
    }

    fn open_index(&self, make: bool) -> io::Result<Option<Arc<dyn OrderedIndex>>> {
        self.directory.open_index(make)
    }

    fn remove_indexes(&self) -> io::Result<()> {
        self.directory.remove_indexes()
    }

    fn remove_shard(&self, id: ShardId) -> io::Result<()> {
        self.directory.remove_shard(id)
    }

    fn shard_folders(&self) -> io::Result<Vec<u16>> {
        self.directory.shard_folders()
    }

    fn sweep_shards(&self, folder: u16) -> io::Result<Vec<ShardId>> {
        self.directory.sweep_shards(folder)
    }

    fn quarantine(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.directory.quarantine(name, bytes)
    }
}
