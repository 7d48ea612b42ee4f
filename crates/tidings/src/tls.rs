//! Certificates of the listener: read from a directory, watched, exchanged while the server runs.
//!
//! `public.crt` and `private.key` make the server speak HTTPS; sub-directories with the same two files hold
//! more certificates, chosen by the name the client asks for. The files are looked at every
//! [`WATCH_INTERVAL`]; what changed is read whole, and a set of files that cannot be used leaves the old
//! certificates in force with a warning. Links are followed, so a mount that swaps a `..data` link works.
//!
//! Certificates in force are never fewer than one. Encrypted private keys are absent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often the files are looked at.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Most sub-directories that are read for certificates.
const CERTIFICATES_MAX: usize = 256;

const CERTIFICATE_FILE: &str = "public.crt";
const KEY_FILE: &str = "private.key";

/// Sub-directory with the authorities that notification targets are checked against; no certificate of ours.
const AUTHORITIES: &str = "CAs";

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Half a pair: speaking plain HTTP instead would surprise.
    #[error("{present} is there but {missing} is not")]
    HalfPair {
        /// The file that is there.
        present: PathBuf,
        /// The one that is not.
        missing: PathBuf,
    },
    /// A file that cannot be read or holds something else.
    #[error("{path} cannot be used: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why, a clause.
        reason: String,
    },
}

/// The certificates in force and the files they came from.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    /// For clients that ask for no name, or for one that no other certificate bears.
    default: Arc<CertifiedKey>,
    /// The sub-directories' certificates, by directory name.
    named: Vec<Arc<CertifiedKey>>,
    fingerprint: Vec<FileState>,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    path: PathBuf,
    modified: Option<SystemTime>,
    inode: u64,
    size_bytes: u64,
}

impl Certificates {
    /// Reads a directory; `None` when it holds no pair of its own, which means plain HTTP.
    ///
    /// # Errors
    ///
    /// [`TlsError`] for half a pair and for files that cannot be used.
    pub fn load(directory: &Path) -> Result<Option<Arc<Certificates>>, TlsError> {
        if pair(directory)?.is_none() {
            return Ok(None);
        }
        let loaded = Loaded::read(directory)?;
        Ok(Some(Arc::new(Certificates {
            directory: directory.to_owned(),
            current: ArcSwap::from_pointee(loaded),
        })))
    }

    /// Reads the files again if they changed since they were last read. Whether new certificates are now
    /// in force.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; the old certificates stay in force, and the same files are tried again next time.
    pub fn reload(&self) -> Result<bool, TlsError> {
        if fingerprint(&self.directory) == self.current.load().fingerprint {
            return Ok(false);
        }
        self.current.store(Arc::new(Loaded::read(&self.directory)?));
        Ok(true)
    }

    /// Looks at the files for as long as it is polled.
    pub async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        let mut last_failure = String::new();
        loop {
            ticks.tick().await;
            let certificates = Arc::clone(&self);
            let reloaded = tokio::task::spawn_blocking(move || certificates.reload()).await;
            let failure = match reloaded {
                Ok(Ok(true)) => {
                    tracing::info!(directory = %self.directory.display(), "New TLS certificates are in force.");
                    String::new()
                }
                Ok(Ok(false)) => String::new(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            // Once per failure, not once per look.
            if !failure.is_empty() && failure != last_failure {
                tracing::warn!(%failure, "The changed TLS files are not used; the old certificates stay in force.");
            }
            last_failure = failure;
        }
    }

    /// The settings of a listener that shows whatever certificate is in force at each handshake.
    pub fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Certificates>::clone(self);
        let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let loaded = self.current.load();
        let wanted = name.and_then(|name| ServerName::try_from(name).ok());
        let chosen = wanted.and_then(|name| loaded.named.iter().find(|key| bears(key, &name)));
        Arc::clone(chosen.unwrap_or(&loaded.default))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(client_hello.server_name()))
    }
}

/// Whether a certificate is for a name, wildcards included.
fn bears(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let Some(certificate) = key.cert.first() else {
        return false;
    };
    ParsedCertificate::try_from(certificate).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

impl Loaded {
    fn read(directory: &Path) -> Result<Loaded, TlsError> {
        // Taken before the files are read: a change in between is seen as one at the next look.
        let fingerprint = fingerprint(directory);
        let (certificate, key) = pair(directory)?.ok_or_else(|| TlsError::Unusable {
            path: directory.join(CERTIFICATE_FILE),
            reason: "it is gone".to_owned(),
        })?;
        let default = certified_key(&certificate, &key)?;
        let mut named = Vec::new();
        for directory in sub_directories(directory) {
            if let Some((certificate, key)) = pair(&directory)? {
                named.push(certified_key(&certificate, &key)?);
            }
        }
        Ok(Loaded { default, named, fingerprint })
    }
}

/// Certificate and key of a directory, both or neither.
fn pair(directory: &Path) -> Result<Option<(PathBuf, PathBuf)>, TlsError> {
    let (certificate, key) = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
    match (certificate.is_file(), key.is_file()) {
        (true, true) => Ok(Some((certificate, key))),
        (false, false) => Ok(None),
        (true, false) => Err(TlsError::HalfPair { present: certificate, missing: key }),
        (false, true) => Err(TlsError::HalfPair { present: key, missing: certificate }),
    }
}

/// Where more certificates may be, sorted. What a mount keeps for itself begins with two dots.
fn sub_directories(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut directories: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("..");
            name != AUTHORITIES && !name.starts_with("..") && path.is_dir()
        })
        .collect();
    directories.sort();
    if directories.len() > CERTIFICATES_MAX {
        tracing::warn!(
            directory = %directory.display(),
            "More than {CERTIFICATES_MAX} sub-directories may hold certificates; the rest is not read."
        );
        directories.truncate(CERTIFICATES_MAX);
    }
    directories
}

