//! The five checksums of S3's core: computing them, writing them, and joining those of parts.
//!
//! A checksum of a whole object made of parts comes in two kinds. `COMPOSITE` is the checksum of the
//! parts' checksums, written with `-` and the number of parts; `FULL_OBJECT` is that of all bytes,
//! which CRCs yield from those of the parts without reading a byte again.
//!
//! What is not here: the algorithms added to S3 in 2026 (SHA-512, MD5, XXHASH); a request that sends
//! one is refused.

mod hasher;
mod object;
mod value;

use std::fmt;

use crc_fast::CrcAlgorithm;

use crate::error::{ErrorCode, Refusal};
use crate::headers::Headers;

pub use hasher::Hasher;
pub use object::ObjectChecksum;
pub use value::Checksum;

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
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm whose value this header holds, in any case.
    pub fn from_header(name: &str) -> Option<ChecksumAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(name))
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
mod tests;
