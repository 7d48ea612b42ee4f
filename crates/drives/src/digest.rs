//! CRC64-NVME, the one checksum of everything on a drive. It finds accidents, not attackers.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of `parts`, as if they were one piece.
pub(crate) fn crc64(parts: &[&[u8]]) -> u64 {
    if let [only] = parts {
        return crc_fast::crc64_nvme(only);
    }
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// The checksum of a payload, seeded with whose it is: an intact extent of another key or of an older value
/// at the same place does not pass.
pub(crate) fn extent_crc(key: &[u8], sequence: u64, payload: &[u8]) -> u64 {
    crc64(&[&crc64(&[key]).to_le_bytes(), &sequence.to_le_bytes(), payload])
}
