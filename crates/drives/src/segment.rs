//! Segments: the journal's files, and how they are made ready ahead of need.
//!
//! A new one has a quarter of the live bytes of a drive, at least 4 MiB, at most 256 MiB and 1/64 of the smallest
//! drive. It is the file of a retired segment where there is one of that size; else it is allocated, when the current
//! one is half full, and overwritten with zeroes in the background, since a write into a written file is faster than
//! into an allocated one. Nothing waits for zeroes: the writer and the background take turns by a lock over one chunk.
//!
//! A number is an identity: it grows and is never used again. What a file held under another number is void, since
//! frames name their place.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::digest::crc64;
use crate::drive::{AlignedBytes, BLOCK_BYTES, Segment, is_full, is_shortage};
use crate::frame::Address;
use crate::member::Member;
use crate::payload::is_silence;
use crate::set::{Mode, Set};

/// Size of the first segment in bytes: 4 MiB.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Size of the largest segment in bytes: 256 MiB.
const SEGMENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A drive holds at least this many segments of the largest size.
const SEGMENTS_PER_DRIVE_MIN: u64 = 64;

/// Bytes at the start of a segment that hold its header: one block.
pub(crate) const SEGMENT_HEADER_BYTES: u32 = BLOCK_BYTES as u32;

/// Bytes zeroed at a time, which a write may have to wait for: 256 KiB.
const ZEROED_BYTES: usize = 256 * 1024;

const MAGIC: &[u8; 8] = b"TIDINGSS";

/// Largest segment of a set whose smallest drive has `total_bytes`.
pub(crate) fn largest_segment(total_bytes: u64) -> u64 {
    let share = total_bytes / SEGMENTS_PER_DRIVE_MIN;
    let whole_mebibytes = share - share % (1024 * 1024);
    whole_mebibytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
}

/// Sizes of the segments of a set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Of the smallest, in bytes.
    pub smallest: u64,
    /// Of the largest, in bytes.
    pub largest: u64,
}

impl Sizes {
    /// Size of a new segment when a drive spends `live_bytes` on what lives: a quarter of it, and a power of two
    /// times the smallest, so that retired files fit again.
    pub(crate) fn of_new(self, live_bytes: u64) -> u64 {
        let mut size = self.smallest;
        while size * 2 <= live_bytes / 4 && size * 2 <= self.largest {
            size *= 2;
        }
        size
    }
}

/// The first frame of a segment stands here.
pub(crate) fn first_address(segment: u32) -> Address {
    Address { segment, offset: SEGMENT_HEADER_BYTES }
}

/// A segment of one drive, open, and how much of it is not to be zeroed.
pub(crate) struct OpenSegment {
    file: Arc<dyn Segment>,
    /// Zeroes are written above it only. Frames raise it, and so does reaching the end.
    frontier: Mutex<u64>,
}

impl OpenSegment {
    /// One that was there: it may hold frames anywhere, so that nothing of it is ever zeroed.
    pub(crate) fn found(file: Arc<dyn Segment>) -> OpenSegment {
        let frontier = Mutex::new(file.size_bytes());
        OpenSegment { file, frontier }
    }

    /// One that was just made: all frames it will hold go through this value.
    pub(crate) fn made(file: Arc<dyn Segment>) -> OpenSegment {
        let frontier = Mutex::new(u64::from(SEGMENT_HEADER_BYTES));
        OpenSegment { file, frontier }
    }

    pub(crate) fn file(&self) -> &dyn Segment {
        &*self.file
    }

    /// Writes a frame; durable on return.
    pub(crate) fn write_frame(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        {
            let mut frontier = self.frontier.lock();
            *frontier = (*frontier).max(offset + bytes.len() as u64);
        }
        self.file.write_at(offset, bytes)
    }

    /// Claims the place of a frame that is then written to [`OpenSegment::file`] by its descriptor; `false` while
    /// zeroes are being written to the segment.
    pub(crate) fn claim(&self, offset: u64, frame_bytes: usize) -> bool {
        let Some(mut frontier) = self.frontier.try_lock() else {
            return false;
        };
        *frontier = (*frontier).max(offset + frame_bytes as u64);
        true
    }

    /// Writes zeroes at `offset` unless frames reached it; answers where to go on, `None` at the end.
    fn zero_from(&self, offset: u64, zeroes: &AlignedBytes) -> io::Result<Option<u64>> {
        let mut frontier = self.frontier.lock();
        let start = offset.max(*frontier);
        let rest = usize::try_from(self.file.size_bytes().saturating_sub(start)).unwrap_or(usize::MAX);
        if rest == 0 {
            // Once is enough: a full set asks for its next segment every second.
            *frontier = self.file.size_bytes();
            return Ok(None);
        }
        let length = rest.min(ZEROED_BYTES);
        self.file.write_at(start, &zeroes[..length])?;
        Ok(Some(start + length as u64))
    }
}

