//! Random histories with restarts, against the store's model.

use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::{ProptestConfig, proptest};
use store::testing::model::{follow, histories};
use store::{Engine, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{LocalEngine, Tuning};

use crate::support::{open_all, restarted};

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever a client does and however often the set is opened again, it agrees with a plain map.
    #[test]
    fn histories_with_restarts_agree_with_the_model(history in histories(24)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let drives = Mutex::new(FaultyDrive::machine(4, &Power::steady()));
            let engine: Arc<dyn Engine> = open_all(&drives.lock()).unwrap();
            follow(engine, &history, async |engine| {
                drop(engine);
                let mut drives = drives.lock();
                *drives = restarted(&drives);
                open_all(&drives).unwrap() as Arc<dyn Engine>
            })
            .await;
        });
    }

    /// So it does with a memtable of few keys, over an index that loses power with the drives.
    #[test]
    fn histories_with_a_tiny_memtable_agree_with_the_model(history in histories(40)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let power = Power::steady();
            let drives = Mutex::new((FaultyDrive::machine(3, &power), power));
            drives.lock().0.iter().for_each(FaultyDrive::keep_indexes);
            let engine: Arc<dyn Engine> = open_tiny(&drives.lock().0);
            follow(engine, &history, async |engine| {
                let mut drives = drives.lock();
                drives.1.cut();
                drop(engine);
                drives.1 = Power::steady();
                let power = Arc::clone(&drives.1);
                drives.0 = drives.0.iter().map(|drive| drive.restarted(&power)).collect();
                open_tiny(&drives.0) as Arc<dyn Engine>
            })
            .await;
        });
    }
}

/// All drives, with a memtable of a kilobyte.
fn open_tiny(drives: &[FaultyDrive]) -> Arc<LocalEngine> {
    let given = drives.iter().map(FaultyDrive::given).collect();
    LocalEngine::open_tuned(
        given,
        None,
        Arc::new(SystemClock),
        Tuning { memtable_bytes: Some(1_000), ..Tuning::default() },
    )
    .unwrap()
}
