//! The families of each page: names, help and where their numbers come from.
//!
//! Names are those of the dashboards that are published for MinIO; `minio_` is part of them.

use super::Snapshot;
use super::counters::{CallCounts, DURATION_BOUNDS_MS};
use super::exposition::Kind::{Counter, Gauge};
use super::exposition::Page;
use crate::admin::drives;
use crate::admin::usage::BucketUsage;

type Labels = Vec<(&'static str, String)>;

/// `/minio/v2/metrics/cluster`.
pub(super) fn cluster(page: &mut Page, snapshot: &Snapshot) {
    capacity(page, snapshot);
    health(page, snapshot);
    usage(page, snapshot);
    requests(page, snapshot);
    notifications(page, snapshot);
    let version = [(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1)];
    page.family(
        Gauge,
        "minio_software_version_info",
        "the version of the server",
        version,
    );
}

/// `/minio/v2/metrics/node` and `/minio/v2/metrics/resource`.
pub(super) fn node(page: &mut Page, snapshot: &Snapshot) {
    let (online, offline) = drives::count(&snapshot.report);
    page.one(
        Gauge,
        "minio_node_drive_online_total",
        "drives that take part",
        online,
    );
    page.one(
        Gauge,
        "minio_node_drive_offline_total",
        "drives that do not",
        offline,
    );
    page.one(Gauge, "minio_node_drive_total", "drives", online + offline);
    drive_family(
        page,
        snapshot,
        "minio_node_drive_total_bytes",
        "size of the file system",
        |d| d.total_bytes,
    );
    drive_family(page, snapshot, "minio_node_drive_free_bytes", "bytes free", |d| {
        d.free_bytes
    });
    let used = |d: &tidings_store::DriveReport| d.total_bytes.saturating_sub(d.free_bytes);
    drive_family(
        page,
        snapshot,
        "minio_node_drive_used_bytes",
        "bytes in use",
        used,
    );
    drive_family(
        page,
        snapshot,
        "minio_node_drive_free_inodes",
        "inodes free",
        |d| d.inodes.1,
    );
    process(page, snapshot);
}

/// `/minio/v2/metrics/bucket`.
pub(super) fn bucket(page: &mut Page, snapshot: &Snapshot) {
    buckets(
        page,
        snapshot,
        "minio_bucket_usage_total_bytes",
        "bytes of all versions",
        |b| b.size_bytes,
    );
    buckets(
        page,
        snapshot,
        "minio_bucket_usage_object_total",
        "objects",
        |b| b.objects,
    );
    buckets(
        page,
        snapshot,
        "minio_bucket_usage_version_total",
        "versions",
        |b| b.versions,
    );
    let name = "minio_bucket_usage_deletemarker_total";
    buckets(page, snapshot, name, "delete markers", |b| b.delete_markers);
    let (name, help) = (
        "minio_bucket_objects_size_distribution",
        "versions by range of size",
    );
    page.family(Gauge, name, help, ranges(snapshot, BucketUsage::size_histogram));
    let (name, help) = (
        "minio_bucket_objects_version_distribution",
        "keys by range of versions",
    );
    page.family(
        Gauge,
        name,
        help,
        ranges(snapshot, BucketUsage::version_histogram),
    );
}

/// `/minio/prometheus/metrics`.
pub(super) fn oldest(page: &mut Page, snapshot: &Snapshot) {
    let (online, offline) = drives::count(&snapshot.report);
    let capacity = Capacity::of(snapshot);
    buckets(page, snapshot, "bucket_objects_count", "objects", |b| b.objects);
    buckets(
        page,
        snapshot,
        "bucket_usage_size",
        "bytes of all versions",
        |b| b.size_bytes,
    );
    let mut histogram = ranges(snapshot, BucketUsage::size_histogram);
    for (labels, _) in &mut histogram {
        labels[1].0 = "object_size";
    }
    page.family(
        Gauge,
        "bucket_objects_histogram",
        "versions by range of size",
        histogram,
    );
    page.one(Gauge, "minio_nodes_online", "servers that answer", 1);
    page.one(Gauge, "minio_nodes_offline", "servers that do not", 0);
    page.one(
        Gauge,
        "minio_disks_offline",
        "drives that do not take part",
        offline,
    );
    page.one(Gauge, "minio_drives_total", "drives", online + offline);
    page.one(
        Gauge,
        "minio_capacity_raw_total",
        "size of all drives in bytes",
        capacity.raw_total,
    );
    page.one(
        Gauge,
        "minio_capacity_raw_free",
        "bytes free on all drives",
        capacity.raw_free,
    );
    page.one(
        Gauge,
        "minio_capacity_usable_total",
        "size without parity in bytes",
        capacity.usable_total,
    );
    page.one(
        Gauge,
        "minio_capacity_usable_free",
        "bytes free without parity",
        capacity.usable_free,
    );
    let version = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("commit", String::new()),
    ];
    page.family(
        Gauge,
        "minio_version_info",
        "the version of the server",
        [(version, 1)],
    );
    page.family(
        Counter,
        "s3_requests_total",
        "requests",
        calls(snapshot, |c| c.requests),
    );
    page.family(
        Counter,
        "s3_errors_total",
        "requests refused",
        calls(snapshot, |c| c.errors_4xx + c.errors_5xx),
    );
    let process = &snapshot.process;
    page.one(
        Counter,
        "process_cpu_seconds_total",
        "processor time",
        process.cpu_s,
    );
    page.one(Gauge, "process_open_fds", "open files", process.open_files);
    page.one(
        Gauge,
        "process_resident_memory_bytes",
        "memory in use",
        process.resident_bytes,
    );
    page.one(
        Gauge,
        "process_start_time_seconds",
        "when the process started",
        snapshot.started_ms / 1000,
    );
}

