//! The model: a bucket as a plain ordered map, and random histories that the store must agree with it on.
//!
//! [`histories`] makes action sequences; [`follow`] runs one against an engine and compares with the model
//! after every action: the whole listing, the body of every key the action touched, and the changes it told,
//! in order. At the end, and whenever the history opens the engine again, everything is compared. A
//! disagreement panics and names the action.
//!
//! Histories are followed by one task: what happens at the same time is the contract's subject.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};

use crate::bucket::Bucket;
use crate::change::{Change, ChangeKind, Origin, Sequence};
use crate::clock::SystemClock;
use crate::engine::{Engine, PartitionId};
use crate::error::Error;
use crate::listing::{ListPage, ListQuery};
use crate::multipart::{
    CompleteUpload, CreateUpload, ListedPart, PART_BYTES_MIN, PutPart, Upload, UploadQuery,
};
use crate::names::{BucketName, VersionId};
use crate::object::{Deleted, ETag, ObjectHeaders, PutObject};
use crate::precondition::{EntityMatch, WriteCondition};
use crate::store::Store;
use crate::testing::fixture::{ListedTargets, bucket, key, to_delete};

/// The keys that histories use: some begin like others, some hold delimiters, one ends in one.
const KEYS: [&str; 8] = ["a", "a-", "a/", "a/b", "a/b/c", "a0", "b/1", "ü"];

/// Most uploads that a history knows at once: creating one more takes the place of the oldest.
const UPLOADS_MAX: usize = 3;

/// One thing a client does. Keys are places in a fixed list, uploads places among those the history made.
#[derive(Clone, Debug)]
pub enum Action {
    /// Writes an object.
    Put(usize, Body),
    /// Writes an object where there is none.
    PutNew(usize, Body),
    /// Reads one object and writes it under another key.
    Copy(usize, usize),
    /// Deletes a key.
    Delete(usize),
    /// Deletes some keys in one request.
    DeleteMany(Vec<usize>),
    /// Opens an upload.
    CreateUpload(usize),
    /// Adds a part to an upload.
    PutPart(usize, u32, Body),
    /// Completes an upload with all its parts.
    Complete(usize),
    /// Aborts an upload.
    Abort(usize),
    /// Lists keys.
    List(ListQuery),
    /// Lists versions.
    ListVersions(ListQuery),
    /// Receives a body and does not use it.
    Drop(Body),
    /// Changes the bucket's rules: from now on changes are for this many targets.
    Rules(usize),
    /// Closes store and engine and opens them again.
    Reopen,
}

/// A body: so many bytes, told apart by a seed.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    size_bytes: usize,
    seed: u8,
}

impl Body {
    fn bytes(self) -> Vec<u8> {
        (0..self.size_bytes)
            .map(|at| (at / 13) as u8 ^ (at as u8).wrapping_mul(self.seed))
            .collect()
    }
}

/// Histories of up to `actions_max` actions.
pub fn histories(actions_max: usize) -> impl Strategy<Value = Vec<Action>> {
    let any_key = || 0..KEYS.len();
    let any_upload = || 0..UPLOADS_MAX;
    let action = prop_oneof![
        8 => (any_key(), bodies()).prop_map(|(key, body)| Action::Put(key, body)),
        2 => (any_key(), bodies()).prop_map(|(key, body)| Action::PutNew(key, body)),
        3 => (any_key(), any_key()).prop_map(|(from, to)| Action::Copy(from, to)),
        4 => any_key().prop_map(Action::Delete),
        2 => vec(any_key(), 1..5).prop_map(Action::DeleteMany),
        3 => any_key().prop_map(Action::CreateUpload),
        6 => (any_upload(), 1..4u32, part_bodies()).prop_map(|(upload, number, body)| {
            Action::PutPart(upload, number, body)
        }),
        3 => any_upload().prop_map(Action::Complete),
        1 => any_upload().prop_map(Action::Abort),
        4 => queries().prop_map(Action::List),
        1 => queries().prop_map(Action::ListVersions),
        1 => bodies().prop_map(Action::Drop),
        1 => (0..3usize).prop_map(Action::Rules),
        1 => Just(Action::Reopen),
    ];
    vec(action, 1..=actions_max)
}

