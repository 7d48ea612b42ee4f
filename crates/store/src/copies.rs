//! Copies: what a heal of chosen keys asks of an engine, and what it hears of each key.
//!
//! Values only, but for the keys of a bucket's objects and their names, which are this crate's to know. An engine that
//! has drives looks and repairs; whoever asked is told key by key.

use bytes::Bytes;

use crate::engine::{KeyRange, PartitionId};
use crate::error::Error;
use crate::names::{BucketName, VersionId};
use crate::schema::{self, ObjectRow};
use crate::store::Store;

/// How a drive holds its part of what is behind a key. Of several pieces the worst counts: they are in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopyState {
    /// As far as was looked.
    Whole,
    /// It does not match its checksum, or its size.
    Damaged,
    /// It is not there.
    Missing,
    /// The drive is not there, or out.
    Offline,
}

/// Keys to be looked at one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealTask {
    /// Where they are.
    pub partition: PartitionId,
    /// Which.
    pub range: KeyRange,
    /// Whether every byte is read back and verified; otherwise it is looked whether each piece is there.
    pub is_deep: bool,
    /// Whether nothing is repaired.
    pub is_dry_run: bool,
}

/// A key that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healed {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// How each drive of the set held it, in their order.
    pub before: Vec<CopyState>,
    /// How each drive holds it since.
    pub after: Vec<CopyState>,
    /// Whether what is left does not give it back: it is refused, never served.
    pub is_lost: bool,
}

/// Looks at keys in order, has repaired what is not whole, and tells of each; blocks, for as long as the drives take.
/// With `None` it asks whether to go on: after every mebibyte read, and every second that a repair takes. It ends when
/// that answers `false`. An error is a clause for operators: not every key was looked at.
pub type Heal = dyn Fn(&HealTask, &mut dyn FnMut(Option<Healed>) -> bool) -> Result<(), String> + Send + Sync;

/// An object that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealedObject {
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: VersionId,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Which objects of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objects<'a> {
    /// Every version of those whose keys begin so.
    Below(&'a str),
    /// Every version of this one.
    Only(&'a str),
}

impl Store {
    /// Where objects of a bucket stand in the engine.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`.
    pub fn keys_of(
        &self,
        bucket: &BucketName,
        objects: Objects<'_>,
    ) -> Result<(PartitionId, KeyRange), Error> {
        let partition = self.bucket(bucket)?.partition;
        let table = schema::objects(bucket);
        let (name, end): (&str, &[u8]) = match objects {
            Objects::Below(prefix) => (prefix, b""),
            Objects::Only(key) => (key, b"\0"),
        };
        // No name holds a zero byte; behind one the versions would be taken for names.
        let range = match name.contains('\0') {
            true => KeyRange { start: table.clone(), end: Some(table) },
            false => KeyRange::prefix(&[&table, name.as_bytes(), end].concat()),
        };
        Ok((partition, range))
    }
}

impl Healed {
    /// The object it is, of this bucket.
    ///
    /// # Errors
    ///
    /// `Unreadable` when its key or its row are not of a known form.
    pub fn object(&self, bucket: &BucketName) -> Result<HealedObject, Error> {
        let table = schema::objects(bucket);
        let (key, _) = schema::split_name(&self.key, table.len(), schema::PLACE_BYTES)?;
        let row: ObjectRow = schema::decode(&self.key, &self.value)?;
        Ok(HealedObject {
            key: key.to_owned(),
            version: row.version.map_or(VersionId::Null, VersionId::Id),
            size_bytes: row.size_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{CopyState, Healed, HealedObject, Objects};
    use crate::engine::Engine as _;
    use crate::names::VersionId;
    use crate::testing::fixture::Fixture;

    async fn named(fixture: &Fixture, objects: Objects<'_>) -> Vec<HealedObject> {
        let (partition, range) = fixture.store.keys_of(&fixture.album, objects).unwrap();
        let page = fixture.engine.scan(partition, range, 10).await.unwrap();
        let healed = page.into_iter().map(|(key, entry)| Healed {
            key,
            value: entry.value,
            before: vec![CopyState::Whole],
            after: vec![CopyState::Whole],
            is_lost: false,
        });
        healed.map(|healed| healed.object(&fixture.album).unwrap()).collect()
    }

    #[tokio::test]
    async fn objects_are_found_by_prefix_or_by_name_and_named_with_version_and_size() {
        let fixture = Fixture::new().await;
        for key in ["red/rose", "red/rose.jpg", "tulip"] {
            fixture.put(key, b"ab").await;
        }
        let object =
            |key: &str| HealedObject { key: key.to_owned(), version: VersionId::Null, size_bytes: 2 };
        let all = [object("red/rose"), object("red/rose.jpg"), object("tulip")];
        assert_eq!(named(&fixture, Objects::Below("")).await, all);
        assert_eq!(named(&fixture, Objects::Below("red/")).await, all[..2]);
        assert_eq!(named(&fixture, Objects::Only("red/rose")).await, all[..1]);
        assert_eq!(named(&fixture, Objects::Only("red/")).await, []);
        assert_eq!(named(&fixture, Objects::Below("red/rose\0")).await, []);
    }

    #[test]
    fn of_several_pieces_the_worst_counts() {
        use CopyState::{Damaged, Missing, Offline, Whole};
        assert!(Whole < Damaged && Damaged < Missing && Missing < Offline);
    }
}
