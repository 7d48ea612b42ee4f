//! What notifications cost and how fast they catch up: a webhook rule beside none, and a backlog that drains.

use std::time::{Duration, Instant};

use hyper::Method;
use tidings_notify::target_kind;

use crate::Outcome;
use crate::connection::Connection;
use crate::load::{Measured, Prepared, drive};
use crate::options::Options;
use crate::requests::Body;
use crate::server::{Server, free_port};
use crate::sink::Sink;
use crate::table::Report;

/// Records of a backlog.
const BACKLOG: usize = 100_000;

/// Keys they are spread over: ten of each.
const BACKLOG_KEYS: usize = 10_000;

/// Kinds of target that the environment can describe, and what they are called.
pub(crate) const BACKLOGS: [(&str, &str); 5] = [
    ("elasticsearch", "backlog of 20,000 records to Elasticsearch"),
    ("mysql", "backlog of 20,000 records to MySQL or MariaDB"),
    ("nsq", "backlog of 20,000 records to NSQ"),
    ("postgresql", "backlog of 20,000 records to PostgreSQL"),
    ("redis", "backlog of 20,000 records to Redis"),
];

/// Records of such a backlog: two of each key.
const SMALL_BACKLOG: usize = 20_000;

/// Connections.
const CLIENTS: usize = 64;

/// Rounds of the comparison; their medians are held against one another.
const ROUNDS: usize = 5;

/// How long the slow webhook takes to answer, in milliseconds.
const SLOW_MS: u64 = 50;

/// How long a backlog may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The figures that are held against floors.
pub(crate) const TO_WEBHOOK: &str = "backlog of 100,000 records to a webhook that answers at once";
pub(crate) const TO_KAFKA: &str = "backlog of 100,000 records to Kafka";
pub(crate) const UP: &str = "… of that with a webhook that is up";
pub(crate) const SLOW: &str = "… that answers after 50 ms";
pub(crate) const AWAY: &str = "… that is away";

/// What the records of a webhook that is up cost, and when they come.
const TOLD_MEANWHILE: &str = "records told while the PUTs ran, webhook up, of those due";
const CAUGHT_UP: &str = "… until the last one is told, after the last PUT";
const TOLD_CPU: &str = "server CPU of a PUT and the record that was told of it";
const SINK_CPU: &str = "… of the webhook, for a record";

/// How the webhook is that the bucket `hook-…` tells.
const STATES: [&str; 4] = ["none", "up", "slow", "away"];

/// Measures both.
///
/// # Errors
///
/// A server that does not start, requests that fail, a backlog that does not drain.
pub(crate) async fn measure(options: &Options, report: &mut Report) -> Outcome<()> {
    cost(options, report).await?;
    let webhook = Sink::start(0).await?;
    let endpoint = format!("http://{}/", webhook.authority());
    let variables = environment("webhook", "DRAIN", &[("WEBHOOK_ENDPOINT", &endpoint)]);
    let rate = drain(options, "webhook", &variables, BACKLOG).await?;
    report.figure(TO_WEBHOOK, rate, "records a second");
    let [records, disordered, repeated] = webhook.received().await?;
    report.figure("… of them out of order in their key", disordered.saturating_sub(repeated) as f64, "");
    report.figure("… of them twice", repeated as f64, "");
    if records - repeated != BACKLOG as u64 {
        return Err(format!("{records} records came, {repeated} of them twice, {BACKLOG} were told").into());
    }
    if let Some(brokers) = &options.kafka {
        let settings = [("KAFKA_BROKERS", brokers.as_str()), ("KAFKA_TOPIC", "tidings-bench")];
        let rate = drain(options, "kafka", &environment("kafka", "DRAIN", &settings), BACKLOG).await?;
        report.figure(TO_KAFKA, rate, "records a second");
    }
    Ok(())
}

