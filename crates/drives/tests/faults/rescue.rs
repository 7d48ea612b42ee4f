//! A set with too few voters to write goes on with drives that are healed meanwhile, also when a voter is there and of
//! no use: recovery tries it again and again, and must not undo what healing did.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use store::{EngineError, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine};

use crate::support::{
    FrameSeen, all_written, body, frames, get, offline, open, put, restarted, told, wait_until,
};

/// Bytes of an object that is damaged.
const DAMAGED_BYTES: usize = 60_000;

/// Objects that take a drive some seconds to heal: longer than recovery waits until it tries again.
const OBJECTS: usize = 60;

const OBJECT_BYTES: usize = 100_000;

const HEALED_BYTES_PER_SECOND: u64 = 1 << 20;

/// Drives with objects on them, which are healed slowly.
async fn filled(count: usize, pause_max: Duration) -> (Vec<FaultyDrive>, Arc<LocalEngine>) {
    let drives = FaultyDrive::machine(count, &Power::steady());
    let healing = Healing {
        look_every: Duration::from_millis(5),
        pause_max,
        bytes_per_second: HEALED_BYTES_PER_SECOND,
        ..Healing::default()
    };
    let given = drives.iter().map(FaultyDrive::given).collect();
    let engine = LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap();
    for number in 0..OBJECTS {
        put(&engine, &number.to_string(), body(OBJECT_BYTES, number)).await.unwrap();
    }
    (drives, engine)
}

/// Four drives of which the first went out, so that none of the others may fail any more.
async fn without_the_first() -> (Vec<FaultyDrive>, Arc<LocalEngine>) {
    let (drives, engine) = filled(4, Healing::default().pause_max).await;
    drives[0].take_away();
    drives[0].refuse_writes(Some(ErrorKind::NotFound));
    put(&engine, "without", body(100, 0)).await.unwrap();
    wait_until(|| offline(&engine) == ["d1"]).await;
    (drives, engine)
}

/// A blank drive in the place of the first.
fn replace_the_first(drives: &[FaultyDrive]) {
    drives[0].blank_out();
    drives[0].refuse_writes(None);
    drives[0].bring_back();
}

async fn check(engine: &LocalEngine) {
    for number in 0..OBJECTS {
        assert!(get(engine, &number.to_string()).await == Ok(Some(body(OBJECT_BYTES, number))), "{number}");
    }
    let told = told(engine).await;
    assert!((0..OBJECTS).all(|number| told.contains(&number.to_string())), "{told:?}");
    put(engine, "after", body(100, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_with_a_voter_that_takes_no_writes_goes_on_with_a_drive_that_is_healed() {
    let (drives, engine) = without_the_first().await;
    drives[3].refuse_writes(Some(ErrorKind::ReadOnlyFilesystem));
    put(&engine, "refused", body(100, 0)).await.unwrap_err();
    wait_until(|| !engine.report().writable).await;
    // What three drives hold is read from any two.
    drives[1].refuse_reads(Some(ErrorKind::Other));
    assert_eq!(get(&engine, "7").await, Ok(Some(body(OBJECT_BYTES, 7))));
    drives[1].refuse_reads(None);

    replace_the_first(&drives);
    wait_until(|| engine.report().writable).await;
    assert_eq!(offline(&engine), ["d4"]);
    check(&engine).await;
    drives[3].refuse_writes(None);
    wait_until(|| offline(&engine).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_with_a_voter_that_cannot_be_read_goes_on_with_a_drive_that_is_healed() {
    let (drives, engine) = without_the_first().await;
    drives[3].refuse_reads(Some(ErrorKind::Other));
    drives[2].refuse_writes(Some(ErrorKind::Other));
    put(&engine, "refused", body(100, 0)).await.unwrap_err();
    wait_until(|| !engine.report().writable).await;
    drives[2].refuse_writes(None);

    replace_the_first(&drives);
    wait_until(|| engine.report().writable).await;
    check(&engine).await;
    drives[3].refuse_reads(None);
    wait_until(|| offline(&engine).is_empty()).await;
}

/// What lies whole on a drive that is out counts as lost while it is, where the others hold too little of it. When the
/// drive is back it is rebuilt on them from it.
#[tokio::test(flavor = "multi_thread")]
async fn what_counted_as_lost_while_a_drive_was_out_is_whole_when_it_is_back() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let healing =
        Healing { look_every: Duration::from_millis(5), scrub_bytes_per_second_min: 1, ..Healing::default() };
    let given = drives.iter().map(FaultyDrive::given).collect();
    let engine = LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap();
    drives[3].take_away();
    drives[3].refuse_writes(Some(ErrorKind::NotFound));
    put(&engine, "rose", body(DAMAGED_BYTES, 1)).await.unwrap();
    wait_until(|| offline(&engine) == ["d4"]).await;
    put(&engine, "rose", body(DAMAGED_BYTES, 2)).await.unwrap();
    // It is not the last batch, which would be undecided without the drive that goes out.
    put(&engine, "later", body(100, 3)).await.unwrap();
    all_written(&drives[..3]).await;

    // One of the three that have it has damaged it, and another goes out.
    let is_rose = |frame: &FrameSeen| frame.column_bytes >= DAMAGED_BYTES / 2;
    let frame = frames(&drives[0]).into_iter().rev().find(is_rose).unwrap();
    let within = frame.offset + frame.bytes() - 100;
    drives[0].damage(&frame.file, within as u64, &[0xaa; 50]);
    drives[1].take_away();
    drives[1].refuse_writes(Some(ErrorKind::NotFound));
    put(&engine, "refused", body(100, 0)).await.unwrap_err();
    drives[3].refuse_writes(None);
    drives[3].blank_out();
    drives[3].bring_back();
    wait_until(|| engine.report().writable).await;
    assert_eq!(engine.heal_report().lost_names.len(), 1, "{:?}", engine.heal_report());
    assert!(matches!(
        get(&engine, "rose").await,
        Err(EngineError::Damaged { .. } | EngineError::ReadQuorum { .. })
    ));

    drives[1].refuse_writes(None);
    drives[1].bring_back();
    wait_until(|| offline(&engine).is_empty() && engine.heal_report().objects_short == 0).await;
    assert_eq!(engine.heal_report().lost_names, Vec::<String>::new());
    engine.shutdown().await;
    drop(engine);
    for present in [[0, 3], [0, 2], [2, 3]] {
        let engine = open(&restarted(&drives), &present).unwrap();
        assert_eq!(get(&engine, "rose").await, Ok(Some(body(DAMAGED_BYTES, 2))), "{present:?}");
    }
}

/// A heal begins anew when a drive joins: one that fails each time must not do so for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_comes_and_fails_again_and_again_keeps_no_other_from_being_healed() {
    let (drives, engine) = filled(6, Duration::from_millis(500)).await;
    for gone in [0, 5] {
        drives[gone].take_away();
        drives[gone].refuse_writes(Some(ErrorKind::NotFound));
    }
    put(&engine, "without", body(100, 0)).await.unwrap();
    wait_until(|| offline(&engine) == ["d1", "d6"]).await;
    // It is found, and takes nothing.
    drives[5].bring_back();
    replace_the_first(&drives);
    wait_until(|| offline(&engine) == ["d6"]).await;
    check(&engine).await;
}
