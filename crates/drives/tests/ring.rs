//! The journal through io_uring: what short writes, errors, full drives and drives that hang come to. A drive's frames
//! are diverted into another file by its descriptor, such as a pipe that nobody reads.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Batch, DriveState, Engine, Mutation, PartitionId, Put, SystemClock};
use tempfile::TempDir;
use tidings_drives::directory::DirectoryDrive;
use tidings_drives::drive::{AlignedBytes, Drive, Segment};
use tidings_drives::testing::{FaultyDrive, Power, WrappedDrive, ring_here};
use tidings_drives::{Given, Io, LocalEngine, Reopen, Tuning};

/// Where the frames of a directory go.
struct Points {
    elsewhere: OwnedFd,
    diverted: AtomicBool,
    /// Whether there is no space for what a thread writes either.
    full: AtomicBool,
    /// Frames that a thread wrote.
    by_thread: AtomicU64,
}

struct DivertedSegment {
    segment: Arc<dyn Segment>,
    points: Arc<Points>,
}

impl Segment for DivertedSegment {
    fn size_bytes(&self) -> u64 {
        self.segment.size_bytes()
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.points.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // Zeroes are none.
        let is_frame = bytes.starts_with(b"TIDINGSB");
        self.points.by_thread.fetch_add(u64::from(is_frame), Ordering::SeqCst);
        self.segment.write_at(offset, bytes)
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        if self.points.diverted.load(Ordering::SeqCst) {
            Some(self.points.elsewhere.as_fd())
        } else {
            self.segment.descriptor()
        }
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.segment.read_at(offset, buffer)
    }
    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        self.segment.read_cached_at(offset, buffer)
    }
    fn read_medium_at(&self, offset: u64, buffer: &mut AlignedBytes) -> io::Result<()> {
        self.segment.read_medium_at(offset, buffer)
    }
}

/// Four directories written through a ring, the frames of the third of which can go elsewhere.
struct Machine {
    folder: TempDir,
    points: Arc<Points>,
    engine: Arc<LocalEngine>,
}

impl Machine {
    /// Holds one commit. `None` where the kernel has no ring.
    async fn new(elsewhere: impl Into<OwnedFd>) -> Option<Machine> {
        if ring_here() != Io::Uring {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let points = Arc::new(Points {
            elsewhere: elsewhere.into(),
            diverted: AtomicBool::new(false),
            full: AtomicBool::new(false),
            by_thread: AtomicU64::new(0),
        });
        let given = (1..=4).map(|number| {
            let drive = directory(folder.path(), number);
            let path = drive.path().to_owned();
            let drive: Arc<dyn Drive> = if number == 3 {
                let points = Arc::clone(&points);
                let divert = move |segment| {
                    Arc::new(DivertedSegment { segment, points: Arc::clone(&points) }) as Arc<dyn Segment>
                };
                Arc::new(WrappedDrive::new(drive, divert))
            } else {
                Arc::new(drive)
            };
            Given { path, drive: Ok(drive), reopen: never() }
        });
        let engine = open(given.collect(), Io::Uring);
        put(&engine, "before", 60_000).await;
        Some(Machine { folder, points, engine })
    }

    /// The descriptor of the third drive leads elsewhere from now on.
    fn divert(&self) {
        self.points.diverted.store(true, Ordering::SeqCst);
    }

    /// Stops cleanly, and opens what the third drive and one other have without the other two.
    async fn reopen_on_two(self) -> (TempDir, Arc<LocalEngine>) {
        self.engine.shutdown().await;
        drop(self.engine);
        let given = (1..=4).map(|number| {
            let path = self.folder.path().join(format!("d{number}")).display().to_string();
            let drive = if number == 1 || number == 2 {
                Err(io::ErrorKind::NotFound.into())
            } else {
                Ok(Arc::new(DirectoryDrive::open(Path::new(&path)).unwrap()) as Arc<dyn Drive>)
            };
            Given { path, drive, reopen: never() }
        });
        let engine = open(given.collect(), Io::Threads);
        (self.folder, engine)
    }
}

fn directory(folder: &Path, number: usize) -> DirectoryDrive {
    let path = folder.join(format!("d{number}"));
    std::fs::create_dir(&path).unwrap();
    DirectoryDrive::open(&path).unwrap()
}

fn open(given: Vec<Given>, io: Io) -> Arc<LocalEngine> {
    LocalEngine::open_tuned(given, None, Arc::new(SystemClock), Tuning { io, ..Tuning::default() }).unwrap()
}

/// No drive of these tests comes back.
fn never() -> Reopen {
    Arc::new(|| Err(io::ErrorKind::NotFound.into()))
}

fn body(size: usize) -> Bytes {
    (0..size).map(|at| (at * 31 + at / 251) as u8).collect()
}

async fn put(engine: &LocalEngine, key: &str, size: usize) {
    let put = Put { key: Bytes::copy_from_slice(key.as_bytes()), payload: body(size), ..Put::default() };
    let batch = Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() };
    engine.commit(PartitionId(0), batch).await.unwrap();
}

async fn has(engine: &LocalEngine, key: &str, size: usize) -> bool {
    let entry = engine.get(PartitionId(0), key.as_bytes()).await.unwrap();
    entry.is_some_and(|entry| entry.payload == body(size))
}

