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
//! Bounds: [`COMMITS_WAITING_MAX`] commits wait (more wait to be let in), a drive may lag by
//! [`LAG_BYTES_MAX`] or [`LAG_MAX`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use store::{Batch, Change, Committed, EngineError, Mutation, Sequence};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::chain::Chain;
use crate::columns::{Layout, column_on, lay_out};
use crate::digest::crc64;
use crate::drive::{BLOCK_BYTES, is_full};
use crate::error::OpenError;
use crate::frame::{Address, FRAME_BYTES_MAX, Form, HEADER_BYTES, Header, Kind, Shared};
use crate::index::FramePlace;
use crate::judge::Overlay;
use crate::record::{Metadata, metadata_bytes_of};
use crate::recovery::{self, Outcome, set_mode};
use crate::replay::encode_epoch_start;
use crate::segment::{INCARNATION, Preparer, first_address, segment_bytes};
use crate::set::{Mode, Set};
use crate::writer::{Job, Writer};

/// Commits that may wait for the frame before them.
pub(crate) const COMMITS_WAITING_MAX: usize = 8192;

/// Largest single commit, metadata and payload together: what fits a frame even when one column takes it all.
const COMMIT_BYTES_MAX: usize = FRAME_BYTES_MAX - 64 * 1024;

/// A frame takes no more commits beyond this many bytes of metadata and of its fullest column.
const FRAME_BYTES_GOAL: usize = FRAME_BYTES_MAX * 5 / 8;

/// Bytes a drive may lag behind before it is out: 64 MiB.
const LAG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Time a drive may take for one frame before it is out.
const LAG_MAX: Duration = Duration::from_secs(5);

/// How long the set is idle before a seal frame states what is durable.
const SEAL_AFTER: Duration = Duration::from_millis(200);

/// How long a batch that rides waits for another to ride on.
const RIDE_MAX: Duration = Duration::from_millis(100);

/// How long between attempts to recover, or to find space again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A commit that waits.
pub(crate) struct Request {
    pub batch: Batch,
    pub reply: oneshot::Sender<Result<Committed, EngineError>>,
    pub since: Instant,
    pub permit: OwnedSemaphorePermit,
}

/// What the sequencer hears.
pub(crate) enum Event {
    /// A commit came.
    Commit(Box<Request>),
    /// A drive wrote its frame of a batch, or failed to.
    Written {
        position: usize,
        batch: u64,
        result: std::io::Result<()>,
    },
    /// A drive failed elsewhere.
    Fault { position: usize, reason: String },
    /// No more commits come. With `clean`, what is queued is written, every voter is waited for, and a seal
    /// is written; without, the thread ends as it stands.
    Stop {
        clean: bool,
        reply: Option<oneshot::Sender<()>>,
    },
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
    events: Receiver<Event>,
    sender: Sender<Event>,
    queue: VecDeque<Request>,
    writers: Vec<Option<Writer>>,
    flights: Vec<VecDeque<Flight>>,
    /// Drives that failed since the last decision, with their reasons.
    failed: Vec<(usize, String)>,
    preparer: Preparer,
    prepared: u32,
    sealed: bool,
    last_work: Instant,
    last_retry: Instant,
    stopping: Option<(bool, Option<oneshot::Sender<()>>)>,
}

/// The set froze: fewer drives than the write quorum hold the batch.
struct Frozen(String);

impl Sequencer {
    pub(crate) fn new(
        set: Arc<Set>,
        chain: Chain,
        events: Receiver<Event>,
        sender: Sender<Event>,
    ) -> Sequencer {
        let faults = sender.clone();
        let preparer = Preparer::start(Arc::clone(&set), move |position, reason| {
            // The sequencer is gone only when the engine is.
            let _ = faults.send(Event::Fault { position, reason });
        });
        let now = Instant::now();
        let drives = set.members.len();
        Sequencer {
            prepared: chain.next.segment,
            set,
            chain,
            events,
            sender,
            queue: VecDeque::new(),
            writers: (0..drives).map(|_| None).collect(),
            flights: (0..drives).map(|_| VecDeque::new()).collect(),
            failed: Vec::new(),
            preparer,
            sealed: true,
            last_work: now,
            last_retry: now,
            stopping: None,
        }
    }