/// The header of a segment, one block. `incarnation` is how often its file was taken into use, from 1.
pub(crate) fn header(set: Uuid, drive: Uuid, number: u32, incarnation: u32, size_bytes: u64) -> AlignedBytes {
    let mut block = AlignedBytes::zeroed(BLOCK_BYTES);
    block[..8].copy_from_slice(MAGIC);
    block[8..12].copy_from_slice(&1u32.to_le_bytes());
    block[12..16].copy_from_slice(&number.to_le_bytes());
    block[16..32].copy_from_slice(set.as_bytes());
    block[32..48].copy_from_slice(drive.as_bytes());
    block[48..52].copy_from_slice(&incarnation.to_le_bytes());
    block[56..64].copy_from_slice(&size_bytes.to_le_bytes());
    let crc = crc64(&[&block[..BLOCK_BYTES - 8]]);
    block[BLOCK_BYTES - 8..].copy_from_slice(&crc.to_le_bytes());
    block
}

/// The set whose header a segment has, if that is sound.
pub(crate) fn set_of(segment: &dyn Segment) -> Option<Uuid> {
    let mut block = AlignedBytes::zeroed(BLOCK_BYTES);
    segment.read_medium_at(0, &mut block).ok()?;
    let (body, crc) = block.split_last_chunk::<8>()?;
    let sound = &body[..8] == MAGIC && crc64(&[body]) == u64::from_le_bytes(*crc);
    sound.then(|| Uuid::from_bytes(body[16..32].try_into().expect("sixteen bytes")))
}

/// The incarnation a segment's header states, if it is one.
pub(crate) fn incarnation_of(block: &[u8]) -> Option<u32> {
    let (body, crc) = block.split_last_chunk::<8>()?;
    let sound = &block[..8] == MAGIC && crc64(&[body]) == u64::from_le_bytes(*crc);
    sound.then(|| u32::from_le_bytes([block[48], block[49], block[50], block[51]]))
}

/// The background thread that allocates the next segment and zeroes it.
pub(crate) struct Preparer {
    requests: Option<SyncSender<Request>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Request {
    numbers: RangeInclusive<u32>,
    size_bytes: u64,
}

/// Requests that may wait; more are dropped, since the writer prepares what it needs and finds missing.
const REQUESTS_WAITING_MAX: usize = 8;

/// How long a set is full before it is told.
const SHORT_FOR: Duration = Duration::from_secs(1);

impl Preparer {
    pub(crate) fn start(set: Arc<Set>, faults: impl Fn(usize, String) + Send + 'static) -> Preparer {
        let (requests, incoming) = sync_channel(REQUESTS_WAITING_MAX);
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::Builder::new()
            .name("segments".into())
            .spawn(move || prepare(&set, &incoming, &stop, &faults))
            .expect("the system gives a thread");
        Preparer { requests: Some(requests), stopping, thread: Some(thread) }
    }

    /// Asks for segments; returns at once. On each drive they are made in order, none behind one that cannot be: else
    /// those behind it would have the space that comes back, and the journal would wait for the first for ever.
    pub(crate) fn ask(&self, numbers: RangeInclusive<u32>, size_bytes: u64) {
        if let Some(requests) = &self.requests
            && let Err(error) = requests.try_send(Request { numbers, size_bytes })
        {
            tracing::debug!(%error, "The next segment is not prepared ahead: earlier ones still are.");
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It panics only by a bug, and then its panic was printed; dropping goes on.
            let _ = thread.join();
        }
    }
}

fn prepare(set: &Set, incoming: &Receiver<Request>, stop: &AtomicBool, fault: &dyn Fn(usize, String)) {
    let zeroes = Arc::new(AlignedBytes::zeroed(ZEROED_BYTES));
    let mut shortage = Shortage::default();
    for request in incoming {
        let full = make(set, &request, fault) || set.is_stalled();
        // One that takes no writes for want of space is full until it takes them again.
        let takes_writes = *set.mode.read() == Mode::Writable;
        if takes_writes {
            set.full.store(full, Ordering::Relaxed);
            shortage.note(full);
        }
        for number in request.numbers {
            zero(set, number, &zeroes, stop, fault);
        }
    }
}

/// What is told of a set that is full.
#[derive(Default)]
struct Shortage {
    since: Option<Instant>,
    is_told: bool,
}

impl Shortage {
    /// Tells of it once it lasts: where compaction is only behind for a moment, commits wait and nobody need know.
    fn note(&mut self, full: bool) {
        if !full {
            if self.is_told {
                tracing::info!("There is space for the next segment of the journal again.");
            }
            *self = Shortage::default();
        } else if self.since.get_or_insert_with(Instant::now).elapsed() >= SHORT_FOR && !self.is_told {
            self.is_told = true;
            tracing::error!("No space is left for the next segment of the journal: only deletes are taken.");
        }
    }
}

/// Makes segments on every drive; answers whether one has no space for all of them.
fn make(set: &Set, request: &Request, fault: &dyn Fn(usize, String)) -> bool {
    let mut full = false;
    for member in set.online() {
        let (id, Request { numbers, size_bytes }) = (set.id, request.clone());
        let make = move |member: &Member| {
            numbers.clone().try_for_each(|number| member.prepare_segment(id, number, size_bytes))
        };
        match set.patiently(member.position, make) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                tracing::debug!(drive = %member.path, numbers = ?request.numbers, "A drive has no space for segments.");
                full = true;
            }
            // The writer makes it when it gets there.
            Err(error) if is_shortage(&error) || is_silence(&error) => {}
            Err(error) => fault(member.position, format!("a segment could not be made: {error}")),
        }
    }
    full
}

