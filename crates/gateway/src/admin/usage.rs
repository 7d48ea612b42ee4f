//! How much the buckets hold: counted by walking their listings, kept until something changes.
//!
//! The store keeps no counters, so a count costs a listing of everything. A count is exact while nothing has
//! been committed since; one that is older is given out again for [`REST_FACTOR`] times the time it took, so
//! that counting never takes more than a twentieth of a processor however often it is asked for.
//!
//! # Invariants
//!
//! 1. At most one walk is under way.
//! 2. Who asks waits at most [`WAIT_MS_MAX`]; then the count before is given out, whatever its age, or the
//!    answer is that there is none yet.
//! 3. A walk holds one page of [`PAGE_ENTRIES`] entries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::Mutex;

use store::listing::ListQuery;
use store::{Bucket, Error, Store};
use tidings_store as store;

/// A count that is out of date is given out for so many times the time it took.
const REST_FACTOR: u32 = 20;

/// How long an answer waits for a count, in milliseconds.
const WAIT_MS_MAX: u64 = 2000;

/// Entries listed at once.
const PAGE_ENTRIES: usize = 1000;

/// Upper bounds of object sizes in bytes, and what clients call the range below each; the last has no bound.
const SIZE_RANGES: [(u64, &str); 10] = [
    (1 << 10, "LESS_THAN_1024_B"),
    (64 << 10, "BETWEEN_1024_B_AND_64_KB"),
    (256 << 10, "BETWEEN_64_KB_AND_256_KB"),
    (512 << 10, "BETWEEN_256_KB_AND_512_KB"),
    (1 << 20, "BETWEEN_512_KB_AND_1_MB"),
    (10 << 20, "BETWEEN_1_MB_AND_10_MB"),
    (64 << 20, "BETWEEN_10_MB_AND_64_MB"),
    (128 << 20, "BETWEEN_64_MB_AND_128_MB"),
    (512 << 20, "BETWEEN_128_MB_AND_512_MB"),
    (u64::MAX, "GREATER_THAN_512_MB"),
];

/// The ranges between 1 KiB and 1 MiB together, which older clients know; it follows the fifth.
const SIZE_RANGE_TOGETHER: &str = "BETWEEN_1024B_AND_1_MB";

/// Upper bounds of the versions of a key, and what clients call the range below each.
const VERSION_RANGES: [(u64, &str); 6] = [
    (2, "SINGLE_VERSION"),
    (10, "BETWEEN_2_AND_10"),
    (100, "BETWEEN_10_AND_100"),
    (1000, "BETWEEN_100_AND_1000"),
    (10_000, "BETWEEN_1000_AND_10000"),
    (u64::MAX, "GREATER_THAN_10000"),
];

/// Keys that were never written under versioning.
const UNVERSIONED: &str = "UNVERSIONED";

/// What one bucket holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BucketUsage {
    pub(crate) name: String,
    /// The set it lives in: its partition.
    pub(crate) place: u32,
    /// When the bucket was created, milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// Keys whose newest version is an object.
    pub(crate) objects: u64,
    /// Versions, delete markers left out.
    pub(crate) versions: u64,
    pub(crate) delete_markers: u64,
    /// Bytes of all versions as clients sent them.
    pub(crate) size_bytes: u64,
    /// Versions by range of size.
    pub(crate) sizes: [u64; SIZE_RANGES.len()],
    /// Keys that were never written under versioning.
    pub(crate) unversioned: u64,
    /// The other keys by range of their number of versions.
    pub(crate) version_counts: [u64; VERSION_RANGES.len()],
}

/// A count.
#[derive(Clone, Debug)]
pub(crate) struct Count {
    /// By bucket, sorted.
    pub(crate) buckets: Vec<BucketUsage>,
    /// When it was finished, milliseconds since 1970.
    pub(crate) counted_ms: u64,
    /// The newest commits it knows.
    mark: u64,
    finished: Instant,
    took: Duration,
}

/// Counts, and keeps the last count.
#[derive(Default)]
pub(crate) struct Usage {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    last: RwLock<Option<Arc<Count>>>,
    walking: Mutex<()>,
}

