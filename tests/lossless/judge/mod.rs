//! The judge: whether what was told is what happened. A pure function of a [`History`].
//!
//! - **Lost**: an acknowledged operation has no record; or an unanswered one has none though a read saw its effect.
//! - **Phantom**: a record of a refused operation, of none at all, of other content than was sent; a second record of
//!   one operation; a record of an unanswered operation whose effect is not there when it must be.
//! - **Out of order**: a record arrived before one of its key with a smaller sequencer; sequencers that contradict the
//!   order in which operations of a key ended and began, or what reads and deletes found, where another order of
//!   operations that overlapped explains it; one sequencer for two changes.
//!
//! A record that arrives again is a duplicate and no finding. It is *late* when a newer one of its key arrived
//! before: a consumer that takes the last record for the truth is misled by it, one that compares sequencers
//! is not.
//!
//! # What can be decided
//!
//! A record says that its operation took effect, and its sequencer says when among those of its key. So the
//! records of a key are a line of states, and every read must fit into it: the state it saw holds at a moment
//! between its beginning and its end. That decides of an unanswered operation whether it was told exactly when it
//! took effect, as soon as somebody read the key before the next write: the last state of every key is read, and
//! writers read between their writes. An unanswered write that nobody read before the next one, and that nothing
//! told, leaves no trace and cannot be judged from outside. In buckets with versions every write leaves one; that
//! is not used yet.
//!
//! What follows from a finding is no further finding: the line of a key with a loss is not compared with reads.

mod attribution;
mod history;
mod line;

use std::collections::BTreeMap;

pub(crate) use history::{Answer, Effect, History, Operation, Read, Told};

use line::Line;

/// What the judge found. Each finding is a sentence that names the key and the operations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    pub(crate) unanswered: usize,
    /// Operations that were told.
    pub(crate) announced: usize,
    /// Of those, such that were never answered.
    pub(crate) announced_unanswered: usize,
    /// Records that arrived again.
    pub(crate) duplicates: usize,
    /// Of those, such that arrived after a newer one of their key.
    pub(crate) late_duplicates: usize,
    pub(crate) lost: Vec<String>,
    pub(crate) phantom: Vec<String>,
    pub(crate) out_of_order: Vec<String>,
}

impl Verdict {
    /// Whether nothing was found.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.phantom.is_empty() && self.out_of_order.is_empty()
    }
}

/// Judges a run after its end: everything that would come has come.
pub(crate) fn judge(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for operation in &history.operations {
        *match operation.answer {
            Answer::Acknowledged { .. } => &mut verdict.acknowledged,
            Answer::Refused => &mut verdict.refused,
            Answer::Silence { .. } => &mut verdict.unanswered,
        } += 1;
    }
    let told = attribution::attribute(history, &mut verdict);
    verdict.announced = told.len();
    let mut lines: BTreeMap<&str, Line<'_>> = BTreeMap::new();
    for (at, operation) in history.operations.iter().enumerate() {
        let line = lines.entry(&operation.key).or_default();
        line.add(operation, told.get(&at).copied());
        let is_unanswered = matches!(operation.answer, Answer::Silence { .. });
        verdict.announced_unanswered += usize::from(is_unanswered && told.contains_key(&at));
    }
    for read in &history.reads {
        lines.entry(&read.key).or_default().reads.push(read);
    }
    for line in lines.into_values() {
        line.judge(&mut verdict);
    }
    verdict
}
