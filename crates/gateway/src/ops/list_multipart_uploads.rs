//! ListMultipartUploads: the open uploads of a bucket.

use std::sync::Arc;

use iam::Permit;
use s3::xml::{KeyEncoding, Writer};
use store::UploadId;
use store::multipart::{Upload, UploadQuery};
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use super::listed::{self, Parameters};
use super::upload;
use crate::context::Request;
use crate::error::Failure;
use crate::metadata::xml_time;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// ListMultipartUploads. S3 API reference, "ListMultipartUploads".
pub(crate) const OPERATION: Operation = Operation {
    name: "ListMultipartUploads",
    route: Route::bucket("GET").query("uploads"),
    action: "s3:ListBucketMultipartUploads",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let parameters = Parameters::read(request, "max-uploads")?;
    let key_marker = request.query("key-marker").unwrap_or_default();
    // Without a key it says nothing. S3 API reference, ListMultipartUploads.
    let upload_marker =
        request.query("upload-id-marker").filter(|id| !id.is_empty() && !key_marker.is_empty());
    let read_marker = |id: &str| {
        let refuse = || Failure::argument("upload-id-marker", id, "Invalid uploadId marker.");
        UploadId::parse(id).ok_or_else(refuse)
    };
    let query = UploadQuery {
        prefix: parameters.prefix.clone(),
        delimiter: parameters.delimiter.clone(),
        key_marker: key_marker.to_owned(),
        upload_marker: upload_marker.map(read_marker).transpose()?,
        limit: parameters.limit,
    };
    let page = gateway.setup.store.uploads(request.bucket(), &query).await?;

    let mut writer = Writer::s3_document("ListMultipartUploadsResult");
    writer.text("Bucket", request.bucket().as_str());
    writer.key("KeyMarker", key_marker, parameters.encoding);
    writer.text("UploadIdMarker", upload_marker.unwrap_or_default());
    if let Some((key, id)) = &page.next {
        writer.key("NextKeyMarker", key, parameters.encoding);
        writer.text("NextUploadIdMarker", &id.map(|id| id.to_string()).unwrap_or_default());
    }
    writer.key("Prefix", &parameters.prefix, parameters.encoding);
    writer.value("MaxUploads", parameters.limit);
    parameters.echo_optional(&mut writer);
    writer.value("IsTruncated", page.next.is_some());
    for upload in &page.uploads {
        one(&mut writer, upload, parameters.encoding);
    }
    parameters.common_prefixes(&mut writer, &page.common_prefixes);
    Ok(respond::xml(writer.finish()))
}

fn one(writer: &mut Writer, upload: &Upload, encoding: KeyEncoding) {
    writer.open("Upload");
    writer.key("Key", upload.key.as_str(), encoding);
    writer.text("UploadId", &upload.id.to_string());
    listed::owner(writer, "Initiator");
    listed::owner(writer, "Owner");
    writer.text("StorageClass", upload.headers.storage_class.as_deref().unwrap_or("STANDARD"));
    writer.text("Initiated", &xml_time(upload.initiated_ms));
    if let Some((algorithm, kind)) = upload::checksum(upload) {
        writer.text("ChecksumAlgorithm", algorithm.name());
        writer.text("ChecksumType", kind.name());
    }
    writer.close();
}
