//! A connection: requests go out in one write while their answers are read.
//!
//! # Bounds
//!
//! An answer has those of `post/answer.rs`, and no more is kept of what was read than an answer's parts. When some of
//! several were answered, the next has [`SILENCE_MAX`]: there are servers that lose what comes behind a request.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::dial::Stream;
use crate::post::Reply;
use crate::post::answer::Arriving;

/// Room for answers: nearly all fit.
const READ_BYTES: usize = 4 << 10;

/// How long the next of several answers may be away when one has come. Long, because what is given up may still be
/// read by the other side, which then hears of it twice, the second time perhaps after what came later.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A clause: the connection ended too early, or its last answer was no reason to believe in another.
const ENDED: &str = "the connection ended before all its requests were answered";

/// What a connection has shown of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is new.
    Nothing,
    /// It answers.
    Answers,
    /// It answers as HTTP/1.1, whose servers answer several requests that come at once.
    Persists,
}

/// See the module header.
pub(super) struct Line {
    stream: Box<dyn Stream>,
    /// What is to be sent, and how much of it was.
    pub(super) request: Vec<u8>,
    sent: usize,
    is_flushed: bool,
    read: Vec<u8>,
    pub(super) shown: Shown,
}

impl Line {
    /// Over a stream that is new.
    pub(super) fn new(stream: Box<dyn Stream>) -> Line {
        let read = Vec::with_capacity(READ_BYTES);
        Line { stream, request: Vec::new(), sent: 0, is_flushed: false, read, shown: Shown::Nothing }
    }

