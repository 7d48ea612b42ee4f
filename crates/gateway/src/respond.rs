//! From a result to a response: bodies, the headers every response carries, and errors.
//!
//! Nothing here knows an operation. A response that streams says its length first, so that a body cut short
//! by an error is seen as cut.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, SERVER, VARY,
    X_CONTENT_TYPE_OPTIONS, X_XSS_PROTECTION,
};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};

use s3::ErrorBody;
use tidings_s3 as s3;

use crate::context::Request;
use crate::error::Failure;
use crate::{Gateway, ResponseBody};

/// A response under way.
pub(crate) type Reply = Response<ResponseBody>;

/// What every response says of its server.
const SERVER_NAME: HeaderValue = HeaderValue::from_static("tidings");

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const HOST_ID: HeaderName = HeaderName::from_static("x-amz-id-2");
const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

/// Room for the headers of a usual response, made once instead of growing to it.
const HEADERS_USUAL: usize = 16;

/// What every response of one server says alike.
pub(crate) struct Signature {
    /// `None` where the text cannot stand in a header.
    node_id: Option<HeaderValue>,
    /// `None` also when no region is configured.
    region: Option<HeaderValue>,
}

impl Signature {
    /// That of a server.
    pub(crate) fn new(node_id: &str, region: &str) -> Signature {
        let value = |text: &str| HeaderValue::from_str(text).ok().filter(|_| !text.is_empty());
        Signature { node_id: value(node_id), region: value(region) }
    }
}

/// An empty response.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(no_body());
    reply.headers_mut().reserve(HEADERS_USUAL);
    *reply.status_mut() = status;
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    }
    reply
}

/// An XML document with status 200.
pub(crate) fn xml(document: String) -> Reply {
    whole(StatusCode::OK, "application/xml", document.into())
}

/// A response whose body is there as a whole.
pub(crate) fn whole(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let length = body.len();
    let mut reply = Response::new(of_bytes(body));
    *reply.status_mut() = status;
    reply.headers_mut().reserve(HEADERS_USUAL);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    reply
}

/// The length a response announces; 0 when it announces none.
pub(crate) fn content_length(reply: &Reply) -> u64 {
    let length = reply.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// Sets a header from text; what cannot stand in a header is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// A body that is there as a whole.
pub(crate) fn of_bytes(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body of no bytes.
pub(crate) fn no_body() -> ResponseBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The answer to a request that failed: S3's XML document, for HEAD its two headers.
pub(crate) fn failure(gateway: &Gateway, request: &Request, failure: Failure) -> Reply {
    let Failure { refusal, headers } = failure;
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = if request.head.method == Method::HEAD {
        let mut reply = empty(status);
        set(reply.headers_mut(), HeaderName::from_static("x-minio-error-code"), refusal.code.row().name);
        let description = format!("{:?}", refusal.message);
        set(reply.headers_mut(), HeaderName::from_static("x-minio-error-desc"), &description);
        reply
    } else {
        let body = ErrorBody {
            refusal: &refusal,
            key: request.key_text(),
            bucket: request.bucket_text(),
            resource: &request.resource(),
            region: &gateway.setup.region,
            request_id: &request.id,
            host_id: &gateway.setup.node_id,
        };
        match request.is_admin() {
            true => whole(status, "application/json", body.to_json().into()),
            false => whole(status, "application/xml", body.to_xml().into()),
        }
    };
    if refusal.code == s3::ErrorCode::MethodNotAllowed && !headers.iter().any(|(name, _)| name == ALLOW) {
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT, POST, DELETE"));
    }
    reply.headers_mut().extend(headers);
    reply
}

/// Sets what every response carries, but the date: the listener sets it.
pub(crate) fn complete(gateway: &Gateway, request: &Request, reply: &mut Reply) {
    let Signature { node_id, region } = &gateway.signature;
    let headers = reply.headers_mut();
    set(headers, REQUEST_ID, &request.id);
    if let Some(node_id) = node_id {
        headers.insert(HOST_ID, node_id.clone());
    }
    headers.insert(SERVER, SERVER_NAME);
    headers.entry(ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
    headers.entry(VARY).or_insert(HeaderValue::from_static("Origin, Accept-Encoding"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_XSS_PROTECTION, HeaderValue::from_static("1; mode=block"));
    if let Some(region) = region
        && request.bucket_text().is_some()
    {
        headers.insert(BUCKET_REGION, region.clone());
    }
    if request.body.must_close() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
