//! Random histories with restarts, against the store's model.

use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::{ProptestConfig, proptest};
use store::Engine;
use store::testing::model::{follow, histories};
use tidings_drives::testing::{FaultyDrive, Power};

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
}
