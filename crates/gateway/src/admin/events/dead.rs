//! `tidings events dead`: the records that a target refuses for what they hold.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use notify::{Event, Resent};
use s3::{ErrorCode, Refusal};
use store::DeadLetter;
use tidings_notify as notify;
use tidings_s3 as s3;
use tidings_store as store;

use super::super::{AdminRequest, Answer, Call};
use super::{refusal, sequence, sequencer, target};
use crate::Gateway;

/// Dead letters told at once, and where `limit` says nothing.
const LETTERS_MAX: usize = 1000;

pub(in crate::admin) const LIST: Call = Call {
    method: Method::GET,
    path: "/events/dead",
    run: |gateway, request| Box::pin(list(gateway, request)),
};

pub(in crate::admin) const SHOW: Call = Call {
    method: Method::GET,
    path: "/events/dead/letter",
    run: |gateway, request| Box::pin(show(gateway, request)),
};

pub(in crate::admin) const RESEND: Call = Call {
    method: Method::POST,
    path: "/events/dead/resend",
    run: |gateway, request| Box::pin(resend(gateway, request)),
};

pub(in crate::admin) const DROP: Call = Call {
    method: Method::POST,
    path: "/events/dead/drop",
    run: |gateway, request| Box::pin(drop_letter(gateway, request)),
};

async fn list(gateway: &Gateway, request: &AdminRequest) -> Result<Answer, Refusal> {
    let (target, after) = (target(request)?, sequence(request, "after")?);
    let limit = match request.query("limit") {
        "" => LETTERS_MAX,
        text => {
            text.parse::<usize>().ok().filter(|limit| (1..=LETTERS_MAX).contains(limit)).ok_or_else(|| {
                Refusal::with(
                    ErrorCode::InvalidArgument,
                    format!("limit is a number from 1 to {LETTERS_MAX}."),
                )
            })?
        }
    };
    let letters = gateway.setup.notifier.dead_letters(&target, after, limit).await;
    let letters = letters.map_err(|error| refusal(&error))?;
    Ok(Answer::Json(json!({ "letters": letters.iter().map(document).collect::<Vec<_>>() })))
}

async fn show(gateway: &Gateway, request: &AdminRequest) -> Result<Answer, Refusal> {
    let notifier = &gateway.setup.notifier;
    let letter = notifier.dead_letter(&target(request)?, None, sequencer(request)?).await;
    let letter = letter.map_err(|error| refusal(&error))?;
    let record = notifier.record(&letter.change);
    let mut document = document(&letter);
    document["record"] = serde_json::from_slice(&record).unwrap_or_default();
    Ok(Answer::Json(document))
}

async fn resend(gateway: &Gateway, request: &AdminRequest) -> Result<Answer, Refusal> {
    let (notifier, target) = (Arc::clone(&gateway.setup.notifier), target(request)?);
    let sequence = sequencer(request)?;
    let resent = gateway.to_the_end(async move { notifier.resend(&target, sequence).await });
    Ok(Answer::Json(match resent.await.map_err(|error| refusal(&error))? {
        Resent::Acknowledged => json!({ "acknowledged": true }),
        Resent::Kept(reason) => json!({ "acknowledged": false, "reason": reason }),
    }))
}

async fn drop_letter(gateway: &Gateway, request: &AdminRequest) -> Result<Answer, Refusal> {
    let (notifier, target) = (Arc::clone(&gateway.setup.notifier), target(request)?);
    let sequence = sequencer(request)?;
    let dropped = gateway.to_the_end(async move { notifier.drop_dead(&target, sequence).await });
    dropped.await.map_err(|error| refusal(&error))?;
    Ok(Answer::Empty)
}

fn document(letter: &DeadLetter) -> Value {
    let change = &letter.change;
    json!({
        "sequencer": change.sequence.to_sequencer(),
        "event": Event::of(change.kind).as_str(),
        "bucket": change.bucket.as_str(),
        "key": change.key,
        "time_ms": change.time_ms,
        "died_ms": letter.died_ms,
        "tries": letter.tries,
        "reason": letter.reason,
    })
}
