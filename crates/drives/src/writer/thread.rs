//! The thread of a drive: writes frames one after the other, and waits for space where there is none.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Job;
use crate::drive::is_full;
use crate::sequencer::{Event, EventSender};
use crate::set::{Mode, Set};

/// How long between attempts at a frame that a drive has no space for.
const FULL_RETRY_AFTER: Duration = Duration::from_millis(50);

/// The thread of one drive.
pub(super) struct ThreadWriter {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl ThreadWriter {
    /// Starts the thread. Every job is answered by [`Event::Written`]. After a failure it writes nothing more:
    /// the frames behind the failed one would stand after a hole.
    pub(super) fn start(set: Arc<Set>, position: usize, events: EventSender) -> ThreadWriter {
        let (jobs, incoming) = channel::<Job>();
        let user = set.members[position].user();
        let run = move || {
            let _user = user;
            let mut failed = false;
            for job in incoming {
                let result = if failed {
                    Err(io::Error::other("an earlier frame could not be written"))
                } else {
                    write_patiently(&set, position, &job)
                };
                failed |= result.is_err();
                drop(job.frame);
                if events.send(Event::Written { position, batch: job.batch, result }).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("drive-{position}"))
            .spawn(run)
            .expect("the system gives a thread");
        ThreadWriter { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Hands a frame over; returns at once.
    pub(super) fn write(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("a writer takes jobs until it is dropped");
        // The thread ends only with us, or when nobody listens to it any more.
        let _ = jobs.send(job);
    }

    /// Stops without waiting: the drive may hang.
    pub(super) fn abandon(mut self) {
        self.jobs = None;
        self.thread = None;
    }
}

/// Writes a frame; while there is no space for it, again and again.
///
/// That is no fault of the drive, and nothing of the frame counts before all of it is durable: a file system that finds
/// new space for every write may run out of it in the midst of a segment. The drive is behind until there is space
/// again, or until the set takes no writes any more and recovery asks what the drive holds.
fn write_patiently(set: &Set, position: usize, job: &Job) -> io::Result<()> {
    let member = &set.members[position];
    loop {
        match write(set, position, job) {
            Err(error) if is_full(&error) && *set.mode.read() == Mode::Writable && member.is_online() => {
                set.full.store(true, Ordering::Relaxed);
                if !member.stalled.swap(true, Ordering::AcqRel) {
                    tracing::error!(drive = %member.path, "A drive has no space for the journal: only deletes are taken.");
                }
                std::thread::sleep(FULL_RETRY_AFTER);
            }
            written => {
                member.stalled.store(false, Ordering::Release);
                return written;
            }
        }
    }
}

/// Writes a frame. A drive that joins has no segments at first: it gets them with the frames.
fn write(set: &Set, position: usize, job: &Job) -> io::Result<()> {
    let member = &set.members[position];
    match member.write_frame(job.address, &job.frame) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && member.is_joining() => {
            let number = job.address.segment;
            member.prepare_segment(set.id, number, set.segment_bytes(number))?;
            member.write_frame(job.address, &job.frame)
        }
        written => written,
    }
}

impl Drop for ThreadWriter {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It panics only by a bug, and then its panic was printed; dropping goes on.
            let _ = thread.join();
        }
    }
}
