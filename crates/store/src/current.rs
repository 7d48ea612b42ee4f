//! What a bucket holds now, told as the changes that would make it: for whoever has to begin anew without the past.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::change::{Change, ChangeKind};
use crate::error::Error;
use crate::listing::ListQuery;
use crate::names::{BucketName, ObjectKey};
use crate::object::Object;
use crate::store::{Store, told_version};
use crate::summary::summary;

/// Objects read at once.
const READS_AT_ONCE: usize = 16;

/// A page of what a bucket holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentPage {
    /// By key. Each has sequence and time of the commit that made its object; it names no target and no caller.
    pub changes: Vec<Change>,
    /// Go on after this key; `None` behind the last page.
    pub next: Option<String>,
}

impl Store {
    /// Up to `limit` of the current objects after a key.
    ///
    /// Their kind is `CompleteMultipartUpload` for an object of parts and `Put` for any other: how it came there is not
    /// kept. What is removed meanwhile is left out.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `Unreadable`, and what the engine says.
    pub async fn current_page(
        &self,
        bucket: &BucketName,
        after: &str,
        limit: usize,
    ) -> Result<CurrentPage, Error> {
        let query = ListQuery { after: after.to_owned(), limit, ..ListQuery::default() };
        let page = self.list_objects(bucket, &query).await?;
        let listed = page.entries.iter().filter(|listed| !listed.is_delete_marker);
        let keys = listed.filter_map(|listed| ObjectKey::new(&listed.key));
        let reads: Vec<_> = keys.map(|key| self.current_change(bucket, key)).collect();
        let changes: Vec<_> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let changes = changes.into_iter().flatten().collect();
        Ok(CurrentPage { changes, next: page.is_truncated.then_some(page.last) })
    }

    /// `None` when the object was removed meanwhile.
    async fn current_change(&self, bucket: &BucketName, key: ObjectKey) -> Result<Option<Change>, Error> {
        match self.object(bucket, &key, None).await {
            Ok(object) => Ok(Some(change_of(object))),
            Err(Error::NoSuchKey { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn change_of(object: Object) -> Change {
    let Object { bucket, key, version, sequence, size_bytes, etag, modified_ms, headers, parts, .. } = object;
    let kind = if parts.is_empty() { ChangeKind::Put } else { ChangeKind::CompleteMultipartUpload };
    Change {
        sequence,
        time_ms: modified_ms,
        kind,
        bucket,
        key: key.as_str().to_owned(),
        version: told_version(&key, version),
        object: Some(summary(size_bytes, &etag, &headers)),
        origin: None,
        targets: Vec::new(),
        rules: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::change::Change;
    use crate::testing::fixture::Fixture;

    async fn all(fixture: &Fixture, limit: usize) -> Vec<Change> {
        let (mut all, mut after) = (Vec::new(), Some(String::new()));
        while let Some(key) = after {
            let page = fixture.store.current_page(&fixture.album, &key, limit).await.unwrap();
            assert!(page.changes.len() <= limit);
            all.extend(page.changes);
            after = page.next;
        }
        all
    }

    #[tokio::test]
    async fn a_bucket_is_told_as_the_last_change_of_each_object_that_is_there() {
        let fixture = Fixture::new().await;
        for name in ["a", "b", "folder/", "a", "c"] {
            fixture.put(name, b"ab").await;
        }
        fixture.delete("b").await.unwrap();

        let changes = fixture.changes().await;
        let newest = |name: &str| {
            let change = changes.iter().rfind(|change| change.key == name).unwrap().clone();
            Change { origin: None, targets: vec![], rules: vec![], ..change }
        };
        assert_eq!(all(&fixture, 2).await, ["a", "c", "folder/"].map(newest));
    }
}
