//! The source of a copy: `x-amz-copy-source` and `x-amz-copy-source-range`.

use std::ops::RangeInclusive;

use crate::address;
use crate::error::{ErrorCode, Refusal};
use crate::percent;

/// The object a copy reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// The bucket, checked.
    pub bucket: String,
    /// The key, decoded and checked.
    pub key: String,
    /// The version; `None` when absent or empty.
    pub version_id: Option<String>,
}

impl CopySource {
    /// Reads `[/]bucket/key[?versionId=id]`.
    ///
    /// The version is split off before decoding, so a question mark of the key arrives as `%3F`;
    /// bucket and key are parted after it, since some clients encode that slash too. `+` is a plus.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when it has no key, names anything but a version behind the question mark,
    /// or is not decodable; the errors of the bucket's name and of the key.
    pub fn parse(header: &str) -> Result<CopySource, Refusal> {
        let (path, version_id) = match header.split_once('?') {
            Some((path, query)) => (path, Some(query.strip_prefix("versionId=").ok_or_else(invalid)?)),
            None => (header, None),
        };
        let path = percent::decode(path).map_err(|_| invalid())?;
        let path = std::str::from_utf8(&path).map_err(|_| invalid())?;
        let (bucket, key) = path.strip_prefix('/').unwrap_or(path).split_once('/').ok_or_else(invalid)?;
        if key.is_empty() {
            return Err(invalid());
        }
        address::check_bucket_name(bucket)?;
        address::check_key(key)?;
        Ok(CopySource {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version_id: version_id.filter(|id| !id.is_empty()).map(str::to_owned),
        })
    }
}

/// Resolves `x-amz-copy-source-range` against a source of `source_size` bytes: first and last byte,
/// both inclusive. Both ends must be named, unlike in `Range`.
///
/// # Errors
///
/// `InvalidArgument` for any other form; `InvalidRange` when the range reaches beyond the source.
pub fn resolve_range(header: &str, source_size: u64) -> Result<RangeInclusive<u64>, Refusal> {
    let bad = || {
        let message = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last \
                       are the zero-based offsets of the first and last bytes to copy.";
        Refusal::with(ErrorCode::InvalidArgument, message)
            .element("ArgumentName", "x-amz-copy-source-range")
            .element("ArgumentValue", header)
    };
    let (first, last) =
        header.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(bad)?;
    let digits_only = [first, last].iter().all(|end| end.bytes().all(|byte| byte.is_ascii_digit()));
    let (Ok(first), Ok(last), true) = (first.parse::<u64>(), last.parse::<u64>(), digits_only) else {
        return Err(bad());
    };
    if first > last {
        return Err(bad());
    }
    if last >= source_size {
        let message = format!("Range specified is not valid for source object of size: {source_size}");
        return Err(Refusal::with(ErrorCode::InvalidRange, message));
    }
    Ok(first..=last)
}

fn invalid() -> Refusal {
    Refusal::with(
        ErrorCode::InvalidArgument,
        "Copy Source must mention the source bucket and key: sourcebucket/sourcekey.",
    )
    .element("ArgumentName", "x-amz-copy-source")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{CopySource, resolve_range};
    use crate::error::ErrorCode;

    fn parse(header: &str) -> Result<(String, String, Option<String>), ErrorCode> {
        let source = CopySource::parse(header).map_err(|refusal| refusal.code)?;
        Ok((source.bucket, source.key, source.version_id))
    }

    fn source(key: &str, version_id: Option<&str>) -> Result<(String, String, Option<String>), ErrorCode> {
        Ok(("bkt".to_owned(), key.to_owned(), version_id.map(str::to_owned)))
    }

    #[test]
    fn bucket_key_and_version_are_read_in_the_forms_clients_send() {
        assert_eq!(parse("/bkt/a/b"), source("a/b", None));
        assert_eq!(parse("bkt/a+b%20%3F"), source("a+b ?", None));
        assert_eq!(parse("bkt%2Fa%2Fb"), source("a/b", None));
        assert_eq!(parse("bkt//a?versionId=null"), source("/a", Some("null")));
        assert_eq!(parse("bkt/a?versionId="), source("a", None));
    }

    #[test]
    fn a_source_without_a_key_or_with_another_query_is_invalid() {
        for header in ["", "/", "bkt", "bkt/", "/bkt/", "bkt/a?x=y", "bkt/%zz", "bkt/%ff"] {
            assert_eq!(parse(header), Err(ErrorCode::InvalidArgument), "{header}");
        }
        assert_eq!(parse("arn:aws:s3:::bkt/a"), Err(ErrorCode::InvalidBucketName));
        assert_eq!(parse(&format!("bkt/{}", "a".repeat(1025))), Err(ErrorCode::KeyTooLongError));
    }

    #[test]
    fn a_range_names_both_ends_inside_the_source() {
        let range = |header| resolve_range(header, 10).map_err(|refusal| refusal.code);

        assert_eq!(range("bytes=0-9"), Ok(0..=9));
        for header in ["bytes=5-", "bytes=-3", "bytes=4-2", "0-4", "bytes=a-b", "bytes=+1-2", "bytes=0-1,3-4"]
        {
            assert_eq!(range(header), Err(ErrorCode::InvalidArgument), "{header}");
        }
        assert_eq!(range("bytes=0-10"), Err(ErrorCode::InvalidRange));
    }

    proptest! {
        /// No header makes either parser panic.
        #[test]
        fn any_header_is_read_or_refused(header in ".{0,40}", size in any::<u64>()) {
            let _ = (CopySource::parse(&header), resolve_range(&header, size));
        }
    }
}
