//! Laws of a commit on its own.

use std::sync::Arc;

use bytes::Bytes;

use super::{Subject, body, change, delete, put};
use crate::batch::{Batch, Mutation, Precondition, Put};
use crate::change::{Change, Sequence};
use crate::engine::{Engine, EngineError, Entry, KeyRange};

/// On return a batch is visible to `get`, `scan` and `changes`.
pub async fn a_commit_is_visible_on_return(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let payload = Bytes::from(body(100_000));
    let written = Put {
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"value"),
        payload: payload.clone(),
        locations: Vec::new(),
    };

    let committed = subject
        .commit(Batch {
            mutations: vec![Mutation::Put(written)],
            changes: vec![change("k")],
            ..Batch::default()
        })
        .await;

    let sequence = committed.sequence;
    let entry = Entry { sequence, value: Bytes::from_static(b"value"), payload, locations: Vec::new() };
    assert_eq!(subject.get(b"k").await, Some(entry.clone()));
    let listed = Entry { payload: Bytes::new(), ..entry };
    let page = subject.engine.scan(subject.partition, KeyRange::prefix(b"k"), 10).await;
    assert_eq!(page, Ok(vec![(Bytes::from_static(b"k"), listed)]));
    assert_eq!(subject.changes(Sequence::ZERO, 10).await, [Change { sequence, ..change("k") }]);
}

/// Nothing of a refused batch shows, and the refusal names the first precondition that does not hold.
pub async fn a_refused_batch_changes_nothing_and_names_its_first_failure(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let first = subject.mutate([put(b"here", b"1")]).await.sequence;
    let here = Bytes::from_static(b"here");
    let gone = Bytes::from_static(b"gone");
    let failing = [
        Precondition::Exists(gone.clone()),
        Precondition::Absent(here.clone()),
        Precondition::Unchanged(here.clone(), Sequence(first.0 + 1)),
        Precondition::Unchanged(gone.clone(), Sequence::ZERO),
        Precondition::Unchanged(gone.clone(), first),
        Precondition::Empty(Bytes::from_static(b"he")),
        Precondition::Empty(here.clone()),
    ];
    for failing in failing {
        let batch = Batch {
            preconditions: vec![
                Precondition::Exists(here.clone()),
                failing.clone(),
                Precondition::Exists(gone.clone()),
            ],
            mutations: vec![put(b"new", b"2"), put(b"here", b"2")],
            changes: vec![change("new")],
            rides: false,
            released: None,
        };
        let answer = subject.engine.commit(subject.partition, batch).await;
        assert_eq!(answer, Err(EngineError::Precondition { index: 1 }), "{failing:?}");
    }
    assert_eq!(subject.keys(b"").await, [here]);
    assert_eq!(subject.get(b"here").await.map(|entry| entry.value), Some(Bytes::from_static(b"1")));
    assert_eq!(subject.changes(Sequence::ZERO, 10).await, []);
}

/// Each kind of precondition lets a batch through where what it asks is so.
pub async fn preconditions_hold_where_they_should(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let sequence = subject.mutate([put(b"a/here", b""), put(b"b", b"")]).await.sequence;
    let rewritten = subject.mutate([put(b"b", b"again")]).await.sequence;
    let batch = Batch {
        preconditions: vec![
            Precondition::Exists(Bytes::from_static(b"a/here")),
            Precondition::Absent(Bytes::from_static(b"a/her")),
            Precondition::Absent(Bytes::from_static(b"a/here/")),
            Precondition::Unchanged(Bytes::from_static(b"a/here"), sequence),
            Precondition::Unchanged(Bytes::from_static(b"b"), rewritten),
            Precondition::Empty(Bytes::from_static(b"a/x")),
            Precondition::Empty(Bytes::from_static(b"bb")),
        ],
        mutations: vec![put(b"done", b"")],
        ..Batch::default()
    };
    subject.commit(batch).await;
    assert!(subject.get(b"done").await.is_some());
}

/// A later mutation of a batch sees what an earlier one did.
pub async fn mutations_apply_in_order(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    subject.mutate([put(b"old/1", b""), put(b"old/2", b"")]).await;
    subject
        .mutate([
            put(b"twice", b"first"),
            put(b"twice", b"second"),
            put(b"gone", b""),
            delete(b"gone"),
            delete(b"back"),
            put(b"back", b""),
            put(b"old/3", b""),
            Mutation::DeletePrefix(Bytes::from_static(b"old/")),
            put(b"old/4", b""),
        ])
        .await;
    assert_eq!(subject.keys(b"").await, [&b"back"[..], b"old/4", b"twice"]);
    assert_eq!(subject.get(b"twice").await.map(|entry| entry.value), Some(Bytes::from_static(b"second")));
}

/// Removing an absent key, or a prefix that nothing begins with, is no error.
pub async fn deleting_what_is_not_there_is_no_error(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let nothing = Mutation::DeletePrefix(Bytes::from_static(b"nothing"));
    let committed = subject.mutate([delete(b"gone"), nothing]).await;
    assert_eq!(committed.unnamed, []);
    assert_eq!(subject.keys(b"").await, Vec::<Bytes>::new());
}

