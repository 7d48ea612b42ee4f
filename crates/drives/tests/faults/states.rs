//! Every legal state of the drives after a crash, at every moment of scripted histories.
//!
//! A history runs once, on drives that write down what they are asked and when they answer; in some of them a drive
//! joins meanwhile, stale, emptied or replaced, and is healed. A crash may come
//! between any two of those entries, and may leave of what was under way any part. Each such state is opened as
//! a server would open it, and judged: what was acknowledged is there with its event, nothing is there without
//! one, nothing is half there, and listing, bytes and events tell the same.

#![allow(clippy::print_stdout, reason = "a run tells its seed, with which it can be run again")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use store::SystemClock;
use tidings_drives::testing::{FaultyDrive, Moment, Power, Timeline};
use tidings_drives::{Healing, LocalEngine};
use tokio::runtime::Runtime;

use crate::history::Deed::{self, Delete, DeleteAll, PutBoth, PutNew, Stage};
use crate::history::{Deeds, Numbered, judge};
use crate::support::{
    body, fill_volumes, offline, open, open_all, put, told, wait_until, with_small_segments,
};

/// States looked at, over all histories; `TIDINGS_CRASH_STATES` says otherwise, and is 100,000 in `tests/run`.
const STATES: u64 = 4_000;

/// States of one moment of one run: those in which every change is there or not, and as many drawn ones.
const STATES_PER_MOMENT: u64 = 24;

/// Drawn from where nothing else is said; `TIDINGS_CRASH_SEED` says otherwise.
const SEED: u64 = 20_261_121;

/// Steps one after the other; the deeds of a step at once.
type History = &'static [&'static [Deed]];

/// What becomes of the last drive before the second step of a history: it is back when that step begins, and is healed
/// beside the steps from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// It is there all the time.
    Never,
    /// It misses the first step.
    Stale,
    /// It is emptied after the first step.
    Emptied,
    /// It misses the first step, and a blank one takes its place.
    Replaced,
}

/// Where the bodies lie that are not in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Files,
    Volumes,
}
use Medium::{Files, Volumes};

