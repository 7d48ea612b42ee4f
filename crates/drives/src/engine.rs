//! The local engine: one set of drives behind the engine trait.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;
use std::{io, ops::Range};

use bytes::Bytes;
use parking_lot::Mutex;
use store::{
    Batch, ByteStream, Change, Clock, Committed, Engine, EngineError, Entry, Future, HealReport, HealTask,
    Healed, KeyRange, Location, Partition, PartitionId, Seen, Sequence, SetReport, Stage, StageHint,
    Verification,
};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::assemble::{Given, Reopen, unwritable};
use crate::changes;
use crate::damage::Damages;
use crate::directory::DirectoryDrive;
use crate::drive::Drive;
use crate::errand;
use crate::error::OpenError;
use crate::heal::{self, Healer, Healing, Tally};
use crate::huge_pages;
use crate::index::lookup::{self, Below, Effort, Prepared, Wanted};
use crate::index::ordered::Snapshot;
use crate::index::{ChangePlace, ChangesPart, Found, Index, Part, Stored, Undecided};
use crate::lane::Patience;
use crate::lineup::{Lineup, line_up};
use crate::looked::{Asked, Looked};
use crate::open::{OPEN_MAX, Tuning, open_set};
use crate::payload;
use crate::sequencer::{COMMITS_WAITING_MAX, Event, EventSender, Granted, Outcome, Request, Wish, inbox};
use crate::set::{Mode, Set};
use crate::shards::{self, Pins, ShardStage};

/// What a set is opened with.
pub struct Options {
    /// One directory a drive, in any order.
    pub drives: Vec<PathBuf>,
    /// Parity of a new set; `None` is the default for the number of drives, and what an existing set has.
    pub parity: Option<usize>,
    /// The wall clock that sequences follow.
    pub clock: Arc<dyn Clock>,
}

/// An open set. Dropping it stops as a crash would; [`LocalEngine::shutdown`] stops cleanly.
pub struct LocalEngine {
    pub(crate) set: Arc<Set>,
    pub(crate) events: EventSender,
    permits: Arc<Semaphore>,
    pins: Arc<Pins>,
    /// Disconnected when the sequencer ended. Its thread may stay behind: the kernel ends it when no write of its ring
    /// hangs any more.
    ended: Mutex<Option<Receiver<Infallible>>>,
    tally: Arc<Tally>,
    healer: Mutex<Healer>,
    /// Bytes read back on each drive while the set is verified, or keys are healed.
    looked_at_per_second: u64,
}

impl LocalEngine {
    /// Opens the set on these directories, or makes a new one of empty ones; blocks until everything that was
    /// acknowledged can be read. Directories that do not exist are made for a new set only.
    ///
    /// With fewer drives than the write quorum it opens for reading: see [`LocalEngine::report`].
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing was written then, except that a new set may be half made, which the next
    /// opening completes.
    pub fn open(options: Options) -> Result<Arc<LocalEngine>, OpenError> {
        let Options { drives, parity, clock } = options;
        let mut given = Vec::with_capacity(drives.len());
        open_directories(&drives, &mut given)?;
        let lineup = line_up_alone(&given)?;
        make_directories(&drives, &mut given)?;
        LocalEngine::open_in(given, parity, lineup, clock, Tuning::default())
    }

