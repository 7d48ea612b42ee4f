//! Compaction: gives the space of what is dead back.
//!
//! Segments are the store, so space comes back by copying what lives in a segment elsewhere and retiring it. A
//! segment is worth it when less than a share of what it takes is needed, by [`crate::room`], in the densest packing:
//! so frames that were written badly filled are packed anew too. The one with the best benefit for its cost goes first:
//! much garbage, and old, since what is young dies by itself. Age counts by its square root: counted whole, it would
//! let what is nearly full and very old go before what gives space at once. Copies go to the cold stream through the
//! sequencer.
//!
//! # Invariants
//!
//! 1. A copy is a compare-and-swap by sequence: what changed meanwhile stays as it is.
//! 2. A segment counts as empty when the index names nothing of it, and the deletes of it that may still hide
//!    an older put were copied.
//! 3. With a drive out nothing is copied unless space is short: copies would be whole on fewer drives than their
//!    originals.
//!
//! # Bounds
//!
//! One segment at a time; one request to the sequencer under way, while the next is gathered, each of [`REQUEST_BYTES`]
//! and one record at most. How much of the drives' bandwidth it gets is the sequencer's to say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{EngineError, Mutation, Put, Sequence};

use crate::frame::{Kind, Shared};
use crate::index::lookup::{self, Below};
use crate::index::{self, ChangePlace, FramePlace, Stored, places_of};
use crate::live::OldestDead;
use crate::payload;
use crate::reader::FrameReader;
use crate::record::{self, Commit, Recorded};
use crate::segment::{SEGMENT_HEADER_BYTES, first_address};
use crate::sequencer::{Event, EventSender};
use crate::set::Set;
use crate::table::Row;

/// How short space must be for copies to be made while a drive is out: half of the way.
const SHORT_ENOUGH: f64 = 0.5;

/// Bytes of payload and metadata gathered for the sequencer at a time: 1 MiB.
const REQUEST_BYTES: usize = 1024 * 1024;

/// Changes looked at first for those that nobody may ask for; twice as many each time that all were.
const EXPIRED_FIRST: usize = 256;

/// How long nothing needs to happen before it looks again.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long a segment with something damaged is left alone: repair may mend it, or a drive come back that has it whole.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A record on its way elsewhere: one of both.
pub(crate) struct Copy {
    pub sequence: Sequence,
    pub mutation: Option<Mutation>,
    /// A change as it is encoded.
    pub change: Option<Vec<u8>>,
}

impl Copy {
    /// Bytes in the metadata, and of payload.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let change = self.change.as_ref().map_or(0, |change| 4 + change.len());
        let payload = match &self.mutation {
            Some(Mutation::Put(put)) => put.payload.len(),
            _ => 0,
        };
        (record::metadata_bytes_of(self.mutation.as_slice(), &[]) + change, payload)
    }
}

/// Records for the sequencer to write.
pub(crate) struct CopyRequest {
    pub copies: VecDeque<Copy>,
    /// What the index has of them below memory.
    pub below: Below,
    pub done: Sender<Copied>,
}

/// What became of a request.
pub(crate) enum Copied {
    /// All are durable, and the index knows.
    All,
    /// What was looked up for these does not hold any more. Those before them are durable.
    LookAgain(VecDeque<Copy>),
    /// The set does not take them now.
    Refused,
}

/// The thread.
pub(crate) struct Compactor {
    wake: Option<SyncSender<()>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Compactor {
    pub(crate) fn start(set: Arc<Set>, events: EventSender) -> Compactor {
        let (wake, woken) = sync_channel(1);
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::Builder::new()
            .name("compaction".into())
            .spawn(move || {
                Compaction { set: &set, events, stop, settled: Settled::default(), under_way: None }
                    .run(&woken);
            })
            .expect("the system gives a thread");
        Compactor { wake: Some(wake), stopping, thread: Some(thread) }
    }

    /// Lets it look for something to do; returns at once.
    pub(crate) fn wake(&self) {
        if let Some(wake) = &self.wake {
            // When it is woken already, it looks again anyway.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // It panics only by a bug, and then its panic was printed; dropping goes on.
            let _ = thread.join();
        }
    }
}

struct Compaction<'a> {
    set: &'a Arc<Set>,
    events: EventSender,
    stop: Arc<AtomicBool>,
    settled: Settled,
    /// Answers the request that the sequencer has.
    under_way: Option<Receiver<Copied>>,
}

/// Segments that are not to be emptied now.
#[derive(Debug, Default)]
struct Settled {
    /// They were, and wait to be retired.
    emptied: BTreeSet<u32>,
    /// They could not be; since when.
    damaged: BTreeMap<u32, Instant>,
}

impl Settled {
    /// Notes one that is damaged; answers whether that is new.
    fn damaged(&mut self, segment: u32, now: Instant) -> bool {
        self.damaged.insert(segment, now).is_none()
    }

    /// Forgets those that left the table.
    fn retain(&mut self, closed: &[Row]) {
        let is_there = |number: u32| closed.iter().any(|row| row.number == number);
        self.emptied.retain(|number| is_there(*number));
        self.damaged.retain(|number, _| is_there(*number));
    }

