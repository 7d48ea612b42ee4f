//! The line of a key: its operations in the order the records say, and whether answers and reads agree with it.

use super::Verdict;
use super::history::{Answer, Effect, Kind, Operation, Read, Told};

/// What a disagreement shows.
enum Fault {
    Lost,
    Phantom,
    OutOfOrder,
}

/// A key's operations.
#[derive(Default)]
pub(super) struct Line<'a> {
    steps: Vec<Step<'a>>,
    untold: Vec<&'a Operation>,
    pub(super) reads: Vec<&'a Read>,
}

/// An operation that was told.
struct Step<'a> {
    operation: &'a Operation,
    told: &'a Told,
}

impl Step<'_> {
    /// The token of what is there after it.
    fn leaves(&self) -> Option<&str> {
        (!self.operation.effect.is_removal()).then_some(self.operation.token.as_str())
    }
}

impl<'a> Line<'a> {
    pub(super) fn add(&mut self, operation: &'a Operation, told: Option<&'a Told>) {
        match told {
            // A phantom is found by its arrival, and no state of the key.
            Some(_) if operation.answer == Answer::Refused => {}
            Some(told) => self.steps.push(Step { operation, told }),
            None => self.untold.push(operation),
        }
    }

    pub(super) fn judge(mut self, verdict: &mut Verdict) {
        self.steps.sort_by_key(|step| step.told.sequencer);
        let lost = self.lost();
        let is_whole = lost.is_empty();
        verdict.lost.extend(lost);
        let disorder = self.disorder();
        let is_ordered = disorder.is_none();
        verdict.out_of_order.extend(disorder);
        if is_whole
            && is_ordered
            && let Err((fault, finding)) = self.disagreement()
        {
            match fault {
                Fault::Lost => verdict.lost.push(finding),
                Fault::Phantom => verdict.phantom.push(finding),
                Fault::OutOfOrder => verdict.out_of_order.push(finding),
            }
        }
    }

    /// Operations that must have been told and were not.
    fn lost(&self) -> Vec<String> {
        let lost = self.untold.iter().filter_map(|operation| {
            let Operation { key, token, .. } = operation;
            let is_seen = self.reads.iter().any(|read| read.found.as_ref() == Some(token));
            match operation.answer {
                Answer::Acknowledged { .. } => Some(format!("{key}: {token} was acknowledged and not told")),
                Answer::Silence { .. } if is_seen => {
                    Some(format!("{key}: {token} was not answered, took effect and was not told"))
                }
                Answer::Refused if is_seen => {
                    Some(format!("{key}: {token} was refused, and took effect and was not told"))
                }
                _ => None,
            }
        });
        lost.collect()
    }

    /// Two operations in the order in which they cannot have happened.
    fn disorder(&self) -> Option<String> {
        let mut latest: Option<&Operation> = None;
        for step in &self.steps {
            if let Some(before) = latest.filter(|before| step.operation.end_us() < before.begin_us) {
                let (token, before) = (&step.operation.token, &before.token);
                let key = &step.operation.key;
                return Some(format!(
                    "{key}: {token} ended before {before} began, and its sequencer is greater"
                ));
            }
            if latest.is_none_or(|before| before.begin_us < step.operation.begin_us) {
                latest = Some(step.operation);
            }
        }
        None
    }

    /// The first thing that does not fit what the records say, and what it shows. Where the operations could have
    /// happened in another order that explains it, it is their sequencers that are wrong.
    fn disagreement(&self) -> Result<(), (Fault, String)> {
        let mut is_there = false;
        for (at, step) in self.steps.iter().enumerate() {
            let Operation { key, token, effect, .. } = step.operation;
            match step.told.kind() {
                Some(Kind::Removed) if !is_there && *effect == (Effect::Remove { in_bulk: false }) => {
                    let fault = self.of_an_object_that_was_not_told(at);
                    let finding =
                        format!("{key}: {token} removed an object, and the records before it leave none");
                    return Err((fault, finding));
                }
                Some(Kind::Nothing) if is_there => {
                    let (begin_us, end_us) = (step.operation.begin_us, step.operation.end_us());
                    let fault = self.of_an_object_that_is_gone(Some(at), begin_us, end_us);
                    let finding =
                        format!("{key}: {token} found nothing, and the records before it leave an object");
                    return Err((fault, finding));
                }
                _ => is_there = step.leaves().is_some(),
            }
        }
        for read in &self.reads {
            if !self.explains(read) {
                let key = &read.key;
                let found = read.found.as_deref().unwrap_or("nothing");
                let (begin_us, end_us) = (read.begin_us, read.end_us);
                let finding = format!(
                    "{key}: a read from {begin_us} to {end_us} us found {found}, which the records in their order do \
                     not explain: {}",
                    self.shown(begin_us)
                );
                return Err((self.of_a_read(read), finding));
            }
        }
        Ok(())
    }

