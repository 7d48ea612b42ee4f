//! The key schema and the records behind the keys. `docs/formats.md` has the tables.
//!
//! A key begins with the letter of its table, and byte order of keys is the order listings give. Names are
//! ended by a zero byte, which no name holds; numbers are big endian. A record's value begins with
//! [`FORMAT`]; the rest of it, and the head of an object's payload, is postcard. What is not of a known
//! form is `Error::Unreadable`, never guessed at.
//!
//! Everything of a bucket stands under prefixes that hold its name, so that removing the bucket removes
//! it all in one batch without a walk.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::change::{Change, Sequence};
use crate::engine::KeyRange;
use crate::error::Error;
use crate::names::{BucketName, ObjectKey, UploadId};
use crate::object::{Checksum, ChecksumAlgorithm, ETag, ObjectHeaders};

/// First byte of every value: the form of the record, payload included.
pub(crate) const FORMAT: u8 = 1;

/// Prefix of all bucket records.
pub(crate) const BUCKETS: &[u8] = b"b";
/// Prefix of all cursors.
pub(crate) const CURSORS: &[u8] = b"c";
/// Prefix of all dead letters.
pub(crate) const DEAD_LETTERS: &[u8] = b"d";
/// Prefix of all gaps.
pub(crate) const GAPS: &[u8] = b"g";
/// Prefix of all pauses.
pub(crate) const PAUSES: &[u8] = b"h";
/// Prefix of all settings.
pub(crate) const SETTINGS: &[u8] = b"s";

/// Place of the null version behind an object's key. Other versions will have the inverted ordinal of
/// their writing here, so that newer ones come first; no ordinal inverts to zero.
pub(crate) const NULL_PLACE: [u8; 8] = [0; 8];

/// Length of what follows the key and its zero byte in an object's key, in bytes.
pub(crate) const PLACE_BYTES: usize = NULL_PLACE.len();
/// Length of what follows the key and its zero byte in an upload's key, in bytes.
pub(crate) const UPLOAD_ID_BYTES: usize = 16;

/// Key of a bucket's record.
pub(crate) fn bucket_key(bucket: &BucketName) -> Bytes {
    join(&[BUCKETS, bucket.as_str().as_bytes()])
}

/// Prefix of all objects of a bucket; an object's key and [`PLACE_BYTES`] more follow.
pub(crate) fn objects(bucket: &BucketName) -> Bytes {
    join(&[b"o", bucket.as_str().as_bytes(), b"\0"])
}

/// Key of the null version of an object.
pub(crate) fn object_key(bucket: &BucketName, key: &ObjectKey) -> Bytes {
    join(&[b"o", bucket.as_str().as_bytes(), b"\0", key.as_str().as_bytes(), b"\0", &NULL_PLACE])
}

/// Prefix of all uploads of a bucket; the object's key and [`UPLOAD_ID_BYTES`] more follow.
pub(crate) fn uploads(bucket: &BucketName) -> Bytes {
    join(&[b"u", bucket.as_str().as_bytes(), b"\0"])
}

/// Key of an upload. Its id begins with the time of its creation: uploads of a key sort by it.
pub(crate) fn upload_key(bucket: &BucketName, key: &ObjectKey, id: UploadId) -> Bytes {
    join(&[b"u", bucket.as_str().as_bytes(), b"\0", key.as_str().as_bytes(), b"\0", &id.0.to_be_bytes()])
}

/// Prefix of all parts of all uploads of a bucket.
pub(crate) fn bucket_parts(bucket: &BucketName) -> Bytes {
    join(&[b"p", bucket.as_str().as_bytes(), b"\0"])
}

/// Prefix of all parts of an upload.
pub(crate) fn parts(bucket: &BucketName, id: UploadId) -> Bytes {
    join(&[&bucket_parts(bucket), &id.0.to_be_bytes()])
}

/// Key of a part.
pub(crate) fn part_key(bucket: &BucketName, id: UploadId, number: u32) -> Bytes {
    join(&[&parts(bucket, id), &number.to_be_bytes()])
}