/// Empty, inline and staged ones.
fn bodies() -> impl Strategy<Value = Body> {
    let size_bytes = prop_oneof![1 => Just(0usize), 6 => 1..5000usize, 2 => 100_000..300_000usize];
    (size_bytes, 1..=255u8).prop_map(|(size_bytes, seed)| Body { size_bytes, seed })
}

/// As [`bodies`], and some that are just large enough to be followed by another part.
fn part_bodies() -> impl Strategy<Value = Body> {
    let large = (1..=255u8).prop_map(|seed| Body {
        size_bytes: PART_BYTES_MIN as usize,
        seed,
    });
    prop_oneof![1 => bodies(), 2 => large]
}

fn queries() -> impl Strategy<Value = ListQuery> {
    let text = |choices: &'static [&'static str]| proptest::sample::select(choices).prop_map(str::to_owned);
    let prefix = text(&["", "a", "a/", "a/b", "b", "zz"]);
    let delimiter = text(&["", "", "/", "b", "/b"]);
    let after = text(&["", "", "a", "a/", "a/a", "a/b/", "a/b/b", "b", "b/", "ü"]);
    (prefix, delimiter, after, 0..6usize).prop_map(|(prefix, delimiter, after, limit)| ListQuery {
        prefix,
        delimiter,
        after,
        after_version: None,
        limit,
    })
}

/// Runs a history against an engine that nothing was written to.
///
/// `reopen` closes an engine and opens it again; where an engine cannot, it gives the same one back.
///
/// # Panics
///
/// When store and model disagree.
pub async fn follow(
    engine: Arc<dyn Engine>,
    history: &[Action],
    reopen: impl AsyncFn(Arc<dyn Engine>) -> Arc<dyn Engine>,
) {
    let mut walk = Side::open(engine).await;
    walk.store
        .create_bucket(walk.album.clone(), Origin::default())
        .await
        .expect("there are no buckets");
    walk.model.tell(ChangeKind::BucketCreated, "", None);
    for (step, action) in history.iter().enumerate() {
        let place = format!("after action {step}, {action:?}");
        if matches!(action, Action::Reopen) {
            walk.settle().await;
            let Side {
                engine,
                store,
                album,
                model,
            } = walk;
            drop(store);
            let engine = reopen(engine).await;
            walk = Side {
                store: open(&engine).await,
                engine,
                album,
                model,
            };
            walk.compare_everything(&place).await;
        } else {
            let touched = walk.act(action, &place).await;
            walk.compare(&touched, &place).await;
        }
    }
    walk.compare_everything("at the end").await;
    walk.settle().await;
}

/// What the model holds.
#[derive(Default)]
struct Model {
    objects: BTreeMap<String, Bytes>,
    uploads: Vec<ModelUpload>,
    targets: Vec<String>,
    told: Vec<Told>,
    /// How many of `told` were compared.
    compared: usize,
    newest: Sequence,
}

struct ModelUpload {
    upload: Upload,
    parts: BTreeMap<u32, Bytes>,
    is_open: bool,
}

/// What a change is compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    kind: ChangeKind,
    key: String,
    version: Option<VersionId>,
    object: Option<(u64, String)>,
    targets: Vec<String>,
}

impl From<Change> for Told {
    fn from(change: Change) -> Told {
        let Change {
            kind,
            key,
            version,
            object,
            targets,
            ..
        } = change;
        Told {
            kind,
            key,
            version,
            object: object.map(|object| (object.size_bytes, object.etag)),
            targets,
        }
    }
}

impl Model {
    fn tell(&mut self, kind: ChangeKind, key: &str, body: Option<&Bytes>) {
        let is_of_bucket = key.is_empty();
        self.told.push(Told {
            kind,
            key: key.to_owned(),
            version: key.ends_with('/').then_some(VersionId::Null),
            object: body.map(|body| (body.len() as u64, etag(body).0)),
            targets: if is_of_bucket {
                Vec::new()
            } else {
                self.targets.clone()
            },
        });
    }

