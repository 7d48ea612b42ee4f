//! The canonical request: one text for all the ways a client may write the same request.
//!
//! Signature version 4, "Create a canonical request", with S3's exceptions: the path is decoded and
//! encoded once, never twice, and never normalised.

use crate::error::{ErrorCode, Refusal};
use crate::headers::Headers;
use crate::percent;

/// In which order the values of a repeated query name are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryOrder {
    /// By name, then by value: the standard.
    ByNameAndValue,
    /// By name, values as sent: MinIO's own libraries, which repeat names to listen for several
    /// events.
    ByName,
}

/// The canonical form of a raw path: decoded to bytes, encoded again; an empty path is `/`.
///
/// # Errors
///
/// `InvalidURI` when a `%` is not followed by two hexadecimal digits.
pub fn canonical_path(raw: &str) -> Result<String, Refusal> {
    if raw.is_empty() {
        return Ok("/".to_owned());
    }
    Ok(percent::encode_path(&percent::decode(raw)?))
}

/// The canonical form of a raw query string, without the signature of a presigned URL.
///
/// # Errors
///
/// `InvalidURI` when a `%` is not followed by two hexadecimal digits.
pub fn canonical_query(raw: &str, order: QueryOrder) -> Result<String, Refusal> {
    let mut pairs = Vec::new();
    for (name, value) in percent::raw_pairs(raw) {
        let name = percent::encode_component(&percent::decode_query(name)?);
        if name.eq_ignore_ascii_case("x-amz-signature") {
            continue;
        }
        pairs.push((name, percent::encode_component(&percent::decode_query(value)?)));
    }
    match order {
        QueryOrder::ByNameAndValue => pairs.sort(),
        QueryOrder::ByName => pairs.sort_by(|left, right| left.0.cmp(&right.0)),
    }
    let mut canonical = String::with_capacity(raw.len() + 8);
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            canonical.push('&');
        }
        canonical.push_str(name);
        canonical.push('=');
        canonical.push_str(value);
    }
    Ok(canonical)
}

