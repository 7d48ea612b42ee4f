//! The contract of an engine, run over directories, and over drives in memory that are missing or fail.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Clock, Engine, SystemClock};
use tempfile::TempDir;
use tidings_drives::directory::DirectoryDrive;
use tidings_drives::testing::{FaultyDrive, Power, ring_here};
use tidings_drives::{Given, Healing, Io, LocalEngine, Reopen, Sets, Tuning};

thread_local! {
    /// Folders of the test that runs on this thread; gone when it ends.
    static FOLDERS: RefCell<Vec<TempDir>> = const { RefCell::new(Vec::new()) };
}

fn on_directories(drives: usize, io: Io) -> Arc<dyn Engine> {
    open_tuned(drives, Tuning { io, ..Tuning::default() })
}

/// As [`on_directories`], with a memtable of few kilobytes: most of what is asked for lies in the index on drives.
fn with_a_tiny_memtable(drives: usize) -> Arc<dyn Engine> {
    open_tuned(drives, Tuning { memtable_bytes: Some(3_000), ..Tuning::default() })
}

fn open_tuned(drives: usize, tuning: Tuning) -> Arc<dyn Engine> {
    let folder = tempfile::tempdir().unwrap();
    let given = (1..=drives).map(|drive| {
        let path = folder.path().join(format!("d{drive}"));
        std::fs::create_dir(&path).unwrap();
        let root = path.clone();
        let reopen: Reopen = Arc::new(move || Ok(Arc::new(DirectoryDrive::open(&root)?) as Arc<_>));
        Given { path: path.display().to_string(), drive: reopen(), reopen }
    });
    let engine = LocalEngine::open_tuned(given.collect(), None, Arc::new(SystemClock), tuning).unwrap();
    FOLDERS.with_borrow_mut(|folders| folders.push(folder));
    engine
}

mod four_drives_with_a_tiny_memtable {
    store::engine_contract!(async || super::with_a_tiny_memtable(4));
}

mod one_drive_with_a_tiny_memtable {
    store::engine_contract!(async || super::with_a_tiny_memtable(1));
}

mod four_drives_through_io_uring {
    store::engine_contract!(async || super::on_directories(4, super::ring_here()));
}

mod four_drives_by_threads {
    store::engine_contract!(async || super::on_directories(4, super::Io::Threads));
}

mod one_drive {
    store::engine_contract!(async || super::on_directories(1, super::Io::default()));
}

/// A set in memory that was made whole, and opened again without the drives from `present` on.
async fn with_drives_missing(drives: usize, present: usize) -> Arc<dyn Engine> {
    let machine = FaultyDrive::machine(drives, &Power::steady());
    let open = |present: usize| {
        let given = machine
            .iter()
            .enumerate()
            .map(|(position, drive)| if position < present { drive.given() } else { drive.absent() })
            .collect();
        LocalEngine::open_on(given, None, Arc::new(SystemClock)).unwrap()
    };
    let engine = open(drives);
    engine.shutdown().await;
    drop(engine);
    open(present)
}

/// A set in memory of which one drive fails after some writes.
fn with_a_failing_drive(writes: u64) -> Arc<dyn Engine> {
    let machine = FaultyDrive::machine(4, &Power::steady());
    let given = machine.iter().map(FaultyDrive::given).collect();
    let engine = LocalEngine::open_on(given, None, Arc::new(SystemClock)).unwrap();
    machine[1].refuse_writes_after(writes, std::io::ErrorKind::Other);
    engine
}

mod eight_drives_without_as_many_as_writes_bear {
    store::engine_contract!(async || super::with_drives_missing(8, 5).await);
}

mod a_drive_fails_at_the_first_write {
    store::engine_contract!(async || super::with_a_failing_drive(0));
}

mod a_drive_fails_in_between {
    store::engine_contract!(async || super::with_a_failing_drive(3));
}

/// A set in memory of which one drive is being healed, so slowly that it takes longer than any test.
async fn while_a_drive_is_healed() -> Arc<dyn Engine> {
    let machine = FaultyDrive::machine(4, &Power::steady());
    let open = || {
        let healing =
            Healing { look_every: Duration::from_millis(1), bytes_per_second: 1, ..Healing::default() };
        let given = machine.iter().map(FaultyDrive::given).collect();
        LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap()
    };
    let engine = open();
    engine.shutdown().await;
    drop(engine);
    machine[3].blank_out();
    let engine = open();
    let deadline = Instant::now() + Duration::from_secs(60);
    while engine.heal_report().healing != ["d4"] {
        assert!(Instant::now() < deadline, "{:?}", engine.report().drives);
        tokio::task::yield_now().await;
    }
    engine
}

mod a_drive_is_being_healed {
    store::engine_contract!(async || super::while_a_drive_is_healed().await);
}

/// A set of four drives and one of a single drive, in memory.
fn two_sets() -> Arc<dyn Engine> {
    let machine =
        |drives| FaultyDrive::machine(drives, &Power::steady()).iter().map(FaultyDrive::given).collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Sets::open_on(vec![machine(4), machine(1)], None, &clock).unwrap()
}

mod two_sets {
    store::engine_contract!(async || super::two_sets());
}

mod the_second_of_two_sets {
    use store::testing::contract::OnePartition;

    store::engine_contract!(async || OnePartition::of(super::two_sets(), 1));
}
