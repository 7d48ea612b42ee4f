//! A drive in memory, and the switches of its faults.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::change::{Change, SECTOR_BYTES};
use super::gate::{Gate, Waiting};
use super::medium::{File, Medium};
use super::power::{Power, Step, mix, off};
use crate::assemble::{Given, Reopen};
use crate::drive::Drive;
use crate::index::memory::MemoryIndex;

/// Size of a faulty drive unless a test says otherwise, in bytes: 1 GiB.
const DRIVE_BYTES: u64 = 1 << 30;

/// Faults that a test switches on and off.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) refuse_writes: Option<io::ErrorKind>,
    pub(super) refuse_new_files: Option<io::ErrorKind>,
    pub(super) refuse_segment: Option<u32>,
    pub(super) refuse_replaced: Option<io::ErrorKind>,
    pub(super) refuse_reads: Option<io::ErrorKind>,
    pub(super) hanging: bool,
    pub(super) hanging_whole: bool,
    pub(super) hanging_frames: bool,
    pub(super) hanging_reads: bool,
    pub(super) hanging_shards: bool,
    pub(super) hanging_syncs: bool,
    /// Whether the next read is to be held, or one is.
    pub(super) holding: Holding,
    /// How long zeroing a piece of a segment takes.
    pub(super) zeroing_takes: Duration,
    /// Whether its path is a mount point with nothing mounted.
    pub(super) unmounted: bool,
    /// Whether nothing is found at its path.
    pub(super) away: bool,
    /// Its size in bytes; `None` is more than any test needs.
    pub(super) capacity: Option<u64>,
    /// Durable writes to let through before the writes are refused.
    pub(super) writes_left: Option<u64>,
    pub(super) written_bytes: u64,
    pub(super) zeroed_bytes: u64,
    pub(super) reads: u64,
}

impl Faults {
    /// Whether a read that comes now would have to wait.
    pub(super) fn may_wait(&self) -> bool {
        self.hanging_reads || self.holding == Holding::Next
    }
}

/// What becomes of the next read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Holding {
    #[default]
    Nothing,
    Next,
    /// A read waits until it is let go; those after it do not.
    One,
}

/// A drive in memory.
#[derive(Clone)]
pub struct FaultyDrive {
    pub(super) path: String,
    pub(super) power: Arc<Power>,
    pub(super) medium: Arc<Mutex<Medium>>,
    pub(super) faults: Arc<(Mutex<Faults>, Condvar)>,
    pub(super) segment_bytes_max: u64,
    /// The life of the medium in which an engine opened it.
    pub(super) opened: u64,
    pub(super) indexes: Arc<Mutex<Indexes>>,
    pub(super) gate: Arc<Gate>,
}

/// The index on a drive in memory. None is kept unless a test says so.
#[derive(Clone, Default)]
pub(super) struct Indexes {
    pub(super) keeps: bool,
    pub(super) index: Option<Arc<MemoryIndex>>,
}

impl FaultyDrive {
    /// A blank drive.
    pub fn blank(path: &str, power: &Arc<Power>) -> FaultyDrive {
        FaultyDrive {
            path: path.into(),
            power: Arc::clone(power),
            medium: Arc::default(),
            faults: Arc::default(),
            segment_bytes_max: u64::MAX,
            opened: 0,
            indexes: Arc::default(),
            gate: Arc::default(),
        }
    }

    /// Lets it keep copies of the index from now on.
    pub fn keep_indexes(&self) {
        self.indexes.lock().keeps = true;
    }

    /// The copy of the index that lies on it.
    pub fn index(&self) -> Option<Arc<MemoryIndex>> {
        self.indexes.lock().index.clone()
    }

    /// `count` blank drives of one machine.
    pub fn machine(count: usize, power: &Arc<Power>) -> Vec<FaultyDrive> {
        (1..=count).map(|number| FaultyDrive::blank(&format!("d{number}"), power)).collect()
    }

