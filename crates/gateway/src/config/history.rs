//! The history of settings: the text of each `set`, under an identifier that `restore` takes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::{Changed, Configuration};

/// Texts that are kept; with one more the oldest goes.
pub(super) const ENTRIES_MAX: usize = 100;

/// Beginning of the names of the settings that hold the history.
const HISTORY: &str = "config-history/";

/// One `set` of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// A UUID.
    pub id: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// What was sent.
    pub text: String,
}

#[derive(Deserialize, Serialize)]
struct Stored {
    created_ms: u64,
    text: String,
}

impl Configuration {
    /// The newest `count` entries of the history, oldest first.
    ///
    /// # Errors
    ///
    /// What the store says, `Unreadable`.
    pub async fn history(&self, count: usize) -> Result<Vec<HistoryEntry>, ConfigError> {
        let mut entries = Vec::new();
        for (name, text) in self.store.settings(HISTORY).await? {
            let stored: Stored = serde_json::from_slice(&text)
                .map_err(|error| ConfigError::Unreadable { name: name.clone(), reason: error.to_string() })?;
            let id = name.strip_prefix(HISTORY).unwrap_or(&name).to_owned();
            entries.push(HistoryEntry { id, created_ms: stored.created_ms, text: stored.text });
        }
        entries.sort_by(|one, other| (one.created_ms, &one.id).cmp(&(other.created_ms, &other.id)));
        entries.drain(..entries.len().saturating_sub(count));
        Ok(entries)
    }

    /// Sets again what an entry of the history set.
    ///
    /// # Errors
    ///
    /// `NoHistory`, and what [`Configuration::set`] says.
    pub async fn restore(&self, id: &str) -> Result<Changed, ConfigError> {
        let entries = self.history(usize::MAX).await?;
        let entry = entries.into_iter().find(|entry| entry.id == id);
        let entry = entry.ok_or_else(|| ConfigError::NoHistory { id: id.to_owned() })?;
        self.set(&entry.text).await
    }

    /// Forgets one entry of the history, or all of it for `all`.
    ///
    /// # Errors
    ///
    /// `NoHistory`, and what the store says.
    pub async fn forget(&self, id: &str) -> Result<(), ConfigError> {
        let entries = self.history(usize::MAX).await?;
        let gone: Vec<_> =
            entries.iter().filter(|entry| id == "all" || entry.id == id).map(removal).collect();
        if gone.is_empty() && id != "all" {
            return Err(ConfigError::NoHistory { id: id.to_owned() });
        }
        if !gone.is_empty() {
            self.store.change_settings(gone).await?;
        }
        Ok(())
    }

    /// The settings to write for one more entry: the entry, and the removal of what is beyond the bound.
    pub(super) async fn new_history(&self, text: &str) -> Result<Vec<(String, Option<Bytes>)>, ConfigError> {
        let entries = self.history(usize::MAX).await?;
        // Entries of one millisecond keep their order.
        let newest_ms = entries.last().map_or(0, |entry| entry.created_ms + 1);
        let stored = Stored { created_ms: self.store.clock().now_ms().max(newest_ms), text: text.to_owned() };
        let stored = serde_json::to_vec(&stored).expect("a number and a text are JSON");
        let excess = (entries.len() + 1).saturating_sub(ENTRIES_MAX);
        let mut settings: Vec<_> = entries[..excess].iter().map(removal).collect();
        settings.push((format!("{HISTORY}{}", uuid::Uuid::new_v4()), Some(stored.into())));
        Ok(settings)
    }
}

fn removal(entry: &HistoryEntry) -> (String, Option<Bytes>) {
    (format!("{HISTORY}{}", entry.id), None)
}