/// A put replaces value, payload and locations; nothing of the entry before it is left.
pub async fn a_put_replaces_everything_that_was_there(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let location = subject.stage(b"staged", 6).await;
    let full = Put {
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"value"),
        payload: Bytes::from_static(b"payload"),
        locations: vec![location],
    };
    subject.mutate([Mutation::Put(full)]).await;
    let sequence = subject.mutate([put(b"k", b"")]).await.sequence;
    assert_eq!(subject.get(b"k").await, Some(Entry { sequence, ..Entry::default() }));
}

/// Every change has a sequence of its own, greater than all before; the batch has that of its last change,
/// or its own when it tells of none.
pub async fn sequences_grow_by_change_and_by_batch(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let mut newest = Sequence::ZERO;
    for changes in [0usize, 1, 3, 0, 0, 2] {
        let batch = Batch {
            mutations: vec![put(b"k", b"")],
            changes: (0..changes).map(|_| change("k")).collect(),
            ..Batch::default()
        };
        let committed = subject.commit(batch).await;
        assert_eq!(committed.changes.len(), changes);
        for &sequence in &committed.changes {
            assert!(sequence > newest, "{sequence:?} after {newest:?}");
            newest = sequence;
        }
        if changes == 0 {
            assert!(committed.sequence > newest, "{:?} after {newest:?}", committed.sequence);
            newest = committed.sequence;
        }
        assert_eq!(committed.sequence, newest);
    }
}

/// `Entry::sequence` is `Committed::sequence`, for all entries of a batch.
pub async fn an_entry_carries_the_sequence_of_its_batch(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let batch = Batch {
        mutations: vec![put(b"a", b""), put(b"b", b"")],
        changes: vec![change("a"), change("b")],
        ..Batch::default()
    };
    let sequence = subject.commit(batch).await.sequence;
    let page = subject.engine.scan(subject.partition, KeyRange::prefix(b""), 10).await.expect("readable");
    let sequences: Vec<Sequence> = page.into_iter().map(|(_, entry)| entry.sequence).collect();
    assert_eq!(sequences, [sequence, sequence]);
}

/// A change keeps every field but its sequence, which the engine assigns; also a change without a mutation.
pub async fn a_change_is_told_as_it_was_committed(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let bare = Change {
        version: None,
        object: None,
        origin: None,
        targets: Vec::new(),
        rules: Vec::new(),
        ..change("")
    };
    let changes = vec![change("dir/ü中~ &<>\n.txt"), bare];
    let committed = subject.commit(Batch { changes: changes.clone(), ..Batch::default() }).await;
    let told = changes.into_iter().zip(committed.changes);
    let expected: Vec<Change> = told.map(|(change, sequence)| Change { sequence, ..change }).collect();
    assert_eq!(subject.changes(Sequence::ZERO, 10).await, expected);
}

/// Keys are any bytes, in byte order, and an empty value is a value.
pub async fn keys_are_any_bytes(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let long = vec![b'x'; 1400];
    let keys: [&[u8]; 7] = [b"\0", b"\0\xff", b"a", b"a\0", b"a\0\0", &long, b"\xff\xff"];
    subject.mutate(keys.iter().map(|key| put(key, b""))).await;
    assert_eq!(subject.keys(b"").await, keys);
    for key in keys {
        assert!(subject.get(key).await.is_some(), "{}", key.escape_ascii());
    }
    assert_eq!(subject.get(b"a\0\0\0").await, None);
}

/// A batch that rides becomes durable without another one to ride on, and the change log does not have it.
pub async fn a_riding_batch_is_committed_and_tells_nothing(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let riding =
        |value: &[u8]| Batch { mutations: vec![put(b"cursor", value)], rides: true, ..Batch::default() };
    subject.commit(riding(b"1")).await;
    assert_eq!(subject.get(b"cursor").await.map(|entry| entry.value), Some(Bytes::from_static(b"1")));
    let told = Batch { changes: vec![change("k")], ..Batch::default() };
    let (told, _) = futures_util::join!(subject.commit(told), subject.commit(riding(b"2")));
    assert_eq!(subject.get(b"cursor").await.map(|entry| entry.value), Some(Bytes::from_static(b"2")));
    let log = subject.changes(Sequence::ZERO, 10).await;
    assert_eq!(log, [Change { sequence: told.sequence, ..change("k") }]);
}

/// A batch as large as DeleteObjects makes it goes in as one.
pub async fn a_batch_of_a_thousand_deletes_is_one_commit(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let keys: Vec<String> = (0..1000).map(|number| format!("k/{number:04}")).collect();
    subject.mutate(keys.iter().map(|key| put(key.as_bytes(), b""))).await;
    let batch = Batch {
        mutations: keys.iter().map(|key| delete(key.as_bytes())).collect(),
        changes: keys.iter().map(|key| Change { object: None, origin: None, ..change(key) }).collect(),
        ..Batch::default()
    };
    let committed = subject.commit(batch).await;
    assert_eq!(committed.changes.len(), 1000);
    assert_eq!(subject.keys(b"k/").await, Vec::<Bytes>::new());
    let told = subject.changes(Sequence::ZERO, 2000).await;
    assert_eq!(told.into_iter().map(|change| change.key).collect::<Vec<_>>(), keys);
}

/// An engine has at least one partition and names them in the same order every time.
pub async fn there_is_a_partition_and_their_order_stands(engine: Arc<dyn Engine>) {
    let ids = || engine.partitions().into_iter().map(|partition| partition.id).collect::<Vec<_>>();
    let partitions = ids();
    assert!(!partitions.is_empty());
    assert!(partitions.is_sorted());
    assert_eq!(ids(), partitions);
}