    /// Writes the first frame of the epoch; the set takes writes when it is durable on the write quorum.
    pub(crate) fn begin_epoch(&mut self) -> Result<(), String> {
        self.writers = self
            .set
            .members
            .iter()
            .map(|member| {
                member
                    .is_online()
                    .then(|| Writer::start(Arc::clone(&self.set), member.position, self.sender.clone()))
            })
            .collect();
        let metadata = encode_epoch_start(self.chain.previous);
        self.write_plain(Kind::EpochStart, &metadata)
            .map_err(|Frozen(reason)| reason)?;
        self.preparer.ask(
            self.chain.next.segment,
            self.set.segment_bytes(self.chain.next.segment),
        );
        set_mode(&self.set, Mode::Writable);
        Ok(())
    }

    /// Runs until the engine stops.
    pub(crate) fn run(mut self) {
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.hear(event);
            }
            if let Some((clean, reply)) = self.stopping.take() {
                return self.stop(clean, reply);
            }
            self.watch_lag();
            if !self.failed.is_empty() && self.is_writable() {
                if let Err(frozen) = self.expel() {
                    self.freeze(&frozen);
                }
            }
            if self.has_due_work() {
                self.commit_queue();
                continue;
            }
            self.when_idle();
            match self.events.recv_timeout(self.patience()) {
                Ok(event) => self.hear(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Commit(request) => self.queue.push_back(*request),
            Event::Written {
                position,
                batch,
                result,
            } => self.note_written(position, batch, result),
            Event::Fault { position, reason } => self.note_failure(position, reason),
            Event::Stop { clean, reply } => self.stopping = Some((clean, reply)),
        }
    }

    fn note_written(&mut self, position: usize, batch: u64, result: std::io::Result<()>) {
        self.flights[position].pop_front();
        match result {
            Ok(()) => self.set.members[position].written.store(batch, Ordering::Release),
            Err(error) => {
                self.note_failure(position, format!("batch {batch} could not be written: {error}"));
            }
        }
    }

    fn note_failure(&mut self, position: usize, reason: String) {
        let known = self.failed.iter().any(|(failed, _)| *failed == position);
        if !known && self.set.members[position].is_online() {
            self.failed.push((position, reason));
        }
    }

    fn is_writable(&self) -> bool {
        *self.set.mode.read() == Mode::Writable
    }

    fn has_due_work(&self) -> bool {
        self.queue
            .iter()
            .any(|request| !request.batch.rides || request.since.elapsed() >= RIDE_MAX)
    }

    fn patience(&self) -> Duration {
        let in_flight = self.flights.iter().any(|flights| !flights.is_empty());
        if !self.queue.is_empty() {
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
            let flights = &self.flights[position];
            let bytes: usize = flights.iter().map(|flight| flight.bytes).sum();
            let late = flights
                .front()
                .is_some_and(|flight| flight.since.elapsed() > LAG_MAX);
            if late || bytes > LAG_BYTES_MAX {
                let batch = flights.front().map_or(0, |flight| flight.batch);
                self.note_failure(position, format!("it lags by {bytes} bytes, since batch {batch}"));
            }
        }
    }

