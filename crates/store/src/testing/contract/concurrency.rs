//! Laws of commits that are under way at the same time.
//!
//! The futures of a law are polled side by side by one task: how far they overlap is the engine's doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::join;

use super::{Subject, change, put};
use crate::batch::{Batch, Precondition};
use crate::change::{Change, Sequence};
use crate::engine::{Engine, EngineError, KeyRange};

/// Writers at the same time.
const WRITERS: usize = 32;
/// Commits of each, one after the other.
const COMMITS: usize = 20;

/// A writer's commits one after the other, each told by one or two changes named after it.
async fn write(subject: &Subject, writer: usize) -> Vec<(Sequence, String)> {
    let mut told = Vec::new();
    for commit in 0..COMMITS {
        let keys: Vec<String> = (0..=commit % 2).map(|part| format!("{writer}/{commit}/{part}")).collect();
        let batch = Batch {
            mutations: keys.iter().map(|key| put(key.as_bytes(), b"")).collect(),
            changes: keys.iter().map(|key| change(key)).collect(),
            ..Batch::default()
        };
        told.extend(subject.commit(batch).await.changes.into_iter().zip(keys));
    }
    told
}

/// Whatever is committed at once, the log has every change once, in strictly growing order, under the
/// sequence its committer was told.
pub async fn changes_tell_everything_committed_at_once_in_order(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let told = join_all((0..WRITERS).map(|writer| write(&subject, writer))).await;
    for told in &told {
        assert!(told.is_sorted_by(|one, next| one.0 < next.0), "a writer's own commits are out of order");
    }
    let mut expected: Vec<(Sequence, String)> = told.into_iter().flatten().collect();
    expected.sort();
    let log = subject.changes(Sequence::ZERO, 10_000).await;
    let log: Vec<_> = log.into_iter().map(|Change { sequence, key, .. }| (sequence, key)).collect();
    assert_eq!(log, expected);
}

/// Who follows the log while others commit misses nothing: no change appears behind one that was read.
pub async fn changes_read_while_others_commit_miss_none(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    let writing = AtomicUsize::new(WRITERS);
    let follow = async {
        let mut followed = Vec::new();
        let mut after = Sequence::ZERO;
        loop {
            let was_last_round = writing.load(Ordering::Acquire) == 0;
            let page = subject.changes(after, 50).await;
            let is_end = page.len() < 50;
            followed.extend(page.into_iter().map(|Change { sequence, key, .. }| (sequence, key)));
            after = followed.last().map_or(after, |(sequence, _)| *sequence);
            if was_last_round && is_end {
                return followed;
            }
            // Lets the writers on where reading the log never waits.
            yield_once().await;
        }
    };
    let write_and_end = async |writer| {
        let told = write(&subject, writer).await;
        writing.fetch_sub(1, Ordering::AcqRel);
        told
    };
    let (followed, told) = join!(follow, join_all((0..WRITERS).map(write_and_end)));
    let mut expected: Vec<(Sequence, String)> = told.into_iter().flatten().collect();
    expected.sort();
    assert_eq!(followed, expected);
}

/// Of batches at once that each want a key absent, exactly one is taken.
pub async fn of_many_who_want_a_key_absent_one_wins(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    for round in 0..20 {
        let key = Bytes::from(format!("key {round}"));
        let attempts = (0..WRITERS).map(|writer| {
            let batch = Batch {
                preconditions: vec![Precondition::Absent(key.clone())],
                mutations: vec![put(&key, &[writer as u8])],
                ..Batch::default()
            };
            subject.engine.commit(subject.partition, batch)
        });
        let answers = join_all(attempts).await;
        let winners: Vec<usize> = (0..WRITERS).filter(|&writer| answers[writer].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        for answer in answers.into_iter().filter(Result::is_err) {
            assert_eq!(answer, Err(EngineError::Precondition { index: 0 }));
        }
        let value = subject.get(&key).await.map(|entry| entry.value);
        assert_eq!(value, Some(Bytes::from(vec![winners[0] as u8])));
    }
}

/// Counting up under `Unchanged` loses no count, however many count.
pub async fn no_update_is_lost_under_unchanged(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    subject.mutate([put(b"count", &0u32.to_be_bytes())]).await;
    let counted = async |entry: crate::engine::Entry| {
        u32::from_be_bytes(entry.value[..].try_into().expect("four bytes"))
    };
    let count = async || {
        for _ in 0..4 {
            loop {
                let entry = subject.get(b"count").await.expect("the count is there");
                let sequence = entry.sequence;
                let next = counted(entry).await + 1;
                let batch = Batch {
                    preconditions: vec![Precondition::Unchanged(Bytes::from_static(b"count"), sequence)],
                    mutations: vec![put(b"count", &next.to_be_bytes())],
                    ..Batch::default()
                };
                match subject.engine.commit(subject.partition, batch).await {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error, EngineError::Precondition { index: 0 }),
                }
            }
        }
    };
    join_all((0..8).map(|_| count())).await;
    let entry = subject.get(b"count").await.expect("the count is there");
    assert_eq!(counted(entry).await, 32);
}

/// A refusal because of another batch is answered once that batch is durable: who was refused can see it.
pub async fn a_refusal_that_rests_on_a_commit_comes_after_it(engine: Arc<dyn Engine>) {
    let subject = Subject::new(engine);
    for round in 0..20 {
        let key = Bytes::from(format!("key {round}"));
        let attempt = async || {
            let batch = Batch {
                preconditions: vec![Precondition::Absent(key.clone())],
                mutations: vec![put(&key, b"")],
                changes: vec![change("k")],
                rides: false,
                released: None,
            };
            if subject.engine.commit(subject.partition, batch).await.is_err() {
                assert!(subject.get(&key).await.is_some(), "refused for something that is not there");
            }
        };
        join_all((0..8).map(|_| attempt())).await;
    }
}

/// Every scan shows a batch whole or not at all, while batches rewrite everything it sees.
pub async fn a_scan_sees_a_batch_wholly_or_not_at_all(engine: Arc<dyn Engine>) {
    const KEYS: usize = 100;
    let subject = Subject::new(engine);
    let all = |value: u8| (0..KEYS).map(move |key| put(format!("k{key:03}").as_bytes(), &[value]));
    subject.mutate(all(0)).await;
    let rewrite = async {
        for value in 1..=50 {
            subject.mutate(all(value)).await;
            yield_once().await;
        }
    };
    let scan = async || {
        for _ in 0..50 {
            let page = subject.engine.scan(subject.partition, KeyRange::prefix(b"k"), KEYS).await;
            let page = page.expect("readable");
            assert_eq!(page.len(), KEYS);
            let first = &page[0].1;
            let same = page.iter().all(|(_, entry)| entry == first);
            assert!(same, "a scan shows parts of several batches");
            yield_once().await;
        }
    };
    join!(rewrite, join_all((0..4).map(|_| scan())));
}

/// Gives the other futures of the task a turn.
async fn yield_once() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
