//! What the golden sets hold: something of everything that a drive can hold.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::gap::GapWrites;
use store::multipart::{CompleteUpload, CreateUpload, ListedPart, PutPart, Upload};
use store::object::{Checksum, ChecksumAlgorithm, PutObject};
use store::testing::fixture::{HandClock, ListedTargets, bucket, key, to_delete};
use store::{
    Batch, Bucket, BucketName, Change, ChangeKind, Clock, DeadLetter, ETag, Engine, Gap, ObjectHeaders,
    ObjectKey, ObjectSummary, Origin, PartitionId, Recipients, Recorder, Sequence, Store, WriteCondition,
};
use tidings_drives::{LocalEngine, Tuning};

use crate::archive::UNIT_BYTES;
use crate::{listing, open, open_looking, paths};

/// When the sets were written.
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;

/// Segments that are sealed after a few frames.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// The smallest part that is not the last of an upload.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// Bytes that repeat after one unit of the archive.
fn body(size: usize, seed: usize) -> Bytes {
    (0..size).map(|at| (at % UNIT_BYTES * 37 + seed * 11 + 1) as u8).collect()
}

/// Bytes that do not.
fn plain(size: usize) -> Bytes {
    (0..size).map(|at| (at * at / 7 + (at >> 3)) as u8).collect()
}

/// The targets that a bucket's notification document lists, each by a rule of its own.
#[derive(Default)]
struct Ruled(ListedTargets);

impl Recorder for Ruled {
    fn recipients(
        &self,
        bucket: &Bucket,
        kind: ChangeKind,
        key: &ObjectKey,
        object: Option<&ObjectSummary>,
    ) -> Recipients {
        let targets = self.0.recipients(bucket, kind, key, object).targets;
        let rules = targets.iter().map(|target| format!("rule for {target}")).collect();
        Recipients { targets, rules }
    }

    fn is_awaited(&self, bucket: &Bucket, kind: ChangeKind, key: &ObjectKey) -> bool {
        self.0.is_awaited(bucket, kind, key)
    }

    fn full(&self, partition: PartitionId, targets: &[String]) -> Option<String> {
        self.0.full(partition, targets)
    }

    fn committed(&self, sequence: Sequence) {
        self.0.committed(sequence);
    }
}

/// A store over a set, and words to use it.
struct Album {
    store: Store,
    name: BucketName,
}

impl Album {
    async fn of(engine: &Arc<LocalEngine>, clock: Arc<HandClock>) -> Album {
        let recorder = Arc::new(Ruled::default());
        let store = Store::open(Arc::<LocalEngine>::clone(engine), recorder, clock).await.unwrap();
        Album { store, name: bucket("album") }
    }

    async fn put(&self, name: &str, bytes: Bytes) {
        let tag = format!("{:032x}", crc_fast::crc64_nvme(&bytes));
        self.put_with(name, bytes, &tag, ObjectHeaders::default(), None).await;
    }

    async fn put_with(
        &self,
        name: &str,
        bytes: Bytes,
        etag: &str,
        headers: ObjectHeaders,
        checksum: Option<Checksum>,
    ) {
        let mut writer = self.store.receive(&self.name, Some(bytes.len() as u64)).await.unwrap();
        writer.write(bytes).await.unwrap();
        let put = PutObject {
            bucket: self.name.clone(),
            key: key(name),
            content: writer.finish().await.unwrap(),
            etag: ETag(etag.to_owned()),
            headers,
            checksum,
            condition: WriteCondition::default(),
            kind: ChangeKind::Put,
            origin: origin(),
        };
        self.store.put_object(put).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        self.store.delete_object(&self.name, to_delete(name), origin()).await.unwrap();
    }

