//! A real RabbitMQ: an exchange with a queue, passwords, TLS, messages that no queue takes.

use std::collections::BTreeMap;

use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use serde_json::Value;
use tokio::sync::Mutex;

use super::journey::{self, Held, Part};
use crate::support::eventually;
use crate::support::parts::{of_nobody, part, setting, unique};

/// The tests stop and kill the one broker there is, so they take turns.
pub(super) static TURN: Mutex<()> = Mutex::const_new(());

async fn connection() -> Connection {
    let url = format!("amqp://tidings:tidings-secret@127.0.0.1:{}", setting("AMQP_PORT").await);
    Connection::connect(&url, ConnectionProperties::default()).await.unwrap()
}

/// A target whose messages go to a topic exchange.
async fn rabbitmq(exchange: &str) -> Part {
    let port = setting("AMQP_PORT").await;
    Part {
        script: "rabbitmq.sh",
        kind: "amqp",
        env: "AMQP",
        settings: vec![
            ("URL", format!("amqp://tidings:tidings-secret@127.0.0.1:{port}/%2f")),
            ("EXCHANGE", exchange.to_owned()),
            ("EXCHANGE_TYPE", "topic".to_owned()),
            ("ROUTING_KEY", "objects.album".to_owned()),
            ("DURABLE", "on".to_owned()),
            ("MANDATORY", "on".to_owned()),
            ("DELIVERY_MODE", "2".to_owned()),
            ("PUBLISHING_CONFIRMS", "on".to_owned()),
        ],
        shape: Value::clone,
        held: queue(exchange.to_owned()),
    }
}

/// The same with a queue that takes what is published.
async fn with_queue() -> Part {
    part("rabbitmq.sh", &["start"]).await;
    let exchange = unique("records");
    bind(&exchange).await;
    rabbitmq(&exchange).await
}

/// Makes exchange and queue of one name.
async fn bind(name: &str) {
    let channel = connection().await.create_channel().await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let none = FieldTable::default;
    channel.exchange_declare(name.into(), ExchangeKind::Topic, durable, none()).await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), durable, none()).await.unwrap();
    let all = "objects.#".into();
    channel.queue_bind(name.into(), name.into(), all, QueueBindOptions::default(), none()).await.unwrap();
}

/// What a queue holds, in its order. Nothing is taken from it: what is not acknowledged stays.
fn queue(name: String) -> Held {
    Box::new(move || {
        let name = name.clone();
        Box::pin(async move { messages(&name).await.into_iter().map(|(_, body)| body).collect() })
    })
}

async fn messages(name: &str) -> Vec<(BTreeMap<String, String>, Value)> {
    let connection = connection().await;
    let channel = connection.create_channel().await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = channel.basic_get(name.into(), BasicGetOptions::default()).await.unwrap() {
        let headers = message.properties.headers().clone().unwrap_or_default();
        let headers = headers.inner().iter().map(|(name, value)| {
            let value = value.as_long_string().expect("a header is a string").to_string();
            (name.to_string(), value)
        });
        messages.push((headers.collect(), serde_json::from_slice(&message.data).unwrap()));
    }
    connection.close(200, "read".into()).await.unwrap();
    messages
}

#[tokio::test]
async fn a_queue_in_rabbitmq_gets_every_record_though_the_broker_is_away_and_killed() {
    let _turn = TURN.lock().await;
    let rabbitmq = with_queue().await;
    journey::every_record_arrives(&rabbitmq).await;

    let name = &rabbitmq.settings[1].1;
    for (headers, body) in messages(name).await {
        let wanted = [("minio-bucket", "album"), ("minio-event", body["EventName"].as_str().unwrap())];
        assert_eq!(headers, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
}

#[tokio::test]
async fn with_a_wrong_password_records_wait_for_rabbitmq() {
    let _turn = TURN.lock().await;
    let wrong = format!("amqp://tidings:wrong-secret@127.0.0.1:{}", setting("AMQP_PORT").await);
    journey::a_wrong_password_makes_records_wait(&with_queue().await, &[("URL", &wrong)]).await;
}

#[tokio::test]
async fn a_record_that_no_queue_of_rabbitmq_takes_waits_until_one_does() {
    let _turn = TURN.lock().await;
    part("rabbitmq.sh", &["start"]).await;
    let exchange = unique("records");
    let rabbitmq = rabbitmq(&exchange).await;
    let (album, log) = journey::a_sick_target(&rabbitmq).await;
    assert!(log.contains("no queue took it: NO_ROUTE"), "{log}");

    bind(&exchange).await;
    let arrived = eventually("the record", || async {
        Some(messages(&exchange).await).filter(|messages| !messages.is_empty())
    })
    .await;
    assert_eq!(arrived.len(), 1);
    drop(album);
}

#[tokio::test]
async fn a_record_arrives_in_rabbitmq_over_tls() {
    let _turn = TURN.lock().await;
    let url = format!("amqps://tidings:tidings-secret@localhost:{}", setting("AMQP_TLS_PORT").await);
    journey::a_record_arrives(&with_queue().await.with(&[("URL", &url)])).await;
}

/// The URL of a client that has nothing but a certificate.
async fn certified(certificate: &str, key: &str, authority: &str) -> String {
    let port = setting("AMQP_TLS_PORT").await;
    format!(
        "amqps://localhost:{port}/%2f?cacertfile={authority}&certfile={certificate}&keyfile={key}\
         &auth_mechanism=external"
    )
}

#[tokio::test]
async fn a_client_certificate_is_enough_for_rabbitmq() {
    let _turn = TURN.lock().await;
    let [certificate, key, authority] =
        [setting("CLIENT_CERT").await, setting("CLIENT_KEY").await, setting("CA_CERT").await];
    let url = certified(&certificate, &key, &authority).await;
    journey::a_record_arrives(&with_queue().await.with(&[("URL", &url)])).await;
}

#[tokio::test]
async fn records_wait_for_rabbitmq_with_a_certificate_that_nobody_signed_and_one_that_is_not_trusted() {
    let _turn = TURN.lock().await;
    let (_directory, [foreign, foreign_key]) = of_nobody().await;
    let [certificate, key, authority] =
        [setting("CLIENT_CERT").await, setting("CLIENT_KEY").await, setting("CA_CERT").await];
    for url in
        [certified(&foreign, &foreign_key, &authority).await, certified(&certificate, &key, &foreign).await]
    {
        journey::a_sick_target(&with_queue().await.with(&[("URL", &url)])).await;
    }
}

#[tokio::test]
async fn rabbitmq_keeps_what_every_target_promises() {
    let _turn = TURN.lock().await;
    journey::promises_are_kept(&with_queue().await).await;
}
