//! A drive: the one door through which the engine touches files.
//!
//! There are two: [`crate::directory::DirectoryDrive`] over a mounted directory, and the faulty one of
//! `testing`, which stands in for it with every fault a drive can have. All calls block; the engine makes
//! them on its own threads or where blocking is allowed.
//!
//! # What a drive promises
//!
//! 1. [`Segment::write_at`] and [`Drive::replace`] are durable when they return `Ok`.
//! 2. [`ShardWriter::sync`] makes the bytes appended so far and the file's name durable.
//! 3. After an error nothing is promised of the bytes concerned, and the call is not repeated.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::index::ordered::OrderedIndex;
use crate::location::ShardId;

/// Alignment of segment writes, in bytes: what O_DIRECT asks of all drives in use.
pub const BLOCK_BYTES: usize = 4096;

/// Sizes of a drive's file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Size in bytes.
    pub total_bytes: u64,
    /// Bytes free to us.
    pub free_bytes: u64,
    /// Inodes in use.
    pub inodes_used: u64,
    /// Inodes free.
    pub inodes_free: u64,
}

/// What lies in the journal's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentFiles {
    /// Numbers of the segments, ascending.
    pub numbers: Vec<u32>,
    /// Retired files, ascending: the number of the segment each was, and its size in bytes.
    pub retired: Vec<(u32, u64)>,
}

impl SegmentFiles {
    /// How many lie ready to be begun where `newest` was begun last and one has so many bytes.
    pub(crate) fn ready(&self, newest: u32, size_bytes: u64) -> usize {
        let ahead = self.numbers.iter().filter(|number| **number > newest).count();
        let retired = self.retired.iter().filter(|(_, size)| *size == size_bytes).count();
        ahead + retired
    }
}

