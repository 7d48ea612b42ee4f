//! Writers: how frames of the journal reach the drives, one in flight on each.
//!
//! Every drive has a thread that writes its frames, waits for space where there is none, and makes segments that are
//! missing. With a ring ([`Io`]) the plain case goes past it: a frame whose segment is open, and in which nobody writes
//! zeroes, is submitted by the sequencer itself, which then sleeps for the frames of all drives in one call.
//! Whatever comes of such a write but success and failure is the thread's to deal with, from the start of the frame.
//!
//! # Invariants
//!
//! 1. A drive gets a frame only after the one before completed, on whichever way, so that only its last frame can be
//!    torn.
//! 2. After a failure a drive is written nothing more: the frames behind the failed one would stand after a hole.
//!
//! A frame stays in memory until its drive wrote it or is out; how much may wait is the sequencer's to bound. The
//! memory of what the ring wrote is used again: at most [`SPARES_MAX`] frames of [`SPARE_BYTES_MAX`] bytes.

mod choice;
mod ring;
mod thread;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::drive::{AlignedBytes, is_full, is_passing};
use crate::frame::Address;
use crate::member::Member;
use crate::sequencer::{Bell, Event, EventSender};
use crate::set::Set;
pub use choice::Io;
#[cfg(any(test, feature = "testing"))]
pub use choice::ring_here;
use ring::{Done, Write};
pub(crate) use ring::{RestingRing, Ring};
use thread::ThreadWriter;

/// Frames whose memory is kept: two for every drive of a set of four, which is 2 MiB.
const SPARES_MAX: usize = 8;

/// Largest frame whose memory is kept, in bytes: 256 KiB.
const SPARE_BYTES_MAX: usize = 256 * 1024;

/// A frame on its way to one drive.
pub(crate) struct Job {
    pub batch: u64,
    pub address: Address,
    pub frame: AlignedBytes,
}

/// The writers of a set, owned by the sequencer.
pub(crate) struct Writers {
    set: Arc<Set>,
    events: EventSender,
    ring: Option<Ring>,
    /// By position; `None` for a drive that is not written.
    drives: Vec<Option<DriveWriter>>,
    /// What the ring is done with. What threads are done with comes to the inbox.
    written: VecDeque<Event>,
    /// Memory of frames that were written.
    spares: Vec<AlignedBytes>,
}

/// The frames of one drive.
struct DriveWriter {
    thread: ThreadWriter,
    /// The last batch that the thread was given, until it is answered.
    on_thread: Option<u64>,
    /// The batch that is on the ring.
    on_ring: Option<u64>,
    /// What stands behind that.
    waiting: VecDeque<Job>,
    failed: bool,
}

impl Writers {
    /// None of them started.
    pub(crate) fn new(set: Arc<Set>, events: EventSender) -> Writers {
        let drives = set.members.iter().map(|_| None).collect();
        Writers { set, events, ring: None, drives, written: VecDeque::new(), spares: Vec::new() }
    }

    /// Goes through this ring from now on, which is the calling thread's.
    pub(crate) fn take_ring(&mut self, ring: Option<Ring>) {
        self.ring = ring;
    }

    /// Starts that of a drive on which nothing is in flight.
    pub(crate) fn start(&mut self, position: usize) {
        let thread = ThreadWriter::start(Arc::clone(&self.set), position, self.events.clone());
        let (waiting, failed) = (VecDeque::new(), false);
        self.drives[position] = Some(DriveWriter { thread, on_thread: None, on_ring: None, waiting, failed });
    }

    /// Stops all of them, and waits for what their threads have in flight.
    pub(crate) fn stop(&mut self) {
        self.drives.iter_mut().for_each(|drive| *drive = None);
    }

    /// Stops writing to a drive without waiting: it may hang.
    pub(crate) fn abandon(&mut self, position: usize) {
        if let Some(drive) = self.drives[position].take() {
            drive.thread.abandon();
        }
    }

    /// Whether the drive takes frames.
    pub(crate) fn takes(&self, position: usize) -> bool {
        self.drives[position].is_some()
    }

    /// Memory for a frame of so many bytes, with whatever is in it.
    pub(crate) fn memory(&mut self, frame_bytes: usize) -> AlignedBytes {
        let mut memory = match self.spares.iter().rposition(|spare| spare.capacity() >= frame_bytes) {
            Some(at) => self.spares.swap_remove(at),
            // Larger than asked for, so that it fits the next one as well.
            None if frame_bytes <= SPARE_BYTES_MAX => AlignedBytes::zeroed(frame_bytes.next_power_of_two()),
            None => AlignedBytes::zeroed(frame_bytes),
        };
        memory.resize(frame_bytes);
        memory
    }

