//! Damaged bytes are found, repaired from parity while it reaches, and never served.

use store::{Engine, EngineError, KeyRange};
use tidings_drives::testing::{FaultyDrive, Power};

use crate::support::{SET, all_written, body, frames, get, open_all, put, read, restarted, stage, told};

/// One bit of every block of every frame flipped, on one drive and on two of four: everything reads back.
#[tokio::test]
async fn bits_flipped_in_frames_on_as_many_drives_as_there_is_parity_are_repaired() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    let sizes = [100, 5_000, 30_000, 131_072];
    for (seed, size) in sizes.into_iter().enumerate() {
        put(&engine, &format!("{size}"), body(size, seed)).await.unwrap();
    }
    engine.shutdown().await;
    drop(engine);

    for damaged in [vec![0], vec![3], vec![0, 1], vec![1, 3]] {
        let drives = restarted(&drives);
        for position in &damaged {
            for frame in frames(&drives[*position]) {
                let bytes = drives[*position].bytes(&frame.file);
                let length = 256 + frame.meta_bytes + frame.column_bytes;
                for at in (frame.offset + 70..frame.offset + length).step_by(1024) {
                    drives[*position].damage(&frame.file, at as u64, &[bytes[at] ^ 4]);
                }
            }
        }
        let engine = open_all(&drives).unwrap();
        for (seed, size) in sizes.into_iter().enumerate() {
            assert_eq!(
                get(&engine, &format!("{size}")).await,
                Ok(Some(body(size, seed))),
                "damage on {damaged:?}"
            );
        }
        assert_eq!(told(&engine).await.len(), sizes.len());
    }
}

/// With more columns damaged than parity repairs the key says so; its neighbours and the listing stay.
#[tokio::test]
async fn more_damage_than_parity_is_told_and_nothing_false_is_served() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put(&engine, "split", body(131_072, 1)).await.unwrap();
    put(&engine, "sound", body(131_072, 2)).await.unwrap();
    all_written(&drives).await;
    let frame = frames(&drives[0]).into_iter().find(|frame| frame.column_bytes > 0).unwrap();
    for drive in &drives[..3] {
        let at = frame.offset + 256 + frame.meta_bytes + 5_000;
        drive.damage(&frame.file, at as u64, &[!drive.bytes(&frame.file)[at]]);
    }
    assert_eq!(get(&engine, "split").await, Err(EngineError::Damaged { damaged: 3, parity: 2 }));
    assert_eq!(get(&engine, "sound").await, Ok(Some(body(131_072, 2))));
    assert_eq!(engine.scan(SET, KeyRange::prefix(b""), 10).await.unwrap().len(), 2);
}

/// A damaged block of a shard is rebuilt; so is one that lies intact in the wrong place.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_misplaced_blocks_of_shards_are_rebuilt_until_parity_ends() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    let large = body(1_500_000, 4);
    let location = stage(&engine, &large).await.unwrap();
    let shard = |drive: &FaultyDrive| {
        drive.files().into_iter().find(|(name, _)| name.starts_with("shard/")).unwrap().0
    };
    let record = 8 + 65_536;

    let name = shard(&drives[0]);
    let bytes = drives[0].bytes(&name);
    drives[0].damage(&name, 128 + 8 + 100, &[!bytes[128 + 8 + 100]]);
    let swapped =
        [&bytes[128 + 2 * record..128 + 3 * record], &bytes[128 + record..128 + 2 * record]].concat();
    drives[1].damage(&shard(&drives[1]), 128, &[0; 5000]);
    assert!(read(&engine, &location, 1_500_000).await == Ok(large.clone()));
    drives[0].damage(&name, (128 + record) as u64, &swapped);
    assert!(read(&engine, &location, 1_500_000).await == Ok(large.clone()));

    drives[2].damage(&shard(&drives[2]), 128, &[0; 5000]);
    assert_eq!(
        read(&engine, &location, 1_500_000).await,
        Err(EngineError::Damaged { damaged: 3, parity: 2 })
    );
}

/// Rule 21. A healthy small object is read by one read on one drive.
#[tokio::test]
async fn a_healthy_small_object_costs_one_read_on_one_drive() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    for size in [100, 10_000, 16_000] {
        put(&engine, "rose", body(size, 1)).await.unwrap();
        all_written(&drives).await;
        // The drives hold it; that the engine heard of it is a moment later.
        let mut cost = 0;
        for _ in 0..100 {
            let before: u64 = drives.iter().map(FaultyDrive::reads).sum();
            assert_eq!(get(&engine, "rose").await, Ok(Some(body(size, 1))));
            cost = drives.iter().map(FaultyDrive::reads).sum::<u64>() - before;
            if cost == 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(cost, 1, "{size} bytes");
    }
}
