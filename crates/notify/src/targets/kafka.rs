//! Kafka: one message a record, acknowledged by all in-sync replicas.
//!
//! The producer is idempotent: what it retries by itself appears once, in order. A record it gave up is tried
//! again by the relay and may then appear twice. The message's key is `bucket/key`, and the partition is the
//! one that MinIO's client chooses, so that consumers which rely on it may stay: 32-bit FNV-1a of the key,
//! taken as a signed number, modulo the number of partitions, without its sign.
//!
//! The producer is made at the first delivery or probe, and anew after an error it cannot recover from.
//!
//! Source of keys: MinIO's Kafka target. Its `batch_size` and `batch_commit_timeout` gather records before
//! they are stored; here records are stored already and the producer gathers what is under way, so both are
//! accepted and change nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use store::Future;
use tidings_store as store;

use crate::pem;
use crate::record::{Carries, Form};
use crate::target::{
    Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings, host_and_port,
};
use crate::tls::TlsKeys;

/// The row of `TARGETS`.
pub(crate) const KIND: TargetKind = TargetKind {
    kind: "kafka",
    subsystem: "notify_kafka",
    env: "KAFKA",
    help: "sends the records of changes to a topic of a Kafka cluster",
    keys: &[
        KeySpec::new(
            "topic",
            "TOPIC",
            KeyKind::Text,
            "the topic, which the brokers must know or create by themselves",
        )
        .required(),
        KeySpec::new(
            "brokers",
            "BROKERS",
            KeyKind::Csv,
            "addresses to begin with, host:port, separated by commas",
        )
        .required(),
        KeySpec::new("sasl_username", "SASL_USERNAME", KeyKind::Text, "user name, with sasl=on"),
        KeySpec::new("sasl_password", "SASL_PASSWORD", KeyKind::Text, "password, with sasl=on").secret(),
        KeySpec::new("sasl_mechanism", "SASL_MECHANISM", KeyKind::Text, "'plain', 'sha256' or 'sha512'")
            .or("plain"),
        KeySpec::new(
            "tls_client_auth",
            "TLS_CLIENT_AUTH",
            KeyKind::Number,
            "accepted for compatibility, has no effect on a client",
        )
        .or("0"),
        KeySpec::new(
            "sasl",
            "SASL",
            KeyKind::Switch,
            "whether to log in to the brokers by name and password",
        )
        .or("off"),
        KeySpec::new("tls", "TLS", KeyKind::Switch, "whether connections to the brokers are encrypted")
            .or("off"),
        KeySpec::new(
            "tls_skip_verify",
            "TLS_SKIP_VERIFY",
            KeyKind::Switch,
            "trust the broker's certificate without verification",
        )
        .or("off"),
        KeySpec::new(
            "client_tls_cert",
            "CLIENT_TLS_CERT",
            KeyKind::Path,
            "client certificate for mTLS, a PEM file",
        ),
        KeySpec::new(
            "client_tls_key",
            "CLIENT_TLS_KEY",
            KeyKind::Path,
            "private key of the client certificate, a PEM file",
        ),
        KeySpec::QUEUE_DIR,
        KeySpec::QUEUE_LIMIT,
        KeySpec::new(
            "version",
            "VERSION",
            KeyKind::Text,
            "version of the Kafka cluster, e.g. 2.8.0; checked, then negotiated with the brokers",
        ),
        KeySpec::new(
            "batch_size",
            "BATCH_SIZE",
            KeyKind::Number,
            "accepted for compatibility, records are gathered as they come",
        )
        .or("0"),
        KeySpec::new(
            "batch_commit_timeout",
            "BATCH_COMMIT_TIMEOUT",
            KeyKind::Duration,
            "accepted for compatibility",
        )
        .or("0s"),
        KeySpec::new(
            "compression_codec",
            "PRODUCER_COMPRESSION_CODEC",
            KeyKind::Text,
            "'none', 'gzip', 'snappy', 'lz4' or 'zstd'",
        ),
        KeySpec::new(
            "compression_level",
            "PRODUCER_COMPRESSION_LEVEL",
            KeyKind::Number,
            "compression level of the codec, 0 to 12",
        ),
        Form::KEY,
        Form::OPAQUE_DATA,
        KeySpec::COMMENT,
    ],
    check,
    connect: |settings, surroundings| Ok(Box::new(Kafka::new(settings, surroundings)?)),
};

