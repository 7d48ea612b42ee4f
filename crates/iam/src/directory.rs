//! The identities a server knows, by access key.

use std::sync::Arc;

use crate::secret::Secret;

/// Shortest access key, in characters; MinIO's bound.
pub const ACCESS_KEY_CHARS_MIN: usize = 3;

/// Shortest secret key, in characters; MinIO's bound.
pub const SECRET_KEY_CHARS_MIN: usize = 8;

/// Why a pair of keys cannot be that of root. The messages name the variables it is read from and
/// the lengths, never the keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The access key is too short.
    #[error(
        "the access key has {chars} characters; TIDINGS_ROOT_USER or MINIO_ROOT_USER must have at least \
         {ACCESS_KEY_CHARS_MIN}, and TIDINGS_ROOT_PASSWORD or MINIO_ROOT_PASSWORD at least {SECRET_KEY_CHARS_MIN}"
    )]
    AccessKeyTooShort {
        /// Its length in characters.
        chars: usize,
    },

    /// The secret key is too short.
    #[error(
        "the secret key has {chars} characters; TIDINGS_ROOT_PASSWORD or MINIO_ROOT_PASSWORD must have at least \
         {SECRET_KEY_CHARS_MIN}, and TIDINGS_ROOT_USER or MINIO_ROOT_USER at least {ACCESS_KEY_CHARS_MIN}"
    )]
    SecretKeyTooShort {
        /// Its length in characters.
        chars: usize,
    },

    /// The access key holds a character that headers and logs could not carry.
    #[error(
        "the access key holds a blank, a control character, a comma or an equals sign; \
         TIDINGS_ROOT_USER or MINIO_ROOT_USER must not"
    )]
    AccessKeyNotPrintable,
}

/// Someone who can sign requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What the identity is found by.
    pub access_key: String,
    /// What its requests are signed with.
    pub secret: Secret,
    kind: IdentityKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdentityKind {
    Root,
}

impl Identity {
    /// Whether this is the identity that may do everything.
    pub fn is_root(&self) -> bool {
        match self.kind {
            IdentityKind::Root => true,
        }
    }
}

/// The identities a server knows.
#[derive(Debug, Clone)]
pub struct Directory {
    root: Arc<Identity>,
}

impl Directory {
    /// A directory that knows root alone.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] when a key is shorter than [`ACCESS_KEY_CHARS_MIN`] or
    /// [`SECRET_KEY_CHARS_MIN`], or the access key could not stand in a header.
    pub fn of_root(access_key: impl Into<String>, secret: Secret) -> Result<Directory, CredentialError> {
        let access_key = access_key.into();
        let (access_chars, secret_chars) = (access_key.chars().count(), secret.reveal().chars().count());
        if access_chars < ACCESS_KEY_CHARS_MIN {
            return Err(CredentialError::AccessKeyTooShort { chars: access_chars });
        }
        if secret_chars < SECRET_KEY_CHARS_MIN {
            return Err(CredentialError::SecretKeyTooShort { chars: secret_chars });
        }
        let breaks_headers = |character: char| {
            character.is_whitespace() || character.is_control() || matches!(character, ',' | '=')
        };
        if access_key.contains(breaks_headers) {
            return Err(CredentialError::AccessKeyNotPrintable);
        }
        Ok(Directory { root: Arc::new(Identity { access_key, secret, kind: IdentityKind::Root }) })
    }

    /// The identity with this access key.
    pub fn find(&self, access_key: &str) -> Option<&Arc<Identity>> {
        Some(&self.root).filter(|root| root.access_key == access_key)
    }

    /// The identity that may do everything.
    pub fn root(&self) -> &Arc<Identity> {
        &self.root
    }
}

#[cfg(test)]
mod tests {
    use super::{CredentialError, Directory};
    use crate::secret::Secret;

    fn directory(access_key: &str, secret: &str) -> Result<Directory, CredentialError> {
        Directory::of_root(access_key, Secret::new(secret))
    }

    #[test]
    fn root_is_found_by_its_access_key_and_nobody_else_is_there() {
        let directory = directory("minioadmin", "minioadmin").unwrap();

        assert_eq!(directory.find("minioadmin").map(|root| root.secret.reveal()), Some("minioadmin"));
        assert!(directory.find("minioadmin").is_some_and(|root| root.is_root()));
        assert_eq!(directory.find("MinioAdmin"), None);
        assert_eq!(directory.find(""), None);
    }

    #[test]
    fn keys_that_are_too_short_are_refused_with_the_names_of_their_variables() {
        let short_user = directory("äb", "12345678").unwrap_err();
        let short_password = directory("abc", "1234567").unwrap_err();

        assert_eq!(short_user, CredentialError::AccessKeyTooShort { chars: 2 });
        assert_eq!(short_password, CredentialError::SecretKeyTooShort { chars: 7 });
        for message in [short_user.to_string(), short_password.to_string()] {
            assert!(
                message.contains("MINIO_ROOT_USER") && message.contains("MINIO_ROOT_PASSWORD"),
                "{message}"
            );
            assert!(!message.contains("1234567"), "{message}");
        }
    }

    #[test]
    fn an_access_key_must_fit_a_header() {
        assert!(directory("a/b+c", "12345678").is_ok());
        for access_key in ["a b c", "abc\n", "a,b", "a=b"] {
            let refused = directory(access_key, "12345678").map(|_| ());
            assert_eq!(refused, Err(CredentialError::AccessKeyNotPrintable), "{access_key:?}");
        }
    }
}
