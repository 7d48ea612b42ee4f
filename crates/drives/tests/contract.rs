//! The contract of an engine, run over directories.

use std::cell::RefCell;
use std::sync::Arc;

use store::{Engine, SystemClock};
use tempfile::TempDir;
use tidings_drives::{LocalEngine, Options};

thread_local! {
    /// Folders of the test that runs on this thread; gone when it ends.
    static FOLDERS: RefCell<Vec<TempDir>> = const { RefCell::new(Vec::new()) };
}

fn on_directories(drives: usize) -> Arc<dyn Engine> {
    let folder = tempfile::tempdir().unwrap();
    let drives = (1..=drives)
        .map(|drive| folder.path().join(format!("d{drive}")))
        .collect();
    let engine = LocalEngine::open(Options {
        drives,
        parity: None,
        clock: Arc::new(SystemClock),
    })
    .unwrap();
    FOLDERS.with_borrow_mut(|folders| folders.push(folder));
    engine
}

mod four_drives {
    store::engine_contract!(async || super::on_directories(4));
}

mod one_drive {
    store::engine_contract!(async || super::on_directories(1));
}
