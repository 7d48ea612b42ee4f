//! The checker of `tests/lossless/run`: whether a store tells exactly what happened, whatever is done to it.
//!
//! A *row* is one way to be hard on a server. Writers change objects and note what they asked for and what they were
//! answered, readers note what they saw, a consumer notes what it was told and when, and something is done to the
//! server, its drives or the consumer meanwhile. Afterwards a judge compares the notes ([`judge`]); it knows nothing
//! of the server. One table comes out, and the status 1 when anything was lost, invented or out of order.
//!
//! | file | what |
//! |---|---|
//! | `rows` | the rows and what each does |
//! | `round` | one row from an empty bucket to the verdict |
//! | `subject`, `machine` | the server: a process, or one in this process over drives that lose power |
//! | `foreign`, `commanded` | a server known by its endpoint alone, and one of ours that is treated so |
//! | `load`, `writer`, `log` | the writers and their notes |
//! | `sink`, `consumer` | the consumer and its notes |
//! | `judge` | the verdict |
//! | `notes`, `table` | what was seen and found, for readers |
//!
//! What the writers do follows from the seed; when it meets what is done to the server does not.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failure ends its row with its text, the table is the purpose"
)]

mod commanded;
mod consumer;
mod foreign;
mod judge;
mod load;
mod log;
mod machine;
mod notes;
mod options;
mod round;
mod rows;
mod sink;
mod subject;
#[allow(dead_code, reason = "this program needs a part of what the suite needs")]
#[path = "../support/mod.rs"]
mod support;
mod table;
mod writer;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    // Cargo begins in a directory of its own.
    if let Some(directory) = std::env::var_os("LOSSLESS_FROM") {
        std::env::set_current_dir(directory).expect("the user stands somewhere");
    }
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("tests/lossless/run: {error}");
            return ExitCode::from(2);
        }
    };
    tidings::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime can be built").block_on(run(options))
}

async fn run(options: Options) -> ExitCode {
    if let Some(foreign) = &options.foreign
        && let Err(sentence) = foreign.check().await
    {
        eprintln!("tests/lossless/run: {sentence}");
        return ExitCode::from(2);
    }
    table::print_head(&options);
    let (mut passed, mut failed) = (0, 0);
    for row in rows::wanted(&options) {
        // What goes wrong around the judgement (a server that does not start) ends this row alone.
        let outcome = tokio::spawn(round::play(row, options.clone())).await;
        let is_clean = table::print_row(row, outcome);
        *(if is_clean { &mut passed } else { &mut failed }) += 1;
    }
    println!("\n{passed} rows passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
