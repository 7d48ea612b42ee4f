//! The last changes in their decoded form, for relays that follow closely.
//!
//! Bounds: [`CHANGES_MAX`] changes, of [`BYTES_MAX`] bytes encoded; the oldest go. When as many came and nobody asked
//! for any, none is kept until somebody does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use store::{Change, Sequence};

/// Changes kept.
const CHANGES_MAX: usize = 4096;

/// Bytes of their encoded forms: 8 MiB.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The end of the change log, without a gap.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// With the length of the encoded form.
    changes: VecDeque<(usize, Arc<Change>)>,
    bytes: usize,
    /// Every change after this one is kept.
    base: Sequence,
    /// Whether somebody asked since the last change.
    asked: AtomicBool,
    /// Changes that came since somebody asked.
    unasked: usize,
}

impl Recent {
    /// Up to `limit` changes after a sequence, if all that there are after it are kept.
    pub(super) fn after(&self, after: Sequence, limit: usize) -> Option<Vec<Arc<Change>>> {
        self.asked.store(true, Ordering::Relaxed);
        let at = self.changes.partition_point(|(_, change)| change.sequence <= after);
        (after >= self.base)
            .then(|| self.changes.iter().skip(at).take(limit).map(|(_, change)| Arc::clone(change)).collect())
    }

    /// Takes in the change that follows.
    pub(super) fn push(&mut self, encoded_bytes: usize, change: Change) {
        self.unasked = if std::mem::take(self.asked.get_mut()) { 0 } else { self.unasked + 1 };
        if self.unasked > CHANGES_MAX {
            self.clear(change.sequence);
            self.unasked = CHANGES_MAX;
            return;
        }
        self.bytes += encoded_bytes;
        self.changes.push_back((encoded_bytes, Arc::new(change)));
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

#[cfg(test)]
mod tests {
    use store::{BucketName, ChangeKind};

    use super::*;

    fn push(recent: &mut Recent, sequence: u64) {
        let change = Change {
            sequence: Sequence(sequence),
            time_ms: 0,
            kind: ChangeKind::Put,
            bucket: BucketName::new("album").unwrap(),
            key: String::new(),
            version: None,
            object: None,
            origin: None,
            targets: Vec::new(),
            rules: Vec::new(),
        };
        recent.push(100, change);
    }

    fn after(recent: &Recent, sequence: u64) -> Option<Vec<u64>> {
        let changes = recent.after(Sequence(sequence), 1000)?;
        Some(changes.iter().map(|change| change.sequence.0).collect())
    }

    #[test]
    fn those_who_follow_get_all_that_is_kept_or_are_told_that_it_is_not() {
        let mut recent = Recent::default();
        let last = CHANGES_MAX as u64 + 3;
        for sequence in 1..=last {
            after(&recent, sequence - 1).unwrap();
            push(&mut recent, sequence);
        }
        assert_eq!(after(&recent, last - 2), Some(vec![last - 1, last]));
        assert_eq!(after(&recent, 2), None);
        assert_eq!(after(&recent, 3).map(|changes| changes.len()), Some(1000));
    }

    #[test]
    fn nothing_is_kept_while_nobody_asks_and_all_after_somebody_did() {
        let mut recent = Recent::default();
        let last = 2 * CHANGES_MAX as u64;
        (1..=last).for_each(|sequence| push(&mut recent, sequence));
        assert!(recent.changes.is_empty());

        assert_eq!(after(&recent, last - 1), None);
        push(&mut recent, last + 1);
        push(&mut recent, last + 2);
        assert_eq!(after(&recent, last), Some(vec![last + 1, last + 2]));
        assert_eq!(after(&recent, last - 1), None);
    }
}
