//! Every legal state of the drives after a crash, at every moment of scripted histories.
//!
//! A history runs once, on drives that write down what they are asked and when they answer. A crash may come
//! between any two of those entries, and may leave of what was under way any part. Each such state is opened as
//! a server would open it, and judged: what was acknowledged is there with its event, nothing is there without
//! one, nothing is half there, and listing, bytes and events tell the same.

#![allow(clippy::print_stdout, reason = "a run tells its seed, with which it can be run again")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use store::{Batch, Engine, EngineError, KeyRange, Mutation, Precondition, Put};
use tidings_drives::LocalEngine;
use tidings_drives::testing::{FaultyDrive, Moment, Power, Timeline};
use tokio::runtime::Runtime;

use crate::support::{SET, body, change, open, open_all, put, read, stage, told};

/// States looked at, over all histories; `TIDINGS_CRASH_STATES` says otherwise, and is 100,000 in `tests/run`.
const STATES: u64 = 4_000;

/// States of one moment of one run: those in which every change is there or not, and as many drawn ones.
const STATES_PER_MOMENT: u64 = 24;

/// Drawn from where nothing else is said; `TIDINGS_CRASH_SEED` says otherwise.
const SEED: u64 = 20_261_121;

/// What a step of a history does; its number is in the event that tells of it.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// A small body, in the journal.
    Put(&'static str, usize),
    /// A body in shards.
    Stage(&'static str, usize),
    /// As `Put`, refused where the key is there.
    PutNew(&'static str, usize),
    Delete(&'static str),
    DeleteAll(&'static str),
    /// Two keys at once: both or none.
    PutBoth(&'static str, &'static str, usize),
}
use Deed::{Delete, DeleteAll, PutBoth, PutNew, Stage};

/// Steps one after the other; the deeds of a step at once.
type History = &'static [&'static [Deed]];

const HISTORIES: [(&str, History); 4] = [
    (
        "one after the other",
        &[
            &[Deed::Put("a/rose", 700)],
            &[Deed::Put("a/tulip", 20_000)],
            &[Deed::Put("a/iris", 60_000)],
            &[Deed::Put("a/rose", 900)],
            &[Delete("a/tulip")],
            &[PutNew("a/tulip", 40)],
            &[PutNew("a/iris", 41)],
            &[PutBoth("b/one", "b/two", 3_000)],
            &[Deed::Put("a/iris", 0)],
            &[DeleteAll("b/")],
            &[Deed::Put("b/three", 5_000)],
            &[Delete("a/rose")],
        ],
    ),
    (
        "at once",
        &[
            &[Deed::Put("a", 700), Deed::Put("b", 17_000), Deed::Put("c", 3_000), Deed::Put("d", 1)],
            &[Deed::Put("a", 800), Delete("b"), PutNew("e", 90), PutNew("e", 91)],
            &[PutBoth("a", "f", 33_000), Deed::Put("g", 4_096), DeleteAll("c")],
            &[Deed::Put("c", 10), Deed::Put("c", 11), Deed::Put("c", 12), Delete("c")],
            &[PutNew("h", 100), Delete("h"), Deed::Put("a", 5)],
            &[Deed::Put("i", 64_000), Deed::Put("j", 64_000)],
        ],
    ),
    (
        "bodies in shards",
        &[
            &[Stage("large/one", 300_000)],
            &[Stage("large/two", 140_000), Deed::Put("small", 500)],
            &[Stage("large/one", 200_000)],
            &[Delete("large/two")],
            &[Stage("large/three", 131_073), Stage("large/four", 150_000)],
            &[DeleteAll("large/")],
            &[Stage("large/five", 400_000)],
        ],
    ),
    (
        "one key",
        &[
            &[PutNew("k", 100)],
            &[Deed::Put("k", 200), Deed::Put("k", 201)],
            &[Delete("k")],
            &[PutNew("k", 300)],
            &[Stage("k", 160_000)],
            &[Deed::Put("k", 400)],
            &[Delete("k"), Deed::Put("k", 500), Stage("k", 170_000)],
            &[Deed::Put("k", 16_385)],
            &[Deed::Put("k", 65_536)],
            &[Delete("k")],
        ],
    ),
];

/// Keys and their bytes.
type Plain = BTreeMap<&'static str, Bytes>;

/// Deeds by their number.
type Deeds = BTreeMap<usize, Numbered>;

/// A deed with its number, which is that of its event, and the bytes it writes.
#[derive(Clone)]
struct Numbered {
    number: usize,
    deed: Deed,
    bytes: Bytes,
}

impl Numbered {
    fn of(history: History) -> Vec<Vec<Numbered>> {
        let mut number = 0;
        let mut next = |deed: &Deed| {
            number += 1;
            let size = match deed {
                Deed::Put(_, size) | PutNew(_, size) | Stage(_, size) | PutBoth(_, _, size) => *size,
                Delete(_) | DeleteAll(_) => 0,
            };
            Numbered { number, deed: *deed, bytes: body(size, number) }
        };
        history.iter().map(|step| step.iter().map(&mut next).collect()).collect()
    }

    async fn batch(&self, engine: &LocalEngine) -> Result<Batch, EngineError> {
        let key = |key: &'static str| Bytes::from_static(key.as_bytes());
        let plain = |name: &'static str| {
            Mutation::Put(Put { key: key(name), payload: self.bytes.clone(), ..Put::default() })
        };
        let mut preconditions = Vec::new();
        let mutations = match self.deed {
            Deed::Put(name, _) => vec![plain(name)],
            Deed::PutNew(name, _) => {
                preconditions.push(Precondition::Absent(key(name)));
                vec![plain(name)]
            }
            Deed::PutBoth(one, other, _) => vec![plain(one), plain(other)],
            Deed::Stage(name, _) => {
                let location = stage(engine, &self.bytes).await?;
                vec![Mutation::Put(Put { key: key(name), locations: vec![location], ..Put::default() })]
            }
            Deed::Delete(name) => vec![Mutation::Delete(key(name))],
            Deed::DeleteAll(prefix) => vec![Mutation::DeletePrefix(key(prefix))],
        };
        let changes = vec![change(&self.number.to_string())];
        Ok(Batch { preconditions, mutations, changes, ..Batch::default() })
    }

    async fn run(&self, engine: &LocalEngine, timeline: &Timeline) {
        let batch = self.batch(engine).await.unwrap();
        match engine.commit(SET, batch).await {
            Ok(committed) => {
                timeline.note(self.number as u64);
                for location in committed.unnamed {
                    engine.reclaim(location).await.unwrap();
                }
            }
            Err(EngineError::Precondition { .. }) => timeline.note(REFUSED | self.number as u64),
            Err(error) => panic!("{:?}: {error}", self.deed),
        }
    }

    fn apply(&self, plain: &mut Plain) {
        match self.deed {
            Deed::Put(key, _) | Deed::PutNew(key, _) | Deed::Stage(key, _) => {
                plain.insert(key, self.bytes.clone());
            }
            Deed::PutBoth(one, other, _) => {
                plain.insert(one, self.bytes.clone());
                plain.insert(other, self.bytes.clone());
            }
            Deed::Delete(key) => {
                plain.remove(key);
            }
            Deed::DeleteAll(prefix) => plain.retain(|key, _| !key.starts_with(prefix)),
        }
    }
}

/// Marks in a note that the deed was refused, not acknowledged.
const REFUSED: u64 = 1 << 32;

/// Segments of 256 KiB: a history fills several, and a state is read in little time.
fn with_small_segments(drives: Vec<FaultyDrive>) -> Vec<FaultyDrive> {
    drives.into_iter().map(|drive| drive.with_segments_of(256 * 1024)).collect()
}

/// Runs a history on four drives and gives every moment of it.
async fn moments_of(history: &[Vec<Numbered>]) -> Vec<Moment> {
    let timeline = Arc::new(Timeline::default());
    let drives = with_small_segments(FaultyDrive::machine(4, &Power::recorded(&timeline)));
    let engine = open_all(&drives).unwrap();
    for step in history {
        join_all(step.iter().map(|deed| deed.run(&engine, &timeline))).await;
    }
    drop(engine);
    timeline.moments(&["d1", "d2", "d3", "d4"])
}

/// What a state shows: the keys with their bytes, and what was told.
async fn judge(engine: &LocalEngine, deeds: &Deeds, notes: &[u64]) -> Result<(), String> {
    let told: Vec<usize> = told(engine).await.iter().map(|number| number.parse().unwrap()).collect();
    let unique: BTreeSet<usize> = told.iter().copied().collect();
    if unique.len() != told.len() {
        return Err(format!("an event twice: {told:?}"));
    }
    for note in notes {
        let number = usize::try_from(note & !REFUSED).unwrap();
        let was_refused = note & REFUSED != 0;
        if unique.contains(&number) == was_refused {
            let wrong =
                if was_refused { "was refused and is told" } else { "was acknowledged and is not told" };
            return Err(format!("{:?} ({number}) {wrong}; told {told:?}", deeds[&number].deed));
        }
    }
    let mut plain = Plain::new();
    told.iter().for_each(|number| deeds[number].apply(&mut plain));
    let listed = engine.scan(SET, KeyRange::prefix(b""), 1000).await.map_err(|error| error.to_string())?;
    let names: Vec<String> = listed.iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect();
    if !names.iter().map(String::as_str).eq(plain.keys().copied()) {
        return Err(format!("told {told:?}, which makes {:?}, and lists {names:?}", plain.keys()));
    }
    for (key, expected) in &plain {
        let entry = engine.get(SET, key.as_bytes()).await.map_err(|error| format!("{key}: {error}"))?;
        let entry = entry.ok_or_else(|| format!("{key} is listed and not there"))?;
        let bytes = match entry.locations.first() {
            Some(location) => read(engine, location, expected.len() as u64)
                .await
                .map_err(|error| format!("{key}: {error}"))?,
            None => entry.payload,
        };
        if bytes != expected {
            return Err(format!("{key} has other bytes than its last event says; told {told:?}"));
        }
    }
    Ok(())
}

/// Opens a state with all drives, or without one, and judges it; now and then it is used and opened once more.
async fn look_at(
    drives: &[FaultyDrive],
    away: Option<usize>,
    again: bool,
    deeds: &Deeds,
    notes: &[u64],
) -> Result<(), String> {
    let present: Vec<usize> = (0..4).filter(|position| Some(*position) != away).collect();
    let engine = open(drives, &present).map_err(|error| error.to_string())?;
    if !engine.report().writable {
        return Err("it takes no writes".into());
    }
    judge(&engine, deeds, notes).await?;
    if again {
        put(&engine, "~after", body(10, 0)).await.map_err(|error| error.to_string())?;
        let told_before = told(&engine).await;
        drop(engine);
        let drives: Vec<FaultyDrive> = drives.iter().map(|drive| drive.restarted(&Power::steady())).collect();
        let engine = open(&drives, &present).map_err(|error| format!("opened again: {error}"))?;
        if told(&engine).await != told_before {
            return Err("opened again it tells something else".into());
        }
    }
    Ok(())
}

/// Which of the open changes of a moment are there: all ways where they are few, then drawn ones.
fn choices(moment: &Moment, quota: u64, seed: u64) -> impl Iterator<Item = (u64, u64, u64)> {
    let open = moment.open_changes() as u32;
    let whole = 1_u64.checked_shl(open).unwrap_or(u64::MAX).min(quota.max(2));
    let luck = move |nth: u64| {
        let number = (seed ^ nth.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (number ^ (number >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB)
    };
    let ways = (0..whole).map(|bits| (bits, 0, 0));
    let drawn = (0..quota).map(move |nth| {
        let (bits, torn) = (luck(3 * nth), luck(3 * nth + 1));
        // Every other one tears everything that is under way.
        (bits, if nth % 2 == 0 { torn } else { u64::MAX }, luck(3 * nth + 2))
    });
    ways.chain(drawn)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// A history, and what its deeds are to leave behind.
struct Case {
    name: &'static str,
    steps: Vec<Vec<Numbered>>,
    deeds: Deeds,
}

impl Case {
    fn of((name, history): (&'static str, History)) -> Case {
        let steps = Numbered::of(history);
        let deeds = steps.iter().flatten().map(|deed| (deed.number, deed.clone())).collect();
        Case { name, steps, deeds }
    }
}

/// Counts the states looked at.
struct Tally {
    seed: u64,
    seen: Mutex<HashSet<u64>>,
    looked: AtomicU64,
}

impl Tally {
    /// Looks at states of one moment.
    fn look(&self, runtime: &Runtime, case: &Case, at: usize, moment: &Moment) {
        let seed = self.seed ^ self.looked.load(Ordering::Relaxed) << 32 ^ (at as u64) << 16;
        for (whole, torn, luck) in choices(moment, STATES_PER_MOMENT, seed) {
            let (drives, print) = moment.state(whole, torn, luck);
            if !self.seen.lock().insert(print) {
                continue;
            }
            let turn = self.looked.fetch_add(1, Ordering::Relaxed);
            // A new set needs all of its drives.
            let may_miss_one = turn % 8 == 7 && !moment.notes().is_empty();
            let away = may_miss_one.then_some((turn / 8 % 4) as usize);
            let drives = with_small_segments(drives);
            let looked = look_at(&drives, away, turn.is_multiple_of(32), &case.deeds, moment.notes());
            if let Err(wrong) = runtime.block_on(looked) {
                panic!(
                    "{}, moment {at}, whole {whole:x}, torn {torn:x}, luck {luck:x}, without {away:?}: {wrong}",
                    case.name
                );
            }
        }
    }

    /// Runs a history once more, and looks at states of all its moments on all cores.
    fn run(&self, case: &Case) {
        let runtime = Runtime::new().unwrap();
        let moments = runtime.block_on(moments_of(&case.steps));
        // States of another run are others, though the calls have the same numbers.
        self.seen.lock().clear();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    let take = || {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        moments.get(at).map(|moment| (at, moment))
                    };
                    while let Some((at, moment)) = take() {
                        self.look(&runtime, case, at, moment);
                    }
                });
            }
        });
    }
}

#[test]
fn whatever_a_crash_leaves_of_what_was_under_way_every_acknowledged_change_is_there_with_its_event() {
    let (seed, states) = (setting("TIDINGS_CRASH_SEED", SEED), setting("TIDINGS_CRASH_STATES", STATES));
    println!("TIDINGS_CRASH_SEED={seed} TIDINGS_CRASH_STATES={states}");
    let started = Instant::now();
    let tally = Tally { seed, seen: Mutex::default(), looked: AtomicU64::new(0) };
    let cases = HISTORIES.map(Case::of);
    let looked = || tally.looked.load(Ordering::Relaxed);
    for case in cases.iter().cycle() {
        if looked() >= states {
            break;
        }
        tally.run(case);
    }
    println!("{} states in {:.0} s", looked(), started.elapsed().as_secs_f64());
}
