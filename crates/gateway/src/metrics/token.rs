//! The token of a scraper: a JWT that `mc admin prometheus generate` makes from the keys of an identity.
//!
//! # Source
//!
//! RFC 7515 §3 for the form, RFC 7518 §3.2 for HS512; the claims are those that `mc` writes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha512;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: i64,
}

/// Whether a token allows to read metrics: written for it, not expired, and signed with the secret key that
/// `secret_of` knows for its subject.
pub(super) fn is_valid(token: &str, now_s: i64, secret_of: impl Fn(&str) -> Option<String>) -> bool {
    check(token, now_s, secret_of).is_some()
}

fn check(token: &str, now_s: i64, secret_of: impl Fn(&str) -> Option<String>) -> Option<()> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    if header.alg != "HS512" || claims.iss != "prometheus" || claims.exp <= now_s {
        return None;
    }
    let secret = secret_of(&claims.sub)?;
    let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).expect("a key may have any length");
    mac.update(signed.as_bytes());
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha512;

    use super::is_valid;

    fn token(header: &str, claims: &str, secret: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    fn allows(token: &str) -> bool {
        is_valid(token, 1000, |key| (key == "root").then(|| "secret".to_owned()))
    }

    const HEADER: &str = r#"{"alg":"HS512","typ":"JWT"}"#;
    const CLAIMS: &str = r#"{"exp":2000,"iss":"prometheus","sub":"root"}"#;

    #[test]
    fn a_token_of_a_known_identity_allows_until_it_expires() {
        assert!(allows(&token(HEADER, CLAIMS, "secret")));
        assert!(!allows(&token(HEADER, r#"{"exp":1000,"iss":"prometheus","sub":"root"}"#, "secret")));
    }

    #[test]
    fn a_token_of_another_secret_purpose_or_algorithm_does_not_allow() {
        assert!(!allows(&token(HEADER, CLAIMS, "another")));
        assert!(!allows(&token(HEADER, r#"{"exp":2000,"iss":"other","sub":"root"}"#, "secret")));
        assert!(!allows(&token(HEADER, r#"{"exp":2000,"iss":"prometheus","sub":"eve"}"#, "secret")));
        assert!(!allows(&token(r#"{"alg":"none"}"#, CLAIMS, "secret")));
        assert!(!allows("") && !allows("a.b.c") && !allows("..."));
    }
}
