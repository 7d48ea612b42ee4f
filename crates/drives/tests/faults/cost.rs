//! What a batch costs on the drives.

use bytes::Bytes;
use store::{Batch, Engine, EngineError, Location, Mutation, Put};
use tidings_drives::testing::{FaultyDrive, Power};

use crate::support::{SET, all_written, body, frames, open_all, restarted};

/// Bytes that the drives of a set wrote for `objects` of `size` bytes, in as few batches as they fit.
async fn written(drives: usize, objects: usize, size: usize) -> usize {
    let drives = FaultyDrive::machine(drives, &Power::steady());
    let engine = open_all(&drives).unwrap();
    // What one commit can hold at most.
    let per_batch = (900_000 / size).min(objects);
    for first in (0..objects).step_by(per_batch) {
        let mutations = (first..(first + per_batch).min(objects))
            .map(|number| {
                let key = Bytes::from(format!("{number:04}"));
                Mutation::Put(Put { key, payload: body(size, number), ..Put::default() })
            })
            .collect();
        engine.commit(SET, Batch { mutations, ..Batch::default() }).await.unwrap();
        all_written(&drives).await;
    }
    let commits = drives.iter().flat_map(frames).filter(|frame| frame.commits);
    commits.map(|frame| frame.written_bytes()).sum()
}

/// Rule 20. Small batches are replicated where that is no larger, single objects lie in one column and its
/// parity, large ones are split; padding is not written.
#[tokio::test]
async fn a_batch_writes_what_its_columns_and_parity_need_and_no_padding() {
    // Objects of a batch, their size in KiB, and KiB written on eight drives, frames and all.
    let mut table = Vec::new();
    for objects in [1, 2, 4, 64] {
        for size in [1 << 10, 16 << 10, 128 << 10] {
            table.push((objects, size >> 10, written(8, objects, size).await >> 10));
        }
    }
    assert_eq!(
        table,
        [
            // Replicated: one block on every drive.
            (1, 1, 32),
            // One column and four of parity; three drives write metadata alone.
            (1, 16, 112),
            // Split over four columns.
            (1, 128, 288),
            (2, 1, 32),
            (2, 16, 128),
            (2, 128, 544),
            (4, 1, 32),
            (4, 16, 160),
            (4, 128, 1056),
            (64, 1, 160),
            (64, 16, 2176),
            (64, 128, 19296),
        ]
    );
}

/// Rule 24. An object completed of 10,000 parts with SHA-256 checksums is one commit where its head is split over
/// columns, beside others too; where one column has to take it all it is refused, and nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_10_000_parts_with_sha256_checksums_is_committed_where_its_head_is_split() {
    let put = Put {
        key: Bytes::from_static(b"large"),
        payload: body(740_000, 1),
        locations: (0..10_000_u32)
            .map(|part| Location(part.to_le_bytes().repeat(8)[..29].to_vec()))
            .collect(),
        ..Put::default()
    };
    let complete = Batch { mutations: vec![Mutation::Put(put.clone())], ..Batch::default() };
    for count in [4, 8, 16] {
        let drives = FaultyDrive::machine(count, &Power::steady());
        let engine = open_all(&drives).unwrap();
        let others = (0..40).map(|seed| crate::support::put(&engine, "other", body(100_000, seed)));
        let (committed, others) =
            tokio::join!(engine.commit(SET, complete.clone()), futures_util::future::join_all(others));
        committed.unwrap();
        assert!(others.iter().all(Result::is_ok));
        drop(engine);
        let engine = open_all(&restarted(&drives)).unwrap();
        let entry = engine.get(SET, b"large").await.unwrap().unwrap();
        assert!(entry.payload == put.payload && entry.locations == put.locations, "{count} drives");
    }
    let engine = open_all(&FaultyDrive::machine(1, &Power::steady())).unwrap();
    let refused = engine.commit(SET, complete).await;
    assert!(matches!(refused, Err(EngineError::TooLarge { .. })), "{refused:?}");
}
