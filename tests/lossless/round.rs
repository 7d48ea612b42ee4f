//! One row, from an empty bucket to the verdict.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;

use crate::commanded::Commanded;
use crate::consumer::Consumer;
use crate::foreign::EVENTS;
use crate::judge::{History, Verdict, judge};
use crate::load::Load;
use crate::log::Down;
use crate::machine::Machine;
use crate::notes;
use crate::options::Options;
use crate::rows::{Fault, Place, Row};
use crate::sink::{Mood, Sink};
use crate::subject::Subject;
use crate::support::eventually;
use crate::support::parts::{part, setting, unique};
use crate::support::server::{Server, free_port};
use crate::writer::{self, ORIGINS, origin_of};

/// Requests at once when keys are read and cleared after the row.
const AT_ONCE: usize = 16;

/// How long a slow consumer takes.
const SLOW: Duration = Duration::from_millis(50);

/// How far a clock is set off: less than what a signature may differ by.
const CLOCK_STEP_S: i64 = 600;

/// Size of the drives that are filled, in bytes.
const SMALL_DRIVE_BYTES: u64 = 24 << 20;

/// Writes that were refused before a full drive is cleared.
const REFUSED_AS_FULL: usize = 60;

/// What a row came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) verdict: Verdict,
}

struct Round {
    row: &'static Row,
    options: Options,
    subject: Subject,
    consumer: Consumer,
    load: Arc<Load>,
    downs: Vec<Down>,
}

/// Plays a row.
pub(crate) async fn play(row: &'static Row, options: Options) -> Outcome {
    let mut round = Round::prepared(row, options).await;
    let writers = round.load.begin(round.options.writers.unwrap_or(row.writers));
    round.disturb().await;
    round.load.end(writers).await;
    round.finished().await
}

impl Round {
    /// A server with a bucket whose changes are told to a consumer.
    async fn prepared(row: &'static Row, options: Options) -> Round {
        let (subject, mut consumer, arn) = match (&options.foreign, row.place) {
            (Some(foreign), _) => {
                let sink = listening(&foreign.sink).await;
                (Subject::Foreign(foreign.clone()), Consumer::Webhook(sink), foreign.arn.clone())
            }
            (None, Place::Command) => {
                let sink = listening(ANY_PORT).await;
                let commanded = Commanded::started(&webhook(&sink), WEBHOOK).await;
                (Subject::Commanded(commanded), Consumer::Webhook(sink), WEBHOOK.to_owned())
            }
            (None, Place::Process) => {
                let sink = listening(ANY_PORT).await;
                let server = webhook(&sink)
                    .into_iter()
                    .fold(Server::over(4), |server, (name, value)| server.with(name, &value));
                (Subject::Process(server.started().await), Consumer::Webhook(sink), WEBHOOK.to_owned())
            }
            (None, Place::Machine) => {
                let (sink, port) = (listening(ANY_PORT).await, free_port());
                let environment: BTreeMap<String, String> =
                    webhook(&sink).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                let capacity = (row.fault == Fault::Full).then_some(SMALL_DRIVE_BYTES);
                let mut machine = Machine::new(port, environment, capacity, options.seed);
                machine.start().await;
                let subject = Subject::Machine(Box::new(machine), format!("http://127.0.0.1:{port}"));
                (subject, Consumer::Webhook(sink), WEBHOOK.to_owned())
            }
            (None, Place::Kafka) => {
                let topic = unique("lossless");
                part("kafka.sh", &["start"]).await;
                part("kafka.sh", &["topic", &topic, "4"]).await;
                let server = Server::over(4)
                    .with("MINIO_NOTIFY_KAFKA_ENABLE_1", "on")
                    .with(
                        "MINIO_NOTIFY_KAFKA_BROKERS_1",
                        &format!("127.0.0.1:{}", setting("KAFKA_PORT").await),
                    )
                    .with("MINIO_NOTIFY_KAFKA_TOPIC_1", &topic);
                let subject = Subject::Process(server.started().await);
                (subject, Consumer::Kafka { topic }, "arn:minio:sqs::1:kafka".to_owned())
            }
        };
        let bucket = unique(&format!("lossless-{}", row.name));
        let client = subject.client();
        if subject.stranger().is_some() {
            consumer.sink().listen_only_to(&bucket);
        }
        client.create_bucket(&origin_of(&bucket)).await;
        for (name, body) in ORIGINS {
            client
                .put(&format!("/{}/{name}", origin_of(&bucket)), body)
                .await
                .expect_success("put an origin");
        }
        client.create_bucket(&bucket).await;
        client.announce(&bucket, &EVENTS, &[], &arn).await.expect_success("announce");
        let load = Load::new(client, bucket, options.seed, row.fault == Fault::Full);
        Round { row, options, subject, consumer, load, downs: Vec::new() }
    }

