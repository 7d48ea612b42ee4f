//! Who may do what: from a caller, an action and a resource to a permit.
//!
//! An operation runs only with a [`Permit`], and only `iam::evaluate` makes one.

use iam::{Permit, Resource};
use s3::ErrorCode;
use tidings_iam as iam;
use tidings_s3 as s3;

use crate::context::Request;
use crate::error::Failure;

/// The owner of every bucket and object, as lists and `x-amz-expected-bucket-owner` tell it. The value is
/// MinIO's: tools compare it.
pub const OWNER_ID: &str = "02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4";

/// The owner's name in lists.
pub(crate) const OWNER_NAME: &str = "minio";

/// Decides whether the caller may take an action on what the request addresses.
///
/// # Errors
///
/// `AccessDenied`, also when the bucket's owner is not whom the client expects.
pub(crate) fn authorize(request: &Request, action: &'static str) -> Result<Permit, Failure> {
    let resource = match (request.bucket_text(), request.key_text()) {
        (None, _) => Resource::Service,
        (Some(bucket), None) => Resource::Bucket(bucket),
        (Some(bucket), Some(key)) => Resource::Object { bucket, key },
    };
    for expected in ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"] {
        if request.header(expected).is_some_and(|owner| owner != OWNER_ID) {
            return Err(ErrorCode::AccessDenied.into());
        }
    }
    allow(request, action, resource)
}

/// Decides about another resource than the one addressed: the source of a copy.
///
/// # Errors
///
/// `AccessDenied`.
pub(crate) fn allow(
    request: &Request,
    action: &'static str,
    resource: Resource<'_>,
) -> Result<Permit, Failure> {
    iam::evaluate(&request.caller, action, resource).map_err(|denied| {
        tracing::debug!(%denied, "A request was not allowed.");
        ErrorCode::AccessDenied.into()
    })
}
