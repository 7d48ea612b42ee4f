//! Request headers as this crate reads them, whichever HTTP library holds them.
//!
//! Field names compare without regard to case; values are bytes, because clients send what is not
//! UTF-8. A field sent twice is seen twice, in the order received.

/// The header fields of one request.
///
/// Over HTTP/2 the implementation shows `:authority` as `host`, since that is the name under which
/// clients sign it.
pub trait Headers {
    /// Calls `visit` with the name and the value of every field, repeated ones in the order received.
    fn for_each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8]));

    /// The first value of the field `name` (lower case), or `None` when it was not sent.
    fn first<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        let mut found = None;
        self.for_each(&mut |field, value| {
            if found.is_none() && field.eq_ignore_ascii_case(name) {
                found = Some(value);
            }
        });
        found
    }

    /// The first value of the field `name` as text without surrounding blanks; `None` when it was
    /// not sent or is not UTF-8.
    fn text<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok()).map(str::trim)
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for [(N, V)] {
    fn for_each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8])) {
        for (name, value) in self {
            visit(name.as_ref(), value.as_ref());
        }
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for Vec<(N, V)> {
    fn for_each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8])) {
        self.as_slice().for_each(visit);
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>, const COUNT: usize> Headers for [(N, V); COUNT] {
    fn for_each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8])) {
        self.as_slice().for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    #[test]
    fn the_first_of_two_fields_is_found_whatever_its_case() {
        let headers = [("Range", "bytes=0-1"), ("range", "bytes=2-3")];

        assert_eq!(headers.text("range"), Some("bytes=0-1"));
        assert_eq!(headers.text("if-match"), None);
    }

    #[test]
    fn text_is_without_surrounding_blanks_and_only_utf_8() {
        let headers = [("a", b" x y ".as_slice()), ("b", b"\xff".as_slice())];

        assert_eq!(headers.text("a"), Some("x y"));
        assert_eq!(headers.text("b"), None);
        assert_eq!(headers.first("b"), Some(b"\xff".as_slice()));
    }
}