    /// As [`LocalEngine::open`], on drives of any kind.
    ///
    /// # Errors
    ///
    /// As [`LocalEngine::open`].
    pub fn open_on(
        given: Vec<Given>,
        parity: Option<usize>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<LocalEngine>, OpenError> {
        LocalEngine::open_tuned(given, parity, clock, Tuning::default())
    }

    /// As [`LocalEngine::open_on`], with other rates of healing and scrubbing than the default.
    ///
    /// # Errors
    ///
    /// As [`LocalEngine::open`].
    pub fn open_healing(
        given: Vec<Given>,
        parity: Option<usize>,
        clock: Arc<dyn Clock>,
        healing: Healing,
    ) -> Result<Arc<LocalEngine>, OpenError> {
        LocalEngine::open_tuned(given, parity, clock, Tuning { healing, ..Tuning::default() })
    }

    /// As [`LocalEngine::open_on`], with what tests of a small set change.
    ///
    /// # Errors
    ///
    /// As [`LocalEngine::open`].
    pub fn open_tuned(
        given: Vec<Given>,
        parity: Option<usize>,
        clock: Arc<dyn Clock>,
        tuning: Tuning,
    ) -> Result<Arc<LocalEngine>, OpenError> {
        let given = Asked::all(given, tuning.open_within.unwrap_or(OPEN_MAX));
        let lineup = line_up_alone(&given)?;
        LocalEngine::open_in(given, parity, lineup, clock, tuning)
    }

    /// Opens a set at its place among the sets of its server.
    pub(crate) fn open_in(
        given: Vec<Asked>,
        parity: Option<usize>,
        lineup: Lineup,
        clock: Arc<dyn Clock>,
        tuning: Tuning,
    ) -> Result<Arc<LocalEngine>, OpenError> {
        let (events, incoming) = inbox();
        let healing = tuning.healing.clone();
        let looked_at_per_second = healing.bytes_per_second;
        let (set, sequencer, ring) =
            open_set(given, parity, lineup, clock, tuning, incoming, events.clone())?;
        let (ending, ended) = channel();
        let run = move || {
            sequencer.run(ring);
            drop(ending);
        };
        std::thread::Builder::new().name("sequencer".into()).spawn(run).expect("the system gives a thread");
        let (pins, tally) = (Arc::new(Pins::default()), Arc::new(Tally::default()));
        let healer =
            Healer::start(Arc::clone(&set), Arc::clone(&pins), Arc::clone(&tally), events.clone(), healing);
        Ok(Arc::new(LocalEngine {
            set,
            events,
            permits: Arc::new(Semaphore::new(COMMITS_WAITING_MAX)),
            pins,
            ended: Mutex::new(Some(ended)),
            tally,
            healer: Mutex::new(healer),
            looked_at_per_second,
        }))
    }

    /// Tells of batches that recovery kept while the set was in use, by their last sequence. Whoever committed one was
    /// told that its outcome is unknown, so nobody else wakes those who follow the changes.
    pub fn recovered(&self) -> watch::Receiver<Sequence> {
        self.set.recovered.subscribe()
    }

    /// How the drives are.
    pub fn report(&self) -> SetReport {
        self.set.report(self.heal_report())
    }

    /// Whether the epoch that holds lists these sets, and why it takes no writes if it takes none.
    pub(crate) fn has_recorded(&self, sets: &[uuid::Uuid]) -> Result<(), String> {
        if self.set.identity.lock().sets == sets {
            return Ok(());
        }
        Err(match &*self.set.mode.read() {
            Mode::ReadOnly(reason) => reason.clone(),
            Mode::Writable => "its drives do not list it".to_owned(),
        })
    }

    /// What reads found broken: a repair takes it from here.
    pub fn damages(&self) -> &Damages {
        &self.set.damages
    }

    /// What is short, what is being healed, and what was.
    pub fn heal_report(&self) -> HealReport {
        self.tally.report(&self.set)
    }

    /// How many keys there are.
    pub(crate) fn keys(&self) -> u64 {
        self.set.index.read().count()
    }

    /// Reads every copy of everything back, at the pace of healing; nothing is changed. `told` hears what is short and
    /// how far it is, and ends it by answering `false`. Blocks, for as long as the drives take.
    ///
    /// # Errors
    ///
    /// A clause for operators: the set is closed, or not everything was looked at.
    pub fn verify(&self, told: &mut dyn FnMut(Seen) -> bool) -> Result<Verification, String> {
        let end = self.look_around()?;
        heal::verify(&self.set, &self.pins, end, Some(self.looked_at_per_second), told)
    }

    /// Looks at the copies of keys, at the pace of healing, and has what is not whole repaired: see [`store::Heal`].
    ///
    /// # Errors
    ///
    /// A clause for operators: the set is closed, or not every key was looked at.
    pub fn heal(&self, task: &HealTask, told: &mut dyn FnMut(Option<Healed>) -> bool) -> Result<(), String> {
        let end = self.look_around()?;
        heal::heal_keys(&self.set, &self.pins, end, task, self.looked_at_per_second, told)
    }

    /// Where the journal ends by now.
    fn look_around(&self) -> Result<Granted, String> {
        let (event, granted) = Event::wish(Wish::Look);
        let closed = || "the engine is shut down".to_owned();
        self.events.send(event).map_err(|_| closed())?;
        granted.recv().map_err(|_| closed())?
    }

    /// Sets how long drives may take from now on; [`Patience::DEFAULT`] before.
    pub fn set_patience(&self, patience: Patience) {
        *self.set.patience.write() = patience;
    }

    /// Stops cleanly: takes no more commits, writes those that wait, waits for every voter, and seals the
    /// journal, so that the set survives the loss of any m drives whole.
    pub async fn shutdown(&self) {
        self.permits.close();
        self.healer.lock().stop();
        let (reply, stopped) = oneshot::channel();
        if self.events.send(Event::Stop { clean: true, reply: Some(reply) }).is_ok() {
            // An error means that it had stopped already.
            let _ = stopped.await;
        }
        self.join();
    }

    fn join(&self) {
        if let Some(ended) = self.ended.lock().take() {
            // Nothing is ever sent: it waits for the end.
            let _ = ended.recv();
        }
    }

    async fn look_up(&self, key: &[u8]) -> Result<Option<Arc<Stored>>, EngineError> {
        let prepare = |index: &Index| {
            if index.is_undecided(key) {
                return Err(EngineError::Undecided);
            }
            Ok(match index.get(key) {
                Found::Stored(stored) => Prepared::Done(Some(stored)),
                Found::Removed => Prepared::Done(None),
                Found::Below => Prepared::Below(Bytes::copy_from_slice(key)),
            })
        };
        let finish = |key: Bytes, below: &dyn Snapshot| lookup::value_of(below, &key);
        lookup::ask(&self.set, Effort::Look, prepare, finish).await
    }

    /// Places of up to `limit` changes after a sequence.
    async fn places_after(&self, after: Sequence, limit: usize) -> Result<Vec<ChangePlace>, EngineError> {
        let prepare = |index: &Index| {
            let part = index.changes_part(after, limit);
            Ok(if index.has_changes_below(after) {
                Prepared::Below((after, limit, part))
            } else {
                Prepared::Done(part.into_iter().filter_map(|(_, place)| place).collect())
            })
        };
        let finish = |(after, limit, part): (Sequence, usize, ChangesPart), below: &dyn Snapshot| {
            lookup::changes_after(below, after, limit, part)
        };
        lookup::ask(&self.set, Effort::Walk, prepare, finish).await
    }

    /// What the index has below memory of the keys that a batch touches.
    async fn look_below(&self, batch: &Batch) -> Result<Below, EngineError> {
        let prepare = |index: &Index| {
            Ok(match Wanted::of(index, batch) {
                Prepared::Below(wanted) => Prepared::Below((Arc::clone(&self.set), wanted)),
                Prepared::Done(below) => Prepared::Done(below),
            })
        };
        let finish = |(set, wanted): (Arc<Set>, Wanted), below: &dyn Snapshot| wanted.look_up(&set, below);
        let needed = self.set.geometry.write_quorum();
        let effort = Effort::of_keys(batch.mutations.len());
        let found = lookup::ask(&self.set, effort, prepare, finish).await;
        // Nothing was changed: without the index nothing can be judged.
        found.map_err(|error| match error {
            EngineError::ReadQuorum { answered, .. } => EngineError::WriteQuorum { answered, needed },
            other => other,
        })
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        self.permits.close();
        self.healer.lock().stop();
        // It fails when shutdown was there before.
        let _ = self.events.send(Event::Stop { clean: false, reply: None });
        self.join();
        // No thread holds a drive any more, which may be opened again at once, unless it is out and may hang.
        let patience = *self.set.patience.read();
        for member in &self.set.members {
            let patience = if member.is_online() { patience.read } else { patience.hedge };
            member.reads.drain(patience);
            member.writes.drain(patience);
        }
    }
}

/// A set that is a server alone.
fn line_up_alone(given: &Vec<Asked>) -> Result<Lineup, OpenError> {
    Ok(Lineup { sets: line_up(std::slice::from_ref(given))?, place: 0 })
}

/// Opens the directories of a set behind those of the sets before it, and looks at them; none is made. One that hangs
/// is as one that is not there.
pub(crate) fn open_directories(paths: &[PathBuf], asked: &mut Vec<Asked>) -> Result<(), OpenError> {
    let open = |path: PathBuf| Ok((path.canonicalize().ok(), open_directory(&path)));
    let opened = errand::run_on_each(paths.to_vec(), OPEN_MAX, open);
    let mut found: Vec<Asked> = Vec::with_capacity(paths.len());
    for (path, opened) in paths.iter().zip(opened) {
        let (absolute, drive) = opened.unwrap_or_else(|silence| (None, Err(silence)));
        let directory = asked_directory(path, absolute.as_deref(), drive);
        let is_twin = |other: &&Asked| absolute.is_some() && other.path == directory.path;
        if let Some(twin) = asked.iter().chain(&found).find(is_twin) {
            return Err(OpenError::Duplicate { path: path.display().to_string(), other: twin.path.clone() });
        }
        found.push(directory);
    }
    asked.extend(found);
    Ok(())
}

/// Makes the directories that are missing when all drives of a set are blank or missing: it is a new one.
pub(crate) fn make_directories(paths: &[PathBuf], asked: &mut [Asked]) -> Result<(), OpenError> {
    let is_new = asked.iter().all(|drive| match &drive.drive {
        Ok((_, looked)) => looked.is_bare(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    });
    if !is_new {
        return Ok(());
    }
    for (path, drive) in paths.iter().zip(asked) {
        if drive.drive.is_err() {
            std::fs::create_dir_all(path).map_err(|error| unwritable(&drive.path, error))?;
            *drive = asked_directory(path, path.canonicalize().ok().as_deref(), open_directory(path));
        }
    }
    Ok(())
}

fn open_directory(path: &Path) -> io::Result<(Arc<dyn Drive>, Looked)> {
    let drive = DirectoryDrive::open(path)?;
    let looked = Looked::at(&drive)?;
    Ok((Arc::new(drive), looked))
}

/// A directory that was opened and looked at: at its own path where that is known.
fn asked_directory(
    path: &Path,
    absolute: Option<&Path>,
    drive: io::Result<(Arc<dyn Drive>, Looked)>,
) -> Asked {
    let named = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let root = path.to_owned();
    let reopen: Reopen = Arc::new(move || Ok(Arc::new(DirectoryDrive::open(&root)?) as Arc<dyn Drive>));
    Asked { path: absolute.map_or_else(named, Path::to_owned).display().to_string(), reopen, drive }
}

/// The one partition of a set.
pub(crate) const ONLY: PartitionId = PartitionId(0);

fn check(partition: PartitionId) -> Result<(), EngineError> {
    if partition == ONLY { Ok(()) } else { Err(EngineError::NoSuchPartition { partition }) }
}

impl Engine for LocalEngine {
    fn commit(&self, partition: PartitionId, batch: Batch) -> Future<'_, Result<Committed, EngineError>> {
        Box::pin(async move {
            check(partition)?;
            let since = Instant::now();
            let mut batch = batch;
            loop {
                let below = self.look_below(&batch).await?;
                let permits = Arc::clone(&self.permits);
                let permit = permits.acquire_owned().await.map_err(|_| EngineError::Closed)?;
                let (reply, answer) = oneshot::channel();
                let request = Request { batch, below, reply, since, permit };
                self.events.send(Event::Commit(Box::new(request))).map_err(|_| EngineError::Closed)?;
                match answer.await.map_err(|_| EngineError::Closed)? {
                    Outcome::Done(result) => return result,
                    Outcome::LookAgain(returned) => batch = returned,
                }
            }
        })
    }

    fn get<'a>(
        &'a self,
        partition: PartitionId,
        key: &'a [u8],
    ) -> Future<'a, Result<Option<Entry>, EngineError>> {
        Box::pin(async move {
            check(partition)?;
            self.set.check_readable()?;
            let Some(mut stored) = self.look_up(key).await? else { return Ok(None) };
            loop {
                let entry = |payload| Ok(Some(Entry { payload, ..stored.entry() }));
                if let Some(payload) = payload::read_cached(&self.set, key, &stored) {
                    return entry(payload);
                }
                let read = payload::read(&self.set, key, &stored).await;
                if read.damaged.is_empty() && read.payload.is_ok() {
                    return read.payload.and_then(entry);
                }
                // Its segment may have been retired and used again meanwhile: only at a place that the index still
                // names something is damaged.
                match (self.look_up(key).await?, read.payload) {
                    (Some(now), payload) if now.is_at(&stored) => {
                        payload::tell(&self.set, &stored, &read.damaged);
                        return payload.and_then(entry);
                    }
                    (_, Ok(payload)) => return entry(payload),
                    (Some(now), Err(_)) => stored = now,
                    (None, Err(_)) => return Ok(None),
                }
            }
        })
    }

    fn scan(
        &self,
        partition: PartitionId,
        range: KeyRange,
        limit: usize,
    ) -> Future<'_, Result<Vec<(Bytes, Entry)>, EngineError>> {
        Box::pin(async move {
            check(partition)?;
            self.set.check_readable()?;
            if range.is_one() && limit > 0 {
                // A look-up asks the filters of the index; a scan reads a block of every run.
                let stored = self.look_up(&range.start).await?;
                return Ok(stored.map(|stored| (range.start, stored.entry())).into_iter().collect());
            }
            let prepare = |index: &Index| {
                let part = index.part(&range, limit);
                let undecided = Undecided::of(index, &range);
                Ok(if index.is_bottom() {
                    Prepared::Done((part.alone(), undecided))
                } else {
                    Prepared::Below((part, range.clone(), limit, undecided))
                })
            };
            let finish = |(part, range, limit, undecided): (Part, KeyRange, usize, _),
                          below: &dyn Snapshot| {
                Ok((part.over(below, &range, limit)?, undecided))
            };
            let (page, undecided) = lookup::ask(&self.set, Effort::Walk, prepare, finish).await?;
            let end = match page.last() {
                Some((last, _)) if page.len() == limit => Some(last.as_ref()),
                _ => range.end.as_deref(),
            };
            if undecided.touches(&range.start, end) {
                return Err(EngineError::Undecided);
            }
            Ok(page)
        })
    }

    fn changes(
        &self,
        partition: PartitionId,
        after: Sequence,
        limit: usize,
    ) -> Future<'_, Result<Vec<Arc<Change>>, EngineError>> {
        Box::pin(async move {
            check(partition)?;
            self.set.check_readable()?;
            if let Some(changes) = self.set.index.read().recent_after(after, limit) {
                return Ok(changes);
            }
            loop {
                let places = self.places_after(after, limit).await?;
                let changes = changes::read_changes(&self.set, &places).await;
                // Compaction may have moved them meanwhile.
                if changes.is_ok() || self.places_after(after, limit).await?.starts_with(&places) {
                    return changes;
                }
            }
        })
    }

    fn stage(
        &self,
        partition: PartitionId,
        hint: StageHint,
    ) -> Future<'_, Result<Box<dyn Stage>, EngineError>> {
        Box::pin(async move {
            check(partition)?;
            if self.set.is_full() {
                return Err(EngineError::Full);
            }
            huge_pages::allow();
            let stage = ShardStage::open(&self.set, hint)?;
            Ok(Box::new(stage) as Box<dyn Stage>)
        })
    }

    fn read<'a>(
        &'a self,
        location: &'a Location,
        range: Range<u64>,
    ) -> Future<'a, Result<ByteStream, EngineError>> {
        huge_pages::allow();
        Box::pin(shards::read(Arc::clone(&self.set), Arc::clone(&self.pins), location.clone(), range))
    }

    fn reclaim(&self, location: Location) -> Future<'_, Result<(), EngineError>> {
        Box::pin(async move { shards::reclaim(&self.set, &self.pins, &location).await })
    }

    fn partitions(&self) -> Vec<Partition> {
        let (free_bytes, total_bytes) = self.set.room();
        vec![Partition { id: ONLY, free_bytes, total_bytes, kept_after: self.set.index.read().floor }]
    }
}
