//! The recorder: who wants to be told of a change, asked while its batch is built.
//!
//! The store knows that changes have targets, not what a rule is; `notify` implements this trait.

use crate::bucket::Bucket;
use crate::change::{ChangeKind, ObjectSummary, Sequence};
use crate::engine::PartitionId;
use crate::names::ObjectKey;

/// Who a change is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// The targets (`id:type`, sorted, each once) whose rules match.
    pub targets: Vec<String>,
    /// The id of the first rule that led to each, in their order; empty when no id says anything.
    pub rules: Vec<String>,
}

/// Answers which targets a change is for, and is woken when one is durable.
///
/// All calls are made on the path of a request: they neither block nor wait.
pub trait Recorder: Send + Sync + 'static {
    /// Whom the rules in the bucket's configuration name. `object` is what rules on metadata and tags compare;
    /// where there is none, as for what was removed, they match nothing.
    fn recipients(
        &self,
        bucket: &Bucket,
        kind: ChangeKind,
        key: &ObjectKey,
        object: Option<&ObjectSummary>,
    ) -> Recipients;

    /// Whether a change of this kind must be kept though no rule names a target: somebody listens.
    ///
    /// Only asked for accesses; every other change is kept in any case.
    fn is_awaited(&self, bucket: &Bucket, kind: ChangeKind, key: &ObjectKey) -> bool;

    /// A target among those of a change (`id:type`) that nothing more may wait for.
    fn full(&self, partition: PartitionId, targets: &[String]) -> Option<String>;

    /// Changes up to `sequence` are durable: relays and listeners may read on.
    fn committed(&self, sequence: Sequence);
}

/// A recorder without rules, for tests and tools.
#[derive(Debug, Default)]
pub struct Silent;

impl Recorder for Silent {
    fn recipients(
        &self,
        _bucket: &Bucket,
        _kind: ChangeKind,
        _key: &ObjectKey,
        _object: Option<&ObjectSummary>,
    ) -> Recipients {
        Recipients::default()
    }

    fn is_awaited(&self, _bucket: &Bucket, _kind: ChangeKind, _key: &ObjectKey) -> bool {
        false
    }

    fn full(&self, _partition: PartitionId, _targets: &[String]) -> Option<String> {
        None
    }

    fn committed(&self, _sequence: Sequence) {}
}