fn offline(engine: &LocalEngine) -> Vec<String> {
    let drives = engine.report().drives.into_iter();
    drives
        .filter(|drive| drive.state == DriveState::Offline)
        .map(|drive| Path::new(&drive.path).file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// A pipe takes 64 KiB of a larger frame.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_short_write_left_of_a_frame_is_written_again_whole_and_costs_no_drive() {
    let (_reader, writer) = io::pipe().unwrap();
    let Some(machine) = Machine::new(writer).await else { return };
    let before = machine.points.by_thread.load(Ordering::SeqCst);
    machine.divert();
    put(&machine.engine, "rose", 400_000).await;
    machine.points.diverted.store(false, Ordering::SeqCst);
    put(&machine.engine, "tulip", 400_000).await;
    assert_eq!(offline(&machine.engine), Vec::<String>::new());
    let points = Arc::clone(&machine.points);
    let (_folder, engine) = machine.reopen_on_two().await;
    assert!(points.by_thread.load(Ordering::SeqCst) > before, "nothing was written again");
    assert!(has(&engine, "rose", 400_000).await && has(&engine, "tulip", 400_000).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_whose_write_fails_is_out_at_once_and_is_not_written_again() {
    // It was opened for reading.
    let Some(machine) = Machine::new(File::open("/dev/null").unwrap()).await else { return };
    machine.divert();
    let deadline = Instant::now() + Duration::from_secs(60);
    while offline(&machine.engine) != ["d3"] {
        assert!(Instant::now() < deadline, "it was not noticed");
        put(&machine.engine, "after", 60_000).await;
    }
    // Before, a thread may have written frames too, where zeroes were being written. It would have written the failed
    // one as well, and the drive were in.
    let before = machine.points.by_thread.load(Ordering::SeqCst);
    put(&machine.engine, "later", 60_000).await;
    assert_eq!(machine.points.by_thread.load(Ordering::SeqCst), before);
}

/// As with threads: no space is no fault. The drive is behind until there is some, and then has everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_without_space_is_behind_and_gets_what_it_missed_in_order_when_there_is_some() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let Some(machine) = Machine::new(full).await else { return };
    machine.points.full.store(true, Ordering::SeqCst);
    machine.divert();
    for round in 0..5 {
        delete_and_put_nothing(&machine.engine, &format!("{round}")).await;
    }
    assert_eq!(offline(&machine.engine), Vec::<String>::new());
    machine.points.full.store(false, Ordering::SeqCst);
    machine.points.diverted.store(false, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !has(&machine.engine, "after", 60_000).await {
        assert!(Instant::now() < deadline, "it takes nothing again");
        let put = Put { key: Bytes::from_static(b"after"), payload: body(60_000), ..Put::default() };
        let batch = Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() };
        // Refused until it is noticed that there is space.
        let _ = machine.engine.commit(PartitionId(0), batch).await;
    }
    assert_eq!(offline(&machine.engine), Vec::<String>::new());
    let (_folder, engine) = machine.reopen_on_two().await;
    assert!(has(&engine, "after", 60_000).await && has(&engine, "before", 60_000).await);
}

/// A commit that is taken also on full drives.
async fn delete_and_put_nothing(engine: &LocalEngine, key: &str) {
    let delete = Mutation::Delete(Bytes::copy_from_slice(key.as_bytes()));
    engine.commit(PartitionId(0), Batch { mutations: vec![delete], ..Batch::default() }).await.unwrap();
}

/// A drive that hangs holds nothing up, and gets its frames in order when it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_hangs_on_the_ring_does_not_stop_the_others() {
    let (mut reader, mut writer) = io::pipe().unwrap();
    writer.write_all(&[0; 65536]).unwrap();
    let Some(machine) = Machine::new(writer).await else { return };
    machine.divert();
    let began = Instant::now();
    for round in 0..10 {
        put(&machine.engine, &format!("{round}"), 300_000).await;
    }
    assert!(began.elapsed() < Duration::from_secs(4), "they waited for the drive that hangs");
    machine.points.diverted.store(false, Ordering::SeqCst);
    // It goes on with a part of the frame that hung.
    reader.read_exact(&mut [0; 65536]).unwrap();
    assert_eq!(offline(&machine.engine), Vec::<String>::new());
    let (_folder, engine) = machine.reopen_on_two().await;
    for round in 0..10 {
        assert!(has(&engine, &format!("{round}"), 300_000).await, "{round}");
    }
}

/// Two drives on the ring, two by threads.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_may_be_written_by_ring_and_threads_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = FaultyDrive::machine(2, &Power::steady());
    let mut given: Vec<Given> = faulty.iter().map(FaultyDrive::given).collect();
    for number in 3..=4 {
        let drive = directory(folder.path(), number);
        let path = drive.path().to_owned();
        given.push(Given { path, drive: Ok(Arc::new(drive)), reopen: never() });
    }
    let engine = open(given, ring_here());
    let (engine, tasks) = (&engine, 0..8);
    let puts = tasks.map(|task| async move {
        for round in 0..20 {
            put(engine, &format!("{task}/{round}"), 20_000).await;
        }
    });
    futures_util::future::join_all(puts).await;
    assert_eq!(offline(engine), Vec::<String>::new());
    engine.shutdown().await;
    assert!(faulty.iter().all(|drive| drive.written_bytes() > 160 * 5_000));
}
