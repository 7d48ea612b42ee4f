//! Shards of a mounted directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::segment::write_fully;
use super::{direct_flag, remove_file, sync_directory};
use crate::drive::{AlignedBytes, BLOCK_BYTES, ShardReader, ShardWriter};

/// Bytes that are gathered for a write past the page cache, at most: 1 MiB.
const GATHERED_MAX: usize = 1024 * 1024;

/// … and at least, where the first append is smaller: 64 KiB.
const GATHERED_MIN: usize = 64 * 1024;

/// A shard being written: past the page cache where the file system allows it, else through it. Its writer sees errors
/// at the sync at the latest.
pub(super) struct ShardFile {
    file: File,
    /// What waits for a write past the page cache; `None` where the file is written through it.
    gathered: Option<Gathered>,
    folder: PathBuf,
    /// Bytes of the file, with those that are gathered.
    end: u64,
    named: bool,
    /// Of one that is made anew, the name it has and the one it gets.
    rename: Option<(PathBuf, PathBuf)>,
}

/// The end of a file, from a whole block on.
#[derive(Default)]
struct Gathered {
    /// `None` before the first append, which says how much room there should be.
    bytes: Option<AlignedBytes>,
    length: usize,
    /// Where in the file they belong.
    start: u64,
}

impl Gathered {
    fn append(&mut self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let room = self
            .bytes
            .get_or_insert_with(|| AlignedBytes::zeroed(bytes.len().clamp(GATHERED_MIN, GATHERED_MAX)));
        let mut rest = bytes;
        while !rest.is_empty() {
            let (taken, after) = rest.split_at(rest.len().min(room.len() - self.length));
            room[self.length..][..taken.len()].copy_from_slice(taken);
            self.length += taken.len();
            rest = after;
            if self.length == room.len() {
                write_fully(room, self.start, |bytes, at| file.write_at(bytes, at))?;
                self.start += self.length as u64;
                self.length = 0;
            }
        }
        Ok(())
    }

    /// Writes the end of the file, which stays gathered unless it fills whole blocks.
    fn flush(&mut self, file: &File) -> io::Result<()> {
        let Some(room) = self.bytes.as_mut().filter(|_| self.length > 0) else {
            return Ok(());
        };
        let padded = self.length.next_multiple_of(BLOCK_BYTES);
        room[self.length..padded].fill(0);
        write_fully(&room[..padded], self.start, |bytes, at| file.write_at(bytes, at))?;
        file.set_len(self.start + self.length as u64)
    }
}

impl ShardFile {
    /// An empty file; `direct` if it was opened past the page cache.
    pub(super) fn new(
        file: File,
        direct: bool,
        folder: PathBuf,
        rename: Option<(PathBuf, PathBuf)>,
    ) -> ShardFile {
        ShardFile { file, gathered: direct.then(Gathered::default), folder, end: 0, named: false, rename }
    }
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
        match &mut self.gathered {
            Some(gathered) => gathered.append(&self.file, bytes)?,
            None => self.file.write_all_at(bytes, self.end)?,
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(gathered) = &mut self.gathered {
            gathered.flush(&self.file)?;
        }
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

/// A file being read, a shard or a small one of the root: through the page cache, or past it.
pub(super) struct ShardFileReader {
    file: File,
    path: PathBuf,
    /// Opened when it is first asked for; `None` where the file system has no such way.
    direct: OnceLock<Option<File>>,
}

impl ShardFileReader {
    /// Opens it; `None` when it is not there.
    pub(super) fn open(path: PathBuf) -> io::Result<Option<ShardFileReader>> {
        match File::open(&path) {
            Ok(file) => Ok(Some(ShardFileReader { file, path, direct: OnceLock::new() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All of it, past the page cache; of a file that fits memory.
    pub(super) fn whole(&self) -> io::Result<Vec<u8>> {
        let size = usize::try_from(self.size_bytes()?).map_err(io::Error::other)?;
        let mut bytes = AlignedBytes::zeroed(size);
        let read = self.read_medium_at(0, &mut bytes)?;
        Ok(bytes[..read].to_vec())
    }
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
    let direct = OpenOptions::new().read(true).custom_flags(direct_flag()).open(path).ok()?;
    let (found, known) = (direct.metadata().ok()?, opened.metadata().ok()?);
    ((found.dev(), found.ino()) == (known.dev(), known.ino())).then_some(direct)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::DirectoryDrive;
    use crate::drive::Drive;
    use crate::location::ShardId;

    #[test]
    fn a_shard_has_the_bytes_that_were_appended_whatever_their_sizes_and_also_after_a_sync() {
        let folder = tempfile::tempdir().unwrap();
        let drive = DirectoryDrive::open(folder.path()).unwrap();
        drive.claim().unwrap();
        for (random, first) in [0, 1, 4096, 70_000, GATHERED_MAX, 2_500_000].into_iter().enumerate() {
            let id = ShardId { random: random as u64, epoch: 1 };
            let mut shard = drive.create_shard(id).unwrap();
            let mut expected = Vec::new();
            for length in [first, 128, 4096, 65_544, 1] {
                let bytes: Vec<u8> = (0..length).map(|at| (at % 251 + length % 7) as u8).collect();
                shard.append(&bytes).unwrap();
                expected.extend_from_slice(&bytes);
                shard.sync().unwrap();
                let read = std::fs::read(drive.shard_path(id)).unwrap();
                assert!(read == expected, "{} bytes, of which the first append had {first}", expected.len());
            }
        }
    }
}
