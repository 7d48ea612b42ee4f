//! The call that reads every copy of everything back.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use http::{Method, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use store::{Absent, Finding, Progress, Seen, Verification};
use tidings_store as store;

use crate::ResponseBody;
use crate::admin::verify::Line;
use crate::testing::{Server, streamed};

const CALL: &str = "/minio/tidings/v1/verify";

/// How long a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

async fn line(reply: &mut Response<ResponseBody>) -> Option<Line> {
    let frame = tokio::time::timeout(PATIENCE, reply.body_mut().frame()).await.unwrap()?;
    let line = frame.unwrap().into_data().unwrap();
    assert_eq!(line.last(), Some(&b'\n'), "{line:?}");
    Some(serde_json::from_slice(&line).unwrap())
}

#[tokio::test]
async fn what_is_short_is_told_as_it_is_found_and_the_sum_comes_last() {
    let absent = Absent { drive: "/d4".to_owned(), reason: "gone".to_owned() };
    let finding = Finding {
        what: "batch 7".to_owned(),
        names: vec!["album/rose".to_owned()],
        drives: vec!["/d2".to_owned()],
        is_lost: false,
    };
    let sum = Verification { keys: 3, short: 1, absent: vec![absent.clone()], ..Verification::default() };
    let told = [Seen::Absent(absent), Seen::Finding(finding)];
    let (seen, found) = (told.clone(), sum.clone());
    let server = Server::verified_by(Arc::new(move |tell| {
        assert!(seen.iter().all(|seen| tell(seen.clone())));
        Ok(found.clone())
    }))
    .await;

    let mut reply = streamed(&server, Method::POST, CALL).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["content-type"], "application/x-ndjson");
    let mut lines = Vec::new();
    while let Some(line) = line(&mut reply).await {
        lines.extend((!matches!(line, Line::Seen(Seen::Progress(_)))).then_some(line));
    }
    let wanted = told.into_iter().map(Line::Seen).chain([Line::Sum(sum)]);
    assert_eq!(lines, wanted.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_verification_that_cannot_go_to_the_end_says_why_instead_of_a_sum() {
    let server = Server::verified_by(Arc::new(|_| Err("the engine is shut down".to_owned()))).await;
    let mut reply = streamed(&server, Method::POST, CALL).await;
    let mut last = None;
    while let Some(line) = line(&mut reply).await {
        last = Some(line);
    }
    assert_eq!(last, Some(Line::Failed("the engine is shut down".to_owned())));
}

/// One runs until the client goes away or the server stops; both are told by the drives that nobody asks any more.
#[tokio::test]
async fn a_second_one_is_refused_while_one_runs_and_it_ends_when_its_client_or_the_server_goes() {
    let (ended, ends) = mpsc::channel();
    let ended = Mutex::new(ended);
    let server = Server::verified_by(Arc::new(move |tell| {
        while tell(Seen::Progress(Progress { bytes: 7, ..Progress::default() })) {
            std::thread::yield_now();
        }
        ended.lock().send(()).unwrap();
        Err("it was ended".to_owned())
    }))
    .await;
    let mut first = streamed(&server, Method::POST, CALL).await;
    assert!(matches!(line(&mut first).await, Some(Line::Seen(Seen::Progress(_)))));

    let second = server.post(CALL).send().await;
    assert_eq!(second.status.as_u16(), 409, "{}", second.text());
    assert!(second.text().contains("\"Code\":\"OperationAborted\""), "{}", second.text());

    drop(first);
    ends.recv_timeout(PATIENCE).expect("it ends when the client is gone");
    let mut third = streamed(&server, Method::POST, CALL).await;
    while third.status() == 409 {
        tokio::task::yield_now().await;
        third = streamed(&server, Method::POST, CALL).await;
    }
    assert!(line(&mut third).await.is_some());
    server.gateway.close_streams();
    while line(&mut third).await.is_some() {}
    drop(third);
    ends.recv_timeout(PATIENCE).expect("it ends when the server does");
}

#[tokio::test]
async fn it_is_for_administrators_and_a_call_that_is_not_there_says_so() {
    let server = Server::start().await;
    let refused = server.post(CALL).anonymous().send().await;
    assert_eq!(refused.status.as_u16(), 403, "{}", refused.text());
    assert!(refused.text().contains("\"Code\":\"AccessDenied\""), "{}", refused.text());
    assert_eq!(server.get(CALL).send().await.status.as_u16(), 426);
    assert_eq!(server.post("/minio/tidings/v1/nothing").send().await.status.as_u16(), 426);
}