    /// What it shows that a delete removed an object which by the records before it was not there.
    fn of_an_object_that_was_not_told(&self, at: usize) -> Fault {
        let removal = self.steps[at].operation;
        let is_seen = |step: &Step<'_>| {
            step.leaves().is_some() && self.may_be_last(step.operation, removal.begin_us, removal.end_us())
        };
        if self.steps.iter().any(is_seen) {
            Fault::OutOfOrder
        } else if self.may_have_lost(false, removal.begin_us, removal.end_us()) {
            Fault::Lost
        } else {
            Fault::Phantom
        }
    }

    /// What a read shows that the line does not explain.
    fn of_a_read(&self, read: &Read) -> Fault {
        let Some(found) = &read.found else {
            return self.of_an_object_that_is_gone(None, read.begin_us, read.end_us);
        };
        let is_possible = self.steps.iter().any(|step| {
            step.leaves() == Some(found) && self.may_be_last(step.operation, read.begin_us, read.end_us)
        });
        if is_possible { Fault::OutOfOrder } else { Fault::Phantom }
    }

    /// What it shows that nothing was there at that time though the records before it leave an object. It was not the
    /// step `but_for` that removed it.
    fn of_an_object_that_is_gone(&self, but_for: Option<usize>, begin_us: u64, end_us: u64) -> Fault {
        if self.may_be_without_object(but_for, begin_us, end_us) {
            Fault::OutOfOrder
        } else if self.may_have_lost(true, begin_us, end_us) {
            Fault::Lost
        } else {
            Fault::Phantom
        }
    }

    /// Whether in some order, whatever the sequencers say, the operation was the last one to take effect at a moment of
    /// that time: it had begun, and no other one both followed it and had ended.
    fn may_be_last(&self, operation: &Operation, begin_us: u64, end_us: u64) -> bool {
        let is_followed = self.steps.iter().any(|other| {
            operation.end_us() < other.operation.begin_us && other.operation.end_us() < begin_us
        });
        operation.begin_us <= end_us && !is_followed
    }

    /// Whether in some order there was no object at that time, but for what a step itself did.
    fn may_be_without_object(&self, but_for: Option<usize>, begin_us: u64, end_us: u64) -> bool {
        let was_ever_written =
            self.steps.iter().any(|step| step.leaves().is_some() && step.operation.end_us() < begin_us);
        let is_removed = |(place, step): (usize, &Step<'_>)| {
            Some(place) != but_for
                && step.leaves().is_none()
                && self.may_be_last(step.operation, begin_us, end_us)
        };
        !was_ever_written || self.steps.iter().enumerate().any(is_removed)
    }

    /// Whether a moment of the read lies in a part of the line in which its key was as it saw it.
    fn explains(&self, read: &Read) -> bool {
        // The state after `n` steps can be seen by the read if all of those had begun when it ended, and none
        // after them had ended when it began.
        let begun = self.steps.iter().take_while(|step| step.operation.begin_us <= read.end_us).count();
        let ended = self.steps.iter().rposition(|step| step.operation.end_us() < read.begin_us);
        let ended = ended.map_or(0, |at| at + 1);
        (ended..=begun).any(|after| {
            let state = after.checked_sub(1).and_then(|at| self.steps[at].leaves());
            state == read.found.as_deref()
        })
    }

    /// Whether an unanswered removal, or write, of which nothing was told may have been the last one at that time.
    fn may_have_lost(&self, a_removal: bool, begin_us: u64, end_us: u64) -> bool {
        self.untold.iter().any(|operation| {
            let is_open = matches!(operation.answer, Answer::Silence { .. });
            let is_such = operation.effect.is_removal() == a_removal;
            is_open && is_such && self.may_be_last(operation, begin_us, end_us)
        })
    }

    /// The steps about a time, for a finding.
    fn shown(&self, at_us: u64) -> String {
        let until =
            self.steps.iter().rposition(|step| step.operation.begin_us <= at_us).map_or(0, |at| at + 1);
        let steps = self.steps[until.saturating_sub(4)..until].iter().map(|step| {
            let Operation { token, begin_us, .. } = step.operation;
            let end_us = step.operation.end_us();
            format!("{} {token} {begin_us}..{}", step.told.event, if end_us == u64::MAX { 0 } else { end_us })
        });
        let steps: Vec<String> = steps.collect();
        format!("… {}", steps.join(", "))
    }
}
