//! Why the store refused or failed an operation.
//!
//! There is a variant where a caller acts differently, and no other. What a variant carries is what its
//! message and its S3 answer need.

use crate::engine::EngineError;
use crate::names::{BucketName, ObjectKey, UploadId, VersionId};

/// See the module header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller named a bucket that is not there.
    #[error("bucket {bucket} does not exist")]
    NoSuchBucket {
        /// The bucket.
        bucket: BucketName,
    },
    /// The bucket to be created is there.
    #[error("bucket {bucket} exists")]
    BucketExists {
        /// The bucket.
        bucket: BucketName,
    },
    /// The bucket to be deleted holds something.
    #[error("bucket {bucket} is not empty")]
    BucketNotEmpty {
        /// The bucket.
        bucket: BucketName,
    },
    /// No such object.
    #[error("{bucket}/{key} does not exist")]
    NoSuchKey {
        /// Its bucket.
        bucket: BucketName,
        /// The key.
        key: ObjectKey,
    },
    /// The object has no such version.
    #[error("{bucket}/{key} has no version {version}")]
    NoSuchVersion {
        /// Its bucket.
        bucket: BucketName,
        /// The key.
        key: ObjectKey,
        /// The version asked for.
        version: VersionId,
    },
    /// The upload does not exist, or ended.
    #[error("upload {upload} does not exist")]
    NoSuchUpload {
        /// The upload.
        upload: UploadId,
    },
    /// A listed part is missing, or is not the one that was listed.
    #[error("part {number} was not uploaded, or its entity tag or checksum differs")]
    InvalidPart {
        /// The part.
        number: u32,
    },
    /// Listed part numbers do not strictly ascend.
    #[error("part {number} is listed out of order")]
    InvalidPartOrder {
        /// The first part out of order.
        number: u32,
    },
    /// A part but the last is too small.
    #[error(
        "part {number} has {size_bytes} bytes, at least {min_bytes} are needed in every part but the last"
    )]
    EntityTooSmall {
        /// The part.
        number: u32,
        /// Its size.
        size_bytes: u64,
        /// The bound.
        min_bytes: u64,
        /// Its entity tag.
        etag: String,
    },
    /// A condition of the request did not hold when the batch committed.
    #[error("the precondition on {bucket}/{key} does not hold")]
    PreconditionFailed {
        /// Its bucket.
        bucket: BucketName,
        /// The key.
        key: ObjectKey,
        /// Which condition, as its header is called.
        condition: &'static str,
    },
    /// Others changed the same key every time this operation was about to commit.
    #[error("{bucket}/{key} kept changing while the operation was tried {tries} times")]
    Contended {
        /// Its bucket.
        bucket: BucketName,
        /// The key.
        key: ObjectKey,
        /// How often it was tried.
        tries: u32,
    },
    /// As much waits for a target as may, and its bound is to refuse what would have to wait too.
    #[error("as much waits for the target {target} as may: it refuses changes until it has caught up")]
    TargetFull {
        /// `id:type`.
        target: String,
    },
    /// A stored record cannot be read: damage that checksums did not see, or a newer version's form.
    #[error("the record under {key} cannot be read: {reason}")]
    Unreadable {
        /// The key, printable.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}
