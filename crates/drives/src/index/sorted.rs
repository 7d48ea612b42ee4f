//! The index on a drive: sorted runs, as the crate fjall keeps them. Why it and not sled: decision 0007.
//!
//! Rows come in order and in large batches, so each batch is written as a run at once, past fjall's own log and
//! memtable, and registered as a whole; a thread of fjall merges runs. One keyspace for all tables. Its blocks carry
//! checksums that are verified whenever one is read.
//!
//! Bounds: [`CACHE_BYTES`] of cache, [`FILES_OPEN_MAX`] files, one thread.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable};

use super::ordered::{OrderedIndex, Row, Rows, Snapshot};

/// Cache of blocks of one index, in bytes: 16 MiB, 32 MiB for the two of a set.
const CACHE_BYTES: u64 = 16 << 20;

/// Files kept open.
const FILES_OPEN_MAX: usize = 64;

/// Sorted runs in a folder.
pub(crate) struct SortedIndex {
    database: Database,
    rows: Keyspace,
}

/// The runs of a moment.
struct Moment {
    snapshot: fjall::Snapshot,
    rows: Keyspace,
}

impl SortedIndex {
    /// Opens the index in a folder, or makes an empty one.
    ///
    /// # Errors
    ///
    /// What the system says; `InvalidData` when the files are damaged.
    pub(crate) fn open(folder: &Path) -> io::Result<SortedIndex> {
        let database = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .max_cached_files(Some(FILES_OPEN_MAX))
            .worker_threads(1)
            .open()
            .map_err(failure)?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).map_err(failure)?;
        Ok(SortedIndex { database, rows })
    }
}

impl OrderedIndex for SortedIndex {
    fn apply(&self, rows: &mut dyn Iterator<Item = Row>) -> io::Result<()> {
        let mut run = self.rows.start_ingestion().map_err(failure)?;
        for (key, value) in rows {
            match value {
                Some(value) => run.write(key, value),
                None => run.write_tombstone(key),
            }
            .map_err(failure)?;
        }
        run.finish().map_err(failure)
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(Moment { snapshot: self.database.snapshot(), rows: self.rows.clone() })
    }
}

impl Snapshot for Moment {
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        let found = self.snapshot.get(&self.rows, key).map_err(failure)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn range(&self, start: &[u8], end: &[u8]) -> Rows<'_> {
        let rows = self.snapshot.range(&self.rows, start.to_vec()..end.to_vec());
        Box::new(rows.map(|row| {
            let (key, value) = row.into_inner().map_err(failure)?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        }))
    }
}

/// The system's error where there is one, so that callers can tell a full drive from a broken index.
fn failure(error: fjall::Error) -> io::Error {
    match error {
        fjall::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}
