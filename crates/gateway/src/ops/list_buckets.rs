//! ListBuckets: the buckets, sorted by name, a page at a time when the client asks for pages.

use std::sync::Arc;

use iam::Permit;
use s3::xml::Writer;
use tidings_iam as iam;
use tidings_s3 as s3;

use super::listed;
use crate::Gateway;
use crate::context::Request;
use crate::metadata::xml_time;
use crate::respond;
use crate::route::{Operation, Outcome, Route};

/// Most buckets of one page. S3 API reference, ListBuckets, `max-buckets`.
const PAGE_BUCKETS_MAX: u32 = 10_000;

/// ListBuckets. S3 API reference, "ListBuckets".
pub(crate) const OPERATION: Operation = Operation {
    name: "ListBuckets",
    route: Route::service("GET"),
    action: "s3:ListAllMyBuckets",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let limit = request.number("max-buckets", 1, PAGE_BUCKETS_MAX)?;
    let prefix = request.query("prefix").unwrap_or_default();
    let after = request
        .query("continuation-token")
        .filter(|token| !token.is_empty())
        .map(listed::read_token)
        .transpose()?;

    let mut buckets = gateway.setup.store.buckets();
    buckets.retain(|bucket| {
        let name = bucket.name.as_str();
        name.starts_with(prefix) && after.as_deref().is_none_or(|after| name > after)
    });
    let count = limit.map_or(buckets.len(), |limit| buckets.len().min(limit as usize));
    let is_truncated = count < buckets.len();
    buckets.truncate(count);

    let mut writer = Writer::s3_document("ListAllMyBucketsResult");
    listed::owner(&mut writer, "Owner");
    writer.open("Buckets");
    for bucket in &buckets {
        writer.open("Bucket");
        writer.text("Name", bucket.name.as_str());
        writer.text("CreationDate", &xml_time(bucket.created_ms));
        writer.close();
    }
    writer.close();
    if let Some(last) = buckets.last().filter(|_| is_truncated) {
        writer.text("ContinuationToken", &listed::token(last.name.as_str()));
    }
    writer.optional("Prefix", Some(prefix).filter(|prefix| !prefix.is_empty()));
    Ok(respond::xml(writer.finish()))
}
