//! Real servers at the other end of each kind of target. Here Kafka and MQTT, in every way a client may come in;
//! the others in files of their own.
//!
//! Each test starts the broker it needs by its script, which leaves a running one alone.

mod elasticsearch;
mod journey;
mod mariadb;
mod nats;
mod nsqd_stand_in;
mod postgres;
mod rabbitmq;
mod redis;
mod topics;

use std::collections::BTreeSet;

use crate::support::eventually;
use crate::support::parts::{part, setting, trusting_the_parts, unique};
use crate::support::server::Server;

/// What a topic holds, as `(partition, key, value)`.
async fn records(topic: &str) -> Vec<(u32, String, serde_json::Value)> {
    let printed = part("kafka.sh", &["records", topic]).await;
    printed
        .lines()
        .map(|line| {
            let mut fields = line.splitn(3, '\t');
            let mut next = || fields.next().unwrap_or_else(|| panic!("a record is three fields: {line}"));
            let (partition, key) = (next().parse().unwrap(), next().to_owned());
            (partition, key, serde_json::from_str(next()).unwrap())
        })
        .collect()
}

/// A server whose target `kafka` has these settings beside its topic, and a bucket `album` that announces to it.
async fn announcing_to_kafka(topic: &str, settings: &[(&str, &str)]) -> Server {
    let mut server = Server::over(4)
        .with("MINIO_NOTIFY_KAFKA_ENABLE_1", "on")
        .with("MINIO_NOTIFY_KAFKA_TOPIC_1", topic)
        .with("MINIO_NOTIFY_KAFKA_BROKERS_1", &format!("127.0.0.1:{}", setting("KAFKA_PORT").await));
    for (key, value) in settings {
        server = server.with(&format!("MINIO_NOTIFY_KAFKA_{key}_1"), value);
    }
    trusting_the_parts(&server).await;
    let server = server.started().await;
    announce(&server, "arn:minio:sqs::1:kafka").await;
    server
}

async fn announce(server: &Server, arn: &str) {
    let client = server.client();
    client.create_bucket("album").await;
    client.announce("album", &["s3:ObjectCreated:*"], &[], arn).await.expect_success("announce");
}

async fn arrives_in_kafka(settings: &[(&str, &str)]) {
    part("kafka.sh", &["start"]).await;
    let topic = unique("way-in");
    part("kafka.sh", &["topic", &topic]).await;
    let server = announcing_to_kafka(&topic, settings).await;

    server.client().put("/album/rose.jpg", "ab").await.expect_success("put");

    let records = eventually("a record in Kafka", || async {
        Some(records(&topic).await).filter(|records| !records.is_empty())
    })
    .await;
    let [(_, key, value)] = &records[..] else { panic!("one record was due: {records:?}") };
    assert_eq!(key, "album/rose.jpg");
    assert_eq!(value["EventName"], "s3:ObjectCreated:Put");
    assert_eq!(value["Key"], "album/rose.jpg");
}

async fn with_password(mechanism: &str) -> Vec<(&'static str, String)> {
    vec![
        ("BROKERS", format!("127.0.0.1:{}", setting("KAFKA_SASL_PORT").await)),
        ("SASL", "on".to_owned()),
        ("SASL_USERNAME", "tidings".to_owned()),
        ("SASL_PASSWORD", "tidings-secret".to_owned()),
        ("SASL_MECHANISM", mechanism.to_owned()),
    ]
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

#[tokio::test]
async fn a_record_arrives_in_kafka_in_the_clear() {
    arrives_in_kafka(&[]).await;
}

#[tokio::test]
async fn a_record_arrives_in_kafka_with_a_plain_password() {
    arrives_in_kafka(&borrowed(&with_password("plain").await)).await;
}

#[tokio::test]
async fn a_record_arrives_in_kafka_with_scram_sha_256() {
    arrives_in_kafka(&borrowed(&with_password("sha256").await)).await;
}

#[tokio::test]
async fn a_record_arrives_in_kafka_over_tls_with_scram_sha_512() {
    let mut settings = with_password("sha512").await;
    settings[0].1 = format!("127.0.0.1:{}", setting("KAFKA_SASL_TLS_PORT").await);
    settings.push(("TLS", "on".to_owned()));
    arrives_in_kafka(&borrowed(&settings)).await;
}

#[tokio::test]
async fn a_record_arrives_in_kafka_over_tls_with_a_client_certificate() {
    part("certs.sh", &["make"]).await;
    let settings = [
        ("BROKERS", format!("127.0.0.1:{}", setting("KAFKA_TLS_PORT").await)),
        ("TLS", "on".to_owned()),
        ("CLIENT_TLS_CERT", setting("CLIENT_CERT").await),
        ("CLIENT_TLS_KEY", setting("CLIENT_KEY").await),
    ];
    arrives_in_kafka(&borrowed(&settings)).await;
}

/// The table was recorded by running `sarama.NewHashPartitioner`, version 1.45.1, over these keys with 1, 3, 7
/// and 12 partitions: a consumer that relied on where MinIO put a key finds it there.
#[tokio::test]
async fn a_hundred_keys_lie_in_the_partitions_where_minios_client_puts_them() {
    part("kafka.sh", &["start"]).await;
    let topic = unique("partitions");
    part("kafka.sh", &["topic", &topic, "7"]).await;
    let server = announcing_to_kafka(&topic, &[]).await;
    let recorded = include_str!("data/sarama-partitions.tsv");
    let mut wanted = BTreeSet::new();
    let client = server.client();
    for line in recorded.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let (bucket, key) = fields[0].split_once('/').unwrap();
        if client.try_send(reqwest::Method::PUT, &format!("/{bucket}"), &[], "").await.unwrap().status == 200
        {
            let announced =
                client.announce(bucket, &["s3:ObjectCreated:*"], &[], "arn:minio:sqs::1:kafka").await;
            announced.expect_success("announce");
        }
        client.put(&format!("/{bucket}/{}", percent_encoded(key)), "ab").await.expect_success(key);
        wanted.insert((fields[0].to_owned(), fields[3].parse::<u32>().unwrap()));
    }
    assert_eq!(wanted.len(), 100);

    let found = eventually("a record of every key", || async {
        let found: BTreeSet<(String, u32)> =
            records(&topic).await.into_iter().map(|(partition, key, _)| (key, partition)).collect();
        (found.len() >= wanted.len()).then_some(found)
    })
    .await;
    assert_eq!(found, wanted);
}

