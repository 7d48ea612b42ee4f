//! Damage at every structure of a drive: found by a scrub, repaired where parity reaches, else refused and told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{Batch, Engine, EngineError, Mutation, Put, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine, Patience};

use crate::support::{
    Gated, SET, all_written, always_scrubbing, body, frames, get, offline, open, put, read, restarted, stage,
    told, wait_until,
};

const LARGE_BYTES: usize = 700_000;

fn scrubbing(drives: &[FaultyDrive]) -> Arc<LocalEngine> {
    let healing = always_scrubbing(Duration::from_millis(5));
    let given = drives.iter().map(FaultyDrive::given).collect();
    LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap()
}

/// Waits until a scrub that began after this call is over.
async fn scrubbed(engine: &LocalEngine) {
    let before = engine.heal_report().scrubs;
    wait_until(|| engine.heal_report().scrubs >= before + 2).await;
}

async fn fill(engine: &LocalEngine) {
    for (seed, size) in [100, 5_000, 30_000, 131_072].into_iter().enumerate() {
        put(engine, &format!("{size}"), body(size, seed)).await.unwrap();
    }
    let location = stage(engine, &body(LARGE_BYTES, 9)).await.unwrap();
    let put = Put { key: Bytes::from_static(b"large"), locations: vec![location], ..Put::default() };
    engine.commit(SET, Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() }).await.unwrap();
}

async fn check(engine: &LocalEngine, what: &str) {
    for (seed, size) in [100, 5_000, 30_000, 131_072].into_iter().enumerate() {
        assert_eq!(get(engine, &format!("{size}")).await, Ok(Some(body(size, seed))), "{what}");
    }
    let entry = engine.get(SET, b"large").await.unwrap().unwrap();
    let large = read(engine, &entry.locations[0], LARGE_BYTES as u64).await.unwrap();
    assert!(large == body(LARGE_BYTES, 9), "{what}");
    assert_eq!(told(engine).await.len(), 4, "{what}");
}

