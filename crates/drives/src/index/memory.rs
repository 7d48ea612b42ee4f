//! An index in memory, for the faulty drive.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::ordered::{OrderedIndex, Row, Rows, Snapshot};

type Table = BTreeMap<Bytes, Bytes>;

/// Rows in memory.
#[derive(Default)]
pub struct MemoryIndex {
    table: Mutex<Arc<Table>>,
    faults: Arc<Faults>,
}

/// Faults that a test switches on and off.
#[derive(Default)]
struct Faults {
    failing: AtomicBool,
    hanging: Mutex<Hanging>,
    freed: Condvar,
}

/// Whether calls wait, or those that write alone, and how many of those that read do.
#[derive(Default)]
struct Hanging {
    is_on: bool,
    writes: bool,
    readers: usize,
}

/// As long as it is there, calls wait.
pub struct Hang(Arc<Faults>);

impl Drop for Hang {
    fn drop(&mut self) {
        let mut hanging = self.0.hanging.lock();
        (hanging.is_on, hanging.writes) = (false, false);
        self.0.freed.notify_all();
    }
}

/// The rows of a moment.
struct Moment {
    table: Arc<Table>,
    faults: Arc<Faults>,
}

impl MemoryIndex {
    /// As it is found when power returns.
    pub fn restarted(&self) -> MemoryIndex {
        MemoryIndex { table: Mutex::new(Arc::clone(&self.table.lock())), faults: Arc::default() }
    }

    /// Fails every call from now on.
    pub fn fail(&self) {
        self.faults.failing.store(true, Ordering::SeqCst);
    }

    /// Lets every call wait from now on, until what this gives is dropped.
    pub fn hang(&self) -> Hang {
        self.faults.hanging.lock().is_on = true;
        Hang(Arc::clone(&self.faults))
    }

    /// Lets every flush wait from now on, until what this gives is dropped; it is read meanwhile.
    pub fn hang_writes(&self) -> Hang {
        self.faults.hanging.lock().writes = true;
        Hang(Arc::clone(&self.faults))
    }

    /// Calls that read and wait.
    pub fn readers_hung(&self) -> usize {
        self.faults.hanging.lock().readers
    }

    /// Rows it holds.
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Faults {
    fn check_read(&self) -> io::Result<()> {
        self.check(1, |hanging| hanging.is_on)
    }

    fn check_write(&self) -> io::Result<()> {
        self.check(0, |hanging| hanging.is_on || hanging.writes)
    }

    fn check(&self, readers: usize, hangs: impl Fn(&Hanging) -> bool) -> io::Result<()> {
        let mut hanging = self.hanging.lock();
        hanging.readers += readers;
        while hangs(&hanging) {
            self.freed.wait(&mut hanging);
        }
        hanging.readers -= readers;
        if self.failing.load(Ordering::SeqCst) { Err(io::Error::other("the index fails")) } else { Ok(()) }
    }
}

impl OrderedIndex for MemoryIndex {
    fn apply(&self, rows: &mut dyn Iterator<Item = Row>) -> io::Result<()> {
        self.faults.check_write()?;
        let mut shared = self.table.lock();
        let table = Arc::make_mut(&mut shared);
        for (key, value) in rows {
            match value {
                Some(value) => table.insert(key.into(), value.into()),
                None => table.remove(&key[..]),
            };
        }
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let table = Arc::clone(&self.table.lock());
        Arc::new(Moment { table, faults: Arc::clone(&self.faults) })
    }
}

impl Snapshot for Moment {
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.faults.check_read()?;
        Ok(self.table.get(key).cloned())
    }

    fn range(&self, start: &[u8], end: &[u8]) -> Rows<'_> {
        if start >= end {
            return Box::new(std::iter::empty());
        }
        let rows = self.table.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)));
        Box::new(rows.map(|(key, value)| {
            self.faults.check_read()?;
            Ok((key.clone(), value.clone()))
        }))
    }
}
