//! The ring: durable writes through io_uring, and the place where the sequencer sleeps.
//!
//! One ring serves all drives of a set; slot s is the drive of position s and holds one write at most. A write is
//! O_DIRECT or buffered as its descriptor is, and carries `RWF_DSYNC`: it completes when it is durable. The
//! first attempt is made without waiting, by the kernel's own rule; what would have to wait goes to kernel
//! threads, of which there are as many as drives: drives that hang leave one for every other.
//!
//! # Invariants
//!
//! 1. The bytes of a write, its file and what is kept with it belong to the ring from [`Ring::write`] until the kernel
//!    said that it is done with them. Nothing changes or frees them before. A ring that is dropped while a drive
//!    hangs gives them up for good: at most one frame a drive.
//! 2. The thread that wakes a ring is the only one that may use it (`IORING_SETUP_SINGLE_ISSUER`).
//!
//! Bounds: a slot has one entry in the submission queue at most, so the queue never overflows; the completion
//! queue has twice its size. Completions are looked at when that thread asks (`IORING_SETUP_DEFER_TASKRUN`, Linux
//! 6.1): it wakes once for a batch rather than once for every drive.

#![allow(
    unsafe_code,
    reason = "the kernel reads a write's bytes while no borrow of them lasts: that they stay is argued here"
)]

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::PollFlags;
use rustix::io::{Errno, ReadWriteFlags};

use super::Job;
use crate::segment::OpenSegment;
use crate::sequencer::Bell;

/// What completes when the bell rings, rather than a write.
const BELL: u64 = u64::MAX;

/// A frame that the ring writes.
pub(super) struct Write {
    job: Job,
    segment: Arc<OpenSegment>,
    _kept: Box<dyn Any + Send>,
}

impl Write {
    /// Of a segment that has a descriptor; `kept` lives as long as the write.
    pub(super) fn new(segment: Arc<OpenSegment>, job: Job, kept: impl Any + Send) -> Write {
        Write { job, segment, _kept: Box::new(kept) }
    }

    pub(super) fn into_job(self) -> Job {
        self.job
    }

    /// The entry that asks for it; `None` without a descriptor.
    fn entry(&self, slot: usize) -> Option<squeue::Entry> {
        let descriptor = Fd(self.segment.file().descriptor()?.as_raw_fd());
        let frame: &[u8] = &self.job.frame;
        let length = u32::try_from(frame.len()).expect("a frame is smaller than 4 GiB");
        let flags = i32::try_from(ReadWriteFlags::DSYNC.bits()).expect("write flags are small");
        let entry = opcode::Write::new(descriptor, frame.as_ptr(), length)
            .offset(u64::from(self.job.address.offset))
            .rw_flags(flags);
        Some(entry.build().user_data(slot as u64))
    }
}

/// A write that the kernel is done with, and how many bytes of it are durable.
pub(super) struct Done {
    pub(super) slot: usize,
    pub(super) write: Write,
    pub(super) outcome: io::Result<usize>,
}

/// A ring that no thread uses yet.
pub(crate) struct RestingRing {
    uring: IoUring,
    slots: u32,
}

impl RestingRing {
    /// A ring of so many slots.
    ///
    /// # Errors
    ///
    /// What the kernel refuses it with; [`refusal`] says it for operators.
    pub(super) fn open(slots: usize) -> io::Result<RestingRing> {
        let slots = u32::try_from(slots).expect("a set has at most 16 drives");
        let uring = IoUring::builder()
            .setup_r_disabled()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .build((slots + 1).next_power_of_two())?;
        Ok(RestingRing { uring, slots })
    }

    /// Makes it the calling thread's; the bell ends its waits.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(crate) fn wake(self, bell: Arc<Bell>) -> io::Result<Ring> {
        let RestingRing { uring, slots } = self;
        uring.submitter().register_enable_rings()?;
        // Kernel threads for files; zero leaves those for pipes and sockets as they are.
        uring.submitter().register_iowq_max_workers(&mut [slots, 0])?;
        let writes = (0..slots).map(|_| None).collect();
        let mut ring = Ring { uring, bell, writes, done: VecDeque::new() };
        ring.listen();
        Ok(ring)
    }
}

/// An io_uring and the writes it owns.
pub(crate) struct Ring {
    uring: IoUring,
    bell: Arc<Bell>,
    /// By slot.
    writes: Vec<Option<Write>>,
    done: VecDeque<Done>,
}

impl Ring {
    /// Whether the slot holds a write.
    pub(super) fn is_busy(&self, slot: usize) -> bool {
        self.writes[slot].is_some()
    }