    fn put(&mut self, kind: ChangeKind, key: &str, body: Bytes) {
        self.tell(kind, key, Some(&body));
        self.objects.insert(key.to_owned(), body);
    }

    /// A page as the shortest code can make it: keys and groups in one order, and whether there is more.
    fn page(&self, query: &ListQuery) -> (Vec<String>, bool) {
        let group = |name: &str| {
            let at = name[query.prefix.len()..].find(&query.delimiter)?;
            Some(name[..query.prefix.len() + at + query.delimiter.len()].to_owned())
        };
        let group = |name: &str| group(name).filter(|_| !query.delimiter.is_empty());
        let is_after_group =
            query.after.starts_with(&query.prefix) && group(&query.after) == Some(query.after.clone());
        let mut steps = Vec::new();
        for name in self
            .objects
            .keys()
            .filter(|name| name.starts_with(&query.prefix) && **name > query.after)
        {
            if is_after_group && name.starts_with(&query.after) {
                continue;
            }
            let step = group(name).unwrap_or_else(|| name.clone());
            if steps.last() != Some(&step) {
                steps.push(step);
            }
        }
        let is_truncated = query.limit > 0 && steps.len() > query.limit;
        steps.truncate(query.limit);
        (steps, is_truncated)
    }
}

/// Store and model, side by side.
struct Side {
    engine: Arc<dyn Engine>,
    store: Store,
    album: BucketName,
    model: Model,
}

async fn open(engine: &Arc<dyn Engine>) -> Store {
    let opened = Store::open(
        Arc::clone(engine),
        Arc::new(ListedTargets::default()),
        Arc::new(SystemClock),
    );
    opened.await.expect("the engine can be read")
}

impl Side {
    async fn open(engine: Arc<dyn Engine>) -> Side {
        Side {
            store: open(&engine).await,
            engine,
            album: bucket("album"),
            model: Model::default(),
        }
    }

    /// Does one action on both sides and compares what it answers; gives the keys it touched.
    async fn act(&mut self, action: &Action, place: &str) -> Vec<String> {
        match action {
            Action::Put(name, body) => {
                self.put(KEYS[*name], Bytes::from(body.bytes()), ChangeKind::Put)
                    .await
            }
            Action::PutNew(name, body) => self.put_new(KEYS[*name], Bytes::from(body.bytes()), place).await,
            Action::Copy(from, to) => match self.model.objects.get(KEYS[*from]).cloned() {
                Some(expected) => {
                    let read = self.read(KEYS[*from], place).await;
                    assert!(read == expected, "{place}: the source's bytes differ");
                    self.put(KEYS[*to], read, ChangeKind::Copy).await
                }
                None => vec![KEYS[*from].to_owned()],
            },
            Action::Delete(name) => self.delete(KEYS[*name], place).await,
            Action::DeleteMany(names) => self.delete_many(names, place).await,
            Action::CreateUpload(name) => self.create_upload(KEYS[*name]).await,
            Action::PutPart(upload, number, body) => self.put_part(*upload, *number, *body, place).await,
            Action::Complete(upload) => self.complete(*upload, place).await,
            Action::Abort(upload) => self.abort(*upload, place).await,
            Action::List(query) => {
                let page = self.store.list_objects(&self.album, query).await.expect(place);
                self.compare_page(page, query, place)
            }
            Action::ListVersions(query) => {
                let page = self.store.list_versions(&self.album, query).await.expect(place);
                self.compare_page(page, query, place)
            }
            Action::Drop(body) => {
                drop(self.content(Bytes::from(body.bytes())).await);
                Vec::new()
            }
            Action::Rules(count) => {
                self.model.targets = (0..*count).map(|number| format!("{number}:kafka")).collect();
                let text = Bytes::from(self.model.targets.join(","));
                let text = Some(text).filter(|text| !text.is_empty());
                self.store
                    .set_document(&self.album, Bucket::NOTIFICATION, text)
                    .await
                    .expect(place);
                Vec::new()
            }
            Action::Reopen => unreachable!("the history itself opens again"),
        }
    }

