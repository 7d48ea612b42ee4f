//! The configuration system: subsystems and keys, stored settings, the environment above them.
//!
//! What `mc admin config` reads and writes. A change is checked whole, stored in one commit, and then in
//! force: notification targets start, restart and stop at once, whether or not they can be reached.
//!
//! # Stored form
//!
//! | setting | holds |
//! |---|---|
//! | `config/<subsystem>:<target>` | a JSON object of values by key, none empty |
//! | `config-history/<uuid>` | a JSON object: `created_ms` and the text of one `set` |
//! | `topic/<name>` | a topic: see [`topics`] |
//!
//! # Invariants
//!
//! 1. What a request changes is stored before it is in force, and a request that is refused changed nothing.
//! 2. Changes come one after another; what is in force is what was stored last.
//! 3. Values reach neither the log nor an error: they may be secrets.
//!
//! # Bounds
//!
//! A text has at most [`TEXT_BYTES_MAX`] bytes; the history keeps the [`history::ENTRIES_MAX`] newest texts.
//!
//! What is not here: how settings travel (`admin`), and what a target does with its settings (`notify`).

mod error;
mod grammar;
mod help;
mod history;
mod page;
mod rows;
mod settings;
mod subsystem;
mod topics;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::Mutex;

use tidings_notify as notify;
use tidings_store as store;

pub use error::ConfigError;
pub use help::{Help, KeyHelp};
pub use history::HistoryEntry;
pub use page::configuration_page;
pub use subsystem::{Key, Subsystem, TARGET_DEFAULT, all as subsystems};

use grammar::Place;
use settings::{Pairs, Settings, StoredKey, Style};

use crate::topics::Topic;

/// Longest text of settings, in bytes: 256 KiB, as MinIO's.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Beginning of the names of stored settings.
const STORED: &str = "config/";

/// Stored settings under the environment's, and who applies them.
pub struct Configuration {
    store: Arc<store::Store>,
    notifier: Arc<notify::Notifier>,
    settings: RwLock<Settings>,
    /// Targets that clients made.
    topics: RwLock<BTreeMap<String, Topic>>,
    /// Held from the check of a change until it is in force.
    changing: Mutex<()>,
}

/// What a change was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Whether all of it is in force; otherwise some of it waits for a restart.
    pub is_applied: bool,
}

impl Configuration {
    /// Loads what is stored and lays the environment over it. Applies nothing yet.
    ///
    /// # Errors
    ///
    /// What the store says. A setting that cannot be read is logged and left out: it must not keep the
    /// server from starting.
    pub async fn load(
        store: Arc<store::Store>,
        notifier: Arc<notify::Notifier>,
        environment: Arc<BTreeMap<String, String>>,
    ) -> Result<Arc<Configuration>, store::Error> {
        let mut stored = BTreeMap::new();
        for (name, text) in store.settings(STORED).await? {
            match read_stored(&name, &text) {
                Ok((place, pairs)) => {
                    stored.insert(place, pairs);
                }
                Err(error) => tracing::error!(setting = %name, %error, "a stored setting is left out"),
            }
        }
        let settings = RwLock::new(Settings { stored, environment });
        let topics = RwLock::new(topics::load(&store).await?);
        Ok(Arc::new(Configuration { store, notifier, settings, topics, changing: Mutex::new(()) }))
    }

    /// Gives the notifier the effective targets. Called once before the port opens, and after each change.
    /// Answers what is wrong with targets that do not work as they are configured: (target, sentence).
    pub async fn apply_targets(&self) -> Vec<(String, String)> {
        let mut settings = self.settings.read().notification_targets();
        settings.extend(self.topic_targets());
        self.notifier.apply(settings).await
    }

    /// The value that holds for a key of a default target, such as `site` and `region`; empty when there is
    /// no such key.
    pub fn value(&self, subsystem: &str, key: &str) -> String {
        let Some(subsystem) = subsystems().iter().find(|row| row.name == subsystem) else {
            return String::new();
        };
        let key = subsystem.key(key);
        key.map_or(String::new(), |key| self.settings.read().value(subsystem, TARGET_DEFAULT, key))
    }

