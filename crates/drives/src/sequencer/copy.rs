//! Copies: writes what compaction found alive to the cold stream.
//!
//! While clients write, copies get a share of the bandwidth: half of the bytes that clients write, and twice as much as
//! they when space is short. Without clients they get all of it, in frames that a client that comes then
//! does not wait for long.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Sequencer;
use super::write::{Batch, Failure};
use crate::chain::Stream;
use crate::columns::lay_out;
use crate::compaction::{Copy, CopyRequest};
use crate::frame::{FRAME_BYTES_MAX, HEADER_BYTES, Kind};
use crate::index::{FramePlace, checkpoint};
use crate::record::Metadata;
use crate::table::Span;

/// Bytes of a frame of copies while clients write: 128 KiB.
const BUSY_BYTES: usize = 128 * 1024;

/// Bytes of a frame of copies otherwise: 640 KiB.
const IDLE_BYTES: usize = 640 * 1024;

/// How long after the last commit clients still count as writing.
const BUSY_FOR: Duration = Duration::from_millis(100);

/// Copies may take the bytes that clients write divided by this, and times this when space is short.
const SHARE: usize = 2;

/// Most bytes that copies may have saved up: four of their frames.
const CREDIT_MAX: usize = 4 * BUSY_BYTES;

/// How much longer than the mean a column may get, in bytes: the largest payload that is never split.
const IMBALANCE_BYTES: usize = 16 * 1024;

impl Sequencer {
    /// Takes a request of compaction in, which has one under way at most.
    pub(super) fn take_copies(&mut self, request: CopyRequest) {
        self.copies = Some(request);
    }

    /// Counts what clients wrote.
    pub(super) fn credit_copies(&mut self, slot_bytes: usize) {
        let share = if self.set.shortness() > 0.0 { slot_bytes * SHARE } else { slot_bytes / SHARE };
        self.copy_credit = (self.copy_credit + share).min(CREDIT_MAX);
    }

    /// Whether a frame of copies may be written now.
    pub(super) fn may_copy(&self) -> bool {
        // On full drives copies are what gives space back.
        let is_turn = self.copy_credit >= BUSY_BYTES || self.set.full.load(Ordering::Relaxed);
        self.copies.is_some() && (is_turn || !self.has_due_work())
    }

    /// Writes a frame of copies, and answers when the last of a request is durable.
    pub(super) fn copy(&mut self) {
        let Some(mut request) = self.copies.take() else {
            return;
        };
        let taken = self.is_writable() && self.write_copies(&mut request);
        if taken && !request.copies.is_empty() {
            self.copies = Some(request);
            return;
        }
        // Compaction is gone when the engine stops.
        let _ = request.done.send(taken);
    }

    /// Answers a request that will not be written.
    pub(super) fn refuse_copies(&mut self) {
        if let Some(request) = self.copies.take() {
            // Compaction is gone when the engine stops.
            let _ = request.done.send(false);
        }
    }

    fn write_copies(&mut self, request: &mut CopyRequest) -> bool {
        if request.below.generation != self.set.index.read().generation() {
            // What was looked up for it does not hold any more: compaction looks again.
            return false;
        }
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
                self.copy_credit = self.copy_credit.saturating_sub(shared.slot_bytes as usize);
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
        let goal = if busy { BUSY_BYTES } else { IDLE_BYTES };
        let rest =
            self.chain.heads.cold.map_or(0, |head| {
                self.set.segment_bytes(head.segment).saturating_sub(u64::from(head.offset))
            });
        let rest = usize::try_from(rest).unwrap_or(usize::MAX);
        let limit = if rest >= BUSY_BYTES { goal.min(rest) } else { goal };
        let mut taken = Vec::new();
        let (mut metadata, mut payload) = (HEADER_BYTES + 4, IMBALANCE_BYTES);
        while let Some(copy) = request.copies.pop_front() {
            let (more_metadata, more_payload) = copy.sizes();
            metadata += more_metadata;
            payload += more_payload;
            if !taken.is_empty() && metadata + payload.div_ceil(self.set.geometry.data) > limit {
                request.copies.push_front(copy);
                break;
            }
            taken.push(copy);
        }
        taken
    }
}
