//! Posts over connections whose other side is written out here, and over real ones.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::time::advance;

use super::{HeaderMap, Letter, Line, Post, Reply, Shown};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn post_to(listener: &TcpListener) -> Post {
    let url = Url::parse(&format!("http://{}/a?b", listener.local_addr().unwrap())).unwrap();
    let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    let direct = Matcher::builder().build();
    Post::new(&url, &direct, tls.with_no_client_auth(), HeaderMap::new(), 5000, 8).unwrap()
}

/// A connection that has answered before, and its other side; so many bytes fit in between.
fn line(bytes: usize) -> (Line, DuplexStream) {
    let (near, far) = duplex(bytes);
    let mut line = Line::new(Box::new(near));
    line.shown = Shown::Persists;
    (line, far)
}

/// Posts to an endpoint that has answered at once, over a connection that is idle; and the other side of that.
fn quick_with_idle(listener: &TcpListener) -> (Post, DuplexStream) {
    let (post, (idle, far)) = (post_to(listener), line(1000));
    post.pace.answered(1, Duration::ZERO);
    post.keep(idle);
    (post, far)
}

/// Posts bodies of two bytes together: the statuses that were answered, and why not.
async fn send(post: &Post, bodies: &[&str]) -> Vec<Result<u16, String>> {
    let letters: Vec<_> = bodies.iter().map(|body| Letter { body: body.as_bytes(), further: &[] }).collect();
    let replies = post.send(&letters).await;
    replies.into_iter().map(|reply| reply.map(|answer| answer.status.as_u16())).collect()
}

async fn send_one(post: &Post) -> Reply {
    post.send(&[Letter { body: b"{}", further: &[] }]).await.remove(0)
}

/// The other side of a connection.
struct Server<S> {
    stream: S,
    read: Vec<u8>,
}

impl<S: AsyncReadExt + AsyncWriteExt + Unpin> Server<S> {
    fn of(stream: S) -> Server<S> {
        Server { stream, read: Vec::new() }
    }

    /// Reads a request with a body of two bytes; `None` when there is none any more.
    async fn hear(&mut self) -> Option<String> {
        loop {
            let head_end = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = head_end.map(|place| place + 6).filter(|end| self.read.len() >= *end) {
                return Some(String::from_utf8(self.read.drain(..end).collect()).unwrap());
            }
            if !matches!(self.stream.read_buf(&mut self.read).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// The bodies of the next requests, as many as this.
    async fn hear_bodies(&mut self, count: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        while bodies.len() < count {
            let request = self.hear().await.expect("there is another request");
            bodies.push(request[request.len() - 2..].to_owned());
        }
        bodies
    }

    /// Whether a further request is there.
    fn has_more(&self) -> bool {
        !self.read.is_empty()
    }

    async fn say(&mut self, answer: &[u8]) {
        self.stream.write_all(answer).await.unwrap();
    }
}

/// Takes a request, then answers it.
async fn answer(stream: impl AsyncReadExt + AsyncWriteExt + Unpin, said: &[u8]) -> String {
    let mut server = Server::of(stream);
    let request = server.hear().await.expect("a request");
    server.say(said).await;
    request
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
    let letters = [Letter { body: b"{}", further: &further }];
    let (mut sent, heard) = tokio::join!(post.send(&letters), answer(far, OK));
    let sent = sent.remove(0).unwrap();
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
    let (sent, _) = tokio::join!(send_one(&post), answer_one(&listener, OK));
    assert_eq!((sent.unwrap().status.as_u16(), post.idle.lock().len()), (200, 1), "both were let go");
}

#[tokio::test]
async fn a_connection_that_breaks_amid_an_answer_is_an_error_where_it_was_new_and_tried_again_where_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (post, (idle, far)) = (post_to(&listener), line(1000));
    post.keep(idle);
    let (sent, ..) = tokio::join!(send_one(&post), answer(far, &OK[..20]), answer_one(&listener, &OK[..20]));
    assert_eq!(sent.unwrap_err(), "the connection ended before its answer did");
    assert_eq!(post.idle.lock().len(), 0);
}

#[tokio::test]
async fn a_new_connection_is_given_one_and_what_is_left_together_once_it_has_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let post = post_to(&listener);
    post.pace.answered(1, Duration::ZERO);
    let serving = async {
        let mut server = Server::of(listener.accept().await.unwrap().0);
        assert_eq!(server.hear_bodies(1).await, ["_1"]);
        assert!(!server.has_more(), "it was given more than one");
        server.say(OK).await;
        assert_eq!(server.hear_bodies(1).await, ["_2"]);
        assert!(server.has_more(), "what is left did not come together");
        assert_eq!(server.hear_bodies(2).await, ["_3", "_4"]);
        server.say(&OK.repeat(3)).await;
    };
    let (sent, ()) = tokio::join!(send(&post, &["_1", "_2", "_3", "_4"]), serving);
    assert_eq!((sent, post.idle.lock().len()), (vec![Ok(200); 4], 1));
}

#[tokio::test]
async fn a_connection_of_http_1_0_is_never_given_more_than_one() {
    const OLD: &[u8] = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let post = post_to(&listener);
    post.pace.answered(1, Duration::ZERO);
    let serving = async {
        let mut server = Server::of(listener.accept().await.unwrap().0);
        for body in ["_1", "_2", "_3"] {
            assert_eq!(server.hear_bodies(1).await, [body]);
            assert!(!server.has_more());
            server.say(OLD).await;
        }
    };
    let (sent, ()) = tokio::join!(send(&post, &["_1", "_2", "_3"]), serving);
    assert_eq!(sent, vec![Ok(200); 3]);
}

#[tokio::test]
async fn each_answer_counts_for_its_own_request_also_when_one_in_the_middle_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (post, far) = quick_with_idle(&listener);
    let serving = async {
        let mut server = Server::of(far);
        assert_eq!(server.hear_bodies(3).await, ["_1", "_2", "_3"]);
        server.say(OK).await;
        server.say(b"HTTP/1.1 422 No\r\ncontent-length: 0\r\n\r\n").await;
        server.say(OK).await;
    };
    let (sent, ()) = tokio::join!(send(&post, &["_1", "_2", "_3"]), serving);
    assert_eq!((sent, post.idle.lock().len()), (vec![Ok(200), Ok(422), Ok(200)], 1));
    assert!(post.depth() > 1, "a refusal is an answer");
}

