//! Volumes: allocated files in which the shards of medium bodies lie, each at the same place on every drive.
//!
//! To a file system the file of such a body costs more than its bytes: an inode, blocks, a name and a folder, each made
//! durable. A write into a file that has its blocks costs none of it
//! (`docs/decisions/0023-volumes-for-medium-bodies.md`).
//!
//! # Invariants
//!
//! 1. A body that a key names has its extent to itself. Which these are is known once stock was taken: the index was
//!    gone through beside commits. Before that no extent is given, and bodies are files.
//! 2. An extent belongs to the body it was given to until nothing names that body and nobody reads it. Giving back what
//!    belongs to another body does nothing.
//! 3. An extent to which a write may still be under way is not given again.
//! 4. What is given and not committed is forgotten with the process: the next stock finds it free.
//!
//! # Bounds
//!
//! Some 50 bytes of memory for each body in a volume, once stock was taken, and 100 for each range between them.
//! Allocated and free are at most a quarter of what bodies take, [`READY_BYTES`], and the volume made last.

mod ranges;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::drive::BLOCK_BYTES;
use crate::location::{Extent, Place, ShardId};
use crate::shards::shard_bytes;
use ranges::Ranges;
pub(crate) use ranges::{Blocks, Range};

/// Size of the first volumes in bytes: 16 MiB, so that a small server stays small.
const VOLUME_BYTES_MIN: u64 = 16 << 20;

/// Size of the largest in bytes: 256 MiB.
const VOLUME_BYTES_MAX: u64 = 256 << 20;

/// Volumes of each size, before the next ones are twice as large.
const VOLUMES_PER_SIZE: u32 = 4;

/// Allocated bytes that may be free, beside a quarter of what bodies take: 16 MiB on each drive.
const READY_BYTES: u64 = 16 << 20;

/// Bytes that are given back to the file system at a time, when more are free: 8 MiB.
const PUNCHED_BYTES: u64 = 8 << 20;

/// Bodies that are files after there was no space for another volume, before it is tried again.
const PASSED_BY: u32 = 256;

/// Bodies that commits may name, and that may be given back, while stock is taken; with more it is taken anew.
const NOTED_MAX: usize = 65_536;

/// Size of a volume in bytes: that of its number.
pub(crate) fn volume_bytes(number: u32) -> u64 {
    let doublings = (number / VOLUMES_PER_SIZE).min(VOLUME_BYTES_MAX.ilog2() - VOLUME_BYTES_MIN.ilog2());
    VOLUME_BYTES_MIN << doublings
}

/// Blocks of a volume.
fn volume_blocks(number: u32) -> Blocks {
    Blocks::try_from(volume_bytes(number) / BLOCK_BYTES as u64).expect("256 MiB are few blocks")
}

/// Blocks that a shard takes.
fn blocks_of(place: &Place) -> Blocks {
    Blocks::try_from(shard_bytes(place).div_ceil(BLOCK_BYTES as u64)).unwrap_or(Blocks::MAX)
}

/// The volumes of a set.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    state: Mutex<State>,
    /// Whether somebody asked for an extent before stock was taken.
    wanted: AtomicBool,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing is known and nothing given.
    #[default]
    Unknown,
    /// The index is being gone through.
    Taking(Noted),
    Known(Stock),
}

/// What became of bodies since the index is being gone through; `None` for too many.
type Noted = Option<Vec<(Place, Fate)>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Named,
    GivenBack,
}

/// What is known of every block.
#[derive(Debug, Default)]
struct Stock {
    owners: BTreeMap<Extent, Owner>,
    owned: u64,
    /// Free and allocated.
    ready: Ranges,
    /// Free and given back to the file system.
    hollow: Ranges,
    /// Number of the next volume.
    next: u32,
    is_making: bool,
    /// Bodies that are passed by until it is tried again to make a volume.
    passing: u32,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    id: ShardId,
    blocks: Blocks,
    /// Whether a write to it may come at any later time.
    is_haunted: bool,
}

/// An extent that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub extent: Extent,
    /// Whether the file system has to find space for it when it is written.
    pub is_hollow: bool,
}

impl Volumes {
    /// An extent for a body that has none, and the number of a volume that is to be made, by whoever gets it: none
    /// while space is short.
    pub(crate) fn give(&self, place: &Place, is_short: bool) -> (Option<Given>, Option<u32>) {
        match &mut *self.state.lock() {
            State::Known(stock) => {
                let given = stock.give(place.id, blocks_of(place));
                let wanted = if is_short { None } else { stock.next_wanted(given.is_none()) };
                (given, wanted)
            }
            _ => {
                self.wanted.store(true, Ordering::Relaxed);
                (None, None)
            }
        }
    }

