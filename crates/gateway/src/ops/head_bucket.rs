//! HeadBucket: whether a bucket is there.

use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderName;

use iam::Permit;
use tidings_iam as iam;

use crate::context::Request;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// HeadBucket. S3 API reference, "HeadBucket".
pub(crate) const OPERATION: Operation = Operation {
    name: "HeadBucket",
    route: Route::bucket("HEAD"),
    action: "s3:ListBucket",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    gateway.setup.store.bucket(request.bucket())?;
    let mut reply = respond::empty(StatusCode::OK);
    let region = if gateway.setup.region.is_empty() { "us-east-1" } else { &gateway.setup.region };
    respond::set(reply.headers_mut(), HeaderName::from_static("x-amz-bucket-region"), region);
    Ok(reply)
}
