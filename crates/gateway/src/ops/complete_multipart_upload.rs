//! CompleteMultipartUpload: the listed parts become one object.
//!
//! A client that lost the answer asks again: it is told the same as before while the object is the one its
//! upload made and it lists the same parts.

use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, HeaderValue};

use iam::Permit;
use s3::checksum::{Checksum, ChecksumAlgorithm, ChecksumKind, ObjectChecksum};
use s3::xml::{CompleteMultipartUpload, CompletedPart, Writer};
use s3::{ErrorCode, Refusal, etag, percent};
use store::multipart::{CompleteUpload, ListedPart, Part, Upload};
use store::{ChangeKind, ETag, Object};
use tidings_iam as iam;
use tidings_s3 as s3;
use tidings_store as store;

use super::upload;
use crate::context::Request;
use crate::error::Failure;
use crate::metadata::{from_store, stored_checksum, write_condition};
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// CompleteMultipartUpload. S3 API reference, "CompleteMultipartUpload".
pub(crate) const OPERATION: Operation = Operation {
    name: "CompleteMultipartUpload",
    route: Route::object("POST").query("uploadId"),
    action: "s3:PutObject",
    change: Some(ChangeKind::CompleteMultipartUpload),
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    // A checksum header is that of the object to be, not of this body.
    let mut headers = request.head.headers.clone();
    ChecksumAlgorithm::ALL.iter().for_each(|algorithm| drop(headers.remove(algorithm.header())));
    let document = request.body.document(&headers, CompleteMultipartUpload::BODY_BYTES_MAX).await?;
    let asked = CompleteMultipartUpload::parse(&document.bytes)?;

    let upload = match upload::find(request, gateway).await {
        Ok(upload) => upload,
        Err(failure) if failure.refusal.code == ErrorCode::NoSuchUpload => {
            return again(request, gateway, &asked, failure).await;
        }
        Err(failure) => return Err(failure),
    };
    check_readable(&request.head.headers)?;
    let listed = listed_parts(&upload, &asked.parts)?;
    let parts = gateway.setup.store.choose_parts(&upload, &listed).await?;
    check_size(request, &parts)?;
    let etag = etag_of(&parts)?;
    let checksum = object_checksum(&upload, &parts)?;
    check_promised(&request.head.headers, &upload, checksum)?;
    let checksum = checksum.map(stored_checksum);

    let length = answer(request, gateway, &etag.0, checksum.as_ref()).len() as u64;
    let complete = CompleteUpload {
        upload,
        parts,
        etag,
        checksum,
        condition: write_condition(request),
        origin: request.origin(gateway, Some(length)),
    };
    let store = Arc::clone(&gateway.setup.store);
    match gateway.to_the_end(async move { store.complete_upload(complete).await }).await {
        Ok(object) => Ok(done(request, gateway, &object)),
        // Somebody completed it meanwhile: with the same parts it is the same success.
        Err(error @ store::Error::NoSuchUpload { .. }) => again(request, gateway, &asked, error.into()).await,
        Err(error) => Err(error.into()),
    }
}

/// Answers for an upload that is no longer open.
async fn again(
    request: &Request,
    gateway: &Gateway,
    asked: &CompleteMultipartUpload,
    failure: Failure,
) -> Outcome {
    let id = upload::id(request)?;
    let object = gateway.setup.store.completed_object(request.bucket(), request.key(), id).await?;
    let is_same = |object: &Object| {
        let made = object.parts.iter().map(|part| (part.number, part.etag.0.as_str()));
        made.eq(asked.parts.iter().map(|part| (part.number, part.etag.as_str())))
    };
    match object.filter(is_same) {
        Some(object) => Ok(done(request, gateway, &object)),
        None => Err(failure),
    }
}

fn done(request: &Request, gateway: &Gateway, object: &Object) -> respond::Reply {
    respond::xml(answer(request, gateway, &object.etag.0, object.checksum.as_ref()))
}

fn answer(
    request: &Request,
    gateway: &Gateway,
    tag: &str,
    checksum: Option<&store::object::Checksum>,
) -> String {
    let host = request.header(HOST.as_str()).unwrap_or(&gateway.setup.endpoint);
    let key = percent::encode_path(request.key().as_str().as_bytes());
    let mut writer = Writer::s3_document("CompleteMultipartUploadResult");
    writer.text("Location", &format!("{}://{host}/{}/{key}", gateway.setup.scheme, request.bucket()));
    writer.text("Bucket", request.bucket().as_str());
    writer.text("Key", request.key().as_str());
    writer.text("ETag", &etag::quoted(tag));
    if let Some(checksum) = checksum {
        writer.text(from_store(checksum.algorithm).element(), &checksum.value);
        writer.text("ChecksumType", if checksum.is_full_object { "FULL_OBJECT" } else { "COMPOSITE" });
    }
    writer.finish()
}

