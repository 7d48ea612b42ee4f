//! Which operation a record tells of, and what its arrival shows.

use std::collections::HashMap;

use super::Verdict;
use super::history::{Answer, History, Operation, Told};

/// The first record of each operation that was told, by the operation's place in the history. Findings that need
/// nothing but the order of arrival are added to the verdict.
pub(super) fn attribute<'a>(history: &'a History, verdict: &mut Verdict) -> HashMap<usize, &'a Told> {
    let index = Index::of(&history.operations);
    let mut first: HashMap<usize, &Told> = HashMap::new();
    let mut sequencers: HashMap<(&str, u128), usize> = HashMap::new();
    let mut newest: HashMap<&str, u128> = HashMap::new();
    for told in &history.told {
        let key = told.key.as_str();
        let at = sequencers.get(&(key, told.sequencer));
        // Where a record carries nothing of the request, one with a known sequencer is a repetition.
        let known = at.copied().filter(|_| told.token.is_none() && told.request_id.is_none());
        let Some(at) = known.or_else(|| index.find(told, &first)) else {
            verdict.phantom.push(format!("{key}: {} tells of nothing that was asked for", shown(told)));
            continue;
        };
        let operation = &history.operations[at];
        if !told.fits(operation) {
            verdict.phantom.push(format!("{key}: {} tells of other content than {operation:?}", shown(told)));
        }
        let newest = newest.entry(key).or_insert(told.sequencer);
        match first.get(&at) {
            Some(before) if before.sequencer == told.sequencer => {
                verdict.duplicates += 1;
                verdict.late_duplicates += usize::from(told.sequencer < *newest);
                continue;
            }
            Some(before) => {
                let (before, told) = (shown(before), shown(told));
                verdict.phantom.push(format!("{key}: {told} tells once more of what {before} told"));
                continue;
            }
            None => drop(first.insert(at, told)),
        }
        if operation.answer == Answer::Refused {
            verdict.phantom.push(format!(
                "{key}: {} tells of {}, which was refused",
                shown(told),
                operation.token
            ));
        }
        if sequencers.insert((key, told.sequencer), at).is_some() {
            verdict.out_of_order.push(format!("{key}: {} has the sequencer of another change", shown(told)));
        } else if told.sequencer < *newest {
            verdict.out_of_order.push(format!("{key}: {} arrived after {newest:016X}", shown(told)));
        }
        *newest = told.sequencer.max(*newest);
    }
    first
}

/// A record in a finding.
pub(super) fn shown(told: &Told) -> String {
    let token = told.token.as_deref().unwrap_or("no token");
    format!("{} {:016X} ({token})", told.event, told.sequencer)
}

/// Operations by what a record may know them by.
struct Index<'a> {
    operations: &'a [Operation],
    by_token: HashMap<(&'a str, &'a str), usize>,
    by_request: HashMap<(&'a str, &'a str), usize>,
    by_key: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Index<'a> {
    fn of(operations: &'a [Operation]) -> Index<'a> {
        let mut index = Index {
            operations,
            by_token: HashMap::new(),
            by_request: HashMap::new(),
            by_key: HashMap::new(),
        };
        for (at, operation) in operations.iter().enumerate() {
            let key = operation.key.as_str();
            index.by_token.insert((key, &operation.token), at);
            index.by_key.entry(key).or_default().push(at);
            if let Answer::Acknowledged { request_id: Some(id), .. } = &operation.answer {
                index.by_request.insert((key, id), at);
            }
        }
        for of_key in index.by_key.values_mut() {
            of_key.sort_by_key(|at| operations[*at].begin_us);
        }
        index
    }

    /// By token, else by request id, else the earliest one of its key that it fits and that was not told. A token
    /// or an id that nobody was given is of nothing.
    fn find(&self, told: &Told, first: &HashMap<usize, &Told>) -> Option<usize> {
        let key = told.key.as_str();
        if let Some(token) = &told.token {
            return self.by_token.get(&(key, token.as_str())).copied();
        }
        if let Some(at) = told.request_id.as_ref().and_then(|id| self.by_request.get(&(key, id.as_str()))) {
            return Some(*at);
        }
        let of_key = self.by_key.get(key)?;
        let is_open = |at: &&usize| {
            let operation = &self.operations[**at];
            // With ids in the records, what was acknowledged is known by its own.
            let is_known = matches!(operation.answer, Answer::Acknowledged { request_id: Some(_), .. });
            !first.contains_key(*at) && told.fits(operation) && !(told.request_id.is_some() && is_known)
        };
        of_key.iter().find(is_open).copied()
    }
}
