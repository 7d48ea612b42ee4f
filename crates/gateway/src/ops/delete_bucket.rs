//! DeleteBucket: of an empty bucket, or with MinIO's `x-minio-force-delete` of what is in it too.

use std::sync::Arc;

use http::StatusCode;

use iam::Permit;
use store::listing::ListQuery;
use store::object::DeleteObject;
use store::{BucketName, ChangeKind, ObjectKey, Origin, WriteCondition};
use tidings_iam as iam;
use tidings_store as store;

use crate::context::{PAGE_ENTRIES_MAX, Request};
use crate::error::Failure;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// DeleteBucket. S3 API reference, "DeleteBucket".
pub(crate) const OPERATION: Operation = Operation {
    name: "DeleteBucket",
    route: Route::bucket("DELETE"),
    action: "s3:DeleteBucket",
    change: Some(ChangeKind::BucketRemoved),
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let bucket = request.bucket().clone();
    let origin = request.origin(gateway, Some(0));
    if request.header("x-minio-force-delete") == Some("true") {
        delete_objects(gateway, &bucket, &origin).await?;
    }
    let store = Arc::clone(&gateway.setup.store);
    gateway.to_the_end(async move { store.delete_bucket(&bucket, origin).await }).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

/// Deletes every object there is when its page is reached. Objects that others write meanwhile may stay, and
/// then the bucket does too.
async fn delete_objects(gateway: &Arc<Gateway>, bucket: &BucketName, origin: &Origin) -> Result<(), Failure> {
    let mut query = ListQuery { limit: PAGE_ENTRIES_MAX as usize, ..ListQuery::default() };
    loop {
        let page = gateway.setup.store.list_objects(bucket, &query).await?;
        let deletes = page.entries.iter().filter_map(|entry| {
            let key = ObjectKey::new(&entry.key)?;
            Some(DeleteObject { key, version: None, condition: WriteCondition::default() })
        });
        let (deletes, store, bucket, origin) =
            (deletes.collect(), Arc::clone(&gateway.setup.store), bucket.clone(), origin.clone());
        let deleted =
            gateway.to_the_end(async move { store.delete_objects(&bucket, deletes, origin).await }).await?;
        for deleted in deleted {
            deleted?;
        }
        if !page.is_truncated {
            return Ok(());
        }
        query.after = page.last;
    }
}
