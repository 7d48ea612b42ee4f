//! A real Redis: a list, a hash, passwords, TLS.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::journey::{self, Held, Part, records};
use crate::support::parts::{part, setting, unique};

/// The tests stop and kill the one server there is, so they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

async fn redis(key: &str, format: &str) -> Part {
    let port = setting("REDIS_PORT").await;
    Part {
        script: "redis.sh",
        kind: "redis",
        env: "REDIS",
        settings: vec![
            ("ADDRESS", format!("localhost:{port}")),
            ("PASSWORD", "tidings-secret".to_owned()),
            ("KEY", key.to_owned()),
            ("FORMAT", format.to_owned()),
        ],
        shape: if format == "access" { logged } else { records },
        held: list(key.to_owned()),
    }
}

/// What a list holds of an envelope.
fn logged(envelope: &Value) -> Value {
    json!([{ "Event": envelope["Records"], "EventTime": envelope["Records"][0]["eventTime"] }])
}

fn list(key: String) -> Held {
    Box::new(move || {
        let key = key.clone();
        Box::pin(async move {
            let printed = part("redis.sh", &["list", &key]).await;
            printed
                .lines()
                .filter(|line| !line.is_empty())
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        })
    })
}

async fn hash(key: &str) -> BTreeMap<String, Value> {
    let printed = part("redis.sh", &["mapping", key]).await;
    // An empty hash is an empty line.
    let lines: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).collect();
    let pairs = lines.chunks(2);
    pairs.map(|pair| (pair[0].to_owned(), serde_json::from_str(pair[1]).unwrap())).collect()
}

#[tokio::test]
async fn a_list_in_redis_gets_every_record_though_the_server_is_away_and_killed() {
    let _turn = TURN.lock().await;
    journey::every_record_arrives(&redis(&unique("events"), "access").await).await;
}

#[tokio::test]
async fn a_hash_in_redis_mirrors_the_bucket() {
    let _turn = TURN.lock().await;
    let key = unique("mirror");
    journey::the_bucket_is_mirrored(&redis(&key, "namespace").await, || hash(&key)).await;
}

#[tokio::test]
async fn with_a_wrong_password_records_wait_for_redis() {
    let _turn = TURN.lock().await;
    let redis = redis(&unique("events"), "access").await;
    journey::a_wrong_password_makes_records_wait(&redis, &[("PASSWORD", "wrong-secret")]).await;
}

#[tokio::test]
async fn a_record_arrives_in_redis_over_tls_for_a_user_of_its_own() {
    let _turn = TURN.lock().await;
    let address = format!("localhost:{}", setting("REDIS_TLS_PORT").await);
    let redis = redis(&unique("events"), "access").await;
    let redis = redis.with(&[("ADDRESS", &address), ("TLS", "on"), ("USER", "tidings")]);
    journey::a_record_arrives(&redis).await;
}

#[tokio::test]
async fn a_record_arrives_in_redis_over_tls_whose_certificate_nobody_asks_for() {
    let _turn = TURN.lock().await;
    // The certificate names localhost and 127.0.0.1, not this other name of the machine.
    let address = format!("127.0.0.2:{}", setting("REDIS_TLS_PORT").await);
    let redis = redis(&unique("events"), "access").await;
    let redis = redis.with(&[("ADDRESS", &address), ("TLS", "on"), ("TLS_SKIP_VERIFY", "on")]);
    journey::a_record_arrives(&redis).await;
}

#[tokio::test]
async fn redis_keeps_what_every_target_promises() {
    let _turn = TURN.lock().await;
    journey::promises_are_kept(&redis(&unique("events"), "access").await).await;
}

#[tokio::test]
async fn a_list_in_redis_gets_all_of_a_backlog() {
    let _turn = TURN.lock().await;
    journey::a_backlog_arrives(&redis(&unique("mirror"), "access").await).await;
}

#[tokio::test]
async fn a_hash_in_redis_mirrors_a_bucket_by_a_backlog() {
    let _turn = TURN.lock().await;
    let key = unique("mirror");
    let held = async || hash(&key).await.into_values().collect();
    journey::a_backlog_is_mirrored(&redis(&key, "namespace").await, held).await;
}

#[tokio::test]
async fn a_hash_in_redis_forgets_one_bucket_alone() {
    let _turn = TURN.lock().await;
    let key = unique("mirror");
    let held = async || hash(&key).await.into_values().collect();
    journey::one_bucket_is_forgotten(&redis(&key, "namespace").await, held).await;
}
