//! Building a frame: takes commits from the queue, judges them, and answers them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use store::{Batch, Change, Committed, EngineError, Mutation, Sequence};

use super::inbox::Heed;
use super::write::{Batch as Frame, Failure};
use super::{Outcome, Request, Sequencer};
use crate::bodies::places;
use crate::chain::Stream;
use crate::columns::{column_on, lay_out};
use crate::frame::{FRAME_BYTES_MAX, HEADER_BYTES, Kind, Shared};
use crate::index::lookup::Below;
use crate::index::{FramePlace, GROWTH_MAX, View, checkpoint, growth_of};
use crate::judge::{LookAgain, Overlay};
use crate::member::Member;
use crate::record::{Metadata, metadata_bytes_of};
use crate::table::Span;

/// Largest single commit: its metadata and its longest column.
const COMMIT_BYTES_MAX: usize = FRAME_BYTES_MAX - 64 * 1024;

/// A frame takes no more commits beyond this many bytes of metadata and of its fullest column.
const FRAME_BYTES_GOAL: usize = FRAME_BYTES_MAX * 5 / 8;

/// How long a commit waits for space when there is none at all: one that takes none, or any while compaction goes on.
const FULL_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long after its last copies compaction counts as going on: it reads and chooses in between.
const COPIES_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long between attempts meanwhile.
const FULL_RETRY_AFTER: Duration = Duration::from_millis(10);

impl Sequencer {
    pub(super) fn commit_queue(&mut self) {
        if !self.is_writable() {
            return self.refuse_queue();
        }
        let group = self.gather();
        if group.accepted.is_empty() {
            if group.waits {
                self.hear_within(FULL_RETRY_AFTER, Heed::AllButCommits);
            }
            return group.refuse();
        }
        let usable: Vec<bool> = self.usable_columns();
        let layout = lay_out(&self.set.codec, group.metadata.payloads(), group.metadata.len(), &usable);
        let metadata = group.metadata.finish(&layout.places);
        let span = Span::of(group.accepted.iter().map(|(_, committed)| committed.sequence));
        let parts = Answers { accepted: group.accepted, deferred: group.deferred };
        let size_bytes = HEADER_BYTES + metadata.len() + layout.stripe_bytes;
        if size_bytes > FRAME_BYTES_MAX {
            // Payloads of one commit that gather in the few columns whose drives are there.
            return parts.fail(&EngineError::TooLarge { size_bytes, limit_bytes: FRAME_BYTES_MAX });
        }
        let batch =
            Frame { kind: Kind::Commits, stream: Stream::Hot, metadata: &metadata, layout: &layout, span };
        match self.write_batch(&batch) {
            Ok(shared) => self.acknowledge(&shared, &metadata, parts),
            Err(Failure::Full) => {
                self.set.full.store(true, Ordering::Relaxed);
                // Many small deletes fill a segment badly: packed anew it gives most of its space back.
                if self.end_if_badly_filled(Stream::Hot) {
                    self.publish_table();
                }
                self.put_off(parts);
            }
            Err(Failure::Frozen(frozen)) => {
                parts.fail(&EngineError::OutcomeUnknown { reason: frozen.0.clone() });
                self.freeze(&frozen);
            }
        }
    }

    /// Whether a commit may wait for space: one that takes none, and any while compaction gives some back, or the index
    /// is not yet past what it emptied. So nobody is refused only because these are behind.
    fn may_wait(&self, request: &Request) -> bool {
        let is_copied = self.last_copy.is_some_and(|copied| copied.elapsed() < COPIES_PAUSE_MAX);
        let comes = is_copied || self.keeping.emptied() > 0;
        (comes || !takes_space(&request.batch.mutations)) && request.since.elapsed() < FULL_WAIT_MAX
    }

