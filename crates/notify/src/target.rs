//! What a target is: its settings, the table of kinds, and the trait every kind implements.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use rustls::pki_types::CertificateDer;
use store::{Future, Sequence};
use tidings_store as store;

use crate::bounds::Bounds;
pub use crate::delivery::{Delivery, Outcome};
use crate::record::Form;
use crate::targets;

/// Which target: the suffix of its configuration and its kind, shown as `1:kafka`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId {
    /// `1` of `notify_kafka:1`; `_` for a target without suffix.
    pub id: String,
    /// `kafka`, as in the ARN.
    pub kind: &'static str,
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.kind)
    }
}

/// What a configuration key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Any text.
    Text,
    /// `on` or `off`.
    Switch,
    /// A whole number.
    Number,
    /// `10s`, `500ms`.
    Duration,
    /// An absolute URL.
    Url,
    /// `host:port`, several separated by commas.
    Csv,
    /// A path on the server.
    Path,
    /// Free text for people.
    Sentence,
}

/// One configuration key of a kind of target.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// `brokers`.
    pub name: &'static str,
    /// The end of its environment name: `BROKERS` of `MINIO_NOTIFY_KAFKA_BROKERS_1`.
    pub env: &'static str,
    /// What it is when not set.
    pub default: &'static str,
    /// What it takes.
    pub kind: KeyKind,
    /// Whether a target cannot be without it.
    pub is_required: bool,
    /// Whether its value is never shown in logs.
    pub is_secret: bool,
    /// A sentence for `mc admin config set ALIAS notify_kafka`.
    pub help: &'static str,
}

impl KeySpec {
    /// An optional key without default that is no secret.
    pub const fn new(name: &'static str, env: &'static str, kind: KeyKind, help: &'static str) -> KeySpec {
        KeySpec { name, env, default: "", kind, is_required: false, is_secret: false, help }
    }

    /// The same key, required.
    pub const fn required(self) -> KeySpec {
        KeySpec { is_required: true, ..self }
    }

    /// The same key, never shown.
    pub const fn secret(self) -> KeySpec {
        KeySpec { is_secret: true, ..self }
    }

    /// The same key with a default.
    pub const fn or(self, default: &'static str) -> KeySpec {
        KeySpec { default, ..self }
    }

    /// `queue_dir`, which every kind has.
    pub const QUEUE_DIR: KeySpec = KeySpec::new(
        "queue_dir",
        "QUEUE_DIR",
        KeyKind::Path,
        "accepted for compatibility: an absolute path; nothing is written there, records wait in the change log",
    );

    /// `queue_limit`, which every kind has.
    pub const QUEUE_LIMIT: KeySpec = KeySpec::new(
        "queue_limit",
        "QUEUE_LIMIT",
        KeyKind::Number,
        "records that may wait; 0 leaves it to wait_bytes and wait_age",
    )
    .or("0");

    /// `wait_bytes`, which every kind has beside the keys of its row.
    pub const WAIT_BYTES: KeySpec = KeySpec::new(
        "wait_bytes",
        "WAIT_BYTES",
        KeyKind::Text,
        "bytes of records that may wait, such as 500MiB; 0 is a tenth of each drive set",
    )
    .or("0");

    /// `wait_age`, which every kind has beside the keys of its row.
    pub const WAIT_AGE: KeySpec = KeySpec::new(
        "wait_age",
        "WAIT_AGE",
        KeyKind::Duration,
        "how long a record may wait; 0s is without end",
    )
    .or("168h");

    /// `overflow`, which every kind has beside the keys of its row.
    pub const OVERFLOW: KeySpec = KeySpec::new(
        "overflow",
        "OVERFLOW",
        KeyKind::Text,
        "when more waits than may: 'gap' drops the oldest and tells the target so, 'refuse' refuses writes",
    )
    .or("gap");

    /// The keys that every kind has beside those of its row.
    pub const OF_EVERY_KIND: &[KeySpec] = &[KeySpec::WAIT_BYTES, KeySpec::WAIT_AGE, KeySpec::OVERFLOW];

    /// `comment`, which every kind has.
    pub const COMMENT: KeySpec = KeySpec::new("comment", "COMMENT", KeyKind::Sentence, "a note for people");
}

/// The effective settings of one target: environment over stored over default, every key present.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// Which target.
    pub target: TargetId,
    /// Value by key name.
    pub values: BTreeMap<&'static str, String>,
}

