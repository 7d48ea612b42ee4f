//! Drives that hang on reads and on shards: nobody waits for them for ever, and they go out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use store::{EngineError, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine, Patience, Tuning};

use crate::support::{
    all_written, body, drives_with, frames, get, offline, open, open_all, put, read, restarted, stage, told,
    wait_until,
};

/// Deadlines of a test: short ones, but long beside what a read in memory takes.
const SHORT: Patience = Patience {
    read: Duration::from_millis(400),
    hedge: Duration::from_millis(10),
    frame: Duration::from_secs(5),
    write: Duration::from_millis(400),
};

/// Objects of every form: replicated, whole in a column, split.
const SIZES: [usize; 3] = [100, 10_000, 60_000];

async fn put_all(engine: &LocalEngine, drives: &[FaultyDrive]) {
    for number in 0..10 {
        for size in SIZES {
            put(engine, &format!("{number}/{size}"), body(size, number)).await.unwrap();
        }
    }
    all_written(drives).await;
}

/// A hundred gets at once, each right; the time the slowest took.
async fn get_a_hundred(engine: &LocalEngine) -> Duration {
    let start = Instant::now();
    let gets = (0..100).map(|turn| async move {
        let (number, size) = (turn % 10, SIZES[turn % 3]);
        assert_eq!(get(engine, &format!("{number}/{size}")).await, Ok(Some(body(size, number))));
        start.elapsed()
    });
    join_all(gets).await.into_iter().max().unwrap()
}

