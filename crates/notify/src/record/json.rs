//! JSON as Go's encoder writes it: without spaces, and with `<`, `>`, `&`, U+2028 and U+2029 escaped.
//!
//! Any parser undoes the escapes; they are here so that a record has the same bytes as MinIO's, which
//! consumers compare and sign.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

/// Writes a value.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::with_capacity(RECORD_BYTES_USUAL);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, GoFormatter);
    value.serialize(&mut serializer).expect("a record is made of strings, numbers and maps of strings");
    text
}

/// Most records are shorter, in bytes; longer ones grow.
const RECORD_BYTES_USUAL: usize = 1536;

/// Writes an object, member by member: for records that are told of every change, less work than to describe them to a
/// serializer, which looks through each name for what must be escaped.
pub(super) fn object(members: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut text = Vec::with_capacity(RECORD_BYTES_USUAL);
    write_object(&mut text, members);
    text
}

/// An object that is being written. Names that are constants are written as they are: none of them has to be escaped.
pub(super) struct Object<'a> {
    text: &'a mut Vec<u8>,
    has_members: bool,
}

impl Object<'_> {
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        write_text(self.text, value);
    }

    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        self.text.extend_from_slice(value.to_string().as_bytes());
    }

    pub(super) fn null(&mut self, name: &'static str) {
        self.name(name);
        self.text.extend_from_slice(b"null");
    }

    pub(super) fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        write_object(self.text, members);
    }

    /// An array of one object.
    pub(super) fn array_of(&mut self, name: &'static str, members: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        self.text.push(b'[');
        write_object(self.text, members);
        self.text.push(b']');
    }

    /// A text under a name that is no constant.
    pub(super) fn entry(&mut self, name: &str, value: &str) {
        self.begin_member();
        write_text(self.text, name);
        self.text.push(b':');
        write_text(self.text, value);
    }

    fn name(&mut self, name: &'static str) {
        self.begin_member();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    fn begin_member(&mut self) {
        if std::mem::replace(&mut self.has_members, true) {
            self.text.push(b',');
        }
    }
}

fn write_object(text: &mut Vec<u8>, members: impl FnOnce(&mut Object<'_>)) {
    text.push(b'{');
    members(&mut Object { text, has_members: false });
    text.push(b'}');
}

fn write_text(text: &mut Vec<u8>, value: &str) {
    let is_plain =
        |byte| byte >= b' ' && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | FIRST_OF_SEPARATORS);
    if !value.bytes().all(is_plain) {
        text.extend(to_json(&value));
        return;
    }
    text.push(b'"');
    text.extend_from_slice(value.as_bytes());
    text.push(b'"');
}

/// The first byte of U+2028 and U+2029 in UTF-8.
const FIRST_OF_SEPARATORS: u8 = 0xe2;

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Most strings have none of the five: bytes are looked through faster than characters, and without leaving off
        // at the first many at once.
        let is_special = |byte| matches!(byte, b'<' | b'>' | b'&' | FIRST_OF_SEPARATORS);
        if !fragment.bytes().fold(false, |found, byte| found | is_special(byte)) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, from) = rest.split_at(at);
            let escaped = from.chars().next().expect("find gave the place of a character");
            write!(writer, "{plain}\\u{:04x}", u32::from(escaped))?;
            rest = &from[escaped.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{object, to_json};

    #[test]
    fn strings_are_escaped_as_go_does() {
        let text = to_json(&"a<b>&c\u{2028}\u{2029} \"\\\n\u{1}ü");
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "\"a\\u003cb\\u003e\\u0026c\\u2028\\u2029 \\\"\\\\\\n\\u0001ü\""
        );
    }

    #[test]
    fn an_object_has_its_members_in_their_order() {
        let text = object(|outer| {
            outer.text("a", "b");
            outer.null("c");
            outer.object("d", |inner| inner.number("e", 1));
            outer.array_of("f", |_| {});
            outer.entry("<", "&");
        });
        let expected = r#"{"a":"b","c":null,"d":{"e":1},"f":[{}],"\u003c":"\u0026"}"#;
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn a_text_of_an_object_is_escaped_as_any_other(text in "(\\PC|[\"\\\\<>&\\x00-\\x7f\u{2028}\u{2029}])*") {
            let expected = [b"{\"a\":", &to_json(&text)[..], b"}"].concat();
            prop_assert_eq!(object(|object| object.text("a", &text)), expected);
        }
    }
}
