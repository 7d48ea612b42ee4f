//! What CopyObject and UploadPartCopy have in common: finding the source, and streaming its bytes.
//!
//! A copy reads the source and writes what it read: the copy's bytes are verified on the way, have an MD5 of
//! their own, and share nothing with the source.

use std::ops::Range;

use futures_util::StreamExt as _;
use http::HeaderMap;
use http::header::HeaderName;

use iam::Resource;
use s3::checksum::ChecksumAlgorithm;
use s3::condition::{Conditions, Current};
use s3::copy_source::CopySource;
use s3::digest::UploadDigest;
use s3::{ErrorCode, Headers as _};
use store::{BucketName, Object, ObjectKey, VersionId};
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use crate::context::{Request, parse_version};
use crate::error::Failure;
use crate::metadata::seconds;
use crate::receive::{Intake, Received};
use crate::{Gateway, authorize, respond};

/// The source of a copy, allowed and fit.
pub(super) struct Source {
    pub(super) object: Object,
    /// The version, when the client named one.
    pub(super) version: Option<VersionId>,
}

impl Source {
    /// Finds the source that a request names and judges its conditions.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `AccessDenied`, `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`,
    /// `PreconditionFailed`.
    pub(super) async fn find(request: &Request, gateway: &Gateway) -> Result<Source, Failure> {
        let header = request.fields().text("x-amz-copy-source").unwrap_or_default().to_owned();
        let named = CopySource::parse(&header)?;
        let resource = Resource::Object { bucket: &named.bucket, key: &named.key };
        let _permit = authorize::allow(request, "s3:GetObject", resource)?;
        let version = named.version_id.as_deref().map(parse_version).transpose()?;
        let bucket = BucketName::new(&named.bucket).ok_or(ErrorCode::InvalidBucketName)?;
        let key = ObjectKey::new(&named.key).ok_or(ErrorCode::XMinioInvalidObjectName)?;
        let object = gateway.setup.store.object(&bucket, &key, version).await?;
        let current = Current { etag: &object.etag.0, modified_s: seconds(object.modified_ms) };
        Conditions::of_copy_source(&request.fields()).judge_copy_source(current)?;
        Ok(Source { object, version })
    }

    /// Streams a range of the source into a place of the bucket that the request addresses.
    ///
    /// # Errors
    ///
    /// What the engine refuses. Nothing of it stays.
    pub(super) async fn receive(
        &self,
        request: &Request,
        gateway: &Gateway,
        range: Range<u64>,
        checksum: Option<ChecksumAlgorithm>,
    ) -> Result<Received, Failure> {
        let digest = UploadDigest::new(&gateway.md5, checksum);
        let size_bytes = Some(range.end - range.start);
        let mut intake = Intake::open(gateway, request.bucket(), size_bytes, digest).await?;
        let mut bytes = gateway.setup.store.read(&self.object, range).await?;
        while let Some(piece) = bytes.next().await {
            intake.write(piece?).await?;
        }
        let (writer, digests) = intake.digests().await;
        Received::of(writer, &digests).await
    }

    /// Sets the header that tells the source's version.
    pub(super) fn show_version(&self, headers: &mut HeaderMap) {
        if let Some(version) = self.version {
            let name = HeaderName::from_static("x-amz-copy-source-version-id");
            respond::set(headers, name, &version.to_string());
        }
    }
}
