//! Dead letters: changes that a target refused for what they hold, kept so that its cursor may pass them.
//!
//! One row per target and change, in the partition of the change, under the change's own sequence: the same change
//! that dies again after a crash is the same row. How many a target may have, and when a change dies, is `notify`'s.

use crate::batch::{Batch, Mutation, Precondition, Put};
use crate::change::{Change, Sequence};
use crate::engine::{EngineError, KeyRange, PartitionId};
use crate::error::Error;
use crate::schema::{self, DeadRow};
use crate::store::{SCAN_ENTRIES, Store};

/// A change that a target would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where the change was committed.
    pub partition: PartitionId,
    /// All of it, so that it can be told after the log has let go of it.
    pub change: Change,
    /// Why the target refused it last, a clause.
    pub reason: String,
    /// How often it was refused.
    pub tries: u32,
    /// When it became a dead letter, milliseconds since 1970.
    pub died_ms: u64,
}

impl Store {
    /// Makes a dead letter durable; `false` when the target (`id:type`) has one of this change already.
    ///
    /// # Errors
    ///
    /// What the engine refuses.
    pub async fn bury(&self, target: &str, letter: &DeadLetter) -> Result<bool, Error> {
        let key = schema::dead_letter_key(target, letter.change.sequence);
        self.commit_if(letter.partition, Precondition::Absent(key), put(target, letter)).await
    }

    /// Writes what became of a dead letter; `false` when it is gone.
    ///
    /// # Errors
    ///
    /// What the engine refuses.
    pub async fn update_dead_letter(&self, target: &str, letter: &DeadLetter) -> Result<bool, Error> {
        let key = schema::dead_letter_key(target, letter.change.sequence);
        self.commit_if(letter.partition, Precondition::Exists(key), put(target, letter)).await
    }

    /// Removes a dead letter; `false` when there is none.
    ///
    /// # Errors
    ///
    /// What the engine refuses.
    pub async fn drop_dead_letter(
        &self,
        partition: PartitionId,
        target: &str,
        sequence: Sequence,
    ) -> Result<bool, Error> {
        let key = schema::dead_letter_key(target, sequence);
        self.commit_if(partition, Precondition::Exists(key.clone()), Mutation::Delete(key)).await
    }

    /// A dead letter of a target (`id:type`).
    ///
    /// # Errors
    ///
    /// `Unreadable`, and what the engine says.
    pub async fn dead_letter(
        &self,
        partition: PartitionId,
        target: &str,
        sequence: Sequence,
    ) -> Result<Option<DeadLetter>, Error> {
        let key = schema::dead_letter_key(target, sequence);
        let entry = self.engine.get(partition, &key).await?;
        entry.map(|entry| letter(partition, &key, &entry.value)).transpose()
    }

    /// Up to `limit` dead letters of a target in a partition after a sequence, the oldest change first.
    ///
    /// # Errors
    ///
    /// `Unreadable`, and what the engine says.
    pub async fn dead_letters(
        &self,
        partition: PartitionId,
        target: &str,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        let start = schema::just_after(&schema::dead_letter_key(target, after));
        let range = KeyRange { start, ..KeyRange::prefix(&schema::dead_letters(target)) };
        let page = self.engine.scan(partition, range, limit).await?;
        page.iter().map(|(key, entry)| letter(partition, key, &entry.value)).collect()
    }

