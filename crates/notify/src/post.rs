//! Posting to one URL over connections of its own: HTTP/1.1, on each one post after the other or several at once.
//!
//! Whoever posts takes a connection that is idle, or makes one, writes its requests with one call and reads until their
//! answers are there: no task stands behind a connection and no channel leads to it. So a post wakes nobody but the
//! relay that waits for it, and the relay of a busy server finds several answers when its turn comes.
//!
//! # Several at once
//!
//! Posts that are ready together go out in one write, and are answered one after the other (pipelining). RFC 9112,
//! §9.3.2, allows that to who can recover when only some are answered: here each answer counts for its own post, and
//! what has none is sent again, over a new connection, so that it may arrive twice; but for what stood behind an answer
//! that announced the end of its connection, which nobody has looked at. Only a connection that has answered as
//! HTTP/1.1 does, and kept itself open, is given several, so a new one begins with one. How many is the endpoint's
//! doing: see `post/pace.rs`.
//!
//! # Bounds
//!
//! There are as many connections as calls of [`Post::send`] under way, and on each at most
//! [`DEPTH_MAX`](pace::DEPTH_MAX) posts; their bytes are bounded by who makes the batch. All posts of a call have the
//! time that one has. So many connections as [`Post::new`] is told are kept idle, each for [`IDLE_MAX`] and with
//! [`BUFFER_BYTES_KEPT`] for each direction; nobody watches them meanwhile.
//! One that the other side closed, or on which it said something unasked, is let go when its turn comes. Where that is
//! not seen in time, the post is sent once more over a new connection: what had arrived before its connection broke
//! arrives twice. So a post is sent three times at most: among several, alone after others, and over a new connection;
//! not counting where it stood behind one that announced the end.
//!
//! How an answer is read is in `post/answer.rs`, what is done on a connection in `post/line.rs`. What is not here:
//! proxies, redirects and credentials in URLs; [`http`](crate::http) has a client for those.

mod answer;
mod line;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use ::http::Uri;
use ::http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper_util::client::proxy::matcher::Matcher;
use parking_lot::Mutex;
use reqwest::Url;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout};

use crate::dial::Dial;
use crate::http::CONNECT_MS;
pub(crate) use crate::post::answer::Answer;
use crate::post::line::{Line, Shown};
use crate::post::pace::Pace;

/// How long an idle connection is kept: most servers close theirs earlier.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// What a connection keeps of a buffer that was larger once, in bytes: sixteen records of the usual size.
const BUFFER_BYTES_KEPT: usize = 32 << 10;

/// See the module header.
pub(crate) struct Post {
    dial: Dial,
    /// What every request begins with: its first line and headers, without the empty line behind them.
    head: Vec<u8>,
    answer_max: Duration,
    idle_max: usize,
    /// With the time since which each is idle; the last one was used last.
    idle: Mutex<Vec<(Instant, Line)>>,
    pace: Pace,
}

/// What is posted.
pub(crate) struct Letter<'a> {
    pub(crate) body: &'a [u8],
    /// Headers beside those that every request has.
    pub(crate) further: &'a [(HeaderName, HeaderValue)],
}

/// What became of a letter: its answer, or a clause where there was none.
pub(crate) type Reply = Result<Answer, String>;

impl Post {
    /// Posts to a URL, with these headers, that wait so long for an answer; so many idle connections are kept.
    /// `None` when a proxy stands before the URL, it has credentials in it, or no request can name it.
    pub(crate) fn new(
        url: &Url,
        proxies: &Matcher,
        mut tls: ClientConfig,
        mut headers: HeaderMap,
        answer_ms: u64,
        connections: usize,
    ) -> Option<Post> {
        let whole = Uri::try_from(url.as_str()).ok()?;
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        if has_credentials || proxies.intercept(&whole).is_some() {
            return None;
        }
        let host = url.host_str()?;
        let named = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        headers.insert(HOST, HeaderValue::from_str(&named).ok()?);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let dial = Dial {
            host: host.to_owned(),
            port: url.port_or_known_default()?,
            tls: (url.scheme() == "https").then(|| Arc::new(tls)),
        };
        let mut head = format!("POST {} HTTP/1.1\r\n", whole.path_and_query()?).into_bytes();
        headers.iter().for_each(|(name, value)| write_header(&mut head, name.as_str(), value.as_bytes()));
        let answer_max = Duration::from_millis(answer_ms);
        let (idle, pace) = (Mutex::default(), Pace::default());
        Some(Post { dial, head, answer_max, idle_max: connections, idle, pace })
    }

