//! Drives as admin answers show them.

use serde_json::{Value, json};

use store::{DriveState, SetReport};
use tidings_s3 as s3;
use tidings_store as store;

/// The drives of all sets, in their order.
pub(super) fn documents(sets: &[SetReport]) -> Vec<Value> {
    sets.iter().enumerate().flat_map(|(pool, set)| of_set(pool, set)).collect()
}

/// The drives of one set, which is a pool of its own. The indexes are what `mc admin info` adds the capacity up by.
pub(super) fn of_set(pool: usize, set: &SetReport) -> Vec<Value> {
    let drives = set.drives.iter().enumerate();
    let documents = drives.map(|(index, drive)| {
        let (used_inodes, free_inodes) = drive.inodes;
        let mut document = json!({
            "endpoint": drive.path,
            "path": drive.path,
            "state": match drive.state {
                // MinIO's word for one that can be written; that it is being healed is said beside it.
                DriveState::Online | DriveState::Healing => "ok",
                DriveState::Offline => "offline",
            },
            "uuid": drive.id,
            "totalspace": drive.total_bytes,
            "usedspace": drive.total_bytes.saturating_sub(drive.free_bytes),
            "availspace": drive.free_bytes,
            "metrics": {},
            "used_inodes": used_inodes,
            "free_inodes": free_inodes,
            "local": true,
            "pool_index": pool,
            "set_index": 0,
            "disk_index": index,
        });
        if drive.state == DriveState::Healing {
            document["healing"] = json!(true);
            document["heal_info"] = heal_document(pool, set, index);
        }
        document
    });
    documents.collect()
}

/// How far the heal of a drive is. Several drives are healed in one go, so their figures are the same.
fn heal_document(pool: usize, set: &SetReport, index: usize) -> Value {
    let (drive, heal) = (&set.drives[index], &set.heal);
    let time = |ns: u64| s3::time::iso8601_ms(i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX));
    json!({
        "id": drive.id,
        "heal_id": "",
        "pool_index": pool,
        "set_index": 0,
        "disk_index": index,
        "endpoint": drive.path,
        "path": drive.path,
        "started": time(heal.began_ns),
        "last_update": time(heal.last_activity_ns.max(heal.began_ns)),
        "retry_attempts": 0,
        "objects_total_count": heal.objects,
        "objects_total_size": 0,
        "items_healed": heal.objects_done,
        "items_failed": heal.lost,
        "items_skipped": 0,
        "bytes_done": heal.bytes_done,
        "bytes_failed": 0,
        "bytes_skipped": 0,
        "objects_healed": heal.objects_done,
        "objects_failed": heal.lost,
        "current_bucket": "",
        "current_object": "",
        "queued_buckets": [],
        "healed_buckets": [],
        "finished": false,
        "reason": 0,
    })
}

/// How many drives are there, those that are being healed among them, and how many are not.
pub(crate) fn count(sets: &[SetReport]) -> (usize, usize) {
    let drives = || sets.iter().flat_map(|set| &set.drives);
    let offline = drives().filter(|drive| drive.state == DriveState::Offline).count();
    (drives().count() - offline, offline)
}

/// How many drives are being healed.
pub(crate) fn healing(sets: &[SetReport]) -> usize {
    let drives = sets.iter().flat_map(|set| &set.drives);
    drives.filter(|drive| drive.state == DriveState::Healing).count()
}

/// Bytes of all drives and bytes free on them, parity included.
pub(crate) fn capacity(sets: &[SetReport]) -> (u64, u64) {
    let drives = || sets.iter().flat_map(|set| &set.drives);
    (drives().map(|drive| drive.total_bytes).sum(), drives().map(|drive| drive.free_bytes).sum())
}

/// The sample of one set, and behind it one of two drives without parity of which writes find too few.
#[cfg(test)]
pub(crate) fn samples() -> Vec<SetReport> {
    let first = sample();
    let second = SetReport {
        id: "5f0c2ad9-3b0f-4b34-8a2f-6a0f5f6c1e11".to_owned(),
        drives: first.drives[6..].to_vec(),
        data: 2,
        parity: 0,
        write_quorum: 2,
        read_quorum: 2,
        writable: false,
        readable: true,
        heal: store::HealReport::default(),
    };
    vec![first, second]
}

#[cfg(test)]
pub(crate) fn sample() -> SetReport {
    let drive = |index: usize, state| store::DriveReport {
        path: format!("/data/d{index}"),
        id: format!("a641188a-c46d-4f33-8cba-81798035197{index}"),
        state,
        reason: String::new(),
        total_bytes: 1000,
        free_bytes: 700,
        inodes: (10, 90),
        durable: true,
    };
    let state = |index| {
        if index == 8 { DriveState::Offline } else { DriveState::Online }
    };
    SetReport {
        id: "2377bae4-47b6-49df-919a-c5b2cd46708c".to_owned(),
        drives: (1..=8).map(|index| drive(index, state(index))).collect(),
        data: 4,
        parity: 4,
        write_quorum: 5,
        read_quorum: 4,
        writable: true,
        readable: true,
        heal: store::HealReport::default(),
    }
}

/// The sample, with its last drive being healed since 2026-01-15T12:00:00Z: it holds its part of 30 of 40 objects.
#[cfg(test)]
pub(crate) fn healing_sample() -> SetReport {
    let mut set = sample();
    set.drives[7].state = DriveState::Healing;
    let began_ns = 1_768_478_400_000_000_000;
    set.heal = store::HealReport {
        healing: vec![set.drives[7].path.clone()],
        began_ns,
        progress: store::Share { done: 60, total: 80 },
        bytes_done: 7000,
        objects_done: 30,
        objects: 40,
        objects_short: 40,
        redundancy: vec![0, 0, 1, 39, 0],
        objects_seen: 130,
        objects_healed: 31,
        bytes_healed: 6500,
        scrub: store::Share { done: 1, total: 4 },
        scrubbed_s: 1_768_400_000,
        scrubs: 2,
        damages_repaired: 3,
        last_activity_ns: began_ns + 5_000_000_000,
        lost: 1,
        ..store::HealReport::default()
    };
    set
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{count, documents, healing, healing_sample};

    #[test]
    fn a_drive_that_is_being_healed_is_ok_and_says_how_far_it_is() {
        let sets = [healing_sample()];
        let documents = documents(&sets);
        assert_eq!((&documents[7]["state"], &documents[7]["healing"]), (&json!("ok"), &json!(true)));
        assert_eq!(documents[0].get("healing"), None);
        assert_eq!(
            documents[7]["heal_info"].to_string(),
            concat!(
                r#"{"id":"a641188a-c46d-4f33-8cba-817980351978","heal_id":"","pool_index":0,"set_index":0,"#,
                r#""disk_index":7,"endpoint":"/data/d8","path":"/data/d8","#,
                r#""started":"2026-01-15T12:00:00.000Z","last_update":"2026-01-15T12:00:05.000Z","#,
                r#""retry_attempts":0,"objects_total_count":40,"objects_total_size":0,"items_healed":30,"#,
                r#""items_failed":1,"items_skipped":0,"bytes_done":7000,"bytes_failed":0,"bytes_skipped":0,"#,
                r#""objects_healed":30,"objects_failed":1,"current_bucket":"","current_object":"","#,
                r#""queued_buckets":[],"healed_buckets":[],"finished":false,"reason":0}"#
            )
        );
        assert_eq!((count(&sets), healing(&sets)), ((8, 0), 1));
    }
}