impl Usage {
    /// What the buckets hold. `None` while the first count takes longer than this waits, or when it failed.
    pub(crate) async fn count(&self, store: &Arc<Store>) -> Option<Arc<Count>> {
        if let Some(count) = self.shared.usable(store) {
            return Some(count);
        }
        let (shared, store) = (Arc::clone(&self.shared), Arc::clone(store));
        // A task of its own: a caller that leaves must not throw away what was counted so far.
        let walk = tokio::spawn(async move { shared.walk(&store).await });
        let _ = tokio::time::timeout(Duration::from_millis(WAIT_MS_MAX), walk).await;
        self.shared.last.read().clone()
    }
}

impl Shared {
    fn usable(&self, store: &Store) -> Option<Arc<Count>> {
        let last = self.last.read().clone()?;
        let rests = last.finished.elapsed() < last.took * REST_FACTOR;
        (rests || last.mark == mark(store)).then_some(last)
    }

    async fn walk(&self, store: &Arc<Store>) {
        let _walking = self.walking.lock().await;
        // Whoever waited for the lock finds that the one before has counted.
        if self.usable(store).is_some() {
            return;
        }
        let (mark, started) = (mark(store), Instant::now());
        let mut buckets = Vec::new();
        for bucket in store.buckets() {
            match count_bucket(store, &bucket).await {
                Ok(usage) => buckets.push(usage),
                Err(Error::NoSuchBucket { .. }) => {}
                Err(error) => {
                    tracing::warn!(bucket = %bucket.name, %error, "the objects cannot be counted");
                    return;
                }
            }
        }
        let (finished, took) = (Instant::now(), started.elapsed());
        let counted_ms = store.clock().now_ms();
        *self.last.write() = Some(Arc::new(Count { buckets, counted_ms, mark, finished, took }));
    }
}

