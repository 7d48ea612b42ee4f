//! Computing a checksum piece by piece.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{Checksum, ChecksumAlgorithm};

/// Computes a checksum piece by piece.
#[derive(Debug, Clone)]
pub struct Hasher {
    algorithm: ChecksumAlgorithm,
    state: HasherState,
}

#[derive(Debug, Clone)]
enum HasherState {
    Crc(Box<crc_fast::Digest>),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    /// Begins with no bytes.
    pub fn new(algorithm: ChecksumAlgorithm) -> Hasher {
        let state = match algorithm.crc() {
            Some(crc) => HasherState::Crc(Box::new(crc_fast::Digest::new(crc))),
            None if algorithm == ChecksumAlgorithm::Sha1 => HasherState::Sha1(Sha1::new()),
            None => HasherState::Sha256(Sha256::new()),
        };
        Hasher { algorithm, state }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            HasherState::Crc(digest) => digest.update(bytes),
            HasherState::Sha1(digest) => digest.update(bytes),
            HasherState::Sha256(digest) => digest.update(bytes),
        }
    }

    /// The checksum of all bytes added.
    pub fn finish(self) -> Checksum {
        let algorithm = self.algorithm;
        let checksum = match self.state {
            HasherState::Crc(digest) => return Checksum::from_u64(algorithm, digest.finalize()),
            HasherState::Sha1(digest) => Checksum::from_bytes(algorithm, &digest.finalize()),
            HasherState::Sha256(digest) => Checksum::from_bytes(algorithm, &digest.finalize()),
        };
        checksum.expect("a digest has the length of its algorithm")
    }
}
