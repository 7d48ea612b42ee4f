//! Several sets behind one engine trait: partition i is set i, in the order the sets were added.
//!
//! A set is whole in itself: journal, index, epochs, quorum. Sets share nothing but the process and the list of who
//! belongs together ([`crate::lineup`]). A set without its write quorum refuses writes; the others go on.
//!
//! A location tells its set by a byte in front of it: 128 + i for set i, none for set 0. It stands there above this
//! engine alone: what a set's journal keeps is the location as the set made it, whichever place the set has.
//!
//! What is not here: where a new bucket goes (the store asks for the room), moving buckets between sets.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use store::{
    Batch, ByteStream, Change, Clock, Committed, Engine, EngineError, Entry, Future, HealTask, Healed,
    KeyRange, Location, Mutation, Partition, PartitionId, Progress, Seen, Sequence, SetReport, Stage,
    StageHint, Verification,
};

use crate::assemble::Given;
use crate::engine::{LocalEngine, ONLY, make_directories, open_directories};
use crate::error::OpenError;
use crate::lineup::{Lineup, line_up};
use crate::looked::Asked;
use crate::open::{OPEN_MAX, Tuning};

/// Most sets of a server: what the byte in front of a location can tell apart.
pub const SETS_MAX: usize = 128;

/// First byte of the location of a body in a set behind the first, less the number of the set. The locations of a
/// set begin with their version, which stays below.
const SET_MARK: u8 = 128;

/// The sets of a server, open. Dropping it stops as a crash would; [`Sets::shutdown`] stops cleanly.
pub struct Sets {
    sets: Vec<Arc<LocalEngine>>,
}

