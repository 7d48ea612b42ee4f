//! A set with too few voters to write goes on with drives that are healed meanwhile, also when a voter is there and of
//! no use: recovery tries it again and again, and must not undo what healing did.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use store::SystemClock;
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine};

use crate::support::{body, get, offline, put, told, wait_until};

/// Objects that take a drive some seconds to heal: longer than recovery waits until it tries again.
const OBJECTS: usize = 60;

const OBJECT_BYTES: usize = 100_000;

const HEALED_BYTES_PER_SECOND: u64 = 1 << 20;

/// Four drives of which the first went out, so that none of the others may fail any more.
async fn without_the_first() -> (Vec<FaultyDrive>, Arc<LocalEngine>) {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let healing = Healing {
        look_every: Duration::from_millis(5),
        bytes_per_second: HEALED_BYTES_PER_SECOND,
        ..Healing::default()
    };
    let given = drives.iter().map(FaultyDrive::given).collect();
    let engine = LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap();
    for number in 0..OBJECTS {
        put(&engine, &number.to_string(), body(OBJECT_BYTES, number)).await.unwrap();
    }
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
    assert!(!engine.report().writable);
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
    assert!(!engine.report().writable);
    drives[2].refuse_writes(None);

    replace_the_first(&drives);
    wait_until(|| engine.report().writable).await;
    check(&engine).await;
    drives[3].refuse_reads(None);
    wait_until(|| offline(&engine).is_empty()).await;
}
