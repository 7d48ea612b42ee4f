//! Laws of staged bodies: what is written is read, what is named stays, what is unnamed is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::{Subject, body, delete, put, put_bodies};
use crate::batch::Mutation;
use crate::engine::{Engine, EngineError, Location};

/// Larger than a stripe of any set, and of no round size.
const LARGE_BYTES: usize = 3 * 1024 * 1024 + 17;

/// A body comes back byte for byte, whole and in ranges across every edge, however it was written.
pub async fn a_body_is_read_back_whole_and_in_any_range(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    for (size_bytes, chunk_bytes) in [(1, 1), (4096, 100), (200_000, 65_536), (LARGE_BYTES, 333_333)] {
        let body = body(size_bytes);
        let location = subject.stage(&body, chunk_bytes).await;
        subject.mutate([put_bodies(b"k", std::slice::from_ref(&location))]).await;
        let edges = [0, 1, 511, 4095, 65_536, 65_537, 1_048_576, size_bytes / 2, size_bytes - 1, size_bytes];
        let edges: BTreeSet<usize> = edges.into_iter().filter(|&edge| edge <= size_bytes).collect();
        for &start in &edges {
            for &end in edges.range(start..) {
                let read = subject.read(&location, start as u64..end as u64).await;
                assert!(read == body[start..end], "{start}..{end} of {size_bytes} bytes differ");
            }
        }
    }
}

/// A body of no bytes can be staged, named and read.
pub async fn an_empty_body_is_read_back_as_nothing(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let stage = subject.open_stage().await;
    let location = stage.finish().await.expect("the engine takes bodies");
    subject.mutate([put_bodies(b"k", std::slice::from_ref(&location))]).await;
    assert_eq!(subject.read(&location, 0..0).await, b"");
}

/// A stage that is dropped harms nothing that comes after it.
pub async fn a_dropped_stage_is_nothing(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let mut stage = subject.open_stage().await;
    stage.write(Bytes::from(body(LARGE_BYTES))).await.expect("the engine takes bodies");
    drop(stage);
    let location = subject.stage(b"after", 2).await;
    subject.mutate([put_bodies(b"k", std::slice::from_ref(&location))]).await;
    assert_eq!(subject.read(&location, 0..5).await, b"after");
    assert_eq!(subject.keys(b"").await, [&b"k"[..]]);
}

/// Locations are within their bound and differ from body to body.
pub async fn a_location_is_short_enough_to_store(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let mut locations = BTreeSet::new();
    for size_bytes in [0, 1, 100_000] {
        let location = subject.stage(&body(size_bytes), 4096).await;
        assert!(location.0.len() <= Location::BYTES_MAX, "{location:?}");
        locations.insert(location);
    }
    assert_eq!(locations.len(), 3);
}

/// A key keeps its bodies in the order it was given them, for `get` and `scan`.
pub async fn several_bodies_of_one_key_keep_their_order(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let mut locations = Vec::new();
    for text in [b"three", b"onetw", b"twoth"] {
        locations.push(subject.stage(text, 5).await);
    }
    locations.reverse();
    subject.mutate([put_bodies(b"k", &locations)]).await;
    assert_eq!(subject.get(b"k").await.map(|entry| entry.locations), Some(locations.clone()));
    let range = crate::engine::KeyRange::prefix(b"k");
    let page = subject.engine.scan(subject.partition, range, 1).await.expect("readable");
    assert_eq!(page[0].1.locations, locations);
    assert_eq!(subject.read(&locations[2], 0..5).await, b"three");
}

