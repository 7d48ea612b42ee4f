//! What the operations of a multipart upload have in common: its id, its part numbers, its checksum.

use s3::ErrorCode;
use s3::checksum::{ChecksumAlgorithm, ChecksumKind};
use store::UploadId;
use store::multipart::Upload;
use tidings_s3 as s3;
use tidings_store as store;

use crate::Gateway;
use crate::context::Request;
use crate::error::Failure;
use crate::metadata::from_store;

/// The upload id a request names.
///
/// # Errors
///
/// `NoSuchUpload` for what is no upload id.
pub(super) fn id(request: &Request) -> Result<UploadId, Failure> {
    UploadId::parse(request.query("uploadId").unwrap_or_default())
        .ok_or_else(|| ErrorCode::NoSuchUpload.into())
}

/// The open upload a request names.
///
/// # Errors
///
/// `NoSuchBucket`, `NoSuchUpload`.
pub(super) async fn find(request: &Request, gateway: &Gateway) -> Result<Upload, Failure> {
    Ok(gateway.setup.store.upload(request.bucket(), request.key(), id(request)?).await?)
}

/// Algorithm and kind of an upload's checksum.
pub(super) fn checksum(upload: &Upload) -> Option<(ChecksumAlgorithm, ChecksumKind)> {
    upload.checksum.map(|(algorithm, is_full_object)| {
        let kind = if is_full_object { ChecksumKind::FullObject } else { ChecksumKind::Composite };
        (from_store(algorithm), kind)
    })
}
