//! The sequencer: the one thread that orders commits and makes them durable.
//!
//! It judges preconditions, assigns sequences and builds a frame of everything that gathered while the frame
//! before was written: group commit without a timer. A frame is built when the one before it is durable on
//! the write quorum, so at most one batch is ever of undecided fate.
//!
//! # Invariants
//!
//! 1. A commit is answered when its batch is durable on q voters and applied to the index, in order.
//! 2. A drive that fails or lags is out by a decision of at least q others before the batch it missed is
//!    acknowledged.
//! 3. A batch short of q freezes the set: it and its refusals are answered "outcome unknown", nothing more is
//!    written in this epoch, and recovery runs in this process under a new one.
//!
//! What is here is the loop; the parts are [`group`] (building a frame), [`write`], [`freeze`] and [`join`].
//!
//! Bounds: [`COMMITS_WAITING_MAX`] commits wait (more wait to be let in), a drive may lag by
//! [`LAG_BYTES_MAX`] or [`Patience::frame`](crate::Patience::frame).

mod copy;
mod freeze;
mod group;
mod inbox;
mod join;
mod keep;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use store::{Batch, Committed, EngineError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::chain::{Chain, Stream};
use crate::compaction::{Compactor, CopyRequest};
use crate::frame::Kind;
use crate::index::checkpoint;
use crate::index::lookup::Below;
use crate::keeper::Keeper;
use crate::manifest::Manifest;
use crate::recovery::set_mode;
use crate::replay::encode_epoch_start;
use crate::segment::Preparer;
use crate::set::{Mode, Set};
use crate::watch::Watch;
use crate::writer::{RestingRing, Writers};
use group::{answer, takes_space};
use inbox::Heed;
pub(crate) use inbox::{Bell, EventSender, Inbox, inbox};
use join::Answer;
pub(crate) use join::{Granted, Wish};
use keep::Keeping;
use write::Frozen;

/// Commits that may wait for the frame before them.
pub(crate) const COMMITS_WAITING_MAX: usize = 8192;

/// Bytes a drive may lag behind before it is out: 64 MiB.
const LAG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long the set is idle before a seal frame states what is durable.
const SEAL_AFTER: Duration = Duration::from_millis(200);

/// How long nothing is committed before badly filled segments are ended, to be packed anew.
const REST_AFTER: Duration = Duration::from_secs(2);

/// How often it is looked whether the flush is over that commits or copies wait for.
const INDEX_EVERY: Duration = Duration::from_millis(5);

/// How long a batch that rides waits for another to ride on.
const RIDE_MAX: Duration = Duration::from_millis(100);

/// How often the drives are looked at while there is work; without, once in [`RETRY_AFTER`].
const PRESENCE_EVERY: Duration = Duration::from_millis(250);

/// Segments that are kept ready behind the next one when space is short: puts are refused when one of them is missing.
const RESERVE_SEGMENTS: u32 = 2;

/// How long between attempts to recover, or to find space again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A commit that waits.
pub(crate) struct Request {
    pub batch: Batch,
    /// What was looked up for it.
    pub below: Below,
    pub reply: oneshot::Sender<Outcome>,
    pub since: Instant,
    pub permit: OwnedSemaphorePermit,
}

/// What becomes of a commit.
pub(crate) enum Outcome {
    Done(Result<Committed, EngineError>),
    /// What was looked up for it does not hold any more.
    LookAgain(Batch),
}

/// What the sequencer hears.
pub(crate) enum Event {
    /// A commit came.
    Commit(Box<Request>),
    /// A drive wrote its frame of a batch, or failed to.
    Written { position: usize, batch: u64, result: std::io::Result<()> },
    /// Healing asks for a decision on a place.
    Wish { wish: Wish, answer: Answer },
    /// A drive failed elsewhere.
    Fault { position: usize, reason: String },
    /// A manifest was written, to the write quorum or to fewer drives.
    Kept { kept: bool },
    /// The manifest of a drive is damaged: the next one takes its place.
    Tattered,
    /// Compaction asks for copies to be written.
    Copy(CopyRequest),
    /// Everything of this segment that lives was copied.
    Emptied(u32),
    /// No more commits come. With `clean`, what is queued is written, every voter is waited for, and a seal
    /// is written; without, the thread ends as it stands.
    Stop { clean: bool, reply: Option<oneshot::Sender<()>> },
}

/// A frame in flight on a drive.
struct Flight {
    batch: u64,
    bytes: usize,
    since: Instant,
}

/// The sequencer's state, owned by its thread.
pub(crate) struct Sequencer {
    set: Arc<Set>,
    chain: Chain,
    inbox: Inbox,
    queue: VecDeque<Request>,
    writers: Writers,
    flights: Vec<VecDeque<Flight>>,
    /// By position, the first batch that a drive was written since it joined.
    joined: Vec<u64>,
    wishes: VecDeque<(Wish, Answer)>,
    /// Drives that failed since the last decision, with their reasons.
    failed: Vec<(usize, String)>,
    preparer: Preparer,
    keeping: Keeping,
    compactor: Compactor,
    watch: Watch,
    /// What compaction waits for.
    copies: Option<CopyRequest>,
    /// Bytes of copies that go with what clients wrote and are not written.
    copies_owed: usize,
    prepared: u32,
    /// The stream of the last frame.
    last_stream: Stream,
    sealed: bool,
    last_work: Instant,
    last_commit: Instant,
    /// When copies were last written: what they free comes back soon.
    last_copy: Option<Instant>,
    /// Whether nothing was committed since the set came to rest.
    rested: bool,
    last_retry: Instant,
    last_look: Instant,
    last_tended: Instant,
    stopping: Option<(bool, Option<oneshot::Sender<()>>)>,
}

impl Sequencer {
    /// `manifest` is the highest there is.
    pub(crate) fn new(
        set: Arc<Set>,
        chain: Chain,
        manifest: Option<Manifest>,
        inbox: Inbox,
        sender: EventSender,
    ) -> Sequencer {
        let faults = sender.clone();
        let preparer = Preparer::start(Arc::clone(&set), move |position, reason| {
            // The sequencer is gone only when the engine is.
            let _ = faults.send(Event::Fault { position, reason });
        });
        let keeping = Keeping::new(Keeper::start(Arc::clone(&set), sender.clone()), manifest);
        let compactor = Compactor::start(Arc::clone(&set), sender.clone());
        let watch = Watch::start(Arc::clone(&set));
        let now = Instant::now();
        let drives = set.members.len();
        Sequencer {
            prepared: chain.heads.newest,
            last_stream: Stream::Hot,
            writers: Writers::new(Arc::clone(&set), sender),
            set,
            chain,
            inbox,
            queue: VecDeque::new(),
            flights: (0..drives).map(|_| VecDeque::new()).collect(),
            joined: vec![0; drives],
            wishes: VecDeque::new(),
            failed: Vec::new(),
            preparer,
            keeping,
            compactor,
            watch,
            copies: None,
            copies_owed: 0,
            sealed: true,
            last_work: now,
            last_commit: now,
            last_copy: None,
            rested: true,
            last_retry: now,
            last_look: now,
            last_tended: now,
            stopping: None,
        }
    }