/// Writes damage to a drive, by the name of what it does.
type Damage = (&'static str, fn(&FaultyDrive));

fn shard(drive: &FaultyDrive) -> String {
    drive.files().into_iter().find(|(name, _)| name.starts_with("shard/")).unwrap().0
}

fn flip(drive: &FaultyDrive, file: &str, at: usize) {
    let bytes = drive.bytes(file);
    drive.damage(file, at as u64, &[bytes[at] ^ 0x10]);
}

const DAMAGES: [Damage; 13] = [
    ("the header of a segment", |drive| flip(drive, "log/00000000.seg", 20)),
    ("the headers of frames", |drive| {
        for frame in frames(drive) {
            flip(drive, &frame.file, frame.offset + 60);
        }
    }),
    ("the metadata of frames", |drive| {
        for frame in frames(drive).iter().filter(|frame| frame.meta_bytes > 0) {
            flip(drive, &frame.file, frame.offset + 256 + frame.meta_bytes / 2);
        }
    }),
    ("the columns of frames", |drive| {
        for frame in frames(drive).iter().filter(|frame| frame.column_bytes > 0) {
            flip(drive, &frame.file, frame.offset + 256 + frame.meta_bytes + frame.column_bytes / 2);
        }
    }),
    ("a write that never reached the medium", |drive| {
        let frame = frames(drive).into_iter().rfind(|frame| frame.column_bytes > 20_000).unwrap();
        let length = 256 + frame.meta_bytes + frame.column_bytes;
        drive.damage(&frame.file, frame.offset as u64, &vec![0; length]);
    }),
    ("a write that went to another frame's place", |drive| {
        let found: Vec<_> = frames(drive).into_iter().filter(|frame| frame.commits).collect();
        let bytes = drive.bytes(&found[0].file);
        let moved = bytes[found[0].offset..found[0].offset + 4096].to_vec();
        drive.damage(&found[1].file, found[1].offset as u64, &moved);
    }),
    ("the header of a shard", |drive| flip(drive, &shard(drive), 40)),
    ("blocks of a shard, and one in another's place", |drive| {
        let (name, record) = (shard(drive), 8 + 65_536);
        flip(drive, &name, 128 + 100);
        let bytes = drive.bytes(&name);
        drive.damage(&name, (128 + record) as u64, &bytes[128 + 2 * record..128 + 3 * record]);
    }),
    ("a shard that is not there", |drive| drive.remove(&shard(drive))),
    ("one copy of the manifest", |drive| flip(drive, "manifest", 90)),
    ("both copies of the manifest", |drive| {
        let copy_bytes = drive.bytes("manifest").len() / 2;
        [90, copy_bytes + 90].into_iter().for_each(|at| flip(drive, "manifest", at));
    }),
    ("one copy of the identity", |drive| flip(drive, "format", 4096 + 70)),
    ("both copies of the identity", |drive| {
        [70, 4096 + 70].into_iter().for_each(|at| flip(drive, "format", at))
    }),
];

/// Bit flips, lost and misdirected writes, on one drive and on as many as there is parity: a scrub repairs all of it.
/// Afterwards the others can be lost, so that what was damaged is all there is.
#[tokio::test(flavor = "multi_thread")]
async fn damage_at_every_structure_is_repaired_by_a_scrub() {
    let whole = FaultyDrive::machine(4, &Power::steady());
    let engine = scrubbing(&whole);
    fill(&engine).await;
    engine.shutdown().await;
    drop(engine);
    for (what, damage) in DAMAGES {
        let drives = restarted(&whole);
        let engine = scrubbing(&drives);
        // The start itself writes a segment's header anew.
        scrubbed(&engine).await;
        damage(&drives[1]);
        damage(&drives[3]);
        scrubbed(&engine).await;
        check(&engine, what).await;
        let report = engine.heal_report();
        assert!(report.damages_found >= 2, "{what}: {report:?}");
        assert_eq!((report.damages_found, report.lost), (report.damages_repaired, 0), "{what}");
        assert_eq!(offline(&engine), Vec::<String>::new(), "{what}");
        // Before the stop, which writes one anyway.
        wait_until(|| drives.iter().all(|drive| drive.bytes("manifest") == drives[0].bytes("manifest")))
            .await;
        engine.shutdown().await;
        drop(engine);
        let engine = open(&restarted(&drives), &[1, 3]).unwrap();
        check(&engine, what).await;
    }
}

/// More drives have a column damaged than parity makes up for: it is told by name, kept for a person to look at, and
/// refused. Its neighbours are served, and a drive that is replaced then is healed with all the rest.
#[tokio::test(flavor = "multi_thread")]
async fn damage_beyond_parity_is_told_and_refused_and_keeps_no_drive_from_being_healed() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = scrubbing(&drives);
    fill(&engine).await;
    all_written(&drives).await;
    let frame = frames(&drives[0]).into_iter().rfind(|frame| frame.column_bytes > 20_000).unwrap();
    let at = frame.offset + 256 + frame.meta_bytes + 9_000;
    let byte = |drive: &FaultyDrive| drive.bytes(&frame.file)[at];
    let written: Vec<u8> = drives[..3].iter().map(byte).collect();
    wait_until(|| {
        // What a scrub repaired before the last of them was damaged is damaged again.
        let repaired = drives.iter().zip(&written).filter(|(drive, written)| byte(drive) == **written);
        repaired.for_each(|(drive, _)| flip(drive, &frame.file, at));
        engine.heal_report().lost == 1
    })
    .await;
    let report = engine.heal_report();
    assert!(report.lost_names[0].contains(&format!("batch {}", frame.batch)), "{:?}", report.lost_names);
    let kept = |drive: &FaultyDrive| {
        drive.files().iter().filter(|(name, _)| name.starts_with("quarantine/")).count()
    };
    let kept: Vec<usize> = drives.iter().map(kept).collect();
    assert!(kept[..3].iter().all(|kept| *kept > 0) && kept[3] == 0, "{kept:?}");

    drives[3].blank_out();
    wait_until(|| engine.heal_report().drives_healed == 1).await;
    let damaged = get(&engine, "131072").await;
    assert!(matches!(damaged, Err(EngineError::Damaged { .. })), "{damaged:?}");
    for (seed, size) in [100, 5_000, 30_000].into_iter().enumerate() {
        assert_eq!(get(&engine, &format!("{size}")).await, Ok(Some(body(size, seed))));
    }
    assert_eq!(told(&engine).await.len(), 4);
}

