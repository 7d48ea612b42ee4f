//! A bucket: its name, and the documents that say how it behaves.
//!
//! The store keeps every bucket in memory. What is in memory is what was committed last: whoever writes a
//! bucket's record holds `Store::bucket_writes` until memory has it too. A write that was built on an older
//! state fails its precondition and loads the bucket again.
//!
//! A bucket lives in one partition, chosen when it is created and recorded by its living there. Names are
//! unique over all partitions though no commit spans two: creations go one after the other, memory knows the
//! buckets of every partition, and a creation of unknown outcome keeps its partition (see `Creations`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, Mutation, Precondition, Put};
use crate::change::{Change, ChangeKind, Origin, Sequence};
use crate::engine::{EngineError, Entry, Partition, PartitionId};
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

/// Creations whose outcome is not known: the commit went out and no definite answer came back. The bucket may
/// come to be there when its partition has recovered. At most one a partition: the next creation there, of
/// whatever name, settles it first.
pub(crate) type Creations = BTreeMap<PartitionId, BucketName>;

impl Store {
    /// Creates a bucket, in the partition that has the most room.
    ///
    /// # Errors
    ///
    /// `BucketExists`.
    pub async fn create_bucket(&self, name: BucketName, origin: Origin) -> Result<Arc<Bucket>, Error> {
        let mut creations = self.bucket_writes.lock().await;
        if self.bucket(&name).is_ok() {
            return Err(Error::BucketExists { bucket: name });
        }
        let begun = creations.iter().find(|(_, begun)| **begun == name).map(|(partition, _)| *partition);
        let partition = begun.unwrap_or_else(|| self.partition_of_new_bucket());
        self.settle_creation(&mut creations, partition, &name).await?;
        let mut bucket = Bucket {
            created_ms: self.clock().now_ms(),
            partition,
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
        let was_begun = creations.insert(partition, bucket.name.clone()).is_some();
        let answer = self.commit(partition, batch).await;
        let is_settled = match &answer {
            Ok(_) | Err(EngineError::Precondition { .. }) => true,
            Err(EngineError::OutcomeUnknown { .. } | EngineError::Closed) => false,
            // This try changed nothing; of one before it nothing is known by that.
            Err(_) => !was_begun,
        };
        if is_settled {
            creations.remove(&partition);
        }
        match answer {
            Ok(committed) => {
                bucket.sequence = committed.sequence;
                Ok(self.remember(bucket))
            }
            Err(EngineError::Precondition { .. }) => {
                self.load_bucket(&bucket.name, partition).await?;
                Err(Error::BucketExists { bucket: bucket.name })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Finds out what became of a creation of another name in this partition, if one is of unknown outcome.
    ///
    /// A commit is asked for it, since only a partition that takes commits again has recovered: until then
    /// reading shows nothing of what it may yet keep.
    async fn settle_creation(
        &self,
        creations: &mut Creations,
        partition: PartitionId,
        name: &BucketName,
    ) -> Result<(), Error> {
        let Some(begun) = creations.get(&partition).filter(|begun| *begun != name).cloned() else {
            return Ok(());
        };
        let exists = Precondition::Exists(schema::bucket_key(&begun));
        let question = Batch { preconditions: vec![exists], ..Batch::default() };
        match self.commit(partition, question).await {
            Ok(_) => self.load_bucket(&begun, partition).await?,
            Err(EngineError::Precondition { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        creations.remove(&partition);
        Ok(())
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
        self.edit_document(name, document, |_| Ok(text.clone())).await
    }

    /// Sets or removes a document as `edit` decides of the bucket as it is, asked again when that changes meanwhile.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, and what `edit` refuses.
    pub async fn edit_document<E: From<Error>>(
        &self,
        name: &BucketName,
        document: &str,
        edit: impl Fn(&Bucket) -> Result<Option<Bytes>, E>,
    ) -> Result<(), E> {
        let _writing = self.bucket_writes.lock().await;
        let mut tries = 0;
        loop {
            let before = self.bucket(name)?;
            let mut bucket = Bucket::clone(&before);
            match edit(&before)? {
                Some(text) => bucket.documents.insert(document.to_owned(), text),
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
                Err(error) => return Err(Error::from(error).into()),
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
    ///
    /// A bucket that memory has in another partition was removed here and made anew there: memory is right.
    async fn load_bucket(&self, name: &BucketName, partition: PartitionId) -> Result<(), Error> {
        if self.bucket(name).is_ok_and(|bucket| bucket.partition != partition) {
            return Ok(());
        }
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

    /// New buckets go where the largest part of the room is free, in whole hundredths; of equals to the last
    /// added. One that takes no writes comes after all others.
    fn partition_of_new_bucket(&self) -> PartitionId {
        if let [only] = self.partitions[..] {
            return only;
        }
        let hundredths_free = |partition: &Partition| {
            let (free, total) = (u128::from(partition.free_bytes), u128::from(partition.total_bytes));
            (free > 0, (free * 100).checked_div(total))
        };
        let partitions = self.engine.partitions().into_iter();
        partitions.max_by_key(hundredths_free).expect("an engine has a partition").id
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
            rules: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::future::join_all;

    use crate::batch::{Batch, Mutation, Put};
    use crate::change::{ChangeKind, Origin, Sequence};
    use crate::clock::SystemClock;
    use crate::engine::{Engine, EngineError, PartitionId};
    use crate::error::Error;
    use crate::object::{ETag, ObjectHeaders, PutObject};
    use crate::precondition::WriteCondition;
    use crate::recorder::Silent;
    use crate::schema;
    use crate::store::Store;
    use crate::testing::MemoryEngine;
    use crate::testing::fixture::{Fixture, bucket, key};

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

    /// An engine of three partitions, and a store over it.
    async fn three_partitions() -> (MemoryEngine, Store) {
        let engine = MemoryEngine::with(Arc::new(SystemClock), 3);
        let store = over(&engine).await.unwrap();
        (engine, store)
    }

    async fn over(engine: &MemoryEngine) -> Result<Store, Error> {
        Store::open(Arc::new(engine.clone()), Arc::new(Silent), Arc::new(SystemClock)).await
    }

    async fn create(store: &Store, name: &str) -> Result<u32, Error> {
        let created = store.create_bucket(bucket(name), Origin::default()).await;
        created.map(|bucket| bucket.partition.0)
    }

    fn places(store: &Store) -> Vec<(String, u32)> {
        let buckets = store.buckets().into_iter();
        buckets.map(|bucket| (bucket.name.as_str().to_owned(), bucket.partition.0)).collect()
    }

    #[tokio::test]
    async fn new_buckets_go_where_most_is_free_in_proportion_and_of_equals_to_the_last() {
        let (engine, store) = three_partitions().await;
        assert_eq!(create(&store, "equal").await, Ok(2));
        // Not where most bytes are free, but where they are the largest part.
        engine.set_room(PartitionId(0), 900, 10_000);
        engine.set_room(PartitionId(1), 60, 100);
        engine.set_room(PartitionId(2), 599, 1000);
        assert_eq!(create(&store, "proportion").await, Ok(1));
        engine.set_room(PartitionId(2), 601, 1000);
        assert_eq!(create(&store, "nearly-equal").await, Ok(2));
        // What takes no writes comes last, however full the others are.
        engine.set_room(PartitionId(0), 1, 10_000);
        engine.set_room(PartitionId(1), 0, 100);
        engine.set_room(PartitionId(2), 0, 1000);
        assert_eq!(create(&store, "the-only-one").await, Ok(0));

        let wanted = [("equal", 2), ("nearly-equal", 2), ("proportion", 1), ("the-only-one", 0)];
        let wanted = wanted.map(|(name, place)| (name.to_owned(), place));
        assert_eq!(places(&store), wanted);
        assert_eq!(places(&over(&engine).await.unwrap()), wanted);
        let told = store.changes(PartitionId(1), Sequence::ZERO, 10).await.unwrap();
        assert_eq!(told[0].bucket, bucket("proportion"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_who_create_a_bucket_while_the_room_changes_one_does() {
        let (engine, store) = three_partitions().await;
        let store = Arc::new(store);
        for round in 0..50 {
            let name = format!("bucket-{round}");
            let creators = (0..6).map(|number| {
                let (engine, store, name) = (engine.clone(), Arc::clone(&store), name.clone());
                tokio::spawn(async move {
                    engine.set_room(PartitionId(number % 3), u64::from(number) * 10, 100);
                    create(&store, &name).await
                })
            });
            let answers = join_all(creators.collect::<Vec<_>>()).await;
            let created = answers.into_iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count();
            assert_eq!(created, 1);
        }
        assert_eq!(places(&over(&engine).await.unwrap()), places(&store));
    }

    #[tokio::test]
    async fn a_bucket_made_anew_in_another_partition_is_not_forgotten_by_who_knew_the_old_one() {
        let (engine, store) = three_partitions().await;
        assert_eq!(create(&store, "album").await, Ok(2));
        let old = store.bucket(&bucket("album")).unwrap();
        store.delete_bucket(&bucket("album"), Origin::default()).await.unwrap();
        engine.set_room(PartitionId(2), 10, 100);
        assert_eq!(create(&store, "album").await, Ok(1));
        store.reload_bucket(&old).await.unwrap();
        assert_eq!(places(&store), [("album".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn a_creation_of_unknown_outcome_is_tried_again_where_it_was_and_nowhere_else() {
        let (engine, store) = three_partitions().await;
        let unknown = EngineError::OutcomeUnknown { reason: "short of quorum".to_owned() };
        for was_kept in [false, true] {
            let name = if was_kept { "kept" } else { "lost" };
            engine.fail_commits([unknown.clone()]);
            assert_eq!(create(&store, name).await, Err(Error::Engine(unknown.clone())));
            if was_kept {
                let other = over(&engine).await.unwrap();
                assert_eq!(create(&other, name).await, Ok(2));
            }
            engine.set_room(PartitionId(2), 10, 100);
            let refused = EngineError::WriteQuorum { answered: 2, needed: 3 };
            engine.fail_commits([refused.clone()]);
            assert_eq!(create(&store, name).await, Err(Error::Engine(refused)));
            let again = create(&store, name).await;
            let exists = Err(Error::BucketExists { bucket: bucket(name) });
            assert_eq!(again, if was_kept { exists } else { Ok(2) });
            engine.set_room(PartitionId(2), 100, 100);
        }
    }

    #[tokio::test]
    async fn a_creation_of_unknown_outcome_is_settled_by_the_next_in_its_partition() {
        let (engine, store) = three_partitions().await;
        let unknown = EngineError::OutcomeUnknown { reason: "short of quorum".to_owned() };
        engine.fail_commits([unknown]);
        create(&store, "first").await.unwrap_err();
        assert_eq!(create(&over(&engine).await.unwrap(), "first").await, Ok(2));

        assert_eq!(create(&store, "second").await, Ok(2));

        assert_eq!(places(&store), [("first".to_owned(), 2), ("second".to_owned(), 2)]);
        engine.set_room(PartitionId(2), 10, 100);
        let exists = Error::BucketExists { bucket: bucket("first") };
        assert_eq!(create(&store, "first").await, Err(exists));
    }

    #[tokio::test]
    async fn a_bucket_that_two_partitions_have_is_refused_at_the_start() {
        let (engine, store) = three_partitions().await;
        create(&store, "album").await.unwrap();
        let record = schema::bucket_key(&bucket("album"));
        let entry = engine.get(PartitionId(2), &record).await.unwrap().unwrap();
        let put = Mutation::Put(Put { key: record, value: entry.value, ..Put::default() });
        let batch = Batch { mutations: vec![put], ..Batch::default() };
        engine.commit(PartitionId(0), batch).await.unwrap();
        let refused = over(&engine).await.err().unwrap().to_string();
        let reason = "partitions 0 and 2 both have this bucket: drives of two servers are mixed";
        assert_eq!(refused, format!("the record under balbum cannot be read: {reason}"));
    }

    #[tokio::test]
    async fn a_body_for_a_bucket_that_moved_meanwhile_is_not_put_into_the_new_one() {
        let (engine, store) = three_partitions().await;
        let album = bucket("album");
        create(&store, "album").await.unwrap();
        let mut writer = store.receive(&album, None).await.unwrap();
        writer.write(Bytes::from(vec![1; 200_000])).await.unwrap();
        let content = writer.finish().await.unwrap();
        store.delete_bucket(&album, Origin::default()).await.unwrap();
        engine.set_room(PartitionId(2), 10, 100);
        assert_eq!(create(&store, "album").await, Ok(1));

        let put = PutObject {
            bucket: album.clone(),
            key: key("rose.jpg"),
            content,
            etag: ETag("x".to_owned()),
            headers: ObjectHeaders::default(),
            checksum: None,
            condition: WriteCondition::default(),
            kind: ChangeKind::Put,
            origin: Origin::default(),
        };
        assert_eq!(store.put_object(put).await.unwrap_err(), Error::NoSuchBucket { bucket: album });
        assert_eq!(engine.body_count(), 0);
    }
}
