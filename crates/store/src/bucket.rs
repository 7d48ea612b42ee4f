//! A bucket: its name, and the documents that say how it behaves.
//!
//! The store keeps every bucket in memory. What is in memory is what was committed last: whoever writes a
//! bucket's record holds `Store::bucket_writes` until memory has it too. A write that was built on an older
//! state fails its precondition and loads the bucket again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, Mutation, Precondition, Put};
use crate::change::{Change, ChangeKind, Origin, Sequence};
use crate::engine::{EngineError, Entry, PartitionId};
use crate::error::Error;
use crate::names::BucketName;
use crate::schema::{self, BucketRow};
use crate::store::{COMMIT_TRIES_MAX, Store, bucket_unchanged};

/// A bucket as of one sequence. Cheap to share, never changed in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// When it was created, milliseconds since 1970.
    pub created_ms: u64,
    /// Where everything of it lives; chosen at creation, never changed.
    pub partition: PartitionId,
    /// Configuration documents by name (`notification`), in the form their owner gave.
    pub documents: BTreeMap<String, Bytes>,
    /// The commit that wrote this state; a write under this state has it as a precondition.
    pub sequence: Sequence,
}

impl Bucket {
    /// Name of the document that holds the notification rules; `notify::rule` owns its form.
    pub const NOTIFICATION: &'static str = "notification";

    /// A configuration document, if one is set.
    pub fn document(&self, name: &str) -> Option<&Bytes> {
        self.documents.get(name)
    }

    pub(crate) fn from_entry(partition: PartitionId, key: &[u8], entry: &Entry) -> Result<Bucket, Error> {
        let name = std::str::from_utf8(&key[schema::BUCKETS.len()..]).ok().and_then(BucketName::new);
        let name = name.ok_or_else(|| schema::unreadable(key, "its key names no bucket"))?;
        let row: BucketRow = schema::decode(key, &entry.value)?;
        let documents = row.documents.into_iter().map(|(name, text)| (name, Bytes::from(text))).collect();
        Ok(Bucket { name, created_ms: row.created_ms, partition, documents, sequence: entry.sequence })
    }

    /// The mutation that writes this state.
    fn to_put(&self) -> Mutation {
        let documents = self.documents.iter().map(|(name, text)| (name.clone(), text.to_vec())).collect();
        let row = BucketRow { created_ms: self.created_ms, documents };
        Mutation::Put(Put {
            key: schema::bucket_key(&self.name),
            value: schema::encode(&row),
            ..Put::default()
        })
    }
}

