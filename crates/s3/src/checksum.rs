//! The five checksums of S3's core: computing them, writing them, and joining those of parts.
//!
//! A checksum of a whole object made of parts comes in two kinds. `COMPOSITE` is the checksum of the
//! parts' checksums, written with `-` and the number of parts; `FULL_OBJECT` is that of all bytes,
//! which CRCs yield from those of the parts without reading a byte again.
//!
//! What is not here: the algorithms added to S3 in 2026 (SHA-512, MD5, XXHASH); a request that sends
//! one is refused.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

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

/// One of the algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32 as in zip and gzip.
    Crc32,
    /// CRC-32C (Castagnoli), as in iSCSI.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ChecksumAlgorithm {
    /// Every algorithm.
    pub const ALL: [ChecksumAlgorithm; 5] = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];

    /// The name in headers and XML: `CRC32`, `CRC32C`, `CRC64NVME`, `SHA1`, `SHA256`.
    pub const fn name(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "CRC32",
            ChecksumAlgorithm::Crc32c => "CRC32C",
            ChecksumAlgorithm::Crc64Nvme => "CRC64NVME",
            ChecksumAlgorithm::Sha1 => "SHA1",
            ChecksumAlgorithm::Sha256 => "SHA256",
        }
    }

    /// The header of its value, lower case.
    pub const fn header(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
            ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
            ChecksumAlgorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
            ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The XML element of its value.
    pub const fn element(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
            ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
            ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
            ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
            ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
        }
    }

    /// The length of its value, in bytes.
    pub const fn size_bytes(self) -> usize {
        match self {
            ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => 4,
            ChecksumAlgorithm::Crc64Nvme => 8,
            ChecksumAlgorithm::Sha1 => 20,
            ChecksumAlgorithm::Sha256 => 32,
        }
    }

    /// The kind a multipart upload has when it does not name one.
    pub const fn default_kind(self) -> ChecksumKind {
        match self {
            ChecksumAlgorithm::Crc64Nvme => ChecksumKind::FullObject,
            _ => ChecksumKind::Composite,
        }
    }

    /// Whether the checksum of a multipart object may be of this kind: CRC64NVME has no composite,
    /// hashes have no full-object form.
    pub const fn allows(self, kind: ChecksumKind) -> bool {
        match kind {
            ChecksumKind::Composite => !matches!(self, ChecksumAlgorithm::Crc64Nvme),
            ChecksumKind::FullObject => self.crc().is_some(),
        }
    }

    /// The algorithm of this name, in any case.
    pub fn from_name(name: &str) -> Option<ChecksumAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm whose value this header holds, in any case.
    pub fn from_header(name: &str) -> Option<ChecksumAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.header().eq_ignore_ascii_case(name))
    }

    const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            ChecksumAlgorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => None,
        }
    }
}

impl fmt::Display for ChecksumAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What the checksum of an object covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumKind {
    /// The checksums of the parts.
    Composite,
    /// All bytes of the object.
    FullObject,
}

impl ChecksumKind {
    /// The value of `x-amz-checksum-type`: `COMPOSITE` or `FULL_OBJECT`.
    pub const fn name(self) -> &'static str {
        match self {
            ChecksumKind::Composite => "COMPOSITE",
            ChecksumKind::FullObject => "FULL_OBJECT",
        }
    }

    /// The kind of this name, in any case.
    pub fn from_name(name: &str) -> Option<ChecksumKind> {
        [ChecksumKind::Composite, ChecksumKind::FullObject]
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

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
        let checksum = std::str::from_utf8(value)
            .ok()
            .and_then(|value| Checksum::parse(algorithm, value.trim()));
        match checksum {
            Some(checksum) => Ok(Some(checksum)),
            None => {
                let message = format!("Value for {} header is invalid.", algorithm.header());
                Err(Refusal::with(ErrorCode::BadDigest, message))
            }
        }
    }

    /// The `COMPOSITE` checksum of an object from the checksums of its parts, in order; written by
    /// S3 with `-` and the number of parts ([`ObjectChecksum`]).
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
            assert!(
                part.algorithm == algorithm,
                "the parts of an upload share one algorithm"
            );
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
            assert!(
                part.algorithm == algorithm,
                "the parts of an upload share one algorithm"
            );
            // A part without bytes changes nothing, and combining needs a length.
            if size_bytes > 0 {
                whole = crc_fast::checksum_combine(crc, whole, part.to_u64(), size_bytes);
            }
        }
        Some(Checksum::from_u64(algorithm, whole))
    }

    fn from_u64(algorithm: ChecksumAlgorithm, value: u64) -> Checksum {
        let big_endian = value.to_be_bytes();
        Checksum::from_bytes(algorithm, &big_endian[8 - algorithm.size_bytes()..])
            .expect("a CRC has the length of its algorithm")
    }

    fn to_u64(self) -> u64 {
        self.as_bytes()
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
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

/// The checksum of a stored object, as GET, HEAD and the listings tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectChecksum {
    /// The value.
    pub checksum: Checksum,
    /// The number of parts when it is composite; `None` when it covers all bytes.
    pub composite_parts: Option<u32>,
}

