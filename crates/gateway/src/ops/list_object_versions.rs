//! ListObjectVersions: every version and delete marker, newest first within a key.

use std::sync::Arc;

use iam::Permit;
use s3::xml::Writer;
use store::listing::Listed;
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use super::listed::{self, Parameters};
use crate::context::{Request, parse_version};
use crate::error::Failure;
use crate::metadata::xml_time;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// ListObjectVersions. S3 API reference, "ListObjectVersions".
pub(crate) const OPERATION: Operation = Operation {
    name: "ListObjectVersions",
    route: Route::bucket("GET").query("versions"),
    action: "s3:ListBucketVersions",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let parameters = Parameters::read(request, "max-keys")?;
    let key_marker = request.query("key-marker").unwrap_or_default();
    let version_marker = request.query("version-id-marker").filter(|marker| !marker.is_empty());
    if let Some(marker) = version_marker.filter(|_| key_marker.is_empty()) {
        let message = "A version-id marker cannot be specified without a key marker.";
        return Err(Failure::argument("version-id-marker", marker, message));
    }
    let mut query = parameters.to_query(key_marker.to_owned());
    query.after_version = version_marker.map(parse_version).transpose()?;
    let page = gateway.setup.store.list_versions(request.bucket(), &query).await?;

    let mut writer = Writer::s3_document("ListVersionsResult");
    parameters.echo(&mut writer, request, "MaxKeys");
    writer.key("KeyMarker", key_marker, parameters.encoding);
    writer.text("VersionIdMarker", version_marker.unwrap_or_default());
    writer.value("IsTruncated", page.is_truncated);
    if page.is_truncated {
        writer.key("NextKeyMarker", &page.last, parameters.encoding);
        let version = page.last_version.map(|version| version.to_string());
        writer.optional("NextVersionIdMarker", version.as_deref());
    }
    for entry in &page.entries {
        version(&mut writer, &parameters, entry);
    }
    parameters.common_prefixes(&mut writer, &page.common_prefixes);
    Ok(respond::xml(writer.finish()))
}

fn version(writer: &mut Writer, parameters: &Parameters, entry: &Listed) {
    writer.open(if entry.is_delete_marker { "DeleteMarker" } else { "Version" });
    writer.key("Key", &entry.key, parameters.encoding);
    writer.text("VersionId", &entry.version.to_string());
    writer.value("IsLatest", entry.is_latest);
    if entry.is_delete_marker {
        writer.text("LastModified", &xml_time(entry.modified_ms));
    } else {
        listed::object(writer, entry);
    }
    listed::owner(writer, "Owner");
    writer.close();
}