/// The client library reads the files itself.
const TLS_KEYS: TlsKeys =
    TlsKeys { certificate: "client_tls_cert", private_key: "client_tls_key", authority: "" };

/// Messages under way at once.
const IN_FLIGHT_MAX: usize = 500;

/// How long a message may take, retries of the producer included.
const DELIVERY_MS: u32 = 15_000;

/// How long the producer waits for other messages to send along.
const LINGER_MS: u32 = 1;

/// How long a topic may be unknown before a message to it fails.
const TOPIC_UNKNOWN_MS: u32 = 5000;

/// How long a probe may take.
const PROBE_MS: u64 = 3000;

/// Longest name of a topic, in bytes.
const TOPIC_BYTES_MAX: usize = 249;

/// The highest level that any codec knows.
const COMPRESSION_LEVEL_MAX: u64 = 12;

fn check(settings: &TargetSettings) -> Result<(), String> {
    settings.check_keys(KIND.keys)?;
    let topic = settings.value("topic");
    if !is_topic(topic) {
        return Err(format!(
            "topic is {topic}, a topic has 1 to {TOPIC_BYTES_MAX} letters, digits, . _ or -"
        ));
    }
    for broker in brokers(settings) {
        if host_and_port(broker).is_none() {
            return Err(format!("brokers names {broker}, a broker looks like host:9092"));
        }
    }
    mechanism(settings)?;
    form(settings)?;
    if settings.is_on("sasl") && settings.value("sasl_username").is_empty() {
        return Err("sasl is on and sasl_username is not set".to_owned());
    }
    let version = settings.value("version");
    if !version.is_empty() && !version.split('.').all(|part| part.parse::<u16>().is_ok()) {
        return Err(format!("version is {version}, a version looks like 2.8.0"));
    }
    let codec = settings.value("compression_codec");
    if !matches!(codec, "" | "none" | "gzip" | "snappy" | "lz4" | "zstd") {
        return Err(format!("compression_codec is {codec}, known are none, gzip, snappy, lz4 and zstd"));
    }
    if settings.number("compression_level") > COMPRESSION_LEVEL_MAX {
        return Err(format!(
            "compression_level is {}, at most {COMPRESSION_LEVEL_MAX} is possible",
            settings.value("compression_level")
        ));
    }
    TLS_KEYS.check(settings)
}

/// What Kafka takes for a topic (`org.apache.kafka.common.internals.Topic`); no broker would ever know another.
fn is_topic(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TOPIC_BYTES_MAX).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(is_legal)
}

fn brokers(settings: &TargetSettings) -> impl Iterator<Item = &str> {
    settings.value("brokers").split(',').map(str::trim)
}

/// As librdkafka calls it. MinIO takes any other word for `plain`, which shows the password to the broker
/// where a safer mechanism was meant; here it is refused.
fn mechanism(settings: &TargetSettings) -> Result<&'static str, String> {
    match settings.value("sasl_mechanism").to_ascii_lowercase().as_str() {
        "" | "plain" => Ok("PLAIN"),
        "sha256" => Ok("SCRAM-SHA-256"),
        "sha512" => Ok("SCRAM-SHA-512"),
        other => Err(format!("sasl_mechanism is {other}, known are plain, sha256 and sha512")),
    }
}

fn form(settings: &TargetSettings) -> Result<Form, String> {
    Form::of(settings, Form::MinioEnvelope, Carries::Attributes)
}

