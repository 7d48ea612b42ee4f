//! Topics as settings: each a document of its own, and a target beside those that are configured.
//!
//! | setting | holds |
//! |---|---|
//! | `topic/<name>` | a JSON object: `owner`, and `attributes` by name, none empty |

use std::collections::BTreeMap;

use bytes::Bytes;

use tidings_notify as notify;
use tidings_store as store;

use super::Configuration;
use crate::topics::{Refused, TOPICS_MAX, Topic};

/// Beginning of the names of stored topics.
const STORED: &str = "topic/";

/// Reads what is stored. A topic that cannot be read is logged and left out.
pub(super) async fn load(store: &store::Store) -> Result<BTreeMap<String, Topic>, store::Error> {
    let mut topics = BTreeMap::new();
    for (setting, text) in store.settings(STORED).await? {
        let name = setting[STORED.len()..].to_owned();
        match serde_json::from_slice::<Topic>(&text) {
            Ok(topic) => {
                topics.insert(name.clone(), Topic { name, ..topic });
            }
            Err(error) => tracing::error!(%setting, %error, "a stored topic is left out"),
        }
    }
    Ok(topics)
}

impl Configuration {
    /// The topics, by name.
    pub(crate) fn topics(&self) -> Vec<Topic> {
        self.topics.read().values().cloned().collect()
    }

    /// A topic by its name.
    pub(crate) fn topic(&self, name: &str) -> Option<Topic> {
        self.topics.read().get(name).cloned()
    }

    /// Makes a topic, also in the place of one of its name.
    ///
    /// # Errors
    ///
    /// What the store says, and that there are too many.
    pub(crate) async fn put_topic(&self, topic: Topic) -> Result<(), Refused> {
        let _changing = self.changing.lock().await;
        let is_full = {
            let topics = self.topics.read();
            topics.len() >= TOPICS_MAX && !topics.contains_key(&topic.name)
        };
        if is_full {
            return Err(Refused::too_many());
        }
        Ok(self.store_topic(&topic.name.clone(), Some(topic)).await?)
    }

    /// Changes a topic; `false` when there is none of this name.
    ///
    /// # Errors
    ///
    /// What `change` refuses and what the store says; nothing changes then.
    pub(crate) async fn change_topic(
        &self,
        name: &str,
        change: impl FnOnce(&mut Topic) -> Result<(), Refused>,
    ) -> Result<bool, Refused> {
        let _changing = self.changing.lock().await;
        let Some(mut topic) = self.topic(name) else {
            return Ok(false);
        };
        change(&mut topic)?;
        self.store_topic(name, Some(topic)).await?;
        Ok(true)
    }

    /// Removes a topic, if there is one of this name.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub(crate) async fn remove_topic(&self, name: &str) -> Result<(), Refused> {
        let _changing = self.changing.lock().await;
        match self.topic(name) {
            Some(_) => Ok(self.store_topic(name, None).await?),
            None => Ok(()),
        }
    }

    /// Stores a topic or that there is none, and puts it in force. The caller holds `changing`.
    async fn store_topic(&self, name: &str, topic: Option<Topic>) -> Result<(), store::Error> {
        let text = topic.as_ref().map(|topic| serde_json::to_vec(topic).expect("a topic of text is JSON"));
        self.store.change_settings(vec![(format!("{STORED}{name}"), text.map(Bytes::from))]).await?;
        match topic {
            Some(topic) => self.topics.write().insert(name.to_owned(), topic),
            None => self.topics.write().remove(name),
        };
        tracing::info!(topic = name, "the topics have changed");
        for (target, reason) in self.apply_targets().await {
            tracing::error!(target, reason, "a notification target does not work as it is configured");
        }
        Ok(())
    }

    /// The settings of every topic that has an endpoint; tells the notifier which topics there are.
    pub(super) fn topic_targets(&self) -> Vec<notify::TargetSettings> {
        let topics = self.topics.read();
        self.notifier.set_topics(topics.keys().map(String::as_str));
        let settings = topics.values().filter_map(|topic| match topic.settings() {
            Ok(settings) => settings,
            // It was checked when it was made, by another version.
            Err(reason) => {
                tracing::error!(topic = topic.name, reason, "a topic is no target");
                None
            }
        });
        settings.collect()
    }
}
