//! What GetObject and HeadObject have in common: everything but the body.
//!
//! Both judge the same conditions, choose the same bytes and show the same headers, so that a HEAD tells
//! what the GET would.

use std::ops::Range;
use std::sync::Arc;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, HeaderValue};

use s3::condition::{Conditions, Current, ReadOutcome, if_range_holds, precondition_failed};
use s3::{ErrorCode, Refusal};
use store::object::Checksum;
use store::{Bucket, ChangeKind, Object};
use tidings_s3 as s3;
use tidings_store as store;

use crate::context::Request;
use crate::error::Failure;
use crate::metadata::{seconds, show, show_checksum, show_identity};
use crate::respond::{self, Reply};
use crate::{Gateway, metadata};

/// Query parameters that replace a header of the response.
const OVERRIDES: [(&str, &str); 6] = [
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-content-type", "content-type"),
    ("response-expires", "expires"),
];

/// Whether what hides a key is a delete marker.
const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");

/// A read whose answer is decided.
pub(crate) enum Decided {
    /// The client has it already.
    NotModified(Reply),
    /// These bytes of this object, under this head.
    Bytes {
        /// The object.
        object: Box<Object>,
        /// Which of its bytes.
        range: Range<u64>,
        /// Status and headers; no body yet.
        reply: Reply,
    },
}

/// A key that is not there says that no delete marker hides it. Ceph's suite asks for the header.
fn absent(error: store::Error) -> Failure {
    let is_missing = matches!(error, store::Error::NoSuchKey { .. });
    let failure = Failure::from(error);
    if is_missing { failure.header(DELETE_MARKER, HeaderValue::from_static("false")) } else { failure }
}

/// Decides the answer to a read.
///
/// # Errors
///
/// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `PreconditionFailed`, `InvalidRange`, `InvalidPartNumber`,
/// and what the parameters are refused for.
pub(crate) async fn decide(request: &Request, gateway: &Gateway) -> Result<Decided, Failure> {
    let version = request.version()?;
    let overrides = overrides(request)?;
    let object =
        gateway.setup.store.object(request.bucket(), request.key(), version).await.map_err(absent)?;
    let current = Current { etag: &object.etag.0, modified_s: seconds(object.modified_ms) };
    match Conditions::from_headers(&request.fields()).judge_read(current) {
        ReadOutcome::Proceed => {}
        ReadOutcome::NotModified => {
            let mut reply = respond::empty(StatusCode::NOT_MODIFIED);
            show_identity(reply.headers_mut(), &object);
            return Ok(Decided::NotModified(reply));
        }
        ReadOutcome::Failed(condition) => return Err(failed(condition, &object)),
    }

    let chosen = choose(request, &object)?;
    let mut reply = head(request, &object, &chosen);
    for (name, value) in overrides {
        respond::set(reply.headers_mut(), HeaderName::from_static(name), &value);
    }
    Ok(Decided::Bytes { object: Box::new(object), range: chosen.range, reply })
}

