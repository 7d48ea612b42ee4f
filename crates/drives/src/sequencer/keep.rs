//! Keeping manifests: when one is due, what it says, and who must hold what it says before it is written.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::inbox::Heed;
use super::{RETRY_AFTER, SEAL_AFTER, Sequencer};
use crate::chain::Stream;
use crate::keeper::{Job, Keeper, RETIRED_KEPT};
use crate::manifest::Manifest;
use crate::room::FILL_MIN;
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::table::Closed;

/// What the sequencer knows of manifests.
pub(super) struct Keeping {
    keeper: Keeper,
    /// That of the last manifest.
    counter: u64,
    /// Whether one is due.
    due: bool,
    /// One that waits until every voter holds what is before its anchor.
    draft: Option<Manifest>,
    /// One that is being written.
    under_way: Option<Manifest>,
    /// The last one that the write quorum holds.
    last: Option<Manifest>,
    /// Not before, after one that fell short of the write quorum.
    not_before: Option<Instant>,
    /// Segments of which nothing lives: they leave the table.
    emptied: Vec<u32>,
    /// The last batch of any that did.
    left_upto: u64,
    /// How far the indexes on drives were when the last manifest was drafted.
    indexed: u64,
}

impl Keeping {
    pub(super) fn new(keeper: Keeper, last: Option<Manifest>) -> Keeping {
        Keeping {
            keeper,
            counter: last.as_ref().map_or(0, |manifest| manifest.counter),
            left_upto: last.as_ref().map_or(0, |manifest| manifest.left_upto),
            due: false,
            draft: None,
            under_way: None,
            last,
            not_before: None,
            emptied: Vec::new(),
            indexed: 0,
        }
    }

    /// The next moment makes one due.
    pub(super) fn ask(&mut self) {
        self.due = true;
    }

    /// Everything of this segment that lives was copied.
    pub(super) fn note_emptied(&mut self, segment: u32) {
        self.emptied.push(segment);
        self.due = true;
    }

    /// One was written, to the write quorum or to fewer drives.
    pub(super) fn note_kept(&mut self, kept: bool) {
        let written = self.under_way.take();
        if kept {
            self.last = written;
        } else {
            self.due = true;
            self.not_before = Some(Instant::now() + RETRY_AFTER);
        }
    }

    /// The file that a drive must have before it is a voter: an own one may be of another history, and say more than is
    /// true. Empty when there is none yet.
    pub(super) fn file(&self) -> Vec<u8> {
        self.under_way.as_ref().or(self.last.as_ref()).map(Manifest::encode).unwrap_or_default()
    }

    /// How many segments were emptied that are not given back: an index on a drive may lack them yet.
    pub(super) fn emptied(&self) -> usize {
        self.emptied.len()
    }

    /// Forgets what waits: the epoch ended.
    pub(super) fn drop_draft(&mut self) {
        self.due |= self.draft.take().is_some();
    }
}

impl Sequencer {
    /// Drafts a manifest when one is due, and has it written when every voter holds what it says.
    pub(super) fn tend_manifest(&mut self) {
        if !self.is_writable() || self.keeping.under_way.is_some() {
            return;
        }
        // What an index lacked when it was emptied is given back when the index has it.
        let indexed = self.set.indexed_upto.load(Ordering::Acquire);
        self.keeping.due |= self.keeping.emptied() > 0 && indexed != self.keeping.indexed;
        let may_try = self.keeping.not_before.is_none_or(|time| time <= Instant::now());
        if self.keeping.due && self.keeping.draft.is_none() && may_try {
            self.draft_manifest();
        }
        if let Some(draft) = self.keeping.draft.take() {
            if self.every_voter_holds(draft.next_batch - 1) {
                let positions = self.set.online().map(|member| member.position).collect();
                self.keeping.under_way = Some(draft.clone());
                let at_rest = self.rested && self.set.room_left().shortness() == 0.0;
                let kept_files = if at_rest { 0 } else { RETIRED_KEPT };
                self.keeping.keeper.keep(Job { manifest: draft, positions, kept_files });
            } else {
                self.keeping.draft = Some(draft);
            }
        }
    }