    /// The same drive, on which segments are made with at most so many bytes: they fill sooner and are read faster.
    #[must_use]
    pub fn with_segments_of(self, bytes: u64) -> FaultyDrive {
        FaultyDrive { segment_bytes_max: bytes, ..self }
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
            file.lose_cache();
            file.current = file.durable.clone();
            file.named = true;
        }
        let Indexes { keeps, index } = self.indexes.lock().clone();
        let index = index.map(|index| Arc::new(index.restarted()));
        FaultyDrive {
            path: self.path.clone(),
            power: Arc::clone(power),
            medium: Arc::new(Mutex::new(medium)),
            faults: Arc::default(),
            segment_bytes_max: self.segment_bytes_max,
            opened: 0,
            indexes: Arc::new(Mutex::new(Indexes { keeps, index })),
            gate: Arc::default(),
        }
    }

    /// A drive on which this is found after a crash.
    pub(super) fn found(path: &str, mut medium: Medium, power: &Arc<Power>) -> FaultyDrive {
        for file in medium.files.values_mut() {
            file.durable = file.current.clone();
            file.named = true;
        }
        FaultyDrive {
            path: path.to_owned(),
            power: Arc::clone(power),
            medium: Arc::new(Mutex::new(medium)),
            faults: Arc::default(),
            segment_bytes_max: u64::MAX,
            opened: 0,
            indexes: Arc::default(),
            gate: Arc::default(),
        }
    }

    /// As it is given to an engine.
    pub fn given(&self) -> Given {
        self.bring_back();
        Given { path: self.path.clone(), drive: Ok(Arc::new(self.open_now())), reopen: self.reopen() }
    }

    /// As it is given to an engine when it is absent.
    pub fn absent(&self) -> Given {
        self.take_away();
        Given { path: self.path.clone(), drive: Err(io::ErrorKind::NotFound.into()), reopen: self.reopen() }
    }

    fn reopen(&self) -> Reopen {
        let drive = self.clone();
        Arc::new(move || {
            let drive = drive.open_now();
            drive.check_found()?;
            Ok(Arc::new(drive) as Arc<dyn Drive>)
        })
    }

    fn open_now(&self) -> FaultyDrive {
        FaultyDrive { opened: self.medium.lock().life, ..self.clone() }
    }

    /// Lets nothing be found at its path from now on.
    pub fn take_away(&self) {
        self.faults.0.lock().away = true;
    }

    /// Leaves the empty mount point at its path from now on, or mounts something there.
    pub fn unmount(&self, unmounted: bool) {
        self.faults.0.lock().unmounted = unmounted;
    }

    /// Lets it be found at its path again.
    pub fn bring_back(&self) {
        self.faults.0.lock().away = false;
    }

    /// Empties it, or puts a blank drive in its place: everything on it is gone, also for who has it open.
    pub fn blank_out(&self) {
        let recorded = self.power.record_begin(&self.path, &Change::Empty);
        self.indexes.lock().index = None;
        Change::Empty.apply(&mut self.medium.lock(), |_| true);
        if let Some(recorded) = recorded {
            recorded.end();
        }
    }

    pub(super) fn check_found(&self) -> io::Result<()> {
        self.wait_while(|faults| faults.hanging_whole);
        self.power.check()?;
        let is_gone = self.faults.0.lock().away || self.medium.lock().life != self.opened;
        if is_gone { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
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

    /// Has no space for this segment, whatever has for others, from now on, or no longer.
    pub fn refuse_segment(&self, number: Option<u32>) {
        self.faults.0.lock().refuse_segment = number;
    }

    /// Refuses to replace the small files of its root with this error from now on, or no longer.
    pub fn refuse_replaced(&self, error: Option<io::ErrorKind>) {
        self.faults.0.lock().refuse_replaced = error;
    }

    /// Refuses to read segments and shards with this error from now on, or no longer.
    pub fn refuse_reads(&self, error: Option<io::ErrorKind>) {
        self.faults.0.lock().refuse_reads = error;
    }

    /// Gives it this size, in bytes: files beyond it are refused.
    pub fn limit(&self, capacity: u64) {
        self.faults.0.lock().capacity = Some(capacity);
    }

    /// Its size, and what of it is free, in bytes.
    pub(super) fn room(&self) -> (u64, u64) {
        let capacity = self.faults.0.lock().capacity.unwrap_or(DRIVE_BYTES);
        let used: u64 = self.medium.lock().files.values().map(|file| file.current.taken_bytes()).sum();
        (capacity, capacity.saturating_sub(used))
    }

    /// Lets durable writes wait from now on, or no longer.
    pub fn hang(&self, hanging: bool) {
        self.faults.0.lock().hanging = hanging;
        self.faults.1.notify_all();
    }

    /// Lets every call wait from now on, also those that ask how the drive is, or no longer.
    pub fn hang_whole(&self, hanging: bool) {
        self.faults.0.lock().hanging_whole = hanging;
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

    /// Holds the next read of a segment or shard, and no other, until it is let go.
    pub fn hold_next_read(&self) {
        self.faults.0.lock().holding = Holding::Next;
    }

    /// Whether a read is held.
    pub fn holds_read(&self) -> bool {
        self.faults.0.lock().holding == Holding::One
    }

    /// Lets the read go that is held, or that would be.
    pub fn let_read_go(&self) {
        self.faults.0.lock().holding = Holding::Nothing;
        self.faults.1.notify_all();
    }

    /// Lets zeroing take so long from now on, for each piece of a segment.
    pub fn slow_zeroes(&self, takes: Duration) {
        self.faults.0.lock().zeroing_takes = takes;
    }

    /// Lets every frame of commits wait until it is [decided](FaultyDrive::decide), from now on, or no longer.
    pub fn gate_frames(&self, shut: bool) {
        self.gate.shut(shut);
    }

    /// The frame that waits.
    pub fn waiting(&self) -> Option<Waiting> {
        self.gate.waiting()
    }

    /// Lets the frame that waits be written, or fail.
    pub fn decide(&self, is_written: bool) {
        self.gate.decide(is_written);
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

    /// Bytes of segments zeroed ahead so far.
    pub fn zeroed_bytes(&self) -> u64 {
        self.faults.0.lock().zeroed_bytes
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

    /// Lets bytes of a file rot beneath the page cache, which has it as it was: only who reads past it sees them.
    pub fn rot(&self, name: &str, offset: u64, bytes: &[u8]) {
        if let Some(file) = self.medium.lock().files.get_mut(name) {
            file.rotten = Some((offset, bytes.into()));
        }
    }

    /// Takes a file away, as a failing file system does.
    pub fn remove(&self, name: &str) {
        self.medium.lock().files.remove(name);
    }

    pub(super) fn check_write(&self) -> io::Result<()> {
        let (faults, freed) = &*self.faults;
        let mut faults = faults.lock();
        while (faults.hanging || faults.hanging_whole) && !self.power.was_lost() {
            freed.wait_for(&mut faults, Duration::from_millis(5));
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

    pub(super) fn wait_while(&self, hangs: impl Fn(&Faults) -> bool) {
        let (faults, freed) = &*self.faults;
        let mut faults = faults.lock();
        while hangs(&faults) && !self.power.was_lost() {
            freed.wait_for(&mut faults, Duration::from_millis(5));
        }
    }

    /// Whether a test says that it has no space for this segment.
    pub(super) fn check_space(&self, segment: u32) -> io::Result<()> {
        let is_refused = self.faults.0.lock().refuse_segment == Some(segment);
        if is_refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn check_new_file(&self) -> io::Result<()> {
        self.check_write()?;
        let faults = self.faults.0.lock();
        match faults.refuse_new_files.filter(|_| faults.writes_left.is_none()) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Does something to the medium: all of it, or as much as the power cut leaves.
    pub(super) fn carry_out(&self, change: Change) -> io::Result<()> {
        let recorded = self.power.record_begin(&self.path, &change);
        let step = self.power.step()?;
        let is_torn = change.sectors() > 0;
        match step {
            Step::Done => change.apply(&mut self.medium.lock(), |_| true),
            Step::Cut(luck) if is_torn => {
                change.apply(&mut self.medium.lock(), |nth| mix(luck ^ nth as u64) & 1 == 0);
            }
            Step::Cut(luck) if luck & 1 == 0 => change.apply(&mut self.medium.lock(), |_| true),
            Step::Cut(_) => {}
        }
        if let Some(recorded) = recorded {
            recorded.end();
        }
        if step == Step::Done { Ok(()) } else { Err(off()) }
    }

    fn hold_read(&self, name: &str, offset: u64) {
        if offset == 0 && name.starts_with("log/") {
            return;
        }
        {
            let mut faults = self.faults.0.lock();
            if faults.holding != Holding::Next {
                return;
            }
            faults.holding = Holding::One;
        }
        self.wait_while(|faults| faults.holding == Holding::One);
    }

    /// The names below a folder, without it.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let medium = self.medium.lock();
        medium.files.keys().filter_map(|name| Some(name.strip_prefix(folder)?.to_owned())).collect()
    }

    pub(super) fn size_of(&self, name: &str) -> Option<u64> {
        self.medium.lock().files.get(name).map(|file| file.current.size)
    }

    /// Reads by `read`, which says whether the page cache is asked or the medium.
    pub(super) fn read(
        &self,
        name: &str,
        offset: u64,
        buffer: &mut [u8],
        read: impl FnOnce(&File, u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.wait_while(|faults| faults.hanging_reads || faults.hanging_whole);
        self.hold_read(name, offset);
        self.power.check()?;
        {
            let mut faults = self.faults.0.lock();
            faults.reads += 1;
            if let Some(error) = faults.refuse_reads {
                return Err(error.into());
            }
        }
        let medium = self.medium.lock();
        read(medium.files.get(name).ok_or(io::ErrorKind::NotFound)?, offset, buffer)
    }
}