/// Lets a backlog drain to each kind of target that was asked for.
///
/// # Errors
///
/// As [`measure`].
pub(crate) async fn backlogs(options: &Options, report: &mut Report) -> Outcome<()> {
    for (kind, what) in
        BACKLOGS.into_iter().filter(|(kind, _)| options.backlogs.iter().any(|own| own == kind))
    {
        let env = target_kind(kind).ok_or("this build does not have the kind")?.env;
        let own = std::env::vars().filter(|(name, _)| {
            name.starts_with(&format!("TIDINGS_NOTIFY_{env}_")) && name.ends_with("_DRAIN")
        });
        let variables: Vec<_> = environment(env, "DRAIN", &[]).into_iter().chain(own).collect();
        let rate = drain(options, kind, &variables, SMALL_BACKLOG).await?;
        report.figure(what, rate, "records a second");
    }
    Ok(())
}

/// The environment of a target with the id `ID`.
fn environment(kind: &str, id: &str, settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let enable = (format!("TIDINGS_NOTIFY_{}_ENABLE_{id}", kind.to_uppercase()), "on".to_owned());
    let settings =
        settings.iter().map(|(name, value)| (format!("TIDINGS_NOTIFY_{name}_{id}"), (*value).to_owned()));
    std::iter::once(enable).chain(settings).collect()
}

