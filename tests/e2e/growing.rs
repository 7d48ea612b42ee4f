//! A server that a further set of drives is added to.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::Method;

use crate::support::server::{Server, run_to_end};
use crate::support::sink::{Delivery, Sink};

const FIRST: &str = "d{1...4}";
const SECOND: &str = "e{1...4}";
const ARN: &str = "arn:minio:sqs::A:webhook";

async fn server_with(sink: &Sink) -> Server {
    Server::over(4)
        .with("MINIO_NOTIFY_WEBHOOK_ENABLE_A", "on")
        .with("MINIO_NOTIFY_WEBHOOK_ENDPOINT_A", &sink.url())
        .started()
        .await
}

/// Makes a bucket whose changes are announced, and puts an object into it.
async fn make(server: &Server, bucket: &str) {
    let client = server.client();
    client.create_bucket(bucket).await;
    let events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"];
    client.announce(bucket, &events, &[], ARN).await.expect_success("announce");
    client.put(&format!("/{bucket}/kept"), bucket.to_owned()).await.expect_success("put");
}

/// Starts the server over these sets, which it refuses; what it says.
async fn refusal(server: &mut Server, sets: &[&str]) -> String {
    server.give(sets);
    let (status, said) = run_to_end(server.command()).await;
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

async fn admin_info(server: &Server) -> serde_json::Value {
    let info = server.client().send(Method::GET, "/minio/admin/v3/info?metrics=false", &[], "").await;
    serde_json::from_str(info.expect_success("admin info").text()).unwrap()
}

/// The sequencers of each key, in the order they came.
fn by_key(deliveries: &[Delivery]) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for delivery in deliveries {
        by_key.entry(delivery.text("/Key")).or_default().push(delivery.sequencer());
    }
    by_key
}

#[tokio::test]
async fn a_set_added_at_a_restart_takes_new_buckets_and_the_events_of_both_arrive_in_order() {
    let sink = Sink::start().await;
    let mut server = server_with(&sink).await;
    make(&server, "old").await;
    sink.received(1).await;
    let deployment = admin_info(&server).await["deploymentID"].clone();
    assert_eq!(server.stop().await.code(), Some(0));

    server.give(&[FIRST, SECOND]);
    server.start().await;
    make(&server, "new").await;
    let info = admin_info(&server).await;
    assert_eq!(info["deploymentID"], deployment);
    assert_eq!(info["backend"]["totalSets"], serde_json::json!([1, 1]));
    assert_eq!(info["backend"]["onlineDisks"], 8);
    assert_eq!(info["pools"]["0"]["0"]["objectsCount"], 1, "the old bucket stays in the first set");
    assert_eq!(info["pools"]["1"]["0"]["objectsCount"], 1, "the new bucket is in the second set");

    let client = server.client();
    for round in 0..10 {
        for bucket in ["old", "new"] {
            client.put(&format!("/{bucket}/a"), format!("{round}")).await.expect_success("put");
            client.delete(&format!("/{bucket}/a")).await.expect_success("delete");
        }
    }
    let large = vec![7; 300_000];
    client.put("/new/large", large.clone()).await.expect_success("put");
    let deliveries = sink.received(43).await;
    let told = by_key(&deliveries);
    assert_eq!(told.keys().collect::<Vec<_>>(), ["new/a", "new/kept", "new/large", "old/a", "old/kept"]);
    for (key, sequencers) in told {
        assert!(sequencers.is_sorted(), "{key}: {sequencers:?}");
    }
    server.kill();
    server.start().await;

    let client = server.client();
    for bucket in ["old", "new"] {
        assert_eq!(client.get(&format!("/{bucket}/kept")).await.body, bucket);
    }
    assert!(client.get("/new/large").await.body == large);
}

#[tokio::test]
async fn sets_that_are_swapped_or_left_out_are_refused_and_the_sentence_names_the_set() {
    let mut server = Server::over(4);
    server.give(&[FIRST, SECOND]);
    server.start().await;
    assert_eq!(server.stop().await.code(), Some(0));

    let swapped = refusal(&mut server, &[SECOND, FIRST]).await;
    assert!(swapped.contains("e1 is of set 2 of its server and was given as set 1"), "{swapped}");
    let alone = refusal(&mut server, &[FIRST]).await;
    assert!(alone.contains("set 2 of 2 of this server ("), "{alone}");
    assert!(alone.contains(") was not given; give every set, in the order they were added"), "{alone}");
    let mixed = refusal(&mut server, &[FIRST, "e1"]).await;
    assert!(mixed.contains("d{1...4}' has a range and '"), "{mixed}");

    server.give(&[FIRST, SECOND]);
    server.start().await;
    assert_eq!(server.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_set_without_its_quorum_takes_no_writes_and_the_other_goes_on() {
    let mut server = Server::over(4).started().await;
    server.client().create_bucket("old").await;
    assert_eq!(server.stop().await.code(), Some(0));
    server.give(&[FIRST, SECOND]);
    server.start().await;
    server.client().create_bucket("new").await;
    server.client().put("/new/kept", "here").await.expect_success("put");
    assert_eq!(server.stop().await.code(), Some(0));
    for drive in ["e1", "e2"] {
        let drive: &Path = &server.home().join(drive);
        std::fs::rename(drive, drive.with_extension("away")).unwrap();
    }

    server.start().await;

    let client = server.client();
    client.put("/old/rose", "red").await.expect_success("a put into the set that is whole");
    assert_eq!(client.put("/new/tulip", "red").await.outcome(), "503 SlowDownWrite");
    assert_eq!(client.get("/new/kept").await.body, "here");
    client.create_bucket("newer").await;
    client.put("/newer/rose", "red").await.expect_success("a put into a bucket that was placed elsewhere");
    let health = client.send(Method::GET, "/minio/health/cluster", &[], "").await;
    assert_eq!((health.status.as_u16(), health.header("x-minio-write-quorum")), (503, "3"));
}
