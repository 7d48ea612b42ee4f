//! A set on real directories: closed and opened again, with drives missing, and refused where it must be.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use store::{
    Batch, Clock, DriveState, Engine, EngineError, KeyRange, Location, Mutation, PartitionId, Put, Sequence,
    StageHint, SystemClock,
};
use tempfile::TempDir;
use tidings_drives::{LocalEngine, OpenError, Options, Sets, Tuning};

use super::io;

const SET: PartitionId = PartitionId(0);

struct Folder {
    folder: TempDir,
    drives: usize,
}

impl Folder {
    fn new(drives: usize) -> Folder {
        Folder { folder: tempfile::tempdir().unwrap(), drives }
    }

    fn drive(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("d{number}"))
    }

    fn open(&self) -> Result<Arc<LocalEngine>, OpenError> {
        let drives = (1..=self.drives).map(|number| self.drive(number)).collect();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Ok(Arc::clone(
            &Sets::open_tuned(&[drives], None, &clock, &Tuning { io: io(), ..Tuning::default() })?.sets()[0],
        ))
    }

    fn remove(&self, number: usize) {
        std::fs::rename(self.drive(number), self.folder.path().join(format!("removed{number}"))).unwrap();
    }

    fn bring_back(&self, number: usize) {
        std::fs::rename(self.folder.path().join(format!("removed{number}")), self.drive(number)).unwrap();
    }
}

fn body(size: usize, seed: usize) -> Bytes {
    (0..size).map(|at| (at * 31 + seed * 7 + at / 251) as u8).collect()
}

async fn put(engine: &LocalEngine, key: &str, payload: Bytes) -> Result<Sequence, EngineError> {
    let put = Put { key: Bytes::copy_from_slice(key.as_bytes()), payload, ..Put::default() };
    let batch = Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() };
    engine.commit(SET, batch).await.map(|committed| committed.sequence)
}

async fn get(engine: &LocalEngine, key: &str) -> Option<Bytes> {
    engine.get(SET, key.as_bytes()).await.unwrap().map(|entry| entry.payload)
}

async fn stage(engine: &LocalEngine, body: Bytes) -> Location {
    let mut stage = engine.stage(SET, StageHint::default()).await.unwrap();
    for piece in body.chunks(100_000) {
        stage.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    stage.finish().await.unwrap()
}

async fn read(engine: &LocalEngine, location: &Location, range: std::ops::Range<u64>) -> Bytes {
    let pieces: Vec<Bytes> = engine.read(location, range).await.unwrap().try_collect().await.unwrap();
    pieces.concat().into()
}

#[tokio::test]
async fn everything_committed_is_there_after_a_clean_stop_and_after_none() {
    let folder = Folder::new(4);
    let sizes = [0, 1, 900, 5_000, 20_000, 131_072];
    for clean in [true, false] {
        let engine = folder.open().unwrap();
        for (seed, size) in sizes.into_iter().enumerate() {
            put(&engine, &format!("{clean}/{size}"), body(size, seed)).await.unwrap();
        }
        if clean {
            engine.shutdown().await;
        }
    }
    let engine = folder.open().unwrap();
    for clean in [true, false] {
        for (seed, size) in sizes.into_iter().enumerate() {
            assert_eq!(
                get(&engine, &format!("{clean}/{size}")).await,
                Some(body(size, seed)),
                "{size} bytes"
            );
        }
    }
    assert_eq!(engine.scan(SET, KeyRange::prefix(b""), 100).await.unwrap().len(), 12);
}

#[tokio::test]
async fn with_every_pair_of_four_drives_missing_every_byte_reads_back_and_a_write_says_why_not() {
    let folder = Folder::new(4);
    let engine = folder.open().unwrap();
    for size in [100, 9_000, 131_072] {
        put(&engine, &format!("{size}"), body(size, 3)).await.unwrap();
    }
    let large = body(3_000_000, 5);
    let location = stage(&engine, large.clone()).await;
    engine.shutdown().await;
    drop(engine);

    for (first, second) in [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)] {
        folder.remove(first);
        folder.remove(second);
        let engine = folder.open().unwrap();
        for size in [100, 9_000, 131_072] {
            assert_eq!(
                get(&engine, &format!("{size}")).await,
                Some(body(size, 3)),
                "without {first} and {second}"
            );
        }
        assert_eq!(read(&engine, &location, 0..3_000_000).await, large, "without {first} and {second}");
        assert_eq!(read(&engine, &location, 999_999..2_000_001).await, large.slice(999_999..2_000_001));
        let refused = put(&engine, "new", body(10, 0)).await;
        assert_eq!(refused, Err(EngineError::WriteQuorum { answered: 2, needed: 3 }));
        drop(engine);
        folder.bring_back(first);
        folder.bring_back(second);
    }
    assert!(folder.open().unwrap().report().writable);
}