    /// Writes the first frame of the epoch; the set takes writes when it is durable on the write quorum.
    pub(crate) fn begin_epoch(&mut self) -> Result<(), String> {
        self.writers.stop();
        for member in self.set.online() {
            self.writers.start(member.position);
        }
        let metadata = encode_epoch_start(self.chain.previous);
        self.write_plain(Kind::EpochStart, &metadata).map_err(|Frozen(reason)| reason)?;
        let newest = self.chain.heads.newest;
        self.preparer.ask(newest..=newest, self.set.segment_bytes(newest));
        set_mode(&self.set, Mode::Writable);
        if self.set.full.swap(false, Ordering::Relaxed) {
            // There was space for this frame; whether there is for the next segment is seen at once.
            self.prepare_next();
        }
        self.publish_table();
        if self.chain.table.len() > 1 {
            self.keeping.ask();
        }
        Ok(())
    }

    /// Runs until the engine stops, writing through the ring if there is one.
    pub(crate) fn run(mut self, ring: Option<RestingRing>) {
        match ring.map(|ring| ring.wake(self.inbox.bell())).transpose() {
            Ok(ring) => self.writers.take_ring(ring),
            Err(error) => tracing::error!(%error, "The ring cannot be used: threads take over."),
        }
        loop {
            self.writers.poll();
            while let Some(event) = self.next_event() {
                self.hear(event);
            }
            if let Some((clean, reply)) = self.stopping.take() {
                return self.stop(clean, reply);
            }
            self.watch_lag();
            self.watch_drives();
            if !self.failed.is_empty()
                && self.is_writable()
                && let Err(frozen) = self.expel()
            {
                self.freeze(&frozen);
            }
            self.grant();
            self.tend_index();
            self.retry();
            self.tend_manifest();
            if self.may_copy() {
                self.copy();
            }
            if self.has_due_work() {
                self.pace();
                self.commit_queue();
                continue;
            }
            if self.may_copy() {
                continue;
            }
            self.when_idle();
            self.hear_within(self.patience(), Heed::Everything);
        }
    }

