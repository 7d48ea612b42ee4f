//! HeadObject: what GetObject would answer, without the bytes.

use std::sync::Arc;

use iam::Permit;
use store::ChangeKind;
use tidings_iam as iam;
use tidings_store as store;

use super::read::{self, Decided};
use crate::Gateway;
use crate::context::Request;
use crate::route::{Operation, Outcome, Route};

/// HeadObject. S3 API reference, "HeadObject".
pub(crate) const OPERATION: Operation = Operation {
    name: "HeadObject",
    route: Route::object("HEAD"),
    action: "s3:GetObject",
    change: Some(ChangeKind::Head),
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    read::check_supported(request)?;
    let bucket = gateway.setup.store.bucket(request.bucket())?;
    match read::decide(request, gateway).await? {
        Decided::NotModified(reply) => Ok(reply),
        Decided::Bytes { object, range, reply } => {
            read::announce(gateway, request, bucket, ChangeKind::Head, *object, &range);
            Ok(reply)
        }
    }
}
