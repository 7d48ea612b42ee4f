//! Uploads in parts: parts are bodies of their own, Complete is one record that lists them.

use crate::change::{Origin, Sequence};
use crate::content::Content;
use crate::error::Error;
use crate::names::{BucketName, ObjectKey, UploadId};
use crate::object::{Checksum, ChecksumAlgorithm, ETag, Object, ObjectHeaders};
use crate::precondition::WriteCondition;
use crate::store::Store;

/// Smallest part but the last, in bytes: 5 MiB. S3 user guide, "Multipart upload limits".
pub const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;

/// What CreateMultipartUpload fixes.
#[derive(Clone, Debug)]
pub struct CreateUpload {
    /// Bucket of the object to be.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// Its headers.
    pub headers: ObjectHeaders,
    /// Algorithm and whether the object's checksum is to cover its bytes (`FULL_OBJECT`).
    pub checksum: Option<(ChecksumAlgorithm, bool)>,
    /// Access key of the initiator.
    pub initiator: String,
}

/// An open upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Bucket of the object to be.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// Headers the object will have.
    pub headers: ObjectHeaders,
    /// Algorithm and `is_full_object`.
    pub checksum: Option<(ChecksumAlgorithm, bool)>,
    /// Access key of the initiator.
    pub initiator: String,
    /// When it was created, milliseconds since 1970.
    pub initiated_ms: u64,
    pub(crate) sequence: Sequence,
}

/// An uploaded part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// Bytes.
    pub size_bytes: u64,
    /// MD5 in hex.
    pub etag: ETag,
    /// Base64 of its checksum under the upload's algorithm.
    pub checksum: Option<String>,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
    pub(crate) sequence: Sequence,
}

/// A part being added.
#[derive(Debug)]
pub struct PutPart {
    /// The upload.
    pub upload: UploadId,
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// 1 to 10,000.
    pub number: u32,
    /// The bytes.
    pub content: Content,
    /// MD5 in hex.
    pub etag: ETag,
    /// Base64 of the checksum under the upload's algorithm.
    pub checksum: Option<String>,
}

/// One line of a Complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// Part number.
    pub number: u32,
    /// ETag without quotes.
    pub etag: String,
    /// Base64 checksum, if the client repeated it.
    pub checksum: Option<String>,
}

/// What a Complete request writes: parts chosen with [`Store::choose_parts`], and what was computed over them.
#[derive(Debug)]
pub struct CompleteUpload {
    /// The upload, as `Store::upload` gave it.
    pub upload: Upload,
    /// The chosen parts, in order, as `Store::choose_parts` gave them.
    pub parts: Vec<Part>,
    /// `md5(md5s)-count`.
    pub etag: ETag,
    /// The object's checksum.
    pub checksum: Option<Checksum>,
    /// Condition on what is there now.
    pub condition: WriteCondition,
    /// Who asks.
    pub origin: Origin,
}

/// A page of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// By key, then by initiation.
    pub uploads: Vec<Upload>,
    /// Common prefixes, sorted.
    pub common_prefixes: Vec<String>,
    /// Key and upload id (none for a prefix) to go on after; `None` when this is the last page.
    pub next: Option<(String, Option<UploadId>)>,
}

/// What to list of uploads.
#[derive(Clone, Debug, Default)]
pub struct UploadQuery {
    /// Keys begin with this.
    pub prefix: String,
    /// Groups end with this; empty = none.
    pub delimiter: String,
    /// Go on after this key…
    pub key_marker: String,
    /// …and this upload of it.
    pub upload_marker: Option<UploadId>,
    /// At most so many uploads and prefixes.
    pub limit: usize,
}

impl Store {
    /// Opens an upload. No change tells of it.
    pub async fn create_upload(&self, create: CreateUpload) -> Result<Upload, Error> {
        todo!()
    }

    /// An open upload.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `NoSuchUpload`.
    pub async fn upload(&self, bucket: &BucketName, key: &ObjectKey, id: UploadId) -> Result<Upload, Error> {
        todo!()
    }

    /// Adds or replaces a part; the last to finish wins.
    ///
    /// # Errors
    ///
    /// `NoSuchUpload` also when the upload ended meanwhile.
    pub async fn put_part(&self, put: PutPart) -> Result<Part, Error> {
        todo!()
    }

    /// Up to `limit` parts with a number above `after`, and whether there are more.
    pub async fn parts(&self, upload: &Upload, after: u32, limit: usize) -> Result<(Vec<Part>, bool), Error> {
        todo!()
    }

    /// Checks the parts a Complete request lists and gives them with what is known of each.
    ///
    /// # Errors
    ///
    /// `InvalidPartOrder` (numbers not strictly ascending), `InvalidPart` (missing, ETag or checksum
    /// differs), `EntityTooSmall` (a part but the last under 5 MiB).
    pub async fn choose_parts(&self, upload: &Upload, listed: &[ListedPart]) -> Result<Vec<Part>, Error> {
        todo!()
    }

    /// Makes the object of the chosen parts: one record; what was not listed is given back.
    ///
    /// # Errors
    ///
    /// `NoSuchUpload` when it ended meanwhile, `InvalidPart` when a chosen part was replaced meanwhile,
    /// `PreconditionFailed` (the upload stays usable).
    pub async fn complete_upload(&self, complete: CompleteUpload) -> Result<Object, Error> {
        todo!()
    }

    /// The object that a finished upload made, while it is still the current one: for a repeated Complete.
    pub async fn completed_object(&self, bucket: &BucketName, key: &ObjectKey, id: UploadId) -> Result<Option<Object>, Error> {
        todo!()
    }

    /// Ends an upload and gives its parts back.
    ///
    /// # Errors
    ///
    /// `NoSuchUpload`.
    pub async fn abort_upload(&self, bucket: &BucketName, key: &ObjectKey, id: UploadId) -> Result<(), Error> {
        todo!()
    }

    /// A page of open uploads.
    pub async fn uploads(&self, bucket: &BucketName, query: &UploadQuery) -> Result<UploadPage, Error> {
        todo!()
    }
}
