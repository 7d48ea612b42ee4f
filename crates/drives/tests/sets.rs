//! Several sets of drives on real directories: added, opened again, and refused where they must be.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use store::{
    Batch, Clock, Engine, EngineError, Location, Mutation, PartitionId, Put, StageHint, SystemClock,
};
use tempfile::TempDir;
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{LocalEngine, OpenError, Options, Sets};

const FIRST: PartitionId = PartitionId(0);
const SECOND: PartitionId = PartitionId(1);

/// Four drives for each letter: `a1` to `a4`.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn set(&self, letter: char) -> Vec<PathBuf> {
        (1..=4).map(|number| self.0.path().join(format!("{letter}{number}"))).collect()
    }

    /// Opens sets by their letters, in this order.
    fn open(&self, letters: &str) -> Result<Arc<Sets>, OpenError> {
        let sets: Vec<Vec<PathBuf>> = letters.chars().map(|letter| self.set(letter)).collect();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Sets::open(&sets, None, &clock)
    }

    /// Opens and stops cleanly.
    async fn begin(&self, letters: &str) {
        self.open(letters).unwrap().shutdown().await;
    }

    fn refusal(&self, letters: &str) -> String {
        self.open(letters).err().expect("these sets are refused").to_string()
    }

    /// What is below the directories of a set, as far as it is there.
    fn is_touched(&self, letter: char) -> bool {
        self.set(letter).iter().any(|drive| drive.exists())
    }
}

async fn put(engine: &dyn Engine, partition: PartitionId, key: &str) -> Result<(), EngineError> {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let put = Put { value: key.clone(), key, ..Put::default() };
    let batch = Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() };
    engine.commit(partition, batch).await.map(drop)
}

async fn has(engine: &dyn Engine, partition: PartitionId, key: &str) -> bool {
    engine.get(partition, key.as_bytes()).await.unwrap().is_some()
}

fn id(sets: &Sets, place: usize) -> String {
    sets.reports()[place].id.clone()
}

#[tokio::test]
async fn a_set_is_added_behind_a_server_of_one_and_both_are_there_from_then_on() {
    let folder = Folder::new();
    let alone =
        LocalEngine::open(Options { drives: folder.set('a'), parity: None, clock: Arc::new(SystemClock) });
    let alone = alone.unwrap();
    put(&*alone, FIRST, "old").await.unwrap();
    let server = alone.report().id;
    alone.shutdown().await;
    drop(alone);

    let sets = folder.open("ab").unwrap();
    assert_eq!(id(&sets, 0), server);
    put(&*sets, FIRST, "rose").await.unwrap();
    put(&*sets, SECOND, "tulip").await.unwrap();
    let second = id(&sets, 1);
    sets.shutdown().await;
    drop(sets);

    let sets = folder.open("ab").unwrap();
    assert_eq!((id(&sets, 0), id(&sets, 1)), (server, second));
    assert!(has(&*sets, FIRST, "old").await && has(&*sets, FIRST, "rose").await);
    assert!(has(&*sets, SECOND, "tulip").await && !has(&*sets, SECOND, "rose").await);
}

#[tokio::test]
async fn a_body_of_the_second_set_is_read_after_a_restart_under_the_location_its_entry_tells() {
    let folder = Folder::new();
    let sets = folder.open("ab").unwrap();
    let mut stage = sets.stage(SECOND, StageHint::default()).await.unwrap();
    stage.write(Bytes::from(vec![7; 300_000])).await.unwrap();
    let location = stage.finish().await.unwrap();
    let put = Put { key: Bytes::from_static(b"k"), locations: vec![location.clone()], ..Put::default() };
    let batch = Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() };
    sets.commit(SECOND, batch).await.unwrap();
    sets.shutdown().await;
    drop(sets);

    let sets = folder.open("ab").unwrap();
    let told = sets.get(SECOND, b"k").await.unwrap().unwrap().locations;
    assert_eq!(told, [location]);
    let body: Vec<Bytes> = sets.read(&told[0], 0..300_000).await.unwrap().try_collect().await.unwrap();
    assert_eq!(body.concat(), vec![7; 300_000]);
    let nowhere = Location([&[SETS_MARK_OF_THE_THIRD], &told[0].0[1..]].concat());
    let unknown = sets.read(&nowhere, 0..1).await.err();
    assert_eq!(unknown, Some(EngineError::NoSuchLocation { location: nowhere }));
}

/// First byte of a location in the third set.
const SETS_MARK_OF_THE_THIRD: u8 = 130;

#[tokio::test]
async fn a_set_left_out_or_out_of_its_place_is_refused_by_name_and_nothing_is_made() {
    let folder = Folder::new();
    let sets = folder.open("abc").unwrap();
    let ids = [0, 1, 2].map(|place| id(&sets, place));
    sets.shutdown().await;
    drop(sets);

    let missing = |number: usize| {
        let id = &ids[number - 1];
        format!(
            "set {number} of 3 of this server ({id}) was not given; give every set, in the order they were added"
        )
    };
    assert_eq!(folder.refusal("a"), missing(2));
    assert_eq!(folder.refusal("ab"), missing(3));
    let misplaced = |path: &str, place, given| {
        let path = folder.0.path().join(path).display().to_string();
        format!(
            "{path} is of set {place} of its server and was given as set {given}; give every set, in the order \
             they were added"
        )
    };
    assert_eq!(folder.refusal("b"), misplaced("b1", 2, 1));
    assert_eq!(folder.refusal("bac"), misplaced("b1", 2, 1));
    assert_eq!(folder.refusal("acb"), misplaced("c1", 3, 2));
    let lost = folder.refusal("axc");
    assert!(
        lost.starts_with(&format!("no drive of set 2 of this server ({}) is there at ", ids[1])),
        "{lost}"
    );
    let first_lost = folder.refusal("xb");
    assert!(first_lost.contains("holds no drive of a set and was given first"), "{first_lost}");
    assert!(!folder.is_touched('x'));
    folder.begin("abc").await;
}