    /// The lines of a subsystem with all its targets, or of one target, as `mc admin config get` shows them.
    ///
    /// # Errors
    ///
    /// An unknown subsystem or target.
    pub fn get(&self, place: &str) -> Result<String, ConfigError> {
        let Some(asked) = Place::parse(place)? else {
            return Err(ConfigError::UnknownSubsystem { name: place.to_owned() });
        };
        let settings = self.settings.read();
        if place.contains(':') {
            if !settings.has_target(asked.subsystem, &asked.target) {
                let (subsystem, target) = (asked.subsystem.name.to_owned(), asked.target);
                return Err(ConfigError::UnknownTarget { subsystem, target });
            }
            return Ok(settings.print(&asked, Style::Plain));
        }
        let targets = settings.targets(asked.subsystem).into_iter();
        Ok(targets.map(|target| settings.print(&Place { target, ..asked.clone() }, Style::Plain)).collect())
    }

    /// Every line, what is off as a comment. [`Configuration::import`] takes it back.
    pub fn export(&self) -> String {
        let settings = self.settings.read();
        let places = subsystems().iter().flat_map(|subsystem| {
            let targets = settings.targets(subsystem).into_iter();
            targets.map(move |target| Place { subsystem, target, is_region: false })
        });
        places.map(|place| settings.print(&place, Style::Export)).collect()
    }

    /// Sets the keys of one or several lines, keeps the text in the history, and applies what can be applied.
    ///
    /// # Errors
    ///
    /// What is wrong with the text; nothing is stored then.
    pub async fn set(&self, text: &str) -> Result<Changed, ConfigError> {
        check_size(text)?;
        let _changing = self.changing.lock().await;
        let lines = grammar::parse(text)?;
        if lines.is_empty() {
            return Err(ConfigError::Empty);
        }
        let mut settings = self.settings.read().clone();
        for line in &lines {
            settings.merge(line)?;
        }
        let entry = self.new_history(text).await?;
        self.put_in_force(settings, entry).await?;
        Ok(Changed { is_applied: lines.iter().all(|line| line.place.subsystem.is_dynamic) })
    }

    /// Unsets the named keys of a target, or all of it: `notify_kafka:1`, `notify_kafka:1 topic`.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, `NotStored` for a named target that is not there; nothing changes then.
    pub async fn reset(&self, text: &str) -> Result<Changed, ConfigError> {
        check_size(text)?;
        let _changing = self.changing.lock().await;
        let mut words = text.split_whitespace();
        let place = words.next().ok_or(ConfigError::Empty)?;
        let Some(place) = Place::parse(place)? else {
            return Ok(Changed { is_applied: true });
        };
        let mut settings = self.settings.read().clone();
        let stored_key = (place.subsystem.name.to_owned(), place.target.clone());
        let pairs = settings.stored.get_mut(&stored_key);
        if pairs.is_none() && place.target != TARGET_DEFAULT {
            let (subsystem, target) = stored_key;
            return Err(ConfigError::NotStored { subsystem, target });
        }
        let names: Vec<&str> =
            if place.is_region { words.chain(["name"]).take(1).collect() } else { words.collect() };
        if let Some(pairs) = pairs {
            for name in &names {
                let key = place.key(name).ok_or_else(|| ConfigError::UnknownKey {
                    subsystem: place.title(),
                    key: (*name).to_owned(),
                })?;
                pairs.remove(key.name);
            }
            if names.is_empty() || pairs.is_empty() {
                settings.stored.remove(&stored_key);
            }
        }
        settings.check(&place)?;
        self.put_in_force(settings, Vec::new()).await?;
        Ok(Changed { is_applied: place.subsystem.is_dynamic })
    }

    /// Makes the lines of a text all that is stored: what it does not name is unset.
    ///
    /// # Errors
    ///
    /// What is wrong with the text; nothing changes then.
    pub async fn import(&self, text: &str) -> Result<(), ConfigError> {
        check_size(text)?;
        let _changing = self.changing.lock().await;
        let lines = grammar::parse(text)?;
        let environment = Arc::clone(&self.settings.read().environment);
        let mut settings = Settings { stored: BTreeMap::new(), environment };
        for line in lines.iter().filter(|line| !line.pairs.is_empty()) {
            settings.merge(line)?;
        }
        self.put_in_force(settings, Vec::new()).await
    }

