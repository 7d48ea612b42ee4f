//! Damage: what reads found broken and healing has not repaired yet.
//!
//! A foreground read that meets a wrong checksum or a file that is not there serves its caller from parity and
//! tells it here. Whoever repairs takes a damage, repairs it, and settles it.
//!
//! # Invariants
//!
//! 1. A damage that was told and is not settled is not told again, also while it is being repaired.
//! 2. At most [`DAMAGES_MAX`] are known at a time. The oldest stay; what does not fit is counted and found again by
//!    the next read or by the scrub.
//!
//! What is not here: the repair. Nothing of this survives the process, because a scrub finds everything again.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use store::Location;

use crate::frame::Address;

/// Damages known at a time, waiting or being repaired.
pub const DAMAGES_MAX: usize = 4096;

/// A part of something on one drive that is missing or does not match its checksum, while the drive is online.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Damage {
    /// The drive's frame of a batch: its header, its metadata or its column.
    Frame {
        /// Position of the drive in the set.
        position: usize,
        /// The batch.
        batch: u64,
        /// Where its frame stands, on every drive.
        address: Address,
    },
    /// The drive's shard of a staged body, or blocks of it.
    Shard {
        /// Position of the drive in the set.
        position: usize,
        /// The body.
        location: Location,
    },
}

/// How much was told since the set was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DamageCounts {
    /// Told and taken up.
    pub told: u64,
    /// Told when there was no room.
    pub dropped: u64,
    /// Not settled yet.
    pub unsettled: usize,
}

/// The damages of a set.
#[derive(Debug, Default)]
pub struct Damages {
    known: Mutex<Known>,
    told: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    /// Waiting or being repaired.
    unsettled: HashSet<Damage>,
    /// In the order they were told.
    waiting: VecDeque<Damage>,
    counts: DamageCounts,
}

impl Damages {
    /// Tells a damage; `false` when it is known already or there is no room.
    pub fn tell(&self, damage: Damage) -> bool {
        let mut known = self.known.lock();
        if known.unsettled.contains(&damage) {
            return false;
        }
        if known.unsettled.len() == DAMAGES_MAX {
            known.counts.dropped += 1;
            return false;
        }
        known.unsettled.insert(damage.clone());
        known.waiting.push_back(damage);
        known.counts.told += 1;
        self.told.notify_one();
        true
    }

    /// Takes the damage that waits longest, or waits for one, at most `timeout`. It stays known until
    /// [`Damages::settle`].
    pub fn take(&self, timeout: Duration) -> Option<Damage> {
        let mut known = self.known.lock();
        if known.waiting.is_empty() {
            self.told.wait_while_for(&mut known, |known| known.waiting.is_empty(), timeout);
        }
        known.waiting.pop_front()
    }

    /// Forgets a damage that was taken: it is repaired, or cannot be and may be told again.
    pub fn settle(&self, damage: &Damage) {
        self.known.lock().unsettled.remove(damage);
    }

    /// How much was told so far.
    pub fn counts(&self) -> DamageCounts {
        let known = self.known.lock();
        DamageCounts { unsettled: known.unsettled.len(), ..known.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: u32) -> Damage {
        Damage::Shard { position: 1, location: Location(number.to_le_bytes().to_vec()) }
    }

    #[test]
    fn a_damage_is_told_once_until_it_is_settled() {
        let damages = Damages::default();
        assert!(damages.tell(shard(1)));
        assert!(!damages.tell(shard(1)));
        assert_eq!(damages.take(Duration::ZERO), Some(shard(1)));
        assert!(!damages.tell(shard(1)), "it is being repaired");
        assert_eq!(damages.take(Duration::ZERO), None);

        damages.settle(&shard(1));
        assert!(damages.tell(shard(1)));
        assert_eq!(damages.counts(), DamageCounts { told: 2, dropped: 0, unsettled: 1 });
    }

    #[test]
    fn at_the_bound_the_oldest_stay_and_the_rest_are_counted() {
        let damages = Damages::default();
        let bound = u32::try_from(DAMAGES_MAX).unwrap();
        for number in 0..bound + 3 {
            assert_eq!(damages.tell(shard(number)), number < bound);
        }
        assert_eq!(damages.counts().dropped, 3);
        assert_eq!(damages.take(Duration::ZERO), Some(shard(0)));
        assert!(!damages.tell(shard(bound)), "one that is being repaired takes its room until it is settled");
        damages.settle(&shard(0));
        assert!(damages.tell(shard(bound)));
    }

    #[test]
    fn who_waits_for_a_damage_is_woken_by_it() {
        let damages = Damages::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| damages.take(Duration::from_secs(10)));
            damages.tell(shard(7));
            assert_eq!(waiting.join().unwrap(), Some(shard(7)));
        });
    }
}
