//! Power is lost at every step of a run, with every kind of tearing.

use std::sync::Arc;

use bytes::Bytes;
use store::{Batch, Engine, EngineError, Location, Mutation, Put};
use tidings_drives::LocalEngine;
use tidings_drives::testing::{FaultyDrive, Power};

use crate::space::{numbers, open_sized};
use crate::support::{SET, body, change, get, open_all, put, read, restarted, stage, told, wait_until};

const LARGE_BYTES: usize = 300_000;

/// What a run was told it had done.
#[derive(Default)]
struct Acknowledged {
    keys: Vec<&'static str>,
    large: bool,
    replaced: bool,
    deleted: bool,
}

async fn put_large(engine: &LocalEngine) -> Result<(), EngineError> {
    let location = stage(engine, &body(LARGE_BYTES, 9)).await?;
    let put = Put { key: Bytes::from_static(b"large"), locations: vec![location], ..Put::default() };
    let batch =
        Batch { mutations: vec![Mutation::Put(put)], changes: vec![change("large")], ..Batch::default() };
    engine.commit(SET, batch).await.map(|_| ())
}

async fn run(engine: &LocalEngine) -> Acknowledged {
    let mut done = Acknowledged::default();
    for (key, size) in [("rose", 700), ("tulip", 20_000), ("iris", 60_000)] {
        if put(engine, key, body(size, 1)).await.is_ok() {
            done.keys.push(key);
        }
    }
    done.large = put_large(engine).await.is_ok();
    done.replaced = put(engine, "rose", body(900, 2)).await.is_ok();
    let delete = Batch {
        mutations: vec![Mutation::Delete(Bytes::from_static(b"tulip"))],
        changes: vec![change("tulip")],
        ..Batch::default()
    };
    done.deleted = engine.commit(SET, delete).await.is_ok();
    done
}

async fn check(engine: &Arc<LocalEngine>, done: &Acknowledged, cut: u64) {
    let told = told(engine).await;
    let times = |key: &str| told.iter().filter(|told| *told == key).count();
    let rose = get(engine, "rose").await.unwrap();
    let expected = [None, Some(body(700, 1)), Some(body(900, 2))];
    assert_eq!(rose, expected[times("rose")], "cut at step {cut}");
    let tulip = get(engine, "tulip").await.unwrap();
    assert_eq!(tulip, (times("tulip") == 1).then(|| body(20_000, 1)), "cut at step {cut}");
    let iris = get(engine, "iris").await.unwrap();
    assert_eq!(iris, (times("iris") == 1).then(|| body(60_000, 1)), "cut at step {cut}");
    let locations: Vec<Location> =
        engine.get(SET, b"large").await.unwrap().map(|entry| entry.locations).unwrap_or_default();
    assert_eq!(locations.len(), times("large"), "cut at step {cut}");
    for location in &locations {
        let large = read(engine, location, LARGE_BYTES as u64).await.unwrap();
        assert!(large == body(LARGE_BYTES, 9), "cut at step {cut}");
    }

    for key in &done.keys {
        assert!(times(key) >= 1, "{key} was acknowledged, cut at step {cut}");
    }
    assert!(!done.large || times("large") == 1, "cut at step {cut}");
    assert!(!done.replaced || times("rose") == 2, "cut at step {cut}");
    assert!(!done.deleted || times("tulip") == 2, "cut at step {cut}");
}

/// Cuts the power at every step of opening a new set and using it; after each restart every object is there
/// with its change or neither is, what was acknowledged is there, and the set takes writes again.
#[tokio::test(flavor = "multi_thread")]
async fn power_lost_at_any_write_never_parts_an_object_from_its_change_and_keeps_what_was_acknowledged() {
    for cut in 0.. {
        let power = Power::losing_power_after(cut, cut);
        let drives = FaultyDrive::machine(4, &power);
        let done = match open_all(&drives) {
            Ok(engine) => run(&engine).await,
            Err(_) => Acknowledged::default(),
        };
        let finished = !power.was_lost();
        let drives = restarted(&drives);
        let engine = open_all(&drives).unwrap_or_else(|error| panic!("cut at step {cut}: {error}"));
        check(&engine, &done, cut).await;
        put(&engine, "after", body(10, 0)).await.unwrap();
        if finished {
            assert!(cut > 40, "{cut} steps are too few for this run");
            return;
        }
    }
}

