//! Drives as admin answers show them.

use serde_json::{Value, json};

use store::{DriveState, SetReport};
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
            "pool_index": pool,
            "set_index": 0,
            "disk_index": index,
        })
    });
    documents.collect()
}

/// How many drives are online and how many are not.
pub(crate) fn count(sets: &[SetReport]) -> (usize, usize) {
    let drives = || sets.iter().flat_map(|set| &set.drives);
    let online = drives().filter(|drive| drive.state == DriveState::Online).count();
    (online, drives().count() - online)
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
    }
}
