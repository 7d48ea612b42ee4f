//! A gate before the commits of a drive: each frame waits there until a test says what becomes of it.
//!
//! So a test decides in which order drives complete their frames, and which of them fail.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Where the kind of a frame stands in it, and the kind of commits: `docs/formats.md`.
const KIND_AT: usize = 24;
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
    waiting: Option<Waiting>,
    verdict: Option<bool>,
}

/// A frame that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The file it is for.
    pub file: String,
    /// Where in the file.
    pub offset: u64,
    /// All of it.
    pub bytes: Arc<[u8]>,
}

impl Gate {
    /// Shuts it for the frames that come, or lets all pass.
    pub(super) fn shut(&self, shut: bool) {
        self.state.lock().shut = shut;
        self.changed.notify_all();
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        self.state.lock().waiting.clone()
    }

    /// Lets the frame that waits be written, or fail.
    pub(super) fn decide(&self, is_written: bool) {
        let mut state = self.state.lock();
        state.waiting = None;
        state.verdict = Some(is_written);
        self.changed.notify_all();
    }

    /// A frame on its way: returns when it is to be written.
    pub(super) fn pass(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.shut || bytes.get(KIND_AT) != Some(&COMMITS) {
            return Ok(());
        }
        state.waiting = Some(Waiting { file: file.to_owned(), offset, bytes: bytes.into() });
        while state.shut && state.verdict.is_none() {
            self.changed.wait(&mut state);
        }
        state.waiting = None;
        match state.verdict.take() {
            Some(false) => Err(io::Error::other("a test lets it fail")),
            Some(true) | None => Ok(()),
        }
    }
}
