//! Commits of 1 KiB objects on four directories: what group commit makes of more writers, through io_uring and by
//! threads.
//!
//! `cargo bench -p tidings-drives --bench commit -- [ROUNDS [SECONDS [DIRECTORY…]]]` takes turns, so that whatever else
//! the machine does meets both: in each of ROUNDS (3) every number of writers commits for SECONDS (3) each way. The
//! drives of each way lie in these directories, or in four of the system's for temporary files. A row gives the
//! commits a second, of each way, and the processor time for one: of the process, and with the threads of the kernel,
//! whose work for others is in it too. The last rows give the medians of the ratios.

#![allow(clippy::print_stdout, reason = "what it prints is its result")]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Batch, Clock, Engine, Mutation, PartitionId, Put, SystemClock};
use tempfile::TempDir;
use tidings_drives::{Io, Sets, Tuning};
use tokio::runtime::Runtime;

const OBJECT_BYTES: usize = 1024;

const WRITERS: [u64; 3] = [1, 16, 64];

/// Commits from so many tasks, each waiting for its own, for so long; answers how many.
async fn commit(engine: &Arc<Sets>, writers: u64, duration: Duration) -> u64 {
    let (over, total) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (engine, over, total) = (Arc::clone(engine), Arc::clone(&over), Arc::clone(&total));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let number = total.fetch_add(1, Ordering::Relaxed);
                    let put = Put {
                        // Few keys: what is measured is the journal, not the growth of the index.
                        key: Bytes::from(format!("{writer}/{}", number % 64)),
                        payload: Bytes::from(vec![7; OBJECT_BYTES]),
                        ..Put::default()
                    };
                    let batch = Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() };
                    engine.commit(PartitionId(0), batch).await.expect("all drives are there");
                }
            })
        })
        .collect();
    tokio::time::sleep(duration).await;
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("a writer does not panic");
    }
    total.load(Ordering::Relaxed)
}

/// The fields of a `stat` behind the name, from the third on: `proc(5)`.
fn fields(stat: &str) -> Vec<u64> {
    let behind = stat.rsplit(')').next().unwrap_or_default();
    behind.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect()
}

/// Processor time of this process, in user and kernel, and of the threads of the kernel, which end the writes that
/// nobody waits for in a thread of his own. In hundredths of a second.
fn processor_time() -> (u64, u64) {
    let busy = |fields: &[u64]| fields[11] + fields[12];
    let own = std::fs::read_to_string("/proc/self/stat").expect("the system has a proc");
    let processes = std::fs::read_dir("/proc").expect("the system has a proc");
    let kernel = processes
        .filter_map(|process| std::fs::read_to_string(process.ok()?.path().join("stat")).ok())
        .map(|stat| fields(&stat))
        // What the second process begot is the kernel's.
        .filter(|fields| fields.get(1) == Some(&2))
        .map(|fields| busy(&fields))
        .sum();
    (busy(&fields(&own)), kernel)
}

/// One way, measured.
struct Measured {
    commits_per_second: f64,
    /// Microseconds of processor time for a commit, in the process and in all.
    own: f64,
    all: f64,
}

fn measure(runtime: &Runtime, engine: &Arc<Sets>, writers: u64, duration: Duration) -> Measured {
    let (own_before, kernel_before) = processor_time();
    let began = Instant::now();
    let count = runtime.block_on(commit(engine, writers, duration));
    let elapsed = began.elapsed();
    let (own, kernel) = processor_time();
    let per_commit = |hundredths: u64| hundredths as f64 * 10_000.0 / count as f64;
    Measured {
        commits_per_second: count as f64 / elapsed.as_secs_f64(),
        own: per_commit(own - own_before),
        all: per_commit(own - own_before + kernel.saturating_sub(kernel_before)),
    }
}

fn open(folders: &[TempDir], name: &str, io: Io) -> Arc<Sets> {
    let drives = folders.iter().map(|folder| folder.path().join(name)).collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Sets::open_tuned(&[drives], None, &clock, &Tuning { io, ..Tuning::default() })
        .expect("a new set on empty directories")
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut number = |default: u64| arguments.next().map_or(default, |word| word.parse().expect("a number"));
    let (rounds, duration) = (number(3), Duration::from_secs(number(3)));
    let runtime = Runtime::new().expect("the system gives threads");
    let mut directories: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    if directories.is_empty() {
        directories = vec![std::env::temp_dir(); 4];
    }
    let folders: Vec<TempDir> = directories
        .iter()
        .map(|directory| tempfile::tempdir_in(directory).expect("there is room for temporary files"))
        .collect();
    let ring = open(&folders, "ring", Io::Uring);
    let threads = open(&folders, "threads", Io::Threads);
    for engine in [&ring, &threads] {
        // Past its first segments, which are being zeroed.
        runtime.block_on(commit(engine, 64, Duration::from_secs(1)));
    }
    let mut ratios: Vec<[Vec<f64>; 3]> = vec![Default::default(); WRITERS.len()];
    println!(
        "| round | writers | ring /s | threads /s | ratio | ring µs | threads µs | ratio | ring µs, all | threads µs, all | ratio |"
    );
    for round in 1..=rounds {
        for (writers, ratios) in WRITERS.into_iter().zip(&mut ratios) {
            let ring = measure(&runtime, &ring, writers, duration);
            let threads = measure(&runtime, &threads, writers, duration);
            let pairs = [
                (ring.commits_per_second, threads.commits_per_second),
                (ring.own, threads.own),
                (ring.all, threads.all),
            ];
            print!("| {round} | {writers} |");
            for ((ring, threads), ratios) in pairs.into_iter().zip(ratios) {
                print!(" {ring:.1} | {threads:.1} | {:.2} |", ring / threads);
                ratios.push(ring / threads);
            }
            println!();
        }
    }
    for (writers, ratios) in WRITERS.into_iter().zip(ratios) {
        let [speed, own, all] = ratios.map(median);
        println!("| median | {writers} | | | {speed:.2} | | | {own:.2} | | | {all:.2} |");
    }
    runtime.block_on(ring.shutdown());
    runtime.block_on(threads.shutdown());
}
