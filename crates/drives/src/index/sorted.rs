//! The index on a drive: sorted runs, as the crate fjall keeps them. Why it and not sled: decision 0007.
//!
//! Rows come in order and in large batches, so each batch is written as a run at once, past fjall's own log and
//! memtable, and registered as a whole; a thread of fjall merges runs. One keyspace for all tables. Its blocks carry
//! checksums that are verified whenever one is read.
//!
//! That thread ends for good when a merge fails, for want of space or because a run is damaged: runs would gather, and
//! what the merge had written stays. So before the next batch the index is opened anew, which removes that and merges.
//!
//! Bounds: [`CACHE_BYTES`] of cache, [`FILES_OPEN_MAX`] files, one thread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use parking_lot::RwLock;

use super::ordered::{OrderedIndex, Row, Rows, Snapshot};

/// Cache of blocks of one index, in bytes: 16 MiB, 32 MiB for the two of a set.
const CACHE_BYTES: u64 = 16 << 20;

/// Files kept open.
const FILES_OPEN_MAX: usize = 64;

/// How long it is waited for those who read an index before it is opened anew; else the next batch tries again.
const READERS_MAX: Duration = Duration::from_millis(100);

/// Sorted runs in a folder.
pub(crate) struct SortedIndex {
    folder: PathBuf,
    /// `None` when it could not be opened anew.
    opened: RwLock<Option<Arc<Opened>>>,
}

/// The runs, and the thread that merges them.
struct Opened {
    database: Database,
    rows: Keyspace,
}

/// The runs of a moment.
struct Moment {
    snapshot: fjall::Snapshot,
    opened: Arc<Opened>,
}

impl Opened {
    fn open(folder: &Path) -> io::Result<Opened> {
        let database = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .max_cached_files(Some(FILES_OPEN_MAX))
            .worker_threads(1)
            .open()
            .map_err(failure)?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).map_err(failure)?;
        Ok(Opened { database, rows })
    }

    /// Whether the thread that merges has not failed. Nothing is in fjall's own log that this could write.
    fn merges(&self) -> bool {
        self.database.persist(PersistMode::Buffer).is_ok()
    }
}

impl SortedIndex {
    /// Opens the index in a folder, or makes an empty one.
    ///
    /// # Errors
    ///
    /// What the system says; `InvalidData` when the files are damaged.
    pub(crate) fn open(folder: &Path) -> io::Result<SortedIndex> {
        let opened = RwLock::new(Some(Arc::new(Opened::open(folder)?)));
        Ok(SortedIndex { folder: folder.to_owned(), opened })
    }

    /// Opens it anew if runs are merged no more, unless somebody reads it for long: it can be open once.
    fn revive(&self) -> io::Result<()> {
        let mut place = self.opened.write();
        let Some(opened) = place.take_if(|opened| !opened.merges()) else {
            return Ok(());
        };
        let deadline = Instant::now() + READERS_MAX;
        while Arc::strong_count(&opened) > 1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        match Arc::try_unwrap(opened) {
            Ok(last) => drop(last),
            Err(read) => {
                *place = Some(read);
                return Ok(());
            }
        }
        tracing::warn!(
            folder = %self.folder.display(),
            "The runs of an index could not be merged, for want of space or because one is damaged: it is opened anew."
        );
        *place = Some(Arc::new(Opened::open(&self.folder)?));
        Ok(())
    }
}

impl OrderedIndex for SortedIndex {
    fn apply(&self, rows: &mut dyn Iterator<Item = Row>) -> io::Result<()> {
        self.revive()?;
        let opened = self.opened.read().clone().ok_or_else(closed)?;
        let mut run = opened.rows.start_ingestion().map_err(failure)?;
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
        match self.opened.read().clone() {
            Some(opened) => Arc::new(Moment { snapshot: opened.database.snapshot(), opened }),
            None => Arc::new(Closed),
        }
    }
}

impl Snapshot for Moment {
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        let found = self.snapshot.get(&self.opened.rows, key).map_err(failure)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn range(&self, start: &[u8], end: &[u8]) -> Rows<'_> {
        let rows = self.snapshot.range(&self.opened.rows, start.to_vec()..end.to_vec());
        Box::new(rows.map(|row| {
            let (key, value) = row.into_inner().map_err(failure)?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        }))
    }
}

/// Of an index that could not be opened anew.
struct Closed;

impl Snapshot for Closed {
    fn get(&self, _: &[u8]) -> io::Result<Option<Bytes>> {
        Err(closed())
    }

    fn range(&self, _: &[u8], _: &[u8]) -> Rows<'_> {
        Box::new(std::iter::once(Err(closed())))
    }
}

fn closed() -> io::Error {
    io::Error::other("the index could not be opened anew")
}

/// The system's error where there is one, so that callers can tell a full drive from a broken index.
fn failure(error: fjall::Error) -> io::Error {
    match error {
        fjall::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    const ROWS: u32 = 1000;

    /// Writes the same keys in each round, as a run.
    fn write(index: &SortedIndex, round: u8) {
        let row = |number: u32| (number.to_be_bytes().to_vec(), Some(vec![round; 100]));
        index.apply(&mut (0..ROWS).map(row)).unwrap();
    }

    fn merges(index: &SortedIndex) -> bool {
        index.opened.read().as_ref().unwrap().merges()
    }

    fn runs(index: &SortedIndex) -> usize {
        index.opened.read().as_ref().unwrap().rows.l0_table_count()
    }

    /// The first run of an index: the keyspace 0 is fjall's own.
    fn first_run(folder: &Path) -> PathBuf {
        folder.join("keyspaces/1/tables/0")
    }

    /// Writes over a file, so that who has it open reads that.
    fn overwrite(path: &Path, bytes: &[u8]) {
        OpenOptions::new().write(true).open(path).unwrap().write_all(bytes).unwrap();
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < deadline, "what was waited for did not happen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A merge fails, here over a run that cannot be read for a while.
    #[test]
    fn runs_are_merged_again_after_a_merge_failed() {
        let folder = tempfile::tempdir().unwrap();
        let index = SortedIndex::open(folder.path()).unwrap();
        write(&index, 0);
        let run = first_run(folder.path());
        let sound = std::fs::read(&run).unwrap();
        // The start of its first block: an index is opened without reading that.
        overwrite(&run, &[0xa5; 64]);
        (1..10).for_each(|round| write(&index, round));
        wait_until(|| !merges(&index));
        overwrite(&run, &sound);

        let moment = index.snapshot();
        write(&index, 10);
        assert!(!merges(&index), "it is opened anew while it is read");
        assert_eq!(moment.get(&7_u32.to_be_bytes()).unwrap(), Some(vec![9; 100].into()));
        drop(moment);
        let gathered = runs(&index);
        write(&index, 11);
        wait_until(|| runs(&index) < gathered);
        assert!(merges(&index));
        let rows: Vec<_> = index.snapshot().range(&[0], &[1]).collect::<io::Result<_>>().unwrap();
        assert_eq!(rows.len(), ROWS as usize);
        assert!(rows.iter().all(|(_, value)| value == &vec![11; 100]));
    }
}