impl ObjectChecksum {
    /// What the value covers.
    pub const fn kind(&self) -> ChecksumKind {
        match self.composite_parts {
            Some(_) => ChecksumKind::Composite,
            None => ChecksumKind::FullObject,
        }
    }

    /// Reads what `Display` writes: base64, for a composite value with `-` and the number of parts.
    pub fn parse(algorithm: ChecksumAlgorithm, text: &str) -> Option<ObjectChecksum> {
        // The standard alphabet of base64 has no dash.
        let (value, composite_parts) = match text.split_once('-') {
            Some((value, parts)) => (value, Some(parts.parse().ok()?)),
            None => (text, None),
        };
        Some(ObjectChecksum {
            checksum: Checksum::parse(algorithm, value)?,
            composite_parts,
        })
    }
}

impl fmt::Display for ObjectChecksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.composite_parts {
            Some(parts) => write!(formatter, "{}-{parts}", self.checksum),
            None => write!(formatter, "{}", self.checksum),
        }
    }
}

/// Computes a checksum piece by piece.
#[derive(Debug, Clone)]
pub struct Hasher {
    algorithm: ChecksumAlgorithm,
    state: HasherState,
}

#[derive(Debug, Clone)]
enum HasherState {
    Crc(Box<crc_fast::Digest>),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    /// Begins with no bytes.
    pub fn new(algorithm: ChecksumAlgorithm) -> Hasher {
        let state = match algorithm.crc() {
            Some(crc) => HasherState::Crc(Box::new(crc_fast::Digest::new(crc))),
            None if algorithm == ChecksumAlgorithm::Sha1 => HasherState::Sha1(Sha1::new()),
            None => HasherState::Sha256(Sha256::new()),
        };
        Hasher { algorithm, state }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            HasherState::Crc(digest) => digest.update(bytes),
            HasherState::Sha1(digest) => digest.update(bytes),
            HasherState::Sha256(digest) => digest.update(bytes),
        }
    }

    /// The checksum of all bytes added.
    pub fn finish(self) -> Checksum {
        let algorithm = self.algorithm;
        let checksum = match self.state {
            HasherState::Crc(digest) => return Checksum::from_u64(algorithm, digest.finalize()),
            HasherState::Sha1(digest) => Checksum::from_bytes(algorithm, &digest.finalize()),
            HasherState::Sha256(digest) => Checksum::from_bytes(algorithm, &digest.finalize()),
        };
        checksum.expect("a digest has the length of its algorithm")
    }
}

