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
//! 3. Who repairs does so in turns; it is called when somebody waits for a repair.
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
    settled: Condvar,
    called: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    /// Waiting or being repaired.
    unsettled: HashSet<Damage>,
    /// In the order they were told.
    waiting: VecDeque<Damage>,
    counts: DamageCounts,
    /// Whether who repairs was called and has not come yet.
    is_called: bool,
    /// Whether nothing is repaired any more.
    is_closed: bool,
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
        self.settled.notify_all();
    }

    /// Calls who repairs and waits until these are settled, at most `timeout`; whether nothing is left to wait for.
    pub fn await_settled(&self, damages: &[Damage], timeout: Duration) -> bool {
        let awaited =
            |known: &Known| !known.is_closed && damages.iter().any(|damage| known.unsettled.contains(damage));
        let mut known = self.known.lock();
        if awaited(&known) {
            known.is_called = true;
            self.called.notify_one();
            self.settled.wait_while_for(&mut known, |known| awaited(known), timeout);
        }
        !awaited(&known)
    }

    /// Waits until it is called because somebody waits for a repair, at most `timeout`, or until [`Damages::close`].
    pub fn await_call(&self, timeout: Duration) {
        let mut known = self.known.lock();
        let rests = |known: &mut Known| !known.is_called && !known.is_closed;
        self.called.wait_while_for(&mut known, rests, timeout);
        known.is_called = false;
    }

    /// Says that nothing is repaired any more: nobody waits.
    pub fn close(&self) {
        self.known.lock().is_closed = true;
        self.settled.notify_all();
        self.called.notify_all();
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
    fn who_waits_for_a_repair_calls_who_repairs_and_hears_when_it_is_settled_or_never_will_be() {
        let (damages, ample) = (Damages::default(), Duration::from_secs(10));
        damages.tell(shard(7));
        damages.tell(shard(8));
        assert!(!damages.await_settled(&[shard(7)], Duration::ZERO));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| damages.await_settled(&[shard(7)], ample));
            damages.await_call(ample);
            damages.settle(&damages.take(Duration::ZERO).unwrap());
            assert!(waiting.join().unwrap());
            assert!(damages.await_settled(&[shard(7)], ample), "it is settled already");

            let waiting = scope.spawn(|| damages.await_settled(&[shard(8)], ample));
            damages.close();
            assert!(waiting.join().unwrap());
            damages.await_call(ample);
        });
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
