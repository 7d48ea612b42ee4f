//! AbortMultipartUpload: an upload ends without an object.

use std::sync::Arc;

use http::StatusCode;

use iam::Permit;
use tidings_iam as iam;

use super::upload;
use crate::context::Request;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// AbortMultipartUpload. S3 API reference, "AbortMultipartUpload".
pub(crate) const OPERATION: Operation = Operation {
    name: "AbortMultipartUpload",
    route: Route::object("DELETE").query("uploadId"),
    action: "s3:AbortMultipartUpload",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let (bucket, key, id) = (request.bucket().clone(), request.key().clone(), upload::id(request)?);
    let store = Arc::clone(&gateway.setup.store);
    gateway.to_the_end(async move { store.abort_upload(&bucket, &key, id).await }).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}
