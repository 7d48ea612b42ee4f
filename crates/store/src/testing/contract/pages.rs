//! Laws of scans, prefixes and pages of changes.

use std::sync::Arc;

use bytes::Bytes;

use super::{Subject, change, put};
use crate::batch::{Batch, Mutation, Put};
use crate::change::Sequence;
use crate::engine::{Engine, KeyRange};

/// A scan gives values in byte order of their keys, as many as asked for, and no payload.
pub async fn keys_come_in_byte_order_in_pages_without_payloads(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let keys: Vec<Bytes> = (0..50u8).map(|number| Bytes::from(vec![b'k', number.wrapping_mul(37)])).collect();
    for key in &keys {
        let put = Put {
            key: key.clone(),
            value: key.slice(1..),
            payload: Bytes::from_static(b"payload"),
            locations: Vec::new(),
        };
        subject.mutate([Mutation::Put(put)]).await;
    }
    let mut sorted = keys.clone();
    sorted.sort();
    let mut range = KeyRange::prefix(b"k");
    let mut found = Vec::new();
    loop {
        let page = subject.engine.scan(subject.partition, range.clone(), 7).await.expect("readable");
        assert!(page.len() <= 7, "{} entries", page.len());
        for (key, entry) in &page {
            assert_eq!((&entry.value, &entry.payload), (&key.slice(1..), &Bytes::new()));
            found.push(key.clone());
        }
        if page.len() < 7 {
            break;
        }
        range.start = Bytes::from([&page[6].0[..], b"\0"].concat());
    }
    assert_eq!(found, sorted);

    for key in &keys {
        let one = subject.engine.scan(subject.partition, KeyRange::only(key), 7).await.expect("readable");
        let found: Vec<_> = one.iter().map(|(key, entry)| (key, &entry.value, &entry.payload)).collect();
        assert_eq!(found, [(key, &key.slice(1..), &Bytes::new())]);
    }
}

/// A range holds its start and not its end; one that ends before it starts, or at once, holds nothing.
pub async fn ranges_end_before_their_end(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    subject.mutate([put(b"a", b""), put(b"b", b""), put(b"c", b"")]).await;
    let scan = async |start: &'static [u8], end: Option<&'static [u8]>, limit: usize| {
        let range = KeyRange { start: Bytes::from_static(start), end: end.map(Bytes::from_static) };
        let page = subject.engine.scan(subject.partition, range, limit).await.expect("readable");
        page.into_iter().map(|(key, _)| key).collect::<Vec<Bytes>>()
    };
    assert_eq!(scan(b"a", Some(b"c"), 10).await, [&b"a"[..], b"b"]);
    assert_eq!(scan(b"a\0", None, 10).await, [&b"b"[..], b"c"]);
    assert_eq!(scan(b"", Some(b"b\0"), 10).await, [&b"a"[..], b"b"]);
    assert_eq!(scan(b"", None, 2).await, [&b"a"[..], b"b"]);
    let nothing: [&[u8]; 0] = [];
    assert_eq!(scan(b"b", Some(b"b"), 10).await, nothing);
    assert_eq!(scan(b"c", Some(b"a"), 10).await, nothing);
    assert_eq!(scan(b"d", None, 10).await, nothing);
    assert_eq!(scan(b"a", None, 0).await, nothing);
    assert_eq!(scan(b"a", Some(b"a\0"), 0).await, nothing);
    assert_eq!(scan(b"ab", Some(b"ab\0"), 10).await, nothing);
}

/// `DeletePrefix` removes every key that begins so, also at the upper edge of what bytes can be.
pub async fn a_prefix_is_removed_with_all_under_it_and_nothing_else(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let kept: [&[u8]; 4] = [b"p", b"p\xfe", b"q", b"q\0"];
    let removed: [&[u8]; 4] = [b"p\xff", b"p\xff\0", b"p\xff\xff", b"p\xff\xff\xff"];
    subject.mutate(kept.iter().chain(&removed).map(|key| put(key, b""))).await;
    subject.mutate([Mutation::DeletePrefix(Bytes::from_static(b"p\xff"))]).await;
    assert_eq!(subject.keys(b"").await, kept);
}

/// Changes come in order after a sequence; an answer shorter than asked for is the end.
pub async fn changes_come_in_pages_after_a_sequence(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let mut sequences = Vec::new();
    for count in [1usize, 4, 0, 2, 3] {
        let changes = (0..count).map(|_| change("k")).collect();
        let batch = Batch { mutations: vec![put(b"k", b"")], changes, ..Batch::default() };
        sequences.extend(subject.commit(batch).await.changes);
    }
    for limit in 1..=11 {
        let mut told = Vec::new();
        let mut after = Sequence::ZERO;
        loop {
            let page = subject.changes(after, limit).await;
            told.extend(page.iter().map(|change| change.sequence));
            after = told.last().copied().unwrap_or_default();
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(told, sequences, "in pages of {limit}");
    }
    let between = Sequence(sequences[4].0 - 1);
    let told: Vec<Sequence> =
        subject.changes(between, 2).await.iter().map(|change| change.sequence).collect();
    assert_eq!(told, sequences[4..6]);
    assert_eq!(subject.changes(sequences[9], 5).await, []);
    assert_eq!(subject.changes(Sequence(u64::MAX), 5).await, []);
}
