//! What a request says of the object it writes, and what a response says of the object it shows.
//!
//! Headers that ask for something this server does not do (encryption, locks, tags, ACLs but `private`) are
//! refused: an object is never stored with less than was asked for.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use s3::checksum::{Checksum, ChecksumAlgorithm, ObjectChecksum};
use s3::{ErrorCode, Refusal};
use store::summary::CONTENT_TYPE_DEFAULT;
use store::{EntityMatch, Object, ObjectHeaders, WriteCondition};
use tidings_s3 as s3;
use tidings_store as store;

use crate::context::Request;
use crate::error::Failure;
use crate::respond::set;

/// Largest user metadata, names and values together, in bytes: 2 KiB. S3 user guide, "User-defined metadata".
const USER_METADATA_BYTES_MAX: usize = 2 * 1024;

/// Headers stored as they are.
const SYSTEM_HEADERS: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
];

/// Storage classes of S3. All bytes are kept alike; the class is told back.
const STORAGE_CLASSES: [&str; 9] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
];

/// Refuses what a writing request asks for and this server does not do.
///
/// # Errors
///
/// `NotImplemented`, naming the header; `InvalidArgument` for an ACL that S3 does not know.
pub(crate) fn check_supported(request: &Request) -> Result<(), Failure> {
    for name in request.head.headers.keys().map(HeaderName::as_str) {
        let feature = match name {
            _ if name.starts_with("x-amz-server-side-encryption") => "Server-side encryption",
            _ if name.starts_with("x-amz-copy-source-server-side-encryption") => "Server-side encryption",
            _ if name.starts_with("x-amz-object-lock-") => "Object lock",
            _ if name.starts_with("x-amz-grant-") => "Access control by grants",
            "x-amz-tagging" => "Object tagging",
            _ if name.starts_with("x-minio-source-") || name.starts_with("x-minio-internal-") => {
                "Replication"
            }
            _ => continue,
        };
        return Err(Failure::not_implemented(format!(
            "{feature} is not implemented; the request has {name}."
        )));
    }
    match request.header("x-amz-acl") {
        None | Some("private" | "bucket-owner-full-control" | "bucket-owner-read") => Ok(()),
        Some(
            "public-read" | "public-read-write" | "authenticated-read" | "aws-exec-read"
            | "log-delivery-write",
        ) => Err(Failure::not_implemented("Canned ACLs other than private are not implemented.")),
        Some(acl) => Err(Failure::argument("x-amz-acl", acl, "The canned ACL is not one that S3 knows.")),
    }
}

/// The headers to store with an object.
///
/// # Errors
///
/// `MetadataTooLarge`, `InvalidStorageClass`, and those of [`check_supported`].
pub(crate) fn object_headers(request: &Request) -> Result<ObjectHeaders, Failure> {
    check_supported(request)?;
    let mut system = Vec::new();
    for name in SYSTEM_HEADERS {
        let value = joined(&request.head.headers, name);
        let value = if name == "content-encoding" { without_aws_chunked(&value) } else { value };
        if !value.is_empty() {
            system.push((name.to_owned(), value));
        }
    }
    let mut user: Vec<(String, String)> = Vec::new();
    for name in request.head.headers.keys() {
        if let Some(short) = name.as_str().strip_prefix("x-amz-meta-") {
            user.push((short.to_owned(), joined(&request.head.headers, name.as_str())));
        }
    }
    user.sort();
    let user_bytes: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if user_bytes > USER_METADATA_BYTES_MAX {
        return Err(Refusal::new(ErrorCode::MetadataTooLarge)
            .element("Size", user_bytes.to_string())
            .element("MaxSizeAllowed", USER_METADATA_BYTES_MAX.to_string())
            .into());
    }
    Ok(ObjectHeaders { system, user, storage_class: storage_class(request)? })
}

/// The storage class a request asks for; `None` for the standard one.
///
/// # Errors
///
/// `InvalidStorageClass` for one that S3 does not know.
pub(crate) fn storage_class(request: &Request) -> Result<Option<String>, Failure> {
    match request.header("x-amz-storage-class") {
        None | Some("" | "STANDARD") => Ok(None),
        Some(class) if STORAGE_CLASSES.contains(&class) => Ok(Some(class.to_owned())),
        Some(_) => Err(ErrorCode::InvalidStorageClass.into()),
    }
}

/// All values of a header in one, separated by commas; RFC 2047 text where one is not ASCII.
fn joined(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        .collect();
    values.join(",")
}

/// A `Content-Encoding` without the label of a body in chunks.
fn without_aws_chunked(value: &str) -> String {
    let kept = value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.eq_ignore_ascii_case("aws-chunked") && !item.is_empty());
    kept.collect::<Vec<_>>().join(", ")
}

/// The condition under which a write may replace what is there.
///
/// # Errors
///
/// None yet; conditions that cannot be read match nothing.
pub(crate) fn write_condition(request: &Request) -> WriteCondition {
    WriteCondition {
        if_match: request.header("if-match").filter(|value| !value.is_empty()).map(entity_match),
        if_none_match: request.header("if-none-match").filter(|value| !value.is_empty()).map(entity_match),
        ..WriteCondition::default()
    }
}

