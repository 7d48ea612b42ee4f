//! DeleteObject: an object or a version goes; that nothing was there is no error.

use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderName;

use iam::Permit;
use store::object::DeleteObject;
use store::{ChangeKind, WriteCondition};
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use crate::context::Request;
use crate::error::Failure;
use crate::metadata::entity_match;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// DeleteObject. S3 API reference, "DeleteObject".
pub(crate) const OPERATION: Operation = Operation {
    name: "DeleteObject",
    route: Route::object("DELETE"),
    action: "s3:DeleteObject",
    change: Some(ChangeKind::Delete),
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let version = request.version()?;
    let delete = DeleteObject { key: request.key().clone(), version, condition: condition(request)? };
    let bucket = request.bucket().clone();
    let origin = request.origin(gateway, Some(0));
    let store = Arc::clone(&gateway.setup.store);
    gateway.to_the_end(async move { store.delete_object(&bucket, delete, origin).await }).await?;

    let mut reply = respond::empty(StatusCode::NO_CONTENT);
    if let Some(version) = version {
        respond::set(reply.headers_mut(), HeaderName::from_static("x-amz-version-id"), &version.to_string());
    }
    Ok(reply)
}

/// What the object must be to be deleted.
fn condition(request: &Request) -> Result<WriteCondition, Failure> {
    const SIZE: &str = "x-amz-if-match-size";
    const MODIFIED: &str = "x-amz-if-match-last-modified-time";
    let bad =
        |name, value: &str| Failure::argument(name, value, format!("The value of {name} cannot be read."));
    let size = request.header(SIZE).map(|text| text.parse().map_err(|_| bad(SIZE, text))).transpose()?;
    let modified = request.header(MODIFIED).map(|text| {
        let date = s3::time::parse_http_date(text);
        let date = date.or_else(|| s3::time::parse_iso8601_ms(text).map(|ms| ms.div_euclid(1000)));
        date.and_then(|date| u64::try_from(date).ok()).ok_or_else(|| bad(MODIFIED, text))
    });
    Ok(WriteCondition {
        if_match: request.header("if-match").filter(|value| !value.is_empty()).map(entity_match),
        if_none_match: None,
        if_size_bytes: size,
        if_modified_s: modified.transpose()?,
    })
}
