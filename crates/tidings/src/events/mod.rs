//! `tidings events`: what happens in a running server and what its notification targets are told, asked over its
//! admin API and its listen stream.
//!
//! What was asked for goes to standard output, with `--json` as one object a line; what goes wrong to standard error,
//! with exit status 1.

mod place;
mod tail;

use std::process::ExitCode;

use crate::cli::{EventsCommand, Remote};
use crate::client::Client;
use crate::environment::Variables;

/// Runs a command to its end; following events has none but the reader's.
pub fn run(command: &EventsCommand, remote: &Remote, environment: &Variables, json: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let client = Client::new(remote, environment)?;
        runtime.block_on(async {
            match command {
                EventsCommand::Tail(tail) => tail::follow(&client, tail, json).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}.");
            ExitCode::FAILURE
        }
    }
}