/// Waits until every drive takes part, at most a minute.
async fn all_online(engine: &LocalEngine) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while engine.report().drives.iter().any(|drive| drive.state != DriveState::Online) {
        assert!(std::time::Instant::now() < deadline, "{:?}", engine.report().drives);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_missed_writes_is_brought_up_when_it_returns_and_then_stands_for_any_other() {
    let folder = Folder::new(4);
    let engine = folder.open().unwrap();
    put(&engine, "rose", body(30_000, 1)).await.unwrap();
    let large = body(3_000_000, 5);
    engine.shutdown().await;
    drop(engine);

    folder.remove(2);
    let engine = folder.open().unwrap();
    put(&engine, "rose", body(30_000, 2)).await.unwrap();
    let location = stage(&engine, large.clone()).await;
    let put_large =
        Put { key: Bytes::from_static(b"large"), locations: vec![location.clone()], ..Put::default() };
    let batch = Batch { mutations: vec![Mutation::Put(put_large)], ..Batch::default() };
    engine.commit(SET, batch).await.unwrap();
    engine.shutdown().await;
    drop(engine);

    folder.bring_back(2);
    let engine = folder.open().unwrap();
    assert_eq!(get(&engine, "rose").await, Some(body(30_000, 2)));
    all_online(&engine).await;
    engine.shutdown().await;
    drop(engine);

    // With two of the others gone it makes up for them.
    folder.remove(1);
    folder.remove(3);
    let engine = folder.open().unwrap();
    assert_eq!(get(&engine, "rose").await, Some(body(30_000, 2)));
    assert_eq!(read(&engine, &location, 0..3_000_000).await, large);
}

/// A manifest may be written to a directory just when it is emptied.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_emptied_but_for_a_manifest_is_blank_and_one_with_another_file_of_that_name_is_not()
 {
    let folder = Folder::new(4);
    let engine = folder.open().unwrap();
    put(&engine, "rose", body(30_000, 1)).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    let manifest = folder.drive(4).join("manifest");
    let bytes = std::fs::read(&manifest).unwrap();
    std::fs::remove_dir_all(folder.drive(4)).unwrap();
    std::fs::create_dir(folder.drive(4)).unwrap();
    std::fs::write(&manifest, "of a ship").unwrap();
    let error = folder.open().err().unwrap();
    assert!(matches!(&error, OpenError::Foreign { found, .. } if found == "manifest"), "{error}");

    std::fs::write(&manifest, bytes).unwrap();
    let engine = folder.open().unwrap();
    all_online(&engine).await;
    assert_eq!(get(&engine, "rose").await, Some(body(30_000, 1)));
}

/// A directory is emptied while the server runs, and one is replaced by a new empty directory: both are healed
/// without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn directories_emptied_or_replaced_in_use_are_healed_without_a_restart() {
    let folder = Folder::new(4);
    let engine = folder.open().unwrap();
    put(&engine, "rose", body(30_000, 1)).await.unwrap();
    let large = body(3_000_000, 5);
    let location = stage(&engine, large.clone()).await;
    let put_large =
        Put { key: Bytes::from_static(b"large"), locations: vec![location.clone()], ..Put::default() };
    let batch = Batch { mutations: vec![Mutation::Put(put_large)], ..Batch::default() };
    engine.commit(SET, batch).await.unwrap();
    let healed = async |drives: u64| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while engine.heal_report().drives_healed < drives {
            assert!(std::time::Instant::now() < deadline, "{:?}", engine.report().drives);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };

    for entry in std::fs::read_dir(folder.drive(4)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap()
        } else {
            std::fs::remove_file(path).unwrap()
        }
    }
    healed(1).await;
    folder.remove(2);
    std::fs::create_dir(folder.drive(2)).unwrap();
    healed(2).await;
    put(&engine, "tulip", body(30_000, 2)).await.unwrap();
    engine.shutdown().await;
    drop(engine);

    folder.remove(1);
    folder.remove(3);
    let engine = folder.open().unwrap();
    assert_eq!(get(&engine, "rose").await, Some(body(30_000, 1)));
    assert_eq!(get(&engine, "tulip").await, Some(body(30_000, 2)));
    assert_eq!(read(&engine, &location, 0..3_000_000).await, large);
}

