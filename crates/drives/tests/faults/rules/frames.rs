//! Frames: how large they are, where they end, and the segments that they go to.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use store::{Batch, Engine, EngineError, Mutation, Put};
use tidings_drives::testing::{FaultyDrive, Power};

use crate::space::{has_copies, numbers, open_sized, put_quietly};
use crate::support::{FrameSeen, SET, body, frames_of, put, wait_until};

const MIB: usize = 1 << 20;

/// Two frames of the largest size, and a header.
const SEGMENT_BYTES: usize = 2 * MIB + 4096;

/// Every frame on a drive.
fn frames(drive: &FaultyDrive) -> Vec<FrameSeen> {
    numbers(drive).into_iter().flat_map(|number| frames_of(drive, number)).collect()
}

fn are_bounded(drives: &[FaultyDrive]) {
    for frame in drives.iter().flat_map(frames) {
        let (size, end) = (frame.bytes(), frame.offset + frame.slot_bytes);
        assert!(size <= MIB && end <= SEGMENT_BYTES, "a frame of {size} bytes that ends at {end}");
    }
}

/// Rule 24. What gathers while a frame is written is cut into frames of a mebibyte on each drive at most, and none of
/// them crosses a segment.
#[tokio::test(flavor = "multi_thread")]
async fn batches_are_cut_into_frames_of_a_mebibyte_that_cross_no_segment() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_sized(&drives, SEGMENT_BYTES as u64).unwrap();
    for round in 0..4 {
        let puts = (0..60).map(|number| {
            let size = 20_000 + 3_001 * ((number * 7 + round) % 40);
            let (engine, key) = (&engine, format!("{round}/{number}"));
            async move { put(engine, &key, body(size, number)).await }
        });
        assert!(join_all(puts).await.iter().all(Result::is_ok));
    }
    engine.shutdown().await;
    let count = drives.iter().flat_map(frames).count();
    assert!(count >= 4 * 10, "{count} frames");
    are_bounded(&drives);
}

/// Rule 24. A commit that no frame can hold, however its payloads are laid out, is refused; those beside it are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_too_large_for_a_frame_is_refused_and_none_beside_it() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_sized(&drives, SEGMENT_BYTES as u64).unwrap();
    // Of three that no column can be split for, two lie in one.
    let mutations = (0..3).map(|number| {
        let key = Bytes::from(format!("{number}"));
        Mutation::Put(Put { key, payload: body(640_000, number), ..Put::default() })
    });
    let large = Batch { mutations: mutations.collect(), ..Batch::default() };
    let others = (0..20).map(|number| put(&engine, "other", body(50_000, number)));
    let (refused, others) = tokio::join!(engine.commit(SET, large), join_all(others));
    assert!(matches!(refused, Err(EngineError::TooLarge { .. })), "{refused:?}");
    assert!(others.iter().all(Result::is_ok));
    engine.shutdown().await;
    are_bounded(&drives);
}

/// Rules 23 and 24. The next segment lies ready when the one in use is half full, on every drive and zeroed to its end.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_segment_is_made_and_zeroed_before_it_is_begun() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_sized(&drives, SEGMENT_BYTES as u64).unwrap();
    wait_until(|| drives.iter().all(|drive| drive.zeroed_bytes() > MIB as u64)).await;
    for number in 0..24 {
        put_quietly(&engine, "key", body(100_000, number)).await;
    }
    let zeroed = |drive: &FaultyDrive| drive.zeroed_bytes() > (SEGMENT_BYTES + MIB) as u64;
    wait_until(|| drives.iter().all(|drive| numbers(drive) == [0, 1] && zeroed(drive))).await;
}

/// Rule 24. Where writers are faster than zeroes, segments are begun that were only allocated.
#[tokio::test(flavor = "multi_thread")]
async fn writers_that_outrun_the_zeroes_go_on_in_segments_that_are_not_zeroed() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    drives.iter().for_each(|drive| drive.slow_zeroes(Duration::from_secs(1)));
    let engine = open_sized(&drives, SEGMENT_BYTES as u64).unwrap();
    let mut number = 0;
    while numbers(&drives[0]).last() < Some(&3) {
        put_quietly(&engine, &format!("{number}"), body(200_000, number)).await;
        number += 1;
    }
    // Two segments are full, and a third is in use: of four drives.
    let zeroed: u64 = drives.iter().map(FaultyDrive::zeroed_bytes).sum();
    assert!(zeroed < 4 * SEGMENT_BYTES as u64, "{zeroed} bytes were zeroed before");
}

/// Rule 24. What is copied is cut as what is committed is: a single drive has all of it in one column.
#[tokio::test(flavor = "multi_thread")]
async fn copies_are_cut_into_frames_of_a_mebibyte_on_a_single_drive_too() {
    let drives = FaultyDrive::machine(1, &Power::steady());
    let engine = open_sized(&drives, SEGMENT_BYTES as u64).unwrap();
    // Thirteen fill the first segment. Seven of them live on, which are more than a mebibyte.
    for number in 0..13 {
        put_quietly(&engine, &format!("{number}"), body(150_000, number)).await;
    }
    for number in (1..13).step_by(2) {
        put_quietly(&engine, &format!("{number}"), body(10, number)).await;
    }
    for number in 13..26 {
        put_quietly(&engine, &format!("{number}"), body(150_000, number)).await;
    }
    wait_until(|| !numbers(&drives[0]).contains(&0)).await;
    assert!(has_copies(&drives[0]));
    engine.shutdown().await;
    are_bounded(&drives);
}
