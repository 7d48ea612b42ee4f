//! The metadata part of a frame: commits with their mutations and changes. The same on every drive.
//!
//! Numbers are little-endian, lengths come before bytes; tabled in `docs/formats.md`. Places of payloads have
//! a fixed size, so that the length of the metadata is known before the payloads are laid out.

use bytes::Bytes;
use store::{Change, Location, Mutation, Sequence};

use crate::digest::extent_crc;
use crate::fields::Fields;
use crate::frame::Kind;
use crate::table::Span;

/// Where a payload lies in the column part of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// In the replicated part, the same on every drive.
    Replicated,
    /// Whole in this data column.
    Column(u8),
    /// In k pieces of equal length (the last ones shorter), at the same offset of every data column.
    Split,
}

impl Lie {
    /// Form and column, as the format has them.
    pub(crate) fn encode(self) -> (u8, u8) {
        match self {
            Lie::Replicated => (1, 0),
            Lie::Column(column) => (2, column),
            Lie::Split => (3, 0),
        }
    }

    /// `None` for a form that is not known.
    pub(crate) fn decode(form: u8, column: u8) -> Option<Lie> {
        match form {
            1 => Some(Lie::Replicated),
            2 => Some(Lie::Column(column)),
            3 => Some(Lie::Split),
            _ => None,
        }
    }
}

/// A payload's place in its frame and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub lie: Lie,
    /// From the start of the column.
    pub offset: u32,
    pub length: u32,
    /// Seeded with key and sequence.
    pub crc: u64,
}

/// Encoded size of an extent in bytes.
const EXTENT_BYTES: usize = 18;

/// A payload on its way into columns.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub bytes: Bytes,
    crc: u64,
    /// Where in the metadata its extent is to be written.
    at: usize,
}

/// Builds the metadata part of a frame.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    bytes: Vec<u8>,
    payloads: Vec<Payload>,
}