    /// Ends the making of a volume; one that is there on the drives is given from.
    pub(crate) fn end_making(&self, number: u32, is_made: bool) {
        if let State::Known(stock) = &mut *self.state.lock() {
            stock.is_making = false;
            if is_made {
                stock.next = number + 1;
                let volume =
                    Range { start: Extent { volume: number, block: 0 }, blocks: volume_blocks(number) };
                stock.ready.insert(volume);
            } else {
                stock.passing = PASSED_BY;
            }
        }
    }

    /// Whether a body may be written where it lies: no other one has its extent, and none gets it while a
    /// [`crate::shards::Pin`] was made before.
    pub(crate) fn has(&self, place: &Place) -> bool {
        match (&*self.state.lock(), place.extent) {
            (State::Known(stock), Some(extent)) => {
                stock.owners.get(&extent).is_some_and(|owner| owner.id == place.id)
            }
            // No other one is given anything.
            _ => true,
        }
    }

    /// Says that a write to a body's extent did not come back and may happen at any time: it is given to no other.
    pub(crate) fn haunt(&self, place: &Place) {
        if let (State::Known(stock), Some(extent)) = (&mut *self.state.lock(), place.extent)
            && let Some(owner) = stock.owners.get_mut(&extent)
        {
            owner.is_haunted |= owner.id == place.id;
        }
    }

    /// Notes a body that a durable commit names, before the index does: who went through that misses none.
    pub(crate) fn name(&self, place: &Place) {
        self.note(place, Fate::Named);
    }

    /// Says that the index names bodies that were not noted.
    pub(crate) fn lose_track(&self) {
        if let State::Taking(noted) = &mut *self.state.lock() {
            *noted = None;
        }
    }

    fn note(&self, place: &Place, fate: Fate) {
        if place.extent.is_none() {
            return;
        }
        if let State::Taking(noted) = &mut *self.state.lock() {
            match noted {
                Some(list) if list.len() < NOTED_MAX => list.push((*place, fate)),
                _ => *noted = None,
            }
        }
    }

    /// Takes a body's extent back. Before stock was taken nobody knows it: then it is wanted.
    pub(crate) fn give_back(&self, place: &Place) {
        self.note(place, Fate::GivenBack);
        let Some(extent) = place.extent else {
            return;
        };
        match &mut *self.state.lock() {
            State::Known(stock) => stock.give_back(extent, place.id),
            _ => self.wanted.store(true, Ordering::Relaxed),
        }
    }

    /// What is to be given back to the file system, and then [back to here](Volumes::end_punching): of what is free
    /// more than there should be, or anything while space is short.
    pub(crate) fn surplus(&self, is_short: bool) -> Option<Range> {
        match &mut *self.state.lock() {
            State::Known(stock) => stock.surplus(is_short),
            _ => None,
        }
    }

    /// Takes back what was free and punched.
    pub(crate) fn end_punching(&self, range: Range) {
        if let State::Known(stock) = &mut *self.state.lock() {
            stock.hollow.insert(range);
        }
    }

    /// Whether stock is to be taken: somebody asked for an extent or gave one back, or space is short, of which volumes
    /// may have some.
    pub(crate) fn wants_stock(&self, is_short: bool) -> bool {
        (is_short || self.wanted.load(Ordering::Relaxed)) && !matches!(*self.state.lock(), State::Known(_))
    }

    /// Begins to note what commits name and what is given back. Nothing is given meanwhile.
    pub(crate) fn begin_stock(&self) {
        *self.state.lock() = State::Taking(Some(Vec::new()));
    }

    /// Gives from now on what none of these bodies has: those that keys were found to name since stock was begun, and
    /// those that are being read, which may have gone since. `false` when more was noted meanwhile than is kept: then
    /// it is to be begun again.
    pub(crate) fn end_stock(
        &self,
        named: impl IntoIterator<Item = Place>,
        read: impl IntoIterator<Item = Place>,
    ) -> bool {
        let mut state = self.state.lock();
        let State::Taking(Some(noted)) = &mut *state else {
            *state = State::Unknown;
            return false;
        };
        let mut owners: BTreeMap<Extent, Owner> = BTreeMap::new();
        let own = |owners: &mut BTreeMap<Extent, Owner>, place: Place| {
            if let Some(extent) = place.extent {
                owners.insert(extent, Owner { id: place.id, blocks: blocks_of(&place), is_haunted: false });
            }
        };
        let since = noted.iter().filter(|(_, fate)| *fate == Fate::Named).map(|(place, _)| *place);
        named.into_iter().chain(since).for_each(|place| own(&mut owners, place));
        for (place, _) in noted.iter().filter(|(_, fate)| *fate == Fate::GivenBack) {
            if let Some(extent) = place.extent
                && owners.get(&extent).is_some_and(|owner| owner.id == place.id)
            {
                owners.remove(&extent);
            }
        }
        read.into_iter().for_each(|place| own(&mut owners, place));
        *state = State::Known(Stock::of(owners));
        true
    }
}