/// The headers of a message: none but for CloudEvents. Kafka protocol binding for CloudEvents 1.0.2, §3.
fn headers(form: &Form, attributes: &[(&'static str, String)]) -> Option<OwnedHeaders> {
    let content_type = Header { key: "content-type", value: Some(form.content_type()) };
    let headers = form.is_cloudevent().then(|| OwnedHeaders::new().insert(content_type))?;
    Some(attributes.iter().fold(headers, |headers, (name, value)| {
        headers.insert(Header { key: &format!("ce_{name}"), value: Some(value) })
    }))
}

/// The producer's settings.
fn producer_config(settings: &TargetSettings, surroundings: &Surroundings) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::new();
    let (sasl, tls) = (settings.is_on("sasl"), settings.is_on("tls"));
    let protocol = match (sasl, tls) {
        (false, false) => "plaintext",
        (false, true) => "ssl",
        (true, false) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    config
        .set("bootstrap.servers", brokers(settings).collect::<Vec<_>>().join(","))
        .set("client.id", "tidings")
        .set("security.protocol", protocol)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "fnv1a_random")
        .set("linger.ms", LINGER_MS.to_string())
        .set("message.timeout.ms", DELIVERY_MS.to_string())
        .set("topic.metadata.propagation.max.ms", TOPIC_UNKNOWN_MS.to_string())
        .set_log_level(RDKafkaLogLevel::Warning);
    if sasl {
        config
            .set("sasl.mechanism", mechanism(settings)?)
            .set("sasl.username", settings.value("sasl_username"))
            .set("sasl.password", settings.value("sasl_password"));
    }
    if tls {
        let trusted = pem::trusted_pem(surroundings);
        if !trusted.is_empty() {
            config.set("ssl.ca.pem", trusted);
        }
        config.set("enable.ssl.certificate.verification", (!settings.is_on("tls_skip_verify")).to_string());
        if !settings.value("client_tls_cert").is_empty() {
            config.set("ssl.certificate.location", settings.value("client_tls_cert"));
            config.set("ssl.key.location", settings.value("client_tls_key"));
        }
    }
    if !settings.value("compression_codec").is_empty() {
        config.set("compression.codec", settings.value("compression_codec"));
    }
    if !settings.value("compression_level").is_empty() {
        config.set("compression.level", settings.value("compression_level"));
    }
    Ok(config)
}

struct Kafka {
    topic: String,
    form: Form,
    config: ClientConfig,
    producer: Mutex<Option<FutureProducer<Attentive>>>,
    attentive: Attentive,
}

/// Keeps the last error that librdkafka told: a message that timed out does not say why.
#[derive(Clone, Default)]
struct Attentive {
    last_error: Arc<Mutex<String>>,
}

impl ClientContext for Attentive {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "the Kafka client says");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client has an error");
        // That all brokers are down says less than why one of them is.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            reason.clone_into(&mut self.last_error.lock());
        }
    }
}

impl Kafka {
    fn new(settings: &TargetSettings, surroundings: &Surroundings) -> Result<Kafka, String> {
        let config = producer_config(settings, surroundings)?;
        Ok(Kafka {
            topic: settings.value("topic").to_owned(),
            form: form(settings)?,
            config,
            producer: Mutex::new(None),
            attentive: Attentive::default(),
        })
    }

    /// The producer, made if there is none or the last one is beyond recovery.
    fn producer(&self) -> Result<FutureProducer<Attentive>, String> {
        let mut place = self.producer.lock();
        if let Some(producer) = &*place
            && producer.client().fatal_error().is_none()
        {
            return Ok(producer.clone());
        }
        let made: Result<FutureProducer<Attentive>, _> =
            self.config.create_with_context(self.attentive.clone());
        let producer = made.map_err(|error| format!("no producer can be made: {error}"))?;
        *place = Some(producer.clone());
        Ok(producer)
    }

    async fn send(&self, delivery: Delivery) -> Outcome {
        let producer = match self.producer() {
            Ok(producer) => producer,
            Err(reason) => return Outcome::Away(reason),
        };
        let mut message = FutureRecord::to(&self.topic).key(&delivery.key).payload(&delivery.body[..]);
        message.headers = headers(&self.form, &delivery.attributes);
        let result = match producer.send_result(message) {
            Ok(acknowledgement) => acknowledgement.await,
            Err((error, _)) => return self.failure(&error),
        };
        match result {
            Ok(Ok(_)) => {
                self.attentive.last_error.lock().clear();
                Outcome::Acknowledged
            }
            Ok(Err((error, _))) => self.failure(&error),
            Err(_) => Outcome::Away("the producer was closed".to_owned()),
        }
    }

