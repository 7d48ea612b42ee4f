//! The files of a drive in memory: the engine's door to it.

use std::io;
use std::sync::Arc;

use super::change::Change;
use super::drive::FaultyDrive;
use super::medium::{File, is_zero};
use crate::drive::{AlignedBytes, Drive, Segment, SegmentFiles, ShardReader, ShardWriter, Space};
use crate::format::FORMAT_FILE;
use crate::index::ordered::OrderedIndex;
use crate::location::ShardId;

/// Ends the name of a shard that is being made anew.
const UNFINISHED: &str = ".new";

fn segment_name(number: u32) -> String {
    format!("log/{number:08}.seg")
}

fn retired_name(number: u32) -> String {
    format!("log/{number:08}.free")
}

fn volume_name(number: u32) -> String {
    format!("volume/{number:08}.vol")
}

fn shard_name(id: ShardId) -> String {
    format!("shard/{}", id.to_name())
}

impl FaultyDrive {
    fn find_segment(&self, name: String) -> io::Result<Option<Arc<dyn Segment>>> {
        self.check_found()?;
        Ok(self.size_of(&name).map(|_| Arc::new(FaultyFile::open(self, name)) as Arc<dyn Segment>))
    }

    fn make_segment(&self, name: String, size_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        self.check_found()?;
        if self.size_of(&name).is_none() {
            self.check_new_file()?;
            if self.room().1 < size_bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.carry_out(Change::MakeSegment { name: name.clone(), size_bytes })?;
        }
        Ok(Arc::new(FaultyFile::open(self, name)))
    }
}

impl Drive for FaultyDrive {
    fn path(&self) -> &str {
        &self.path
    }

    fn claim(&self) -> io::Result<()> {
        // It tries a write.
        self.wait_while(|faults| faults.hanging || faults.hanging_whole);
        self.power.check()
    }

    fn inspect(&self) -> io::Result<()> {
        self.power.check()
    }

    fn durable(&self) -> bool {
        true
    }

    fn device(&self) -> Option<u64> {
        None
    }

    fn is_mount(&self) -> Option<bool> {
        Some(!self.faults.0.lock().unmounted)
    }

