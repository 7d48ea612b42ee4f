//! ListParts: the parts of an open upload.

use std::sync::Arc;

use iam::Permit;
use s3::etag;
use s3::xml::Writer;
use tidings_iam as iam;
use tidings_s3 as s3;

use super::{listed, upload};
use crate::context::Request;
use crate::metadata::xml_time;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// ListParts. S3 API reference, "ListParts".
pub(crate) const OPERATION: Operation = Operation {
    name: "ListParts",
    route: Route::object("GET").query("uploadId"),
    action: "s3:ListMultipartUploadParts",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let limit = request.page_limit("max-parts")?;
    let marker = request.number("part-number-marker", 0, i32::MAX.unsigned_abs())?.unwrap_or(0);
    let upload = upload::find(request, gateway).await?;
    let (parts, is_truncated) = gateway.setup.store.parts(&upload, marker, limit).await?;
    let checksum = upload::checksum(&upload);

    let mut writer = Writer::s3_document("ListPartsResult");
    writer.text("Bucket", upload.bucket.as_str());
    writer.text("Key", upload.key.as_str());
    writer.text("UploadId", &upload.id.to_string());
    listed::owner(&mut writer, "Initiator");
    listed::owner(&mut writer, "Owner");
    writer.text("StorageClass", upload.headers.storage_class.as_deref().unwrap_or("STANDARD"));
    writer.value("PartNumberMarker", marker);
    writer.value("NextPartNumberMarker", parts.last().map_or(marker, |part| part.number));
    writer.value("MaxParts", limit);
    writer.value("IsTruncated", is_truncated);
    if let Some((algorithm, kind)) = checksum {
        writer.text("ChecksumAlgorithm", algorithm.name());
        writer.text("ChecksumType", kind.name());
    }
    for part in &parts {
        writer.open("Part");
        writer.value("PartNumber", part.number);
        writer.text("LastModified", &xml_time(part.modified_ms));
        writer.text("ETag", &etag::quoted(&part.etag.0));
        writer.value("Size", part.size_bytes);
        if let Some((algorithm, _)) = checksum {
            writer.optional(algorithm.element(), part.checksum.as_deref());
        }
        writer.close();
    }
    Ok(respond::xml(writer.finish()))
}
