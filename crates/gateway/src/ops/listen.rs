//! ListenNotification, MinIO's: changes of one bucket or of all, as they become durable, over an open
//! connection. `mc watch` and the `listen_bucket_notification` calls of MinIO's libraries use it.
//!
//! With `from=now` or `from=SEQUENCER` each line, pings included, has a `Resume` beside its `Records`: the value of
//! `from` with which another request goes on behind that line. MinIO has no such parameter.
//!
//! The head is sent at once, and every line for itself: nothing is held back to fill a block. A stream has no
//! end but the client's, the server's, or a client that stopped reading: it holds at most one page of lines,
//! since the next page is read only when the last was taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use iam::Permit;
use notify::listen::{ListenFilter, Listener, Position};
use s3::{ErrorCode, Refusal};
use store::BucketName;
use tidings_iam as iam;
use tidings_notify as notify;
use tidings_s3 as s3;
use tidings_store as store;

use crate::context::Request;
use crate::error::Failure;
use crate::route::{Operation, Outcome, Route};
use crate::{BoxError, Gateway};

/// ListenNotification on one bucket. MinIO's extension.
pub(crate) const OF_BUCKET: Operation = Operation {
    name: "ListenBucketNotification",
    route: Route::bucket("GET").query("events"),
    action: "s3:ListenBucketNotification",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

/// ListenNotification on all buckets. MinIO's extension.
pub(crate) const OF_ALL: Operation = Operation {
    name: "ListenNotification",
    route: Route::service("GET").query("events"),
    action: "s3:ListenNotification",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

/// What a client that asked for no `ping` is sent, in milliseconds between: a blank every half second.
const BLANK_MS: u64 = 500;

/// Longest time between two pings a client may ask for, in seconds: a day.
const PING_SECONDS_MAX: u64 = 24 * 60 * 60;

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let bucket = match request.bucket_text().and_then(BucketName::new) {
        Some(bucket) => Some(gateway.setup.store.bucket(&bucket)?.name.clone()),
        None => None,
    };
    let all = |name| -> Vec<String> {
        request.query.iter().filter(|(have, _)| have == name).map(|(_, value)| value.clone()).collect()
    };
    let filter = ListenFilter::check(bucket, &all("events"), &all("prefix"), &all("suffix"))?;
    let (every, sign) = keep_alive(request)?;
    let listener = listener(request, gateway, filter)?;

    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lines = Lines { listener, ready: VecDeque::new(), ticks, sign, closing: gateway.closing() };
    let frames = stream::unfold(lines, |mut lines| async move {
        let line = lines.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(line)), lines))
    });
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(reply)
}

/// A listener from where the client wants to begin.
fn listener(request: &Request, gateway: &Gateway, filter: ListenFilter) -> Result<Listener, Failure> {
    let notifier = &gateway.setup.notifier;
    let refused = |reason: String| Refusal::with(ErrorCode::InvalidArgument, reason);
    let position = match request.query("from") {
        None | Some("") => return Ok(notifier.listen(filter)),
        Some("now") => notifier.listen(filter.clone()).position(),
        Some(text) => text.parse::<Position>().map_err(refused)?,
    };
    Ok(notifier.listen_from(filter, &position).map_err(|error| refused(error.to_string()))?)
}

/// How a stream shows that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Blank,
    Ping,
}

impl Sign {
    fn to_bytes(self, listener: &Listener) -> Bytes {
        match (self, listener.tells_position()) {
            (Sign::Blank, _) => Bytes::from_static(b" "),
            (Sign::Ping, false) => Bytes::from_static(b"{\"Records\":null}\n"),
            (Sign::Ping, true) => {
                Bytes::from(format!("{{\"Records\":null,\"Resume\":\"{}\"}}\n", listener.position()))
            }
        }
    }
}

/// How often a stream shows that it lives, and how.
fn keep_alive(request: &Request) -> Result<(Duration, Sign), Failure> {
    match request.query("ping") {
        None | Some("") => Ok((Duration::from_millis(BLANK_MS), Sign::Blank)),
        Some(text) => {
            let seconds = text.parse::<u64>().ok().filter(|seconds| (1..=PING_SECONDS_MAX).contains(seconds));
            let seconds = seconds.ok_or(ErrorCode::AuthorizationQueryParametersError)?;
            Ok((Duration::from_secs(seconds), Sign::Ping))
        }
    }
}

/// The lines of one stream.
struct Lines {
    listener: Listener,
    ready: VecDeque<Bytes>,
    ticks: Interval,
    sign: Sign,
    closing: CancellationToken,
}

impl Lines {
    /// The next line, or a sign of life; `None` when the server closes.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(line) = self.ready.pop_front() {
            return Some(line);
        }
        tokio::select! {
            biased;
            () = self.closing.cancelled() => None,
            lines = self.listener.next() => {
                self.ready = lines.into();
                self.ready.pop_front()
            }
            _ = self.ticks.tick() => Some(self.sign.to_bytes(&self.listener)),
        }
    }
}
