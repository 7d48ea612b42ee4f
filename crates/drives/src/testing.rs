//! The faulty drive: a drive in memory with every fault a drive can have.
//!
//! Drives of one machine share a [`Power`]. It counts the steps that change something (writes, syncs,
//! renames) and can fail at any one of them: the step under way is torn, every sector of it kept or lost as
//! the seed says, and so is every byte not synced before. [`FaultyDrive::restarted`] gives the drive as it is
//! found when power returns.
//!
//! # What is modelled
//!
//! A sector (512 bytes) is written whole or not at all. A durable write and a replaced file are durable
//! when they returned. Bytes appended and not synced, and names whose folder is not synced, may each be
//! there or not.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::assemble::Given;
use crate::drive::{AlignedBytes, Drive, Segment, ShardReader, ShardWriter, Space};
use crate::location::ShardId;

/// Bytes that a medium writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Bytes of a piece of a file that is kept.
const PIECE_BYTES: usize = 4096;

/// Size of a faulty drive unless a test says otherwise, in bytes: 1 GiB.
const DRIVE_BYTES: u64 = 1 << 30;

/// The power of one machine.
#[derive(Debug)]
pub struct Power {
    steps: AtomicU64,
    limit: AtomicU64,
    lost: AtomicBool,
    seed: u64,
}

/// What becomes of a step.
#[derive(PartialEq, Eq)]
enum Step {
    Done,
    /// Power goes while it is under way; the number decides what is left of it.
    Cut(u64),
}

impl Power {
    /// Power that never fails.
    pub fn steady() -> Arc<Power> {
        Power::losing_power_after(u64::MAX, 0)
    }

    /// Power that fails during the step after `steps` whole ones; `seed` decides what is left of it.
    pub fn losing_power_after(steps: u64, seed: u64) -> Arc<Power> {
        Arc::new(Power {
            steps: AtomicU64::new(0),
            limit: AtomicU64::new(steps),
            lost: AtomicBool::new(false),
            seed,
        })
    }

    /// Whether it failed.
    pub fn was_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    /// Lets it fail at the next step.
    pub fn cut(&self) {
        self.limit.store(self.steps(), Ordering::SeqCst);
    }

    fn step(&self) -> io::Result<Step> {
        self.check()?;
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        if step < self.limit.load(Ordering::SeqCst) {
            return Ok(Step::Done);
        }
        if self.lost.swap(true, Ordering::SeqCst) {
            return Err(off());
        }
        Ok(Step::Cut(mix(self.seed ^ mix(step))))
    }

    fn check(&self) -> io::Result<()> {
        if self.was_lost() { Err(off()) } else { Ok(()) }
    }
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

/// Splits one number into many: the finalizer of splitmix64.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// A file: pieces that are not all zero.
#[derive(Clone, Debug, Default)]
struct Content {
    size: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Content {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset + buffer.len() as u64 > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = 0;
        while at < buffer.len() {
            let place = offset + at as u64;
            let (piece, within) = (place / PIECE_BYTES as u64, (place % PIECE_BYTES as u64) as usize);
            let length = (PIECE_BYTES - within).min(buffer.len() - at);
            match self.pieces.get(&piece) {
                Some(bytes) => buffer[at..at + length].copy_from_slice(&bytes[within..within + length]),
                None => buffer[at..at + length].fill(0),
            }
            at += length;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.size = self.size.max(offset + bytes.len() as u64);
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at as u64;
            let (piece, within) = (place / PIECE_BYTES as u64, (place % PIECE_BYTES as u64) as usize);
            let length = (PIECE_BYTES - within).min(bytes.len() - at);
            let part = &bytes[at..at + length];
            if part.iter().any(|byte| *byte != 0) || self.pieces.contains_key(&piece) {
                let kept = self.pieces.entry(piece).or_insert_with(|| vec![0; PIECE_BYTES]);
                kept[within..within + length].copy_from_slice(part);
            }
            at += length;
        }
    }

    fn all(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.size).expect("a test's file fits memory")];
        self.read(0, &mut bytes).expect("of its own size");
        bytes
    }
}

/// A file with what of it survives a power cut.
#[derive(Clone, Debug, Default)]
struct File {
    current: Content,
    durable: Content,
    named: bool,
}

/// What lies on the medium.
#[derive(Clone, Debug, Default)]
struct Medium {
    files: BTreeMap<String, File>,
}