fn certified_key(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let unusable = |path: &Path, reason: String| TlsError::Unusable { path: path.to_owned(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(certificate, "it holds no certificate in PEM form".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unusable(key, format!("{error} (an encrypted key is not supported)")))?;
    let provider =
        CryptoProvider::get_default().expect("the process installs a provider before it reads certificates");
    CertifiedKey::from_der(chain, private, provider)
        .map(Arc::new)
        .map_err(|error| unusable(key, format!("it does not go with {}: {error}", certificate.display())))
}

/// The state of every file that certificates are read from.
fn fingerprint(directory: &Path) -> Vec<FileState> {
    use std::os::unix::fs::MetadataExt;

    let mut directories = vec![directory.to_owned()];
    directories.extend(sub_directories(directory));
    let files = directories
        .iter()
        .flat_map(|directory| [CERTIFICATE_FILE, KEY_FILE].map(|file| directory.join(file)));
    files
        .filter_map(|path| {
            let metadata = std::fs::metadata(&path).ok()?;
            Some(FileState {
                path,
                modified: metadata.modified().ok(),
                inode: metadata.ino(),
                size_bytes: metadata.len(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(directory: &Path, name: &str) -> Vec<u8> {
        std::fs::create_dir_all(directory).unwrap();
        let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(directory.join(CERTIFICATE_FILE), pair.cert.pem()).unwrap();
        std::fs::write(directory.join(KEY_FILE), pair.signing_key.serialize_pem()).unwrap();
        pair.cert.der().to_vec()
    }

    fn shown(certificates: &Certificates, name: Option<&str>) -> Vec<u8> {
        certificates.choose(name).cert[0].to_vec()
    }

    fn load(directory: &Path) -> Arc<Certificates> {
        crate::install_crypto();
        Certificates::load(directory).unwrap().expect("there is a pair")
    }

    #[test]
    fn without_a_pair_the_server_speaks_plain_http_and_half_a_pair_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Certificates::load(directory.path()).unwrap().is_none());
        assert!(Certificates::load(&directory.path().join("absent")).unwrap().is_none());
        write_pair(directory.path(), "a.example");
        std::fs::remove_file(directory.path().join(KEY_FILE)).unwrap();
        assert!(matches!(Certificates::load(directory.path()), Err(TlsError::HalfPair { .. })));
    }

    #[test]
    fn a_certificate_is_chosen_by_the_name_the_client_asks_for() {
        let directory = tempfile::tempdir().unwrap();
        let default = write_pair(directory.path(), "a.example");
        let wildcard = write_pair(&directory.path().join("b"), "*.b.example");
        write_pair(&directory.path().join("CAs"), "c.example");
        let certificates = load(directory.path());
        assert_eq!(shown(&certificates, Some("x.b.example")), wildcard);
        for name in [None, Some("a.example"), Some("c.example"), Some("not a name")] {
            assert_eq!(shown(&certificates, name), default, "{name:?}");
        }
    }

    #[test]
    fn changed_files_come_into_force_and_bad_ones_leave_the_old() {
        let directory = tempfile::tempdir().unwrap();
        let first = write_pair(directory.path(), "a.example");
        let certificates = load(directory.path());
        assert!(!certificates.reload().unwrap());

        std::fs::write(directory.path().join(CERTIFICATE_FILE), "no certificate").unwrap();
        assert!(matches!(certificates.reload(), Err(TlsError::Unusable { .. })));
        assert_eq!(shown(&certificates, None), first);

        let second = write_pair(directory.path(), "a.example");
        assert!(certificates.reload().unwrap());
        assert_eq!(shown(&certificates, None), second);
    }

    #[test]
    fn a_key_of_another_certificate_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        write_pair(directory.path(), "a.example");
        let other = tempfile::tempdir().unwrap();
        write_pair(other.path(), "a.example");
        std::fs::copy(other.path().join(KEY_FILE), directory.path().join(KEY_FILE)).unwrap();
        crate::install_crypto();
        assert!(matches!(Certificates::load(directory.path()), Err(TlsError::Unusable { .. })));
    }

    #[test]
    fn a_mount_that_swaps_its_data_link_is_noticed() {
        use std::os::unix::fs::symlink;

        let mount = tempfile::tempdir().unwrap();
        let at = |name: &str| mount.path().join(name);
        write_pair(&at("..2026_1"), "a.example");
        let second = write_pair(&at("..2026_2"), "a.example");
        symlink("..2026_1", at("..data")).unwrap();
        symlink("..data/public.crt", at(CERTIFICATE_FILE)).unwrap();
        symlink("..data/private.key", at(KEY_FILE)).unwrap();
        let certificates = load(mount.path());

        symlink("..2026_2", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(certificates.reload().unwrap());
        assert_eq!(shown(&certificates, None), second);
    }
}
