//! A segment of the journal as a file: durable writes past the page cache, reads through it.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

use super::Mode;
use crate::drive::{AlignedBytes, BLOCK_BYTES, Segment, is_passing};

/// A segment with its two descriptors.
pub(super) struct SegmentFile {
    pub(super) buffered: File,
    pub(super) direct: Option<File>,
    pub(super) mode: Mode,
    pub(super) size_bytes: u64,
}

impl Segment for SegmentFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match (&self.direct, self.mode) {
            (Some(direct), _) => write_fully(bytes, offset, |rest, at| pwritev2(direct, rest, at)),
            (None, Mode::Flushed) => {
                self.buffered.write_all_at(bytes, offset)?;
                self.buffered.sync_data()
            }
            (None, _) => write_fully(bytes, offset, |rest, at| pwritev2(&self.buffered, rest, at)),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match (&self.direct, self.mode) {
            (Some(direct), _) => Some(direct.as_fd()),
            (None, Mode::Flushed) => None,
            (None, _) => Some(self.buffered.as_fd()),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.buffered.read_exact_at(buffer, offset)
    }

    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        let wanted = buffer.len();
        let read = rustix::io::preadv2(
            &self.buffered,
            &mut [IoSliceMut::new(buffer)],
            offset,
            ReadWriteFlags::NOWAIT,
        );
        match read {
            Ok(read) => Ok(read == wanted),
            // Not in memory, or the file system cannot say: the caller reads where it may wait.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn read_medium_at(&self, offset: u64, buffer: &mut AlignedBytes) -> io::Result<()> {
        match &self.direct {
            Some(direct) => direct.read_exact_at(buffer, offset),
            None => self.buffered.read_exact_at(buffer, offset),
        }
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.buffered, flags, offset, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            punched => Ok(punched?),
        }
    }
}

/// Writes once; durable for as much as it answers.
pub(super) fn pwritev2(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    Ok(rustix::io::pwritev2(file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC)?)
}

/// Calls `write` until all is written. A short or interrupted write is no fault of the drive: it is resumed
/// at the last whole block, since an unaligned rest is refused by O_DIRECT.
pub(super) fn write_fully(
    bytes: &[u8],
    offset: u64,
    write: impl Fn(&[u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match write(&bytes[written..], offset + written as u64) {
            Ok(count) if written + count == bytes.len() => return Ok(()),
            // Not even a block: that is how a file system ends that has less space than one.
            Ok(count) if count < BLOCK_BYTES => return Err(io::ErrorKind::StorageFull.into()),
            Ok(count) => written += count - count % BLOCK_BYTES,
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::drive::is_full;

    #[test]
    fn an_interrupted_or_short_write_is_resumed_at_the_last_whole_block() {
        let calls = Mutex::new(Vec::new());
        let bytes = vec![7; 4 * BLOCK_BYTES];
        let answers = Mutex::new(vec![
            Ok(2 * BLOCK_BYTES),
            Ok(BLOCK_BYTES + 512),
            Err(io::ErrorKind::Interrupted.into()),
        ]);
        write_fully(&bytes, 0, |rest, at| {
            calls.lock().push((at, rest.len()));
            answers.lock().pop().unwrap_or(Ok(rest.len()))
        })
        .unwrap();
        assert_eq!(calls.into_inner(), [(0, 16384), (0, 16384), (4096, 12288), (12288, 4096)]);
    }

    #[test]
    fn a_write_that_takes_not_even_a_block_says_that_space_ran_out() {
        for taken in [0, 1024, BLOCK_BYTES - 1] {
            let error = write_fully(&[7; 2 * BLOCK_BYTES], 0, |_, _| Ok(taken)).unwrap_err();
            assert!(is_full(&error), "{taken} bytes: {error}");
        }
    }
}