    /// How many dead letters a target has in a partition.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn dead_letter_count(&self, partition: PartitionId, target: &str) -> Result<u64, Error> {
        let mut range = KeyRange::prefix(&schema::dead_letters(target));
        let mut count = 0;
        loop {
            let page = self.engine.scan(partition, range.clone(), SCAN_ENTRIES).await?;
            count += page.len() as u64;
            match page.last() {
                Some((last, _)) if page.len() == SCAN_ENTRIES => range.start = schema::just_after(last),
                _ => return Ok(count),
            }
        }
    }

    /// Commits one mutation under one condition; `false` when that does not hold.
    async fn commit_if(
        &self,
        partition: PartitionId,
        condition: Precondition,
        mutation: Mutation,
    ) -> Result<bool, Error> {
        let batch = Batch { preconditions: vec![condition], mutations: vec![mutation], ..Batch::default() };
        match self.commit(partition, batch).await {
            Ok(_) => Ok(true),
            Err(EngineError::Precondition { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn put(target: &str, letter: &DeadLetter) -> Mutation {
    let row = DeadRow {
        change: letter.change.clone(),
        reason: letter.reason.clone(),
        tries: letter.tries,
        died_ms: letter.died_ms,
        rules: letter.change.rules.clone(),
        tags: letter.change.object.as_ref().map(|object| object.tags.clone()).unwrap_or_default(),
    };
    let key = schema::dead_letter_key(target, letter.change.sequence);
    Mutation::Put(Put { key, value: schema::encode(&row), ..Put::default() })
}

fn letter(partition: PartitionId, key: &[u8], value: &[u8]) -> Result<DeadLetter, Error> {
    let DeadRow { mut change, reason, tries, died_ms, rules, tags } = schema::decode(key, value)?;
    change.rules = rules;
    if let Some(object) = &mut change.object {
        object.tags = tags;
    }
    Ok(DeadLetter { partition, change, reason, tries, died_ms })
}

#[cfg(test)]
mod tests {
    use super::DeadLetter;
    use crate::change::Sequence;
    use crate::testing::fixture::{Fixture, HOME};

    /// Dead letters of three puts, for a target.
    async fn buried(fixture: &Fixture, target: &str) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        for name in ["a", "b", "c"] {
            fixture.put(name, b"ab").await;
            let mut change = fixture.changes().await.pop().unwrap();
            change.rules = vec!["all".to_owned()];
            change.object.as_mut().unwrap().tags = vec![("stage".to_owned(), "raw".to_owned())];
            let letter =
                DeadLetter { partition: HOME, change, reason: name.to_owned(), tries: 10, died_ms: 7 };
            assert_eq!(fixture.store.bury(target, &letter).await, Ok(true));
            letters.push(letter);
        }
        letters
    }

    #[tokio::test]
    async fn dead_letters_are_kept_whole_and_listed_in_the_order_of_their_changes() {
        let fixture = Fixture::new().await;
        let store = &fixture.store;
        let letters = buried(&fixture, "1:kafka").await;
        assert_eq!(store.dead_letters(HOME, "1:kafka", Sequence::ZERO, 2).await, Ok(letters[..2].to_vec()));
        let after = letters[1].change.sequence;
        assert_eq!(store.dead_letters(HOME, "1:kafka", after, 2).await, Ok(letters[2..].to_vec()));
        assert_eq!(store.dead_letter(HOME, "1:kafka", after).await, Ok(Some(letters[1].clone())));
        assert_eq!(store.dead_letter_count(HOME, "1:kafka").await, Ok(3));
        assert_eq!(store.dead_letter_count(HOME, "1:kaf").await, Ok(0));
    }

    #[tokio::test]
    async fn a_change_dies_once_and_what_was_dropped_is_not_written_again() {
        let fixture = Fixture::new().await;
        let store = &fixture.store;
        let mut letter = buried(&fixture, "1:kafka").await.remove(0);
        letter.tries = 11;
        assert_eq!(store.bury("1:kafka", &letter).await, Ok(false));
        assert_eq!(store.update_dead_letter("1:kafka", &letter).await, Ok(true));
        let sequence = letter.change.sequence;
        assert_eq!(store.dead_letter(HOME, "1:kafka", sequence).await, Ok(Some(letter.clone())));
        assert_eq!(store.drop_dead_letter(HOME, "1:kafka", sequence).await, Ok(true));
        assert_eq!(store.drop_dead_letter(HOME, "1:kafka", sequence).await, Ok(false));
        assert_eq!(store.update_dead_letter("1:kafka", &letter).await, Ok(false));
    }

    #[tokio::test]
    async fn a_target_that_is_forgotten_leaves_no_dead_letters_and_others_keep_theirs() {
        let fixture = Fixture::new().await;
        buried(&fixture, "1:kafka").await;
        buried(&fixture, "1:kafkaesque").await;
        fixture.store.forget_target("1:kafka").await.unwrap();
        assert_eq!(fixture.store.dead_letter_count(HOME, "1:kafka").await, Ok(0));
        assert_eq!(fixture.store.dead_letter_count(HOME, "1:kafkaesque").await, Ok(3));
    }
}
