//! TLS towards targets: which certificates are trusted, and who we are.
//!
//! Trusted are the roots of the system and the certificates in the server's folder of CAs. Both are read when
//! a target is made of its settings.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::target::{Surroundings, TargetSettings};

/// The certificates that targets are checked against. A file that cannot be read is left out and logged.
pub(crate) fn trusted(surroundings: &Surroundings) -> Vec<CertificateDer<'static>> {
    let mut certificates = rustls_native_certs::load_native_certs().certs;
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

/// The configuration of a client that trusts what [`trusted`] gives and shows the certificate that two keys of
/// the settings name, if they are set.
///
/// # Errors
///
/// A clause that names the file at fault.
pub(crate) fn client_config(
    settings: &TargetSettings,
    certificate_key: &str,
    private_key_key: &str,
    surroundings: &Surroundings,
) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted(surroundings));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| error.to_string())?.with_root_certificates(roots);
    match (settings.path(certificate_key), settings.path(private_key_key)) {
        (Some(certificate), Some(key)) => {
            let chain = certificates_in(&certificate)?;
            let key_file = key.display();
            let key = PrivateKeyDer::from_pem_file(&key)
                .map_err(|error| format!("{key_file} holds no private key: {error}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("{} cannot be used: {error}", certificate.display()))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// Checks that of two keys that make a pair both or neither are set.
pub(crate) fn check_pair(
    settings: &TargetSettings,
    certificate_key: &str,
    private_key_key: &str,
) -> Result<(), String> {
    if settings.value(certificate_key).is_empty() == settings.value(private_key_key).is_empty() {
        return Ok(());
    }
    Err(format!("{certificate_key} and {private_key_key} must both be set or neither"))
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |error| format!("{} holds no certificates: {error}", path.display());
    let found =
        CertificateDer::pem_file_iter(path).map_err(fault)?.collect::<Result<Vec<_>, _>>().map_err(fault)?;
    if found.is_empty() {
        return Err(format!("{} holds no certificates", path.display()));
    }
    Ok(found)
}
