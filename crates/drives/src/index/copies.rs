//! Copies of the lower index, each on a drive, each with a thread of its own.
//!
//! A copy gets every flush in order and answers when it holds it, synced. A new one is filled from another, in
//! pieces between flushes: a key that a flush wrote or removed meanwhile is newer than the one it would be filled
//! with, which a mark remembers for removed keys. It counts when it is full.
//!
//! A flush is begun when its drive has space for it. Until then the copy waits and is read as it is: to run out of
//! space in the midst of it would cost the copy, and both of them on drives that are full.
//!
//! Bounds: a copy that takes longer than [`FLUSH_MAX`] for a flush that another holds is out, or than
//! [`FLUSH_MAX_ALL`], and so is one that is silent when it is asked for something (see [`super::lookup`]). One flush
//! waits at a copy, which [`super::Index`] sees to. How long one waits for space is the operator's to say.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use store::KeyRange;

use super::desk::Desk;
use super::memtable::Memtable;
use super::ordered::{OrderedIndex, Row, Snapshot};
use super::rows::{KEYS, MARKS, STATEMENT, change_key, encode_change, encode_stored, end_in_table, in_table};
use super::statement::Statement;
use crate::drive::Drive;

/// Longest a flush may take that another copy holds already.
pub(super) const FLUSH_MAX: Duration = Duration::from_secs(20);

/// Longest a flush may take that no copy holds: drives that are all that slow are not broken.
pub(super) const FLUSH_MAX_ALL: Duration = Duration::from_secs(60);

/// Longest a stop waits for what a copy is doing.
const STOP_MAX: Duration = Duration::from_secs(5);

/// How often it is looked whether there is space for a flush.
const SPACE_EVERY: Duration = Duration::from_millis(250);

/// Times the bytes of a memtable that have to be free for its flush: as runs, and once more where they are merged.
const SPACE_TIMES: u64 = 2;

/// Bytes that have to be free besides: 1 MiB.
const SPACE_SPARE: u64 = 1 << 20;

/// Bytes that have to be free for the flush of a memtable of so many.
fn space_needed(memtable_bytes: usize) -> u64 {
    (memtable_bytes as u64).saturating_mul(SPACE_TIMES).saturating_add(SPACE_SPARE)
}

/// Bytes that one frame adds to a memtable, at most, unless it is of a single commit: 2 MiB. What is written to it at a
/// time otherwise is less.
pub(crate) const GROWTH_MAX: usize = 2 << 20;

/// Bytes that nothing but the index takes of a drive that keeps a copy, where memtables are frozen at this size: room
/// for the flush of one that grew to twice that, and by a frame. Segments are given back only when the index is past
/// them, so that a drive which is full to the brim without it would stay so.
pub(crate) fn reserve_bytes(memtable_bytes: usize) -> u64 {
    space_needed(memtable_bytes.saturating_mul(2).saturating_add(GROWTH_MAX))
}

/// Rows copied at a time while a copy is filled.
const FILL_ROWS: usize = 20_000;

/// A memtable that takes no more, and the statement that goes with it.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub memtable: Memtable,
    pub statement: Statement,
}

/// One copy of the lower index.
#[derive(Debug)]
pub(crate) struct Copy {
    /// Position of its drive in the set.
    pub position: usize,
    orders: Sender<Arc<Frozen>>,
    state: Arc<State>,
    ended: Mutex<Receiver<()>>,
}

/// What its thread and those that read it share.
struct State {
    index: RwLock<Option<Arc<dyn OrderedIndex>>>,
    /// Whether it holds everything, so that it may be read.
    full: AtomicBool,
    out: RwLock<Option<String>>,
    /// Number of the last flush it holds, and the batch up to which it does.
    flushed: AtomicU64,
    upto: AtomicU64,
    /// Number of the last flush it was given, and when.
    asked: Mutex<(u64, Instant)>,
    /// Its drive has no space for that.
    waits: AtomicBool,
    desk: Arc<Desk>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "flush {} full {:?} out {:?}", self.flushed.load(Ordering::Relaxed), self.full, self.out)
    }
}

/// The rows of a copy at a moment.
pub(crate) struct Lower {
    pub snapshot: Arc<dyn Snapshot>,
    pub(super) asked: Asked,
}

/// A copy that is asked for something; it may be closed meanwhile.
pub(super) struct Asked(Arc<State>);

impl Asked {
    /// Where questions to it are left, so that a copy that hangs does not hold all threads.
    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.0.desk
    }

    /// Whether it is the same copy.
    pub(super) fn is_same(&self, other: &Asked) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes it out.
    pub(super) fn take_out(&self, reason: &str) {
        self.0.take_out(reason);
    }
}

