//! Topics as Ceph's clients make them, with real servers at their ends: what arrives, byte for byte, in Ceph's form and
//! as CloudEvents in both modes, and which certificates a topic trusts.

use std::collections::BTreeMap;

use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use reqwest::Method;
use serde_json::Value;

use super::{percent_encoded, rabbitmq};
use crate::support::eventually;
use crate::support::parts::{part, setting, unique};
use crate::support::server::Server;
use crate::support::sink::Sink;

/// A server that trusts none of the parts, with a bucket `album`.
async fn server() -> Server {
    let server = Server::over(4);
    // The folder has to be there when the server starts.
    std::fs::create_dir_all(server.home().join(".minio/certs/CAs/parts")).unwrap();
    let server = server.started().await;
    server.client().create_bucket("album").await;
    server
}

async fn create(server: &Server, name: &str, attributes: &[(&str, &str)]) {
    let mut form = format!("Action=CreateTopic&Name={name}");
    for (attribute, value) in attributes {
        form += &format!("&{attribute}={}", percent_encoded(value));
    }
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    server.client().send(Method::POST, "/", &headers, form).await.expect_success(name);
}

/// Has the album tell topics of what is created, each by a rule that is called as the topic.
async fn tell<'a>(server: &Server, topics: impl IntoIterator<Item = &'a str>) {
    let rule = |name: &str| {
        format!(
            "<TopicConfiguration><Id>{name}</Id><Topic>arn:aws:sns:::{name}</Topic>\
             <Event>s3:ObjectCreated:*</Event></TopicConfiguration>"
        )
    };
    let rules: String = topics.into_iter().map(rule).collect();
    let document = format!("<NotificationConfiguration>{rules}</NotificationConfiguration>");
    server.client().send(Method::PUT, "/album?notification", &[], document).await.expect_success("tell");
}

/// A message as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    body: String,
    /// Whatever says something about the body.
    headers: BTreeMap<String, String>,
}

fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What is told of the one object that these tests put.
struct Told {
    request_id: String,
    node_id: String,
    /// What only the server knows, as one of the messages says it.
    time: String,
    sequencer: String,
    deployment: String,
    event_id_begin: String,
}

const ETAG: &str = "5d41402abc4b2a76b9719d911017c592";

/// Ceph's form, what `opaqueData` is, and how the object's key reads as an HTML form encodes it.
const OPAQUE: &str = "me@example.com";
const KEY_ENCODED: &str = "dir%2Fa+b%26c.jpg";

impl Told {
    /// Puts the object, and asks somebody who is told of it in Ceph's form what only the server knows.
    async fn of_a_put(server: &Server, beside: &Sink) -> Told {
        let metadata = [("x-amz-meta-color", "red"), ("content-type", "image/jpeg")];
        let put = server.client().send(Method::PUT, "/album/dir/a%20b%26c.jpg", &metadata, "hello").await;
        let put = put.expect_success("put");
        let record = beside.received(1).await.remove(0).body["Records"][0].clone();
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let (bucket_id, event_id) = (text("/s3/bucket/id"), text("/eventId"));
        let told = Told {
            request_id: put.header("x-amz-request-id").to_owned(),
            node_id: put.header("x-amz-id-2").to_owned(),
            time: text("/eventTime"),
            sequencer: text("/s3/object/sequencer"),
            deployment: bucket_id.strip_suffix(".album").expect("a bucket's id ends in its name").to_owned(),
            event_id_begin: event_id
                .strip_suffix(ETAG)
                .expect("an event's id ends in the entity tag")
                .to_owned(),
        };
        let micros =
            told.time.strip_suffix('Z').and_then(|time| time.split_once('.')).expect("a time is UTC").1;
        assert!(micros.len() == 6 && told.event_id_begin.ends_with(&format!(".{micros}.")), "{event_id}");
        assert!(!told.request_id.is_empty() && !told.node_id.is_empty());
        told
    }

