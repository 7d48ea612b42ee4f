//! The families of each page: names, help and where their numbers come from.
//!
//! Names are those of the dashboards that are published for MinIO; `minio_` is part of them.

use notify::TargetReport;
use store::{DriveReport, SetReport};
use tidings_notify as notify;
use tidings_store as store;

use super::counters::{CallCounts, DURATION_BOUNDS_MS};
use super::exposition::Kind::{Counter, Gauge};
use super::exposition::Page;
use super::{Snapshot, healing};
use crate::admin::drives;
use crate::admin::usage::BucketUsage;

type Labels = Vec<(&'static str, String)>;

/// Writes families, a row each: kind, name, help, and after `=` the value of the one series, after `in` the
/// series with their labels.
macro_rules! families {
    ($page:ident;) => {};
    ($page:ident; $kind:ident $name:literal $help:literal = $value:expr; $($rest:tt)*) => {
        $page.one($kind, $name, $help, $value);
        families! { $page; $($rest)* }
    };
    ($page:ident; $kind:ident $name:literal $help:literal in $series:expr; $($rest:tt)*) => {
        $page.family($kind, $name, $help, $series);
        families! { $page; $($rest)* }
    };
}

/// `/minio/v2/metrics/cluster`.
pub(super) fn cluster(page: &mut Page, snapshot: &Snapshot) {
    capacity(page, snapshot);
    health(page, snapshot);
    usage(page, snapshot);
    healing::healed(page, snapshot);
    healing::redundancy(page, snapshot);
    requests(page, snapshot);
    notifications(page, snapshot);
    let version = [(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1)];
    families! { page;
        Gauge "minio_software_version_info" "the version of the server" in version;
    }
}

/// `/minio/v2/metrics/node` and `/minio/v2/metrics/resource`.
pub(super) fn node(page: &mut Page, snapshot: &Snapshot) {
    let (online, offline) = drives::count(&snapshot.sets);
    let used = |d: &DriveReport| d.total_bytes.saturating_sub(d.free_bytes);
    families! { page;
        Gauge "minio_node_drive_online_total" "drives that are there" = online;
        Gauge "minio_node_drive_offline_total" "drives that are not" = offline;
        Gauge "minio_node_drive_total" "drives" = online + offline;
        Gauge "minio_node_drive_total_bytes" "size of the file system" in of_drives(snapshot, |d| d.total_bytes);
        Gauge "minio_node_drive_free_bytes" "bytes free" in of_drives(snapshot, |d| d.free_bytes);
        Gauge "minio_node_drive_used_bytes" "bytes in use" in of_drives(snapshot, used);
        Gauge "minio_node_drive_free_inodes" "inodes free" in of_drives(snapshot, |d| d.inodes.1);
    }
    healing::healed(page, snapshot);
    process(page, snapshot);
}

/// `/minio/v2/metrics/bucket`.
pub(super) fn bucket(page: &mut Page, snapshot: &Snapshot) {
    families! { page;
        Gauge "minio_bucket_usage_total_bytes" "bytes of all versions" in buckets(snapshot, |b| b.size_bytes);
        Gauge "minio_bucket_usage_object_total" "objects" in buckets(snapshot, |b| b.objects);
        Gauge "minio_bucket_usage_version_total" "versions" in buckets(snapshot, |b| b.versions);
        Gauge "minio_bucket_usage_deletemarker_total" "delete markers" in buckets(snapshot, |b| b.delete_markers);
        Gauge "minio_bucket_objects_size_distribution" "versions by range of size"
            in ranges(snapshot, BucketUsage::size_histogram);
        Gauge "minio_bucket_objects_version_distribution" "keys by range of versions"
            in ranges(snapshot, BucketUsage::version_histogram);
    }
}

/// `/minio/prometheus/metrics`.
pub(super) fn oldest(page: &mut Page, snapshot: &Snapshot) {
    let (online, offline) = drives::count(&snapshot.sets);
    let capacity = Capacity::of(snapshot);
    families! { page;
        Gauge "bucket_objects_count" "objects" in buckets(snapshot, |b| b.objects);
        Gauge "bucket_usage_size" "bytes of all versions" in buckets(snapshot, |b| b.size_bytes);
    }
    let mut histogram = ranges(snapshot, BucketUsage::size_histogram);
    for (labels, _) in &mut histogram {
        labels[1].0 = "object_size";
    }
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("commit", String::new())];
    let process = &snapshot.process;
    families! { page;
        Gauge "bucket_objects_histogram" "versions by range of size" in histogram;
        Gauge "minio_nodes_online" "servers that answer" = 1;
        Gauge "minio_nodes_offline" "servers that do not" = 0;
        Gauge "minio_disks_offline" "drives that are not there" = offline;
        Gauge "minio_drives_total" "drives" = online + offline;
        Gauge "minio_capacity_raw_total" "size of all drives in bytes" = capacity.raw_total;
        Gauge "minio_capacity_raw_free" "bytes free on all drives" = capacity.raw_free;
        Gauge "minio_capacity_usable_total" "size without parity in bytes" = capacity.usable_total;
        Gauge "minio_capacity_usable_free" "bytes free without parity" = capacity.usable_free;
        Gauge "minio_version_info" "the version of the server" in [(version, 1)];
        Counter "s3_requests_total" "requests" in calls(snapshot, |c| c.requests);
        Counter "s3_errors_total" "requests refused" in calls(snapshot, |c| c.errors_4xx + c.errors_5xx);
        Counter "process_cpu_seconds_total" "processor time" = process.cpu_s;
        Gauge "process_open_fds" "open files" = process.open_files;
        Gauge "process_resident_memory_bytes" "memory in use" = process.resident_bytes;
        Gauge "process_start_time_seconds" "when the process started" = snapshot.started_ms / 1000;
    }
}