/// `/minio/metrics/v3/notification`.
pub(super) fn v3_notification(page: &mut Page, snapshot: &Snapshot) {
    let targets = &snapshot.targets;
    let sum = |of: fn(&tidings_notify::TargetReport) -> u64| -> u64 { targets.iter().map(of).sum() };
    let (in_progress, failed) = (sum(|t| t.in_progress), sum(|t| t.failed));
    page.one(
        Gauge,
        "minio_notification_current_send_in_progress",
        "deliveries under way",
        in_progress,
    );
    page.one(
        Counter,
        "minio_notification_events_errors_total",
        "tries that failed",
        failed,
    );
    page.one(
        Counter,
        "minio_notification_events_sent_total",
        "records acknowledged",
        sum(|t| t.delivered),
    );
    page.one(
        Counter,
        "minio_notification_events_skipped_total",
        "records dropped, which does not happen",
        0,
    );
}

/// `/minio/metrics/v3/cluster/health`.
pub(super) fn v3_health(page: &mut Page, snapshot: &Snapshot) {
    let (online, offline) = drives::count(&snapshot.report);
    let capacity = Capacity::of(snapshot);
    page.one(
        Gauge,
        "minio_cluster_health_drives_online_count",
        "drives that take part",
        online,
    );
    page.one(
        Gauge,
        "minio_cluster_health_drives_offline_count",
        "drives that do not",
        offline,
    );
    page.one(
        Gauge,
        "minio_cluster_health_drives_count",
        "drives",
        online + offline,
    );
    page.one(
        Gauge,
        "minio_cluster_health_nodes_online_count",
        "servers that answer",
        1,
    );
    page.one(
        Gauge,
        "minio_cluster_health_nodes_offline_count",
        "servers that do not",
        0,
    );
    let name = |end: &str| format!("minio_cluster_health_capacity_{end}_bytes");
    page.one(
        Gauge,
        &name("raw_total"),
        "size of all drives",
        capacity.raw_total,
    );
    page.one(
        Gauge,
        &name("raw_free"),
        "bytes free on all drives",
        capacity.raw_free,
    );
    page.one(
        Gauge,
        &name("usable_total"),
        "size without parity",
        capacity.usable_total,
    );
    page.one(
        Gauge,
        &name("usable_free"),
        "bytes free without parity",
        capacity.usable_free,
    );
}

/// `/minio/metrics/v3/cluster/usage/objects`.
pub(super) fn v3_usage_objects(page: &mut Page, snapshot: &Snapshot) {
    let Some(count) = &snapshot.count else { return };
    let total = count.total();
    let name = |end: &str| format!("minio_cluster_usage_objects_{end}");
    page.one(
        Gauge,
        &name("total_bytes"),
        "bytes of all versions",
        total.size_bytes,
    );
    page.one(Gauge, &name("count"), "objects", total.objects);
    page.one(Gauge, &name("versions_count"), "versions", total.versions);
    page.one(
        Gauge,
        &name("delete_markers_count"),
        "delete markers",
        total.delete_markers,
    );
    page.one(Gauge, &name("buckets_count"), "buckets", count.buckets.len());
    let sizes = total
        .size_histogram()
        .into_iter()
        .map(|(range, count)| (range_label(range), count));
    page.family(
        Gauge,
        &name("size_distribution"),
        "versions by range of size",
        sizes,
    );
}

