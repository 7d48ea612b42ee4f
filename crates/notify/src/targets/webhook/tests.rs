//! The webhook against sinks that answer as they are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hyper_util::client::proxy::matcher::Matcher;
use parking_lot::Mutex;
use store::Future;
use tidings_store as store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{KIND, Webhook, check};
use crate::event::Event;
use crate::target::{Delivery, Outcome, Surroundings, Target, TargetId, TargetSettings};
use crate::testing::contract::{self, Receiver};

/// An HTTP server of one answer, over sockets: what it receives is exactly what was sent.
struct Sink {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Request>>>,
    answer: &'static str,
    serving: Mutex<JoinSet<()>>,
    connections: Arc<AtomicUsize>,
}

#[derive(Clone, Debug)]
struct Request {
    head: String,
    body: Bytes,
}

impl Sink {
    async fn answering(answer: &'static str) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Sink {
            address: listener.local_addr().unwrap(),
            heard: Arc::default(),
            answer,
            serving: Mutex::default(),
            connections: Arc::default(),
        };
        sink.serve(listener);
        sink
    }

    fn serve(&self, listener: TcpListener) {
        let (heard, answer) = (Arc::clone(&self.heard), self.answer);
        let accepted = Arc::clone(&self.connections);
        self.serving.lock().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(converse(socket, Arc::clone(&heard), answer));
            }
        });
    }

    fn target(&self, values: &[(&'static str, &str)]) -> Webhook {
        let endpoint = format!("http://{}/minio/events?a=b", self.address);
        let mut values: BTreeMap<&'static str, String> =
            values.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        values.insert("endpoint", endpoint);
        Webhook::new(&settings(values), &Surroundings::default(), &direct()).unwrap()
    }
}

/// No proxy stands before anything.
fn direct() -> Matcher {
    Matcher::builder().build()
}

fn settings(values: BTreeMap<&'static str, String>) -> TargetSettings {
    TargetSettings { target: TargetId { id: "1".to_owned(), kind: "webhook" }, values }
}

async fn converse(mut socket: TcpStream, heard: Arc<Mutex<Vec<Request>>>, answer: &'static str) {
    let mut read = Vec::new();
    loop {
        let head_end = read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some(head_end) = head_end {
            let head = String::from_utf8(read[..head_end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
            });
            let whole = head_end + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap());
            if read.len() >= whole {
                heard.lock().push(Request { head, body: Bytes::copy_from_slice(&read[head_end + 4..whole]) });
                read.drain(..whole);
                let _ = socket.write_all(answer.as_bytes()).await;
                continue;
            }
        }
        if !matches!(socket.read_buf(&mut read).await, Ok(1..)) {
            return;
        }
    }
}

impl Receiver for Sink {
    fn received(&self) -> Future<'_, Vec<Bytes>> {
        let received = self.heard.lock().iter().map(|request| request.body.clone()).collect();
        Box::pin(async { received })
    }

    fn leave(&self) -> Future<'_, ()> {
        let mut serving = std::mem::take(&mut *self.serving.lock());
        Box::pin(async move { serving.shutdown().await })
    }

    fn come_back(&self) -> Future<'_, ()> {
        Box::pin(async { self.serve(TcpListener::bind(self.address).await.unwrap()) })
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn delivery() -> Delivery {
    Delivery {
        key: "album/rose.jpg".to_owned(),
        event: Event::of(store::ChangeKind::Put),
        time_ms: 0,
        body: Bytes::from_static(br#"{"EventName":"x"}"#),
        attributes: vec![],
    }
}

#[tokio::test]
async fn a_webhook_keeps_what_every_target_promises() {
    let sink = Sink::answering(OK).await;
    contract::run(&sink.target(&[]), &sink).await;
}

#[tokio::test]
async fn a_record_is_posted_as_json_to_the_whole_endpoint() {
    let sink = Sink::answering(OK).await;
    assert_eq!(sink.target(&[("auth_token", "geheim")]).deliver(delivery()).await, Outcome::Acknowledged);

    let heard = sink.heard.lock()[0].clone();
    let head = heard.head.to_ascii_lowercase();
    assert!(head.starts_with("post /minio/events?a=b http/1.1\r\n"), "{head}");
    assert!(
        head.contains("\r\ncontent-type: application/json") && head.contains("\r\ncontent-length: 17"),
        "{head}"
    );
    assert!(heard.head.contains("Bearer geheim"), "{head}");
    assert_eq!(heard.body, delivery().body);
}

#[tokio::test]
async fn a_connection_is_used_again_whatever_form_the_answer_has() {
    let answers = [
        (OK, 1),
        ("HTTP/1.1 204 No Content\r\n\r\n", 1),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 1),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 1),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", 3),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", 3),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 408 Request Timeout\r\n\r\n", 3),
    ];
    for (answer, connections) in answers {
        let sink = Sink::answering(answer).await;
        let webhook = sink.target(&[]);
        for _ in 0..3 {
            assert_eq!(webhook.deliver(delivery()).await, Outcome::Acknowledged, "{answer}");
        }
        let used = sink.connections.load(Ordering::Relaxed);
        assert_eq!((sink.heard.lock().len(), used), (3, connections), "{answer}");
    }
}

