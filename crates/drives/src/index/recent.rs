//! The last changes in their decoded form, for relays that follow closely.
//!
//! Bounds: [`CHANGES_MAX`] changes, of [`BYTES_MAX`] bytes encoded; the oldest go.

use std::collections::VecDeque;

use store::{Change, Sequence};

/// Changes kept.
const CHANGES_MAX: usize = 4096;

/// Bytes of their encoded forms: 8 MiB.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The end of the change log, without a gap.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// With the length of the encoded form.
    changes: VecDeque<(usize, Change)>,
    bytes: usize,
    /// Every change after this one is kept.
    base: Sequence,
}

impl Recent {
    /// Up to `limit` changes after a sequence, if all that there are after it are kept.
    pub(super) fn after(&self, after: Sequence, limit: usize) -> Option<Vec<Change>> {
        let at = self.changes.partition_point(|(_, change)| change.sequence <= after);
        (after >= self.base)
            .then(|| self.changes.iter().skip(at).take(limit).map(|(_, change)| change.clone()).collect())
    }

    /// Takes in the change that follows.
    pub(super) fn push(&mut self, encoded_bytes: usize, change: Change) {
        self.bytes += encoded_bytes;
        self.changes.push_back((encoded_bytes, change));
        while self.changes.len() > CHANGES_MAX || self.bytes > BYTES_MAX {
            let Some((length, change)) = self.changes.pop_front() else {
                break;
            };
            self.base = change.sequence;
            self.bytes -= length;
        }
    }

    /// Forgets all; those after `base` will follow.
    pub(super) fn clear(&mut self, base: Sequence) {
        *self = Recent { base, ..Recent::default() };
    }
}
