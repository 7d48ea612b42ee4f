//! Objects: put, get, delete, and what is known of one.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::change::{ChangeKind, Origin, Sequence};
use crate::content::Content;
use crate::engine::ByteStream;
use crate::error::Error;
use crate::names::{BucketName, ObjectKey, UploadId, VersionId};
use crate::precondition::WriteCondition;
use crate::store::Store;

/// An entity tag without quotes: 32 hex digits, the same with `-parts`, or opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ETag(pub String);

/// A stored checksum of a whole object or part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// Which algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// Base64, as told to clients; a composite one ends in `-parts`.
    pub value: String,
    /// Whether it covers the object's bytes (`FULL_OBJECT`) or its parts' checksums (`COMPOSITE`).
    pub is_full_object: bool,
}

/// The five core S3 checksum algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// The headers stored with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectHeaders {
    /// `content-type`, `cache-control`, `content-disposition`, `content-encoding`, `content-language`,
    /// `expires`, `x-amz-website-redirect-location`: lower-case names, sorted, each once.
    pub system: Vec<(String, String)>,
    /// User metadata: names in lower case without `x-amz-meta-`, sorted, each once.
    pub user: Vec<(String, String)>,
    /// Storage class when it is not `STANDARD`.
    pub storage_class: Option<String>,
}

impl ObjectHeaders {
    /// A system header by its lower-case name.
    pub fn system(&self, name: &str) -> Option<&str> {
        self.system.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// One part of an object that was uploaded in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPart {
    /// 1 to 10,000.
    pub number: u32,
    /// Bytes.
    pub size_bytes: u64,
    /// MD5 of the part, hex.
    pub etag: ETag,
    /// The part's checksum in base64, if the upload has one.
    pub checksum: Option<String>,
}

/// An object as of one moment; reading its body later gives the bytes of that moment or an error.
#[derive(Clone, Debug)]
pub struct Object {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// Which version.
    pub version: VersionId,
    /// The commit that wrote it.
    pub sequence: Sequence,
    /// Logical size in bytes.
    pub size_bytes: u64,
    /// Entity tag.
    pub etag: ETag,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
    /// Stored headers.
    pub headers: ObjectHeaders,
    /// Stored checksum.
    pub checksum: Option<Checksum>,
    /// Its parts, when it was uploaded in parts; else empty.
    pub parts: Vec<ObjectPart>,
    /// The upload it was completed from: a repeated Complete finds it here.
    pub upload: Option<UploadId>,
    pub(crate) body: crate::content::Body,
}

/// What PutObject and CopyObject write.
#[derive(Debug)]
pub struct PutObject {
    /// Where to.
    pub bucket: BucketName,
    /// Under which key.
    pub key: ObjectKey,
    /// The bytes.
    pub content: Content,
    /// Their entity tag.
    pub etag: ETag,
    /// Headers to store.
    pub headers: ObjectHeaders,
    /// Checksum to store.
    pub checksum: Option<Checksum>,
    /// Condition on what is there now, judged inside the commit.
    pub condition: WriteCondition,
    /// `Put`, `Post` or `Copy`.
    pub kind: ChangeKind,
    /// Who asks.
    pub origin: Origin,
}

/// What a delete names.
#[derive(Clone, Debug)]
pub struct DeleteObject {
    /// The key.
    pub key: ObjectKey,
    /// A version, or the current object.
    pub version: Option<VersionId>,
    /// Condition on what is there now.
    pub condition: WriteCondition,
}

/// What a delete did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Whether something was there.
    pub existed: bool,
}

impl Store {
    /// Writes an object, replacing what is there; durable on return.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `PreconditionFailed`, `NoSuchKey` (If-Match on a key that is not there), and what
    /// the engine refuses. On an error the old object stands; the content is given back.
    pub async fn put_object(&self, put: PutObject) -> Result<Object, Error> {
        todo!()
    }

    /// The current object of a key, or the version named.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`.
    pub async fn object(&self, bucket: &BucketName, key: &ObjectKey, version: Option<VersionId>) -> Result<Object, Error> {
        todo!()
    }

    /// Streams a range (bytes, end exclusive, within the object) of an object's body.
    ///
    /// # Errors
    ///
    /// `NoSuchKey` when the object was replaced and its bytes are gone, and what the engine says.
    pub async fn read(&self, object: &Object, range: Range<u64>) -> Result<ByteStream, Error> {
        todo!()
    }

    /// Deletes one object or version. The change is `Delete` when something was there, `NoOp` when not.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `PreconditionFailed`, and what the engine refuses.
    pub async fn delete_object(&self, bucket: &BucketName, delete: DeleteObject, origin: Origin) -> Result<Deleted, Error> {
        todo!()
    }

    /// Deletes up to 1,000 objects in as few commits as can be: those without a condition in one batch.
    /// The change of each is `Delete`, also of a key that was not there (as MinIO tells it).
    ///
    /// # Errors
    ///
    /// `NoSuchBucket` for all; per key as [`Store::delete_object`].
    pub async fn delete_objects(
        &self,
        bucket: &BucketName,
        deletes: Vec<DeleteObject>,
        origin: Origin,
    ) -> Result<Vec<Result<Deleted, Error>>, Error> {
        todo!()
    }

    /// Commits the change of a read, if a rule or a listener asks for it; `false` when nobody does.
    ///
    /// The caller has decided its response and does not wait for this: it is best effort where the set
    /// cannot commit.
    ///
    /// # Errors
    ///
    /// What the engine refuses; for a counter and a log line.
    pub async fn announce_access(&self, bucket: Arc<Bucket>, kind: ChangeKind, object: Object, origin: Origin) -> Result<bool, Error> {
        todo!()
    }

    /// Whether a read of this key would be announced: asked first, so that an unwatched read costs nothing.
    pub fn is_access_announced(&self, bucket: &Bucket, kind: ChangeKind, key: &ObjectKey) -> bool {
        !self.recorder().targets(bucket, kind, key).is_empty() || self.recorder().is_awaited(bucket, kind, key)
    }
}