/// Two of four were answered when the connection ended, in whatever way: the two others come again over a new one, one
/// by one, and so does everything that follows.
async fn others_come_again_one_by_one(second: &[u8]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (post, far) = quick_with_idle(&listener);
    let mut told = BTreeMap::new();
    let serving = async {
        let mut server = Server::of(far);
        for body in server.hear_bodies(4).await {
            *told.entry(body).or_insert(0) += 1;
        }
        server.say(OK).await;
        server.say(second).await;
        drop(server);
        let mut server = Server::of(listener.accept().await.unwrap().0);
        for _ in 3..=6 {
            *told.entry(server.hear_bodies(1).await.remove(0)).or_insert(0) += 1;
            assert!(!server.has_more(), "from then on one at a time");
            server.say(OK).await;
        }
    };
    let sending = async {
        assert_eq!(send(&post, &["_1", "_2", "_3", "_4"]).await, vec![Ok(200); 4]);
        assert_eq!(post.depth(), 1);
        assert_eq!(send(&post, &["_5", "_6"]).await, vec![Ok(200); 2]);
    };
    tokio::join!(sending, serving);
    let times = [("_1", 1), ("_2", 1), ("_3", 2), ("_4", 2), ("_5", 1), ("_6", 1)];
    assert_eq!(told, times.map(|(body, times)| (body.to_owned(), times)).into());
}

#[tokio::test]
async fn of_four_of_which_two_were_answered_before_the_end_none_is_lost_and_then_each_goes_alone() {
    others_come_again_one_by_one(OK).await;
    others_come_again_one_by_one(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    others_come_again_one_by_one(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 20").await;
}

/// As nginx ends a connection after its 1,000th request.
#[tokio::test]
async fn an_end_that_was_announced_is_no_failure_and_several_go_over_the_next_connection() {
    const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (post, far) = quick_with_idle(&listener);
    let serving = async {
        let mut server = Server::of(far);
        server.hear_bodies(5).await;
        server.say(&[OK, LAST].concat()).await;
        drop(server);
        let mut server = Server::of(listener.accept().await.unwrap().0);
        assert_eq!(server.hear_bodies(1).await, ["_3"]);
        server.say(OK).await;
        assert_eq!(server.hear_bodies(2).await, ["_4", "_5"]);
        server.say(&OK.repeat(2)).await;
    };
    let (sent, ()) = tokio::join!(send(&post, &["_1", "_2", "_3", "_4", "_5"]), serving);
    assert_eq!((sent, post.depth()), (vec![Ok(200); 5], 16));
}

#[tokio::test]
async fn when_nobody_is_there_any_more_what_was_answered_keeps_its_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (post, far) = quick_with_idle(&listener);
    let address = listener.local_addr().unwrap();
    drop(listener);
    let serving = async {
        let mut server = Server::of(far);
        server.hear_bodies(3).await;
        server.say(OK).await;
    };
    let (sent, ()) = tokio::join!(send(&post, &["_1", "_2", "_3"]), serving);
    let reason = sent[1].clone().unwrap_err();
    assert!(reason.starts_with(&format!("{address} cannot be reached")), "{reason}");
    assert_eq!(sent, [Ok(200), Err(reason.clone()), Err(reason)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_in_time_keeps_its_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (post, far) = quick_with_idle(&listener);
    let mut server = Server::of(far);
    let serving = async {
        server.hear_bodies(2).await;
        server.say(OK).await;
    };
    let (sent, ()) = tokio::join!(send(&post, &["_1", "_2"]), serving);
    assert_eq!(sent, [Ok(200), Err("no answer within 5000 ms".to_owned())]);
    assert_eq!(post.depth(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_given_one_at_a_time_and_a_quick_one_several() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (post, (idle, far)) = (post_to(&listener), line(1000));
    post.keep(idle);
    let mut server = Server::of(far);
    let mut depths = Vec::new();
    for answer_ms in [0, 50, 0] {
        for _ in 0..100 {
            let serving = async {
                server.hear_bodies(1).await;
                advance(Duration::from_millis(answer_ms)).await;
                server.say(OK).await;
            };
            assert_eq!(tokio::join!(send(&post, &["{}"]), serving).0, [Ok(200)]);
        }
        depths.push(post.depth());
    }
    assert_eq!(depths, [16, 1, 16]);
}