fn percent_encoded(key: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    key.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A server whose target `1:mqtt` publishes to a topic, and a bucket `album` that announces to it.
async fn announcing_over_mqtt(
    topic: &str,
    port: &'static str,
    scheme: &str,
    qos: &str,
    password: bool,
) -> Server {
    let mut server = Server::over(4)
        .with("MINIO_NOTIFY_MQTT_ENABLE_1", "on")
        .with("MINIO_NOTIFY_MQTT_BROKER_1", &format!("{scheme}://127.0.0.1:{}", setting(port).await))
        .with("MINIO_NOTIFY_MQTT_TOPIC_1", topic)
        .with("MINIO_NOTIFY_MQTT_QOS_1", qos);
    if password {
        server = server
            .with("MINIO_NOTIFY_MQTT_USERNAME_1", "tidings")
            .with("MINIO_NOTIFY_MQTT_PASSWORD_1", "tidings-secret");
    }
    trusting_the_parts(&server).await;
    let server = server.started().await;
    announce(&server, "arn:minio:sqs::1:mqtt").await;
    server
}

/// The keys that printed records tell, sorted.
fn keys(printed: &str) -> Vec<String> {
    let key =
        |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["Key"].as_str().unwrap().to_owned();
    let mut keys: Vec<String> = printed.lines().map(key).collect();
    keys.sort();
    keys
}

async fn arrives_over_mqtt(port: &'static str, scheme: &str, qos: &str, password: bool) {
    part("mosquitto.sh", &["start"]).await;
    let (topic, session) = (unique("mqtt"), unique("session"));
    part("mosquitto.sh", &["subscribe", &topic, &session]).await;
    let server = announcing_over_mqtt(&topic, port, scheme, qos, password).await;

    for key in ["rose.jpg", "tulip.jpg"] {
        server.client().put(&format!("/album/{key}"), "ab").await.expect_success(key);
    }

    let printed = part("mosquitto.sh", &["consume", &topic, &session, "2"]).await;
    assert_eq!(keys(&printed), ["album/rose.jpg", "album/tulip.jpg"]);
}

/// A broker keeps nothing of QoS 0 for who is not there, so the reader is there while objects are put.
#[tokio::test]
async fn records_arrive_over_mqtt_at_most_once() {
    part("mosquitto.sh", &["start"]).await;
    let (topic, session) = (unique("mqtt"), unique("session"));
    let server = announcing_over_mqtt(&topic, "MQTT_PORT", "tcp", "0", false).await;
    let reading = {
        let (topic, session) = (topic.clone(), session.clone());
        tokio::spawn(async move { part("mosquitto.sh", &["consume", &topic, &session, "2"]).await })
    };

    while !reading.is_finished() {
        server.client().put("/album/rose.jpg", "ab").await.expect_success("put");
    }

    assert_eq!(keys(&reading.await.unwrap()), ["album/rose.jpg", "album/rose.jpg"]);
}

#[tokio::test]
async fn records_arrive_over_mqtt_at_least_once_with_a_password() {
    arrives_over_mqtt("MQTT_PASSWORD_PORT", "tcp", "1", true).await;
}

#[tokio::test]
async fn records_arrive_over_mqtt_exactly_once_over_tls() {
    arrives_over_mqtt("MQTT_TLS_PORT", "ssl", "2", true).await;
}

#[tokio::test]
async fn records_arrive_over_mqtt_through_websockets() {
    arrives_over_mqtt("MQTT_WS_PORT", "ws", "1", false).await;
}
