//! Recovery: what is kept, what is cut, and what is neither.

mod cursors;
mod frames;
mod lifetimes;
mod start;
mod stop;
mod time;

use std::sync::Arc;

use store::testing::fixture::HandClock;
use store::{Engine, EngineError, Sequence};
use tidings_drives::LocalEngine;
use tidings_drives::testing::{FaultyDrive, Power};

use crate::support::{
    SET, all_written, body, drives_with, frames, get, lose, offline, open, open_all, put, put_new, restarted,
    tear, told, wait_until,
};

/// Rules 4 and 6. What an epoch cut is no frame of the next one, though it stands where that begins and follows the
/// same batch: only the secret tells them apart. Two drives held it, which with one absent may be taken for a quorum.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_was_cut_is_not_taken_for_the_first_one_of_the_next_epoch() {
    let drives = drives_with(4, &["kept", "cut"], 60_000).await;
    let frame = frames(&drives[0]).pop().unwrap();
    let of = |drive: &FaultyDrive| drive.bytes(&frame.file)[frame.offset..][..frame.written_bytes()].to_vec();
    let cut = [of(&drives[0]), of(&drives[1])];
    drives[2..].iter().for_each(|drive| lose(drive, 1));
    let engine = open_all(&drives).unwrap();
    assert_eq!(told(&engine).await, ["kept"]);
    drop(engine);

    // The decision is on the medium, and nothing that was written since.
    let drives = restarted(&drives);
    for drive in &drives {
        let rest = drive.bytes(&frame.file).len() - frame.offset;
        drive.damage(&frame.file, frame.offset as u64, &vec![0; rest]);
    }
    for (drive, cut) in drives.iter().zip(&cut) {
        drive.damage(&frame.file, frame.offset as u64, cut);
    }
    let engine = open(&drives, &[0, 1, 2]).unwrap();
    assert_eq!(told(&engine).await, ["kept"]);
    assert_eq!(get(&engine, "cut").await, Ok(None));
}

/// Rule 1. A batch was acknowledged on B, C and D while A lagged; D is then replaced by a blank drive and C is
/// absent. A and the blank lack it, yet nothing may be cut: its key waits, all others are served, and it is
/// there again with C.
#[tokio::test]
async fn a_batch_that_an_absent_and_a_replaced_drive_may_have_held_is_not_cut() {
    let mut drives = drives_with(4, &["old", "new"], 60_000).await;
    lose(&drives[0], 1);
    drives[3] = FaultyDrive::blank("d4", &Power::steady());

    let engine = open(&drives, &[0, 1, 3]).unwrap();
    assert!(!engine.report().writable);
    assert_eq!(get(&engine, "new").await, Err(EngineError::Undecided));
    assert_eq!(get(&engine, "old").await, Ok(Some(body(60_000, 0))));
    assert_eq!(told(&engine).await, ["old"]);
    drop(engine);

    let engine = open(&drives, &[0, 1, 2, 3]).unwrap();
    assert_eq!(get(&engine, "new").await, Ok(Some(body(60_000, 1))));
    assert_eq!(told(&engine).await, ["old", "new"]);
    assert_eq!(offline(&engine), ["d4"]);
}

/// Rule 2. The last frame is torn on some drives and whole on others, or whole on two and missing elsewhere,
/// as an ordinary power cut leaves it: the set starts, writable, in every case.
#[tokio::test]
async fn an_ordinary_power_cut_that_tears_the_last_frame_never_keeps_the_set_from_starting() {
    let clean = drives_with(4, &["one", "two"], 60_000).await;
    for torn in 0..16_u32 {
        for missing in 0..16_u32 {
            let drives = restarted(&clean);
            for (position, drive) in drives.iter().enumerate() {
                match (torn >> position & 1, missing >> position & 1) {
                    (_, 1) => lose(drive, 1),
                    (1, 0) => tear(drive),
                    _ => {}
                }
            }
            let whole = 4 - (torn | missing).count_ones();
            let engine = open_all(&drives).unwrap();
            assert!(engine.report().writable, "torn {torn:04b}, missing {missing:04b}");
            let expected = (whole >= 3).then(|| body(60_000, 1));
            assert_eq!(get(&engine, "two").await, Ok(expected), "torn {torn:04b}, missing {missing:04b}");
            assert_eq!(get(&engine, "one").await, Ok(Some(body(60_000, 0))));
        }
    }
}

