//! Settings: small named documents of the server itself (configuration, its history), kept in the first
//! partition. Their form belongs to whoever stores them.

use bytes::Bytes;

use crate::batch::{Batch, Mutation, Put};
use crate::engine::PartitionId;
use crate::error::Error;
use crate::schema;
use crate::store::{Store, scan_all};

impl Store {
    /// A setting by name.
    ///
    /// # Errors
    ///
    /// `Unreadable`, and what the engine says.
    pub async fn setting(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let key = schema::setting_key(name);
        match self.engine.get(self.first_partition(), &key).await? {
            Some(entry) => schema::decode_document(&key, &entry.value).map(Some),
            None => Ok(None),
        }
    }

    /// All settings whose name begins with `prefix`, sorted by name.
    ///
    /// # Errors
    ///
    /// As [`Store::setting`].
    pub async fn settings(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, Error> {
        let entries = scan_all(&*self.engine, self.first_partition(), &schema::setting_key(prefix)).await?;
        let named = entries.into_iter().map(|(key, entry)| {
            let name = std::str::from_utf8(&key[schema::SETTINGS.len()..])
                .map_err(|_| schema::unreadable(&key, "its name is not text"))?;
            Ok((name.to_owned(), schema::decode_document(&key, &entry.value)?))
        });
        named.collect()
    }

    /// Writes (`Some`) and removes (`None`) settings in one commit.
    ///
    /// # Errors
    ///
    /// What the engine refuses.
    pub async fn change_settings(&self, settings: Vec<(String, Option<Bytes>)>) -> Result<(), Error> {
        let mutations = settings.into_iter().map(|(name, text)| {
            let key = schema::setting_key(&name);
            match text {
                Some(text) => {
                    Mutation::Put(Put { key, value: schema::encode_document(&text), ..Put::default() })
                }
                None => Mutation::Delete(key),
            }
        });
        let batch = Batch { mutations: mutations.collect(), ..Batch::default() };
        self.commit(self.first_partition(), batch).await?;
        Ok(())
    }

    pub(crate) fn first_partition(&self) -> PartitionId {
        *self.partitions.first().expect("an engine has a partition")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::testing::fixture::Fixture;

    #[tokio::test]
    async fn settings_are_written_together_listed_by_prefix_and_removed() {
        let store = Fixture::new().await.store;
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        let named = |name: &str, text: Option<Bytes>| (name.to_owned(), text);
        let settings = vec![
            named("config", Some(text("now"))),
            named("history/2", Some(text("b"))),
            named("history/1", Some(text(""))),
        ];
        store.change_settings(settings).await.unwrap();
        assert_eq!(store.setting("config").await, Ok(Some(text("now"))));
        assert_eq!(store.setting("conf").await, Ok(None));
        let history = vec![("history/1".to_owned(), text("")), ("history/2".to_owned(), text("b"))];
        assert_eq!(store.settings("history/").await, Ok(history));

        store.change_settings(vec![named("history/1", None), named("gone", None)]).await.unwrap();
        assert_eq!(store.settings("history/").await, Ok(vec![("history/2".to_owned(), text("b"))]));
    }
}
