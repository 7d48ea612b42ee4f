//! Commits that ride on others.

use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Batch, Engine, Mutation, Put};
use tidings_drives::testing::{FaultyDrive, Power};

use crate::support::{SET, all_written, frames, open_all};

/// How long one waits for another commit before it goes alone.
const RIDE: Duration = Duration::from_millis(100);

/// Rule 12. Cursors that move while nothing else is committed cost one frame in a tenth of a second, and no frame each.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_waits_for_a_commit_to_ride_on_and_goes_alone_after_a_tenth_of_a_second() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    let cursor = Mutation::Put(Put { key: Bytes::from_static(b"cursor"), ..Put::default() });
    let moved = Batch { mutations: vec![cursor], rides: true, ..Batch::default() };
    let began = Instant::now();
    for _ in 0..3 {
        engine.commit(SET, moved.clone()).await.unwrap();
    }
    assert!(began.elapsed() >= 3 * RIDE, "three went within {:?}", began.elapsed());
    all_written(&drives).await;
    assert_eq!(frames(&drives[0]).iter().filter(|frame| frame.commits).count(), 3);
}
