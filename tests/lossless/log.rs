//! What writers and readers note: the half of the history that clients see.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::judge::{Answer, Operation, Read};

/// Everything noted so far. Shared by all writers.
pub(crate) struct Log {
    began: Instant,
    acknowledged: AtomicUsize,
    full: AtomicUsize,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    operations: Vec<Operation>,
    reads: Vec<Read>,
    /// Operations without an answer: place, and when the client gave up.
    silences: Vec<(usize, u64)>,
}

/// The end of a server: what it had under way has taken effect before it or never will.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Down {
    /// From when on it was dead.
    pub(crate) dead_us: u64,
    /// Before this the next one did not run. A command both ends a server and starts the next: this is its
    /// beginning then, and `dead_us` its end.
    pub(crate) start_us: u64,
}

impl Down {
    /// Whether what a client asked for at one time, and gave up at another, went to the server that ended here or to
    /// none: it was given up before the next one ran, or asked for then and given up before both were through.
    pub(crate) fn settles(&self, begin_us: u64, gave_up_us: u64) -> bool {
        gave_up_us < self.start_us || begin_us < self.start_us && gave_up_us < self.dead_us
    }
}

impl Log {
    pub(crate) fn new() -> Log {
        Log {
            began: Instant::now(),
            acknowledged: AtomicUsize::new(0),
            full: AtomicUsize::new(0),
            notes: Mutex::default(),
        }
    }

    /// Microseconds since the log was begun.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Seconds since the log was begun.
    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Notes an operation with what became of it.
    pub(crate) fn operation(&self, operation: Operation) {
        let mut notes = self.notes.lock().unwrap();
        match operation.answer {
            Answer::Acknowledged { .. } => drop(self.acknowledged.fetch_add(1, Ordering::Relaxed)),
            Answer::Silence { .. } => {
                let place = notes.operations.len();
                notes.silences.push((place, self.now_us()));
            }
            Answer::Refused => {}
        }
        notes.operations.push(operation);
    }

    /// Notes what was seen of a key.
    pub(crate) fn read(&self, read: Read) {
        self.notes.lock().unwrap().reads.push(read);
    }

    /// Notes that a write was refused for want of space.
    pub(crate) fn refused_as_full(&self) {
        self.full.fetch_add(1, Ordering::Relaxed);
    }

    /// Operations acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Writes that were refused for want of space so far.
    pub(crate) fn full(&self) -> usize {
        self.full.load(Ordering::Relaxed)
    }

    /// The keys of all operations so far.
    pub(crate) fn keys(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap();
        let keys: std::collections::BTreeSet<&String> =
            notes.operations.iter().map(|operation| &operation.key).collect();
        keys.into_iter().cloned().collect()
    }

    /// What was noted, each unanswered operation with the time after which it can no longer take effect: the end of
    /// the last server that may have been running when the client gave up.
    pub(crate) fn close(&self, downs: &[Down]) -> (Vec<Operation>, Vec<Read>) {
        let mut notes = std::mem::take(&mut *self.notes.lock().unwrap());
        for (place, gave_up_us) in notes.silences {
            let begin_us = notes.operations[place].begin_us;
            let down = downs.iter().find(|down| down.settles(begin_us, gave_up_us));
            notes.operations[place].answer = Answer::Silence { settled_us: down.map(|down| down.dead_us) };
        }
        (notes.operations, notes.reads)
    }
}
