//! A bucket: its name, and the documents that say how it behaves.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::change::Sequence;
use crate::engine::PartitionId;
use crate::names::BucketName;

/// A bucket as of one sequence. Cheap to share, never changed in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// When it was created, milliseconds since 1970.
    pub created_ms: u64,
    /// Where everything of it lives; chosen at creation, never changed.
    pub partition: PartitionId,
    /// Configuration documents by name (`notification`), in the form their owner gave.
    pub documents: BTreeMap<String, Bytes>,
    /// The commit that wrote this state; a write under this state has it as a precondition.
    pub sequence: Sequence,
}

impl Bucket {
    /// Name of the document that holds the notification rules; `notify::rule` owns its form.
    pub const NOTIFICATION: &'static str = "notification";

    /// A configuration document, if one is set.
    pub fn document(&self, name: &str) -> Option<&Bytes> {
        self.documents.get(name)
    }
}