impl Metadata {
    /// Begins with no commits.
    pub(crate) fn new() -> Metadata {
        Metadata { bytes: vec![0; 4], payloads: Vec::new() }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Payloads in the order of their puts.
    pub(crate) fn payloads(&self) -> &[Payload] {
        &self.payloads
    }

    /// Appends a commit. `changes` carry their sequences; `sequence` is that of the commit.
    pub(crate) fn push(&mut self, sequence: Sequence, mutations: &[Mutation], changes: &[Change]) {
        let count = u32::from_le_bytes(self.bytes[..4].try_into().expect("four bytes")) + 1;
        self.bytes[..4].copy_from_slice(&count.to_le_bytes());
        self.bytes.extend_from_slice(&sequence.0.to_le_bytes());
        self.push_length(mutations.len());
        self.push_length(changes.len());
        for mutation in mutations {
            self.push_mutation(sequence, mutation);
        }
        for change in changes {
            self.push_change(change);
        }
    }

    /// Appends a copy, of a mutation or of an encoded change, as a commit of its own.
    pub(crate) fn push_copy(&mut self, sequence: Sequence, mutations: &[Mutation], change: Option<&[u8]>) {
        self.push(sequence, mutations, &[]);
        if let Some(change) = change {
            let at = self.bytes.len() - 4;
            self.bytes[at..].copy_from_slice(&1_u32.to_le_bytes());
            self.push_bytes(change);
        }
    }

    fn push_mutation(&mut self, sequence: Sequence, mutation: &Mutation) {
        match mutation {
            Mutation::Put(put) => {
                self.bytes.push(1);
                self.push_bytes(&put.key);
                self.push_bytes(&put.value);
                self.push_length(put.locations.len());
                for location in &put.locations {
                    self.push_bytes(&location.0);
                }
                if put.payload.is_empty() {
                    self.bytes.push(0);
                } else {
                    let crc = extent_crc(&put.key, sequence.0, &put.payload);
                    self.payloads.push(Payload { bytes: put.payload.clone(), crc, at: self.bytes.len() });
                    self.bytes.resize(self.bytes.len() + EXTENT_BYTES, 0);
                }
            }
            Mutation::Delete(key) => {
                self.bytes.push(2);
                self.push_bytes(key);
            }
            Mutation::DeletePrefix(prefix) => {
                self.bytes.push(3);
                self.push_bytes(prefix);
            }
        }
    }

    /// Encodes a change in its place, its length before it.
    fn push_change(&mut self, change: &Change) {
        let at = self.bytes.len();
        self.push_length(0);
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = encode_change(change, bytes).expect("a change has no type that cannot be encoded");
        let length = u32::try_from(self.bytes.len() - at - 4).expect("a batch is smaller than 4 GiB");
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn push_length(&mut self, length: usize) {
        let length = u32::try_from(length).expect("a batch is smaller than 4 GiB");
        self.bytes.extend_from_slice(&length.to_le_bytes());
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        self.push_length(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes the places in and gives the encoded part. `places` are those of [`Metadata::payloads`].
    pub(crate) fn finish(mut self, places: &[(Lie, u32)]) -> Vec<u8> {
        for (payload, (lie, offset)) in self.payloads.iter().zip(places) {
            let (form, column) = lie.encode();
            let length = u32::try_from(payload.bytes.len()).expect("a batch is smaller than 4 GiB");
            let at = payload.at;
            self.bytes[at] = form;
            self.bytes[at + 1] = column;
            self.bytes[at + 2..at + 6].copy_from_slice(&offset.to_le_bytes());
            self.bytes[at + 6..at + 10].copy_from_slice(&length.to_le_bytes());
            self.bytes[at + 10..at + 18].copy_from_slice(&payload.crc.to_le_bytes());
        }
        self.bytes
    }
}

/// Upper bound of what a commit takes in the metadata part, in bytes.
pub(crate) fn metadata_bytes_of(mutations: &[Mutation], changes: &[Change]) -> usize {
    let mutations: usize = mutations
        .iter()
        .map(|mutation| match mutation {
            Mutation::Put(put) => {
                let locations: usize = put.locations.iter().map(|location| 4 + location.0.len()).sum();
                13 + put.key.len() + put.value.len() + locations + EXTENT_BYTES
            }
            Mutation::Delete(key) | Mutation::DeletePrefix(key) => 5 + key.len(),
        })
        .sum();
    let changes: usize = changes
        .iter()
        .map(|change| {
            let supplement = supplement(change).map_or(0, |supplement| {
                postcard::experimental::serialized_size(&supplement).unwrap_or(0) + 1
            });
            let change = postcard::experimental::serialized_size(change).unwrap_or(0);
            4 + change + supplement + SEQUENCE_GROWTH_BYTES
        })
        .sum();
    16 + mutations + changes
}

/// How much longer a change can get when its sequence is assigned, in bytes: a varint of 64 bits.
const SEQUENCE_GROWTH_BYTES: usize = 10;

/// A commit as read back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Commit<'a> {
    pub sequence: Sequence,
    pub mutations: Vec<Recorded<'a>>,
    /// Offset in the metadata and length of each change.
    pub changes: Vec<(usize, usize)>,
}

/// A mutation as read back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recorded<'a> {
    Put { key: &'a [u8], value: &'a [u8], locations: Vec<Location>, extent: Option<Extent> },
    Delete(&'a [u8]),
    DeletePrefix(&'a [u8]),
}

/// Reads a metadata part. `None` when it is malformed, which under a sound checksum means another version.
pub(crate) fn decode(metadata: &[u8]) -> Option<Vec<Commit<'_>>> {
    let mut fields = Fields::of(metadata);
    let count = fields.length()?;
    let mut commits = Vec::new();
    for _ in 0..count {
        let sequence = Sequence(fields.long()?);
        let (mutation_count, change_count) = (fields.length()?, fields.length()?);
        let mut mutations = Vec::new();
        for _ in 0..mutation_count {
            mutations.push(decode_mutation(&mut fields)?);
        }
        let mut changes = Vec::new();
        for _ in 0..change_count {
            let length = fields.length()?;
            changes.push((fields.offset(), length));
            fields.take(length)?;
        }
        commits.push(Commit { sequence, mutations, changes });
    }
    fields.is_empty().then_some(commits)
}

/// How many values a metadata part puts.
pub(crate) fn puts(metadata: &[u8]) -> u64 {
    let commits = decode(metadata).unwrap_or_default();
    let mutations = commits.iter().flat_map(|commit| &commit.mutations);
    mutations.filter(|mutation| matches!(mutation, Recorded::Put { .. })).count() as u64
}

/// What a change that names targets may hold besides, behind the rest: its rules and the tags of its object. Changes of
/// the first versions end without it, and those versions read over it.
type Supplement<'a> = (&'a [String], &'a [(String, String)]);

/// What ends a supplement: its version. It is not zero, which would say that the change names no targets.
const SUPPLEMENT: u8 = 1;

fn supplement(change: &Change) -> Option<Supplement<'_>> {
    let tags = change.object.as_ref().map_or(&[][..], |object| &object.tags);
    let says_nothing = change.targets.is_empty() || (change.rules.is_empty() && tags.is_empty());
    (!says_nothing).then_some((&change.rules, tags))
}

/// Puts an encoded change behind bytes.
fn encode_change(change: &Change, bytes: Vec<u8>) -> postcard::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(change, bytes)?;
    if let Some(supplement) = supplement(change) {
        bytes = postcard::to_extend(&supplement, bytes)?;
        bytes.push(SUPPLEMENT);
    }
    Ok(bytes)
}

/// Reads an encoded change. A supplement of a later version begins as this one's does.
pub(crate) fn decode_change(bytes: &[u8]) -> Option<Change> {
    let (mut change, rest) = postcard::take_from_bytes::<Change>(bytes).ok()?;
    if rest.is_empty() {
        return Some(change);
    }
    let (rules, tags) = postcard::take_from_bytes(rest).ok()?.0;
    change.rules = rules;
    if let Some(object) = &mut change.object {
        object.tags = tags;
    }
    Some(change)
}

/// Whether an encoded change names targets: without a supplement they are its last field, and an empty list ends in its
/// length, zero, which neither a name of a target nor a supplement ends in.
pub(crate) fn names_targets(change: &[u8]) -> bool {
    change.last().is_some_and(|last| *last != 0)
}

/// The span of the sequences of a frame's commits or copies.
pub(crate) fn span(metadata: &[u8], kind: Kind) -> Option<Span> {
    match kind {
        Kind::Commits | Kind::Copies => Span::of(decode(metadata)?.iter().map(|commit| commit.sequence)),
        Kind::EpochStart | Kind::Seal => None,
    }
}

fn decode_mutation<'a>(fields: &mut Fields<'a>) -> Option<Recorded<'a>> {
    Some(match fields.byte()? {
        1 => {
            let (key, value) = (fields.field()?, fields.field()?);
            let count = fields.length()?;
            let mut locations = Vec::new();
            for _ in 0..count {
                locations.push(Location(fields.field()?.to_vec()));
            }
            Recorded::Put { key, value, locations, extent: decode_extent(fields)? }
        }
        2 => Recorded::Delete(fields.field()?),
        3 => Recorded::DeletePrefix(fields.field()?),
        _ => return None,
    })
}

