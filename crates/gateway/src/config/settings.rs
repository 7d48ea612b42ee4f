//! Settings as values: what is stored, what the environment says, and what holds in the end.
//!
//! # Invariants
//!
//! 1. The environment beats what is stored, what is stored beats the default; of two environment names the
//!    one that begins with `TIDINGS_` wins. An empty value, wherever it stands, is no value.
//! 2. A target is on when its `enable` says so, or when it is stored and nothing says otherwise. One that
//!    only the environment names exists only while its `enable` is on.
//! 3. Checks see what would hold, so a key that the environment gives need not be stored as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use notify::{TargetId, TargetSettings};
use tidings_notify as notify;

use super::error::ConfigError;
use super::grammar::{self, Line, Place};
use super::subsystem::{self, ENABLE, Key, Subsystem, TARGET_DEFAULT};
use super::value;

/// Beginnings of environment names, the one that wins first.
const ENVIRONMENTS: [&str; 2] = ["TIDINGS_", "MINIO_"];

/// Values by key, none empty.
pub(super) type Pairs = BTreeMap<String, String>;

/// Subsystem and target.
pub(super) type StoredKey = (String, String);

/// See the module header.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) stored: BTreeMap<StoredKey, Pairs>,
    pub(super) environment: Arc<BTreeMap<String, String>>,
}

/// How a line is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// As `get` shows it.
    Plain,
    /// As an export shows it: what is off is a comment.
    Export,
}

impl Settings {
    /// The environment variable that decides a key, and its value.
    fn variable(&self, subsystem: &Subsystem, key: &Key, target: &str) -> Option<(String, &str)> {
        let names = subsystem.env_names(key, target);
        ENVIRONMENTS
            .iter()
            .flat_map(|prefix| names.iter().map(move |name| format!("{prefix}{name}")))
            .find_map(|name| {
                let value = self.environment.get(&name).filter(|value| !value.is_empty())?;
                Some((name, value.as_str()))
            })
    }

    fn stored_pairs(&self, subsystem: &Subsystem, target: &str) -> Option<&Pairs> {
        self.stored.get(&(subsystem.name.to_owned(), target.to_owned()))
    }

    /// What holds for a key, switches as `on` or `off`.
    pub(super) fn value(&self, subsystem: &Subsystem, target: &str, key: &Key) -> String {
        if subsystem.has_switch() && subsystem.has_targets && key.name == ENABLE {
            return on_or_off(self.is_on(subsystem, target));
        }
        let environment = self.variable(subsystem, key, target).map(|(_, value)| value);
        let stored = || self.stored_pairs(subsystem, target)?.get(key.name).map(String::as_str);
        let held = environment.or_else(stored).unwrap_or(key.default);
        match (key.kind, value::switch(held)) {
            (notify::KeyKind::Switch, Some(is_on)) => on_or_off(is_on),
            _ => held.to_owned(),
        }
    }

    /// Whether a target is used. A subsystem without targets always is.
    pub(super) fn is_on(&self, subsystem: &Subsystem, target: &str) -> bool {
        let Some(enable) = subsystem.key(ENABLE).filter(|_| subsystem.has_targets) else {
            return true;
        };
        let stored = self.stored_pairs(subsystem, target);
        let environment = self.variable(subsystem, enable, target).map(|(_, value)| value);
        let said = environment.or_else(|| stored?.get(ENABLE).map(String::as_str));
        said.map_or(stored.is_some(), |word| value::switch(word) == Some(true))
    }

    /// Whether a target is stored or switched on by the environment; the default one always is there.
    pub(super) fn has_target(&self, subsystem: &Subsystem, target: &str) -> bool {
        target == TARGET_DEFAULT
            || self.stored_pairs(subsystem, target).is_some()
            || self.is_on(subsystem, target)
    }