/// What a copy begins with.
pub(super) enum Origin {
    /// It was found, and holds everything up to its statement.
    Found(Arc<dyn OrderedIndex>, Statement),
    /// Nothing was ever flushed: the first flush makes it full.
    Empty,
    /// It is filled from another.
    Other(Arc<dyn Snapshot>),
}

impl Copy {
    /// Starts the thread of a copy.
    pub(super) fn start(position: usize, drive: Arc<dyn Drive>, origin: Origin) -> Copy {
        let (orders, incoming) = channel();
        let (end, ended) = channel();
        let (index, flushed, upto) = match &origin {
            Origin::Found(index, statement) => {
                (Some(Arc::clone(index)), statement.flush, statement.upto.batch)
            }
            Origin::Empty | Origin::Other(_) => (None, 0, 0),
        };
        let state = Arc::new(State {
            full: AtomicBool::new(index.is_some()),
            index: RwLock::new(index),
            out: RwLock::new(None),
            flushed: AtomicU64::new(flushed),
            upto: AtomicU64::new(upto),
            asked: Mutex::new((flushed, Instant::now())),
            waits: AtomicBool::new(false),
            desk: Arc::default(),
        });
        let keeper = Keeper { drive, state: Arc::clone(&state), orders: incoming };
        std::thread::Builder::new()
            .name("index".into())
            .spawn(move || {
                keeper.run(origin);
                drop(end);
            })
            .expect("the system gives a thread");
        Copy { position, orders, state, ended: Mutex::new(ended) }
    }

    /// What is to be read, if it is full and works.
    pub(super) fn lower(&self) -> Option<Lower> {
        let index = self.state.index.read();
        let snapshot = index.as_ref().filter(|_| self.is_full())?.snapshot();
        Some(Lower { snapshot, asked: Asked(Arc::clone(&self.state)) })
    }

    pub(super) fn is_full(&self) -> bool {
        self.state.full.load(Ordering::Acquire)
    }

    pub(super) fn is_out(&self) -> bool {
        self.state.out.read().is_some()
    }

    /// Why it is out.
    pub(super) fn reason(&self) -> Option<String> {
        self.state.out.read().clone()
    }

    /// Takes it out; the first reason stays.
    pub(super) fn take_out(&self, reason: &str) {
        self.state.take_out(reason);
    }

    /// Gives it a flush; it had taken the one before.
    pub(super) fn flush(&self, frozen: &Arc<Frozen>) {
        *self.state.asked.lock() = (frozen.statement.flush, Instant::now());
        // Its thread is gone when it is out.
        let _ = self.orders.send(Arc::clone(frozen));
    }

    /// Whether it holds what it was given; one that takes longer for that than it may is taken out.
    pub(super) fn is_idle(&self, flush_max: Duration) -> bool {
        let mut asked = self.state.asked.lock();
        if self.waits_for_space() {
            // Its time begins when it has some.
            asked.1 = Instant::now();
        }
        let (number, since) = *asked;
        let idle = self.state.flushed.load(Ordering::Acquire) >= number;
        if !idle && since.elapsed() > flush_max {
            self.take_out("it takes too long for what it is given");
        }
        idle
    }

    /// Whether its drive has no space for what it was given.
    pub(super) fn waits_for_space(&self) -> bool {
        self.state.waits.load(Ordering::Acquire)
    }

    /// Number of the last flush it holds.
    pub(super) fn flushed(&self) -> u64 {
        self.state.flushed.load(Ordering::Acquire)
    }

    /// The last batch it holds durably; 0 for none.
    pub(super) fn durable_upto(&self) -> u64 {
        self.state.upto.load(Ordering::Acquire)
    }

    /// Gives it nothing more, so that its thread ends when it has done what it does.
    pub(super) fn part(self) -> Leaving {
        Leaving { position: self.position, ended: self.ended }
    }
}

/// A copy that is given nothing more.
#[derive(Debug)]
pub(crate) struct Leaving {
    /// Position of its drive in the set.
    pub position: usize,
    ended: Mutex<Receiver<()>>,
}

impl Leaving {
    /// Whether its thread has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.lock().try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits until its thread has ended, so that its drive can be opened again. One that hangs is left behind.
    pub(super) fn wait(self) {
        // Disconnected is what is waited for.
        let _ = self.ended.lock().recv_timeout(STOP_MAX);
    }
}

impl State {
    fn take_out(&self, reason: &str) {
        self.full.store(false, Ordering::Release);
        self.out.write().get_or_insert_with(|| reason.to_owned());
    }
}

/// The thread of a copy.
struct Keeper {
    drive: Arc<dyn Drive>,
    state: Arc<State>,
    orders: Receiver<Arc<Frozen>>,
}