/// A mounted directory, or what stands in for one.
pub trait Drive: Send + Sync + 'static {
    /// Where it is, for people.
    fn path(&self) -> &str;

    /// Takes it into use: makes the folders and probes how writes become durable. The first call that writes.
    fn claim(&self) -> io::Result<()>;

    /// Takes it into use for reading alone, past the page cache where the file system allows it; writes nothing.
    fn inspect(&self) -> io::Result<()>;

    /// Whether completed writes survive power loss as far as the probe can tell.
    fn durable(&self) -> bool;

    /// Identifies the device behind it, where there is one: equal numbers fail together.
    fn device(&self) -> Option<u64>;

    /// Whether it is the root of a file system; `None` where that says nothing.
    fn is_mount(&self) -> Option<bool>;

    /// Fails when what it stands for is not there any more: the directory was removed, or another one is
    /// mounted over it.
    fn check_present(&self) -> io::Result<()>;

    /// Sizes of its file system.
    fn space(&self) -> io::Result<Space>;

    /// The names in its root.
    fn contents(&self) -> io::Result<Vec<String>>;

    /// A small file of the root, whole; `None` when it is not there.
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// As [`Drive::load`], past the page cache where the file system allows it.
    fn load_medium(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Writes a small file of the root durably: afterwards, and after a cut, it is the new one or the old one, or
    /// on a drive without space, of the two equal halves it has, at least one is whole.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Opens a segment at the size it has, or makes it with `size_bytes` allocated and durable in its folder. A new
    /// one reads as zeroes, and is not there before it has its size.
    fn create_segment(&self, number: u32, size_bytes: u64) -> io::Result<Arc<dyn Segment>>;

    /// Opens a segment; `None` when it is not there.
    fn open_segment(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>>;

    /// The files of its journal.
    fn segments(&self) -> io::Result<SegmentFiles>;

    /// Takes a segment out of the journal and keeps its file for [`Drive::reuse_segment`], durably. One that is not
    /// there is no error.
    fn retire_segment(&self, number: u32) -> io::Result<()>;

    /// Makes the file that was retired as `retired` the segment `number`, durably, with the bytes that are in it.
    fn reuse_segment(&self, retired: u32, number: u32) -> io::Result<Arc<dyn Segment>>;

    /// Removes a retired file, which gives its space back; one that is not there is no error.
    fn remove_retired(&self, retired: u32) -> io::Result<()>;

    /// Removes a segment; an absent one is no error.
    fn remove_segment(&self, number: u32) -> io::Result<()>;

    /// Opens a volume at the size it has, or makes it with `size_bytes` allocated and durable in its folder. A new one
    /// is not there before it has its size.
    fn create_volume(&self, number: u32, size_bytes: u64) -> io::Result<Arc<dyn Segment>>;

    /// Opens a volume; `None` when it is not there.
    fn open_volume(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>>;

    /// Makes the file of a shard.
    fn create_shard(&self, id: ShardId) -> io::Result<Box<dyn ShardWriter>>;

    /// Makes the file of a shard anew: what was there under its name stays until the writer is synced.
    fn replace_shard(&self, id: ShardId) -> io::Result<Box<dyn ShardWriter>>;

    /// Opens the file of a shard; `None` when it is not there.
    fn open_shard(&self, id: ShardId) -> io::Result<Option<Arc<dyn ShardReader>>>;

    /// Whether copies of the index can be kept on it.
    fn keeps_indexes(&self) -> bool;

    /// Opens the copy of the index that lies on it, or with `make` an empty one beside it; `None` when there is none.
    fn open_index(&self, make: bool) -> io::Result<Option<Arc<dyn OrderedIndex>>>;

    /// Removes every copy of the index from it.
    fn remove_indexes(&self) -> io::Result<()>;

    /// Removes the file of a shard; an absent one is no error.
    fn remove_shard(&self, id: ShardId) -> io::Result<()>;

    /// The folders that hold shards, see [`ShardId::folder`].
    fn shard_folders(&self) -> io::Result<Vec<u16>>;

    /// The shards of a folder, ascending. Removes what a crash left of one that was made anew: nobody else may be
    /// making one.
    fn sweep_shards(&self, folder: u16) -> io::Result<Vec<ShardId>>;

    /// Keeps a copy of something damaged, for a person to look at; one of that name stays as it is.
    fn quarantine(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A file of the journal, or a volume: of a size that never changes, and written in place.
pub trait Segment: Send + Sync {
    /// Its size in bytes; never changes.
    fn size_bytes(&self) -> u64;

    /// Writes whole blocks and returns when they are durable. `bytes` is aligned as [`AlignedBytes`] is.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// The descriptor to which one write with `RWF_DSYNC` is what [`Segment::write_at`] is; `None` where there is no
    /// such write. It stays open as long as the segment.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Reads through the page cache; fails with `UnexpectedEof` beyond the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// As [`Segment::read_at`] if that needs no waiting for the medium; otherwise answers `false`.
    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool>;

    /// Reads whole blocks from the medium, past the page cache where the file system allows it.
    fn read_medium_at(&self, offset: u64, buffer: &mut AlignedBytes) -> io::Result<()>;

    /// Gives the space of whole blocks back to the file system, where that takes it: they are zeroes then, or as they
    /// were.
    fn punch(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }
}

/// A shard being written.
pub trait ShardWriter: Send {
    /// Appends bytes; they are durable after [`ShardWriter::sync`].
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended and the file's name durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A shard being read.
pub trait ShardReader: Send + Sync {
    /// Its size in bytes.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Fills the buffer from a multiple of [`BLOCK_BYTES`] on, past the page cache where the file system allows it. At
    /// the end of the file it is filled in part; answers how many bytes.
    fn read_medium_at(&self, offset: u64, buffer: &mut AlignedBytes) -> io::Result<usize>;

    /// Reads through the page cache; fails with `UnexpectedEof` beyond the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// Whether the error says that space or quota ran out, which is nobody's fault and no fault of the drive.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the error says that the process or the machine is short of descriptors or memory: no fault of the drive
/// either, and over when others are done.
pub fn is_shortage(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    error.kind() == io::ErrorKind::OutOfMemory || matches!(code, Some(Errno::MFILE | Errno::NFILE))
}

/// Whether the error says that a call is to be made again, having done nothing.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Bytes that begin at a multiple of [`BLOCK_BYTES`] in memory and fill whole blocks, as O_DIRECT needs.
#[derive(Debug)]
pub struct AlignedBytes {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// Zeroes: `len` rounded up to whole blocks.
    pub fn zeroed(len: usize) -> AlignedBytes {
        let len = len.next_multiple_of(BLOCK_BYTES);
        let bytes = vec![0; len + BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        AlignedBytes { bytes, start, len }
    }

    /// The most bytes that it can have.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len() - BLOCK_BYTES
    }

    /// Makes it so many bytes long, rounded up to whole blocks and at most its capacity; they are what they were.
    pub(crate) fn resize(&mut self, len: usize) {
        self.len = len.next_multiple_of(BLOCK_BYTES).min(self.capacity());
    }
}

impl std::ops::Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}
