//! `tidings events`: what happens in a running server and what its notification targets are told, asked over its
//! admin API and its listen stream.
//!
//! What was asked for goes to standard output, with `--json` as one object a line; what goes wrong to standard error,
//! with exit status 1.

mod dead;
mod lag;
mod place;
mod resync;
mod tail;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use http::Method;
use serde_json::Value;
use tidings_s3::percent::encode_component;
use tidings_store::{Clock as _, SystemClock};

use crate::cli::{EventsCommand, Remote};
use crate::client::Client;
use crate::environment::Variables;
use place::Place;

/// Where the calls are.
const BASE: &str = "/minio/tidings/v1/events";

/// Runs a command to its end; following events has none but the reader's.
pub fn run(command: &EventsCommand, remote: &Remote, environment: &Variables, json: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let client = Client::new(remote, environment)?;
        runtime.block_on(async {
            match command {
                EventsCommand::Tail(tail) => tail::follow(&client, tail, json).await,
                EventsCommand::Lag => lag::tell(&client, json).await,
                EventsCommand::Pause(of) => set_paused(&client, "pause", &of.target, json).await,
                EventsCommand::Resume(of) => set_paused(&client, "resume", &of.target, json).await,
                EventsCommand::Replay { of, from, rules } => {
                    replay(&client, &of.target, from, rules, json).await
                }
                EventsCommand::Resync { of, bucket } => resync::run(&client, &of.target, bucket, json).await,
                EventsCommand::Dead { command } => dead::run(&client, command, json).await,
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

/// Prints a line; that nobody reads it any more is no error.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Asks a call with these parameters.
async fn ask(client: &Client, method: Method, call: &str, fields: &[(&str, &str)]) -> Result<Value, String> {
    Ok(client.document(method, &format!("{BASE}/{call}"), &query(fields)).await?)
}

/// These parameters as a query, encoded and sorted as a signature wants it.
fn query(fields: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encode_component(value.as_bytes()))).collect();
    pairs.sort_unstable();
    pairs.join("&")
}

async fn set_paused(client: &Client, call: &str, target: &str, json: bool) -> Result<(), String> {
    ask(client, Method::POST, call, &[("target", target)]).await?;
    if !json {
        say(format_args!("{target} is {call}d."));
    }
    Ok(())
}

async fn replay(client: &Client, target: &str, from: &str, rules: &str, json: bool) -> Result<(), String> {
    let place = Place::parse(from, SystemClock.now_ms())?;
    let (name, value) = match &place {
        Place::Time(time_ms) => ("time_ms", time_ms.to_string()),
        Place::Sequencer(sequencer) => ("sequencer", sequencer.clone()),
    };
    let said =
        ask(client, Method::POST, "replay", &[("target", target), (name, &value), ("rules", rules)]).await?;
    match said["begins"].as_str() {
        _ if json => say(&said),
        Some(begins) if rules == "now" => {
            say(format_args!("{target} is sent what the rules of now tell it from {begins} on."));
        }
        Some(begins) => say(format_args!("{target} is sent again what named it from {begins} on.")),
        None => say(format_args!("Nothing has happened since: {target} goes on with what is new.")),
    }
    Ok(())
}