/// A drive that says nothing when the set is opened, or takes no writes then, keeps it from nothing: the set is opened
/// without it, as without one that is missing, and heals it when it answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_hangs_while_the_set_is_opened_is_done_without_until_it_answers() {
    let found = drives_with(4, &["rose", "tulip"], 60_000).await;
    for hang in [FaultyDrive::hang_whole, FaultyDrive::hang] {
        let drives = restarted(&found);
        hang(&drives[1], true);
        let healing = Healing { look_every: Duration::from_millis(5), ..Healing::default() };
        let open_within = Some(Duration::from_millis(200));
        let tuning = Tuning { healing, open_within, ..Tuning::default() };
        let given = drives.iter().map(FaultyDrive::given).collect();
        let began = Instant::now();
        let engine = LocalEngine::open_tuned(given, None, Arc::new(SystemClock), tuning).unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(offline(&engine), ["d2"]);
        put(&engine, "iris", body(60_000, 2)).await.unwrap();

        hang(&drives[1], false);
        wait_until(|| offline(&engine).is_empty()).await;
        engine.shutdown().await;
        drop(engine);
        let engine = open(&restarted(&drives), &[0, 1]).unwrap();
        for (seed, key) in ["rose", "tulip", "iris"].into_iter().enumerate() {
            assert!(get(&engine, key).await == Ok(Some(body(60_000, seed))), "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_hangs_on_reads_is_out_and_the_others_serve() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put_all(&engine, &drives).await;
    let large = body(2_500_000, 1);
    let location = stage(&engine, &large).await.unwrap();
    engine.set_patience(SHORT);

    drives[1].hang_reads(true);
    let (slowest, streamed) = tokio::join!(get_a_hundred(&engine), read(&engine, &location, 2_500_000));
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(streamed == Ok(large.clone()));
    // Those who asked it went away with an answer from the others: its deadline holds all the same.
    wait_until(|| offline(&engine) == ["d2"]).await;

    // The places it took are its own: the others have theirs.
    get_a_hundred(&engine).await;
    assert!(read(&engine, &location, 2_500_000).await == Ok(large));
    assert_eq!(told(&engine).await.len(), 30);
    assert_eq!(engine.damages().counts().told, 0, "to be late is no damage");
    drives[1].hang_reads(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_hangs_in_everything_holds_up_neither_commits_nor_reports_nor_recovery() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let healing = Healing { look_every: Duration::from_millis(5), ..Healing::default() };
    let given = drives.iter().map(FaultyDrive::given).collect();
    let engine = LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap();
    put_all(&engine, &drives).await;
    engine.set_patience(SHORT);

    drives[1].hang_whole(true);
    put(&engine, "while it hangs", body(100, 1)).await.unwrap();
    // Nothing is committed meanwhile: it is missed by those who look after it.
    wait_until(|| offline(&engine) == ["d2"]).await;
    // A second one fails in the midst of a batch: what is left recovers while the first still hangs.
    drives[2].refuse_writes(Some(std::io::ErrorKind::Other));
    assert!(put(&engine, "short of a quorum", body(100, 2)).await.is_err());
    drives[2].refuse_writes(None);
    let deadline = Instant::now() + Duration::from_secs(60);
    while put(&engine, "afterwards", body(100, 3)).await.is_err() {
        assert!(Instant::now() < deadline, "it does not take writes again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(offline(&engine), ["d2"]);

    drives[1].hang_whole(false);
    wait_until(|| offline(&engine).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_a_drive_does_not_answer_is_hedged_long_before_its_deadline() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put_all(&engine, &drives).await;
    let large = body(2_500_000, 1);
    let location = stage(&engine, &large).await.unwrap();
    engine.set_patience(Patience { read: Duration::from_secs(600), ..SHORT });

    drives[2].hang_reads(true);
    get_a_hundred(&engine).await;
    assert!(read(&engine, &location, 2_500_000).await == Ok(large));
    assert_eq!(offline(&engine), Vec::<String>::new());
    drives[2].hang_reads(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_more_drives_hanging_than_parity_reads_are_refused_at_their_deadline_and_served_when_they_are_back()
 {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put(&engine, "rose", body(60_000, 1)).await.unwrap();
    all_written(&drives).await;
    let location = stage(&engine, &body(300_000, 1)).await.unwrap();
    engine.set_patience(SHORT);

    drives[..3].iter().for_each(|drive| drive.hang_reads(true));
    let refused = get(&engine, "rose").await;
    assert!(matches!(refused, Err(EngineError::ReadQuorum { answered: 0..=1, needed: 2 })), "{refused:?}");
    let refused = read(&engine, &location, 300_000).await;
    assert!(matches!(refused, Err(EngineError::ReadQuorum { answered: 0..=1, needed: 2 })), "{refused:?}");

    drives[..3].iter().for_each(|drive| drive.hang_reads(false));
    let deadline = Instant::now() + Duration::from_secs(60);
    while get(&engine, "rose").await != Ok(Some(body(60_000, 1))) {
        assert!(Instant::now() < deadline, "it is not served again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(read(&engine, &location, 300_000).await == Ok(body(300_000, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_hangs_while_a_body_is_staged_is_out_and_the_body_goes_on_without_it() {
    let large = body(5_000_000, 1);
    for hang in [FaultyDrive::hang_shards, FaultyDrive::hang_syncs] {
        let drives = FaultyDrive::machine(4, &Power::steady());
        let engine = open_all(&drives).unwrap();
        engine.set_patience(SHORT);
        hang(&drives[3], true);
        let locations = join_all((0..20).map(|_| stage(&engine, &large)))
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>();
        wait_until(|| offline(&engine) == ["d4"]).await;
        for location in locations.unwrap() {
            assert!(read(&engine, &location, 5_000_000).await == Ok(large.clone()));
        }
        // Whether it is being healed meanwhile or not: it is not waited for.
        stage(&engine, &large).await.unwrap();
        hang(&drives[3], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fewer_drives_than_the_quorum_left_a_body_is_refused_at_the_deadline() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    engine.set_patience(SHORT);
    drives[..2].iter().for_each(|drive| drive.hang_shards(true));
    let refused = stage(&engine, &body(5_000_000, 1)).await;
    assert!(matches!(refused, Err(EngineError::WriteQuorum { answered: 2, needed: 3 })), "{refused:?}");
    drives[..2].iter().for_each(|drive| drive.hang_shards(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_read_finds_damaged_is_told_once_and_what_is_sound_never() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put_all(&engine, &drives).await;
    let location = stage(&engine, &body(1_500_000, 4)).await.unwrap();
    get_a_hundred(&engine).await;
    read(&engine, &location, 1_500_000).await.unwrap();
    assert_eq!(engine.damages().counts().told, 0);

    let split = frames(&drives[0]).into_iter().rfind(|frame| frame.column_bytes >= 30_000).unwrap();
    for drive in &drives[..2] {
        let at = split.offset + 256 + split.meta_bytes + 5;
        drive.damage(&split.file, at as u64, &[!drive.bytes(&split.file)[at]]);
    }
    let shard = drives[3].files().into_iter().find(|(name, _)| name.starts_with("shard/")).unwrap().0;
    drives[3].damage(&shard, 128 + 8 + 7, &[!drives[3].bytes(&shard)[128 + 8 + 7]]);
    for _ in 0..3 {
        get_a_hundred(&engine).await;
        read(&engine, &location, 1_500_000).await.unwrap();
    }
    let told = engine.damages().counts().told;
    assert!((2..=3).contains(&told), "two frames, and the shard if its column holds data: {told}");
}

/// Healing may have put a shard where the location does not name one.
#[tokio::test]
async fn a_shard_is_found_on_a_drive_that_its_location_does_not_name() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    let mut location = stage(&engine, &body(300_000, 4)).await.unwrap();
    location.0[27] = 0b0001;
    assert!(read(&engine, &location, 300_000).await == Ok(body(300_000, 4)));
}
