//! Clocks that are set.

use std::sync::Arc;

use store::testing::fixture::HandClock;
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{LocalEngine, Tuning};

use crate::space::{numbers, put_quietly};
use crate::support::{all_written, body, frames, put, restarted, told, wait_until};

const HOUR_MS: u64 = 3_600_000;

fn open_at(drives: &[FaultyDrive], clock: Arc<HandClock>) -> Arc<LocalEngine> {
    let given = drives.iter().map(FaultyDrive::given).collect();
    let tuning = Tuning { segment_bytes: Some(1 << 20), ..Tuning::default() };
    LocalEngine::open_tuned(given, None, clock, tuning).unwrap()
}

/// Times of the frames of a drive, in their order: bytes 80–87 of the shared part.
fn times(drive: &FaultyDrive) -> Vec<u64> {
    let bytes = drive.bytes("log/00000000.seg");
    let at = |offset: usize| u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap());
    frames(drive).iter().map(|frame| at(frame.offset + 24 + 80)).collect()
}

/// Rule 13. The clock is set back over a clean stop, over a crash, and again: no frame is earlier than one before it.
#[tokio::test]
async fn no_frame_goes_back_in_time_when_the_clock_does() {
    let mut drives = FaultyDrive::machine(4, &Power::steady());
    for (start, hour) in [50, 40, 30, 60, 20].into_iter().enumerate() {
        let engine = open_at(&drives, Arc::new(HandClock::at_ms(hour * HOUR_MS)));
        put(&engine, "rose", body(9_000, start)).await.unwrap();
        all_written(&drives).await;
        if start % 2 == 0 {
            engine.shutdown().await;
        }
        drop(engine);
        drives = restarted(&drives);
    }
    let times = times(&drives[0]);
    assert!(times.len() >= 10 && times.is_sorted(), "{times:?}");
    assert_eq!(
        (times[0], *times.last().unwrap() >= 60 * HOUR_MS * 1_000_000),
        (50 * HOUR_MS * 1_000_000, true)
    );
}

/// Rule 13. The clock is set two days ahead: what is kept for a day is not let go of by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_ahead_lets_nothing_expire() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let clock = Arc::new(HandClock::at_ms(1_000 * HOUR_MS));
    let engine = open_at(&drives, Arc::clone(&clock));
    for key in ["rose", "tulip", "iris"] {
        put(&engine, key, body(100, 1)).await.unwrap();
    }
    clock.advance_ms(48 * HOUR_MS);
    for number in 0..100 {
        put_quietly(&engine, "same", body(100_000, number)).await;
    }
    wait_until(|| !numbers(&drives[0]).contains(&1)).await;
    engine.shutdown().await;
    drop(engine);
    // The clock is right again.
    let engine = open_at(&restarted(&drives), Arc::new(HandClock::at_ms(1_000 * HOUR_MS)));
    assert_eq!(told(&engine).await, ["rose", "tulip", "iris"]);
}
