//! Gaps: changes that a target is never told, because more waited for it than may.
//!
//! One row per target and bucket, in the bucket's partition. It is written by the commit that moves the target's cursor
//! over the changes it stands for, and removed when the target has been told of it: at every moment a change that named
//! the target lies after its cursor, was done with, or is counted in a gap that is still to be told.

use serde::{Deserialize, Serialize};

use crate::batch::{Mutation, Put};
use crate::change::{Change, Sequence};
use crate::engine::PartitionId;
use crate::error::Error;
use crate::names::BucketName;
use crate::schema;
use crate::store::{Store, scan_all};

/// What a target missed of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first change that is missing.
    pub first: Sequence,
    /// The last one.
    pub last: Sequence,
    /// How many are missing; between the first and the last others may have been told.
    pub changes: u64,
    /// When the first happened, milliseconds since 1970.
    pub first_ms: u64,
    /// When the last happened.
    pub last_ms: u64,
}

impl Gap {
    /// A gap of one change.
    pub fn of(change: &Change) -> Gap {
        let (sequence, time_ms) = (change.sequence, change.time_ms);
        Gap { first: sequence, last: sequence, changes: 1, first_ms: time_ms, last_ms: time_ms }
    }

    /// Takes in a later change.
    pub fn grow(&mut self, change: &Change) {
        self.last = change.sequence;
        self.last_ms = change.time_ms;
        self.changes += 1;
    }
}

/// What becomes of gaps when a cursor moves.
#[derive(Clone, Debug, Default)]
pub struct GapWrites {
    /// Told: no more to be kept. Comes before what is written.
    pub told: Vec<BucketName>,
    /// Begun or grown.
    pub written: Vec<(BucketName, Gap)>,
}

impl GapWrites {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty() && self.written.is_empty()
    }

    pub(crate) fn mutations(self, target: &str) -> impl Iterator<Item = Mutation> {
        let told = self.told.into_iter().map(|bucket| Mutation::Delete(schema::gap_key(target, &bucket)));
        let written = self.written.into_iter().map(|(bucket, gap)| {
            let (key, value) = (schema::gap_key(target, &bucket), schema::encode(&gap));
            Mutation::Put(Put { key, value, ..Put::default() })
        });
        told.chain(written)
    }
}

impl Store {
    /// The gaps that a target (`id:type`) is still to be told of in a partition.
    ///
    /// # Errors
    ///
    /// `Unreadable`, and what the engine says.
    pub async fn gaps(&self, partition: PartitionId, target: &str) -> Result<Vec<(BucketName, Gap)>, Error> {
        let prefix = schema::gaps(target);
        let entries = scan_all(&*self.engine, partition, &prefix).await?;
        let gaps = entries.into_iter().map(|(key, entry)| {
            let name = std::str::from_utf8(&key[prefix.len()..]).ok().and_then(BucketName::new);
            let name = name.ok_or_else(|| schema::unreadable(&key, "it names no bucket"))?;
            Ok((name, schema::decode(&key, &entry.value)?))
        });
        gaps.collect()
    }

    /// Bytes a partition can hold in all, parity included; 0 where that is not known.
    pub fn total_bytes(&self, partition: PartitionId) -> u64 {
        let partitions = self.engine.partitions();
        let found = partitions.into_iter().find(|found| found.id == partition);
        found.map_or(0, |found| found.total_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{Gap, GapWrites};
    use crate::change::Sequence;
    use crate::testing::fixture::{Fixture, HOME, bucket};

    #[tokio::test]
    async fn gaps_are_written_and_told_with_the_cursor_that_passes_them() {
        let fixture = Fixture::new().await;
        let (store, place) = (&fixture.store, HOME);
        fixture.put("a", b"ab").await;
        fixture.put("b", b"ab").await;
        let changes = fixture.changes().await;
        let mut gap = Gap::of(&changes[1]);
        gap.grow(&changes[2]);
        let written = vec![(bucket("album"), gap), (bucket("attic"), gap)];
        let writes = GapWrites { told: vec![bucket("album")], written: written.clone() };
        store.advance_over(place, "1:kafka", gap.last, writes).await.unwrap();
        assert_eq!((gap.first, gap.last, gap.changes), (changes[1].sequence, changes[2].sequence, 2));
        assert_eq!(store.gaps(place, "1:kafka").await, Ok(written.clone()));
        assert_eq!(store.gaps(place, "1:kaf").await, Ok(vec![]));
        assert_eq!(store.cursor(place, "1:kafka").await, Ok(Some(gap.last)));

        let writes = GapWrites { told: vec![bucket("album")], written: vec![] };
        store.advance_over(place, "1:kafka", Sequence(gap.last.0 + 1), writes).await.unwrap();
        assert_eq!(store.gaps(place, "1:kafka").await, Ok(written[1..].to_vec()));
        store.forget_target("1:kafka").await.unwrap();
        assert_eq!(store.gaps(place, "1:kafka").await, Ok(vec![]));
    }
}
