//! TLS towards targets: which certificates are trusted, and who we are.
//!
//! Trusted are the roots of the system, the certificates in the server's folder of CAs, and those that a topic names
//! for itself. All are read when a target is made of its settings.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
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
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyHost { roots, provider }))
            }
        };
        let Some((certificate, key)) = &self.own else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates_in(certificate)?;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| format!("{} holds no private key: {error}", key.display()))?;
        let shown = builder.with_client_auth_cert(chain, key);
        shown.map_err(|error| format!("{} cannot be used: {error}", certificate.display()))
    }
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
