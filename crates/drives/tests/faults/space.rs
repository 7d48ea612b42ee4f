//! Space: segments are recycled, nothing is lost or comes back by it, and what is deleted is given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Batch, Change, Engine, EngineError, KeyRange, Mutation, Put, Sequence, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{LocalEngine, OpenError, Patience, Retention, Tuning};

use crate::support::{SET, body, change, get, offline, put, put_batch, restarted, told, wait_until};

/// Segments that are sealed after a few frames.
const SMALL_BYTES: u64 = 1 << 20;

fn open_small(drives: &[FaultyDrive]) -> Result<Arc<LocalEngine>, OpenError> {
    open_sized(drives, SMALL_BYTES)
}

/// Opens drives with segments of this size.
pub(crate) fn open_sized(drives: &[FaultyDrive], bytes: u64) -> Result<Arc<LocalEngine>, OpenError> {
    let given = drives.iter().map(FaultyDrive::given).collect();
    let tuning = Tuning { segment_bytes: Some(bytes), ..Tuning::default() };
    LocalEngine::open_tuned(given, None, Arc::new(SystemClock), tuning)
}

pub(crate) fn numbers(drive: &FaultyDrive) -> Vec<u32> {
    let files = drive.files().into_iter();
    files.filter_map(|(name, _)| name.strip_prefix("log/")?.strip_suffix(".seg")?.parse().ok()).collect()
}

/// Bytes of the journal's files on a drive.
fn journal_bytes(drive: &FaultyDrive) -> u64 {
    drive.files().into_iter().filter(|(name, _)| name.starts_with("log/")).map(|(_, size)| size).sum()
}

async fn delete(engine: &LocalEngine, key: &str) {
    let delete = Mutation::Delete(Bytes::copy_from_slice(key.as_bytes()));
    engine.commit(SET, Batch { mutations: vec![delete], ..Batch::default() }).await.unwrap();
}

/// Puts without changes, which would be kept.
pub(crate) async fn put_quietly(engine: &LocalEngine, key: &str, payload: Bytes) {
    let batch = put_batch(key, payload);
    engine.commit(SET, Batch { changes: Vec::new(), ..batch }).await.unwrap();
}

/// Rule 8. After compaction with deletes and overwrites the index is built of the journal alone, in whatever order its
/// segments are read: nothing that was deleted is there again, and nothing that was overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_built_of_a_compacted_journal_has_what_was_written_last_and_nothing_that_was_deleted() {
    let mut drives = FaultyDrive::machine(4, &Power::steady());
    let mut expected = std::collections::BTreeMap::new();
    for round in 0..3 {
        let engine = open_small(&drives).unwrap();
        for number in 0..60 {
            let key = format!("{}", (number * 7 + round) % 40);
            put_quietly(&engine, &key, body(60_000, number + round)).await;
            expected.insert(key, body(60_000, number + round));
            if number % 3 == 0 {
                let gone = format!("{}", (number * 5 + round) % 40);
                delete(&engine, &gone).await;
                expected.remove(&gone);
            }
        }
        wait_until(|| !numbers(&drives[0]).contains(&0)).await;
        if round == 1 {
            engine.shutdown().await;
        }
        drop(engine);
        drives = restarted(&drives);
    }
    for graves_bytes in [None, Some(200)] {
        let engine = open_remembering(&drives, graves_bytes);
        let page = engine.scan(SET, KeyRange::prefix(b""), 1000).await.unwrap();
        let keys: Vec<&[u8]> = page.iter().map(|(key, _)| &key[..]).collect();
        assert_eq!(keys, expected.keys().map(String::as_bytes).collect::<Vec<_>>());
        for (key, expected) in &expected {
            assert!(get(&engine, key).await == Ok(Some(expected.clone())), "{key}");
        }
        assert!(engine.report().writable);
        drop(engine);
        drives = restarted(&drives);
    }
}

