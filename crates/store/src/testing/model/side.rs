//! The store and the model side by side: each action done to both, then compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::plain::{Model, ModelUpload, Told, etag};
use super::{Action, Body, KEYS, UPLOADS_MAX};
use crate::bucket::Bucket;
use crate::change::{ChangeKind, Origin, Sequence};
use crate::clock::SystemClock;
use crate::engine::{Engine, PartitionId};
use crate::error::Error;
use crate::listing::{ListPage, ListQuery};
use crate::multipart::{
    CompleteUpload, CreateUpload, ListedPart, PART_BYTES_MIN, PutPart, Upload, UploadQuery,
};
use crate::names::BucketName;
use crate::object::{Deleted, ObjectHeaders, PutObject};
use crate::precondition::{EntityMatch, WriteCondition};
use crate::store::Store;
use crate::testing::fixture::{ListedTargets, bucket, key, to_delete};

/// Store and model, side by side.
pub(super) struct Side {
    engine: Arc<dyn Engine>,
    store: Store,
    album: BucketName,
    model: Model,
}

async fn open(engine: &Arc<dyn Engine>) -> Store {
    let opened = Store::open(Arc::clone(engine), Arc::new(ListedTargets::default()), Arc::new(SystemClock));
    opened.await.expect("the engine can be read")
}

impl Side {
    /// Opens both sides and makes the bucket.
    pub(super) async fn open(engine: Arc<dyn Engine>) -> Side {
        let mut side =
            Side { store: open(&engine).await, engine, album: bucket("album"), model: Model::default() };
        let created = side.store.create_bucket(side.album.clone(), Origin::default()).await;
        created.expect("there are no buckets");
        side.model.tell(ChangeKind::BucketCreated, "", None);
        side
    }

    /// Closes the store, has the engine opened again, and opens a store over it.
    pub(super) async fn reopened(self, reopen: impl AsyncFn(Arc<dyn Engine>) -> Arc<dyn Engine>) -> Side {
        self.settle().await;
        let Side { engine, store, album, model } = self;
        drop(store);
        let engine = reopen(engine).await;
        Side { store: open(&engine).await, engine, album, model }
    }

    /// Does one action on both sides and compares what it answers; gives the keys it touched.
    pub(super) async fn act(&mut self, action: &Action, place: &str) -> Vec<String> {
        match action {
            Action::Put(name, body) => {
                self.put(KEYS[*name], Bytes::from(body.bytes()), ChangeKind::Put).await
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
                self.store.set_document(&self.album, Bucket::NOTIFICATION, text).await.expect(place);
                Vec::new()
            }
            Action::Reopen => unreachable!("the history itself opens again"),
        }
    }

