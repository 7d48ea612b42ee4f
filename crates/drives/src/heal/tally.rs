//! The tally: what healing, repair and scrubbing did since the set was opened.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use store::{Clock, HealReport};

use crate::set::Set;

/// Names of what cannot be read any more that are kept for the operator; more are counted.
const LOST_NAMES_MAX: usize = 100;

/// With so many damages since the set was opened a drive is held to be failing, and the operator is told.
const DAMAGES_TOLD: u64 = 100;

/// Counters; each is a sum since the set was opened unless it says otherwise.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Objects found by the last whole walk.
    pub objects: AtomicU64,
    /// Of the heal that runs: objects that were looked at.
    pub objects_done: AtomicU64,
    /// Of the heal that runs: bytes that were looked at on the drives being healed.
    pub bytes_done: AtomicU64,
    pub objects_healed: AtomicU64,
    pub bytes_healed: AtomicU64,
    pub bytes_scrubbed: AtomicU64,
    pub scrubs: AtomicU64,
    pub damages_found: AtomicU64,
    pub damages_repaired: AtomicU64,
    pub orphans_removed: AtomicU64,
    pub drives_healed: AtomicU64,
    /// By position, damages found on the drive that has it.
    damages_on: [AtomicU64; 16],
    /// Nanoseconds since 1970 of the last time something was healed or scrubbed.
    pub last_activity_ns: AtomicU64,
    lost: Mutex<Lost>,
}

#[derive(Debug, Default)]
struct Lost {
    count: u64,
    names: Vec<String>,
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }

    /// Notes that something was done just now.
    pub(super) fn touch(&self, clock: &dyn Clock) {
        self.last_activity_ns.store(clock.now_ns(), Ordering::Relaxed);
    }

    /// Notes a damage on an online drive, repaired or not; `true` when it is one too many.
    pub(super) fn damage(&self, position: usize, repaired: bool) -> bool {
        Tally::add(&self.damages_found, 1);
        Tally::add(&self.damages_repaired, u64::from(repaired));
        self.damages_on[position].fetch_add(1, Ordering::Relaxed) + 1 == DAMAGES_TOLD
    }

    /// Notes something that more drives have damaged than parity makes up for; `false` when it is known.
    pub(super) fn lose(&self, name: String) -> bool {
        let mut lost = self.lost.lock();
        if lost.names.contains(&name) {
            return false;
        }
        lost.count += 1;
        if lost.names.len() < LOST_NAMES_MAX {
            lost.names.push(name);
        }
        true
    }

    /// As it is told to operators.
    pub(crate) fn report(&self, set: &Set) -> HealReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let healing: Vec<String> = set
            .members
            .iter()
            .filter(|member| member.is_joining())
            .map(|member| member.path.clone())
            .collect();
        let away = set.members.iter().filter(|member| !member.is_written()).count();
        let objects = read(&self.objects).max(set.index.read().count());
        let lost = self.lost.lock();
        let short = if away > 0 {
            objects
        } else if !healing.is_empty() {
            objects.saturating_sub(read(&self.objects_done))
        } else {
            (set.bodies.shorts() as u64 + lost.count).min(objects)
        };
        HealReport {
            healing,
            objects,
            objects_short: short,
            objects_done: read(&self.objects_done),
            bytes_done: read(&self.bytes_done),
            objects_healed: read(&self.objects_healed),
            bytes_healed: read(&self.bytes_healed),
            bytes_scrubbed: read(&self.bytes_scrubbed),
            scrubs: read(&self.scrubs),
            damages_found: read(&self.damages_found),
            damages_repaired: read(&self.damages_repaired),
            orphans_removed: read(&self.orphans_removed),
            drives_healed: read(&self.drives_healed),
            last_activity_ns: read(&self.last_activity_ns),
            lost: lost.count,
            lost_names: lost.names.clone(),
        }
    }
}
