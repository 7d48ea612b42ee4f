//! Drives that are four fifths full, and objects that are overwritten, a few of them most of the time: compaction gives
//! back what that takes, and puts wait little for it.
//!
//! Real directories, each a drive of a size of its own. First a set that is nearly empty shows how many puts it
//! takes; then puts come at a quarter of that rate, to the set as it is and to the set when it is full, under
//! compaction. What they take is held against one another. `TIDINGS_FILL_SECONDS` says for how long; `tests/run
//! --long` does so for ten minutes.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]
#![allow(clippy::print_stdout, reason = "a run tells what it measured")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares and ratios, for people"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use store::{
    Batch, BucketName, Change, ChangeKind, Engine, EngineError, Mutation, PartitionId, Put, Sequence,
    SystemClock,
};
use tidings_drives::testing::{Written, given_limited};
use tidings_drives::{LocalEngine, Patience};

const SET: PartitionId = PartitionId(0);
const DRIVES: u64 = 4;

/// What a drive has for its journal, in bytes: 64 segments of the smallest size.
const CAPACITY: u64 = 256 << 20;

/// Room for what it keeps free for the index besides: 5 MiB and four memtables of 1 MiB.
const INDEX_BYTES: u64 = 9 << 20;

/// Bytes of an object, of it on each drive with its metadata, and of a change of it.
const OBJECT_BYTES: u64 = 16 << 10;
const ON_DRIVE_BYTES: u64 = OBJECT_BYTES / 2 + 51;
const CHANGE_BYTES: u64 = 56;

/// Changes may take a twentieth of a drive: with them, four fifths are needed.
const OBJECTS: u64 = CAPACITY / 20 * 15 / ON_DRIVE_BYTES;

/// So many changes are kept: a twentieth of a drive, at most.
const CHANGES: u64 = CAPACITY / 20 / CHANGE_BYTES;
const CHANGES_AT_ONCE: u64 = 512;

const WRITERS: u64 = 8;

/// How much longer than on an empty set the slowest hundredth of puts may take, on a machine that others use too.
const SLOWER_LOOSE: f64 = 20.0;

/// The same where the machine is quiet.
const SLOWER_MAX: f64 = 3.0;

/// Numbers below `count`, of which low ones come more often: the n-th with a weight of 1/n.
struct Zipf {
    luck: u64,
    count: u64,
}

impl Zipf {
    fn next(&mut self) -> u64 {
        self.luck = self.luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (self.luck >> 11) as f64 / (1_u64 << 53) as f64;
        // The integral of 1/n is the logarithm.
        let rank = (self.count as f64 + 1.0).powf(share) as u64 - 1;
        // Neighbours in rank are none in the journal.
        rank.min(self.count - 1).wrapping_mul(7_919) % self.count
    }
}

/// A set, and what each of its objects was last given.
struct Filled {
    engine: Arc<LocalEngine>,
    written: Arc<Written>,
    versions: Vec<Mutex<u64>>,
    refused: AtomicU64,
}

fn body(number: u64, version: u64) -> Bytes {
    let seed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ version.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let words = (0..OBJECT_BYTES / 8).map(|at| seed.wrapping_add(at).wrapping_mul(0x94D0_49BB_1331_11EB));
    words.flat_map(u64::to_le_bytes).collect()
}

fn change(number: u64) -> Change {
    Change {
        sequence: Sequence::ZERO,
        time_ms: 0,
        kind: ChangeKind::Put,
        bucket: BucketName::new("album").unwrap(),
        key: number.to_string(),
        version: None,
        object: None,
        origin: None,
        targets: Vec::new(),
        rules: Vec::new(),
    }
}

impl Filled {
    fn new(folder: &Path) -> Filled {
        let written = Arc::new(Written::default());
        let given = (1..=DRIVES).map(|number| {
            let root = folder.join(format!("d{number}"));
            std::fs::create_dir(&root).unwrap();
            given_limited(&root, CAPACITY + INDEX_BYTES, &written)
        });
        let engine = LocalEngine::open_on(given.collect(), None, Arc::new(SystemClock)).unwrap();
        // The drives are one disk, which others use too: where it stalls, that is no fault of theirs.
        let ample = Duration::from_secs(300);
        engine.set_patience(Patience { read: ample, frame: ample, write: ample, ..Patience::DEFAULT });
        let versions = (0..OBJECTS).map(|_| Mutex::new(0)).collect();
        Filled { engine, written, versions, refused: AtomicU64::new(0) }
    }

