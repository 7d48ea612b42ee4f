//! The chain: where the journal's end is, while it is read and while it is written.

use std::collections::VecDeque;

use crate::format::{EpochLog, Nonce};
use crate::frame::{Address, Shared};

/// Frames whose places are remembered, for drives that lag: 64 MiB of frames of the smallest size.
pub(crate) const RECENT_FRAMES_MAX: usize = 64 * 1024 * 1024 / 4096;

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
    /// Where the next frame goes if it fits.
    pub next: Address,
    /// The last frames, oldest first.
    pub recent: VecDeque<Placed>,
}

/// Where a batch's frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub batch: u64,
    pub address: Address,
    pub nonce: Nonce,
}

impl Chain {
    /// The end of the journal when the epoch begins.
    pub(crate) fn begin(log: EpochLog, previous: Option<EpochLog>, recent: VecDeque<Placed>) -> Chain {
        Chain {
            log,
            previous,
            next_batch: log.kept_batch + 1,
            last_hash: log.kept_hash,
            next: log.start,
            recent,
        }
    }

    /// Goes past a batch.
    pub(crate) fn pass(&mut self, shared: &Shared) {
        self.recent.push_back(Placed { batch: shared.batch, address: shared.address, nonce: shared.nonce });
        if self.recent.len() > RECENT_FRAMES_MAX {
            self.recent.pop_front();
        }
        self.next_batch = shared.batch + 1;
        self.last_hash = shared.hash();
        self.next =
            Address { segment: shared.address.segment, offset: shared.address.offset + shared.slot_bytes };
    }

    /// What a new epoch names as the one before it: this one if it has a frame.
    pub(crate) fn latest_log(&self) -> Option<EpochLog> {
        if self.next_batch > self.log.kept_batch + 1 { Some(self.log) } else { self.previous }
    }
}
