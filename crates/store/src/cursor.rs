//! Cursors: how far a target has acknowledged, one per target and partition.
//!
//! A cursor moves by an ordinary commit that carries no change and wakes nobody; a crash repeats
//! deliveries and never skips one.

use crate::change::{Change, Sequence};
use crate::engine::PartitionId;
use crate::error::Error;
use crate::store::Store;

impl Store {
    /// The partitions whose changes a target reads.
    pub fn partitions(&self) -> Vec<PartitionId> {
        todo!()
    }

    /// Up to `limit` durable changes after a sequence.
    pub async fn changes(&self, partition: PartitionId, after: Sequence, limit: usize) -> Result<Vec<Change>, Error> {
        todo!()
    }

    /// Where a target (`id:type`) stands; `None` when it never had a cursor.
    pub async fn cursor(&self, partition: PartitionId, target: &str) -> Result<Option<Sequence>, Error> {
        todo!()
    }

    /// Moves a target's cursor.
    pub async fn advance(&self, partition: PartitionId, target: &str, to: Sequence) -> Result<(), Error> {
        todo!()
    }

    /// Forgets a target's cursors.
    pub async fn forget_cursor(&self, target: &str) -> Result<(), Error> {
        todo!()
    }

    /// The newest sequence a partition has committed.
    pub fn newest(&self, partition: PartitionId) -> Sequence {
        todo!()
    }
}
