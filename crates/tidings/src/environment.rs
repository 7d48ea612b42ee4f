//! The environment as the server understands it: one map of `MINIO_*` names.
//!
//! Everything that reads a variable reads this map, never the process: tests bring their own. It is made
//! in a fixed order, each step above the one before:
//!
//! 1. the process environment,
//! 2. the file of `MINIO_CONFIG_ENV_FILE`,
//! 3. every `TIDINGS_X`, which stands above its `MINIO_X`,
//! 4. files named by `MINIO_ROOT_USER_FILE` and its kin, which stand above the plain variable.
//!
//! `TIDINGS_ENDPOINT`, `TIDINGS_ACCESS_KEY` and `TIDINGS_SECRET_KEY` are no twins: they belong to client
//! commands, and a server started from the same shell must not take them for its own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::fatal::Fatal;

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// Names after `TIDINGS_` that are no twin of a `MINIO_` variable.
const CLIENT_NAMES: [&str; 3] = ["ENDPOINT", "ACCESS_KEY", "SECRET_KEY"];

/// Variables whose value may be in a file named by `<variable>_FILE`.
const FROM_FILE: [&str; 5] = [
    "MINIO_ROOT_USER",
    "MINIO_ROOT_PASSWORD",
    "MINIO_ACCESS_KEY",
    "MINIO_SECRET_KEY",
    "MINIO_KMS_SECRET_KEY",
];

/// Where container engines put secrets: what a relative file name is relative to.
const SECRETS_DIRECTORY: &str = "/run/secrets";

/// Largest file read for a variable or as environment file, in bytes.
const FILE_SIZE_BYTES_MAX: u64 = 1024 * 1024;

/// The process environment. Variables that are not UTF-8 are left out: none of ours is.
pub fn of_process() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Lays files and twins over a process environment, see the module header.
///
/// # Errors
///
/// A file that is there and cannot be read, or an environment file with a line that is no assignment. A file
/// that is not there is none: the image presets such names.
pub fn effective(process: &Variables) -> Result<Variables, Fatal> {
    effective_in(process, Path::new(SECRETS_DIRECTORY))
}

fn effective_in(process: &Variables, secrets: &Path) -> Result<Variables, Fatal> {
    let mut variables = process.clone();
    let file =
        ["TIDINGS_CONFIG_ENV_FILE", "MINIO_CONFIG_ENV_FILE"].iter().find_map(|name| process.get(*name));
    if let Some(name) = file.filter(|name| !name.is_empty())
        && let Some((path, text)) = read(name, secrets)?
    {
        variables.extend(assignments(&path, &text)?);
    }
    let twins: Vec<(String, String)> = variables
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("TIDINGS_")?, value)))
        .filter(|(name, _)| !CLIENT_NAMES.contains(name))
        .map(|(name, value)| (format!("MINIO_{name}"), value.clone()))
        .collect();
    variables.extend(twins);
    for variable in FROM_FILE {
        let Some(name) = variables.get(&format!("{variable}_FILE")).filter(|name| !name.is_empty()) else {
            continue;
        };
        if let Some((_, text)) = read(name, secrets)? {
            variables.insert(variable.to_owned(), text.trim().to_owned());
        }
    }
    Ok(variables)
}

/// Reads a file; one that is not there is `None`. A relative name is looked for among the container's secrets
/// first, then in the working directory.
fn read(name: &str, secrets: &Path) -> Result<Option<(PathBuf, String)>, Fatal> {
    let mut places = vec![PathBuf::from(name)];
    if places[0].is_relative() {
        places.insert(0, secrets.join(name));
    }
    for path in places {
        let failed = |reason: String| {
            Err(Fatal::new(format!("Unable to read the file {}", path.display()), reason)
                .remedy("Make it readable for this user, or take its name out of the environment."))
        };
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > FILE_SIZE_BYTES_MAX => {
                return failed(format!("it has {} bytes, {FILE_SIZE_BYTES_MAX} are allowed", metadata.len()));
            }
            Ok(_) => match std::fs::read_to_string(&path) {
                Ok(text) => return Ok(Some((path, text))),
                Err(error) => return failed(error.to_string()),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return failed(error.to_string()),
        }
    }
    Ok(None)
}

