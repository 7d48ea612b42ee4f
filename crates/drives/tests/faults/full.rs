//! Drives without space: wherever it runs out, that is no fault of the drive. Nothing goes out, nothing is lost, and
//! what waited for space is done when there is some.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Batch, Engine, EngineError, Mutation, Put, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine, Patience, Tuning};

use crate::space::{numbers, open_sized, put_quietly};
use crate::support::{SET, body, get, offline, put_batch, read, restarted, stage, wait_until};

const SMALL_BYTES: u64 = 1 << 20;

/// Rule 14. A drive that has no space for a manifest goes on with the one it has, or without one, and gets the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_without_space_for_a_manifest_stays_in_and_gets_the_next_one() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_sized(&drives, SMALL_BYTES).unwrap();
    let has_manifest = |drive: &FaultyDrive| drive.files().iter().any(|(name, _)| name == "manifest");
    for full in [&drives[..1], &drives[..]] {
        full.iter().for_each(|drive| drive.refuse_replaced(Some(ErrorKind::StorageFull)));
        for number in 0..40 {
            put_quietly(&engine, &format!("{number}"), body(100_000, number)).await;
        }
        assert_eq!(offline(&engine), Vec::<String>::new());
        // Nothing is used again that a manifest may name.
        assert!(full.len() == 1 || numbers(&drives[0]).contains(&0) || has_manifest(&drives[3]));
        drives.iter().for_each(|drive| drive.refuse_replaced(None));
    }
    wait_until(|| drives.iter().all(has_manifest)).await;
    drop(engine);
    let engine = open_sized(&restarted(&drives), SMALL_BYTES).unwrap();
    for number in 0..40 {
        assert!(get(&engine, &format!("{number}")).await == Ok(Some(body(100_000, number))), "{number}");
    }
}

/// Rule 14. What a scrub finds broken on a drive that is full stays broken, costs the drive nothing, and is repaired
/// when there is space.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_a_full_drive_has_no_space_for_is_repaired_when_it_has_some() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let healing = Healing {
        look_every: Duration::from_millis(5),
        scrub_within: Duration::ZERO,
        scrub_bytes_per_second_min: 1 << 30,
        ..Healing::default()
    };
    let given = drives.iter().map(FaultyDrive::given).collect();
    let engine = LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap();
    let large = body(700_000, 9);
    let location = stage(&engine, &large).await.unwrap();
    let put = Put { key: Bytes::from_static(b"large"), locations: vec![location.clone()], ..Put::default() };
    engine.commit(SET, Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() }).await.unwrap();

    let shard = drives[1].files().into_iter().find(|(name, _)| name.starts_with("shard/")).unwrap();
    drives[1].refuse_new_files(Some(ErrorKind::StorageFull));
    drives[1].remove(&shard.0);
    let scrubs = engine.heal_report().scrubs;
    wait_until(|| engine.heal_report().scrubs >= scrubs + 3).await;
    let report = engine.heal_report();
    assert!(report.damages_found > 0 && report.damages_repaired == 0, "{report:?}");
    assert_eq!((report.lost, offline(&engine)), (0, Vec::new()));
    assert!(read(&engine, &location, 700_000).await.unwrap() == large);

    drives[1].refuse_new_files(None);
    wait_until(|| drives[1].files().contains(&shard)).await;
    wait_until(|| engine.heal_report().damages_repaired > 0).await;
}

/// A set of four drives with room for so many segments, and nothing that looks at it by itself.
fn limited(segments: u64) -> (Vec<FaultyDrive>, Arc<LocalEngine>) {
    let drives = FaultyDrive::machine(4, &Power::steady());
    drives.iter().for_each(|drive| drive.limit(segments * SMALL_BYTES));
    let engine = open_unhealing(&drives);
    (drives, engine)
}

fn open_unhealing(drives: &[FaultyDrive]) -> Arc<LocalEngine> {
    let healing = Healing { look_every: Duration::from_secs(3600), ..Healing::default() };
    let tuning = Tuning { segment_bytes: Some(SMALL_BYTES), healing, ..Tuning::default() };
    let given = drives.iter().map(FaultyDrive::given).collect();
    LocalEngine::open_tuned(given, None, Arc::new(SystemClock), tuning).unwrap()
}

