//! Healing, scrubbing and compaction at once, over drives that do everything at once: one flips bits, one fails its
//! reads, and one fails its writes, vanishes, or is emptied; the next round it is others, and now and then the machine
//! loses its power.
//!
//! Meanwhile clients overwrite, remove and read. What they read is what they wrote. Between two rounds everything is
//! healed; in the end a verification finds every copy whole, and any three of six drives hold everything.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Batch, Engine, EngineError, Location, Mutation, Put, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{LocalEngine, Tuning, verify_drives};

use crate::support::{
    SET, always_scrubbing, body, change, given, offline, read, restarted, stage, told, wait_until_or,
};

const DRIVES: usize = 6;

const ROUNDS: usize = 6;

/// Changes of a round.
const DEEDS: usize = 120;

const KEYS: usize = 40;

/// Sealed after a few frames.
const SEGMENT_BYTES: u64 = 256 << 10;

/// A memtable of some sixty keys and changes; without copies of the index it grows.
const MEMTABLE_BYTES: usize = 10_000;

/// A body of this size or more lies in shards.
const LARGE_BYTES: usize = 150_000;

/// Numbers by a seed.
struct Luck(u64);

impl Luck {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// What a key has: the size and seed of its body.
type State = BTreeMap<String, (usize, usize)>;

/// The set, and what it must hold.
struct Storm {
    power: Arc<Power>,
    drives: Vec<FaultyDrive>,
    engine: Arc<LocalEngine>,
    state: State,
    deeds: usize,
    luck: Luck,
}

fn open(drives: &[FaultyDrive], present: &[usize]) -> Arc<LocalEngine> {
    let healing = always_scrubbing(Duration::from_millis(2));
    let tuning = Tuning {
        segment_bytes: Some(SEGMENT_BYTES),
        memtable_bytes: Some(MEMTABLE_BYTES),
        healing,
        ..Tuning::default()
    };
    LocalEngine::open_tuned(given(drives, present), None, Arc::new(SystemClock), tuning).unwrap()
}

const ALL: [usize; DRIVES] = [0, 1, 2, 3, 4, 5];

impl Storm {
    /// Overwrites or removes a key, again and again until it is acknowledged, and reads another one.
    async fn change(&mut self) {
        let key = format!("{}", self.luck.below(KEYS));
        self.deeds += 1;
        let size = match self.luck.below(8) {
            0 => LARGE_BYTES + self.luck.below(100_000),
            1..=6 => self.luck.below(60_000),
            _ => {
                self.until_acknowledged(async || self.commit(Mutation::Delete(key.clone().into())).await)
                    .await;
                self.state.remove(&key);
                return;
            }
        };
        let bytes = body(size, self.deeds);
        self.until_acknowledged(async || self.put(&key, &bytes).await).await;
        self.state.insert(key, (size, self.deeds));
        let other = format!("{}", self.luck.below(KEYS));
        look(&self.engine, &other, self.state.get(&other)).await;
    }

    /// Does it until it succeeds, for at most a minute.
    async fn until_acknowledged(&self, deed: impl AsyncFn() -> Result<(), EngineError>) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = deed().await {
            assert!(
                Instant::now() < deadline,
                "{error}, and the drives are {:#?}",
                self.engine.report().drives
            );
            tokio::task::yield_now().await;
        }
    }

    /// Puts a body, staged anew each time: of one whose drives went out before the commit, none takes it any more.
    async fn put(&self, key: &str, bytes: &Bytes) -> Result<(), EngineError> {
        let mut put = Put { key: Bytes::copy_from_slice(key.as_bytes()), ..Put::default() };
        if bytes.len() < LARGE_BYTES {
            put.payload = bytes.clone();
        } else {
            put.locations.push(stage(&self.engine, bytes).await?);
        }
        let staged = put.locations.clone();
        let committed = self.commit(Mutation::Put(put)).await;
        if let Err(EngineError::WriteQuorum { .. }) = &committed {
            self.reclaim(staged).await;
        }
        committed
    }

    async fn commit(&self, mutation: Mutation) -> Result<(), EngineError> {
        let changes = vec![change(&self.deeds.to_string())];
        let batch = Batch { mutations: vec![mutation], changes, ..Batch::default() };
        let committed = self.engine.commit(SET, batch).await?;
        self.reclaim(committed.unnamed).await;
        Ok(())
    }

    async fn reclaim(&self, unnamed: Vec<Location>) {
        for location in unnamed {
            self.engine.reclaim(location).await.unwrap();
        }
    }

    /// Flips bits of what lies on a drive.
    fn flip(&mut self, position: usize) {
        let drive = &self.drives[position];
        let files: Vec<(String, u64)> = drive
            .files()
            .into_iter()
            .filter(|(name, size)| *size > 0 && (name.ends_with(".seg") || name.starts_with("shard/")))
            .collect();
        for _ in 0..6 {
            let (name, _) = &files[self.luck.below(files.len())];
            let bytes = drive.bytes(name);
            // A segment is mostly zeroes, which say nothing.
            let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            let at = self.luck.below(written + 1);
            if !bytes.is_empty() {
                drive.damage(name, at as u64, &[bytes[at] ^ 1 << self.luck.below(8)]);
            }
        }
    }

