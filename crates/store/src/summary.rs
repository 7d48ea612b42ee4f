//! What a record tells of an object: size, entity tag, content type and metadata.

use crate::change::ObjectSummary;
use crate::object::{ETag, ObjectHeaders};

/// Content type of an object whose client gave none. S3 API reference, PutObject.
pub const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";

/// System headers that records tell beside the content type; `expires` is not among them.
const SYSTEM_TOLD: [&str; 4] =
    ["cache-control", "content-disposition", "content-encoding", "content-language"];

/// The summary of an object, in the form that MinIO's records have.
pub(crate) fn summary(size_bytes: u64, etag: &ETag, headers: &ObjectHeaders) -> ObjectSummary {
    let content_type = headers.system("content-type").unwrap_or(CONTENT_TYPE_DEFAULT);
    let mut metadata: Vec<(String, String)> = headers
        .user
        .iter()
        .map(|(name, value)| (canonical(&format!("x-amz-meta-{name}")), value.clone()))
        .collect();
    for name in SYSTEM_TOLD {
        if let Some(value) = headers.system(name) {
            metadata.push((name.to_owned(), value.to_owned()));
        }
    }
    metadata.push(("content-type".to_owned(), content_type.to_owned()));
    if let Some(class) = headers.storage_class.as_deref().filter(|&class| class != "STANDARD") {
        metadata.push(("x-amz-storage-class".to_owned(), class.to_owned()));
    }
    metadata.sort();
    ObjectSummary {
        size_bytes,
        etag: etag.0.clone(),
        content_type: content_type.to_owned(),
        metadata,
        // No request can tag an object as yet.
        tags: Vec::new(),
    }
}

/// A header's name with the first letter and every letter after a dash in upper case, the rest in lower.
fn canonical(name: &str) -> String {
    let mut begins_word = true;
    let letters = name.chars().map(|letter| {
        let cased = if begins_word { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
        begins_word = letter == '-';
        cased
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::summary;
    use crate::change::ObjectSummary;
    use crate::object::{ETag, ObjectHeaders};

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn metadata_is_told_in_canonical_case_and_sorted_by_bytes_and_expires_is_not() {
        let headers = ObjectHeaders {
            system: pairs(&[
                ("cache-control", "no-cache"),
                ("content-disposition", "inline"),
                ("content-encoding", "gzip"),
                ("content-language", "de"),
                ("content-type", "text/plain"),
                ("expires", "Thu, 01 Dec 1994 16:00:00 GMT"),
                ("x-amz-website-redirect-location", "/a"),
            ]),
            user: pairs(&[("color", "red"), ("n", "1"), ("two-words--x", "y")]),
            storage_class: Some("REDUCED_REDUNDANCY".to_owned()),
        };

        let told = summary(5, &ETag("5d41402abc4b2a76b9719d911017c592".to_owned()), &headers);

        let expected = ObjectSummary {
            size_bytes: 5,
            etag: "5d41402abc4b2a76b9719d911017c592".to_owned(),
            content_type: "text/plain".to_owned(),
            metadata: pairs(&[
                ("X-Amz-Meta-Color", "red"),
                ("X-Amz-Meta-N", "1"),
                ("X-Amz-Meta-Two-Words--X", "y"),
                ("cache-control", "no-cache"),
                ("content-disposition", "inline"),
                ("content-encoding", "gzip"),
                ("content-language", "de"),
                ("content-type", "text/plain"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ]),
            tags: vec![],
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn an_object_without_headers_still_tells_a_content_type_and_no_class() {
        let headers =
            ObjectHeaders { storage_class: Some("STANDARD".to_owned()), ..ObjectHeaders::default() };
        let told = summary(0, &ETag(String::new()), &headers);
        assert_eq!(told.content_type, "binary/octet-stream");
        assert_eq!(told.metadata, pairs(&[("content-type", "binary/octet-stream")]));
    }
}
