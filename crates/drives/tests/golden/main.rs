//! Drives as versions of tidings wrote them, each opened by this one: every entry, body and change is there, and all
//! of it is whole. What lies in the folders is never changed: see `README.md` beside this file.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod archive;
mod contents;
mod listing;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use store::testing::fixture::HandClock;
use tempfile::TempDir;
use tidings_drives::directory::DirectoryDrive;
use tidings_drives::{Given, Healing, LocalEngine, OpenError, Reopen, Tuning, verify_directories};

/// The format that this version writes: the name of its folder here.
const FORMAT: &str = "3";

/// An hour after the last thing in any of them: what is kept for a day is still there.
fn clock() -> Arc<HandClock> {
    Arc::new(HandClock::at_ms(contents::NOW_MS + 3_600_000))
}

/// Opens the drives `d1` to `dN` of a folder, those that are there; nothing is healed meanwhile.
fn open(
    folder: &Path,
    drives: usize,
    clock: Arc<HandClock>,
    tuning: Tuning,
) -> Result<Arc<LocalEngine>, OpenError> {
    open_looking(Duration::from_secs(3600), folder, drives, clock, tuning)
}

/// … with a look at what is to be healed, and at what volumes are wanted, every so often.
fn open_looking(
    look_every: Duration,
    folder: &Path,
    drives: usize,
    clock: Arc<HandClock>,
    tuning: Tuning,
) -> Result<Arc<LocalEngine>, OpenError> {
    let given = paths(folder, drives).into_iter().map(|path| {
        let name = path.display().to_string();
        let reopen: Reopen = Arc::new(move || Ok(Arc::new(DirectoryDrive::open(&path)?) as Arc<_>));
        Given { path: name, drive: reopen(), reopen }
    });
    let healing = Healing { look_every, ..Healing::default() };
    LocalEngine::open_tuned(given.collect(), None, clock, Tuning { healing, ..tuning })
}

fn paths(folder: &Path, drives: usize) -> Vec<PathBuf> {
    (1..=drives).map(|number| folder.join(format!("d{number}"))).collect()
}

/// A set that a version left.
struct Golden {
    /// For people: its folder and name.
    name: String,
    /// How many drives it has: the number in its name.
    drives: usize,
    packed: Vec<u8>,
    listing: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn all_golden() -> Vec<Golden> {
    let formats = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let files = formats.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).unwrap());
    let packed =
        files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().unwrap() == "drives");
    packed
        .map(|path| {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            Golden {
                name: path.display().to_string(),
                drives: stem.split('-').next().unwrap().parse().unwrap(),
                packed: fs::read(&path).unwrap(),
                listing: fs::read_to_string(path.with_extension("txt")).unwrap(),
            }
        })
        .collect()
}

impl Golden {
    fn lay_out(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        archive::unpack(&self.packed, folder.path());
        folder
    }

    fn open(&self, folder: &Path) -> Arc<LocalEngine> {
        open(folder, self.drives, clock(), Tuning::default())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    async fn check(&self, engine: &Arc<LocalEngine>, how: &str) {
        let found = listing::of(engine, clock()).await;
        for (nth, (found, expected)) in found.lines().zip(self.listing.lines()).enumerate() {
            assert_eq!(found, expected, "{}, {how}, line {}", self.name, nth + 1);
        }
        assert_eq!(found.len(), self.listing.len(), "{}, {how}", self.name);
    }
}

/// As its version left it, and again after this version has used it.
#[tokio::test(flavor = "multi_thread")]
async fn every_set_of_an_earlier_version_holds_what_it_held_and_is_whole() {
    let golden = all_golden();
    assert!(golden.iter().any(|set| set.name.contains(&format!("/{FORMAT}/"))), "none of format {FORMAT}");
    for set in golden {
        let folder = set.lay_out();
        let found = verify_directories(&paths(folder.path(), set.drives), &mut |_| true).unwrap();
        assert!(found.is_whole() && found.keys > 10 && found.bodies > 0, "{}: {found:?}", set.name);

        let engine = set.open(folder.path());
        set.check(&engine, "opened").await;
        contents::use_it(&engine, clock()).await;
        engine.shutdown().await;
        drop(engine);
        let engine = set.open(folder.path());
        contents::undo(&engine, clock()).await;
        let found = listing::of(&engine, clock()).await;
        let told = |line: &&str| !line.starts_with("change ") || set.listing.contains(*line);
        let kept: Vec<&str> = found.lines().filter(told).collect();
        assert!(kept.iter().copied().eq(set.listing.lines()), "{}, after it was used", set.name);
        let engine_found = Arc::clone(&engine);
        let found = tokio::task::spawn_blocking(move || engine_found.verify(&mut |_| true));
        let found = found.await.unwrap().unwrap();
        assert!(found.is_whole(), "{}, after it was used: {found:?}", set.name);
    }
}

/// The journal alone says the same as the journal with its index.
#[tokio::test(flavor = "multi_thread")]
async fn every_set_of_an_earlier_version_holds_the_same_without_its_index() {
    for set in all_golden() {
        let folder = set.lay_out();
        let mut removed = 0;
        for path in paths(folder.path(), set.drives) {
            removed += usize::from(fs::remove_dir_all(path.join("ckpt")).is_ok());
        }
        assert!(removed > 0 || set.name.contains("crashed"), "{} has no index", set.name);
        set.check(&set.open(folder.path()), "without its index").await;
    }
}

/// Whichever drives are lost, as many as there is parity: the set stopped cleanly, or is opened once before.
#[tokio::test(flavor = "multi_thread")]
async fn every_set_of_an_earlier_version_holds_the_same_with_as_many_drives_lost_as_it_promised() {
    for set in all_golden() {
        let folder = set.lay_out();
        let engine = set.open(folder.path());
        let parity = engine.report().parity;
        engine.shutdown().await;
        drop(engine);
        for lost in (1..1_u32 << set.drives).filter(|lost| lost.count_ones() as usize == parity) {
            let lost: Vec<usize> = (1..=set.drives).filter(|number| lost >> (number - 1) & 1 == 1).collect();
            let (there, away) = (|n: &usize| folder.path().join(format!("d{n}")), folder.path().join("away"));
            fs::create_dir(&away).unwrap();
            lost.iter().for_each(|n| fs::rename(there(n), away.join(format!("{n}"))).unwrap());
            let engine = set.open(folder.path());
            set.check(&engine, &format!("without {lost:?}")).await;
            drop(engine);
            lost.iter().for_each(|n| fs::rename(away.join(format!("{n}")), there(n)).unwrap());
            fs::remove_dir(&away).unwrap();
        }
    }
}

/// Writes the golden sets of this version's format. One that is there is never written again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes files of the repository; for a new format alone"]
async fn render_the_golden_sets_of_a_new_format() {
    let folder = root().join(FORMAT);
    fs::create_dir(&folder).expect("golden sets of this format are there, and stay as they are");
    for (name, drives, clean) in [("4-stopped", 4, true), ("2-crashed", 2, false), ("1-stopped", 1, true)] {
        let drives_folder = tempfile::tempdir().unwrap();
        let listing = contents::write(drives_folder.path(), drives, clean).await;
        fs::write(folder.join(format!("{name}.drives")), archive::pack(drives_folder.path())).unwrap();
        fs::write(folder.join(format!("{name}.txt")), listing).unwrap();
    }
}