    /// Gives back what its buffers have beyond so many bytes.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.request.shrink_to(bytes);
        self.read.shrink_to(bytes);
    }

    /// Whether nothing came that nobody asked for: neither bytes nor the end. Asks the kernel only where it told of
    /// something.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.stream.read_buf(&mut self.read).now_or_never().is_none()
    }

    /// Sends what the request holds, so many of them, and adds their answers as they come. Whether another request can
    /// follow; where an answer announced the end of the connection, there may be fewer than requests.
    ///
    /// # Errors
    ///
    /// Not all were answered, for no stated reason; nothing can follow.
    pub(super) async fn exchange(
        &mut self,
        requests: usize,
        replies: &mut Vec<Reply>,
    ) -> Result<bool, String> {
        let (before, after) = (replies.len(), replies.len() + requests);
        let mut arriving = Arriving::new();
        loop {
            let hearing = self.hear();
            let heard = match replies.len() > before {
                true => timeout(SILENCE_MAX, hearing).await.map_err(|_| ENDED)?,
                false => hearing.await,
            };
            let has_ended = heard.map_err(|error| format!("the connection broke: {error}"))? == 0;
            // A read may hold several answers, and a part of one.
            while arriving.take(&mut self.read)? || has_ended {
                let (persists, closes) = (arriving.persists(), arriving.closes());
                let (answer, keeps) = std::mem::replace(&mut arriving, Arriving::new()).end()?;
                replies.push(Ok(answer));
                if replies.len() < after {
                    // RFC 9112, §9.6: what stands behind an answer that ends its connection is neither looked at nor
                    // answered. Many servers do that after so many requests.
                    if closes {
                        return Ok(false);
                    }
                    persists.then_some(()).ok_or(ENDED)?;
                    continue;
                }
                if requests > 1 && !self.read.is_empty() {
                    // Nobody asked for that, so it is not certain which answer is whose: none counts.
                    replies.truncate(before);
                    return Err("it answered more than it was asked".to_owned());
                }
                return Ok(keeps && self.rest(persists));
            }
        }
    }

    /// Makes it ready for the next request. Whether that can follow: everything has gone out, nothing is left over.
    fn rest(&mut self, persists: bool) -> bool {
        // It may have answered before it had heard all.
        let is_at_rest = self.is_flushed && self.read.is_empty();
        self.request.clear();
        (self.sent, self.is_flushed) = (0, false);
        self.shown = if persists { Shown::Persists } else { Shown::Answers };
        is_at_rest
    }

    /// Reads, and sends meanwhile: a server whose answers nobody reads may read no further. How many bytes came.
    async fn hear(&mut self) -> io::Result<usize> {
        poll_fn(|context| {
            // What cannot be sent any more may have been answered.
            let sending = self.poll_send(context);
            match pin!(self.stream.read_buf(&mut self.read)).poll(context) {
                Poll::Pending => match sending {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Pending,
                },
                read => read,
            }
        })
        .await
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(&mut *self.stream);
        while self.sent < self.request.len() {
            let wrote = ready!(stream.as_mut().poll_write(context, &self.request[self.sent..]))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += wrote;
        }
        if !self.is_flushed {
            // TLS may hold some of it back.
            ready!(stream.poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::advance;

    use super::{ENDED, Line, Reply, SILENCE_MAX, Shown};
    use crate::post::answer::Answer;

    const THREE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na\
        HTTP/1.1 422 No\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n\
        HTTP/1.1 204 No Content\r\n\r\n";

    /// A connection that is to send three bytes as three requests, and its other side; so many bytes fit in between.
    fn line(bytes: usize) -> (Line, DuplexStream) {
        let (near, far) = duplex(bytes);
        let mut line = Line::new(Box::new(near));
        line.request.extend_from_slice(b"abc");
        (line, far)
    }

    fn reply(status: u16, text: &str) -> Reply {
        Ok(Answer { status: status.try_into().unwrap(), text: text.to_owned() })
    }

    fn three() -> Vec<Reply> {
        vec![reply(200, "a"), reply(422, "b"), reply(204, "")]
    }

    /// What three requests are told when this is said, in pieces that are read one by one.
    async fn told(pieces: &[&str]) -> (Result<bool, String>, Vec<Reply>, Line) {
        let (mut line, mut far) = line(1000);
        let mut replies = Vec::new();
        let saying = async {
            for piece in pieces {
                far.write_all(piece.as_bytes()).await.unwrap();
                // The other side has its turn in one of two rounds, as they take turns in who is first.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
            let mut heard = [0; 3];
            far.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"abc");
            drop(far);
        };
        let (kept, ()) = tokio::join!(line.exchange(3, &mut replies), saying);
        (kept, replies, line)
    }

    #[tokio::test]
    async fn three_answers_are_the_same_wherever_they_are_torn_and_when_they_come_in_one_read() {
        for place in 0..THREE.len() {
            let (before, after) = THREE.split_at(place);
            let (kept, replies, line) = told(&[before, after]).await;
            assert_eq!((kept, replies), (Ok(true), three()), "torn at {place}");
            assert_eq!((line.shown, line.request.len()), (Shown::Persists, 0));
        }
    }

    #[tokio::test]
    async fn a_server_that_reads_no_further_until_its_answers_are_read_is_no_deadlock() {
        let (mut line, mut far) = line(1);
        let mut replies = Vec::new();
        let (kept, said) = tokio::join!(line.exchange(3, &mut replies), far.write_all(THREE.as_bytes()));
        said.unwrap();
        assert_eq!(replies, three());
        assert_eq!(kept, Ok(false), "it answered before it had heard all");
    }

    #[tokio::test]
    async fn what_was_answered_before_the_end_counts_wherever_that_is() {
        for length in 0..THREE.len() {
            let (kept, replies, _) = told(&[&THREE[..length]]).await;
            let whole =
                THREE[..length].matches("\r\n\r\na").count() + THREE[..length].matches("0\r\n\r\n").count();
            assert_eq!(replies, three()[..whole], "{length} bytes");
            assert_eq!(kept, Err("the connection ended before its answer did".to_owned()), "{length} bytes");
        }
    }

    #[tokio::test]
    async fn behind_an_answer_that_ends_its_connection_none_is_believed() {
        let announced = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\na";
        let (kept, replies, _) = told(&[announced, THREE]).await;
        assert_eq!((kept, replies), (Ok(false), vec![reply(200, "a")]));
        let endings = [
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na",
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na",
        ];
        for ending in endings {
            let (kept, replies, _) = told(&[ending, THREE]).await;
            assert_eq!((kept, replies), (Err(ENDED.to_owned()), vec![reply(200, "a")]), "{ending}");
        }
    }

    #[tokio::test]
    async fn when_there_are_more_answers_than_requests_none_counts() {
        let (kept, replies, _) = told(&[THREE, "HTTP/1.1 204 No Content\r\n\r\n"]).await;
        assert_eq!(
            (kept, replies),
            (Ok(true), three()),
            "it came later: whoever takes the connection next sees it"
        );
        let (kept, replies, _) = told(&[&[THREE, "HTTP/1.1 204 No Content\r\n\r\n"].concat()]).await;
        assert_eq!((kept, replies), (Err("it answered more than it was asked".to_owned()), vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_loses_what_is_behind_a_request_is_waited_for_no_longer_than_that() {
        let (mut line, mut far) = line(1000);
        let mut replies = Vec::new();
        let answering = async {
            // The first may take its time.
            advance(SILENCE_MAX * 3).await;
            far.write_all(&THREE.as_bytes()[..40]).await.unwrap();
        };
        let (kept, ()) = tokio::join!(line.exchange(3, &mut replies), answering);
        assert_eq!((kept, replies), (Err(ENDED.to_owned()), vec![reply(200, "a")]));
    }
}
