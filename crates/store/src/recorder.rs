//! The recorder: who wants to be told of a change, asked while its batch is built.
//!
//! The store knows that changes have targets, not what a rule is; `notify` implements this trait.

use crate::bucket::Bucket;
use crate::change::{ChangeKind, Sequence};
use crate::names::ObjectKey;

/// Answers which targets a change is for, and is woken when one is durable.
///
/// Both calls are made on the path of a request: they neither block nor wait.
pub trait Recorder: Send + Sync + 'static {
    /// The targets (`id:type`, sorted, each once) whose rules in the bucket's configuration match.
    fn targets(&self, bucket: &Bucket, kind: ChangeKind, key: &ObjectKey) -> Vec<String>;

    /// Whether a change of this kind must be kept though no rule names a target: somebody listens.
    ///
    /// Only asked for accesses; every other change is kept in any case.
    fn is_awaited(&self, bucket: &Bucket, kind: ChangeKind, key: &ObjectKey) -> bool;

    /// Changes up to `sequence` are durable: relays and listeners may read on.
    fn committed(&self, sequence: Sequence);
}

/// A recorder without rules, for tests and tools.
#[derive(Debug, Default)]
pub struct Silent;

impl Recorder for Silent {
    fn targets(&self, _bucket: &Bucket, _kind: ChangeKind, _key: &ObjectKey) -> Vec<String> {
        Vec::new()
    }

    fn is_awaited(&self, _bucket: &Bucket, _kind: ChangeKind, _key: &ObjectKey) -> bool {
        false
    }

    fn committed(&self, _sequence: Sequence) {}
}
