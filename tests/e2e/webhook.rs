//! What a webhook gets, end to end.

use reqwest::Method;

use crate::support::eventually;
use crate::support::server::Server;
use crate::support::sink::Sink;
use crate::support::xml;

async fn server_with(sink: &Sink) -> Server {
    Server::over(4)
        .with("MINIO_NOTIFY_WEBHOOK_ENABLE_A", "on")
        .with("MINIO_NOTIFY_WEBHOOK_ENDPOINT_A", &sink.url())
        .with("MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_A", "open-sesame")
        .started()
        .await
}

const ARN: &str = "arn:minio:sqs::A:webhook";

#[tokio::test]
async fn every_kind_of_change_is_announced_with_the_record_of_its_kind() {
    let sink = Sink::start().await;
    let server = server_with(&sink).await;
    let client = server.client();
    client.create_bucket("album").await;
    let events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectAccessed:*"];
    client.announce("album", &events, &[], ARN).await.expect_success("announce");

    let metadata = [("x-amz-meta-color", "red"), ("content-type", "image/jpeg")];
    client.send(Method::PUT, "/album/a%20b.jpg", &metadata, "hello").await.expect_success("put");
    sink.received(1).await;
    let copy = [("x-amz-copy-source", "/album/a%20b.jpg")];
    client.send(Method::PUT, "/album/copy.jpg", &copy, "").await.expect_success("copy");
    sink.received(2).await;
    client.send(Method::GET, "/album/a%20b.jpg", &[("range", "bytes=1-2")], "").await.expect_success("get");
    sink.received(3).await;
    client.send(Method::HEAD, "/album/copy.jpg", &[], "").await.expect_success("head");
    sink.received(4).await;
    let upload =
        client.send(Method::POST, "/album/parts.bin?uploads", &[], "").await.expect_success("create");
    let upload = xml::text(upload.text(), "UploadId");
    let part = client.put(&format!("/album/parts.bin?partNumber=1&uploadId={upload}"), "tail").await;
    let etag = part.expect_success("part").header("etag").to_owned();
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let target = format!("/album/parts.bin?uploadId={upload}");
    client.send(Method::POST, &target, &[], complete).await.expect_success("complete");
    sink.received(5).await;
    client.delete("/album/copy.jpg").await.expect_success("delete");
    sink.received(6).await;
    client.delete("/album/copy.jpg").await.expect_success("delete again");

    let deliveries = sink.received(7).await;
    let lines: Vec<String> = deliveries.iter().map(|delivery| delivery.line()).collect();
    assert_eq!(
        lines,
        [
            "s3:ObjectCreated:Put album/a b.jpg",
            "s3:ObjectCreated:Copy album/copy.jpg",
            "s3:ObjectAccessed:Get album/a b.jpg",
            "s3:ObjectAccessed:Head album/copy.jpg",
            "s3:ObjectCreated:CompleteMultipartUpload album/parts.bin",
            "s3:ObjectRemoved:Delete album/copy.jpg",
            "s3:ObjectRemoved:NoOP album/copy.jpg",
        ]
    );
    let put = &deliveries[0];
    assert_eq!(put.authorization.as_deref(), Some("Bearer open-sesame"));
    assert_eq!(put.content_type.as_deref(), Some("application/json"));
    assert_eq!(put.text("/Records/0/s3/object/key"), "a+b.jpg");
    assert_eq!(put.body["Records"][0]["s3"]["object"]["size"], 5);
    assert_eq!(put.text("/Records/0/s3/object/eTag"), "5d41402abc4b2a76b9719d911017c592");
    let expected = serde_json::json!({"X-Amz-Meta-Color": "red", "content-type": "image/jpeg"});
    assert_eq!(put.body["Records"][0]["s3"]["object"]["userMetadata"], expected);
    assert_eq!(deliveries[2].text("/Records/0/requestParameters/range"), "bytes=1-2");
    assert_eq!(deliveries[2].text("/Records/0/responseElements/content-length"), "2");
    let order: Vec<String> = deliveries.iter().map(|delivery| delivery.sequencer()).collect();
    assert!(order.is_sorted() && order.iter().all(|sequencer| sequencer.len() == 16), "{order:?}");
}

