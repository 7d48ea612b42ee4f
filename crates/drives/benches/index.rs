//! Index engines against the gates of the design: sled 0.34, tuned, beside fjall 3, as it comes (`fjall`) and given
//! sorted runs of 100,000 keys from a memtable in front of it, as the index does (`runs`).
//!
//! `cargo bench -p tidings-drives --bench index -- [COUNT…]` loads COUNT keys (1,000,000 unless said otherwise) of
//! 60 bytes with values of 120 bytes in batches of 64, in sequential and in random order, each engine and order in
//! a process of its own so that its memory is its own, and prints a row of the table of decision 0007. A load that
//! takes longer than [`LOAD_MAX`] is stopped and says so.

#![allow(clippy::print_stdout, reason = "what it prints is its result")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const KEY_BYTES: usize = 60;
const VALUE_BYTES: usize = 120;
const BATCH_KEYS: u64 = 64;

/// The cache each engine is given.
const CACHE_BYTES: u64 = 32 << 20;

/// Longest a load is waited for.
const LOAD_MAX: Duration = Duration::from_secs(900);

/// Keys of a sorted run.
const RUN_KEYS: usize = 100_000;

/// An engine as far as the index needs it.
trait Engine {
    /// Puts keys, all or nothing.
    fn put(&self, pairs: &[(Vec<u8>, Vec<u8>)]);
    fn get(&self, key: &[u8]) -> bool;
    /// Reads entries from a key on and counts them.
    fn scan(&self, start: &[u8], limit: usize) -> usize;
    /// Makes everything durable.
    fn sync(&self);
}

struct Sled(sled::Db);

impl Sled {
    fn open(path: &Path) -> Sled {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        Sled(config.open().expect("sled opens"))
    }
}

impl Engine for Sled {
    fn put(&self, pairs: &[(Vec<u8>, Vec<u8>)]) {
        let mut batch = sled::Batch::default();
        for (key, value) in pairs {
            batch.insert(key.as_slice(), value.as_slice());
        }
        self.0.apply_batch(batch).expect("sled takes a batch");
    }

    fn get(&self, key: &[u8]) -> bool {
        self.0.get(key).expect("sled reads").is_some()
    }

    fn scan(&self, start: &[u8], limit: usize) -> usize {
        self.0.range(start..).take(limit).filter(Result::is_ok).count()
    }

    fn sync(&self) {
        self.0.flush().expect("sled flushes");
    }
}

struct Fjall {
    database: fjall::Database,
    keys: fjall::Keyspace,
}

impl Fjall {
    fn open(path: &Path) -> Fjall {
        let database = fjall::Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(64 << 20)
            .max_cached_files(Some(64))
            .open()
            .expect("fjall opens");
        let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(8 << 20);
        let keys = database.keyspace("keys", options).expect("fjall makes a keyspace");
        Fjall { database, keys }
    }
}

impl Engine for Fjall {
    fn put(&self, pairs: &[(Vec<u8>, Vec<u8>)]) {
        let mut batch = self.database.batch();
        for (key, value) in pairs {
            batch.insert(&self.keys, key.as_slice(), value.as_slice());
        }
        batch.commit().expect("fjall takes a batch");
    }

    fn get(&self, key: &[u8]) -> bool {
        self.keys.get(key).expect("fjall reads").is_some()
    }

    fn scan(&self, start: &[u8], limit: usize) -> usize {
        self.keys.range(start..).take(limit).filter_map(|guard| guard.into_inner().ok()).count()
    }

    fn sync(&self) {
        self.database.persist(fjall::PersistMode::SyncAll).expect("fjall syncs");
    }
}

/// fjall under a memtable of our own.
struct Runs {
    below: Fjall,
    memtable: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Engine for Runs {
    fn put(&self, pairs: &[(Vec<u8>, Vec<u8>)]) {
        let mut memtable = self.memtable.lock().expect("nothing panicked");
        memtable.extend(pairs.iter().cloned());
        if memtable.len() >= RUN_KEYS {
            drop(memtable);
            self.sync();
        }
    }

    fn get(&self, key: &[u8]) -> bool {
        self.below.get(key)
    }

    fn scan(&self, start: &[u8], limit: usize) -> usize {
        self.below.scan(start, limit)
    }

    fn sync(&self) {
        let memtable = std::mem::take(&mut *self.memtable.lock().expect("nothing panicked"));
        let mut run = self.below.keys.start_ingestion().expect("fjall begins a run");
        for (key, value) in memtable {
            run.write(key, value).expect("fjall takes a row");
        }
        run.finish().expect("fjall takes a run");
    }
}

fn open(engine: &str, path: &Path) -> Box<dyn Engine> {
    match engine {
        "sled" => Box::new(Sled::open(path)),
        "fjall" => Box::new(Fjall::open(path)),
        _ => Box::new(Runs { below: Fjall::open(path), memtable: Mutex::default() }),
    }
}

/// Splits one number into many: the finalizer of splitmix64, a bijection, so that no key comes twice.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

fn key(number: u64, order: &str) -> Vec<u8> {
    let place = if order == "random" { mix(number) } else { number };
    format!("{:<1$}", format!("obucket\0photographs/2026/{place:020}"), KEY_BYTES).into_bytes()
}

/// A value that does not compress: 120 bytes.
fn value(number: u64) -> Vec<u8> {
    (0..VALUE_BYTES as u64 / 8).flat_map(|word| mix(number ^ (word << 56)).to_le_bytes()).collect()
}

/// A field of `/proc/self/status`, in MiB.
fn memory_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

/// CPU seconds of this process, all threads: fields 14 and 15 of `/proc/self/stat`, in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.split_whitespace().skip(13).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn disk_mib(path: &Path) -> u64 {
    fn bytes(path: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let Ok(found) = std::fs::symlink_metadata(path) else { return 0 };
        let below = std::fs::read_dir(path).into_iter().flatten().flatten();
        found.blocks() * 512 + below.map(|entry| bytes(&entry.path())).sum::<u64>()
    }
    bytes(path) >> 20
}