    /// An event that is there.
    fn next_event(&mut self) -> Option<Event> {
        self.writers.take_written().or_else(|| self.inbox.take())
    }

    /// Hears the next event, or sleeps for at most `patience` until there may be one that it heeds.
    fn hear_within(&mut self, patience: Duration, heed: Heed) {
        self.hear_written(1, patience, heed);
    }

    /// As [`Sequencer::hear_within`], and sleeps until `frames` were written where it is the ring that writes them.
    fn hear_written(&mut self, frames: usize, patience: Duration, heed: Heed) {
        let mut event = self.next_event();
        if event.is_none() {
            let writers = &mut self.writers;
            event = self.inbox.sleep(heed, |bell| writers.sleep(frames, bell, patience));
        }
        if let Some(event) = event {
            self.hear(event);
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Commit(request) => self.queue.push_back(*request),
            Event::Written { position, batch, result } => self.note_written(position, batch, result),
            Event::Wish { wish, answer } => self.wishes.push_back((wish, answer)),
            Event::Fault { position, reason } => self.note_failure(position, reason),
            Event::Tattered => self.keeping.ask(),
            Event::Copy(request) => self.take_copies(request),
            Event::Kept { kept } => {
                self.keeping.note_kept(kept);
                self.watch.look();
                if self.set.full.load(Ordering::Relaxed) {
                    // Segments may have been retired.
                    self.prepare_next();
                }
            }
            Event::Emptied(segment) => self.keeping.note_emptied(segment),
            Event::Stop { clean, reply } => self.stopping = Some((clean, reply)),
        }
    }

    fn note_written(&mut self, position: usize, batch: u64, result: std::io::Result<()>) {
        self.flights[position].pop_front();
        self.writers.note_heard(position, batch, result.is_err());
        match result {
            Ok(()) => self.set.members[position].written.store(batch, Ordering::Release),
            Err(error) => {
                self.note_failure(position, format!("batch {batch} could not be written: {error}"));
            }
        }
    }

    fn note_failure(&mut self, position: usize, reason: String) {
        if self.set.members[position].is_joining() {
            self.end_joining(position, &reason);
            return;
        }
        let known = self.failed.iter().any(|(failed, _)| *failed == position);
        if !known && self.set.members[position].is_online() {
            self.failed.push((position, reason));
        }
    }

    fn is_writable(&self) -> bool {
        *self.set.mode.read() == Mode::Writable
    }

    /// Whether the memtable is over its bound. Commits wait for the flush before it then, which has a deadline unless
    /// it waits for space: commits are put off or refused one by one in that case. Copies wait in both: what they empty
    /// is given back when the index is past it, and the larger the memtable gets, the more space its flush needs.
    fn waits_for_index(&self) -> bool {
        self.set.index.read().is_over()
    }

    fn has_due_work(&self) -> bool {
        let waits = self.waits_for_index() && !self.set.index.read().waits_for_space();
        !waits && self.queue.iter().any(|request| !request.batch.rides || request.since.elapsed() >= RIDE_MAX)
    }

    fn patience(&self) -> Duration {
        let in_flight = self.flights.iter().any(|flights| !flights.is_empty());
        if self.waits_for_index() {
            INDEX_EVERY
        } else if !self.queue.is_empty() {
            RIDE_MAX
        } else if !self.sealed || in_flight {
            SEAL_AFTER
        } else {
            RETRY_AFTER
        }
    }

    /// A drive whose frame takes too long, or behind which too much gathered, counts as failed.
    fn watch_lag(&mut self) {
        for position in 0..self.flights.len() {
            if self.set.members[position].stalled.load(Ordering::Acquire) {
                // No space is no fault. What waits behind that frame has its time when it is written.
                self.flights[position].iter_mut().for_each(|flight| flight.since = Instant::now());
            }
            let flights = &self.flights[position];
            let bytes: usize = flights.iter().map(|flight| flight.bytes).sum();
            let late =
                flights.front().is_some_and(|flight| flight.since.elapsed() > self.set.patience.read().frame);
            if late || bytes > LAG_BYTES_MAX {
                let batch = flights.front().map_or(0, |flight| flight.batch);
                self.note_failure(position, format!("it lags by {bytes} bytes, since batch {batch}"));
            }
        }
    }

