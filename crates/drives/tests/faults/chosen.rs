//! Healing of chosen keys: what drives lack of them is told, repaired, and told again as it is then.

use std::sync::Arc;

use bytes::Bytes;
use store::{Batch, CopyState, Engine, HealTask, Healed, KeyRange, Mutation, Put};
use tidings_drives::LocalEngine;
use tidings_drives::testing::{FaultyDrive, Power};

use crate::support::{
    SET, all_written, body, frames, get, open, open_all, put, read, restarted, stage, wait_until,
};
use CopyState::{Damaged, Missing, Offline, Whole};

const LARGE_BYTES: usize = 700_000;

/// What is done beyond a look whether everything is there.
#[derive(Clone, Copy)]
enum Way {
    Presence,
    Deep,
    DeepDryRun,
}

async fn heal(engine: &Arc<LocalEngine>, prefix: &'static str, way: Way) -> Vec<Healed> {
    let task = HealTask {
        partition: SET,
        range: KeyRange::prefix(prefix.as_bytes()),
        is_deep: !matches!(way, Way::Presence),
        is_dry_run: matches!(way, Way::DeepDryRun),
    };
    let engine = Arc::clone(engine);
    let healed = move || {
        let mut healed = Vec::new();
        let done = engine.heal(&task, &mut |key| {
            healed.extend(key);
            true
        });
        done.unwrap();
        healed
    };
    tokio::task::spawn_blocking(healed).await.unwrap()
}

/// The only key of that name: how drives held it before and since.
async fn heal_one(
    engine: &Arc<LocalEngine>,
    key: &'static str,
    way: Way,
) -> (Vec<CopyState>, Vec<CopyState>) {
    let healed = heal(engine, key, way).await;
    assert_eq!(healed.len(), 1, "{healed:?}");
    assert!(!healed[0].is_lost);
    (healed[0].before.clone(), healed[0].after.clone())
}

/// Stopped, and opened with these drives.
async fn started_again(
    engine: Arc<LocalEngine>,
    drives: &[FaultyDrive],
    present: &[usize],
) -> (Vec<FaultyDrive>, Arc<LocalEngine>) {
    engine.shutdown().await;
    drop(engine);
    let drives = restarted(drives);
    let engine = open(&drives, present).unwrap();
    (drives, engine)
}

/// `small` in the journal and `tall` in shards.
async fn filled(drives: &[FaultyDrive]) -> Arc<LocalEngine> {
    let engine = open_all(drives).unwrap();
    put(&engine, "small", body(60_000, 1)).await.unwrap();
    let location = stage(&engine, &body(LARGE_BYTES, 9)).await.unwrap();
    let put = Put {
        key: Bytes::from_static(b"tall"),
        value: Bytes::from_static(b"row"),
        locations: vec![location],
        ..Put::default()
    };
    engine.commit(SET, Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() }).await.unwrap();
    all_written(drives).await;
    // The drives hold it; that the engine heard of it is a moment later.
    wait_until(|| engine.report().drives.iter().all(|drive| drive.reason.is_empty())).await;
    engine
}

fn shard(drive: &FaultyDrive) -> String {
    drive.files().into_iter().find(|(name, _)| name.starts_with("shard/")).unwrap().0
}

/// The column of the frame that holds `small`.
fn flip_column(drive: &FaultyDrive) {
    let frame = frames(drive).into_iter().find(|frame| frame.column_bytes > 20_000).unwrap();
    let at = frame.offset + 256 + frame.meta_bytes + 500;
    drive.damage(&frame.file, at as u64, &[!drive.bytes(&frame.file)[at]]);
}

