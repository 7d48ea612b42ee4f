//! Drives that err, fill up or hang while the set is in use.

use std::io::ErrorKind;

use bytes::Bytes;
use store::{Batch, Engine, EngineError, Mutation};
use tidings_drives::testing::{FaultyDrive, Power};

use crate::support::{SET, body, frames, get, offline, open_all, put, read, restarted, stage, told};

/// Rule 15. A drive whose write fails is out at once by a decision of the others, which outlives a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_fails_a_write_is_out_at_once_and_still_out_after_a_restart() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put(&engine, "one", body(60_000, 1)).await.unwrap();
    drives[1].refuse_writes(Some(ErrorKind::Other));
    for seed in 0..20 {
        put(&engine, "two", body(60_000, seed)).await.unwrap();
    }
    assert_eq!(offline(&engine), ["d2"]);
    drives[1].refuse_writes(None);
    drop(engine);

    let engine = open_all(&restarted(&drives)).unwrap();
    assert_eq!(offline(&engine), ["d2"]);
    assert_eq!(get(&engine, "one").await, Ok(Some(body(60_000, 1))));
    assert_eq!(get(&engine, "two").await, Ok(Some(body(60_000, 19))));
    assert_eq!(told(&engine).await.len(), 21);
}

/// Rule 15. A drive that hangs holds nothing up, and is out when it lagged for five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_hangs_holds_nothing_up_and_is_out_in_the_end() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put(&engine, "one", body(60_000, 1)).await.unwrap();
    drives[2].hang(true);
    for seed in 0..10 {
        put(&engine, "two", body(60_000, seed)).await.unwrap();
        assert_eq!(get(&engine, "two").await, Ok(Some(body(60_000, seed))));
    }
    crate::support::wait_until(|| offline(&engine) == ["d3"]).await;
    assert_eq!(get(&engine, "one").await, Ok(Some(body(60_000, 1))));
    drives[2].hang(false);
}

/// Rules 1 and 15. A batch was acknowledged on three drives while the fourth hung, then one of the three fails. With
/// that one out, two voters would hold the batch and one lack it, which reads like a batch that never was
/// acknowledged: so it goes out only when the fourth has the batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_an_acknowledged_batch_rests_on_goes_out_only_when_enough_others_hold_it() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put(&engine, "old", body(60_000, 1)).await.unwrap();
    crate::support::all_written(&drives).await;
    drives[3].hang_frames(true);
    put(&engine, "new", body(60_000, 2)).await.unwrap();
    drives[2].refuse_writes(Some(ErrorKind::Other));
    let staged = stage(&engine, &body(300_000, 1)).await;
    assert!(matches!(staged, Err(EngineError::WriteQuorum { .. }) | Ok(_)), "{staged:?}");
    // The seal proves the batch durable to whoever has it: the history that loses it ends before.
    let sealed = || frames(&drives[0]).last().is_some_and(|frame| !frame.commits);
    crate::support::wait_until(|| offline(&engine) == ["d3"] || sealed()).await;

    let found = restarted(&drives);
    let again = open_all(&found).unwrap();
    assert_eq!(told(&again).await, ["old", "new"]);
    assert_eq!(get(&again, "new").await, Ok(Some(body(60_000, 2))));
    drives[3].hang_frames(false);
}

