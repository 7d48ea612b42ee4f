//! The store's question, answered: which targets a change is for, and whether anybody listens for a read.
//!
//! Asked on the path of a request. The sets of live and of full targets and the filters of listeners are read without a
//! lock; compiled rules are read under a short shared one.

use store::{Bucket, ChangeKind, ObjectKey, ObjectSummary, PartitionId, Recipients, Recorder, Sequence};
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

    fn full(&self, partition: PartitionId, targets: &[String]) -> Option<String> {
        let full = self.full.load();
        let full = full.get(&partition)?;
        targets.iter().find(|target| full.contains(*target)).cloned()
    }

    fn committed(&self, _sequence: Sequence) {
        // Sequences of different partitions say nothing of one another: every commit wakes.
        self.commits.send_modify(|commits| *commits = commits.wrapping_add(1));
    }
}
