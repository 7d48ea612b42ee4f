//! The store's question, answered: which targets a change is for, and whether anybody listens for a read.
//!
//! Asked on the path of a request. The set of live targets and the filters of listeners are read without a
//! lock; compiled rules are read under a short shared one.

use store::{Bucket, ChangeKind, ObjectKey, ObjectSummary, Recipients, Recorder, Sequence};
use tidings_store as store;

use crate::notifier::Notifier;

impl Recorder for Notifier {
    fn recipients(
        &self,
        bucket: &Bucket,
        kind: ChangeKind,
        key: &ObjectKey,
        object: Option<&ObjectSummary>,
    ) -> Recipients {
        if bucket.document(Bucket::NOTIFICATION).is_none() {
            return Recipients::default();
        }
        let live = self.live.load();
        match live.get(&bucket.partition) {
            Some(live) => self.rules.rules(bucket).recipients(kind, key.as_str(), object, live),
            None => Recipients::default(),
        }
    }

    fn is_awaited(&self, bucket: &Bucket, kind: ChangeKind, key: &ObjectKey) -> bool {
        self.listeners.load().iter().any(|filter| filter.matches(&bucket.name, kind, key.as_str()))
    }

    fn committed(&self, _sequence: Sequence) {
        // Sequences of different partitions say nothing of one another: every commit wakes.
        self.commits.send_modify(|commits| *commits = commits.wrapping_add(1));
    }
}