/// Overwriting, deleting and deleting a prefix tell which bodies lost their name by it, each once.
pub async fn bodies_that_a_batch_takes_the_name_of_are_unnamed_once(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let mut locations = Vec::new();
    for number in 0..6u8 {
        locations.push(subject.stage(&[number], 1).await);
    }
    let named = subject
        .mutate([
            put_bodies(b"over", &locations[0..2]),
            put_bodies(b"gone", &locations[2..3]),
            put_bodies(b"p/1", &locations[3..4]),
            put_bodies(b"p/2", &locations[4..5]),
        ])
        .await;
    assert_eq!(named.unnamed, []);

    // The last was never named before the batch that puts and removes it.
    let committed = subject
        .mutate([
            put_bodies(b"brief", &locations[5..6]),
            delete(b"brief"),
            put(b"over", b""),
            delete(b"gone"),
            Mutation::DeletePrefix(Bytes::from_static(b"p/")),
        ])
        .await;

    let mut unnamed = committed.unnamed;
    unnamed.sort();
    locations.truncate(5);
    locations.sort();
    assert_eq!(unnamed, locations);
    assert_eq!(subject.mutate([put(b"over", b"again")]).await.unnamed, []);
}

/// A body that passes from one key to another within a batch is not unnamed, in whichever order it is
/// written down; nor is one that its own key names again.
pub async fn a_location_that_moves_to_another_key_stays_named(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let location = subject.stage(b"moving", 6).await;
    let it = std::slice::from_ref(&location);
    subject.mutate([put_bodies(b"p/1", it)]).await;
    let prefix = Mutation::DeletePrefix(Bytes::from_static(b"p/"));
    assert_eq!(subject.mutate([prefix, put_bodies(b"object", it)]).await.unnamed, []);
    assert_eq!(subject.mutate([put_bodies(b"other", it), delete(b"object")]).await.unnamed, []);
    assert_eq!(subject.mutate([put_bodies(b"other", it)]).await.unnamed, []);
    assert_eq!(subject.read(&location, 0..6).await, b"moving");
    assert_eq!(subject.mutate([delete(b"other")]).await.unnamed, it);
}

/// A stream that is open when its body is unnamed and reclaimed gives all of it.
pub async fn an_open_read_outlives_the_reclaiming_of_its_body(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let body = body(LARGE_BYTES);
    let location = subject.stage(&body, 100_000).await;
    subject.mutate([put_bodies(b"k", std::slice::from_ref(&location))]).await;
    let mut stream = subject.engine.read(&location, 0..LARGE_BYTES as u64).await.expect("the body is named");
    let first = stream.try_next().await.expect("the body is whole").expect("the body has bytes");

    let unnamed = subject.mutate([delete(b"k")]).await.unnamed;
    for location in unnamed {
        subject.engine.reclaim(location).await.expect("it is no longer named");
    }
    let other = subject.stage(&body[1..], 100_000).await;
    subject.mutate([put_bodies(b"other", std::slice::from_ref(&other))]).await;

    let rest: Vec<Bytes> = stream.try_collect().await.expect("the body is pinned");
    assert!([&first[..], &rest.concat()].concat() == body, "the body changed under an open read");
}

/// Reclaiming again does nothing, also once the place may have been taken by another body.
pub async fn reclaiming_twice_is_harmless_and_takes_nothing_else(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let gone = subject.stage(b"gone", 4).await;
    subject.mutate([put_bodies(b"k", std::slice::from_ref(&gone))]).await;
    subject.mutate([delete(b"k")]).await;
    subject.engine.reclaim(gone.clone()).await.expect("it is no longer named");
    let kept = subject.stage(b"kept", 4).await;
    subject.mutate([put_bodies(b"k", std::slice::from_ref(&kept))]).await;
    subject.engine.reclaim(gone.clone()).await.expect("reclaiming twice is harmless");

    assert_eq!(subject.read(&kept, 0..4).await, b"kept");
    // An engine may take its time with the bytes; it never gives others for them.
    match subject.engine.read(&gone, 0..4).await {
        Ok(stream) => {
            let chunks: Vec<Bytes> = stream.try_collect().await.expect("what is given is whole");
            assert_eq!(chunks.concat(), b"gone");
        }
        Err(error) => assert_eq!(error, EngineError::NoSuchLocation { location: gone }),
    }
}
