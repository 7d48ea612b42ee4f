//! Everything that was seen of a row, as text: so that who doubts a finding can look at its key by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::judge::{Answer, Effect, History, Verdict};

/// All findings, a sentence a line.
pub(crate) fn found(verdict: &Verdict) -> String {
    let kinds =
        [("lost", &verdict.lost), ("phantom", &verdict.phantom), ("out of order", &verdict.out_of_order)];
    let lines =
        kinds.into_iter().flat_map(|(kind, found)| found.iter().map(move |it| format!("{kind}: {it}\n")));
    lines.collect()
}

/// The notes of a row, by key. Times are microseconds since the row began; what was told stands in order of arrival,
/// with its place among all.
pub(crate) fn noted(history: &History) -> String {
    let mut keys: BTreeMap<&str, Vec<(u64, String)>> = BTreeMap::new();
    for operation in &history.operations {
        let what = match &operation.effect {
            Effect::Write { size_bytes, .. } => format!("write of {size_bytes} bytes"),
            Effect::Remove { in_bulk: false } => "delete".to_owned(),
            Effect::Remove { in_bulk: true } => "delete in bulk".to_owned(),
        };
        let (begin_us, token) = (operation.begin_us, &operation.token);
        let answer = match &operation.answer {
            Answer::Acknowledged { end_us, .. } => format!("{begin_us}..{end_us} acknowledged"),
            Answer::Refused => format!("{begin_us} refused"),
            Answer::Silence { settled_us: Some(at_us) } => {
                format!("{begin_us} not answered, settled {at_us}")
            }
            Answer::Silence { settled_us: None } => format!("{begin_us} not answered"),
        };
        keys.entry(&operation.key).or_default().push((begin_us, format!("{answer}: {token}, {what}")));
    }
    for read in &history.reads {
        let found = read.found.as_deref().unwrap_or("nothing");
        let line = format!("{}..{} read: found {found}", read.begin_us, read.end_us);
        keys.entry(&read.key).or_default().push((read.begin_us, line));
    }
    let mut text = String::new();
    for (key, mut lines) in keys {
        lines.sort();
        let _ = writeln!(text, "{key}");
        for (_, line) in lines {
            let _ = writeln!(text, "  {line}");
        }
        let of_key = history.told.iter().enumerate().filter(|(_, told)| told.key == key);
        for (place, told) in of_key {
            let token = told.token.as_deref().unwrap_or("no token");
            let _ = writeln!(text, "  told {place}: {:016X} {} {token}", told.sequencer, told.event);
        }
    }
    text
}