impl Stock {
    /// What is between the owners is ready, up to the end of the last volume any of them is in.
    fn of(owners: BTreeMap<Extent, Owner>) -> Stock {
        let next = owners.last_key_value().map_or(0, |(extent, _)| extent.volume + 1);
        let mut stock = Stock { next, ..Stock::default() };
        let mut ends: BTreeMap<u32, Blocks> = (0..next).map(|volume| (volume, 0)).collect();
        for (extent, owner) in &owners {
            stock.owned += u64::from(owner.blocks);
            let end = ends.entry(extent.volume).or_default();
            if let Some(blocks) = extent.block.checked_sub(*end).filter(|blocks| *blocks > 0) {
                stock.ready.insert(Range { start: Extent { volume: extent.volume, block: *end }, blocks });
            }
            *end = (*end).max(extent.block.saturating_add(owner.blocks));
        }
        for (volume, end) in ends {
            if let Some(blocks) = volume_blocks(volume).checked_sub(end).filter(|blocks| *blocks > 0) {
                stock.ready.insert(Range { start: Extent { volume, block: end }, blocks });
            }
        }
        stock.owners = owners;
        stock
    }

    fn give(&mut self, id: ShardId, blocks: Blocks) -> Option<Given> {
        let ready = self.ready.take(blocks);
        let extent = ready.or_else(|| self.hollow.take(blocks))?;
        self.owned += u64::from(blocks);
        self.owners.insert(extent, Owner { id, blocks, is_haunted: false });
        Some(Given { extent, is_hollow: ready.is_none() })
    }

    /// The volume that is to be made now: when nothing fitted, or little is left.
    fn next_wanted(&mut self, nothing_fitted: bool) -> Option<u32> {
        let left = self.ready.total() + self.hollow.total();
        let is_short = nothing_fitted || left < u64::from(volume_blocks(self.next.saturating_sub(1))) / 4;
        self.passing = self.passing.saturating_sub(1);
        let wanted = is_short && !self.is_making && self.passing == 0;
        self.is_making |= wanted;
        wanted.then_some(self.next)
    }

    fn give_back(&mut self, extent: Extent, id: ShardId) {
        let owner = self.owners.get(&extent).filter(|owner| owner.id == id && !owner.is_haunted);
        if let Some(Owner { blocks, .. }) = owner.copied() {
            self.owners.remove(&extent);
            self.owned -= u64::from(blocks);
            self.ready.insert(Range { start: extent, blocks });
        }
    }

