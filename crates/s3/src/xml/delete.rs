//! The body of DeleteObjects. S3 API reference, "Delete".

use super::tree::{Element, malformed};
use crate::error::Refusal;
use crate::etag;
use crate::time;

/// Which objects to delete, and how much to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// The objects, in the order sent; duplicates are allowed.
    pub objects: Vec<DeleteEntry>,
    /// Whether the answer names failures only.
    pub quiet: bool,
}

/// One object to delete, with the conditions of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeleteEntry {
    /// The key, not checked.
    pub key: String,
    /// The version; `None` when absent or empty.
    pub version_id: Option<String>,
    /// The tag the object must have, without quotes; `*` for any.
    pub etag: Option<String>,
    /// When the object must have been modified last, in seconds since 1970.
    pub last_modified_s: Option<i64>,
    /// The size the object must have, in bytes.
    pub size_bytes: Option<u64>,
}

impl Delete {
    /// Most objects of one request.
    pub const OBJECT_COUNT_MAX: usize = 1000;

    /// Longest body, in bytes: 8 MiB. A thousand keys of 1024 bytes, each written as an entity of up
    /// to six, and what is around them.
    pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

    /// Reads the body.
    ///
    /// # Errors
    ///
    /// `MalformedXML` when it is anything else than this document, names no object or more than
    /// [`Delete::OBJECT_COUNT_MAX`], or an object has no key or an unreadable condition.
    pub fn parse(body: &[u8]) -> Result<Delete, Refusal> {
        let root = Element::parse(body, "Delete", Delete::BODY_BYTES_MAX)?;
        let objects: Vec<DeleteEntry> = root.children_of("Object").map(entry).collect::<Result<_, _>>()?;
        if !(1..=Delete::OBJECT_COUNT_MAX).contains(&objects.len()) {
            return Err(malformed());
        }
        Ok(Delete { objects, quiet: root.flag_of("Quiet")? })
    }
}

fn entry(element: &Element) -> Result<DeleteEntry, Refusal> {
    let last_modified_s = element
        .word_of("LastModifiedTime")
        .map(|text| {
            let iso = time::parse_iso8601_ms(text).map(|ms| ms.div_euclid(1000));
            time::parse_http_date(text).or(iso).ok_or_else(malformed)
        })
        .transpose()?;
    let size_bytes = element.word_of("Size").map(|text| text.parse().map_err(|_| malformed())).transpose()?;
    Ok(DeleteEntry {
        key: element.text_of("Key").filter(|key| !key.is_empty()).ok_or_else(malformed)?.to_owned(),
        version_id: element.word_of("VersionId").map(str::to_owned),
        etag: element.word_of("ETag").map(|tag| etag::unquoted(tag).to_owned()),
        last_modified_s,
        size_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::{Delete, DeleteEntry};
    use crate::error::ErrorCode;

    #[test]
    fn objects_keep_their_order_their_blanks_and_their_conditions() {
        let body = "<Delete><Object><Key> a&amp;b </Key><VersionId></VersionId></Object>\
                    <Object><Key>c</Key><VersionId>null</VersionId><ETag>\"x\"</ETag><Size>3</Size>\
                    <LastModifiedTime>Thu, 15 Jan 2026 12:00:00 GMT</LastModifiedTime></Object>\
                    <Quiet>true</Quiet></Delete>";

        let plain = DeleteEntry { key: " a&b ".to_owned(), ..DeleteEntry::default() };
        let conditional = DeleteEntry {
            key: "c".to_owned(),
            version_id: Some("null".to_owned()),
            etag: Some("x".to_owned()),
            last_modified_s: Some(1_768_478_400),
            size_bytes: Some(3),
        };
        assert_eq!(
            Delete::parse(body.as_bytes()),
            Ok(Delete { objects: vec![plain, conditional], quiet: true })
        );
    }

    #[test]
    fn none_too_many_and_nameless_objects_are_malformed() {
        let many = |count| format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(count));
        let code = |body: &str| Delete::parse(body.as_bytes()).map(|_| ()).map_err(|refusal| refusal.code);

        assert_eq!(code(&many(1000)), Ok(()));
        for body in [many(0), many(1001), "<Delete><Object/></Delete>".to_owned(), "<Objects/>".to_owned()] {
            assert_eq!(code(&body), Err(ErrorCode::MalformedXML));
        }
        let bad_size = "<Delete><Object><Key>k</Key><Size>x</Size></Object></Delete>";
        assert_eq!(code(bad_size), Err(ErrorCode::MalformedXML));
    }
}
