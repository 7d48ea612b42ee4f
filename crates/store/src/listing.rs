//! Listing: pages of a bucket that cost what they return.

use crate::error::Error;
use crate::names::{BucketName, VersionId};
use crate::object::{ChecksumAlgorithm, ETag};
use crate::store::Store;

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
        todo!()
    }

    /// A page of all versions.
    ///
    /// # Errors
    ///
    /// As [`Store::list_objects`].
    pub async fn list_versions(&self, bucket: &BucketName, query: &ListQuery) -> Result<ListPage, Error> {
        todo!()
    }
}
