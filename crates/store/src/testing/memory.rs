//! The memory engine: the smallest thing that keeps every promise of the trait, and forgets all at the end.
//!
//! One mutex over ordered maps; a commit is applied under it whole, so there is never a batch in flight.
//! Tests make it fail on purpose with its switches. What is not here: durability, quorums of its own,
//! bounds on memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use parking_lot::Mutex;

use crate::batch::{Batch, Mutation, Precondition};
use crate::change::{Change, Sequence};
use crate::clock::{Clock, SystemClock};
use crate::engine::{
    ByteStream, Committed, Engine, EngineError, Entry, Future, KeyRange, Location, Partition, PartitionId,
    Stage, StageHint, successor,
};

/// Bytes of a body given at once by a read: small, so that tests see bodies in several pieces.
const READ_CHUNK_BYTES: usize = 64 * 1024;

/// An engine in memory. Cloning it gives another handle of the same engine.
#[derive(Clone)]
pub struct MemoryEngine {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    newest: Sequence,
    partitions: BTreeMap<PartitionId, Content>,
    /// Staged bodies by number, with their partitions; a location is the number, big endian.
    bodies: BTreeMap<u64, (PartitionId, Bytes)>,
    staged: u64,
    /// Entries that scans have returned since the engine was made.
    scanned_entries: u64,
    failures: VecDeque<EngineError>,
    write_quorum_lost: Option<(usize, usize)>,
}

/// What a partition holds.
struct Content {
    entries: BTreeMap<Bytes, Entry>,
    changes: Vec<Arc<Change>>,
    /// Bytes free and in all, as a test says it.
    room: (u64, u64),
    /// What it says of its change log.
    kept_after: Sequence,
    /// What the last commit that said so told of what every target has acknowledged.
    released: Option<Sequence>,
}

impl MemoryEngine {
    /// An empty engine of one partition, by the machine's clock.
    pub fn new() -> MemoryEngine {
        MemoryEngine::with(Arc::new(SystemClock), 1)
    }

    /// An empty engine of so many partitions, by a clock of the test's.
    pub fn with(clock: Arc<dyn Clock>, partitions: u32) -> MemoryEngine {
        let empty = || Content {
            entries: BTreeMap::new(),
            changes: Vec::new(),
            room: (1, 1),
            kept_after: Sequence::ZERO,
            released: None,
        };
        let partitions = (0..partitions).map(|number| (PartitionId(number), empty())).collect();
        let state = Mutex::new(State { partitions, ..State::default() });
        MemoryEngine { shared: Arc::new(Shared { clock, state }) }
    }

    /// Says how many bytes a partition has free and in all. Before, all of it is free.
    pub fn set_room(&self, partition: PartitionId, free_bytes: u64, total_bytes: u64) {
        let state = &mut *self.shared.state.lock();
        state.content_mut(partition).expect("a test names partitions that are there").room =
            (free_bytes, total_bytes);
    }

    /// Forgets every change up to this one, in all partitions.
    pub fn forget_changes_upto(&self, sequence: Sequence) {
        for content in self.shared.state.lock().partitions.values_mut() {
            content.changes.retain(|change| change.sequence > sequence);
            content.kept_after = sequence;
        }
    }

    /// What every target has acknowledged in a partition, as the last commit told that did; `None` before one did.
    pub fn released(&self, partition: PartitionId) -> Option<Sequence> {
        self.shared.state.lock().content(partition).ok()?.released
    }

    /// Makes the next commits fail, one after the other, each with the next error given. Nothing changes.
    pub fn fail_commits(&self, errors: impl IntoIterator<Item = EngineError>) {
        self.shared.state.lock().failures.extend(errors);
    }

    /// Makes commits and stages fail for want of drives, until [`MemoryEngine::restore_quorum`].
    pub fn lose_quorum(&self, answered: usize, needed: usize) {
        self.shared.state.lock().write_quorum_lost = Some((answered, needed));
    }