/// Opens drives with memory for so many bytes of deletes while the index is built, or for all.
fn open_remembering(drives: &[FaultyDrive], graves_bytes: Option<usize>) -> Arc<LocalEngine> {
    let given = drives.iter().map(FaultyDrive::given).collect();
    let tuning = Tuning { segment_bytes: Some(SMALL_BYTES), graves_bytes, ..Tuning::default() };
    LocalEngine::open_tuned(given, None, Arc::new(SystemClock), tuning).unwrap()
}

/// Rule 8. The journal is read several times where memory holds three deletes at a time: what one commit removed and
/// wrote again is there, in whichever of the passes.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_built_in_several_passes_has_what_a_commit_removed_and_wrote_at_once() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_small(&drives).unwrap();
    for number in 0..40 {
        put_quietly(&engine, &format!("p/{number:02}"), body(60_000, number)).await;
    }
    for number in 0..40 {
        delete(&engine, &format!("p/{number:02}")).await;
    }
    let key = |number: usize| Bytes::from(format!("p/{number:02}"));
    let put = |number| Put { key: key(number), payload: body(100, number), ..Put::default() };
    let mut mutations = vec![Mutation::DeletePrefix(Bytes::from_static(b"p/"))];
    mutations.extend((0..40).step_by(5).map(|number| Mutation::Put(put(number))));
    engine.commit(SET, Batch { mutations, ..Batch::default() }).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    let engine = open_remembering(&restarted(&drives), Some(200));
    let page = engine.scan(SET, KeyRange::prefix(b""), 1000).await.unwrap();
    let expected: Vec<Bytes> = (0..40).step_by(5).map(key).collect();
    assert_eq!(page.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), expected);
}

/// Rule 8. A delete outlives its segment while an older one holds the put that it hides: built of the journal alone,
/// the index does not have it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_is_copied_while_an_older_segment_holds_what_it_hides() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_small(&drives).unwrap();
    put_quietly(&engine, "hidden/key", body(50_000, 1)).await;
    put_quietly(&engine, "hidden", body(50_000, 2)).await;
    let mut lives = 0;
    while numbers(&drives[0]).iter().max() < Some(&2) {
        put_quietly(&engine, &format!("lives/{lives}"), body(100_000, lives)).await;
        lives += 1;
    }
    delete(&engine, "hidden").await;
    let prefix = Mutation::DeletePrefix(Bytes::from_static(b"hidden/"));
    engine.commit(SET, Batch { mutations: vec![prefix], ..Batch::default() }).await.unwrap();
    for number in 0..60 {
        put_quietly(&engine, "dies", body(100_000, number)).await;
    }
    // The deletes lie in one of these, in which nothing else lives.
    wait_until(|| [1, 2].iter().any(|number| !numbers(&drives[0]).contains(number))).await;
    wait_until(|| has_copies(&drives[0])).await;
    assert!(numbers(&drives[0]).contains(&0), "the put is gone, and with it what this is about");
    drop(engine);
    let engine = open_small(&restarted(&drives)).unwrap();
    for key in ["hidden", "hidden/key"] {
        assert_eq!(get(&engine, key).await, Ok(None), "{key}");
    }
}

/// Deleted space comes back: the files of the journal shrink to what is left.
#[tokio::test(flavor = "multi_thread")]
async fn the_space_of_what_was_deleted_is_given_back() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_small(&drives).unwrap();
    for number in 0..120 {
        put_quietly(&engine, &format!("{number}"), body(100_000, number)).await;
    }
    let full = journal_bytes(&drives[0]);
    for number in 0..110 {
        delete(&engine, &format!("{number}")).await;
    }
    wait_until(|| drives.iter().all(|drive| journal_bytes(drive) < full / 3)).await;
    for number in 110..120 {
        assert!(get(&engine, &format!("{number}")).await == Ok(Some(body(100_000, number))));
    }
}

/// A change that names targets.
fn told_to(target: &str, key: &str) -> Change {
    Change { targets: vec![target.into()], ..change(key) }
}