/// Status and headers of a response with these bytes.
fn head(request: &Request, object: &Object, chosen: &Chosen) -> Reply {
    let is_partial = chosen.is_partial && !chosen.range.is_empty();
    let mut reply = respond::empty(if is_partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
    let headers = reply.headers_mut();
    show(headers, object);
    if request.query("versionId").is_some_and(|id| !id.is_empty()) {
        let version = object.version.to_string();
        respond::set(headers, HeaderName::from_static("x-amz-version-id"), &version);
    }
    if let Some(parts) = chosen.parts_count {
        let name = HeaderName::from_static("x-amz-mp-parts-count");
        headers.insert(name, HeaderValue::from(parts));
    }
    let mode = request.header("x-amz-checksum-mode");
    let shows_checksum = mode.is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
    if let Some(checksum) = chosen.checksum.as_ref().filter(|_| shows_checksum) {
        show_checksum(headers, checksum);
    }
    let Range { start, end } = chosen.range;
    if is_partial {
        let range = format!("bytes {start}-{}/{}", end - 1, object.size_bytes);
        respond::set(headers, CONTENT_RANGE, &range);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(end - start));
    reply
}

/// Tells of a read whose answer is decided.
pub(crate) fn announce(
    gateway: &Gateway,
    request: &Request,
    bucket: Arc<Bucket>,
    kind: ChangeKind,
    object: Object,
    range: &Range<u64>,
) {
    let origin = || request.origin(gateway, Some(range.end - range.start));
    gateway.accesses.announce(gateway, bucket, kind, object, origin);
}

/// Which bytes a read asks for.
struct Chosen {
    range: Range<u64>,
    is_partial: bool,
    /// How many parts there are, when one was asked for.
    parts_count: Option<usize>,
    /// The checksum of exactly these bytes.
    checksum: Option<Checksum>,
}

fn choose(request: &Request, object: &Object) -> Result<Chosen, Failure> {
    let whole = 0..object.size_bytes;
    let header = request.header("range");
    if let Some(number) = part_number(request)? {
        if header.is_some() {
            let message = "Cannot specify both Range header and partNumber query parameter.";
            return Err(Failure::with(ErrorCode::InvalidRequest, message));
        }
        return choose_part(object, number);
    }
    let asked = match header {
        Some(header) if is_range_fresh(request, object) => s3::range::resolve(header, object.size_bytes)
            .map_err(|_| invalid_range(header, object.size_bytes))?,
        _ => None,
    };
    match asked {
        // A client checks the checksum it is told against the bytes it is sent.
        Some(bytes) => Ok(Chosen {
            range: *bytes.start()..bytes.end() + 1,
            is_partial: true,
            parts_count: None,
            checksum: None,
        }),
        None => Ok(Chosen {
            range: whole,
            is_partial: false,
            parts_count: None,
            checksum: object.checksum.clone(),
        }),
    }
}

fn choose_part(object: &Object, number: u32) -> Result<Chosen, Failure> {
    if object.parts.is_empty() {
        // An object in one piece is its own first part.
        if number != 1 {
            return Err(ErrorCode::InvalidPartNumber.into());
        }
        let checksum = object.checksum.clone();
        return Ok(Chosen { range: 0..object.size_bytes, is_partial: true, parts_count: None, checksum });
    }
    // Parts are counted, whatever number they were uploaded under.
    let index = number as usize - 1;
    let part = object.parts.get(index).ok_or(ErrorCode::InvalidPartNumber)?;
    let start: u64 = object.parts[..index].iter().map(|part| part.size_bytes).sum();
    let algorithm = object.checksum.as_ref().map(|checksum| checksum.algorithm);
    let checksum = algorithm.zip(part.checksum.clone()).map(|(algorithm, value)| Checksum {
        algorithm,
        value,
        is_full_object: object.checksum.as_ref().is_some_and(|checksum| checksum.is_full_object),
    });
    Ok(Chosen {
        range: start..start + part.size_bytes,
        is_partial: true,
        parts_count: Some(object.parts.len()),
        checksum,
    })
}

fn part_number(request: &Request) -> Result<Option<u32>, Failure> {
    match request.query("partNumber") {
        None => Ok(None),
        Some(_) => super::part_number(request).map(Some),
    }
}

/// Whether `If-Range`, when sent, names the object as it is. RFC 9110 §13.1.5.
fn is_range_fresh(request: &Request, object: &Object) -> bool {
    let current = Current { etag: &object.etag.0, modified_s: seconds(object.modified_ms) };
    request.header("if-range").is_none_or(|validator| if_range_holds(validator, current))
}

fn invalid_range(header: &str, size_bytes: u64) -> Failure {
    let refusal = Refusal::new(ErrorCode::InvalidRange)
        .element("ActualObjectSize", size_bytes.to_string())
        .element("RangeRequested", header);
    let failure = Failure::from(refusal);
    match HeaderValue::from_str(&format!("bytes */{size_bytes}")) {
        Ok(value) => failure.header(CONTENT_RANGE, value),
        Err(_) => failure,
    }
}

fn failed(condition: &'static str, object: &Object) -> Failure {
    let mut headers = http::HeaderMap::new();
    show_identity(&mut headers, object);
    let failure = Failure::from(precondition_failed(condition));
    headers.into_iter().fold(failure, |failure, (name, value)| match name {
        Some(name) => failure.header(name, value),
        None => failure,
    })
}

/// The headers of the response that the query replaces. Whoever has no credentials may not: a link could
/// then make this server say anything.
fn overrides(request: &Request) -> Result<Vec<(&'static str, String)>, Failure> {
    let asked = OVERRIDES
        .iter()
        .filter_map(|(parameter, header)| Some((*header, request.query(parameter)?.to_owned())));
    let asked: Vec<_> = asked.collect();
    if !asked.is_empty() && request.caller == tidings_iam::Caller::Anonymous {
        let message = "Request specific response headers cannot be used for anonymous GET requests.";
        return Err(Failure::with(ErrorCode::InvalidRequest, message));
    }
    Ok(asked)
}

/// Refuses encryption keys sent with a read: no object has one.
///
/// # Errors
///
/// `NotImplemented`.
pub(crate) fn check_supported(request: &Request) -> Result<(), Failure> {
    metadata::check_supported(request)
}
