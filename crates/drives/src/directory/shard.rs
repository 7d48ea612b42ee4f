//! Shards of a mounted directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::OFlags;

use super::{remove_file, sync_directory};
use crate::drive::{AlignedBytes, BLOCK_BYTES, ShardReader, ShardWriter};

/// A shard being written, through the page cache: its writer sees errors at the sync at the latest.
pub(super) struct ShardFile {
    pub(super) file: File,
    pub(super) folder: PathBuf,
    pub(super) end: u64,
    pub(super) named: bool,
    /// Of one that is made anew, the name it has and the one it gets.
    pub(super) rename: Option<(PathBuf, PathBuf)>,
}

impl Drop for ShardFile {
    fn drop(&mut self) {
        if let Some((unfinished, _)) = &self.rename
            && let Err(error) = remove_file(unfinished)
        {
            tracing::debug!(path = %unfinished.display(), %error, "An unfinished shard stays until the next census.");
        }
    }
}

impl ShardWriter for ShardFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if let Some((unfinished, path)) = &self.rename {
            fs::rename(unfinished, path)?;
            self.rename = None;
        }
        if !self.named {
            sync_directory(&self.folder)?;
            self.named = true;
        }
        Ok(())
    }
}

/// A shard being read: through the page cache, or past it.
pub(super) struct ShardFileReader {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Opened when it is first asked for; `None` where the file system has no such way.
    pub(super) direct: OnceLock<Option<File>>,
}

impl ShardReader for ShardFileReader {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_medium_at(&self, offset: u64, buffer: &mut AlignedBytes) -> io::Result<usize> {
        let direct = self.direct.get_or_init(|| open_same(&self.path, &self.file));
        let file = direct.as_ref().unwrap_or(&self.file);
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // What O_DIRECT reads short of whole blocks is the end of the file.
            if filled % BLOCK_BYTES != 0 {
                break;
            }
        }
        Ok(filled)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// Opens a file that is read past the page cache, if it is still the one that is open.
fn open_same(path: &Path, opened: &File) -> Option<File> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).expect("open flags are small");
    let direct = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let (found, known) = (direct.metadata().ok()?, opened.metadata().ok()?);
    ((found.dev(), found.ino()) == (known.dev(), known.ino())).then_some(direct)
}