#[tokio::test]
async fn a_jpg_under_images_is_announced_once_and_a_png_not_at_all() {
    let sink = Sink::start().await;
    let server = server_with(&sink).await;
    let client = server.client();
    client.create_bucket("album").await;
    let filter = [("prefix", "images/"), ("suffix", ".jpg")];
    client.announce("album", &["s3:ObjectCreated:*"], &filter, ARN).await.expect_success("announce");

    for key in ["images/rose.png", "rose.jpg", "images/rose.jpg", "images/last.jpg"] {
        client.put(&format!("/album/{key}"), "ab").await.expect_success(key);
    }

    sink.received(2).await;
    let mut lines: Vec<String> = sink.deliveries().iter().map(|delivery| delivery.line()).collect();
    lines.sort();
    assert_eq!(
        lines,
        ["s3:ObjectCreated:Put album/images/last.jpg", "s3:ObjectCreated:Put album/images/rose.jpg"]
    );
}

#[tokio::test]
async fn a_webhook_that_was_away_gets_everything_in_order_when_it_is_there() {
    let port = crate::support::server::free_port();
    let server = Server::over(4)
        .with("MINIO_NOTIFY_WEBHOOK_ENABLE_A", "on")
        .with("MINIO_NOTIFY_WEBHOOK_ENDPOINT_A", &format!("http://127.0.0.1:{port}/hook"))
        .started()
        .await;
    let client = server.client();
    client.create_bucket("album").await;
    client.announce("album", &["s3:ObjectCreated:*"], &[], ARN).await.expect_success("announce");
    for round in 0..5 {
        for key in ["a", "b"] {
            client.put(&format!("/album/{key}"), format!("{round}")).await.expect_success("put");
        }
    }

    let sink = Sink::start_on(port).await;

    let deliveries = sink.received(10).await;
    for key in ["album/a", "album/b"] {
        let of_key: Vec<String> = deliveries
            .iter()
            .filter(|delivery| delivery.text("/Key") == key)
            .map(|delivery| delivery.sequencer())
            .collect();
        assert_eq!(of_key.len(), 5, "{key}");
        assert!(of_key.is_sorted(), "{key}: {of_key:?}");
    }
}

#[tokio::test]
async fn records_of_a_key_come_in_order_and_once_though_those_of_many_keys_travel_together() {
    let sink = Sink::start().await;
    let server = server_with(&sink).await;
    let client = server.client();
    client.create_bucket("album").await;
    client.announce("album", &["s3:ObjectCreated:*"], &[], ARN).await.expect_success("announce");
    let paths: Vec<String> = (0..24).map(|number| format!("/album/{number}")).collect();

    for _ in 0..10 {
        let puts = paths.iter().map(|path| client.put(path, "ab"));
        for put in futures_util::future::join_all(puts).await {
            put.expect_success("put");
        }
    }

    let deliveries = sink.received(240).await;
    for path in paths {
        let of_key = deliveries.iter().filter(|delivery| delivery.text("/Key") == path[1..]);
        let sequencers: Vec<String> = of_key.map(|delivery| delivery.sequencer()).collect();
        assert_eq!(sequencers.len(), 10, "{path}");
        assert!(sequencers.is_sorted_by(|a, b| a < b), "{path}: {sequencers:?}");
    }
}

#[tokio::test]
async fn a_rule_for_a_target_that_does_not_exist_is_refused_and_the_old_rules_stand() {
    let sink = Sink::start().await;
    let server = server_with(&sink).await;
    let client = server.client();
    client.create_bucket("album").await;
    client.announce("album", &["s3:ObjectCreated:*"], &[], ARN).await.expect_success("announce");
    let before = client.get("/album?notification").await;

    let refused = client.announce("album", &["s3:ObjectCreated:*"], &[], "arn:minio:sqs::B:webhook").await;

    assert_eq!(refused.outcome(), "400 InvalidArgument");
    assert_eq!(client.get("/album?notification").await.text(), before.text());
    client.put("/album/rose", "ab").await.expect_success("put");
    eventually("the put to be announced", || async { (!sink.deliveries().is_empty()).then_some(()) }).await;
}
