//! The census: compares the files of bodies on every drive with the bodies that keys name. A file that none names is
//! removed, a body without its file is healed.
//!
//! Names are compared folder by folder, both sorted. What keys name is gathered for so many folders at a time that it
//! is about [`NAMED_MAX`] ids: the index is in the order of keys, so it is gone through once for each.
//!
//! Only ids of earlier epochs are removed, and none that this process staged, that is being read, or that a commit
//! named while the census ran: an upload may outlast an epoch, and a body may move from key to key.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use bytes::Bytes;
use store::KeyRange;

use super::Heal;
use super::pace::Ended;
use super::tally::Tally;
use super::walk::Target;
use crate::bodies::Positions;
use crate::index::lookup;
use crate::location::{Place, ShardId};
use crate::member::Member;

/// Ids gathered at a time: 16 MiB of them.
const NAMED_MAX: usize = 500_000;

/// Orphans removed after going through the index once; more are left for the next census.
const ORPHANS_MAX: usize = 65_536;

/// Keys looked at under one lock.
const PAGE_KEYS: usize = 512;

/// Least time between two of them.
pub(super) const EVERY_MIN: Duration = Duration::from_secs(24 * 3600);

/// Folders that shards are spread over.
const FOLDERS: usize = 65_536;

/// A file that no key named.
struct Candidate {
    position: usize,
    id: ShardId,
}

impl Heal {
    /// Goes over all drives that are written.
    pub(super) fn census(&mut self) -> Result<(), Ended> {
        let positions: Vec<usize> = self.set.written().map(|member| member.position).collect();
        self.take_census(&positions)
    }

    /// Removes what nothing names from drives that are being healed.
    pub(super) fn sweep(&mut self, targets: &[Target]) -> Result<(), Ended> {
        let positions: Vec<usize> = targets.iter().map(|target| target.position).collect();
        self.take_census(&positions)
    }

    fn take_census(&mut self, positions: &[usize]) -> Result<(), Ended> {
        let bodies = self.count_files(positions)?;
        let parts = bodies.div_ceil(NAMED_MAX).clamp(1, FOLDERS);
        let folders = FOLDERS.div_ceil(parts);
        for first in (0..FOLDERS).step_by(folders) {
            let last = (first + folders - 1).min(FOLDERS - 1);
            self.set.bodies.watch();
            let named = self.named(first, last)?;
            let candidates = self.compare(positions, &named, first, last)?;
            self.remove(&candidates);
        }
        Ok(())
    }

    /// Calls `each` with every body that a key names.
    pub(super) fn each_body(&self, mut each: impl FnMut(Place)) -> Result<(), Ended> {
        let mut start = Bytes::new();
        loop {
            let page = lookup::scan(&self.set, &KeyRange { start, end: None }, PAGE_KEYS)
                .map_err(|_| Ended::Changed)?;
            page.iter()
                .flat_map(|(_, entry)| &entry.locations)
                .filter_map(Place::from_location)
                .for_each(&mut each);
            self.check_stop()?;
            match page.last() {
                Some((last, _)) if page.len() == PAGE_KEYS => start = [&last[..], &[0]].concat().into(),
                _ => return Ok(()),
            }
        }
    }

    /// How many bodies are files. Those in a volume that a drive lacks are looked for on it.
    fn count_files(&self, positions: &[usize]) -> Result<usize, Ended> {
        let (mut files, mut volumes) = (0, BTreeSet::new());
        self.each_body(|place| match place.extent {
            Some(extent) => {
                volumes.insert(extent.volume);
            }
            None => files += 1,
        })?;
        for &position in positions {
            let lacks = |volume: &u32| {
                let volume = *volume;
                let found = self.set.patiently(position, move |member| member.drive()?.open_volume(volume));
                found.is_ok_and(|volume| volume.is_none())
            };
            if volumes.iter().any(lacks) {
                self.set.bodies.drop_short((1 as Positions) << position);
            }
        }
        Ok(files)
    }

    /// The bodies that keys name in these folders, sorted by id.
    fn named(&self, first: usize, last: usize) -> Result<Vec<Place>, Ended> {
        let mut named = Vec::new();
        self.each_body(|place| {
            if place.extent.is_none() && (first..=last).contains(&usize::from(place.id.folder())) {
                named.push(place);
            }
        })?;
        named.sort_unstable_by_key(|place| place.id);
        Ok(named)
    }

    /// Files that no key names. Bodies without their file are told.
    fn compare(
        &self,
        positions: &[usize],
        named: &[Place],
        first: usize,
        last: usize,
    ) -> Result<Vec<Candidate>, Ended> {
        let epoch = self.set.identity.lock().log.epoch;
        let mut candidates = Vec::new();
        for &position in positions {
            let folders = self.set.patiently(position, |member| member.drive()?.shard_folders());
            // What is not known is neither removed nor healed.
            let Ok(folders) = folders.map(HashSet::<u16>::from_iter) else {
                continue;
            };
            let mut rest = named;
            for folder in first..=last {
                let folder = u16::try_from(folder).expect("there are 65,536 folders");
                let (here, others) = rest.split_at(rest.partition_point(|place| place.id.folder() <= folder));
                rest = others;
                let sweep = move |member: &Member| member.drive()?.sweep_shards(folder);
                let is_there = folders.contains(&folder);
                let found = if is_there { self.set.patiently(position, sweep) } else { Ok(Vec::new()) };
                let Ok(found) = found else {
                    continue;
                };
                for place in here.iter().filter(|place| found.binary_search(&place.id).is_err()) {
                    self.set.bodies.tell_short(*place, (1 as Positions) << position);
                }
                let unnamed = found.into_iter().filter(|id| {
                    here.binary_search_by_key(id, |place| place.id).is_err() && id.epoch < epoch
                });
                let room = ORPHANS_MAX - candidates.len();
                candidates.extend(unnamed.take(room).map(|id| Candidate { position, id }));
                if !folders.is_empty() {
                    self.check_stop()?;
                }
            }
        }
        Ok(candidates)
    }

    fn remove(&self, candidates: &[Candidate]) {
        // Without a whole account of what was named meanwhile nothing is removed.
        let Some(named) = self.set.bodies.watched() else {
            return;
        };
        for Candidate { position, id } in candidates {
            if named.binary_search(id).is_ok() || self.set.bodies.is_staged(*id) || self.pins.is_pinned(*id) {
                continue;
            }
            let (position, id) = (*position, *id);
            match self.set.patiently(position, move |member| member.drive()?.remove_shard(id)) {
                Ok(()) => Tally::add(&self.tally.orphans_removed, 1),
                Err(error) => {
                    let drive = &self.set.members[position].path;
                    tracing::warn!(%drive, shard = %id.to_name(), %error, "A body that no key names was not removed.");
                }
            }
        }
    }

    fn check_stop(&self) -> Result<(), Ended> {
        match self.stop.try_recv() {
            Err(std::sync::mpsc::TryRecvError::Empty) => Ok(()),
            _ => Err(Ended::Stopped),
        }
    }
}