fn batch(records: usize) -> Vec<Delivery> {
    let one = |number: usize| Delivery {
        body: Bytes::from(format!("{{\"{number}\":0}}")),
        attributes: vec![("id", number.to_string())],
        ..delivery()
    };
    (0..records).map(one).collect()
}

#[tokio::test]
async fn records_that_travel_together_are_requests_of_their_own_over_one_connection() {
    for form in ["minio", "cloudevents-binary"] {
        let sink = Sink::answering(OK).await;
        let webhook = sink.target(&[("record_format", form)]);
        assert_eq!(webhook.batch_max(), 1, "nothing is known of the endpoint");
        assert_eq!(webhook.deliver_batch(batch(1)).await, [Outcome::Acknowledged]);
        assert_eq!(webhook.deliver_batch(batch(20)).await, vec![Outcome::Acknowledged; 20]);

        let heard = sink.heard.lock()[1..].to_vec();
        assert_eq!((heard.len(), sink.connections.load(Ordering::Relaxed)), (20, 1));
        for (request, sent) in heard.iter().zip(batch(20)) {
            assert_eq!(request.body, sent.body);
            let id = format!("ce-id: {}", sent.attributes[0].1);
            assert!(request.head.lines().any(|line| line == id), "{}", request.head);
        }
    }
}

#[tokio::test]
async fn records_that_travel_together_are_all_told_where_a_redirect_leads_them() {
    let there = Sink::answering(OK).await;
    let answer = format!(
        "HTTP/1.1 308 Permanent Redirect\r\nlocation: http://{}/there\r\ncontent-length: 0\r\n\r\n",
        there.address
    );
    let here = Sink::answering(answer.leak()).await;
    let webhook = here.target(&[]);
    assert_eq!(webhook.deliver_batch(batch(3)).await, vec![Outcome::Acknowledged; 3]);
    let mut told: Vec<_> = there.heard.lock().iter().map(|request| request.body.clone()).collect();
    told.sort();
    assert_eq!(told, batch(3).into_iter().map(|sent| sent.body).collect::<Vec<_>>());
    assert_eq!(webhook.batch_max(), 1, "the client sends one at a time");
}

#[tokio::test]
async fn a_connection_that_the_endpoint_closed_while_idle_costs_no_failure() {
    let sink = Sink::answering(OK).await;
    let webhook = sink.target(&[]);
    assert_eq!(webhook.deliver(delivery()).await, Outcome::Acknowledged);
    sink.leave().await;
    sink.come_back().await;
    assert_eq!(webhook.deliver(delivery()).await, Outcome::Acknowledged);
    assert_eq!((sink.heard.lock().len(), sink.connections.load(Ordering::Relaxed)), (2, 2));
}

#[tokio::test]
async fn a_redirect_that_keeps_the_body_is_followed_with_the_record() {
    let there = Sink::answering(OK).await;
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}/there\r\ncontent-length: 0\r\n\r\n",
        there.address
    );
    let here = Sink::answering(answer.leak()).await;
    let webhook = here.target(&[("auth_token", "geheim")]);
    for _ in 0..2 {
        assert_eq!(webhook.deliver(delivery()).await, Outcome::Acknowledged);
    }
    let heard = there.heard.lock().clone();
    assert_eq!(heard.iter().map(|request| &request.body).collect::<Vec<_>>(), [&delivery().body; 2]);
    assert!(heard[0].head.starts_with("POST /there HTTP/1.1\r\n"), "{}", heard[0].head);
    assert_eq!(here.heard.lock().len(), 3, "the first was posted twice, to learn of the redirect");
}