/// `/minio/metrics/v3/notification`.
pub(super) fn v3_notification(page: &mut Page, snapshot: &Snapshot) {
    let targets = &snapshot.targets;
    let sum = |of: fn(&TargetReport) -> u64| -> u64 { targets.iter().map(of).sum() };
    let (in_progress, failed) = (sum(|t| t.in_progress), sum(|t| t.failed));
    families! { page;
        Gauge "minio_notification_current_send_in_progress" "deliveries under way" = in_progress;
        Counter "minio_notification_events_errors_total" "tries that failed" = failed;
        Counter "minio_notification_events_sent_total" "records acknowledged" = sum(|t| t.delivered);
        Counter "minio_notification_events_skipped_total" "accesses that could not be recorded" = snapshot.accesses_lost;
    }
}

/// `/minio/metrics/v3/cluster/health`.
pub(super) fn v3_health(page: &mut Page, snapshot: &Snapshot) {
    let (online, offline) = drives::count(&snapshot.sets);
    let capacity = Capacity::of(snapshot);
    families! { page;
        Gauge "minio_cluster_health_drives_online_count" "drives that are there" = online;
        Gauge "minio_cluster_health_drives_offline_count" "drives that are not" = offline;
        Gauge "minio_cluster_health_drives_count" "drives" = online + offline;
        Gauge "minio_cluster_health_nodes_online_count" "servers that answer" = 1;
        Gauge "minio_cluster_health_nodes_offline_count" "servers that do not" = 0;
        Gauge "minio_cluster_health_capacity_raw_total_bytes" "size of all drives" = capacity.raw_total;
        Gauge "minio_cluster_health_capacity_raw_free_bytes" "bytes free on all drives" = capacity.raw_free;
        Gauge "minio_cluster_health_capacity_usable_total_bytes" "size without parity" = capacity.usable_total;
        Gauge "minio_cluster_health_capacity_usable_free_bytes" "bytes free without parity" = capacity.usable_free;
    }
}