/// Rule 2. A hole below a frame that says what was durable before it is damage, not an end.
#[tokio::test]
async fn a_batch_damaged_everywhere_below_a_later_one_is_refused_by_name_and_never_cut() {
    let drives = drives_with(4, &["one", "two", "three"], 5_000).await;
    let hole = frames(&drives[0])[2].clone();
    for drive in &drives {
        drive.damage(&hole.file, hole.offset as u64, &[0; 256]);
    }
    let error = open_all(&drives).err().unwrap().to_string();
    assert!(error.contains(&format!("batch {}", hole.batch)), "{error}");
}

/// Rule 3. A batch was written to A and B and not acknowledged. Started with A and B alone nothing can be
/// decided: it is neither served nor told. Then C and D start alone, then all four: it is cut, and never was.
#[tokio::test]
async fn a_minority_neither_serves_nor_tells_what_the_majority_may_cut() {
    let drives = drives_with(4, &["kept", "phantom"], 9_000).await;
    lose(&drives[2], 1);
    lose(&drives[3], 1);

    let engine = open(&drives, &[0, 1]).unwrap();
    assert_eq!(get(&engine, "phantom").await, Err(EngineError::Undecided));
    assert_eq!(told(&engine).await, ["kept"]);
    assert!(!engine.report().writable);
    drop(engine);
    // Nothing behind it proves to C and D that "kept" is durable, so to them it is the undecided one.
    let engine = open(&drives, &[2, 3]).unwrap();
    assert_eq!(get(&engine, "kept").await, Err(EngineError::Undecided));
    assert_eq!(get(&engine, "phantom").await, Ok(None));
    assert_eq!(told(&engine).await, Vec::<String>::new());
    drop(engine);

    let engine = open_all(&drives).unwrap();
    assert_eq!(get(&engine, "phantom").await, Ok(None));
    assert_eq!(told(&engine).await, ["kept"]);
    assert_eq!(offline(&engine), Vec::<String>::new());
}

/// Rule 3. What was kept is on every voter present before it is served: the next start, with any two of them
/// gone, still has it.
#[tokio::test]
async fn a_batch_that_was_kept_survives_the_loss_of_any_two_drives_from_then_on() {
    let drives = drives_with(4, &["one", "two"], 60_000).await;
    lose(&drives[3], 1);
    drop(open_all(&drives).unwrap());
    for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        let engine = open(&restarted(&drives), &[one, other]).unwrap();
        assert_eq!(get(&engine, "two").await, Ok(Some(body(60_000, 1))), "with {one} and {other}");
    }
}

/// Rule 4. Two starts of the same drives, three at a time, count the same epoch; its secret tells them apart,
/// and the drive of the other start is not taken for a member of this one.
#[tokio::test]
async fn an_epoch_that_was_begun_twice_is_not_the_same_epoch() {
    let drives = drives_with(4, &["one"], 9_000).await;
    let left = restarted(&drives);
    let engine = open(&left, &[0, 1, 2]).unwrap();
    put(&engine, "left", body(9_000, 1)).await.unwrap();
    drop(engine);
    let right = restarted(&drives);
    let engine = open(&right, &[1, 2, 3]).unwrap();
    put(&engine, "right", body(9_000, 2)).await.unwrap();
    engine.shutdown().await;
    drop(engine);

    let mixed = [left[0].clone(), right[1].clone(), right[2].clone(), right[3].clone()];
    assert_ne!(mixed[0].bytes("format")[72..], mixed[1].bytes("format")[72..]);
    let engine = open_all(&mixed).unwrap();
    assert_eq!(offline(&engine), ["d1"]);
    assert_eq!(told(&engine).await, ["one", "right"]);
    assert_eq!(get(&engine, "left").await, Ok(None));
}

/// Rule 4. A drive that was away while an epoch began is no member of it and stays out, whatever else is
/// missing.
#[tokio::test]
async fn a_drive_that_was_away_stays_out_even_when_it_is_needed() {
    let drives = drives_with(4, &["one"], 9_000).await;
    let engine = open(&drives, &[0, 1, 2]).unwrap();
    put(&engine, "one", body(9_000, 7)).await.unwrap();
    engine.shutdown().await;
    drop(engine);

    let engine = open(&drives, &[0, 1, 3]).unwrap();
    assert_eq!(offline(&engine), ["d3", "d4"]);
    assert!(!engine.report().writable);
    assert_eq!(get(&engine, "one").await, Ok(Some(body(9_000, 7))));
    drop(engine);
    assert!(open(&drives, &[0, 3]).is_err());
}