#[test]
fn an_endpoint_behind_a_proxy_or_with_credentials_is_left_to_the_client_that_can_do_it() {
    let proxied = Matcher::builder().http("http://127.0.0.1:3128").no("localhost").build();
    let posts = |endpoint: &str, proxies: &Matcher| {
        let settings = settings(BTreeMap::from([("endpoint", endpoint.to_owned())]));
        Webhook::new(&settings, &Surroundings::default(), proxies).unwrap().post.is_some()
    };
    let endpoints = ["http://host/", "http://user:password@host/", "http://localhost:1/", "https://host/"];
    assert_eq!(endpoints.map(|endpoint| posts(endpoint, &direct())), [true, false, true, true]);
    assert_eq!(endpoints.map(|endpoint| posts(endpoint, &proxied)), [false, false, true, true]);
}

#[tokio::test]
async fn a_cloudevent_says_what_it_is_and_its_attributes_are_headers() {
    let sink = Sink::answering(OK).await;
    let attributes = vec![("id", "1".to_owned()), ("subject", "a b%\"ü".to_owned())];
    let binary = sink.target(&[("record_format", "cloudevents-binary")]);
    binary.deliver(Delivery { attributes, ..delivery() }).await;
    sink.target(&[("record_format", "cloudevents")]).deliver(delivery()).await;

    let heard: Vec<_> = sink.heard.lock().iter().map(|request| request.head.to_ascii_lowercase()).collect();
    for line in ["content-type: application/json", "ce-id: 1", "ce-subject: a%20b%25%22%c3%bc"] {
        assert!(heard[0].lines().any(|have| have == line), "{}", heard[0]);
    }
    assert!(heard[1].contains("content-type: application/cloudevents+json; charset=utf-8"), "{}", heard[1]);
    assert!(!heard[1].contains("ce-"), "{}", heard[1]);
}

#[test]
fn one_word_is_a_bearer_token_two_are_sent_as_they_are_and_more_are_not_sent() {
    let header = |token: &str| {
        let value =
            super::authorization(&settings(BTreeMap::from([("auth_token", token.to_owned())]))).unwrap();
        value.map(|value| (value.to_str().unwrap().to_owned(), value.is_sensitive()))
    };
    let sent = |text: &str| Some((text.to_owned(), true));
    assert_eq!(["a", "Basic a", "a b c", ""].map(header), [sent("Bearer a"), sent("Basic a"), None, None]);
}

#[tokio::test]
async fn an_answer_tells_whether_the_record_or_the_endpoint_is_at_fault() {
    let answers = [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nbad",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
    ];
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(Sink::answering(answer).await.target(&[]).deliver(delivery()).await);
    }
    assert_eq!(
        outcomes,
        [
            Outcome::Acknowledged,
            Outcome::Refused("it answered 400 Bad Request bad".to_owned()),
            Outcome::Away("it answered 503 Service Unavailable".to_owned()),
            Outcome::Away("it answered 302 Found".to_owned()),
        ]
    );
}

#[test]
fn settings_that_cannot_work_are_told_by_the_name_of_their_key() {
    let told = |pairs: &[(&'static str, &str)]| {
        let values = pairs.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        check(&settings(values)).err().unwrap_or_default()
    };
    assert_eq!(told(&[]), "endpoint is required and not set");
    assert_eq!(told(&[("endpoint", "ftp://host/")]), "endpoint has the scheme ftp, http and https are known");
    assert_eq!(told(&[("endpoint", "host")]), "endpoint is no URL: relative URL without a base");
    assert_eq!(
        told(&[("endpoint", "http://host"), ("client_cert", "/c.pem")]),
        "client_cert and client_key must both be set or neither"
    );
    assert_eq!(
        KIND.keys.iter().filter(|key| key.is_secret).map(|key| key.name).collect::<Vec<_>>(),
        ["auth_token"]
    );
}