/// The healer rests for an hour here: it is called.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_is_repaired_while_it_is_waited_for() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = filled(&drives).await;
    let whole = vec![Whole; 4];
    assert_eq!(heal_one(&engine, "small", Way::Deep).await, (whole.clone(), whole.clone()));
    assert_eq!(heal_one(&engine, "tall", Way::Deep).await, (whole.clone(), whole.clone()));

    // Bytes that were flipped are there all the same.
    flip_column(&drives[1]);
    let found = heal_one(&engine, "small", Way::Presence).await;
    assert_eq!(found, (whole.clone(), whole.clone()));
    let found = heal_one(&engine, "small", Way::Deep).await;
    assert_eq!(found, (vec![Whole, Damaged, Whole, Whole], whole.clone()));

    // The scrub that followed is ahead of its time by now: it comes to keys much later.
    drives[2].remove(&shard(&drives[2]));
    drives[0].damage(&shard(&drives[0]), 70_000, b"flipped");
    let short = vec![Damaged, Whole, Missing, Whole];
    assert_eq!(heal_one(&engine, "tall", Way::DeepDryRun).await, (short.clone(), short.clone()));

    let found = heal_one(&engine, "tall", Way::Presence).await;
    assert_eq!(found, (vec![Whole, Whole, Missing, Whole], whole.clone()));
    let found = heal_one(&engine, "tall", Way::Deep).await;
    assert_eq!(found, (vec![Damaged, Whole, Whole, Whole], whole.clone()));

    let healed = heal(&engine, "", Way::DeepDryRun).await;
    let told: Vec<_> = healed.iter().map(|healed| (&healed.key[..], &healed.value[..])).collect();
    assert_eq!(told, [(&b"small"[..], &b""[..]), (b"tall", b"row")]);
    assert!(healed.iter().all(|healed| healed.before == whole), "{healed:?}");

    // What was damaged is all there is.
    engine.shutdown().await;
    drop(engine);
    let engine = open(&restarted(&drives), &[0, 2]).unwrap();
    let entry = engine.get(SET, b"tall").await.unwrap().unwrap();
    assert!(read(&engine, &entry.locations[0], LARGE_BYTES as u64).await.unwrap() == body(LARGE_BYTES, 9));
    assert_eq!(get(&engine, "small").await, Ok(Some(body(60_000, 1))));
}

/// A drive that is away is no damage. What parity does not make up for is told and left as it is, beside what it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_is_away_is_told_and_what_is_lost_is_left() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = filled(&drives).await;
    let (drives, engine) = started_again(engine, &drives, &[0, 1, 2]).await;
    assert_eq!(heal_one(&engine, "small", Way::Deep).await.1, [Whole, Whole, Whole, Offline]);
    flip_column(&drives[1]);
    let found = heal_one(&engine, "small", Way::Deep).await;
    assert_eq!(found, (vec![Whole, Damaged, Whole, Offline], vec![Whole, Whole, Whole, Offline]));

    drives[0].remove(&shard(&drives[0]));
    drives[2].damage(&shard(&drives[2]), 70_000, b"flipped");
    let before = drives[2].bytes(&shard(&drives[2]));
    let healed = heal(&engine, "", Way::Deep).await;
    let told: Vec<_> = healed.iter().map(|healed| (healed.is_lost, healed.after.clone())).collect();
    let lost = vec![Missing, Whole, Damaged, Offline];
    assert_eq!(told, [(false, vec![Whole, Whole, Whole, Offline]), (true, lost)]);
    assert!(drives[2].bytes(&shard(&drives[2])) == before, "it was written");
    assert_eq!(engine.damages().counts().unsettled, 0);
}

/// Nobody writes to a set that has too few drives: its damages are told and not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_takes_no_writes_is_looked_at_and_nothing_is_waited_for() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = filled(&drives).await;
    let (drives, engine) = started_again(engine, &drives, &[0, 1, 2]).await;
    let (drives, engine) = started_again(engine, &drives, &[0, 1]).await;
    flip_column(&drives[1]);
    let healed = heal(&engine, "small", Way::Deep).await;
    assert_eq!(healed[0].after, healed[0].before);
    assert_eq!(healed[0].after, [Whole, Damaged, Offline, Offline]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_ends_it() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = filled(&drives).await;
    let task = HealTask { partition: SET, range: KeyRange::prefix(b""), is_deep: true, is_dry_run: false };
    let mut told = 0;
    let ended = tokio::task::block_in_place(|| {
        engine.heal(&task, &mut |key| {
            told += usize::from(key.is_some());
            key.is_none()
        })
    });
    assert!(ended.unwrap_err().contains("ended"));
    assert_eq!(told, 1);
}