/// Key of a target's cursor.
pub(crate) fn cursor_key(target: &str) -> Bytes {
    join(&[CURSORS, target.as_bytes()])
}

/// The target of a cursor's key; `None` when it is none.
pub(crate) fn cursor_target(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(CURSORS)?).ok()
}

/// The keys of all cursors.
pub(crate) fn cursors() -> KeyRange {
    KeyRange::prefix(CURSORS)
}

/// Prefix of all dead letters of a target; the sequence of a change follows.
pub(crate) fn dead_letters(target: &str) -> Bytes {
    join(&[DEAD_LETTERS, target.as_bytes(), b"\0"])
}

/// Key of a dead letter.
pub(crate) fn dead_letter_key(target: &str, sequence: Sequence) -> Bytes {
    join(&[&dead_letters(target), &sequence.0.to_be_bytes()])
}

/// Prefix of all gaps of a target; the name of a bucket follows.
pub(crate) fn gaps(target: &str) -> Bytes {
    join(&[GAPS, target.as_bytes(), b"\0"])
}

/// Key of a gap.
pub(crate) fn gap_key(target: &str, bucket: &BucketName) -> Bytes {
    join(&[&gaps(target), bucket.as_str().as_bytes()])
}

/// Key of a target's pause.
pub(crate) fn pause_key(target: &str) -> Bytes {
    join(&[PAUSES, target.as_bytes()])
}

/// Key of a setting, and prefix of all settings whose name begins so.
pub(crate) fn setting_key(name: &str) -> Bytes {
    join(&[SETTINGS, name.as_bytes()])
}

/// The smallest key greater than `key`.
pub(crate) fn just_after(key: &[u8]) -> Bytes {
    join(&[key, b"\0"])
}

/// Splits what follows a table's prefix into the object's key and the `suffix_bytes` behind its zero byte.
pub(crate) fn split_name(
    key: &[u8],
    prefix_bytes: usize,
    suffix_bytes: usize,
) -> Result<(&str, &[u8]), Error> {
    let malformed = || unreadable(key, "its key is not of the form name, zero byte, suffix");
    let rest = key.get(prefix_bytes..).ok_or_else(malformed)?;
    let name_bytes = rest.len().checked_sub(suffix_bytes + 1).ok_or_else(malformed)?;
    let (name, suffix) = rest.split_at(name_bytes);
    let name = std::str::from_utf8(name).map_err(|_| malformed())?;
    if suffix[0] != 0 {
        return Err(malformed());
    }
    Ok((name, &suffix[1..]))
}

fn join(pieces: &[&[u8]]) -> Bytes {
    Bytes::from(pieces.concat())
}

/// A bucket's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BucketRow {
    pub(crate) created_ms: u64,
    pub(crate) documents: BTreeMap<String, Vec<u8>>,
}

/// An object's value: what a listing needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectRow {
    pub(crate) size_bytes: u64,
    pub(crate) etag: CompactETag,
    pub(crate) modified_ms: u64,
    /// `None` for the null version.
    pub(crate) version: Option<u128>,
    /// Bit 0: a delete marker. The others are zero.
    pub(crate) flags: u8,
    pub(crate) storage_class: Option<String>,
    pub(crate) checksum: Option<(ChecksumAlgorithm, bool)>,
}

impl ObjectRow {
    /// Bit of `flags` that marks a delete marker.
    pub(crate) const DELETE_MARKER: u8 = 1;
}

/// The head of an object's payload: what HEAD and GET need beyond the row. The inline bytes follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectHead {
    pub(crate) headers: ObjectHeaders,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) parts: Vec<PartLine>,
    pub(crate) upload: Option<UploadId>,
    /// Sizes in bytes of the staged bodies, in the order of the entry's locations. The inline bytes come
    /// after all of them.
    pub(crate) staged_bytes: Vec<u64>,
}