/// `/minio/metrics/v3/cluster/usage/objects`.
pub(super) fn v3_usage_objects(page: &mut Page, snapshot: &Snapshot) {
    let Some(count) = &snapshot.count else { return };
    let total = count.total();
    let sizes = total.size_histogram().into_iter().map(|(range, count)| (range_label(range), count));
    families! { page;
        Gauge "minio_cluster_usage_objects_total_bytes" "bytes of all versions" = total.size_bytes;
        Gauge "minio_cluster_usage_objects_count" "objects" = total.objects;
        Gauge "minio_cluster_usage_objects_versions_count" "versions" = total.versions;
        Gauge "minio_cluster_usage_objects_delete_markers_count" "delete markers" = total.delete_markers;
        Gauge "minio_cluster_usage_objects_buckets_count" "buckets" = count.buckets.len();
        Gauge "minio_cluster_usage_objects_size_distribution" "versions by range of size" in sizes;
    }
}

/// `/minio/metrics/v3/cluster/usage/buckets`.
pub(super) fn v3_usage_buckets(page: &mut Page, snapshot: &Snapshot) {
    families! { page;
        Gauge "minio_cluster_usage_buckets_total_bytes" "bytes of all versions" in buckets(snapshot, |b| b.size_bytes);
        Gauge "minio_cluster_usage_buckets_objects_count" "objects" in buckets(snapshot, |b| b.objects);
        Gauge "minio_cluster_usage_buckets_versions_count" "versions" in buckets(snapshot, |b| b.versions);
        Gauge "minio_cluster_usage_buckets_delete_markers_count" "delete markers" in buckets(snapshot, |b| b.delete_markers);
    }
}

/// `/minio/metrics/v3/api/requests`.
pub(super) fn v3_requests(page: &mut Page, snapshot: &Snapshot) {
    let with_name = |of| named_calls(snapshot, "name", of);
    let sum = |of: fn(&CallCounts) -> u64| -> u64 { snapshot.calls.iter().map(|(_, call)| of(call)).sum() };
    let s3 = || vec![("type", "s3".to_owned())];
    let received = [(s3(), sum(|c| c.received_bytes))];
    let sent = [(s3(), sum(|c| c.sent_bytes))];
    families! { page;
        Counter "minio_api_requests_total" "requests" in with_name(|c| c.requests);
        Counter "minio_api_requests_4xx_errors_total" "requests refused" in with_name(|c| c.errors_4xx);
        Counter "minio_api_requests_5xx_errors_total" "requests failed" in with_name(|c| c.errors_5xx);
        Counter "minio_api_requests_traffic_received_bytes" "bytes of request bodies" in received;
        Counter "minio_api_requests_traffic_sent_bytes" "bytes of answers" in sent;
    }
}

struct Capacity {
    raw_total: u64,
    raw_free: u64,
    usable_total: u64,
    usable_free: u64,
}

impl Capacity {
    /// What can be used is what the drives beyond the parity hold, as `mc admin info` computes it.
    fn of(snapshot: &Snapshot) -> Capacity {
        let (raw_total, raw_free) = drives::capacity(&snapshot.sets);
        let usable = || {
            let of_set = |set: &SetReport| set.drives.len().saturating_sub(set.parity);
            snapshot.sets.iter().flat_map(move |set| &set.drives[..of_set(set)])
        };
        Capacity {
            raw_total,
            raw_free,
            usable_total: usable().map(|drive| drive.total_bytes).sum(),
            usable_free: usable().map(|drive| drive.free_bytes).sum(),
        }
    }
}

fn capacity(page: &mut Page, snapshot: &Snapshot) {
    let capacity = Capacity::of(snapshot);
    families! { page;
        Gauge "minio_cluster_capacity_raw_total_bytes" "size of all drives" = capacity.raw_total;
        Gauge "minio_cluster_capacity_raw_free_bytes" "bytes free on all drives" = capacity.raw_free;
        Gauge "minio_cluster_capacity_usable_total_bytes" "size without parity" = capacity.usable_total;
        Gauge "minio_cluster_capacity_usable_free_bytes" "bytes free without parity" = capacity.usable_free;
    }
}