#[tokio::test]
async fn foreign_content_is_refused_by_name_and_left_as_it_was() {
    let folder = Folder::new(4);
    std::fs::create_dir_all(folder.drive(3).join(".minio.sys")).unwrap();
    let error = folder.open().err().unwrap();
    assert!(matches!(&error, OpenError::MinioDrive { path } if path.ends_with("d3")), "{error}");
    assert!(error.to_string().contains("mc mirror"), "{error}");

    std::fs::remove_dir(folder.drive(3).join(".minio.sys")).unwrap();
    std::fs::write(folder.drive(3).join("letter.txt"), "dear").unwrap();
    let error = folder.open().err().unwrap();
    assert!(matches!(&error, OpenError::Foreign { found, .. } if found == "letter.txt"), "{error}");
    assert!(!folder.drive(1).exists());
    assert_eq!(std::fs::read_dir(folder.drive(3)).unwrap().count(), 1);

    std::fs::remove_file(folder.drive(3).join("letter.txt")).unwrap();
    std::fs::create_dir(folder.drive(3).join("lost+found")).unwrap();
    for number in [1, 2, 4] {
        std::fs::create_dir_all(folder.drive(number)).unwrap();
    }
    folder.open().unwrap();
}

#[tokio::test]
async fn drives_of_another_set_another_count_and_the_same_drive_twice_are_refused() {
    let one = Folder::new(4);
    drop(one.open().unwrap());
    let other = Folder::new(4);
    drop(other.open().unwrap());
    let open = |drives: Vec<PathBuf>, parity| {
        LocalEngine::open(Options { drives, parity, clock: Arc::new(SystemClock) }).err().unwrap()
    };

    let mixed = vec![one.drive(1), one.drive(2), one.drive(3), other.drive(4)];
    assert!(matches!(open(mixed, None), OpenError::OtherSet { path, .. } if path.ends_with("d4")));
    let fewer = vec![one.drive(1), one.drive(2)];
    assert!(matches!(open(fewer, None), OpenError::WrongCount { given: 2, expected: 4, .. }));
    let twice = vec![one.drive(1), one.drive(2), one.drive(3), one.drive(3)];
    assert!(matches!(open(twice, None), OpenError::Duplicate { .. }));
    let all = (1..=4).map(|number| one.drive(number)).collect();
    assert!(matches!(open(all, Some(1)), OpenError::WrongParity { given: 1, expected: 2, .. }));
}

#[tokio::test]
async fn an_empty_set_of_eight_drives_takes_at_most_64_mib() {
    use std::os::unix::fs::MetadataExt;
    fn blocks(path: &std::path::Path) -> u64 {
        let own = std::fs::metadata(path).unwrap();
        let below = if own.is_dir() {
            std::fs::read_dir(path).unwrap().map(|entry| blocks(&entry.unwrap().path())).sum()
        } else {
            0
        };
        own.blocks() * 512 + below
    }
    let folder = Folder::new(8);
    for _ in 0..3 {
        folder.open().unwrap().shutdown().await;
    }
    let allocated = blocks(folder.folder.path());
    assert!(allocated <= 64 << 20, "{allocated} bytes");
}

/// A crash may leave the file of a segment that was just begun. It is no segment, whichever drives have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_was_never_finished_is_made_again_and_nothing_written_to_it_is_lost() {
    let folder = Folder::new(4);
    folder.open().unwrap().shutdown().await;
    std::fs::write(folder.drive(1).join("log/00000001.seg"), "").unwrap();
    // Or one that has its size and no header yet.
    std::fs::write(folder.drive(2).join("log/00000001.seg"), vec![0; 4 << 20]).unwrap();
    let engine = folder.open().unwrap();
    for number in 0..120 {
        put(&engine, &format!("{number}"), body(100_000, number)).await.unwrap();
    }
    assert!(engine.report().drives.iter().all(|drive| drive.state == DriveState::Online));
    drop(engine);
    for number in 1..=4 {
        let segment = std::fs::read(folder.drive(number).join("log/00000001.seg")).unwrap();
        assert_eq!((&segment[..8], segment.len()), (&b"TIDINGSS"[..], 4 << 20));
    }
    let engine = folder.open().unwrap();
    for number in 0..120 {
        assert_eq!(get(&engine, &format!("{number}")).await, Some(body(100_000, number)), "{number}");
    }
}

