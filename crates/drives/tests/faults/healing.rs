//! Drives that come back, stale or blank, and are healed while the set is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use store::{Batch, Engine, EngineError, Location, Mutation, Put, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine};

use crate::support::{
    SET, body, change, drives_with, get, offline, open, open_all, put, read, restarted, stage, told,
    wait_until,
};

const LARGE_BYTES: usize = 700_000;

/// Looks for drives that are out all the time, so that tests need not wait.
fn eager() -> Healing {
    Healing { look_every: Duration::from_millis(5), ..Healing::default() }
}

fn open_eagerly(drives: &[FaultyDrive]) -> Arc<LocalEngine> {
    let given = drives.iter().map(FaultyDrive::given).collect();
    LocalEngine::open_healing(given, None, Arc::new(SystemClock), eager()).unwrap()
}

async fn put_large(engine: &LocalEngine, key: &str, seed: usize) -> Result<(), EngineError> {
    let location = stage(engine, &body(LARGE_BYTES, seed)).await?;
    let key_bytes = Bytes::copy_from_slice(key.as_bytes());
    let put = Put { key: key_bytes, locations: vec![location], ..Put::default() };
    let batch = Batch { mutations: vec![Mutation::Put(put)], changes: vec![change(key)], ..Batch::default() };
    engine.commit(SET, batch).await.map(|_| ())
}

async fn large(engine: &LocalEngine, key: &str) -> Option<Bytes> {
    let entry = engine.get(SET, key.as_bytes()).await.unwrap()?;
    let location: &Location = entry.locations.first()?;
    Some(read(engine, location, LARGE_BYTES as u64).await.unwrap())
}

/// Objects of every kind, in several segments.
async fn fill(engine: &LocalEngine, name: &str) {
    for (seed, size) in [0, 100, 5_000, 30_000, 131_072].into_iter().enumerate() {
        put(engine, &format!("{name}/{size}"), body(size, seed)).await.unwrap();
    }
    for number in 0..45 {
        put(engine, &format!("{name}/n{number}"), body(100_000, number)).await.unwrap();
    }
    put_large(engine, &format!("{name}/large"), 3).await.unwrap();
}

async fn check(engine: &LocalEngine, name: &str, what: &str) {
    for (seed, size) in [0, 100, 5_000, 30_000, 131_072].into_iter().enumerate() {
        assert_eq!(
            get(engine, &format!("{name}/{size}")).await,
            Ok(Some(body(size, seed))),
            "{size}, {what}"
        );
    }
    for number in 0..45 {
        let read = get(engine, &format!("{name}/n{number}")).await;
        assert!(read == Ok(Some(body(100_000, number))), "{number}, {what}");
    }
    assert!(large(engine, &format!("{name}/large")).await == Some(body(LARGE_BYTES, 3)), "large, {what}");
}

async fn all_healed(engine: &LocalEngine) {
    wait_until(|| offline(engine).is_empty() && engine.heal_report().objects_short == 0).await;
}

/// Every pair of drives is taken away; all that is named is read from the two others.
async fn check_without_any_two(drives: &[FaultyDrive], names: &[&str]) {
    for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        let engine = open(&restarted(drives), &[one, other]).unwrap();
        for name in names {
            check(&engine, name, &format!("from {one} and {other}")).await;
        }
        assert_eq!(told(&engine).await.len(), names.len() * 51, "from {one} and {other}");
    }
}

/// A drive is emptied while the set is in use. It is healed while writes go on, and afterwards any two drives hold
/// everything: what was there before, what came meanwhile, and what came after.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_emptied_under_load_is_healed_and_then_any_two_others_can_be_lost() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&drives);
    fill(&engine, "before").await;
    let stopping = Arc::new(AtomicBool::new(false));
    let load = {
        let (engine, stopping) = (Arc::clone(&engine), Arc::clone(&stopping));
        tokio::spawn(async move {
            let mut number = 0;
            while !stopping.load(Ordering::Relaxed) {
                put(&engine, &format!("load/{number}"), body(20_000, number)).await.unwrap();
                if number % 20 == 0 {
                    put_large(&engine, &format!("load/large{number}"), number).await.unwrap();
                }
                number += 1;
            }
            number
        })
    };
    drives[2].blank_out();
    wait_until(|| engine.heal_report().drives_healed == 1).await;
    assert_eq!(offline(&engine), Vec::<String>::new());
    stopping.store(true, Ordering::Relaxed);
    let loaded = load.await.unwrap();
    fill(&engine, "after").await;
    all_healed(&engine).await;
    engine.shutdown().await;
    drop(engine);

    for (one, other) in [(0, 2), (1, 2), (2, 3)] {
        let engine = open(&restarted(&drives), &[one, other]).unwrap();
        check(&engine, "before", "the healed drive and another").await;
        check(&engine, "after", "the healed drive and another").await;
        for number in 0..loaded {
            let read = get(&engine, &format!("load/{number}")).await;
            assert!(read == Ok(Some(body(20_000, number))), "load/{number}");
            if number % 20 == 0 {
                let name = format!("load/large{number}");
                assert!(large(&engine, &name).await == Some(body(LARGE_BYTES, number)), "{name}");
            }
        }
        assert_eq!(told(&engine).await.len(), 102 + loaded + loaded.div_ceil(20));
    }
}