    fn ceph(&self, rule: &str) -> String {
        let Told { request_id, node_id, time, sequencer, deployment, event_id_begin } = self;
        let owner = tidings_gateway::OWNER_ID;
        format!(
            r#"{{"Records":[{{"eventVersion":"2.2","eventSource":"ceph:s3","awsRegion":"","eventTime":"{time}","eventName":"ObjectCreated:Put","userIdentity":{{"principalId":"minioadmin"}},"requestParameters":{{"sourceIPAddress":""}},"responseElements":{{"x-amz-request-id":"{request_id}","x-amz-id-2":"{node_id}"}},"s3":{{"s3SchemaVersion":"1.0","configurationId":"{rule}","bucket":{{"name":"album","ownerIdentity":{{"principalId":"{owner}"}},"arn":"arn:aws:s3:::album","id":"{deployment}.album"}},"object":{{"key":"dir/a b&c.jpg","size":5,"eTag":"{ETAG}","versionId":"","sequencer":"{sequencer}","metadata":[{{"key":"x-amz-meta-color","val":"red"}}],"tags":[]}}}},"eventId":"{event_id_begin}{ETAG}","opaqueData":"{OPAQUE}"}}]}}"#
        )
    }

    /// To the millisecond, as all forms but Ceph's have it.
    fn time_ms(&self) -> String {
        self.time.replace("000Z", "Z")
    }

    fn id(&self) -> String {
        format!("{}.{}.{}", self.request_id, self.node_id, self.sequencer)
    }

    /// The data of a CloudEvent.
    fn data(&self, rule: &str) -> String {
        let Told { request_id, node_id, sequencer, .. } = self;
        let (time, owner) = (self.time_ms(), tidings_gateway::OWNER_ID);
        format!(
            r#"{{"eventVersion":"2.1","eventSource":"tidings:s3","awsRegion":"","eventTime":"{time}","eventName":"ObjectCreated:Put","userIdentity":{{"principalId":"minioadmin"}},"requestParameters":{{"sourceIPAddress":"127.0.0.1"}},"responseElements":{{"x-amz-request-id":"{request_id}","x-amz-id-2":"{node_id}"}},"s3":{{"s3SchemaVersion":"1.0","configurationId":"{rule}","bucket":{{"name":"album","ownerIdentity":{{"principalId":"{owner}"}},"arn":"arn:aws:s3:::album"}},"object":{{"key":"{KEY_ENCODED}","size":5,"eTag":"{ETAG}","sequencer":"{sequencer}"}}}}}}"#
        )
    }

    fn structured(&self, rule: &str) -> String {
        let (id, time, sequencer, data) = (self.id(), self.time_ms(), &self.sequencer, self.data(rule));
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"tidings:s3..album","type":"com.amazonaws.s3.ObjectCreated:Put","subject":"{KEY_ENCODED}","time":"{time}","datacontenttype":"application/json","sequence":"{sequencer}","data":{data}}}"#
        )
    }

    /// The attributes beside the data in binary mode, each name behind a prefix.
    fn attributes(&self, prefix: &str) -> BTreeMap<String, String> {
        let pairs = [
            ("specversion", "1.0".to_owned()),
            ("id", self.id()),
            ("source", "tidings:s3..album".to_owned()),
            ("type", "com.amazonaws.s3.ObjectCreated:Put".to_owned()),
            ("subject", KEY_ENCODED.to_owned()),
            ("time", self.time_ms()),
            ("sequence", self.sequencer.clone()),
        ];
        pairs.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect()
    }
}

const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";
const JSON: &str = "application/json";

/// Three topics of one endpoint, one for each form, and what is told of the object that is put then.
async fn told_in_three_forms(
    server: &Server,
    sink: &Sink,
    topics: &[(&str, &str)],
    attributes: &[(&str, &str)],
) -> Told {
    for (name, form) in topics {
        let form = [("record_format", *form), ("OpaqueData", OPAQUE)];
        create(server, name, &[attributes, &form].concat()).await;
    }
    let beside = unique("beside");
    create(server, &beside, &[("push-endpoint", &sink.url())]).await;
    tell(server, topics.iter().map(|&(name, _)| name).chain([beside.as_str()])).await;
    Told::of_a_put(server, sink).await
}

