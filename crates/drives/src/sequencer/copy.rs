//! Copies: writes what compaction found alive to the cold stream.
//!
//! While clients write, copies get a share of the bandwidth: what commits owe them by the room that is left
//! ([`Room::owed`](crate::room::Room::owed)), one frame of copies beside one of commits. Without clients they get all
//! of it, in frames that a client that comes then does not wait for long.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Sequencer;
use super::write::{Batch, Failure};
use crate::chain::Stream;
use crate::columns::lay_out;
use crate::compaction::{Copied, Copy, CopyRequest};
use crate::frame::{FRAME_BYTES_MAX, HEADER_BYTES, Kind};
use crate::index::{FramePlace, GROWTH_MAX, checkpoint, growth_of};
use crate::record::Metadata;
use crate::table::Span;

/// Bytes of a frame of copies while clients write, at least: 128 KiB.
const BUSY_BYTES: usize = 128 * 1024;

/// Bytes of a frame of copies at most, and where no client writes: 640 KiB.
const IDLE_BYTES: usize = 640 * 1024;

/// How long after the last commit clients still count as writing.
const BUSY_FOR: Duration = Duration::from_millis(100);

/// Most bytes that commits owe: those of one of their largest frames where room is scarcest.
const OWED_MAX: usize = 8 * FRAME_BYTES_MAX;

/// How much longer than the mean a column may get, in bytes: the largest payload that is never split.
const IMBALANCE_BYTES: usize = 16 * 1024;

impl Sequencer {
    /// Takes a request of compaction in, which has one under way at most.
    pub(super) fn take_copies(&mut self, request: CopyRequest) {
        self.copies = Some(request);
    }

    /// Counts what clients wrote.
    pub(super) fn note_owed(&mut self, slot_bytes: usize) {
        self.copies_owed = (self.copies_owed + self.set.room_left().owed(slot_bytes)).min(OWED_MAX);
    }

    /// Whether commits owe a frame of copies.
    pub(super) fn owes_copies(&self) -> bool {
        self.copies_owed >= BUSY_BYTES
    }

    /// Whether a frame of copies may be written now.
    pub(super) fn may_copy(&self) -> bool {
        // On full drives copies are what gives space back.
        let is_turn = self.owes_copies() || self.set.full.load(Ordering::Relaxed);
        self.copies.is_some() && (is_turn || !self.has_due_work()) && !self.waits_for_index()
    }

    /// Writes a frame of copies, and answers when the last of a request is durable.
    pub(super) fn copy(&mut self) {
        let Some(mut request) = self.copies.take() else {
            return;
        };
        let copied = if !self.is_writable() {
            Copied::Refused
        } else if request.below.generation != self.set.index.read().generation() {
            Copied::LookAgain(request.copies)
        } else if !self.write_copies(&mut request) {
            Copied::Refused
        } else if request.copies.is_empty() {
            Copied::All
        } else {
            self.copies = Some(request);
            return;
        };
        // Compaction is gone when the engine stops.
        let _ = request.done.send(copied);
    }

    /// Answers a request that will not be written.
    pub(super) fn refuse_copies(&mut self) {
        if let Some(request) = self.copies.take() {
            // Compaction is gone when the engine stops.
            let _ = request.done.send(Copied::Refused);
        }
    }

    fn write_copies(&mut self, request: &mut CopyRequest) -> bool {
        let (mut metadata, mut sequences) = (Metadata::new(), Vec::new());
        for copy in self.one_frame(request) {
            sequences.push(copy.sequence);
            metadata.push_copy(copy.sequence, copy.mutation.as_slice(), copy.change.as_deref());
        }
        let usable = vec![true; self.set.members.len()];
        let layout = lay_out(&self.set.codec, metadata.payloads(), metadata.len(), &usable);
        let metadata = metadata.finish(&layout.places);
        let size_bytes = HEADER_BYTES + metadata.len() + layout.stripe_bytes;
        debug_assert!(size_bytes <= FRAME_BYTES_MAX, "what fitted a frame fits one again");
        let span = Span::of(sequences);
        let batch =
            Batch { kind: Kind::Copies, stream: Stream::Cold, metadata: &metadata, layout: &layout, span };
        match self.write_batch(&batch) {
            Ok(shared) => {
                let mut index = self.set.index.write();
                index
                    .relocate(FramePlace::of(&shared), &metadata, &request.below)
                    .expect("metadata written here has the form that is read here");
                drop(index);
                checkpoint::when_full(&self.set, Some(&self.chain));
                self.copies_owed = self.copies_owed.saturating_sub(shared.slot_bytes as usize);
                self.sealed = false;
                self.last_work = Instant::now();
                self.last_copy = Some(self.last_work);
                true
            }
            Err(Failure::Full) => false,
            Err(Failure::Frozen(frozen)) => {
                self.freeze(&frozen);
                false
            }
        }
    }

