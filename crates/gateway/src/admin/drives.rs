//! Drives as admin answers show them.

use serde_json::{Value, json};

use store::{DriveState, SetReport};
use tidings_store as store;

/// The drives of the set, in its order. The indexes are what `mc admin info` adds the capacity up by.
pub(super) fn documents(report: &SetReport) -> Vec<Value> {
    let drives = report.drives.iter().enumerate();
    let documents = drives.map(|(index, drive)| {
        let (used_inodes, free_inodes) = drive.inodes;
        json!({
            "endpoint": drive.path,
            "path": drive.path,
            "state": match drive.state {
                DriveState::Online => "ok",
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
            "pool_index": 0,
            "set_index": 0,
            "disk_index": index,
        })
    });
    documents.collect()
}

/// How many drives are online and how many are not.
pub(crate) fn count(report: &SetReport) -> (usize, usize) {
    let online = report.drives.iter().filter(|drive| drive.state == DriveState::Online).count();
    (online, report.drives.len() - online)
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
        deployment_id: "2377bae4-47b6-49df-919a-c5b2cd46708c".to_owned(),
        drives: (1..=8).map(|index| drive(index, state(index))).collect(),
        data: 4,
        parity: 4,
        write_quorum: 5,
        read_quorum: 4,
        writable: true,
        readable: true,
    }
}
