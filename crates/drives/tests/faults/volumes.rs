//! Bodies in volumes: each has its extent to itself while a key names it, whatever comes and goes beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{Batch, Engine, Mutation, Put, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine};

use crate::support::{
    SET, always_scrubbing, body, change, fill_volumes, is_in_volume, offline, open, read, restarted, stage,
    wait_until,
};

const FIRST: &str = "volume/00000000.vol";

fn opened(drives: &[FaultyDrive], healing: Healing) -> Arc<LocalEngine> {
    let given = drives.iter().map(FaultyDrive::given).collect();
    LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap()
}

/// Takes stock as soon as it is wanted, and looks for drives that are out.
fn eager(drives: &[FaultyDrive]) -> Arc<LocalEngine> {
    opened(drives, Healing { look_every: Duration::from_millis(1), ..Healing::default() })
}

async fn commit(engine: &LocalEngine, key: &str, mutations: Vec<Mutation>) {
    let batch = Batch { mutations, changes: vec![change(key)], ..Batch::default() };
    for location in engine.commit(SET, batch).await.unwrap().unnamed {
        engine.reclaim(location).await.unwrap();
    }
}

/// Puts a body; whether it lies in a volume.
async fn put_body(engine: &LocalEngine, key: &str, bytes: &Bytes) -> bool {
    let location = stage(engine, bytes).await.unwrap();
    let in_volume = is_in_volume(&location);
    let put = Put { key: key.to_owned().into(), locations: vec![location], ..Put::default() };
    commit(engine, key, vec![Mutation::Put(put)]).await;
    in_volume
}

async fn delete(engine: &LocalEngine, key: &str) {
    commit(engine, key, vec![Mutation::Delete(key.to_owned().into())]).await;
}

/// Lets another key name the body, in one commit.
async fn rename(engine: &LocalEngine, from: &str, to: &str) {
    let entry = engine.get(SET, from.as_bytes()).await.unwrap().unwrap();
    let put = Put { key: to.to_owned().into(), locations: entry.locations, ..Put::default() };
    commit(engine, to, vec![Mutation::Delete(from.to_owned().into()), Mutation::Put(put)]).await;
}

async fn body_of(engine: &LocalEngine, key: &str, size: usize) -> Bytes {
    let entry = engine.get(SET, key.as_bytes()).await.unwrap().unwrap();
    read(engine, &entry.locations[0], size as u64).await.unwrap()
}

async fn check(engine: &LocalEngine, named: &BTreeMap<String, Bytes>, what: &str) {
    for (key, bytes) in named {
        assert!(body_of(engine, key, bytes.len()).await == bytes, "{key}, {what}");
    }
}