    /// The targets of a subsystem, sorted, the default one first.
    pub(super) fn targets(&self, subsystem: &Subsystem) -> Vec<String> {
        let mut named: BTreeSet<&str> = self
            .stored
            .keys()
            .filter(|(name, _)| name == subsystem.name)
            .map(|(_, target)| target.as_str())
            .collect();
        if let Some(enable) = subsystem.key(ENABLE).filter(|_| subsystem.has_targets) {
            for name in subsystem.env_names(enable, TARGET_DEFAULT) {
                let suffixes = self.environment.keys().filter_map(|variable| {
                    let variable = ENVIRONMENTS.iter().find_map(|prefix| variable.strip_prefix(prefix))?;
                    variable.strip_prefix(name.as_str())?.strip_prefix('_')
                });
                named.extend(suffixes.filter(|target| !target.is_empty() && self.is_on(subsystem, target)));
            }
        }
        named.remove(TARGET_DEFAULT);
        std::iter::once(TARGET_DEFAULT).chain(named).map(str::to_owned).collect()
    }

    /// Takes the values of a line over those that are stored for its place.
    ///
    /// # Errors
    ///
    /// A line without pairs, a value that its key does not take, and what [`Settings::check`] says.
    pub(super) fn merge(&mut self, line: &Line) -> Result<(), ConfigError> {
        let subsystem = line.place.subsystem;
        if line.pairs.is_empty() {
            return Err(ConfigError::NoPairs { subsystem: line.place.title() });
        }
        for (name, text) in &line.pairs {
            let key = subsystem.key(name).expect("the grammar names keys of the table");
            value::check(key, text).map_err(|reason| ConfigError::Value {
                subsystem: line.place.title(),
                key: key.name.to_owned(),
                reason,
            })?;
        }
        let pairs = self.stored.entry((subsystem.name.to_owned(), line.place.target.clone())).or_default();
        for (name, text) in &line.pairs {
            match text.is_empty() {
                true => pairs.remove(*name),
                false => pairs.insert((*name).to_owned(), text.clone()),
            };
        }
        self.check(&line.place)
    }

    /// Checks what would hold for a target that is on: its required keys, and what its kind says of the whole.
    pub(super) fn check(&self, place: &Place) -> Result<(), ConfigError> {
        let (subsystem, target) = (place.subsystem, place.target.as_str());
        if !self.is_on(subsystem, target) {
            return Ok(());
        }
        if subsystem.has_targets {
            for key in subsystem.keys.iter().filter(|key| key.is_required) {
                if self.value(subsystem, target, key).is_empty() {
                    return Err(ConfigError::Missing { place: place.title(), key: key.name.to_owned() });
                }
            }
        }
        let Some(kind) = subsystem.target_kind else {
            return Ok(());
        };
        let settings = self.target_settings(subsystem, kind, target);
        kind.check_all(&settings).map_err(|reason| ConfigError::Target { place: place.title(), reason })
    }

    /// The settings of every notification target that is on. Some may not pass their check: the environment
    /// was never asked. The notifier keeps such a target, offline, so that what waits for it is not lost.
    pub(super) fn notification_targets(&self) -> Vec<TargetSettings> {
        let mut settings = Vec::new();
        for subsystem in subsystem::all() {
            let Some(kind) = subsystem.target_kind else {
                continue;
            };
            let on = self.targets(subsystem).into_iter().filter(|target| self.is_on(subsystem, target));
            settings.extend(on.map(|target| self.target_settings(subsystem, kind, &target)));
        }
        settings
    }

    fn target_settings(
        &self,
        subsystem: &Subsystem,
        kind: &notify::TargetKind,
        target: &str,
    ) -> TargetSettings {
        let keys = subsystem.keys.iter().filter(|key| kind.every_key().any(|spec| spec.name == key.name));
        TargetSettings {
            target: TargetId { id: target.to_owned(), kind: kind.kind },
            values: keys.map(|key| (key.name, self.value(subsystem, target, key))).collect(),
        }
    }