    /// Ends what [`MemoryEngine::lose_quorum`] began.
    pub fn restore_quorum(&self) {
        self.shared.state.lock().write_quorum_lost = None;
    }

    /// How many staged bodies are held, named or not.
    pub fn body_count(&self) -> usize {
        self.shared.state.lock().bodies.len()
    }

    /// How many staged bodies are held that no entry names.
    pub fn unnamed_body_count(&self) -> usize {
        let state = self.shared.state.lock();
        let entries = state.partitions.values().flat_map(|partition| partition.entries.values());
        let named: BTreeSet<u64> = entries.flat_map(|entry| &entry.locations).filter_map(number_of).collect();
        state.bodies.keys().filter(|number| !named.contains(number)).count()
    }

    /// How many entries scans have returned so far: what listings cost.
    pub fn scanned_entries(&self) -> u64 {
        self.shared.state.lock().scanned_entries
    }

    /// Moves every staged body to a new location, as a compaction does; the old ones are gone.
    pub fn move_bodies(&self) {
        let state = &mut *self.shared.state.lock();
        let bodies = std::mem::take(&mut state.bodies);
        for (old, body) in bodies {
            let (from, to) = (location(old), location(state.staged));
            state.bodies.insert(state.staged, body);
            state.staged += 1;
            for partition in state.partitions.values_mut() {
                let places = partition.entries.values_mut().flat_map(|entry| &mut entry.locations);
                places.filter(|place| **place == from).for_each(|place| place.clone_from(&to));
            }
        }
    }

    fn commit_now(&self, partition: PartitionId, batch: Batch) -> Result<Committed, EngineError> {
        let state = &mut *self.shared.state.lock();
        if let Some(failure) = state.failures.pop_front() {
            return Err(failure);
        }
        state.check_quorum()?;
        state.check_bodies(partition, &batch)?;
        let entries = &mut state.content_mut(partition)?.entries;
        for (index, precondition) in batch.preconditions.iter().enumerate() {
            if !holds(entries, precondition) {
                return Err(EngineError::Precondition { index });
            }
        }
        let now = Sequence(self.shared.clock.now_ns());
        let mut sequences = Vec::with_capacity(batch.changes.len());
        for _ in &batch.changes {
            state.newest = now.max(Sequence(state.newest.0 + 1));
            sequences.push(state.newest);
        }
        if batch.changes.is_empty() {
            state.newest = now.max(Sequence(state.newest.0 + 1));
        }
        let (newest, content) = (state.newest, state.content_mut(partition)?);
        content.released = batch.released.or(content.released);
        let unnamed = apply(&mut content.entries, batch.mutations, newest);
        let told = batch.changes.into_iter().zip(&sequences);
        content.changes.extend(told.map(|(change, &sequence)| Arc::new(Change { sequence, ..change })));
        Ok(Committed { sequence: state.newest, changes: sequences, unnamed })
    }
}

impl Default for MemoryEngine {
    fn default() -> MemoryEngine {
        MemoryEngine::new()
    }
}

impl State {
    fn check_quorum(&self) -> Result<(), EngineError> {
        match self.write_quorum_lost {
            Some((answered, needed)) => Err(EngineError::WriteQuorum { answered, needed }),
            None => Ok(()),
        }
    }

    fn content(&self, partition: PartitionId) -> Result<&Content, EngineError> {
        self.partitions.get(&partition).ok_or(EngineError::NoSuchPartition { partition })
    }

    fn content_mut(&mut self, partition: PartitionId) -> Result<&mut Content, EngineError> {
        self.partitions.get_mut(&partition).ok_or(EngineError::NoSuchPartition { partition })
    }

