//! What every kind of target goes through beside its real server: the server away, killed and back, a wrong
//! password, TLS, and the suite that every target passes.
//!
//! A webhook stands beside each target and is told the same. It says what the target must hold: the webhook's
//! record is checked byte for byte elsewhere, so equal records are exact records.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tidings_notify::target::Surroundings;
use tidings_notify::testing::contract::{self, Receiver};
use tidings_notify::{Delivery, Event, Outcome, Target, TargetId, TargetSettings, target_kind};
use tidings_store::Future;

use crate::support::eventually;
use crate::support::parts::{part as script, setting, trusting_the_parts};
use crate::support::server::{Server, events, run_to_end};
use crate::support::sink::Sink;
use crate::support::xml;

/// A real server and how a target leads to it.
pub(super) struct Part {
    /// Its script in `tests/parts`.
    pub(super) script: &'static str,
    /// The kind of target, as in ARNs.
    pub(super) kind: &'static str,
    /// As in environment names.
    pub(super) env: &'static str,
    /// The target's keys that hold for every test: key and value.
    pub(super) settings: Vec<(&'static str, String)>,
    /// What the server holds of an envelope.
    pub(super) shape: fn(&Value) -> Value,
    /// What it holds, in the order of arrival as far as it keeps one per key.
    pub(super) held: Held,
}

/// Reads what a server holds.
pub(super) type Held = Box<dyn Fn() -> Future<'static, Vec<Value>> + Send + Sync>;

impl Part {
    /// The same with other settings; what is named twice holds as it is named last.
    pub(super) fn with(mut self, settings: &[(&'static str, &str)]) -> Part {
        self.settings.extend(settings.iter().map(|&(key, value)| (key, value.to_owned())));
        self
    }

    /// The target that these settings make.
    async fn target(&self) -> Box<dyn Target> {
        let row = target_kind(self.kind).expect("the build has the kind");
        let mut values: BTreeMap<_, _> =
            row.every_key().map(|key| (key.name, key.default.to_owned())).collect();
        for (name, value) in &self.settings {
            let key = row.every_key().find(|key| key.env == *name).expect("a setting is of a key");
            values.insert(key.name, value.clone());
        }
        let settings = TargetSettings { target: TargetId { id: "1".to_owned(), kind: row.kind }, values };
        assert_eq!((row.check)(&settings), Ok(()));
        let authorities = std::path::PathBuf::from(setting("CERTS_DIR").await);
        let target = (row.connect)(
            &settings,
            &Surroundings { ca_directory: Some(authorities), ..Surroundings::default() },
        );
        target.expect("the settings make a target")
    }

    pub(super) async fn start(&self) {
        script(self.script, &["start"]).await;
    }

    /// What runs the target, and a bucket `album` that tells it and a webhook everything.
    ///
    /// It is told of the target's server whether that runs or not.
    async fn album(&self) -> Album {
        let sink = Sink::start().await;
        let mut server = Server::over(4)
            .with("MINIO_NOTIFY_WEBHOOK_ENABLE_BESIDE", "on")
            .with("MINIO_NOTIFY_WEBHOOK_ENDPOINT_BESIDE", &sink.url())
            .with(&format!("MINIO_NOTIFY_{}_ENABLE_1", self.env), "on");
        for (key, value) in &self.settings {
            server.set(&self.name_of(key), value);
        }
        script("certs.sh", &["make"]).await;
        trusting_the_parts(&server).await;
        let server = server.started().await;
        server.client().create_bucket("album").await;
        let album = Album { server, sink };
        album.announce(self.kind, "").await;
        album
    }

    /// `MINIO_NOTIFY_REDIS_ADDRESS_1`.
    fn name_of(&self, key: &str) -> String {
        format!("MINIO_NOTIFY_{}_{key}_1", self.env)
    }
}

/// A server with a bucket that announces everything.
pub(super) struct Album {
    server: Server,
    sink: Sink,
}

/// What [`Album::happen`] makes happen.
const CHANGES: usize = 9;

impl Album {
    /// From now on tells the target and the webhook of everything under a prefix.
    async fn announce(&self, kind: &str, prefix: &str) {
        let rule = |arn: &str| {
            let events = "<Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event>";
            let filter = format!("<FilterRule><Name>prefix</Name><Value>{prefix}</Value></FilterRule>");
            let filter = format!("<Filter><S3Key>{filter}</S3Key></Filter>");
            format!("<QueueConfiguration><Queue>{arn}</Queue>{events}{filter}</QueueConfiguration>")
        };
        let (own, beside) = (format!("arn:minio:sqs::1:{kind}"), "arn:minio:sqs::BESIDE:webhook");
        let rules =
            format!("<NotificationConfiguration>{}{}</NotificationConfiguration>", rule(&own), rule(beside));
        let answer = self.server.client().send(Method::PUT, "/album?notification", &[], rules).await;
        answer.expect_success("announce");
    }

    /// Has the target rebuild what it keeps of the bucket; what was done.
    async fn resync(&self, kind: &str) -> Value {
        let target = format!("1:{kind}");
        let arguments = ["resync", "--json", "--target", &target, "--bucket", "album"];
        let (status, said) = run_to_end(events(&self.server, &arguments)).await;
        assert!(status.success(), "{said}");
        serde_json::from_str(&said).unwrap()
    }

    /// Put, overwrite, copy, multipart, delete, bulk delete. In the end there are `rose` and `lily`.
    async fn happen(&self) {
        let client = self.server.client();
        let metadata = [("x-amz-meta-color", "red"), ("content-type", "image/jpeg")];
        let put = client.send(Method::PUT, "/album/a/rose%20%26%20%C3%BC.jpg", &metadata, "hello").await;
        put.expect_success("put");
        client.put("/album/a/rose%20%26%20%C3%BC.jpg", "again").await.expect_success("overwrite");
        let copy = [("x-amz-copy-source", "/album/a/rose%20%26%20%C3%BC.jpg")];
        client.send(Method::PUT, "/album/tulip.jpg", &copy, "").await.expect_success("copy");
        let begun = client.send(Method::POST, "/album/lily.bin?uploads", &[], "").await;
        let upload = xml::text(begun.expect_success("begin").text(), "UploadId");
        let part = client.put(&format!("/album/lily.bin?partNumber=1&uploadId={upload}"), "tail").await;
        let etag = part.expect_success("part").header("etag").to_owned();
        let complete = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        let target = format!("/album/lily.bin?uploadId={upload}");
        client.send(Method::POST, &target, &[], complete).await.expect_success("complete");
        for key in ["daisy", "iris"] {
            client.put(&format!("/album/{key}"), "").await.expect_success(key);
        }
        client.delete("/album/tulip.jpg").await.expect_success("delete");
        let both = "<Delete><Object><Key>daisy</Key></Object><Object><Key>iris</Key></Object></Delete>";
        // A bulk delete must carry the MD5 of its body.
        let headers = [("content-md5", "2r4yoVrL6dzphXt8rLmWCQ==")];
        let deleted = client.send(Method::POST, "/album?delete", &headers, both).await;
        deleted.expect_success("bulk delete");
    }

    /// Puts the objects of a backlog, several at a time.
    async fn put_all(&self, body: &str) {
        let client = self.server.client();
        let client = &client;
        let puts = futures_util::stream::iter(0..BACKLOG_KEYS).map(|key| {
            let path = format!("/album/{key}");
            async move { client.put(&path, body.to_owned()).await.expect_success("put").status }
        });
        puts.buffer_unordered(16).collect::<Vec<_>>().await;
    }

    /// Puts an object whose record the target does not take, and gives the server's log.
    async fn becomes_sick(&self) -> String {
        self.server.client().put("/album/rose.jpg", "ab").await.expect_success("put");
        eventually("a line about the target that takes no records", || async {
            let log = std::fs::read_to_string(self.server.log()).unwrap();
            log.contains("the target takes no records").then_some(log)
        })
        .await
    }

    /// What was told so far, in the order of sequencers; waits until it is so much.
    async fn told(&self, changes: usize) -> Vec<Value> {
        let mut deliveries = self.sink.received(changes).await;
        deliveries.sort_by_key(|delivery| delivery.sequencer());
        deliveries.dedup_by_key(|delivery| delivery.sequencer());
        deliveries.into_iter().map(|delivery| delivery.body).collect()
    }
}

/// `{"Records":[r]}` of an envelope.
pub(super) fn records(envelope: &Value) -> Value {
    json!({ "Records": envelope["Records"] })
}

/// The key of whatever a target holds, as records encode it.
fn key_of(held: &Value) -> String {
    record_of(held)["s3"]["object"]["key"].as_str().expect("a record has a key").to_owned()
}

fn sequencer_of(held: &Value) -> String {
    record_of(held)["s3"]["object"]["sequencer"].as_str().expect("a record has a sequencer").to_owned()
}

fn record_of(held: &Value) -> &Value {
    [held.pointer("/Records/0"), held.pointer("/0/Event/0")].into_iter().flatten().next().expect("a record")
}

/// What is held by key, in the order of arrival.
fn by_key(held: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    let mut by_key: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for value in held {
        by_key.entry(key_of(&value)).or_default().push(value);
    }
    by_key
}

/// Without what arrived again: of each record its first arrival.
fn without_repeats(held: Vec<Value>) -> Vec<Value> {
    let mut seen = std::collections::BTreeSet::new();
    held.into_iter().filter(|value| seen.insert(sequencer_of(value))).collect()
}

/// A target that keeps every record gets all of them, exact and in order of each key, though its server is away
/// at first and is killed while records are sent to it.
pub(super) async fn every_record_arrives(part: &Part) {
    script(part.script, &["stop"]).await;
    let album = part.album().await;
    album.happen().await;
    let told = album.told(CHANGES).await;
    part.start().await;
    let arrived = eventually("every record", || async {
        Some((part.held)().await).filter(|held| held.len() >= CHANGES)
    })
    .await;
    let wanted: Vec<Value> = told.iter().map(part.shape).collect();
    assert_eq!(by_key(without_repeats(arrived)), by_key(wanted));

    killed_in_between(part, &album).await;
}

/// How many objects are put while the server is killed and comes back, over so many keys.
const PUTS: usize = 120;
const KEYS: usize = 10;

async fn killed_in_between(part: &Part, album: &Album) {
    let client = album.server.client();
    for number in 0..PUTS {
        if number == PUTS / 3 {
            script(part.script, &["crash"]).await;
        }
        if number == 2 * PUTS / 3 {
            part.start().await;
        }
        let path = format!("/album/{}", number % KEYS);
        client.put(&path, format!("{number}")).await.expect_success("put");
    }
    let told = album.told(CHANGES + PUTS).await;
    let wanted = by_key(told.iter().map(part.shape).collect());
    let arrived = eventually("every record after the server was killed", || async {
        let held = without_repeats((part.held)().await);
        (held.len() >= told.len()).then_some(held)
    })
    .await;
    assert_eq!(by_key(arrived), wanted);
}

/// Changes that wait for a server, and the keys of those that keep every record: more than a batch holds of both.
const BACKLOG: usize = 2_000;
const BACKLOG_KEYS: usize = 400;

/// What waited for a server that was away arrives in batches, every record, exact and in order of each key.
pub(super) async fn a_backlog_arrives(part: &Part) {
    script(part.script, &["stop"]).await;
    let album = part.album().await;
    for round in 0..BACKLOG / BACKLOG_KEYS {
        album.put_all(&round.to_string()).await;
    }
    let told = album.told(BACKLOG).await;
    part.start().await;
    let arrived = eventually("every record of the backlog", || async {
        let held = without_repeats((part.held)().await);
        (held.len() >= BACKLOG).then_some(held)
    })
    .await;
    assert_eq!(by_key(arrived), by_key(told.iter().map(part.shape).collect()));
}

/// A mirror holds what is there after a backlog of objects that came, changed and went.
pub(super) async fn a_backlog_is_mirrored(part: &Part, held: impl AsyncFn() -> Vec<Value>) {
    script(part.script, &["stop"]).await;
    let album = part.album().await;
    album.put_all("0").await;
    album.put_all("1").await;
    for key in (0..BACKLOG_KEYS).step_by(3) {
        album.server.client().delete(&format!("/album/{key}")).await.expect_success("delete");
    }
    let mut told = album.told(2 * BACKLOG_KEYS + BACKLOG_KEYS.div_ceil(3)).await;
    told.retain(|envelope| key_of(envelope).parse::<usize>().is_ok_and(|key| key % 3 != 0));
    let wanted = by_key(told[told.len() / 2..].iter().map(part.shape).collect());
    assert_eq!(wanted.len(), BACKLOG_KEYS - BACKLOG_KEYS.div_ceil(3));
    part.start().await;
    eventually("the mirror of a backlog", || async { (by_key(held().await) == wanted).then_some(()) }).await;
}

/// A target that mirrors forgets one bucket, whatever its neighbours are called.
pub(super) async fn one_bucket_is_forgotten(part: &Part, held: impl AsyncFn() -> Vec<Value>) {
    part.start().await;
    let target = part.target().await;
    let entry = |bucket: &str, key: &str| Delivery {
        key: format!("{bucket}/{key}"),
        event: Event::parse("s3:ObjectCreated:Put").expect("the name is known"),
        time_ms: 0,
        body: json!({"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]})
            .to_string()
            .into(),
        attributes: Vec::new(),
    };
    let gap = Delivery {
        body: json!({"Records": [{"bucket": "a.b", "count": 1}]}).to_string().into(),
        ..entry("a.b", "")
    };
    let numbered = (0..2_500).map(|number| entry("a.b", &format!("{number}_%")));
    let others = ["a", "a-b", "a.b.c", "a_b", "axb"]
        .iter()
        .flat_map(|bucket| ["a.b/1", "rose & ü.jpg", "🌹"].map(|key| entry(bucket, key)));
    let others: Vec<Delivery> = others.collect();
    let all: Vec<Delivery> = numbered.chain([gap]).chain(others.clone()).collect();
    for batch in all.chunks(target.batch_max()) {
        let outcomes = target.deliver_batch(batch.to_vec()).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Acknowledged), "{outcomes:?}");
    }
    assert_eq!(held().await.len(), all.len());
    for _ in 0..2 {
        assert_eq!(target.forget("a.b").await, Ok(()));
        let mut left: Vec<String> = held().await.iter().map(Value::to_string).collect();
        let mut wanted: Vec<String> = others
            .iter()
            .map(|other| serde_json::from_slice::<Value>(&other.body).expect("it is JSON").to_string())
            .collect();
        left.sort();
        wanted.sort();
        assert_eq!(left, wanted);
    }
}

/// A target that mirrors the bucket holds the last record of what is there and nothing else.
pub(super) async fn the_bucket_is_mirrored(part: &Part, held: impl AsyncFn() -> BTreeMap<String, Value>) {
    part.start().await;
    let album = part.album().await;
    album.happen().await;
    let told = album.told(CHANGES).await;
    let last = |key: &str| {
        let of_key = told.iter().rfind(|envelope| envelope["Key"] == key);
        (key.to_owned(), (part.shape)(of_key.expect("the object was put")))
    };
    let wanted = BTreeMap::from([last("album/a/rose & ü.jpg"), last("album/lily.bin")]);
    eventually("the mirror of the bucket", || async { (held().await == wanted).then_some(()) }).await;

    // Of what the rules do not tell any more an entry would stay for ever.
    album.announce(part.kind, "a/").await;
    assert_eq!(album.resync(part.kind).await, json!({ "told": 1, "refused": 0, "passed": 1 }));
    let (rebuilt, rose) = (held().await, &wanted["album/a/rose & ü.jpg"]);
    assert_eq!(rebuilt.keys().collect::<Vec<_>>(), ["album/a/rose & ü.jpg"]);
    let object = "/Records/0/s3/object";
    assert_eq!(rebuilt["album/a/rose & ü.jpg"].pointer(object), rose.pointer(object));
}

/// With a wrong password records wait, the server's log says so and holds no password, and with the right one
/// they arrive.
pub(super) async fn a_wrong_password_makes_records_wait(part: &Part, wrong: &[(&str, &str)]) {
    part.start().await;
    let mut album = part.album().await;
    album.server.stop().await;
    for (key, value) in wrong {
        album.server.set(&part.name_of(key), value);
    }
    album.server.start().await;
    let log = album.becomes_sick().await;
    assert!(!log.contains("wrong-secret"), "the log shows a password: {log}");
    assert_eq!((part.held)().await, Vec::<Value>::new());

    album.server.stop().await;
    for (key, value) in &part.settings {
        album.server.set(&part.name_of(key), value);
    }
    album.server.start().await;
    let arrived =
        eventually("the record", || async { Some((part.held)().await).filter(|held| !held.is_empty()) })
            .await;
    assert_eq!(without_repeats(arrived).len(), 1);
}

/// A bucket whose target does not take a record, and what the server's log says.
pub(super) async fn a_sick_target(part: &Part) -> (Album, String) {
    part.start().await;
    let album = part.album().await;
    let log = album.becomes_sick().await;
    (album, log)
}

/// A record arrives, whatever the settings.
pub(super) async fn a_record_arrives(part: &Part) {
    part.start().await;
    let album = part.album().await;
    album.server.client().put("/album/rose.jpg", "ab").await.expect_success("put");
    let told = album.told(1).await;
    let arrived =
        eventually("the record", || async { Some((part.held)().await).filter(|held| !held.is_empty()) })
            .await;
    assert_eq!(arrived, [(part.shape)(&told[0])]);
}

/// The target passes the suite of all targets against its real server.
pub(super) async fn promises_are_kept(part: &Part) {
    part.start().await;
    contract::run(&*part.target().await, &RealServer(part)).await;
}

struct RealServer<'a>(&'a Part);

impl Receiver for RealServer<'_> {
    fn received(&self) -> Future<'_, Vec<Bytes>> {
        let held = (self.0.held)();
        Box::pin(async { held.await.iter().map(|value| Bytes::from(value.to_string())).collect() })
    }

    fn leave(&self) -> Future<'_, ()> {
        Box::pin(async { drop(script(self.0.script, &["stop"]).await) })
    }

    fn come_back(&self) -> Future<'_, ()> {
        Box::pin(self.0.start())
    }

    fn poison(&self, _: &Delivery) -> Option<Bytes> {
        match self.0.kind {
            "elasticsearch" | "mysql" | "postgresql" => Some(Bytes::from_static(br#"{"Records":"#)),
            "nsq" => Some(Bytes::new()),
            _ => None,
        }
    }
}