/// Writes zeroes behind the frames of a segment on every drive that made it new.
fn zero(
    set: &Set,
    number: u32,
    zeroes: &Arc<AlignedBytes>,
    stop: &AtomicBool,
    fault: &dyn Fn(usize, String),
) {
    for member in set.online() {
        let mut offset = Some(0);
        while let Some(from) = offset
            && !stop.load(Ordering::Relaxed)
        {
            let zeroes = Arc::clone(zeroes);
            let zero = move |member: &Member| member.segment(number)?.zero_from(from, &zeroes);
            offset = match set.patiently(member.position, zero) {
                Ok(next) => next,
                // One that is not there was told, or could not be made for now.
                Err(error) => {
                    let is_told = error.kind() == io::ErrorKind::NotFound || is_silence(&error);
                    if !is_full(&error) && !is_told {
                        fault(member.position, format!("a segment could not be zeroed: {error}"));
                    }
                    None
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::DirectoryDrive;
    use crate::drive::Drive;

    #[test]
    fn zeroes_are_written_behind_the_frames_of_a_new_segment_and_nowhere_in_one_that_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let drive = DirectoryDrive::open(folder.path()).unwrap();
        drive.claim().unwrap();
        let made = OpenSegment::made(drive.create_segment(0, 1 << 20).unwrap());
        let mut frame = AlignedBytes::zeroed(2 * BLOCK_BYTES);
        frame.fill(7);
        made.write_frame(4096, &frame).unwrap();
        let zeroes = AlignedBytes::zeroed(ZEROED_BYTES);

        assert_eq!(made.zero_from(0, &zeroes).unwrap(), Some(4096 * 3 + ZEROED_BYTES as u64));
        let found = OpenSegment::found(drive.open_segment(0).unwrap().unwrap());
        assert_eq!(found.zero_from(0, &zeroes).unwrap(), None);
        let mut kept = vec![0; 2 * BLOCK_BYTES];
        found.file().read_at(4096, &mut kept).unwrap();
        assert_eq!(kept, vec![7; 2 * BLOCK_BYTES]);
    }

    #[test]
    fn a_segment_that_was_zeroed_to_its_end_is_not_zeroed_again() {
        let folder = tempfile::tempdir().unwrap();
        let drive = DirectoryDrive::open(folder.path()).unwrap();
        drive.claim().unwrap();
        let made = OpenSegment::made(drive.create_segment(0, 1 << 20).unwrap());
        let zeroes = AlignedBytes::zeroed(ZEROED_BYTES);
        let mut offset = 0;
        while let Some(next) = made.zero_from(offset, &zeroes).unwrap() {
            offset = next;
        }
        assert_eq!((offset, made.zero_from(0, &zeroes).unwrap()), (1 << 20, None));
    }

    #[test]
    fn a_new_segment_has_a_quarter_of_what_lives_from_4_mib_to_the_largest_the_drive_bears() {
        let sizes = |total: u64| -> Vec<u64> {
            let sizes = Sizes { smallest: SEGMENT_BYTES_MIN, largest: largest_segment(total) };
            [0, 31, 32, 100, 1 << 10, 1 << 20]
                .into_iter()
                .map(|live| sizes.of_new(live << 20) >> 20)
                .collect()
        };
        assert_eq!(sizes(1 << 40), [4, 4, 8, 16, 256, 256]);
        assert_eq!(sizes(1 << 30), [4, 4, 8, 16, 16, 16]);
        assert_eq!(sizes(1 << 20), [4; 6]);
    }
}
