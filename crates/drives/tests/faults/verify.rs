//! Verifying: what is short is named, what is whole is not, and nothing is changed.

use bytes::Bytes;
use store::{Batch, Engine, Finding, Mutation, Put, Seen, Verification};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Given, OpenError, verify_drives};

use crate::support::{
    SET, all_written, body, change, drives_with, frames, open_all, put, put_batch, restarted, stage,
};

fn look(drives: &[FaultyDrive]) -> Result<Verification, OpenError> {
    verify_drives(drives.iter().map(FaultyDrive::given).collect(), &mut |_| true)
}

/// What there is in all, and what was found.
fn findings(given: Vec<Given>) -> (Verification, Vec<Finding>) {
    let mut findings = Vec::new();
    let found = verify_drives(given, &mut |seen| {
        if let Seen::Finding(finding) = seen {
            findings.push(finding);
        }
        true
    });
    (found.unwrap(), findings)
}

fn contents(drives: &[FaultyDrive]) -> Vec<Vec<(String, Vec<u8>)>> {
    let of = |drive: &FaultyDrive| {
        let named = drive.files().into_iter().map(|(name, _)| (name.clone(), drive.bytes(&name)));
        named.collect()
    };
    drives.iter().map(of).collect()
}

/// A set with small bodies and one in shards.
async fn with_everything() -> Vec<FaultyDrive> {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    for (seed, key) in ["oalbum\0rose\0--------", "oalbum\0tulip\0--------"].iter().enumerate() {
        put(&engine, key, body(60_000, seed)).await.unwrap();
    }
    let location = stage(&engine, &body(300_000, 9)).await.unwrap();
    let put = Put {
        key: Bytes::from_static(b"oalbum\0large\0--------"),
        locations: vec![location],
        ..Put::default()
    };
    let batch =
        Batch { mutations: vec![Mutation::Put(put)], changes: vec![change("large")], ..Batch::default() };
    engine.commit(SET, batch).await.unwrap();
    all_written(&drives).await;
    drop(engine);
    restarted(&drives)
}

#[tokio::test]
async fn a_whole_set_is_whole_and_nothing_of_it_is_changed() {
    let drives = with_everything().await;
    let before = contents(&drives);
    let found = look(&drives).unwrap();
    assert!(found.is_whole(), "{found:?}");
    assert_eq!((found.keys, found.bodies), (3, 1));
    assert!(found.frames >= 3 && found.bytes > 0, "{found:?}");
    assert!(contents(&drives) == before, "something was changed");
}

#[tokio::test]
async fn what_is_damaged_or_missing_is_named_with_its_drive_and_the_objects_in_it() {
    let drives = with_everything().await;
    let frame = frames(&drives[1]).into_iter().filter(|frame| frame.commits).nth(1).unwrap();
    let column = frame.offset + 256 + frame.meta_bytes;
    drives[1].damage(&frame.file, column as u64 + 7, b"flipped");
    let (shard, _) = drives[2].files().into_iter().find(|(name, _)| name.starts_with("shard/")).unwrap();
    drives[2].damage(&shard, 70_000, b"flipped");

    let (found, findings) = findings(drives.iter().map(FaultyDrive::given).collect());
    assert_eq!((found.short, found.lost), (2, 0), "{found:?}");
    let named: Vec<_> = findings
        .iter()
        .map(|finding| (finding.names.join(" "), finding.drives.join(" "), finding.is_lost))
        .collect();
    assert_eq!(
        named,
        [("album/tulip".into(), "d2".into(), false), ("album/large".into(), "d3".into(), false)]
    );
}

#[tokio::test]
async fn what_parity_cannot_make_up_for_is_lost_and_an_absent_drive_is_told() {
    let drives = drives_with(4, &["one", "two"], 60_000).await;
    let frame = frames(&drives[0]).into_iter().find(|frame| frame.commits).unwrap();
    for drive in &drives[..2] {
        let column = frame.offset + 256 + frame.meta_bytes;
        drive.damage(&frame.file, column as u64, b"flipped");
    }
    let mut given: Vec<_> = drives.iter().map(FaultyDrive::given).collect();
    given[3] = drives[3].absent();
    let (found, findings) = findings(given);
    assert_eq!((found.short, found.lost), (0, 1), "{found:?}");
    assert_eq!(findings[0].drives, ["d1", "d2"]);
    assert_eq!(found.absent.len(), 1);
    assert_eq!(found.absent[0].drive, "d4");
}

#[tokio::test]
async fn drives_without_a_set_and_too_few_of_one_are_refused() {
    let blank = FaultyDrive::machine(4, &Power::steady());
    assert!(matches!(look(&blank), Err(OpenError::NoSet)));
    assert!(blank.iter().all(|drive| drive.files().is_empty()), "something was written");

    let drives = drives_with(4, &["one"], 100).await;
    let mut given: Vec<_> = drives.iter().map(FaultyDrive::given).collect();
    for (position, given) in given.iter_mut().enumerate().take(3) {
        *given = drives[position].absent();
    }
    assert!(matches!(verify_drives(given, &mut |_| true), Err(OpenError::TooFewDrives { .. })));
}

/// While clients write, and ended by who asked for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_set_is_verified_while_it_is_written_and_the_caller_ends_it() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_all(&drives).unwrap();
    for seed in 0..200 {
        engine.commit(SET, put_batch(&format!("k{seed}"), body(3_000, seed))).await.unwrap();
    }
    let writer = tokio::spawn({
        let engine = engine.clone();
        async move {
            for seed in 200..400 {
                engine.commit(SET, put_batch(&format!("k{seed}"), body(3_000, seed))).await.unwrap();
            }
        }
    });
    let asked = engine.clone();
    let found = tokio::task::spawn_blocking(move || asked.verify(&mut |_| true)).await.unwrap().unwrap();
    assert!(found.is_whole() && found.keys >= 200, "{found:?}");
    writer.await.unwrap();

    let mut told = Vec::new();
    let ended = engine.verify(&mut |seen| {
        told.push(seen);
        false
    });
    assert!(ended.is_err(), "{ended:?} says that everything was looked at");
    assert!(matches!(told[..], [Seen::Progress(progress)] if progress.keys_total == 400), "{told:?}");
}