#[tokio::test]
async fn a_set_of_another_server_is_refused_also_by_a_server_of_one() {
    let folder = Folder::new();
    folder.begin("a").await;
    folder.begin("b").await;
    folder.begin("cd").await;
    for letters in ["ab", "ac", "ad", "cdb"] {
        let refused = folder.refusal(letters);
        assert!(refused.contains(" belongs to the server "), "{letters}: {refused}");
    }
    folder.begin("ae").await;
    let refused =
        LocalEngine::open(Options { drives: folder.set('c'), parity: None, clock: Arc::new(SystemClock) });
    assert!(matches!(refused.err(), Some(OpenError::SetMissing { number: 2, of: 2, .. })));
}

#[tokio::test]
async fn an_addition_that_a_crash_cut_off_goes_on_and_can_be_given_up() {
    let folder = Folder::new();
    folder.begin("a").await;
    // The new set is made before the first one lists it: this is the state between the two.
    let before = copy(&folder, 'a');
    folder.begin("ab").await;
    put_back(&folder, 'a', &before);

    folder.begin("a").await;
    folder.begin("ab").await;
    assert!(matches!(folder.open("a").err(), Some(OpenError::SetMissing { number: 2, .. })));

    // Two at once, of which only the last was made.
    let before = copy(&folder, 'a');
    folder.begin("abcd").await;
    put_back(&folder, 'a', &before);
    for drive in folder.set('c') {
        std::fs::remove_dir_all(drive).unwrap();
    }
    folder.begin("abcd").await;
    assert!(matches!(folder.open("abc").err(), Some(OpenError::SetMissing { number: 4, .. })));
}

/// The first set lists a new one when that is made, and not before: a start that fails in between leaves a server that
/// goes on without it.
#[tokio::test]
async fn a_set_that_could_not_be_made_is_not_listed_by_the_first_one() {
    let sets = ["a", "b"].map(|letter| {
        let blank = |number| FaultyDrive::blank(&format!("{letter}{number}"), &Power::steady());
        (1..=4).map(blank).collect::<Vec<_>>()
    });
    let given = |set: &[FaultyDrive]| set.iter().map(FaultyDrive::given).collect::<Vec<_>>();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Sets::open_on(vec![given(&sets[0])], None, &clock).unwrap().shutdown().await;
    sets[1].iter().for_each(|drive| drive.refuse_writes(Some(ErrorKind::Other)));
    assert!(Sets::open_on(vec![given(&sets[0]), given(&sets[1])], None, &clock).is_err());

    let alone = Sets::open_on(vec![given(&sets[0])], None, &clock).unwrap();
    assert!(alone.reports()[0].writable);
}

fn copy(folder: &Folder, letter: char) -> PathBuf {
    let kept = folder.0.path().join("kept");
    let _ = std::fs::remove_dir_all(&kept);
    for drive in folder.set(letter) {
        copy_tree(&drive, &kept.join(drive.file_name().unwrap()));
    }
    kept
}

fn put_back(folder: &Folder, letter: char, kept: &Path) {
    for drive in folder.set(letter) {
        std::fs::remove_dir_all(&drive).unwrap();
        copy_tree(&kept.join(drive.file_name().unwrap()), &drive);
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &there);
        } else {
            std::fs::copy(entry.path(), there).unwrap();
        }
    }
}

#[tokio::test]
async fn a_set_short_of_its_quorum_takes_no_writes_and_the_other_goes_on() {
    let folder = Folder::new();
    folder.begin("ab").await;
    for drive in &folder.set('b')[..2] {
        std::fs::remove_dir_all(drive).unwrap();
    }
    let sets = folder.open("ab").unwrap();
    put(&*sets, FIRST, "rose").await.unwrap();
    let short = EngineError::WriteQuorum { answered: 2, needed: 3 };
    assert_eq!(put(&*sets, SECOND, "tulip").await, Err(short.clone()));
    assert_eq!(sets.stage(SECOND, StageHint::default()).await.err(), Some(short));
    let free: Vec<bool> = sets.partitions().iter().map(|partition| partition.free_bytes > 0).collect();
    assert_eq!(free, [true, false]);
    let writable: Vec<bool> = sets.reports().iter().map(|report| report.writable).collect();
    assert_eq!(writable, [true, false]);
}

#[tokio::test]
async fn no_set_is_added_while_the_first_takes_no_writes() {
    let folder = Folder::new();
    folder.begin("a").await;
    for drive in &folder.set('a')[..2] {
        std::fs::remove_dir_all(drive).unwrap();
    }
    let refused = folder.refusal("ab");
    assert!(refused.starts_with("a set can be added only while the first set takes writes: "), "{refused}");
}

#[tokio::test]
async fn a_directory_given_for_two_sets_is_refused_by_name() {
    let folder = Folder::new();
    let directories = [folder.set('a'), folder.set('a')];
    for drive in &directories[0] {
        std::fs::create_dir_all(drive).unwrap();
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    assert!(matches!(Sets::open(&directories, None, &clock).err(), Some(OpenError::Duplicate { .. })));
}