#[tokio::test]
async fn topics_of_kafka_get_cephs_form_and_cloudevents_in_both_modes() {
    part("kafka.sh", &["start"]).await;
    let names = ["ceph", "structured", "binary"].map(unique);
    for name in &names {
        part("kafka.sh", &["topic", name]).await;
    }
    let [ceph, structured, binary] = names.each_ref().map(String::as_str);
    let endpoint = format!("kafka://127.0.0.1:{}", setting("KAFKA_PORT").await);
    let (server, sink) = (server().await, Sink::start().await);
    let topics = [(ceph, "ceph"), (structured, "cloudevents"), (binary, "cloudevents-binary")];
    let told = told_in_three_forms(&server, &sink, &topics, &[("push-endpoint", &endpoint)]).await;

    let mut binary_headers = told.attributes("ce_");
    binary_headers.insert("content-type".to_owned(), JSON.to_owned());
    let wanted = [
        (ceph, told.ceph(ceph), headers(&[])),
        (structured, told.structured(structured), headers(&[("content-type", STRUCTURED)])),
        (binary, told.data(binary), binary_headers),
    ];
    for (topic, body, headers) in wanted {
        let message = eventually("a message in Kafka", || in_kafka(topic)).await;
        assert_eq!(message, Message { body, headers }, "{topic}");
    }
}

/// The only message of a topic, if it is there.
async fn in_kafka(topic: &str) -> Option<Message> {
    let printed = part("kafka.sh", &["records", topic]).await;
    let record = printed.lines().next()?;
    let [_, key, body] = record.splitn(3, '\t').collect::<Vec<_>>()[..] else { panic!("{record}") };
    assert_eq!((key, printed.lines().count()), ("album/dir/a b&c.jpg", 1));
    let printed = part("kafka.sh", &["headers", topic]).await;
    let pairs = printed.trim().split(',').filter(|pair| !pair.is_empty());
    let headers = pairs.map(|pair| pair.split_once('=').unwrap());
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Message { body: body.to_owned(), headers })
}

async fn connection() -> Connection {
    let url = format!("amqp://127.0.0.1:{}", setting("AMQP_PORT").await);
    Connection::connect(&url, ConnectionProperties::default()).await.unwrap()
}

/// Makes an exchange, and for each of these routing keys a queue of its name.
async fn bind(exchange: &str, keys: &[&str]) {
    let connection = connection().await;
    let channel = connection.create_channel().await.unwrap();
    let (declare, none) = (ExchangeDeclareOptions::default(), FieldTable::default);
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, declare, none()).await.unwrap();
    for &key in keys {
        let declare = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(key.into(), declare, none()).await.unwrap();
        let bind = QueueBindOptions::default();
        channel.queue_bind(key.into(), exchange.into(), key.into(), bind, none()).await.unwrap();
    }
    connection.close(200, "made".into()).await.unwrap();
}

/// The next message of a queue.
async fn in_rabbitmq(queue: &str) -> Option<Message> {
    let connection = connection().await;
    let channel = connection.create_channel().await.unwrap();
    let options = BasicGetOptions { no_ack: true };
    let message = channel.basic_get(queue.into(), options).await.unwrap().map(|message| {
        let all = message.properties.headers().clone().unwrap_or_default();
        let text = |value: &lapin::types::AMQPValue| value.as_long_string().unwrap().to_string();
        let mut headers: BTreeMap<_, _> =
            all.inner().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let content_type = message.properties.content_type().as_ref().unwrap().to_string();
        headers.insert("content_type".to_owned(), content_type);
        Message { body: String::from_utf8(message.data.clone()).unwrap(), headers }
    });
    connection.close(200, "read".into()).await.unwrap();
    message
}