/// Rule 11. Beyond what is kept for everybody, a change is kept for its targets, through compaction and restarts, until
/// all have acknowledged it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_kept_for_a_slow_target_and_for_nobody_else_until_it_is_released() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let open = |drives: &[FaultyDrive]| {
        let given = drives.iter().map(FaultyDrive::given).collect();
        let tuning = Tuning {
            segment_bytes: Some(SMALL_BYTES),
            retention: Retention { age: None, bytes: Some(500) },
            ..Tuning::default()
        };
        LocalEngine::open_tuned(given, None, Arc::new(SystemClock), tuning).unwrap()
    };
    let engine = open(&drives);
    let mut slow = Vec::new();
    for number in 0..100 {
        let key = format!("{number}");
        let (change, payload) = if number % 10 == 0 {
            slow.push(key.clone());
            (told_to("1:kafka", &key), body(100, number))
        } else {
            (change(&key), body(100_000, number))
        };
        let batch = Batch { changes: vec![change], ..put_batch("same", payload) };
        engine.commit(SET, batch).await.unwrap();
    }
    wait_until(|| !numbers(&drives[0]).contains(&0)).await;
    engine.shutdown().await;
    drop(engine);
    let drives = restarted(&drives);
    let engine = open(&drives);
    let kept = told(&engine).await;
    let gone = ["1", "2"].iter().all(|key| !kept.iter().any(|kept| kept == key));
    assert!(gone && slow.iter().all(|key| kept.contains(key)), "{kept:?}");
    let after = engine.changes(SET, engine.partitions()[0].kept_after, 1000).await.unwrap();
    let numbers: Vec<usize> = after.iter().map(|change| change.key.parse().unwrap()).collect();
    assert_eq!(numbers, (100 - numbers.len()..100).collect::<Vec<_>>(), "a hole where every change is kept");
    assert!((1..100).contains(&numbers.len()), "{numbers:?}");

    let cursor = Put { key: Bytes::from_static(b"cursor"), ..Put::default() };
    let moved = Batch {
        mutations: vec![Mutation::Put(cursor)],
        released: Some(Sequence(u64::MAX)),
        ..Batch::default()
    };
    engine.commit(SET, moved).await.unwrap();
    for number in 0..30 {
        put(&engine, "same", body(100_000, number)).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while told(&engine).await.iter().any(|key| key == "0" || key == "50") {
        assert!(Instant::now() < deadline, "{:?}", told(&engine).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Rule 11. Every change is told after compaction, in order and once, whatever became of its object.
#[tokio::test(flavor = "multi_thread")]
async fn changes_survive_compaction_whole_in_order_and_once() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_small(&drives).unwrap();
    let keys: Vec<String> = (0..100).map(|number| format!("{}", number % 9)).collect();
    for (number, key) in keys.iter().enumerate() {
        put(&engine, key, body(100_000, number)).await.unwrap();
    }
    wait_until(|| !numbers(&drives[0]).contains(&0)).await;
    assert_eq!(told(&engine).await, keys);
    drop(engine);
    let engine = open_small(&restarted(&drives)).unwrap();
    assert_eq!(told(&engine).await, keys);
}

/// Rule 10. With a drive out nothing is copied: a copy would be whole on fewer drives than its original. What is all
/// dead goes all the same.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_drive_out_segments_that_live_in_part_stay_and_dead_ones_go() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_small(&drives).unwrap();
    put_quietly(&engine, "lives", body(10_000, 1)).await;
    drives[3].refuse_writes(Some(std::io::ErrorKind::Other));
    for number in 0..60 {
        put_quietly(&engine, "dies", body(100_000, number)).await;
    }
    wait_until(|| !numbers(&drives[0]).contains(&1)).await;
    assert_eq!(offline(&engine), ["d4"]);
    assert!(numbers(&drives[0]).contains(&0));
    assert!(get(&engine, "lives").await == Ok(Some(body(10_000, 1))));
}

/// Whether compaction wrote copies to a drive: frames of that kind, as tabled in `docs/formats.md`.
pub(crate) fn has_copies(drive: &FaultyDrive) -> bool {
    numbers(drive).into_iter().any(|number| {
        let bytes = drive.bytes(&format!("log/{number:08}.seg"));
        bytes.chunks(4096).any(|block| block.starts_with(b"TIDINGSB") && block[24] == 3)
    })
}

/// Rule 10. A segment of which everything that lives was copied stays while a voter lacks the copies, though enough
/// others have them: without it a loss of two of those would be one too many.
#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_not_retired_before_every_voter_holds_what_was_copied_of_it() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = open_small(&drives).unwrap();
    engine.set_patience(Patience { frame: Duration::from_secs(60), ..Patience::DEFAULT });
    for number in 0..15 {
        put_quietly(&engine, &format!("{number}"), body(100_000, number)).await;
    }
    crate::support::all_written(&drives).await;
    drives[3].gate_frames(true);
    for number in 0..15 {
        if number != 3 {
            delete(&engine, &format!("{number}")).await;
        }
    }
    // Another segment is begun, so that a manifest is due.
    for number in 0..15 {
        put_quietly(&engine, "overwritten", body(100_000, number)).await;
    }
    wait_until(|| drives[..3].iter().all(has_copies)).await;
    for number in 0..100 {
        put_quietly(&engine, "small", body(100, number)).await;
        let has_it = drives.iter().all(|drive| numbers(drive).contains(&0));
        assert!(has_it, "after {number} more commits {:?} {:?}", offline(&engine), numbers(&drives[0]));
    }
    assert_eq!(offline(&engine), Vec::<String>::new());

    drives[3].gate_frames(false);
    wait_until(|| drives.iter().all(|drive| !numbers(drive).contains(&0))).await;
    assert!(has_copies(&drives[3]));
    drop(engine);
    let drives = restarted(&drives);
    let engine = crate::support::open(&drives, &[0, 3]).unwrap();
    assert!(get(&engine, "3").await == Ok(Some(body(100_000, 3))));
}