impl Keeper {
    fn run(self, origin: Origin) {
        let kept = match origin {
            Origin::Found(index, statement) => self.follow(&*index, statement),
            Origin::Empty => self.begin(),
            Origin::Other(source) => self.make().and_then(|index| {
                let statement = self.fill(&*index, &*source)?;
                drop(source);
                self.follow(&*index, statement)
            }),
        };
        if let Err(error) = kept {
            self.state.take_out(&error.to_string());
        }
        let index = self.state.index.write().take();
        drop(index);
        if self.state.out.read().is_some() {
            // What is left there is of no use any more, and of no harm: its statement tells.
            let _ = self.drive.remove_indexes();
        }
    }

    fn make(&self) -> io::Result<Arc<dyn OrderedIndex>> {
        self.drive.remove_indexes()?;
        let made = self.drive.open_index(true)?.ok_or(io::ErrorKind::Unsupported)?;
        *self.state.index.write() = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Makes the copy with the first flush, and goes on with those that follow.
    fn begin(&self) -> io::Result<()> {
        let Some(first) = self.next()? else { return Ok(()) };
        let index = self.make()?;
        write(&*index, &first, None)?;
        self.follow(&*index, first.statement.clone())
    }

    /// Takes flushes until there are no more.
    fn follow(&self, index: &dyn OrderedIndex, mut last: Statement) -> io::Result<()> {
        loop {
            self.state.full.store(true, Ordering::Release);
            self.hold(&last);
            let Some(frozen) = self.next()? else { return Ok(()) };
            write(index, &frozen, None)?;
            last = frozen.statement.clone();
        }
    }

    /// The next flush, when there is space for it; `None` when there are no more, or the copy is out.
    fn next(&self) -> io::Result<Option<Arc<Frozen>>> {
        let Ok(frozen) = self.orders.recv() else { return Ok(None) };
        let wanted = self.await_space(&frozen)? && self.state.out.read().is_none();
        Ok(wanted.then_some(frozen))
    }

    /// Waits until the drive has space for a flush; `false` when nobody wants that any more.
    fn await_space(&self, frozen: &Frozen) -> io::Result<bool> {
        let needed = space_needed(frozen.memtable.bytes());
        while self.drive.space()?.free_bytes < needed {
            if !self.state.waits.swap(true, Ordering::AcqRel) {
                tracing::error!(
                    drive = self.drive.path(),
                    needed,
                    "A drive has no space for the index: only deletes are taken."
                );
            }
            // One flush waits at a time: what ends this is that no more come.
            let goes_on = matches!(self.orders.recv_timeout(SPACE_EVERY), Err(RecvTimeoutError::Timeout));
            if !goes_on || self.state.out.read().is_some() {
                return Ok(false);
            }
        }
        if self.state.waits.swap(false, Ordering::AcqRel) {
            tracing::info!(drive = self.drive.path(), "There is space for the index again.");
        }
        Ok(true)
    }

    fn hold(&self, statement: &Statement) {
        self.state.upto.store(statement.upto.batch, Ordering::Release);
        self.state.flushed.store(statement.flush, Ordering::Release);
    }

    /// Copies everything of `source`, with flushes in between; answers the statement that then holds.
    fn fill(&self, index: &dyn OrderedIndex, source: &dyn Snapshot) -> io::Result<Statement> {
        let stated = source.get(STATEMENT)?.as_deref().and_then(Statement::decode);
        let mut statement = stated.ok_or(io::ErrorKind::InvalidData)?;
        let mut flushed = false;
        let mut start = vec![0];
        loop {
            match self.orders.try_recv() {
                Ok(frozen) => {
                    if !self.await_space(&frozen)? {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                    write(index, &frozen, Some(source))?;
                    statement = frozen.statement.clone();
                    self.state.flushed.store(statement.flush, Ordering::Release);
                    flushed = true;
                }
                Err(TryRecvError::Disconnected) => return Err(io::ErrorKind::Interrupted.into()),
                Err(TryRecvError::Empty) => {}
            }
            if self.state.out.read().is_some() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match self.fill_piece(index, source, &start, flushed)? {
                Some(next) => start = next,
                None => break,
            }
        }
        unmark(index)?;
        index.apply(&mut std::iter::once((STATEMENT.to_vec(), Some(statement.encode()))))?;
        Ok(statement)
    }

    /// Copies rows from `start` on; answers where the next piece begins.
    fn fill_piece(
        &self,
        index: &dyn OrderedIndex,
        source: &dyn Snapshot,
        start: &[u8],
        flushed: bool,
    ) -> io::Result<Option<Vec<u8>>> {
        let rows: Vec<_> = source.range(start, STATEMENT).take(FILL_ROWS).collect::<io::Result<_>>()?;
        let Some((last, _)) = rows.last() else {
            return Ok(None);
        };
        let next = [last, &[0][..]].concat();
        let own = index.snapshot();
        let mut missing: Vec<Row> = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            let newer = flushed && (own.get(&key)?.is_some() || own.get(&in_table(MARKS, &key))?.is_some());
            if !newer {
                missing.push((key.to_vec(), Some(value.to_vec())));
            }
        }
        index.apply(&mut missing.into_iter())?;
        Ok(Some(next))
    }
}

/// Writes a flush with its statement. Into a copy that is filled from `source` with marks of what was removed, and
/// without the statement, which it does not keep yet.
fn write(index: &dyn OrderedIndex, frozen: &Frozen, source: Option<&dyn Snapshot>) -> io::Result<()> {
    let memtable = &frozen.memtable;
    let everything = KeyRange { start: bytes::Bytes::new(), end: None };
    let removed = removed_by_prefix(index, memtable, source)?;
    let changes = memtable.changes_after(store::Sequence::ZERO);
    let changes = changes.map(|(sequence, place)| (change_key(sequence), place.as_ref().map(encode_change)));
    let mut keys = memtable.range(&everything).peekable();
    let mut graves = removed.iter().peekable();
    // Both in order, and no key in both.
    let keys = std::iter::from_fn(|| {
        if graves.peek().is_some_and(|grave| keys.peek().is_none_or(|(key, _)| grave[1..] < key[..])) {
            return graves.next().map(|grave| (grave.clone(), None));
        }
        let (key, stored) = keys.next()?;
        Some((in_table(KEYS, key), stored.as_ref().map(|stored| encode_stored(stored))))
    });
    let marks: BTreeSet<Vec<u8>> = if source.is_some() {
        let keys = memtable.range(&everything).filter(|(_, stored)| stored.is_none());
        let keys = keys.map(|(key, _)| in_table(KEYS, key));
        let changes = memtable.changes_after(store::Sequence::ZERO).filter(|(_, place)| place.is_none());
        let changes = changes.map(|(sequence, _)| change_key(sequence));
        keys.chain(changes).chain(removed.iter().cloned()).map(|row| in_table(MARKS, &row)).collect()
    } else {
        BTreeSet::new()
    };
    let marks = marks.into_iter().map(|mark| (mark, Some(Vec::new())));
    let statement = source.is_none().then(|| (STATEMENT.to_vec(), Some(frozen.statement.encode())));
    index.apply(&mut changes.chain(keys).chain(marks).chain(statement))
}

/// Rows of the keys that removed prefixes hide, but for those put again.
fn removed_by_prefix(
    index: &dyn OrderedIndex,
    memtable: &Memtable,
    source: Option<&dyn Snapshot>,
) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut removed = BTreeSet::new();
    for prefix in memtable.graves() {
        let range = KeyRange::prefix(prefix);
        let (start, end) = (in_table(KEYS, &range.start), end_in_table(KEYS, range.end.as_deref()));
        let own = index.snapshot();
        for snapshot in [Some(&*own), source].into_iter().flatten() {
            for row in snapshot.range(&start, &end) {
                let (row, _) = row?;
                if !memtable.names(&row[1..]) {
                    removed.insert(row.to_vec());
                }
            }
        }
    }
    Ok(removed)
}