/// Rule 14. No space is no fault of a drive: puts are refused as full, deletes are still taken, all drives stay
/// in, and puts are taken again when there is space.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_drive_refuses_puts_takes_deletes_and_is_no_faulty_drive() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    drives[3].refuse_new_files(Some(ErrorKind::StorageFull));
    let mut taken = 0;
    let refused = loop {
        match put(&engine, &format!("{taken}"), body(100_000, taken)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10_000, "the drives never filled");
    };
    assert_eq!(refused, EngineError::Full);
    assert_eq!(stage(&engine, &body(300_000, 1)).await, Err(EngineError::Full));
    let delete = Batch { mutations: vec![Mutation::Delete(Bytes::from_static(b"0"))], ..Batch::default() };
    engine.commit(SET, delete).await.unwrap();
    assert_eq!(get(&engine, "0").await, Ok(None));
    assert_eq!(get(&engine, "1").await, Ok(Some(body(100_000, 1))));
    assert_eq!(offline(&engine), Vec::<String>::new());

    drives[3].refuse_new_files(None);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while put(&engine, "again", body(100_000, 0)).await.is_err() {
        assert!(std::time::Instant::now() < deadline, "space was not found again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Rule 14. Where a file system promises no space ahead, it can run out under the journal and the identities. What is
/// there is read all the while, and writes go on when there is space.
#[tokio::test(flavor = "multi_thread")]
async fn space_that_runs_out_under_the_journal_itself_stops_writes_and_no_read() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put(&engine, "rose", body(60_000, 1)).await.unwrap();
    for drive in &drives {
        drive.refuse_writes(Some(ErrorKind::StorageFull));
    }
    assert!(put(&engine, "tulip", body(60_000, 2)).await.is_err());
    // Long enough for recovery to be tried again.
    let until = std::time::Instant::now() + std::time::Duration::from_millis(1500);
    while std::time::Instant::now() < until {
        assert!(get(&engine, "rose").await == Ok(Some(body(60_000, 1))));
        assert_eq!(put(&engine, "iris", body(60_000, 3)).await, Err(EngineError::Full));
        assert_eq!(stage(&engine, &body(300_000, 1)).await, Err(EngineError::Full));
    }
    for drive in &drives {
        drive.refuse_writes(None);
    }
    crate::support::wait_until(|| engine.report().writable).await;
    put(&engine, "iris", body(60_000, 3)).await.unwrap();
    assert_eq!(offline(&engine), Vec::<String>::new());
}

/// Rule 14. A drive whose file system runs out of space in the midst of a segment is behind and not out: the others
/// take deletes, puts are refused, and when there is space it is brought up and holds everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_without_space_for_a_frame_is_behind_until_it_has_some_and_never_out() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put(&engine, "rose", body(60_000, 1)).await.unwrap();
    drives[2].refuse_writes(Some(ErrorKind::StorageFull));
    // On a busy machine a seal comes first, which the drive has no space for either.
    let tulip = put(&engine, "tulip", body(60_000, 2)).await;
    assert!(matches!(tulip, Ok(_) | Err(EngineError::Full)), "{tulip:?}");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while put(&engine, "more", body(60_000, 3)).await != Err(EngineError::Full) {
        assert!(std::time::Instant::now() < deadline, "puts are still taken");
    }
    let delete = Batch { mutations: vec![Mutation::Delete(Bytes::from_static(b"rose"))], ..Batch::default() };
    engine.commit(SET, delete).await.unwrap();
    assert_eq!(offline(&engine), Vec::<String>::new());

    drives[2].refuse_writes(None);
    while put(&engine, "iris", body(60_000, 4)).await.is_err() {
        assert!(std::time::Instant::now() < deadline, "space was not found again");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    crate::support::all_written(&drives).await;
    assert_eq!(offline(&engine), Vec::<String>::new());
    assert_eq!(get(&engine, "rose").await, Ok(None));
    assert!(get(&engine, "tulip").await == Ok(tulip.ok().map(|_| body(60_000, 2))));
}

/// Rule 14. A process short of descriptors or memory is no fault of its drives: an upload is put off, and no drive goes
/// out, which only healing would bring back.
#[tokio::test(flavor = "multi_thread")]
async fn a_shortage_of_the_process_puts_an_upload_off_and_costs_no_drive() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    drives[1].refuse_new_files(Some(ErrorKind::OutOfMemory));
    let large = body(300_000, 1);
    for _ in 0..3 {
        assert!(matches!(stage(&engine, &large).await, Err(EngineError::WriteQuorum { needed: 3, .. })));
        put(&engine, "small", body(100, 1)).await.unwrap();
    }
    assert_eq!(offline(&engine), Vec::<String>::new());
    drives[1].refuse_new_files(None);
    stage(&engine, &large).await.unwrap();
}

/// A stage goes on while q drives take its shards, and says how many are left when they do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_staged_while_a_quorum_of_drives_takes_it() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    let large = body(2_000_000, 3);
    drives[0].refuse_writes(Some(ErrorKind::Other));
    let location = stage(&engine, &large).await.unwrap();
    assert_eq!(read(&engine, &location, 2_000_000).await, Ok(large.clone()));
    drives[1].refuse_writes(Some(ErrorKind::Other));
    let refused = stage(&engine, &large).await;
    assert!(matches!(refused, Err(EngineError::WriteQuorum { needed: 3, .. })), "{refused:?}");
}
