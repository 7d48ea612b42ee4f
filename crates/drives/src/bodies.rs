//! Bodies on their way into commits: which drives truly hold them, and which lack them afterwards.
//!
//! A location says which drives held a body when it was finished. A drive may have gone out since, and another one may
//! have its place when the commit comes: only drives that were in all the while count. What a drive that is written
//! lacks of a body that a commit named is healed from here, without looking for it in the whole index.
//!
//! Bounds: one entry of 24 bytes for each body that this process staged and has neither committed nor removed, of more
//! than 128 KiB each; [`SHORTS_MAX`] bodies that wait to be healed, beyond which all are looked through.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use store::{Location, Mutation};

use crate::location::{Place, ShardId};

/// Bodies that may wait to be healed because a commit named them while a drive lacked them: 2.5 MiB of them.
const SHORTS_MAX: usize = 65_536;

/// Ids that a walk for orphans keeps of commits beside it: 1 MiB.
const NAMED_MAX: usize = 65_536;

/// The positions of drives, as bits.
pub(crate) type Positions = u16;

/// The bodies of a set.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    /// Counts joinings: what was begun at a count holds on the drives that were in by then.
    joinings: AtomicU64,
    /// By position, the count at which its drive joined.
    joined: [AtomicU64; 16],
    /// Begun at which count, of every body that is staged and not committed.
    staged: Mutex<HashMap<ShardId, u64>>,
    shorts: Mutex<Shorts>,
    /// What commits named since a walk for orphans began; `None` without one, or when there was too much.
    named: Mutex<Option<Vec<ShardId>>>,
}

#[derive(Debug, Default)]
struct Shorts {
    waiting: VecDeque<(Place, Positions)>,
    /// Drives of which something was dropped for want of room.
    dropped: Positions,
}

impl Bodies {
    /// Notes that the drive of a position joins, with nothing of what was staged before.
    pub(crate) fn join(&self, position: usize) {
        let count = self.joinings.fetch_add(1, Ordering::AcqRel) + 1;
        self.joined[position].store(count, Ordering::Release);
    }

    /// Notes a body that is begun now, and answers when that is, in joinings.
    pub(crate) fn begin(&self, id: ShardId) -> u64 {
        let begun = self.joinings.load(Ordering::Acquire);
        self.staged.lock().insert(id, begun);
        begun
    }

    /// Whether this process staged a body that no commit named yet.
    pub(crate) fn is_staged(&self, id: ShardId) -> bool {
        self.staged.lock().contains_key(&id)
    }

    /// Whether what was begun at that count is still on the drive of a position.
    pub(crate) fn is_kept(&self, position: usize, begun: u64) -> bool {
        self.joined[position].load(Ordering::Acquire) <= begun
    }

    /// Forgets a body that is removed.
    pub(crate) fn forget(&self, id: ShardId) {
        self.staged.lock().remove(&id);
    }

    /// Fewest drives of `online` that hold any one of the new bodies of a batch; `None` when it brings none.
    pub(crate) fn fewest_holders(&self, mutations: &[Mutation], online: Positions) -> Option<usize> {
        let mut places = places(mutations).peekable();
        places.peek()?;
        let staged = self.staged.lock();
        places
            .filter_map(|place| {
                let begun = staged.get(&place.id)?;
                Some(self.holders(&place, *begun, online).count_ones() as usize)
            })
            .min()
    }

    fn holders(&self, place: &Place, begun: u64, among: Positions) -> Positions {
        let kept = (0..16)
            .filter(|position| self.is_kept(*position, begun))
            .fold(0, |kept, position| kept | 1 << position);
        place.holders & kept & among
    }

    /// Notes the bodies that a durable commit names: which of the drives that are written lack them.
    pub(crate) fn commit(&self, mutations: &[Mutation], written: Positions, joining: Positions) {
        for place in places(mutations) {
            let begun = self.staged.lock().remove(&place.id);
            // One that is not new was there before: on every drive but those that are being healed.
            let lacking = match begun {
                Some(begun) => written & !self.holders(&place, begun, written),
                None => joining,
            };
            if lacking != 0 {
                self.tell_short(place, lacking);
            }
        }
    }

    /// Notes a body that a durable commit names, before the index does: who went through that misses none.
    pub(crate) fn name(&self, place: &Place) {
        let mut named = self.named.lock();
        match &mut *named {
            Some(ids) if ids.len() < NAMED_MAX => ids.push(place.id),
            _ => *named = None,
        }
    }

    /// Says that the index names bodies that were not noted.
    pub(crate) fn lose_track(&self) {
        *self.named.lock() = None;
    }