    async fn create(&self, name: &str) -> Upload {
        let create = CreateUpload {
            bucket: self.name.clone(),
            key: key(name),
            headers: headers(),
            checksum: Some((ChecksumAlgorithm::Crc64Nvme, true)),
            initiator: "minioadmin".to_owned(),
        };
        self.store.create_upload(create).await.unwrap()
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> ListedPart {
        let mut writer = self.store.receive(&self.name, Some(bytes.len() as u64)).await.unwrap();
        writer.write(bytes).await.unwrap();
        let put = PutPart {
            upload: upload.id,
            bucket: self.name.clone(),
            key: upload.key.clone(),
            number,
            content: writer.finish().await.unwrap(),
            etag: ETag(format!("{number:032x}")),
            checksum: Some("AAAAAAAAAAA=".to_owned()),
        };
        let part = self.store.put_part(put).await.unwrap();
        ListedPart { number, etag: part.etag.0, checksum: None }
    }

    async fn complete(&self, upload: Upload, listed: &[ListedPart]) {
        let checksum = Checksum {
            algorithm: ChecksumAlgorithm::Crc64Nvme,
            value: "AQEBAQEBAQE=".to_owned(),
            is_full_object: true,
        };
        let complete = CompleteUpload {
            parts: self.store.choose_parts(&upload, listed).await.unwrap(),
            upload,
            etag: ETag(format!("{:032x}-{}", 77, listed.len())),
            checksum: Some(checksum),
            condition: WriteCondition::default(),
            origin: origin(),
        };
        self.store.complete_upload(complete).await.unwrap();
    }
}

fn origin() -> Origin {
    Origin {
        principal: "minioadmin".to_owned(),
        source_host: "192.0.2.7".to_owned(),
        user_agent: "golden/1".to_owned(),
        request_id: "17A0".to_owned(),
        region: "eu-west-1".to_owned(),
        range: None,
        response_length: None,
        endpoint: "http://192.0.2.1:9000".to_owned(),
    }
}

fn headers() -> ObjectHeaders {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    ObjectHeaders {
        system: vec![pair("cache-control", "no-cache"), pair("content-type", "image/jpeg")],
        user: vec![pair("color", "red")],
        storage_class: Some("REDUCED_REDUNDANCY".to_owned()),
    }
}

/// Tells of an object with tags, as no request of this version does.
async fn tell_of_tags(engine: &LocalEngine, album: &Album, name: &str) {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let object = ObjectSummary {
        size_bytes: 700,
        etag: "opaque".to_owned(),
        content_type: "text/plain".to_owned(),
        metadata: vec![pair("X-Amz-Meta-Color", "red")],
        tags: vec![pair("owner", "\u{fc}bung"), pair("stage", "raw")],
    };
    let change = Change {
        sequence: Sequence::ZERO,
        time_ms: NOW_MS,
        kind: ChangeKind::PutTagging,
        bucket: album.name.clone(),
        key: name.to_owned(),
        version: None,
        object: Some(object),
        origin: Some(origin()),
        targets: vec!["1:webhook".to_owned(), "2:kafka".to_owned()],
        rules: vec!["ingest".to_owned(), String::new()],
    };
    engine.commit(PartitionId(0), Batch { changes: vec![change], ..Batch::default() }).await.unwrap();
}

/// What a target leaves that would not take a change, was told to wait, and missed some.
async fn trouble(store: &Store) {
    let (set, target) = (PartitionId(0), "2:kafka");
    let changes = store.changes(set, Sequence::ZERO, 1_000).await.unwrap();
    let tagged = changes.iter().find(|change| change.kind == ChangeKind::PutTagging).unwrap();
    let reason = "it is too large".to_owned();
    let change = Change::clone(tagged);
    let letter = DeadLetter { partition: set, change, reason, tries: 5, died_ms: NOW_MS + 10 };
    assert!(store.bury(target, &letter).await.unwrap());
    let mut gap = Gap::of(&changes[1]);
    gap.grow(&changes[3]);
    let gaps = GapWrites { told: Vec::new(), written: vec![(changes[1].bucket.clone(), gap)] };
    store.advance_over(set, target, changes[3].sequence, gaps).await.unwrap();
    store.set_paused(target, true).await.unwrap();
}

/// Makes a set and lets it stop, or not; answers what it holds.
pub(crate) async fn write(folder: &Path, drives: usize, clean: bool) -> String {
    for path in paths(folder, drives) {
        std::fs::create_dir(path).unwrap();
    }
    let clock = Arc::new(HandClock::at_ms(NOW_MS));
    let tuning = || Tuning { segment_bytes: Some(SEGMENT_BYTES), ..Tuning::default() };
    let engine = open(folder, drives, Arc::clone(&clock), tuning()).unwrap();
    let album = Album::of(&engine, Arc::clone(&clock)).await;
    begin(&album).await;
    tell_of_tags(&engine, &album, "copied").await;
    drop(album);
    // As a crash would: the next epoch finds a tail.
    drop(engine);

    let look_every = Duration::from_millis(5);
    let engine = open_looking(look_every, folder, drives, Arc::clone(&clock), tuning()).unwrap();
    let album = Album::of(&engine, Arc::clone(&clock)).await;
    album.put("overwritten", body(110_000, 7)).await;
    for number in 0..30 {
        clock.advance_ms(1);
        album.put(&format!("churn/{}", number % 4), body(50_000, number)).await;
    }
    compacted(&paths(folder, drives)[0]).await;
    album.delete("churn/3").await;
    album.delete("gone").await;
    end(&album).await;
    has_volumes(&album, &paths(folder, drives)[0]).await;
    album.put("in a volume", body(300_000, 13)).await;
    album.put("in a volume for a while", body(140_000, 14)).await;
    album.put("behind that in a volume", body(200_000, 15)).await;
    album.delete("in a volume for a while").await;
    tell_of_tags(&engine, &album, "as committed").await;
    trouble(&album.store).await;
    let text = listing::of(&engine, clock).await;
    if clean {
        engine.shutdown().await;
    }
    text
}

/// The first segment holds what lives and what will not.
async fn begin(album: &Album) {
    let store = &album.store;
    store.create_bucket(album.name.clone(), origin()).await.unwrap();
    let targets = Bytes::from_static(b"1:webhook,2:kafka");
    store.set_document(&album.name, Bucket::NOTIFICATION, Some(targets)).await.unwrap();
    let settings = vec![("config".to_owned(), Some(Bytes::from_static(b"region=eu-west-1")))];
    store.change_settings(settings).await.unwrap();
    album.put("empty", Bytes::new()).await;
    album.put("replicated", body(700, 1)).await;
    album.put("plain", plain(3_000)).await;
    album.put("whole in a column", body(20_000, 2)).await;
    album.put("overwritten", body(120_000, 3)).await;
    album.put("gone", body(16_000, 4)).await;
    album.put("in shards", body(300_000, 5)).await;
    let checksum = Checksum {
        algorithm: ChecksumAlgorithm::Sha256,
        value: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned(),
        is_full_object: true,
    };
    album.put_with("with/headers", body(5_000, 6), "opaque", headers(), Some(checksum)).await;
}

async fn end(album: &Album) {
    let upload = album.create("film").await;
    let parts = [
        album.part(&upload, 1, body(PART_BYTES, 8)).await,
        album.part(&upload, 2, body(200_000, 9)).await,
        album.part(&upload, 7, body(1_000, 10)).await,
    ];
    // Of a last part that is staged the whole of it is listed, and one is left out.
    album.complete(upload, &[parts[0].clone(), parts[2].clone()]).await;
    let upload = album.create("film").await;
    album.part(&upload, 1, body(150_000, 11)).await;
    album.part(&upload, 3, body(2_000, 12)).await;
    let first = album.store.changes(PartitionId(0), Sequence::ZERO, 5).await.unwrap();
    album.store.advance(PartitionId(0), "1:webhook", first[4].sequence).await.unwrap();
}

/// Waits until bodies of some size go into a volume; what is tried for it is dropped.
async fn has_volumes(album: &Album, drive: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let files = || std::fs::read_dir(drive.join("shard")).unwrap().count();
    loop {
        let before = files();
        let mut writer = album.store.receive(&album.name, Some(140_000)).await.unwrap();
        writer.write(body(140_000, 0)).await.unwrap();
        let content = writer.finish().await.unwrap();
        let is_in_volume = files() == before && drive.join("volume/00000000.vol").exists();
        album.store.discard(content).await;
        if is_in_volume {
            return;
        }
        assert!(Instant::now() < deadline, "no body went into a volume");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the first segment was compacted and retired.
async fn compacted(drive: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while drive.join("log/00000000.seg").exists() {
        assert!(Instant::now() < deadline, "nothing was compacted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Does something of each kind to a set that another version wrote.
pub(crate) async fn use_it(engine: &Arc<LocalEngine>, clock: Arc<HandClock>) {
    let album = Album::of(engine, clock).await;
    album.put("new/small", body(900, 20)).await;
    album.put("new/large", body(400_000, 21)).await;
}

/// Takes back what [`use_it`] did, except for its changes.
pub(crate) async fn undo(engine: &Arc<LocalEngine>, clock: Arc<HandClock>) {
    assert!(clock.now_ms() > NOW_MS);
    let album = Album::of(engine, clock).await;
    album.delete("new/small").await;
    album.delete("new/large").await;
}