    /// The lines of a place: a comment for each environment variable that decides a key, then what is stored,
    /// with defaults where nothing is. A target that only the environment names has no pairs.
    pub(super) fn print(&self, place: &Place, style: Style) -> String {
        let (subsystem, target) = (place.subsystem, place.target.as_str());
        let keys: Vec<&Key> = match place.is_region {
            true => subsystem.keys.iter().filter(|key| key.name == "region").collect(),
            false => subsystem.keys.iter().collect(),
        };
        let mut text = String::new();
        for key in &keys {
            if let Some((name, value)) = self.variable(subsystem, key, target) {
                text.push_str(&format!("# {name}={value}\n"));
            }
        }
        let stored = self.stored_pairs(subsystem, target);
        let pairs: Vec<(&Key, &str)> = match (stored, target) {
            (None, named) if named != TARGET_DEFAULT => Vec::new(),
            _ => {
                let value = |key: &Key| stored.and_then(|pairs| pairs.get(key.name)).map(String::as_str);
                let is_on = stored.is_some()
                    && stored
                        .and_then(|pairs| pairs.get(ENABLE))
                        .is_none_or(|word| value::switch(word) == Some(true));
                let shown = keys.iter().filter(|key| !(subsystem.has_targets && key.name == ENABLE && is_on));
                shown.map(|key| (*key, value(key).unwrap_or(key.default))).collect()
            }
        };
        let is_off = subsystem.has_switch() && !self.is_on_or_untargeted_on(subsystem, target);
        if style == Style::Export && is_off {
            text.push_str("# ");
        }
        text.push_str(&grammar::print(place, &pairs));
        text.push('\n');
        text
    }

    /// As [`Settings::is_on`]; for a subsystem with a switch and without targets, its switch.
    fn is_on_or_untargeted_on(&self, subsystem: &Subsystem, target: &str) -> bool {
        match subsystem.key(ENABLE) {
            Some(enable) if !subsystem.has_targets => self.value(subsystem, target, enable) == "on",
            _ => self.is_on(subsystem, target),
        }
    }
}

