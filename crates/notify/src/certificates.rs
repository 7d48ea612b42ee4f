//! Files of certificates: reading one, and finding the one that a topic names.
//!
//! A topic is made by a client, and what it names is a path on the server. Only what lies in the folder of CAs or below
//! it is looked at, so that nobody learns what else there is or has the server read it; a link in that folder is its
//! operator's word. Files in the folder itself are trusted for every target, those in folders of it for the topics that
//! name them.
//!
//! # Bounds
//!
//! A file that a topic names has at most [`NAMED_BYTES_MAX`] bytes.

use std::fs;
use std::path::{Component, Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Largest file that a topic may name, in bytes: all roots of a system are a fifth of it.
const NAMED_BYTES_MAX: u64 = 1024 * 1024;

/// The certificates of a PEM file, at least one.
///
/// # Errors
///
/// A clause that names the file.
pub(crate) fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |error| format!("{} holds no certificates: {error}", path.display());
    let found =
        CertificateDer::pem_file_iter(path).map_err(fault)?.collect::<Result<Vec<_>, _>>().map_err(fault)?;
    if found.is_empty() {
        return Err(format!("{} holds no certificates", path.display()));
    }
    Ok(found)
}

/// The certificates of a file that a topic names, by its place below the folder of CAs or by its whole path; none
/// where the topic names none.
///
/// # Errors
///
/// One clause, whatever is wrong with the file.
pub(crate) fn named_by_topic(
    name: &str,
    directory: Option<&Path>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let path = directory.and_then(|directory| below(directory, name));
    let is_readable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= NAMED_BYTES_MAX)
    };
    let certificates = path.filter(is_readable).and_then(|path| certificates_in(&path).ok());
    certificates.ok_or_else(|| {
        "ca-location names no file of certificates in the folder CAs of the server's certificates or below it"
            .to_owned()
    })
}

/// The path of what a name names, if that lies below a directory without leaving it on the way.
fn below(directory: &Path, name: &str) -> Option<PathBuf> {
    let path = directory.join(name);
    let rest = path.strip_prefix(directory).ok()?;
    rest.components().all(|component| matches!(component, Component::Normal(_))).then(|| path.clone())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::below;

    #[test]
    fn a_topic_names_nothing_outside_the_folder_of_cas() {
        let below = |name: &str| below(Path::new("/certs/CAs"), name);
        assert_eq!(below("kafka/ca.pem"), Some(PathBuf::from("/certs/CAs/kafka/ca.pem")));
        assert_eq!(below("/certs/CAs/ca.pem"), Some(PathBuf::from("/certs/CAs/ca.pem")));
        let outside = ["/etc/passwd", "../private.key", "a/../../private.key", "/certs/CAs/../private.key"];
        assert_eq!(outside.map(below), [const { None }; 4]);
        assert_eq!(below("/certs/CAsx/ca.pem"), None);
    }
}
