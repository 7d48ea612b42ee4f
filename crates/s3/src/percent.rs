//! Percent-encoding with S3's own set of unreserved characters, and its inverse.
//!
//! S3 leaves `A-Z a-z 0-9 - . _ ~` as they are and writes every other byte as `%XX` with upper-case
//! digits; the slash is kept in paths and keys and encoded in query strings. Decoding works on bytes
//! and never passes through a lossy conversion, since a path may hold any byte.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::error::{ErrorCode, Refusal};

/// What a query component encodes: everything but the unreserved characters.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a path encodes: as [`COMPONENT`], with the slash kept.
const PATH: &AsciiSet = &COMPONENT.remove(b'/');

/// Encodes a path or an object key; slashes stay.
///
/// This is also the form of keys in listings asked for with `encoding-type=url`: a space is `%20`,
/// never `+`, because clients decode with and without the form rule.
pub fn encode_path(bytes: &[u8]) -> String {
    Cow::from(percent_encode(bytes, PATH)).into_owned()
}

/// Encodes a name or a value of a query string; slashes are encoded too.
pub fn encode_component(bytes: &[u8]) -> String {
    Cow::from(percent_encode(bytes, COMPONENT)).into_owned()
}

/// Decodes every `%XX` once; `+` stays a plus.
///
/// # Errors
///
/// `InvalidURI` when a `%` is not followed by two hexadecimal digits.
pub fn decode(text: &str) -> Result<Cow<'_, [u8]>, Refusal> {
    decode_with(text, false)
}

/// Decodes a name or a value of a query string, where `+` means a space.
///
/// # Errors
///
/// `InvalidURI` when a `%` is not followed by two hexadecimal digits.
pub fn decode_query(text: &str) -> Result<Cow<'_, [u8]>, Refusal> {
    decode_with(text, true)
}

/// The pairs of a raw query string, decoded, in the order sent.
///
/// A name without `=` has the empty value; an empty pair (`&&`) is skipped.
///
/// # Errors
///
/// `InvalidURI` when the encoding is broken or the decoded bytes are not UTF-8.
pub fn query_pairs(raw: &str) -> Result<Vec<(String, String)>, Refusal> {
    raw_pairs(raw)
        .map(|(name, value)| Ok((utf8(decode_query(name)?)?, utf8(decode_query(value)?)?)))
        .collect()
}

/// The pairs of a raw query string, still encoded, in the order sent; empty pairs are left out.
pub fn raw_pairs(raw: &str) -> impl Iterator<Item = (&str, &str)> {
    raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn utf8(bytes: Cow<'_, [u8]>) -> Result<String, Refusal> {
    String::from_utf8(bytes.into_owned())
        .map_err(|_| Refusal::with(ErrorCode::InvalidURI, "The query string is not valid UTF-8."))
}

fn decode_with(text: &str, plus_is_space: bool) -> Result<Cow<'_, [u8]>, Refusal> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|&byte| byte == b'%' || (plus_is_space && byte == b'+')) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).and_then(|pair| Some((hex(pair[0])?, hex(pair[1])?)));
                let Some((high, low)) = digits else {
                    return Err(Refusal::new(ErrorCode::InvalidURI));
                };
                decoded.push(high << 4 | low);
                at += 3;
            }
            b'+' if plus_is_space => {
                decoded.push(b' ');
                at += 1;
            }
            byte => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Ok(Cow::Owned(decoded))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{decode, decode_query, encode_component, encode_path, query_pairs};
    use crate::error::ErrorCode;

    #[test]
    fn a_path_keeps_its_slashes_and_a_component_does_not() {
        assert_eq!(encode_path("foo+1/b r~ä*".as_bytes()), "foo%2B1/b%20r~%C3%A4%2A");
        assert_eq!(encode_component(b"a/b"), "a%2Fb");
    }

    #[test]
    fn a_plus_is_a_space_only_in_a_query() {
        assert_eq!(decode("a+b").unwrap().as_ref(), b"a+b");
        assert_eq!(decode_query("a+b%2B").unwrap().as_ref(), b"a b+");
    }

    #[test]
    fn a_broken_escape_is_refused() {
        for broken in ["%", "%4", "%zz", "a%4", "%+1"] {
            assert_eq!(decode(broken).unwrap_err().code, ErrorCode::InvalidURI, "{broken}");
        }
    }

    #[test]
    fn pairs_keep_empty_values_and_duplicates_and_skip_nothing_between_two_ampersands() {
        let pairs = query_pairs("acl&&prefix=a%20b&prefix=&x=1=2").unwrap();

        let expected = [("acl", ""), ("prefix", "a b"), ("prefix", ""), ("x", "1=2")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    proptest! {
        /// Whatever the bytes, encoding and decoding returns them.
        #[test]
        fn any_bytes_survive_encoding(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (path, component) = (encode_path(&bytes), encode_component(&bytes));
            prop_assert_eq!(decode(&path).unwrap().into_owned(), bytes.clone());
            prop_assert_eq!(decode_query(&component).unwrap().into_owned(), bytes);
        }
    }
}
