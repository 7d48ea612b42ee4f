//! GetObject: the bytes of an object, or a range of them.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use iam::Permit;
use store::{ByteStream, ChangeKind};
use tidings_iam as iam;
use tidings_store as store;

use super::read::{self, Decided};
use crate::context::Request;
use crate::route::{Operation, Outcome, Route};
use crate::{BoxError, Gateway, ResponseBody, respond};

/// GetObject. S3 API reference, "GetObject".
pub(crate) const OPERATION: Operation = Operation {
    name: "GetObject",
    route: Route::object("GET"),
    action: "s3:GetObject",
    change: Some(ChangeKind::Get),
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    read::check_supported(request)?;
    let bucket = gateway.setup.store.bucket(request.bucket())?;
    let (object, range, mut reply) = match read::decide(request, gateway).await? {
        Decided::NotModified(reply) => return Ok(reply),
        Decided::Bytes { object, range, reply } => (object, range, reply),
    };
    *reply.body_mut() = match object.inline(range.clone()) {
        Some(bytes) => respond::of_bytes(bytes),
        None => streamed(gateway.setup.store.read(&object, range.clone()).await?),
    };
    read::announce(gateway, request, bucket, ChangeKind::Get, *object, &range);
    Ok(reply)
}

/// A body as it is read. A read that fails after the head was sent ends the connection: the client sees that bytes
/// are missing.
fn streamed(bytes: ByteStream) -> ResponseBody {
    let frames = bytes.map_ok(Frame::data).map_err(|error| {
        tracing::warn!(%error, "A response was cut short.");
        BoxError::from(error)
    });
    StreamBody::new(frames).boxed_unsync()
}
