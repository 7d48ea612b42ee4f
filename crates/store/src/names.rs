//! Names of things: buckets, keys, versions, uploads.
//!
//! The types promise only what the store needs. Whether S3 allows a name is checked by the gateway with
//! `s3::address` before one is made.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A bucket's name. Never empty, never holds a NUL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BucketName(Arc<str>);

/// An object's key: 1 to 1024 bytes of UTF-8 without NUL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey(Arc<str>);

/// Longest object key in bytes. S3 user guide, "Object key naming".
pub const KEY_BYTES_MAX: usize = 1024;

macro_rules! text_name {
    ($name:ident, $max:expr) => {
        impl $name {
            /// Takes a name; `None` when it is empty, too long, or holds a NUL byte.
            pub fn new(text: &str) -> Option<$name> {
                let fits = !text.is_empty() && text.len() <= $max && !text.contains('\0');
                fits.then(|| $name(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_name!(BucketName, 255);
text_name!(ObjectKey, KEY_BYTES_MAX);

/// A version of an object. Only the null version is written as yet; the schema carries both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VersionId {
    /// The version of an object written while its bucket had no versioning.
    Null,
    /// A version of a versioned bucket; shown as a UUID.
    Id(u128),
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionId::Null => f.write_str("null"),
            VersionId::Id(id) => {
                let hex = format!("{id:032x}");
                let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
                write!(f, "{a}-{b}-{c}-{d}-{e}")
            }
        }
    }
}

impl VersionId {
    /// Reads a version id as a client sends it: `null` or a UUID. `None` for anything else.
    pub fn parse(text: &str) -> Option<VersionId> {
        if text == "null" {
            return Some(VersionId::Null);
        }
        let shape = text.len() == 36 && [8, 13, 18, 23].iter().all(|&at| text.as_bytes()[at] == b'-');
        if !shape {
            return None;
        }
        u128::from_str_radix(&text.replace('-', ""), 16).ok().map(VersionId::Id)
    }
}

/// A multipart upload: 48 bits of its creation in milliseconds since 1970, then 80 random bits, so that
/// uploads of a key sort by creation. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UploadId(pub u128);

impl UploadId {
    /// Reads an upload id as shown; `None` for anything else.
    pub fn parse(text: &str) -> Option<UploadId> {
        let shape = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !shape {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(UploadId)
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadId({self})")
    }
}
