//! Signature version 4: by header, by presigned URL, and over chunks of a body.
//!
//! Verifying goes in three steps, because the secret lies elsewhere: [`Signed::from_header`] or
//! [`Signed::from_query`] reads the request and checks what needs no secret (date, skew, expiry,
//! region, which headers are signed); the caller looks up `credential.access_key`; and
//! [`Signed::verify`] compares the signature under the [`SigningKey`] of that secret.
//!
//! # Invariants
//!
//! 1. Paths are never normalised: `//`, `/./` and `/../` are ordinary bytes of a key.
//! 2. Every `x-amz-*` header a request carries is signed, or the request is refused.
//! 3. Signatures are compared in constant time.
//!
//! What is not here: version 2, browser forms, and whether a body really has the hash that was
//! signed (`digest`).

mod canonical;
mod chunked;
mod header;
mod payload;
mod query;
mod sign;

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::error::{ErrorCode, Refusal};
use crate::headers::Headers;
use crate::time;

pub use canonical::{QueryOrder, canonical_path, canonical_query};
pub use chunked::{
    CHUNK_HEADER_BYTES_MAX, ChunkChain, ChunkDecoder, ChunkEncoder, ChunkFraming, TRAILER_BYTES_MAX,
    announced_trailer,
};
pub use payload::{ChunkMode, EMPTY_SHA256, Payload, UNSIGNED_PAYLOAD};
pub use sign::{RequestSigner, SignedHeaders};

/// The name of the algorithm, as it stands in headers and strings to sign.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Largest distance between the client's clock and ours, in seconds, either way: 15 minutes.
pub const SKEW_SECONDS_MAX: i64 = 15 * 60;

/// Longest life of a presigned URL, in seconds: seven days.
pub const PRESIGNED_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;

/// The parts of a request that a signature covers, as they came over the wire.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The path, still percent-encoded, without the query.
    pub path: &'a str,
    /// What follows the `?`, still percent-encoded; empty when there is none.
    pub query: &'a str,
    /// All header fields, `host` among them.
    pub headers: &'a dyn Headers,
}

/// What a signature must agree with besides the secret.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Our clock, in seconds since 1970.
    pub now_s: i64,
    /// The region a credential must name; empty accepts any.
    pub region: &'a str,
    /// The service a credential must name: `s3`.
    pub service: &'a str,
}

/// Whose key signed, for which day, region and service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The access key; it may itself contain slashes.
    pub access_key: String,
    /// The day, `yyyymmdd`.
    pub date: String,
    /// The region.
    pub region: String,
    /// The service: `s3`, for tokens `sts`.
    pub service: String,
}

impl Credential {
    /// Reads `access-key/yyyymmdd/region/service/aws4_request`, from the right, since an access key
    /// may contain slashes. `None` when it has another form.
    pub fn parse(text: &str) -> Option<Credential> {
        let mut parts = text.rsplitn(5, '/');
        let (terminator, service, region, date, access_key) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let date_is_a_day = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
        if terminator != "aws4_request" || access_key.is_empty() || !date_is_a_day {
            return None;
        }
        Some(Credential {
            access_key: access_key.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }

    /// Day, region and service as they stand in the string to sign.
    pub fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }

    fn check(&self, rules: &Rules<'_>, amz_date: &str) -> Result<(), Refusal> {
        if self.service != rules.service {
            return Err(Refusal::with(
                ErrorCode::AuthorizationParametersError,
                format!(
                    "Error parsing the Credential/X-Amz-Credential parameter; incorrect service {:?}. \
                     This endpoint belongs to {:?}.",
                    self.service, rules.service
                ),
            ));
        }
        if !rules.region.is_empty() && self.region != rules.region {
            let message = format!(
                "The authorization header is malformed; the region is wrong; expecting '{}'.",
                rules.region
            );
            return Err(Refusal::with(ErrorCode::AuthorizationHeaderMalformed, message)
                .element("Region", rules.region));
        }
        if !amz_date.starts_with(&self.date) {
            return Err(Refusal::new(ErrorCode::SignatureDoesNotMatch));
        }
        Ok(())
    }
}

/// The key derived from a secret for one day, region and service.
///
/// Deriving takes four HMACs and depends on nothing of the request, so a server keeps it beside the
/// secret for the day. It cannot be turned back into the secret, but it signs for a day: `Debug`
/// does not print it.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Derives the key of `secret` for a day (`yyyymmdd`), a region and a service.
    pub fn derive(secret: &str, date: &str, region: &str, service: &str) -> SigningKey {
        let mut key = hmac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
        for word in [region, service, "aws4_request"] {
            key = hmac(&key, word.as_bytes());
        }
        SigningKey(keyed(&key))
    }

    /// Derives the key of `secret` for the scope of a credential.
    pub fn of(secret: &str, credential: &Credential) -> SigningKey {
        SigningKey::derive(secret, &credential.date, &credential.region, &credential.service)
    }

    /// Signs a string.
    pub fn sign(&self, string_to_sign: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(string_to_sign).finalize().into_bytes().into()
    }

    /// Whether `signature` is the signature of a string; takes the same time whatever it is.
    pub fn verify(&self, string_to_sign: &[u8], signature: &[u8; 32]) -> bool {
        self.0.clone().chain_update(string_to_sign).verify_slice(signature).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey([redacted])")
    }
}

