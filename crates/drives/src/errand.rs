//! Errands: what a thread that must not wait for ever asks of a drive: on another thread, under a deadline.
//!
//! Recovery, healing, compaction, the preparer and the watch ask in this way; the foreground has its lanes, the journal
//! its writers. Threads that answered are kept for the next errand, of whichever drive. One whose drive hangs stays
//! behind until the drive gives it back.
//!
//! # Bounds
//!
//! [`IDLE_MAX`] threads are kept. Of a drive that has not come back from an errand nobody asks another: so it costs at
//! most one thread for each of those who ask.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;

/// Threads that are kept for the next errand.
const IDLE_MAX: usize = 8;

type Errand = Box<dyn FnOnce() + Send>;

/// Threads without an errand.
static IDLE: Mutex<Vec<Sender<Errand>>> = Mutex::new(Vec::new());

/// What a drive has not come back from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overdue(Arc<AtomicIsize>);

/// Whether an errand is over, and whether its answer is still waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    UnderWay,
    Done,
    GivenUp,
}

/// Runs an errand and waits for its answer, at most `patience`. What the errand owns is dropped before the answer
/// comes.
///
/// # Errors
///
/// What the errand says, or `TimedOut`; then it may still go on. So also, at once, while an earlier one does.
pub(crate) fn run<T: Send + 'static>(
    overdue: &Overdue,
    patience: Duration,
    errand: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if overdue.0.load(Ordering::Acquire) > 0 {
        return Err(silence());
    }
    let idle = IDLE.lock().pop();
    let thread = idle.map_or_else(start, Ok)?;
    let (answer, incoming) = channel();
    let fate = Arc::new(Mutex::new(Fate::UnderWay));
    let (seen, late) = (Arc::clone(&fate), overdue.clone());
    let run = move || {
        let answered = errand();
        if std::mem::replace(&mut *seen.lock(), Fate::Done) == Fate::GivenUp {
            late.0.fetch_sub(1, Ordering::AcqRel);
        }
        // Nobody listens any more when it took too long.
        let _ = answer.send(answered);
    };
    thread.send(Box::new(run)).map_err(|_| io::Error::other("a thread of the engine is gone"))?;
    match incoming.recv_timeout(patience) {
        Ok(answered) => {
            let mut idle = IDLE.lock();
            if idle.len() < IDLE_MAX {
                idle.push(thread);
            }
            answered
        }
        Err(RecvTimeoutError::Timeout) => {
            let mut fate = fate.lock();
            if *fate == Fate::UnderWay {
                *fate = Fate::GivenUp;
                overdue.0.fetch_add(1, Ordering::AcqRel);
            }
            Err(silence())
        }
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("a thread of the engine panicked")),
    }
}

fn silence() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the drive hangs")
}

/// A thread that does errands until nobody has any for it.
fn start() -> io::Result<Sender<Errand>> {
    let (errands, incoming) = channel::<Errand>();
    let run = move || incoming.into_iter().for_each(|errand| errand());
    std::thread::Builder::new().name("errand".into()).spawn(run)?;
    Ok(errands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_drive_that_hangs_is_not_asked_again_before_it_is_back_and_others_are() {
        let (one, other, ample) = (Overdue::default(), Overdue::default(), Duration::from_secs(10));
        let (let_go, held) = channel::<()>();
        let hung = run(&one, Duration::from_millis(20), move || held.recv().map_err(io::Error::other));
        assert_eq!(hung.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let again = run(&one, ample, || -> io::Result<()> { unreachable!("it hangs") });
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(run(&other, ample, || Ok(7)).unwrap(), 7);
        let_go.send(()).unwrap();
        let deadline = std::time::Instant::now() + ample;
        while run(&one, ample, || Ok(7)).is_err() {
            assert!(std::time::Instant::now() < deadline, "it is back");
        }
    }
}