impl Store {
    /// Creates a bucket.
    ///
    /// # Errors
    ///
    /// `BucketExists`.
    pub async fn create_bucket(&self, name: BucketName, origin: Origin) -> Result<Arc<Bucket>, Error> {
        let _writing = self.bucket_writes.lock().await;
        if self.bucket(&name).is_ok() {
            return Err(Error::BucketExists { bucket: name });
        }
        let mut bucket = Bucket {
            created_ms: self.clock().now_ms(),
            partition: self.partition_of_new_bucket(),
            documents: BTreeMap::new(),
            sequence: Sequence::ZERO,
            name,
        };
        let batch = Batch {
            preconditions: vec![Precondition::Absent(schema::bucket_key(&bucket.name))],
            mutations: vec![bucket.to_put()],
            changes: vec![self.bucket_change(&bucket, ChangeKind::BucketCreated, origin)],
            ..Batch::default()
        };
        match self.commit(bucket.partition, batch).await {
            Ok(committed) => {
                bucket.sequence = committed.sequence;
                Ok(self.remember(bucket))
            }
            Err(EngineError::Precondition { .. }) => {
                self.load_bucket(&bucket.name, bucket.partition).await?;
                Err(Error::BucketExists { bucket: bucket.name })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an empty bucket, its documents and its open uploads.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `BucketNotEmpty`.
    pub async fn delete_bucket(&self, name: &BucketName, origin: Origin) -> Result<(), Error> {
        let _writing = self.bucket_writes.lock().await;
        let mut tries = 0;
        loop {
            let bucket = self.bucket(name)?;
            let batch = Batch {
                preconditions: vec![bucket_unchanged(&bucket), Precondition::Empty(schema::objects(name))],
                mutations: vec![
                    Mutation::Delete(schema::bucket_key(name)),
                    Mutation::DeletePrefix(schema::uploads(name)),
                    Mutation::DeletePrefix(schema::bucket_parts(name)),
                ],
                changes: vec![self.bucket_change(&bucket, ChangeKind::BucketRemoved, origin.clone())],
                ..Batch::default()
            };
            tries += 1;
            match self.commit(bucket.partition, batch).await {
                Ok(_) => {
                    self.buckets.write().remove(name);
                    return Ok(());
                }
                Err(EngineError::Precondition { index: 0 }) if tries < COMMIT_TRIES_MAX => {
                    self.load_bucket(name, bucket.partition).await?;
                }
                Err(EngineError::Precondition { index: 1 }) => {
                    return Err(Error::BucketNotEmpty { bucket: name.clone() });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sets or removes a configuration document of a bucket. In force for everything sequenced after it.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`.
    pub async fn set_document(
        &self,
        name: &BucketName,
        document: &str,
        text: Option<Bytes>,
    ) -> Result<(), Error> {
        let _writing = self.bucket_writes.lock().await;
        let mut tries = 0;
        loop {
            let before = self.bucket(name)?;
            let mut bucket = Bucket::clone(&before);
            match &text {
                Some(text) => bucket.documents.insert(document.to_owned(), text.clone()),
                None => bucket.documents.remove(document),
            };
            let batch = Batch {
                preconditions: vec![bucket_unchanged(&before)],
                mutations: vec![bucket.to_put()],
                ..Batch::default()
            };
            tries += 1;
            match self.commit(bucket.partition, batch).await {
                Ok(committed) => {
                    bucket.sequence = committed.sequence;
                    self.remember(bucket);
                    return Ok(());
                }
                Err(EngineError::Precondition { .. }) if tries < COMMIT_TRIES_MAX => {
                    self.load_bucket(name, before.partition).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Loads a bucket again after a batch built on `seen` was refused.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket` when it is gone.
    pub(crate) async fn reload_bucket(&self, seen: &Bucket) -> Result<(), Error> {
        let _writing = self.bucket_writes.lock().await;
        self.load_bucket(&seen.name, seen.partition).await
    }

    /// Brings memory to what is committed; the caller holds `bucket_writes`.
    async fn load_bucket(&self, name: &BucketName, partition: PartitionId) -> Result<(), Error> {
        let key = schema::bucket_key(name);
        let Some(entry) = self.engine.get(partition, &key).await? else {
            self.buckets.write().remove(name);
            return Err(Error::NoSuchBucket { bucket: name.clone() });
        };
        self.remember(Bucket::from_entry(partition, &key, &entry)?);
        Ok(())
    }

    fn remember(&self, bucket: Bucket) -> Arc<Bucket> {
        let bucket = Arc::new(bucket);
        self.buckets.write().insert(bucket.name.clone(), Arc::clone(&bucket));
        bucket
    }

    /// New buckets go where the fewest are.
    fn partition_of_new_bucket(&self) -> PartitionId {
        let buckets = self.buckets.read();
        let count_in = |partition| buckets.values().filter(|bucket| bucket.partition == partition).count();
        let partitions = self.engine.partitions().into_iter();
        partitions.min_by_key(|&partition| count_in(partition)).expect("an engine has a partition")
    }

    /// The change of a bucket itself. No rule can name a target for it: only listeners hear of it.
    fn bucket_change(&self, bucket: &Bucket, kind: ChangeKind, origin: Origin) -> Change {
        Change {
            sequence: Sequence::ZERO,
            time_ms: self.clock().now_ms(),
            kind,
            bucket: bucket.name.clone(),
            key: String::new(),
            version: None,
            object: None,
            origin: Some(origin),
            targets: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use crate::change::{Origin, Sequence};
    use crate::clock::SystemClock;
    use crate::engine::PartitionId;
    use crate::error::Error;
    use crate::recorder::Silent;
    use crate::store::Store;
    use crate::testing::MemoryEngine;
    use crate::testing::fixture::{Fixture, bucket};

    #[tokio::test]
    async fn a_bucket_is_made_once_and_goes_when_it_is_empty() {
        let fixture = Fixture::new().await;
        let (store, album) = (&fixture.store, &fixture.album);
        let exists = Error::BucketExists { bucket: album.clone() };
        assert_eq!(store.create_bucket(album.clone(), Origin::default()).await, Err(exists));

        fixture.put("rose.jpg", b"ab").await;
        let not_empty = Error::BucketNotEmpty { bucket: album.clone() };
        assert_eq!(store.delete_bucket(album, Origin::default()).await, Err(not_empty));

        fixture.delete("rose.jpg").await.unwrap();
        store.delete_bucket(album, Origin::default()).await.unwrap();
        let gone = Error::NoSuchBucket { bucket: album.clone() };
        assert_eq!(store.delete_bucket(album, Origin::default()).await, Err(gone.clone()));
        assert_eq!(store.set_document(album, "notification", None).await, Err(gone));
        assert_eq!(store.buckets(), []);
    }

    #[tokio::test]
    async fn a_bucket_whose_name_begins_like_anothers_does_not_keep_it() {
        let fixture = Fixture::new().await;
        fixture.put("rose.jpg", b"ab").await;
        let short = bucket("alb");
        fixture.store.create_bucket(short.clone(), Origin::default()).await.unwrap();
        fixture.store.delete_bucket(&short, Origin::default()).await.unwrap();
        assert!(fixture.object("rose.jpg").await.is_ok());
    }

    #[tokio::test]
    async fn a_bucket_that_another_store_made_is_found_when_it_is_to_be_made() {
        let fixture = Fixture::new().await;
        let attic = bucket("attic");
        let other = fixture.another_store().await;
        let made = other.create_bucket(attic.clone(), Origin::default()).await.unwrap();
        let exists = Error::BucketExists { bucket: attic.clone() };
        assert_eq!(fixture.store.create_bucket(attic.clone(), Origin::default()).await, Err(exists));
        assert_eq!(fixture.store.bucket(&attic), Ok(made));
    }

    #[tokio::test]
    async fn documents_are_set_and_removed_each_under_its_name() {
        let fixture = Fixture::new().await;
        let (store, album) = (&fixture.store, &fixture.album);
        let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        store.set_document(album, "notification", text("rules")).await.unwrap();
        store.set_document(album, "policy", text("all")).await.unwrap();
        store.set_document(album, "notification", None).await.unwrap();
        let bucket = store.bucket(album).unwrap();
        assert_eq!(bucket.document("policy"), text("all").as_ref());
        assert_eq!(bucket.document("notification"), None);
        assert_eq!(fixture.another_store().await.bucket(album).unwrap(), bucket);
    }

    #[tokio::test]
    async fn new_buckets_go_where_the_fewest_are_and_keep_everything_there() {
        let engine = MemoryEngine::with(Arc::new(SystemClock), 2);
        let open = || Store::open(Arc::new(engine.clone()), Arc::new(Silent), Arc::new(SystemClock));
        let store = open().await.unwrap();
        for name in ["a", "b", "c"] {
            store.create_bucket(bucket(name), Origin::default()).await.unwrap();
        }
        let places =
            |store: &Store| store.buckets().iter().map(|bucket| bucket.partition.0).collect::<Vec<_>>();
        assert_eq!(places(&store), [0, 1, 0]);
        assert_eq!(places(&open().await.unwrap()), [0, 1, 0]);
        assert_eq!(store.changes(PartitionId(1), Sequence::ZERO, 10).await.unwrap()[0].bucket, bucket("b"));
    }
}
