//! Cursors: how far a target has acknowledged, one per target and partition.
//!
//! A cursor moves by an ordinary commit that carries no change and wakes nobody; a crash repeats
//! deliveries and never skips one. What a target is never told is a gap, written by the commit that moves the cursor
//! over it.

use std::sync::Arc;

use crate::batch::{Batch, Mutation, Put};
use crate::change::{Change, Sequence};
use crate::engine::PartitionId;
use crate::error::Error;
use crate::gap::GapWrites;
use crate::schema::{self, CursorRow};
use crate::store::{Store, scan_all};

/// Cursors read at a time.
const CURSORS_PAGE: usize = 100;

impl Store {
    /// The partitions whose changes a target reads.
    pub fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    /// Up to `limit` durable changes after a sequence.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn changes(
        &self,
        partition: PartitionId,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<Arc<Change>>, Error> {
        Ok(self.engine.changes(partition, after, limit).await?)
    }

    /// How far back the changes of a partition go: every one after this is kept. Zero for a partition that is not
    /// there. Like [`Engine::partitions`](crate::Engine::partitions) it is not for the path of every request.
    pub fn kept_after(&self, partition: PartitionId) -> Sequence {
        let partitions = self.engine.partitions().into_iter();
        let found = partitions.filter(|kept| kept.id == partition).map(|kept| kept.kept_after).next();
        found.unwrap_or(Sequence::ZERO)
    }

    /// Where a target (`id:type`) stands; `None` when it never had a cursor.
    ///
    /// # Errors
    ///
    /// `Unreadable`, and what the engine says.
    pub async fn cursor(&self, partition: PartitionId, target: &str) -> Result<Option<Sequence>, Error> {
        let key = schema::cursor_key(target);
        let Some(entry) = self.engine.get(partition, &key).await? else {
            return Ok(None);
        };
        let row: CursorRow = schema::decode(&key, &entry.value)?;
        Ok(Some(row.acknowledged))
    }