/// The parts as the store checks them.
///
/// A composite checksum is made of what the client lists, so a part without one is refused.
fn listed_parts(upload: &Upload, parts: &[CompletedPart]) -> Result<Vec<ListedPart>, Failure> {
    let of_upload = upload::checksum(upload);
    let listed = parts.iter().map(|part| {
        let checksum = of_upload.and_then(|(algorithm, _)| {
            part.checksums.iter().find(|checksum| checksum.algorithm() == algorithm)
        });
        let is_composite = matches!(of_upload, Some((_, ChecksumKind::Composite)));
        if is_composite && checksum.is_none() {
            let refusal = Refusal::new(ErrorCode::InvalidPart).element("PartNumber", part.number.to_string());
            return Err(Failure::from(refusal));
        }
        let checksum = checksum.map(Checksum::to_string);
        Ok(ListedPart { number: part.number, etag: part.etag.clone(), checksum })
    });
    listed.collect()
}

fn check_size(request: &Request, parts: &[Part]) -> Result<(), Failure> {
    let Some(promised) = request.header("x-amz-mp-object-size") else {
        return Ok(());
    };
    let size_bytes: u64 = parts.iter().map(|part| part.size_bytes).sum();
    if promised.parse() == Ok(size_bytes) {
        return Ok(());
    }
    let message =
        format!("The provided 'x-amz-mp-object-size' header does not match what was computed: {size_bytes}.");
    Err(Failure::with(ErrorCode::InvalidRequest, message))
}

fn etag_of(parts: &[Part]) -> Result<ETag, Failure> {
    let md5s = parts.iter().map(|part| {
        let mut md5 = [0; 16];
        hex::decode_to_slice(&part.etag.0, &mut md5).map(|()| md5)
    });
    let md5s: Vec<[u8; 16]> = md5s
        .collect::<Result<_, _>>()
        .map_err(|_| Failure::with(ErrorCode::InternalError, "The entity tag of a part is not an MD5."))?;
    Ok(ETag(etag::of_parts(&md5s)))
}

/// The checksum of the object, from those of its parts.
fn object_checksum(upload: &Upload, parts: &[Part]) -> Result<Option<ObjectChecksum>, Failure> {
    let Some((algorithm, kind)) = upload::checksum(upload) else {
        return Ok(None);
    };
    let of_part = |part: &Part| {
        let checksum = part.checksum.as_deref().and_then(|text| Checksum::parse(algorithm, text));
        checksum.ok_or_else(|| Failure::from(ErrorCode::InvalidPart))
    };
    let checksums: Vec<Checksum> = parts.iter().map(of_part).collect::<Result<_, _>>()?;
    let composite_parts = u32::try_from(parts.len()).ok();
    Ok(match kind {
        ChecksumKind::Composite => {
            let checksum = Checksum::composite(algorithm, &checksums);
            Some(ObjectChecksum { checksum, composite_parts })
        }
        ChecksumKind::FullObject => {
            let sized = checksums.iter().zip(parts.iter().map(|part| part.size_bytes));
            let checksum = Checksum::full_object(algorithm, sized);
            checksum.map(|checksum| ObjectChecksum { checksum, composite_parts: None })
        }
    })
}

/// The checksum header of a request, if there is one.
fn checksum_header(headers: &HeaderMap) -> Option<(ChecksumAlgorithm, &HeaderValue)> {
    ChecksumAlgorithm::ALL.iter().find_map(|algorithm| Some((*algorithm, headers.get(algorithm.header())?)))
}

/// Refuses a promised checksum that no bytes have, before the parts are looked at.
fn check_readable(headers: &HeaderMap) -> Result<(), Failure> {
    let Some((algorithm, value)) = checksum_header(headers) else {
        return Ok(());
    };
    // A composite value may end in its number of parts; base64 holds no dash.
    let text = value.to_str().unwrap_or_default().trim();
    let value = text.split_once('-').map_or(text, |(value, _)| value);
    match Checksum::parse(algorithm, value) {
        Some(_) => Ok(()),
        None => Err(ErrorCode::BadDigest.into()),
    }
}

/// Compares the object's checksum with the one the client promises.
fn check_promised(
    headers: &HeaderMap,
    upload: &Upload,
    computed: Option<ObjectChecksum>,
) -> Result<(), Failure> {
    let Some((algorithm, value)) = checksum_header(headers) else {
        return Ok(());
    };
    let of_upload = upload::checksum(upload).map(|(algorithm, _)| algorithm);
    if of_upload != Some(algorithm) {
        let expected = of_upload.map_or("null", ChecksumAlgorithm::name);
        let message = format!(
            "Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {algorithm}."
        );
        return Err(Failure::with(ErrorCode::InvalidRequest, message));
    }
    let promised = value.to_str().ok().map(str::trim);
    let computed = computed.map(|checksum| checksum.to_string());
    // A composite value may come without its number of parts.
    let is_met = match (promised, computed.as_deref()) {
        (Some(promised), Some(computed)) => {
            promised == computed || computed.split_once('-').is_some_and(|(value, _)| value == promised)
        }
        _ => false,
    };
    if is_met { Ok(()) } else { Err(ErrorCode::BadDigest.into()) }
}
