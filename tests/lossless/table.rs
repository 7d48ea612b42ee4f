//! The one table of a run, and under it what was found.

use tokio::task::JoinError;

use crate::options::Options;
use crate::round::Outcome;
use crate::rows::Row;

/// Findings of a kind that are told in full.
const SHOWN_MAX: usize = 10;

/// Prints what the run is and the head of the table.
pub(crate) fn print_head(options: &Options) {
    let length = if options.long { "long" } else { "short" };
    let server = options.foreign.as_ref().map_or("tidings", |foreign| &foreign.endpoint);
    println!("lossless: {length} run of {server}, seed {}\n", options.seed);
    println!(
        "| row | seed | seconds | operations | acknowledged | refused | no answer | of these announced | announced | \
         duplicates | of these late | lost | phantom | out of order |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
}

/// What ended a row before it could be judged.
fn why(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no reason given").to_owned()
}

/// Prints a row. Whether nothing was found.
pub(crate) fn print_row(row: &Row, outcome: Result<Outcome, JoinError>) -> bool {
    let Outcome { seed, seconds, verdict } = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            println!("| {} | could not be judged: {} |", row.name, why(error));
            return false;
        }
    };
    let operations = verdict.acknowledged + verdict.refused + verdict.unanswered;
    println!(
        "| {} | {seed} | {seconds:.1} | {operations} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        row.name,
        verdict.acknowledged,
        verdict.refused,
        verdict.unanswered,
        verdict.announced_unanswered,
        verdict.announced,
        verdict.duplicates,
        verdict.late_duplicates,
        verdict.lost.len(),
        verdict.phantom.len(),
        verdict.out_of_order.len()
    );
    let found =
        [("lost", &verdict.lost), ("phantom", &verdict.phantom), ("out of order", &verdict.out_of_order)];
    for (kind, findings) in found {
        for finding in findings.iter().take(SHOWN_MAX) {
            eprintln!("{}: {kind}: {finding}", row.name);
        }
        if findings.len() > SHOWN_MAX {
            eprintln!("{}: {kind}: … and {} more", row.name, findings.len() - SHOWN_MAX);
        }
    }
    verdict.is_clean()
}