impl TargetSettings {
    /// The value of a key; empty when the kind has no such key.
    pub fn value(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    /// Whether a switch is on. Settings that passed their check only hold what a switch takes.
    pub fn is_on(&self, key: &str) -> bool {
        parse_switch(self.value(key)) == Some(true)
    }

    /// The value of a number; zero when it is empty.
    pub fn number(&self, key: &str) -> u64 {
        self.value(key).parse().unwrap_or(0)
    }

    /// The value of a duration; zero when it is empty.
    pub fn duration(&self, key: &str) -> Duration {
        parse_duration(self.value(key)).unwrap_or(Duration::ZERO)
    }

    /// Host and port of a key that holds `host:port`.
    ///
    /// # Errors
    ///
    /// A sentence that names the key. The value is not quoted when it holds an `@`: what stands before that
    /// is a password.
    pub fn address(&self, key: &str) -> Result<(String, u16), String> {
        let value = self.value(key);
        if value.contains('@') {
            return Err(format!("{key} names a user; user and password have keys of their own"));
        }
        let address = host_and_port(value);
        let (host, port) =
            address.ok_or_else(|| format!("{key} is {value}, an address looks like host:1234"))?;
        Ok((host.to_owned(), port))
    }

    /// A path, if one is set.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.value(key)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Checks every key by what it takes, and that nothing required is missing.
    ///
    /// # Errors
    ///
    /// A sentence that names the key at fault.
    pub fn check_keys(&self, keys: &[KeySpec]) -> Result<(), String> {
        for key in keys {
            let value = self.value(key.name);
            if value.is_empty() {
                if key.is_required {
                    return Err(format!("{} is required and not set", key.name));
                }
                continue;
            }
            match key.kind {
                KeyKind::Switch if parse_switch(value).is_none() => {
                    return Err(format!("{} is {value}, a switch is on or off", key.name));
                }
                KeyKind::Number if value.parse::<u64>().is_err() => {
                    return Err(format!("{} is {value}, which is not a whole number", key.name));
                }
                KeyKind::Duration if parse_duration(value).is_none() => {
                    return Err(format!("{} is {value}, a duration looks like 10s or 500ms", key.name));
                }
                _ => {}
            }
        }
        if self.path("queue_dir").is_some_and(|path| !path.is_absolute()) {
            return Err("queue_dir path should be absolute".to_owned());
        }
        Ok(())
    }
}

impl fmt::Debug for TargetSettings {
    /// Shows the names of the keys that are set, never a value: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.values.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name);
        write!(f, "{} ", self.target)?;
        f.debug_list().entries(set).finish()
    }
}

/// `host:port`, where the host of an IPv6 address stands in brackets. `None` for anything else.
pub fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let is_plain = !host.is_empty() && !host.contains(['/', ' ']);
    let is_one = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    (is_plain && is_one).then_some((host, port.parse().ok()?))
}

fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "on" | "true" => Some(true),
        "off" | "false" => Some(false),
        _ => None,
    }
}

/// Reads a duration as Go writes it: `10s`, `500ms`, `1m30s`, `0`. `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|character: char| character.is_ascii_digit())
            .map_or(rest.len(), |at| digits + at);
        let unit = match &rest[digits..unit_end] {
            "ns" => Duration::from_nanos(1),
            "us" | "µs" => Duration::from_micros(1),
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(number)?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

/// What a target needs from the machine it runs on.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Folder of further root certificates, PEM, beside those of the system.
    pub ca_directory: Option<PathBuf>,
    /// Roots that this target alone trusts beside the others.
    pub roots: Vec<CertificateDer<'static>>,
}

/// An error with its causes as one clause: what a client library says by itself is mostly that there was one.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}