/// The same with the power going a second time, at every step of the recovery from the first cut.
#[tokio::test(flavor = "multi_thread")]
async fn power_lost_again_at_any_step_of_the_recovery_changes_nothing_of_that() {
    let first = Power::losing_power_after(38, 5);
    let drives = FaultyDrive::machine(4, &first);
    let done = match open_all(&drives) {
        Ok(engine) => run(&engine).await,
        Err(_) => Acknowledged::default(),
    };
    assert!(first.was_lost());
    for cut in 0.. {
        let again = Power::losing_power_after(cut, cut + 1);
        let found: Vec<FaultyDrive> = drives.iter().map(|drive| drive.restarted(&again)).collect();
        if let Ok(engine) = open_all(&found) {
            let _ = put(&engine, "after", body(10, 0)).await;
        }
        let finished = !again.was_lost();
        let engine =
            open_all(&restarted(&found)).unwrap_or_else(|error| panic!("cut at step {cut}: {error}"));
        check(&engine, &done, cut).await;
        wait_until(|| engine.report().writable).await;
        if finished {
            return;
        }
    }
}

/// The same with segments of a few frames, of which some were sealed, compacted and retired before the first cut: the
/// second one comes at every third step of the recovery and of what compaction does then.
#[tokio::test(flavor = "multi_thread")]
async fn power_lost_again_while_a_compacted_journal_is_recovered_brings_nothing_back_and_loses_nothing() {
    for first_cut in [70, 85, 100] {
        let first = Power::losing_power_after(first_cut, first_cut);
        let drives = FaultyDrive::machine(4, &first);
        let acknowledged = run_small(&open_sized(&drives, 128 << 10).unwrap()).await;
        assert!(first.was_lost(), "{first_cut} steps are more than the run has");
        for cut in (0..).step_by(3) {
            let again = Power::losing_power_after(cut, cut + first_cut);
            let found: Vec<FaultyDrive> = drives.iter().map(|drive| drive.restarted(&again)).collect();
            let mut after = 0;
            if let Ok(engine) = open_sized(&found, 128 << 10) {
                while after < 4 && put(&engine, "after", body(40_000, after)).await.is_ok() {
                    after += 1;
                }
            }
            let finished = !again.was_lost();
            let engine = open_sized(&restarted(&found), 128 << 10)
                .unwrap_or_else(|error| panic!("cut at {first_cut} and {cut}: {error}"));
            check_small(&engine, acknowledged, &format!("cut at {first_cut} and {cut}")).await;
            assert!(told(&engine).await.iter().filter(|told| *told == "after").count() >= after);
            if finished {
                break;
            }
        }
    }
}

/// What a run was told of a key that is written again and again.
async fn run_small(engine: &LocalEngine) -> [usize; 3] {
    let mut acknowledged = [0; 3];
    for number in 0..15 {
        let key = number % 3;
        if put(engine, &format!("{key}"), body(40_000, number)).await.is_ok() {
            acknowledged[key] = number + 1;
        }
    }
    acknowledged
}

/// Every key has its last acknowledged state or one after, and is told of as often as it was written.
async fn check_small(engine: &LocalEngine, acknowledged: [usize; 3], cut: &str) {
    let told = told(engine).await;
    for (key, acknowledged) in acknowledged.into_iter().enumerate() {
        let times = told.iter().filter(|told| **told == format!("{key}")).count();
        let expected = times.checked_sub(1).map(|nth| body(40_000, 3 * nth + key));
        assert!(get(engine, &format!("{key}")).await == Ok(expected), "{key}, {cut}");
        assert!(times >= acknowledged.div_ceil(3), "{key}, {cut}");
    }
}

/// The same with segments of a few frames, so that some are sealed, compacted and retired on the way: at whichever step
/// the power goes, every key has its last acknowledged state or the one after.
#[tokio::test(flavor = "multi_thread")]
async fn power_lost_while_segments_are_sealed_compacted_and_retired_brings_nothing_back_and_loses_nothing() {
    for cut in (0..).step_by(5) {
        let power = Power::losing_power_after(cut, cut);
        let drives = FaultyDrive::machine(4, &power);
        let acknowledged = match open_sized(&drives, 128 << 10) {
            Ok(engine) => {
                let acknowledged = run_small(&engine).await;
                wait_until(|| power.was_lost() || !numbers(&drives[0]).contains(&0)).await;
                acknowledged
            }
            Err(_) => [0; 3],
        };
        let finished = !power.was_lost();
        let drives = restarted(&drives);
        let engine = open_sized(&drives, 128 << 10).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        check_small(&engine, acknowledged, &format!("cut at {cut}")).await;
        put(&engine, "after", body(10, 0)).await.unwrap();
        if finished {
            assert!(cut > 100, "{cut} steps are too few for this run");
            return;
        }
    }
}
