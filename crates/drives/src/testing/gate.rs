//! A gate before the commits of a drive: each frame waits there until a test says what becomes of it.
//!
//! So a test decides in which order drives complete their frames, and which of them fail. On a drive that is being
//! healed several can wait: what is rebuilt, and what is written to all. A test decides them in the order of batches.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Where the kind of a frame stands in it, the kind of commits, and where its batch stands: `docs/formats.md`.
const KIND_AT: usize = 24;
const BATCH_AT: usize = 80;
const COMMITS: u8 = 0;

/// Open unless a test shuts it. Frames of other kinds pass.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    shut: bool,
    /// By batch.
    waiting: BTreeMap<u64, Waiting>,
    verdicts: BTreeMap<u64, bool>,
}

/// A frame that waits, or several in a row.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The file it is for.
    pub file: String,
    /// Where in the file.
    pub offset: u64,
    /// All of it.
    pub bytes: Arc<[u8]>,
    /// The first batch in it.
    pub batch: u64,
}

impl Gate {
    /// Shuts it for the frames that come, or lets all pass.
    pub(super) fn shut(&self, shut: bool) {
        self.state.lock().shut = shut;
        self.changed.notify_all();
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        self.state.lock().waiting.first_key_value().map(|(_, waiting)| waiting.clone())
    }

    /// Lets the first of the frames that wait be written, or fail.
    pub(super) fn decide(&self, is_written: bool) {
        let mut state = self.state.lock();
        if let Some((batch, _)) = state.waiting.pop_first() {
            state.verdicts.insert(batch, is_written);
        }
        self.changed.notify_all();
    }

    /// A frame on its way: returns when it is to be written.
    pub(super) fn pass(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.shut || bytes.get(KIND_AT) != Some(&COMMITS) {
            return Ok(());
        }
        let batch = bytes[BATCH_AT..BATCH_AT + 8].try_into().expect("eight bytes");
        let batch = u64::from_le_bytes(batch);
        state.waiting.insert(batch, Waiting { file: file.to_owned(), offset, bytes: bytes.into(), batch });
        while state.shut && !state.verdicts.contains_key(&batch) {
            self.changed.wait(&mut state);
        }
        state.waiting.remove(&batch);
        match state.verdicts.remove(&batch) {
            Some(false) => Err(io::Error::other("a test lets it fail")),
            Some(true) | None => Ok(()),
        }
    }
}
