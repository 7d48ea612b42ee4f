//! The consumer of a row: a webhook of this program, or a topic of Kafka.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::judge::{Answer, Operation, Told};
use crate::load::AGENT;
use crate::sink::Sink;
use crate::support::parts::part;

/// How long nothing must have come after the last missing record came, so that duplicates are counted too. A server of
/// which nothing is known may look after what it has to tell every few seconds only.
const QUIET: Duration = Duration::from_millis(300);
const QUIET_OF_STRANGERS: Duration = Duration::from_secs(5);

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// See the module header.
pub(crate) enum Consumer {
    Webhook(Sink),
    Kafka { topic: String },
}

impl Consumer {
    /// The webhook, where the row has one.
    pub(crate) fn sink(&mut self) -> &mut Sink {
        match self {
            Consumer::Webhook(sink) => sink,
            Consumer::Kafka { .. } => panic!("the row has no webhook"),
        }
    }

    /// What came so far, in the order of arrival; for Kafka in that of its partitions.
    async fn told(&self) -> Vec<Told> {
        match self {
            Consumer::Webhook(sink) => sink.told(),
            Consumer::Kafka { topic } => {
                let records = part("kafka.sh", &["records", topic]).await;
                let values = records.lines().filter_map(|line| line.splitn(3, '\t').nth(2));
                values.map(|value| told(value.as_bytes())).collect()
            }
        }
    }

    /// Waits until every acknowledged operation was told and nothing more comes, or until nothing has come for as
    /// long as `patience`; gives what came.
    ///
    /// A server that keeps the order of a key has told everything of it with its last delete. Of a stranger that is
    /// not known: what was not answered is waited for as well, since it may still be told.
    pub(crate) async fn all_told(
        &self,
        operations: &[Operation],
        patience: Duration,
        is_stranger: bool,
    ) -> Vec<Told> {
        let quiet = if is_stranger { QUIET_OF_STRANGERS } else { QUIET };
        let mut missing: HashMap<&str, HashSet<&str>> = HashMap::new();
        for operation in operations {
            let is_due = match operation.answer {
                Answer::Acknowledged { .. } => true,
                Answer::Silence { .. } => is_stranger,
                Answer::Refused => false,
            };
            if is_due {
                missing.entry(&operation.key).or_default().insert(&operation.token);
            }
        }
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            let told = self.told().await;
            if told.len() > seen {
                since = Instant::now();
                // What is new in a topic stands anywhere, since its partitions are read by turns.
                let from = if matches!(self, Consumer::Kafka { .. }) { 0 } else { seen };
                for told in &told[from..] {
                    let (Some(token), Some(of_key)) = (&told.token, missing.get_mut(told.key.as_str()))
                    else {
                        continue;
                    };
                    of_key.remove(token.as_str());
                    if of_key.is_empty() {
                        missing.remove(told.key.as_str());
                    }
                }
                seen = told.len();
            }
            let enough = if missing.is_empty() { quiet } else { patience };
            if since.elapsed() >= enough {
                return told;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A record in MinIO's form, as a target gets it.
pub(crate) fn told(body: &[u8]) -> Told {
    let envelope: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |pointer: &str| envelope.pointer(pointer)?.as_str().map(str::to_owned);
    let agent = text("/Records/0/source/userAgent");
    let metadata = text("/Records/0/s3/object/userMetadata/X-Amz-Meta-Token");
    Told {
        key: text("/Key").unwrap_or_default(),
        event: text("/EventName").unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()),
        sequencer: text("/Records/0/s3/object/sequencer")
            .and_then(|digits| u128::from_str_radix(&digits, 16).ok())
            .unwrap_or_default(),
        token: agent.and_then(|agent| agent.strip_prefix(AGENT).map(str::to_owned)).or(metadata),
        request_id: text("/Records/0/responseElements/x-amz-request-id").filter(|id| !id.is_empty()),
        etag: text("/Records/0/s3/object/eTag").filter(|etag| !etag.is_empty()),
        size_bytes: envelope.pointer("/Records/0/s3/object/size").and_then(Value::as_u64),
    }
}
