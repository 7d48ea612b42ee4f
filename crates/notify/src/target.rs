//! What a target is: its settings, the table of kinds, and the trait every kind implements.

use std::collections::BTreeMap;
use std::fmt;

/// Which target: the suffix of its configuration and its kind, shown as `1:kafka`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// The effective settings of one target: environment over stored over default, every key present.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

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
    /// Its keys, without `enable`, which every kind has.
    pub keys: &'static [KeySpec],
    /// Checks settings without contacting anything: a sentence that names the key at fault.
    pub check: fn(&TargetSettings) -> Result<(), String>,
}

/// The kinds of target this build has, in the order `mc admin config export` shows them.
pub static TARGETS: &[TargetKind] = &[];

/// How a target is, for admin info and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Changes that wait for it, as far as known.
    pub waiting: u64,
    /// Deliveries under way.
    pub in_progress: u64,
}