/// A blank drive put in the place of another while the server was off.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_replaced_before_the_start_is_healed_and_any_two_hold_everything() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&drives);
    fill(&engine, "one").await;
    engine.shutdown().await;
    drop(engine);
    drives[1].blank_out();
    let engine = open_eagerly(&drives);
    wait_until(|| engine.heal_report().drives_healed == 1).await;
    all_healed(&engine).await;
    check(&engine, "one", "healed").await;
    engine.shutdown().await;
    drop(engine);
    check_without_any_two(&drives, &["one"]).await;
}

/// Two drives are replaced at once: both are healed, and what one walk reads serves both.
#[tokio::test(flavor = "multi_thread")]
async fn two_drives_replaced_at_once_are_healed_together() {
    let drives = FaultyDrive::machine(6, &Power::steady());
    let engine = open_eagerly(&drives);
    fill(&engine, "one").await;
    engine.shutdown().await;
    drop(engine);
    drives[0].blank_out();
    drives[3].blank_out();
    let engine = open_eagerly(&drives);
    wait_until(|| engine.heal_report().drives_healed == 2).await;
    all_healed(&engine).await;
    engine.shutdown().await;
    drop(engine);
    let engine = open(&restarted(&drives), &[0, 2, 3]).unwrap();
    check(&engine, "one", "from two healed drives and another").await;
}

/// Rules 4 and 8. Of four drives one after the other is away while the same keys are overwritten and removed, and
/// comes back with what it had. Whatever the order, the state is the last one, from any two drives.
#[tokio::test(flavor = "multi_thread")]
async fn stale_drives_that_return_in_any_order_never_win() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
        let drives = FaultyDrive::machine(4, &Power::steady());
        let engine = open_eagerly(&drives);
        put(&engine, "gone", body(20_000, 99)).await.unwrap();
        put_large(&engine, "gone/large", 99).await.unwrap();
        for (turn, away) in order.into_iter().enumerate() {
            drives[away].take_away();
            wait_until(|| offline(&engine) == [format!("d{}", away + 1)]).await;
            put(&engine, "rose", body(40_000, turn)).await.unwrap();
            put_large(&engine, "large", turn).await.unwrap();
            if turn == 0 {
                for key in ["gone", "gone/large"] {
                    let gone = Mutation::Delete(Bytes::from_static(key.as_bytes()));
                    let batch = Batch { mutations: vec![gone], ..Batch::default() };
                    engine.commit(SET, batch).await.unwrap();
                }
            }
            drives[away].bring_back();
            all_healed(&engine).await;
            assert_eq!(get(&engine, "rose").await, Ok(Some(body(40_000, turn))), "{order:?}");
            assert_eq!(get(&engine, "gone").await, Ok(None), "{order:?}");
        }
        engine.shutdown().await;
        drop(engine);
        for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
            let engine = open(&restarted(&drives), &[one, other]).unwrap();
            assert_eq!(get(&engine, "rose").await, Ok(Some(body(40_000, 3))), "{order:?}, {one} and {other}");
            assert!(
                large(&engine, "large").await == Some(body(LARGE_BYTES, 3)),
                "{order:?}, {one} and {other}"
            );
            assert_eq!(get(&engine, "gone").await, Ok(None), "{order:?}, {one} and {other}");
        }
    }
}

/// A heal is cut off at a step of its own, at many of them: the next start goes on, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_heal_that_loses_power_at_any_step_goes_on_at_the_next_start() {
    let whole = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&whole);
    fill(&engine, "one").await;
    engine.shutdown().await;
    drop(engine);
    let mut finished = false;
    for cut in (0..).step_by(3) {
        let power = Power::losing_power_after(cut, cut * 7 + 1);
        let drives: Vec<FaultyDrive> = whole.iter().map(|drive| drive.restarted(&power)).collect();
        drives[2].blank_out();
        let given = drives.iter().map(FaultyDrive::given).collect();
        if let Ok(engine) = LocalEngine::open_healing(given, None, Arc::new(SystemClock), eager()) {
            wait_until(|| power.was_lost() || engine.heal_report().drives_healed == 1).await;
        }
        finished |= !power.was_lost();
        let drives = restarted(&drives);
        let engine = open_eagerly(&drives);
        all_healed(&engine).await;
        drop(engine);
        let engine = open(&drives, &[2, 3]).unwrap();
        check(&engine, "one", &format!("cut at step {cut}")).await;
        if finished {
            assert!(cut > 20, "{cut} steps are too few for a heal");
            return;
        }
    }
}

