//! What a batch costs on the drives.

use bytes::Bytes;
use store::{Batch, Engine, Mutation, Put};
use tidings_drives::testing::{FaultyDrive, Power};

use crate::support::{SET, all_written, body, frames, open_all};

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