    fn when_idle(&mut self) {
        if self.is_writable() {
            if !self.sealed && self.last_work.elapsed() >= SEAL_AFTER {
                self.seal();
            }
            let retry = self.set.full.load(Ordering::Relaxed) && self.last_retry.elapsed() >= RETRY_AFTER;
            if retry {
                self.prepare_next();
            }
        } else if self.last_retry.elapsed() >= RETRY_AFTER {
            self.recover();
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
        let number = self.chain.next.segment + 1;
        self.preparer
            .ask(number, segment_bytes(number, self.set.largest_segment));
    }

    // --- Building a frame ---

    fn commit_queue(&mut self) {
        if !self.is_writable() {
            let refusal = self.write_quorum_lost();
            for request in self.queue.drain(..) {
                answer(request, Err(refusal.clone()));
            }
            return;
        }
        let group = self.gather();
        if group.accepted.is_empty() {
            return group.refuse();
        }
        let usable: Vec<bool> = self.usable_columns();
        let layout = lay_out(
            &self.set.codec,
            group.metadata.payloads(),
            group.metadata.len(),
            &usable,
        );
        let metadata = group.metadata.finish(&layout.places);
        let outcome = self.write_batch(Kind::Commits, &metadata, &layout);
        let parts = Answers {
            accepted: group.accepted,
            deferred: group.deferred,
        };
        match outcome {
            Ok(shared) => self.acknowledge(&shared, &metadata, parts),
            Err(Failure::Full) => {
                self.set.full.store(true, Ordering::Relaxed);
                parts.fail(&EngineError::Full);
            }
            Err(Failure::Frozen(frozen)) => {
                parts.fail(&EngineError::OutcomeUnknown {
                    reason: frozen.0.clone(),
                });
                self.freeze(&frozen);
            }
        }
    }

    fn write_quorum_lost(&self) -> EngineError {
        let answered = self
            .set
            .online()
            .count()
            .min(self.set.geometry.write_quorum() - 1);
        EngineError::WriteQuorum {
            answered,
            needed: self.set.geometry.write_quorum(),
        }
    }

    /// Takes from the queue what one frame holds.
    fn gather(&mut self) -> Group {
        let set = Arc::clone(&self.set);
        let index = set.index.read();
        let full = set.full.load(Ordering::Relaxed);
        let columns = self.usable_columns()[..set.geometry.data]
            .iter()
            .filter(|usable| **usable)
            .count()
            .max(1);
        let mut group = Group::new();
        let mut last = index.last_sequence;
        let (mut meta_bytes, mut payload_bytes) = (0, 0);
        while let Some(mut request) = self.queue.pop_front() {
            let metadata = metadata_bytes_of(&request.batch.mutations, &request.batch.changes);
            let payload = payload_bytes_of(&request.batch.mutations);
            if metadata + payload > COMMIT_BYTES_MAX {
                let size_bytes = metadata + payload;
                answer(
                    request,
                    Err(EngineError::TooLarge {
                        size_bytes,
                        limit_bytes: COMMIT_BYTES_MAX,
                    }),
                );
                continue;
            }
            let fullest = meta_bytes + metadata + (payload_bytes + payload) / columns;
            if !group.accepted.is_empty() && fullest > FRAME_BYTES_GOAL {
                self.queue.push_front(request);
                break;
            }
            if full && takes_space(&request.batch.mutations) {
                answer(request, Err(EngineError::Full));
                continue;
            }
            if let Some(nth) = group.overlay.refusal(&index, &request.batch) {
                group
                    .deferred
                    .push((request, EngineError::Precondition { index: nth }));
                continue;
            }
            let committed = assign(&mut request.batch, last, set.clock.now_ns());
            last = committed.sequence;
            let unnamed = group.overlay.accept(&index, last, &request.batch.mutations);
            group
                .metadata
                .push(last, &request.batch.mutations, &request.batch.changes);
            group.accepted.push((request, Committed { unnamed, ..committed }));
            meta_bytes += metadata;
            payload_bytes += payload;
        }
        group
    }

    /// Of each column of the next batch, whether its drive takes it.
    fn usable_columns(&self) -> Vec<bool> {
        let mut usable = vec![false; self.set.members.len()];
        for member in self.set.online() {
            usable[column_on(self.set.geometry, self.chain.next_batch, member.position)] = true;
        }
        usable
    }

    fn acknowledge(&mut self, shared: &Shared, metadata: &[u8], answers: Answers) {
        let place = FramePlace {
            batch: shared.batch,
            address: shared.address,
            meta_bytes: shared.meta_bytes,
        };
        let mut accepted = answers.accepted;
        {
            let mut index = self.set.index.write();
            index
                .apply(place, metadata)
                .expect("metadata written here has the form that is read here");
            let changes: Vec<Change> = accepted
                .iter_mut()
                .flat_map(|(request, _)| std::mem::take(&mut request.batch.changes))
                .collect();
            index.remember(changes);
        }
        for (request, committed) in accepted {
            answer(request, Ok(committed));
        }
        for (request, refusal) in answers.deferred {
            answer(request, Err(refusal));
        }
        self.sealed = false;
        self.last_work = Instant::now();
    }

    // --- Writing a frame ---

    fn write_plain(&mut self, kind: Kind, metadata: &[u8]) -> Result<(), Frozen> {
        let layout = Layout {
            form: Form::Empty,
            places: Vec::new(),
            columns: Vec::new(),
            stripe_bytes: 0,
        };
        match self.write_batch(kind, metadata, &layout) {
            Ok(_) => Ok(()),
            Err(Failure::Frozen(frozen)) => Err(frozen),
            Err(Failure::Full) if kind == Kind::Seal => Ok(()),
            Err(Failure::Full) => Err(Frozen(
                "no space is left for the first segment of the journal".into(),
            )),
        }
    }

    /// Writes one batch and returns when q voters hold it.
    fn write_batch(&mut self, kind: Kind, metadata: &[u8], layout: &Layout) -> Result<Shared, Failure> {
        let slot = (HEADER_BYTES + metadata.len() + layout.stripe_bytes).next_multiple_of(BLOCK_BYTES);
        let address = self.set.place(self.chain.next, slot);
        self.ensure_segment(address)?;
        let shared = Shared {
            kind,
            form: layout.form,
            address,
            incarnation: INCARNATION,
            slot_bytes: number(slot),
            epoch: self.chain.log.epoch,
            nonce: self.chain.log.nonce,
            batch: self.chain.next_batch,
            previous_hash: self.chain.last_hash,
            durable_upto: self.chain.next_batch - 1,
            time_ns: self.set.clock.now_ns(),
            meta_bytes: number(metadata.len()),
            meta_crc: crc64(&[metadata]),
            stripe_bytes: number(layout.stripe_bytes),
        };
        self.dispatch(&shared, metadata, layout);
        self.await_quorum(shared.batch).map_err(Failure::Frozen)?;
        self.chain.pass(&shared);
        let half = self.set.segment_bytes(address.segment) / 2;
        if u64::from(self.chain.next.offset) > half && self.prepared == address.segment {
            self.prepared += 1;
            self.prepare_next();
        }
        Ok(shared)
    }

    /// Makes the segment on every drive that lacks it. Nothing was written when this fails.
    fn ensure_segment(&mut self, address: Address) -> Result<(), Failure> {
        if address != first_address(address.segment) {
            return Ok(());
        }
        self.prepared = self.prepared.max(address.segment);
        let size_bytes = self.set.segment_bytes(address.segment);
        let set = Arc::clone(&self.set);
        for member in set.online() {
            match member.prepare_segment(set.id, address.segment, size_bytes) {
                Ok(()) => {}
                Err(error) if is_full(&error) => return Err(Failure::Full),
                Err(error) => {
                    self.note_failure(member.position, format!("a segment could not be made: {error}"))
                }
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, shared: &Shared, metadata: &[u8], layout: &Layout) {
        for position in 0..self.writers.len() {
            let failed = self.failed.iter().any(|(failed, _)| *failed == position);
            let Some(writer) = self.writers[position].as_ref().filter(|_| !failed) else {
                continue;
            };
            let column: &[u8] = match layout.form {
                Form::Empty => &[],
                Form::Replicated => &layout.columns[0],
                Form::Columns => &layout.columns[column_on(self.set.geometry, shared.batch, position)],
            };
            let header = Header {
                shared: shared.clone(),
                position: u16::try_from(position).expect("a set has at most 16 drives"),
                column_bytes: number(column.len()),
                column_crc: crc64(&[column]),
            };
            let frame = header.frame(metadata, column);
            self.flights[position].push_back(Flight {
                batch: shared.batch,
                bytes: frame.len(),
                since: Instant::now(),
            });
            writer.write(Job {
                batch: shared.batch,
                address: shared.address,
                frame,
            });
        }
    }

    /// Waits until q voters hold the batch, and takes out those that failed meanwhile.
    fn await_quorum(&mut self, batch: u64) -> Result<(), Frozen> {
        let quorum = self.set.geometry.write_quorum();
        loop {
            self.watch_lag();
            let failed = self.failed.len();
            let able = self.set.online().count() - failed;
            if able < quorum {
                return Err(Frozen(self.describe_failures(batch)));
            }
            let holds = |position: &usize| {
                self.set.members[*position].is_online()
                    && self.set.members[*position].written.load(Ordering::Acquire) >= batch
                    && !self.failed.iter().any(|(failed, _)| failed == position)
            };
            if (0..self.writers.len()).filter(holds).count() >= quorum {
                return if failed > 0 { self.expel() } else { Ok(()) };
            }
            match self.events.recv_timeout(LAG_MAX / 10) {
                Ok(event) => self.hear(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Frozen("the engine was dropped".into())),
            }
        }
    }

    fn describe_failures(&self, batch: u64) -> String {
        let failures: Vec<String> = self
            .failed
            .iter()
            .map(|(position, reason)| format!("{}: {reason}", self.set.members[*position].path))
            .collect();
        format!(
            "batch {batch} is short of the write quorum ({})",
            failures.join("; ")
        )
    }

    /// Takes the failed drives out by a decision of the others.
    fn expel(&mut self) -> Result<(), Frozen> {
        let failed = std::mem::take(&mut self.failed);
        let remaining: Vec<usize> = self
            .set
            .online()
            .map(|member| member.position)
            .filter(|position| !failed.iter().any(|(failed, _)| failed == position))
            .collect();
        if remaining.len() < self.set.geometry.write_quorum() {
            self.failed = failed;
            return Err(Frozen(format!("{} drives are left", remaining.len())));
        }
        let mut identity = self.set.identity.lock().clone();
        identity.revision += 1;
        let decided = self.set.decide(identity, remaining);
        for (position, reason) in failed {
            self.set.members[position].take_out(&reason);
            self.flights[position].clear();
            if let Some(writer) = self.writers[position].take() {
                writer.abandon();
            }
        }
        decided
            .map(|_| ())
            .map_err(|short| Frozen(format!("{} drives are left", short.answered)))
    }

    // --- Freezing and recovering ---

    /// Stops writing in this epoch. Recovery is tried at once and then every second.
    fn freeze(&mut self, frozen: &Frozen) {
        set_mode(&self.set, Mode::ReadOnly(frozen.0.clone()));
        self.recover();
    }

    /// Decides the last batch and begins a new epoch, if enough drives work.
    fn recover(&mut self) {
        self.last_retry = Instant::now();
        if !self.drain_flights() {
            return;
        }
        // Voters that only failed since the last decision are asked again: what they hold is read and
        // verified, not believed.
        let identity = self.set.identity.lock().clone();
        for (member, membership) in self.set.members.iter().zip(&identity.members) {
            if membership.voter && member.drive.is_some() {
                member.take_in();
            }
        }
        self.failed.clear();
        self.writers.iter_mut().for_each(|writer| *writer = None);
        match recovery::settle(&self.set, self.chain.clone()) {
            Ok(Outcome::Writable(chain)) => {
                self.chain = *chain;
                if let Err(reason) = self.begin_epoch() {
                    set_mode(&self.set, Mode::ReadOnly(reason));
                }
            }
            Ok(Outcome::ReadOnly(_, reason)) => set_mode(&self.set, Mode::ReadOnly(reason)),
            Err(error) => self.stay_read_only(&error),
        }
    }

    fn stay_read_only(&self, error: &OpenError) {
        set_mode(&self.set, Mode::ReadOnly(error.to_string()));
    }

    /// Waits until no frame is in flight; `false` when a drive hangs.
    fn drain_flights(&mut self) -> bool {
        let deadline = Instant::now() + LAG_MAX;
        while self.flights.iter().any(|flights| !flights.is_empty()) {
            if Instant::now() > deadline {
                return false;
            }
            if let Ok(event) = self.events.recv_timeout(SEAL_AFTER) {
                self.hear(event);
            }
            if self.stopping.is_some() {
                return false;
            }
        }
        true
    }

    fn stop(mut self, clean: bool, reply: Option<oneshot::Sender<()>>) {
        if clean {
            while !self.queue.is_empty() {
                self.commit_queue();
            }
            if self.is_writable() {
                if !self.sealed {
                    self.seal();
                }
                // Every voter then holds everything: the set survives the loss of m drives whole.
                if !self.drain_flights() {
                    tracing::warn!(set = %self.set.id, "A drive did not take its last frames before the stop.");
                }
            }
        }
        for request in self.queue.drain(..) {
            answer(request, Err(EngineError::Closed));
        }
        self.writers.clear();
        drop(self.preparer);
        drop(self.set);
        if let Some(reply) = reply {
            // Nobody waits for it any more, which is theirs to choose.
            let _ = reply.send(());
        }
    }
}

/// Commits that go into one frame, and refusals that rest on them.
struct Group {
    metadata: Metadata,
    overlay: Overlay,
    accepted: Vec<(Request, Committed)>,
    deferred: Vec<(Request, EngineError)>,
}

impl Group {
    fn new() -> Group {
        Group {
            metadata: Metadata::new(),
            overlay: Overlay::default(),
            accepted: Vec::new(),
            deferred: Vec::new(),
        }
    }

    /// Answers refusals that rest on durable batches alone.
    fn refuse(self) {
        for (request, refusal) in self.deferred {
            answer(request, Err(refusal));
        }
    }
}

struct Answers {
    accepted: Vec<(Request, Committed)>,
    deferred: Vec<(Request, EngineError)>,
}

impl Answers {
    fn fail(self, error: &EngineError) {
        let accepted = self.accepted.into_iter().map(|(request, _)| request);
        for request in accepted.chain(self.deferred.into_iter().map(|(request, _)| request)) {
            answer(request, Err(error.clone()));
        }
    }
}

/// Why a batch was not made durable.
enum Failure {
    Full,
    Frozen(Frozen),
}

fn answer(request: Request, result: Result<Committed, EngineError>) {
    drop(request.permit);
    // The caller may have gone away; its commit stands all the same.
    let _ = request.reply.send(result);
}

/// Gives a batch its sequences: max(previous + 1, nanoseconds since 1970), one for each change, one at least.
fn assign(batch: &mut Batch, last: Sequence, now_ns: u64) -> Committed {
    let first = now_ns.max(last.0 + 1);
    let mut changes = Vec::with_capacity(batch.changes.len());
    for (nth, change) in batch.changes.iter_mut().enumerate() {
        change.sequence = Sequence(first + nth as u64);
        changes.push(change.sequence);
    }
    let sequence = changes.last().copied().unwrap_or(Sequence(first));
    Committed {
        sequence,
        changes,
        unnamed: Vec::new(),
    }
}

fn payload_bytes_of(mutations: &[Mutation]) -> usize {
    mutations
        .iter()
        .map(|mutation| {
            if let Mutation::Put(put) = mutation {
                put.payload.len()
            } else {
                0
            }
        })
        .sum()
}

/// Whether a batch brings more than it removes: such are refused when the drives are full, so that deletes
/// and cursors still fit in what is left of the segment.
fn takes_space(mutations: &[Mutation]) -> bool {
    mutations
        .iter()
        .any(|mutation| matches!(mutation, Mutation::Put(put) if !put.payload.is_empty() || !put.locations.is_empty()))
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("a frame is smaller than 4 GiB")
}
