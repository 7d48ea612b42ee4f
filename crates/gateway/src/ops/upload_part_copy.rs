//! UploadPartCopy: a part from the bytes of an object.

use std::sync::Arc;

use iam::Permit;
use s3::copy_source::resolve_range;
use s3::etag;
use s3::xml::Writer;
use store::multipart::PutPart;
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use super::copy::Source;
use super::{part_number, upload};
use crate::context::Request;
use crate::metadata::xml_time;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, metadata, respond};

/// UploadPartCopy. S3 API reference, "UploadPartCopy".
pub(crate) const OPERATION: Operation = Operation {
    name: "UploadPartCopy",
    route: Route::object("PUT").query("uploadId").header("x-amz-copy-source"),
    action: "s3:PutObject",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    metadata::check_supported(request)?;
    let number = part_number(request)?;
    let upload = upload::find(request, gateway).await?;
    let source = Source::find(request, gateway).await?;
    let range = match request.header("x-amz-copy-source-range") {
        None => 0..source.object.size_bytes,
        Some(range) => {
            let range = resolve_range(range, source.object.size_bytes)?;
            *range.start()..range.end() + 1
        }
    };
    let algorithm = upload::checksum(&upload).map(|(algorithm, _)| algorithm);
    let received = source.receive(request, gateway, range, algorithm).await?;
    let checksum = received.checksum;
    let put = PutPart {
        upload: upload.id,
        bucket: upload.bucket,
        key: upload.key,
        number,
        content: received.content,
        etag: received.etag,
        checksum: checksum.map(|checksum| checksum.to_string()),
    };
    let store = Arc::clone(&gateway.setup.store);
    let part = gateway.to_the_end(async move { store.put_part(put).await }).await?;

    let mut writer = Writer::s3_document("CopyPartResult");
    writer.text("LastModified", &xml_time(part.modified_ms));
    writer.text("ETag", &etag::quoted(&part.etag.0));
    if let Some(checksum) = checksum {
        writer.text(checksum.algorithm().element(), &checksum.to_string());
    }
    let mut reply = respond::xml(writer.finish());
    source.show_version(reply.headers_mut());
    Ok(reply)
}
