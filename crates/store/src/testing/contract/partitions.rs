//! Laws of several partitions. An engine of one partition keeps them too, where they say anything of one.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Subject, change, put, put_bodies};
use crate::batch::{Batch, Precondition};
use crate::change::{Change, Sequence};
use crate::engine::{
    ByteStream, Committed, Engine, EngineError, Entry, Future, KeyRange, Location, Partition, PartitionId,
    Stage, StageHint,
};

/// A partition that no engine has.
const NOWHERE: PartitionId = PartitionId(u32::MAX);

/// An engine of which only one partition is seen, so that each can be held to every law.
pub struct OnePartition {
    engine: Arc<dyn Engine>,
    partition: PartitionId,
}

impl OnePartition {
    /// The partition at this place of the engine's own order, from 0.
    pub fn of(engine: Arc<dyn Engine>, place: usize) -> Arc<dyn Engine> {
        let partition = engine.partitions()[place].id;
        Arc::new(OnePartition { engine, partition })
    }
}

impl Engine for OnePartition {
    fn commit(&self, partition: PartitionId, batch: Batch) -> Future<'_, Result<Committed, EngineError>> {
        self.engine.commit(partition, batch)
    }

    fn get<'a>(
        &'a self,
        partition: PartitionId,
        key: &'a [u8],
    ) -> Future<'a, Result<Option<Entry>, EngineError>> {
        self.engine.get(partition, key)
    }

    fn scan(
        &self,
        partition: PartitionId,
        range: KeyRange,
        limit: usize,
    ) -> Future<'_, Result<Vec<(Bytes, Entry)>, EngineError>> {
        self.engine.scan(partition, range, limit)
    }

    fn changes(
        &self,
        partition: PartitionId,
        after: Sequence,
        limit: usize,
    ) -> Future<'_, Result<Vec<Arc<Change>>, EngineError>> {
        self.engine.changes(partition, after, limit)
    }

    fn stage(
        &self,
        partition: PartitionId,
        hint: StageHint,
    ) -> Future<'_, Result<Box<dyn Stage>, EngineError>> {
        self.engine.stage(partition, hint)
    }

    fn read<'a>(
        &'a self,
        location: &'a Location,
        range: Range<u64>,
    ) -> Future<'a, Result<ByteStream, EngineError>> {
        self.engine.read(location, range)
    }

    fn reclaim(&self, location: Location) -> Future<'_, Result<(), EngineError>> {
        self.engine.reclaim(location)
    }

    fn partitions(&self) -> Vec<Partition> {
        self.engine.partitions().into_iter().filter(|partition| partition.id == self.partition).collect()
    }
}

/// One subject for every partition.
fn subjects(engine: &Arc<dyn Engine>) -> Vec<Subject> {
    let partitions = engine.partitions().into_iter();
    partitions.map(|partition| Subject { engine: Arc::clone(engine), partition: partition.id }).collect()
}

/// Whatever is asked of a partition that is not there is refused, and the refusal names it.
pub async fn a_partition_that_is_not_there_is_refused_by_name(engine: Arc<dyn Engine>) {
    let refused = EngineError::NoSuchPartition { partition: NOWHERE };
    let batch = Batch { mutations: vec![put(b"k", b"")], ..Batch::default() };
    assert_eq!(engine.commit(NOWHERE, batch).await, Err(refused.clone()));
    assert_eq!(engine.get(NOWHERE, b"k").await, Err(refused.clone()));
    assert_eq!(engine.scan(NOWHERE, KeyRange::prefix(b""), 10).await, Err(refused.clone()));
    assert_eq!(engine.changes(NOWHERE, Sequence::ZERO, 10).await, Err(refused.clone()));
    assert_eq!(engine.stage(NOWHERE, StageHint::default()).await.err(), Some(refused));
}

/// Keys, preconditions and changes of one partition are nothing to another.
pub async fn partitions_know_nothing_of_one_another(engine: Arc<dyn Engine>) {
    let subjects = subjects(&engine);
    for (number, subject) in subjects.iter().enumerate() {
        let own = format!("own {number}");
        let batch = Batch {
            preconditions: vec![Precondition::Absent(Bytes::from_static(b"k"))],
            mutations: vec![put(b"k", own.as_bytes())],
            changes: vec![change(&own)],
            ..Batch::default()
        };
        subject.commit(batch).await;
    }
    for (number, subject) in subjects.iter().enumerate() {
        let own = format!("own {number}");
        assert_eq!(subject.get(b"k").await.map(|entry| entry.value), Some(Bytes::from(own.clone())));
        assert_eq!(subject.keys(b"").await, [&b"k"[..]]);
        let told: Vec<String> =
            subject.changes(Sequence::ZERO, 10).await.into_iter().map(|change| change.key).collect();
        assert_eq!(told, [own]);
    }
}

/// A body is read, told by `get` and `scan`, named again and unnamed under one location in its partition; a
/// commit to another partition that names it is refused, and nothing of it shows.
pub async fn a_body_is_named_in_the_partition_it_was_staged_in_and_in_no_other(engine: Arc<dyn Engine>) {
    let subjects = subjects(&engine);
    for (number, subject) in subjects.iter().enumerate() {
        let body = format!("body {number}");
        let location = subject.stage(body.as_bytes(), 3).await;
        let it = std::slice::from_ref(&location);
        for other in subjects.iter().filter(|other| other.partition != subject.partition) {
            let mutations = vec![put(b"new", b""), put_bodies(b"body", it)];
            let answer = engine.commit(other.partition, Batch { mutations, ..Batch::default() }).await;
            assert_eq!(answer, Err(EngineError::NoSuchLocation { location: location.clone() }));
            assert_eq!(other.get(b"new").await, None);
        }
        subject.mutate([put_bodies(b"body", it)]).await;
        assert_eq!(subject.get(b"body").await.map(|entry| entry.locations), Some(it.to_vec()));
        let page = engine.scan(subject.partition, KeyRange::prefix(b"body"), 1).await.expect("readable");
        assert_eq!(page[0].1.locations, it);
        assert_eq!(subject.read(&location, 0..body.len() as u64).await, body.as_bytes());
        assert_eq!(subject.mutate([put_bodies(b"moved", it), super::delete(b"body")]).await.unnamed, []);
        assert_eq!(subject.mutate([super::delete(b"moved")]).await.unnamed, it);
        engine.reclaim(location).await.expect("it is no longer named");
    }
}
