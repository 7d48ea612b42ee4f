//! Who asks: from the headers and the query of a request to its caller.
//!
//! Signatures of version 4 and 2 are verified, by header and as presigned URLs: boto3 and the AWS command line
//! presign with version 2 unless told otherwise. A request without credentials is anonymous. Everything else
//! is refused: bearer tokens, browser forms.
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
use s3::{ErrorCode, Headers as _, sigv2};
use tidings_iam as iam;
use tidings_s3 as s3;

use crate::Gateway;
use crate::context::{Fields, Request};
use crate::error::Failure;

/// The service that signatures of this server name, but for calls of SNS.
pub(crate) const SERVICE: &str = "s3";

/// What a presigned query says of its signature and of the framing of the body.
const QUERY_ONLY: [&str; 11] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expires",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
    "x-amz-trailer",
];

/// Finds out who asks, and fixes how the body is framed. `service` and `region` are what a signature must
/// name; an empty region is any.
///
/// # Errors
///
/// In the order clients observe: date, skew and form of the credentials, `InvalidAccessKeyId`,
/// `InvalidTokenId`, `SignatureDoesNotMatch`.
pub(crate) fn authenticate(
    gateway: &Gateway,
    request: &mut Request,
    service: &str,
    region: &str,
) -> Result<Caller, Failure> {
    let rules = Rules { now_s: gateway.now_s(), region, service };
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
        AuthScheme::SigV2Header => {
            let signed = sigv2::Signed::from_header(&wire, rules.now_s)?;
            return authenticate_v2(gateway, request, &signed);
        }
        AuthScheme::SigV2Presigned => {
            let signed = sigv2::Signed::from_query(&wire, rules.now_s)?;
            return authenticate_v2(gateway, request, &signed);
        }
        AuthScheme::Bearer => return Err(ErrorCode::AccessDenied.into()),
        AuthScheme::PostForm => return Err(Failure::not_implemented("Browser forms are not implemented.")),
    };
    let access_key = &signed.credential.access_key;
    let identity = gateway.setup.directory.find(access_key).ok_or(ErrorCode::InvalidAccessKeyId)?;
    let kept = gateway.signing_keys.find(identity, &signed.credential);
    let is_kept = kept.is_some();
    let key = kept.unwrap_or_else(|| SigningKey::of(identity.secret.reveal(), &signed.credential));
    signed.verify(&wire, &key)?;
    if !is_kept {
        gateway.signing_keys.keep(identity, &signed.credential, &key);
    }
    if signed.session_token.is_some() {
        // The only identities there are have permanent keys, which no token belongs to.
        return Err(ErrorCode::InvalidTokenId.into());
    }
    let is_chunked = matches!(signed.payload, Payload::Chunked(_));
    let chain = is_chunked.then(|| signed.chunk_chain(&key));
    request.body.frame(&request.head.headers, signed.payload, chain)?;
    if signed.expires_s.is_some() {
        adopt_query_headers(request)?;
    }
    Ok(Caller::Identity(Arc::clone(identity)))
}

/// As [`authenticate`], for a signature of version 2: it covers no body and knows no region.
fn authenticate_v2(
    gateway: &Gateway,
    request: &mut Request,
    signed: &sigv2::Signed,
) -> Result<Caller, Failure> {
    let fields = Fields(&request.head.headers);
    let wire = sigv4::Request {
        method: request.head.method.as_str(),
        path: request.head.uri.path(),
        query: request.head.uri.query().unwrap_or_default(),
        headers: &fields,
    };
    let identity = gateway.setup.directory.find(&signed.access_key).ok_or(ErrorCode::InvalidAccessKeyId)?;
    let host = fields.text("host").unwrap_or_default();
    let bucket = s3::address::bucket_of_host(host, &gateway.setup.domains);
    signed.verify(&wire, bucket.as_deref(), identity.secret.reveal())?;
    let has_token = fields.text("x-amz-security-token").is_some()
        || request.query.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-amz-security-token"));
    if has_token {
        return Err(ErrorCode::InvalidTokenId.into());
    }
    let payload = fields.text("x-amz-content-sha256").map_or(Ok(Payload::Unsigned), Payload::parse)?;
    request.body.frame(&request.head.headers, payload, None)?;
    Ok(Caller::Identity(Arc::clone(identity)))
}

/// Takes what a presigned query asks for in `x-amz-*` for headers: signers move headers there, and it is signed
/// there. Left where it is what belongs to the signature or to the bytes of the body: a signer that had no body
/// puts the checksum of nothing into the URL.
///
/// # Errors
///
/// `NotImplemented` for a copy: which operation a request means is decided before its query is believed.
fn adopt_query_headers(request: &mut Request) -> Result<(), Failure> {
    for (name, value) in &request.query {
        let name = name.to_ascii_lowercase();
        if name == "x-amz-copy-source" {
            let message = "A presigned copy must send x-amz-copy-source as a header.";
            return Err(Failure::not_implemented(message));
        }
        let is_kept = QUERY_ONLY.contains(&name.as_str()) || name.starts_with("x-amz-checksum-");
        if !name.starts_with("x-amz-") || is_kept || request.head.headers.contains_key(&name) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value.parse()) {
            request.head.headers.insert(name, value);
        }
    }
    Ok(())
}