/// Rules 5 and 15. A drive goes out between the end of an upload and its commit, and a blank one takes its place: it
/// does not count as a holder, the commit stands on the three others, and the body is healed onto it.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_staged_before_a_drive_was_replaced_is_healed_onto_it_by_its_commit() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&drives);
    put(&engine, "rose", body(100, 1)).await.unwrap();
    let location = stage(&engine, &body(LARGE_BYTES, 8)).await.unwrap();
    drives[0].blank_out();
    wait_until(|| engine.heal_report().drives_healed == 1).await;
    let put = Put { key: Bytes::from_static(b"large"), locations: vec![location], ..Put::default() };
    let batch = Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() };
    engine.commit(SET, batch).await.unwrap();
    let shards = || drives[0].files().iter().filter(|(name, _)| name.starts_with("shard/")).count();
    wait_until(|| shards() == 1).await;
    all_healed(&engine).await;
    engine.shutdown().await;
    drop(engine);
    for other in 1..4 {
        let engine = open(&restarted(&drives), &[0, other]).unwrap();
        assert!(large(&engine, "large").await == Some(body(LARGE_BYTES, 8)));
    }
}

/// Rule 5. Of a finished body more drives are gone at the commit than it can be without: the commit is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_a_body_that_too_few_drives_still_hold_is_refused() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&drives);
    put(&engine, "rose", body(100, 1)).await.unwrap();
    let location = stage(&engine, &body(LARGE_BYTES, 8)).await.unwrap();
    for (healed, drive) in drives[..2].iter().enumerate() {
        drive.blank_out();
        wait_until(|| engine.heal_report().drives_healed == healed as u64 + 1).await;
    }
    let put = Put { key: Bytes::from_static(b"large"), locations: vec![location], ..Put::default() };
    let batch = Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() };
    let refused = engine.commit(SET, batch).await;
    assert_eq!(refused.err(), Some(EngineError::WriteQuorum { answered: 2, needed: 3 }));
    assert_eq!(get(&engine, "large").await, Ok(None));
}

/// What lies on a drive that returns and belongs to nothing any more is removed from it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_while_a_drive_was_away_is_removed_from_it_when_it_is_healed() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&drives);
    put_large(&engine, "kept", 1).await.unwrap();
    put_large(&engine, "removed", 2).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    let shards =
        |drive: &FaultyDrive| drive.files().iter().filter(|(name, _)| name.starts_with("shard/")).count();

    let engine = open(&drives, &[0, 1, 2]).unwrap();
    let entry = engine.get(SET, b"removed").await.unwrap().unwrap();
    let gone = Mutation::Delete(Bytes::from_static(b"removed"));
    engine.commit(SET, Batch { mutations: vec![gone], ..Batch::default() }).await.unwrap();
    engine.reclaim(entry.locations[0].clone()).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    assert_eq!((shards(&drives[0]), shards(&drives[3])), (1, 2));

    let engine = open_eagerly(&drives);
    all_healed(&engine).await;
    assert_eq!(shards(&drives[3]), 1);
    assert_eq!(engine.heal_report().orphans_removed, 1);
    assert!(large(&engine, "kept").await == Some(body(LARGE_BYTES, 1)));
}

/// A drive of another set, and one that belongs to another place, are told and left as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_drive_that_appears_in_a_place_is_refused_and_left_as_it_is() {
    let others = FaultyDrive::machine(4, &Power::steady());
    drop(open_all(&others).unwrap());
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&drives);
    put(&engine, "rose", body(100, 1)).await.unwrap();
    drives[1].blank_out();
    let identity = others[0].bytes("format");
    drives[1].damage("format", 0, &identity);
    wait_until(|| engine.report().drives[1].reason.contains("another set")).await;
    assert_eq!(drives[1].bytes("format"), identity);
    assert_eq!(get(&engine, "rose").await, Ok(Some(body(100, 1))));
}

