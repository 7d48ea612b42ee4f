//! Segments that are not ready yet.

use std::sync::Arc;
use std::time::Duration;

use store::SystemClock;
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{LocalEngine, Tuning};

use crate::space::{numbers, put_quietly};
use crate::support::body;

/// How long zeroing 256 KiB takes.
const SLOW: Duration = Duration::from_millis(100);

/// Rule 24. Zeroing takes far longer than writing: the first commit does not wait for it, nor does any of those that fill
/// one segment after the other.
#[tokio::test(flavor = "multi_thread")]
async fn no_commit_waits_until_its_segment_is_zeroed() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    drives.iter().for_each(|drive| drive.slow_zeroes(SLOW));
    let given = drives.iter().map(FaultyDrive::given).collect();
    let tuning = Tuning { segment_bytes: Some(1 << 20), ..Tuning::default() };
    let engine = LocalEngine::open_tuned(given, None, Arc::new(SystemClock), tuning).unwrap();
    let zeroed = || drives.iter().map(FaultyDrive::zeroed_bytes).sum::<u64>();
    let begun = || drives.iter().map(|drive| numbers(drive).len() as u64).sum::<u64>() << 20;

    put_quietly(&engine, "first", body(100, 0)).await;
    assert!(zeroed() < 4 << 20, "the first commit waited until {} bytes were zeroed", zeroed());
    let mut number = 0;
    while !numbers(&drives[0]).contains(&2) {
        put_quietly(&engine, &format!("{number}"), body(100_000, number)).await;
        number += 1;
    }
    assert!(zeroed() < begun() / 2, "{} bytes of {} are zeroed", zeroed(), begun());
}
