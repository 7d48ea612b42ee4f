//! The index on two drives: thrown away, damaged, foreign, lost under load, killed while it is written. Whatever
//! happens to it, the set lists what the journal says.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{
    Batch, Engine, EngineError, Entry, KeyRange, Location, Mutation, PartitionId, Precondition, Put,
    SystemClock,
};
use tempfile::TempDir;
use tidings_drives::directory::DirectoryDrive;
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Given, LocalEngine, OpenError, Reopen, Tuning};
use tokio::time::timeout;

const SET: PartitionId = PartitionId(0);

/// A memtable of some forty keys.
const TINY: usize = 10_000;

struct Folder {
    folder: TempDir,
    drives: usize,
}

impl Folder {
    fn new(drives: usize) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=drives {
            std::fs::create_dir(folder.path().join(format!("d{number}"))).unwrap();
        }
        Folder { folder, drives }
    }

    fn drive(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("d{number}"))
    }

    fn index(&self, number: usize) -> PathBuf {
        self.drive(number).join("ckpt")
    }

    /// Drives that keep an index, by number.
    fn keepers(&self) -> Vec<usize> {
        (1..=self.drives).filter(|number| self.index(*number).exists()).collect()
    }

    fn open(&self) -> Arc<LocalEngine> {
        open_at(self.folder.path(), self.drives).unwrap()
    }
}

fn open_at(folder: &Path, drives: usize) -> Result<Arc<LocalEngine>, OpenError> {
    let given = (1..=drives).map(|number| {
        let path = folder.join(format!("d{number}"));
        let root = path.clone();
        let reopen: Reopen = Arc::new(move || Ok(Arc::new(DirectoryDrive::open(&root)?) as Arc<_>));
        Given { path: path.display().to_string(), drive: reopen(), reopen }
    });
    LocalEngine::open_tuned(
        given.collect(),
        None,
        Arc::new(SystemClock),
        Tuning { memtable_bytes: Some(TINY), ..Tuning::default() },
    )
}

fn open_memory(drives: &[FaultyDrive]) -> Arc<LocalEngine> {
    drives.iter().for_each(FaultyDrive::keep_indexes);
    let given = drives.iter().map(FaultyDrive::given).collect();
    LocalEngine::open_tuned(
        given,
        None,
        Arc::new(SystemClock),
        Tuning { memtable_bytes: Some(TINY), ..Tuning::default() },
    )
    .unwrap()
}

fn put(key: &str, value: &str) -> Mutation {
    Mutation::Put(Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        payload: Bytes::from(vec![7; 100]),
        locations: vec![Location(value.as_bytes().to_vec())],
    })
}

async fn commit(engine: &LocalEngine, mutations: Vec<Mutation>) -> Result<(), EngineError> {
    engine.commit(SET, Batch { mutations, ..Batch::default() }).await.map(|_| ())
}

/// Puts, overwrites and removes keys, enough for some flushes.
async fn fill(engine: &LocalEngine, rounds: usize) {
    for round in 0..rounds {
        for number in 0..60 {
            let key = format!("o/{:03}", (number * 7 + round * 13) % 200);
            commit(engine, vec![put(&key, &format!("{round}"))]).await.unwrap();
        }
        let removed = Mutation::DeletePrefix(Bytes::from(format!("o/{:02}", round % 20)));
        commit(engine, vec![removed]).await.unwrap();
        let removed = Mutation::Delete(Bytes::from(format!("o/{:03}", round * 29 % 200)));
        commit(engine, vec![removed]).await.unwrap();
    }
}

async fn listing(engine: &LocalEngine) -> Vec<(Bytes, Entry)> {
    let mut all = Vec::new();
    let mut start = Bytes::new();
    loop {
        let page = engine.scan(SET, KeyRange { start, end: None }, 37).await.unwrap();
        let Some((last, _)) = page.last() else { return all };
        start = [last, &[0][..]].concat().into();
        all.extend(page);
    }
}

