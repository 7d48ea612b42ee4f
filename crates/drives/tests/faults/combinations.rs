//! Lost drives, torn tails, and drives that come back, in every combination, for every set of up to four drives.
//!
//! The last batch is whole, torn or missing on each drive; then drives are lost, as many as the set promises to do
//! without; then they come back in every order, stale, while the set is used. A batch was acknowledged when the write
//! quorum held it, lost drives among them: it is never cut. At each turn a set is held against its events.

#![allow(clippy::print_stdout, reason = "a run tells how much it looked at")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use store::{Engine, EngineError, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine};

use crate::history::{Deed, Deeds, Numbered, judge};
use crate::support::{
    SET, frames, given, lose, offline, restarted, stopped_without_a_seal, told, wait_until,
    with_small_segments,
};

/// Drives and parity of every set of two to four drives.
const SHAPES: [(usize, usize); 4] = [(2, 1), (3, 1), (4, 1), (4, 2)];

/// What is done before, and the last of it is of undecided fate; then in the first epoch after it, and in the next
/// ones.
const BEFORE: [Deed; 6] = [
    Deed::Put("a/rose", 700),
    Deed::PutBoth("a/one", "a/two", 20_000),
    Deed::Stage("a/large", 140_000),
    Deed::Put("y/gone", 5_000),
    Deed::Delete("y/gone"),
    Deed::Put("z/last", 60_000),
];
const MEANWHILE: [Deed; 3] =
    [Deed::Put("a/rose", 30_000), Deed::Delete("a/one"), Deed::Stage("a/large", 150_000)];
const AFTER: [Deed; 4] =
    [Deed::Put("b/1", 40_000), Deed::Delete("a/two"), Deed::Put("a/rose", 10), Deed::Put("b/1", 50)];

fn deeds() -> Deeds {
    let all = BEFORE.into_iter().chain(MEANWHILE).chain(AFTER);
    (1..).zip(all).map(|(number, deed)| (number, Numbered::of(number, deed))).collect()
}

/// What a drive has of the last batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    Whole,
    /// Header, metadata and half of the column.
    Torn,
    Missing,
}

/// One of all combinations.
#[derive(Clone, Debug)]
struct Case {
    drives: usize,
    parity: usize,
    tails: Vec<Tail>,
    /// In the order in which they come back.
    lost: Vec<usize>,
}

impl Case {
    fn quorum(&self) -> usize {
        self.drives - self.parity + 1
    }

    /// Every subset of lost drives, in every order, with every tail; of a lost drive it does not matter how its
    /// tail is torn.
    fn all(drives: usize, parity: usize) -> Vec<Case> {
        let mut cases = Vec::new();
        for lost in orders(drives, parity) {
            let is_possible = |tails: &Vec<Tail>| lost.iter().all(|position| tails[*position] != Tail::Torn);
            for tails in all_tails(drives).into_iter().filter(is_possible) {
                cases.push(Case { drives, parity, tails, lost: lost.clone() });
            }
        }
        cases
    }

    /// Nothing lost, nothing torn.
    fn whole(drives: usize, parity: usize) -> Case {
        Case { drives, parity, tails: vec![Tail::Whole; drives], lost: Vec::new() }
    }

    fn lay_out(&self, clean: &[FaultyDrive]) -> Vec<FaultyDrive> {
        let drives = restarted(clean);
        for (drive, tail) in drives.iter().zip(&self.tails) {
            match tail {
                Tail::Whole => {}
                Tail::Missing => lose(drive, 1),
                Tail::Torn => {
                    let frame = frames(drive).pop().unwrap();
                    let at = 256 + frame.meta_bytes + frame.column_bytes / 2;
                    let rest = vec![0; frame.column_bytes.div_ceil(2)];
                    drive.damage(&frame.file, (frame.offset + at) as u64, &rest);
                }
            }
        }
        drives
    }
}

/// Every choice of up to `most` of so many positions, in every order.
fn orders(count: usize, most: usize) -> Vec<Vec<usize>> {
    let mut found = vec![Vec::new()];
    let mut longest = found.clone();
    for _ in 0..most {
        let longer = longest.iter().flat_map(|order: &Vec<usize>| {
            (0..count)
                .filter(|position| !order.contains(position))
                .map(|position| [&order[..], &[position]].concat())
        });
        longest = longer.collect();
        found.extend(longest.iter().cloned());
    }
    found
}

fn all_tails(count: usize) -> Vec<Vec<Tail>> {
    (0..count).fold(vec![Vec::new()], |shorter, _| {
        let longer = shorter.iter().flat_map(|tails| {
            [Tail::Whole, Tail::Torn, Tail::Missing].map(|tail| [&tails[..], &[tail]].concat())
        });
        longer.collect()
    })
}

