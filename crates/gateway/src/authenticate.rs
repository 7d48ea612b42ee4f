//! Who asks: from the headers and the query of a request to its caller.
//!
//! Signature version 4 is verified, by header and as a presigned URL. A request without credentials is
//! anonymous. Everything else is refused: version 2, bearer tokens, browser forms.
//!
//! # Invariants
//!
//! 1. Nothing of a body was read when this is done; how it is framed and what it must hash to is fixed.
//! 2. A signature is compared before anything the request says is believed.

use std::sync::Arc;

use http::header::HeaderName;

use iam::Caller;
use s3::scheme::AuthScheme;
use s3::sigv4::{self, Payload, Rules, Signed, SigningKey};
use s3::{ErrorCode, Headers as _, Refusal};
use tidings_iam as iam;
use tidings_s3 as s3;

use crate::Gateway;
use crate::context::{Fields, Request};
use crate::error::Failure;

/// The service that signatures of this server name.
const SERVICE: &str = "s3";

/// Finds out who asks, and fixes how the body is framed. `region` is what a signature must name; empty for
/// any.
///
/// # Errors
///
/// In the order clients observe: date, skew and form of the credentials, `InvalidAccessKeyId`,
/// `InvalidTokenId`, `SignatureDoesNotMatch`.
pub(crate) fn authenticate(
    gateway: &Gateway,
    request: &mut Request,
    region: &str,
) -> Result<Caller, Failure> {
    let rules = Rules { now_s: gateway.now_s(), region, service: SERVICE };
    let fields = Fields(&request.head.headers);
    let wire = sigv4::Request {
        method: request.head.method.as_str(),
        path: request.head.uri.path(),
        query: request.head.uri.query().unwrap_or_default(),
        headers: &fields,
    };
    let signed = match AuthScheme::detect(&wire)? {
        AuthScheme::SigV4Header => Signed::from_header(&wire, &rules)?,
        AuthScheme::SigV4Presigned => Signed::from_query(&wire, &rules)?,
        AuthScheme::Anonymous => {
            let payload =
                fields.text("x-amz-content-sha256").map_or(Ok(Payload::Unsigned), Payload::parse)?;
            request.body.frame(&request.head.headers, payload, None)?;
            return Ok(Caller::Anonymous);
        }
        AuthScheme::SigV2Header | AuthScheme::SigV2Presigned => {
            let message = "Signature version 2 is not supported. Please use AWS4-HMAC-SHA256.";
            return Err(Refusal::with(ErrorCode::InvalidRequest, message).into());
        }
        AuthScheme::Bearer => return Err(ErrorCode::AccessDenied.into()),
        AuthScheme::PostForm => return Err(Failure::not_implemented("Browser forms are not implemented.")),
    };
    let access_key = &signed.credential.access_key;
    let identity = gateway.setup.directory.find(access_key).ok_or(ErrorCode::InvalidAccessKeyId)?;
    let key = SigningKey::of(identity.secret.reveal(), &signed.credential);
    signed.verify(&wire, &key)?;
    if signed.session_token.is_some() {
        // The only identities there are have permanent keys, which no token belongs to.
        return Err(ErrorCode::InvalidTokenId.into());
    }
    let chain = signed.chunk_chain(&key);
    request.body.frame(&request.head.headers, signed.payload, Some(chain))?;
    // Presigned metadata stands in the query and counts like a header: it is signed there.
    if signed.expires_s.is_some() {
        adopt_query_headers(request);
    }
    Ok(Caller::Identity(Arc::clone(identity)))
}

/// Takes `x-amz-meta-*` of a presigned query for headers.
fn adopt_query_headers(request: &mut Request) {
    for (name, value) in &request.query {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("x-amz-meta-") || request.head.headers.contains_key(&name) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value.parse()) {
            request.head.headers.insert(name, value);
        }
    }
}
