//! Pauses: targets that an operator told to wait. A row of the first partition for each, so that a restart keeps it.

use crate::batch::{Batch, Mutation, Put};
use crate::error::Error;
use crate::schema::{self, PauseRow};
use crate::store::Store;

impl Store {
    /// Keeps for a target (`id:type`) that it is paused, or that it is not.
    ///
    /// # Errors
    ///
    /// What the engine refuses.
    pub async fn set_paused(&self, target: &str, is_paused: bool) -> Result<(), Error> {
        let key = schema::pause_key(target);
        let mutation = if is_paused {
            let value = schema::encode(&PauseRow { since_ms: self.clock().now_ms() });
            Mutation::Put(Put { key, value, ..Put::default() })
        } else {
            Mutation::Delete(key)
        };
        let batch = Batch { mutations: vec![mutation], ..Batch::default() };
        self.commit(self.first_partition(), batch).await?;
        Ok(())
    }

    /// Whether a target is paused.
    ///
    /// # Errors
    ///
    /// `Unreadable`, and what the engine says.
    pub async fn is_paused(&self, target: &str) -> Result<bool, Error> {
        let key = schema::pause_key(target);
        match self.engine.get(self.first_partition(), &key).await? {
            Some(entry) => schema::decode::<PauseRow>(&key, &entry.value).map(|_| true),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::fixture::Fixture;

    #[tokio::test]
    async fn a_pause_is_kept_until_it_ends_or_its_target_is_forgotten() {
        let store = Fixture::new().await.store;
        assert_eq!(store.is_paused("1:kafka").await, Ok(false));
        for target in ["1:kafka", "2:kafka"] {
            store.set_paused(target, true).await.unwrap();
            assert_eq!(store.is_paused(target).await, Ok(true));
        }
        store.set_paused("1:kafka", false).await.unwrap();
        store.forget_target("2:kafka").await.unwrap();
        assert_eq!(store.is_paused("1:kafka").await, Ok(false));
        assert_eq!(store.is_paused("2:kafka").await, Ok(false));
    }
}