    async fn round(&mut self, nth: usize) {
        let first = self.luck.below(DRIVES);
        let [flipping, blind, gone] = [0, 1, 2].map(|offset| (first + offset * (1 + nth % 2)) % DRIVES);
        self.drives[blind].refuse_reads(Some(ErrorKind::Other));
        match nth % 3 {
            0 => self.drives[gone].refuse_writes(Some(ErrorKind::Other)),
            1 => self.drives[gone].take_away(),
            _ => self.drives[gone].blank_out(),
        }
        for deed in 0..DEEDS {
            if deed % 30 == 10 {
                self.flip(flipping);
            }
            self.change().await;
        }
        self.drives[blind].refuse_reads(None);
        self.drives[gone].refuse_writes(None);
        self.drives[gone].bring_back();
        if nth % 3 == 2 {
            self.lose_power();
        }
    }

    /// What was not synced is gone, and the set is opened again.
    fn lose_power(&mut self) {
        self.power.cut();
        self.power = Power::steady();
        self.drives = self.drives.iter().map(|drive| drive.restarted(&self.power)).collect();
        self.engine = open(&self.drives, &ALL);
    }

    /// Waits until nothing is short, and all that was flipped was found.
    async fn healed(&self) {
        let engine = &self.engine;
        self.wait("all drives take part and nothing is short", || {
            offline(engine).is_empty() && engine.heal_report().objects_short == 0
        })
        .await;
        let before = engine.heal_report().scrubs;
        self.wait("everything was scrubbed", || engine.heal_report().scrubs >= before + 2).await;
        self.wait("what was damaged is repaired", || engine.damages().counts().unsettled == 0).await;
        let report = engine.heal_report();
        assert_eq!(report.lost, 0, "{:?}", report.lost_names);
    }

    /// Waits until something holds, at most a minute.
    async fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        wait_until_or(holds, || format!("it is not so that {what}: {:#?}", self.engine.report())).await;
    }

    /// Whether segments at the beginning were retired, and what lived in them was copied.
    fn is_compacted(&self) -> bool {
        crate::space::numbers(&self.drives[0])[0] > 3 && self.drives.iter().any(crate::space::has_copies)
    }

    async fn check(&self, engine: &LocalEngine) {
        for number in 0..KEYS {
            let key = format!("{number}");
            look(engine, &key, self.state.get(&key)).await;
        }
        let told: Vec<usize> = told(engine).await.iter().map(|number| number.parse().unwrap()).collect();
        for deed in 1..=self.deeds {
            assert!(told.contains(&deed), "change {deed} is not told");
        }
    }
}

/// Holds a key against what it must have.
async fn look(engine: &LocalEngine, key: &str, expected: Option<&(usize, usize)>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let entry = loop {
        match engine.get(SET, key.as_bytes()).await {
            Ok(entry) => break entry,
            // Both copies of the index are gone, and it is made anew from the journal.
            Err(EngineError::ReadQuorum { .. }) if Instant::now() < deadline => {
                tokio::task::yield_now().await
            }
            Err(error) => panic!("{key}: {error}"),
        }
    };
    let found = match entry {
        Some(entry) => match entry.locations.first() {
            Some(location) => {
                let size = expected.map_or(0, |(size, _)| *size);
                Some(
                    read(engine, location, size as u64)
                        .await
                        .unwrap_or_else(|error| panic!("{key}: {error}")),
                )
            }
            None => Some(entry.payload),
        },
        None => None,
    };
    let is_it = found == expected.map(|(size, seed)| body(*size, *seed));
    assert!(
        is_it,
        "{key}: {expected:?} is expected, and {:?} bytes are there",
        found.map(|found| found.len())
    );
}

/// Ends when all is whole again.
async fn rage(keeps_indexes: bool) {
    let power = Power::steady();
    let drives = FaultyDrive::machine(DRIVES, &power);
    if keeps_indexes {
        drives.iter().for_each(FaultyDrive::keep_indexes);
    }
    let engine = open(&drives, &ALL);
    let seed = std::env::var("TIDINGS_STORM_SEED").map_or(20_261_122, |seed| seed.parse().expect("a number"));
    let mut storm = Storm { power, drives, engine, state: State::new(), deeds: 0, luck: Luck(seed) };
    for _ in 0..DEEDS {
        storm.change().await;
    }
    for nth in 0..ROUNDS {
        storm.round(nth).await;
        storm.healed().await;
        storm.check(&storm.engine).await;
    }
    // Compaction may be behind: it has its own bandwidth.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !storm.is_compacted() {
        assert!(
            Instant::now() < deadline,
            "compaction copied nothing, or retired none of the first segments"
        );
        storm.change().await;
    }
    // A drive of a busy machine may have missed a deadline.
    storm.healed().await;
    storm.engine.shutdown().await;
    let given = restarted(&storm.drives).iter().map(FaultyDrive::given).collect();
    let found = verify_drives(given, &mut |seen| {
        assert!(!matches!(seen, store::Seen::Finding(_)), "{seen:?}");
        true
    });
    assert!(found.as_ref().is_ok_and(store::Verification::is_whole), "{found:?}");
    for present in [[0, 1, 2], [3, 4, 5], [0, 2, 4]] {
        let engine = open(&restarted(&storm.drives), &present);
        storm.check(&engine).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_bits_flipped_writes_and_reads_failing_and_drives_gone_under_compaction_all_is_whole_in_the_end()
{
    rage(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_when_the_index_lies_on_the_drives() {
    rage(true).await;
}
