//! A directory as a drive of a size of its own, which counts what is written to its journal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::assemble::{Given, Reopen};
use crate::directory::DirectoryDrive;
use crate::drive::{AlignedBytes, Drive, Segment, SegmentFiles, ShardReader, ShardWriter, Space};
use crate::index::ordered::OrderedIndex;
use crate::location::ShardId;

/// Where the kind of a frame stands in it, and the kind of copies: `docs/formats.md`.
const KIND_AT: usize = 24;
const COPIES: u8 = 3;

/// Bytes of frames that were written.
#[derive(Debug, Default)]
pub struct Written {
    commits: AtomicU64,
    copies: AtomicU64,
}

impl Written {
    /// Of commits, and whatever else is no copy.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Of compaction's copies.
    pub fn copies(&self) -> u64 {
        self.copies.load(Ordering::Relaxed)
    }

    fn note(&self, bytes: &[u8]) {
        let counter = match (bytes.first_chunk::<8>(), bytes.get(KIND_AT)) {
            (Some(b"TIDINGSB"), Some(&COPIES)) => &self.copies,
            (Some(b"TIDINGSB"), _) => &self.commits,
            // Zeroes, and headers of segments.
            _ => return,
        };
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

/// A directory that says it has `capacity` bytes, and is full when its journal takes them.
pub struct LimitedDrive {
    directory: DirectoryDrive,
    log: PathBuf,
    capacity: u64,
    written: Arc<Written>,
}

impl LimitedDrive {
    /// As it is given to an engine. What is written is counted in `written`.
    pub fn given(root: &Path, capacity: u64, written: &Arc<Written>) -> Given {
        let (path, written) = (root.to_owned(), Arc::clone(written));
        let reopen: Reopen = Arc::new(move || {
            Ok(Arc::new(LimitedDrive {
                directory: DirectoryDrive::open(&path)?,
                log: path.join("log"),
                capacity,
                written: Arc::clone(&written),
            }) as Arc<dyn Drive>)
        });
        Given { path: root.display().to_string(), drive: reopen(), reopen }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut used = 0;
        match std::fs::read_dir(&self.log) {
            Ok(entries) => {
                for entry in entries {
                    // One that was renamed meanwhile is counted the next time.
                    used += entry?.metadata().map_or(0, |metadata| metadata.len());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(self.capacity.saturating_sub(used))
    }

    fn counted(&self, segment: Arc<dyn Segment>) -> Arc<dyn Segment> {
        Arc::new(Counted { segment, written: Arc::clone(&self.written) })
    }
}

struct Counted {
    segment: Arc<dyn Segment>,
    written: Arc<Written>,
}

impl Segment for Counted {
    fn size_bytes(&self) -> u64 {
        self.segment.size_bytes()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.written.note(bytes);
        self.segment.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.segment.read_at(offset, buffer)
    }

    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        self.segment.read_cached_at(offset, buffer)
    }

    fn read_medium_at(&self, offset: u64, buffer: &mut AlignedBytes) -> io::Result<()> {
        self.segment.read_medium_at(offset, buffer)
    }
}

impl Drive for LimitedDrive {
    fn space(&self) -> io::Result<Space> {
        let space = self.directory.space()?;
        Ok(Space { total_bytes: self.capacity, free_bytes: self.free_bytes()?, ..space })
    }

    fn create_segment(&self, number: u32, size_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        if let Some(segment) = self.open_segment(number)? {
            return Ok(segment);
        }
        if self.free_bytes()? < size_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(self.counted(self.directory.create_segment(number, size_bytes)?))
    }

    fn open_segment(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>> {
        Ok(self.directory.open_segment(number)?.map(|segment| self.counted(segment)))
    }

    fn reuse_segment(&self, retired: u32, number: u32) -> io::Result<Arc<dyn Segment>> {
        Ok(self.counted(self.directory.reuse_segment(retired, number)?))
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