    fn has(&self, segment: u32, now: Instant) -> bool {
        let is_left_alone = |since: &Instant| now.saturating_duration_since(*since) < AGAIN_AFTER;
        self.emptied.contains(&segment) || self.damaged.get(&segment).is_some_and(is_left_alone)
    }
}

/// Why a segment was not emptied: the set does not take writes, or it is damaged.
enum Halt {
    Later,
    Damaged,
}

impl Compaction<'_> {
    fn run(&mut self, woken: &Receiver<()>) {
        use std::sync::mpsc::RecvTimeoutError::Disconnected;
        while woken.recv_timeout(LOOK_EVERY) != Err(Disconnected) {
            while let Some(row) = self.choose() {
                match self.empty(&row) {
                    Ok(()) => {
                        // Each at once: who waits for space waits for one.
                        if self.events.send(Event::Emptied(row.number)).is_err() {
                            // The sequencer is gone only when the engine is.
                            return;
                        }
                        self.settled.emptied.insert(row.number);
                    }
                    Err(Halt::Later) => break,
                    Err(Halt::Damaged) => {
                        if self.settled.damaged(row.number, Instant::now()) {
                            tracing::error!(
                                segment = row.number,
                                "A segment cannot be compacted: something in it is damaged on too many drives."
                            );
                        }
                    }
                }
            }
        }
    }

    fn expire_changes(&self) {
        let now_ns = self.set.clock.now_ns();
        // At no time is a change old.
        let now_ns = if self.set.steps.trusts(now_ns) { now_ns } else { 0 };
        let mut limit = EXPIRED_FIRST;
        while !self.stop.load(Ordering::Relaxed)
            && !self.set.index.read().is_over()
            && let Ok(oldest) = index::oldest(self.set, limit)
            && self.set.index.write().expire(&oldest, self.set.retention, now_ns)
        {
            limit = (2 * limit).min(index::AT_A_TIME);
        }
    }

    /// The segment whose compaction gains most for what it costs, when what nobody may ask for any more is let go of.
    fn choose(&mut self) -> Option<Row> {
        self.expire_changes();
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let closed = self.set.closed.read().clone();
        self.settled.retain(&closed.rows);
        let now = Instant::now();
        let room = self.set.room_left();
        let fill_min = room.fill_min();
        let whole = self.set.online().count() == self.set.geometry.drives();
        let index = self.set.index.read();
        let oldest = index.live.oldest_dead(closed.with_cold_head());
        let candidates = closed.rows.iter().filter(|row| !self.settled.has(row.number, now));
        let valued = candidates.filter_map(|row| {
            let used = f64::from(row.end - SEGMENT_HEADER_BYTES);
            let graves = row.span.is_some_and(|span| oldest.needs(row.number, span.last));
            #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
            let needed = index.live.bytes_in(row.number, self.set.geometry.data, graves) as f64;
            let age = self.set.clock.now_ns().saturating_sub(row.span.map_or(0, |span| span.last.0));
            let worth =
                needed == 0.0 || (needed < fill_min * used && (whole || room.shortness() >= SHORT_ENOUGH));
            let age_seconds = Duration::from_nanos(age).as_secs_f64() + 1.0;
            worth.then_some((row, (used - needed) * age_seconds.sqrt() / (used + needed)))
        });
        valued.max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(row, _)| *row)
    }

    /// Copies what is needed of a segment.
    fn empty(&mut self, row: &Row) -> Result<(), Halt> {
        let gathered = self.copy_needed(row);
        // Whatever came of that: nothing of it is under way when the next segment is chosen.
        self.await_copies().and(gathered)?;
        if self.set.index.read().live.is_dead(row.number) { Ok(()) } else { Err(Halt::Damaged) }
    }

    fn copy_needed(&mut self, row: &Row) -> Result<(), Halt> {
        let oldest = {
            let closed = self.set.closed.read().clone();
            self.set.index.read().live.oldest_dead(closed.with_cold_head())
        };
        let mut reader = FrameReader::new(self.set);
        let mut address = first_address(row.number);
        let (mut copies, mut bytes) = (Vec::new(), 0);
        while address.offset < row.end {
            let (shared, metadata) = reader.known(row, address).ok_or(Halt::Damaged)?;
            if let Kind::Commits | Kind::Copies = shared.kind {
                for copy in self.needed(&shared, &metadata, &oldest)? {
                    let (metadata, payload) = copy.sizes();
                    bytes += metadata + payload;
                    copies.push(copy);
                    if bytes >= REQUEST_BYTES {
                        self.copy(std::mem::take(&mut copies))?;
                        bytes = 0;
                    }
                }
            }
            address.offset += shared.slot_bytes;
        }
        self.copy(copies)
    }

    /// Has copies written; waits for those before them alone, so that the next are read meanwhile.
    fn copy(&mut self, copies: Vec<Copy>) -> Result<(), Halt> {
        self.await_copies()?;
        if !copies.is_empty() {
            self.under_way = Some(self.send(copies.into())?);
        }
        Ok(())
    }

    /// Waits until what was sent is durable and the index knows.
    fn await_copies(&mut self) -> Result<(), Halt> {
        while let Some(answer) = self.under_way.take() {
            match answer.recv() {
                Ok(Copied::All) => {}
                Ok(Copied::LookAgain(rest)) => self.under_way = Some(self.send(rest)?),
                Ok(Copied::Refused) | Err(_) => return Err(Halt::Later),
            }
        }
        Ok(())
    }

    fn send(&self, copies: VecDeque<Copy>) -> Result<Receiver<Copied>, Halt> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Halt::Later);
        }
        let (done, answer) = channel();
        let keys = copies.iter().filter_map(|copy| match &copy.mutation {
            Some(Mutation::Put(put)) => Some(put.key.clone()),
            _ => None,
        });
        let changes = copies.iter().filter(|copy| copy.change.is_some()).map(|copy| copy.sequence);
        let below = lookup::below_copies(self.set, &keys.collect::<Vec<_>>(), &changes.collect::<Vec<_>>());
        let below = below.map_err(|_| Halt::Later)?;
        let request = CopyRequest { copies, below, done };
        self.events.send(Event::Copy(request)).map_err(|_| Halt::Later)?;
        Ok(answer)
    }

    /// What of a frame is needed.
    fn needed(&self, shared: &Shared, metadata: &[u8], oldest: &OldestDead) -> Result<Vec<Copy>, Halt> {
        let frame = FramePlace::of(shared);
        let mut needed = Vec::new();
        for commit in record::decode(metadata).ok_or(Halt::Damaged)? {
            for (place, (at, length)) in places_of(frame, metadata, &commit).iter().zip(&commit.changes) {
                if self.has_change_at(place)? {
                    needed.push(Copy {
                        sequence: place.sequence,
                        mutation: None,
                        change: Some(metadata[*at..at + length].to_vec()),
                    });
                }
            }
            for mutation in self.needed_mutations(frame, commit, oldest)? {
                needed.push(mutation);
            }
        }
        Ok(needed)
    }

    fn needed_mutations(
        &self,
        frame: FramePlace,
        commit: Commit<'_>,
        oldest: &OldestDead,
    ) -> Result<Vec<Copy>, Halt> {
        let (segment, sequence) = (frame.address.segment, commit.sequence);
        let hides = oldest.needs(segment, sequence);
        let mut needed = Vec::new();
        for mutation in commit.mutations {
            let mutation = match mutation {
                Recorded::Put { key, .. } => match self.put(key, sequence, segment)? {
                    Some(put) => Mutation::Put(put),
                    None => continue,
                },
                // A key that exists again hides what is older itself.
                Recorded::Delete(key) if hides && self.state(key)?.is_none() => {
                    Mutation::Delete(Bytes::copy_from_slice(key))
                }
                Recorded::DeletePrefix(prefix) if hides => {
                    Mutation::DeletePrefix(Bytes::copy_from_slice(prefix))
                }
                Recorded::Delete(_) | Recorded::DeletePrefix(_) => continue,
            };
            needed.push(Copy { sequence, mutation: Some(mutation), change: None });
        }
        Ok(needed)
    }

    /// What is at a key; later while the index cannot tell.
    fn state(&self, key: &[u8]) -> Result<Option<Arc<Stored>>, Halt> {
        lookup::get(self.set, key).map_err(|_| Halt::Later)
    }

    /// Whether a change lies where the place says.
    fn has_change_at(&self, place: &ChangePlace) -> Result<bool, Halt> {
        let found = lookup::change(self.set, place.sequence).map_err(|_| Halt::Later)?;
        Ok(found.as_ref() == Some(place))
    }

    /// The put of a key with its payload, if that is the key's state and lies in the segment.
    fn put(&self, key: &[u8], sequence: Sequence, segment: u32) -> Result<Option<Put>, Halt> {
        let Some(stored) =
            self.state(key)?.filter(|stored| (stored.sequence, stored.segment) == (sequence, segment))
        else {
            return Ok(None);
        };
        let payload = payload::read_blocking(self.set, key, &stored).map_err(|error| match error {
            EngineError::Damaged { .. } => Halt::Damaged,
            // Too few drives answered.
            _ => Halt::Later,
        })?;
        let key = Bytes::copy_from_slice(key);
        let Stored { value, locations, .. } = (*stored).clone();
        Ok(Some(Put { key, value, payload, locations }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Stream;

    #[test]
    fn a_damaged_segment_is_told_once_and_tried_again_after_a_minute_and_an_emptied_one_never() {
        let (mut settled, began) = (Settled::default(), Instant::now());
        assert!(settled.damaged(7, began));
        settled.emptied.insert(8);
        assert!(settled.has(7, began) && settled.has(8, began) && !settled.has(9, began));

        let later = began + AGAIN_AFTER;
        assert!(!settled.has(7, later) && settled.has(8, later));
        assert!(!settled.damaged(7, later), "it was told before");
        assert!(settled.has(7, later));

        let row =
            |number| Row { number, stream: Stream::Hot, end: 0, first_batch: 0, last_batch: 0, span: None };
        settled.retain(&[row(8)]);
        assert!(!settled.has(7, later) && settled.has(8, later));
    }
}