/// Faults that a test switches on and off.
#[derive(Debug, Default)]
struct Faults {
    refuse_writes: Option<io::ErrorKind>,
    refuse_new_files: Option<io::ErrorKind>,
    hanging: bool,
    hanging_frames: bool,
    hanging_reads: bool,
    hanging_shards: bool,
    hanging_syncs: bool,
    /// Durable writes to let through before the writes are refused.
    writes_left: Option<u64>,
    written_bytes: u64,
    reads: u64,
}

/// A drive in memory.
#[derive(Clone)]
pub struct FaultyDrive {
    path: String,
    power: Arc<Power>,
    medium: Arc<Mutex<Medium>>,
    faults: Arc<(Mutex<Faults>, Condvar)>,
}

impl FaultyDrive {
    /// A blank drive.
    pub fn blank(path: &str, power: &Arc<Power>) -> FaultyDrive {
        FaultyDrive {
            path: path.into(),
            power: Arc::clone(power),
            medium: Arc::default(),
            faults: Arc::default(),
        }
    }

    /// `count` blank drives of one machine.
    pub fn machine(count: usize, power: &Arc<Power>) -> Vec<FaultyDrive> {
        (1..=count).map(|number| FaultyDrive::blank(&format!("d{number}"), power)).collect()
    }

    /// The drive as it is found when power returns, on another power. The one before keeps its own content.
    pub fn restarted(&self, power: &Arc<Power>) -> FaultyDrive {
        let mut medium = self.medium.lock().clone();
        let mut luck = mix(self.power.seed ^ mix(self.path.len() as u64 + self.power.steps()));
        let mut chance = || {
            luck = mix(luck);
            luck & 1 == 0
        };
        let lost = self.power.was_lost();
        medium.files.retain(|_, file| file.named || !lost || chance());
        for file in medium.files.values_mut() {
            if lost && file.current.pieces != file.durable.pieces {
                let current = file.current.all();
                for (nth, sector) in current.chunks(SECTOR_BYTES).enumerate() {
                    if chance() {
                        file.durable.write((nth * SECTOR_BYTES) as u64, sector);
                    }
                }
            } else {
                file.durable = file.current.clone();
            }
            file.current = file.durable.clone();
            file.named = true;
        }
        FaultyDrive {
            path: self.path.clone(),
            power: Arc::clone(power),
            medium: Arc::new(Mutex::new(medium)),
            faults: Arc::default(),
        }
    }

    /// As it is given to an engine.
    pub fn given(&self) -> Given {
        Given { path: self.path.clone(), drive: Ok(Arc::new(self.clone())) }
    }

    /// As it is given to an engine when it is absent.
    pub fn absent(&self) -> Given {
        Given { path: self.path.clone(), drive: Err(io::ErrorKind::NotFound.into()) }
    }

    /// Refuses every write with this error from now on, or no longer.
    pub fn refuse_writes(&self, error: Option<io::ErrorKind>) {
        self.faults.0.lock().refuse_writes = error;
    }

    /// Refuses every write with this error after `writes` more durable ones.
    pub fn refuse_writes_after(&self, writes: u64, error: io::ErrorKind) {
        let mut faults = self.faults.0.lock();
        faults.writes_left = Some(writes);
        faults.refuse_new_files = Some(error);
    }

    /// Refuses to make files with this error from now on, or no longer.
    pub fn refuse_new_files(&self, error: Option<io::ErrorKind>) {
        self.faults.0.lock().refuse_new_files = error;
    }

    /// Lets durable writes wait from now on, or no longer.
    pub fn hang(&self, hanging: bool) {
        self.faults.0.lock().hanging = hanging;
        self.faults.1.notify_all();
    }

    /// Lets writes to the journal alone wait from now on, or no longer.
    pub fn hang_frames(&self, hanging: bool) {
        self.faults.0.lock().hanging_frames = hanging;
        self.faults.1.notify_all();
    }

    /// Lets reads wait from now on, or no longer; one that may not wait answers that it would have to.
    pub fn hang_reads(&self, hanging: bool) {
        self.faults.0.lock().hanging_reads = hanging;
        self.faults.1.notify_all();
    }

    /// Lets syncs of shards alone wait from now on, or no longer.
    pub fn hang_syncs(&self, hanging: bool) {
        self.faults.0.lock().hanging_syncs = hanging;
        self.faults.1.notify_all();
    }