    async fn content(&self, body: Bytes) -> crate::content::Content {
        let size_bytes = Some(body.len() as u64).filter(|size| size % 2 == 0);
        let mut writer = self.store.receive(&self.album, size_bytes).await.expect("the bucket is there");
        for chunk in body.chunks(70_000) {
            writer.write(body.slice_ref(chunk)).await.expect("the engine takes bodies");
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
        self.store.put_object(put).await.expect("nothing speaks against the put");
        self.model.put(kind, name, body);
        vec![name.to_owned()]
    }

    async fn put_new(&mut self, name: &str, body: Bytes, place: &str) -> Vec<String> {
        let condition = WriteCondition { if_none_match: Some(EntityMatch::Any), ..WriteCondition::default() };
        let put = PutObject { condition, ..self.to_put(name, body.clone(), ChangeKind::Put).await };
        let written = self.store.put_object(put).await;
        if self.model.objects.contains_key(name) {
            assert!(matches!(written, Err(Error::PreconditionFailed { .. })), "{place}: {written:?}");
        } else {
            written.expect(place);
            self.model.put(ChangeKind::Put, name, body);
        }
        vec![name.to_owned()]
    }

    async fn delete(&mut self, name: &str, place: &str) -> Vec<String> {
        let deleted = self.store.delete_object(&self.album, to_delete(name), Origin::default()).await;
        let existed = self.model.objects.remove(name).is_some();
        assert_eq!(deleted, Ok(Deleted { existed }), "{place}");
        let kind = if existed { ChangeKind::Delete } else { ChangeKind::NoOp };
        self.model.tell(kind, name, None);
        vec![name.to_owned()]
    }

    async fn delete_many(&mut self, names: &[usize], place: &str) -> Vec<String> {
        let deletes = names.iter().map(|&name| to_delete(KEYS[name])).collect();
        let answers = self.store.delete_objects(&self.album, deletes, Origin::default()).await.expect(place);
        assert_eq!(answers, vec![Ok(Deleted { existed: true }); names.len()], "{place}");
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
        let upload = self.store.create_upload(create).await.expect("the bucket is there");
        if self.model.uploads.len() == UPLOADS_MAX {
            let oldest = self.model.uploads.remove(0);
            if oldest.is_open {
                let Upload { bucket, key, id, .. } = &oldest.upload;
                self.store.abort_upload(bucket, key, *id).await.expect("the upload is open");
            }
        }
        self.model.uploads.push(ModelUpload { upload, parts: BTreeMap::new(), is_open: true });
        Vec::new()
    }

    async fn put_part(
        &mut self,
        place_of_upload: usize,
        number: u32,
        body: Body,
        place: &str,
    ) -> Vec<String> {
        let Some(upload) = self.model.uploads.get(place_of_upload).map(|model| model.upload.clone()) else {
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
        let Some(model) = self.model.uploads.get_mut(place_of_upload).filter(|model| !model.parts.is_empty())
        else {
            return Vec::new();
        };
        let listed =
            |(&number, body): (&u32, &Bytes)| ListedPart { number, etag: etag(body).0, checksum: None };
        let listed: Vec<ListedPart> = model.parts.iter().map(listed).collect();
        let chosen = self.store.choose_parts(&model.upload, &listed).await;
        let but_last = model.parts.values().take(model.parts.len() - 1);
        if !model.is_open {
            assert!(matches!(chosen, Err(Error::InvalidPart { .. })), "{place}: {chosen:?}");
            return Vec::new();
        }
        if but_last.clone().any(|body| (body.len() as u64) < PART_BYTES_MIN) {
            assert!(matches!(chosen, Err(Error::EntityTooSmall { .. })), "{place}: {chosen:?}");
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
        let expected = if model.is_open { Ok(()) } else { Err(Error::NoSuchUpload { upload: *id }) };
        assert_eq!(aborted, expected, "{place}");
        model.is_open = false;
        Vec::new()
    }

    fn compare_page(&self, page: ListPage, query: &ListQuery, place: &str) -> Vec<String> {
        let ListPage { entries, common_prefixes, is_truncated, last, .. } = page;
        let mut steps: Vec<String> =
            entries.into_iter().map(|entry| entry.key).chain(common_prefixes).collect();
        steps.sort();
        assert_eq!(last, steps.last().cloned().unwrap_or_default(), "{place}");
        assert_eq!((steps, is_truncated), self.model.page(query), "{place}");
        Vec::new()
    }

    async fn read(&self, name: &str, place: &str) -> Bytes {
        let object = self.store.object(&self.album, &key(name), None).await.expect(place);
        let stream = self.store.read(&object, 0..object.size_bytes).await.expect(place);
        let chunks: Vec<Bytes> = stream.try_collect().await.expect(place);
        Bytes::from(chunks.concat())
    }

    /// The listing, the bodies of some keys, and the changes told since this was last asked.
    pub(super) async fn compare(&mut self, touched: &[String], place: &str) {
        let query = ListQuery { limit: 1000, ..ListQuery::default() };
        let page = self.store.list_objects(&self.album, &query).await.expect(place);
        let listed: Vec<_> =
            page.entries.into_iter().map(|entry| (entry.key, entry.size_bytes, entry.etag)).collect();
        let objects = self.model.objects.iter();
        let expected: Vec<_> =
            objects.map(|(name, body)| (name.clone(), body.len() as u64, etag(body))).collect();
        assert_eq!(listed, expected, "{place}");

        for name in touched {
            match self.model.objects.get(name) {
                Some(body) => {
                    assert!(self.read(name, place).await == *body, "{place}: the bytes of {name} differ")
                }
                None => {
                    let missing = self.store.object(&self.album, &key(name), None).await;
                    assert!(matches!(missing, Err(Error::NoSuchKey { .. })), "{place}: {missing:?}");
                }
            }
        }

        let told = self.changes(self.model.newest, place).await;
        self.model.newest = told.last().map_or(self.model.newest, |(sequence, _)| *sequence);
        assert!(self.store.newest(self.partition()) >= self.model.newest, "{place}");
        let told: Vec<Told> = told.into_iter().map(|(_, told)| told).collect();
        assert_eq!(told, self.model.told[self.model.compared..], "{place}");
        self.model.compared = self.model.told.len();
    }

    /// Lets the store give back the bodies that were dropped since its last commit.
    pub(super) async fn settle(&self) {
        let nothing = self.content(Bytes::new()).await;
        self.store.discard(nothing).await;
    }

    /// All bodies, all changes from the first on, and the open uploads.
    pub(super) async fn compare_everything(&mut self, place: &str) {
        self.compare(&KEYS.map(str::to_owned), place).await;
        let told = self.changes(Sequence::ZERO, place).await.into_iter().map(|(_, told)| told);
        assert_eq!(told.collect::<Vec<_>>(), self.model.told, "{place}");
        let query = UploadQuery { limit: 1000, ..UploadQuery::default() };
        let uploads = self.store.uploads(&self.album, &query).await.expect(place).uploads;
        let open = self.model.uploads.iter().filter(|model| model.is_open);
        let mut open: Vec<Upload> = open.map(|model| model.upload.clone()).collect();
        open.sort_by_key(|upload| (upload.key.clone(), upload.id));
        assert_eq!(uploads, open, "{place}");
    }

    fn partition(&self) -> PartitionId {
        self.store.bucket(&self.album).expect("the album is there").partition
    }

    async fn changes(&self, after: Sequence, place: &str) -> Vec<(Sequence, Told)> {
        let changes = self.engine.changes(self.partition(), after, 10_000).await.expect(place);
        changes
            .into_iter()
            .map(|change| (change.sequence, Told::from(Arc::unwrap_or_clone(change))))
            .collect()
    }
}