fn health(page: &mut Page, snapshot: &Snapshot) {
    let sets = &snapshot.sets;
    let (online, offline) = drives::count(sets);
    let is_healthy = u8::from(sets.iter().all(|set| set.writable));
    let write_quorum = sets.iter().map(|set| set.write_quorum).max().unwrap_or_default();
    families! { page;
        Gauge "minio_cluster_drive_online_total" "drives that are there" = online;
        Gauge "minio_cluster_drive_offline_total" "drives that are not" = offline;
        Gauge "minio_cluster_drive_total" "drives" = online + offline;
        Gauge "minio_cluster_nodes_online_total" "servers that answer" = 1;
        Gauge "minio_cluster_nodes_offline_total" "servers that do not" = 0;
        Gauge "minio_cluster_health_status" "whether every set takes writes" = is_healthy;
        Gauge "minio_cluster_write_quorum" "drives that a write waits for" = write_quorum;
    }
    let mut of_sets = |end: &str, help: &str, value: fn(&SetReport) -> usize| {
        let series = sets.iter().enumerate().map(|(pool, set)| {
            let labels: Labels = vec![("pool", pool.to_string()), ("set", "0".to_owned())];
            (labels, value(set))
        });
        page.family(Gauge, &format!("minio_cluster_health_erasure_set_{end}"), help, series);
    };
    of_sets("online_drives", "drives that take part", healing::online);
    of_sets("healing_drives", "drives that are being healed", |set| {
        drives::healing(std::slice::from_ref(set))
    });
    of_sets("read_quorum", "drives that a read needs", |set| set.read_quorum);
    of_sets("write_quorum", "drives that a write waits for", |set| set.write_quorum);
    of_sets("status", "whether writes are taken", |set| usize::from(set.writable));
}

fn usage(page: &mut Page, snapshot: &Snapshot) {
    let Some(count) = &snapshot.count else { return };
    let total = count.total();
    let sizes = total.size_histogram().into_iter().map(|(range, count)| (range_label(range), count));
    let age_ns = snapshot.now_ms.saturating_sub(count.counted_ms).saturating_mul(1_000_000);
    families! { page;
        Gauge "minio_cluster_bucket_total" "buckets" = count.buckets.len();
        Gauge "minio_cluster_usage_object_total" "objects" = total.objects;
        Gauge "minio_cluster_usage_version_total" "versions" = total.versions;
        Gauge "minio_cluster_usage_deletemarker_total" "delete markers" = total.delete_markers;
        Gauge "minio_cluster_usage_total_bytes" "bytes of all versions" = total.size_bytes;
        Gauge "minio_cluster_objects_size_distribution" "versions by range of size" in sizes;
        Gauge "minio_usage_last_activity_nano_seconds" "age of these counts" = age_ns;
    }
}

fn requests(page: &mut Page, snapshot: &Snapshot) {
    let sum = |of: fn(&CallCounts) -> u64| -> u64 { snapshot.calls.iter().map(|(_, call)| of(call)).sum() };
    let s3 = || vec![("type", "s3".to_owned())];
    let received = [(s3(), sum(|c| c.received_bytes))];
    let count =
        snapshot.calls.iter().map(|(api, call)| (vec![("api", api.to_ascii_lowercase())], call.requests));
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a process fit the 53 bits of a float")]
    let seconds = snapshot
        .calls
        .iter()
        .map(|(api, call)| (vec![("api", api.to_ascii_lowercase())], call.duration_us as f64 / 1e6));
    families! { page;
        Counter "minio_s3_requests_total" "requests" in calls(snapshot, |c| c.requests);
        Counter "minio_s3_requests_4xx_errors_total" "requests refused" in calls(snapshot, |c| c.errors_4xx);
        Counter "minio_s3_requests_5xx_errors_total" "requests failed" in calls(snapshot, |c| c.errors_5xx);
        Counter "minio_s3_requests_ttfb_seconds_distribution" "requests by time to the answer" in times(snapshot);
        Counter "minio_s3_traffic_received_bytes" "bytes of request bodies" in received;
        Counter "minio_s3_traffic_sent_bytes" "bytes of answers" in [(s3(), sum(|c| c.sent_bytes))];
        Counter "minio_http_requests_duration_seconds_count" "requests" in count;
        Counter "minio_http_requests_duration_seconds_sum" "seconds until the answers" in seconds;
    }
}

