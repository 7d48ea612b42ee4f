//! The store's question, answered: which targets a change is for, and whether anybody listens for a read.
//!
//! Asked on the path of a request. The set of live targets and the filters of listeners are read without a
//! lock; compiled rules are read under a short shared one.

use store::{Bucket, ChangeKind, ObjectKey, Recorder, Sequence};
use tidings_store as store;

use crate::notifier::Notifier;

impl Recorder for Notifier {
    fn targets(&self, bucket: &Bucket, kind: ChangeKind, key: &ObjectKey) -> Vec<String> {
        if bucket.document(Bucket::NOTIFICATION).is_none() {
            return Vec::new();
        }
        self.rules.rules(bucket).targets(kind, key.as_str(), &self.live.load())
    }

    fn is_awaited(&self, bucket: &Bucket, kind: ChangeKind, key: &ObjectKey) -> bool {
        self.listeners.load().iter().any(|filter| filter.matches(&bucket.name, kind, key.as_str()))
    }

    fn committed(&self, sequence: Sequence) {
        self.newest.send_if_modified(|newest| {
            let is_newer = sequence > *newest;
            *newest = sequence.max(*newest);
            is_newer
        });
    }
}