    /// Takes as many copies as fill a frame, or what is left of the segment.
    fn one_frame(&self, request: &mut CopyRequest) -> Vec<Copy> {
        let busy = self.last_commit.elapsed() < BUSY_FOR;
        // What is owed goes in one frame: to write that takes little longer than a small one.
        let goal = if busy { self.copies_owed.clamp(BUSY_BYTES, IDLE_BYTES) } else { IDLE_BYTES };
        let rest =
            self.chain.heads.cold.map_or(0, |head| {
                self.set.segment_bytes(head.segment).saturating_sub(u64::from(head.offset))
            });
        let rest = usize::try_from(rest).unwrap_or(usize::MAX);
        let limit = if rest >= BUSY_BYTES { goal.min(rest) } else { goal };
        let mut taken = Vec::new();
        let (mut metadata, mut payload, mut growth) = (HEADER_BYTES + 4, IMBALANCE_BYTES, 0);
        while let Some(copy) = request.copies.pop_front() {
            let (more_metadata, more_payload) = copy.sizes();
            metadata += more_metadata;
            payload += more_payload;
            growth += growth_of(copy.mutation.as_slice(), usize::from(copy.change.is_some()));
            let is_full = metadata + payload.div_ceil(self.set.geometry.data) > limit || growth > GROWTH_MAX;
            if !taken.is_empty() && is_full {
                request.copies.push_front(copy);
                break;
            }
            taken.push(copy);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, TryRecvError, channel};
    use std::time::Duration;

    use bytes::Bytes;
    use store::{Batch, Engine, Mutation, PartitionId, Put, SystemClock};

    use crate::compaction::{Copied, Copy, CopyRequest};
    use crate::index::lookup;
    use crate::sequencer::{Event, Wish};
    use crate::testing::{FaultyDrive, Power};
    use crate::{LocalEngine, Tuning};

    const DEADLINE: Duration = Duration::from_secs(60);

    /// A memtable of some forty keys.
    const MEMTABLE_BYTES: usize = 10_000;

    /// More keys than two memtables hold.
    const MANY: usize = 200;

    fn open(drives: &[FaultyDrive]) -> Arc<LocalEngine> {
        let tuning = Tuning { memtable_bytes: Some(MEMTABLE_BYTES), ..Tuning::default() };
        let given = drives.iter().map(FaultyDrive::given).collect();
        LocalEngine::open_tuned(given, None, Arc::new(SystemClock), tuning).unwrap()
    }

    async fn put_all(engine: &LocalEngine, keys: impl Iterator<Item = String>) {
        let put = |key: String| Put { key: key.into(), payload: Bytes::from_static(b"ab"), ..Put::default() };
        let mutations = keys.map(|key| Mutation::Put(put(key))).collect();
        engine.commit(PartitionId(0), Batch { mutations, ..Batch::default() }).await.unwrap();
    }

    /// Asks for a key to be copied as compaction does; what comes of it.
    fn copy(engine: &LocalEngine, key: &'static str) -> Receiver<Copied> {
        let set = &engine.set;
        let stored = lookup::get(set, key.as_bytes()).unwrap().expect("the key is there");
        let key = Bytes::from_static(key.as_bytes());
        let below = lookup::below_copies(set, std::slice::from_ref(&key), &[]).unwrap();
        let put = Put { key, payload: Bytes::from_static(b"ab"), ..Put::default() };
        let copy = Copy { sequence: stored.sequence, mutation: Some(Mutation::Put(put)), change: None };
        let (done, answer) = channel();
        engine.events.send(Event::Copy(CopyRequest { copies: [copy].into(), below, done })).unwrap();
        answer
    }

    /// Returns when the sequencer has done, twice over, all that it had to do: it answers at the beginning of a turn.
    fn take_turns(engine: &LocalEngine) {
        for _ in 0..2 {
            let (event, granted) = Event::wish(Wish::Look);
            engine.events.send(event).unwrap();
            granted.recv_timeout(DEADLINE).expect("it has turns").unwrap();
        }
    }

    /// What a copy empties is given back when the index is past it, and a larger memtable needs more space: copies that
    /// went on while no flush ends have filled sets for good.
    #[tokio::test(flavor = "multi_thread")]
    async fn copies_wait_while_the_index_is_over_its_bound_and_are_written_when_it_is_flushed() {
        let drives = FaultyDrive::machine(4, &Power::steady());
        drives.iter().for_each(FaultyDrive::keep_indexes);
        let engine = open(&drives);
        put_all(&engine, ["lives".to_owned()].into_iter()).await;
        engine.shutdown().await;
        drop(engine);

        let engine = open(&drives);
        let indexes: Vec<_> = drives.iter().filter_map(FaultyDrive::index).collect();
        let hangs: Vec<_> = indexes.iter().map(|index| index.hang_writes()).collect();
        // What the first fills is being flushed; the second goes over.
        for round in ["flushed", "over"] {
            put_all(&engine, (0..MANY).map(|number| format!("{round}/{number}"))).await;
        }
        assert!(engine.set.index.read().is_over());

        let asked = copy(&engine, "lives");
        take_turns(&engine);
        assert!(matches!(asked.try_recv(), Err(TryRecvError::Empty)), "it was copied");

        drop(hangs);
        let mut copied = asked.recv_timeout(DEADLINE).unwrap();
        while let Copied::LookAgain(_) = copied {
            copied = copy(&engine, "lives").recv_timeout(DEADLINE).unwrap();
        }
        assert!(matches!(copied, Copied::All), "it was refused");
    }
}