    /// What can be set, as `mc admin config set ALIAS` and `… set ALIAS notify_kafka` show it.
    ///
    /// # Errors
    ///
    /// An unknown subsystem or key.
    pub fn help(&self, subsystem: &str, key: &str, as_environment: bool) -> Result<Help, ConfigError> {
        help::help(subsystem, key, as_environment)
    }

    /// Stores the difference between what is in force and `next`, with further settings in the same commit,
    /// and puts it in force. The caller holds `changing`.
    async fn put_in_force(
        &self,
        next: Settings,
        mut further: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), ConfigError> {
        let before = self.settings.read().stored.clone();
        let mut changed = Vec::new();
        for (key, pairs) in next.stored.iter().filter(|(key, pairs)| before.get(*key) != Some(pairs)) {
            changed.push(key);
            further.push((stored_name(key), Some(write_stored(pairs))));
        }
        for key in before.keys().filter(|key| !next.stored.contains_key(*key)) {
            changed.push(key);
            further.push((stored_name(key), None));
        }
        if !further.is_empty() {
            self.store.change_settings(further).await?;
        }
        for (subsystem, target) in &changed {
            tracing::info!(subsystem, target, "the configuration has changed");
        }
        let concerns_targets = changed.iter().any(|(subsystem, _)| subsystem.starts_with("notify_"));
        self.settings.write().stored = next.stored;
        if concerns_targets {
            for (target, reason) in self.apply_targets().await {
                tracing::error!(target, reason, "a notification target does not work as it is configured");
            }
        }
        Ok(())
    }
}

fn check_size(text: &str) -> Result<(), ConfigError> {
    match text.len() {
        size_bytes if size_bytes > TEXT_BYTES_MAX => {
            Err(ConfigError::TooLarge { size_bytes, max_bytes: TEXT_BYTES_MAX })
        }
        _ => Ok(()),
    }
}

fn stored_name((subsystem, target): &StoredKey) -> String {
    format!("{STORED}{subsystem}:{target}")
}

fn write_stored(pairs: &Pairs) -> Bytes {
    serde_json::to_vec(pairs).expect("a map of text is JSON").into()
}

