//! One value: its bytes, its base64, where requests send it, and how those of parts are joined.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{ChecksumAlgorithm, Hasher};
use crate::error::{ErrorCode, Refusal};
use crate::headers::Headers;

/// Longest checksum, in bytes: SHA-256.
const CHECKSUM_BYTES_MAX: usize = 32;

/// Checksum headers of S3 that this server refuses rather than ignore.
const UNSUPPORTED_HEADERS: [&str; 5] = [
    "x-amz-checksum-sha512",
    "x-amz-checksum-md5",
    "x-amz-checksum-xxhash64",
    "x-amz-checksum-xxhash3",
    "x-amz-checksum-xxhash128",
];

/// A value of one algorithm. `Display` writes the base64 of headers and XML.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    /// The value, followed by zeroes.
    bytes: [u8; CHECKSUM_BYTES_MAX],
}

impl Checksum {
    /// A value from its bytes, big-endian; `None` when they are not as many as the algorithm has.
    pub fn from_bytes(algorithm: ChecksumAlgorithm, value: &[u8]) -> Option<Checksum> {
        if value.len() != algorithm.size_bytes() {
            return None;
        }
        let mut bytes = [0; CHECKSUM_BYTES_MAX];
        bytes[..value.len()].copy_from_slice(value);
        Some(Checksum { algorithm, bytes })
    }

    /// A value from its base64; `None` when it is not base64 of as many bytes as the algorithm has.
    pub fn parse(algorithm: ChecksumAlgorithm, base64: &str) -> Option<Checksum> {
        Checksum::from_bytes(algorithm, &BASE64.decode(base64).ok()?)
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// The value, big-endian.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.size_bytes()]
    }

    /// The checksum that a request sends in a header.
    ///
    /// In the query of a presigned URL a checksum is ignored: libraries put there that of an empty
    /// body, whatever will be uploaded.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` when two are sent, `BadDigest` when the value is malformed, `NotImplemented`
    /// for an algorithm this server does not have.
    pub fn from_headers(headers: &dyn Headers) -> Result<Option<Checksum>, Refusal> {
        for name in UNSUPPORTED_HEADERS {
            if headers.first(name).is_some() {
                let message = format!("The checksum header {name} is not supported.");
                return Err(Refusal::with(ErrorCode::NotImplemented, message));
            }
        }
        let mut sent = ChecksumAlgorithm::ALL
            .into_iter()
            .filter_map(|algorithm| Some((algorithm, headers.first(algorithm.header())?)));
        let Some((algorithm, value)) = sent.next() else {
            return Ok(None);
        };
        if sent.next().is_some() {
            let message =
                "Expecting a single x-amz-checksum- header. Multiple checksum types are not allowed.";
            return Err(Refusal::with(ErrorCode::InvalidRequest, message));
        }
        let checksum =
            std::str::from_utf8(value).ok().and_then(|value| Checksum::parse(algorithm, value.trim()));
        match checksum {
            Some(checksum) => Ok(Some(checksum)),
            None => {
                let message = format!("Value for {} header is invalid.", algorithm.header());
                Err(Refusal::with(ErrorCode::BadDigest, message))
            }
        }
    }

    /// The `COMPOSITE` checksum of an object from the checksums of its parts, in order; written by
    /// S3 with `-` and the number of parts ([`super::ObjectChecksum`]).
    ///
    /// # Panics
    ///
    /// When a part has another algorithm: the caller's own mistake.
    pub fn composite<'a>(
        algorithm: ChecksumAlgorithm,
        parts: impl IntoIterator<Item = &'a Checksum>,
    ) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        for part in parts {
            assert!(part.algorithm == algorithm, "the parts of an upload share one algorithm");
            hasher.update(part.as_bytes());
        }
        hasher.finish()
    }

    /// The `FULL_OBJECT` checksum of an object from the checksums and lengths (in bytes) of its
    /// parts, in order; `None` for an algorithm whose values cannot be combined (a hash).
    ///
    /// # Panics
    ///
    /// When a part has another algorithm: the caller's own mistake.
    pub fn full_object<'a>(
        algorithm: ChecksumAlgorithm,
        parts: impl IntoIterator<Item = (&'a Checksum, u64)>,
    ) -> Option<Checksum> {
        let crc = algorithm.crc()?;
        let mut whole = crc_fast::checksum(crc, b"");
        for (part, size_bytes) in parts {
            assert!(part.algorithm == algorithm, "the parts of an upload share one algorithm");
            // A part without bytes changes nothing, and combining needs a length.
            if size_bytes > 0 {
                whole = crc_fast::checksum_combine(crc, whole, part.to_u64(), size_bytes);
            }
        }
        Some(Checksum::from_u64(algorithm, whole))
    }

    pub(super) fn from_u64(algorithm: ChecksumAlgorithm, value: u64) -> Checksum {
        let big_endian = value.to_be_bytes();
        Checksum::from_bytes(algorithm, &big_endian[8 - algorithm.size_bytes()..])
            .expect("a CRC has the length of its algorithm")
    }

    fn to_u64(self) -> u64 {
        self.as_bytes().iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE64.encode(self.as_bytes()))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {self}", self.algorithm)
    }
}