/// A request that carries a signature of version 4, read and not yet verified.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Whose key signed.
    pub credential: Credential,
    /// When the client says it signed, in seconds since 1970.
    pub signed_at_s: i64,
    /// How long a presigned URL lives, in seconds; `None` for a signature in the header.
    pub expires_s: Option<u32>,
    /// The session token, when the credentials are temporary; it is covered by the signature.
    pub session_token: Option<String>,
    /// What the signature says of the body.
    pub payload: Payload,
    amz_date: String,
    signed_headers: Vec<String>,
    signature: [u8; 32],
    payload_hash: String,
}

impl Signed {
    /// Compares the signature with that of `request` under `key`, in constant time.
    ///
    /// `request` must be the one this was read from. Clients differ in two details, so up to four
    /// forms are tried: the path encoded by S3's rules or exactly as sent (some sign a raw `+`), and
    /// repeated query names sorted by value or in the order sent (MinIO's libraries).
    ///
    /// # Errors
    ///
    /// `SignatureDoesNotMatch` with the string to sign and the canonical request of the caller's own
    /// request, which help to find the difference and hold no secret; `AccessDenied` when a signed
    /// header was not sent; `InvalidURI` when path or query are not decodable.
    pub fn verify(&self, request: &Request<'_>, key: &SigningKey) -> Result<(), Refusal> {
        let headers = canonical::canonical_headers(request.headers, &self.signed_headers)?;
        let path = canonical_path(request.path)?;
        let query = canonical_query(request.query, QueryOrder::ByNameAndValue)?;
        let canonical_of = |path: &str, query: &str| {
            let signed = &self.signed_headers;
            canonical::join(request.method, path, query, &headers, signed, &self.payload_hash)
        };
        let string_of =
            |canonical: &[u8]| string_to_sign(&self.amz_date, &self.credential, canonical).into_bytes();

        let canonical = canonical_of(&path, &query);
        let string_to_sign = string_of(&canonical);
        if key.verify(&string_to_sign, &self.signature) {
            return Ok(());
        }
        let query_as_sent = canonical_query(request.query, QueryOrder::ByName)?;
        for (other_path, other_query) in
            [(&*path, &*query_as_sent), (request.path, &*query), (request.path, &*query_as_sent)]
        {
            let is_new = other_path != path || other_query != query;
            if is_new && key.verify(&string_of(&canonical_of(other_path, other_query)), &self.signature) {
                return Ok(());
            }
        }
        Err(Refusal::new(ErrorCode::SignatureDoesNotMatch)
            .element("AWSAccessKeyId", self.credential.access_key.as_str())
            .element("StringToSign", String::from_utf8_lossy(&string_to_sign).into_owned())
            .element("SignatureProvided", hex::encode(self.signature))
            .element("CanonicalRequest", String::from_utf8_lossy(&canonical).into_owned()))
    }

    /// The chain that signs the chunks of this request's body, begun with its own signature.
    pub fn chunk_chain(&self, key: &SigningKey) -> ChunkChain {
        ChunkChain::new(key.clone(), &self.amz_date, &self.credential.scope(), self.signature)
    }
}

fn string_to_sign(amz_date: &str, credential: &Credential, canonical_request: &[u8]) -> String {
    let mut digits = [0; 64];
    hex::encode_to_slice(Sha256::digest(canonical_request), &mut digits).expect("32 bytes have 64 digits");
    let digits = std::str::from_utf8(&digits).expect("digits are ASCII");
    let Credential { date, region, service, .. } = credential;
    [ALGORITHM, "\n", amz_date, "\n", date, "/", region, "/", service, "/aws4_request\n", digits].concat()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("an HMAC takes a key of any length")
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    keyed(key).chain_update(data).finalize().into_bytes().into()
}

fn parse_signature(text: &str) -> Option<[u8; 32]> {
    let mut signature = [0; 32];
    hex::decode_to_slice(text, &mut signature).ok()?;
    Some(signature)
}

/// Refuses a request signed too far from our clock.
fn check_skew(signed_at_s: i64, now_s: i64) -> Result<(), Refusal> {
    if (now_s - signed_at_s).abs() <= SKEW_SECONDS_MAX {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::RequestTimeTooSkewed)
        .element("RequestTime", time::amz_date(signed_at_s))
        .element("ServerTime", time::iso8601_ms(now_s.saturating_mul(1000)))
        .element("MaxAllowedSkewMilliseconds", (SKEW_SECONDS_MAX * 1000).to_string()))
}

/// Refuses a request with a header that changes its meaning and that its signature does not cover.
///
/// `x-amz-content-sha256` needs no cover of its own: its value is the last line of what is signed.
fn check_all_signed(headers: &dyn Headers, signed: &[String]) -> Result<(), Refusal> {
    if !signed.iter().any(|name| name == "host") {
        return Err(not_signed("host"));
    }
    let mut unsigned: Vec<String> = Vec::new();
    headers.for_each(&mut |name, _| {
        let is_amz = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
        if !is_amz || name.eq_ignore_ascii_case("x-amz-content-sha256") {
            return;
        }
        let is_among = |names: &[String]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if !is_among(signed) && !is_among(&unsigned) {
            unsigned.push(name.to_ascii_lowercase());
        }
    });
    if unsigned.is_empty() { Ok(()) } else { Err(not_signed(&unsigned.join(", "))) }
}

fn not_signed(names: &str) -> Refusal {
    Refusal::with(ErrorCode::AccessDenied, "There were headers present in the request which were not signed.")
        .element("HeadersNotSigned", names)
}

#[cfg(test)]
mod tests;