    /// Begins a write, with the next [`Ring::poll`] or [`Ring::wait`], in a slot that is not busy.
    /// [`Ring::take_done`] answers it.
    pub(super) fn write(&mut self, slot: usize, write: Write) {
        assert!(!self.is_busy(slot), "one write a slot");
        match write.entry(slot) {
            Some(entry) => {
                // It is owned by its slot before the kernel hears of it.
                self.writes[slot] = Some(write);
                self.push(&entry);
            }
            None => {
                let outcome =
                    Err(io::Error::new(io::ErrorKind::Unsupported, "the segment has no descriptor"));
                self.done.push_back(Done { slot, write, outcome });
            }
        }
    }

    /// The next write that the kernel is done with.
    pub(super) fn take_done(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    /// Submits what was begun and takes notice of what completed, without waiting.
    pub(super) fn poll(&mut self) {
        let queue = self.uring.submission();
        let has_work = queue.taskrun() || !queue.is_empty();
        drop(queue);
        if has_work {
            self.enter(0, Duration::ZERO);
        }
        self.take_completions();
    }

    /// Submits what was begun and sleeps until `completions` of the writes in flight are done, the bell rings
    /// (which counts as one), or `patience` is over. May wake early.
    pub(super) fn wait(&mut self, completions: usize, patience: Duration) {
        let in_flight = self.writes.iter().flatten().count();
        self.enter(completions.min(in_flight).max(1), patience);
        self.take_completions();
    }

    fn enter(&mut self, completions: usize, patience: Duration) {
        let patience = Timespec::from(patience);
        let arguments = SubmitArgs::new().timespec(&patience);
        if let Err(error) = self.uring.submitter().submit_with_args(completions, &arguments) {
            let code = error.raw_os_error().map(Errno::from_raw_os_error);
            // Time is over; a signal came; the kernel is short of memory for the moment: the caller comes again,
            // and finds what was not submitted still in the queue.
            let passes = matches!(code, Some(Errno::TIME | Errno::INTR | Errno::AGAIN | Errno::BUSY));
            assert!(passes, "the kernel refuses a ring that it made: {error}");
        }
    }

    fn take_completions(&mut self) {
        let mut is_deaf = false;
        for completion in self.uring.completion() {
            if completion.user_data() == BELL {
                is_deaf = !cqueue::more(completion.flags());
                continue;
            }
            let slot = usize::try_from(completion.user_data()).expect("slots are small");
            let write = self.writes[slot].take().expect("a completion has its write");
            let outcome = usize::try_from(completion.result())
                .map_err(|_| io::Error::from_raw_os_error(-completion.result()));
            self.done.push_back(Done { slot, write, outcome });
        }
        if is_deaf {
            self.listen();
        }
    }

    /// Asks to be told of the bell, each time it rings.
    fn listen(&mut self) {
        let mask = u32::from(PollFlags::IN.bits());
        let entry = opcode::PollAdd::new(Fd(self.bell.as_fd().as_raw_fd()), mask).multi(true).build();
        self.push(&entry.user_data(BELL));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: an entry is a write of `write` or the poll of `listen`.
        // A write's bytes lie on the heap, owned by `writes[slot]`, which gives nobody access to them and is
        // emptied only when the kernel completed the entry (`take_completions`); a ring that is dropped before
        // gives them up. Its descriptor is that of its segment, kept in the same place. A slot has one entry under
        // way, since `write` refuses a busy one.
        // The poll has no memory, and its descriptor `bell` lives as long as the ring.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.expect("the queue has a place for every slot and the bell");
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel may read them for as long as a drive hangs: they are given up, never freed.
        self.writes.drain(..).for_each(std::mem::forget);
    }
}

/// Why there is no ring, for operators.
pub(super) fn refusal(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSYS) => "this kernel has no io_uring".to_owned(),
        Some(Errno::PERM | Errno::ACCESS) => {
            "io_uring is not permitted here, by a container's profile or by kernel.io_uring_disabled"
                .to_owned()
        }
        Some(Errno::INVAL) => "this kernel's io_uring is older than Linux 6.1".to_owned(),
        _ => format!("io_uring could not be set up: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{PipeReader, Read, Write as _};
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::time::Instant;

    use super::*;
    use crate::drive::{AlignedBytes, BLOCK_BYTES, Segment};
    use crate::frame::Address;
    use crate::sequencer::inbox;

    /// A segment that is nothing but a descriptor.
    struct Outlet(OwnedFd);

    impl Segment for Outlet {
        fn size_bytes(&self) -> u64 {
            0
        }
        fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
            unreachable!("the ring writes by the descriptor")
        }
        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            Some(self.0.as_fd())
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            unreachable!("nothing is read")
        }
        fn read_cached_at(&self, _: u64, _: &mut [u8]) -> io::Result<bool> {
            unreachable!("nothing is read")
        }
        fn read_medium_at(&self, _: u64, _: &mut AlignedBytes) -> io::Result<()> {
            unreachable!("nothing is read")
        }
    }

    /// A ring and its bell; `None`, said past the harness, where the kernel has none.
    fn ring(slots: usize) -> Option<(Ring, Arc<Bell>)> {
        let (_, inbox) = inbox();
        match RestingRing::open(slots) {
            Ok(ring) => Some((ring.wake(inbox.bell()).unwrap(), inbox.bell())),
            Err(error) => {
                // Not by a macro: the harness shows what those print of failing tests alone.
                let line = format!("NOT RUN, for want of io_uring: {}\n", refusal(&error));
                io::stderr().write_all(line.as_bytes()).unwrap();
                None
            }
        }
    }

    fn write(file: impl Into<OwnedFd>, blocks: usize) -> (Write, Arc<OpenSegment>) {
        let mut frame = AlignedBytes::zeroed(blocks * BLOCK_BYTES);
        frame.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 251) as u8);
        let job = Job { batch: 1, address: Address { segment: 0, offset: 0 }, frame };
        let segment = Arc::new(OpenSegment::found(Arc::new(Outlet(file.into()))));
        (Write::new(Arc::clone(&segment), job, ()), segment)
    }

    /// A pipe that is full: a write to it hangs until it is read.
    fn full_pipe() -> (PipeReader, OwnedFd) {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(&[0; 65536]).unwrap();
        (reader, writer.into())
    }

    fn next_done(ring: &mut Ring) -> Done {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(done) = ring.take_done() {
                return done;
            }
            assert!(Instant::now() < deadline, "nothing is done");
            ring.wait(1, Duration::from_secs(10));
        }
    }

    #[test]
    fn a_write_keeps_its_bytes_and_file_until_it_is_done_and_another_its_error() {
        let Some((mut ring, _)) = ring(2) else { return };
        let (mut reader, writer) = full_pipe();
        let (long, segment) = write(writer, 1);
        ring.write(0, long);
        let (refused, _) = write(File::options().write(true).open("/dev/full").unwrap(), 1);
        ring.write(1, refused);
        let done = next_done(&mut ring);
        assert_eq!((done.slot, done.outcome.unwrap_err().kind()), (1, io::ErrorKind::StorageFull));
        assert!(ring.is_busy(0) && Arc::strong_count(&segment) == 2);

        let reading = std::thread::spawn(move || {
            let mut bytes = vec![0; 65536 + BLOCK_BYTES];
            reader.read_exact(&mut bytes).unwrap();
            bytes.split_off(65536)
        });
        let done = next_done(&mut ring);
        assert_eq!((done.slot, done.outcome.unwrap()), (0, BLOCK_BYTES));
        let frame = &done.write.into_job().frame;
        assert_eq!(reading.join().unwrap(), frame[..], "its bytes changed while it was in flight");
        assert_eq!(Arc::strong_count(&segment), 1);
    }

    #[test]
    fn a_ring_that_is_dropped_with_a_write_in_flight_never_frees_its_bytes() {
        let Some((mut ring, _)) = ring(1) else { return };
        let (_reader, writer) = full_pipe();
        let (long, segment) = write(writer, 1);
        ring.write(0, long);
        ring.poll();
        assert!(ring.is_busy(0));
        drop(ring);
        assert_eq!(Arc::strong_count(&segment), 2, "what lies beside the bytes was freed");
    }

    #[test]
    fn a_refusal_is_told_in_words_that_say_what_to_change() {
        for (errno, word) in [
            (Errno::NOSYS, "no io_uring"),
            (Errno::PERM, "not permitted"),
            (Errno::ACCESS, "not permitted"),
            (Errno::INVAL, "older than Linux 6.1"),
            (Errno::NOMEM, "could not be set up"),
        ] {
            let reason = refusal(&io::Error::from(errno));
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn the_bell_ends_a_wait_however_often_it_rings() {
        let Some((mut ring, bell)) = ring(1) else { return };
        for _ in 0..1000 {
            bell.ring();
            let began = Instant::now();
            ring.wait(1, Duration::from_secs(20));
            assert!(began.elapsed() < Duration::from_secs(10), "it was not heard");
        }
    }
}