    async fn content(&self, body: Bytes) -> crate::content::Content {
        let size_bytes = Some(body.len() as u64).filter(|size| size % 2 == 0);
        let mut writer = self
            .store
            .receive(&self.album, size_bytes)
            .await
            .expect("the bucket is there");
        for chunk in body.chunks(70_000) {
            writer
                .write(body.slice_ref(chunk))
                .await
                .expect("the engine takes bodies");
        }
        writer.finish().await.expect("the engine takes bodies")
    }

    async fn to_put(&self, name: &str, body: Bytes, kind: ChangeKind) -> PutObject {
        PutObject {
            bucket: self.album.clone(),
            key: key(name),
            etag: etag(&body),
            content: self.content(body).await,
            headers: ObjectHeaders::default(),
            checksum: None,
            condition: WriteCondition::default(),
            kind,
            origin: Origin::default(),
        }
    }

    async fn put(&mut self, name: &str, body: Bytes, kind: ChangeKind) -> Vec<String> {
        let put = self.to_put(name, body.clone(), kind).await;
        self.store
            .put_object(put)
            .await
            .expect("nothing speaks against the put");
        self.model.put(kind, name, body);
        vec![name.to_owned()]
    }

    async fn put_new(&mut self, name: &str, body: Bytes, place: &str) -> Vec<String> {
        let condition = WriteCondition {
            if_none_match: Some(EntityMatch::Any),
            ..WriteCondition::default()
        };
        let put = PutObject {
            condition,
            ..self.to_put(name, body.clone(), ChangeKind::Put).await
        };
        let written = self.store.put_object(put).await;
        if self.model.objects.contains_key(name) {
            assert!(
                matches!(written, Err(Error::PreconditionFailed { .. })),
                "{place}: {written:?}"
            );
        } else {
            written.expect(place);
            self.model.put(ChangeKind::Put, name, body);
        }
        vec![name.to_owned()]
    }

    async fn delete(&mut self, name: &str, place: &str) -> Vec<String> {
        let deleted = self
            .store
            .delete_object(&self.album, to_delete(name), Origin::default())
            .await;
        let existed = self.model.objects.remove(name).is_some();
        assert_eq!(deleted, Ok(Deleted { existed }), "{place}");
        let kind = if existed {
            ChangeKind::Delete
        } else {
            ChangeKind::NoOp
        };
        self.model.tell(kind, name, None);
        vec![name.to_owned()]
    }

    async fn delete_many(&mut self, names: &[usize], place: &str) -> Vec<String> {
        let deletes = names.iter().map(|&name| to_delete(KEYS[name])).collect();
        let answers = self
            .store
            .delete_objects(&self.album, deletes, Origin::default())
            .await
            .expect(place);
        assert_eq!(
            answers,
            vec![Ok(Deleted { existed: true }); names.len()],
            "{place}"
        );
        for &name in names {
            self.model.objects.remove(KEYS[name]);
            self.model.tell(ChangeKind::Delete, KEYS[name], None);
        }
        names.iter().map(|&name| KEYS[name].to_owned()).collect()
    }

    async fn create_upload(&mut self, name: &str) -> Vec<String> {
        let create = CreateUpload {
            bucket: self.album.clone(),
            key: key(name),
            headers: ObjectHeaders::default(),
            checksum: None,
            initiator: String::new(),
        };
        let upload = self
            .store
            .create_upload(create)
            .await
            .expect("the bucket is there");
        if self.model.uploads.len() == UPLOADS_MAX {
            let oldest = self.model.uploads.remove(0);
            if oldest.is_open {
                let Upload { bucket, key, id, .. } = &oldest.upload;
                self.store
                    .abort_upload(bucket, key, *id)
                    .await
                    .expect("the upload is open");
            }
        }
        self.model.uploads.push(ModelUpload {
            upload,
            parts: BTreeMap::new(),
            is_open: true,
        });
        Vec::new()
    }

