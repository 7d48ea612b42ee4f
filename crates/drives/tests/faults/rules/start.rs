//! Segments that are not ready yet.

use std::sync::Arc;
use std::time::Duration;

use store::SystemClock;
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{LocalEngine, Tuning};

use crate::space::put_quietly;
use crate::support::body;

/// How long zeroing 256 KiB takes: a segment of each drive, one after the other, eight seconds.
const SLOW: Duration = Duration::from_millis(500);

/// Rule 24. Zeroing takes far longer than writing: a commit waits for no more of it than the piece that is under way.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_commit_does_not_wait_until_its_segment_is_zeroed() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    drives.iter().for_each(|drive| drive.slow_zeroes(SLOW));
    let given = drives.iter().map(FaultyDrive::given).collect();
    let tuning = Tuning { segment_bytes: Some(1 << 20), ..Tuning::default() };
    let engine = LocalEngine::open_tuned(given, None, Arc::new(SystemClock), tuning).unwrap();
    put_quietly(&engine, "first", body(100, 0)).await;
    let zeroed: u64 = drives.iter().map(FaultyDrive::zeroed_bytes).sum();
    assert!(zeroed < 4 << 20, "the first commit waited until {zeroed} bytes were zeroed");
}
