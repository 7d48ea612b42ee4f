//! Segments that are not ready yet.

use std::sync::Arc;
use std::time::Duration;

use store::SystemClock;
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{LocalEngine, Tuning};

use crate::space::put_quietly;
use crate::support::{body, wait_until};

/// How long zeroing 256 KiB takes: a segment of each drive, one after the other, four seconds.
const SLOW: Duration = Duration::from_millis(500);

/// Rule 24. Zeroing takes far longer than writing: a commit waits for no more of it than the piece that is under way,
/// also where there is no other drive that it could rest on.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_commit_does_not_wait_until_its_segment_is_zeroed() {
    for count in [1, 4] {
        let drives = FaultyDrive::machine(count, &Power::steady());
        drives.iter().for_each(|drive| drive.slow_zeroes(SLOW));
        let given = drives.iter().map(FaultyDrive::given).collect();
        let tuning = Tuning { segment_bytes: Some(2 << 20), ..Tuning::default() };
        let engine = LocalEngine::open_tuned(given, None, Arc::new(SystemClock), tuning).unwrap();
        wait_until(|| drives[0].zeroed_bytes() > 0).await;
        put_quietly(&engine, "first", body(100, 0)).await;
        let zeroed: u64 = drives.iter().map(FaultyDrive::zeroed_bytes).sum();
        let all = (count as u64) << 21;
        assert!(
            zeroed + (256 << 10) < all,
            "{count} drives: {zeroed} bytes were zeroed before the first commit"
        );
    }
}
