//! The checksum of a stored object: a value, and whether it covers the bytes or the parts.

use std::fmt;

use super::{Checksum, ChecksumAlgorithm, ChecksumKind};

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
        Some(ObjectChecksum { checksum: Checksum::parse(algorithm, value)?, composite_parts })
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
