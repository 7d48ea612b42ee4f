//! Pages of 1,000 out of 10,000 keys, over the memory engine: what a listing costs above the engine.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tidings_store::listing::ListQuery;
use tidings_store::testing::fixture::Fixture;

const KEYS: usize = 10_000;
const GROUPS: usize = 2_000;

fn list(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let fixture = runtime.block_on(async {
        let fixture = Fixture::new().await;
        for number in 0..KEYS {
            let name = format!("folder-{:04}/some-object-of-a-usual-length-{number:05}.jpg", number % GROUPS);
            fixture.put(&name, b"").await;
        }
        fixture
    });
    let page = |delimiter: &str| {
        let query = ListQuery { delimiter: delimiter.to_owned(), limit: 1000, ..ListQuery::default() };
        let page = runtime.block_on(fixture.store.list_objects(&fixture.album, &query)).expect("a page");
        assert_eq!(page.entries.len() + page.common_prefixes.len(), 1000);
        page
    };
    criterion.bench_function("list/1000 keys of 10000", |bencher| bencher.iter(|| black_box(page(""))));
    criterion.bench_function("list/1000 groups of 2000", |bencher| bencher.iter(|| black_box(page("/"))));
}

criterion_group!(benches, list);
criterion_main!(benches);
