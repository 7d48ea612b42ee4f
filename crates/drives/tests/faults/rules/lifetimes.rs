//! What may be used again, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Batch, Engine, EngineError, Mutation, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine, Patience, Tuning};
use tokio::task::JoinHandle;

use crate::space::put_quietly;
use crate::support::{SET, all_written, body, get, wait_until};

/// What becomes of a key while it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Overwritten,
    Deleted,
    /// It lives on, elsewhere.
    Moved,
}

type Getting = JoinHandle<Result<Option<Bytes>, EngineError>>;

/// A get of `slow` that waits for one drive, which is answered.
async fn slow_get<'a>(engine: &Arc<LocalEngine>, drives: &'a [FaultyDrive]) -> (&'a FaultyDrive, Getting) {
    for drive in drives.iter().cycle().take(100) {
        drive.hold_next_read();
        let mut getting = tokio::spawn({
            let engine = Arc::clone(engine);
            async move { get(&engine, "slow").await }
        });
        wait_until(|| getting.is_finished() || drive.holds_read()).await;
        // What is held may be a read of the scrub: then the get has its answer at once.
        let answered = tokio::time::timeout(Duration::from_millis(300), &mut getting).await;
        if answered.is_err() && drive.holds_read() {
            return (drive, getting);
        }
        drive.let_read_go();
    }
    panic!("no drive is read");
}

/// Rule 9. A get waits for a drive while the segment it reads from is emptied, retired and used again: it answers
/// what the key had when it was asked or what it has by then, and never anything else.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_get_over_a_segment_that_is_used_again_answers_the_key_and_never_other_bytes() {
    for fate in [Fate::Overwritten, Fate::Deleted, Fate::Moved] {
        let drives = FaultyDrive::machine(4, &Power::steady());
        let healing = Healing { look_every: Duration::from_secs(3600), ..Healing::default() };
        let tuning = Tuning { segment_bytes: Some(1 << 20), healing, ..Tuning::default() };
        let given = drives.iter().map(FaultyDrive::given).collect();
        let engine = LocalEngine::open_tuned(given, None, Arc::new(SystemClock), tuning).unwrap();
        let long = Duration::from_secs(600);
        engine.set_patience(Patience { read: long, hedge: long, ..Patience::DEFAULT });
        put_quietly(&engine, "slow", body(10_000, 1)).await;
        all_written(&drives).await;

        let (drive, getting) = slow_get(&engine, &drives).await;
        match fate {
            Fate::Overwritten => put_quietly(&engine, "slow", body(10_000, 2)).await,
            Fate::Deleted => {
                let gone = Mutation::Delete(Bytes::from_static(b"slow"));
                engine.commit(SET, Batch { mutations: vec![gone], ..Batch::default() }).await.unwrap();
            }
            Fate::Moved => {}
        }
        let has_first = || drive.files().iter().any(|(name, _)| name.starts_with("log/00000000"));
        let deadline = Instant::now() + Duration::from_secs(60);
        for number in 0.. {
            if !has_first() {
                break;
            }
            assert!(Instant::now() < deadline, "the first segment was never used again");
            if number > 200 {
                // Compaction is to keep up with it.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            put_quietly(&engine, &format!("{}", number % 4), body(100_000, number)).await;
        }
        assert!(!getting.is_finished() && drive.holds_read());
        drive.let_read_go();
        let found = getting.await.unwrap().unwrap();
        let now = match fate {
            Fate::Overwritten => Some(body(10_000, 2)),
            Fate::Deleted => None,
            Fate::Moved => Some(body(10_000, 1)),
        };
        assert!(found == now || found == Some(body(10_000, 1)), "{fate:?}");
        assert_eq!(get(&engine, "slow").await, Ok(now), "{fate:?}");
        assert_eq!(engine.damages().counts().told, 0, "{fate:?}: what moved is no damage");
    }
}
