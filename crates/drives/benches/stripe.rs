//! Encoding a stripe: what parity costs.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidings_drives::Geometry;
use tidings_drives::columns::Codec;

fn encode(criterion: &mut Criterion) {
    for (data, parity) in [(2, 2), (4, 4)] {
        let codec = Codec::new(Geometry { data, parity });
        let mut group = criterion.benchmark_group(format!("encode {data}+{parity}"));
        for column_bytes in [64 << 10, 1 << 20] {
            group.throughput(Throughput::Bytes((data * column_bytes) as u64));
            let columns: Vec<Vec<u8>> =
                (0..data + parity).map(|column| vec![column as u8; column_bytes]).collect();
            group.bench_function(format!("{} KiB columns", column_bytes >> 10), |bencher| {
                bencher.iter_batched_ref(
                    || columns.clone(),
                    |columns| codec.encode(black_box(columns)),
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, encode);
criterion_main!(benches);