/// Where records go. One value per target and settings; dropped when either changes.
///
/// The relay keeps at most one delivery of a key under way, so a target needs no order of its own. What a
/// kind promises is tested by `testing::contract`, which every kind runs.
pub trait Target: Send + Sync + 'static {
    /// The form of record it takes.
    fn form(&self) -> Form {
        Form::MinioEnvelope
    }

    /// Deliveries it wants under way at once, at least 1; each may be a batch.
    fn in_flight_max(&self) -> usize;

    /// Records that it takes in a batch, at least 1: asked before each, as it may change.
    fn batch_max(&self) -> usize {
        1
    }

    /// Finds out whether it can be reached, without delivering anything. The error is a clause.
    fn probe(&self) -> Future<'_, Result<(), String>>;

    /// Delivers a record and waits for the acknowledgement. Connects when need be; gives up in bounded time.
    ///
    /// A delivery that is dropped before its end may or may not have arrived.
    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome>;

    /// Delivers records of different keys that travel together: an outcome for each, in their order. Each is told as
    /// if it had travelled alone: where the target refuses one for what it holds, it has the others.
    fn deliver_batch(&self, mut batch: Vec<Delivery>) -> Future<'_, Vec<Outcome>> {
        if batch.len() == 1
            && let Some(delivery) = batch.pop()
        {
            return Box::pin(self.deliver(delivery).map(|outcome| vec![outcome]));
        }
        Box::pin(join_all(batch.into_iter().map(|delivery| self.deliver(delivery))))
    }

    /// Removes the entries that it keeps of one bucket's objects (`bucket/key`), and of no other bucket's. The error is
    /// a clause; some entries may be gone then, and it can be tried again.
    ///
    /// What is delivered of the bucket meanwhile may be removed too or stay: the caller sends what is there afterwards.
    fn forget<'a>(&'a self, bucket: &'a str) -> Future<'a, Result<(), String>> {
        let _ = bucket;
        has_nothing_to_forget()
    }
}

/// What a target says that keeps no entry per object when it is to forget a bucket.
pub(crate) fn has_nothing_to_forget<'a>() -> Future<'a, Result<(), String>> {
    Box::pin(async { Err("it keeps no entries per object".to_owned()) })
}

/// A target, or a clause that says why its settings make none.
pub type MadeTarget = Result<Box<dyn Target>, String>;

/// A kind of target: one row of [`TARGETS`].
pub struct TargetKind {
    /// As in the ARN: `kafka`, `postgresql`.
    pub kind: &'static str,
    /// As in `mc admin config set`: `notify_kafka`, `notify_postgres`.
    pub subsystem: &'static str,
    /// As in environment names: `KAFKA`, `POSTGRES`.
    pub env: &'static str,
    /// A sentence for the list of subsystems.
    pub help: &'static str,
    /// Its keys, without `enable` and [`KeySpec::OF_EVERY_KIND`], which every kind has.
    pub keys: &'static [KeySpec],
    /// Checks the settings of its row without contacting anything: a sentence that names the key at fault.
    pub check: fn(&TargetSettings) -> Result<(), String>,
    /// Makes the target of settings that passed their check. Reads certificates, contacts nothing.
    pub connect: fn(&TargetSettings, &Surroundings) -> MadeTarget,
}

impl TargetKind {
    /// All its keys: those of its row and those of every kind.
    pub fn every_key(&self) -> impl Iterator<Item = &'static KeySpec> {
        self.keys.iter().chain(KeySpec::OF_EVERY_KIND)
    }

    /// Checks settings, those of every kind too, without contacting anything.
    ///
    /// # Errors
    ///
    /// A sentence that names the key at fault.
    pub fn check_all(&self, settings: &TargetSettings) -> Result<(), String> {
        Bounds::of(settings)?;
        (self.check)(settings)
    }
}

/// The kinds of target this build has, in the order `mc admin config export` shows them.
pub static TARGETS: &[TargetKind] = &[
    #[cfg(feature = "amqp")]
    targets::amqp::KIND,
    #[cfg(feature = "elasticsearch")]
    targets::elasticsearch::KIND,
    #[cfg(feature = "kafka")]
    targets::kafka::KIND,
    #[cfg(feature = "mqtt")]
    targets::mqtt::KIND,
    #[cfg(feature = "mysql")]
    targets::mysql::KIND,
    #[cfg(feature = "nats")]
    targets::nats::KIND,
    #[cfg(feature = "nsq")]
    targets::nsq::KIND,
    #[cfg(feature = "postgresql")]
    targets::postgresql::KIND,
    #[cfg(feature = "redis")]
    targets::redis::KIND,
    #[cfg(feature = "webhook")]
    targets::webhook::KIND,
];

/// The row of a kind, by its name in ARNs.
pub fn target_kind(kind: &str) -> Option<&'static TargetKind> {
    TARGETS.iter().find(|row| row.kind == kind)
}