    fn check_present(&self) -> io::Result<()> {
        self.check_found()?;
        if self.size_of(FORMAT_FILE).is_none() { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }

    fn space(&self) -> io::Result<Space> {
        self.check_found()?;
        let (total_bytes, free_bytes) = self.room();
        Ok(Space { total_bytes, free_bytes, inodes_used: 0, inodes_free: 1 << 20 })
    }

    fn contents(&self) -> io::Result<Vec<String>> {
        self.check_found()?;
        let medium = self.medium.lock();
        let mut names: Vec<String> =
            medium.files.keys().map(|name| name.split('/').next().unwrap_or(name).to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.check_found()?;
        Ok(self.medium.lock().files.get(name).map(|file| file.current.all()))
    }

    fn load_medium(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.check_found()?;
        let medium = self.medium.lock();
        let Some(file) = medium.files.get(name) else { return Ok(None) };
        let mut bytes = file.current.all();
        file.read_medium(0, &mut bytes)?;
        Ok(Some(bytes))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.check_write()?;
        self.check_found()?;
        if let Some(error) = self.faults.0.lock().refuse_replaced {
            return Err(error.into());
        }
        self.carry_out(Change::Replace { name: name.to_owned(), bytes: bytes.into() })
    }

    fn create_segment(&self, number: u32, size_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        if self.size_of(&segment_name(number)).is_none() {
            self.check_space(number)?;
        }
        self.make_segment(segment_name(number), size_bytes.min(self.segment_bytes_max))
    }

    fn open_segment(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>> {
        self.find_segment(segment_name(number))
    }

    fn segments(&self) -> io::Result<SegmentFiles> {
        self.power.check()?;
        let mut found = SegmentFiles::default();
        for (name, file) in &self.medium.lock().files {
            let parts = name.strip_prefix("log/").and_then(|name| name.split_once('.'));
            match parts.and_then(|(number, kind)| Some((number.parse().ok()?, kind))) {
                Some((number, "seg")) => found.numbers.push(number),
                Some((number, "free")) => found.retired.push((number, file.current.size)),
                _ => {}
            }
        }
        Ok(found)
    }

    fn retire_segment(&self, number: u32) -> io::Result<()> {
        self.check_write()?;
        let (name, to) = (segment_name(number), retired_name(number));
        self.carry_out(Change::Rename { name, to })
    }

    fn reuse_segment(&self, retired: u32, number: u32) -> io::Result<Arc<dyn Segment>> {
        self.check_write()?;
        self.check_space(number)?;
        let (name, to) = (retired_name(retired), segment_name(number));
        if self.size_of(&name).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.carry_out(Change::Rename { name, to: to.clone() })?;
        Ok(Arc::new(FaultyFile::open(self, to)))
    }

    fn remove_retired(&self, retired: u32) -> io::Result<()> {
        self.carry_out(Change::Remove { name: retired_name(retired) })
    }

    fn remove_segment(&self, number: u32) -> io::Result<()> {
        self.check_write()?;
        self.carry_out(Change::Remove { name: segment_name(number) })
    }

    fn create_volume(&self, number: u32, size_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        self.make_segment(volume_name(number), size_bytes)
    }

    fn open_volume(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>> {
        self.find_segment(volume_name(number))
    }

    fn create_shard(&self, id: ShardId) -> io::Result<Box<dyn ShardWriter>> {
        self.check_found()?;
        self.check_new_file()?;
        let name = shard_name(id);
        self.carry_out(Change::MakeShard { name: name.clone() })?;
        Ok(Box::new(FaultyFile::open(self, name)))
    }

    fn replace_shard(&self, id: ShardId) -> io::Result<Box<dyn ShardWriter>> {
        self.check_found()?;
        self.check_new_file()?;
        let unfinished = format!("{}{UNFINISHED}", shard_name(id));
        self.carry_out(Change::MakeShard { name: unfinished.clone() })?;
        Ok(Box::new(Replacement { file: FaultyFile::open(self, unfinished), name: shard_name(id) }))
    }

    fn open_shard(&self, id: ShardId) -> io::Result<Option<Arc<dyn ShardReader>>> {
        self.check_found()?;
        let name = shard_name(id);
        Ok(self.size_of(&name).map(|_| Arc::new(FaultyFile::open(self, name)) as Arc<dyn ShardReader>))
    }

    fn keeps_indexes(&self) -> bool {
        self.indexes.lock().keeps
    }

    fn open_index(&self, make: bool) -> io::Result<Option<Arc<dyn OrderedIndex>>> {
        self.check_found()?;
        let mut indexes = self.indexes.lock();
        if make {
            indexes.index = Some(Arc::default());
        }
        Ok(indexes.index.as_ref().map(|index| Arc::clone(index) as Arc<dyn OrderedIndex>))
    }

    fn remove_indexes(&self) -> io::Result<()> {
        self.check_found()?;
        self.indexes.lock().index = None;
        Ok(())
    }

    fn remove_shard(&self, id: ShardId) -> io::Result<()> {
        self.carry_out(Change::Remove { name: shard_name(id) })
    }

    fn shard_folders(&self) -> io::Result<Vec<u16>> {
        self.power.check()?;
        let names = self.names("shard/");
        let mut folders: Vec<u16> =
            names.iter().filter_map(|name| Some(ShardId::from_name(name)?.folder())).collect();
        folders.dedup();
        Ok(folders)
    }

    fn sweep_shards(&self, folder: u16) -> io::Result<Vec<ShardId>> {
        self.power.check()?;
        for name in self.names("shard/").iter().filter(|name| name.ends_with(UNFINISHED)) {
            self.carry_out(Change::Remove { name: format!("shard/{name}") })?;
        }
        let names = self.names("shard/");
        Ok(names
            .iter()
            .filter_map(|name| ShardId::from_name(name))
            .filter(|id| id.folder() == folder)
            .collect())
    }

    fn quarantine(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.check_write()?;
        self.carry_out(Change::Replace { name: format!("quarantine/{name}"), bytes: bytes.into() })
    }
}

/// A file of a faulty drive.
struct FaultyFile {
    drive: FaultyDrive,
    name: String,
    /// The life of the medium it was opened in.
    life: u64,
}

impl FaultyFile {
    fn open(drive: &FaultyDrive, name: String) -> FaultyFile {
        FaultyFile { drive: drive.clone(), name, life: drive.medium.lock().life }
    }

    /// Fails when it was removed together with everything else.
    fn check_same(&self) -> io::Result<()> {
        if self.drive.medium.lock().life == self.life { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

impl Segment for FaultyFile {
    fn size_bytes(&self) -> u64 {
        self.drive.size_of(&self.name).unwrap_or(0)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_same()?;
        if is_zero(bytes) {
            // Zeroing ahead is no step of what a test enumerates: its frames are.
            self.drive.power.check()?;
            let takes = self.drive.faults.0.lock().zeroing_takes;
            std::thread::sleep(takes);
            self.drive.faults.0.lock().zeroed_bytes += bytes.len() as u64;
            let mut medium = self.drive.medium.lock();
            if let Some(file) = medium.files.get_mut(&self.name) {
                file.current.write(offset, bytes);
                file.durable.write(offset, bytes);
            }
            return Ok(());
        }
        self.drive.gate.pass(&self.name, offset, bytes)?;
        self.drive.wait_while(|faults| faults.hanging_frames);
        self.drive.check_write()?;
        self.drive.faults.0.lock().written_bytes += bytes.len() as u64;
        self.drive.carry_out(Change::Write { name: self.name.clone(), offset, bytes: bytes.into() })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check_same()?;
        self.drive.read(&self.name, offset, buffer, File::read_cached)
    }

    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        if self.drive.faults.0.lock().may_wait() {
            return Ok(false);
        }
        self.check_same()?;
        self.drive.read(&self.name, offset, buffer, File::read_cached).map(|()| true)
    }

    fn read_medium_at(&self, offset: u64, buffer: &mut AlignedBytes) -> io::Result<()> {
        self.check_same()?;
        self.drive.read(&self.name, offset, buffer, File::read_medium)
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check_same()?;
        self.drive.carry_out(Change::Punch { name: self.name.clone(), offset, length })
    }
}

impl ShardWriter for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.drive.wait_while(|faults| faults.hanging_shards);
        self.check_same()?;
        self.drive.check_new_file()?;
        let offset = self.drive.size_of(&self.name).unwrap_or(0);
        self.drive.carry_out(Change::Append { name: self.name.clone(), offset, bytes: bytes.into() })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.drive.wait_while(|faults| faults.hanging_shards || faults.hanging_syncs);
        self.check_same()?;
        self.drive.check_write()?;
        self.drive.carry_out(Change::Sync { name: self.name.clone() })
    }
}

/// A shard that is made anew: it has its name when it is synced.
struct Replacement {
    file: FaultyFile,
    name: String,
}

impl ShardWriter for Replacement {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        let bytes = self.file.drive.bytes(&self.file.name);
        self.file.drive.carry_out(Change::Replace { name: self.name.clone(), bytes: bytes.into() })?;
        self.file.drive.carry_out(Change::Remove { name: self.file.name.clone() })
    }
}

impl ShardReader for FaultyFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.check_same()?;
        self.drive.size_of(&self.name).ok_or(io::ErrorKind::NotFound.into())
    }

    fn read_medium_at(&self, offset: u64, buffer: &mut AlignedBytes) -> io::Result<usize> {
        let rest = ShardReader::size_bytes(self)?.saturating_sub(offset);
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        self.drive.read(&self.name, offset, &mut buffer[..length], File::read_medium)?;
        Ok(length)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check_same()?;
        self.drive.read(&self.name, offset, buffer, File::read_cached)
    }
}