fn open(drives: &[FaultyDrive], present: &[usize], parity: usize) -> Arc<LocalEngine> {
    let healing = Healing { look_every: Duration::from_millis(5), ..Healing::default() };
    LocalEngine::open_healing(given(drives, present), Some(parity), Arc::new(SystemClock), healing).unwrap()
}

async fn run(engine: &LocalEngine, notes: &mut Vec<u64>, numbers: impl IntoIterator<Item = usize>) {
    let deeds = deeds();
    for number in numbers {
        deeds[&number].run(engine, |note| notes.push(note)).await.unwrap();
    }
}

/// A set on which everything of `BEFORE` was done, and that stopped before anything said that the last of it is
/// durable.
async fn made(drives: usize, parity: usize) -> Vec<FaultyDrive> {
    let drives = with_small_segments(FaultyDrive::machine(drives, &Power::steady()));
    let engine = open(&drives, &(0..drives.len()).collect::<Vec<_>>(), parity);
    run(&engine, &mut Vec::new(), 1..=BEFORE.len()).await;
    stopped_without_a_seal(&drives, engine).await
}

/// A set that is opened again and again, and what it has acknowledged.
struct Story<'a> {
    case: &'a Case,
    drives: Vec<FaultyDrive>,
    present: Vec<usize>,
    notes: Vec<u64>,
    /// Whether the last batch was kept, when that is decided.
    kept: Option<bool>,
    /// Whether it was on enough drives to have been acknowledged.
    was_acknowledged: bool,
}

const LAST: usize = BEFORE.len();

impl Story<'_> {
    fn of<'a>(case: &'a Case, clean: &[FaultyDrive]) -> Story<'a> {
        let whole = case.tails.iter().filter(|tail| **tail == Tail::Whole).count();
        Story {
            case,
            drives: case.lay_out(clean),
            present: (0..case.drives).filter(|position| !case.lost.contains(position)).collect(),
            notes: Vec::new(),
            kept: None,
            was_acknowledged: whole >= case.quorum(),
        }
    }

    async fn tell(&mut self) -> Result<(), String> {
        let all = self.case.drives;
        self.begin().await?;
        let mut after = LAST + MEANWHILE.len() + 1;
        for position in self.case.lost.clone() {
            self.present.push(position);
            self.drives = restarted(&self.drives);
            let engine = open(&self.drives, &self.present, self.case.parity);
            if self.present.len() >= self.case.quorum() {
                let is_healed =
                    || engine.report().writable && offline(&engine).len() == all - self.present.len();
                wait_until(is_healed).await;
            }
            self.look(&engine).await?;
            if engine.report().writable {
                run(&engine, &mut self.notes, [after, after + 1]).await;
                after += 2;
                self.look(&engine).await?;
            }
            if self.present.len() == all {
                engine.shutdown().await;
            }
        }
        self.end().await
    }

    /// Opens it without the lost drives, says what must be the fate of the last batch, and uses it.
    async fn begin(&mut self) -> Result<(), String> {
        let engine = open(&self.drives, &self.present, self.case.parity);
        let quorum = self.case.quorum();
        let tails: Vec<Tail> = self.present.iter().map(|position| self.case.tails[*position]).collect();
        let holders = tails.iter().filter(|tail| **tail == Tail::Whole).count();
        let can_write = self.present.len() >= quorum;
        let is_cut = holders + self.case.lost.len() < quorum;
        if engine.report().writable != can_write {
            return Err(format!("it takes writes: {}", engine.report().writable));
        }
        self.look(&engine).await?;
        if can_write && self.kept == Some(is_cut) {
            return Err(format!("the last batch was kept: {:?}", self.kept));
        }
        if !can_write && !is_cut && engine.get(SET, b"z/last").await != Err(EngineError::Undecided) {
            return Err("what may have been acknowledged and is not decided is answered".into());
        }
        if can_write {
            run(&engine, &mut self.notes, LAST + 1..=LAST + MEANWHILE.len()).await;
            self.look(&engine).await?;
        }
        if self.case.lost.is_empty() {
            engine.shutdown().await;
        }
        Ok(())
    }

    /// Holds it against its events, as far as they are decided.
    async fn look(&mut self, engine: &LocalEngine) -> Result<(), String> {
        let is_undecided = async |key: &[u8]| engine.get(SET, key).await == Err(EngineError::Undecided);
        let open = is_undecided(b"y/gone").await || is_undecided(b"z/last").await;
        // With no trace of the last batch the one before it is the last, and as undecided.
        let sure = if open { LAST - 2 } else { LAST - 1 };
        let notes: Vec<u64> = (1..=sure as u64).chain(self.notes.iter().copied()).collect();
        judge(engine, &deeds(), &notes, if open { "a/" } else { "" }).await?;
        let is_told = told(engine).await.contains(&LAST.to_string());
        if engine.report().writable {
            if open || self.kept.is_some_and(|kept| kept != is_told) {
                return Err(format!("what was decided is {open} and {is_told}"));
            }
            self.kept = Some(is_told);
        }
        Ok(())
    }

    /// All drives are there and hold everything: any that it promised to do without can be lost.
    async fn end(&mut self) -> Result<(), String> {
        if self.was_acknowledged && self.kept != Some(true) {
            return Err("what was acknowledged is gone".into());
        }
        let Case { drives, parity, .. } = *self.case;
        let choices: BTreeSet<BTreeSet<usize>> = orders(drives, parity)
            .into_iter()
            .filter(|lost| lost.len() == parity)
            .map(|lost| lost.into_iter().collect())
            .collect();
        for lost in choices {
            let present: Vec<usize> = (0..drives).filter(|position| !lost.contains(position)).collect();
            let engine = open(&restarted(&self.drives), &present, parity);
            self.look(&engine).await.map_err(|wrong| format!("in the end without {lost:?}: {wrong}"))?;
        }
        Ok(())
    }
}