fn on_or_off(is_on: bool) -> String {
    if is_on { "on" } else { "off" }.to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::{Settings, Style};
    use crate::config::grammar::{self, Place};
    use crate::config::subsystem::{self, Subsystem};

    fn with_environment(variables: &[(&str, &str)]) -> Settings {
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Settings { environment: Arc::new(variables.collect::<BTreeMap<_, _>>()), ..Settings::default() }
    }

    fn set(settings: &mut Settings, text: &str) {
        for line in grammar::parse(text).unwrap() {
            settings.merge(&line).unwrap();
        }
    }

    fn refused(settings: &Settings, text: &str) -> String {
        let lines = grammar::parse(text).unwrap();
        settings.clone().merge(&lines[0]).unwrap_err().to_string()
    }

    fn named(name: &str) -> &'static Subsystem {
        subsystem::all().iter().find(|subsystem| subsystem.name == name).unwrap()
    }

    fn value(settings: &Settings, subsystem: &str, target: &str, key: &str) -> String {
        let subsystem = named(subsystem);
        settings.value(subsystem, target, subsystem.key(key).unwrap())
    }

    fn printed(settings: &Settings, place: &str, style: Style) -> String {
        settings.print(&Place::parse(place).unwrap().unwrap(), style)
    }

    #[test]
    fn the_environment_beats_what_is_stored_and_its_tidings_twin_beats_both() {
        let mut settings = with_environment(&[("MINIO_API_REQUESTS_MAX", "55")]);
        assert_eq!(value(&settings, "api", "_", "requests_max"), "55");
        set(&mut settings, "api requests_max=7 list_quorum=optimal");
        assert_eq!(value(&settings, "api", "_", "requests_max"), "55");
        assert_eq!(value(&settings, "api", "_", "list_quorum"), "optimal");
        assert_eq!(value(&settings, "api", "_", "cluster_deadline"), "10s");

        let both = [("MINIO_API_REQUESTS_MAX", "55"), ("TIDINGS_API_REQUESTS_MAX", "66")];
        assert_eq!(value(&with_environment(&both), "api", "_", "requests_max"), "66");
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        let settings = with_environment(&[("TIDINGS_API_REQUESTS_MAX", ""), ("MINIO_API_REQUESTS_MAX", "5")]);
        assert_eq!(value(&settings, "api", "_", "requests_max"), "5");
    }

    #[test]
    fn names_that_do_not_follow_the_rule_are_read() {
        let settings = with_environment(&[
            ("MINIO_REGION", "eu-north-1"),
            ("MINIO_BROWSER_CONTENT_SECURITY_POLICY", "default-src 'self'"),
            ("MINIO_COMPRESS_MIMETYPES", "text/html"),
            ("MINIO_COMPRESS_ENABLE", "on"),
        ]);
        assert_eq!(value(&settings, "site", "_", "region"), "eu-north-1");
        assert_eq!(value(&settings, "browser", "_", "csp_policy"), "default-src 'self'");
        assert_eq!(value(&settings, "compression", "_", "mime_types"), "text/html");
        assert_eq!(value(&settings, "compression", "_", "enable"), "on");
    }

    #[test]
    fn a_target_of_the_environment_exists_while_its_switch_is_on() {
        let settings = with_environment(&[
            ("MINIO_AUDIT_WEBHOOK_ENABLE_PRIMARY", "on"),
            ("MINIO_AUDIT_WEBHOOK_ENDPOINT_PRIMARY", "http://a:1"),
            ("MINIO_AUDIT_WEBHOOK_ENABLE_second", "off"),
            ("MINIO_AUDIT_WEBHOOK_ENDPOINT_third", "http://c:1"),
        ]);
        assert_eq!(settings.targets(named("audit_webhook")), ["_", "PRIMARY"]);
        assert_eq!(
            printed(&settings, "audit_webhook:PRIMARY", Style::Plain),
            "# MINIO_AUDIT_WEBHOOK_ENABLE_PRIMARY=on\n\
             # MINIO_AUDIT_WEBHOOK_ENDPOINT_PRIMARY=http://a:1\n\
             audit_webhook:PRIMARY\n"
        );
    }

    #[test]
    fn required_keys_switch_a_target_on_and_the_switch_is_then_not_printed() {
        let mut settings = Settings::default();
        set(&mut settings, "lambda_webhook:1 endpoint=http://a:1 comment=my hook");
        assert_eq!(value(&settings, "lambda_webhook", "1", "enable"), "on");
        assert_eq!(
            printed(&settings, "lambda_webhook:1", Style::Export),
            "lambda_webhook:1 endpoint=http://a:1 auth_token= comment=\"my hook\" client_cert= client_key= \n"
        );

        set(&mut settings, "lambda_webhook:1 enable=off");
        assert_eq!(value(&settings, "lambda_webhook", "1", "enable"), "off");
        assert_eq!(
            printed(&settings, "lambda_webhook:1", Style::Export),
            "# lambda_webhook:1 enable=off endpoint=http://a:1 auth_token= comment=\"my hook\" client_cert= \
             client_key= \n"
        );
    }

    #[test]
    fn what_is_not_set_is_a_comment_in_an_export_only() {
        let settings = Settings::default();
        let defaults = "lambda_webhook enable=off endpoint= auth_token= comment= client_cert= client_key= \n";
        assert_eq!(printed(&settings, "lambda_webhook", Style::Plain), defaults);
        assert_eq!(printed(&settings, "lambda_webhook", Style::Export), format!("# {defaults}"));
        assert_eq!(printed(&settings, "callhome", Style::Export), "# callhome enable=off frequency=24h \n");
        assert_eq!(printed(&settings, "region", Style::Plain), "region name= \n");
    }

    #[test]
    fn a_target_without_a_required_key_is_refused_and_an_environment_that_gives_it_mends_that() {
        let settings = Settings::default();
        assert_eq!(refused(&settings, "audit_kafka:1 topic=t"), "audit_kafka:1 needs the key brokers");
        let mut settings = with_environment(&[("MINIO_AUDIT_KAFKA_BROKERS_1", "k:9092")]);
        set(&mut settings, "audit_kafka:1 topic=t");
        assert_eq!(value(&settings, "audit_kafka", "1", "brokers"), "k:9092");
    }

    #[test]
    fn a_value_that_its_key_does_not_take_is_refused_without_repeating_it() {
        let settings = Settings::default();
        assert_eq!(refused(&settings, "api requests_max=many"), "api requests_max takes a whole number");
        assert_eq!(refused(&settings, "api odirect=perhaps"), "api odirect takes on or off");
        assert_eq!(
            refused(&settings, "audit_webhook:1 endpoint=a:1"),
            "audit_webhook:1 endpoint takes an address with its scheme, such as http://host:8080/path"
        );
        assert_eq!(refused(&settings, "api"), "api is given no key=value");
    }
}
