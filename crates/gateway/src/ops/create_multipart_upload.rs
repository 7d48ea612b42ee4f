//! CreateMultipartUpload: what the object to be is, before its bytes.

use std::sync::Arc;

use http::header::HeaderName;

use iam::Permit;
use s3::ErrorCode;
use s3::checksum::{ChecksumAlgorithm, ChecksumKind, announced_algorithm};
use s3::xml::Writer;
use store::multipart::CreateUpload;
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use crate::context::Request;
use crate::error::Failure;
use crate::metadata::{object_headers, to_store};
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// CreateMultipartUpload. S3 API reference, "CreateMultipartUpload".
pub(crate) const OPERATION: Operation = Operation {
    name: "CreateMultipartUpload",
    route: Route::object("POST").query("uploads"),
    action: "s3:PutObject",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let headers = object_headers(request)?;
    let checksum = checksum(request)?;
    let create = CreateUpload {
        bucket: request.bucket().clone(),
        key: request.key().clone(),
        headers,
        checksum: checksum.map(|(algorithm, kind)| (to_store(algorithm), kind == ChecksumKind::FullObject)),
        initiator: request.caller.principal().to_owned(),
    };
    let store = Arc::clone(&gateway.setup.store);
    let upload = gateway.to_the_end(async move { store.create_upload(create).await }).await?;

    let mut writer = Writer::s3_document("InitiateMultipartUploadResult");
    writer.text("Bucket", upload.bucket.as_str());
    writer.text("Key", upload.key.as_str());
    writer.text("UploadId", &upload.id.to_string());
    let mut reply = respond::xml(writer.finish());
    if let Some((algorithm, kind)) = checksum {
        let headers = reply.headers_mut();
        respond::set(headers, HeaderName::from_static("x-amz-checksum-algorithm"), algorithm.name());
        respond::set(headers, HeaderName::from_static("x-amz-checksum-type"), kind.name());
    }
    Ok(reply)
}

/// Algorithm and kind of the checksum the object will have.
fn checksum(request: &Request) -> Result<Option<(ChecksumAlgorithm, ChecksumKind)>, Failure> {
    let algorithm = announced_algorithm(&request.fields(), "x-amz-checksum-algorithm")?;
    let kind = match request.header("x-amz-checksum-type") {
        None | Some("") => None,
        Some(name) => {
            Some(ChecksumKind::from_name(name).ok_or_else(|| invalid("x-amz-checksum-type is unknown"))?)
        }
    };
    match (algorithm, kind) {
        (None, None) => Ok(None),
        (None, Some(_)) => {
            Err(invalid("The x-amz-checksum-type header needs an x-amz-checksum-algorithm header"))
        }
        (Some(algorithm), kind) => {
            let kind = kind.unwrap_or(algorithm.default_kind());
            if !algorithm.allows(kind) {
                return Err(invalid(&format!(
                    "The {} checksum type cannot be used with the {algorithm} checksum algorithm",
                    kind.name()
                )));
            }
            Ok(Some((algorithm, kind)))
        }
    }
}

fn invalid(clause: &str) -> Failure {
    Failure::with(ErrorCode::InvalidRequest, format!("{clause}."))
}