/// The canonical lines of the signed headers, which are lower case and sorted.
///
/// # Errors
///
/// `AccessDenied` when a signed header was not sent. `expect` is the exception: proxies answer it
/// themselves and drop it, and it has only one value.
pub(super) fn canonical_headers(headers: &dyn Headers, signed: &[String]) -> Result<Vec<u8>, Refusal> {
    let mut values: Vec<(usize, &[u8])> = Vec::with_capacity(signed.len() + 4);
    headers.for_each(&mut |name, value| {
        if let Some(index) = signed.iter().position(|signed| signed.eq_ignore_ascii_case(name)) {
            values.push((index, value));
        }
    });
    // By place among the signed names; values of one name stay in the order sent.
    values.sort_by_key(|(index, _)| *index);
    let mut values = values.into_iter().peekable();
    let mut lines = Vec::with_capacity(64 * signed.len());
    for (index, name) in signed.iter().enumerate() {
        lines.extend_from_slice(name.as_bytes());
        lines.push(b':');
        match values.next_if(|(of, _)| *of == index) {
            Some((_, value)) => push_collapsed(&mut lines, value),
            None if name == "expect" => lines.extend_from_slice(b"100-continue"),
            None => {
                let message = format!("The signed header {name:?} was not sent.");
                return Err(Refusal::with(ErrorCode::AccessDenied, message));
            }
        }
        while let Some((_, value)) = values.next_if(|(of, _)| *of == index) {
            lines.push(b',');
            push_collapsed(&mut lines, value);
        }
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Joins the parts of a canonical request.
pub(super) fn join(
    method: &str,
    path: &str,
    query: &str,
    headers: &[u8],
    signed: &[String],
    payload_hash: &str,
) -> Vec<u8> {
    let mut canonical = Vec::with_capacity(512 + path.len() + query.len() + headers.len());
    for line in [method, path, query] {
        canonical.extend_from_slice(line.as_bytes());
        canonical.push(b'\n');
    }
    canonical.extend_from_slice(headers);
    canonical.push(b'\n');
    for (index, name) in signed.iter().enumerate() {
        if index > 0 {
            canonical.push(b';');
        }
        canonical.extend_from_slice(name.as_bytes());
    }
    canonical.push(b'\n');
    canonical.extend_from_slice(payload_hash.as_bytes());
    canonical
}

/// Appends a header value without its outer blanks and with inner runs of blanks as one.
fn push_collapsed(line: &mut Vec<u8>, value: &[u8]) {
    let mut blank = false;
    for &byte in value.trim_ascii() {
        let is_blank = byte == b' ' || byte == b'\t';
        if !(is_blank && blank) {
            line.push(if is_blank { b' ' } else { byte });
        }
        blank = is_blank;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{QueryOrder, canonical_headers, canonical_path, canonical_query};
    use crate::error::ErrorCode;
    use crate::percent;

    fn query(raw: &str) -> String {
        canonical_query(raw, QueryOrder::ByNameAndValue).unwrap()
    }

    #[test]
    fn a_path_is_encoded_once_and_never_normalised() {
        let path = |raw| canonical_path(raw).unwrap();

        assert_eq!(path(""), "/");
        assert_eq!(path("/b//a//./b/../c/"), "/b//a//./b/../c/");
        assert_eq!(path("/b/a+b!%2a%7e"), "/b/a%2Bb%21%2A~");
        assert_eq!(path("/b/%ff%0A"), "/b/%FF%0A");
        assert_eq!(path("/b/%2525"), "/b/%2525");
        assert_eq!(canonical_path("/b/%2").unwrap_err().code, ErrorCode::InvalidURI);
    }

    #[test]
    fn a_query_is_sorted_by_its_encoded_form() {
        assert_eq!(query("acl"), "acl=");
        assert_eq!(query("b=2&a=1&&a="), "a=&a=1&b=2");
        assert_eq!(query("prefix=a+b/%2B&x=;"), "prefix=a%20b%2F%2B&x=%3B");
        assert_eq!(query("X-Amz-Signature=1&X-Amz-Date=2&x-amz-signature=3"), "X-Amz-Date=2");
        // As characters `ä` follows `z`; encoded it begins with `%`, which precedes every letter.
        assert_eq!(query("z=1&%C3%A4=2"), "%C3%A4=2&z=1");
    }

    #[test]
    fn values_of_one_name_keep_their_order_when_asked_to() {
        let raw = "events=s3:b&events=s3:a&bucket=x";

        assert_eq!(canonical_query(raw, QueryOrder::ByName).unwrap(), "bucket=x&events=s3%3Ab&events=s3%3Aa");
        assert_eq!(query(raw), "bucket=x&events=s3%3Aa&events=s3%3Ab");
    }

    #[test]
    fn header_values_are_trimmed_collapsed_and_joined() {
        let headers = [("X-A", "  two   spaces "), ("host", "h:9000"), ("x-a", "b\t c")];
        let signed = ["expect", "host", "x-a"].map(str::to_owned);

        let lines = canonical_headers(&headers, &signed).unwrap();

        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "expect:100-continue\nhost:h:9000\nx-a:two spaces,b c\n"
        );
    }

    #[test]
    fn a_signed_header_that_was_not_sent_is_refused() {
        let headers = [("host", "h")];
        let signed = ["host", "range"].map(str::to_owned);

        assert_eq!(canonical_headers(&headers, &signed).unwrap_err().code, ErrorCode::AccessDenied);
    }

    proptest! {
        /// The canonical form of a canonical form is itself.
        #[test]
        fn a_canonical_query_is_stable(
            pairs in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..9), "[ -~]{0,9}"), 0..9),
        ) {
            let raw: Vec<String> = pairs
                .iter()
                .map(|(name, value)| {
                    let value = percent::encode_component(value.as_bytes());
                    format!("{}={value}", percent::encode_component(name))
                })
                .collect();
            let once = query(&raw.join("&"));
            prop_assert_eq!(query(&once), once);
        }

        /// No path or query makes the canonical form panic.
        #[test]
        fn any_text_has_a_canonical_form_or_is_refused(raw in ".{0,60}") {
            let _ = (canonical_path(&raw), canonical_query(&raw, QueryOrder::ByName));
        }
    }
}
