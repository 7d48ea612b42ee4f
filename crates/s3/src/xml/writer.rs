//! The writer of answers: elements in the order called, text escaped, keys encoded when asked for.
//!
//! `& < > " '` become entities; TAB, LF and CR, which a parser would otherwise normalise, become
//! character references. Other control characters cannot stand in XML 1.0 in any form; they are
//! written as references too, which loses nothing for clients that asked for `encoding-type=url`,
//! where they arrive percent-encoded and this never happens.

use std::fmt::{Display, Write as _};

use crate::error::{ErrorCode, Refusal};
use crate::percent;

/// The namespace of S3's documents; it stands on the root of answers, but for errors.
pub const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// How a listing writes keys, prefixes and markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyEncoding {
    /// As they are, escaped for XML.
    #[default]
    Plain,
    /// Percent-encoded (`encoding-type=url`), slashes kept.
    Url,
}

impl KeyEncoding {
    /// Reads the query parameter `encoding-type`; absent or empty is plain.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for anything but `url`.
    pub fn parse(parameter: Option<&str>) -> Result<KeyEncoding, Refusal> {
        match parameter {
            None | Some("") => Ok(KeyEncoding::Plain),
            Some(url) if url.eq_ignore_ascii_case("url") => Ok(KeyEncoding::Url),
            Some(other) => Err(Refusal::with(
                ErrorCode::InvalidArgument,
                "Invalid Encoding Method specified in Request.",
            )
            .element("ArgumentName", "encoding-type")
            .element("ArgumentValue", other)),
        }
    }
}

/// Writes one XML document.
#[derive(Debug)]
pub struct Writer {
    out: String,
    open: Vec<&'static str>,
}

impl Writer {
    /// Begins a document with a declaration and a root without a namespace.
    pub fn document(root: &'static str) -> Writer {
        let mut writer = Writer { out: String::with_capacity(512), open: Vec::with_capacity(8) };
        writer.out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        writer.open(root);
        writer
    }

    /// Begins a document with a declaration and a root in S3's namespace.
    pub fn s3_document(root: &'static str) -> Writer {
        let mut writer = Writer { out: String::with_capacity(512), open: Vec::with_capacity(8) };
        writer.out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        writer.open_with(root, &[("xmlns", NAMESPACE)]);
        writer
    }

    /// Begins a document in S3's namespace without a declaration, as MinIO answers for the
    /// notification configuration.
    pub fn s3_fragment(root: &'static str) -> Writer {
        let mut writer = Writer { out: String::new(), open: Vec::new() };
        writer.open_with(root, &[("xmlns", NAMESPACE)]);
        writer
    }

    /// Begins a document in another namespace, without a declaration.
    pub fn fragment(root: &'static str, namespace: &str) -> Writer {
        let mut writer = Writer { out: String::new(), open: Vec::new() };
        writer.open_with(root, &[("xmlns", namespace)]);
        writer
    }

    /// Opens an element; what follows goes into it until [`Writer::close`].
    pub fn open(&mut self, name: &'static str) {
        self.open_with(name, &[]);
    }

    /// Opens an element with attributes.
    pub fn open_with(&mut self, name: &'static str, attributes: &[(&str, &str)]) {
        self.out.push('<');
        self.out.push_str(name);
        for (attribute, value) in attributes {
            self.out.push(' ');
            self.out.push_str(attribute);
            self.out.push_str("=\"");
            escape(&mut self.out, value);
            self.out.push('"');
        }
        self.out.push('>');
        self.open.push(name);
    }

    /// Closes the element opened last; the root is closed by [`Writer::finish`].
    ///
    /// # Panics
    ///
    /// When no element is open: our own mistake, never a client's.
    pub fn close(&mut self) {
        let name = self.open.pop().expect("an element is open");
        self.end(name);
    }

    /// Writes text into the open element.
    pub fn content(&mut self, text: &str) {
        escape(&mut self.out, text);
    }

    /// Writes one element with text in it.
    pub fn text(&mut self, name: &str, text: &str) {
        self.begin(name);
        escape(&mut self.out, text);
        self.end(name);
    }

    /// Writes one element with text in it, if there is any text to write.
    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Writes one element with a number or a boolean in it; booleans are lower case, since boto3
    /// reads anything else as false.
    pub fn value(&mut self, name: &str, value: impl Display) {
        self.begin(name);
        write!(self.out, "{value}").expect("writing to a string succeeds");
        self.end(name);
    }

    /// Writes one element with a key, a prefix, a marker or a delimiter in it.
    pub fn key(&mut self, name: &str, key: &str, encoding: KeyEncoding) {
        match encoding {
            KeyEncoding::Plain => self.text(name, key),
            KeyEncoding::Url => self.text(name, &percent::encode_path(key.as_bytes())),
        }
    }

    /// Closes what is open and returns the document.
    pub fn finish(mut self) -> String {
        while let Some(name) = self.open.pop() {
            self.end(name);
        }
        self.out
    }

    fn begin(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    fn end(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }
}

fn escape(out: &mut String, text: &str) {
    let mut plain_from = 0;
    for (at, character) in text.char_indices() {
        let entity = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&#34;",
            '\'' => "&#39;",
            '\t' => "&#x9;",
            '\n' => "&#xA;",
            '\r' => "&#xD;",
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str(&text[plain_from..at]);
                write!(out, "&#x{:X};", u32::from(character)).expect("writing to a string succeeds");
                plain_from = at + character.len_utf8();
                continue;
            }
            _ => continue,
        };
        out.push_str(&text[plain_from..at]);
        out.push_str(entity);
        plain_from = at + character.len_utf8();
    }
    out.push_str(&text[plain_from..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::{KeyEncoding, Writer};
    use crate::xml::{BODY_BYTES_MAX, Element};

    #[test]
    fn elements_come_in_order_and_the_root_is_closed_at_the_end() {
        let mut writer = Writer::s3_document("ListBucketResult");
        writer.value("IsTruncated", false);
        writer.open("Contents");
        writer.text("ETag", "\"x\"");
        writer.close();
        writer.optional("Delimiter", None);

        assert_eq!(
            writer.finish(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <IsTruncated>false</IsTruncated><Contents><ETag>&#34;x&#34;</ETag></Contents></ListBucketResult>"
        );
    }

    #[test]
    fn the_only_encoding_there_is_is_url() {
        assert_eq!(KeyEncoding::parse(None), Ok(KeyEncoding::Plain));
        assert_eq!(KeyEncoding::parse(Some("url")), Ok(KeyEncoding::Url));
        assert!(KeyEncoding::parse(Some("base64")).is_err());
    }

    #[test]
    fn a_key_is_percent_encoded_only_when_asked_for() {
        let mut writer = Writer::document("R");
        writer.key("Key", "foo+1/b r\u{1}", KeyEncoding::Url);
        writer.key("Key", "a\tb\u{1}'", KeyEncoding::Plain);

        let document = writer.finish();

        assert!(document.contains("<Key>foo%2B1/b%20r%01</Key>"), "{document}");
        assert!(document.contains("<Key>a&#x9;b&#x1;&#39;</Key>"), "{document}");
    }

    proptest! {
        /// Whatever the text (but NUL, which no key holds), the reader returns what was written.
        #[test]
        fn any_text_survives_escaping(text in "[^\u{0}]{0,80}") {
            let mut writer = Writer::document("R");
            writer.text("Key", &text);
            let document = writer.finish();
            let root = Element::parse(document.as_bytes(), "R", BODY_BYTES_MAX).unwrap();
            prop_assert_eq!(root.text_of("Key"), Some(text.as_str()));
        }
    }
}
