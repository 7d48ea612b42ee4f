//! Posting to one URL over connections of its own: HTTP/1.1, one post at a time on each.
//!
//! Whoever posts takes a connection that is idle, or makes one, writes its request with one call and reads until the
//! answer is there: no task stands behind a connection and no channel leads to it. So a post wakes nobody but the relay
//! that waits for it, and the relay of a busy server finds several answers when its turn comes.
//!
//! # Bounds
//!
//! There are as many connections as posts under way. So many as [`Post::new`] is told are kept idle, each for
//! [`IDLE_MAX`] and with [`BUFFER_BYTES_KEPT`] for each direction; nobody watches them meanwhile. One that the other
//! side closed, or on which it said something unasked, is let go when its turn comes. Where that is not seen in time,
//! the post is sent once more over a new connection: what had arrived before its connection broke arrives twice.
//!
//! How an answer is read is in `post/answer.rs`. What is not here: proxies, redirects and credentials in URLs;
//! [`http`](crate::http) has a client for those.

mod answer;

use std::sync::Arc;
use std::time::Duration;

use ::http::Uri;
use ::http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use futures_util::FutureExt;
use hyper_util::client::proxy::matcher::Matcher;
use parking_lot::Mutex;
use reqwest::Url;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::dial::{Dial, Stream};
use crate::http::CONNECT_MS;
pub(crate) use crate::post::answer::Answer;
use crate::post::answer::Arriving;

/// How long an idle connection is kept: most servers close theirs earlier.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// What a connection keeps of a buffer that was larger once, in bytes.
const BUFFER_BYTES_KEPT: usize = 16 << 10;

/// Room for an answer: nearly all fit.
const READ_BYTES: usize = 4 << 10;

/// See the module header.
pub(crate) struct Post {
    dial: Dial,
    /// What every request begins with: its first line and headers, without the empty line behind them.
    head: Vec<u8>,
    answer_max: Duration,
    idle_max: usize,
    /// With the time since which each is idle; the last one was used last.
    idle: Mutex<Vec<(Instant, Line)>>,
}

