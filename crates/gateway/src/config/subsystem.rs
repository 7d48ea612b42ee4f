//! Subsystems: what can be configured, as one closed table.
//!
//! Rows of the server itself stand in [`super::rows`]; a subsystem `notify_…` exists for each kind of target
//! that the notifier has, with the keys that the kind says it takes. Help, defaults, environment names and
//! the page of the manual come from here and from nowhere else.

use std::sync::OnceLock;

use notify::KeyKind;
use tidings_notify as notify;

use super::rows::{AFTER_TARGETS, BEFORE_TARGETS, Row, RowKey};

/// The target of a subsystem that was not named: `notify_kafka` is `notify_kafka:_`.
pub const TARGET_DEFAULT: &str = "_";

/// The key that switches a target on and off.
pub(super) const ENABLE: &str = "enable";

/// Kinds of target that clients know of, in the order of an export. This build may lack some; the answer then
/// says so.
pub(super) const TARGETS_KNOWN: [&str; 10] = [
    "notify_webhook",
    "notify_amqp",
    "notify_kafka",
    "notify_mqtt",
    "notify_nats",
    "notify_nsq",
    "notify_mysql",
    "notify_postgres",
    "notify_elasticsearch",
    "notify_redis",
];

/// Subsystems of servers long gone, found in old exports: their lines are read over.
const FORGOTTEN: [&str; 5] = ["credentials", "policy_opa", "cache", "worm", "logger"];

/// One key of a subsystem.
#[derive(Clone, Debug)]
pub struct Key {
    /// `brokers`.
    pub name: &'static str,
    /// Ends of its environment names, the first one is the one to tell people: `BROKERS`.
    pub env: Vec<String>,
    /// Whole environment names that older servers had for it, without `MINIO_`: `REGION`.
    pub env_older: &'static [&'static str],
    /// What it is when not set.
    pub default: &'static str,
    /// What it takes.
    pub kind: KeyKind,
    /// Whether a target that is on cannot be without it.
    pub is_required: bool,
    /// Whether its value is never shown in logs.
    pub is_secret: bool,
    /// Whether help leaves it out.
    pub is_hidden: bool,
    /// A sentence.
    pub help: &'static str,
}

/// One row of the table.
pub struct Subsystem {
    /// `notify_kafka`.
    pub name: &'static str,
    /// Beginnings of its environment names without `MINIO_`, the first one is the one to tell people.
    pub env: Vec<String>,
    /// Whether it has named targets beside the default one.
    pub has_targets: bool,
    /// Whether a change needs no restart.
    pub is_dynamic: bool,
    /// Whether this build does what its keys say; if not they are kept for other builds and tools.
    pub is_acted_upon: bool,
    /// A sentence.
    pub help: &'static str,
    /// Its keys, in the order they are shown.
    pub keys: Vec<Key>,
    /// The kind of target, for `notify_…`.
    pub target_kind: Option<&'static notify::TargetKind>,
}

impl std::fmt::Debug for Subsystem {
    /// The table is known: its rows are told apart by name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Subsystem {
    /// A key by name.
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Whether its targets are switched on and off.
    pub(super) fn has_switch(&self) -> bool {
        self.key(ENABLE).is_some()
    }

    /// Environment names of a key, without `MINIO_` or `TIDINGS_`, the one to tell people first.
    pub(super) fn env_names(&self, key: &Key, target: &str) -> Vec<String> {
        let prefixed =
            self.env.iter().flat_map(|prefix| key.env.iter().map(move |end| format!("{prefix}_{end}")));
        let older = key.env_older.iter().map(|name| (*name).to_owned());
        let names = prefixed.chain(older);
        match target {
            TARGET_DEFAULT => names.collect(),
            named => names.map(|name| format!("{name}_{named}")).collect(),
        }
    }

    fn of_row(row: &Row) -> Subsystem {
        Subsystem {
            name: row.name,
            env: std::iter::once(row.name.to_ascii_uppercase())
                .chain(row.env_older.iter().map(|name| (*name).to_owned()))
                .collect(),
            has_targets: row.has_targets,
            is_dynamic: row.is_dynamic,
            is_acted_upon: row.is_acted_upon,
            help: row.help,
            keys: row.keys.iter().map(Key::of_row).collect(),
            target_kind: None,
        }
    }

