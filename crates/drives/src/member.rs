//! A member: one place of a set and the drive that has it, which may change while the set is in use.
//!
//! # States
//!
//! - *Out*: absent, or present and neither written nor read.
//! - *Joining*: gets every frame and every new shard, is not read, and counts for no quorum. Meanwhile everything
//!   older is healed on it.
//! - *Online*: written and read. A voter of the decision that holds.
//!
//! A drive goes out at any time; it is online again by a decision alone, when it holds everything. What a drive
//! left behind in memory (open segments, the handle itself) goes with it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::assemble::Reopen;
use crate::drive::{AlignedBytes, BLOCK_BYTES, Drive, Segment, Space};
use crate::errand::Overdue;
use crate::frame::{Address, Frame, Header};
use crate::lane::Lane;
use crate::segment::{self, OpenSegment};
use crate::volumes::volume_bytes;

/// Segments of a drive that are kept open, with two descriptors each, and as many volumes. Others are opened for a
/// read.
const OPEN_MAX: usize = 16;

const OUT: u8 = 0;
const JOINING: u8 = 1;
const ONLINE: u8 = 2;

/// One place of a set and the drive that has it.
pub(crate) struct Member {
    pub position: usize,
    pub path: String,
    /// Opens what is at its path by now.
    reopen: Reopen,
    slot: RwLock<Slot>,
    /// Why it is not written and read; `None` while it is.
    out: RwLock<Option<String>>,
    state: AtomicU8,
    /// A write to it never came back: what its thread may still write must not meet a later one.
    hangs: AtomicBool,
    /// It did not take the last decision it was given.
    declines: AtomicBool,
    /// It has no space for the frame it is being written.
    pub stalled: AtomicBool,
    /// Shared with every thread that writes to it.
    users: Arc<()>,
    /// Errands it has not come back from.
    pub overdue: Overdue,
    /// Sizes of its file system when it was last looked at; zeroes before.
    space: Mutex<Space>,
    /// Segments that lie ready to be begun, made ahead or retired, when it was last looked at.
    ready: AtomicU64,
    /// Bytes that segments and shards leave free where it keeps a copy of the index.
    reserve_bytes: u64,
    /// The last batch it holds.
    pub written: AtomicU64,
    /// Held while a segment is made, which one thread does at a time.
    making: Mutex<()>,
    /// The last reason an operator was told.
    told: Mutex<String>,
    /// Foreground reads of it.
    pub reads: Lane,
    /// Shards being written and removed.
    pub writes: Lane,
}

/// The drive at a place.
struct Slot {
    id: Uuid,
    /// `None` while it is absent.
    drive: Option<Arc<dyn Drive>>,
    /// At most [`OPEN_MAX`].
    segments: BTreeMap<u32, Arc<OpenSegment>>,
    /// At most [`OPEN_MAX`].
    volumes: BTreeMap<u32, Arc<dyn Segment>>,
}

impl Slot {
    fn new(id: Uuid, drive: Option<Arc<dyn Drive>>) -> Slot {
        Slot { id, drive, segments: BTreeMap::new(), volumes: BTreeMap::new() }
    }

    fn has(&self, drive: &Arc<dyn Drive>) -> bool {
        self.drive.as_ref().is_some_and(|current| Arc::ptr_eq(current, drive))
    }
}