impl Sets {
    /// Opens the sets on these directories, one list a set, in the order they were added; new ones are made behind
    /// those that are there. Blocks until everything that was acknowledged can be read.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. The order and belonging of the sets is checked before anything is written.
    pub fn open(
        directories: &[Vec<PathBuf>],
        parity: Option<usize>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<Sets>, OpenError> {
        Sets::open_tuned(directories, parity, clock, &Tuning::default())
    }

    /// As [`Sets::open`], with every set as operators want it.
    ///
    /// # Errors
    ///
    /// As [`Sets::open`].
    pub fn open_tuned(
        directories: &[Vec<PathBuf>],
        parity: Option<usize>,
        clock: &Arc<dyn Clock>,
        tuning: &Tuning,
    ) -> Result<Arc<Sets>, OpenError> {
        // Opened behind one another, so that a directory that is given for two sets is told by name.
        let mut all = Vec::new();
        for paths in directories {
            open_directories(paths, &mut all)?;
        }
        let mut all = all.into_iter();
        let mut given: Vec<Vec<Asked>> =
            directories.iter().map(|paths| all.by_ref().take(paths.len()).collect()).collect();
        let ids = line_up(&given)?;
        for (paths, given) in directories.iter().zip(&mut given) {
            make_directories(paths, given)?;
        }
        Sets::open_as(given, parity, &ids, clock, tuning)
    }

    /// As [`Sets::open`], on drives of any kind.
    ///
    /// # Errors
    ///
    /// As [`Sets::open`].
    pub fn open_on(
        given: Vec<Vec<Given>>,
        parity: Option<usize>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<Sets>, OpenError> {
        let given: Vec<Vec<Asked>> = given.into_iter().map(|drives| Asked::all(drives, OPEN_MAX)).collect();
        let ids = line_up(&given)?;
        Sets::open_as(given, parity, &ids, clock, &Tuning::default())
    }

    /// The last set first: when the first one records that a new one belongs to it, the new one is there.
    fn open_as(
        given: Vec<Vec<Asked>>,
        parity: Option<usize>,
        ids: &[uuid::Uuid],
        clock: &Arc<dyn Clock>,
        tuning: &Tuning,
    ) -> Result<Arc<Sets>, OpenError> {
        let mut sets = Vec::with_capacity(given.len());
        for (place, given) in given.into_iter().enumerate().rev() {
            let lineup = Lineup { sets: ids.to_vec(), place };
            sets.push(LocalEngine::open_in(given, parity, lineup, Arc::clone(clock), tuning.clone())?);
        }
        sets.reverse();
        if ids.len() > 1 {
            sets[0].has_recorded(ids).map_err(|reason| OpenError::NotRecorded { reason })?;
        }
        Ok(Arc::new(Sets { sets }))
    }

    /// Each set, in order.
    pub fn sets(&self) -> &[Arc<LocalEngine>] {
        &self.sets
    }

    /// How the drives are, by set. The id of the first set is the deployment id.
    pub fn reports(&self) -> Vec<SetReport> {
        self.sets.iter().map(|set| set.report()).collect()
    }

    /// Reads every copy of everything back, one set after the other: see [`LocalEngine::verify`].
    ///
    /// # Errors
    ///
    /// As [`LocalEngine::verify`].
    pub fn verify(&self, told: &mut dyn FnMut(Seen) -> bool) -> Result<Verification, String> {
        let mut sum = Verification::default();
        for (place, set) in self.sets.iter().enumerate() {
            let keys_behind: u64 = self.sets[place + 1..].iter().map(|set| set.keys()).sum();
            let found = set.verify(&mut |seen| {
                told(match seen {
                    Seen::Progress(Progress { bytes, keys, keys_total, findings }) => {
                        Seen::Progress(Progress {
                            bytes: sum.bytes + bytes,
                            keys: sum.keys + keys,
                            keys_total: sum.keys + keys_total + keys_behind,
                            findings: sum.short + sum.lost + findings,
                        })
                    }
                    seen => seen,
                })
            })?;
            sum.add(found);
        }
        Ok(sum)
    }

    /// Looks at the copies of keys of one set: see [`LocalEngine::heal`].
    ///
    /// # Errors
    ///
    /// As [`LocalEngine::heal`], and when there is no such set.
    pub fn heal(&self, task: &HealTask, told: &mut dyn FnMut(Option<Healed>) -> bool) -> Result<(), String> {
        let (_, set) = self.set(task.partition).map_err(|error| error.to_string())?;
        set.heal(task, told)
    }

    /// Stops every set cleanly: see [`LocalEngine::shutdown`].
    pub async fn shutdown(&self) {
        join_all(self.sets.iter().map(|set| set.shutdown())).await;
    }

    fn set(&self, partition: PartitionId) -> Result<(usize, &LocalEngine), EngineError> {
        let place = usize::try_from(partition.0).unwrap_or(usize::MAX);
        let set = self.sets.get(place).ok_or(EngineError::NoSuchPartition { partition })?;
        Ok((place, set))
    }
}

/// A set's own location as it is known above this engine.
fn outward(place: usize, location: Location) -> Location {
    if place == 0 {
        return location;
    }
    let mark = SET_MARK + u8::try_from(place).expect("a server has at most 128 sets");
    Location([&[mark], &location.0[..]].concat())
}

/// The set a location tells, and what the set calls it.
fn inward(location: &Location) -> (usize, Location) {
    match location.0.split_first() {
        Some((&mark, own)) if mark > SET_MARK => (usize::from(mark - SET_MARK), Location(own.to_vec())),
        _ => (0, location.clone()),
    }
}

fn all_outward(place: usize, locations: &mut [Location]) {
    if place > 0 {
        for location in locations {
            *location = outward(place, std::mem::replace(location, Location(Vec::new())));
        }
    }
}

/// Makes the locations of a batch those of the set it goes to.
fn batch_inward(place: usize, batch: &mut Batch) -> Result<(), EngineError> {
    for mutation in &mut batch.mutations {
        let Mutation::Put(put) = mutation else { continue };
        for location in &mut put.locations {
            let (own, inner) = inward(location);
            if own != place {
                return Err(EngineError::NoSuchLocation { location: location.clone() });
            }
            *location = inner;
        }
    }
    Ok(())
}

/// The error as it is known above, where it names the location asked for.
fn error_outward(error: EngineError, asked: &Location) -> EngineError {
    match error {
        EngineError::NoSuchLocation { .. } => EngineError::NoSuchLocation { location: asked.clone() },
        error => error,
    }
}

impl Engine for Sets {
    fn commit(&self, partition: PartitionId, mut batch: Batch) -> Future<'_, Result<Committed, EngineError>> {
        Box::pin(async move {
            let (place, set) = self.set(partition)?;
            batch_inward(place, &mut batch)?;
            let mut committed = set.commit(ONLY, batch).await?;
            all_outward(place, &mut committed.unnamed);
            Ok(committed)
        })
    }

    fn get<'a>(
        &'a self,
        partition: PartitionId,
        key: &'a [u8],
    ) -> Future<'a, Result<Option<Entry>, EngineError>> {
        Box::pin(async move {
            let (place, set) = self.set(partition)?;
            let mut entry = set.get(ONLY, key).await?;
            if let Some(entry) = &mut entry {
                all_outward(place, &mut entry.locations);
            }
            Ok(entry)
        })
    }

    fn scan(
        &self,
        partition: PartitionId,
        range: KeyRange,
        limit: usize,
    ) -> Future<'_, Result<Vec<(Bytes, Entry)>, EngineError>> {
        Box::pin(async move {
            let (place, set) = self.set(partition)?;
            let mut page = set.scan(ONLY, range, limit).await?;
            for (_, entry) in &mut page {
                all_outward(place, &mut entry.locations);
            }
            Ok(page)
        })
    }

    fn changes(
        &self,
        partition: PartitionId,
        after: Sequence,
        limit: usize,
    ) -> Future<'_, Result<Vec<Arc<Change>>, EngineError>> {
        match self.set(partition) {
            Ok((_, set)) => set.changes(ONLY, after, limit),
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }

    fn stage(
        &self,
        partition: PartitionId,
        hint: StageHint,
    ) -> Future<'_, Result<Box<dyn Stage>, EngineError>> {
        Box::pin(async move {
            let (place, set) = self.set(partition)?;
            let stage = set.stage(ONLY, hint).await?;
            Ok(if place == 0 { stage } else { Box::new(SetStage { stage, place }) })
        })
    }

    fn read<'a>(
        &'a self,
        location: &'a Location,
        range: Range<u64>,
    ) -> Future<'a, Result<ByteStream, EngineError>> {
        Box::pin(async move {
            let (place, own) = inward(location);
            let Some(set) = self.sets.get(place) else {
                return Err(EngineError::NoSuchLocation { location: location.clone() });
            };
            set.read(&own, range).await.map_err(|error| error_outward(error, location))
        })
    }

    fn reclaim(&self, location: Location) -> Future<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let (place, own) = inward(&location);
            let Some(set) = self.sets.get(place) else {
                return Err(EngineError::NoSuchLocation { location });
            };
            set.reclaim(own).await.map_err(|error| error_outward(error, &location))
        })
    }

    fn partitions(&self) -> Vec<Partition> {
        let numbered = (0..).map(PartitionId).zip(&self.sets);
        let partitions = numbered
            .flat_map(|(id, set)| set.partitions().into_iter().map(move |own| Partition { id, ..own }));
        partitions.collect()
    }
}

/// A body being written to a set behind the first.
struct SetStage {
    stage: Box<dyn Stage>,
    place: usize,
}

impl Stage for SetStage {
    fn write(&mut self, bytes: Bytes) -> Future<'_, Result<(), EngineError>> {
        self.stage.write(bytes)
    }

    fn finish(self: Box<Self>) -> Future<'static, Result<Location, EngineError>> {
        let SetStage { stage, place } = *self;
        Box::pin(async move { stage.finish().await.map(|location| outward(place, location)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_tells_its_set_and_one_of_the_first_set_is_as_the_set_made_it() {
        let own = Location([&[1], &[7; 28][..]].concat());
        for place in [0, 1, 2, SETS_MAX - 1] {
            let told = outward(place, own.clone());
            assert_eq!(told.0.len(), if place == 0 { 29 } else { 30 });
            assert_eq!(inward(&told), (place, own.clone()));
        }
        assert_eq!(outward(0, own.clone()), own);
        assert_eq!(outward(3, own).0[0], 131);
    }
}
