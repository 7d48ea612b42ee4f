//! Signed requests, built before they are needed.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use sha2::{Digest as _, Sha256};
use tidings_s3::digest::BodyDigest;
use tidings_s3::sigv4::{Request as Unsigned, RequestSigner, UNSIGNED_PAYLOAD};

use crate::Outcome;

/// Bodies from this size on are sent unsigned, as clients do over TLS, in bytes. Smaller ones carry their
/// SHA-256, as clients do without TLS.
pub(crate) const UNSIGNED_FROM_BYTES: usize = 1 << 20;

/// A body and what signs it.
#[derive(Clone)]
pub(crate) struct Body {
    bytes: Bytes,
    hash: String,
    content_md5: Option<String>,
}

impl Body {
    /// A body, its hash computed here.
    pub(crate) fn new(bytes: Bytes) -> Body {
        let is_unsigned = bytes.len() >= UNSIGNED_FROM_BYTES;
        let hash =
            if is_unsigned { UNSIGNED_PAYLOAD.to_owned() } else { hex::encode(Sha256::digest(&bytes)) };
        Body { bytes, hash, content_md5: None }
    }

    /// The same, sent with its MD5: S3 wants one of bulk deletes.
    pub(crate) fn with_md5(self) -> Body {
        let mut digest = BodyDigest::new(false, None);
        digest.update(&self.bytes);
        Body { content_md5: Some(BASE64.encode(digest.finish().md5)), ..self }
    }

    /// No body.
    pub(crate) fn none() -> Body {
        Body::new(Bytes::new())
    }

    /// Bytes that do not compress, always the same.
    pub(crate) fn noise(size_bytes: usize) -> Body {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(size_bytes + 8);
        while bytes.len() < size_bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(size_bytes);
        Body::new(bytes.into())
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Signs for one server.
#[derive(Clone)]
pub(crate) struct Signer {
    authority: String,
    access_key: String,
    secret_key: String,
    region: String,
}

impl Signer {
    /// A signer for `host:port` with the keys and region of the environment, else the root's default ones.
    pub(crate) fn new(authority: &str) -> Signer {
        let variable =
            |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
        Signer {
            authority: authority.to_owned(),
            access_key: variable("AWS_ACCESS_KEY_ID", "minioadmin"),
            secret_key: variable("AWS_SECRET_ACCESS_KEY", "minioadmin"),
            region: variable("AWS_REGION", "us-east-1"),
        }
    }

    /// A signed request; `target` is path and query, percent-encoded.
    ///
    /// # Errors
    ///
    /// A target that is not encoded.
    pub(crate) fn request(&self, method: Method, target: &str, body: &Body) -> Outcome<Request<Full<Bytes>>> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut fields = vec![("host", self.authority.as_str())];
        fields.extend(body.content_md5.as_ref().map(|md5| ("content-md5", md5.as_str())));
        let unsigned = Unsigned { method: method.as_str(), path, query, headers: &fields };
        let signer = RequestSigner {
            access_key: &self.access_key,
            secret_key: &self.secret_key,
            session_token: None,
            region: &self.region,
            service: "s3",
        };
        let signed = signer.sign(&unsigned, &body.hash, now_s()).map_err(|refusal| format!("{refusal:?}"))?;
        let mut builder = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            builder = builder.header(name, value);
        }
        for (name, value) in &signed.headers {
            builder = builder.header(*name, value);
        }
        Ok(builder.header("content-length", body.bytes.len()).body(Full::new(body.bytes.clone()))?)
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a client outside the server signs with the machine's clock")]
fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}
