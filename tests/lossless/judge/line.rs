//! The line of a key: its operations in the order the records say, and whether answers and reads agree with it.

use super::Verdict;
use super::history::{Answer, Effect, Kind, Operation, Read, Told};

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
            && let Err((is_lost, finding)) = self.disagreement()
        {
            if is_lost { &mut verdict.lost } else { &mut verdict.phantom }.push(finding);
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

    /// The first thing that does not fit what the records say, and whether it shows a loss.
    fn disagreement(&self) -> Result<(), (bool, String)> {
        let mut is_there = false;
        for step in &self.steps {
            let Operation { key, token, effect, .. } = step.operation;
            match step.told.kind() {
                Some(Kind::Removed) if !is_there && *effect == (Effect::Remove { in_bulk: false }) => {
                    return Err((
                        true,
                        format!("{key}: {token} removed an object of which nothing was told"),
                    ));
                }
                Some(Kind::Nothing) if is_there => {
                    return Err((false, format!("{key}: {token} found nothing where an object was told")));
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
                    "{key}: a read from {begin_us} to {end_us} us found {found}, which no record explains: {}",
                    self.shown()
                );
                return Err((read.found.is_none() && self.may_have_lost_a_removal(read), finding));
            }
        }
        Ok(())
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

    fn may_have_lost_a_removal(&self, read: &Read) -> bool {
        self.untold.iter().any(|operation| {
            let is_open = matches!(operation.answer, Answer::Silence { .. });
            is_open && operation.effect.is_removal() && operation.begin_us <= read.end_us
        })
    }

    /// The end of the line, for a finding.
    fn shown(&self) -> String {
        let steps = self.steps.iter().rev().take(4).rev().map(|step| {
            let Operation { token, begin_us, .. } = step.operation;
            let end_us = step.operation.end_us();
            format!("{} {token} {begin_us}..{}", step.told.event, if end_us == u64::MAX { 0 } else { end_us })
        });
        let steps: Vec<String> = steps.collect();
        format!("… {}", steps.join(", "))
    }
}
