//! The reader of request bodies: a small element tree, bounded in bytes, depth and elements.
//!
//! Names are without their namespace prefix, since clients send the namespace, another one or none.
//! Text is kept as sent, blanks included: it may be an object key.

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use crate::error::{ErrorCode, Refusal};

/// Largest body of a document that has no larger bound of its own, in bytes: 1 MiB.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Deepest nesting accepted; S3's own documents reach seven.
const DEPTH_MAX: usize = 32;

/// Most elements accepted in one body: 10,000 parts of up to twelve elements fit.
const ELEMENT_COUNT_MAX: usize = 128 * 1024;

/// One element: its local name, its text, its children in the order sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// The name without a namespace prefix.
    pub name: String,
    /// All text directly inside, references resolved, blanks kept.
    pub text: String,
    /// The elements directly inside.
    pub children: Vec<Element>,
}

impl Element {
    /// Reads a document whose root must be `root`, of at most `body_bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// `MalformedXML` when it is too long, is not UTF-8, is not well-formed, has another root, is
    /// nested too deeply, has too many elements, or declares a document type.
    pub fn parse(body: &[u8], root: &str, body_bytes_max: usize) -> Result<Element, Refusal> {
        if body.len() > body_bytes_max {
            return Err(malformed());
        }
        let text = std::str::from_utf8(body).map_err(|_| malformed())?;
        let element = read_tree(text.strip_prefix('\u{feff}').unwrap_or(text)).ok_or_else(malformed)?;
        if element.name == root { Ok(element) } else { Err(malformed()) }
    }

    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of this name, in the order sent.
    pub fn children_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of this name, blanks kept.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// The text of the first child of this name without surrounding blanks; `None` also when
    /// nothing is left. For everything but keys, prefixes and suffixes.
    pub fn word_of(&self, name: &str) -> Option<&str> {
        self.text_of(name).map(str::trim).filter(|word| !word.is_empty())
    }

    /// The boolean in the first child of this name: `true` or `false` in any case; absent or empty
    /// is false.
    ///
    /// # Errors
    ///
    /// `MalformedXML` for any other text.
    pub fn flag_of(&self, name: &str) -> Result<bool, Refusal> {
        match self.word_of(name) {
            None => Ok(false),
            Some(word) if word.eq_ignore_ascii_case("true") => Ok(true),
            Some(word) if word.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(malformed()),
        }
    }
}

/// The answer to every body that is not the document it should be.
pub(super) fn malformed() -> Refusal {
    Refusal::new(ErrorCode::MalformedXML)
}

/// The root of a well-formed document within the bounds, or `None`.
fn read_tree(text: &str) -> Option<Element> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut element_count = 0;
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                element_count += 1;
                if root.is_some() || open.len() == DEPTH_MAX || element_count > ELEMENT_COUNT_MAX {
                    return None;
                }
                open.push(named(&tag));
            }
            Event::Empty(tag) => {
                element_count += 1;
                if root.is_some() || open.len() == DEPTH_MAX || element_count > ELEMENT_COUNT_MAX {
                    return None;
                }
                place(&mut open, &mut root, named(&tag));
            }
            Event::End(_) => {
                let element = open.pop()?;
                place(&mut open, &mut root, element);
            }
            Event::Text(text) => append(&mut open, &text.xml10_content())?,
            Event::CData(text) => append(&mut open, &text.xml10_content())?,
            Event::GeneralRef(reference) => append(&mut open, resolve(&reference)?.encode_utf8(&mut [0; 4]))?,
            // A document type could declare entities; S3 knows none.
            Event::DocType(_) => return None,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return if open.is_empty() { root } else { None },
        }
    }
}

fn named(tag: &BytesStart<'_>) -> Element {
    Element { name: tag.local_name().into_inner().to_owned(), ..Element::default() }
}

fn place(open: &mut [Element], root: &mut Option<Element>, element: Element) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

/// Adds text to the innermost open element; outside the root only blanks may stand.
fn append(open: &mut [Element], text: &str) -> Option<()> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return None,
    }
    Some(())
}

fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character);
    }
    match &**reference {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::{BODY_BYTES_MAX, DEPTH_MAX, Element};

    fn parse(body: &str) -> Option<Element> {
        Element::parse(body.as_bytes(), "R", BODY_BYTES_MAX).ok()
    }

    #[test]
    fn namespaces_attributes_comments_and_declarations_do_not_matter() {
        let plain = parse("<R><K>a</K></R>");

        assert!(plain.is_some());
        for body in [
            "<?xml version=\"1.0\"?>\n<R xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><K>a</K></R>\n",
            "<s3:R xmlns:s3='x'><s3:K a=\"b\">a</s3:K></s3:R>",
            "\u{feff}<R><!-- x --><K><![CDATA[a]]></K></R>",
        ] {
            assert_eq!(parse(body), plain, "{body}");
        }
    }

    #[test]
    fn references_are_resolved_and_blanks_of_text_kept() {
        let root = parse("<R><K> a&amp;b&#x41;&#10;&quot;&lt; </K></R>").unwrap();

        assert_eq!(root.text_of("K"), Some(" a&bA\n\"< "));
        assert_eq!(root.word_of("K"), Some("a&bA\n\"<"));
    }

    #[test]
    fn what_is_not_one_well_formed_document_is_refused() {
        for body in [
            "",
            "x",
            "<S/>",
            "<R>",
            "<R></S>",
            "<R/><R/>",
            "<R/>x",
            "<R>&nbsp;</R>",
            "<!DOCTYPE R [<!ENTITY a \"b\">]><R>&a;</R>",
        ] {
            assert_eq!(parse(body), None, "{body}");
        }
    }

    #[test]
    fn depth_and_length_have_a_bound() {
        let nested = |depth: usize| format!("<R>{}{}</R>", "<a>".repeat(depth), "</a>".repeat(depth));

        assert!(parse(&nested(DEPTH_MAX - 1)).is_some());
        assert_eq!(parse(&nested(DEPTH_MAX)), None);
        assert!(Element::parse(b"<R/>", "R", 4).is_ok());
        assert!(Element::parse(b"<R/> ", "R", 4).is_err());
    }

    #[test]
    fn a_flag_is_true_false_or_a_mistake() {
        let root = parse("<R><A>TRUE</A><B>false</B><C/><D>yes</D></R>").unwrap();

        assert_eq!(root.flag_of("A"), Ok(true));
        assert_eq!(root.flag_of("B"), Ok(false));
        assert_eq!(root.flag_of("C"), Ok(false));
        assert_eq!(root.flag_of("absent"), Ok(false));
        assert!(root.flag_of("D").is_err());
    }

    proptest! {
        /// No body makes the reader panic.
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Element::parse(&body, "R", BODY_BYTES_MAX);
        }

        /// Nor does anything that looks like XML.
        #[test]
        fn any_near_xml_is_read_or_refused(body in "(<R>|</R>|<a|/>|&#x|;|&amp;|<!\\[CDATA\\[|\\]\\]>|[a-z ]){0,40}") {
            let _ = Element::parse(body.as_bytes(), "R", BODY_BYTES_MAX);
        }
    }
}