#[tokio::test]
async fn topics_of_rabbitmq_get_cephs_form_and_cloudevents_in_both_modes() {
    let _turn = rabbitmq::TURN.lock().await;
    part("rabbitmq.sh", &["start"]).await;
    let (names, exchange) = (["ceph", "structured", "binary"].map(unique), unique("exchange"));
    let [ceph, structured, binary] = names.each_ref().map(String::as_str);
    bind(&exchange, &[ceph, structured, binary]).await;
    let endpoint = format!("amqp://127.0.0.1:{}", setting("AMQP_PORT").await);
    let (server, sink) = (server().await, Sink::start().await);
    let topics = [(ceph, "ceph"), (structured, "cloudevents"), (binary, "cloudevents-binary")];
    let attributes =
        [("push-endpoint", endpoint.as_str()), ("amqp-exchange", &exchange), ("amqp-ack-level", "routable")];
    let told = told_in_three_forms(&server, &sink, &topics, &attributes).await;

    let minio = [("minio-bucket", "album"), ("minio-event", "s3:ObjectCreated:Put")];
    let with = |content_type| headers(&[&minio[..], &[("content_type", content_type)]].concat());
    let mut binary_headers = told.attributes("cloudEvents_");
    binary_headers.extend(with(JSON));
    let wanted = [
        (ceph, told.ceph(ceph), with(JSON)),
        (structured, told.structured(structured), with(STRUCTURED)),
        (binary, told.data(binary), binary_headers),
    ];
    for (queue, body, headers) in wanted {
        let message = eventually("a message in RabbitMQ", || in_rabbitmq(queue)).await;
        assert_eq!(message, Message { body, headers }, "{queue}");
    }
}

#[tokio::test]
async fn topics_of_mosquitto_get_cephs_form_and_whole_cloudevents() {
    part("mosquitto.sh", &["start"]).await;
    let names = ["ceph", "structured"].map(unique);
    for name in &names {
        part("mosquitto.sh", &["subscribe", name, name]).await;
    }
    let [ceph, structured] = names.each_ref().map(String::as_str);
    let endpoint = format!("mqtt://127.0.0.1:{}", setting("MQTT_PORT").await);
    let (server, sink) = (server().await, Sink::start().await);
    let topics = [(ceph, "ceph"), (structured, "cloudevents")];
    let told = told_in_three_forms(&server, &sink, &topics, &[("push-endpoint", &endpoint)]).await;

    for (topic, body) in [(ceph, told.ceph(ceph)), (structured, told.structured(structured))] {
        let printed = part("mosquitto.sh", &["consume", topic, topic, "1"]).await;
        assert_eq!(printed.trim_end(), body, "{topic}");
    }
}

