//! Bodies of 64 MiB staged on and read from four directories, 2+2, beside the raw bytes: what the engine costs.
//!
//! The raw write is that of the same 128 MiB to four files, in appends of 512 KiB, all at once, and their sync; the raw
//! read is that of the two files that hold the data, from the page cache. Rounds of both take turns, since the machine
//! is not alone in the world; the ratios of their medians are printed.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::StreamExt;
use store::{Engine, Location, PartitionId, StageHint, SystemClock};
use tidings_drives::{LocalEngine, Options};
use tokio::runtime::Runtime;

const BODY_BYTES: usize = 64 << 20;
const APPEND_BYTES: usize = 512 << 10;
const ROUNDS: usize = 9;

async fn stage(engine: &LocalEngine, piece: &Bytes) -> Location {
    let hint = StageHint { size_bytes: Some(BODY_BYTES as u64) };
    let mut stage = engine.stage(PartitionId(0), hint).await.expect("all drives are there");
    for _ in 0..BODY_BYTES / piece.len() {
        stage.write(piece.clone()).await.expect("all drives are there");
    }
    stage.finish().await.expect("all drives are there")
}

/// Stages bodies from `writers` tasks at once, and gives them back.
fn time_stage(runtime: &Runtime, engine: &Arc<LocalEngine>, writers: usize, piece: &Bytes) -> Duration {
    runtime.block_on(async {
        let start = Instant::now();
        let tasks: Vec<_> = (0..writers)
            .map(|_| {
                let (engine, piece) = (Arc::clone(engine), piece.clone());
                tokio::spawn(async move { stage(&engine, &piece).await })
            })
            .collect();
        let locations: Vec<Location> = futures_util::future::join_all(tasks)
            .await
            .into_iter()
            .map(|location| location.expect("a writer does not panic"))
            .collect();
        let elapsed = start.elapsed();
        for location in locations {
            engine.reclaim(location).await.expect("it was staged");
        }
        elapsed
    })
}

fn time_read(runtime: &Runtime, engine: &Arc<LocalEngine>, location: &Location) -> Duration {
    runtime.block_on(async {
        let start = Instant::now();
        let mut stream = engine.read(location, 0..BODY_BYTES as u64).await.expect("all drives are there");
        let mut length = 0;
        while let Some(bytes) = stream.next().await {
            length += bytes.expect("nothing is damaged").len();
        }
        assert_eq!(length, BODY_BYTES);
        start.elapsed()
    })
}

fn time_raw_write(folder: &Path, files: usize) -> Duration {
    let bytes = &vec![7; APPEND_BYTES];
    let paths: Vec<PathBuf> = (0..files).map(|number| folder.join(format!("raw{number}"))).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for path in &paths {
            scope.spawn(move || {
                let mut file = File::create(path).expect("there is room");
                for _ in 0..BODY_BYTES / 2 / APPEND_BYTES {
                    file.write_all(bytes).expect("there is room");
                }
                file.sync_data().expect("the medium works");
            });
        }
    });
    let elapsed = start.elapsed();
    // What it wrote last is what is read raw.
    for path in &paths[2..] {
        std::fs::remove_file(path).expect("it was made");
    }
    elapsed
}

fn time_raw_read(folder: &Path) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..2 {
            let path = folder.join(format!("raw{number}"));
            scope.spawn(move || {
                let mut bytes = vec![0; APPEND_BYTES];
                let mut file = File::open(path).expect("it was written");
                while file.read(&mut bytes).expect("the medium works") > 0 {}
            });
        }
    });
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn bodies(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("the system gives threads");
    let folder = tempfile::tempdir_in(".").expect("there is room for temporary files");
    let drives = (1..=4).map(|number| folder.path().join(format!("d{number}"))).collect();
    let engine = LocalEngine::open(Options { drives, parity: None, clock: Arc::new(SystemClock) })
        .expect("a new set on empty directories");
    let piece = Bytes::from(vec![7; 64 << 10]);
    let location = runtime.block_on(stage(&engine, &piece));

    for writers in [1, 4] {
        let (mut raw, mut staged) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            raw.push(time_raw_write(folder.path(), 4 * writers));
            staged.push(time_stage(&runtime, &engine, writers, &piece));
        }
        report(
            &format!("stage, {writers} at once"),
            "raw write and sync",
            writers,
            median(staged),
            median(raw),
        );
    }
    let (mut raw, mut read) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(time_raw_read(folder.path()));
        read.push(time_read(&runtime, &engine, &location));
    }
    report("read", "raw read", 1, median(read), median(raw));

    let mut group = criterion.benchmark_group("64 MiB on 2+2");
    group.throughput(Throughput::Bytes(BODY_BYTES as u64)).sample_size(10);
    group.bench_function("stage", |bencher| {
        bencher.iter_custom(|count| (0..count).map(|_| time_stage(&runtime, &engine, 1, &piece)).sum());
    });
    group.bench_function("read", |bencher| {
        bencher.iter_custom(|count| (0..count).map(|_| time_read(&runtime, &engine, &location)).sum());
    });
    group.finish();
    runtime.block_on(engine.shutdown());
}

fn report(ours: &str, theirs: &str, bodies: usize, our_seconds: f64, their_seconds: f64) {
    let rate = |seconds: f64| (bodies * BODY_BYTES) as f64 / 1e9 / seconds;
    eprintln!(
        "{ours}: {:.2} GB/s; {theirs}: {:.2} GB/s; ratio {:.2}",
        rate(our_seconds),
        rate(their_seconds),
        their_seconds / our_seconds
    );
}

criterion_group!(benches, bodies);
criterion_main!(benches);
