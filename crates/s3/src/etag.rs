//! Entity tags: how they are made, and how clients write them.
//!
//! The tag of an object stored in one piece is the MD5 of its bytes; that of a multipart object the
//! MD5 of the parts' MD5s, a dash and the number of parts, which is never taken for a plain MD5.

use md5::{Digest as _, Md5};

/// The tag of an object in one piece: the MD5 in hexadecimal digits, without quotes.
pub fn of_object(md5: &[u8; 16]) -> String {
    hex::encode(md5)
}

/// The tag of a multipart object from the MD5s of its parts, in order, without quotes.
pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8; 16]>) -> String {
    let mut digest = Md5::new();
    let mut count = 0;
    for part in parts {
        digest.update(part);
        count += 1;
    }
    format!("{}-{count}", hex::encode(digest.finalize()))
}

/// The tag as headers and XML show it: in double quotes.
pub fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

/// The tag a client means: without blanks and quotes, which clients send as they are, as entities
/// that survived one decoding too few, or not at all.
pub fn unquoted(text: &str) -> &str {
    let text = text.trim();
    for quote in ["\"", "&quot;", "&#34;"] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.strip_suffix(quote).unwrap_or(inner);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{of_parts, quoted, unquoted};
    use md5::{Digest as _, Md5};

    #[test]
    fn the_tag_of_parts_is_the_md5_of_their_md5s_and_their_count() {
        let first: [u8; 16] = Md5::digest(vec![b'A'; 5 * 1024 * 1024]).into();
        let second: [u8; 16] = Md5::digest(b"hello tidings").into();

        assert_eq!(super::of_object(&first), "b8fc857a25e7958868c2f003d5e0952d");
        assert_eq!(of_parts([&first, &second]), "72e0238c475b7b9d8cb4001dde2a92e4-2");
    }

    #[test]
    fn a_tag_is_found_in_whatever_quotes_it_comes() {
        for text in ["\"abc\"", "abc", "&quot;abc&quot;", "&#34;abc&#34;", " \"abc\" "] {
            assert_eq!(unquoted(text), "abc", "{text}");
        }
        assert_eq!(quoted("abc"), "\"abc\"");
        assert_eq!(unquoted("\""), "");
    }
}