/// The keys of every kind as Markdown tables, for `docs/events.md`.
pub fn render_keys() -> String {
    let mut page = String::new();
    for row in TARGETS {
        page += &format!(
            "### `{}`\n\n{}\n\n| key | environment | default | |\n|---|---|---|---|\n",
            row.subsystem, row.help
        );
        for key in row.every_key() {
            let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
            let required = if key.is_required { "**required**; " } else { "" };
            page += &format!(
                "| `{}` | `TIDINGS_NOTIFY_{}_{}_<ID>` | {default} | {required}{} |\n",
                key.name, row.env, key.env, key.help
            );
        }
        page.push('\n');
    }
    page
}

/// How a target is, for admin info and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetReport {
    /// Which target.
    pub target: TargetId,
    /// `arn:minio:sqs:<region>:<id>:<kind>`.
    pub arn: String,
    /// Whether the last contact went well.
    pub is_online: bool,
    /// Why not, a clause; empty when online.
    pub reason: String,
    /// Records acknowledged since start.
    pub delivered: u64,
    /// Failed tries since start.
    pub failed: u64,
    /// Tries since start of records that were tried before.
    pub retried: u64,
    /// Changes that wait for it. After a start it grows until the log was read to its end once.
    pub waiting: u64,
    /// Their bytes: of each its texts and 64 for its numbers.
    pub waiting_bytes: u64,
    /// The oldest of them.
    pub oldest: Option<Sequence>,
    /// How long that has waited, in milliseconds; 0 when none waits. This is the target's lag.
    pub oldest_wait_ms: u64,
    /// Changes it was never told since start, because more waited than may.
    pub dropped: u64,
    /// Its dead letters.
    pub dead_letters: u64,
    /// Whether an operator paused it.
    pub is_paused: bool,
    /// Deliveries under way.
    pub in_progress: u64,
}

/// Sums over all targets since start, also of targets that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records acknowledged.
    pub sent: u64,
    /// Failed tries.
    pub errors: u64,
    /// Changes that targets were never told, because more waited than may.
    pub skipped: u64,
    /// Deliveries under way.
    pub in_progress: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{KeyKind, KeySpec, TARGETS, TargetId, TargetSettings, parse_duration};

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        assert_eq!(["", "10", "s", "10 s", "-1s", "1d"].map(parse_duration), [None; 6]);
    }

    #[test]
    fn a_fault_is_told_with_the_name_of_its_key() {
        let keys = [
            KeySpec::new("brokers", "BROKERS", KeyKind::Csv, "").required(),
            KeySpec::new("tls", "TLS", KeyKind::Switch, ""),
            KeySpec::QUEUE_LIMIT,
            KeySpec::QUEUE_DIR,
        ];
        let check = |values: &[(&'static str, &str)]| {
            let values = values.iter().map(|&(name, value)| (name, value.to_owned())).collect();
            TargetSettings { target: TargetId { id: "1".to_owned(), kind: "kafka" }, values }
                .check_keys(&keys)
        };
        let told = [
            check(&[]),
            check(&[("brokers", "b:1"), ("tls", "yes")]),
            check(&[("brokers", "b:1"), ("queue_limit", "-1")]),
            check(&[("brokers", "b:1"), ("queue_dir", "events")]),
            check(&[("brokers", "b:1"), ("tls", "on"), ("queue_limit", "5"), ("queue_dir", "/events")]),
        ];
        assert_eq!(
            told.map(|told| told.err().unwrap_or_default()),
            [
                "brokers is required and not set",
                "tls is yes, a switch is on or off",
                "queue_limit is -1, which is not a whole number",
                "queue_dir path should be absolute",
                "",
            ]
        );
    }

    #[test]
    fn settings_never_show_a_value_in_logs() {
        let values = BTreeMap::from([("auth_token", "geheim".to_owned()), ("endpoint", String::new())]);
        let settings = TargetSettings { target: TargetId { id: "1".to_owned(), kind: "webhook" }, values };
        assert_eq!(format!("{settings:?}"), r#"1:webhook ["auth_token"]"#);
    }

    #[test]
    fn kinds_stand_in_order_and_none_names_a_key_twice() {
        assert!(TARGETS.is_sorted_by_key(|row| row.subsystem));
        for row in TARGETS {
            let mut names: Vec<_> = row.every_key().map(|key| key.name).collect();
            names.sort_unstable();
            assert!(names.is_sorted_by(|a, b| a < b), "{}: {names:?}", row.kind);
        }
    }
}