fn read_stored(name: &str, text: &[u8]) -> Result<(StoredKey, Pairs), ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { name: name.to_owned(), reason };
    let place = name.strip_prefix(STORED).and_then(|place| place.split_once(':'));
    let (subsystem, target) = place.ok_or_else(|| unreadable("its name has no target".to_owned()))?;
    let pairs = serde_json::from_slice(text).map_err(|error| unreadable(error.to_string()))?;
    Ok(((subsystem.to_owned(), target.to_owned()), pairs))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use notify::{Notifier, ServerIdentity, TargetReport};
    use store::testing::MemoryEngine;
    use store::{Engine, Recorder, Store, SystemClock};
    use tidings_notify as notify;
    use tidings_store as store;

    use super::history::ENTRIES_MAX;
    use super::{Changed, ConfigError, Configuration, TEXT_BYTES_MAX};

    /// A server's configuration over an engine that survives it.
    struct Server {
        configuration: Arc<Configuration>,
        notifier: Arc<Notifier>,
        engine: Arc<MemoryEngine>,
    }

    impl Server {
        async fn start(engine: Arc<MemoryEngine>, environment: &[(&str, &str)]) -> Server {
            let notifier = Notifier::new(ServerIdentity::default(), Arc::new(SystemClock));
            let recorder: Arc<dyn Recorder> = Arc::<Notifier>::clone(&notifier);
            let shared: Arc<dyn Engine> = Arc::<MemoryEngine>::clone(&engine);
            let store = Arc::new(Store::open(shared, recorder, Arc::new(SystemClock)).await.unwrap());
            notifier.start(Arc::clone(&store));
            let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
            let environment = Arc::new(environment.collect::<BTreeMap<_, _>>());
            let configuration = Configuration::load(store, Arc::clone(&notifier), environment).await.unwrap();
            configuration.apply_targets().await;
            Server { configuration, notifier, engine }
        }

        async fn new() -> Server {
            Server::start(Arc::new(MemoryEngine::new()), &[]).await
        }

        async fn restarted(self, environment: &[(&str, &str)]) -> Server {
            self.notifier.shutdown().await;
            Server::start(self.engine, environment).await
        }

        async fn set(&self, text: &str) -> Result<Changed, ConfigError> {
            self.configuration.set(text).await
        }

        fn get(&self, place: &str) -> String {
            self.configuration.get(place).unwrap()
        }

        /// Target and whether it is online.
        async fn targets(&self) -> Vec<(String, bool)> {
            let reports = self.notifier.reports().await.into_iter();
            reports.map(|TargetReport { target, is_online, .. }| (target.to_string(), is_online)).collect()
        }
    }

    const DEFAULTS: &str =
        "lambda_webhook enable=off endpoint= auth_token= comment= client_cert= client_key= \n";

    #[tokio::test]
    async fn what_is_set_is_shown_survives_a_restart_and_goes_with_a_reset() {
        let server = Server::new().await;

        let changed = server.set("lambda_webhook:1 endpoint=http://a:1 comment=my hook").await;

        let line = "lambda_webhook:1 endpoint=http://a:1 auth_token= comment=\"my hook\" client_cert= client_key= \n";
        assert_eq!(changed, Ok(Changed { is_applied: false }));
        assert_eq!(server.get("lambda_webhook:1"), line);
        let server = server.restarted(&[]).await;
        assert_eq!(server.get("lambda_webhook"), format!("{DEFAULTS}{line}"));

        server.configuration.reset("lambda_webhook:1 comment").await.unwrap();
        assert_eq!(server.get("lambda_webhook:1"), line.replace("\"my hook\"", ""));
        server.configuration.reset("lambda_webhook:1").await.unwrap();
        let server = server.restarted(&[]).await;
        assert_eq!(server.get("lambda_webhook"), DEFAULTS);
        assert_eq!(
            server.configuration.get("lambda_webhook:1").unwrap_err().to_string(),
            "there is no target `1` for subsystem `lambda_webhook`"
        );
    }

    #[tokio::test]
    async fn a_dynamic_setting_is_applied_and_the_region_waits_for_a_restart() {
        let server = Server::new().await;
        assert_eq!(server.set("api requests_max=55").await, Ok(Changed { is_applied: true }));
        assert_eq!(server.set("region name=eu-north-1").await, Ok(Changed { is_applied: false }));
        assert_eq!(server.configuration.value("site", "region"), "eu-north-1");
        assert_eq!(server.get("region"), "region name=eu-north-1 \n");
    }

    #[tokio::test]
    async fn a_target_that_cannot_be_reached_is_stored_applied_and_shown_offline() {
        let server = Server::new().await;

        let changed = server.set("notify_webhook:1 endpoint=http://127.0.0.1:1/events").await;

        assert_eq!(changed, Ok(Changed { is_applied: true }));
        assert_eq!(server.targets().await, [("1:webhook".to_owned(), false)]);
        let server = server.restarted(&[]).await;
        assert_eq!(server.targets().await, [("1:webhook".to_owned(), false)]);
        server.set("notify_webhook:1 enable=off").await.unwrap();
        assert_eq!(server.targets().await, []);
        server.set("notify_webhook:1 enable=on").await.unwrap();
        assert_eq!(server.targets().await, [("1:webhook".to_owned(), false)]);
        server.configuration.reset("notify_webhook:1").await.unwrap();
        assert_eq!(server.targets().await, []);
    }

    #[tokio::test]
    async fn the_environment_beats_a_set_which_holds_once_the_variable_is_gone() {
        let environment = [
            ("MINIO_NOTIFY_WEBHOOK_ENABLE_PRIMARY", "on"),
            ("MINIO_NOTIFY_WEBHOOK_ENDPOINT_PRIMARY", "http://127.0.0.1:1"),
            ("MINIO_SITE_REGION", "eu-north-1"),
        ];
        let server = Server::start(Arc::new(MemoryEngine::new()), &environment).await;
        assert_eq!(server.targets().await, [("PRIMARY:webhook".to_owned(), false)]);

        server.set("site region=us-east-1").await.unwrap();

        assert_eq!(server.configuration.value("site", "region"), "eu-north-1");
        let server = server.restarted(&[]).await;
        assert_eq!(server.configuration.value("site", "region"), "us-east-1");
        assert_eq!(server.targets().await, []);
    }

    #[tokio::test]
    async fn a_text_with_one_wrong_line_changes_nothing() {
        let server = Server::new().await;
        let before = server.configuration.export();

        let refused = [
            server.set("api requests_max=5\nnothing a=b").await,
            server.set("api requests_max=5\nnotify_webhook:1 auth_token=geheim").await,
            server.set("api requests_max=5\nnotify_webhook:1 endpoint=ftp://a").await,
            server.set("# api requests_max=5").await,
            server.set(&"x".repeat(TEXT_BYTES_MAX + 1)).await,
        ];

        assert_eq!(
            refused.map(|refused| refused.unwrap_err().to_string()),
            [
                "unknown sub-system nothing",
                "notify_webhook:1 needs the key endpoint",
                "notify_webhook:1: endpoint has the scheme ftp, http and https are known",
                "the request holds no setting",
                "the settings have 262145 bytes, at most 262144 are taken",
            ]
        );
        assert_eq!(server.configuration.export(), before);
        assert_eq!(server.configuration.history(10).await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn a_change_that_the_store_refuses_is_not_in_force() {
        let server = Server::new().await;
        server.engine.lose_quorum(1, 3);

        let refused = server.set("api requests_max=5").await.unwrap_err();

        assert_eq!(refused.refusal().status, 503);
        assert_eq!(server.configuration.value("api", "requests_max"), "0");
    }

    #[tokio::test]
    async fn an_export_taken_back_is_all_that_is_stored() {
        let server = Server::new().await;
        server.set("api requests_max=5").await.unwrap();
        server.set("lambda_webhook:1 endpoint=http://a:1 comment=\"a  b\"").await.unwrap();
        let export = server.configuration.export();
        server.set("callhome enable=on").await.unwrap();
        server.set("lambda_webhook:2 endpoint=http://b:1").await.unwrap();

        server.configuration.import(&export).await.unwrap();

        assert_eq!(server.configuration.export(), export);
        assert_eq!(server.restarted(&[]).await.configuration.export(), export);
    }

    #[tokio::test]
    async fn the_history_is_told_oldest_first_and_an_entry_can_be_set_again() {
        let server = Server::new().await;
        for number in 1..=3 {
            server.set(&format!("api requests_max={number}")).await.unwrap();
        }

        let newest = server.configuration.history(2).await.unwrap();
        assert_eq!(
            newest.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(),
            ["api requests_max=2", "api requests_max=3"]
        );
        server.configuration.restore(&newest[0].id).await.unwrap();
        assert_eq!(server.configuration.value("api", "requests_max"), "2");

        server.configuration.forget("all").await.unwrap();
        assert_eq!(server.configuration.history(10).await, Ok(Vec::new()));
        let unknown = server.configuration.restore("none").await.unwrap_err();
        assert_eq!(unknown.refusal().status, 404);
    }

    #[tokio::test]
    async fn the_history_keeps_the_newest_entries() {
        let server = Server::new().await;
        for number in 0..=ENTRIES_MAX {
            server.set(&format!("api requests_max={number}")).await.unwrap();
        }
        let kept = server.configuration.history(usize::MAX).await.unwrap();
        assert_eq!(kept.len(), ENTRIES_MAX);
        assert_eq!(kept[0].text, "api requests_max=1");
    }

    #[tokio::test]
    async fn a_reset_of_what_is_not_there_is_told() {
        let server = Server::new().await;
        let status = |refused: Result<Changed, ConfigError>| refused.unwrap_err().refusal().status;
        assert_eq!(status(server.configuration.reset("lambda_webhook:1").await), 404);
        assert_eq!(status(server.configuration.reset("nothing").await), 400);
        server.set("api requests_max=5").await.unwrap();
        assert_eq!(status(server.configuration.reset("api colour").await), 400);
        assert_eq!(server.configuration.reset("api").await, Ok(Changed { is_applied: true }));
        assert_eq!(server.configuration.reset("lambda_webhook").await, Ok(Changed { is_applied: false }));
    }
}