/// A drive whose error was passing is healed by itself, without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_whose_error_was_passing_is_healed_without_a_restart() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&drives);
    fill(&engine, "before").await;
    drives[1].refuse_writes(Some(std::io::ErrorKind::Other));
    fill(&engine, "meanwhile").await;
    assert_eq!(offline(&engine), ["d2"]);
    assert!(engine.heal_report().objects_short > 0);
    drives[1].refuse_writes(None);
    all_healed(&engine).await;
    engine.shutdown().await;
    drop(engine);
    check_without_any_two(&drives, &["before", "meanwhile"]).await;
}

/// After a restart of the machine a drive is not mounted yet, and its path is an empty directory of another file
/// system. That is not filled in its place; when the drive is mounted it is brought up.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_mount_point_is_no_blank_drive() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&drives);
    put(&engine, "rose", body(100, 1)).await.unwrap();
    drives[1].unmount(true);
    drives[1].blank_out();
    wait_until(|| engine.report().drives[1].reason.contains("nothing is mounted")).await;
    assert_eq!(drives[1].files(), []);
    drives[1].unmount(false);
    all_healed(&engine).await;
}

/// A set that was opened with too few drives to write takes writes when the others appear, without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_opened_with_too_few_drives_takes_writes_when_the_others_appear() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&drives);
    fill(&engine, "one").await;
    engine.shutdown().await;
    drop(engine);
    let engine = open(&drives, &[0, 1]).unwrap();
    assert!(!engine.report().writable);
    drives[3].bring_back();
    wait_until(|| engine.report().writable).await;
    assert_eq!(offline(&engine), ["d3"]);
    put(&engine, "rose", body(100, 1)).await.unwrap();
    check(&engine, "one", "with three drives").await;
}

/// A set of two drives takes no decisions with one of them. A blank drive in the place of the other is healed all the
/// same, and the set goes on with both; then the first can be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_two_drives_goes_on_with_a_blank_one_in_the_place_of_either() {
    for replaced in 0..2 {
        let drives = FaultyDrive::machine(2, &Power::steady());
        let engine = open_eagerly(&drives);
        fill(&engine, "one").await;
        engine.shutdown().await;
        drop(engine);
        drives[replaced].blank_out();
        let engine = open_eagerly(&drives);
        wait_until(|| engine.report().writable).await;
        put(&engine, "rose", body(100, 1)).await.unwrap();
        engine.shutdown().await;
        drop(engine);
        let engine = open(&restarted(&drives), &[replaced]).unwrap();
        check(&engine, "one", "from the healed drive alone").await;
        assert_eq!(get(&engine, "rose").await, Ok(Some(body(100, 1))));
    }
}

/// As many drives as there is parity are replaced at once: the set has too few to write until they are healed. What
/// they replaced comes back later, stale, and does not win.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_drives_as_there_is_parity_are_replaced_at_once_and_the_old_ones_never_win() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_eagerly(&drives);
    fill(&engine, "one").await;
    engine.shutdown().await;
    drop(engine);
    let old = restarted(&drives);
    drives[1].blank_out();
    drives[2].blank_out();
    let engine = open_eagerly(&drives);
    wait_until(|| engine.report().writable).await;
    assert_eq!(offline(&engine), Vec::<String>::new());
    put(&engine, "one/100", body(100, 1)).await.unwrap();
    put(&engine, "rose", body(50_000, 7)).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    let engine = open(&restarted(&drives), &[1, 2]).unwrap();
    check(&engine, "one", "from the healed drives alone").await;
    assert_eq!(get(&engine, "rose").await, Ok(Some(body(50_000, 7))));
    drop(engine);

    let mixed = restarted(&[drives[0].clone(), old[1].clone(), old[2].clone(), drives[3].clone()]);
    let engine = open_all(&mixed).unwrap();
    assert_eq!(offline(&engine), ["d2", "d3"]);
    assert_eq!(get(&engine, "rose").await, Ok(Some(body(50_000, 7))));
}

/// Rule 1. The last batch was acknowledged by both drives and nothing behind it proves that; then one is replaced. It
/// may have been acknowledged, so it is kept, and held by both from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_last_batch_that_a_replaced_drive_may_have_acknowledged_is_kept_when_the_set_goes_on() {
    let drives = drives_with(2, &["old", "new"], 60_000).await;
    drives[1].blank_out();
    let engine = open_eagerly(&drives);
    wait_until(|| engine.report().writable).await;
    assert_eq!(get(&engine, "new").await, Ok(Some(body(60_000, 1))));
    assert_eq!(told(&engine).await, ["old", "new"]);
    engine.shutdown().await;
    drop(engine);
    let engine = open(&restarted(&drives), &[1]).unwrap();
    assert_eq!(get(&engine, "new").await, Ok(Some(body(60_000, 1))));
}
