//! Crowded drives: full of objects so small that a delete takes about what it gives back. Deletes are taken all the
//! same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Batch, Change, ChangeKind, Engine, EngineError, KeyRange, Mutation, Put};
use tidings_drives::LocalEngine;
use tidings_drives::testing::{FaultyDrive, Power};

use crate::space::open_sized;
use crate::support::{SET, body, change, offline};

const SEGMENT_BYTES: u64 = 1 << 20;
const SEGMENTS: u64 = 20;

/// Keys of a commit: those of a bulk delete.
const AT_ONCE: usize = 1000;

fn key(number: usize) -> String {
    format!("{number:07}")
}

fn gone(number: usize) -> (Mutation, Change) {
    let change = Change { kind: ChangeKind::Delete, ..change(&key(number)) };
    (Mutation::Delete(Bytes::from(key(number))), change)
}

fn small(number: usize) -> (Mutation, Change) {
    // What an object without a body has: its headers.
    let put = Put { key: Bytes::from(key(number)), payload: body(60, number), ..Put::default() };
    (Mutation::Put(put), change(&key(number)))
}

async fn commit(
    engine: &LocalEngine,
    pairs: impl Iterator<Item = (Mutation, Change)>,
) -> Result<(), EngineError> {
    let (mutations, changes) = pairs.unzip();
    engine.commit(SET, Batch { mutations, changes, ..Batch::default() }).await.map(|_| ())
}

/// Rule 14. A commit of deletes takes about as much of the journal as it gives back, and that a little in every
/// segment: all stay more than nine tenths needed for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_full_of_objects_without_bodies_takes_deletes_of_all_of_them_in_bulk() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    drives.iter().for_each(|drive| drive.limit(SEGMENTS * SEGMENT_BYTES));
    let engine: Arc<LocalEngine> = open_sized(&drives, SEGMENT_BYTES).unwrap();
    let mut count = 0;
    while commit(&engine, (count..count + AT_ONCE).map(small)).await != Err(EngineError::Full) {
        count += AT_ONCE;
    }
    assert!(count > 100_000, "{count}");
    // From all over the drives, so that no segment is emptied before the others.
    let mut doomed: Vec<usize> = (0..count).map(|number| number.wrapping_mul(7919) % count).collect();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !doomed.is_empty() {
        let some = doomed.split_off(doomed.len().saturating_sub(AT_ONCE));
        while let Err(error) = commit(&engine, some.iter().copied().map(gone)).await {
            assert_eq!(error, EngineError::Full);
            assert!(Instant::now() < deadline, "{} objects cannot be deleted", doomed.len());
        }
    }
    assert_eq!(engine.scan(SET, KeyRange::prefix(b""), 10).await.unwrap().len(), 0);
    assert_eq!(offline(&engine), Vec::<String>::new());
}