    /// Puts an object's next version; answers how long that took.
    async fn put(&self, number: u64) -> Duration {
        let version = {
            let mut version = self.versions[number as usize].lock();
            *version += 1;
            *version
        };
        let put = Put { key: number.to_string().into(), payload: body(number, version), ..Put::default() };
        let (mutations, changes) = (vec![Mutation::Put(put)], vec![change(number)]);
        let batch = Batch { mutations, changes, ..Batch::default() };
        let asked = Instant::now();
        while let Err(error) = self.engine.commit(SET, batch.clone()).await {
            assert_eq!(error, EngineError::Full);
            self.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        asked.elapsed()
    }

    /// Overwrites objects below `count` for so long, so many a second or as many as it takes, and says so of every
    /// minute; answers how long each put took, sorted.
    async fn churn(self: &Arc<Filled>, count: u64, seconds: f64, rate: Option<f64>) -> Vec<Duration> {
        let minutes = (seconds / 60.0).ceil();
        let mut took = Vec::new();
        for minute in 0..minutes as u64 {
            let more = self.churn_on(count, seconds / minutes, rate, minute).await;
            if minutes > 1.0 {
                tell(&format!("minute {}", minute + 1), &more);
            }
            took.extend(more);
        }
        took.sort_unstable();
        took
    }

    /// The same for a part of the time, each with numbers of its own.
    async fn churn_on(
        self: &Arc<Filled>,
        count: u64,
        seconds: f64,
        rate: Option<f64>,
        part: u64,
    ) -> Vec<Duration> {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let writers = (0..WRITERS).map(|writer| {
            let filled = Arc::clone(self);
            tokio::spawn(async move {
                let pause = rate.map(|rate| Duration::from_secs_f64(WRITERS as f64 / rate));
                let mut due = tokio::time::Instant::now();
                let luck = (part * WRITERS + writer) * 77 + 1;
                let mut zipf = Zipf { luck, count: count / WRITERS };
                let mut took = Vec::new();
                while Instant::now() < until {
                    // Each has objects of its own, so that versions come in their order.
                    took.push(filled.put(zipf.next() * WRITERS + writer).await);
                    if let Some(pause) = pause {
                        due += pause;
                        tokio::time::sleep_until(due).await;
                    }
                }
                took
            })
        });
        let mut took = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            took.extend(writer.await.unwrap());
        }
        took.sort_unstable();
        took
    }

    /// Puts the first version of all objects that have none.
    async fn load(&self) {
        let numbers: Vec<u64> =
            (0..OBJECTS).filter(|number| *self.versions[*number as usize].lock() == 0).collect();
        for numbers in numbers.chunks(32) {
            self.put_at_once(numbers).await;
        }
    }

    /// Overwrites objects until compaction has something to do, however slow the drives are.
    async fn wear(&self) {
        let mut zipf = Zipf { luck: 1, count: OBJECTS };
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.written.copies() == 0 {
            assert!(Instant::now() < deadline, "nothing was compacted");
            let numbers: BTreeSet<u64> = (0..32).map(|_| zipf.next()).collect();
            self.put_at_once(&numbers.into_iter().collect::<Vec<_>>()).await;
        }
    }

    /// Tells of as many changes as a drive of this size keeps.
    async fn tell(&self) {
        for _ in 0..CHANGES.div_ceil(CHANGES_AT_ONCE) {
            let changes = (0..CHANGES_AT_ONCE).map(change).collect();
            self.engine.commit(SET, Batch { changes, ..Batch::default() }).await.unwrap();
        }
    }

