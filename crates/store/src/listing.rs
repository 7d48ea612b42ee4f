//! Listing: pages of a bucket that cost what they return.
//!
//! Keys come in byte order, versions of a key newest first. Each page is a walk of its own: what is written
//! between two pages shows in the second if its place is there.

use crate::engine::Entry;
use crate::error::Error;
use crate::names::{BucketName, VersionId};
use crate::object::{ChecksumAlgorithm, ETag};
use crate::schema::{self, NULL_PLACE, ObjectRow};
use crate::store::Store;
use crate::walk::{After, Step, Walk};

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Keys begin with this.
    pub prefix: String,
    /// Keys that hold this after the prefix are rolled into common prefixes; empty = none.
    pub delimiter: String,
    /// Go on after this key (exclusive); a common prefix that this server gave skips its whole group.
    pub after: String,
    /// For versions: with `after` a key, go on after this version of it.
    pub after_version: Option<VersionId>,
    /// At most so many keys and common prefixes together.
    pub limit: usize,
}

/// One key or version of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// Its version.
    pub version: VersionId,
    /// Whether it is the current one.
    pub is_latest: bool,
    /// Whether it is a delete marker (never yet).
    pub is_delete_marker: bool,
    /// Bytes.
    pub size_bytes: u64,
    /// Entity tag.
    pub etag: ETag,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
    /// `STANDARD` unless told otherwise.
    pub storage_class: Option<String>,
    /// Algorithm and `is_full_object` of its checksum.
    pub checksum: Option<(ChecksumAlgorithm, bool)>,
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// By key, newest version first.
    pub entries: Vec<Listed>,
    /// Sorted, each once.
    pub common_prefixes: Vec<String>,
    /// Whether there is more.
    pub is_truncated: bool,
    /// The last key or common prefix of this page, to go on after; empty on an empty page.
    pub last: String,
    /// The version of `last` in a listing of versions.
    pub last_version: Option<VersionId>,
}

impl Store {
    /// A page of the current objects.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, and what the engine says.
    pub async fn list_objects(&self, bucket: &BucketName, query: &ListQuery) -> Result<ListPage, Error> {
        self.list(bucket, query, None).await
    }

    /// A page of all versions.
    ///
    /// # Errors
    ///
    /// As [`Store::list_objects`].
    pub async fn list_versions(&self, bucket: &BucketName, query: &ListQuery) -> Result<ListPage, Error> {
        let after_place = match query.after_version {
            Some(VersionId::Null) => Some(&NULL_PLACE[..]),
            // Only null versions are written as yet; behind any other the next key follows.
            None | Some(VersionId::Id(_)) => None,
        };
        let mut page = self.list(bucket, query, after_place).await?;
        page.last_version = page
            .entries
            .last()
            .filter(|entry| entry.key == page.last)
            .map(|entry| entry.version);
        Ok(page)
    }

    async fn list(
        &self,
        bucket: &BucketName,
        query: &ListQuery,
        after_place: Option<&[u8]>,
    ) -> Result<ListPage, Error> {
        let walk = Walk {
            engine: &*self.engine,
            partition: self.bucket(bucket)?.partition,
            table: schema::objects(bucket),
            suffix_bytes: schema::PLACE_BYTES,
            prefix: &query.prefix,
            delimiter: &query.delimiter,
        };
        let after = After {
            name: &query.after,
            suffix: after_place,
        };
        let (steps, is_truncated) = walk.steps(after, query.limit).await?;
        let mut page = ListPage {
            is_truncated,
            ..ListPage::default()
        };
        let resumed_within = after_place.map(|_| query.after.as_str());
        for step in steps {
            match step {
                Step::Group(group) => {
                    page.last.clone_from(&group);
                    page.common_prefixes.push(group);
                }
                Step::Entry { name, entry, .. } => {
                    let previous = page
                        .entries
                        .last()
                        .map(|entry| entry.key.as_str())
                        .or(resumed_within);
                    let is_latest = previous != Some(name.as_str());
                    page.last.clone_from(&name);
                    page.entries.push(listed(name, &entry, is_latest)?);
                }
            }
        }
        Ok(page)
    }
}

fn listed(key: String, entry: &Entry, is_latest: bool) -> Result<Listed, Error> {
    let row: ObjectRow = schema::decode(key.as_bytes(), &entry.value)?;
    Ok(Listed {
        key,
        version: row.version.map_or(VersionId::Null, VersionId::Id),
        is_latest,
        is_delete_marker: row.flags & ObjectRow::DELETE_MARKER != 0,
        size_bytes: row.size_bytes,
        etag: ETag::from(&row.etag),
        modified_ms: row.modified_ms,
        storage_class: row.storage_class,
        checksum: row.checksum,
    })
}
