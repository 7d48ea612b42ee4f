//! PutObject: a body and its headers become an object, or nothing changes.

use std::sync::Arc;

use http::StatusCode;
use http::header::{ETAG, HeaderName};

use iam::Permit;
use s3::checksum::announced_algorithm;
use store::ChangeKind;
use store::object::PutObject;
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use crate::context::Request;
use crate::error::Failure;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, metadata, receive, respond};

/// PutObject. S3 API reference, "PutObject".
pub(crate) const OPERATION: Operation = Operation {
    name: "PutObject",
    route: Route::object("PUT"),
    action: "s3:PutObject",
    change: Some(ChangeKind::Put),
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    if request.query("versionId").is_some_and(|id| !id.is_empty()) {
        return Err(Failure::not_implemented("Writing under a chosen version id is not implemented."));
    }
    let headers = metadata::object_headers(request)?;
    let kept = announced_algorithm(&request.fields(), "x-amz-sdk-checksum-algorithm")?;
    let received = receive::body(gateway, request, kept).await?;
    let put = PutObject {
        bucket: request.bucket().clone(),
        key: request.key().clone(),
        content: received.content,
        etag: received.etag,
        headers,
        checksum: received.checksum.map(metadata::full_object),
        condition: metadata::write_condition(request),
        kind: ChangeKind::Put,
        origin: request.origin(gateway, None),
    };
    let store = Arc::clone(&gateway.setup.store);
    let object = gateway.to_the_end(async move { store.put_object(put).await }).await?;

    let mut reply = respond::empty(StatusCode::OK);
    respond::set(reply.headers_mut(), ETAG, &s3::etag::quoted(&object.etag.0));
    let size = object.size_bytes.to_string();
    respond::set(reply.headers_mut(), HeaderName::from_static("x-amz-object-size"), &size);
    if let Some(checksum) = &object.checksum {
        metadata::show_checksum(reply.headers_mut(), checksum);
    }
    Ok(reply)
}