/// A part of a completed object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartLine {
    pub(crate) number: u32,
    pub(crate) size_bytes: u64,
    pub(crate) etag: CompactETag,
    pub(crate) checksum: Option<String>,
}

/// An upload's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadRow {
    pub(crate) initiated_ms: u64,
    pub(crate) initiator: String,
    pub(crate) headers: ObjectHeaders,
    pub(crate) checksum: Option<(ChecksumAlgorithm, bool)>,
}

/// A part's value. Its payload is its bytes where they are inline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartRow {
    pub(crate) size_bytes: u64,
    pub(crate) etag: CompactETag,
    pub(crate) checksum: Option<String>,
    pub(crate) modified_ms: u64,
}

/// A cursor's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CursorRow {
    pub(crate) acknowledged: Sequence,
}

/// A dead letter's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadRow {
    pub(crate) change: Change,
    pub(crate) reason: String,
    pub(crate) tries: u32,
    pub(crate) died_ms: u64,
    /// What the encoding of a change leaves out: its rules, and the tags of its object.
    pub(crate) rules: Vec<String>,
    pub(crate) tags: Vec<(String, String)>,
}

/// A pause's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PauseRow {
    pub(crate) since_ms: u64,
}

/// An entity tag in as few bytes as it takes: listings carry a thousand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CompactETag {
    /// 32 lower-case hexadecimal digits.
    Md5([u8; 16]),
    /// The same, a dash, and the number of parts.
    Md5OfParts([u8; 16], u32),
    /// Anything else, as it is.
    Opaque(String),
}

impl From<&ETag> for CompactETag {
    fn from(etag: &ETag) -> CompactETag {
        let (digest, parts) = match etag.0.split_once('-') {
            Some((digest, parts)) => (digest, Some(parts)),
            None => (etag.0.as_str(), None),
        };
        let compact = match (from_hex(digest), parts) {
            (Some(digest), None) => Some(CompactETag::Md5(digest)),
            // Only what reads back as it was is kept compact: not `-007`.
            (Some(digest), Some(text)) => {
                let parts = text.parse::<u32>().ok().filter(|parts| parts.to_string() == text);
                parts.map(|parts| CompactETag::Md5OfParts(digest, parts))
            }
            (None, _) => None,
        };
        compact.unwrap_or_else(|| CompactETag::Opaque(etag.0.clone()))
    }
}

impl From<&CompactETag> for ETag {
    fn from(compact: &CompactETag) -> ETag {
        match compact {
            CompactETag::Md5(digest) => ETag(to_hex(digest)),
            CompactETag::Md5OfParts(digest, parts) => ETag(format!("{}-{parts}", to_hex(digest))),
            CompactETag::Opaque(text) => ETag(text.clone()),
        }
    }
}

/// The digest of 32 lower-case digits.
fn from_hex(text: &str) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut digest = [0; 16];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(digest)
}