/// A drive whose identity is damaged in both copies is known by its segments, given its place again, and healed.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_with_a_damaged_identity_is_healed() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = scrubbing(&drives);
    fill(&engine).await;
    engine.shutdown().await;
    drop(engine);
    flip(&drives[2], "format", 70);
    flip(&drives[2], "format", 4096 + 70);
    let engine = scrubbing(&drives);
    wait_until(|| engine.heal_report().drives_healed == 1).await;
    engine.shutdown().await;
    drop(engine);
    let engine = open(&restarted(&drives), &[0, 2]).unwrap();
    check(&engine, "from the healed drive and another").await;
}

/// A decision that a drive said it wrote and did not is written again by a scrub: the next start would count the drive
/// among those that missed it. An identity of another drive is left as it is, and the drive is out.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_an_earlier_decision_is_written_again_and_one_of_another_drive_never_written_over() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = scrubbing(&drives);
    fill(&engine).await;
    let earlier = drives[1].bytes("format");
    drives[3].blank_out();
    wait_until(|| engine.heal_report().drives_healed == 1).await;
    // Scrubbing may have repaired what the emptied drive lacked.
    let before = engine.heal_report().damages_repaired;
    drives[1].damage("format", 0, &earlier);
    wait_until(|| engine.heal_report().damages_repaired > before).await;
    let revision = |drive: &FaultyDrive| drive.bytes("format")[56..64].to_vec();
    wait_until(|| revision(&drives[1]) == revision(&drives[0])).await;

    let another = drives[0].bytes("format");
    drives[2].damage("format", 0, &another);
    wait_until(|| offline(&engine) == ["d3"]).await;
    scrubbed(&engine).await;
    assert!(drives[2].bytes("format") == another, "it was written over");
    check(&engine, "with a drive out").await;
}

/// Rule 22. What rots beneath the page cache is found by a scrub while every read still has it from memory: a frame, a
/// shard, the manifest and the identity.
#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_sees_what_the_medium_has_and_not_what_the_page_cache_remembers() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = scrubbing(&drives);
    fill(&engine).await;
    all_written(&drives).await;
    wait_until(|| !drives[1].bytes("manifest").is_empty()).await;
    scrubbed(&engine).await;
    let frame = frames(&drives[1]).into_iter().rfind(|frame| frame.column_bytes > 20_000).unwrap();
    let column = (frame.offset + 256 + frame.meta_bytes) as u64;
    let places =
        [(frame.file, column), (shard(&drives[1]), 1000), ("manifest".into(), 90), ("format".into(), 70)];
    for (file, offset) in places {
        let before = engine.heal_report().damages_repaired;
        let whole = drives[1].bytes(&file);
        drives[1].rot(&file, offset, &[0x5a; 64]);
        assert!(drives[1].bytes(&file) == whole);
        check(&engine, &file).await;
        wait_until(|| engine.heal_report().damages_repaired > before).await;
    }
    assert_eq!(engine.heal_report().lost, 0);
}

