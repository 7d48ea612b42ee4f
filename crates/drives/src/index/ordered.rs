//! The lower part of the index: rows in order, on a drive.
//!
//! An engine behind [`OrderedIndex`] knows bytes only; what its rows mean is [`super::rows`]. It is never the truth:
//! whatever it answers wrongly or not at all, it is thrown away for, and filled anew from another one or from the
//! journal. There is one on drives, [`super::sorted`], and one in memory for the faulty drive.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// A row to write: its key, and its value or `None` to remove it.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// Rows as they are read, in the order of their keys.
pub type Rows<'a> = Box<dyn Iterator<Item = io::Result<(Bytes, Bytes)>> + Send + 'a>;

/// Rows on a drive.
pub trait OrderedIndex: Send + Sync + 'static {
    /// Writes rows, given in the order of their keys and each key once: all or nothing, and durable on return.
    ///
    /// # Errors
    ///
    /// What the system says; nothing is promised of the index then.
    fn apply(&self, rows: &mut dyn Iterator<Item = Row>) -> io::Result<()>;

    /// The rows as they are now; later writes do not show. Does not wait for the medium, unless the index is being
    /// opened anew.
    fn snapshot(&self) -> Arc<dyn Snapshot>;
}

/// The rows of a moment. Its calls block.
pub trait Snapshot: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// What the system says, and `InvalidData` where a checksum does not fit.
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>>;

    /// Rows from `start` (inclusive) to `end` (exclusive). Errors come as items, and nothing follows them.
    fn range(&self, start: &[u8], end: &[u8]) -> Rows<'_>;
}
