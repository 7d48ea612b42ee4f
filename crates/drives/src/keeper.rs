//! The keeper: the thread that writes manifests and retires what they no longer name.
//!
//! A segment is retired on every drive when a manifest without it is on the write quorum. Its file is kept for the
//! next segment of its size, [`RETIRED_KEPT`] on each drive and none at rest, and removed beyond that: space comes
//! back. What a crash left unretired is found by its number: every segment up to the newest that is not in the table.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::drive::is_full;
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::member::Member;
use crate::sequencer::{Event, EventSender};
use crate::set::Set;

/// Time a drive may take for a step before it counts as failed.
const STEP_MAX: Duration = Duration::from_secs(5);

/// Retired files of the size of the next segment that a drive keeps: one for each stream.
pub(crate) const RETIRED_KEPT: usize = 2;

/// A manifest to be written to these drives; afterwards what it does not name is retired there.
pub(crate) struct Job {
    pub manifest: Manifest,
    pub positions: Vec<usize>,
    /// How many retired files each is to keep.
    pub kept_files: usize,
}

/// The thread. One job is under way at a time: the sequencer gives the next when it heard of the last.
pub(crate) struct Keeper {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread. Every job is answered by [`Event::Kept`].
    pub(crate) fn start(set: Arc<Set>, events: EventSender) -> Keeper {
        let (jobs, incoming) = channel();
        let thread = std::thread::Builder::new()
            .name("manifest".into())
            .spawn(move || keep(&set, &incoming, &events))
            .expect("the system gives a thread");
        Keeper { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Hands a job over; returns at once.
    pub(crate) fn keep(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("a keeper takes jobs until it is dropped");
        // The thread ends only with us, or when nobody listens to it any more.
        let _ = jobs.send(job);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It panics only by a bug, and then its panic was printed; dropping goes on.
            let _ = thread.join();
        }
    }
}

fn keep(set: &Arc<Set>, incoming: &Receiver<Job>, events: &EventSender) {
    for Job { manifest, positions, kept_files } in incoming {
        let bytes = manifest.encode();
        let write = move |member: &Member| member.drive()?.replace(MANIFEST_FILE, &bytes);
        let mut holders = Vec::new();
        for (position, written) in set.on_each(&positions, STEP_MAX, write) {
            match written.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
                Ok(()) => holders.push(position),
                // It keeps the manifest that it has.
                Err(error) if is_full(&error) => {}
                Err(error) => fault(events, position, format!("its manifest could not be written: {error}")),
            }
        }
        let kept = holders.len() >= set.geometry.write_quorum();
        if kept {
            retire(set, &manifest, &positions, kept_files, events);
        }
        if events.send(Event::Kept { kept }).is_err() {
            return;
        }
    }
}

fn fault(events: &EventSender, position: usize, reason: String) {
    // The sequencer is gone only when the engine is.
    let _ = events.send(Event::Fault { position, reason });
}

/// Retires the segments that the manifest does not name, and removes retired files that nothing will need.
fn retire(set: &Arc<Set>, manifest: &Manifest, positions: &[usize], kept_files: usize, events: &EventSender) {
    let named: BTreeSet<u32> = manifest.table.rows().map(|row| row.number).collect();
    let newest = manifest.heads.newest;
    let size_bytes = set.size_of_new();
    let step = move |member: &Member| {
        let drive = member.drive()?;
        for number in drive.segments()?.numbers {
            if number <= newest && !named.contains(&number) {
                member.retire_segment(number)?;
            }
        }
        member.remove_retired(size_bytes, kept_files)
    };
    for (position, retired) in set.on_each(positions, STEP_MAX, step) {
        match retired.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => {}
            // The next manifest finds what is left.
            Err(error) if is_full(&error) => {}
            Err(error) => fault(events, position, format!("a segment could not be retired: {error}")),
        }
    }
}
