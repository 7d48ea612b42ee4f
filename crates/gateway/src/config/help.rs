//! Help: what `mc admin config set ALIAS` prints, in the form its library reads.

use serde::Serialize;

use super::error::ConfigError;
use super::grammar::Place;
use super::subsystem::{self, Key, Subsystem, TARGET_DEFAULT};
use super::value;

/// Help for the whole or for one subsystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Help {
    /// The subsystem, empty for the whole.
    pub sub_sys: String,
    /// A sentence.
    pub description: String,
    /// Whether it has named targets.
    pub multiple_targets: bool,
    /// Its keys; for the whole, the subsystems.
    pub keys_help: Vec<KeyHelp>,
}

/// Help for one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyHelp {
    /// Its name, or the environment variable.
    pub key: String,
    /// What it takes; empty for a subsystem.
    #[serde(rename = "type")]
    pub kind: String,
    /// A sentence.
    pub description: String,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it is a subsystem with named targets.
    pub multiple_targets: bool,
}

/// Help for the subsystem of that name and those keys of it that are asked for; empty names ask for all.
pub(super) fn help(name: &str, key: &str, as_environment: bool) -> Result<Help, ConfigError> {
    if name.is_empty() {
        return Ok(Help {
            sub_sys: String::new(),
            description: "everything that can be set".to_owned(),
            multiple_targets: false,
            keys_help: subsystem::all().iter().map(of_subsystem).collect(),
        });
    }
    let Some(place) = Place::parse(name)? else {
        return Err(ConfigError::UnknownSubsystem { name: name.to_owned() });
    };
    let subsystem = place.subsystem;
    let shown: Vec<&Key> = match key {
        "" if place.is_region => place.key("name").into_iter().collect(),
        "" => subsystem.keys.iter().filter(|key| !key.is_hidden).collect(),
        named => {
            let unknown = || ConfigError::UnknownKey { subsystem: place.title(), key: named.to_owned() };
            vec![place.key(named).ok_or_else(unknown)?]
        }
    };
    Ok(Help {
        sub_sys: if place.is_region { "region" } else { subsystem.name }.to_owned(),
        description: subsystem.help.to_owned(),
        multiple_targets: subsystem.has_targets,
        keys_help: shown.into_iter().map(|key| of_key(&place, key, as_environment)).collect(),
    })
}

fn of_subsystem(subsystem: &Subsystem) -> KeyHelp {
    KeyHelp {
        key: subsystem.name.to_owned(),
        kind: String::new(),
        description: subsystem.help.to_owned(),
        optional: true,
        multiple_targets: subsystem.has_targets,
    }
}

fn of_key(place: &Place, key: &Key, as_environment: bool) -> KeyHelp {
    let name = match as_environment {
        true => format!("MINIO_{}", place.subsystem.env_names(key, TARGET_DEFAULT)[0]),
        false if place.is_region => "name".to_owned(),
        false => key.name.to_owned(),
    };
    KeyHelp {
        key: name,
        kind: value::kind_name(key.kind).to_owned(),
        description: key.help.to_owned(),
        optional: !key.is_required,
        multiple_targets: false,
    }
}

#[cfg(test)]
mod tests {
    use super::help;

    #[test]
    fn the_whole_lists_the_subsystems_without_the_alias_region() {
        let help = help("", "", false).unwrap();
        let names: Vec<&str> = help.keys_help.iter().map(|row| row.key.as_str()).collect();
        assert!(names.contains(&"site") && names.contains(&"audit_kafka"), "{names:?}");
        assert!(!names.contains(&"region"), "{names:?}");
    }

    #[test]
    fn a_subsystem_tells_its_keys_in_the_form_that_clients_read() {
        let help = help("lambda_webhook", "endpoint", false).unwrap();
        assert_eq!(
            serde_json::to_value(&help).unwrap(),
            serde_json::json!({
                "subSys": "lambda_webhook",
                "description": "functions that transform objects on their way out",
                "multipleTargets": true,
                "keysHelp": [{
                    "key": "endpoint",
                    "type": "url",
                    "description": "the function",
                    "optional": false,
                    "multipleTargets": false
                }]
            })
        );
    }

    #[test]
    fn environment_names_are_the_ones_that_are_read() {
        let name = |subsystem, key| help(subsystem, key, true).unwrap().keys_help[0].key.clone();
        assert_eq!(name("browser", "csp_policy"), "MINIO_BROWSER_CONTENT_SECURITY_POLICY");
        assert_eq!(name("region", "name"), "MINIO_SITE_REGION");
        assert_eq!(name("audit_kafka", "brokers"), "MINIO_AUDIT_KAFKA_BROKERS");
    }

    #[test]
    fn hidden_keys_are_not_listed_and_unknown_names_are_refused() {
        let keys = help("api", "", false).unwrap().keys_help;
        assert!(keys.iter().all(|row| row.key != "gzip_objects"), "{keys:?}");
        assert_eq!(help("nothing", "", false).unwrap_err().to_string(), "unknown sub-system nothing");
        assert_eq!(help("api", "colour", false).unwrap_err().to_string(), "api has no key colour");
    }
}
