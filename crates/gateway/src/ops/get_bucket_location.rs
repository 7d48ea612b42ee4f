//! GetBucketLocation: the region of a bucket, which is the server's.

use std::sync::Arc;

use iam::Permit;
use s3::xml::Writer;
use tidings_iam as iam;
use tidings_s3 as s3;

use crate::context::Request;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// GetBucketLocation. S3 API reference, "GetBucketLocation".
pub(crate) const OPERATION: Operation = Operation {
    name: "GetBucketLocation",
    route: Route::bucket("GET").query("location"),
    action: "s3:GetBucketLocation",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    gateway.setup.store.bucket(request.bucket())?;
    let mut writer = Writer::s3_document("LocationConstraint");
    // us-east-1 is told as nothing. S3 API reference, GetBucketLocation.
    if gateway.setup.region != "us-east-1" {
        writer.content(&gateway.setup.region);
    }
    Ok(respond::xml(writer.finish()))
}