    /// The targets (`id:type`) that have a cursor in a partition, sorted.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn targets_with_cursor(&self, partition: PartitionId) -> Result<Vec<String>, Error> {
        let entries = scan_all(&*self.engine, partition, schema::CURSORS).await?;
        Ok(entries.iter().filter_map(|(key, _)| schema::cursor_target(key).map(str::to_owned)).collect())
    }

    /// Moves a target's cursor forward. The commit may wait a moment to ride on another one.
    ///
    /// # Errors
    ///
    /// What the engine refuses.
    pub async fn advance(&self, partition: PartitionId, target: &str, to: Sequence) -> Result<(), Error> {
        self.advance_over(partition, target, to, GapWrites::default()).await
    }

    /// Moves a target's cursor back. Waits for cursors that are moving forward, and they for it.
    ///
    /// # Errors
    ///
    /// What the engine refuses.
    pub async fn rewind(&self, partition: PartitionId, target: &str, to: Sequence) -> Result<(), Error> {
        let _alone = self.cursors.write().await;
        self.write_cursor(partition, target, to, GapWrites::default()).await
    }

    /// Moves a target's cursor forward and writes in the same commit which gaps began or grew and which were told.
    ///
    /// # Errors
    ///
    /// What the engine refuses.
    pub async fn advance_over(
        &self,
        partition: PartitionId,
        target: &str,
        to: Sequence,
        gaps: GapWrites,
    ) -> Result<(), Error> {
        let _shared = self.cursors.read().await;
        self.write_cursor(partition, target, to, gaps).await
    }

    async fn write_cursor(
        &self,
        partition: PartitionId,
        target: &str,
        to: Sequence,
        gaps: GapWrites,
    ) -> Result<(), Error> {
        let put = Put {
            key: schema::cursor_key(target),
            value: schema::encode(&CursorRow { acknowledged: to }),
            ..Put::default()
        };
        let released = Some(self.released(partition, target, Some(to)).await?);
        let mutations = gaps.mutations(target).chain([Mutation::Put(put)]).collect();
        let batch = Batch { mutations, rides: true, released, ..Batch::default() };
        self.commit(partition, batch).await?;
        Ok(())
    }

    /// What every target has acknowledged, once this one stands at `to`, or is forgotten.
    ///
    /// Also targets that are not configured at the moment count: they keep their place. A cursor that moves forward
    /// meanwhile only makes it less than it could be.
    async fn released(
        &self,
        partition: PartitionId,
        target: &str,
        to: Option<Sequence>,
    ) -> Result<Sequence, Error> {
        let own = schema::cursor_key(target);
        let mut released = to.unwrap_or(Sequence(u64::MAX));
        let mut range = schema::cursors();
        loop {
            let page = self.engine.scan(partition, range.clone(), CURSORS_PAGE).await?;
            for (key, entry) in page.iter().filter(|(key, _)| *key != own) {
                let row: CursorRow = schema::decode(key, &entry.value)?;
                released = released.min(row.acknowledged);
            }
            match page.last() {
                Some((last, _)) if page.len() == CURSORS_PAGE => {
                    range.start = [&last[..], &[0]].concat().into();
                }
                _ => return Ok(released),
            }
        }
    }

    /// Forgets a target: its cursors, its dead letters, its gaps and its pause.
    ///
    /// # Errors
    ///
    /// What the engine refuses; some partitions may have forgotten already.
    pub async fn forget_target(&self, target: &str) -> Result<(), Error> {
        let _shared = self.cursors.read().await;
        for &partition in self.partitions() {
            let batch = Batch {
                mutations: vec![
                    Mutation::Delete(schema::cursor_key(target)),
                    Mutation::DeletePrefix(schema::dead_letters(target)),
                    Mutation::DeletePrefix(schema::gaps(target)),
                    Mutation::Delete(schema::pause_key(target)),
                ],
                rides: true,
                released: Some(self.released(partition, target, None).await?),
                ..Batch::default()
            };
            self.commit(partition, batch).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use crate::change::Sequence;
    use crate::engine::PartitionId;
    use crate::testing::fixture::{ELSEWHERE, Fixture, HOME};

    #[tokio::test]
    async fn a_cursor_moves_both_ways_and_can_be_forgotten() {
        let store = Fixture::new().await.store;
        let partition = PartitionId(0);
        assert_eq!(store.cursor(partition, "1:kafka").await, Ok(None));
        for to in [5, 9] {
            store.advance(partition, "1:kafka", Sequence(to)).await.unwrap();
            assert_eq!(store.cursor(partition, "1:kafka").await, Ok(Some(Sequence(to))));
        }
        store.rewind(partition, "1:kafka", Sequence(2)).await.unwrap();
        assert_eq!(store.cursor(partition, "1:kafka").await, Ok(Some(Sequence(2))));
        store.advance(partition, "1:kafkaesque", Sequence(1)).await.unwrap();
        assert_eq!(store.targets_with_cursor(partition).await.unwrap(), ["1:kafka", "1:kafkaesque"]);
        store.forget_target("1:kafka").await.unwrap();
        assert_eq!(store.cursor(partition, "1:kafka").await, Ok(None));
        assert_eq!(store.cursor(partition, "1:kafkaesque").await, Ok(Some(Sequence(1))));
    }

    #[tokio::test]
    async fn a_target_has_a_cursor_of_its_own_in_each_partition() {
        let fixture = Fixture::new().await;
        let store = &fixture.store;
        store.advance(HOME, "1:kafka", Sequence(5)).await.unwrap();
        assert_eq!(store.cursor(ELSEWHERE, "1:kafka").await, Ok(None));
        assert_eq!(store.targets_with_cursor(ELSEWHERE).await.unwrap(), [""; 0]);
        store.advance(ELSEWHERE, "1:kafka", Sequence(9)).await.unwrap();
        store.rewind(HOME, "1:kafka", Sequence(2)).await.unwrap();

        let again = fixture.another_store().await;
        assert_eq!(again.cursor(HOME, "1:kafka").await, Ok(Some(Sequence(2))));
        assert_eq!(again.cursor(ELSEWHERE, "1:kafka").await, Ok(Some(Sequence(9))));
        store.forget_target("1:kafka").await.unwrap();
        for partition in [HOME, ELSEWHERE] {
            assert_eq!(store.cursor(partition, "1:kafka").await, Ok(None));
        }
    }

    #[tokio::test]
    async fn what_the_slowest_target_of_a_partition_acknowledged_is_released_there_and_nowhere_else() {
        let fixture = Fixture::new().await;
        let (store, engine) = (&fixture.store, &fixture.engine);
        store.advance(ELSEWHERE, "1:kafka", Sequence(1)).await.unwrap();
        store.advance(HOME, "1:kafka", Sequence(5)).await.unwrap();
        store.advance(HOME, "2:mqtt", Sequence(9)).await.unwrap();
        assert_eq!(
            (engine.released(HOME), engine.released(ELSEWHERE)),
            (Some(Sequence(5)), Some(Sequence(1)))
        );
        store.advance(HOME, "1:kafka", Sequence(7)).await.unwrap();
        assert_eq!(
            (engine.released(HOME), engine.released(ELSEWHERE)),
            (Some(Sequence(7)), Some(Sequence(1)))
        );
        store.rewind(HOME, "2:mqtt", Sequence(3)).await.unwrap();
        assert_eq!(engine.released(HOME), Some(Sequence(3)));
        store.forget_target("2:mqtt").await.unwrap();
        assert_eq!(
            (engine.released(HOME), engine.released(ELSEWHERE)),
            (Some(Sequence(7)), Some(Sequence(1)))
        );
        store.forget_target("1:kafka").await.unwrap();
        assert_eq!(engine.released(HOME), Some(Sequence(u64::MAX)));
    }

    #[tokio::test]
    async fn a_cursor_moves_back_only_when_no_other_is_moving_forward() {
        let store = Fixture::new().await.store;
        let advancing = store.cursors.read().await;
        let mut rewinding = pin!(store.rewind(PartitionId(0), "1:kafka", Sequence(2)));
        assert!(poll!(&mut rewinding).is_pending());
        drop(advancing);
        rewinding.await.unwrap();
    }
}