/// What is listed is what is read.
async fn agrees(engine: &LocalEngine, expected: &[(Bytes, Entry)]) {
    assert_eq!(listing(engine).await, expected);
    for (key, entry) in expected.iter().step_by(11) {
        let found = engine.get(SET, key).await.unwrap().unwrap();
        assert_eq!((found.sequence, found.payload.len()), (entry.sequence, 100), "{key:?}");
    }
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_whole_index_removed_the_set_lists_the_same() {
    for drives in [1, 4] {
        let folder = Folder::new(drives);
        let engine = folder.open();
        fill(&engine, 8).await;
        let expected = listing(&engine).await;
        engine.shutdown().await;
        drop(engine);
        assert_eq!(folder.keepers().len(), drives.min(2));

        let engine = folder.open();
        agrees(&engine, &expected).await;
        drop(engine);
        for number in folder.keepers() {
            std::fs::remove_dir_all(folder.index(number)).unwrap();
        }
        let engine = folder.open();
        agrees(&engine, &expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_another_set_and_one_ahead_of_the_journal_are_not_believed() {
    let (one, other) = (Folder::new(1), Folder::new(1));
    let engine = other.open();
    fill(&engine, 4).await;
    engine.shutdown().await;
    drop(engine);
    let engine = one.open();
    fill(&engine, 2).await;
    let early = listing(&engine).await;
    engine.shutdown().await;
    drop(engine);
    // The journal as it is now, and later the index of a longer one.
    let early_drive = tempfile::tempdir().unwrap();
    copy(&one.drive(1), early_drive.path());
    let engine = one.open();
    fill(&engine, 3).await;
    engine.shutdown().await;
    drop(engine);

    for ahead in [one.index(1), other.index(1)] {
        let folder = Folder::new(1);
        copy(early_drive.path(), &folder.drive(1));
        std::fs::remove_dir_all(folder.index(1)).unwrap();
        copy(&ahead, &folder.index(1));
        agrees(&folder.open(), &early).await;
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Of one copy and of both: what is read wrongly is never answered.
#[tokio::test(flavor = "multi_thread")]
async fn with_bits_flipped_anywhere_in_its_files_the_set_lists_what_the_journal_says() {
    let folder = Folder::new(2);
    let engine = folder.open();
    fill(&engine, 6).await;
    let expected = listing(&engine).await;
    engine.shutdown().await;
    drop(engine);
    let whole = tempfile::tempdir().unwrap();
    copy(folder.folder.path(), whole.path());
    let seed: u64 = rand::random();
    let mut luck = seed;
    for round in 0..4 {
        let again = tempfile::tempdir().unwrap();
        copy(whole.path(), again.path());
        let damaged = if round % 2 == 0 { vec!["d1/ckpt"] } else { vec!["d1/ckpt", "d2/ckpt"] };
        for path in damaged.into_iter().flat_map(|index| files(&again.path().join(index))) {
            let mut bytes = std::fs::read(&path).unwrap();
            for _ in 0..4 {
                luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if !bytes.is_empty() {
                    // Its log is mostly zeroes: what matters stands at the beginning.
                    let at = (luck >> 20) as usize % bytes.len().min(100_000);
                    bytes[at] ^= 1 << (luck >> 60 & 7);
                }
            }
            std::fs::write(&path, bytes).unwrap();
        }
        let engine = open_at(again.path(), 2).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        // While it is rebuilt nothing is answered.
        while engine.scan(SET, KeyRange::prefix(b""), 1000).await.is_err() {
            assert!(Instant::now() < deadline, "seed {seed}, round {round}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(listing(&engine).await, expected, "seed {seed}, round {round}");
    }
}

/// Rule 16: losing the index drive costs a switch, and another drive takes over.
#[tokio::test(flavor = "multi_thread")]
async fn with_an_index_drive_taken_away_under_load_nothing_stops_and_another_drive_takes_over() {
    let folder = Folder::new(5);
    let engine = folder.open();
    fill(&engine, 3).await;
    wait_until("two copies", || folder.keepers().len() == 2).await;
    let lost = folder.keepers()[0];
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (engine, stop) = (Arc::clone(&engine), Arc::clone(&stop));
        async move {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                fill(&engine, 1).await;
                rounds += 1;
            }
            rounds
        }
    });
    std::fs::rename(folder.drive(lost), folder.folder.path().join("removed")).unwrap();
    wait_until("another copy", || folder.keepers().len() == 2).await;
    stop.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 0);
    let expected = listing(&engine).await;
    engine.shutdown().await;
    drop(engine);
    agrees(&folder.open(), &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_hangs_on_a_question_is_out_and_the_other_one_answers() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_memory(&drives);
    fill(&engine, 3).await;
    let expected = listing(&engine).await;
    let keeping = || drives.iter().filter_map(FaultyDrive::index).filter(|index| !index.is_empty());
    wait_until("two copies", || keeping().count() == 2).await;
    let hung = keeping().next().unwrap();
    let hang = hung.hang();
    timeout(Duration::from_secs(60), agrees(&engine, &expected)).await.expect("it answers");
    fill(&engine, 3).await;
    drop(hang);
    let is_left = || drives.iter().filter_map(FaultyDrive::index).any(|index| Arc::ptr_eq(&index, &hung));
    wait_until("it is removed from its drive", || !is_left()).await;
    let expected = listing(&engine).await;
    drop(engine);
    let drives: Vec<_> = drives.iter().map(|drive| drive.restarted(&Power::steady())).collect();
    agrees(&open_memory(&drives), &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_machine_stalls_and_all_copies_are_silent_none_is_out() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_memory(&drives);
    fill(&engine, 3).await;
    let expected = listing(&engine).await;
    engine.shutdown().await;
    let keepers = || {
        let keeps = |drive: &usize| drives[*drive].index().is_some_and(|index| !index.is_empty());
        (0..drives.len()).filter(keeps).collect::<Vec<_>>()
    };
    let before = keepers();
    assert_eq!(before.len(), 2);
    let indexes = || before.iter().filter_map(|keeper| drives[*keeper].index());

    let engine = open_memory(&drives);
    let mut hangs: Vec<_> = indexes().map(|index| index.hang()).collect();
    let asked = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.scan(SET, KeyRange::prefix(b""), 37).await }
    });
    wait_until("both asked", || indexes().all(|index| index.readers_hung() > 0)).await;
    // The one that was asked later goes on first.
    drop(hangs.pop());
    assert_eq!(asked.await.unwrap().unwrap(), expected[..37]);
    drop(hangs);
    fill(&engine, 3).await;
    engine.shutdown().await;
    assert_eq!(keepers(), before, "another drive took over");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_copies_lost_nothing_wrong_is_answered_and_the_index_is_rebuilt_in_use() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_memory(&drives);
    fill(&engine, 4).await;
    let expected = listing(&engine).await;
    for index in drives.iter().filter_map(FaultyDrive::index) {
        index.fail();
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    for (key, entry) in expected.iter().cycle() {
        match engine.get(SET, key).await {
            Ok(found) => assert_eq!(found.map(|found| found.sequence), Some(entry.sequence)),
            Err(error) => assert_eq!(error, EngineError::ReadQuorum { answered: 0, needed: 1 }),
        }
        if engine.report().writable && engine.scan(SET, KeyRange::prefix(b""), 1000).await.is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "it was not rebuilt");
    }
    agrees(&engine, &expected).await;
    fill(&engine, 4).await;
    let expected = listing(&engine).await;
    engine.shutdown().await;
    agrees(&open_memory(&drives), &expected).await;
}

/// Rule 14: an index for which its drives have no space waits for it and is read meanwhile. Puts are refused before
/// memory is full, deletes are taken, and no copy is lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_without_space_for_what_it_is_to_hold_waits_for_some_and_is_read_meanwhile() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_memory(&drives);
    fill(&engine, 3).await;
    let copies =
        || drives.iter().filter(|drive| drive.index().is_some_and(|index| !index.is_empty())).count();
    wait_until("two copies", || copies() == 2).await;
    let used = |drive: &FaultyDrive| drive.files().iter().map(|(_, size)| size).sum::<u64>();
    drives.iter().for_each(|drive| drive.limit(used(drive) + 500_000));
    let mut count = 0;
    let refused = loop {
        match commit(&engine, vec![put(&format!("p/{count:03}"), "p")]).await {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 400, "puts are taken without an end");
    };
    assert_eq!(refused, EngineError::Full);
    for number in 0..3 {
        commit(&engine, vec![Mutation::Delete(Bytes::from(format!("p/{number:03}")))]).await.unwrap();
    }
    let expected = listing(&engine).await;
    agrees(&engine, &expected).await;
    assert_eq!((copies(), engine.report().writable), (2, true));

    drives.iter().for_each(|drive| drive.limit(u64::MAX));
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = commit(&engine, vec![put("q", "q")]).await {
        assert_eq!(error, EngineError::Full);
        assert!(Instant::now() < deadline, "space was not found again");
    }
    let expected = listing(&engine).await;
    engine.shutdown().await;
    agrees(&open_memory(&drives), &expected).await;
}

/// Rule 25: a page has a batch wholly or not at all, whatever is flushed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn every_batch_is_wholly_in_or_wholly_out_of_a_page_while_flushes_run() {
    let folder = Folder::new(1);
    let engine = folder.open();
    let writer = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move {
            for round in 0..120 {
                let value = format!("{round}");
                let keys = (0..10).map(|key| put(&format!("{key}/{}", round % 7), &value));
                commit(&engine, keys.collect()).await.unwrap();
            }
        }
    });
    while !writer.is_finished() {
        let page = engine.scan(SET, KeyRange::prefix(b""), 1000).await.unwrap();
        assert_eq!(page.len() % 10, 0);
        let half = page.len() / 10;
        for (nth, (key, entry)) in page.iter().enumerate() {
            assert_eq!(entry.sequence, page[nth % half.max(1)].1.sequence, "{key:?}");
        }
    }
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn preconditions_hold_for_keys_below_memory_as_for_those_in_it() {
    let folder = Folder::new(1);
    let engine = folder.open();
    commit(&engine, vec![put("a/1", "1"), put("a/2", "2")]).await.unwrap();
    let first = engine.get(SET, b"a/1").await.unwrap().unwrap().sequence;
    for number in 0..200 {
        commit(&engine, vec![put(&format!("z/{number}"), "z")]).await.unwrap();
    }
    let batch = |condition: Precondition, mutation: Mutation| Batch {
        preconditions: vec![condition],
        mutations: vec![mutation],
        ..Batch::default()
    };
    let refused = Err(EngineError::Precondition { index: 0 });
    let prefix = Bytes::from_static(b"a/");
    let remove = |key: &'static str| Mutation::Delete(Bytes::from_static(key.as_bytes()));
    let empty = batch(Precondition::Empty(prefix.clone()), put("b", "b"));
    let absent = batch(Precondition::Absent(Bytes::from_static(b"a/1")), put("a/1", "1"));
    assert_eq!(engine.commit(SET, empty.clone()).await.map(|_| ()), refused);
    assert_eq!(engine.commit(SET, absent).await.map(|_| ()), refused);
    let unchanged = batch(Precondition::Unchanged(Bytes::from_static(b"a/1"), first), remove("a/1"));
    let done = engine.commit(SET, unchanged.clone()).await.unwrap();
    assert_eq!(done.unnamed, [Location(b"1".to_vec())]);
    assert_eq!(engine.commit(SET, unchanged).await.map(|_| ()), refused);
    assert_eq!(engine.commit(SET, empty.clone()).await.map(|_| ()), refused);
    let all = Batch { mutations: vec![Mutation::DeletePrefix(prefix)], ..Batch::default() };
    assert_eq!(engine.commit(SET, all).await.unwrap().unnamed, [Location(b"2".to_vec())]);
    engine.commit(SET, empty).await.unwrap();
}