/// With three of four drives taken away in use, reads and writes say at once how many answered, and all goes on
/// when the drives are back.
#[tokio::test(flavor = "multi_thread")]
async fn with_three_of_four_directories_taken_away_reads_and_writes_are_refused_at_once_until_they_are_back()
{
    let folder = Folder::new(4);
    let engine = folder.open().unwrap();
    put(&engine, "rose", body(30_000, 1)).await.unwrap();
    let large = body(3_000_000, 5);
    let location = stage(&engine, large.clone()).await;
    for number in [2, 3, 4] {
        folder.remove(number);
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while engine.report().readable {
        assert!(std::time::Instant::now() < deadline, "it was not noticed");
        tokio::task::yield_now().await;
    }
    let asked = std::time::Instant::now();
    let unreadable = EngineError::ReadQuorum { answered: 1, needed: 2 };
    assert_eq!(engine.get(SET, b"rose").await, Err(unreadable.clone()));
    assert_eq!(engine.scan(SET, KeyRange::prefix(b""), 10).await, Err(unreadable.clone()));
    assert_eq!(engine.changes(SET, Sequence::ZERO, 10).await, Err(unreadable.clone()));
    assert_eq!(engine.read(&location, 0..10).await.err(), Some(unreadable));
    let unwritable = EngineError::WriteQuorum { answered: 1, needed: 3 };
    assert_eq!(put(&engine, "tulip", body(10, 2)).await, Err(unwritable.clone()));
    assert_eq!(engine.stage(SET, StageHint::default()).await.err(), Some(unwritable));
    assert!(asked.elapsed() < std::time::Duration::from_secs(4), "{:?}", asked.elapsed());
    for number in [2, 3, 4] {
        folder.bring_back(number);
    }
    while !engine.report().writable {
        assert!(std::time::Instant::now() < deadline, "it was not taken in again");
        tokio::task::yield_now().await;
    }
    put(&engine, "tulip", body(10, 2)).await.unwrap();
    assert_eq!(get(&engine, "rose").await, Some(body(30_000, 1)));
    assert_eq!(read(&engine, &location, 0..3_000_000).await, large);
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_taken_away_while_the_set_is_in_use_are_noticed_and_taken_in_again_when_nothing_was_missed()
 {
    let folder = Folder::new(4);
    let engine = folder.open().unwrap();
    put(&engine, "rose", body(30_000, 1)).await.unwrap();
    folder.remove(3);
    folder.remove(4);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while engine.report().writable {
        assert!(std::time::Instant::now() < deadline, "it was not noticed");
        tokio::task::yield_now().await;
    }
    assert_eq!(
        put(&engine, "tulip", body(10, 2)).await,
        Err(EngineError::WriteQuorum { answered: 2, needed: 3 })
    );
    assert_eq!(get(&engine, "rose").await, Some(body(30_000, 1)));
    folder.bring_back(3);
    folder.bring_back(4);
    while !engine.report().writable {
        assert!(std::time::Instant::now() < deadline, "it was not taken in again");
        tokio::task::yield_now().await;
    }
    put(&engine, "tulip", body(10, 2)).await.unwrap();
    assert_eq!(get(&engine, "tulip").await, Some(body(10, 2)));
}

/// Rule 19. A file system that keeps nothing over a power cut is used, and not called durable. Where there is none to
/// be found, there is nothing to be said of it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_drive_in_memory_is_used_and_reported_as_not_durable() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
    let open = || {
        let drives = (1..=2).map(|number| folder.path().join(format!("d{number}"))).collect();
        LocalEngine::open(Options { drives, parity: None, clock: Arc::new(SystemClock) }).unwrap()
    };
    let engine = open();
    put(&engine, "rose", body(30_000, 1)).await.unwrap();
    assert!(engine.report().drives.iter().all(|drive| !drive.durable), "{:?}", engine.report().drives);
    engine.shutdown().await;
    drop(engine);
    assert_eq!(get(&open(), "rose").await, Some(body(30_000, 1)));
}