#[tokio::test]
async fn topics_of_http_get_cephs_form_with_and_without_attributes_and_cloudevents_in_both_modes() {
    let names = ["ceph", "attributes", "structured", "binary"].map(unique);
    let [ceph, attributes, structured, binary] = names.each_ref().map(String::as_str);
    let (server, beside) = (server().await, Sink::start().await);
    let mut sinks = Vec::new();
    for (name, form) in
        [(ceph, "ceph"), (attributes, "ceph"), (structured, "cloudevents"), (binary, "cloudevents-binary")]
    {
        let sink = Sink::start().await;
        let cloudevents = (name == attributes).to_string();
        let values = [
            ("push-endpoint", sink.url()),
            ("record_format", form.to_owned()),
            ("cloudevents", cloudevents),
            ("OpaqueData", OPAQUE.to_owned()),
        ];
        create(&server, name, &values.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
        sinks.push(sink);
    }
    create(&server, "beside", &[("push-endpoint", &beside.url())]).await;
    tell(&server, names.iter().map(String::as_str).chain(["beside"])).await;
    let told = Told::of_a_put(&server, &beside).await;

    let with = |content_type| headers(&[("content-type", content_type)]);
    let id = told.id();
    let of_ceph = headers(&[
        ("content-type", JSON),
        ("ce-specversion", "1.0"),
        ("ce-type", "com.amazonaws.ObjectCreated:Put"),
        ("ce-time", &told.time),
        ("ce-id", &id),
        ("ce-source", "ceph:s3..album"),
        ("ce-subject", "dir/a%20b&c.jpg"),
    ]);
    let mut of_binary = told.attributes("ce-");
    of_binary.insert("ce-subject".to_owned(), KEY_ENCODED.replace('%', "%25"));
    of_binary.extend(with(JSON));
    let wanted = [
        (told.ceph(ceph), with(JSON)),
        (told.ceph(attributes), of_ceph),
        (told.structured(structured), with(STRUCTURED)),
        (told.data(binary), of_binary),
    ];
    for (sink, (body, headers)) in sinks.iter().zip(wanted) {
        let delivery = sink.received(1).await.remove(0);
        let said = delivery.headers.into_iter();
        let said = said.filter(|(name, _)| name.starts_with("ce-") || name == "content-type").collect();
        let message = Message { body: String::from_utf8(delivery.bytes.to_vec()).unwrap(), headers: said };
        assert_eq!(message, Message { body, headers });
    }
}

/// Lays the parts' authority where only topics that name it trust it, and says how they name it.
async fn laid_below(server: &Server) -> &'static str {
    let authority = server.home().join(".minio/certs/CAs/parts/ca.pem");
    std::fs::copy(setting("CA_CERT").await, authority).unwrap();
    "parts/ca.pem"
}

/// Three topics of one endpoint that shows a certificate nobody trusts: one that takes any, one that names its
/// authority, and one that does neither and is told nothing.
async fn trusted_by_two_of(server: &Server, names: &[String; 3], attributes: &[(&str, &str)]) {
    let authority = laid_below(server).await;
    let own = [&[("verify-ssl", "false")][..], &[("ca-location", authority)], &[]];
    for (name, own) in names.iter().zip(own) {
        create(server, name, &[attributes, own].concat()).await;
    }
    tell(server, names.iter().map(String::as_str)).await;
    server.client().put("/album/dir/a%20b%26c.jpg", "hello").await.expect_success("put");
    eventually("a line about the topic that trusts nobody", || async {
        let log = std::fs::read_to_string(server.log()).unwrap();
        let sick: Vec<&str> =
            log.lines().filter(|line| line.contains("the target takes no records")).collect();
        let is_right = |line: &&str| line.contains(&names[2]) && line.contains("ertificate");
        assert!(sick.iter().all(is_right), "{sick:?}");
        (!sick.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_topic_of_kafka_trusts_what_it_says_and_nobody_else() {
    part("kafka.sh", &["start"]).await;
    let names = ["any", "own", "nobody"].map(unique);
    for name in &names {
        part("kafka.sh", &["topic", name]).await;
    }
    let endpoint = format!("kafka://127.0.0.1:{}", setting("KAFKA_TLS_PORT").await);
    let server = server().await;
    trusted_by_two_of(&server, &names, &[("push-endpoint", &endpoint), ("use-ssl", "true")]).await;

    for name in &names[..2] {
        eventually("a message over TLS", || in_kafka(name)).await;
    }
    assert_eq!(in_kafka(&names[2]).await, None);
}

#[tokio::test]
async fn a_topic_of_rabbitmq_trusts_what_it_says_and_nobody_else() {
    let _turn = rabbitmq::TURN.lock().await;
    part("rabbitmq.sh", &["start"]).await;
    let (names, exchange) = (["any", "own", "nobody"].map(unique), unique("exchange"));
    bind(&exchange, &names.each_ref().map(String::as_str)).await;
    let endpoint = format!("amqps://localhost:{}", setting("AMQP_TLS_PORT").await);
    let server = server().await;
    trusted_by_two_of(&server, &names, &[("push-endpoint", &endpoint), ("amqp-exchange", &exchange)]).await;

    for name in &names[..2] {
        eventually("a message over TLS", || in_rabbitmq(name)).await;
    }
    assert_eq!(in_rabbitmq(&names[2]).await, None);
}