    async fn put_part(
        &mut self,
        place_of_upload: usize,
        number: u32,
        body: Body,
        place: &str,
    ) -> Vec<String> {
        let Some(upload) = self
            .model
            .uploads
            .get(place_of_upload)
            .map(|model| model.upload.clone())
        else {
            return Vec::new();
        };
        let body = Bytes::from(body.bytes());
        let put = PutPart {
            upload: upload.id,
            bucket: upload.bucket,
            key: upload.key,
            number,
            etag: etag(&body),
            content: self.content(body.clone()).await,
            checksum: None,
        };
        let written = self.store.put_part(put).await;
        let model = &mut self.model.uploads[place_of_upload];
        if model.is_open {
            written.expect(place);
            model.parts.insert(number, body);
        } else {
            assert_eq!(written, Err(Error::NoSuchUpload { upload: upload.id }), "{place}");
        }
        Vec::new()
    }

    async fn complete(&mut self, place_of_upload: usize, place: &str) -> Vec<String> {
        let Some(model) = self
            .model
            .uploads
            .get_mut(place_of_upload)
            .filter(|model| !model.parts.is_empty())
        else {
            return Vec::new();
        };
        let listed = |(&number, body): (&u32, &Bytes)| ListedPart {
            number,
            etag: etag(body).0,
            checksum: None,
        };
        let listed: Vec<ListedPart> = model.parts.iter().map(listed).collect();
        let chosen = self.store.choose_parts(&model.upload, &listed).await;
        let but_last = model.parts.values().take(model.parts.len() - 1);
        if !model.is_open {
            assert!(
                matches!(chosen, Err(Error::InvalidPart { .. })),
                "{place}: {chosen:?}"
            );
            return Vec::new();
        }
        if but_last.clone().any(|body| (body.len() as u64) < PART_BYTES_MIN) {
            assert!(
                matches!(chosen, Err(Error::EntityTooSmall { .. })),
                "{place}: {chosen:?}"
            );
            return Vec::new();
        }
        let body = Bytes::from(model.parts.values().flatten().copied().collect::<Vec<u8>>());
        let complete = CompleteUpload {
            upload: model.upload.clone(),
            parts: chosen.expect(place),
            etag: etag(&body),
            checksum: None,
            condition: WriteCondition::default(),
            origin: Origin::default(),
        };
        model.is_open = false;
        let name = model.upload.key.to_string();
        self.store.complete_upload(complete).await.expect(place);
        self.model.put(ChangeKind::CompleteMultipartUpload, &name, body);
        vec![name]
    }

    async fn abort(&mut self, place_of_upload: usize, place: &str) -> Vec<String> {
        let Some(model) = self.model.uploads.get_mut(place_of_upload) else {
            return Vec::new();
        };
        let Upload { bucket, key, id, .. } = &model.upload;
        let aborted = self.store.abort_upload(bucket, key, *id).await;
        let expected = if model.is_open {
            Ok(())
        } else {
            Err(Error::NoSuchUpload { upload: *id })
        };
        assert_eq!(aborted, expected, "{place}");
        model.is_open = false;
        Vec::new()
    }

    fn compare_page(&self, page: ListPage, query: &ListQuery, place: &str) -> Vec<String> {
        let ListPage {
            entries,
            common_prefixes,
            is_truncated,
            last,
            ..
        } = page;
        let mut steps: Vec<String> = entries
            .into_iter()
            .map(|entry| entry.key)
            .chain(common_prefixes)
            .collect();
        steps.sort();
        assert_eq!(last, steps.last().cloned().unwrap_or_default(), "{place}");
        assert_eq!((steps, is_truncated), self.model.page(query), "{place}");
        Vec::new()
    }