/// The tags of a condition; weak ones match no write.
pub(crate) fn entity_match(value: &str) -> EntityMatch {
    match s3::condition::EtagCondition::parse(value) {
        s3::condition::EtagCondition::Any => EntityMatch::Any,
        s3::condition::EtagCondition::OneOf(tags) => {
            EntityMatch::OneOf(tags.into_iter().filter(|tag| !tag.is_weak).map(|tag| tag.tag).collect())
        }
    }
}

/// Sets the headers that show an object: tag, date, stored headers, metadata, class.
pub(crate) fn show(headers: &mut HeaderMap, object: &Object) {
    show_identity(headers, object);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_DEFAULT));
    for (name, value) in &object.headers.system {
        if let Ok(name) = HeaderName::try_from(name.as_str()) {
            set(headers, name, value);
        }
    }
    for (name, value) in &object.headers.user {
        if let Ok(name) = HeaderName::try_from(format!("x-amz-meta-{name}")) {
            set(headers, name, &ascii(value));
        }
    }
    if let Some(class) = &object.headers.storage_class {
        set(headers, HeaderName::from_static("x-amz-storage-class"), class);
    }
}

/// Sets what a 304 and a 412 say of the object too: tag and date.
pub(crate) fn show_identity(headers: &mut HeaderMap, object: &Object) {
    set(headers, ETAG, &s3::etag::quoted(&object.etag.0));
    set(headers, LAST_MODIFIED, &s3::time::http_date(seconds(object.modified_ms)));
}

/// Sets the header of a checksum and of its kind.
pub(crate) fn show_checksum(headers: &mut HeaderMap, checksum: &store::object::Checksum) {
    let algorithm = from_store(checksum.algorithm);
    set(headers, HeaderName::from_static(algorithm.header()), &checksum.value);
    let kind = if checksum.is_full_object { "FULL_OBJECT" } else { "COMPOSITE" };
    set(headers, HeaderName::from_static("x-amz-checksum-type"), kind);
}

/// A value as a header can carry it: what is not ASCII as an encoded word. RFC 2047 §4.1.
fn ascii(value: &str) -> String {
    if value.is_ascii() { value.to_owned() } else { format!("=?UTF-8?B?{}?=", BASE64.encode(value)) }
}

/// Whole seconds of a time in milliseconds.
pub(crate) fn seconds(ms: u64) -> i64 {
    i64::try_from(ms / 1000).unwrap_or(i64::MAX)
}

/// A time in XML.
pub(crate) fn xml_time(ms: u64) -> String {
    s3::time::iso8601_ms(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// The store's name of an algorithm.
pub(crate) fn to_store(algorithm: ChecksumAlgorithm) -> store::object::ChecksumAlgorithm {
    use store::object::ChecksumAlgorithm as Stored;
    match algorithm {
        ChecksumAlgorithm::Crc32 => Stored::Crc32,
        ChecksumAlgorithm::Crc32c => Stored::Crc32c,
        ChecksumAlgorithm::Crc64Nvme => Stored::Crc64Nvme,
        ChecksumAlgorithm::Sha1 => Stored::Sha1,
        ChecksumAlgorithm::Sha256 => Stored::Sha256,
    }
}

/// The protocol's name of an algorithm.
pub(crate) fn from_store(algorithm: store::object::ChecksumAlgorithm) -> ChecksumAlgorithm {
    use store::object::ChecksumAlgorithm as Stored;
    match algorithm {
        Stored::Crc32 => ChecksumAlgorithm::Crc32,
        Stored::Crc32c => ChecksumAlgorithm::Crc32c,
        Stored::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
        Stored::Sha1 => ChecksumAlgorithm::Sha1,
        Stored::Sha256 => ChecksumAlgorithm::Sha256,
    }
}

/// The checksum of an object's bytes, as the store keeps it.
pub(crate) fn full_object(checksum: Checksum) -> store::object::Checksum {
    stored_checksum(ObjectChecksum { checksum, composite_parts: None })
}

/// The checksum of an object, as the store keeps it.
pub(crate) fn stored_checksum(checksum: ObjectChecksum) -> store::object::Checksum {
    store::object::Checksum {
        algorithm: to_store(checksum.checksum.algorithm()),
        value: checksum.to_string(),
        is_full_object: checksum.composite_parts.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ascii, without_aws_chunked};

    #[test]
    fn the_label_of_chunks_is_no_encoding_wherever_it_stands() {
        for (sent, kept) in [
            ("aws-chunked", ""),
            ("gzip, aws-chunked", "gzip"),
            ("AWS-chunked,gzip", "gzip"),
            ("deflate, gzip", "deflate, gzip"),
            ("aws-chunked,aws-chunked", ""),
        ] {
            assert_eq!(without_aws_chunked(sent), kept, "{sent}");
        }
    }

    #[test]
    fn metadata_that_is_not_ascii_is_an_encoded_word() {
        assert_eq!(ascii("red"), "red");
        assert_eq!(ascii("grün"), "=?UTF-8?B?Z3LDvG4=?=");
    }
}
