//! The load generator of `tests/bench/run`: what a server does a second, and what that costs it.
//!
//! A *cell* is one operation at one size from so many connections. Every cell has fixed requests, built and
//! signed before its clock starts, and ends when they are used up or its seconds are over; what is under way
//! then is waited for and counted. One thread generates all load, so that it never takes more than one core
//! from the server beside it. The limits (a bare HTTP server, the raw drives, MD5) are measured in the same
//! run by the same thread, because on a shared machine only ratios within a run mean anything.
//!
//! What is not here: starting several servers, networks other than loopback, open-loop load. Latencies are
//! those of closed loops: a client sends its next request when it has its answer.

#![allow(clippy::print_stdout, reason = "tables on standard output are what this program is for")]

mod beside;
mod cells;
mod connection;
mod echo;
mod events;
mod limits;
mod load;
mod million;
mod options;
mod requests;
mod server;
mod sink;
mod start;
mod table;

use std::error::Error;
use std::process::ExitCode;

use options::Options;
use server::Server;
use table::Report;

/// The result of anything that can go wrong in a run; every failure ends it with its text.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The echo server is this program again, so that its processor time is told apart from the generator's.
    if let [flag, port] = &arguments[..]
        && flag == echo::FLAG
    {
        return told(echo::serve(port));
    }
    if let [flag, port, delay_ms] = &arguments[..]
        && flag == sink::FLAG
    {
        return told(sink::serve(port, delay_ms));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    told(runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&arguments))))
}

fn told(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tests/bench/run: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Outcome<()> {
    let options = Options::parse(arguments)?;
    let mut report = Report::default();
    table::machine(&options)?;
    if options.wants("start") && options.endpoint.is_none() {
        start::measure(&options, &mut report).await?;
    }
    // Five minutes of writing: not among the quick ones.
    if options.wants("million") && options.endpoint.is_none() && !options.quick {
        million::measure(&options, &mut report).await?;
    }
    if options.wants("events") && options.endpoint.is_none() && !options.quick {
        events::measure(&options, &mut report).await?;
    }
    if options.wants("backlog") && options.endpoint.is_none() {
        events::backlogs(&options, &mut report).await?;
    }
    if options.wants("limits") {
        limits::measure(&options, &mut report).await?;
        echo::measure(&options, &mut report).await?;
    }
    let server = Server::start(&options).await?;
    cells::measure(&options, &server, &mut report).await?;
    server.stop()?;
    table::print_against_limits(&report);
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report.to_json())?)?;
    }
    match report.failures() {
        0 => Ok(()),
        failures => Err(format!("{failures} requests failed").into()),
    }
}