    /// Lets commits wait a moment for compaction to give space back, if they may; refuses others.
    fn put_off(&mut self, parts: Answers) {
        if !parts.accepted.iter().all(|(request, _)| self.may_wait(request)) {
            return parts.fail(&EngineError::Full);
        }
        let deferred = parts.deferred.into_iter().map(|(request, _)| request);
        let accepted = parts.accepted.into_iter().map(|(request, _)| request);
        for request in deferred.rev().chain(accepted.rev()) {
            self.queue.push_front(request);
        }
        self.hear_within(FULL_RETRY_AFTER, Heed::AllButCommits);
    }

    /// Refuses everything: the set takes no writes.
    fn refuse_queue(&mut self) {
        let needed = self.set.geometry.write_quorum();
        let answered = self.set.online().count().min(needed - 1);
        let full = self.set.full.load(Ordering::Relaxed);
        for request in self.queue.drain(..) {
            let refusal = if full && takes_space(&request.batch.mutations) {
                EngineError::Full
            } else {
                EngineError::WriteQuorum { answered, needed }
            };
            answer(request, Err(refusal));
        }
    }

    /// Takes from the queue what one frame holds.
    fn gather(&mut self) -> Group {
        let set = Arc::clone(&self.set);
        let index = set.index.read();
        let full = set.full.load(Ordering::Relaxed) || index.waits_for_space();
        let over = full && index.is_over();
        let data = set.geometry.data;
        let (needed, online) = (set.geometry.write_quorum(), set.positions(Member::is_online));
        let columns = self.usable_columns()[..data].iter().filter(|usable| **usable).count().max(1);
        let (mut group, mut waiting) = (Group::new(), Vec::new());
        let mut last = index.last_sequence;
        let (mut meta_bytes, mut payload_bytes, mut largest_bytes, mut growth) = (0, 0, 0, 0);
        while let Some(mut request) = self.queue.pop_front() {
            let metadata = metadata_bytes_of(&request.batch.mutations, &request.batch.changes);
            let (payload, largest) = payload_bytes_of(&request.batch.mutations);
            // A payload that has a batch to itself is split over all data columns; of several, one may take all.
            let column = if largest == payload { payload.div_ceil(data) } else { payload };
            if metadata + column > COMMIT_BYTES_MAX {
                let size_bytes = metadata + column;
                answer(request, Err(EngineError::TooLarge { size_bytes, limit_bytes: COMMIT_BYTES_MAX }));
                continue;
            }
            let fullest = meta_bytes + metadata + (payload_bytes + payload) / columns;
            // Greedy filling ends at most the largest payload above level, padding at most a tenth.
            let longest = fullest + (payload_bytes + payload) / 10 + largest_bytes.max(largest);
            let grown = growth + growth_of(&request.batch.mutations, request.batch.changes.len());
            let is_full = fullest > FRAME_BYTES_GOAL || longest > COMMIT_BYTES_MAX || grown > GROWTH_MAX;
            if !group.accepted.is_empty() && is_full {
                self.queue.push_front(request);
                break;
            }
            if over || (full && takes_space(&request.batch.mutations)) {
                if self.may_wait(&request) {
                    waiting.push(request);
                } else {
                    answer(request, Err(EngineError::Full));
                }
                continue;
            }
            let holders = set.bodies.fewest_holders(&request.batch.mutations, online);
            if let Some(answered) = holders.filter(|holders| *holders < needed) {
                answer(request, Err(EngineError::WriteQuorum { answered, needed }));
                continue;
            }
            if request.below.generation != index.generation() {
                look_again(request);
                continue;
            }
            let view = View { index: &index, below: &request.below };
            match group.overlay.refusal(view, &request.batch) {
                Ok(None) => {}
                Ok(Some(nth)) => {
                    group.deferred.push((request, EngineError::Precondition { index: nth }));
                    continue;
                }
                Err(LookAgain) => {
                    look_again(request);
                    continue;
                }
            }
            let committed = assign(&mut request.batch, last, set.clock.now_ns());
            last = committed.sequence;
            let view = View { index: &index, below: &request.below };
            let unnamed = group.overlay.accept(view, last, &request.batch.mutations);
            group.metadata.push(last, &request.batch.mutations, &request.batch.changes);
            group.accepted.push((request, Committed { unnamed, ..committed }));
            meta_bytes += metadata;
            payload_bytes += payload;
            largest_bytes = largest_bytes.max(largest);
            growth = grown;
        }
        group.waits = !waiting.is_empty();
        waiting.into_iter().rev().for_each(|request| self.queue.push_front(request));
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
        let place = FramePlace::of(shared);
        let mut accepted = answers.accepted;
        let mut below = Below::default();
        accepted.iter_mut().for_each(|(request, _)| below.absorb(std::mem::take(&mut request.below)));
        for place in accepted.iter().flat_map(|(request, _)| places(&request.batch.mutations)) {
            self.set.bodies.name(&place);
            self.set.volumes.name(&place);
        }
        {
            let mut index = self.set.index.write();
            if let Some(released) = accepted.iter().rev().find_map(|(request, _)| request.batch.released) {
                index.released = released;
            }
            index
                .apply(place, metadata, &below)
                .expect("metadata written here has the form that is read here");
            let changes: Vec<Change> = accepted
                .iter_mut()
                .flat_map(|(request, _)| std::mem::take(&mut request.batch.changes))
                .collect();
            index.remember(changes);
        }
        checkpoint::when_full(&self.set, Some(&self.chain));
        let (written, joining) =
            (self.set.positions(Member::is_written), self.set.positions(Member::is_joining));
        for (request, committed) in accepted {
            self.set.bodies.commit(&request.batch.mutations, written, joining);
            answer(request, Ok(committed));
        }
        for (request, refusal) in answers.deferred {
            answer(request, Err(refusal));
        }
        self.note_owed(shared.slot_bytes as usize);
        self.sealed = false;
        self.rested = false;
        self.last_work = Instant::now();
        self.last_commit = self.last_work;
    }
}