fn to_hex(digest: &[u8; 16]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    let mut text = String::with_capacity(32);
    for byte in digest {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// A record as a value: [`FORMAT`], then postcard.
pub(crate) fn encode<T: Serialize>(record: &T) -> Bytes {
    let bytes = postcard::to_extend(record, vec![FORMAT]).expect("records serialize into memory");
    Bytes::from(bytes)
}

/// Reads what [`encode`] wrote; `key` is named in the error.
pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, Error> {
    from_postcard(key, check_format(key, value)?)
}

/// An opaque document as a value: [`FORMAT`], then its bytes.
pub(crate) fn encode_document(document: &[u8]) -> Bytes {
    join(&[&[FORMAT], document])
}

/// Reads what [`encode_document`] wrote.
pub(crate) fn decode_document(key: &[u8], value: &Bytes) -> Result<Bytes, Error> {
    Ok(value.slice_ref(check_format(key, value)?))
}

/// An object's payload: length of the head as four bytes, the head, the inline bytes.
pub(crate) fn encode_payload(head: &ObjectHead, inline: &[u8]) -> Bytes {
    let head = postcard::to_stdvec(head).expect("records serialize into memory");
    let head_bytes = u32::try_from(head.len()).expect("a head lists at most 10,000 parts");
    let mut payload = BytesMut::with_capacity(4 + head.len() + inline.len());
    payload.put_u32(head_bytes);
    payload.put_slice(&head);
    payload.put_slice(inline);
    payload.freeze()
}

/// Reads what [`encode_payload`] wrote: the head and the inline bytes.
pub(crate) fn decode_payload(key: &[u8], payload: &Bytes) -> Result<(ObjectHead, Bytes), Error> {
    let cut_short = || unreadable(key, "its payload is shorter than its head");
    let (length, rest) = payload.split_first_chunk::<4>().ok_or_else(cut_short)?;
    let head_bytes = u32::from_be_bytes(*length) as usize;
    let head = rest.get(..head_bytes).ok_or_else(cut_short)?;
    Ok((from_postcard(key, head)?, payload.slice(4 + head_bytes..)))
}

fn check_format<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Error> {
    match value.split_first() {
        Some((&FORMAT, rest)) => Ok(rest),
        Some((format, _)) => {
            Err(unreadable(key, &format!("its form is {format}, this version reads {FORMAT}")))
        }
        None => Err(unreadable(key, "it is empty")),
    }
}

fn from_postcard<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, Error> {
    match postcard::take_from_bytes(bytes) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(unreadable(key, &format!("{} bytes follow it", rest.len()))),
        Err(error) => Err(unreadable(key, &error.to_string())),
    }
}

/// The error of a record that cannot be read.
pub(crate) fn unreadable(key: &[u8], reason: &str) -> Error {
    Error::Unreadable { key: key.escape_ascii().to_string(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::{
        BucketRow, CompactETag, FORMAT, ObjectHead, ObjectRow, PLACE_BYTES, decode, decode_payload, encode,
        encode_payload, object_key, objects, part_key, split_name, upload_key,
    };
    use crate::error::Error;
    use crate::names::UploadId;
    use crate::object::{Checksum, ChecksumAlgorithm, ETag, ObjectHeaders};
    use crate::testing::fixture::{bucket, key};

    fn names() -> impl Strategy<Value = String> {
        "[ -~äöü\u{1}\u{7f}]{1,12}"
    }

    proptest! {
        /// Byte order of an object's key is byte order of its name, within its bucket.
        #[test]
        fn keys_of_objects_sort_as_their_names(one in names(), other in names()) {
            let album = bucket("album");
            let keys = (object_key(&album, &key(&one)), object_key(&album, &key(&other)));
            prop_assert_eq!(keys.0.cmp(&keys.1), one.cmp(&other));
            prop_assert!(keys.0.starts_with(&objects(&album)));
        }

        /// The name is read back from a key.
        #[test]
        fn a_name_is_read_back_from_its_key(name in names()) {
            let album = bucket("album");
            let record_key = object_key(&album, &key(&name));
            let split = split_name(&record_key, objects(&album).len(), PLACE_BYTES);
            prop_assert_eq!(split, Ok((name.as_str(), &[0u8; 8][..])));
        }

        /// Uploads sort by key, then by creation; parts by number.
        #[test]
        fn uploads_and_parts_sort_by_their_numbers(one in any::<u128>(), other in any::<u128>()) {
            let (album, rose) = (bucket("album"), key("rose"));
            let of = |id| upload_key(&album, &rose, UploadId(id));
            prop_assert_eq!(of(one).cmp(&of(other)), one.cmp(&other));
            let (one, other) = (one as u32, other as u32);
            let part = |number| part_key(&album, UploadId(7), number);
            prop_assert_eq!(part(one).cmp(&part(other)), one.cmp(&other));
        }

        /// Whatever an entity tag is, it comes back as it was.
        #[test]
        fn an_entity_tag_comes_back_as_it_was(etag in "[0-9a-fA-F]{32}(-[0-9]{1,6})?|[ -~]{0,40}") {
            let etag = ETag(etag);
            prop_assert_eq!(ETag::from(&CompactETag::from(&etag)), etag);
        }
    }

    #[test]
    fn digests_are_kept_in_sixteen_bytes_and_only_if_they_are_spelled_as_digests_are() {
        let digest =
            [0x5d, 0x41, 0x40, 0x2a, 0xbc, 0x4b, 0x2a, 0x76, 0xb9, 0x71, 0x9d, 0x91, 0x10, 0x17, 0xc5, 0x92];
        let compact = |text: &str| CompactETag::from(&ETag(text.to_owned()));
        assert_eq!(compact("5d41402abc4b2a76b9719d911017c592"), CompactETag::Md5(digest));
        assert_eq!(compact("5d41402abc4b2a76b9719d911017c592-12"), CompactETag::Md5OfParts(digest, 12));
        for opaque in ["5D41402abc4b2a76b9719d911017c592", "5d41402abc4b2a76b9719d911017c592-07", "x", ""] {
            assert_eq!(compact(opaque), CompactETag::Opaque(opaque.to_owned()));
        }
    }

    fn row() -> ObjectRow {
        ObjectRow {
            size_bytes: 300,
            etag: CompactETag::Md5OfParts([0xab; 16], 2),
            modified_ms: 1_700_000_000_000,
            version: None,
            flags: 0,
            storage_class: Some("GLACIER".to_owned()),
            checksum: Some((ChecksumAlgorithm::Crc64Nvme, true)),
        }
    }

    /// The bytes of a row, as `docs/formats.md` has them: a change here is a change of the format.
    #[test]
    fn the_bytes_of_a_row_are_those_of_the_documented_form() {
        let expected: Vec<u8> = [
            &[FORMAT][..],
            &[0xac, 0x02],                         // size
            &[1],                                  // entity tag: digest of parts
            &[0xab; 16],                           // its digest
            &[2],                                  // its parts
            &[0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31], // modified
            &[0],                                  // null version
            &[0],                                  // flags
            &[1, 7],                               // storage class
            b"GLACIER",
            &[1, 2, 1], // checksum: CRC-64/NVME of the whole object
        ]
        .concat();
        assert_eq!(encode(&row()), expected);
        assert_eq!(decode(b"o", &expected), Ok(row()));
    }

    #[test]
    fn a_payload_gives_its_head_and_its_inline_bytes_back() {
        let head = ObjectHead {
            headers: ObjectHeaders {
                system: vec![("content-type".to_owned(), "text/plain".to_owned())],
                ..ObjectHeaders::default()
            },
            checksum: Some(Checksum {
                algorithm: ChecksumAlgorithm::Sha256,
                value: "abc-2".to_owned(),
                is_full_object: false,
            }),
            upload: Some(UploadId(7)),
            staged_bytes: vec![5, 6],
            ..ObjectHead::default()
        };
        let payload = encode_payload(&head, b"inline");
        assert_eq!(decode_payload(b"o", &payload), Ok((head, Bytes::from_static(b"inline"))));
        for cut in 0..payload.len() - b"inline".len() {
            assert!(decode_payload(b"o", &payload.slice(..cut)).is_err(), "cut to {cut} bytes");
        }
    }

    #[test]
    fn what_is_not_of_a_known_form_is_unreadable_and_says_why() {
        let row = encode(&BucketRow { created_ms: 7, documents: BTreeMap::new() });
        let reason = |value: &[u8]| match decode::<BucketRow>(b"balbum\0", value) {
            Err(Error::Unreadable { key, reason }) => format!("{key}: {reason}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(b""), "balbum\\x00: it is empty");
        assert_eq!(reason(b"\x02\x07\x00"), "balbum\\x00: its form is 2, this version reads 1");
        assert_eq!(reason(&[&row[..], b"xy"].concat()), "balbum\\x00: 2 bytes follow it");
        assert!(reason(&row[..2]).starts_with("balbum\\x00: "));
    }
}