/// What a process that is killed does: it writes until it is killed, and tells what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test below, in a process of its own"]
async fn writer_to_be_killed() {
    use std::io::Write as _;
    let Ok(folder) = std::env::var("TIDINGS_TEST_FOLDER") else { return };
    let engine = open_at(Path::new(&folder), 2).unwrap();
    let begun = engine.scan(SET, KeyRange::prefix(b""), 100_000).await.unwrap().len();
    for number in begun.. {
        commit(&engine, vec![put(&format!("{number:06}"), "v")]).await.unwrap();
        writeln!(std::io::stderr(), "acknowledged {number}").unwrap();
    }
}

#[test]
fn killed_at_any_point_of_a_flush_it_has_everything_that_was_acknowledged() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let folder = Folder::new(2);
    let mut acknowledged = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "writer_to_be_killed", "--nocapture"])
            .env("TIDINGS_TEST_FOLDER", folder.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
        for _ in 0..100 + round * 17 {
            let line = told.next().unwrap().unwrap();
            acknowledged = line.strip_prefix("acknowledged ").unwrap().parse::<usize>().unwrap() + 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let last = told.map_while(Result::ok).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).last();
        acknowledged = last.map_or(acknowledged, |last: usize| last + 1);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listed = listing(&folder.open()).await;
        assert!((acknowledged..=acknowledged + 1).contains(&listed.len()), "{acknowledged} {}", listed.len());
    });
}