    /// Has the drives looked at, more often while there is work, and lets compaction know when space is short.
    fn watch_drives(&mut self) {
        let every = if self.queue.is_empty() { RETRY_AFTER } else { PRESENCE_EVERY };
        if self.last_look.elapsed() < every {
            return;
        }
        self.last_look = Instant::now();
        self.watch.look();
        if self.set.room_left().shortness() > 0.0 {
            self.compactor.wake();
        }
    }

    /// Where little room is left, commits that take space wait for the copies that they owe, for as long as the room
    /// says.
    fn pace(&mut self) {
        let delay = self.set.room_left().delay_max();
        if delay.is_zero() || !self.queue.iter().any(|request| takes_space(&request.batch.mutations)) {
            return;
        }
        let deadline = Instant::now() + delay;
        while self.owes_copies()
            && let Some(rest) = deadline.checked_duration_since(Instant::now())
        {
            if self.may_copy() {
                self.copy();
            } else {
                self.hear_within(rest, Heed::AllButCommits);
            }
        }
    }

    /// Tries again what failed: recovery, or finding space. Also under load, which would else never end it.
    fn retry(&mut self) {
        if self.last_retry.elapsed() < RETRY_AFTER {
            return;
        }
        if !self.is_writable() {
            self.recover();
        } else if self.set.full.load(Ordering::Relaxed) {
            tracing::debug!(
                newest = self.chain.heads.newest,
                segments = self.chain.table.len(),
                emptied = self.keeping.emptied(),
                "No space came back."
            );
            self.prepare_next();
        }
    }

    /// Sees to the copies of the index; without any that can be read it is rebuilt by recovery.
    fn tend_index(&mut self) {
        if self.last_tended.elapsed() < PRESENCE_EVERY {
            return;
        }
        self.last_tended = Instant::now();
        checkpoint::tend(&self.set);
        // A full set has the space of what was emptied when the index is past it.
        let is_awaited = self.set.full.load(Ordering::Relaxed) && self.keeping.emptied() > 0;
        if is_awaited || self.last_work.elapsed() > checkpoint::QUIET {
            checkpoint::when_quiet(&self.set, &self.chain);
        }
        if self.is_writable() && self.set.index.read().is_lost() {
            self.freeze(&Frozen("the index is rebuilt from the journal".into()));
        }
    }

    fn when_idle(&mut self) {
        if self.is_writable() && !self.sealed && self.last_work.elapsed() >= SEAL_AFTER {
            self.seal();
        }
        if self.is_writable() && !self.rested && self.last_commit.elapsed() >= REST_AFTER {
            self.rest();
        }
    }

    fn seal(&mut self) {
        if let Err(frozen) = self.write_plain(Kind::Seal, &[]) {
            self.freeze(&frozen);
        }
        self.sealed = true;
    }

    fn prepare_next(&mut self) {
        self.last_retry = Instant::now();
        let next = self.chain.heads.fresh().segment;
        // The reserve: what deletes and copies are written to when nothing can be allocated any more.
        let reserve = if self.set.room_left().shortness() > 0.0 { RESERVE_SEGMENTS } else { 0 };
        self.preparer.ask(next..=next + reserve, self.set.size_of_new());
    }

    fn stop(mut self, clean: bool, reply: Option<oneshot::Sender<()>>) {
        if clean {
            while !self.queue.is_empty() {
                self.commit_queue();
            }
            if self.is_writable() && !self.sealed {
                self.seal();
            }
        }
        if self.set.is_stalled() {
            // Who waits for space gives up.
            set_mode(&self.set, Mode::ReadOnly("it stops while a drive has no space".into()));
        }
        // Every voter then holds everything: after a clean stop the set survives the loss of m drives whole. And
        // no thread holds a drive any more, which may be opened again at once.
        self.drain_flights();
        if clean {
            self.keep_at_stop();
        }
        for request in self.queue.drain(..) {
            answer(request, Err(EngineError::Closed));
        }
        // Compaction waits for an answer, and may be sending its next request.
        self.refuse_copies();
        while let Some(event) = self.next_event() {
            self.hear(event);
            self.refuse_copies();
        }
        drop(self.inbox);
        drop(self.compactor);
        drop(self.watch);
        self.writers.stop();
        checkpoint::stop(&self.set, clean.then_some(&self.chain));
        drop(self.preparer);
        drop(self.keeping);
        drop(self.set);
        if let Some(reply) = reply {
            // Nobody waits for it any more, which is theirs to choose.
            let _ = reply.send(());
        }
    }
}
