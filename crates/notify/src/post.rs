//! Posting to one URL over connections of its own: HTTP/1.1, one post at a time on each.
//!
//! Whoever posts takes a connection that is idle, or makes one, and drives it until the answer is there: no task stands
//! behind a connection and no channel of ours leads to it. So a post wakes nobody but the relay that waits for it, and
//! the relay of a busy server finds several answers when its turn comes.
//!
//! # Bounds
//!
//! There are as many connections as posts under way. So many as [`Post::new`] is told are kept idle, each for
//! [`IDLE_MAX`]; nobody watches them meanwhile. That the other side closed one is found by the next post, which is then
//! sent once more over a new one: what had arrived before its connection broke arrives twice.
//!
//! What is not here: proxies, redirects and credentials in URLs; [`http`](crate::http) has a client for those.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use reqwest::Url;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout};

use crate::dial::{Dial, Stream};
use crate::http::{ANSWER_BYTES_MAX, CONNECT_MS};
use crate::target::in_full;

/// How long an idle connection is kept: most servers close theirs earlier.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// What was answered, its body cut where it is longer than anybody needs.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

/// See the module header.
pub(crate) struct Post {
    dial: Dial,
    /// Path and query.
    uri: Uri,
    /// Sent with every post.
    headers: HeaderMap,
    answer_max: Duration,
    idle_max: usize,
    /// With the time since which each is idle; the last one was used last.
    idle: Mutex<Vec<(Instant, Line)>>,
}

/// What moves the bytes of a connection.
type Driver = Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// A connection.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// Absent when it has ended.
    driver: Option<Driver>,
}

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
        let uri = Uri::try_from(whole.path_and_query()?.as_str()).ok()?;
        let answer_max = Duration::from_millis(answer_ms);
        Some(Post { dial, uri, headers, answer_max, idle_max: connections, idle: Mutex::default() })
    }

    /// Posts a body, with further headers.
    ///
    /// # Errors
    ///
    /// A clause, when there was no answer.
    pub(crate) async fn send(
        &self,
        body: &Bytes,
        further: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, String> {
        let sending = timeout(self.answer_max, self.exchange(body, further)).await;
        sending.unwrap_or_else(|_| Err(format!("no answer within {} ms", self.answer_max.as_millis())))
    }

    async fn exchange(&self, body: &Bytes, further: &[(HeaderName, HeaderValue)]) -> Result<Answer, String> {
        if let Some(mut line) = self.take_idle()
            && let Ok(answer) = line.exchange(self.request(body, further)).await
        {
            self.keep(line);
            return Ok(answer);
        }
        let mut line = self.connect().await?;
        let answer = line.exchange(self.request(body, further)).await.map_err(|error| in_full(&error))?;
        self.keep(line);
        Ok(answer)
    }

    fn request(&self, body: &Bytes, further: &[(HeaderName, HeaderValue)]) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().extend(further.iter().cloned());
        request
    }

    async fn connect(&self) -> Result<Line, String> {
        let Dial { host, port, .. } = &self.dial;
        let connecting = timeout(Duration::from_millis(CONNECT_MS), self.dial.connect()).await;
        let stream =
            connecting.map_err(|_| format!("{host}:{port} did not answer within {CONNECT_MS} ms"))??;
        let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(|error| in_full(&error))?;
        Ok(Line { sender, driver: Some(driver) })
    }

    /// The connection that was used last; none where that is too long ago.
    fn take_idle(&self) -> Option<Line> {
        let mut idle = self.idle.lock();
        while let Some((since, line)) = idle.pop() {
            if since.elapsed() < IDLE_MAX {
                return Some(line);
            }
        }
        None
    }

    /// Keeps a connection, unless it has ended or there are enough, and lets one go that was idle for too long.
    fn keep(&self, line: Line) {
        let mut idle = self.idle.lock();
        if idle.first().is_some_and(|(since, _)| since.elapsed() >= IDLE_MAX) {
            idle.remove(0);
        }
        if line.sender.is_ready() && idle.len() < self.idle_max {
            idle.push((Instant::now(), line));
        }
    }
}

impl Line {
    /// Sends a request and reads the answer.
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        let Line { sender, driver } = self;
        let answering = sender.send_request(request);
        let mut reading = pin!(async { read(answering.await?).await });
        // Both in one task, the connection first: what it read is what the answer waits for.
        std::future::poll_fn(|cx| {
            if let Some(running) = driver
                && Pin::new(running).poll(cx).is_ready()
            {
                // Its end, and why, is told by the answer.
                *driver = None;
            }
            reading.as_mut().poll(cx)
        })
        .await
    }
}

/// Reads an answer. One that is longer than anybody needs takes its connection with it.
async fn read(answer: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, mut body) = answer.into_parts();
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        read.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| &data[..]));
        if read.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(Answer { status: head.status, text: String::from_utf8_lossy(&read).into_owned() })
}