    async fn read(&self, name: &str, place: &str) -> Bytes {
        let object = self
            .store
            .object(&self.album, &key(name), None)
            .await
            .expect(place);
        let stream = self.store.read(&object, 0..object.size_bytes).await.expect(place);
        let chunks: Vec<Bytes> = stream.try_collect().await.expect(place);
        Bytes::from(chunks.concat())
    }

    /// The listing, the bodies of some keys, and the changes told since this was last asked.
    async fn compare(&mut self, touched: &[String], place: &str) {
        let query = ListQuery {
            limit: 1000,
            ..ListQuery::default()
        };
        let page = self.store.list_objects(&self.album, &query).await.expect(place);
        let listed: Vec<_> = page
            .entries
            .into_iter()
            .map(|entry| (entry.key, entry.size_bytes, entry.etag))
            .collect();
        let objects = self.model.objects.iter();
        let expected: Vec<_> = objects
            .map(|(name, body)| (name.clone(), body.len() as u64, etag(body)))
            .collect();
        assert_eq!(listed, expected, "{place}");

        for name in touched {
            match self.model.objects.get(name) {
                Some(body) => assert!(
                    self.read(name, place).await == *body,
                    "{place}: the bytes of {name} differ"
                ),
                None => {
                    let missing = self.store.object(&self.album, &key(name), None).await;
                    assert!(
                        matches!(missing, Err(Error::NoSuchKey { .. })),
                        "{place}: {missing:?}"
                    );
                }
            }
        }

        let told = self.changes(self.model.newest, place).await;
        self.model.newest = told.last().map_or(self.model.newest, |(sequence, _)| *sequence);
        assert!(
            self.store.newest(self.partition()) >= self.model.newest,
            "{place}"
        );
        let told: Vec<Told> = told.into_iter().map(|(_, told)| told).collect();
        assert_eq!(told, self.model.told[self.model.compared..], "{place}");
        self.model.compared = self.model.told.len();
    }

    /// Lets the store give back the bodies that were dropped since its last commit.
    async fn settle(&self) {
        let nothing = self.content(Bytes::new()).await;
        self.store.discard(nothing).await;
    }

    async fn compare_everything(&mut self, place: &str) {
        self.compare(&KEYS.map(str::to_owned), place).await;
        let told = self
            .changes(Sequence::ZERO, place)
            .await
            .into_iter()
            .map(|(_, told)| told);
        assert_eq!(told.collect::<Vec<_>>(), self.model.told, "{place}");
        let query = UploadQuery {
            limit: 1000,
            ..UploadQuery::default()
        };
        let uploads = self
            .store
            .uploads(&self.album, &query)
            .await
            .expect(place)
            .uploads;
        let open = self.model.uploads.iter().filter(|model| model.is_open);
        let mut open: Vec<Upload> = open.map(|model| model.upload.clone()).collect();
        open.sort_by_key(|upload| (upload.key.clone(), upload.id));
        assert_eq!(uploads, open, "{place}");
    }

    fn partition(&self) -> PartitionId {
        self.engine.partitions()[0]
    }

    async fn changes(&self, after: Sequence, place: &str) -> Vec<(Sequence, Told)> {
        let changes = self
            .engine
            .changes(self.partition(), after, 10_000)
            .await
            .expect(place);
        changes
            .into_iter()
            .map(|change| (change.sequence, Told::from(change)))
            .collect()
    }
}

/// An entity tag that tells bodies apart; the store does not care how it is made.
fn etag(body: &[u8]) -> ETag {
    let sum = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    ETag(format!("{sum:032x}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::{ProptestConfig, proptest};

    use super::{follow, histories};
    use crate::engine::Engine;
    use crate::testing::MemoryEngine;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// Whatever is done to a bucket, the store says of it what the model says, and no body is left
        /// behind that nothing names.
        #[test]
        fn the_store_agrees_with_the_model_and_leaks_nothing(history in histories(40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let memory = MemoryEngine::new();
            let engine: Arc<dyn Engine> = Arc::new(memory.clone());
            runtime.block_on(follow(engine, &history, async |engine| engine));
            assert_eq!(memory.unnamed_body_count(), 0);
        }
    }
}