    fn draft_manifest(&mut self) {
        let emptied = std::mem::take(&mut self.keeping.emptied);
        let mut index = self.set.index.write();
        let indexed = self.set.indexed_upto.load(Ordering::Acquire);
        self.keeping.indexed = indexed;
        for number in emptied {
            let Some(row) = self.chain.table.get(number) else {
                continue;
            };
            // An index on a drive that ends below it would have to read it again.
            if self.chain.heads.has(number) || row.last_batch > indexed {
                self.keeping.emptied.push(number);
            } else if index.live.is_dead(number) {
                self.keeping.left_upto = self.keeping.left_upto.max(row.last_batch);
                self.chain.table.remove(number);
                index.live.forget(number);
            }
        }
        self.keeping.due = false;
        self.keeping.counter += 1;
        self.keeping.draft = Some(Manifest {
            set: self.set.id,
            counter: self.keeping.counter,
            log: self.chain.log,
            next_batch: self.chain.next_batch,
            last_hash: self.chain.last_hash,
            heads: self.chain.heads,
            last_sequence: index.last_sequence,
            floor: index.floor,
            left_upto: self.keeping.left_upto,
            table: self.chain.table.clone(),
        });
        drop(index);
        self.publish_table();
    }

    /// Whether all drives that have a vote hold every batch up to this one: from then on nobody needs the way there.
    fn every_voter_holds(&self, batch: u64) -> bool {
        let identity = self.set.identity.lock();
        self.set.members.iter().zip(&identity.members).all(|(member, membership)| {
            let holds = member.is_online() && member.written.load(Ordering::Acquire) >= batch;
            let failed = self.failed.iter().any(|(failed, _)| *failed == member.position);
            !membership.voter || (holds && !failed)
        })
    }

    /// A new segment was begun: the table changed, and a manifest is due.
    pub(super) fn note_new_segment(&mut self) {
        self.set.note_segment_begun();
        self.watch.look();
        self.keeping.ask();
        self.publish_table();
    }

    /// Shows compaction the segments that are written no more.
    pub(super) fn publish_table(&self) {
        *self.set.closed.write() = Closed::of(&self.chain);
        self.compactor.wake();
    }

    /// Ends the segments that are filled badly when the set is at rest: only a segment that is written no more is
    /// packed anew.
    pub(super) fn rest(&mut self) {
        self.rested = true;
        let ended = [Stream::Hot, Stream::Cold].map(|stream| self.end_if_badly_filled(stream));
        if ended.contains(&true) {
            self.note_new_segment();
        }
        self.keeping.ask();
        self.compactor.wake();
    }

    /// Ends a stream's segment if much of it is garbage or padding; answers whether it was.
    pub(super) fn end_if_badly_filled(&mut self, stream: Stream) -> bool {
        let Some(head) = self.chain.heads.of(stream) else {
            return false;
        };
        let used = u64::from(head.offset - SEGMENT_HEADER_BYTES);
        let needed = self.set.index.read().live.bytes_in(head.segment, self.set.geometry.data, true);
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let is_badly_filled = (needed as f64) < FILL_MIN * used as f64;
        // Less is not worth the segment that takes its place.
        let is_worth = used - needed.min(used) >= self.set.segment_bytes(head.segment) / 4;
        if is_badly_filled && is_worth {
            self.chain.heads.close(stream);
        }
        is_badly_filled && is_worth
    }

    /// Writes a manifest at a clean stop, so that the next start has nothing to follow.
    pub(super) fn keep_at_stop(&mut self) {
        let deadline = Instant::now() + self.set.patience.read().frame;
        self.keeping.ask();
        while self.is_writable()
            && (self.keeping.due || self.keeping.draft.is_some() || self.keeping.under_way.is_some())
            && Instant::now() < deadline
        {
            self.tend_manifest();
            self.hear_within(SEAL_AFTER, Heed::AllButCommits);
        }
    }
}