    fn failure(&self, error: &KafkaError) -> Outcome {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord) => {
                Outcome::Refused(error.to_string())
            }
            _ => Outcome::Away(self.with_cause(error)),
        }
    }

    /// An error with what the client told last, where that is known.
    fn with_cause(&self, error: &KafkaError) -> String {
        let cause = self.attentive.last_error.lock();
        if cause.is_empty() { error.to_string() } else { format!("{error}: {cause}") }
    }
}

impl Target for Kafka {
    fn form(&self) -> Form {
        self.form.clone()
    }

    fn in_flight_max(&self) -> usize {
        IN_FLIGHT_MAX
    }

    /// Asks for the topic, so that a wrong password and a missing topic show as well.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(async {
            let producer = self.producer()?;
            let topic = self.topic.clone();
            let asking = tokio::task::spawn_blocking(move || {
                let metadata =
                    producer.client().fetch_metadata(Some(&topic), Duration::from_millis(PROBE_MS))?;
                let found = metadata.topics().iter().find(|found| found.name() == topic);
                let error = found.and_then(rdkafka::metadata::MetadataTopic::error);
                Ok(error.map(|error| format!("topic {topic}: {}", RDKafkaErrorCode::from(error))))
            });
            match asking.await {
                Ok(Ok(None)) => Ok(()),
                Ok(Ok(Some(reason))) => Err(reason),
                Ok(Err(error)) => Err(self.with_cause(&error)),
                Err(_) => Err("the probe was interrupted".to_owned()),
            }
        })
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        Box::pin(self.send(delivery))
    }
}

