//! The body of CompleteMultipartUpload. S3 API reference, "CompletedMultipartUpload".

use super::tree::{Element, malformed};
use crate::checksum::{Checksum, ChecksumAlgorithm};
use crate::error::{ErrorCode, Refusal};
use crate::etag;

/// The parts that make the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteMultipartUpload {
    /// The parts, their numbers strictly ascending; at least one.
    pub parts: Vec<CompletedPart>,
}

/// One part as the client remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// The number, 1 to [`CompleteMultipartUpload::PART_NUMBER_MAX`].
    pub number: u32,
    /// The tag that uploading it returned, without quotes.
    pub etag: String,
    /// The checksums that uploading it returned; in practice one or none.
    pub checksums: Vec<Checksum>,
}

impl CompleteMultipartUpload {
    /// Largest part number, and so the most parts of one object.
    pub const PART_NUMBER_MAX: u32 = 10_000;

    /// Longest body, in bytes: 4 MiB, which leaves 419 for each of 10,000 parts.
    pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

    /// Reads the body.
    ///
    /// # Errors
    ///
    /// `MalformedXML` when it is anything else than this document, has no part, or a part has no
    /// number or no tag; `InvalidPart` for a number that no part has and for a malformed checksum;
    /// `InvalidPartOrder` unless the numbers are strictly ascending: a number sent twice would
    /// double its bytes.
    pub fn parse(body: &[u8]) -> Result<CompleteMultipartUpload, Refusal> {
        let root = Element::parse(body, "CompleteMultipartUpload", Self::BODY_BYTES_MAX)?;
        let parts: Vec<CompletedPart> = root.children_of("Part").map(part).collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return Err(malformed());
        }
        if !parts.is_sorted_by(|earlier, later| earlier.number < later.number) {
            return Err(ErrorCode::InvalidPartOrder.into());
        }
        Ok(CompleteMultipartUpload { parts })
    }
}

fn part(element: &Element) -> Result<CompletedPart, Refusal> {
    let number = element.word_of("PartNumber").ok_or_else(malformed)?;
    let number: i64 = number.parse().map_err(|_| malformed())?;
    let number = u32::try_from(number)
        .ok()
        .filter(|number| (1..=CompleteMultipartUpload::PART_NUMBER_MAX).contains(number))
        .ok_or_else(|| Refusal::new(ErrorCode::InvalidPart).element("PartNumber", number.to_string()))?;
    let etag = etag::unquoted(element.word_of("ETag").ok_or_else(malformed)?).to_owned();
    let mut checksums = Vec::new();
    for algorithm in ChecksumAlgorithm::ALL {
        if let Some(value) = element.word_of(algorithm.element()) {
            let checksum = Checksum::parse(algorithm, value).ok_or_else(|| {
                Refusal::new(ErrorCode::InvalidPart).element("PartNumber", number.to_string())
            })?;
            checksums.push(checksum);
        }
    }
    Ok(CompletedPart { number, etag, checksums })
}

#[cfg(test)]
mod tests {
    use super::{CompleteMultipartUpload, CompletedPart};
    use crate::checksum::{Checksum, ChecksumAlgorithm};
    use crate::error::ErrorCode;

    fn parse(parts: &str) -> Result<Vec<CompletedPart>, ErrorCode> {
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let parsed = CompleteMultipartUpload::parse(body.as_bytes());
        parsed.map(|document| document.parts).map_err(|refusal| refusal.code)
    }

    #[test]
    fn parts_come_with_their_tag_and_their_checksum_whatever_the_quotes() {
        let parts = "<Part><ETag>&quot;aa&quot;</ETag><PartNumber>1</PartNumber>\
                     <ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part>\
                     <Part><PartNumber>7</PartNumber><ETag>bb</ETag><Extra>x</Extra></Part>";

        let checksum = Checksum::parse(ChecksumAlgorithm::Crc32, "y/Q5Jg==").unwrap();
        assert_eq!(
            parse(parts),
            Ok(vec![
                CompletedPart { number: 1, etag: "aa".to_owned(), checksums: vec![checksum] },
                CompletedPart { number: 7, etag: "bb".to_owned(), checksums: vec![] },
            ])
        );
    }

    #[test]
    fn numbers_must_ascend_strictly() {
        let part = |number: &str| format!("<Part><PartNumber>{number}</PartNumber><ETag>a</ETag></Part>");

        assert_eq!(parse(&(part("1") + &part("1"))), Err(ErrorCode::InvalidPartOrder));
        assert_eq!(parse(&(part("2") + &part("1"))), Err(ErrorCode::InvalidPartOrder));
        for number in ["0", "-1", "10001", "99999999999"] {
            assert_eq!(parse(&part(number)), Err(ErrorCode::InvalidPart), "{number}");
        }
    }

    #[test]
    fn nothing_and_half_a_part_are_malformed() {
        for parts in [
            "",
            "<Part><PartNumber>1</PartNumber></Part>",
            "<Part><ETag>a</ETag></Part>",
            "<Part><PartNumber>x</PartNumber><ETag>a</ETag></Part>",
        ] {
            assert_eq!(parse(parts), Err(ErrorCode::MalformedXML), "{parts}");
        }
    }
}
