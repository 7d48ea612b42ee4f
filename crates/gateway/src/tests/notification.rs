//! Rules, what they make of requests, and listeners.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;

use crate::ResponseBody;
use crate::testing::{Server, streamed};

fn rules(events: &str) -> String {
    format!(
        "<NotificationConfiguration><QueueConfiguration><Id>r</Id>\
         <Filter><S3Key><FilterRule><Name>suffix</Name><Value>.jpg</Value></FilterRule></S3Key></Filter>\
         {events}<Queue>arn:minio:sqs::1:memory</Queue></QueueConfiguration></NotificationConfiguration>"
    )
}

#[tokio::test]
async fn rules_are_kept_and_shown_as_they_were_given() {
    let server = Server::with_album().await;
    let none = "<NotificationConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></NotificationConfiguration>";
    assert_eq!(server.get("/album?notification").send().await.expect(200).text(), none);

    let document = rules("<Event>s3:ObjectCreated:*</Event>");
    server.put("/album?notification").body(&document).send().await.expect(200);
    let shown = server.get("/album?notification").send().await.expect(200).text();
    assert_eq!(shown.replace(" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"", ""), document);

    server.put("/album?notification").body("<NotificationConfiguration/>").send().await.expect(200);
    assert_eq!(server.get("/album?notification").send().await.expect(200).text(), none);
    server.put("/album?notification").body(&document).send().await.expect(200);
    server.delete("/album?notification").send().await.expect(204);
    assert_eq!(server.get("/album?notification").send().await.expect(200).text(), none);
    server.head("/album").send().await.expect(200);
}

#[tokio::test]
async fn a_jpg_is_delivered_once_and_a_txt_not_at_all() {
    let server = Server::with_album().await;
    server
        .put("/album?notification")
        .body(rules("<Event>s3:ObjectCreated:*</Event>"))
        .send()
        .await
        .expect(200);
    server.put("/album/rose.txt").body("x").send().await.expect(200);
    server.put("/album/rose.jpg").body("x").send().await.expect(200);
    let received = server.target.wait_for(1).await;
    assert_eq!(received.len(), 1);
    let told = server.told().await;
    let targets: Vec<_> = told.iter().map(|change| (change.key.as_str(), change.targets.clone())).collect();
    assert_eq!(targets[1..], [("rose.txt", vec![]), ("rose.jpg", vec!["1:memory".to_owned()])]);
}

#[tokio::test]
async fn a_read_is_told_only_where_a_rule_asks_and_after_its_answer() {
    let server = Server::with_album().await;
    server.put("/album/rose.jpg").body("hello").send().await.expect(200);
    server.get("/album/rose.jpg").send().await.expect(200);
    server
        .put("/album?notification")
        .body(rules("<Event>s3:ObjectAccessed:*</Event>"))
        .send()
        .await
        .expect(200);
    server.get("/album/rose.jpg").header("range", "bytes=0-1").send().await.expect(206);
    server.head("/album/rose.jpg").send().await.expect(200);
    server.gateway.drain().await;
    let told = server.told().await;
    let mut reads: Vec<_> = told[2..]
        .iter()
        .map(|change| {
            let origin = change.origin.clone().unwrap();
            (format!("{:?}", change.kind), origin.range, origin.response_length)
        })
        .collect();
    reads.sort();
    let get = ("Get".to_owned(), Some("bytes=0-1".to_owned()), Some(2));
    assert_eq!(reads, [get, ("Head".to_owned(), None, Some(5))]);
}

#[tokio::test]
async fn a_read_succeeds_although_the_set_cannot_commit_its_change() {
    let server = Server::with_album().await;
    server.put("/album/rose.jpg").body("hello").send().await.expect(200);
    server
        .put("/album?notification")
        .body(rules("<Event>s3:ObjectAccessed:Get</Event>"))
        .send()
        .await
        .expect(200);
    server.engine.lose_quorum(1, 3);
    assert_eq!(server.get("/album/rose.jpg").send().await.expect(200).body, "hello");
    server.gateway.drain().await;
    assert_eq!(server.gateway.accesses.lost(), 1);
}

/// The next piece of a body that goes on.
async fn frame(body: &mut ResponseBody) -> Vec<u8> {
    let next = tokio::time::timeout(Duration::from_secs(60), body.frame()).await.unwrap();
    next.unwrap().unwrap().into_data().unwrap().to_vec()
}

#[tokio::test]
async fn a_listener_hears_each_change_at_once_and_ends_when_the_server_does() {
    let server = Server::with_album().await;
    let target = "/album?events=s3%3AObjectCreated%3A%2A&ping=3600&prefix=&suffix=.jpg";
    let reply = streamed(&server, Method::GET, target).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["content-type"], "text/event-stream");
    let mut body = reply.into_body();

    server.put("/album/rose.txt").body("x").send().await.expect(200);
    server.put("/album/a b.jpg".replace(' ', "%20").as_str()).body("x").send().await.expect(200);
    let line = String::from_utf8(frame(&mut body).await).unwrap();
    assert!(line.starts_with("{\"Records\":[{") && line.ends_with("}]}\n"), "{line}");
    assert!(line.contains("\"key\":\"a b.jpg\""), "{line}");

    server.gateway.close_streams();
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_listener_goes_on_behind_the_line_it_took_last() {
    let server = Server::with_album().await;
    let from = |place: &str| format!("/album?events=s3%3AObjectCreated%3A%2A&from={place}&ping=3600");
    let mut body = streamed(&server, Method::GET, &from("now")).await.into_body();
    server.put("/album/first").body("x").send().await.expect(200);
    let line: serde_json::Value = serde_json::from_slice(&frame(&mut body).await).unwrap();
    let resume = line["Resume"].as_str().unwrap().to_owned();
    drop(body);

    server.put("/album/second").body("x").send().await.expect(200);
    let mut body = streamed(&server, Method::GET, &from(&resume)).await.into_body();
    let line: serde_json::Value = serde_json::from_slice(&frame(&mut body).await).unwrap();
    assert_eq!(line["Records"][0]["s3"]["object"]["key"], "second");
}

#[tokio::test]
async fn a_listener_that_asks_for_nonsense_is_refused() {
    let server = Server::with_album().await;
    for (target, code) in [
        ("/album?events=s3%3ANothing", "InvalidArgument"),
        ("/album?events=s3%3AObjectCreated%3A%2A&ping=0", "AuthorizationQueryParametersError"),
        ("/album?events=s3%3AObjectCreated%3A%2A&prefix=a&prefix=b", "InvalidArgument"),
        ("/album?events=s3%3AObjectCreated%3A%2A&from=yesterday", "InvalidArgument"),
        ("/album?events=s3%3AObjectCreated%3A%2A&from=1%2C2", "InvalidArgument"),
    ] {
        assert_eq!(server.get(target).send().await.error(), (400, code.to_owned()), "{target}");
    }
    let answer = server.get("/no-such-bucket?events=s3%3AObjectCreated%3A%2A").send().await;
    assert_eq!(answer.error(), (404, "NoSuchBucket".to_owned()));
}