/// `KEY=value`, `export KEY="value"`; blank lines and lines that begin with `#` say nothing.
fn assignments(path: &Path, text: &str) -> Result<Vec<(String, String)>, Fatal> {
    let mut pairs = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let assignment = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(Fatal::new(
                format!("Unable to read the environment file {}", path.display()),
                format!("line {} is no assignment of the form NAME=value", at + 1),
            ));
        };
        pairs.push((name.trim().to_owned(), unquoted(value.trim()).to_owned()));
    }
    Ok(pairs)
}

fn unquoted(value: &str) -> &str {
    ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value)
}

/// The first of several names that is set and not empty.
pub fn first<'a>(variables: &'a Variables, names: &[&str]) -> Option<&'a str> {
    names
        .iter()
        .filter_map(|name| variables.get(*name))
        .map(|value| value.trim())
        .find(|value| !value.is_empty())
}

/// Whether a switch is on. MinIO's words for it.
pub fn is_on(variables: &Variables, name: &str) -> bool {
    let words = ["on", "true", "enable", "enabled", "1", "yes"];
    variables.get(name).is_some_and(|value| words.contains(&value.trim().to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_tidings_variable_stands_above_its_minio_twin() {
        let process = variables(&[
            ("MINIO_ROOT_USER", "old"),
            ("TIDINGS_ROOT_USER", "new"),
            ("TIDINGS_NOTIFY_KAFKA_ENABLE_Primary", "on"),
        ]);
        let effective = effective(&process).unwrap();
        assert_eq!(effective["MINIO_ROOT_USER"], "new");
        assert_eq!(effective["MINIO_NOTIFY_KAFKA_ENABLE_Primary"], "on");
    }

    #[test]
    fn the_client_commands_keys_are_not_the_servers() {
        let process = variables(&[
            ("TIDINGS_ACCESS_KEY", "client"),
            ("TIDINGS_SECRET_KEY", "clientsecret"),
            ("TIDINGS_ENDPOINT", "http://elsewhere"),
        ]);
        assert_eq!(effective(&process).unwrap(), process);
    }

    #[test]
    fn an_environment_file_stands_above_the_process_and_below_a_twin() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("minio.env");
        let text =
            "# keys\n\nexport MINIO_ROOT_USER=\"from file\"\nMINIO_REGION='eu=1'\n MINIO_DOMAIN = a.b\n";
        std::fs::write(&file, text).unwrap();
        let process = variables(&[
            ("MINIO_CONFIG_ENV_FILE", file.to_str().unwrap()),
            ("MINIO_ROOT_USER", "from process"),
            ("TIDINGS_DOMAIN", "c.d"),
        ]);
        let effective = effective(&process).unwrap();
        assert_eq!(effective["MINIO_ROOT_USER"], "from file");
        assert_eq!(effective["MINIO_REGION"], "eu=1");
        assert_eq!(effective["MINIO_DOMAIN"], "c.d");
    }

    #[test]
    fn a_line_without_an_equals_sign_is_refused_by_number() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("minio.env");
        std::fs::write(&file, "A=1\nnonsense\n").unwrap();
        let process = variables(&[("MINIO_CONFIG_ENV_FILE", file.to_str().unwrap())]);
        assert_eq!(effective(&process).unwrap_err().reason, "line 2 is no assignment of the form NAME=value");
    }

    #[test]
    fn a_secret_file_is_found_by_relative_name_and_a_missing_one_is_none() {
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(secrets.path().join("access_key"), "fromfile\n").unwrap();
        let process = variables(&[
            ("MINIO_ROOT_USER_FILE", "access_key"),
            ("MINIO_ROOT_PASSWORD_FILE", "secret_key"),
            ("MINIO_ROOT_USER", "plain"),
            ("MINIO_ROOT_PASSWORD", "plainpassword"),
        ]);
        let effective = effective_in(&process, secrets.path()).unwrap();
        assert_eq!(effective["MINIO_ROOT_USER"], "fromfile");
        assert_eq!(effective["MINIO_ROOT_PASSWORD"], "plainpassword");
    }
}