#[expect(clippy::option_option, reason = "the outer one is malformed metadata, the inner one no payload")]
fn decode_extent(fields: &mut Fields<'_>) -> Option<Option<Extent>> {
    let form = fields.byte()?;
    if form == 0 {
        return Some(None);
    }
    let column = fields.byte()?;
    let lie = Lie::decode(form, column)?;
    Some(Some(Extent { lie, offset: fields.short()?, length: fields.short()?, crc: fields.long()? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Put;

    #[test]
    fn commits_are_read_back_as_they_were_written() {
        let mutations = [
            Mutation::Put(Put {
                key: Bytes::from_static(b"key"),
                value: Bytes::from_static(b"value"),
                payload: Bytes::from_static(b"payload"),
                locations: vec![Location(vec![1, 2, 3])],
            }),
            Mutation::Delete(Bytes::from_static(b"gone")),
            Mutation::DeletePrefix(Bytes::from_static(b"all/")),
        ];
        let mut metadata = Metadata::new();
        metadata.push(Sequence(9), &mutations, &[]);
        assert!(metadata.len() <= 4 + metadata_bytes_of(&mutations, &[]));
        let bytes = metadata.finish(&[(Lie::Column(1), 77)]);

        let crc = extent_crc(b"key", 9, b"payload");
        let expected = Commit {
            sequence: Sequence(9),
            mutations: vec![
                Recorded::Put {
                    key: b"key",
                    value: b"value",
                    locations: vec![Location(vec![1, 2, 3])],
                    extent: Some(Extent { lie: Lie::Column(1), offset: 77, length: 7, crc }),
                },
                Recorded::Delete(b"gone"),
                Recorded::DeletePrefix(b"all/"),
            ],
            changes: vec![],
        };
        assert_eq!(decode(&bytes), Some(vec![expected]));
    }

    fn change() -> Change {
        Change {
            sequence: Sequence(9),
            time_ms: 0,
            kind: store::ChangeKind::Put,
            bucket: store::BucketName::new("album").unwrap(),
            key: "rose".to_owned(),
            version: None,
            object: Some(store::ObjectSummary::default()),
            origin: None,
            targets: vec!["1:kafka".to_owned()],
            rules: Vec::new(),
        }
    }

    fn tagged() -> Change {
        let mut change = Change { rules: vec!["all".to_owned()], ..change() };
        change.object.as_mut().unwrap().tags = vec![("stage".to_owned(), "raw".to_owned())];
        change
    }

    #[test]
    fn a_change_is_read_back_with_the_rules_and_tags_that_are_told_to_its_targets() {
        for change in [change(), tagged(), Change { targets: vec![], ..change() }] {
            let bytes = encode_change(&change, Vec::new()).unwrap();
            assert_eq!(decode_change(&bytes), Some(change.clone()));
            assert_eq!(names_targets(&bytes), !change.targets.is_empty());
            assert!(16 + 4 + bytes.len() <= metadata_bytes_of(&[], std::slice::from_ref(&change)));
        }
    }

    #[test]
    fn a_change_without_rules_has_the_bytes_of_the_first_version_and_one_with_them_begins_so() {
        let first = postcard::to_stdvec(&change()).unwrap();
        assert_eq!(encode_change(&change(), Vec::new()).unwrap(), first);
        let later = encode_change(&tagged(), Vec::new()).unwrap();
        assert_eq!(later[..first.len()], first);
        // As the first version read it: over what is behind.
        assert_eq!(postcard::from_bytes::<Change>(&later), Ok(change()));
    }

    #[test]
    fn metadata_cut_anywhere_is_malformed() {
        let mut metadata = Metadata::new();
        metadata.push(Sequence(9), &[Mutation::Delete(Bytes::from_static(b"gone"))], &[]);
        let bytes = metadata.finish(&[]);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length} bytes");
        }
    }
}