impl Drop for Kafka {
    /// What is still queued is the next relay's to send: it must not arrive after what that one sends.
    fn drop(&mut self) {
        if let Some(producer) = self.producer.lock().take() {
            producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
            // Ending the producer's thread blocks for a moment.
            std::thread::spawn(move || drop(producer));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rdkafka::config::ClientConfig;
    use rdkafka::message::Headers;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{FutureProducer, FutureRecord};

    use tidings_store::ChangeKind;

    use super::{Kafka, check, producer_config};
    use crate::event::Event;
    use crate::record::Form;
    use crate::target::{Delivery, Outcome, Surroundings, Target, TargetId, TargetSettings};

    /// Keys and the partitions that Sarama 1.45.1 chose for them with its default partitioner, of 1, 3, 7 and
    /// 12 partitions.
    const RECORDED: &str = include_str!("kafka-partitions.tsv");

    fn settings(pairs: &[(&'static str, &str)]) -> TargetSettings {
        let values: BTreeMap<_, _> = pairs.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        TargetSettings { target: TargetId { id: "1".to_owned(), kind: "kafka" }, values }
    }

    fn recorded() -> impl Iterator<Item = (&'static str, [i32; 4])> {
        let lines = RECORDED.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| {
            let mut fields = line.split('\t');
            let key = fields.next().unwrap();
            (key, [(); 4].map(|()| fields.next().unwrap().parse().unwrap()))
        })
    }

    #[test]
    fn only_a_cloudevent_has_headers_and_in_binary_mode_they_are_its_attributes() {
        let told = |form, attributes: &[(&'static str, String)]| {
            let headers = super::headers(&form, attributes)?;
            let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
            Some(headers.iter().map(|header| format!("{}: {}", header.key, text(header.value))).collect())
        };
        let structured = vec!["content-type: application/cloudevents+json; charset=utf-8".to_owned()];
        let binary = vec!["content-type: application/json".to_owned(), "ce_subject: a ü".to_owned()];
        assert_eq!(told(Form::MinioEnvelope, &[]), None);
        assert_eq!(told(Form::CloudEvents, &[]), Some(structured));
        assert_eq!(told(Form::CloudEventsBinary, &[("subject", "a ü".to_owned())]), Some(binary));
    }

    #[test]
    fn the_recorded_partitions_are_those_of_the_signed_hash() {
        let partition = |key: &str, partitions: i32| {
            let hash = key
                .bytes()
                .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
            (hash.cast_signed() % partitions).abs()
        };
        assert_eq!(recorded().count(), 100);
        for (key, expected) in recorded() {
            assert_eq!([1, 3, 7, 12].map(|partitions| partition(key, partitions)), expected, "{key}");
        }
    }

    #[tokio::test]
    async fn every_key_goes_to_the_partition_that_minios_client_chooses() {
        let cluster = MockCluster::new(1).unwrap();
        let settings = settings(&[("brokers", &cluster.bootstrap_servers()), ("topic", "t")]);
        let config: ClientConfig = producer_config(&settings, &Surroundings::default()).unwrap();
        let producer: FutureProducer = config.create().unwrap();

        for (place, partitions) in [1, 3, 7, 12].into_iter().enumerate() {
            let topic = format!("of-{partitions}");
            cluster.create_topic(&topic, partitions, 1).unwrap();
            let sent = recorded()
                .map(|(key, _)| producer.send_result(FutureRecord::to(&topic).key(key).payload("")).unwrap());
            let mut chosen = Vec::new();
            for acknowledgement in sent.collect::<Vec<_>>() {
                chosen.push(acknowledgement.await.unwrap().unwrap().partition);
            }
            assert_eq!(
                chosen,
                recorded().map(|(_, expected)| expected[place]).collect::<Vec<_>>(),
                "{partitions} partitions"
            );
        }
    }

    #[tokio::test]
    async fn a_record_is_acknowledged_by_a_broker_that_is_there() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("events", 3, 1).unwrap();
        let settings = settings(&[("brokers", &cluster.bootstrap_servers()), ("topic", "events")]);
        let target = Kafka::new(&settings, &Surroundings::default()).unwrap();
        let delivery = Delivery {
            key: "album/rose.jpg".to_owned(),
            event: Event::of(ChangeKind::Put),
            time_ms: 0,
            body: "{}".into(),
            attributes: vec![],
        };

        assert_eq!((target.probe().await, target.deliver(delivery).await), (Ok(()), Outcome::Acknowledged));
    }

    #[test]
    fn settings_that_cannot_work_are_told_by_the_name_of_their_key() {
        let told = |pairs: &[(&'static str, &str)]| {
            let pairs = [&[("brokers", "b:9092"), ("topic", "t")], pairs].concat();
            check(&settings(&pairs)).err().unwrap_or_default()
        };
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[("topic", "")]), "topic is required and not set");
        assert_eq!(
            told(&[("topic", "photo albums")]),
            "topic is photo albums, a topic has 1 to 249 letters, digits, . _ or -"
        );
        assert_eq!(told(&[("topic", "..")]), "topic is .., a topic has 1 to 249 letters, digits, . _ or -");
        assert_eq!(told(&[("brokers", "b:9092,c")]), "brokers names c, a broker looks like host:9092");
        assert_eq!(told(&[("sasl", "on")]), "sasl is on and sasl_username is not set");
        assert_eq!(
            told(&[("sasl_mechanism", "oauth")]),
            "sasl_mechanism is oauth, known are plain, sha256 and sha512"
        );
        assert_eq!(told(&[("version", "two")]), "version is two, a version looks like 2.8.0");
        assert_eq!(
            told(&[("compression_codec", "brotli")]),
            "compression_codec is brotli, known are none, gzip, snappy, lz4 and zstd"
        );
        assert_eq!(
            told(&[("client_tls_key", "/k")]),
            "client_tls_cert and client_tls_key must both be set or neither"
        );
    }

    #[test]
    fn the_protocol_follows_sasl_and_tls() {
        let protocol = |pairs: &[(&'static str, &str)]| {
            let config = producer_config(&settings(pairs), &Surroundings::default()).unwrap();
            ["security.protocol", "sasl.mechanism", "acks", "enable.idempotence"]
                .map(|key| config.get(key).unwrap_or("").to_owned())
        };
        assert_eq!(protocol(&[]), ["plaintext", "", "all", "true"]);
        assert_eq!(protocol(&[("tls", "on")]), ["ssl", "", "all", "true"]);
        assert_eq!(
            protocol(&[("sasl", "on"), ("sasl_mechanism", "sha512")]),
            ["sasl_plaintext", "SCRAM-SHA-512", "all", "true"]
        );
        assert_eq!(
            protocol(&[("sasl", "on"), ("tls", "on"), ("sasl_mechanism", "sha256")]),
            ["sasl_ssl", "SCRAM-SHA-256", "all", "true"]
        );
    }
}
