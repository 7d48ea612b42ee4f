//! Which bucket and which object a request addresses, by path or by host name.
//!
//! The raw path is split first and decoded afterwards, so a `%2F` is a slash of the key and never
//! parts the bucket from it. Keys are opaque: `//`, `.`, `..` and trailing slashes are what they are.
//!
//! What is not here: whether the bucket exists, and which paths belong to health, metrics and admin
//! calls.

use std::net::{IpAddr, Ipv4Addr};

use crate::error::{ErrorCode, Refusal};
use crate::percent;

/// Longest key, in bytes of UTF-8 after decoding. S3 user guide, "Object key names".
pub const KEY_BYTES_MAX: usize = 1024;

/// Shortest bucket name, in characters. S3 user guide, "Bucket naming rules".
const BUCKET_NAME_CHARS_MIN: usize = 3;

/// Longest bucket name, in characters.
const BUCKET_NAME_CHARS_MAX: usize = 63;

/// What a request addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The service itself: the path is empty or `/`.
    Service,
    /// A bucket, its name decoded and not checked ([`check_bucket_name`]).
    Bucket {
        /// The name.
        bucket: String,
    },
    /// An object, its key decoded and checked.
    Object {
        /// The name of the bucket, decoded and not checked.
        bucket: String,
        /// The key, never empty.
        key: String,
    },
}

impl Address {
    /// Reads the address from the host (with or without a port) and the raw path of a request.
    ///
    /// `domains` are those under which buckets have host names of their own; the longest that fits
    /// counts, and the rest of the host is the bucket. Any other host means that the path names it.
    ///
    /// # Errors
    ///
    /// `InvalidURI` when a `%` is not followed by two digits, `InvalidBucketName` when the bucket is
    /// not UTF-8, `KeyTooLongError`, and `XMinioInvalidObjectName` when the key is not UTF-8 or holds
    /// a NUL.
    pub fn parse(host: &str, raw_path: &str, domains: &[String]) -> Result<Address, Refusal> {
        let path = raw_path.strip_prefix('/').unwrap_or(raw_path);
        let (bucket, key) = match bucket_of_host(host, domains) {
            Some(bucket) => (bucket, path),
            None => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                let bucket = String::from_utf8(percent::decode(bucket)?.into_owned());
                (bucket.map_err(|_| Refusal::new(ErrorCode::InvalidBucketName))?, key)
            }
        };
        if bucket.is_empty() {
            // `//` asks for the service too; a key without a bucket is nobody's.
            return if key.is_empty() {
                Ok(Address::Service)
            } else {
                Err(ErrorCode::InvalidBucketName.into())
            };
        }
        if key.is_empty() {
            return Ok(Address::Bucket { bucket });
        }
        Ok(Address::Object { bucket, key: decode_key(key)? })
    }

    /// The bucket, when one is addressed.
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Address::Service => None,
            Address::Bucket { bucket } | Address::Object { bucket, .. } => Some(bucket),
        }
    }

    /// The key, when an object is addressed.
    pub fn key(&self) -> Option<&str> {
        match self {
            Address::Service | Address::Bucket { .. } => None,
            Address::Object { key, .. } => Some(key),
        }
    }
}

/// Decodes a percent-encoded key and checks it.
///
/// # Errors
///
/// As [`Address::parse`].
pub(crate) fn decode_key(raw: &str) -> Result<String, Refusal> {
    let key = String::from_utf8(percent::decode(raw)?.into_owned())
        .map_err(|_| Refusal::new(ErrorCode::XMinioInvalidObjectName))?;
    check_key(&key)?;
    Ok(key)
}

/// Checks a key that came in a body or was decoded elsewhere.
///
/// # Errors
///
/// `KeyTooLongError` beyond [`KEY_BYTES_MAX`]; `XMinioInvalidObjectName` when it is empty or holds a
/// NUL.
pub fn check_key(key: &str) -> Result<(), Refusal> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Refusal::new(ErrorCode::KeyTooLongError)
            .element("Size", key.len().to_string())
            .element("MaxSizeAllowed", KEY_BYTES_MAX.to_string()));
    }
    if key.is_empty() || key.contains('\0') {
        return Err(ErrorCode::XMinioInvalidObjectName.into());
    }
    Ok(())
}

/// Checks the name of a bucket: 3 to 63 of `a-z 0-9 . -`, a letter or digit at both ends, no two
/// marks together but dashes, and not an IPv4 address. S3 user guide, "Bucket naming rules".
///
/// # Errors
///
/// `InvalidBucketName`.
pub fn check_bucket_name(name: &str) -> Result<(), Refusal> {
    let length_fits = (BUCKET_NAME_CHARS_MIN..=BUCKET_NAME_CHARS_MAX).contains(&name.len());
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let characters_fit = bytes.iter().all(|byte| is_alphanumeric(byte) || matches!(byte, b'.' | b'-'));
    let ends_fit = bytes.first().is_some_and(is_alphanumeric) && bytes.last().is_some_and(is_alphanumeric);
    let marks_fit = !["..", ".-", "-."].iter().any(|pair| name.contains(pair));
    if length_fits && characters_fit && ends_fit && marks_fit && name.parse::<Ipv4Addr>().is_err() {
        return Ok(());
    }
    Err(ErrorCode::InvalidBucketName.into())
}

