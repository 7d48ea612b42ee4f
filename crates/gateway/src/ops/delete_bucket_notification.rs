//! DeleteBucketNotification: the rules of a bucket go, or with an id the one rule. Never the bucket.
//!
//! S3 has no such call: it is Ceph's. MinIO takes the request for DeleteBucket.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use iam::Permit;
use store::Bucket;
use tidings_iam as iam;
use tidings_store as store;

use crate::context::Request;
use crate::error::Failure;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// DeleteBucketNotification. Ceph's manual, "Bucket Notifications", "Delete Notification".
pub(crate) const OPERATION: Operation = Operation {
    name: "DeleteBucketNotification",
    route: Route::bucket("DELETE").query("notification"),
    action: "s3:PutBucketNotification",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let id = request.query("notification").unwrap_or_default().to_owned();
    let (name, server) = (request.bucket().clone(), Arc::clone(gateway));
    let removed = async move {
        let edit = |bucket: &Bucket| -> Result<Option<Bytes>, Failure> {
            let mut rules = server.setup.notifier.all_rules_of(bucket);
            // An id that no rule has is no error: what was asked for holds.
            rules.rules.retain(|rule| !id.is_empty() && rule.id != id);
            Ok((!rules.rules.is_empty()).then(|| Bytes::from(rules.encode())))
        };
        server.setup.store.edit_document(&name, Bucket::NOTIFICATION, edit).await
    };
    gateway.to_the_end(removed).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}
