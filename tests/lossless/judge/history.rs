//! What was seen of a run from outside: operations with their answers, reads, and what was told, as it arrived.
//!
//! All times are microseconds on one clock of the observer that never steps. An operation takes effect at one
//! moment between its beginning and its end, or never.

/// A change that a client asked for, of one key. A bulk delete is one for each of its keys.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// `bucket/key`.
    pub(crate) key: String,
    /// What a record of it can be known by; no other request has it.
    pub(crate) token: String,
    pub(crate) effect: Effect,
    pub(crate) begin_us: u64,
    pub(crate) answer: Answer,
}

/// What an operation does to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Makes an object; its entity tag where the client knows it beforehand or was told.
    Write { etag: Option<String>, size_bytes: u64 },
    /// Leaves no object. The record of a delete by itself says whether there was one; that of a bulk delete does not.
    Remove { in_bulk: bool },
}

/// What the client came to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It took effect.
    Acknowledged { end_us: u64, request_id: Option<String> },
    /// It never takes effect.
    Refused,
    /// It took effect or did not. If it did, then before this time; `None` when it may still do so.
    Silence { settled_us: Option<u64> },
}

/// What a client saw of a key.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) key: String,
    /// The token of the operation that wrote what was found; `None` when there was no object.
    pub(crate) found: Option<String>,
    pub(crate) begin_us: u64,
    pub(crate) end_us: u64,
}

/// A record, as the consumer got it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// `bucket/key`.
    pub(crate) key: String,
    /// As in the record: `s3:ObjectCreated:Put`.
    pub(crate) event: String,
    pub(crate) sequencer: u128,
    /// The token, where the record carries what the client sent with it.
    pub(crate) token: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) size_bytes: Option<u64>,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// In any order.
    pub(crate) operations: Vec<Operation>,
    /// In any order.
    pub(crate) reads: Vec<Read>,
    /// In the order of arrival.
    pub(crate) told: Vec<Told>,
}

/// Kinds of events that matter to the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Created,
    Removed,
    /// A delete that found nothing.
    Nothing,
}

impl Told {
    /// The kind; `None` for an event that nobody asked for.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.event.as_str() {
            "s3:ObjectRemoved:NoOP" => Some(Kind::Nothing),
            event if event.starts_with("s3:ObjectCreated:") => Some(Kind::Created),
            event if event.starts_with("s3:ObjectRemoved:") => Some(Kind::Removed),
            _ => None,
        }
    }

    /// Whether it may tell of this operation by what it says of the object.
    pub(crate) fn fits(&self, operation: &Operation) -> bool {
        match (&operation.effect, self.kind()) {
            (Effect::Write { etag, size_bytes }, Some(Kind::Created)) => {
                let is_same_tag = etag.is_none() || self.etag.is_none() || *etag == self.etag;
                // MinIO's form leaves out the size of an empty object.
                is_same_tag && self.size_bytes.unwrap_or(0) == *size_bytes
            }
            (Effect::Remove { .. }, Some(Kind::Removed | Kind::Nothing)) => true,
            _ => false,
        }
    }
}

impl Effect {
    pub(crate) fn is_removal(&self) -> bool {
        matches!(self, Effect::Remove { .. })
    }
}

impl Operation {
    /// The time after which it no longer takes effect.
    pub(crate) fn end_us(&self) -> u64 {
        match self.answer {
            Answer::Acknowledged { end_us, .. } => end_us,
            Answer::Refused => self.begin_us,
            Answer::Silence { settled_us } => settled_us.unwrap_or(u64::MAX),
        }
    }
}