/// `/minio/metrics/v3/cluster/usage/buckets`.
pub(super) fn v3_usage_buckets(page: &mut Page, snapshot: &Snapshot) {
    let name = |end: &str| format!("minio_cluster_usage_buckets_{end}");
    buckets(
        page,
        snapshot,
        &name("total_bytes"),
        "bytes of all versions",
        |b| b.size_bytes,
    );
    buckets(page, snapshot, &name("objects_count"), "objects", |b| b.objects);
    buckets(page, snapshot, &name("versions_count"), "versions", |b| {
        b.versions
    });
    buckets(
        page,
        snapshot,
        &name("delete_markers_count"),
        "delete markers",
        |b| b.delete_markers,
    );
}

/// `/minio/metrics/v3/api/requests`.
pub(super) fn v3_requests(page: &mut Page, snapshot: &Snapshot) {
    let name = |end: &str| format!("minio_api_requests_{end}");
    let with_name = |of| named_calls(snapshot, "name", of);
    page.family(Counter, &name("total"), "requests", with_name(|c| c.requests));
    page.family(
        Counter,
        &name("4xx_errors_total"),
        "requests refused",
        with_name(|c| c.errors_4xx),
    );
    page.family(
        Counter,
        &name("5xx_errors_total"),
        "requests failed",
        with_name(|c| c.errors_5xx),
    );
    let sum = |of: fn(&CallCounts) -> u64| -> u64 { snapshot.calls.iter().map(|(_, call)| of(call)).sum() };
    let s3 = || vec![("type", "s3".to_owned())];
    let received = [(s3(), sum(|c| c.received_bytes))];
    page.family(
        Counter,
        "minio_api_requests_traffic_received_bytes",
        "bytes of request bodies",
        received,
    );
    let sent = [(s3(), sum(|c| c.sent_bytes))];
    page.family(
        Counter,
        "minio_api_requests_traffic_sent_bytes",
        "bytes of answers",
        sent,
    );
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
        let report = &snapshot.report;
        let usable = &report.drives[..report.drives.len().saturating_sub(report.parity)];
        Capacity {
            raw_total: report.drives.iter().map(|drive| drive.total_bytes).sum(),
            raw_free: report.drives.iter().map(|drive| drive.free_bytes).sum(),
            usable_total: usable.iter().map(|drive| drive.total_bytes).sum(),
            usable_free: usable.iter().map(|drive| drive.free_bytes).sum(),
        }
    }
}

fn capacity(page: &mut Page, snapshot: &Snapshot) {
    let capacity = Capacity::of(snapshot);
    let name = |end: &str| format!("minio_cluster_capacity_{end}_bytes");
    page.one(
        Gauge,
        &name("raw_total"),
        "size of all drives",
        capacity.raw_total,
    );
    page.one(
        Gauge,
        &name("raw_free"),
        "bytes free on all drives",
        capacity.raw_free,
    );
    page.one(
        Gauge,
        &name("usable_total"),
        "size without parity",
        capacity.usable_total,
    );
    page.one(
        Gauge,
        &name("usable_free"),
        "bytes free without parity",
        capacity.usable_free,
    );
}

fn health(page: &mut Page, snapshot: &Snapshot) {
    let report = &snapshot.report;
    let (online, offline) = drives::count(report);
    page.one(
        Gauge,
        "minio_cluster_drive_online_total",
        "drives that take part",
        online,
    );
    page.one(
        Gauge,
        "minio_cluster_drive_offline_total",
        "drives that do not",
        offline,
    );
    page.one(Gauge, "minio_cluster_drive_total", "drives", online + offline);
    page.one(
        Gauge,
        "minio_cluster_nodes_online_total",
        "servers that answer",
        1,
    );
    page.one(
        Gauge,
        "minio_cluster_nodes_offline_total",
        "servers that do not",
        0,
    );
    let is_healthy = u8::from(report.writable);
    page.one(
        Gauge,
        "minio_cluster_health_status",
        "whether writes are taken",
        is_healthy,
    );
    page.one(
        Gauge,
        "minio_cluster_write_quorum",
        "drives that a write waits for",
        report.write_quorum,
    );
    let mut of_set = |end: &str, help: &str, value: usize| {
        let set: Labels = vec![("pool", "0".to_owned()), ("set", "0".to_owned())];
        page.family(
            Gauge,
            &format!("minio_cluster_health_erasure_set_{end}"),
            help,
            [(set, value)],
        );
    };
    of_set("online_drives", "drives that take part", online);
    of_set("healing_drives", "drives that are being repaired", 0);
    of_set("read_quorum", "drives that a read needs", report.read_quorum);
    of_set(
        "write_quorum",
        "drives that a write waits for",
        report.write_quorum,
    );
    of_set("status", "whether writes are taken", usize::from(report.writable));
}

