//! Errands: what a thread that must not wait for ever asks of a drive: on another thread, under a deadline.
//!
//! Opening, recovery, healing, compaction, the preparer and the watch ask in this way; the foreground has its lanes,
//! the journal its writers. A thread that has done an errand is kept for the next one, of whichever drive. One whose
//! drive hangs stays behind until the drive gives it back.
//!
//! # Bounds
//!
//! [`IDLE_MAX`] threads are kept, as many as a set has drives at most. Of a drive that has not come back from an errand
//! nobody asks another: so it costs at most one thread for each of those who ask.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Threads that are kept for the next errand.
const IDLE_MAX: usize = 16;

/// What a thread is to do. It calls what it is given when it is done and has nothing left to do but to answer.
type Errand = Box<dyn FnOnce(&dyn Fn()) + Send>;

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
    let (answer, incoming) = channel();
    let fate = Arc::new(Mutex::new(Fate::UnderWay));
    let (seen, late) = (Arc::clone(&fate), overdue.clone());
    send_on(move |done| {
        let answered = errand();
        if std::mem::replace(&mut *seen.lock(), Fate::Done) == Fate::GivenUp {
            late.0.fetch_sub(1, Ordering::AcqRel);
        }
        done();
        // Nobody listens any more when it took too long.
        let _ = answer.send(answered);
    })?;
    match incoming.recv_timeout(patience) {
        Ok(answered) => answered,
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

/// Asks several drives the same at once, each on a thread of its own. What each says, in their order;
/// `TimedOut` for those that say nothing within `patience`, which may still do what they were asked.
pub(crate) fn run_on_each<D: Send + 'static, T: Send + 'static>(
    asked: impl IntoIterator<Item = D>,
    patience: Duration,
    errand: impl Fn(D) -> io::Result<T> + Clone + Send + 'static,
) -> Vec<io::Result<T>> {
    let deadline = Instant::now() + patience;
    let begin = |drive: D| {
        let (answer, incoming) = channel();
        let errand = errand.clone();
        send_on(move |done| {
            let answered = errand(drive);
            done();
            // Nobody listens any more when it took too long.
            let _ = answer.send(answered);
        })?;
        Ok(incoming)
    };
    let begun: Vec<io::Result<Receiver<_>>> = asked.into_iter().map(begin).collect();
    let answer = |incoming: Receiver<_>| match incoming
        .recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        Ok(answered) => answered,
        Err(RecvTimeoutError::Timeout) => Err(silence()),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("a thread of the engine panicked")),
    };
    begun.into_iter().map(|begun| begun.and_then(answer)).collect()
}

fn silence() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the drive hangs")
}

/// Has a thread do an errand that nobody waits for here. The errand calls what it is given when it is done: from then
/// on the thread is there for another one.
///
/// # Errors
///
/// The system has no thread to give.
pub(crate) fn send_on(errand: impl FnOnce(&dyn Fn()) + Send + 'static) -> io::Result<()> {
    let idle = IDLE.lock().pop();
    let thread = idle.map_or_else(start, Ok)?;
    thread.send(Box::new(errand)).map_err(|_| io::Error::other("a thread of the engine is gone"))
}

/// A thread that does errands as long as it is kept.
fn start() -> io::Result<Sender<Errand>> {
    let (errands, incoming) = channel::<Errand>();
    let own = errands.clone();
    let run = move || {
        for errand in incoming {
            let is_kept = Cell::new(false);
            errand(&|| is_kept.set(keep(&own)));
            if !is_kept.get() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("errand".into()).spawn(run)?;
    Ok(errands)
}

/// Whether there was a place for one more thread without an errand.
fn keep(thread: &Sender<Errand>) -> bool {
    let mut idle = IDLE.lock();
    let has_place = idle.len() < IDLE_MAX;
    if has_place {
        idle.push(thread.clone());
    }
    has_place
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn of_several_that_are_asked_at_once_those_that_hang_cost_one_deadline_and_the_others_answer() {
        let (let_go, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let began = Instant::now();
        let said = run_on_each(0..4, Duration::from_millis(50), move |drive| {
            if drive % 2 == 1 {
                // Until the end of the test.
                let _ = held.lock().recv();
            }
            Ok(drive)
        });
        let kinds: Vec<_> = said.into_iter().map(|said| said.map_err(|error| error.kind())).collect();
        let silent = Err(io::ErrorKind::TimedOut);
        assert_eq!(kinds, [Ok(0), silent, Ok(2), silent]);
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(let_go);
    }

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