    /// Does to the server what the row is about, while the writers write.
    async fn disturb(&mut self) {
        let (times, operations) = (self.row.times(&self.options), self.row.operations(&self.options));
        let load = Arc::clone(&self.load);
        match self.row.fault {
            Fault::Nothing => load.acknowledged(operations).await,
            Fault::Kill | Fault::Stop => {
                for _ in 0..times {
                    load.acknowledged(operations).await;
                    self.restart(self.row.fault).await;
                }
                load.acknowledged(operations).await;
            }
            Fault::Away => {
                self.leave().await;
                load.acknowledged(operations / 3).await;
                self.come_back().await;
                load.acknowledged(operations - operations / 3).await;
            }
            Fault::Slow | Fault::Fails | Fault::Cuts => {
                let mood = match self.row.fault {
                    Fault::Slow => Mood::Slow(SLOW),
                    Fault::Fails => Mood::Fails,
                    _ => Mood::Cuts,
                };
                self.consumer.sink().set(mood);
                load.acknowledged(operations).await;
            }
            Fault::Full => {
                for _ in 0..times {
                    self.fill_and_clear(operations).await;
                }
            }
            Fault::Clock => {
                for time in 0..times {
                    let ahead_s = if time % 2 == 0 { -CLOCK_STEP_S } else { CLOCK_STEP_S };
                    self.set_clock(ahead_s);
                    load.acknowledged(operations).await;
                    self.restart(if time % 4 < 2 { Fault::Kill } else { Fault::Stop }).await;
                    load.acknowledged(operations).await;
                }
            }
        }
    }

    /// Ends the server in one way and starts it again.
    async fn restart(&mut self, by: Fault) {
        let asked_us = self.load.log.now_us();
        if by == Fault::Stop {
            self.subject.stop().await;
        } else {
            self.subject.kill().await;
        }
        self.load.set_up(false);
        let dead_us = self.load.log.now_us();
        // A command has started the next one at an unknown time since it was given.
        let start_us = if self.subject.stranger().is_some() { asked_us } else { dead_us };
        self.subject.start().await;
        self.downs.push(Down { dead_us, start_us });
        self.load.set_up(true);
    }

    async fn leave(&mut self) {
        match &mut self.consumer {
            Consumer::Webhook(sink) => sink.leave().await,
            Consumer::Kafka { .. } => drop(part("kafka.sh", &["stop"]).await),
        }
    }

    async fn come_back(&mut self) {
        match &mut self.consumer {
            Consumer::Webhook(sink) => sink.come_back().await,
            Consumer::Kafka { .. } => drop(part("kafka.sh", &["start"]).await),
        }
    }

    /// Writes until there is no space, then deletes until there is some.
    async fn fill_and_clear(&self, operations: usize) {
        let load = &self.load;
        let enough = load.log.full() + REFUSED_AS_FULL;
        eventually("writes that are refused for want of space", || async {
            (load.log.full() >= enough).then_some(())
        })
        .await;
        load.clear_away(true);
        load.acknowledged(operations).await;
        load.clear_away(false);
    }

    fn set_clock(&self, ahead_s: i64) {
        match &self.subject {
            Subject::Machine(machine, _) => machine.clock().set_ahead_s(ahead_s),
            _ => panic!("the row has no clock"),
        }
    }

    /// Looks at what is there, clears it, waits until all of it is told, and judges.
    async fn finished(self) -> Outcome {
        let Round { options, consumer, load, downs, subject, .. } = self;
        let keys: Vec<String> = load.log.keys();
        let keys: Vec<&str> = keys.iter().filter_map(|key| Some(key.split_once('/')?.1)).collect();
        let each = |key: &&str| {
            let (load, key) = (Arc::clone(&load), (*key).to_owned());
            async move {
                writer::read(&load, &key).await;
                // Delivery keeps the order of a key, so that when this is told, all that comes of it has come.
                writer::delete(&load, &key, &format!("last-{key}")).await;
            }
        };
        futures_util::stream::iter(keys.iter().map(each)).for_each_concurrent(AT_ONCE, |done| done).await;
        let (operations, reads) = load.log.close(&downs);
        let is_stranger = options.foreign.is_some();
        let told = consumer.all_told(&operations, options.patience, is_stranger).await;
        let seconds = load.log.seconds();
        let history = History { operations, reads, told };
        let verdict = judge(&history);
        if let Some(path) = &options.notes {
            let mut file = File::options().create(true).append(true).open(path).unwrap();
            file.write_all([notes::noted(&history), notes::found(&verdict)].concat().as_bytes()).unwrap();
        }
        cleared(&subject, &load.bucket).await;
        Outcome { seed: options.seed, seconds, verdict }
    }
}

/// Removes the buckets of a row from a server that goes on.
async fn cleared(subject: &Subject, bucket: &str) {
    if let Subject::Foreign(_) = subject {
        let client = subject.client();
        for (name, _) in ORIGINS {
            client.delete(&format!("/{}/{name}", origin_of(bucket))).await;
        }
        client.send(Method::DELETE, &format!("/{}", origin_of(bucket)), &[], "").await;
        client.send(Method::DELETE, &format!("/{bucket}"), &[], "").await;
    }
}

/// Where the webhook of a server of ours listens.
const ANY_PORT: &str = "127.0.0.1:0";

async fn listening(address: &str) -> Sink {
    Sink::start(address).await.unwrap_or_else(|sentence| panic!("{sentence}"))
}

const WEBHOOK: &str = "arn:minio:sqs::A:webhook";

/// The environment of a server that tells a webhook.
fn webhook(sink: &Sink) -> [(&'static str, String); 2] {
    [("MINIO_NOTIFY_WEBHOOK_ENABLE_A", "on".to_owned()), ("MINIO_NOTIFY_WEBHOOK_ENDPOINT_A", sink.url())]
}