fn notifications(page: &mut Page, snapshot: &Snapshot) {
    let targets = &snapshot.targets;
    let sum = |of: fn(&TargetReport) -> u64| -> u64 { targets.iter().map(of).sum() };
    let in_progress = sum(|t| t.in_progress);
    let tried = sum(|t| t.delivered + t.failed);
    families! { page;
        Gauge "minio_notify_current_send_in_progress" "deliveries under way" = in_progress;
        Counter "minio_notify_events_sent_total" "tries, with those that failed" = tried;
        Counter "minio_notify_events_errors_total" "tries that failed" = sum(|t| t.failed);
        Counter "minio_notify_events_skipped_total" "accesses that could not be recorded" = snapshot.accesses_lost;
    }
    let mut of_target = |kind, name: &str, help: &str, of: fn(&TargetReport) -> u64| {
        let series = targets.iter().map(|report| {
            let id = ("target_id", report.target.id.clone());
            (vec![id, ("target_name", report.target.kind.to_owned())], of(report))
        });
        page.family(kind, name, help, series);
    };
    of_target(Counter, "minio_notify_target_total_events", "tries, with those that failed", |t| {
        t.delivered + t.failed
    });
    of_target(Counter, "minio_notify_target_failed_events", "tries that failed", |t| t.failed);
    of_target(Gauge, "minio_notify_target_current_send_in_progress", "deliveries under way", |t| {
        t.in_progress
    });
    of_target(Gauge, "minio_notify_target_queue_length", "changes that wait for the target", |t| t.waiting);
    of_target(Gauge, "minio_notify_target_online", "whether the last contact went well", |t| {
        u64::from(t.is_online)
    });
    // What MinIO has no name for.
    of_target(Counter, "tidings_notify_target_delivered_total", "records acknowledged", |t| t.delivered);
    of_target(
        Counter,
        "tidings_notify_target_retries_total",
        "tries of records that were tried before",
        |t| t.retried,
    );
    of_target(Gauge, "tidings_notify_target_waiting_bytes", "bytes of changes that wait", |t| {
        t.waiting_bytes
    });
    of_target(Gauge, "tidings_notify_target_lag_seconds", "how long the oldest of them has waited", |t| {
        t.oldest_wait_ms / 1000
    });
    of_target(
        Gauge,
        "tidings_notify_target_oldest_seconds",
        "when it happened, seconds since 1970; 0 for none",
        |t| t.oldest.map_or(0, |sequence| sequence.0 / 1_000_000_000),
    );
    of_target(
        Counter,
        "tidings_notify_target_dropped_total",
        "changes given up at the target's bound",
        |t| t.dropped,
    );
    of_target(Gauge, "tidings_notify_target_dead_letters", "records refused for what they hold", |t| {
        t.dead_letters
    });
    of_target(Gauge, "tidings_notify_target_paused", "whether an operator paused it", |t| {
        u64::from(t.is_paused)
    });
}

fn process(page: &mut Page, snapshot: &Snapshot) {
    let process = &snapshot.process;
    let started_s = snapshot.started_ms / 1000;
    let uptime_s = snapshot.now_ms.saturating_sub(snapshot.started_ms) / 1000;
    families! { page;
        Gauge "minio_node_file_descriptor_open_total" "open files" = process.open_files;
        Counter "minio_node_io_rchar_bytes" "bytes read by system calls" = process.read_bytes;
        Counter "minio_node_io_wchar_bytes" "bytes written by system calls" = process.written_bytes;
        Counter "minio_node_syscall_read_total" "system calls that read" = process.read_calls;
        Counter "minio_node_syscall_write_total" "system calls that write" = process.write_calls;
        Counter "minio_node_process_cpu_total_seconds" "processor time" = process.cpu_s;
        Gauge "minio_node_process_resident_memory_bytes" "memory in use" = process.resident_bytes;
        Gauge "minio_node_process_starttime_seconds" "when the process started" = started_s;
        Gauge "minio_node_process_uptime_seconds" "how long ago that is" = uptime_s;
        Gauge "minio_node_thread_total" "threads of the process" = process.threads;
    }
}

