//! ListObjectsV2: pages by an opaque token.

use std::sync::Arc;

use iam::Permit;
use s3::xml::Writer;
use tidings_iam as iam;
use tidings_s3 as s3;

use super::listed::{self, Parameters};
use crate::context::Request;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// ListObjectsV2. S3 API reference, "ListObjectsV2".
pub(crate) const OPERATION: Operation = Operation {
    name: "ListObjectsV2",
    route: Route::bucket("GET").query("list-type"),
    action: "s3:ListBucket",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let parameters = Parameters::read(request, "max-keys")?;
    let start_after = request.query("start-after").filter(|key| !key.is_empty());
    let token = request.query("continuation-token");
    // An empty token is that of the first page.
    let after = match token.filter(|token| !token.is_empty()) {
        Some(token) => listed::read_token(token)?,
        None => start_after.unwrap_or_default().to_owned(),
    };
    let page = gateway.setup.store.list_objects(request.bucket(), &parameters.to_query(after)).await?;

    let mut writer = Writer::s3_document("ListBucketResult");
    parameters.echo(&mut writer, request, "MaxKeys");
    writer.value("KeyCount", page.entries.len() + page.common_prefixes.len());
    if let Some(key) = start_after {
        writer.key("StartAfter", key, parameters.encoding);
    }
    writer.optional("ContinuationToken", token);
    writer.value("IsTruncated", page.is_truncated);
    if page.is_truncated {
        writer.text("NextContinuationToken", &listed::token(&page.last));
    }
    parameters.contents(&mut writer, &page, request.query("fetch-owner") == Some("true"));
    parameters.common_prefixes(&mut writer, &page.common_prefixes);
    Ok(respond::xml(writer.finish()))
}