/// Rule 10. With a drive out what lives is copied when space is short, and not before, and every object counts as short
/// until the drive is back and has its part of the copies too.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_drive_out_compaction_goes_on_when_space_is_short_and_everything_counts_as_short() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    drives.iter().for_each(|drive| drive.limit(18 * SMALL_BYTES));
    let engine = open_small(&drives).unwrap();
    put_quietly(&engine, "lives", body(100_000, 99)).await;
    drives[3].refuse_writes(Some(std::io::ErrorKind::Other));
    put_quietly(&engine, "dies", body(100_000, 0)).await;
    wait_until(|| offline(&engine) == ["d4"]).await;
    // Half of what each segment holds lives on: without copies space would run out.
    for number in 0..400 {
        let key = if number % 2 == 0 { format!("{}", number % 160) } else { "dies".into() };
        let batch = put_batch(&key, body(100_000, number));
        engine.commit(SET, Batch { changes: Vec::new(), ..batch }).await.unwrap();
    }
    assert!(has_copies(&drives[0]) && !has_copies(&drives[3]));
    let report = engine.heal_report();
    assert_eq!((report.objects_short, report.objects), (82, 82));
    assert!(get(&engine, "lives").await == Ok(Some(body(100_000, 99))));
}

/// Rule 14. Drives that fill up refuse puts before the last segment is written, take deletes, and take puts again in
/// the space of what was deleted, without anybody's help.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_full_takes_deletes_and_then_puts_in_the_space_they_gave_back() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    for drive in &drives {
        drive.limit(24 * SMALL_BYTES);
    }
    let engine = open_small(&drives).unwrap();
    let mut count = 0;
    let refused = loop {
        let batch = put_batch(&format!("{count}"), body(100_000, count));
        match engine.commit(SET, Batch { changes: Vec::new(), ..batch }).await {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 1000, "the drives never filled");
    };
    assert_eq!(refused, EngineError::Full);
    // Two thirds of what there is room for, at the least.
    assert!(count > 24 * 20 * 2 / 3, "{count}");
    for number in (0..count).step_by(2) {
        delete(&engine, &format!("{number}")).await;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    for again in 0..count / 4 {
        let batch = put_batch(&format!("again/{again}"), body(100_000, again));
        while let Err(error) = engine.commit(SET, Batch { changes: Vec::new(), ..batch.clone() }).await {
            assert_eq!(error, EngineError::Full);
            let held = || drives.iter().map(numbers).collect::<Vec<_>>();
            assert!(Instant::now() < deadline, "no space came back after {again}: {:?}", held());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for number in (1..count).step_by(2) {
        assert!(get(&engine, &format!("{number}")).await == Ok(Some(body(100_000, number))), "{number}");
    }
    assert_eq!(offline(&engine), Vec::<String>::new());
    assert!(engine.report().writable);
}

/// Rule 23. Objects that were written one by one, each in a frame of its own, are packed anew when the set is at rest.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_small_objects_take_at_most_64_mib_when_the_set_is_at_rest() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let given = drives.iter().map(FaultyDrive::given).collect();
    let engine = LocalEngine::open_on(given, None, Arc::new(SystemClock)).unwrap();
    for number in 0..10_000 {
        let batch = put_batch(&format!("{number:05}"), body(1024, number));
        engine.commit(SET, batch).await.unwrap();
    }
    let allocated = || drives.iter().map(journal_bytes).sum::<u64>() >> 20;
    wait_until(|| allocated() <= 64).await;
    let page = engine.scan(SET, KeyRange::prefix(b""), 20_000).await.unwrap();
    assert_eq!((page.len(), told(&engine).await.len()), (10_000, 10_000));
    for number in (0..10_000).step_by(997) {
        assert!(get(&engine, &format!("{number:05}")).await == Ok(Some(body(1024, number))));
    }
}

/// Bytes of a drive's segments that frames take, and those that they would have to take if all were needed: a frame
/// that a segment names and that ends in it, one after the other.
fn framed_bytes(drive: &FaultyDrive) -> u64 {
    let framed = numbers(drive).into_iter().map(|number| {
        let bytes = drive.bytes(&format!("log/{number:08}.seg"));
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut offset = 4096;
        while offset < bytes.len()
            && &bytes[offset..offset + 8] == b"TIDINGSB"
            && short(offset + 28) == number
        {
            offset += short(offset + 40) as usize;
        }
        offset as u64 - 4096
    });
    framed.sum()
}

/// Rule 23. The same objects overwritten again and again, in batches of every filling: when the set is at rest, what
/// lives takes little more than it has to, and what is allocated not much more than that.
#[tokio::test(flavor = "multi_thread")]
async fn what_lives_after_a_churn_takes_at_most_40_mib_of_the_drives_and_64_mib_are_allocated() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let given = drives.iter().map(FaultyDrive::given).collect();
    let engine = LocalEngine::open_on(given, None, Arc::new(SystemClock)).unwrap();
    let mut luck = 1_u64;
    let mut last = vec![0; 10_000];
    for round in 0..3_000 {
        let mutations = (0..1 + round % 20).map(|_| {
            luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // All of them once, then the lower ones the more often.
            let share = (luck >> 33) as usize % 10_000;
            let number =
                if round < 1_000 { round * 10 % 10_000 + share % 10 } else { share * share / 10_000 };
            last[number] = round;
            let key = Bytes::from(format!("{number:05}"));
            Mutation::Put(Put { key, payload: body(1024, round), ..Put::default() })
        });
        let mutations = mutations.collect();
        engine.commit(SET, Batch { mutations, ..Batch::default() }).await.unwrap();
    }
    let live = engine.scan(SET, KeyRange::prefix(b""), 20_000).await.unwrap().len();
    let framed = || drives.iter().map(framed_bytes).sum::<u64>() >> 20;
    let allocated = || drives.iter().map(journal_bytes).sum::<u64>() >> 20;
    // Looking costs a copy of the journal: not as often as elsewhere, and for longer.
    let deadline = Instant::now() + Duration::from_secs(60);
    while allocated() > 64 || framed() > 40 {
        assert!(Instant::now() < deadline, "{} MiB of frames, {} MiB allocated", framed(), allocated());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(live > 6_000, "{live} objects live");
    for number in (0..10_000).step_by(97) {
        let found = get(&engine, &format!("{number:05}")).await.unwrap();
        assert!(found.is_none_or(|found| found == body(1024, last[number])), "{number}");
    }
}
