//! A delivery: one record on its way to a target, and what became of it.

use bytes::Bytes;
use store::Change;
use tidings_store as store;
use time::OffsetDateTime;

use crate::event::Event;
use crate::notifier::ServerIdentity;
use crate::record::minio::path;
use crate::record::{Form, Rendered};

/// One record on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// `bucket/key`, not encoded: records of one key go in order, and partition by it.
    pub key: String,
    /// What happened.
    pub event: Event,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The record in the target's form.
    pub body: Bytes,
    /// Attributes of a CloudEvent that stand beside the body, by their names without a prefix; mostly none.
    pub attributes: Vec<(&'static str, String)>,
}

impl Delivery {
    /// The delivery of a change to a target (`id:type`) in its form.
    pub fn of(change: &Change, form: &Form, target: &str, server: &ServerIdentity) -> Delivery {
        let Rendered { body, attributes } = form.render(change, target, server);
        Delivery {
            key: path(change),
            event: Event::of(change.kind),
            time_ms: change.time_ms,
            body,
            attributes,
        }
    }

    /// When it happened.
    pub fn time(&self) -> OffsetDateTime {
        let nanos = i128::from(self.time_ms) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it, as firmly as its kind and settings promise.
    Acknowledged,
    /// The target could not be reached or did not answer as one that works: nothing else would fare better.
    Away(String),
    /// The target works but does not take this record; others may fare better.
    Refused(String),
}
