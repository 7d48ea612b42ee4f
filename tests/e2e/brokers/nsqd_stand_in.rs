//! A stand-in for nsqd, since no real one can be had from a package: a topic, TLS.
//!
//! NSQ knows no passwords, so there is no wrong one.

use tokio::sync::Mutex;

use super::journey::{self, Part};
use crate::support::parts::{part, setting, unique};

/// The tests stop and kill the one server there is, so they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

async fn nsqd() -> Part {
    let topic = unique("records");
    let port = setting("NSQD_PORT").await;
    Part {
        script: "nsqd_stand_in.sh",
        kind: "nsq",
        env: "NSQ",
        settings: vec![("NSQD_ADDRESS", format!("localhost:{port}")), ("TOPIC", topic.clone())],
        shape: serde_json::Value::clone,
        held: Box::new(move || {
            let topic = topic.clone();
            Box::pin(async move {
                let printed = part("nsqd_stand_in.sh", &["messages", &topic]).await;
                printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
            })
        }),
    }
}

#[tokio::test]
async fn a_topic_of_the_nsqd_stand_in_gets_every_record_though_it_is_away_and_killed() {
    let _turn = TURN.lock().await;
    journey::every_record_arrives(&nsqd().await).await;
}

#[tokio::test]
async fn a_record_arrives_at_the_nsqd_stand_in_over_tls() {
    let _turn = TURN.lock().await;
    journey::a_record_arrives(&nsqd().await.with(&[("TLS", "on")])).await;
}

#[tokio::test]
async fn the_nsqd_stand_in_sees_what_every_target_promises() {
    let _turn = TURN.lock().await;
    journey::promises_are_kept(&nsqd().await).await;
}

#[tokio::test]
async fn a_topic_of_the_nsqd_stand_in_gets_all_of_a_backlog() {
    let _turn = TURN.lock().await;
    journey::a_backlog_arrives(&nsqd().await).await;
}