/// Whether a name belongs to the server: the paths of its own calls would shadow the bucket. As MinIO.
pub fn is_reserved_bucket_name(name: &str) -> bool {
    matches!(name, "minio" | ".minio.sys")
}

/// The bucket that the host names under the longest domain that fits; lower case, as buckets are.
pub fn bucket_of_host(host: &str, domains: &[String]) -> Option<String> {
    if domains.is_empty() {
        return None;
    }
    let host = without_port(host).to_ascii_lowercase();
    let is_domain = domains.iter().any(|domain| domain.eq_ignore_ascii_case(&host));
    if is_domain || host.parse::<IpAddr>().is_ok() {
        return None;
    }
    domains
        .iter()
        .filter_map(|domain| host.strip_suffix(&domain.to_ascii_lowercase())?.strip_suffix('.'))
        .filter(|bucket| !bucket.is_empty())
        .min_by_key(|bucket| bucket.len())
        .map(str::to_owned)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{Address, check_bucket_name, check_key};
    use crate::error::ErrorCode;

    fn bucket(bucket: &str) -> Result<Address, ErrorCode> {
        Ok(Address::Bucket { bucket: bucket.to_owned() })
    }

    fn object(bucket: &str, key: &str) -> Result<Address, ErrorCode> {
        Ok(Address::Object { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    fn parse(host: &str, path: &str) -> Result<Address, ErrorCode> {
        let domains = ["s3.tidings.test".to_owned(), "tidings.test".to_owned()];
        Address::parse(host, path, &domains).map_err(|refusal| refusal.code)
    }

    fn path(path: &str) -> Result<Address, ErrorCode> {
        parse("127.0.0.1:9000", path)
    }

    #[test]
    fn the_path_is_split_before_it_is_decoded() {
        assert_eq!(path("/"), Ok(Address::Service));
        assert_eq!(path("//"), Ok(Address::Service));
        assert_eq!(path("/b"), bucket("b"));
        assert_eq!(path("/b/"), bucket("b"));
        assert_eq!(path("/b//x"), object("b", "/x"));
        assert_eq!(path("/b/a%2Fb+c%20/./../"), object("b", "a/b+c /./../"));
        assert_eq!(path("/b%2Fk"), bucket("b/k"));
    }

    #[test]
    fn the_longest_domain_parts_the_host_whatever_its_case_and_port() {
        assert_eq!(parse("Vec.S3.tidings.test:9000", "/a/b.txt"), object("vec", "a/b.txt"));
        assert_eq!(parse("a.b.tidings.test", "/"), bucket("a.b"));
        for host in ["s3.tidings.test", "tidings.test:9000", "elsewhere.test", "[::1]:9000", ""] {
            assert_eq!(parse(host, "/b/k"), object("b", "k"), "{host}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_stored_is_refused() {
        assert_eq!(path("/b/%ff"), Err(ErrorCode::XMinioInvalidObjectName));
        assert_eq!(path("/b/a%00"), Err(ErrorCode::XMinioInvalidObjectName));
        assert_eq!(path("/b/%zz"), Err(ErrorCode::InvalidURI));
        assert_eq!(path("/%ff/k"), Err(ErrorCode::InvalidBucketName));
        assert_eq!(path(&format!("/b/{}", "a".repeat(1024))).map(|_| ()), Ok(()));
        assert_eq!(path(&format!("/b/{}", "a".repeat(1025))), Err(ErrorCode::KeyTooLongError));
        assert_eq!(check_key("").unwrap_err().code, ErrorCode::XMinioInvalidObjectName);
    }

    #[test]
    fn bucket_names_follow_the_rules() {
        let longest = "a".repeat(63);
        for name in ["abc", "a.b", "a-b", "a--b", "1.2.3", "xn--a", &longest] {
            assert!(check_bucket_name(name).is_ok(), "{name}");
        }
        let too_long = "a".repeat(64);
        for name in
            ["", "ab", "Abc", "a_b", "-ab", "ab-", ".ab", "a..b", "a.-b", "a-.b", "1.2.3.4", "ä-b", &too_long]
        {
            assert!(check_bucket_name(name).is_err(), "{name}");
        }
    }

    proptest! {
        /// No host and no path make it panic.
        #[test]
        fn any_request_has_an_address_or_is_refused(host in ".{0,30}", raw in "/.{0,30}") {
            let _ = parse(&host, &raw);
        }
    }
}