    /// No body of another partition may be named.
    fn check_bodies(&self, partition: PartitionId, batch: &Batch) -> Result<(), EngineError> {
        let puts = batch.mutations.iter().filter_map(|mutation| match mutation {
            Mutation::Put(put) => Some(put),
            Mutation::Delete(_) | Mutation::DeletePrefix(_) => None,
        });
        let is_foreign = |location: &&Location| {
            let body = number_of(location).and_then(|number| self.bodies.get(&number));
            body.is_some_and(|(own, _)| *own != partition)
        };
        match puts.flat_map(|put| &put.locations).find(is_foreign) {
            Some(location) => Err(EngineError::NoSuchLocation { location: location.clone() }),
            None => Ok(()),
        }
    }
}

fn holds(entries: &BTreeMap<Bytes, Entry>, precondition: &Precondition) -> bool {
    match precondition {
        Precondition::Exists(key) => entries.contains_key(key),
        Precondition::Absent(key) => !entries.contains_key(key),
        Precondition::Unchanged(key, sequence) => {
            entries.get(key).is_some_and(|entry| entry.sequence == *sequence)
        }
        Precondition::Empty(prefix) => keys_under(entries, prefix).is_empty(),
    }
}

/// Applies the mutations in order; gives the locations that were named before and no longer are.
fn apply(
    entries: &mut BTreeMap<Bytes, Entry>,
    mutations: Vec<Mutation>,
    sequence: Sequence,
) -> Vec<Location> {
    let mut removed: Vec<Entry> = Vec::new();
    let mut written = BTreeSet::new();
    for mutation in mutations {
        match mutation {
            Mutation::Put(put) => {
                written.insert(put.key.clone());
                let entry =
                    Entry { sequence, value: put.value, payload: put.payload, locations: put.locations };
                removed.extend(entries.insert(put.key, entry));
            }
            Mutation::Delete(key) => removed.extend(entries.remove(&key)),
            Mutation::DeletePrefix(prefix) => {
                let keys = keys_under(entries, &prefix);
                removed.extend(keys.iter().filter_map(|key| entries.remove(key)));
            }
        }
    }
    // What this batch itself put and removed again was not named before it.
    let before = removed.into_iter().filter(|entry| entry.sequence != sequence);
    let named: BTreeSet<&Location> =
        written.iter().filter_map(|key| entries.get(key)).flat_map(|entry| &entry.locations).collect();
    let before = before.flat_map(|entry| entry.locations);
    before.filter(|location| !named.contains(location)).collect()
}

fn keys_under(entries: &BTreeMap<Bytes, Entry>, prefix: &[u8]) -> Vec<Bytes> {
    let range = KeyRange { start: Bytes::copy_from_slice(prefix), end: successor(prefix) };
    entries
        .range(range.start.clone()..)
        .take_while(|(key, _)| range.contains(key))
        .map(|(key, _)| key.clone())
        .collect()
}

fn location(number: u64) -> Location {
    Location(number.to_be_bytes().to_vec())
}

fn number_of(location: &Location) -> Option<u64> {
    location.0.as_slice().try_into().ok().map(u64::from_be_bytes)
}