    fn of_target(kind: &'static notify::TargetKind) -> Subsystem {
        let enable = Key {
            name: ENABLE,
            env: vec!["ENABLE".to_owned()],
            env_older: &[],
            default: "off",
            kind: KeyKind::Switch,
            is_required: true,
            is_secret: false,
            is_hidden: false,
            help: "whether records go to this target; on as soon as its required keys are set",
        };
        let keys = kind.every_key().filter(|key| key.name != ENABLE).map(Key::of_target);
        Subsystem {
            name: kind.subsystem,
            env: vec![format!("NOTIFY_{}", kind.env)],
            has_targets: true,
            is_dynamic: true,
            is_acted_upon: true,
            help: kind.help,
            keys: std::iter::once(enable).chain(keys).collect(),
            target_kind: Some(kind),
        }
    }
}

impl Key {
    fn of_row(row: &RowKey) -> Key {
        let upper = row.name.to_ascii_uppercase();
        Key {
            name: row.name,
            env: if row.env.is_empty() { vec![upper] } else { vec![row.env.to_owned(), upper] },
            env_older: row.env_older,
            default: row.default,
            kind: row.kind,
            is_required: row.is_required,
            is_secret: row.is_secret,
            is_hidden: row.is_hidden,
            help: row.help,
        }
    }

    /// The name that follows the rule is taken beside an irregular one: people guess it.
    fn of_target(spec: &'static notify::KeySpec) -> Key {
        let upper = spec.name.to_ascii_uppercase();
        let mut env = vec![spec.env.to_owned()];
        if upper != spec.env {
            env.push(upper);
        }
        Key {
            name: spec.name,
            env,
            env_older: &[],
            default: spec.default,
            kind: spec.kind,
            is_required: spec.is_required,
            is_secret: spec.is_secret,
            is_hidden: false,
            help: spec.help,
        }
    }
}

/// Every subsystem, in the order an export shows them.
pub fn all() -> &'static [Subsystem] {
    static ALL: OnceLock<Vec<Subsystem>> = OnceLock::new();
    ALL.get_or_init(|| {
        let before = BEFORE_TARGETS.iter().map(Subsystem::of_row);
        let mut kinds: Vec<&'static notify::TargetKind> = notify::TARGETS.iter().collect();
        kinds.sort_by_key(|kind| TARGETS_KNOWN.iter().position(|name| *name == kind.subsystem));
        let targets = kinds.into_iter().map(Subsystem::of_target);
        let after = AFTER_TARGETS.iter().map(Subsystem::of_row);
        before.chain(targets).chain(after).collect()
    })
}

/// What a word that should name a subsystem is.
pub(super) enum Named {
    /// A row of the table.
    Subsystem(&'static Subsystem),
    /// `region`, whose key `name` is the key `region` of this subsystem.
    Region(&'static Subsystem),
    /// A kind of target that exists elsewhere, not in this build.
    AbsentTarget,
    /// Something that servers had long ago.
    Forgotten,
    /// No subsystem.
    Unknown,
}

/// Looks a subsystem up by name.
pub(super) fn named(name: &str) -> Named {
    let find = |name: &str| all().iter().find(|subsystem| subsystem.name == name);
    if name == "region" {
        return Named::Region(find("site").expect("the table has a row for the site"));
    }
    match find(name) {
        Some(subsystem) => Named::Subsystem(subsystem),
        None if TARGETS_KNOWN.contains(&name) => Named::AbsentTarget,
        None if FORGOTTEN.contains(&name) => Named::Forgotten,
        None => Named::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ENABLE, all};

    #[test]
    fn no_two_keys_of_the_table_share_an_environment_name() {
        let mut seen = BTreeSet::new();
        for subsystem in all() {
            for key in &subsystem.keys {
                for name in subsystem.env_names(key, "_") {
                    assert!(seen.insert(name.clone()), "{name} stands for two keys");
                }
            }
        }
    }

    #[test]
    fn every_row_has_help_and_every_default_is_a_value_its_key_takes() {
        for subsystem in all() {
            assert!(!subsystem.help.is_empty(), "{} has no help", subsystem.name);
            for key in &subsystem.keys {
                assert!(!key.help.is_empty(), "{} {} has no help", subsystem.name, key.name);
                let checked = crate::config::value::check(key, key.default);
                assert_eq!(checked, Ok(()), "{} {}", subsystem.name, key.name);
            }
        }
    }

    #[test]
    fn only_subsystems_with_a_switch_or_without_targets_exist() {
        for subsystem in all().iter().filter(|subsystem| subsystem.has_targets) {
            assert!(subsystem.key(ENABLE).is_some(), "{} has targets and no switch", subsystem.name);
        }
    }
}
