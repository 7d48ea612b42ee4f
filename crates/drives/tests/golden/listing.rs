//! What a set holds, as text: every entry, object, upload and change with all that is known of it. The same set makes
//! the same text whichever version reads it, so nothing here is printed as a version happens to name its fields.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use store::listing::ListQuery;
use store::multipart::UploadQuery;
use store::{
    Bucket, Change, Clock, Engine, Entry, KeyRange, Location, ObjectHeaders, ObjectKey, PartitionId,
    Sequence, Silent, Store,
};
use tidings_drives::LocalEngine;

const SET: PartitionId = PartitionId(0);

/// Entries of a page: more than one page is read.
const PAGE: usize = 7;

/// Everything that the set holds.
pub(crate) async fn of(engine: &Arc<LocalEngine>, clock: Arc<dyn Clock>) -> String {
    let mut text = String::new();
    let mut start = Bytes::new();
    loop {
        let page = engine.scan(SET, KeyRange { start, end: None }, PAGE).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        start = [last, &[0][..]].concat().into();
        for (key, listed) in page {
            let entry = engine.get(SET, &key).await.unwrap().expect("what is listed is there");
            assert_eq!((listed.sequence, &listed.value), (entry.sequence, &entry.value));
            describe_entry(&mut text, engine, &key, &entry).await;
        }
    }
    let store = Store::open(Arc::<LocalEngine>::clone(engine), Arc::new(Silent), clock).await.unwrap();
    for bucket in store.buckets() {
        describe_bucket(&mut text, &store, &bucket).await;
    }
    for (name, document) in store.settings("").await.unwrap() {
        writeln!(text, "setting {name} {}", sum(&document)).unwrap();
    }
    for target in ["1:webhook", "2:kafka"] {
        let cursor = store.cursor(SET, target).await.unwrap();
        writeln!(text, "cursor {target} {:?}", cursor.map(|sequence| sequence.0)).unwrap();
        describe_trouble(&mut text, &store, target).await;
    }
    for change in engine.changes(SET, Sequence::ZERO, 10_000).await.unwrap() {
        describe_change(&mut text, &change);
    }
    text
}

/// Length and checksum.
fn sum(bytes: &[u8]) -> String {
    format!("{}:{:016x}", bytes.len(), crc_fast::crc64_nvme(bytes))
}

async fn describe_entry(text: &mut String, engine: &LocalEngine, key: &[u8], entry: &Entry) {
    let Entry { sequence, value, payload, locations } = entry;
    write!(text, "entry {} at {} value {}", key.escape_ascii(), sequence.0, sum(value)).unwrap();
    write!(text, " payload {}", sum(payload)).unwrap();
    for location in locations {
        let body = engine.read(location, 0..body_bytes(location)).await.unwrap();
        let pieces: Vec<Bytes> = body.try_collect().await.unwrap();
        write!(text, " body {}", sum(&pieces.concat())).unwrap();
    }
    text.push('\n');
}

/// The size of a staged body stands in its location: `docs/formats.md`.
fn body_bytes(location: &Location) -> u64 {
    u64::from_le_bytes(location.0[17..25].try_into().unwrap())
}

async fn describe_bucket(text: &mut String, store: &Store, bucket: &Bucket) {
    write!(text, "bucket {} created {}", bucket.name, bucket.created_ms).unwrap();
    for (name, document) in &bucket.documents {
        write!(text, " {name} {}", sum(document)).unwrap();
    }
    text.push('\n');
    let query = ListQuery { limit: 1000, ..ListQuery::default() };
    for listed in store.list_objects(&bucket.name, &query).await.unwrap().entries {
        describe_object(text, store, bucket, &listed.key).await;
    }
    let query = UploadQuery { limit: 1000, ..UploadQuery::default() };
    for upload in store.uploads(&bucket.name, &query).await.unwrap().uploads {
        let (key, id) = (upload.key.as_str(), upload.id.0);
        write!(text, "upload {key} {id:032x} by {} at {}", upload.initiator, upload.initiated_ms).unwrap();
        describe_headers(text, &upload.headers);
        text.push('\n');
        for part in store.parts(&upload, 0, 1000).await.unwrap().0 {
            let (etag, checksum) = (&part.etag.0, part.checksum.unwrap_or_default());
            writeln!(text, "  part {} of {} {etag} {checksum}", part.number, part.size_bytes).unwrap();
        }
    }
}

async fn describe_object(text: &mut String, store: &Store, bucket: &Bucket, name: &str) {
    let key = ObjectKey::new(name).unwrap();
    let object = store.object(&bucket.name, &key, None).await.unwrap();
    let body = store.read(&object, 0..object.size_bytes).await.unwrap();
    let pieces: Vec<Bytes> = body.try_collect().await.unwrap();
    write!(text, "object {name} {} at {}", sum(&pieces.concat()), object.modified_ms).unwrap();
    write!(text, " etag {}", object.etag.0).unwrap();
    if let Some(checksum) = &object.checksum {
        let is_full = checksum.is_full_object;
        write!(text, " {:?} {} full {is_full}", checksum.algorithm, checksum.value).unwrap();
    }
    describe_headers(text, &object.headers);
    text.push('\n');
    for part in &object.parts {
        let (etag, checksum) = (&part.etag.0, part.checksum.as_deref().unwrap_or_default());
        writeln!(text, "  part {} of {} {etag} {checksum}", part.number, part.size_bytes).unwrap();
    }
}

fn describe_headers(text: &mut String, headers: &ObjectHeaders) {
    for (name, value) in headers.system.iter().chain(&headers.user) {
        write!(text, " {name}={value}").unwrap();
    }
    write!(text, " class {}", headers.storage_class.as_deref().unwrap_or("STANDARD")).unwrap();
}

/// What a target did not take, what it missed, and whether it waits.
async fn describe_trouble(text: &mut String, store: &Store, target: &str) {
    for letter in store.dead_letters(SET, target, Sequence::ZERO, 1_000).await.unwrap() {
        write!(text, "dead {} after {} at {} of ", letter.reason, letter.tries, letter.died_ms).unwrap();
        describe_change(text, &letter.change);
    }
    for (bucket, gap) in store.gaps(SET, target).await.unwrap() {
        let (first, last) = (gap.first.0, gap.last.0);
        write!(text, "gap {bucket} of {} from {first} to {last}", gap.changes).unwrap();
        writeln!(text, " at {} to {}", gap.first_ms, gap.last_ms).unwrap();
    }
    if store.is_paused(target).await.unwrap() {
        writeln!(text, "paused {target}").unwrap();
    }
}

fn describe_change(text: &mut String, change: &Change) {
    let (sequence, kind) = (change.sequence.0, change.kind);
    write!(text, "change {sequence} {kind:?} {}/{} at {}", change.bucket, change.key, change.time_ms)
        .unwrap();
    if let Some(object) = &change.object {
        write!(text, " of {} {} {}", object.size_bytes, object.etag, object.content_type).unwrap();
        for (name, value) in &object.metadata {
            write!(text, " {name}={value}").unwrap();
        }
        for (name, value) in &object.tags {
            write!(text, " tag {name}={value}").unwrap();
        }
    }
    if let Some(origin) = &change.origin {
        let (host, agent, request) = (&origin.source_host, &origin.user_agent, &origin.request_id);
        write!(text, " by {} from {host} with {agent} in {request}", origin.principal).unwrap();
    }
    write!(text, " for {}", change.targets.join(",")).unwrap();
    if !change.rules.is_empty() {
        write!(text, " by {}", change.rules.join(",")).unwrap();
    }
    text.push('\n');
}
