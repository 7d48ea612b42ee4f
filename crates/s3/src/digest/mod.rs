//! The digests of one body, computed in one pass, and what the request promised of them.
//!
//! MD5 is always computed, since it becomes the entity tag; the SHA-256 that was signed and a
//! checksum only when the request asks for them. Nothing of a body may become visible before
//! [`Expected::verify`] has returned without an error.
//!
//! MD5 is three times as slow as the next of them. A document is hashed where it is read
//! ([`BodyDigest`]); an upload's MD5 is left to an [`Md5Pool`], which hashes many in lock step
//! ([`UploadDigest`]).

mod lanes;
mod message;
mod pool;
mod stream;
#[cfg(test)]
mod testing;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::checksum::{Checksum, ChecksumAlgorithm, Hasher};
use crate::error::{ErrorCode, Refusal};
use crate::headers::Headers;
use crate::sigv4::Payload;

pub use pool::Md5Pool;
pub use stream::Md5Stream;

/// What a request promises of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// From `Content-MD5`.
    pub md5: Option<[u8; 16]>,
    /// From `x-amz-content-sha256`.
    pub sha256: Option<[u8; 32]>,
    /// From an `x-amz-checksum-*` header or, once the body is read, from its trailer.
    pub checksum: Option<Checksum>,
}

impl Expected {
    /// Reads `Content-MD5` and the checksum header; the SHA-256 comes from the payload that was
    /// signed.
    ///
    /// # Errors
    ///
    /// `InvalidDigest` when `Content-MD5` is not base64 of 16 bytes; those of
    /// [`Checksum::from_headers`].
    pub fn from_headers(headers: &dyn Headers, payload: Payload) -> Result<Expected, Refusal> {
        let sha256 = match payload {
            Payload::Sha256(hash) => Some(hash),
            Payload::Unsigned | Payload::Chunked(_) => None,
        };
        Ok(Expected { md5: content_md5(headers)?, sha256, checksum: Checksum::from_headers(headers)? })
    }

    /// Whether the request promises anything that its own signature does not: what operations ask
    /// for that must not run on a damaged body.
    pub fn has_body_check(&self) -> bool {
        self.md5.is_some() || self.checksum.is_some()
    }

    /// Compares what was promised with what came.
    ///
    /// # Errors
    ///
    /// `XAmzContentSHA256Mismatch` for the hash that was signed, `BadDigest` for `Content-MD5` and
    /// for the checksum.
    ///
    /// # Panics
    ///
    /// When a promised digest was not computed: the caller's own mistake.
    pub fn verify(&self, digests: &Digests) -> Result<(), Refusal> {
        if let Some(expected) = self.sha256 {
            let computed = digests.sha256.expect("a promised SHA-256 is computed");
            if expected != computed {
                return Err(Refusal::new(ErrorCode::XAmzContentSHA256Mismatch)
                    .element("ClientComputedContentSHA256", hex::encode(expected))
                    .element("S3ComputedContentSHA256", hex::encode(computed)));
            }
        }
        if let Some(expected) = self.md5
            && expected != digests.md5
        {
            let message = "The Content-MD5 you specified did not match what we received.";
            return Err(Refusal::with(ErrorCode::BadDigest, message)
                .element("ExpectedDigest", BASE64.encode(expected))
                .element("CalculatedDigest", BASE64.encode(digests.md5)));
        }
        if let Some(expected) = self.checksum {
            let computed = digests.checksum.expect("a promised checksum is computed");
            if expected != computed {
                let message = format!(
                    "The {} you specified did not match what we received; specified {expected}, calculated {computed}.",
                    expected.algorithm()
                );
                return Err(Refusal::with(ErrorCode::BadDigest, message));
            }
        }
        Ok(())
    }
}

/// The MD5 of `Content-MD5`, when it is sent.
fn content_md5(headers: &dyn Headers) -> Result<Option<[u8; 16]>, Refusal> {
    let Some(value) = headers.first("content-md5") else {
        return Ok(None);
    };
    let md5 = BASE64.decode(value.trim_ascii()).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    md5.map(Some).ok_or_else(|| ErrorCode::InvalidDigest.into())
}

/// Computes the digests of one body where its bytes are added.
#[derive(Debug, Clone)]
pub struct BodyDigest {
    md5: Md5,
    others: Others,
}

/// Computes the digests of one upload: its MD5 on a pool, the others where its bytes are added.
#[derive(Debug)]
pub struct UploadDigest {
    md5: Md5Stream,
    others: Others,
}

/// All but MD5.
#[derive(Debug, Clone)]
struct Others {
    sha256: Option<Sha256>,
    checksum: Option<Hasher>,
    size_bytes: u64,
}

/// The digests of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// The MD5.
    pub md5: [u8; 16],
    /// The SHA-256, when it was asked for.
    pub sha256: Option<[u8; 32]>,
    /// The checksum, when one was asked for.
    pub checksum: Option<Checksum>,
    /// The length, in bytes.
    pub size_bytes: u64,
}

impl BodyDigest {
    /// Begins with no bytes: MD5 always, SHA-256 when `with_sha256`, and a checksum when one is named.
    pub fn new(with_sha256: bool, checksum: Option<ChecksumAlgorithm>) -> BodyDigest {
        BodyDigest { md5: Md5::new(), others: Others::new(with_sha256, checksum) }
    }

    /// What is needed to verify `expected`, plus the checksum `stored` when it promises none itself
    /// (one that a trailer will promise, or that the server computes to keep).
    pub fn for_expected(expected: &Expected, stored: Option<ChecksumAlgorithm>) -> BodyDigest {
        BodyDigest { md5: Md5::new(), others: Others::for_expected(expected, stored) }
    }