/// Removes the marks of a copy that is full.
fn unmark(index: &dyn OrderedIndex) -> io::Result<()> {
    loop {
        let own = index.snapshot();
        let marks: Vec<_> = own.range(&[MARKS], &[MARKS + 1]).take(FILL_ROWS).collect::<io::Result<_>>()?;
        if marks.is_empty() {
            return Ok(());
        }
        index.apply(&mut marks.into_iter().map(|(key, _)| (key.to_vec(), None)))?;
    }
}

/// An index that a drive had.
pub(crate) struct Opened {
    pub position: usize,
    pub index: Arc<dyn OrderedIndex>,
    pub statement: Statement,
}

/// Opens what the drives have; one that hangs or cannot be read has none.
pub(crate) fn open(drives: Vec<(usize, Arc<dyn Drive>)>, patience: Duration) -> Vec<Opened> {
    let (answers, incoming) = channel();
    for (position, drive) in drives {
        let answers = answers.clone();
        std::thread::spawn(move || {
            let opened = drive.open_index(false).and_then(|index| {
                let Some(index) = index else { return Ok(None) };
                let stated = index.snapshot().get(STATEMENT)?;
                let statement = stated.as_deref().and_then(Statement::decode);
                Ok(statement.map(|statement| Opened { position, index, statement }))
            });
            let opened = opened.unwrap_or_else(|error| {
                tracing::warn!(drive = drive.path(), %error, "An index cannot be used: it is made anew.");
                None
            });
            drop(drive);
            // Nobody listens any more when it took too long.
            let _ = answers.send(opened);
        });
    }
    drop(answers);
    let deadline = Instant::now() + patience;
    let mut found = Vec::new();
    loop {
        match incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(opened) => found.extend(opened),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return found,
        }
    }
}
