//! TLS towards targets: which certificates are trusted, and who we are.
//!
//! Trusted are the roots of the system, the certificates in the server's folder of CAs, and those that a topic names
//! for itself. All are read when a target is made of its settings. Our own certificate is read again by the first
//! connection after its files changed: certificates are renewed while servers run.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::certificates::certificates_in;
use crate::target::{Surroundings, TargetSettings};
use crate::topic::SKIP_VERIFY;

/// The certificates that targets are checked against. A file that cannot be read is left out and logged.
pub(crate) fn trusted(surroundings: &Surroundings) -> Vec<CertificateDer<'static>> {
    let mut certificates = rustls_native_certs::load_native_certs().certs;
    certificates.extend(surroundings.roots.iter().cloned());
    let Some(directory) = &surroundings.ca_directory else {
        return certificates;
    };
    // A folder that is not there is no fault: most servers have none.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_file() {
            continue;
        }
        match certificates_in(&path) {
            Ok(found) => certificates.extend(found),
            Err(reason) => tracing::warn!(%reason, "a root certificate is left out"),
        }
    }
    certificates
}

/// The keys of a kind of target that say whom to trust and who we are; empty where it has no such key. That any
/// certificate will do is [`SKIP_VERIFY`] everywhere: a key of some kinds, and of every kind where a topic says so.
#[derive(Clone, Copy, Default)]
pub(crate) struct TlsKeys {
    /// Our certificate, a PEM file.
    pub(crate) certificate: &'static str,
    /// Its private key, a PEM file.
    pub(crate) private_key: &'static str,
    /// A PEM file of the roots to trust instead of the others.
    pub(crate) authority: &'static str,
}

impl TlsKeys {
    /// Checks that a certificate and its key are both set or neither.
    ///
    /// # Errors
    ///
    /// A sentence that names both keys.
    pub(crate) fn check(&self, settings: &TargetSettings) -> Result<(), String> {
        if settings.value(self.certificate).is_empty() == settings.value(self.private_key).is_empty() {
            return Ok(());
        }
        Err(format!("{} and {} must both be set or neither", self.certificate, self.private_key))
    }

    /// What the settings say.
    pub(crate) fn of(&self, settings: &TargetSettings) -> Tls {
        Tls {
            check: if settings.is_on(SKIP_VERIFY) { Check::Nothing } else { Check::All },
            authority: settings.path(self.authority),
            own: settings.path(self.certificate).zip(settings.path(self.private_key)),
        }
    }
}

/// What of the other side's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// That somebody trusted signed it, and that it is for the host we meant.
    All,
    /// That somebody trusted signed it.
    Signature,
    /// Nothing, as an operator asked for; that the other side holds its key is checked all the same.
    Nothing,
}

/// How a client does TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) check: Check,
    /// A PEM file of the roots to trust instead of those of [`trusted`].
    pub(crate) authority: Option<PathBuf>,
    /// Our certificate and its private key, PEM files.
    pub(crate) own: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// The configuration of such a client.
    ///
    /// # Errors
    ///
    /// A clause that names the file at fault.
    pub(crate) fn client_config(&self, surroundings: &Surroundings) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        match &self.authority {
            Some(file) => roots.add_parsable_certificates(certificates_in(file)?),
            None => roots.add_parsable_certificates(trusted(surroundings)),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| error.to_string())?;
        let builder = match self.check {
            Check::All => builder.with_root_certificates(roots),
            Check::Signature | Check::Nothing => {
                let roots = (self.check == Check::Signature).then_some(roots);
                let provider = Arc::clone(&provider);
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyHost { roots, provider }))
            }
        };
        let Some((certificate, key)) = &self.own else {
            return Ok(builder.with_no_client_auth());
        };
        let own = OwnCertificate::read([certificate.clone(), key.clone()], provider)?;
        Ok(builder.with_client_cert_resolver(Arc::new(own)))
    }
}

/// Our certificate and its private key, as their files are.
#[derive(Debug)]
struct OwnCertificate {
    /// The certificate's, then the key's.
    files: [PathBuf; 2],
    provider: Arc<CryptoProvider>,
    current: Mutex<(Versions, Arc<CertifiedKey>)>,
}

/// What tells two versions of the files apart: when each was changed, and its length.
type Versions = [Option<(SystemTime, u64)>; 2];

impl OwnCertificate {
    fn read(files: [PathBuf; 2], provider: Arc<CryptoProvider>) -> Result<OwnCertificate, String> {
        // Before the files are read: what changes meanwhile is read again.
        let versions = versions(&files);
        let key = certified(&files, &provider)?;
        Ok(OwnCertificate { files, provider, current: Mutex::new((versions, Arc::new(key))) })
    }

    /// What the files hold now. While they cannot be used, what they held before; the log says so once.
    fn now(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock();
        let versions = versions(&self.files);
        if versions != current.0 {
            current.0 = versions;
            match certified(&self.files, &self.provider) {
                Ok(key) => current.1 = Arc::new(key),
                Err(reason) => {
                    tracing::warn!(%reason, "a changed client certificate is not used, the one before it is");
                }
            }
        }
        Arc::clone(&current.1)
    }
}

impl ResolvesClientCert for OwnCertificate {
    /// Two looks at the file system for each connection, and reads of small files when they changed.
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn versions(files: &[PathBuf; 2]) -> Versions {
    files.each_ref().map(|file| {
        let found = fs::metadata(file).ok()?;
        Some((found.modified().ok()?, found.len()))
    })
}

fn certified([certificate, key]: &[PathBuf; 2], provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = certificates_in(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("{} holds no private key: {error}", key.display()))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| format!("{} cannot be used: {error}", certificate.display()))
}

/// Takes a certificate for any host.
#[derive(Debug)]
struct AnyHost {
    /// Who must have signed it; anybody when absent.
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::OwnCertificate;

    /// Writes a certificate and its key, in the given second of 2026; what a handshake shows of it.
    fn renew([certificate, key]: &[PathBuf; 2], second: u64) -> Vec<u8> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["us".to_owned()]).unwrap();
        fs::write(certificate, cert.pem()).unwrap();
        fs::write(key, signing_key.serialize_pem()).unwrap();
        set_changed(certificate, second);
        set_changed(key, second);
        cert.der().to_vec()
    }

    /// Two writes may fall into one tick of the file system's clock.
    fn set_changed(file: &Path, second: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + second);
        File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_renewed_certificate_is_shown_by_the_next_connection_and_a_broken_one_never() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["us.pem", "us.key"].map(|name| folder.path().join(name));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let first = renew(&files, 0);
        let own = OwnCertificate::read(files.clone(), provider).unwrap();
        let shown = || own.now().cert[0].to_vec();
        assert_eq!(shown(), first);

        let second = renew(&files, 1);
        assert_eq!(shown(), second);
        fs::write(&files[0], "half a certif").unwrap();
        set_changed(&files[0], 2);
        assert_eq!(shown(), second);
        let third = renew(&files, 3);
        assert_eq!(shown(), third);
    }
}
