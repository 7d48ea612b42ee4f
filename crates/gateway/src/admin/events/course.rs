//! `tidings events pause`, `resume` and `replay`: the course of a target's deliveries.
//!
//! All of them go on to their end when the client goes away: a target is never left between two states.

use std::sync::Arc;

use http::Method;
use serde_json::json;

use notify::{ReplayBy, ReplayFrom};
use s3::{ErrorCode, Refusal};
use tidings_notify as notify;
use tidings_s3 as s3;

use super::super::{AdminRequest, Answer, Call};
use super::{refusal, sequence, target};
use crate::Gateway;

pub(in crate::admin) const PAUSE: Call = Call {
    method: Method::POST,
    path: "/events/pause",
    run: |gateway, request| Box::pin(set_paused(gateway, request, true)),
};

pub(in crate::admin) const RESUME: Call = Call {
    method: Method::POST,
    path: "/events/resume",
    run: |gateway, request| Box::pin(set_paused(gateway, request, false)),
};

pub(in crate::admin) const REPLAY: Call = Call {
    method: Method::POST,
    path: "/events/replay",
    run: |gateway, request| Box::pin(replay(gateway, request)),
};

async fn set_paused(gateway: &Gateway, request: &AdminRequest, is_paused: bool) -> Result<Answer, Refusal> {
    let (notifier, target) = (Arc::clone(&gateway.setup.notifier), target(request)?);
    let done = gateway.to_the_end(async move {
        if is_paused { notifier.pause(&target).await } else { notifier.resume(&target).await }
    });
    done.await.map_err(|error| refusal(&error))?;
    Ok(Answer::Empty)
}

async fn replay(gateway: &Gateway, request: &AdminRequest) -> Result<Answer, Refusal> {
    let (notifier, target) = (Arc::clone(&gateway.setup.notifier), target(request)?);
    let (from, by) = (from(request)?, by(request)?);
    let replayed = gateway.to_the_end(async move { notifier.replay(&target, from, by).await });
    let replayed = replayed.await.map_err(|error| refusal(&error))?;
    // What is oldest of all sets: what a person asked for is one place.
    let begins = replayed.begins.iter().map(|&(_, sequence)| sequence).min();
    Ok(Answer::Json(json!({ "begins": begins.map(|sequence| sequence.to_sequencer()) })))
}

fn by(request: &AdminRequest) -> Result<ReplayBy, Refusal> {
    match request.query("rules") {
        "" | "then" => Ok(ReplayBy::RulesOfThen),
        "now" => Ok(ReplayBy::RulesOfNow),
        other => {
            let reason = format!("rules is {other}, a replay goes by the rules of then or of now.");
            Err(Refusal::with(ErrorCode::InvalidArgument, reason))
        }
    }
}

fn from(request: &AdminRequest) -> Result<ReplayFrom, Refusal> {
    if let Some(sequence) = sequence(request, "sequencer")? {
        return Ok(ReplayFrom::Sequence(sequence));
    }
    request.query("time_ms").parse().map(ReplayFrom::Time).map_err(|_| {
        let reason =
            "A replay begins at a sequencer or at time_ms, milliseconds since 1970; neither is given.";
        Refusal::with(ErrorCode::InvalidArgument, reason)
    })
}
