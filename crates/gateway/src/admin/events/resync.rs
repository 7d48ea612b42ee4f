//! `tidings events resync`: a target is sent a bucket as it is now.
//!
//! The answer is one JSON object a line, a [`Line`]. It goes on to its end when the client goes away: a target is never
//! left with a part of a bucket because of that. An answer without a sum is not a whole one.

use std::sync::Arc;

use http::Method;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use notify::Resynced;
use s3::{ErrorCode, Refusal};
use store::BucketName;
use tidings_notify as notify;
use tidings_s3 as s3;
use tidings_store as store;

use super::super::lines::{self, line};
use super::super::{AdminRequest, Answer, Call};
use super::{refusal, target};
use crate::Gateway;

pub(in crate::admin) const RESYNC: Call = Call {
    method: Method::POST,
    path: "/events/resync",
    run: |gateway, request| Box::pin(resync(gateway, request)),
};

/// A line of the answer.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// How far it is.
    Progress(Resynced),
    /// What was done: the last line.
    Sum(Resynced),
    /// Why not everything was sent, a clause: the last line.
    Failed(String),
}

async fn resync(gateway: &Gateway, request: &AdminRequest) -> Result<Answer, Refusal> {
    let (notifier, target) = (Arc::clone(&gateway.setup.notifier), target(request)?);
    let bucket = BucketName::new(request.query("bucket")).ok_or_else(|| {
        Refusal::with(ErrorCode::InvalidArgument, "The parameter bucket is missing or names no bucket.")
    })?;
    let resync = notifier.resync(&target, &bucket).await.map_err(|error| refusal(&error))?;
    let (told, seen) = watch::channel(Resynced::default());
    let (last, waiting) = mpsc::channel(1);
    let closing = gateway.closing();
    let work = gateway.to_the_end(async move {
        let done = tokio::select! {
            done = resync.run(&told) => done.map_err(|error| error.to_string()),
            () = closing.cancelled() => Err("the server is shutting down".to_owned()),
        };
        // Whoever asked may be gone.
        let _ = last.send(line(&done.map_or_else(Line::Failed, Line::Sum))).await;
    });
    drop(work);
    Ok(lines::answer(gateway, waiting, move || line(&Line::Progress(*seen.borrow()))))
}
