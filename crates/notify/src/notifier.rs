//! The notifier: rules in force, live targets, listeners.

use std::sync::Arc;

use store::{Bucket, ChangeKind, Clock, ObjectKey, Recorder, Sequence, Store};
use tidings_store as store;

use crate::target::{TargetReport, TargetSettings};

/// What records tell of the server itself.
#[derive(Clone, Debug, Default)]
pub struct ServerIdentity {
    /// UUID of the drive set.
    pub deployment_id: String,
    /// 64 hex digits: `x-amz-id-2` of every response and record.
    pub node_id: String,
    /// The region, empty when none is configured; part of every ARN.
    pub region: String,
}

/// See the module header.
pub struct Notifier {}

impl Notifier {
    /// A notifier without targets. Give it to `Store::open` as its recorder, then call [`Notifier::start`].
    pub fn new(identity: ServerIdentity, clock: Arc<dyn Clock>) -> Arc<Notifier> {
        let _ = (identity, clock);
        todo!()
    }

    /// Begins to deliver: relays read this store's change log.
    pub fn start(self: &Arc<Self>, store: Arc<Store>) {
        let _ = store;
        todo!()
    }

    /// Makes the live targets these, whole: new ones start, changed ones restart, missing ones stop.
    ///
    /// Contacts nothing: a target that is away is shown offline and tried again. Settings that fail their
    /// check are left out and told in the answer; the other targets work.
    pub async fn apply(&self, settings: Vec<TargetSettings>) -> Vec<(String, String)> {
        let _ = settings;
        todo!()
    }

    /// How each target is, sorted. Targets that were not contacted lately are probed, for at most a second.
    pub async fn reports(&self) -> Vec<TargetReport> {
        todo!()
    }

    /// Ends every relay; deliveries under way are given a moment to be acknowledged.
    pub async fn shutdown(&self) {
        todo!()
    }
}

impl Recorder for Notifier {
    fn targets(&self, _bucket: &Bucket, _kind: ChangeKind, _key: &ObjectKey) -> Vec<String> {
        todo!()
    }

    fn is_awaited(&self, _bucket: &Bucket, _kind: ChangeKind, _key: &ObjectKey) -> bool {
        todo!()
    }

    fn committed(&self, _sequence: Sequence) {
        todo!()
    }
}
