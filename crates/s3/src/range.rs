//! The `Range` header: which bytes of an object a client asks for.
//!
//! One range per request, as S3 has it; what is not a byte range is ignored and the whole object
//! sent. An inverted range (`bytes=5-2`) is refused, as MinIO does, where RFC 9110 would ignore it.

use std::ops::RangeInclusive;

/// Why a range cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// No byte of the object lies in the range.
    #[error("no byte of the object lies in the range")]
    Unsatisfiable,
}

/// Resolves a `Range` request header against an object of `object_size` bytes.
///
/// Returns the first and the last byte to send, both inclusive and counted from 0. Returns
/// `None` when the header is not one this server understands, which means the whole object.
///
/// # Errors
///
/// [`RangeError::Unsatisfiable`] when no byte of the object lies in the range; the gateway
/// answers it with `InvalidRange` (416).
///
/// # Source
///
/// RFC 9110 §14.1.2 for the syntax, §14.2 for ignoring what is not understood; the S3 API
/// reference, GetObject, for one range per request.
///
/// ```
/// # use tidings_s3::range::{resolve, RangeError};
/// assert_eq!(resolve("bytes=0-0", 10), Ok(Some(0..=0)));
/// assert_eq!(resolve("bytes=-500", 10), Ok(Some(0..=9))); // longer than the object: all of it
/// assert_eq!(resolve("bytes=10-", 10), Err(RangeError::Unsatisfiable));
/// assert_eq!(resolve("bytes=0-1,4-5", 10), Ok(None));
/// ```
pub fn resolve(header: &str, object_size: u64) -> Result<Option<RangeInclusive<u64>>, RangeError> {
    let Some(spec) = parse(header) else {
        return Ok(None);
    };
    let range = match spec {
        Spec::FromTo(first, last) => first..=last.min(object_size.saturating_sub(1)),
        Spec::From(first) => first..=object_size.saturating_sub(1),
        Spec::Last(count) => object_size.saturating_sub(count)..=object_size.saturating_sub(1),
    };
    let is_empty =
        object_size == 0 || spec == Spec::Last(0) || range.is_empty() || *range.start() >= object_size;
    if is_empty { Err(RangeError::Unsatisfiable) } else { Ok(Some(range)) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    FromTo(u64, u64),
    From(u64),
    Last(u64),
}

fn parse(header: &str) -> Option<Spec> {
    let (unit, spec) = header.trim().split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    match spec.split_once('-')? {
        ("", count) => Some(Spec::Last(position(count)?)),
        (first, "") => Some(Spec::From(position(first)?)),
        (first, last) => Some(Spec::FromTo(position(first)?, position(last)?)),
    }
}

/// A number of any length; what does not fit 64 bits lies behind the end of every object.
fn position(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{RangeError, resolve};

    #[test]
    fn a_range_is_cut_to_the_object() {
        for (header, expected) in [
            ("bytes=0-3", 0..=3),
            ("bytes=5-", 5..=9),
            ("bytes=9-100", 9..=9),
            ("bytes=-3", 7..=9),
            ("bytes=-100", 0..=9),
            ("bytes=0-99999999999999999999", 0..=9),
        ] {
            assert_eq!(resolve(header, 10), Ok(Some(expected)), "{header}");
        }
    }

    #[test]
    fn a_range_without_a_byte_of_the_object_is_unsatisfiable() {
        for header in ["bytes=-0", "bytes=10-", "bytes=10-20", "bytes=5-2", "bytes=99999999999999999999-"] {
            assert_eq!(resolve(header, 10), Err(RangeError::Unsatisfiable), "{header}");
        }
        for header in ["bytes=0-", "bytes=0-0", "bytes=-5"] {
            assert_eq!(resolve(header, 0), Err(RangeError::Unsatisfiable), "{header} of nothing");
        }
    }

    #[test]
    fn what_is_not_one_byte_range_is_ignored() {
        for header in
            ["bytes=0-1,3-4", "items=0-1", "bytes=abc", "bytes=", "bytes=-", "bytes = 0-1", "bytes=+1-2", ""]
        {
            assert_eq!(resolve(header, 10), Ok(None), "{header}");
        }
    }

    proptest! {
        /// Whatever the numbers, the answer lies inside the object and begins where it was asked to.
        #[test]
        fn a_range_lies_inside_the_object(first in any::<u64>(), last in any::<u64>(), size in any::<u64>()) {
            match resolve(&format!("bytes={first}-{last}"), size) {
                Ok(Some(range)) => {
                    prop_assert_eq!(*range.start(), first);
                    prop_assert!(!range.is_empty() && *range.end() < size && *range.end() <= last);
                }
                other => {
                    prop_assert_eq!(other, Err(RangeError::Unsatisfiable));
                    prop_assert!(first >= size || last < first);
                }
            }
        }

        /// No header makes it panic.
        #[test]
        fn any_header_is_resolved_or_ignored(header in "(bytes=)?[0-9,a-z =-]{0,30}", size in any::<u64>()) {
            let _ = resolve(&header, size);
        }
    }
}