fn usage(page: &mut Page, snapshot: &Snapshot) {
    let Some(count) = &snapshot.count else { return };
    let total = count.total();
    page.one(
        Gauge,
        "minio_cluster_bucket_total",
        "buckets",
        count.buckets.len(),
    );
    page.one(
        Gauge,
        "minio_cluster_usage_object_total",
        "objects",
        total.objects,
    );
    page.one(
        Gauge,
        "minio_cluster_usage_version_total",
        "versions",
        total.versions,
    );
    page.one(
        Gauge,
        "minio_cluster_usage_deletemarker_total",
        "delete markers",
        total.delete_markers,
    );
    page.one(
        Gauge,
        "minio_cluster_usage_total_bytes",
        "bytes of all versions",
        total.size_bytes,
    );
    let sizes = total
        .size_histogram()
        .into_iter()
        .map(|(range, count)| (range_label(range), count));
    page.family(
        Gauge,
        "minio_cluster_objects_size_distribution",
        "versions by range of size",
        sizes,
    );
    let age_ns = snapshot
        .now_ms
        .saturating_sub(count.counted_ms)
        .saturating_mul(1_000_000);
    page.one(
        Gauge,
        "minio_usage_last_activity_nano_seconds",
        "age of these counts",
        age_ns,
    );
}

fn requests(page: &mut Page, snapshot: &Snapshot) {
    let name = |end: &str| format!("minio_s3_requests_{end}");
    page.family(
        Counter,
        &name("total"),
        "requests",
        calls(snapshot, |c| c.requests),
    );
    page.family(
        Counter,
        &name("4xx_errors_total"),
        "requests refused",
        calls(snapshot, |c| c.errors_4xx),
    );
    page.family(
        Counter,
        &name("5xx_errors_total"),
        "requests failed",
        calls(snapshot, |c| c.errors_5xx),
    );
    page.family(
        Counter,
        &name("ttfb_seconds_distribution"),
        "requests by time to the answer",
        times(snapshot),
    );
    let sum = |of: fn(&CallCounts) -> u64| -> u64 { snapshot.calls.iter().map(|(_, call)| of(call)).sum() };
    let s3 = || vec![("type", "s3".to_owned())];
    let received = [(s3(), sum(|c| c.received_bytes))];
    page.family(
        Counter,
        "minio_s3_traffic_received_bytes",
        "bytes of request bodies",
        received,
    );
    page.family(
        Counter,
        "minio_s3_traffic_sent_bytes",
        "bytes of answers",
        [(s3(), sum(|c| c.sent_bytes))],
    );
    let count = snapshot
        .calls
        .iter()
        .map(|(api, call)| (vec![("api", (*api).to_owned())], call.requests));
    page.family(
        Counter,
        "minio_http_requests_duration_seconds_count",
        "requests",
        count,
    );
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of a process fit the 53 bits of a float"
    )]
    let seconds = snapshot
        .calls
        .iter()
        .map(|(api, call)| (vec![("api", (*api).to_owned())], call.duration_us as f64 / 1e6));
    page.family(
        Counter,
        "minio_http_requests_duration_seconds_sum",
        "seconds until the answers",
        seconds,
    );
}

