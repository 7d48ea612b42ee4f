//! A directory as a drive of a size of its own, which counts what is written to its journal.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::wrapped::WrappedDrive;
use crate::assemble::{Given, Reopen};
use crate::directory::DirectoryDrive;
use crate::drive::{AlignedBytes, Drive, Segment};

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

/// A directory as it is given to an engine, that says it has `capacity` bytes and is full when its journal takes them.
/// What is written to its segments is counted in `written`.
pub fn given_limited(root: &Path, capacity: u64, written: &Arc<Written>) -> Given {
    let (path, written) = (root.to_owned(), Arc::clone(written));
    let reopen: Reopen = Arc::new(move || {
        let written = Arc::clone(&written);
        let count =
            move |segment| Arc::new(Counted { segment, written: Arc::clone(&written) }) as Arc<dyn Segment>;
        let drive = WrappedDrive::new(DirectoryDrive::open(&path)?, count).with_capacity(capacity);
        Ok(Arc::new(drive) as Arc<dyn Drive>)
    });
    Given { path: root.display().to_string(), drive: reopen(), reopen }
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