impl Engine for MemoryEngine {
    fn commit(&self, partition: PartitionId, batch: Batch) -> Future<'_, Result<Committed, EngineError>> {
        Box::pin(async move { self.commit_now(partition, batch) })
    }

    fn get<'a>(
        &'a self,
        partition: PartitionId,
        key: &'a [u8],
    ) -> Future<'a, Result<Option<Entry>, EngineError>> {
        Box::pin(async move {
            let state = self.shared.state.lock();
            Ok(state.content(partition)?.entries.get(key).cloned())
        })
    }

    fn scan(
        &self,
        partition: PartitionId,
        range: KeyRange,
        limit: usize,
    ) -> Future<'_, Result<Vec<(Bytes, Entry)>, EngineError>> {
        Box::pin(async move {
            let state = &mut *self.shared.state.lock();
            let within = state.content(partition)?.entries.range(range.start.clone()..);
            let page: Vec<_> = within
                .take_while(|(key, _)| range.contains(key))
                .take(limit)
                .map(|(key, entry)| (key.clone(), Entry { payload: Bytes::new(), ..entry.clone() }))
                .collect();
            state.scanned_entries += page.len() as u64;
            Ok(page)
        })
    }

    fn changes(
        &self,
        partition: PartitionId,
        after: Sequence,
        limit: usize,
    ) -> Future<'_, Result<Vec<Arc<Change>>, EngineError>> {
        Box::pin(async move {
            let state = self.shared.state.lock();
            let changes = &state.content(partition)?.changes;
            let from = changes.partition_point(|change| change.sequence <= after);
            Ok(changes[from..].iter().take(limit).cloned().collect())
        })
    }

    fn stage(
        &self,
        partition: PartitionId,
        _hint: StageHint,
    ) -> Future<'_, Result<Box<dyn Stage>, EngineError>> {
        Box::pin(async move {
            {
                let state = self.shared.state.lock();
                state.content(partition)?;
                state.check_quorum()?;
            }
            let stage = MemoryStage { engine: self.clone(), partition, gathered: BytesMut::new() };
            Ok(Box::new(stage) as Box<dyn Stage>)
        })
    }

    fn read<'a>(
        &'a self,
        location: &'a Location,
        range: Range<u64>,
    ) -> Future<'a, Result<ByteStream, EngineError>> {
        Box::pin(async move {
            let state = self.shared.state.lock();
            let body = number_of(location).and_then(|number| state.bodies.get(&number));
            let (_, body) = body.ok_or_else(|| EngineError::NoSuchLocation { location: location.clone() })?;
            // The stream holds the bytes themselves: reclaiming them meanwhile takes nothing from it.
            let place = |at: u64| usize::try_from(at).map_or(body.len(), |at| at.min(body.len()));
            let (start, end) = (place(range.start), place(range.end));
            let rest = body.slice(start..end.max(start));
            // As a stream may, it panics when it is asked once more after its end.
            let chunks = stream::unfold(rest, |mut rest| async move {
                let chunk = rest.split_to(rest.len().min(READ_CHUNK_BYTES));
                (!chunk.is_empty()).then_some((Ok(chunk), rest))
            });
            Ok(Box::pin(chunks) as ByteStream)
        })
    }

    fn reclaim(&self, location: Location) -> Future<'_, Result<(), EngineError>> {
        Box::pin(async move {
            if let Some(number) = number_of(&location) {
                self.shared.state.lock().bodies.remove(&number);
            }
            Ok(())
        })
    }

    fn partitions(&self) -> Vec<Partition> {
        let state = self.shared.state.lock();
        let partitions = state.partitions.iter().map(|(&id, content)| {
            let (free_bytes, total_bytes) = content.room;
            Partition { id, free_bytes, total_bytes, kept_after: content.kept_after }
        });
        partitions.collect()
    }
}

struct MemoryStage {
    engine: MemoryEngine,
    partition: PartitionId,
    gathered: BytesMut,
}

impl Stage for MemoryStage {
    fn write(&mut self, bytes: Bytes) -> Future<'_, Result<(), EngineError>> {
        Box::pin(async move {
            self.gathered.extend_from_slice(&bytes);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> Future<'static, Result<Location, EngineError>> {
        Box::pin(async move {
            let state = &mut *self.engine.shared.state.lock();
            state.check_quorum()?;
            let number = state.staged;
            state.staged += 1;
            state.bodies.insert(number, (self.partition, self.gathered.freeze()));
            Ok(location(number))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::MemoryEngine;
    use crate::clock::SystemClock;
    use crate::engine::Engine;

    crate::engine_contract!(async || Arc::new(MemoryEngine::new()) as Arc<dyn Engine>);

    fn of_two_partitions() -> Arc<dyn Engine> {
        Arc::new(MemoryEngine::with(Arc::new(SystemClock), 2))
    }

    mod of_two_partitions {
        crate::engine_contract!(async || super::of_two_partitions());
    }

    mod the_second_of_two_partitions {
        use crate::testing::contract::OnePartition;

        crate::engine_contract!(async || OnePartition::of(super::of_two_partitions(), 1));
    }
}
