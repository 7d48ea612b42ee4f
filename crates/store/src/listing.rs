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
        page.last_version =
            page.entries.last().filter(|entry| entry.key == page.last).map(|entry| entry.version);
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
        let after = After { name: &query.after, suffix: after_place };
        let (steps, is_truncated) = walk.steps(after, query.limit).await?;
        let mut page = ListPage { is_truncated, ..ListPage::default() };
        let resumed_within = after_place.map(|_| query.after.as_str());
        for step in steps {
            match step {
                Step::Group(group) => {
                    page.last.clone_from(&group);
                    page.common_prefixes.push(group);
                }
                Step::Entry { name, entry, .. } => {
                    let previous = page.entries.last().map(|entry| entry.key.as_str()).or(resumed_within);
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

#[cfg(test)]
mod tests {
    use super::{ListPage, ListQuery};
    use crate::names::VersionId;
    use crate::testing::fixture::Fixture;

    async fn holding(keys: &[&str]) -> Fixture {
        let fixture = Fixture::new().await;
        for key in keys {
            fixture.put(key, b"ab").await;
        }
        fixture
    }

    fn query(prefix: &str, delimiter: &str, after: &str, limit: usize) -> ListQuery {
        ListQuery {
            prefix: prefix.to_owned(),
            delimiter: delimiter.to_owned(),
            after: after.to_owned(),
            after_version: None,
            limit,
        }
    }

    /// What a page shows: keys and common prefixes in one order, and a dot when there is more.
    fn shown(page: &ListPage) -> Vec<&str> {
        let keys = page.entries.iter().map(|entry| entry.key.as_str());
        let mut shown: Vec<&str> = keys.chain(page.common_prefixes.iter().map(String::as_str)).collect();
        shown.sort_unstable();
        assert_eq!(page.last, *shown.last().unwrap_or(&""));
        shown.extend(page.is_truncated.then_some("…"));
        shown
    }

    async fn list(fixture: &Fixture, query: ListQuery) -> Vec<String> {
        let page = fixture.store.list_objects(&fixture.album, &query).await.unwrap();
        shown(&page).into_iter().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn keys_come_in_byte_order_and_not_by_segment() {
        let fixture = holding(&["a0", "a/", "a-", "a", "ä", "a//b", "/a", "b\u{1}"]).await;
        let all = ["/a", "a", "a-", "a/", "a//b", "a0", "b\u{1}", "ä"];
        assert_eq!(list(&fixture, query("", "", "", 100)).await, all);
        assert_eq!(list(&fixture, query("a/", "", "", 100)).await, ["a/", "a//b"]);
    }

    #[tokio::test]
    async fn a_page_ends_at_its_limit_and_says_whether_there_is_more() {
        let fixture = holding(&["a", "b", "c"]).await;
        assert_eq!(list(&fixture, query("", "", "", 0)).await, [""; 0]);
        assert_eq!(list(&fixture, query("", "", "", 2)).await, ["a", "b", "…"]);
        assert_eq!(list(&fixture, query("", "", "b", 2)).await, ["c"]);
        assert_eq!(list(&fixture, query("", "", "", 3)).await, ["a", "b", "c"]);
        assert_eq!(list(&fixture, query("", "", "", usize::MAX)).await, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_marker_need_not_be_there_nor_within_the_prefix() {
        let fixture = holding(&["a", "b/1", "b/2", "c"]).await;
        assert_eq!(list(&fixture, query("", "", "aa", 9)).await, ["b/1", "b/2", "c"]);
        assert_eq!(list(&fixture, query("b/", "", "a", 9)).await, ["b/1", "b/2"]);
        assert_eq!(list(&fixture, query("b/", "", "b/1", 9)).await, ["b/2"]);
        assert_eq!(list(&fixture, query("b/", "", "bb", 9)).await, [""; 0]);
        assert_eq!(list(&fixture, query("", "", "zzz", 9)).await, [""; 0]);
    }

    #[tokio::test]
    async fn a_marker_that_is_a_group_skips_the_group_and_one_within_it_does_not() {
        let fixture = holding(&["La/a", "La/b", "La/c", "Lb", "Lc/a", "Ld/a"]).await;
        assert_eq!(list(&fixture, query("L", "/", "", 9)).await, ["La/", "Lb", "Lc/", "Ld/"]);
        assert_eq!(list(&fixture, query("L", "/", "La/", 9)).await, ["Lb", "Lc/", "Ld/"]);
        assert_eq!(list(&fixture, query("L", "/", "La/b", 9)).await, ["La/", "Lb", "Lc/", "Ld/"]);
        assert_eq!(list(&fixture, query("L", "/", "La/c", 9)).await, ["Lb", "Lc/", "Ld/"]);
        // Without a delimiter the same marker is a key like any other.
        assert_eq!(list(&fixture, query("L", "", "La/", 2)).await, ["La/a", "La/b", "…"]);
    }

    #[tokio::test]
    async fn a_delimiter_is_any_text_and_a_prefix_that_ends_in_it_lists_the_inside() {
        let fixture = holding(&["a--", "a--b--c", "a--b-c", "a-b", "a--é--é"]).await;
        assert_eq!(list(&fixture, query("", "--", "", 9)).await, ["a--", "a-b"]);
        assert_eq!(list(&fixture, query("a--", "--", "", 9)).await, ["a--", "a--b--", "a--b-c", "a--é--"]);
        assert_eq!(list(&fixture, query("a--\0", "--", "", 9)).await, [""; 0]);
    }

    #[tokio::test]
    async fn pages_of_any_size_put_together_are_the_whole_listing() {
        let keys: Vec<String> =
            (0..200u32).map(|number| format!("{}/{}", number % 7, number * 37 % 200)).collect();
        let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        keys.extend(["0", "3a", "9"]);
        let fixture = holding(&keys).await;
        for delimiter in ["", "/", "1"] {
            let whole = list(&fixture, query("", delimiter, "", 1000)).await;
            for limit in [1, 2, 3, 50] {
                let (mut together, mut after) = (Vec::new(), String::new());
                loop {
                    let query = query("", delimiter, &after, limit);
                    let page = fixture.store.list_objects(&fixture.album, &query).await.unwrap();
                    let shown = shown(&page);
                    together.extend(shown.into_iter().filter(|&text| text != "…").map(str::to_owned));
                    assert!(page.last > after, "a page goes back to {:?}", page.last);
                    after = page.last;
                    if !page.is_truncated {
                        break;
                    }
                }
                assert_eq!(together, whole, "delimiter {delimiter:?}, pages of {limit}");
            }
        }
    }

    #[tokio::test]
    async fn a_listing_costs_what_it_returns() {
        let fixture = Fixture::new().await;
        for number in 0..2000 {
            fixture.put(&format!("{}/{number:04}", number / 100), b"").await;
        }
        let cost = async |query: ListQuery| {
            let before = fixture.engine.scanned_entries();
            let page = fixture.store.list_objects(&fixture.album, &query).await.unwrap();
            let returned = page.entries.len() + page.common_prefixes.len();
            (returned, fixture.engine.scanned_entries() - before)
        };
        assert_eq!(cost(query("", "", "", 1000)).await, (1000, 1001));
        assert_eq!(cost(query("", "", "5/", 10)).await, (10, 11));
        let (groups, scanned) = cost(query("", "/", "", 1000)).await;
        assert_eq!(groups, 20);
        assert!(scanned <= 100, "{scanned} entries were read for {groups} groups of 100");
        let (keys, scanned) = cost(query("7/", "/", "", 1000)).await;
        assert_eq!((keys, scanned), (100, 100));
    }

    #[tokio::test]
    async fn versions_are_null_and_current_and_a_version_marker_goes_on_behind_it() {
        let fixture = holding(&["a", "b", "c"]).await;
        let first = query("", "", "", 2);
        let page = fixture.store.list_versions(&fixture.album, &first).await.unwrap();
        let versions: Vec<_> = page.entries.iter().map(|entry| (entry.version, entry.is_latest)).collect();
        assert_eq!(versions, [(VersionId::Null, true), (VersionId::Null, true)]);
        assert_eq!((page.last.as_str(), page.last_version), ("b", Some(VersionId::Null)));

        for after_version in [None, page.last_version, Some(VersionId::Id(7))] {
            let next = ListQuery { after: page.last.clone(), after_version, ..first.clone() };
            let page = fixture.store.list_versions(&fixture.album, &next).await.unwrap();
            assert_eq!(shown(&page), ["c"]);
            assert!(page.entries[0].is_latest);
        }
        let grouped = query("", "b", "", 2);
        let page = fixture.store.list_versions(&fixture.album, &grouped).await.unwrap();
        assert_eq!((shown(&page), page.last_version), (vec!["a", "b", "…"], None));
    }
}
