//! Sealed copies: the small files in the root of a drive, each as two equal copies under a checksum of their own.
//!
//! A drive without space replaces such a file in place, copy by copy; one of the two is sound after any interruption.
//! A copy is a magic of eight bytes, what the file says, zeroes, and the CRC64-NVME of all that.

use crate::digest::crc64;

/// Bytes of the magic.
const MAGIC_BYTES: usize = 8;

/// The file's content: what a copy says, magic included, twice, each filled up to `copy_bytes`.
pub(crate) fn seal(mut copy: Vec<u8>, copy_bytes: usize) -> Vec<u8> {
    assert!(copy.len() + 8 <= copy_bytes, "what the file says has room in a copy");
    copy.reserve_exact(2 * copy_bytes - copy.len());
    copy.resize(copy_bytes - 8, 0);
    let crc = crc64(&[&copy]);
    copy.extend_from_slice(&crc.to_le_bytes());
    copy.extend_from_within(..);
    copy
}

/// What the sound copies of `copy_bytes` each say, without magic and checksum: none, one, or two that may differ.
pub(crate) fn sound_copies<'a>(
    file: &'a [u8],
    magic: &'a [u8; MAGIC_BYTES],
    copy_bytes: usize,
) -> impl Iterator<Item = &'a [u8]> {
    file.chunks(copy_bytes.max(1)).filter_map(move |copy| {
        let (body, crc) = copy.split_last_chunk::<8>()?;
        let (found, said) = body.split_first_chunk::<MAGIC_BYTES>()?;
        (found == magic && crc64(&[body]) == u64::from_le_bytes(*crc)).then_some(said)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_copy_stands_in_for_the_other_and_bytes_of_another_kind_are_none() {
        let file = seal(b"MAGIC..1said".to_vec(), 64);
        let said = |file: &[u8]| {
            sound_copies(file, b"MAGIC..1", 64).map(|said| said[..4].to_vec()).collect::<Vec<_>>()
        };
        assert_eq!((file.len(), said(&file)), (128, vec![b"said".to_vec(); 2]));
        for at in [3, 60, 64 + 9, 127] {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert_eq!(said(&damaged), [b"said"], "byte {at}");
        }
        assert!(sound_copies(&file, b"MAGIC..2", 64).next().is_none());
        assert_eq!((said(&file[..127]).len(), said(&file[..63]).len(), said(&[]).len()), (1, 0, 0));
    }
}