    /// Lets appends to shards and their syncs wait from now on, or no longer.
    pub fn hang_shards(&self, hanging: bool) {
        self.faults.0.lock().hanging_shards = hanging;
        self.faults.1.notify_all();
    }

    /// Bytes written to segments so far.
    pub fn written_bytes(&self) -> u64 {
        self.faults.0.lock().written_bytes
    }

    /// Reads of segments so far, from the page cache or the medium.
    pub fn reads(&self) -> u64 {
        self.faults.0.lock().reads
    }

    /// The files on it, with their sizes.
    pub fn files(&self) -> Vec<(String, u64)> {
        self.medium.lock().files.iter().map(|(name, file)| (name.clone(), file.current.size)).collect()
    }

    /// A file's bytes.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.medium.lock().files.get(name).map(|file| file.current.all()).unwrap_or_default()
    }

    /// Puts other bytes into a file, as a failing medium does.
    pub fn damage(&self, name: &str, offset: u64, bytes: &[u8]) {
        let mut medium = self.medium.lock();
        let file = medium.files.entry(name.to_owned()).or_default();
        file.current.write(offset, bytes);
        file.durable.write(offset, bytes);
    }

    fn check_write(&self) -> io::Result<()> {
        let (faults, freed) = &*self.faults;
        let mut faults = faults.lock();
        while faults.hanging && !self.power.was_lost() {
            freed.wait_for(&mut faults, std::time::Duration::from_millis(5));
        }
        match (faults.refuse_writes, faults.writes_left) {
            (Some(error), _) => Err(error.into()),
            (None, Some(0)) => Err(faults.refuse_new_files.unwrap_or(io::ErrorKind::Other).into()),
            (None, Some(left)) => {
                faults.writes_left = Some(left - 1);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    fn wait_while(&self, hangs: impl Fn(&Faults) -> bool) {
        let (faults, freed) = &*self.faults;
        let mut faults = faults.lock();
        while hangs(&faults) && !self.power.was_lost() {
            freed.wait_for(&mut faults, std::time::Duration::from_millis(5));
        }
    }

    fn check_new_file(&self) -> io::Result<()> {
        self.check_write()?;
        let faults = self.faults.0.lock();
        match faults.refuse_new_files.filter(|_| faults.writes_left.is_none()) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Changes a file durably: all of it, or as much as the power cut leaves.
    fn write_durably(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let step = self.power.step()?;
        let mut medium = self.medium.lock();
        let file = medium.files.entry(name.to_owned()).or_default();
        file.named = true;
        for (nth, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            let kept = match step {
                Step::Done => true,
                Step::Cut(luck) => mix(luck ^ nth as u64) & 1 == 0,
            };
            if kept {
                file.current.write(offset + (nth * SECTOR_BYTES) as u64, sector);
                file.durable.write(offset + (nth * SECTOR_BYTES) as u64, sector);
            }
        }
        if step == Step::Done { Ok(()) } else { Err(off()) }
    }

    /// Does something that is done or not done.
    fn all_or_nothing(&self, change: impl FnOnce(&mut Medium)) -> io::Result<()> {
        match self.power.step()? {
            Step::Done => {
                change(&mut self.medium.lock());
                Ok(())
            }
            Step::Cut(luck) => {
                if luck & 1 == 0 {
                    change(&mut self.medium.lock());
                }
                Err(off())
            }
        }
    }

    fn size_of(&self, name: &str) -> Option<u64> {
        self.medium.lock().files.get(name).map(|file| file.current.size)
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.wait_while(|faults| faults.hanging_reads);
        self.power.check()?;
        self.faults.0.lock().reads += 1;
        let medium = self.medium.lock();
        medium.files.get(name).ok_or(io::ErrorKind::NotFound)?.current.read(offset, buffer)
    }
}

fn segment_name(number: u32) -> String {
    format!("log/{number:08}.seg")
}

fn shard_name(id: ShardId) -> String {
    format!("shard/{}", id.to_name())
}

impl Drive for FaultyDrive {
    fn path(&self) -> &str {
        &self.path
    }

    fn claim(&self) -> io::Result<()> {
        self.power.check()
    }

    fn durable(&self) -> bool {
        true
    }

    fn device(&self) -> Option<u64> {
        None
    }

    fn check_present(&self) -> io::Result<()> {
        self.power.check()
    }

    fn space(&self) -> io::Result<Space> {
        Ok(Space { total_bytes: DRIVE_BYTES, free_bytes: DRIVE_BYTES, inodes_used: 0, inodes_free: 1 << 20 })
    }

    fn contents(&self) -> io::Result<Vec<String>> {
        self.power.check()?;
        let medium = self.medium.lock();
        let mut names: Vec<String> =
            medium.files.keys().map(|name| name.split('/').next().unwrap_or(name).to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.power.check()?;
        Ok(self.medium.lock().files.get(name).map(|file| file.current.all()))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.check_write()?;
        self.all_or_nothing(|medium| {
            let mut content = Content::default();
            content.write(0, bytes);
            content.size = bytes.len() as u64;
            let file = File { current: content.clone(), durable: content, named: true };
            medium.files.insert(name.to_owned(), file);
        })
    }

    fn create_segment(&self, number: u32, size_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        let name = segment_name(number);
        if self.size_of(&name).is_none() {
            self.check_new_file()?;
            self.all_or_nothing(|medium| {
                let file = medium.files.entry(name.clone()).or_default();
                file.current.size = size_bytes;
                file.durable.size = size_bytes;
                file.named = true;
            })?;
        }
        Ok(Arc::new(FaultyFile { drive: self.clone(), name }))
    }

    fn open_segment(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>> {
        self.power.check()?;
        let name = segment_name(number);
        Ok(self
            .size_of(&name)
            .map(|_| Arc::new(FaultyFile { drive: self.clone(), name }) as Arc<dyn Segment>))
    }

    fn create_shard(&self, id: ShardId) -> io::Result<Box<dyn ShardWriter>> {
        self.check_new_file()?;
        let name = shard_name(id);
        self.all_or_nothing(|medium| {
            medium.files.insert(name.clone(), File::default());
        })?;
        Ok(Box::new(FaultyFile { drive: self.clone(), name }))
    }

    fn open_shard(&self, id: ShardId) -> io::Result<Option<Arc<dyn ShardReader>>> {
        self.power.check()?;
        let name = shard_name(id);
        Ok(self
            .size_of(&name)
            .map(|_| Arc::new(FaultyFile { drive: self.clone(), name }) as Arc<dyn ShardReader>))
    }

    fn remove_shard(&self, id: ShardId) -> io::Result<()> {
        let name = shard_name(id);
        self.all_or_nothing(|medium| {
            medium.files.remove(&name);
        })
    }
}

/// A file of a faulty drive.
struct FaultyFile {
    drive: FaultyDrive,
    name: String,
}

impl Segment for FaultyFile {
    fn size_bytes(&self) -> u64 {
        self.drive.size_of(&self.name).unwrap_or(0)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.iter().all(|byte| *byte == 0) {
            // Zeroing ahead is no step of what a test enumerates: its frames are.
            self.drive.power.check()?;
            let mut medium = self.drive.medium.lock();
            if let Some(file) = medium.files.get_mut(&self.name) {
                file.current.write(offset, bytes);
                file.durable.write(offset, bytes);
            }
            return Ok(());
        }
        self.drive.wait_while(|faults| faults.hanging_frames);
        self.drive.check_write()?;
        self.drive.faults.0.lock().written_bytes += bytes.len() as u64;
        self.drive.write_durably(&self.name, offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.drive.read(&self.name, offset, buffer)
    }

    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        if self.drive.faults.0.lock().hanging_reads {
            return Ok(false);
        }
        self.drive.read(&self.name, offset, buffer).map(|()| true)
    }

    fn read_medium_at(&self, offset: u64, buffer: &mut AlignedBytes) -> io::Result<()> {
        self.drive.read(&self.name, offset, buffer)
    }
}

impl ShardWriter for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.drive.wait_while(|faults| faults.hanging_shards);
        self.drive.check_new_file()?;
        self.drive.all_or_nothing(|medium| {
            if let Some(file) = medium.files.get_mut(&self.name) {
                let end = file.current.size;
                file.current.write(end, bytes);
            }
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.drive.wait_while(|faults| faults.hanging_shards || faults.hanging_syncs);
        self.drive.check_write()?;
        self.drive.all_or_nothing(|medium| {
            if let Some(file) = medium.files.get_mut(&self.name) {
                file.durable = file.current.clone();
                file.named = true;
            }
        })
    }
}

impl ShardReader for FaultyFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.drive.read(&self.name, offset, buffer)
    }
}