/// Rule 5. A cleanly stopped set survives the loss of any m drives whole.
#[tokio::test]
async fn after_a_clean_stop_every_choice_of_four_of_eight_drives_reads_everything_back() {
    let drives = FaultyDrive::machine(8, &Power::steady());
    let engine = open_all(&drives).unwrap();
    for (seed, size) in [0, 10, 3_000, 20_000, 131_072].into_iter().enumerate() {
        put(&engine, &format!("{size}"), body(size, seed)).await.unwrap();
    }
    engine.shutdown().await;
    drop(engine);
    for chosen in (0..256_u32).filter(|chosen| chosen.count_ones() == 4) {
        let present: Vec<usize> = (0..8).filter(|position| chosen >> position & 1 == 1).collect();
        let engine = open(&drives, &present).unwrap();
        for (seed, size) in [0, 10, 3_000, 20_000, 131_072].into_iter().enumerate() {
            let read = get(&engine, &format!("{size}")).await;
            assert_eq!(read, Ok(Some(body(size, seed))), "{size} bytes from {present:?}");
        }
        assert_eq!(told(&engine).await.len(), 5);
    }
}

/// Rule 5. The last batch is held by two of eight drives and may be held by three that are absent: it cannot be
/// read and must not be cut. Its key waits and all others are served, until an absent drive returns.
#[tokio::test]
async fn a_batch_that_can_be_neither_read_nor_cut_keeps_its_key_waiting_and_no_other() {
    let drives = drives_with(8, &["old", "new"], 60_000).await;
    for drive in &drives[2..6] {
        lose(drive, 1);
    }
    let engine = open(&drives, &[0, 1, 2, 3, 4]).unwrap();
    assert_eq!(get(&engine, "new").await, Err(EngineError::Undecided));
    assert_eq!(get(&engine, "old").await, Ok(Some(body(60_000, 0))));
    assert!(!engine.report().writable);
    drop(engine);

    let engine = open(&drives, &[0, 1, 2, 3, 6, 7]).unwrap();
    assert_eq!(get(&engine, "new").await, Ok(Some(body(60_000, 1))));
    assert!(engine.report().writable);
    assert_eq!(offline(&engine), ["d5", "d6"]);
}

