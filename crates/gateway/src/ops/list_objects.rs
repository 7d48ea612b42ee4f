//! ListObjects, the first version: pages by `marker`.

use std::sync::Arc;

use iam::Permit;
use s3::xml::Writer;
use tidings_iam as iam;
use tidings_s3 as s3;

use super::listed::Parameters;
use crate::context::Request;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// ListObjects. S3 API reference, "ListObjects".
pub(crate) const OPERATION: Operation = Operation {
    name: "ListObjects",
    route: Route::bucket("GET"),
    action: "s3:ListBucket",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let parameters = Parameters::read(request, "max-keys")?;
    let marker = request.query("marker").unwrap_or_default();
    let page =
        gateway.setup.store.list_objects(request.bucket(), &parameters.to_query(marker.to_owned())).await?;

    let mut writer = Writer::s3_document("ListBucketResult");
    parameters.echo(&mut writer, request, "MaxKeys");
    writer.key("Marker", marker, parameters.encoding);
    writer.value("IsTruncated", page.is_truncated);
    if page.is_truncated {
        writer.key("NextMarker", &page.last, parameters.encoding);
    }
    parameters.contents(&mut writer, &page, true);
    parameters.common_prefixes(&mut writer, &page.common_prefixes);
    Ok(respond::xml(writer.finish()))
}
