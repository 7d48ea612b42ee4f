//! CreateBucket.

use std::sync::Arc;

use http::StatusCode;
use http::header::LOCATION;

use iam::Permit;
use s3::ErrorCode;
use s3::xml::{BODY_BYTES_MAX, CreateBucketConfiguration};
use store::ChangeKind;
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use crate::context::Request;
use crate::error::Failure;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, metadata, respond};

/// CreateBucket. S3 API reference, "CreateBucket".
pub(crate) const OPERATION: Operation = Operation {
    name: "CreateBucket",
    route: Route::bucket("PUT"),
    action: "s3:CreateBucket",
    change: Some(ChangeKind::BucketCreated),
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

/// The region that clients name when they know none.
const REGION_DEFAULT: &str = "us-east-1";

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    metadata::check_supported(request)?;
    if request
        .header("x-amz-bucket-object-lock-enabled")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    {
        return Err(Failure::not_implemented("Object lock is not implemented."));
    }
    let document = request.body.document(&request.head.headers, BODY_BYTES_MAX).await?;
    let configuration = CreateBucketConfiguration::parse(&document.bytes)?;
    let region = &gateway.setup.region;
    let lies_here = configuration
        .location_constraint
        .is_none_or(|place| region.is_empty() || place == *region || place == REGION_DEFAULT);
    if !lies_here {
        return Err(ErrorCode::InvalidLocationConstraint.into());
    }

    let bucket = request.bucket().clone();
    let origin = request.origin(gateway, Some(0));
    let store = Arc::clone(&gateway.setup.store);
    let name = bucket.clone();
    let created = gateway.to_the_end(async move { store.create_bucket(name, origin).await }).await;
    // MinIO's clients ask so when they do not mind that it is there.
    let may_exist = request.header("x-minio-force-create") == Some("true");
    match created {
        Err(store::Error::BucketExists { .. }) if may_exist => {}
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    let mut reply = respond::empty(StatusCode::OK);
    respond::set(reply.headers_mut(), LOCATION, &format!("/{bucket}"));
    Ok(reply)
}
