//! A clean stop: who is waited for, who is not, and what is left to do for the next start.

use std::sync::Arc;
use std::time::Duration;

use futures_util::poll;
use store::{Engine, KeyRange};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{LocalEngine, Patience};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{
    Gated, SET, all_written, body, frames, get, offline, open, open_all, put, restarted, wait_until,
};

/// Four drives of which the last lacks the last commit: its frame waits at a gate, which the others outran.
async fn with_one_behind() -> (Arc<LocalEngine>, Gated) {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    engine.set_patience(Patience { frame: Duration::from_secs(60), ..Patience::DEFAULT });
    put(&engine, "first", body(60_000, 0)).await.unwrap();
    all_written(&drives).await;
    drives[3].gate_frames(true);
    put(&engine, "last", body(60_000, 1)).await.unwrap();
    (engine, Gated(drives))
}

fn stopping(engine: &Arc<LocalEngine>) -> JoinHandle<()> {
    let engine = Arc::clone(engine);
    tokio::spawn(async move { engine.shutdown().await })
}

/// Rule 5. A voter that has not written the last commit is waited for, though enough others hold it: after the stop any
/// two drives can be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_waits_for_the_voter_that_is_behind() {
    let (engine, drives) = with_one_behind().await;
    let stop = stopping(&engine);
    // Nothing is left to be written to the others.
    let is_sealed = |drive: &FaultyDrive| frames(drive).pop().is_some_and(|frame| !frame.commits);
    wait_until(|| drives[..3].iter().all(is_sealed)).await;
    drives[3].gate_frames(false);
    stop.await.unwrap();
    assert_eq!(offline(&engine), Vec::<String>::new());
    drop(engine);

    let batches = |drive: &FaultyDrive| frames(drive).iter().map(|frame| frame.batch).collect::<Vec<_>>();
    assert_eq!(batches(&drives[3]), batches(&drives[0]));
    for other in 0..3 {
        let engine = open(&restarted(&drives), &[other, 3]).unwrap();
        for (seed, key) in ["first", "last"].into_iter().enumerate() {
            assert!(get(&engine, key).await == Ok(Some(body(60_000, seed))), "{key} with {other}");
        }
    }
}

/// What waits for the frame before it when the stop begins is written, and answered as such.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_writes_the_commits_that_wait() {
    let (engine, drives) = with_one_behind().await;
    drives[2].gate_frames(true);
    let mut first = Box::pin(put(&engine, "in flight", body(9_000, 2)));
    assert!(poll!(&mut first).is_pending());
    wait_until(|| drives[2].waiting().is_some()).await;
    let mut second = Box::pin(put(&engine, "waits", body(9_000, 3)));
    assert!(poll!(&mut second).is_pending());
    let mut stop = Box::pin(engine.shutdown());
    assert!(poll!(&mut stop).is_pending());
    drives.iter().for_each(|drive| drive.gate_frames(false));
    let (first, second, ()) = tokio::join!(first, second, stop);
    assert!(first.is_ok() && second.is_ok(), "{first:?}, {second:?}");
}

/// Rule 5. A voter that hangs is waited for as long as a frame may take, and left behind then.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_ends_without_a_drive_that_hangs() {
    let (engine, drives) = with_one_behind().await;
    engine.set_patience(Patience { frame: Duration::from_millis(300), ..Patience::DEFAULT });
    timeout(Duration::from_secs(20), stopping(&engine)).await.expect("the stop ends").unwrap();
    let found = restarted(&drives);
    drop(drives);
    drop(engine);

    let engine = open(&found, &[0, 1, 2]).unwrap();
    for (seed, key) in ["first", "last"].into_iter().enumerate() {
        assert!(get(&engine, key).await == Ok(Some(body(60_000, seed))), "{key}");
    }
}

/// Rule 25. A clean stop leaves no tail: the index has everything, and a manifest says where the journal ends. So the
/// next start knows every key though no frame is left that it could read, but the last, by which it knows the index.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_a_clean_stop_reads_none_of_the_commits_before_it() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    drives.iter().for_each(FaultyDrive::keep_indexes);
    let engine = open_all(&drives).unwrap();
    let keys = ["iris", "rose", "tulip"];
    for (seed, key) in keys.into_iter().enumerate() {
        put(&engine, key, body(60_000, seed)).await.unwrap();
    }
    engine.shutdown().await;
    drop(engine);
    let drives = restarted(&drives);
    for drive in &drives {
        let frames = frames(drive);
        for frame in &frames[..frames.len() - 1] {
            drive.damage(&frame.file, frame.offset as u64, &vec![0; frame.written_bytes()]);
        }
    }

    let engine = open_all(&drives).unwrap();
    assert!(engine.report().writable);
    let page = engine.scan(SET, KeyRange::prefix(b""), 10).await.unwrap();
    assert_eq!(page.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), keys);
    put(&engine, "violet", body(60_000, 3)).await.unwrap();
    assert!(get(&engine, "violet").await == Ok(Some(body(60_000, 3))));
}
