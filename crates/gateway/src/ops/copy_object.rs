//! CopyObject: an object from the bytes of another, or a new description of the same.

use std::sync::Arc;

use iam::Permit;
use s3::checksum::announced_algorithm;
use s3::xml::Writer;
use s3::{ErrorCode, etag};
use store::object::{Checksum, PutObject};
use store::{ChangeKind, ObjectHeaders};
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use super::copy::Source;
use crate::context::Request;
use crate::error::Failure;
use crate::metadata::{self, from_store, xml_time};
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// CopyObject. S3 API reference, "CopyObject".
pub(crate) const OPERATION: Operation = Operation {
    name: "CopyObject",
    route: Route::object("PUT").header("x-amz-copy-source"),
    action: "s3:PutObject",
    change: Some(ChangeKind::Copy),
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    metadata::check_supported(request)?;
    let replaces = directive(request, "x-amz-metadata-directive")?;
    directive(request, "x-amz-tagging-directive")?;
    let asked = announced_algorithm(&request.fields(), "x-amz-checksum-algorithm")?;
    let source = Source::find(request, gateway).await?;
    refuse_copy_to_itself(request, &source, replaces)?;
    let headers = headers(request, &source, replaces)?;
    let kept = source.object.checksum.as_ref().map(|checksum| from_store(checksum.algorithm));
    let received = source.receive(request, gateway, 0..source.object.size_bytes, asked.or(kept)).await?;
    let checksum = received.checksum.map(metadata::full_object);

    // Its length is known before its date: every date is written with as many characters.
    let length = answer(&received.etag.0, 0, checksum.as_ref()).len() as u64;
    let put = PutObject {
        bucket: request.bucket().clone(),
        key: request.key().clone(),
        content: received.content,
        etag: received.etag,
        headers,
        checksum,
        condition: metadata::write_condition(request),
        kind: ChangeKind::Copy,
        origin: request.origin(gateway, Some(length)),
    };
    let store = Arc::clone(&gateway.setup.store);
    let object = gateway.to_the_end(async move { store.put_object(put).await }).await?;

    let document = answer(&object.etag.0, object.modified_ms, object.checksum.as_ref());
    let mut reply = respond::xml(document);
    source.show_version(reply.headers_mut());
    Ok(reply)
}

fn answer(tag: &str, modified_ms: u64, checksum: Option<&Checksum>) -> String {
    let mut writer = Writer::s3_document("CopyObjectResult");
    writer.text("LastModified", &xml_time(modified_ms));
    writer.text("ETag", &etag::quoted(tag));
    if let Some(checksum) = checksum {
        writer.text(from_store(checksum.algorithm).element(), &checksum.value);
        writer.text("ChecksumType", "FULL_OBJECT");
    }
    writer.finish()
}

/// Whether a directive says `REPLACE`; `COPY` is the default.
fn directive(request: &Request, name: &'static str) -> Result<bool, Failure> {
    match request.header(name) {
        None | Some("" | "COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => {
            Err(Failure::argument(name, other, format!("Unknown {}.", name.trim_start_matches("x-amz-"))))
        }
    }
}

/// The headers of the copy. Class and redirect are never taken over. S3 API reference, CopyObject.
fn headers(request: &Request, source: &Source, replaces: bool) -> Result<ObjectHeaders, Failure> {
    if replaces {
        return metadata::object_headers(request);
    }
    const REDIRECT: &str = "x-amz-website-redirect-location";
    let mut headers = source.object.headers.clone();
    headers.system.retain(|(name, _)| name != REDIRECT);
    if let Some(redirect) = request.header(REDIRECT) {
        headers.system.push((REDIRECT.to_owned(), redirect.to_owned()));
        headers.system.sort();
    }
    headers.storage_class = metadata::storage_class(request)?;
    Ok(headers)
}

/// A copy onto itself must change something.
fn refuse_copy_to_itself(request: &Request, source: &Source, replaces: bool) -> Result<(), Failure> {
    let object = &source.object;
    let is_itself =
        object.bucket == *request.bucket() && object.key == *request.key() && source.version.is_none();
    let changes = replaces
        || metadata::storage_class(request)? != object.headers.storage_class
        || request.header("x-amz-website-redirect-location").is_some();
    if is_itself && !changes {
        let message = "This copy request is illegal because it is trying to copy an object to itself without \
                       changing the object's metadata, storage class, website redirect location or encryption \
                       attributes.";
        return Err(Failure::with(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}
