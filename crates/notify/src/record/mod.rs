//! How a change is told: the forms of a record.
//!
//! A form renders from the change alone and from what the server is called; it never reads the object.

mod json;
pub mod minio;

use bytes::Bytes;
use store::Change;
use tidings_store as store;

use crate::notifier::ServerIdentity;

/// A form of record, with its outer shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// MinIO's record in `{"EventName","Key","Records":[r]}`: what queues, topics and webhooks get.
    MinioEnvelope,
    /// MinIO's record in `{"Records":[r]}`: what tables, indexes and hashes hold.
    MinioRecords,
    /// MinIO's record in `[{"Event":[r],"EventTime":"…"}]`: what a list in Redis holds.
    MinioLog,
    /// MinIO's record by itself.
    MinioBare,
}

impl Form {
    /// Renders a change. The answer is one JSON document without a line end.
    pub fn render(self, change: &Change, server: &ServerIdentity) -> Bytes {
        match self {
            Form::MinioEnvelope => minio::envelope(change, server),
            Form::MinioRecords => minio::records(change, server),
            Form::MinioLog => minio::log(change, server),
            Form::MinioBare => minio::bare(change, server),
        }
    }
}
