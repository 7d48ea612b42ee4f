//! Answers that take a while: one JSON object a line as it comes, and how far it is at once and every second.
//!
//! # Bounds
//!
//! At most [`LINES_WAITING_MAX`] lines wait for the client; whoever makes them waits then too. The answer ends when the
//! client goes away and when the server closes.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Answer;
use crate::{BoxError, Gateway};

/// How often the answer tells how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Lines that wait to be sent.
pub(super) const LINES_WAITING_MAX: usize = 64;

/// A document as a line.
pub(super) fn line(document: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(document).expect("a line is numbers and text");
    text.push(b'\n');
    text.into()
}

/// The lines that come, until nobody can send more, and between them those of `progress`.
pub(super) fn answer(
    gateway: &Gateway,
    waiting: mpsc::Receiver<Bytes>,
    progress: impl FnMut() -> Bytes + Send + 'static,
) -> Answer {
    let mut ticks = interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lines = Lines { waiting, progress, ticks, closing: gateway.closing() };
    let frames = stream::unfold(lines, |mut lines| async move {
        let line = lines.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(line)), lines))
    });
    Answer::Lines(StreamBody::new(frames).boxed_unsync())
}

/// The lines of one answer.
struct Lines<P> {
    waiting: mpsc::Receiver<Bytes>,
    progress: P,
    ticks: Interval,
    closing: CancellationToken,
}

impl<P: FnMut() -> Bytes> Lines<P> {
    /// The next line; `None` behind the last and when the server closes.
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => None,
            line = self.waiting.recv() => line,
            _ = self.ticks.tick() => Some((self.progress)()),
        }
    }
}