    /// How many letters should go together now, from 1 to [`DEPTH_MAX`](pace::DEPTH_MAX).
    pub(crate) fn depth(&self) -> usize {
        self.pace.depth()
    }

    /// Posts letters over one connection after the other: what became of each, in their order.
    pub(crate) async fn send(&self, letters: &[Letter<'_>]) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(letters.len());
        if timeout(self.answer_max, self.exchange(letters, &mut replies)).await.is_err() {
            if letters.len() > 1 {
                self.pace.failed();
            }
            let late = || Err(format!("no answer within {} ms", self.answer_max.as_millis()));
            replies.resize_with(letters.len(), late);
        }
        replies
    }

    /// Adds a reply for each letter, as they come.
    async fn exchange(&self, letters: &[Letter<'_>], replies: &mut Vec<Reply>) {
        let mut idle = self.take_idle();
        while replies.len() < letters.len() {
            let mut line = match idle.take() {
                Some(line) => line,
                // Rare, and large by what TLS needs: apart, so that the other posts need not hold room for it.
                None => match Box::pin(self.connect()).await {
                    Ok(line) => line,
                    // Nobody is there, for whatever is left.
                    Err(reason) => return replies.resize(letters.len(), Err(reason)),
                },
            };
            let left = &letters[replies.len()..];
            let depth = if line.shown == Shown::Persists { self.depth() } else { 1 };
            let together = &left[..depth.min(left.len())];
            let was_new = line.shown == Shown::Nothing;
            match self.exchange_over(&mut line, together, replies).await {
                Ok(true) => idle = Some(line),
                // What is left where the other side said that it ends the connection goes over a new one.
                Ok(false) => {}
                // What is left goes over a new connection, one by one.
                Err(_) if together.len() > 1 => self.pace.failed(),
                Err(reason) if was_new => replies.push(Err(reason)),
                // It was closed while nobody watched it: once more over a new one.
                Err(_) => {}
            }
        }
        if let Some(line) = idle {
            self.keep(line);
        }
    }

    /// Sends letters in one write and reads their answers. Whether another can follow; some may be left when not.
    async fn exchange_over(
        &self,
        line: &mut Line,
        letters: &[Letter<'_>],
        replies: &mut Vec<Reply>,
    ) -> Result<bool, String> {
        for Letter { body, further } in letters {
            line.request.extend_from_slice(&self.head);
            for (name, value) in *further {
                write_header(&mut line.request, name.as_str(), value.as_bytes());
            }
            write_header(&mut line.request, CONTENT_LENGTH.as_str(), body.len().to_string().as_bytes());
            line.request.extend_from_slice(b"\r\n");
            line.request.extend_from_slice(body);
        }
        let begun = Instant::now();
        let before = replies.len();
        let keeps = line.exchange(letters.len(), replies).await?;
        self.pace.answered(replies.len() - before, begun.elapsed());
        Ok(keeps)
    }

    async fn connect(&self) -> Result<Line, String> {
        let Dial { host, port, .. } = &self.dial;
        let connecting = timeout(Duration::from_millis(CONNECT_MS), self.dial.connect()).await;
        let stream =
            connecting.map_err(|_| format!("{host}:{port} did not answer within {CONNECT_MS} ms"))??;
        Ok(Line::new(stream))
    }

    /// The connection that was used last; none where that is too long ago. Those on which something came are let go.
    fn take_idle(&self) -> Option<Line> {
        loop {
            let (since, mut line) = self.idle.lock().pop()?;
            if since.elapsed() < IDLE_MAX && line.is_quiet() {
                return Some(line);
            }
        }
    }

    /// Keeps a connection, unless there are enough, and lets one go that was idle for too long.
    fn keep(&self, mut line: Line) {
        line.shrink_to(BUFFER_BYTES_KEPT);
        let mut idle = self.idle.lock();
        if idle.first().is_some_and(|(since, _)| since.elapsed() >= IDLE_MAX) {
            idle.remove(0);
        }
        if idle.len() < self.idle_max {
            idle.push((Instant::now(), line));
        }
    }
}

fn write_header(request: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        request.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
