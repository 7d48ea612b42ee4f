//! Certificates as text, for client libraries with a TLS of their own.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;

use crate::target::Surroundings;
use crate::tls::trusted;

/// The certificates that targets are checked against, as the text of a PEM file.
pub(crate) fn trusted_pem(surroundings: &Surroundings) -> String {
    let mut pem = String::new();
    for certificate in trusted(surroundings) {
        // Some of these clients take none when they cannot take one.
        if RootCertStore::empty().add(certificate.clone()).is_err() {
            continue;
        }
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in BASE64_STANDARD.encode(&certificate).as_bytes().chunks(PEM_LINE_BYTES) {
            pem.extend(line.iter().copied().map(char::from));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

/// Length of a line of a PEM file. RFC 7468 §2.
const PEM_LINE_BYTES: usize = 64;