/// The algorithm a request announces by name in `header` (`x-amz-sdk-checksum-algorithm`,
/// `x-amz-checksum-algorithm`).
///
/// # Errors
///
/// `InvalidRequest` for a name this server does not know.
pub fn announced_algorithm(
    headers: &dyn Headers,
    header: &str,
) -> Result<Option<ChecksumAlgorithm>, Refusal> {
    let Some(name) = headers.text(header) else {
        return Ok(None);
    };
    match ChecksumAlgorithm::from_name(name) {
        Some(algorithm) => Ok(Some(algorithm)),
        None => Err(Refusal::with(
            ErrorCode::InvalidRequest,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
             [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{Checksum, ChecksumAlgorithm, ChecksumKind, Hasher, ObjectChecksum};
    use crate::error::ErrorCode;

    const CRCS: [ChecksumAlgorithm; 3] = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme,
    ];

    fn of(algorithm: ChecksumAlgorithm, data: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    fn all(data: &[u8]) -> [String; 5] {
        ChecksumAlgorithm::ALL.map(|algorithm| of(algorithm, data).to_string())
    }

    fn part() -> Vec<u8> {
        vec![b'A'; 5 * 1024 * 1024]
    }

    #[test]
    fn each_algorithm_agrees_with_the_published_values() {
        assert_eq!(
            all(b""),
            [
                "AAAAAA==",
                "AAAAAA==",
                "AAAAAAAAAAA=",
                "2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
                "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
            ]
        );
        assert_eq!(
            all(b"123456789"),
            [
                "y/Q5Jg==",
                "4waSgw==",
                "rosUhgp5mIg=",
                "98O8HYCOBHMq32eZZczDTKeuNEE=",
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="
            ]
        );
        assert_eq!(
            all(&part()),
            [
                "JRTCyQ==",
                "MDaLrw==",
                "L/E4WYn8v98=",
                "iIaTCGbm+vdVjNqIMF2S0T7ibMk=",
                "275VF5loJr1YYawit0XSHREhkFXYkkPKGuoK0x9VKxI="
            ]
        );
    }

    #[test]
    fn two_parts_combine_to_the_checksum_of_the_whole() {
        let combined = CRCS.map(|algorithm| {
            let parts = [of(algorithm, &part()), of(algorithm, b"hello tidings")];
            Checksum::full_object(algorithm, [(&parts[0], 5 * 1024 * 1024), (&parts[1], 13)])
                .unwrap()
                .to_string()
        });

        assert_eq!(combined, ["LcPn7w==", "D+5KRQ==", "jWjj9wCNt4Q="]);
        assert_eq!(Checksum::full_object(ChecksumAlgorithm::Sha1, []), None);
    }

    #[test]
    fn two_parts_compose_to_the_checksum_of_their_checksums() {
        let composed = |algorithm| {
            let parts = [of(algorithm, &part()), of(algorithm, b"hello tidings")];
            let checksum = Checksum::composite(algorithm, &parts);
            ObjectChecksum {
                checksum,
                composite_parts: Some(2),
            }
            .to_string()
        };

        assert_eq!(composed(ChecksumAlgorithm::Crc32), "RrVUcQ==-2");
        assert_eq!(composed(ChecksumAlgorithm::Crc32c), "l+5tWQ==-2");
        assert_eq!(
            composed(ChecksumAlgorithm::Sha1),
            "AsxVjeTYlpAcEkzglyAmlGi+aQ0=-2"
        );
        assert_eq!(
            composed(ChecksumAlgorithm::Sha256),
            "40wJvkgOPeigOBMKbAquj0suc3FcNNAopV8vD2Gub14=-2"
        );
    }

    #[test]
    fn an_object_checksum_is_read_back_with_its_parts() {
        for text in ["RrVUcQ==-2", "LcPn7w=="] {
            let checksum = ObjectChecksum::parse(ChecksumAlgorithm::Crc32, text).unwrap();
            assert_eq!(checksum.to_string(), text);
        }
        assert_eq!(
            ObjectChecksum::parse(ChecksumAlgorithm::Crc32, "RrVUcQ==-x"),
            None
        );
    }

    #[test]
    fn the_kinds_an_algorithm_allows_are_those_of_s3() {
        assert!(!ChecksumAlgorithm::Crc64Nvme.allows(ChecksumKind::Composite));
        assert!(!ChecksumAlgorithm::Sha256.allows(ChecksumKind::FullObject));
        assert!(
            ChecksumAlgorithm::ALL
                .iter()
                .all(|algorithm| algorithm.allows(algorithm.default_kind()))
        );
    }

    fn sent(headers: &[(&str, &str)]) -> Result<Option<String>, ErrorCode> {
        let headers = headers.to_vec();
        let checksum = Checksum::from_headers(&headers).map_err(|refusal| refusal.code)?;
        Ok(checksum.map(|checksum| checksum.to_string()))
    }

    #[test]
    fn a_request_sends_one_well_formed_checksum_or_none() {
        assert_eq!(
            sent(&[
                ("x-amz-checksum-mode", "ENABLED"),
                ("x-amz-checksum-algorithm", "CRC32")
            ]),
            Ok(None)
        );
        assert_eq!(
            sent(&[("x-amz-checksum-crc32", " y/Q5Jg== ")]),
            Ok(Some("y/Q5Jg==".to_owned()))
        );
        assert_eq!(
            sent(&[("x-amz-checksum-crc32", "bad")]),
            Err(ErrorCode::BadDigest)
        );
        assert_eq!(
            sent(&[("x-amz-checksum-sha1", "y/Q5Jg==")]),
            Err(ErrorCode::BadDigest)
        );
        assert_eq!(
            sent(&[("x-amz-checksum-sha512", "x")]),
            Err(ErrorCode::NotImplemented)
        );
        let two = [
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ("x-amz-checksum-crc32c", "4waSgw=="),
        ];
        assert_eq!(sent(&two), Err(ErrorCode::InvalidRequest));
    }

    proptest! {
        /// Wherever data is cut into parts, their CRCs combine to that of the data.
        #[test]
        fn combining_crcs_is_the_crc_of_the_concatenation(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        ) {
            for algorithm in CRCS {
                let checksums: Vec<_> = parts.iter().map(|part| (of(algorithm, part), part.len() as u64)).collect();
                let combined = Checksum::full_object(algorithm, checksums.iter().map(|(part, size)| (part, *size)));
                prop_assert_eq!(combined, Some(of(algorithm, &parts.concat())));
            }
        }
    }
}
