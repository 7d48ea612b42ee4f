//! Commits of 1 KiB objects on four directories: what group commit makes of more writers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use store::{Batch, Engine, Mutation, PartitionId, Put, SystemClock};
use tidings_drives::{LocalEngine, Options};

const OBJECT_BYTES: usize = 1024;

/// Commits `count` objects from `writers` tasks, each waiting for its own.
async fn commit(engine: &Arc<LocalEngine>, writers: u64, count: u64) -> Duration {
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let engine = Arc::clone(engine);
            tokio::spawn(async move {
                for number in (writer..count).step_by(usize::try_from(writers).expect("few writers")) {
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
    for task in tasks {
        task.await.expect("a writer does not panic");
    }
    start.elapsed()
}

fn commits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("the system gives threads");
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let drives = (1..=4).map(|number| folder.path().join(format!("d{number}"))).collect();
    let engine = LocalEngine::open(Options { drives, parity: None, clock: Arc::new(SystemClock) })
        .expect("a new set on empty directories");
    let mut group = criterion.benchmark_group("commit 1 KiB on 2+2");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(3));
    for writers in [1, 16, 64] {
        group.bench_function(format!("{writers} writers"), |bencher| {
            bencher.iter_custom(|count| runtime.block_on(commit(&engine, writers, count)));
        });
    }
    group.finish();
    runtime.block_on(engine.shutdown());
}

criterion_group!(benches, commits);
criterion_main!(benches);