    fn keep_memory(&mut self, frame: AlignedBytes) {
        if frame.capacity() > SPARE_BYTES_MAX {
            return;
        }
        self.spares.push(frame);
        if self.spares.len() > SPARES_MAX {
            let smallest = (0..self.spares.len()).min_by_key(|at| self.spares[*at].capacity());
            smallest.map(|at| self.spares.swap_remove(at));
        }
    }

    /// Hands a frame over, to be written when the one before it is; returns at once. It is answered by
    /// [`Event::Written`] unless its drive is abandoned.
    pub(crate) fn write(&mut self, position: usize, job: Job) {
        if let Some(drive) = &mut self.drives[position] {
            drive.waiting.push_back(job);
            self.advance(position);
        }
    }

    /// Lets the frames of a drive go on, if the ring has none of it.
    fn advance(&mut self, position: usize) {
        let Some(drive) = &mut self.drives[position] else {
            return;
        };
        let member = &self.set.members[position];
        while self.ring.as_ref().is_none_or(|ring| !ring.is_busy(position))
            && let Some(job) = drive.waiting.pop_front()
        {
            if drive.failed {
                let result = Err(io::Error::other("an earlier frame could not be written"));
                self.written.push_back(Event::Written { position, batch: job.batch, result });
                continue;
            }
            let batch = job.batch;
            match &mut self.ring {
                Some(ring) if drive.on_thread.is_none() => match write_of(member, job) {
                    Ok(write) => {
                        drive.on_ring = Some(batch);
                        ring.write(position, write);
                    }
                    Err(job) => drive.hand_over(job),
                },
                _ => drive.hand_over(job),
            }
        }
    }

    /// Submits what was handed over and takes notice of what the ring completed, without waiting.
    pub(crate) fn poll(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.poll();
            self.settle();
        }
    }

    /// It was heard what came of a batch on a drive.
    pub(crate) fn note_heard(&mut self, position: usize, batch: u64, failed: bool) {
        if let Some(drive) = &mut self.drives[position] {
            drive.failed |= failed;
            if drive.on_thread == Some(batch) {
                drive.on_thread = None;
            }
        }
    }

    /// What the ring is done with, without waiting.
    pub(crate) fn take_written(&mut self) -> Option<Event> {
        self.written.pop_front()
    }

    /// Sleeps until the bell rings, `frames` were written through the ring, or `patience` is over. It may wake early.
    pub(crate) fn sleep(&mut self, frames: usize, bell: &Bell, patience: Duration) {
        match &mut self.ring {
            Some(ring) => {
                // What a thread writes is told by the bell, which counts as one.
                let by_threads = self.drives.iter().flatten().any(|drive| drive.on_thread.is_some());
                ring.wait(if by_threads { 1 } else { frames }, patience);
                self.settle();
            }
            None => bell.wait(patience),
        }
    }

    /// Tells of what the ring is done with, and lets what waited for it go on.
    fn settle(&mut self) {
        while let Some(Done { slot: position, write, outcome }) = self.ring.as_mut().and_then(Ring::take_done)
        {
            let job = write.into_job();
            // It was abandoned otherwise.
            if let Some(drive) = &mut self.drives[position]
                && drive.on_ring.take() == Some(job.batch)
            {
                match judge(outcome, job.frame.len()) {
                    Some(result) => {
                        drive.failed |= result.is_err();
                        self.written.push_back(Event::Written { position, batch: job.batch, result });
                        self.keep_memory(job.frame);
                    }
                    None => drive.hand_over(job),
                }
            }
            self.advance(position);
        }
    }
}

impl DriveWriter {
    fn hand_over(&mut self, job: Job) {
        self.on_thread = Some(job.batch);
        self.thread.write(job);
    }
}

/// What came of one attempt at a frame of so many bytes: `None` if it is no fault of the drive and the frame is to be
/// written again, whole.
fn judge(outcome: io::Result<usize>, frame_bytes: usize) -> Option<io::Result<()>> {
    match outcome {
        Ok(written) => (written == frame_bytes).then_some(Ok(())),
        Err(error) if is_full(&error) => None,
        Err(error) if is_passing(&error) => None,
        Err(error) => Some(Err(error)),
    }
}

/// The frame as the ring can write it without waiting for anything; else it comes back.
fn write_of(member: &Member, job: Job) -> Result<Write, Job> {
    // A drive that joins has no segments at first.
    let found =
        member.drive().ok().filter(|_| !member.is_joining()).zip(member.kept_segment(job.address.segment));
    match found {
        Some((drive, segment))
            if segment.file().descriptor().is_some()
                && segment.claim(u64::from(job.address.offset), job.frame.len()) =>
        {
            // Nobody opens the drive, and it is not taken in again, while a write to it may still come.
            Ok(Write::new(segment, job, (drive, member.user())))
        }
        _ => Err(job),
    }
}