/// A drive that is behind is written a frame after a scrub read ahead over its place: it lacks nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_a_drive_is_written_while_a_scrub_is_on_its_way_there_is_no_damage() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    // In this order: the gates open before the engine is dropped, which waits for the frames there.
    let (engine, drives) = (scrubbing(&drives), Gated(drives));
    engine.set_patience(Patience { frame: Duration::from_secs(60), ..Patience::DEFAULT });
    put(&engine, "before", body(9_000, 0)).await.unwrap();
    all_written(&drives).await;
    drives[1].gate_frames(true);
    put(&engine, "late", body(9_000, 1)).await.unwrap();
    // From then on every walk goes as far as that. Each reads ahead on the second drive before it comes to the fourth.
    scrubbed(&engine).await;
    drives[3].hold_next_read();
    wait_until(|| drives[3].holds_read()).await;
    drives[1].gate_frames(false);
    // With one of the others behind, this is acknowledged when it is known that the second has everything before.
    drives[0].gate_frames(true);
    put(&engine, "after", body(9_000, 2)).await.unwrap();
    drives[3].let_read_go();
    scrubbed(&engine).await;
    assert_eq!(engine.heal_report().damages_found, 0);
    assert_eq!(offline(&engine), Vec::<String>::new());
}

/// Rule 9. Files of bodies that no key names go when they are of an earlier epoch; what is staged or named stays.
#[tokio::test(flavor = "multi_thread")]
async fn orphans_of_earlier_epochs_are_removed_and_nothing_else() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = scrubbing(&drives);
    fill(&engine).await;
    let orphan = stage(&engine, &body(LARGE_BYTES, 1)).await.unwrap();
    engine.shutdown().await;
    drop(engine);

    let engine = scrubbing(&drives);
    let staged = stage(&engine, &body(LARGE_BYTES, 2)).await.unwrap();
    wait_until(|| engine.heal_report().orphans_removed == 4).await;
    assert!(read(&engine, &orphan, 10).await.is_err());
    assert!(read(&engine, &staged, LARGE_BYTES as u64).await.unwrap() == body(LARGE_BYTES, 2));
    check(&engine, "beside the orphans").await;
}

/// Rule 9. A body of an earlier epoch is read while its key goes, and a drive is swept of what no key names: the sweep
/// takes another orphan, and this one when it is not read any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_being_read_is_no_orphan_until_that_ends() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = scrubbing(&drives);
    let large = body(3 * LARGE_BYTES, 9);
    let location = stage(&engine, &large).await.unwrap();
    let put = Put { key: Bytes::from_static(b"large"), locations: vec![location.clone()], ..Put::default() };
    engine.commit(SET, Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() }).await.unwrap();
    stage(&engine, &body(LARGE_BYTES, 1)).await.unwrap();
    engine.shutdown().await;
    drop(engine);

    let healing = Healing { look_every: Duration::from_millis(2), ..Healing::default() };
    let given = drives.iter().map(FaultyDrive::given).collect();
    let engine = LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap();
    let shards = || drives[3].files().iter().filter(|(name, _)| name.starts_with("shard/")).count();
    assert_eq!(shards(), 2);
    let reading = engine.read(&location, 0..large.len() as u64).await.unwrap();
    let gone = Mutation::Delete(Bytes::from_static(b"large"));
    engine.commit(SET, Batch { mutations: vec![gone], ..Batch::default() }).await.unwrap();
    let heal_once_more = async || {
        let healed = engine.heal_report().drives_healed;
        drives[3].take_away();
        wait_until(|| offline(&engine) == ["d4"]).await;
        drives[3].bring_back();
        wait_until(|| engine.heal_report().drives_healed > healed).await;
    };
    heal_once_more().await;
    assert_eq!((engine.heal_report().orphans_removed, shards()), (1, 1));
    let read: Vec<Bytes> = futures_util::TryStreamExt::try_collect(reading).await.unwrap();
    assert!(read.concat() == large);
    heal_once_more().await;
    assert_eq!((engine.heal_report().orphans_removed, shards()), (2, 0));
}