/// A connection.
struct Line {
    stream: Box<dyn Stream>,
    request: Vec<u8>,
    read: Vec<u8>,
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
        let mut head = format!("POST {} HTTP/1.1\r\n", whole.path_and_query()?).into_bytes();
        headers.iter().for_each(|(name, value)| write_header(&mut head, name.as_str(), value.as_bytes()));
        let answer_max = Duration::from_millis(answer_ms);
        Some(Post { dial, head, answer_max, idle_max: connections, idle: Mutex::default() })
    }

    /// Posts a body, with further headers.
    ///
    /// # Errors
    ///
    /// A clause, when there was no answer.
    pub(crate) async fn send(
        &self,
        body: &[u8],
        further: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, String> {
        let sending = timeout(self.answer_max, self.exchange(body, further)).await;
        sending.unwrap_or_else(|_| Err(format!("no answer within {} ms", self.answer_max.as_millis())))
    }

    async fn exchange(&self, body: &[u8], further: &[(HeaderName, HeaderValue)]) -> Result<Answer, String> {
        if let Some(line) = self.take_idle()
            && let Ok(answer) = self.exchange_over(line, body, further).await
        {
            return Ok(answer);
        }
        // Rare, and large by what TLS needs: apart, so that the other posts need not hold room for it.
        let line = Box::pin(self.connect()).await?;
        self.exchange_over(line, body, further).await
    }

    /// Sends a request, reads the answer, and keeps the connection if another answer can follow.
    async fn exchange_over(
        &self,
        mut line: Line,
        body: &[u8],
        further: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, String> {
        line.request.extend_from_slice(&self.head);
        for (name, value) in further {
            write_header(&mut line.request, name.as_str(), value.as_bytes());
        }
        write_header(&mut line.request, CONTENT_LENGTH.as_str(), body.len().to_string().as_bytes());
        line.request.extend_from_slice(b"\r\n");
        line.request.extend_from_slice(body);
        let (answer, keeps) = line.exchange().await?;
        if keeps {
            self.keep(line);
        }
        Ok(answer)
    }

    async fn connect(&self) -> Result<Line, String> {
        let Dial { host, port, .. } = &self.dial;
        let connecting = timeout(Duration::from_millis(CONNECT_MS), self.dial.connect()).await;
        let stream =
            connecting.map_err(|_| format!("{host}:{port} did not answer within {CONNECT_MS} ms"))??;
        Ok(Line { stream, request: Vec::new(), read: Vec::with_capacity(READ_BYTES) })
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
        line.request.clear();
        line.request.shrink_to(BUFFER_BYTES_KEPT);
        line.read.shrink_to(BUFFER_BYTES_KEPT);
        let mut idle = self.idle.lock();
        if idle.first().is_some_and(|(since, _)| since.elapsed() >= IDLE_MAX) {
            idle.remove(0);
        }
        if idle.len() < self.idle_max {
            idle.push((Instant::now(), line));
        }
    }
}

impl Line {
    /// Whether nothing came that nobody asked for: neither bytes nor the end. Asks the kernel only where it told of
    /// something.
    fn is_quiet(&mut self) -> bool {
        self.stream.read_buf(&mut self.read).now_or_never().is_none()
    }

    /// Sends the request and reads its answer, and whether another can follow.
    async fn exchange(&mut self) -> Result<(Answer, bool), String> {
        let broke = |error| format!("the connection broke: {error}");
        self.stream.write_all(&self.request).await.map_err(broke)?;
        // Of TLS, which may hold some of it back.
        self.stream.flush().await.map_err(broke)?;
        let mut arriving = Arriving::new();
        loop {
            let has_ended = self.stream.read_buf(&mut self.read).await.map_err(broke)? == 0;
            if arriving.take(&mut self.read)? || has_ended {
                let (answer, keeps) = arriving.end()?;
                return Ok((answer, keeps && self.read.is_empty()));
            }
        }
    }
}

fn write_header(request: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        request.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::client::proxy::matcher::Matcher;
    use reqwest::Url;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpListener;

    use super::{HeaderMap, Line, Post};

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    fn post_to(listener: &TcpListener) -> Post {
        let url = Url::parse(&format!("http://{}/a?b", listener.local_addr().unwrap())).unwrap();
        let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        let direct = Matcher::builder().build();
        Post::new(&url, &direct, tls.with_no_client_auth(), HeaderMap::new(), 5000, 8).unwrap()
    }

    /// A connection, and its other side; so many bytes fit in between.
    fn line(bytes: usize) -> (Line, DuplexStream) {
        let (near, far) = duplex(bytes);
        (Line { stream: Box::new(near), request: Vec::new(), read: Vec::new() }, far)
    }

    /// Reads a request with a body of two bytes, then answers it.
    async fn answer(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, answer: &[u8]) -> String {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n{}") {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0, "the request ends early");
        }
        stream.write_all(answer).await.unwrap();
        String::from_utf8(read).unwrap()
    }

    async fn answer_one(listener: &TcpListener, said: &[u8]) -> String {
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream, said).await
    }

    #[tokio::test]
    async fn a_request_is_what_was_told_and_both_directions_may_be_torn_at_every_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (post, (torn, far)) = (post_to(&listener), line(1));
        post.keep(torn);
        let further = [("ce-id".parse().unwrap(), "1".parse().unwrap())];
        let (sent, heard) = tokio::join!(post.send(b"{}", &further), answer(far, OK));
        let sent = sent.unwrap();
        assert_eq!((sent.status.as_u16(), sent.text.as_str()), (200, "ok"));
        let host = listener.local_addr().unwrap();
        let head = format!("POST /a?b HTTP/1.1\r\nhost: {host}\r\nce-id: 1\r\ncontent-length: 2\r\n\r\n{{}}");
        assert_eq!((heard, post.idle.lock().len()), (head, 1));
    }

    #[tokio::test]
    async fn what_an_idle_connection_says_unasked_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let post = post_to(&listener);
        let (told, mut far) = line(100);
        far.write_all(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let (ended, _) = line(100);
        post.keep(told);
        post.keep(ended);
        let (sent, _) = tokio::join!(post.send(b"{}", &[]), answer_one(&listener, OK));
        assert_eq!((sent.unwrap().status.as_u16(), post.idle.lock().len()), (200, 1), "both were let go");
    }

    #[tokio::test]
    async fn a_connection_that_breaks_amid_an_answer_is_an_error_where_it_was_new_and_tried_again_where_not()
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (post, (idle, far)) = (post_to(&listener), line(1000));
        post.keep(idle);
        let (sent, ..) =
            tokio::join!(post.send(b"{}", &[]), answer(far, &OK[..20]), answer_one(&listener, &OK[..20]));
        assert_eq!(sent.unwrap_err(), "the connection ended before its answer did");
        assert_eq!(post.idle.lock().len(), 0);
    }
}
