//! The bytes of an object or a part on their way in: into the store and through the digests at once.
//!
//! # Bounds
//!
//! What the store stages is its own to bound, and what waits for its MD5 is the pool's (`s3::digest`): a body
//! is read no faster than both take it. An upload that is dropped is dropped there too.

use bytes::Bytes;

use s3::checksum::{Checksum, ChecksumAlgorithm};
use s3::digest::{Digests, UploadDigest};
use s3::{ErrorCode, Refusal};
use store::content::{Content, ContentWriter};
use store::{BucketName, ETag};
use tidings_s3 as s3;
use tidings_store as store;

use crate::Gateway;
use crate::context::Request;
use crate::error::Failure;

/// Largest object or part that one request uploads, in bytes: 5 TiB, as MinIO.
const UPLOAD_BYTES_MAX: u64 = 5 << 40;

/// Bytes that were received and are as they were promised.
pub(crate) struct Received {
    /// For the commit that names them.
    pub(crate) content: Content,
    /// Their MD5.
    pub(crate) etag: ETag,
    /// Their checksum, when the request sent one or one is to be kept.
    pub(crate) checksum: Option<Checksum>,
}

/// Receives the body of a request; its checksum is that which the request sent, else one of `kept`.
///
/// # Errors
///
/// `MissingContentLength`, `EntityTooLarge`, and what makes the body another than the one promised. Nothing
/// of it stays.
pub(crate) async fn body(
    gateway: &Gateway,
    request: &mut Request,
    kept: Option<ChecksumAlgorithm>,
) -> Result<Received, Failure> {
    if !request.body.is_announced(request.head.version) {
        return Err(ErrorCode::MissingContentLength.into());
    }
    let size_bytes = request.body.size_bytes();
    if size_bytes.is_some_and(|size| size > UPLOAD_BYTES_MAX) {
        return Err(too_large());
    }
    let mut expected = request.body.expected(&request.head.headers)?;
    let stored = request.body.trailer_algorithm().or(kept);
    let digest = UploadDigest::for_expected(&gateway.md5, &expected, stored);
    let mut intake = Intake::open(gateway, request.bucket(), size_bytes, digest).await?;
    while let Some(bytes) = request.body.next().await? {
        intake.write(bytes).await?;
    }
    let (writer, digests) = intake.digests().await;
    if size_bytes.is_some_and(|size| size != digests.size_bytes) {
        return Err(ErrorCode::IncompleteBody.into());
    }
    expected.checksum = expected.checksum.or(request.body.trailer());
    expected.verify(&digests)?;
    Received::of(writer, &digests).await
}

impl Received {
    /// Makes the bytes durable.
    ///
    /// # Errors
    ///
    /// What the engine refuses.
    pub(crate) async fn of(writer: ContentWriter, digests: &Digests) -> Result<Received, Failure> {
        let etag = ETag(s3::etag::of_object(&digests.md5));
        Ok(Received { content: writer.finish().await?, etag, checksum: digests.checksum })
    }
}

/// A body that is written and hashed.
pub(crate) struct Intake {
    writer: ContentWriter,
    digest: UploadDigest,
    size_bytes: u64,
}

impl Intake {
    /// Opens a place for a body of `size_bytes`, when that is known.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, and what the engine refuses.
    pub(crate) async fn open(
        gateway: &Gateway,
        bucket: &BucketName,
        size_bytes: Option<u64>,
        digest: UploadDigest,
    ) -> Result<Intake, Failure> {
        let writer = gateway.setup.store.receive(bucket, size_bytes).await?;
        Ok(Intake { writer, digest, size_bytes: 0 })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// `EntityTooLarge`, and what the engine refuses.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.size_bytes += bytes.len() as u64;
        if self.size_bytes > UPLOAD_BYTES_MAX {
            return Err(too_large());
        }
        self.digest.update(bytes.clone()).await;
        self.writer.write(bytes).await?;
        Ok(())
    }

    /// Ends the hashing. The bytes become durable when the writer is finished.
    pub(crate) async fn digests(self) -> (ContentWriter, Digests) {
        (self.writer, self.digest.finish().await)
    }
}

fn too_large() -> Failure {
    Refusal::new(ErrorCode::EntityTooLarge).element("MaxSizeAllowed", UPLOAD_BYTES_MAX.to_string()).into()
}