fn of_drives(snapshot: &Snapshot, of: fn(&DriveReport) -> u64) -> Vec<(Labels, u64)> {
    let drives = snapshot.sets.iter().flat_map(|set| &set.drives);
    drives.map(|drive| (vec![("drive", drive.path.clone())], of(drive))).collect()
}

fn buckets(snapshot: &Snapshot, of: fn(&BucketUsage) -> u64) -> Vec<(Labels, u64)> {
    let buckets = snapshot.count.iter().flat_map(|count| &count.buckets);
    buckets.map(|usage| (vec![("bucket", usage.name.clone())], of(usage))).collect()
}

fn ranges(snapshot: &Snapshot, of: fn(&BucketUsage) -> Vec<(&'static str, u64)>) -> Vec<(Labels, u64)> {
    let buckets = snapshot.count.iter().flat_map(|count| &count.buckets);
    let rows = buckets.flat_map(|usage| {
        of(usage)
            .into_iter()
            .map(|(range, count)| (vec![("bucket", usage.name.clone()), ("range", range.to_owned())], count))
    });
    rows.collect()
}

fn range_label(range: &'static str) -> Labels {
    vec![("range", range.to_owned())]
}

fn calls(snapshot: &Snapshot, of: fn(&CallCounts) -> u64) -> Vec<(Labels, u64)> {
    named_calls(snapshot, "api", of)
}

fn named_calls(snapshot: &Snapshot, label: &'static str, of: fn(&CallCounts) -> u64) -> Vec<(Labels, u64)> {
    let rows = snapshot
        .calls
        .iter()
        .map(|(api, call)| (vec![(label, api.to_ascii_lowercase()), ("type", "s3".to_owned())], of(call)));
    rows.filter(|(_, count)| *count > 0).collect()
}

/// Requests by call and by how long they took at most.
fn times(snapshot: &Snapshot) -> Vec<(Labels, u64)> {
    let rows = snapshot.calls.iter().flat_map(|(api, call)| {
        let bounds = DURATION_BOUNDS_MS.iter().map(|bound_ms| seconds(*bound_ms)).chain(["+Inf".to_owned()]);
        let counts = call.durations.into_iter().chain([call.requests]);
        bounds.zip(counts).map(|(bound, count)| {
            (vec![("api", api.to_ascii_lowercase()), ("le", bound), ("type", "s3".to_owned())], count)
        })
    });
    rows.collect()
}

/// Milliseconds as a decimal number of seconds: `0.05`, `10`.
fn seconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tidings_notify::{TargetId, TargetReport};

    use super::super::{Counters, Page, Process, Snapshot};
    use super::{bucket, cluster, node, oldest, seconds, v3_notification};
    use crate::admin::drives;
    use crate::admin::usage::{BucketUsage, Count};

    pub(in super::super) fn snapshot() -> Snapshot {
        let counters = Counters::default();
        counters.count("putobject", 200, 10, 0, Duration::from_millis(60));
        let photos =
            BucketUsage { name: "photos".to_owned(), objects: 2, size_bytes: 7, ..BucketUsage::default() };
        Snapshot {
            sets: drives::samples(),
            count: Some(Arc::new(Count::of(vec![photos]))),
            targets: vec![TargetReport {
                target: TargetId { id: "1".to_owned(), kind: "kafka" },
                arn: "arn:minio:sqs::1:kafka".to_owned(),
                is_online: false,
                reason: "connection refused".to_owned(),
                delivered: 5,
                failed: 2,
                waiting: 9,
                oldest_wait_ms: 61_500,
                dead_letters: 4,
                dropped: 8,
                in_progress: 1,
                ..TargetReport::default()
            }],
            calls: counters.read(),
            accesses_lost: 3,
            process: Process::default(),
            started_ms: 1_800_000_000_000,
            now_ms: 1_800_000_060_000,
        }
    }

    fn text(write: super::super::Write) -> String {
        text_of(write, &snapshot())
    }

    pub(in super::super) fn text_of(write: super::super::Write, snapshot: &Snapshot) -> String {
        let mut page = Page::new("h:9000");
        write(&mut page, snapshot);
        page.finish()
    }

    pub(in super::super) fn has(page: &str, line: &str) {
        assert!(page.lines().any(|have| have == line), "{line} is not on the page:\n{page}");
    }

    #[test]
    fn the_cluster_page_tells_drives_capacity_usage_requests_and_targets() {
        let page = text(cluster);
        has(&page, "minio_cluster_drive_online_total{server=\"h:9000\"} 8");
        has(&page, "minio_cluster_capacity_usable_total_bytes{server=\"h:9000\"} 6000");
        has(&page, "minio_cluster_usage_object_total{server=\"h:9000\"} 2");
        has(&page, "minio_s3_requests_total{api=\"putobject\",type=\"s3\",server=\"h:9000\"} 1");
        has(
            &page,
            "minio_notify_target_queue_length{target_id=\"1\",target_name=\"kafka\",server=\"h:9000\"} 9",
        );
        has(
            &page,
            "minio_notify_target_total_events{target_id=\"1\",target_name=\"kafka\",server=\"h:9000\"} 7",
        );
        let of_kafka = "{target_id=\"1\",target_name=\"kafka\",server=\"h:9000\"}";
        has(&page, &format!("tidings_notify_target_lag_seconds{of_kafka} 61"));
        has(&page, &format!("tidings_notify_target_dead_letters{of_kafka} 4"));
        has(&page, &format!("tidings_notify_target_dropped_total{of_kafka} 8"));
        has(&page, "minio_notify_events_errors_total{server=\"h:9000\"} 2");
        has(&page, "minio_cluster_health_status{server=\"h:9000\"} 0");
        let status = |pool: u8, status: u8| {
            format!(
                "minio_cluster_health_erasure_set_status{{pool=\"{pool}\",set=\"0\",server=\"h:9000\"}} {status}"
            )
        };
        has(&page, &status(0, 1));
        has(&page, &status(1, 0));
        let le = "minio_s3_requests_ttfb_seconds_distribution{api=\"putobject\",le=\"0.05\",type=\"s3\",server=\"h:9000\"} 0";
        has(&page, le);
    }

    #[test]
    fn the_other_pages_tell_drives_buckets_and_the_oldest_names() {
        has(&text(node), "minio_node_drive_free_bytes{drive=\"/data/d1\",server=\"h:9000\"} 700");
        has(&text(node), "minio_node_process_uptime_seconds{server=\"h:9000\"} 60");
        has(&text(bucket), "minio_bucket_usage_total_bytes{bucket=\"photos\",server=\"h:9000\"} 7");
        has(&text(oldest), "bucket_objects_count{bucket=\"photos\",server=\"h:9000\"} 2");
        let histogram = "bucket_objects_histogram{bucket=\"photos\",object_size=\"LESS_THAN_1024_B\",server=\"h:9000\"} 0";
        has(&text(oldest), histogram);
        has(&text(v3_notification), "minio_notification_events_sent_total{server=\"h:9000\"} 5");
    }

    #[test]
    fn no_family_stands_twice_on_a_page() {
        for write in [cluster, node, bucket, oldest] {
            let page = text(write);
            let mut names: Vec<&str> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{page}");
        }
    }

    #[test]
    fn bounds_are_written_in_seconds() {
        assert_eq!([50, 1000, 2500, 10_000].map(seconds), ["0.05", "1", "2.5", "10"]);
    }
}
