//! Drives without space: wherever it runs out, that is no fault of the drive. Nothing goes out, nothing is lost, and
//! what waited for space is done when there is some.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Batch, Engine, EngineError, Mutation, Put, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine};

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
    let engine = LocalEngine::open_healing(given, None, std::sync::Arc::new(SystemClock), healing).unwrap();
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
    let deadline = Instant::now() + Duration::from_secs(20);
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