fn is_in_files(drive: &FaultyDrive) -> bool {
    drive.files().iter().any(|(name, _)| name.starts_with("shard/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn medium_bodies_lie_in_a_volume_on_every_drive_and_any_two_drives_give_them_back() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = eager(&drives);
    fill_volumes(&engine).await;
    wait_until(|| drives.iter().all(|drive| !is_in_files(drive))).await;
    let mut named = BTreeMap::new();
    for (seed, size) in [131_073, 262_144, 300_001, 1 << 20].into_iter().enumerate() {
        let bytes = body(size, seed);
        assert!(put_body(&engine, &size.to_string(), &bytes).await, "{size}");
        named.insert(size.to_string(), bytes);
    }
    assert!(!put_body(&engine, "large", &body((1 << 20) + 1, 9)).await);
    check(&engine, &named, "at once").await;
    engine.shutdown().await;
    drop(engine);
    for pair in [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]] {
        let engine = open(&restarted(&drives), &pair).unwrap();
        check(&engine, &named, &format!("from {pair:?}")).await;
    }
}

/// A history drawn by a seed: bodies come, go and move from key to key, between restarts after which nobody knows what
/// is free before the index was gone through, which is beside all this.
#[tokio::test(flavor = "multi_thread")]
async fn no_body_ever_lies_where_another_one_does() {
    for seed in 1..=3_u64 {
        let mut luck = seed;
        let mut draw = |below: u64| {
            luck = luck.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            (luck >> 33) % below
        };
        let mut drives = FaultyDrive::machine(4, &Power::steady());
        let mut named: BTreeMap<String, Bytes> = BTreeMap::new();
        let mut in_volumes = 0;
        for life in 0..5 {
            let engine = eager(&drives);
            for number in 0..40 {
                let key = format!("key{}", draw(12));
                match draw(5) {
                    0 if named.remove(&key).is_some() => delete(&engine, &key).await,
                    1 if named.contains_key(&key) => {
                        let to = format!("moved{}", draw(12));
                        rename(&engine, &key, &to).await;
                        let bytes = named.remove(&key).unwrap();
                        named.insert(to, bytes);
                    }
                    _ => {
                        let bytes = body(140_000 + draw(800_000) as usize, number + 100 * life);
                        in_volumes += usize::from(put_body(&engine, &key, &bytes).await);
                        named.insert(key, bytes);
                    }
                }
            }
            let what = format!("seed {seed}, life {life}");
            check(&engine, &named, &what).await;
            let is_sealed = life % 2 == 0;
            if is_sealed {
                engine.shutdown().await;
            }
            drop(engine);
            drives = restarted(&drives);
            let pair = [draw(2) as usize, 2 + draw(2) as usize];
            if is_sealed {
                check(&open(&restarted(&drives), &pair).unwrap(), &named, &what).await;
            }
        }
        assert!(in_volumes > 50, "{in_volumes} bodies in volumes with seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extent_is_used_again_when_its_body_is_gone_but_not_while_that_is_read() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = eager(&drives);
    fill_volumes(&engine).await;
    let first = body(300_000, 1);
    put_body(&engine, "first", &first).await;
    let location = engine.get(SET, b"first").await.unwrap().unwrap().locations[0].clone();
    let reading = engine.read(&location, 0..300_000).await.unwrap();
    delete(&engine, "first").await;

    let beside = stage(&engine, &body(300_000, 2)).await.unwrap();
    assert_ne!(beside.0[29..], location.0[29..]);
    let read: Vec<Bytes> = futures_util::TryStreamExt::try_collect(reading).await.unwrap();
    assert_eq!(read.concat(), first);

    let after = stage(&engine, &body(300_000, 3)).await.unwrap();
    assert_eq!(after.0[29..], location.0[29..]);
    // Who looked its place up before it went is told so, and never given another body.
    let gone = engine.read(&location, 0..300_000).await.err();
    assert_eq!(gone, Some(store::EngineError::NoSuchLocation { location }));
}

/// Rule 9. After a start nobody knows what is free; a body that went while it is read is not, when stock is taken.
#[tokio::test(flavor = "multi_thread")]
async fn an_extent_whose_body_went_before_stock_was_taken_is_not_given_away_while_that_is_read() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = eager(&drives);
    fill_volumes(&engine).await;
    let first = body(300_000, 1);
    assert!(put_body(&engine, "first", &first).await);
    engine.shutdown().await;
    drop(engine);
    let engine = eager(&restarted(&drives));
    let location = engine.get(SET, b"first").await.unwrap().unwrap().locations[0].clone();
    let reading = engine.read(&location, 0..300_000).await.unwrap();
    delete(&engine, "first").await;

    let in_volume = async |seed| loop {
        let staged = stage(&engine, &body(300_000, seed)).await.unwrap();
        if is_in_volume(&staged) {
            return staged;
        }
        engine.reclaim(staged).await.unwrap();
    };
    assert_ne!(in_volume(2).await.0[29..], location.0[29..]);
    drop(reading);
    assert_eq!(in_volume(3).await.0[29..], location.0[29..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_in_a_volume_is_served_from_parity_and_written_anew_where_it_lies() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = opened(&drives, always_scrubbing(Duration::from_millis(2)));
    fill_volumes(&engine).await;
    let mut named = BTreeMap::new();
    for seed in 0..4 {
        let bytes = body(400_000, seed);
        assert!(put_body(&engine, &format!("key{seed}"), &bytes).await);
        named.insert(format!("key{seed}"), bytes);
    }
    let whole: Vec<Vec<u8>> = drives.iter().map(|drive| drive.bytes(FIRST)).collect();
    for drive in &drives[1..3] {
        for offset in (5_000..800_000).step_by(30_000) {
            drive.damage(FIRST, offset, &[0x5a; 600]);
        }
    }
    check(&engine, &named, "damaged").await;
    let is_as_before =
        |(drive, whole): (&FaultyDrive, &Vec<u8>)| drive.bytes(FIRST)[..800_000] == whole[..800_000];
    wait_until(|| drives.iter().zip(&whole).all(is_as_before)).await;
    assert_eq!(offline(&engine), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_gone_from_a_drive_is_made_again_with_all_that_lay_in_it() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = eager(&drives);
    fill_volumes(&engine).await;
    let bytes = body(700_000, 5);
    put_body(&engine, "key", &bytes).await;
    engine.shutdown().await;
    drop(engine);
    let drives = restarted(&drives);
    let whole = drives[3].bytes(FIRST);
    drives[3].remove(FIRST);
    // No read asks for it, and no scrub: the census misses it.
    let healing = Healing { scrub_bytes_per_second_min: 1, ..always_scrubbing(Duration::from_millis(2)) };
    let engine = opened(&drives, Healing { scrub_within: Duration::from_secs(1 << 30), ..healing });
    wait_until(|| drives[3].bytes(FIRST).get(..400_000) == whole.get(..400_000)).await;
    drop(engine);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_was_away_gets_what_others_put_where_its_own_old_bodies_lie() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    let engine = eager(&drives);
    fill_volumes(&engine).await;
    put_body(&engine, "old", &body(600_000, 1)).await;
    drives[3].take_away();
    wait_until(|| offline(&engine) == ["d4"]).await;
    delete(&engine, "old").await;
    let bytes = body(600_000, 2);
    assert!(put_body(&engine, "new", &bytes).await);
    drives[3].bring_back();
    wait_until(|| offline(&engine).is_empty()).await;
    engine.shutdown().await;
    drop(engine);
    let engine = open(&restarted(&drives), &[0, 3]).unwrap();
    assert_eq!(body_of(&engine, "new", 600_000).await, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_space_is_short_no_volume_takes_some_and_bodies_are_files() {
    let drives = FaultyDrive::machine(4, &Power::steady());
    drives[1].limit(48 << 20);
    let engine = eager(&drives);
    for number in 0..200 {
        let bytes = body(140_000, number);
        assert!(!put_body(&engine, "key", &bytes).await);
        assert_eq!(body_of(&engine, "key", 140_000).await, bytes);
    }
    let is_volume = |(name, _): &(String, u64)| name.starts_with("volume/");
    assert!(drives.iter().all(|drive| !drive.files().iter().any(is_volume)));
    assert_eq!(offline(&engine), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn space_of_bodies_that_are_gone_is_there_for_everything_else_when_it_is_short() {
    const CAPACITY: u64 = 128 << 20;
    let mut drives = FaultyDrive::machine(4, &Power::steady());
    drives.iter().for_each(|drive| drive.limit(CAPACITY));
    let engine = eager(&drives);
    fill_volumes(&engine).await;
    let mut in_volumes = 0;
    for number in 0..150 {
        in_volumes += usize::from(put_body(&engine, &number.to_string(), &body(900_000, number)).await);
    }
    assert!(in_volumes > 75, "{in_volumes} of 150 bodies in volumes");
    let free_bytes = |engine: &LocalEngine| engine.partitions()[0].free_bytes / 4;
    wait_until(|| free_bytes(&engine) < CAPACITY / 2).await;
    let delete_all = async |engine: &LocalEngine, numbers: std::ops::Range<usize>| {
        for number in numbers {
            delete(engine, &number.to_string()).await;
        }
    };
    delete_all(&engine, 0..20).await;
    engine.shutdown().await;
    drop(engine);
    // A start does not know what is free, and nobody asks it for a place.
    drives = restarted(&drives);
    drives.iter().for_each(|drive| drive.limit(CAPACITY));
    let engine = eager(&drives);
    delete_all(&engine, 20..150).await;
    wait_until(|| free_bytes(&engine) > CAPACITY * 5 / 8).await;
    // And bodies find a place there again.
    fill_volumes(&engine).await;
    assert!(put_body(&engine, "after", &body(900_000, 1)).await);
    assert_eq!(body_of(&engine, "after", 900_000).await, body(900_000, 1));
}