/// A number that changes with every commit to a partition that holds a bucket.
fn mark(store: &Store) -> u64 {
    let mut partitions: Vec<_> = store.buckets().iter().map(|bucket| bucket.partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    partitions.into_iter().fold(0, |mark, partition| mark.wrapping_add(store.newest(partition).0))
}

async fn count_bucket(store: &Store, bucket: &Bucket) -> Result<BucketUsage, Error> {
    let name = bucket.name.as_str().to_owned();
    let (place, created_ms) = (bucket.partition.0, bucket.created_ms);
    let mut usage = BucketUsage { name, place, created_ms, ..BucketUsage::default() };
    let mut query = ListQuery { limit: PAGE_ENTRIES, ..ListQuery::default() };
    let mut key = KeyCount::default();
    loop {
        let page = store.list_versions(&bucket.name, &query).await?;
        for entry in &page.entries {
            if entry.key != key.name {
                std::mem::take(&mut key).add_to(&mut usage);
                key.name.clone_from(&entry.key);
            }
            key.versions += 1;
            key.is_versioned |= entry.version != store::VersionId::Null;
            usage.add(entry.is_latest, entry.is_delete_marker, entry.size_bytes);
        }
        if !page.is_truncated {
            key.add_to(&mut usage);
            return Ok(usage);
        }
        (query.after, query.after_version) = (page.last, page.last_version);
        tokio::task::yield_now().await;
    }
}

#[derive(Default)]
struct KeyCount {
    name: String,
    versions: u64,
    is_versioned: bool,
}

impl KeyCount {
    fn add_to(self, usage: &mut BucketUsage) {
        if self.versions == 0 {
            return;
        }
        if !self.is_versioned {
            usage.unversioned += 1;
            return;
        }
        let range =
            VERSION_RANGES.iter().position(|(end, _)| self.versions < *end).expect("the last has no bound");
        usage.version_counts[range] += 1;
    }
}

impl BucketUsage {
    fn add(&mut self, is_latest: bool, is_delete_marker: bool, size_bytes: u64) {
        if is_delete_marker {
            self.delete_markers += 1;
            return;
        }
        self.objects += u64::from(is_latest);
        self.versions += 1;
        self.size_bytes += size_bytes;
        let range =
            SIZE_RANGES.iter().position(|(end, _)| size_bytes < *end).unwrap_or(SIZE_RANGES.len() - 1);
        self.sizes[range] += 1;
    }

    /// Objects by range of size, by the names that clients know.
    pub(crate) fn size_histogram(&self) -> Vec<(&'static str, u64)> {
        let mut rows: Vec<_> =
            SIZE_RANGES.iter().zip(self.sizes).map(|((_, name), count)| (*name, count)).collect();
        rows.insert(5, (SIZE_RANGE_TOGETHER, self.sizes[1..5].iter().sum()));
        rows
    }

    /// Keys by range of their number of versions, by the names that clients know.
    pub(crate) fn version_histogram(&self) -> Vec<(&'static str, u64)> {
        let counted = VERSION_RANGES.iter().zip(self.version_counts).map(|((_, name), count)| (*name, count));
        std::iter::once((UNVERSIONED, self.unversioned)).chain(counted).collect()
    }
}

impl Count {
    /// All buckets together, without a name.
    pub(crate) fn total(&self) -> BucketUsage {
        Count::sum(&self.buckets)
    }

    /// All buckets of a set together, without a name.
    pub(crate) fn total_in(&self, set: usize) -> BucketUsage {
        Count::sum(self.buckets.iter().filter(|bucket| usize::try_from(bucket.place) == Ok(set)))
    }

    fn sum<'a>(buckets: impl IntoIterator<Item = &'a BucketUsage>) -> BucketUsage {
        let mut total = BucketUsage::default();
        for bucket in buckets {
            total.objects += bucket.objects;
            total.versions += bucket.versions;
            total.delete_markers += bucket.delete_markers;
            total.size_bytes += bucket.size_bytes;
            total.unversioned += bucket.unversioned;
            for (sum, count) in total.sizes.iter_mut().zip(bucket.sizes) {
                *sum += count;
            }
            for (sum, count) in total.version_counts.iter_mut().zip(bucket.version_counts) {
                *sum += count;
            }
        }
        total
    }

    /// A count for tests of what shows it.
    #[cfg(test)]
    pub(crate) fn of(buckets: Vec<BucketUsage>) -> Count {
        Count {
            buckets,
            counted_ms: 1_800_000_000_000,
            mark: 0,
            finished: Instant::now(),
            took: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BucketUsage, Count};

    fn bucket(name: &str, sizes: &[u64]) -> BucketUsage {
        let mut usage = BucketUsage { name: name.to_owned(), ..BucketUsage::default() };
        for &size in sizes {
            usage.add(true, false, size);
        }
        usage
    }

    #[test]
    fn sizes_fall_into_the_ranges_that_clients_name() {
        let usage = bucket("a", &[0, 1023, 1024, 65_536, 1 << 20, (10 << 20) - 1, 512 << 20, u64::MAX >> 1]);

        let filled: Vec<_> = usage.size_histogram().into_iter().filter(|(_, count)| *count > 0).collect();

        assert_eq!(
            filled,
            [
                ("LESS_THAN_1024_B", 2),
                ("BETWEEN_1024_B_AND_64_KB", 1),
                ("BETWEEN_64_KB_AND_256_KB", 1),
                ("BETWEEN_1024B_AND_1_MB", 2),
                ("BETWEEN_1_MB_AND_10_MB", 2),
                ("GREATER_THAN_512_MB", 2),
            ]
        );
    }

    #[test]
    fn a_delete_marker_is_neither_an_object_nor_a_version() {
        let mut usage = bucket("a", &[5]);
        usage.add(true, true, 0);
        usage.add(false, false, 7);
        let counts = (usage.objects, usage.versions, usage.delete_markers, usage.size_bytes);
        assert_eq!(counts, (1, 2, 1, 12));
    }

    #[test]
    fn the_total_is_the_sum_of_the_buckets() {
        let total = Count::of(vec![bucket("a", &[1, 2]), bucket("b", &[2000])]).total();
        assert_eq!((total.objects, total.size_bytes), (3, 2003));
        assert_eq!(total.size_histogram()[..2], [("LESS_THAN_1024_B", 2), ("BETWEEN_1024_B_AND_64_KB", 1)]);
    }
}
