//! Copies of the index that say different things, as a crash leaves them, or that are lost: what was removed stays
//! removed and what was acknowledged is there, whichever copy is asked.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Batch, Engine, EngineError, KeyRange, Mutation, Put, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine, Tuning};

use crate::support::{SET, body, get, given, lose, offline, put, restarted, wait_until};

/// A memtable of some forty keys.
const MEMTABLE_BYTES: usize = 10_000;

/// More keys than it holds.
const FILLING: usize = 80;

const REMOVED: usize = 10;

fn open(drives: &[FaultyDrive], present: &[usize]) -> Arc<LocalEngine> {
    let healing = Healing { look_every: Duration::from_millis(5), ..Healing::default() };
    let tuning = Tuning { memtable_bytes: Some(MEMTABLE_BYTES), healing, ..Tuning::default() };
    LocalEngine::open_tuned(given(drives, present), None, Arc::new(SystemClock), tuning).unwrap()
}

fn machine() -> Vec<FaultyDrive> {
    let drives = FaultyDrive::machine(4, &Power::steady());
    drives.iter().for_each(FaultyDrive::keep_indexes);
    drives
}

/// Positions of the drives that have a copy with anything in it.
fn keepers(drives: &[FaultyDrive]) -> Vec<usize> {
    let keeps = |position: &usize| drives[*position].index().is_some_and(|index| !index.is_empty());
    (0..drives.len()).filter(keeps).collect()
}

fn rows(drives: &[FaultyDrive], position: usize) -> usize {
    drives[position].index().map_or(0, |index| index.len())
}

/// Enough keys for a flush, in one batch.
async fn fill_memtable(engine: &LocalEngine, name: &str) {
    let key = |number| Bytes::from(format!("{name}/{number:02}"));
    let mutations = (0..FILLING).map(|number| Mutation::Put(Put { key: key(number), ..Put::default() }));
    engine.commit(SET, Batch { mutations: mutations.collect(), ..Batch::default() }).await.unwrap();
}

/// A set with "rose", and more besides than its two copies of the index leave in memory.
async fn with_two_copies() -> (Vec<FaultyDrive>, Arc<LocalEngine>) {
    let drives = machine();
    let engine = open(&drives, &[0, 1, 2, 3]);
    put(&engine, "rose", body(10, 1)).await.unwrap();
    for name in ["one", "two", "three"] {
        fill_memtable(&engine, name).await;
    }
    wait_until(|| keepers(&drives).len() == 2).await;
    (drives, engine)
}

async fn remove_all(engine: &LocalEngine) {
    let removed = (0..REMOVED).map(|number| Mutation::Delete(Bytes::from(format!("removed/{number}"))));
    engine.commit(SET, Batch { mutations: removed.collect(), ..Batch::default() }).await.unwrap();
}

async fn listed(engine: &LocalEngine, prefix: &'static str) -> usize {
    engine.scan(SET, KeyRange::prefix(prefix.as_bytes()), 1000).await.unwrap().len()
}

/// Reads until an index of which all copies are lost is made anew, at most so long; whether it was. What was put last
/// as "rose" is never missing.
async fn is_made_anew(engine: &LocalEngine, within: Duration) -> bool {
    let (deadline, mut is_lost) = (Instant::now() + within, false);
    while Instant::now() < deadline {
        // It lies below memory: who looks finds out that the copies are lost.
        let below = get(engine, "one/00").await;
        match get(engine, "rose").await {
            Ok(found) => assert!(found == Some(body(10, 2)), "what was there before is answered"),
            Err(EngineError::ReadQuorum { .. } | EngineError::Undecided | EngineError::Damaged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        if is_lost && below.is_ok() {
            return true;
        }
        is_lost |= below.is_err();
    }
    assert!(is_lost, "the index was not lost");
    false
}

/// A crash comes when one copy has what was flushed and the other has not.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_between_the_flushes_of_two_copies_is_in_neither() {
    let drives = machine();
    let engine = open(&drives, &[0, 1, 2, 3]);
    for number in 0..REMOVED {
        put(&engine, &format!("removed/{number}"), body(10, number)).await.unwrap();
    }
    fill_memtable(&engine, "before").await;
    wait_until(|| keepers(&drives).len() == 2).await;
    engine.shutdown().await;
    drop(engine);

    let engine = open(&drives, &[0, 1, 2, 3]);
    let [ahead, behind] = keepers(&drives)[..] else { panic!("two drives keep a copy") };
    let hang = drives[behind].index().unwrap().hang_writes();
    let before = rows(&drives, ahead);
    remove_all(&engine).await;
    fill_memtable(&engine, "after").await;
    wait_until(|| rows(&drives, ahead) > before).await;
    let crashed = restarted(&drives);
    drop(hang);
    drop(engine);
    assert!(rows(&crashed, ahead) > rows(&crashed, behind));

    let engine = open(&crashed, &[0, 1, 2, 3]);
    assert_eq!((listed(&engine, "removed").await, listed(&engine, "after").await), (0, FILLING));
    fill_memtable(&engine, "later").await;
    engine.shutdown().await;
    drop(engine);
    for absent in [ahead, behind] {
        let present: Vec<usize> = (0..4).filter(|position| *position != absent).collect();
        let engine = open(&restarted(&crashed), &present);
        let counts = (listed(&engine, "removed").await, listed(&engine, "later").await);
        assert_eq!(counts, (0, FILLING), "without drive {absent}");
    }
}

/// The journal proves every batch but the last one, of which nothing later says that it is durable: an index that is
/// made anew of it is not asked before that one is decided.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_last_is_never_missing_while_the_index_is_made_anew() {
    let (drives, engine) = with_two_copies().await;
    put(&engine, "rose", body(10, 2)).await.unwrap();
    drives.iter().for_each(|drive| drive.refuse_writes(Some(ErrorKind::Other)));
    drives[2..].iter().for_each(FaultyDrive::take_away);
    drives.iter().filter_map(FaultyDrive::index).for_each(|index| index.fail());

    assert!(is_made_anew(&engine, Duration::from_secs(60)).await, "the index was not made anew");
    drives.iter().for_each(|drive| drive.refuse_writes(None));
    drives.iter().for_each(FaultyDrive::bring_back);
    wait_until(|| engine.report().writable).await;
    assert_eq!(get(&engine, "rose").await, Ok(Some(body(10, 2))));
}

/// It was acknowledged, and no crash came between: that too few drives show it by now is no reason to cut it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_last_is_not_cut_when_the_index_is_made_anew_of_damaged_drives() {
    let (drives, engine) = with_two_copies().await;
    drives[3].take_away();
    drives[3].refuse_writes(Some(ErrorKind::NotFound));
    put(&engine, "without", body(10, 0)).await.unwrap();
    wait_until(|| offline(&engine) == ["d4"]).await;
    put(&engine, "rose", body(10, 2)).await.unwrap();
    drives.iter().for_each(|drive| drive.refuse_writes(Some(ErrorKind::Other)));
    lose(&drives[0], 1);
    drives[1].refuse_reads(Some(ErrorKind::Other));
    drives.iter().filter_map(FaultyDrive::index).for_each(|index| index.fail());

    // Drives that can hardly be used come and go: it may be made anew, and be out of reach again.
    is_made_anew(&engine, Duration::from_secs(5)).await;
    drives[..3].iter().for_each(|drive| drive.refuse_writes(None));
    drives[1].refuse_reads(None);
    wait_until(|| engine.report().writable).await;
    assert_eq!(get(&engine, "rose").await, Ok(Some(body(10, 2))));
}
