//! The probe: how a write becomes durable on the file system of a drive, found out by trying.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::open_direct;
use super::segment::{pwritev2, write_fully};
use crate::drive::{AlignedBytes, BLOCK_BYTES};

/// How a write becomes durable on this file system.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// O_DIRECT and RWF_DSYNC.
    Direct = 0,
    /// Buffered, RWF_DSYNC.
    Synced = 1,
    /// Buffered, then fdatasync.
    Flushed = 2,
}

/// File systems of which a completed sync is known to survive power loss: ext2/3/4, XFS, btrfs, ZFS, F2FS,
/// bcachefs. `statfs(2)`, `f_type`.
pub(super) const DURABLE_FILE_SYSTEMS: [u64; 6] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0xF2F5_2010, 0xCA45_1A4E];

/// One aligned write in each mode into a file, until one is taken.
pub(super) fn probe_at(path: &Path) -> io::Result<Mode> {
    let block = AlignedBytes::zeroed(BLOCK_BYTES);
    let direct = open_direct(path, true)
        .and_then(|file| write_fully(&block, 0, |bytes, at| pwritev2(&file, bytes, at)));
    match direct {
        Ok(()) => return Ok(Mode::Direct),
        Err(error) if !unsupported(&error) => return Err(error),
        Err(_) => {}
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match write_fully(&block, 0, |bytes, at| pwritev2(&file, bytes, at)) {
        Ok(()) => Ok(Mode::Synced),
        Err(error) if !unsupported(&error) => Err(error),
        Err(_) => Ok(Mode::Flushed),
    }
}

/// Whether a file system refused a way of writing, rather than a write.
fn unsupported(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS))
}