fn notifications(page: &mut Page, snapshot: &Snapshot) {
    let targets = &snapshot.targets;
    let sum = |of: fn(&tidings_notify::TargetReport) -> u64| -> u64 { targets.iter().map(of).sum() };
    let in_progress = sum(|t| t.in_progress);
    page.one(
        Gauge,
        "minio_notify_current_send_in_progress",
        "deliveries under way",
        in_progress,
    );
    let tried = sum(|t| t.delivered + t.failed);
    page.one(
        Counter,
        "minio_notify_events_sent_total",
        "tries, with those that failed",
        tried,
    );
    page.one(
        Counter,
        "minio_notify_events_errors_total",
        "tries that failed",
        sum(|t| t.failed),
    );
    page.one(
        Counter,
        "minio_notify_events_skipped_total",
        "records dropped, which does not happen",
        0,
    );
    let mut of_target = |kind, name: &str, help: &str, of: fn(&tidings_notify::TargetReport) -> u64| {
        let series = targets.iter().map(|report| {
            let id = ("target_id", report.target.id.clone());
            (
                vec![id, ("target_name", report.target.kind.to_owned())],
                of(report),
            )
        });
        page.family(kind, &format!("minio_notify_target_{name}"), help, series);
    };
    of_target(Counter, "total_events", "tries, with those that failed", |t| {
        t.delivered + t.failed
    });
    of_target(Counter, "failed_events", "tries that failed", |t| t.failed);
    of_target(Gauge, "current_send_in_progress", "deliveries under way", |t| {
        t.in_progress
    });
    of_target(Gauge, "queue_length", "changes that wait for the target", |t| {
        t.waiting
    });
    of_target(Gauge, "online", "whether the last contact went well", |t| {
        u64::from(t.is_online)
    });
}

fn process(page: &mut Page, snapshot: &Snapshot) {
    let process = &snapshot.process;
    page.one(
        Gauge,
        "minio_node_file_descriptor_open_total",
        "open files",
        process.open_files,
    );
    page.one(
        Counter,
        "minio_node_io_rchar_bytes",
        "bytes read by system calls",
        process.read_bytes,
    );
    page.one(
        Counter,
        "minio_node_io_wchar_bytes",
        "bytes written by system calls",
        process.written_bytes,
    );
    page.one(
        Counter,
        "minio_node_syscall_read_total",
        "system calls that read",
        process.read_calls,
    );
    page.one(
        Counter,
        "minio_node_syscall_write_total",
        "system calls that write",
        process.write_calls,
    );
    page.one(
        Counter,
        "minio_node_process_cpu_total_seconds",
        "processor time",
        process.cpu_s,
    );
    page.one(
        Gauge,
        "minio_node_process_resident_memory_bytes",
        "memory in use",
        process.resident_bytes,
    );
    let started_s = snapshot.started_ms / 1000;
    page.one(
        Gauge,
        "minio_node_process_starttime_seconds",
        "when the process started",
        started_s,
    );
    let uptime_s = snapshot.now_ms.saturating_sub(snapshot.started_ms) / 1000;
    page.one(
        Gauge,
        "minio_node_process_uptime_seconds",
        "how long ago that is",
        uptime_s,
    );
    page.one(
        Gauge,
        "minio_node_thread_total",
        "threads of the process",
        process.threads,
    );
}

fn drive_family(
    page: &mut Page,
    snapshot: &Snapshot,
    name: &str,
    help: &str,
    of: fn(&tidings_store::DriveReport) -> u64,
) {
    let drives = snapshot
        .report
        .drives
        .iter()
        .map(|drive| (vec![("drive", drive.path.clone())], of(drive)));
    page.family(Gauge, name, help, drives);
}

fn buckets(page: &mut Page, snapshot: &Snapshot, name: &str, help: &str, of: fn(&BucketUsage) -> u64) {
    let buckets = snapshot.count.iter().flat_map(|count| &count.buckets);
    page.family(
        Gauge,
        name,
        help,
        buckets.map(|usage| (vec![("bucket", usage.name.clone())], of(usage))),
    );
}