/// Commits that go into one frame, and refusals that rest on them.
struct Group {
    metadata: Metadata,
    overlay: Overlay,
    accepted: Vec<(Request, Committed)>,
    deferred: Vec<(Request, EngineError)>,
    /// Whether others wait for space, in the queue again.
    waits: bool,
}

impl Group {
    fn new() -> Group {
        Group {
            metadata: Metadata::new(),
            overlay: Overlay::default(),
            accepted: Vec::new(),
            deferred: Vec::new(),
            waits: false,
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

pub(super) fn answer(request: Request, result: Result<Committed, EngineError>) {
    drop(request.permit);
    // The caller may have gone away; its commit stands all the same.
    let _ = request.reply.send(Outcome::Done(result));
}

fn look_again(request: Request) {
    let Request { batch, reply, permit, .. } = request;
    drop(permit);
    // The caller may have gone away; nothing was done.
    let _ = reply.send(Outcome::LookAgain(batch));
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
    Committed { sequence, changes, unnamed: Vec::new() }
}

/// Bytes of all payloads, and of the largest.
fn payload_bytes_of(mutations: &[Mutation]) -> (usize, usize) {
    let lengths = mutations.iter().map(|mutation| match mutation {
        Mutation::Put(put) => put.payload.len(),
        Mutation::Delete(_) | Mutation::DeletePrefix(_) => 0,
    });
    lengths.fold((0, 0), |(sum, largest), length| (sum + length, largest.max(length)))
}

/// Whether a batch brings more than it removes: such are refused when the drives are full, so that deletes
/// and cursors still fit in what is left of the segment.
pub(super) fn takes_space(mutations: &[Mutation]) -> bool {
    mutations
        .iter()
        .any(|mutation| matches!(mutation, Mutation::Put(put) if !put.payload.is_empty() || !put.locations.is_empty()))
}
