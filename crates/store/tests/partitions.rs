//! Partitions: all of a bucket lies in the one it was made in, whatever is done to it, and nothing of it in another.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use bytes::Bytes;
use store::complete::{CompleteUpload, ListedPart};
use store::listing::ListQuery;
use store::multipart::{CreateUpload, PutPart, Upload, UploadQuery};
use store::testing::fixture::{ELSEWHERE, Fixture, HOME, key, to_delete};
use store::{
    Bucket, ChangeKind, ETag, Engine, KeyRange, ObjectHeaders, Origin, PartitionId, Sequence, WriteCondition,
};
use tidings_store as store;

/// More than is kept beside the metadata: a body of its own.
const LARGE: usize = 200_000;

/// The keys and the changes of a partition.
async fn content_of(fixture: &Fixture, partition: PartitionId) -> (Vec<Bytes>, Vec<String>) {
    let page = fixture.engine.scan(partition, KeyRange::prefix(b""), 1000).await.unwrap();
    let changes = fixture.engine.changes(partition, Sequence::ZERO, 1000).await.unwrap();
    let told = changes.iter().map(|change| format!("{:?} {}", change.kind, change.key));
    (page.into_iter().map(|(key, _)| key).collect(), told.collect())
}

async fn begin(fixture: &Fixture, name: &str) -> Upload {
    let create = CreateUpload {
        bucket: fixture.album.clone(),
        key: key(name),
        headers: ObjectHeaders::default(),
        checksum: None,
        initiator: "minioadmin".to_owned(),
    };
    let upload = fixture.store.create_upload(create).await.unwrap();
    for (number, size) in [(1, 5 << 20), (2, 2)] {
        let part = PutPart {
            upload: upload.id,
            bucket: fixture.album.clone(),
            key: upload.key.clone(),
            number,
            content: fixture.content(&vec![7; size]).await,
            etag: ETag(format!("{number:032x}")),
            checksum: None,
        };
        fixture.store.put_part(part).await.unwrap();
    }
    upload
}

async fn complete(fixture: &Fixture, upload: Upload) {
    let listed = [1, 2].map(|number| ListedPart { number, etag: format!("{number:032x}"), checksum: None });
    let parts = fixture.store.choose_parts(&upload, &listed).await.unwrap();
    let complete = CompleteUpload {
        upload,
        parts,
        etag: ETag("0-2".to_owned()),
        checksum: None,
        condition: WriteCondition::default(),
        origin: Origin::default(),
    };
    fixture.store.complete_upload(complete).await.unwrap();
}

/// Rule 17. Record, rules, objects, uploads and changes of a bucket are in its partition, and go from there with it.
#[tokio::test]
async fn whatever_is_done_to_a_bucket_is_written_to_its_partition_and_to_no_other() {
    let fixture = Fixture::new().await;
    let (store, album) = (&fixture.store, &fixture.album);
    let rules = Some(Bytes::from_static(b"1:kafka"));
    store.set_document(album, Bucket::NOTIFICATION, rules).await.unwrap();
    fixture.put("small", b"ab").await;
    let large = fixture.put("large", &vec![1; LARGE]).await;
    let bucket = store.bucket(album).unwrap();
    assert!(store.announce_access(bucket, ChangeKind::Get, large, Origin::default()).await.unwrap());
    let film = begin(&fixture, "film").await;
    complete(&fixture, film).await;
    begin(&fixture, "open").await;
    let given_up = begin(&fixture, "given-up").await;
    store.abort_upload(album, &given_up.key, given_up.id).await.unwrap();

    assert_eq!(content_of(&fixture, ELSEWHERE).await, (vec![], vec![]));
    let told = ["BucketCreated ", "Put small", "Put large", "Get large", "CompleteMultipartUpload film"];
    let (keys, changes) = content_of(&fixture, HOME).await;
    // The bucket's record, three objects, an upload and its two parts.
    assert_eq!((keys.len(), changes), (7, told.map(str::to_owned).to_vec()));

    let again = fixture.another_store().await;
    assert_eq!(again.bucket(album).unwrap().partition, HOME);
    let query = ListQuery { limit: 10, ..ListQuery::default() };
    let listed = again.list_objects(album, &query).await.unwrap().entries;
    assert_eq!(listed.into_iter().map(|listed| listed.key).collect::<Vec<_>>(), ["film", "large", "small"]);
    let uploads = again.uploads(album, &UploadQuery { limit: 10, ..UploadQuery::default() }).await.unwrap();
    assert_eq!(uploads.uploads.len(), 1);
    let object = again.object(album, &key("large"), None).await.unwrap();
    assert_eq!(fixture.body(&object).await, vec![1; LARGE]);

    fixture.delete("film").await.unwrap();
    let deletes = vec![to_delete("small"), to_delete("large")];
    store.delete_objects(album, deletes, Origin::default()).await.unwrap();
    store.delete_bucket(album, Origin::default()).await.unwrap();
    let (keys, changes) = content_of(&fixture, HOME).await;
    let told = ["Delete film", "Delete small", "Delete large", "BucketRemoved "];
    assert_eq!((keys, &changes[5..]), (vec![], &told.map(str::to_owned)[..]));
    assert_eq!(content_of(&fixture, ELSEWHERE).await, (vec![], vec![]));
    assert_eq!(fixture.engine.body_count(), 0);
}