    fn surplus(&mut self, is_short: bool) -> Option<Range> {
        let bound = self.owned / 4 + READY_BYTES / BLOCK_BYTES as u64;
        match (is_short, self.ready.total() > bound) {
            (true, _) => self.ready.take_largest(u64::MAX),
            // Much at a time: small cuts would leave pieces that no body fits in.
            (false, true) => self.ready.take_largest(PUNCHED_BYTES / BLOCK_BYTES as u64),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::Geometry;

    const MEDIUM: u64 = 1 << 20;

    fn body(random: u64) -> Place {
        let geometry = Geometry { data: 2, parity: 2 };
        Place {
            id: ShardId { random, epoch: 1 },
            extent: None,
            size_bytes: MEDIUM,
            geometry,
            holders: 0b1111,
        }
    }

    /// Volumes that know their stock, and have so many of them.
    fn known(named: Vec<Place>, volumes: u32) -> Volumes {
        let known = Volumes::default();
        known.begin_stock();
        assert!(known.end_stock(named, []));
        for number in 0..volumes {
            known.end_making(number, true);
        }
        known
    }

    fn given(volumes: &Volumes, random: u64) -> Place {
        let place = body(random);
        let extent = volumes.give(&place, false).0.expect("there is room").extent;
        Place { extent: Some(extent), ..place }
    }

    #[test]
    fn nothing_is_given_before_stock_was_taken_and_nothing_that_a_key_names_after() {
        let before = known(Vec::new(), 1);
        let named: Vec<Place> = (0..5).map(|random| given(&before, random)).collect();

        let after = Volumes::default();
        assert_eq!(after.give(&body(9), false), (None, None));
        assert!(after.wants_stock(false));
        after.begin_stock();
        assert!(after.end_stock(named.iter().copied().filter(|place| place.id.random != 2), []));
        let fitting = std::iter::from_fn(|| after.give(&body(9), false).0).map(|given| given.extent);
        let fitting: Vec<Extent> = fitting.collect();
        assert!(fitting.contains(&named[2].extent.unwrap()));
        assert!(named.iter().all(|place| place.id.random == 2 || !fitting.contains(&place.extent.unwrap())));
    }

    #[test]
    fn a_body_that_moves_while_stock_is_taken_keeps_its_extent_and_one_that_goes_gives_it_back() {
        let before = known(Vec::new(), 1);
        let (moved, gone) = (given(&before, 1), given(&before, 2));
        let after = Volumes::default();
        after.begin_stock();
        after.name(&moved);
        after.give_back(&gone);
        assert!(after.end_stock([gone], []));
        assert!(after.has(&moved) && !after.has(&gone));
        assert_eq!(given(&after, 3).extent, gone.extent);
    }

    #[test]
    fn stock_of_which_more_changed_than_is_noted_is_taken_again() {
        let volumes = Volumes::default();
        volumes.give(&body(1), false);
        volumes.begin_stock();
        volumes.lose_track();
        assert!(!volumes.end_stock([], []));
        assert!(volumes.wants_stock(false));
        assert_eq!(volumes.give(&body(1), false), (None, None));
    }

    #[test]
    fn an_extent_is_given_back_once_and_by_its_own_body_alone() {
        let volumes = known(Vec::new(), 1);
        let first = given(&volumes, 1);
        volumes.give_back(&first);
        let second = given(&volumes, 2);
        assert_eq!(second.extent, first.extent);
        volumes.give_back(&first);
        assert!(volumes.has(&second) && !volumes.has(&first));
        assert_ne!(given(&volumes, 3).extent, second.extent);
    }

    #[test]
    fn an_extent_that_may_still_be_written_is_not_given_again() {
        let volumes = known(Vec::new(), 1);
        let hung = given(&volumes, 1);
        volumes.haunt(&hung);
        volumes.give_back(&hung);
        let later: Vec<_> = std::iter::from_fn(|| volumes.give(&body(2), false).0).collect();
        assert!(!later.is_empty() && later.iter().all(|given| Some(given.extent) != hung.extent));
    }

    #[test]
    fn a_volume_is_made_before_the_last_is_full_and_later_again_when_there_was_no_space() {
        let volumes = known(Vec::new(), 0);
        assert_eq!(volumes.give(&body(1), false), (None, Some(0)));
        assert_eq!(volumes.give(&body(2), false), (None, None));
        volumes.end_making(0, true);
        let wanted = (0..).find_map(|random| volumes.give(&body(random), false).1);
        assert_eq!(wanted, Some(1));
        assert!(volumes.give(&body(3), false).0.is_some());
        volumes.end_making(1, false);
        let passed_by = (0..).take_while(|random| volumes.give(&body(*random), false).1.is_none()).count();
        assert_eq!(passed_by as u32, PASSED_BY - 1);
    }

    #[test]
    fn what_is_free_beyond_a_quarter_of_what_is_taken_goes_back_to_the_file_system_and_is_given_last() {
        let volumes = known(Vec::new(), 12);
        let places: Vec<Place> = (0..700).map(|random| given(&volumes, random)).collect();
        let mut punched = 0;
        for place in &places {
            volumes.give_back(place);
            while let Some(range) = volumes.surplus(false) {
                punched += u64::from(range.blocks);
                volumes.end_punching(range);
            }
        }
        let total: u64 = (0..12).map(volume_bytes).sum();
        let ready_bytes = total - punched * BLOCK_BYTES as u64;
        assert!((READY_BYTES - PUNCHED_BYTES..=READY_BYTES).contains(&ready_bytes), "{ready_bytes} bytes");
        // While space is short all of it goes back.
        let short = known(Vec::new(), 2);
        let all: u64 = std::iter::from_fn(|| short.surplus(true)).map(|range| u64::from(range.blocks)).sum();
        assert_eq!(all * BLOCK_BYTES as u64, volume_bytes(0) + volume_bytes(1));
        assert_eq!(short.give(&body(1), true), (None, None));
        let mut hollow = std::iter::from_fn(|| volumes.give(&body(1), false).0).map(|given| given.is_hollow);
        assert!(hollow.by_ref().take_while(|hollow| !hollow).count() > 5);
        assert!(hollow.all(|hollow| hollow));
    }

    #[test]
    fn volumes_are_small_at_first_and_double_after_four_of_a_size() {
        let sizes: Vec<u64> = [0, 3, 4, 8, 12, 16, 4000].map(|number| volume_bytes(number) >> 20).into();
        assert_eq!(sizes, [16, 16, 32, 64, 128, 256, 256]);
    }
}