    /// Puts the next versions of objects in one commit; nobody else puts meanwhile.
    async fn put_at_once(&self, numbers: &[u64]) {
        let put = |number: &u64| {
            let mut version = self.versions[*number as usize].lock();
            *version += 1;
            let payload = body(*number, *version);
            Mutation::Put(Put { key: number.to_string().into(), payload, ..Put::default() })
        };
        let batch = Batch { mutations: numbers.iter().map(put).collect(), ..Batch::default() };
        while let Err(error) = self.engine.commit(SET, batch.clone()).await {
            assert_eq!(error, EngineError::Full);
        }
    }

    async fn check(&self) {
        for number in (0..OBJECTS).step_by(7) {
            let version = *self.versions[number as usize].lock();
            let found = self.engine.get(SET, number.to_string().as_bytes()).await.unwrap().unwrap();
            assert!(found.payload == body(number, version), "object {number}, version {version}");
        }
        assert!(self.engine.report().writable);
    }
}

fn journal_bytes(folder: &Path) -> u64 {
    let logs =
        (1..=DRIVES).flat_map(|number| std::fs::read_dir(folder.join(format!("d{number}/log"))).unwrap());
    logs.map(|file| file.unwrap().metadata().map_or(0, |metadata| metadata.len())).sum()
}

fn percentile(took: &[Duration], share: f64) -> f64 {
    took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
}

fn tell(name: &str, took: &[Duration]) {
    let (half, most) = (percentile(took, 0.5), percentile(took, 0.99));
    println!("{name}: {} puts, p50 {half:.2} ms, p99 {most:.2} ms", took.len());
}

async fn run(seconds: f64, slower_max: f64) {
    // What the engine has to say, where it does not go as it should.
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_test_writer().init();
    let folder = tempfile::tempdir().unwrap();
    let filled = Arc::new(Filled::new(folder.path()));
    let few = OBJECTS / 20;
    let probed = seconds.min(10.0) / 4.0;
    let most = filled.churn(few, probed, None).await;
    let rate = most.len() as f64 / probed / 4.0;
    let idle = filled.churn(few, (seconds / 3.0).min(60.0), Some(rate)).await;
    filled.load().await;
    filled.tell().await;
    filled.wear().await;

    let before = (filled.written.commits(), filled.written.copies());
    let busy = filled.churn(OBJECTS, seconds, Some(rate)).await;
    let (commits, copies) = (filled.written.commits() - before.0, filled.written.copies() - before.1);
    let slower = percentile(&busy, 0.99) / percentile(&idle, 0.99);
    let live = OBJECTS * ON_DRIVE_BYTES * DRIVES;
    let share = live as f64 / (CAPACITY * DRIVES) as f64 * 100.0 + 5.0;
    println!(
        "{share:.0} % of 4 x {} MiB needed; {rate:.0} puts of {} KiB a second",
        CAPACITY >> 20,
        OBJECT_BYTES >> 10
    );
    tell("most", &most);
    tell("idle", &idle);
    tell("full", &busy);
    println!(
        "p99 {slower:.1} times that of idle, {} refused as full",
        filled.refused.load(Ordering::Relaxed)
    );
    let amplified = (commits + copies) as f64 / commits as f64;
    println!(
        "write amplification {amplified:.2}: {} MiB of commits, {} MiB of copies",
        commits >> 20,
        copies >> 20
    );
    let files = journal_bytes(folder.path());
    println!("space amplification {:.2}: {} MiB of files", files as f64 / live as f64, files >> 20);
    assert!(slower <= slower_max, "puts take {slower:.1} times as long");
    filled.check().await;
    filled.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overwrites_of_a_set_that_is_four_fifths_full_are_taken_and_compaction_keeps_up_with_them() {
    let seconds = std::env::var("TIDINGS_FILL_SECONDS").map_or(4.0, |seconds| seconds.parse().unwrap());
    run(seconds, SLOWER_LOOSE).await;
}

mod long {
    #[tokio::test(flavor = "multi_thread")]
    async fn for_ten_minutes_puts_at_four_fifths_take_at_most_three_times_as_long_as_on_an_empty_set() {
        super::run(600.0, super::SLOWER_MAX).await;
    }
}
