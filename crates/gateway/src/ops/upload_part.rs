//! UploadPart: a body becomes part of an upload; the last to finish under a number counts.

use std::sync::Arc;

use http::StatusCode;
use http::header::{ETAG, HeaderName};

use iam::Permit;
use s3::ErrorCode;
use s3::checksum::{Checksum, announced_algorithm};
use store::multipart::PutPart;
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use super::{part_number, upload};
use crate::context::Request;
use crate::error::Failure;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, metadata, receive, respond};

/// UploadPart. S3 API reference, "UploadPart".
pub(crate) const OPERATION: Operation = Operation {
    name: "UploadPart",
    route: Route::object("PUT").query("uploadId"),
    action: "s3:PutObject",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    metadata::check_supported(request)?;
    let number = part_number(request)?;
    let upload = upload::find(request, gateway).await?;
    let of_upload = upload::checksum(&upload).map(|(algorithm, _)| algorithm);
    let sent = Checksum::from_headers(&request.fields())?.map(|checksum| checksum.algorithm());
    let sent = sent.or(request.body.trailer_algorithm());
    if let (Some(of_upload), Some(sent)) = (of_upload, sent)
        && of_upload != sent
    {
        let message = format!(
            "Checksum Type mismatch occurred, expected checksum Type: {of_upload}, actual checksum Type: {sent}."
        );
        return Err(Failure::with(ErrorCode::InvalidRequest, message));
    }
    let announced = announced_algorithm(&request.fields(), "x-amz-sdk-checksum-algorithm")?;
    let received = receive::body(gateway, request, of_upload.or(announced)).await?;
    let checksum = received.checksum;
    let put = PutPart {
        upload: upload.id,
        bucket: upload.bucket,
        key: upload.key,
        number,
        content: received.content,
        etag: received.etag,
        checksum: checksum.filter(|_| of_upload.is_some()).map(|checksum| checksum.to_string()),
    };
    let store = Arc::clone(&gateway.setup.store);
    let part = gateway.to_the_end(async move { store.put_part(put).await }).await?;

    let mut reply = respond::empty(StatusCode::OK);
    respond::set(reply.headers_mut(), ETAG, &s3::etag::quoted(&part.etag.0));
    if let Some(checksum) = checksum {
        let name = HeaderName::from_static(checksum.algorithm().header());
        respond::set(reply.headers_mut(), name, &checksum.to_string());
    }
    Ok(reply)
}
