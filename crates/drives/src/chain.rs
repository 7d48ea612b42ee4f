//! The chain: where the journal's end is, while it is read and while it is written.
//!
//! Frames are appended at two places, the heads of the hot and of the cold stream, yet they are one chain: each
//! names the hash of the one before, wherever that stands. The next one stands at a head, or first in a new segment.

use std::collections::VecDeque;

use crate::format::{EpochLog, Nonce};
use crate::frame::{Address, Shared};
use crate::segment::first_address;
use crate::table::{SegmentTable, Span};

/// Frames whose places are remembered, for drives that lag: 64 MiB of frames of the smallest size.
pub(crate) const RECENT_FRAMES_MAX: usize = 64 * 1024 * 1024 / 4096;

/// An append point of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stream {
    /// Commits, and what belongs to them.
    Hot = 0,
    /// Copies that compaction makes: what lived long enough to be copied lives on, apart from what dies young.
    Cold = 1,
}

/// Where the streams end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Where the next frame of the hot stream goes if it fits; `None`: first into a new segment.
    pub hot: Option<Address>,
    /// The same of the cold stream.
    pub cold: Option<Address>,
    /// The highest segment number in use.
    pub newest: u32,
}

impl Heads {
    /// Before the frame at `start`, which is the first of a stream or of its segment.
    pub(crate) fn begin(start: Address) -> Heads {
        Heads { hot: Some(start), cold: None, newest: start.segment }
    }

    /// The head of a stream.
    pub(crate) fn of(&self, stream: Stream) -> Option<Address> {
        match stream {
            Stream::Hot => self.hot,
            Stream::Cold => self.cold,
        }
    }

    /// Where the first frame of the next segment goes.
    pub(crate) fn fresh(&self) -> Address {
        first_address(self.newest + 1)
    }

    /// Where the next frame may stand.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = Address> + use<> {
        [self.hot, self.cold, Some(self.fresh())].into_iter().flatten()
    }

    /// Whether the segment is one that frames are appended to.
    pub(crate) fn has(&self, segment: u32) -> bool {
        [self.hot, self.cold].into_iter().flatten().any(|head| head.segment == segment)
    }

    /// Goes past a frame.
    pub(crate) fn pass(&mut self, shared: &Shared) {
        let behind = Address { offset: shared.address.offset + shared.slot_bytes, ..shared.address };
        self.newest = self.newest.max(behind.segment);
        match shared.stream {
            Stream::Hot => self.hot = Some(behind),
            Stream::Cold => self.cold = Some(behind),
        }
    }

    /// Ends a stream's segment: its next frame goes into a new one.
    pub(crate) fn close(&mut self, stream: Stream) {
        match stream {
            Stream::Hot => self.hot = None,
            Stream::Cold => self.cold = None,
        }
    }
}

/// The end of the journal.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// The epoch it is in.
    pub log: EpochLog,
    /// The latest epoch with frames before that.
    pub previous: Option<EpochLog>,
    /// The batch that comes next.
    pub next_batch: u64,
    /// Hash of the one before it.
    pub last_hash: u64,
    /// Where its frame may stand.
    pub heads: Heads,
    /// The segments that hold what is before it.
    pub table: SegmentTable,
    /// The last frames, oldest first.
    pub recent: VecDeque<Placed>,
    /// The latest time of a frame before it, as far as it is known: the next one is not earlier.
    pub time_ns: u64,
}

/// Where a batch's frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub batch: u64,
    pub address: Address,
    pub nonce: Nonce,
}

impl Chain {
    /// The end of a journal without frames.
    pub(crate) fn begin(log: EpochLog) -> Chain {
        Chain {
            log,
            previous: None,
            next_batch: log.kept_batch + 1,
            last_hash: log.kept_hash,
            heads: Heads::begin(log.start),
            table: SegmentTable::default(),
            recent: VecDeque::new(),
            time_ns: 0,
        }
    }

    /// The end of the journal when the next epoch begins: what the one before wrote beyond the kept batch is void.
    pub(crate) fn enter(&mut self, log: EpochLog, previous: Option<EpochLog>) {
        self.next_batch = log.kept_batch + 1;
        self.last_hash = log.kept_hash;
        self.heads.hot = Some(log.start);
        self.heads.newest = self.heads.newest.max(log.start.segment);
        self.log = log;
        self.previous = previous;
    }

    /// Goes past a batch whose commits have sequences of this span.
    pub(crate) fn pass(&mut self, shared: &Shared, span: Option<Span>) {
        self.recent.push_back(Placed { batch: shared.batch, address: shared.address, nonce: shared.nonce });
        if self.recent.len() > RECENT_FRAMES_MAX {
            self.recent.pop_front();
        }
        self.table.pass(shared, span);
        self.time_ns = self.time_ns.max(shared.time_ns);
        self.heads.pass(shared);
        self.next_batch = shared.batch + 1;
        self.last_hash = shared.hash();
    }

    /// What a new epoch names as the one before it: this one if it has a frame.
    pub(crate) fn latest_log(&self) -> Option<EpochLog> {
        if self.next_batch > self.log.kept_batch + 1 { Some(self.log) } else { self.previous }
    }
}
