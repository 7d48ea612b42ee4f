//! The families of healing: under MinIO's names what is healed, under ours how many copies of what there is are left.
//!
//! `tidings_objects` says for every object how many more drives it outlives; when all of a set stand at its parity,
//! everything is whole. Both names of MinIO's for failures are told: dashboards are of either age.

use store::SetReport;
use tidings_store as store;

use super::Snapshot;
use super::exposition::Kind::{Counter, Gauge};
use super::exposition::{Kind, Page};
use crate::admin::drives;

type Labels = Vec<(&'static str, String)>;

/// What is healed, under MinIO's names.
pub(super) fn healed(page: &mut Page, snapshot: &Snapshot) {
    let sum = |of: fn(&SetReport) -> u64| -> u64 { snapshot.sets.iter().map(of).sum() };
    let objects = || vec![("type", "object".to_owned())];
    let lost = sum(|set| set.heal.lost);
    for name in ["minio_heal_objects_errors_total", "minio_heal_objects_error_total"] {
        page.one(Counter, name, "parts that parity does not make up for", lost);
    }
    let seen = [(objects(), sum(|set| set.heal.objects_seen))];
    page.family(Counter, "minio_heal_objects_total", "objects that healing and the scrub looked at", seen);
    let healed = [(objects(), sum(|set| set.heal.objects_healed))];
    page.family(Counter, "minio_heal_objects_heal_total", "objects of which a part was rebuilt", healed);
    // Before anything was healed there is no time since.
    if let Some(last_ns) =
        snapshot.sets.iter().map(|set| set.heal.last_activity_ns).max().filter(|last| *last > 0)
    {
        let since_ns = snapshot.now_ms.saturating_mul(1_000_000).saturating_sub(last_ns);
        let help = "how long ago something was healed or scrubbed";
        page.one(Gauge, "minio_heal_time_last_activity_nano_seconds", help, since_ns);
    }
}

/// How many copies are left, how far healing and the scrub are.
pub(super) fn redundancy(page: &mut Page, snapshot: &Snapshot) {
    let objects = snapshot.sets.iter().enumerate().flat_map(|(pool, set)| {
        set.heal.redundancy.iter().enumerate().map(move |(drives, count)| {
            let mut labels = label(pool);
            labels.push(("outlives_drives", drives.to_string()));
            (labels, *count)
        })
    });
    page.family(
        Gauge,
        "tidings_objects",
        "keys by the number of drives more whose loss they outlive",
        objects,
    );
    let mut of_sets = |kind: Kind, name: &str, help: &str, of: fn(&SetReport) -> u64| {
        let series = snapshot.sets.iter().enumerate().map(|(pool, set)| (label(pool), of(set)));
        page.family(kind, name, help, series);
    };
    of_sets(Gauge, "tidings_objects_whole", "keys that every drive holds its part of", |set| {
        set.heal.objects - set.heal.objects_short
    });
    of_sets(Gauge, "tidings_objects_short", "keys that a drive lacks its part of", |set| {
        set.heal.objects_short
    });
    of_sets(Gauge, "tidings_parts_lost", "frames and bodies that parity does not make up for", |set| {
        set.heal.lost
    });
    of_sets(Counter, "tidings_heal_bytes_total", "bytes rebuilt and written", |set| set.heal.bytes_healed);
    of_sets(Counter, "tidings_heal_drives_total", "drives healed", |set| set.heal.drives_healed);
    of_sets(Counter, "tidings_damages_found_total", "parts found missing or damaged", |set| {
        set.heal.damages_found
    });
    of_sets(Counter, "tidings_damages_repaired_total", "of those, rebuilt", |set| set.heal.damages_repaired);
    of_sets(Counter, "tidings_scrub_bytes_total", "bytes read back by the scrub", |set| {
        set.heal.bytes_scrubbed
    });
    of_sets(Counter, "tidings_scrub_rounds_total", "rounds of the scrub over everything", |set| {
        set.heal.scrubs
    });
    of_sets(
        Gauge,
        "tidings_scrub_last_round_timestamp_seconds",
        "when a round was last over, 0 if none ever was",
        |set| set.heal.scrubbed_s,
    );
    let scrubs = snapshot.sets.iter().enumerate().map(|(pool, set)| (label(pool), set.heal.scrub.ratio()));
    page.family(Gauge, "tidings_scrub_progress_ratio", "how much of the round is done", scrubs);
    let healing = snapshot.sets.iter().enumerate().flat_map(|(pool, set)| {
        set.heal.healing.iter().map(move |drive| {
            let mut labels = label(pool);
            labels.push(("drive", drive.clone()));
            (labels, set.heal.progress.ratio())
        })
    });
    page.family(Gauge, "tidings_heal_drive_progress_ratio", "how far the heal of a drive is", healing);
}

/// `/minio/metrics/v3/cluster/erasure-set`.
pub(super) fn v3_erasure_set(page: &mut Page, snapshot: &Snapshot) {
    let mut of_sets = |end: &str, help: &str, of: fn(&SetReport) -> usize| {
        let series =
            snapshot.sets.iter().enumerate().map(|(pool, set)| {
                (vec![("pool_id", pool.to_string()), ("set_id", "0".to_owned())], of(set))
            });
        page.family(Gauge, &format!("minio_cluster_erasure_set_{end}"), help, series);
    };
    of_sets("online_drives_count", "drives that take part", online);
    of_sets("healing_drives_count", "drives that are being healed", |set| {
        drives::healing(std::slice::from_ref(set))
    });
    of_sets("read_quorum", "drives that a read needs", |set| set.read_quorum);
    of_sets("write_quorum", "drives that a write waits for", |set| set.write_quorum);
    of_sets("read_tolerance", "drives that may go before reads stop", |set| {
        online(set).saturating_sub(set.read_quorum)
    });
    of_sets("write_tolerance", "drives that may go before writes stop", |set| {
        online(set).saturating_sub(set.write_quorum)
    });
    of_sets("read_health", "whether everything can be read", |set| usize::from(set.readable));
    of_sets("write_health", "whether writes are taken", |set| usize::from(set.writable));
    of_sets("health", "whether writes are taken", |set| usize::from(set.writable));
}

/// Drives that are written and read.
pub(super) fn online(set: &SetReport) -> usize {
    set.drives.iter().filter(|drive| drive.state == store::DriveState::Online).count()
}

fn label(pool: usize) -> Labels {
    vec![("pool", pool.to_string())]
}

#[cfg(test)]
mod tests {
    use super::super::families::tests::{has, snapshot, text_of};
    use super::{healed, redundancy, v3_erasure_set};
    use crate::admin::drives;

    fn healing() -> super::Snapshot {
        super::Snapshot { sets: vec![drives::healing_sample()], now_ms: 1_768_478_407_000, ..snapshot() }
    }

    #[test]
    fn healing_is_told_under_minios_names() {
        let page = text_of(healed, &healing());
        has(&page, "minio_heal_objects_total{type=\"object\",server=\"h:9000\"} 130");
        has(&page, "minio_heal_objects_heal_total{type=\"object\",server=\"h:9000\"} 31");
        has(&page, "minio_heal_objects_errors_total{server=\"h:9000\"} 1");
        has(&page, "minio_heal_objects_error_total{server=\"h:9000\"} 1");
        has(&page, "minio_heal_time_last_activity_nano_seconds{server=\"h:9000\"} 2000000000");
        let never = text_of(healed, &snapshot());
        assert!(!never.contains("minio_heal_time_last_activity"), "{never}");
    }

    #[test]
    fn every_object_stands_by_the_drives_it_outlives_and_heal_and_scrub_by_their_shares() {
        let page = text_of(redundancy, &healing());
        has(&page, "tidings_objects{pool=\"0\",outlives_drives=\"3\",server=\"h:9000\"} 39");
        has(&page, "tidings_objects{pool=\"0\",outlives_drives=\"4\",server=\"h:9000\"} 0");
        has(&page, "tidings_objects_whole{pool=\"0\",server=\"h:9000\"} 0");
        has(&page, "tidings_objects_short{pool=\"0\",server=\"h:9000\"} 40");
        has(&page, "tidings_heal_drive_progress_ratio{pool=\"0\",drive=\"/data/d8\",server=\"h:9000\"} 0.75");
        has(&page, "tidings_scrub_progress_ratio{pool=\"0\",server=\"h:9000\"} 0.25");
        has(&page, "tidings_scrub_last_round_timestamp_seconds{pool=\"0\",server=\"h:9000\"} 1768400000");
    }

    #[test]
    fn a_set_tells_how_many_drives_may_go_and_a_healing_one_does_not_count() {
        let page = text_of(v3_erasure_set, &healing());
        let has = |name: &str, value: u8| {
            let labels = "{pool_id=\"0\",set_id=\"0\",server=\"h:9000\"}";
            has(&page, &format!("minio_cluster_erasure_set_{name}{labels} {value}"));
        };
        has("online_drives_count", 7);
        has("healing_drives_count", 1);
        has("read_tolerance", 3);
        has("write_tolerance", 2);
    }
}