const HISTORIES: [(&str, Away, Medium, History); 9] = [
    (
        "one after the other",
        Away::Never,
        Files,
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
        Away::Never,
        Files,
        &[
            &[Deed::Put("a", 700), Deed::Put("b", 17_000), Deed::Put("c", 3_000), Deed::Put("d", 1)],
            &[Deed::Put("a", 800), Delete("b"), PutNew("e", 90), PutNew("e", 91)],
            &[PutBoth("a", "f", 33_000), Deed::Put("g", 4_096), DeleteAll("c")],
            &[Deed::Put("c", 10), Deed::Put("c", 11), Deed::Put("c", 12), Delete("c")],
            &[PutNew("h", 100), Delete("h"), Deed::Put("a", 5)],
            &[Deed::Put("i", 64_000), Deed::Put("j", 64_000)],
        ],
    ),
    ("bodies in files", Away::Never, Files, STAGED),
    ("bodies in volumes", Away::Never, Volumes, STAGED),
    (
        "one key",
        Away::Never,
        Files,
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
    ("a stale drive joins", Away::Stale, Files, JOINED),
    ("an emptied drive joins", Away::Emptied, Files, JOINED),
    ("a drive takes the place of another", Away::Replaced, Files, JOINED),
    ("a stale drive joins, with volumes", Away::Stale, Volumes, JOINED),
];

const STAGED: History = &[
    &[Stage("large/one", 300_000)],
    &[Stage("large/two", 140_000), Deed::Put("small", 500)],
    &[Stage("large/one", 200_000)],
    &[Delete("large/two")],
    &[Stage("large/three", 131_073), Stage("large/four", 150_000)],
    &[DeleteAll("large/")],
    &[Stage("large/five", 400_000)],
];

const JOINED: History = &[
    &[Deed::Put("a", 20_000), Stage("large", 140_000)],
    &[Deed::Put("b", 700), Deed::Put("a", 30_000)],
    &[PutNew("c", 17_000), Delete("b")],
    &[Stage("large", 150_000), Deed::Put("a", 40)],
];

/// Looks for a drive that is out all the time.
fn open_looking(drives: &[FaultyDrive]) -> Arc<LocalEngine> {
    let healing = Healing { look_every: Duration::from_millis(1), ..Healing::default() };
    let given = drives.iter().map(FaultyDrive::given).collect();
    LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap()
}

/// Does to the last drive what a history says; before its first step it is taken away, and before the second one it is
/// back.
async fn take_and_bring_back(away: Away, step: usize, drive: &FaultyDrive, engine: &LocalEngine) {
    match (away, step) {
        (Away::Stale | Away::Replaced, 0) => {
            drive.take_away();
            wait_until(|| offline(engine) == ["d4"]).await;
        }
        (Away::Emptied | Away::Replaced, 1) => {
            drive.blank_out();
            drive.bring_back();
        }
        (Away::Stale, 1) => drive.bring_back(),
        _ => {}
    }
}

/// Runs a history on four drives and gives every moment of it.
async fn moments_of(away: Away, medium: Medium, history: &[Vec<Numbered>]) -> Vec<Moment> {
    let timeline = Arc::new(Timeline::default());
    let drives = with_small_segments(FaultyDrive::machine(4, &Power::recorded(&timeline)));
    let engine = match medium {
        // Without a look at anything there is no stock.
        Files if away == Away::Never => open_all(&drives).unwrap(),
        _ => open_looking(&drives),
    };
    if medium == Volumes {
        fill_volumes(&engine).await;
    }
    for (nth, step) in history.iter().enumerate() {
        take_and_bring_back(away, nth, &drives[3], &engine).await;
        let done = step.iter().map(|deed| deed.run(&engine, |what| timeline.note(what)));
        for (deed, done) in step.iter().zip(join_all(done).await) {
            done.unwrap_or_else(|error| panic!("{:?}: {error}", deed.deed));
        }
    }
    if away != Away::Never {
        wait_until(|| engine.heal_report().drives_healed == 1).await;
    }
    drop(engine);
    timeline.moments(&["d1", "d2", "d3", "d4"])
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
    judge(&engine, deeds, notes, "").await?;
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
    away: Away,
    medium: Medium,
    steps: Vec<Vec<Numbered>>,
    deeds: Deeds,
}

impl Case {
    fn of((name, away, medium, history): (&'static str, Away, Medium, History)) -> Case {
        let mut numbers = 1..;
        let mut next = |deed: &Deed| Numbered::of(numbers.next().unwrap(), *deed);
        let steps: Vec<Vec<Numbered>> =
            history.iter().map(|step| step.iter().map(&mut next).collect()).collect();
        let deeds = steps.iter().flatten().map(|deed| (deed.number, deed.clone())).collect();
        Case { name, away, medium, steps, deeds }
    }
}

/// Counts the states looked at.
struct Tally {
    seed: u64,
    /// States to look at in each history.
    share: u64,
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
            // A new set needs all of its drives, and one of which a drive is out the three others.
            let may_miss_one = turn % 8 == 7 && case.away == Away::Never && !moment.notes().is_empty();
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

    /// Runs a history once more, and looks at states of all its moments on all cores, or of as many as are its share.
    fn run(&self, case: &Case) {
        let runtime = Runtime::new().unwrap();
        let moments = runtime.block_on(moments_of(case.away, case.medium, &case.steps));
        // States of another run are others, though the calls have the same numbers.
        self.seen.lock().clear();
        let next = AtomicUsize::new(0);
        let stride = (moments.len() as u64 * STATES_PER_MOMENT / self.share.max(1)).max(1) as usize;
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    let take = || {
                        let at = next.fetch_add(stride, Ordering::Relaxed);
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
    let cases = HISTORIES.map(Case::of);
    let share = states / cases.len() as u64;
    let tally = Tally { seed, share, seen: Mutex::default(), looked: AtomicU64::new(0) };
    let looked = || tally.looked.load(Ordering::Relaxed);
    for case in cases.iter().cycle() {
        if looked() >= states {
            break;
        }
        tally.run(case);
    }
    println!("{} states in {:.0} s", looked(), started.elapsed().as_secs_f64());
}