/// Says that a thread may write to a drive, while it lives.
pub(crate) struct User(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl Member {
    pub(crate) fn new(
        position: usize,
        id: Uuid,
        path: String,
        reopen: Reopen,
        drive: Option<Arc<dyn Drive>>,
        out: Option<String>,
    ) -> Member {
        let online = drive.is_some() && out.is_none();
        Member {
            position,
            path,
            reopen,
            slot: RwLock::new(Slot::new(id, drive)),
            out: RwLock::new(out),
            state: AtomicU8::new(if online { ONLINE } else { OUT }),
            hangs: AtomicBool::new(false),
            declines: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            users: Arc::new(()),
            overdue: Overdue::default(),
            space: Mutex::default(),
            ready: AtomicU64::new(0),
            reserve_bytes: 0,
            written: AtomicU64::new(0),
            making: Mutex::new(()),
            told: Mutex::new(String::new()),
            reads: Lane::default(),
            writes: Lane::default(),
        }
    }

    /// The same, and leaves so many bytes free for the index.
    pub(crate) fn with_reserve(self, reserve_bytes: u64) -> Member {
        Member { reserve_bytes, ..self }
    }

    /// Whether it is written and read as current.
    pub(crate) fn is_online(&self) -> bool {
        self.state.load(Ordering::Acquire) == ONLINE
    }

    /// Whether it is being healed.
    pub(crate) fn is_joining(&self) -> bool {
        self.state.load(Ordering::Acquire) == JOINING
    }

    /// Whether it gets frames and shards.
    pub(crate) fn is_written(&self) -> bool {
        self.state.load(Ordering::Acquire) != OUT
    }

    /// Takes it out; the first reason stays.
    pub(crate) fn take_out(&self, reason: &str) {
        let mut out = self.out.write();
        if out.is_none() || self.is_joining() {
            *out = Some(reason.to_owned());
            // A drive that is asked again and again fails with the same words each time.
            let mut told = self.told.lock();
            if *told != reason {
                tracing::error!(drive = %self.path, reason, "A drive is out: it is neither written nor read.");
                reason.clone_into(&mut told);
            }
        }
        self.state.store(OUT, Ordering::Release);
    }

    /// Takes it out until the write to it that never came back does.
    pub(crate) fn leave_behind(&self, reason: &str) {
        self.hangs.store(true, Ordering::Release);
        self.take_out(reason);
    }

    /// Notes whether a decision was written to it.
    pub(crate) fn note_decision(&self, is_written: bool) {
        self.declines.store(!is_written, Ordering::Release);
    }

    /// Whether it took the last decision: one that did not may be read all the same.
    pub(crate) fn is_able(&self) -> bool {
        !self.declines.load(Ordering::Acquire)
    }

    /// Whether a write to it never came back.
    pub(crate) fn hangs(&self) -> bool {
        self.hangs.load(Ordering::Acquire)
    }

    /// Whether a thread may still write to it.
    pub(crate) fn is_used(&self) -> bool {
        Arc::strong_count(&self.users) > 1
    }

    /// To be held by a thread for as long as it may write to it.
    pub(crate) fn user(&self) -> User {
        User(Arc::clone(&self.users))
    }

    /// Takes it in: it holds everything.
    pub(crate) fn take_in(&self) {
        *self.out.write() = None;
        self.told.lock().clear();
        self.hangs.store(false, Ordering::Release);
        self.state.store(ONLINE, Ordering::Release);
    }

    /// Lets it be written from now on while it is healed. It holds everything up to `written`, or will.
    pub(crate) fn join(&self, written: u64) {
        *self.out.write() = Some("it is being healed".to_owned());
        self.written.store(written, Ordering::Release);
        self.state.store(JOINING, Ordering::Release);
    }

    /// Why it is out, or not yet in.
    pub(crate) fn reason(&self) -> String {
        self.out.read().clone().unwrap_or_default()
    }

    /// States why it is out without telling it again: it was out before.
    pub(crate) fn explain(&self, reason: &str) {
        *self.out.write() = Some(reason.to_owned());
    }

    /// The drive's identity.
    pub(crate) fn id(&self) -> Uuid {
        self.slot.read().id
    }

    /// The drive, or the error that it is absent.
    pub(crate) fn drive(&self) -> io::Result<Arc<dyn Drive>> {
        let drive = self.slot.read().drive.clone();
        drive.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the drive is absent"))
    }

    /// Sizes of its file system when it was last looked at; asks nothing of the drive.
    pub(crate) fn space(&self) -> Space {
        *self.space.lock()
    }

    /// How many more segments of a size can be made on it, as it was last looked at: in what is free but for the
    /// reserve.
    pub(crate) fn free_segments(&self, size_bytes: u64) -> u64 {
        let reserve = if self.keeps_indexes() { self.reserve_bytes } else { 0 };
        self.space().free_bytes.saturating_sub(reserve) / size_bytes
    }

    /// How many more can be begun: those, and what lies ready.
    pub(crate) fn room_segments(&self, size_bytes: u64) -> u64 {
        self.free_segments(size_bytes) + self.ready.load(Ordering::Relaxed)
    }

    /// Fails for want of space unless so many bytes can be taken of `drive`, which is this one, and the reserve is
    /// left.
    pub(crate) fn check_room(&self, drive: &dyn Drive, bytes: u64) -> io::Result<()> {
        let is_short = self.reserve_bytes > 0
            && drive.keeps_indexes()
            && drive.space()?.free_bytes < bytes.saturating_add(self.reserve_bytes);
        if is_short { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Notes the sizes of its file system.
    pub(crate) fn note_space(&self, space: Space) {
        *self.space.lock() = space;
    }

    /// Notes how many segments lie ready.
    pub(crate) fn note_ready(&self, segments: usize) {
        self.ready.store(segments as u64, Ordering::Relaxed);
    }

    /// Puts another drive in its place, or what is at its path by now. The one before is closed.
    pub(crate) fn exchange(&self, id: Uuid, drive: Option<Arc<dyn Drive>>) {
        *self.slot.write() = Slot::new(id, drive);
    }

    /// The drive that is at its path by now: the one that was, if it is still there, else what is found. Only of one
    /// that is out and that no thread writes to.
    pub(crate) fn look_again(&self) -> io::Result<Arc<dyn Drive>> {
        if let Ok(drive) = self.drive()
            && drive.check_present().is_ok()
        {
            return Ok(drive);
        }
        // It holds a lock on its directory, which may be the same one.
        self.exchange(self.id(), None);
        let drive = (self.reopen)()?;
        self.exchange(self.id(), Some(Arc::clone(&drive)));
        Ok(drive)
    }

    /// A segment that is open; asks nothing of the drive.
    pub(crate) fn kept_segment(&self, number: u32) -> Option<Arc<OpenSegment>> {
        self.slot.read().segments.get(&number).map(Arc::clone)
    }

    /// Whether copies of the index can be kept on its drive.
    pub(crate) fn keeps_indexes(&self) -> bool {
        self.drive().is_ok_and(|drive| drive.keeps_indexes())
    }

    /// A segment that exists.
    pub(crate) fn segment(&self, number: u32) -> io::Result<Arc<OpenSegment>> {
        if let Some(segment) = self.kept_segment(number) {
            return Ok(segment);
        }
        let drive = self.drive()?;
        let file = drive.open_segment(number)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(self.keep_open(&drive, number, OpenSegment::found(file)))
    }

    /// Makes a segment with its header unless it exists: of a retired file of that size, else a new one.
    pub(crate) fn prepare_segment(&self, set: Uuid, number: u32, size_bytes: u64) -> io::Result<()> {
        let _one_at_a_time = self.making.lock();
        let open = self.slot.read().segments.get(&number).map(Arc::clone);
        if let Some(open) = open {
            return self.write_segment_header(set, number, open.file());
        }
        let drive = self.drive()?;
        let open = match drive.open_segment(number)? {
            Some(file) => OpenSegment::found(file),
            None => match drive.segments()?.retired.iter().find(|(_, size)| *size == size_bytes) {
                Some((retired, _)) => OpenSegment::found(drive.reuse_segment(*retired, number)?),
                None => {
                    self.check_room(&*drive, size_bytes)?;
                    OpenSegment::made(drive.create_segment(number, size_bytes)?)
                }
            },
        };
        self.write_segment_header(set, number, open.file())?;
        self.keep_open(&drive, number, open);
        Ok(())
    }

    /// Whether it has a segment with a sound header.
    pub(crate) fn has_segment(&self, set: Uuid, number: u32) -> bool {
        let mut found = AlignedBytes::zeroed(BLOCK_BYTES);
        self.segment(number).is_ok_and(|segment| {
            let file = segment.file();
            let read = file.read_medium_at(0, &mut found);
            let incarnation = read.ok().and_then(|()| segment::incarnation_of(&found));
            let of = |incarnation| segment::header(set, self.id(), number, incarnation, file.size_bytes());
            incarnation.is_some_and(|incarnation| found[..] == of(incarnation)[..])
        })
    }

    /// Writes a segment's header unless it is there: a crash may have come between the file and its header, and a
    /// reused file has that of another number.
    fn write_segment_header(&self, set: Uuid, number: u32, file: &dyn Segment) -> io::Result<()> {
        let mut found = AlignedBytes::zeroed(BLOCK_BYTES);
        file.read_medium_at(0, &mut found)?;
        let incarnation = segment::incarnation_of(&found).unwrap_or(0);
        let of = |incarnation| segment::header(set, self.id(), number, incarnation, file.size_bytes());
        if found[..] == of(incarnation)[..] { Ok(()) } else { file.write_at(0, &of(incarnation + 1)) }
    }

    /// Does something while none of its segments is retired, nor made.
    pub(crate) fn while_none_is_retired<T>(&self, run: impl FnOnce() -> T) -> T {
        let _one_at_a_time = self.making.lock();
        run()
    }

    /// Takes a segment out of the journal. Who reads it still reads what its file holds then, which fails
    /// verification.
    pub(crate) fn retire_segment(&self, number: u32) -> io::Result<()> {
        let _one_at_a_time = self.making.lock();
        let drive = self.drive()?;
        self.slot.write().segments.remove(&number);
        drive.retire_segment(number)
    }

    /// Removes retired files but for so many of this size.
    pub(crate) fn remove_retired(&self, size_bytes: u64, kept_files: usize) -> io::Result<()> {
        // One that is listed may be made a segment by another thread otherwise, and be gone.
        let _one_at_a_time = self.making.lock();
        let drive = self.drive()?;
        let mut kept = 0;
        for (number, size) in drive.segments()?.retired {
            if size == size_bytes && kept < kept_files {
                kept += 1;
            } else {
                drive.remove_retired(number)?;
            }
        }
        Ok(())
    }

    /// Keeps a segment of `drive` open, unless that was exchanged meanwhile.
    fn keep_open(&self, drive: &Arc<dyn Drive>, number: u32, segment: OpenSegment) -> Arc<OpenSegment> {
        let mut slot = self.slot.write();
        let segment = Arc::new(segment);
        if slot.has(drive) { keep(&mut slot.segments, number, segment) } else { segment }
    }

    /// A volume; `None` where there is none.
    pub(crate) fn find_volume(&self, number: u32) -> io::Result<Option<Arc<dyn Segment>>> {
        if let Some(volume) = self.slot.read().volumes.get(&number) {
            return Ok(Some(Arc::clone(volume)));
        }
        let drive = self.drive()?;
        let volume = drive.open_volume(number)?;
        Ok(volume.map(|volume| self.keep_volume_open(&drive, number, volume)))
    }

    /// A volume, which is made unless it exists.
    pub(crate) fn make_volume(&self, number: u32) -> io::Result<Arc<dyn Segment>> {
        if let Some(volume) = self.find_volume(number)? {
            return Ok(volume);
        }
        let _one_at_a_time = self.making.lock();
        if let Some(volume) = self.find_volume(number)? {
            return Ok(volume);
        }
        let (drive, size_bytes) = (self.drive()?, volume_bytes(number));
        self.check_room(&*drive, size_bytes)?;
        let volume = drive.create_volume(number, size_bytes)?;
        Ok(self.keep_volume_open(&drive, number, volume))
    }

    fn keep_volume_open(
        &self,
        drive: &Arc<dyn Drive>,
        number: u32,
        volume: Arc<dyn Segment>,
    ) -> Arc<dyn Segment> {
        let mut slot = self.slot.write();
        if slot.has(drive) { keep(&mut slot.volumes, number, volume) } else { volume }
    }

    /// Writes a frame; durable on return.
    pub(crate) fn write_frame(&self, address: Address, bytes: &[u8]) -> io::Result<()> {
        self.segment(address.segment)?.write_frame(u64::from(address.offset), bytes)
    }

    /// Reads a frame from the medium: `None` where there is none that is wanted.
    pub(crate) fn read_frame(
        &self,
        address: Address,
        is_wanted: impl Fn(&Header) -> bool,
    ) -> io::Result<Option<Frame>> {
        let segment = match self.segment(address.segment) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.drive().is_ok() => return Ok(None),
            other => other?,
        };
        let offset = u64::from(address.offset);
        if offset + BLOCK_BYTES as u64 > segment.file().size_bytes() {
            return Ok(None);
        }
        let mut block = AlignedBytes::zeroed(BLOCK_BYTES);
        segment.file().read_medium_at(offset, &mut block)?;
        let Some(header) = Header::decode(&block, address).filter(is_wanted) else {
            return Ok(None);
        };
        if header.frame_bytes() > BLOCK_BYTES {
            let end = offset + header.frame_bytes() as u64;
            if end > segment.file().size_bytes() {
                return Ok(None);
            }
            block = AlignedBytes::zeroed(header.frame_bytes());
            segment.file().read_medium_at(offset, &mut block)?;
        }
        Ok(Some(Frame::of(header, &block)))
    }
}

/// Keeps a file unless it is kept, and lets go of the oldest other one when there are too many: those written to are
/// the newest, and one that is read is read again.
fn keep<T: Clone>(kept: &mut BTreeMap<u32, T>, number: u32, file: T) -> T {
    let file = kept.entry(number).or_insert(file).clone();
    while kept.len() > OPEN_MAX
        && let Some(oldest) = kept.keys().copied().find(|other| *other != number)
    {
        kept.remove(&oldest);
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::DirectoryDrive;

    #[test]
    fn segments_are_made_of_retired_files_while_others_of_those_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let drive = DirectoryDrive::open(folder.path()).unwrap();
        drive.claim().unwrap();
        let reopen: Reopen = Arc::new(|| Err(io::ErrorKind::NotFound.into()));
        let member = Member::new(0, Uuid::nil(), "drive".into(), reopen, Some(Arc::new(drive)), None);
        let size_bytes = 65536;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let removing = scope.spawn(|| -> io::Result<()> {
                while !done.load(Ordering::Relaxed) {
                    member.remove_retired(size_bytes, 0)?;
                }
                Ok(())
            });
            let made = (0..200).try_for_each(|number| {
                member.prepare_segment(Uuid::nil(), number, size_bytes)?;
                member.retire_segment(number)
            });
            done.store(true, Ordering::Relaxed);
            made.unwrap();
            removing.join().unwrap().unwrap();
        });
    }
}