fn load(engine: &str, order: &str, count: u64, path: &Path) {
    let opened = open(engine, path);
    let begun = Instant::now();
    let (mut stall, mut over, mut loaded) = (Duration::ZERO, 0, 0);
    while loaded < count && begun.elapsed() < LOAD_MAX {
        let pairs: Vec<_> = (loaded..count.min(loaded + BATCH_KEYS))
            .map(|number| (key(number, order), value(number)))
            .collect();
        let asked = Instant::now();
        opened.put(&pairs);
        let took = asked.elapsed();
        stall = stall.max(took);
        over += u32::from(took > Duration::from_millis(100));
        loaded += pairs.len() as u64;
    }
    opened.sync();
    let (took, cpu, resident) = (begun.elapsed(), cpu_seconds(), memory_mib("VmRSS"));
    let mut gets: Vec<Duration> = (0..20_000)
        .map(|turn| {
            let asked = Instant::now();
            assert!(opened.get(&key(mix(turn) % loaded, order)), "a key that was put is there");
            asked.elapsed()
        })
        .collect();
    gets.sort();
    let asked = Instant::now();
    let scanned: usize = (0..100).map(|turn| opened.scan(&key(mix(turn) % loaded, order), 1000)).sum();
    let page = asked.elapsed() * 1000 / u32::try_from(scanned.max(1)).expect("few");
    println!(
        "{engine} {order} {loaded} of {count}: {:.0} k keys/s, CPU {:.1} us/key, worst batch {} ms ({over} over 100 ms), \
         get p50 {} us p99 {} us, page of 1000 {} us, resident {resident} MiB (peak {}), disk {} MiB of {} raw",
        loaded as f64 / took.as_secs_f64() / 1e3,
        cpu * 1e6 / loaded as f64,
        stall.as_millis(),
        gets[gets.len() / 2].as_micros(),
        gets[gets.len() * 99 / 100].as_micros(),
        page.as_micros(),
        memory_mib("VmHWM"),
        disk_mib(path),
        (loaded * (KEY_BYTES + VALUE_BYTES) as u64) >> 20,
    );
}

fn reopen(engine: &str, path: &Path) {
    let asked = Instant::now();
    let opened = open(engine, path);
    let found = opened.scan(b"", 1);
    println!(
        "{engine} reopened in {} ms with {found} entry read, resident {} MiB, disk {} MiB",
        asked.elapsed().as_millis(),
        memory_mib("VmRSS"),
        disk_mib(path)
    );
}

/// Runs one step in a process of its own.
fn apart(step: &[&str], folder: &Path) {
    let program = std::env::current_exe().expect("this program has a path");
    let status = Command::new(program).arg("--apart").args(step).arg(folder).status();
    if !status.is_ok_and(|status| status.success()) {
        println!("{step:?} failed");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--apart", "load", engine, order, count, path] => {
            load(engine, order, count.parse().expect("a number of keys"), Path::new(path));
        }
        ["--apart", "reopen", engine, path] => reopen(engine, Path::new(path)),
        counts => {
            let counts = if counts.is_empty() { &["1000000"][..] } else { counts };
            let orders = ["sequential", "random"];
            let cases =
                ["runs", "fjall", "sled"].into_iter().flat_map(|engine| orders.map(|order| (engine, order)));
            for (engine, order) in cases {
                for count in counts {
                    let folder = std::env::temp_dir().join(format!("tidings-index-{engine}-{order}"));
                    // What an earlier run left; mostly there is nothing.
                    let _ = std::fs::remove_dir_all(&folder);
                    apart(&["reopen", engine], &folder);
                    apart(&["load", engine, order, count], &folder);
                    apart(&["reopen", engine], &folder);
                    let _ = std::fs::remove_dir_all(&folder);
                }
            }
        }
    }
}