    /// Adds bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.others.update(bytes);
    }

    /// The digests of all bytes added.
    pub fn finish(self) -> Digests {
        self.others.finish(self.md5.finalize().into())
    }
}

impl UploadDigest {
    /// Begins with no bytes: MD5 always, and a checksum when one is named.
    pub fn new(pool: &Md5Pool, checksum: Option<ChecksumAlgorithm>) -> UploadDigest {
        UploadDigest { md5: pool.stream(), others: Others::new(false, checksum) }
    }

    /// As [`BodyDigest::for_expected`].
    pub fn for_expected(
        pool: &Md5Pool,
        expected: &Expected,
        stored: Option<ChecksumAlgorithm>,
    ) -> UploadDigest {
        UploadDigest { md5: pool.stream(), others: Others::for_expected(expected, stored) }
    }

    /// Adds bytes of the body; waits as [`Md5Stream::write`] does.
    pub async fn update(&mut self, bytes: Bytes) {
        self.others.update(&bytes);
        self.md5.write(bytes).await;
    }

    /// The digests of all bytes added.
    pub async fn finish(self) -> Digests {
        self.others.finish(self.md5.digest().await)
    }
}

impl Others {
    fn new(with_sha256: bool, checksum: Option<ChecksumAlgorithm>) -> Others {
        Others { sha256: with_sha256.then(Sha256::new), checksum: checksum.map(Hasher::new), size_bytes: 0 }
    }

    fn for_expected(expected: &Expected, stored: Option<ChecksumAlgorithm>) -> Others {
        let promised = expected.checksum.map(|checksum| checksum.algorithm());
        Others::new(expected.sha256.is_some(), promised.or(stored))
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
        self.size_bytes += bytes.len() as u64;
    }

    fn finish(self, md5: [u8; 16]) -> Digests {
        Digests {
            md5,
            sha256: self.sha256.map(|sha256| sha256.finalize().into()),
            checksum: self.checksum.map(Hasher::finish),
            size_bytes: self.size_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::testing::wait;
    use super::{BodyDigest, Expected, Md5Pool, UploadDigest};
    use crate::checksum::ChecksumAlgorithm;
    use crate::error::ErrorCode;
    use crate::sigv4::Payload;

    const SHA256: &str = "981263258597828ae5dc57ca83f41a1360dd2751dbd4f4454d8dfc949428d9c1";

    fn check(headers: &[(&str, &str)], sha256: Option<&str>, body: &[u8]) -> Result<(), ErrorCode> {
        let payload = sha256.map_or(Ok(Payload::Unsigned), Payload::parse).map_err(|refusal| refusal.code)?;
        let expected = Expected::from_headers(&headers.to_vec(), payload).map_err(|refusal| refusal.code)?;
        let mut digest = BodyDigest::for_expected(&expected, None);
        for piece in body.chunks(5) {
            digest.update(piece);
        }
        expected.verify(&digest.finish()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_body_that_keeps_every_promise_is_accepted() {
        let headers = [("Content-MD5", "Kc+SAVQwV2WzZEHVynDvRg=="), ("x-amz-checksum-crc32c", "HBaNew==")];

        assert_eq!(check(&headers, Some(SHA256), b"hello tidings"), Ok(()));
        assert_eq!(check(&[], None, b"hello tidings"), Ok(()));
    }

    #[test]
    fn each_broken_promise_has_its_code() {
        let body = b"hello tidingz";

        assert_eq!(check(&[], Some(SHA256), body), Err(ErrorCode::XAmzContentSHA256Mismatch));
        let md5 = [("content-md5", "Kc+SAVQwV2WzZEHVynDvRg==")];
        assert_eq!(check(&md5, None, body), Err(ErrorCode::BadDigest));
        let crc = [("x-amz-checksum-crc32", "vHVg6Q==")];
        assert_eq!(check(&crc, None, body), Err(ErrorCode::BadDigest));
    }

    #[test]
    fn a_content_md5_that_is_none_is_invalid() {
        for value in ["", "bad", "Kc+SAVQwV2WzZEHVynDvRg", "AAAAAA=="] {
            assert_eq!(check(&[("content-md5", value)], None, b""), Err(ErrorCode::InvalidDigest), "{value}");
        }
    }

    #[test]
    fn the_server_may_compute_a_checksum_nobody_promised() {
        let mut digest = BodyDigest::for_expected(&Expected::default(), Some(ChecksumAlgorithm::Crc32));
        digest.update(b"123456789");

        let digests = digest.finish();

        assert_eq!(digests.checksum.map(|checksum| checksum.to_string()), Some("y/Q5Jg==".to_owned()));
        assert_eq!((digests.sha256, digests.size_bytes), (None, 9));
    }

    #[test]
    fn an_upload_has_the_digests_that_its_bytes_have_in_one_piece() {
        let body: Bytes = (0..300_000u32).map(|at| (at >> 3) as u8).collect();
        let pool = Md5Pool::new(1);
        let payload = Payload::parse(SHA256).expect("a hash");
        let expected = Expected::from_headers(&vec![("host", "s3.tidings.test")], payload).expect("valid");
        let mut alone = BodyDigest::for_expected(&expected, Some(ChecksumAlgorithm::Crc64Nvme));
        let mut upload = UploadDigest::for_expected(&pool, &expected, Some(ChecksumAlgorithm::Crc64Nvme));

        alone.update(&body);
        for piece in body.chunks(7000) {
            wait(upload.update(body.slice_ref(piece)));
        }

        assert_eq!(wait(upload.finish()), alone.finish());
    }
}
