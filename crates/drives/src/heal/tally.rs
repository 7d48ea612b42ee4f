//! The tally: what healing, repair and scrubbing did since the set was opened.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use store::{Clock, HealReport, Share};

use super::walk::{Cursor, Walk};
use crate::set::Set;

/// Names of what cannot be read any more that are kept for the operator; more are counted.
const LOST_NAMES_MAX: usize = 100;

/// With so many damages since the set was opened a drive is held to be failing, and the operator is told.
const DAMAGES_TOLD: u64 = 100;

/// Counters; each is a sum since the set was opened unless it says otherwise.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The heal that runs, or ran last.
    pub run: Mutex<Run>,
    /// How far the scrub is, and when it last ended, seconds since 1970.
    pub scrub: Mutex<(Share, u64)>,
    pub objects_seen: AtomicU64,
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
    lost: Mutex<Losses>,
}

/// A heal under way: walks over everything, one for each number of drives that may lack something, the most first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    /// Nanoseconds since 1970.
    pub began_ns: u64,
    pub walks: u64,
    /// Walks that are done.
    pub walked: u64,
    /// How far the present one is.
    pub share: Share,
    /// Objects that are whole again: those that the last walk passed.
    pub objects: u64,
    /// Bytes looked at on each drive in the present walk.
    pub bytes: u64,
}

impl Run {
    /// Whether everything was walked over: what is left is what commits name meanwhile.
    fn is_over(&self) -> bool {
        self.walked == self.walks
    }

    /// Takes in how far the present walk is; what comes after the last is none of it.
    pub(super) fn advance(&mut self, walk: &Walk<'_>, cursor: &Cursor) {
        if self.is_over() {
            return;
        }
        self.share = walk.share(cursor);
        self.bytes += walk.stepped();
        // What the walks before leave short is not whole yet.
        if self.walked + 1 == self.walks && !matches!(cursor, Cursor::Frames { .. }) {
            self.objects = walk.keys();
        }
    }

    fn progress(&self) -> Share {
        let Share { done, total } = self.share;
        Share { done: self.walked * total + if self.is_over() { 0 } else { done }, total: self.walks * total }
    }
}

/// What cannot be read any more.
#[derive(Debug, Default)]
struct Losses {
    known: Lost,
    /// What was found since everything began to be looked at again.
    again: Option<Lost>,
}

#[derive(Debug, Default)]
struct Lost {
    count: u64,
    names: Vec<String>,
}

impl Lost {
    /// Notes a name; `false` when it is known.
    fn note(&mut self, name: &str) -> bool {
        if self.names.iter().any(|known| known == name) {
            return false;
        }
        self.count += 1;
        if self.names.len() < LOST_NAMES_MAX {
            self.names.push(name.to_owned());
        }
        true
    }
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
    pub(super) fn lose(&self, name: &str) -> bool {
        let mut losses = self.lost.lock();
        if let Some(again) = &mut losses.again {
            again.note(name);
        }
        losses.known.note(name)
    }

    /// Whether something was found that cannot be read any more.
    pub(super) fn has_lost(&self) -> bool {
        self.lost.lock().known.count > 0
    }

    /// Begins to look at everything again.
    pub(super) fn begin_again(&self) {
        self.lost.lock().again = Some(Lost::default());
    }

    /// Everything was looked at again: what was not found again is lost no more.
    pub(super) fn end_again(&self) {
        let mut losses = self.lost.lock();
        if let Some(again) = losses.again.take() {
            losses.known = again;
        }
    }

    /// As it is told to operators.
    pub(crate) fn report(&self, set: &Set) -> HealReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let joining = set.members.iter().filter(|member| member.is_joining());
        let healing: Vec<String> = joining.map(|member| member.path.clone()).collect();
        let objects = set.index.read().count();
        let run = if healing.is_empty() { Run::default() } else { *self.run.lock() };
        let whole = if run.is_over() { objects } else { run.objects.min(objects) };
        let (scrub, scrubbed_s) = *self.scrub.lock();
        let lost = &self.lost.lock().known;
        let redundancy = redundancy(set, objects, lost.count);
        HealReport {
            began_ns: run.began_ns,
            progress: run.progress(),
            bytes_done: run.bytes,
            objects_done: if healing.is_empty() { 0 } else { whole },
            healing,
            objects,
            objects_short: objects - redundancy.last().copied().unwrap_or_default(),
            redundancy,
            objects_seen: read(&self.objects_seen),
            objects_healed: read(&self.objects_healed),
            bytes_healed: read(&self.bytes_healed),
            scrub,
            scrubbed_s,
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

/// Of so many objects, how many outlive the loss of how many more drives: see [`HealReport::redundancy`]. A drive that
/// is being healed is not read, whatever it holds already.
fn redundancy(set: &Set, objects: u64, lost: u64) -> Vec<u64> {
    let away = set.members.iter().filter(|member| !member.is_online()).count();
    let (shorts, dropped) = set.bodies.shorts();
    let unsettled = set.damages.counts().unsettled as u64;
    let mut classes = Classes::new(set.geometry.parity, objects);
    classes.lack(away, objects);
    classes.lack(dropped.count_ones() as usize, objects);
    for (lacking, count) in shorts.into_iter().enumerate() {
        classes.lack(lacking, count);
    }
    classes.lack(1, unsettled);
    classes.lack(set.geometry.drives(), lost);
    classes.counts
}

/// Objects by the number of drives whose loss they outlive.
struct Classes {
    counts: Vec<u64>,
}

impl Classes {
    /// All of them whole.
    fn new(parity: usize, objects: u64) -> Classes {
        let mut counts = vec![0; parity + 1];
        counts[parity] = objects;
        Classes { counts }
    }

    /// Lets so many, of those that outlive most, lack their part on so many drives more.
    fn lack(&mut self, drives: usize, mut objects: u64) {
        if drives == 0 {
            return;
        }
        let before = std::mem::take(&mut self.counts);
        self.counts = vec![0; before.len()];
        for (spare, count) in before.into_iter().enumerate().rev() {
            let moved = count.min(objects);
            objects -= moved;
            self.counts[spare] += count - moved;
            // What lacks more than parity makes up for is in no class.
            if let Some(left) = spare.checked_sub(drives) {
                self.counts[left] += moved;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_stand_by_how_many_drives_more_they_outlive() {
        let mut classes = Classes::new(2, 10);
        classes.lack(0, 10);
        assert_eq!(classes.counts, [0, 0, 10]);
        classes.lack(1, 4);
        assert_eq!(classes.counts, [0, 4, 6]);
        classes.lack(1, 7);
        assert_eq!(classes.counts, [1, 9, 0], "those that outlive most are short first");
        classes.lack(3, 1);
        assert_eq!(classes.counts, [1, 8, 0], "one is lost");
        classes.lack(1, 100);
        assert_eq!(classes.counts, [8, 0, 0]);
    }

    #[test]
    fn a_heal_of_several_walks_is_over_when_the_last_one_is() {
        let share = Share { done: 3, total: 4 };
        let mut run = Run { walks: 2, share, ..Run::default() };
        assert_eq!(run.progress(), Share { done: 3, total: 8 });
        run.walked = 1;
        assert_eq!(run.progress(), Share { done: 7, total: 8 });
        run.walked = 2;
        assert!(run.is_over());
        assert_eq!(run.progress(), Share { done: 8, total: 8 });
    }
}