    /// Lets a body be healed on these drives.
    pub(crate) fn tell_short(&self, place: Place, lacking: Positions) {
        let mut shorts = self.shorts.lock();
        if shorts.waiting.len() < SHORTS_MAX {
            shorts.waiting.push_back((place, lacking));
        } else {
            shorts.dropped |= lacking;
        }
    }

    /// The next body to be healed, and on which drives.
    pub(crate) fn take_short(&self) -> Option<(Place, Positions)> {
        self.shorts.lock().waiting.pop_front()
    }

    /// Lets all bodies be looked through for these drives.
    pub(crate) fn drop_short(&self, lacking: Positions) {
        self.shorts.lock().dropped |= lacking;
    }

    /// How many bodies wait to be healed, by how many drives lack them; and the drives that may lack more than is
    /// kept count of.
    pub(crate) fn shorts(&self) -> ([u64; 17], Positions) {
        let shorts = self.shorts.lock();
        let mut counts = [0; 17];
        for (_, lacking) in &shorts.waiting {
            counts[lacking.count_ones() as usize] += 1;
        }
        (counts, shorts.dropped)
    }

    /// The drives of which bodies were dropped since the last call: all bodies are to be looked through for them.
    pub(crate) fn take_dropped(&self) -> Positions {
        std::mem::take(&mut self.shorts.lock().dropped)
    }

    /// Whether a commit named something that the drive of a position lacks and that was not taken to be healed.
    pub(crate) fn is_short_on(&self, position: usize) -> bool {
        let shorts = self.shorts.lock();
        let bit = 1 << position;
        shorts.dropped & bit != 0 || shorts.waiting.iter().any(|(_, lacking)| lacking & bit != 0)
    }

    /// Begins to note what commits name.
    pub(crate) fn watch(&self) {
        *self.named.lock() = Some(Vec::new());
    }

    /// What commits named since [`Bodies::watch`], sorted; `None` when it was too much.
    pub(crate) fn watched(&self) -> Option<Vec<ShardId>> {
        let mut ids = self.named.lock().take()?;
        ids.sort_unstable();
        Some(ids)
    }
}

/// The staged bodies that these name.
pub(crate) fn places(mutations: &[Mutation]) -> impl Iterator<Item = Place> {
    mutations
        .iter()
        .filter_map(|mutation| match mutation {
            Mutation::Put(put) => Some(&put.locations),
            Mutation::Delete(_) | Mutation::DeletePrefix(_) => None,
        })
        .flatten()
        .filter_map(|location: &Location| Place::from_location(location))
}

#[cfg(test)]
mod tests {
    use store::Put;

    use super::*;
    use crate::quorum::Geometry;

    fn place(random: u64, holders: u16) -> Place {
        let geometry = Geometry { data: 2, parity: 2 };
        Place { id: ShardId { random, epoch: 3 }, extent: None, size_bytes: 1 << 20, geometry, holders }
    }

    fn put(place: Place) -> Vec<Mutation> {
        vec![Mutation::Put(Put { locations: vec![place.to_location()], ..Put::default() })]
    }

    #[test]
    fn a_drive_that_joined_after_a_body_was_begun_does_not_count_and_is_healed() {
        let bodies = Bodies::default();
        let place = place(1, 0b1111);
        bodies.begin(place.id);
        assert_eq!(bodies.fewest_holders(&put(place), 0b1111), Some(4));
        bodies.join(2);
        assert_eq!(bodies.fewest_holders(&put(place), 0b1011), Some(3));
        assert_eq!(bodies.fewest_holders(&put(place), 0b1111), Some(3));

        bodies.commit(&put(place), 0b1111, 0b0100);
        assert!(bodies.is_short_on(2) && !bodies.is_short_on(1));
        assert_eq!(bodies.take_short(), Some((place, 0b0100)));
        assert!(!bodies.is_short_on(2));
    }

    #[test]
    fn a_body_that_was_committed_before_is_looked_at_on_joining_drives_alone() {
        let bodies = Bodies::default();
        bodies.commit(&put(place(1, 0b0111)), 0b1111, 0);
        assert_eq!(bodies.take_short(), None);
        bodies.commit(&put(place(1, 0b1111)), 0b1111, 0b1000);
        assert_eq!(bodies.take_short(), Some((place(1, 0b1111), 0b1000)));
    }

    #[test]
    fn beyond_the_bound_bodies_are_dropped_and_their_drives_told() {
        let bodies = Bodies::default();
        for number in 0..=SHORTS_MAX {
            bodies.tell_short(place(number as u64, 0), 0b0010);
        }
        assert_eq!(bodies.shorts().0[1], SHORTS_MAX as u64);
        assert!(bodies.is_short_on(1));
        assert_eq!((bodies.take_dropped(), bodies.take_dropped()), (0b0010, 0));
    }
}