/// All of it, on all cores.
#[test]
fn whichever_drives_are_lost_and_whatever_is_torn_nothing_acknowledged_is_lost_when_they_return_in_any_order()
{
    let started = Instant::now();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (drives, parity) in SHAPES {
        let clean = runtime.block_on(made(drives, parity));
        let (cases, next) = (Case::all(drives, parity), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let told = runtime.block_on(Story::of(case, &clean).tell());
                        told.unwrap_or_else(|wrong| panic!("{case:?}: {wrong}"));
                    }
                });
            }
        });
        println!("{drives} drives, parity {parity}: {} combinations", cases.len());
    }
    println!("in {:.1} s", started.elapsed().as_secs_f64());
}

/// Four drives are away one after the other while the same keys are overwritten and removed, and each comes back with
/// what it had: in all 24 orders the state is the last one, from any two drives.
#[tokio::test(flavor = "multi_thread")]
async fn four_drives_that_are_away_one_after_the_other_in_any_order_bring_nothing_back() {
    let clean = made(4, 2).await;
    let whole = Case::whole(4, 2);
    let orders = orders(4, 4).into_iter().filter(|order| order.len() == 4);
    let told = orders.map(async |order| {
        let mut story = Story::of(&whole, &clean);
        let engine = open(&story.drives, &story.present, 2);
        for (number, &away) in (LAST + 1..).zip(&order) {
            story.drives[away].take_away();
            wait_until(|| offline(&engine).len() == 1).await;
            run(&engine, &mut story.notes, [number]).await;
            story.drives[away].bring_back();
            wait_until(|| offline(&engine).is_empty()).await;
        }
        engine.shutdown().await;
        drop(engine);
        story.kept = Some(true);
        story.end().await.unwrap_or_else(|wrong| panic!("{order:?}: {wrong}"));
    });
    assert_eq!(join_all(told).await.len(), 24);
}

/// As many drives as there is parity are replaced by blank ones, and the set is used. Then those that were replaced are
/// put in their places again, in every order: they are healed, and bring nothing back.
#[tokio::test(flavor = "multi_thread")]
async fn drives_that_were_replaced_and_return_in_any_order_bring_nothing_back() {
    for (drives, parity) in SHAPES {
        let clean = made(drives, parity).await;
        let told = orders(drives, parity).into_iter().map(async |lost| {
            let case = Case::whole(drives, parity);
            let mut story = Story::of(&case, &clean);
            let mut number = LAST + 1;
            let old = restarted(&story.drives);
            for position in &lost {
                story.drives[*position].blank_out();
            }
            for returned in std::iter::once(None).chain(lost.iter().copied().map(Some)) {
                if let Some(position) = returned {
                    story.drives[position] = old[position].clone();
                }
                let engine = open(&story.drives, &story.present, parity);
                wait_until(|| engine.report().writable && offline(&engine).is_empty()).await;
                run(&engine, &mut story.notes, [number]).await;
                number += 1;
                story.look(&engine).await.unwrap_or_else(|wrong| panic!("{lost:?}, {returned:?}: {wrong}"));
                engine.shutdown().await;
            }
            story.end().await.unwrap_or_else(|wrong| panic!("{lost:?}: {wrong}"));
        });
        join_all(told).await;
    }
}