/// Rule 6. A frame of this very epoch, captured and stored as an object's bytes, is no frame: neither where it
/// lies, nor when the frame around it is torn.
#[tokio::test]
async fn a_captured_frame_stored_as_a_payload_is_not_taken_for_a_frame() {
    let drives = FaultyDrive::machine(1, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put(&engine, "captured", body(9_000, 1)).await.unwrap();
    let frame = frames(&drives[0]).pop().unwrap();
    let bytes = drives[0].bytes(&frame.file);
    let captured = &bytes[frame.offset..frame.offset + 4096 * 3];

    // The payload is moved until the copy begins at a block, where a frame would.
    put(&engine, "forged", captured.to_vec().into()).await.unwrap();
    let carrier = frames(&drives[0]).into_iter().find(|seen| seen.batch == frame.batch + 1).unwrap();
    let shift = 4096 - (256 + carrier.meta_bytes) % 4096;
    let forged = [vec![7; shift], captured.to_vec()].concat();
    put(&engine, "forged", forged.clone().into()).await.unwrap();
    let aligned = frames(&drives[0]).iter().filter(|seen| seen.batch == frame.batch).count();
    assert!(aligned >= 2, "the copy does not begin at a block");
    drop(engine);

    let engine = open_all(&restarted(&drives)).unwrap();
    assert_eq!(get(&engine, "forged").await, Ok(Some(forged.into())));
    drop(engine);
    let torn = restarted(&drives);
    let last = frames(&torn[0]).into_iter().rfind(|seen| seen.batch == frame.batch + 2).unwrap();
    torn[0].damage(&last.file, last.offset as u64, &[0; 256]);
    let engine = open_all(&torn).unwrap();
    assert_eq!(told(&engine).await, ["captured", "forged"]);
    assert_eq!(get(&engine, "captured").await, Ok(Some(body(9_000, 1))));
}

/// Rule 7. A batch short of the quorum freezes the set: it and what rests on it are answered as unknown, later
/// ones are refused, and when the drives work again recovery runs by itself, under a new epoch.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_short_of_the_quorum_freezes_the_set_until_it_recovers_by_itself() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    put(&engine, "before", body(9_000, 0)).await.unwrap();
    all_written(&drives).await;
    // The commit is to be the first write that fails: the zeroes of the segment, of 4 MiB, are written before.
    let is_zeroed = |drive: &FaultyDrive| drive.zeroed_bytes() > (4 << 20) - (128 << 10);
    wait_until(|| drives.iter().all(is_zeroed)).await;
    for drive in &drives[..2] {
        drive.refuse_writes(Some(std::io::ErrorKind::Other));
    }

    let (first, second) = tokio::join!(
        put_new(&engine, "contested", body(9_000, 1)),
        put_new(&engine, "contested", body(9_000, 2)),
    );
    assert!(matches!(first, Err(EngineError::OutcomeUnknown { .. })), "{first:?}");
    let unknown_or_refused =
        matches!(second, Err(EngineError::OutcomeUnknown { .. } | EngineError::WriteQuorum { .. }));
    assert!(unknown_or_refused, "{second:?}");
    let later = put(&engine, "later", body(10, 3)).await;
    assert_eq!(later, Err(EngineError::WriteQuorum { answered: 2, needed: 3 }));
    assert_eq!(get(&engine, "before").await, Ok(Some(body(9_000, 0))));

    for drive in &drives[..2] {
        drive.refuse_writes(None);
    }
    wait_until(|| engine.report().writable).await;
    let contested = get(&engine, "contested").await.unwrap();
    assert!([None, Some(body(9_000, 1))].contains(&contested));
    let mut expected = vec!["before".to_owned()];
    expected.extend(contested.as_ref().map(|_| "contested".to_owned()));
    put(&engine, "after", body(9_000, 4)).await.unwrap();
    expected.push("after".into());
    assert_eq!(told(&engine).await, expected);
    drop(engine);

    let engine = open_all(&restarted(&drives)).unwrap();
    assert_eq!(told(&engine).await, expected);
    assert_eq!(get(&engine, "contested").await.unwrap(), contested);
    assert_eq!(engine.get(SET, b"later").await, Ok(None));
}

/// The journal goes on over its segments, and is read back over them and the epochs between.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_several_segments_and_epochs_is_read_back_whole() {
    let mut drives = FaultyDrive::machine(4, &Power::steady());
    for epoch in 0..3 {
        let engine = open_all(&drives).unwrap();
        for number in 0..70 {
            put(&engine, &format!("{epoch}/{number}"), body(100_000, number)).await.unwrap();
        }
        drop(engine);
        drives = restarted(&drives);
    }
    let segments = drives[0].files().iter().filter(|(name, _)| name.ends_with(".seg")).count();
    assert!(segments >= 2, "{segments} segments");

    let engine = open_all(&drives).unwrap();
    let expected: Vec<String> =
        (0..3).flat_map(|epoch| (0..70).map(move |number| format!("{epoch}/{number}"))).collect();
    assert_eq!(told(&engine).await, expected);
    for key in expected {
        let number: usize = key.split('/').nth(1).unwrap().parse().unwrap();
        assert_eq!(get(&engine, &key).await, Ok(Some(body(100_000, number))), "{key}");
    }
}

/// Sequences follow the clock and grow all the same when it steps back, also over a restart.
#[tokio::test]
async fn sequences_grow_over_a_restart_with_a_clock_that_stepped_back() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let open_at = |now_ms| {
        let given = drives.iter().map(FaultyDrive::given).collect();
        LocalEngine::open_on(given, None, Arc::new(HandClock::at_ms(now_ms))).unwrap()
    };
    let engine = open_at(10_000_000);
    let first = put(&engine, "one", body(10, 1)).await.unwrap();
    assert_eq!(first, Sequence(10_000_000_000_000));
    engine.shutdown().await;
    drop(engine);
    let engine = open_at(9_000_000);
    assert_eq!(put(&engine, "two", body(10, 2)).await, Ok(Sequence(first.0 + 1)));
}
