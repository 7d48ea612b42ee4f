//! A real Elasticsearch: an index of records, a mirror of the bucket, passwords and TLS.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::Mutex;

use super::journey::{self, Held, Part, records};
use crate::support::parts::{part, setting, unique};

/// The tests stop and kill the one server there is, so they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

async fn elasticsearch(index: &str, format: &str) -> Part {
    let port = setting("ELASTICSEARCH_TLS_PORT").await;
    Part {
        script: "elasticsearch.sh",
        kind: "elasticsearch",
        env: "ELASTICSEARCH",
        settings: vec![
            ("URL", format!("https://localhost:{port}")),
            ("INDEX", index.to_owned()),
            ("FORMAT", format.to_owned()),
            ("USERNAME", "tidings".to_owned()),
            ("PASSWORD", "tidings-secret".to_owned()),
        ],
        shape: records,
        held: sources(index.to_owned()),
    }
}

fn sources(index: String) -> Held {
    Box::new(move || {
        let index = index.clone();
        Box::pin(async move { documents(&index).await.into_iter().map(|(_, document)| document).collect() })
    })
}

/// Id and content of what an index holds, in the order of arrival.
async fn documents(index: &str) -> Vec<(String, Value)> {
    let printed = part("elasticsearch.sh", &["documents", index]).await;
    let lines = printed.lines().map(|line| line.split_once('\t').expect("a document has an id"));
    lines.map(|(id, document)| (id.to_owned(), serde_json::from_str(document).unwrap())).collect()
}

/// By key. The ids were recorded by running MinIO's hash over these keys.
async fn mirror(index: &str) -> BTreeMap<String, Value> {
    let keys = [
        ("knhMbuC6esu9iJYvqS1YVlAey4VhqSGd1tiL8LZcdGo=", "album/a/rose & ü.jpg"),
        ("leX5sjiwcW1gpMEiFRrbXSQ1-WQHkc4d_hT-vzH1jfQ=", "album/lily.bin"),
    ];
    let key_of = |id: String| keys.iter().find(|key| key.0 == id).map_or(id, |key| key.1.to_owned());
    documents(index).await.into_iter().map(|(id, document)| (key_of(id), document)).collect()
}

#[tokio::test]
async fn an_index_of_elasticsearch_gets_every_record_though_the_server_is_away_and_killed() {
    let _turn = TURN.lock().await;
    journey::every_record_arrives(&elasticsearch(&unique("records"), "access").await).await;
}

#[tokio::test]
async fn an_index_of_elasticsearch_mirrors_the_bucket() {
    let _turn = TURN.lock().await;
    let index = unique("mirror");
    journey::the_bucket_is_mirrored(&elasticsearch(&index, "namespace").await, || mirror(&index)).await;
}

#[tokio::test]
async fn with_a_wrong_password_records_wait_for_elasticsearch() {
    let _turn = TURN.lock().await;
    let elasticsearch = elasticsearch(&unique("records"), "access").await;
    journey::a_wrong_password_makes_records_wait(&elasticsearch, &[("PASSWORD", "wrong-secret")]).await;
}

#[tokio::test]
async fn a_record_arrives_in_elasticsearch_in_the_clear() {
    let _turn = TURN.lock().await;
    let url = format!("http://127.0.0.1:{}", setting("ELASTICSEARCH_PORT").await);
    let elasticsearch = elasticsearch(&unique("records"), "access").await;
    journey::a_record_arrives(&elasticsearch.with(&[("URL", &url), ("USERNAME", ""), ("PASSWORD", "")]))
        .await;
}

#[tokio::test]
async fn elasticsearch_keeps_what_every_target_promises() {
    let _turn = TURN.lock().await;
    journey::promises_are_kept(&elasticsearch(&unique("records"), "access").await).await;
}

#[tokio::test]
async fn an_index_of_elasticsearch_gets_all_of_a_backlog() {
    let _turn = TURN.lock().await;
    journey::a_backlog_arrives(&elasticsearch(&unique("mirror"), "access").await).await;
}

#[tokio::test]
async fn an_index_of_elasticsearch_mirrors_a_bucket_by_a_backlog() {
    let _turn = TURN.lock().await;
    let index = unique("mirror");
    let held = async || mirror(&index).await.into_values().collect();
    journey::a_backlog_is_mirrored(&elasticsearch(&index, "namespace").await, held).await;
}

#[tokio::test]
async fn an_index_of_elasticsearch_forgets_one_bucket_alone() {
    let _turn = TURN.lock().await;
    let index = unique("mirror");
    let held = async || mirror(&index).await.into_values().collect();
    journey::one_bucket_is_forgotten(&elasticsearch(&index, "namespace").await, held).await;
}
