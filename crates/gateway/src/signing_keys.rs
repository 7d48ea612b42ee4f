//! Signing keys that were derived already, so that a request of the same day costs four HMACs less.
//!
//! A key is kept only when a signature was right under it: whoever has no secret fills nothing.
//!
//! Bounds: [`KEYS_MAX`] keys, the oldest goes first. A key of a past day stays until then: it opens nothing that
//! deriving it anew would not.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;

use iam::Identity;
use s3::sigv4::{Credential, SigningKey};
use tidings_iam as iam;
use tidings_s3 as s3;

/// Most keys kept: one for each identity, day and region that clients sign for.
const KEYS_MAX: usize = 32;

/// Keys derived from secrets.
#[derive(Default)]
pub(crate) struct SigningKeys(RwLock<VecDeque<Kept>>);

struct Kept {
    /// As it was when the key was derived: one whose secret changed is another.
    identity: Arc<Identity>,
    credential: Credential,
    key: SigningKey,
}

impl Kept {
    fn is_of(&self, identity: &Arc<Identity>, credential: &Credential) -> bool {
        Arc::ptr_eq(&self.identity, identity) && self.credential == *credential
    }
}

impl SigningKeys {
    /// The key of an identity for the scope of a credential.
    pub(crate) fn find(&self, identity: &Arc<Identity>, credential: &Credential) -> Option<SigningKey> {
        self.0.read().iter().find(|kept| kept.is_of(identity, credential)).map(|kept| kept.key.clone())
    }

    /// Keeps a key under which a signature was right.
    pub(crate) fn keep(&self, identity: &Arc<Identity>, credential: &Credential, key: &SigningKey) {
        let kept = Kept { identity: Arc::clone(identity), credential: credential.clone(), key: key.clone() };
        let mut keys = self.0.write();
        if keys.iter().any(|kept| kept.is_of(identity, credential)) {
            return;
        }
        if keys.len() == KEYS_MAX {
            keys.pop_front();
        }
        keys.push_back(kept);
    }
}

#[cfg(test)]
mod tests {
    use iam::{Directory, Secret};

    use super::*;

    fn root(secret: &str) -> Arc<Identity> {
        Arc::clone(Directory::of_root("minioadmin", Secret::new(secret)).unwrap().root())
    }

    fn credential(day: usize) -> Credential {
        Credential::parse(&format!("minioadmin/{:08}/us-east-1/s3/aws4_request", 20_260_101 + day)).unwrap()
    }

    fn keep(keys: &SigningKeys, identity: &Arc<Identity>, credential: &Credential) {
        keys.keep(identity, credential, &SigningKey::of(identity.secret.reveal(), credential));
    }

    #[test]
    fn a_key_is_found_for_its_identity_and_scope_alone() {
        let (keys, root, changed) = (SigningKeys::default(), root("minioadmin"), root("another secret"));
        keep(&keys, &root, &credential(0));

        let found = keys.find(&root, &credential(0)).unwrap();
        assert_eq!(found.sign(b"text"), SigningKey::of("minioadmin", &credential(0)).sign(b"text"));
        assert!(keys.find(&root, &credential(1)).is_none());
        assert!(keys.find(&changed, &credential(0)).is_none(), "its secret is another");
    }

    #[test]
    fn the_oldest_key_goes_when_there_are_too_many() {
        let (keys, root) = (SigningKeys::default(), root("minioadmin"));
        for day in 0..=KEYS_MAX {
            keep(&keys, &root, &credential(day));
            keep(&keys, &root, &credential(day));
        }
        assert!(keys.find(&root, &credential(0)).is_none());
        assert!((1..=KEYS_MAX).all(|day| keys.find(&root, &credential(day)).is_some()));
    }
}