/// Puts that bring no change, each of another key; answers how many were taken before the set was full.
async fn fill(engine: &LocalEngine) -> usize {
    for count in 0..1000 {
        let batch = put_batch(&format!("{count}"), body(100_000, count));
        match engine.commit(SET, Batch { changes: Vec::new(), ..batch }).await {
            Ok(_) => {}
            Err(EngineError::Full) => return count,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the drives never filled");
}

async fn delete(engine: &LocalEngine, key: String) -> Result<(), EngineError> {
    let batch = Batch { mutations: vec![Mutation::Delete(key.into())], ..Batch::default() };
    engine.commit(SET, batch).await.map(|_| ())
}

/// Rule 14. The segments of the reserve are made in order on every drive: one that is made behind another that has no
/// space takes the space that comes back, and the journal waits for the other for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_has_no_space_for_a_segment_gives_none_to_later_ones() {
    let (drives, engine) = limited(24);
    drives[1].refuse_segment(Some(10));
    fill(&engine).await;
    let used: u64 = drives[1].files().iter().map(|(_, size)| size).sum();
    drives[1].limit(used + SMALL_BYTES);
    let mut count = 0;
    while !numbers(&drives[3]).contains(&11) {
        delete(&engine, format!("none/{count}")).await.unwrap();
        count += 1;
    }
    assert!(!numbers(&drives[1]).contains(&11), "{:?}", numbers(&drives[1]));

    drives[1].refuse_segment(None);
    wait_until(|| numbers(&drives[1]).contains(&10)).await;
    drives[1].limit(24 * SMALL_BYTES);
    wait_until(|| numbers(&drives[1]).contains(&11)).await;
    fill(&engine).await;
    assert_eq!(offline(&engine), Vec::<String>::new());
}

/// Rule 14. Deletes that come while compaction is held up leave it the segment that it needs: then they go on, as many
/// as there are, and everything else is as it was.
#[tokio::test(flavor = "multi_thread")]
async fn deletes_on_a_full_set_leave_compaction_a_segment_and_go_on_without_an_end() {
    let (drives, engine) = limited(12);
    engine.set_patience(Patience { write: Duration::from_secs(600), ..Patience::DEFAULT });
    let count = fill(&engine).await;
    drives[0].hold_next_read();
    // While a put that is dead lies there, deletes that come after it are needed, and copied.
    delete(&engine, "0".into()).await.unwrap();
    let gone = |number: usize| format!("none/{number}");
    let mut deletes = 0;
    while let Ok(deleted) =
        tokio::time::timeout(Duration::from_millis(500), delete(&engine, gone(deletes))).await
    {
        deleted.unwrap();
        deletes += 1;
        assert!(deletes < 10_000, "nothing held compaction up");
    }
    assert!(drives[0].holds_read() && deletes > 250, "{deletes}");

    drives[0].let_read_go();
    for number in deletes..deletes + 1000 {
        assert_eq!(delete(&engine, gone(number)).await, Ok(()), "{:?}", numbers(&drives[0]));
    }
    for number in 1..count {
        assert!(get(&engine, &format!("{number}")).await == Ok(Some(body(100_000, number))), "{number}");
    }
    assert_eq!(offline(&engine), Vec::<String>::new());
}

/// Rule 14. Segments that were emptied come back when the index is past them. On a full set puts wait for that, and are
/// not refused.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_set_a_put_waits_for_the_index_to_be_past_what_was_emptied() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    drives.iter().for_each(FaultyDrive::keep_indexes);
    // With what is kept free for the index: 5 MiB, and four memtables of 1 MiB.
    drives.iter().for_each(|drive| drive.limit(21 * SMALL_BYTES));
    let put = async |engine: &LocalEngine, seed: usize| {
        let batch = put_batch("same", body(100_000, seed));
        engine.commit(SET, Batch { changes: Vec::new(), ..batch }).await.map(|_| ())
    };
    let engine = open_unhealing(&drives);
    put(&engine, 0).await.unwrap();
    engine.shutdown().await;
    drop(engine);

    let engine = open_unhealing(&drives);
    put(&engine, 1).await.unwrap();
    let hangs: Vec<_> = drives.iter().filter_map(FaultyDrive::index).map(|index| index.hang()).collect();
    assert_eq!(hangs.len(), 2);
    let mut seed = 2;
    let waits = loop {
        let engine = Arc::clone(&engine);
        let mut sent = tokio::spawn(async move { put(&engine, seed).await });
        // Longer than it waits where there are copies.
        match tokio::time::timeout(Duration::from_secs(2), &mut sent).await {
            Ok(taken) => assert_eq!(taken.unwrap(), Ok(()), "put {seed}"),
            Err(_) => break sent,
        }
        seed += 1;
        assert!(seed < 1000, "the drives never filled");
    };
    drop(hangs);
    assert_eq!(waits.await.unwrap(), Ok(()));
    assert!(get(&engine, "same").await == Ok(Some(body(100_000, seed))));
}

/// Rule 14. A set that is full is started again as full as it was: it is read, takes deletes, and then puts in the
/// space that they gave back.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_set_that_is_started_again_takes_deletes_and_then_puts() {
    let limit = |drives: &[FaultyDrive]| drives.iter().for_each(|drive| drive.limit(20 * SMALL_BYTES));
    let drives = FaultyDrive::machine(4, &Power::steady());
    limit(&drives);
    let engine = open_sized(&drives, SMALL_BYTES).unwrap();
    let put_one = async |engine: &LocalEngine, key: String, seed: usize| {
        let batch = put_batch(&key, body(100_000, seed));
        engine.commit(SET, Batch { changes: Vec::new(), ..batch }).await.map(|_| ())
    };
    let mut count = 0;
    while put_one(&engine, format!("{count}"), count).await.is_ok() {
        count += 1;
    }
    drop(engine);

    let drives = restarted(&drives);
    limit(&drives);
    let engine = open_sized(&drives, SMALL_BYTES).unwrap();
    wait_until(|| engine.report().writable).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while put_one(&engine, "more".into(), 0).await != Err(EngineError::Full) {
        assert!(Instant::now() < deadline, "puts are taken without an end");
    }
    for number in 0..count {
        assert!(get(&engine, &format!("{number}")).await == Ok(Some(body(100_000, number))), "{number}");
    }
    for number in (0..count).step_by(2) {
        let delete = Mutation::Delete(Bytes::from(format!("{number}")));
        engine.commit(SET, Batch { mutations: vec![delete], ..Batch::default() }).await.unwrap();
    }
    for again in 0..count / 4 {
        while let Err(error) = put_one(&engine, format!("again/{again}"), again).await {
            assert_eq!(error, EngineError::Full);
            assert!(Instant::now() < deadline, "no space came back after {again}");
        }
    }
    assert_eq!(offline(&engine), Vec::<String>::new());
}