/// PUTs of 1 KiB to a bucket without a rule and to buckets that tell a webhook which is up, slow, away: in turns.
async fn cost(options: &Options, report: &mut Report) -> Outcome<()> {
    let (sink, slow) = (Sink::start(0).await?, Sink::start(SLOW_MS).await?);
    let away = format!("http://127.0.0.1:{}/", free_port()?);
    let [up, slow] = [&sink, &slow].map(|sink| format!("http://{}/", sink.authority()));
    let mut variables = Vec::new();
    for (state, endpoint) in [("UP", &up), ("SLOW", &slow), ("AWAY", &away)] {
        variables.extend(environment("webhook", state, &[("WEBHOOK_ENDPOINT", endpoint)]));
    }
    let server = Server::start_with(options, &variables).await?;
    for state in STATES {
        ask(&server, Method::PUT, &format!("/hook-{state}"), &Body::none()).await?;
        if state != "none" {
            announce(&server, &format!("hook-{state}"), &format!("{}:webhook", state.to_uppercase())).await?;
        }
    }
    let mut rates = STATES.map(|_| Vec::new());
    let mut told = Told::default();
    for round in 0..ROUNDS {
        for (state, rates) in STATES.iter().zip(&mut rates) {
            let target = format!("{}:webhook", state.to_uppercase());
            // What an earlier round left waiting costs only that round's target.
            if *state != "none" {
                control(&server, "resume", &target).await?;
            }
            rates.push(match *state {
                "up" => told.puts(&server, &sink, options.seconds, round).await?,
                _ => puts(&server, options.seconds, state, round).await?.per_second(),
            });
            if *state != "none" {
                control(&server, "pause", &target).await?;
            }
        }
    }
    let medians = rates.map(median);
    report.figure("PUT of 1 KiB, 64 clients, without a rule", medians[0], "a second");
    for (name, median) in [UP, SLOW, AWAY].into_iter().zip(&medians[1..]) {
        report.figure(name, median / medians[0], "");
    }
    told.report(report);
    server.stop()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What the rounds of the webhook that is up showed beside their rates.
#[derive(Default)]
struct Told {
    meanwhile: Vec<f64>,
    caught_up_s: Vec<f64>,
    server_us: Vec<f64>,
    sink_us: Vec<f64>,
}

impl Told {
    /// PUTs a second. Then everything is told, before the next round begins.
    async fn puts(&mut self, server: &Server, sink: &Sink, seconds: f64, round: usize) -> Outcome<f64> {
        let process = server.process.ok_or("the server's process is not known")?;
        let before = target(server, "UP:webhook", "delivered").await?;
        let (server_s, sink_s) = (process.cpu_seconds()?, sink.process().cpu_seconds()?);
        let measured = puts(server, seconds, "up", round).await?;
        let ended = Instant::now();
        let due = measured.operations as f64;
        self.meanwhile.push((target(server, "UP:webhook", "delivered").await? - before) as f64 / due);
        while target(server, "UP:webhook", "waiting").await? > 0 {
            if ended.elapsed() > PATIENCE {
                return Err("what waits is not told".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.caught_up_s.push(ended.elapsed().as_secs_f64());
        self.server_us.push((process.cpu_seconds()? - server_s) * 1e6 / due);
        self.sink_us.push((sink.process().cpu_seconds()? - sink_s) * 1e6 / due);
        Ok(measured.per_second())
    }

    fn report(self, report: &mut Report) {
        report.figure(TOLD_MEANWHILE, median(self.meanwhile), "");
        report.figure(CAUGHT_UP, median(self.caught_up_s), "s");
        report.figure(TOLD_CPU, median(self.server_us), "µs");
        report.figure(SINK_CPU, median(self.sink_us), "µs");
    }
}

/// PUTs to the bucket of a state, as they went.
async fn puts(server: &Server, seconds: f64, state: &str, round: usize) -> Outcome<Measured> {
    let body = Body::noise(1 << 10);
    let count = (40_000.0 * seconds) as usize;
    let requests: Outcome<Vec<_>> = (0..count)
        .map(|number| {
            server.signer.request(Method::PUT, &format!("/hook-{state}/{round}/{number:08}"), &body)
        })
        .collect();
    let measured = drive(&server.authority, CLIENTS, seconds, Prepared::new(requests?)).await?;
    if measured.failures > 0 {
        return Err(format!("{} PUTs failed", measured.failures).into());
    }
    Ok(measured)
}

/// Lets a backlog wait for a target, and then drain: records a second.
async fn drain(
    options: &Options,
    kind: &str,
    variables: &[(String, String)],
    records: usize,
) -> Outcome<f64> {
    let server = Server::start_with(options, variables).await?;
    let target = format!("DRAIN:{kind}");
    ask(&server, Method::PUT, "/backlog", &Body::none()).await?;
    announce(&server, "backlog", &target).await?;
    control(&server, "pause", &target).await?;
    let body = Body::noise(128);
    for first in (0..records).step_by(BACKLOG_KEYS) {
        let requests: Outcome<Vec<_>> = (first..first + BACKLOG_KEYS)
            .map(|number| {
                let key = number % BACKLOG_KEYS;
                server.signer.request(Method::PUT, &format!("/backlog/{key:06}"), &body)
            })
            .collect();
        let measured =
            drive(&server.authority, CLIENTS, PATIENCE.as_secs_f64(), Prepared::new(requests?)).await?;
        if measured.operations != BACKLOG_KEYS {
            return Err(format!("{} of {BACKLOG_KEYS} PUTs were answered", measured.operations).into());
        }
    }
    let began = Instant::now();
    control(&server, "resume", &target).await?;
    while self::target(&server, &target, "delivered").await? < records as u64 {
        if began.elapsed() > PATIENCE {
            return Err("the backlog does not drain".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rate = records as f64 / began.elapsed().as_secs_f64();
    server.stop()?;
    Ok(rate)
}

/// A number that the server tells of a target (`id:kind`).
async fn target(server: &Server, target: &str, number: &str) -> Outcome<u64> {
    let mut connection = Connection::open(&server.authority).await?;
    let request = server.signer.request(Method::GET, "/minio/tidings/v1/events/targets", &Body::none())?;
    let told: serde_json::Value = serde_json::from_slice(connection.read(request).await?.body())?;
    let mut targets = told["targets"].as_array().into_iter().flatten();
    let found = targets.find(|found| found["target"] == target).and_then(|found| found[number].as_u64());
    found.ok_or_else(|| format!("the server tells no {number} of {target}").into())
}

async fn control(server: &Server, call: &str, target: &str) -> Outcome<()> {
    let target = target.replace(':', "%3A");
    ask(server, Method::POST, &format!("/minio/tidings/v1/events/{call}?target={target}"), &Body::none())
        .await
}

/// Has a bucket tell a target (`id:kind`) of every object that is made.
async fn announce(server: &Server, bucket: &str, target: &str) -> Outcome<()> {
    let document = format!(
        "<NotificationConfiguration><QueueConfiguration><Event>s3:ObjectCreated:*</Event>\
         <Queue>arn:minio:sqs::{target}</Queue></QueueConfiguration></NotificationConfiguration>"
    );
    ask(server, Method::PUT, &format!("/{bucket}?notification"), &Body::new(document.into())).await
}

/// One request that must succeed.
async fn ask(server: &Server, method: Method, target: &str, body: &Body) -> Outcome<()> {
    let mut connection = Connection::open(&server.authority).await?;
    connection.exchange(server.signer.request(method, target, body)?).await?;
    Ok(())
}
