//! The real drive: a mounted directory.
//!
//! Segments are written with O_DIRECT and `RWF_DSYNC`: one call, durable on return, no page cache. Where a
//! file system refuses either, the probe finds out when the drive is claimed, and writes fall back to
//! `pwrite` and `fdatasync`, never to a bare write. Foreground reads go through a second, buffered
//! descriptor, so that hot objects come from memory.
//!
//! What is assumed of the file system stands in `docs/formats.md`.

mod probe;
mod segment;
mod shard;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use rustix::io::Errno;
use uuid::Uuid;

use crate::drive::{BLOCK_BYTES, Drive, Segment, SegmentFiles, ShardReader, ShardWriter, Space, is_full};
use crate::format::FORMAT_FILE;
use crate::index::ordered::OrderedIndex;
use crate::index::sorted::SortedIndex;
use crate::location::ShardId;
use probe::{DURABLE_FILE_SYSTEMS, Mode, probe_at};
use segment::SegmentFile;
use shard::{ShardFile, ShardFileReader};

/// A drive over a directory. Holds a lock on it, so that two processes never write one drive.
pub struct DirectoryDrive {
    root: PathBuf,
    path: String,
    /// Open for its lock, and to know the directory again.
    lock: File,
    mode: AtomicU8,
    durable: AtomicBool,
    /// Inode of the folder of its journal when it was claimed; 0 before.
    log: AtomicU64,
    /// Folders of `shard/` whose names are known to be durable; at most 65,536.
    folders: Mutex<HashSet<String>>,
}

/// Ends the name of a file that is being made.
const UNFINISHED: &str = "new";

/// Segments that may be made and not yet written: two that are written to, one ahead of each, and two in reserve.
const SPARSE_SEGMENTS: u64 = 6;

impl DirectoryDrive {
    /// Opens a directory and locks it; writes nothing.
    ///
    /// # Errors
    ///
    /// What the system says; `WouldBlock` when another process holds the drive.
    pub fn open(root: &Path) -> io::Result<DirectoryDrive> {
        let root = root.canonicalize()?;
        let lock = File::open(&root)?;
        if !lock.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(DirectoryDrive {
            path: root.display().to_string(),
            root,
            lock,
            mode: AtomicU8::new(Mode::Flushed as u8),
            durable: AtomicBool::new(false),
            log: AtomicU64::new(0),
            folders: Mutex::new(HashSet::new()),
        })
    }

    fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Relaxed) {
            0 => Mode::Direct,
            1 => Mode::Synced,
            _ => Mode::Flushed,
        }
    }

    fn segment_path(&self, number: u32) -> PathBuf {
        self.root.join("log").join(format!("{number:08}.seg"))
    }

    fn retired_path(&self, number: u32) -> PathBuf {
        self.root.join("log").join(format!("{number:08}.free"))
    }

    fn volume_path(&self, number: u32) -> PathBuf {
        self.root.join("volume").join(format!("{number:08}.vol"))
    }

    fn shard_path(&self, id: ShardId) -> PathBuf {
        let name = id.to_name();
        self.root.join("shard").join(&name[..2]).join(&name[2..4]).join(name)
    }

    /// The folder of a shard, made if it is not there.
    fn shard_folder(&self, id: ShardId) -> io::Result<PathBuf> {
        let folder = self.shard_path(id).parent().expect("a shard lies in a folder").to_path_buf();
        let known = id.to_name()[..4].to_owned();
        if !self.folders.lock().contains(&known) {
            // Not the folder of all shards: without that, this is not the drive any more that was claimed.
            let above = folder.parent().expect("the folder lies in a folder");
            for made in [above, &folder] {
                match fs::create_dir(made) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            sync_directory(above)?;
            sync_directory(&self.root.join("shard"))?;
            self.folders.lock().insert(known);
        }
        Ok(folder)
    }

    /// Gives a file its size where the file system allocates nothing: slower, and without the promise of space. So
    /// there must be some for all segments that may be made and not yet written.
    fn make_sparse(&self, file: &File, size_bytes: u64) -> io::Result<()> {
        if self.space()?.free_bytes < size_bytes.saturating_mul(SPARSE_SEGMENTS) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.set_len(size_bytes)
    }

    /// How a shard is opened to be written: as the probe found for segments.
    fn shard_options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.write(true);
        if self.mode() == Mode::Direct {
            options.custom_flags(direct_flag());
        }
        options
    }

    /// Opens both descriptors of an existing segment.
    fn segment_at(&self, path: &Path) -> io::Result<Arc<dyn Segment>> {
        let buffered = OpenOptions::new().read(true).write(true).open(path)?;
        let mode = self.mode();
        let direct = if mode == Mode::Direct { Some(open_direct(path, false)?) } else { None };
        let size_bytes = buffered.metadata()?.len();
        Ok(Arc::new(SegmentFile { buffered, direct, mode, size_bytes }))
    }

    /// Replaces a file on a drive without space, in place: half by half, so that one of its two copies is whole at
    /// any time.
    fn overwrite(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let file = match OpenOptions::new().write(true).open(self.root.join(name)) {
            // Without a place to take: it is space that is missing, and not the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file => file?,
        };
        let half = bytes.len() / 2;
        if file.metadata()?.len() != bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        for (offset, copy) in [(0, &bytes[..half]), (half, &bytes[half..])] {
            file.write_all_at(copy, offset as u64)?;
            file.sync_all()?;
        }
        Ok(())
    }

    /// One aligned write in each mode until one is taken, into a file that is removed again. Where there is no space
    /// for it nothing was found out: then the way that works everywhere is taken.
    fn probe(&self) -> io::Result<Mode> {
        let path = self.root.join("log").join("probe");
        let mode = match probe_at(&path) {
            Err(error) if is_full(&error) => Mode::Flushed,
            mode => mode?,
        };
        remove_file(&path)?;
        Ok(mode)
    }

    /// Gives a segment's file its name, durably: while that cannot be had it keeps the one that it has, so that nobody
    /// finds a segment whose name a power cut may take.
    fn name_segment(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        let named = sync_directory(to.parent().expect("a segment lies in a folder"));
        if named.is_err()
            && let Err(error) = fs::rename(to, from)
        {
            tracing::warn!(path = %to.display(), %error, "A segment kept a name that may not be durable.");
        }
        named
    }

    /// Opens a segment at the size it has, or makes it with this one. It is whole before it has its name: who opens it,
    /// now or after a crash, finds it at its size.
    fn find_or_make(&self, path: &Path, size_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        if let Some(segment) = self.segment_found(path)? {
            return Ok(segment);
        }
        let unfinished = path.with_extension(UNFINISHED);
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&unfinished)?;
        let allocated = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size_bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.make_sparse(&file, size_bytes),
            other => other.map_err(io::Error::from),
        };
        let made =
            allocated.and_then(|()| file.sync_all()).and_then(|()| self.name_segment(&unfinished, path));
        if let Err(error) = made {
            // What is left of it would take the space that deletes need.
            if let Err(removal) = remove_file(&unfinished) {
                tracing::warn!(path = %unfinished.display(), %removal, "A segment that could not be allocated was not removed.");
            }
            return Err(error);
        }
        self.segment_at(path)
    }

    /// A segment with room for more than a block; a file without is none: it never was one, or lost everything.
    fn segment_found(&self, path: &Path) -> io::Result<Option<Arc<dyn Segment>>> {
        match self.segment_at(path) {
            Ok(segment) if segment.size_bytes() <= BLOCK_BYTES as u64 => Ok(None),
            Ok(segment) => Ok(Some(segment)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drive for DirectoryDrive {
    fn path(&self) -> &str {
        &self.path
    }

    fn claim(&self) -> io::Result<()> {
        for folder in ["log", "shard", "volume"] {
            match fs::create_dir(self.root.join(folder)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        sync_directory(&self.root)?;
        self.log.store(fs::metadata(self.root.join("log"))?.ino(), Ordering::Relaxed);
        self.mode.store(self.probe()? as u8, Ordering::Relaxed);
        let kind = rustix::fs::statfs(&self.root)?.f_type;
        let known = DURABLE_FILE_SYSTEMS.contains(&u64::try_from(kind).unwrap_or(0));
        self.durable.store(known, Ordering::Relaxed);
        Ok(())
    }

    fn inspect(&self) -> io::Result<()> {
        self.log.store(fs::metadata(self.root.join("log"))?.ino(), Ordering::Relaxed);
        let direct = open_direct(&self.root.join(FORMAT_FILE), false);
        let mode = if direct.is_ok() { Mode::Direct } else { Mode::Flushed };
        self.mode.store(mode as u8, Ordering::Relaxed);
        Ok(())
    }

    fn durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }

    fn device(&self) -> Option<u64> {
        fs::metadata(&self.root).ok().map(|metadata| metadata.dev())
    }

    fn is_mount(&self) -> Option<bool> {
        let (own, above) = (fs::metadata(&self.root).ok()?, fs::metadata(self.root.parent()?).ok()?);
        Some(own.dev() != above.dev())
    }

    fn check_present(&self) -> io::Result<()> {
        let (opened, found) = (self.lock.metadata()?, fs::metadata(&self.root)?);
        if (opened.dev(), opened.ino()) != (found.dev(), found.ino()) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another directory is in its place"));
        }
        fs::metadata(self.root.join(FORMAT_FILE))?;
        // An emptied directory may have been given its identity again by a decision that was under way.
        let log = fs::metadata(self.root.join("log"))?.ino();
        let claimed = self.log.load(Ordering::Relaxed);
        if claimed != 0 && claimed != log {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another journal is in its place"));
        }
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let sizes = rustix::fs::statvfs(&self.root)?;
        Ok(Space {
            total_bytes: sizes.f_blocks * sizes.f_frsize,
            free_bytes: sizes.f_bavail * sizes.f_frsize,
            inodes_used: sizes.f_files.saturating_sub(sizes.f_ffree),
            inodes_free: sizes.f_favail,
        })
    }

    fn contents(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.root.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn load_medium(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        ShardFileReader::open(self.root.join(name))?.map(|file| file.whole()).transpose()
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.root.join(format!("{name}.new"));
        let replaced = (|| {
            let file = OpenOptions::new().create(true).truncate(true).write(true).open(&temporary)?;
            file.write_all_at(bytes, 0)?;
            file.sync_all()?;
            fs::rename(&temporary, self.root.join(name))
        })();
        match replaced {
            // The rename is durable only once the directory is: without this a power cut may bring back the
            // old identity after frames of the new epoch were written.
            Ok(()) => sync_directory(&self.root),
            Err(error) if is_full(&error) => self.overwrite(name, bytes),
            Err(error) => Err(error),
        }
    }

    fn create_segment(&self, number: u32, size_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        self.find_or_make(&self.segment_path(number), size_bytes)
    }

    fn open_segment(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>> {
        self.segment_found(&self.segment_path(number))
    }

    fn segments(&self) -> io::Result<SegmentFiles> {
        let mut found = SegmentFiles::default();
        for entry in fs::read_dir(self.root.join("log"))? {
            let entry = entry?;
            let name = entry.file_name();
            let parts = name.to_str().and_then(|name| name.split_once('.'));
            match parts.and_then(|(number, kind)| Some((number.parse().ok()?, kind))) {
                Some((number, "seg")) => found.numbers.push(number),
                Some((number, "free")) => match entry.metadata() {
                    Ok(metadata) => found.retired.push((number, metadata.len())),
                    // It was taken into use again between its name and its size.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                },
                _ => {}
            }
        }
        found.numbers.sort_unstable();
        found.retired.sort_unstable();
        Ok(found)
    }

    fn retire_segment(&self, number: u32) -> io::Result<()> {
        match fs::rename(self.segment_path(number), self.retired_path(number)) {
            Ok(()) => sync_directory(&self.root.join("log")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn reuse_segment(&self, retired: u32, number: u32) -> io::Result<Arc<dyn Segment>> {
        let path = self.segment_path(number);
        self.name_segment(&self.retired_path(retired), &path)?;
        self.segment_at(&path)
    }

    fn remove_retired(&self, retired: u32) -> io::Result<()> {
        match fs::remove_file(self.retired_path(retired)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn remove_segment(&self, number: u32) -> io::Result<()> {
        remove_file(&self.segment_path(number))?;
        sync_directory(&self.root.join("log"))
    }

    fn create_volume(&self, number: u32, size_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        self.find_or_make(&self.volume_path(number), size_bytes)
    }

    fn open_volume(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>> {
        self.segment_found(&self.volume_path(number))
    }

    fn create_shard(&self, id: ShardId) -> io::Result<Box<dyn ShardWriter>> {
        let folder = self.shard_folder(id)?;
        let file = self.shard_options().create_new(true).open(self.shard_path(id))?;
        Ok(Box::new(ShardFile::new(file, self.mode() == Mode::Direct, folder, None)))
    }

    fn replace_shard(&self, id: ShardId) -> io::Result<Box<dyn ShardWriter>> {
        let folder = self.shard_folder(id)?;
        let path = self.shard_path(id);
        let unfinished = path.with_extension(UNFINISHED);
        let file = self.shard_options().create(true).truncate(true).open(&unfinished)?;
        Ok(Box::new(ShardFile::new(file, self.mode() == Mode::Direct, folder, Some((unfinished, path)))))
    }

    fn open_shard(&self, id: ShardId) -> io::Result<Option<Arc<dyn ShardReader>>> {
        let found = ShardFileReader::open(self.shard_path(id))?;
        Ok(found.map(|file| Arc::new(file) as Arc<dyn ShardReader>))
    }

    fn keeps_indexes(&self) -> bool {
        true
    }

    fn open_index(&self, make: bool) -> io::Result<Option<Arc<dyn OrderedIndex>>> {
        let folder = self.root.join("ckpt");
        let name = if make {
            // A name that was never used: what still writes into a removed index must not write into this one.
            let name = folder.join(Uuid::new_v4().simple().to_string());
            fs::create_dir_all(&name)?;
            sync_directory(&folder)?;
            sync_directory(&self.root)?;
            name
        } else {
            let names: Vec<PathBuf> = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                names => names?.map(|name| name.map(|name| name.path())).collect::<io::Result<_>>()?,
            };
            match <[PathBuf; 1]>::try_from(names) {
                Ok([name]) => name,
                Err(names) if names.is_empty() => return Ok(None),
                Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "there are several")),
            }
        };
        Ok(Some(Arc::new(SortedIndex::open(&name)?)))
    }

    fn remove_indexes(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.root.join("ckpt")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn remove_shard(&self, id: ShardId) -> io::Result<()> {
        remove_file(&self.shard_path(id))
    }

    fn shard_folders(&self) -> io::Result<Vec<u16>> {
        let root = self.root.join("shard");
        let mut folders = Vec::new();
        for first in names(&root)? {
            for second in names(&root.join(&first))? {
                folders.extend(u16::from_str_radix(&format!("{first}{second}"), 16));
            }
        }
        folders.sort_unstable();
        Ok(folders)
    }

    fn sweep_shards(&self, folder: u16) -> io::Result<Vec<ShardId>> {
        let digits = format!("{folder:04x}");
        let path = self.root.join("shard").join(&digits[..2]).join(&digits[2..]);
        let mut ids = Vec::new();
        for name in names(&path)? {
            match name.strip_suffix(UNFINISHED) {
                Some(_) => remove_file(&path.join(&name))?,
                None => ids.extend(ShardId::from_name(&name)),
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn quarantine(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.root.join("quarantine");
        fs::create_dir_all(&folder)?;
        match OpenOptions::new().create_new(true).write(true).open(folder.join(name)) {
            Ok(file) => file.write_all_at(bytes, 0).and_then(|()| file.sync_all()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The names in a folder; none when it is not there.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Removes a file; an absent one is no error.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_direct(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false).custom_flags(direct_flag()).open(path)
}

/// The flag of `open(2)` for what is read or written past the page cache.
fn direct_flag() -> i32 {
    i32::try_from(OFlags::DIRECT.bits()).expect("open flags are small")
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