fn ranges(snapshot: &Snapshot, of: fn(&BucketUsage) -> Vec<(&'static str, u64)>) -> Vec<(Labels, u64)> {
    let buckets = snapshot.count.iter().flat_map(|count| &count.buckets);
    let rows = buckets.flat_map(|usage| {
        of(usage).into_iter().map(|(range, count)| {
            (
                vec![("bucket", usage.name.clone()), ("range", range.to_owned())],
                count,
            )
        })
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
    let rows = snapshot.calls.iter().map(|(api, call)| {
        (
            vec![(label, (*api).to_owned()), ("type", "s3".to_owned())],
            of(call),
        )
    });
    rows.filter(|(_, count)| *count > 0).collect()
}

/// Requests by call and by how long they took at most.
fn times(snapshot: &Snapshot) -> Vec<(Labels, u64)> {
    let rows = snapshot.calls.iter().flat_map(|(api, call)| {
        let bounds = DURATION_BOUNDS_MS
            .iter()
            .map(|bound_ms| seconds(*bound_ms))
            .chain(["+Inf".to_owned()]);
        let counts = call.durations.into_iter().chain([call.requests]);
        bounds.zip(counts).map(|(bound, count)| {
            (
                vec![
                    ("api", (*api).to_owned()),
                    ("le", bound),
                    ("type", "s3".to_owned()),
                ],
                count,
            )
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
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tidings_notify::{TargetId, TargetReport};

    use super::super::{Counters, Page, Process, Snapshot};
    use super::{bucket, cluster, node, oldest, seconds, v3_notification};
    use crate::admin::drives;
    use crate::admin::usage::{BucketUsage, Count};

    fn snapshot() -> Snapshot {
        let counters = Counters::default();
        counters.count("putobject", 200, 10, 0, Duration::from_millis(60));
        let photos = BucketUsage {
            name: "photos".to_owned(),
            objects: 2,
            size_bytes: 7,
            ..BucketUsage::default()
        };
        Snapshot {
            report: drives::sample(),
            count: Some(Arc::new(Count::of(vec![photos]))),
            targets: vec![TargetReport {
                target: TargetId {
                    id: "1".to_owned(),
                    kind: "kafka",
                },
                arn: "arn:minio:sqs::1:kafka".to_owned(),
                is_online: false,
                reason: "connection refused".to_owned(),
                delivered: 5,
                failed: 2,
                waiting: 9,
                oldest_wait_ms: 0,
                in_progress: 1,
            }],
            calls: counters.read(),
            process: Process::default(),
            started_ms: 1_800_000_000_000,
            now_ms: 1_800_000_060_000,
        }
    }

    fn text(write: super::super::Write) -> String {
        let mut page = Page::new("h:9000");
        write(&mut page, &snapshot());
        page.finish()
    }

    fn has(page: &str, line: &str) {
        assert!(
            page.lines().any(|have| have == line),
            "{line} is not on the page:\n{page}"
        );
    }

    #[test]
    fn the_cluster_page_tells_drives_capacity_usage_requests_and_targets() {
        let page = text(cluster);
        has(&page, "minio_cluster_drive_online_total{server=\"h:9000\"} 7");
        has(
            &page,
            "minio_cluster_capacity_usable_total_bytes{server=\"h:9000\"} 4000",
        );
        has(&page, "minio_cluster_usage_object_total{server=\"h:9000\"} 2");
        has(
            &page,
            "minio_s3_requests_total{api=\"putobject\",type=\"s3\",server=\"h:9000\"} 1",
        );
        has(
            &page,
            "minio_notify_target_queue_length{target_id=\"1\",target_name=\"kafka\",server=\"h:9000\"} 9",
        );
        has(
            &page,
            "minio_notify_target_total_events{target_id=\"1\",target_name=\"kafka\",server=\"h:9000\"} 7",
        );
        has(&page, "minio_notify_events_errors_total{server=\"h:9000\"} 2");
        let le = "minio_s3_requests_ttfb_seconds_distribution{api=\"putobject\",le=\"0.05\",type=\"s3\",server=\"h:9000\"} 0";
        has(&page, le);
    }

    #[test]
    fn the_other_pages_tell_drives_buckets_and_the_oldest_names() {
        has(
            &text(node),
            "minio_node_drive_free_bytes{drive=\"/data/d1\",server=\"h:9000\"} 700",
        );
        has(
            &text(node),
            "minio_node_process_uptime_seconds{server=\"h:9000\"} 60",
        );
        has(
            &text(bucket),
            "minio_bucket_usage_total_bytes{bucket=\"photos\",server=\"h:9000\"} 7",
        );
        has(
            &text(oldest),
            "bucket_objects_count{bucket=\"photos\",server=\"h:9000\"} 2",
        );
        let histogram = "bucket_objects_histogram{bucket=\"photos\",object_size=\"LESS_THAN_1024_B\",server=\"h:9000\"} 0";
        has(&text(oldest), histogram);
        has(
            &text(v3_notification),
            "minio_notification_events_sent_total{server=\"h:9000\"} 5",
        );
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
