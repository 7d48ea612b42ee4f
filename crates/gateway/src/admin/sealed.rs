//! Sealed bodies: how the admin API hides configuration and secrets from whoever reads the connection.
//!
//! A sealed body is a header of 41 bytes and a chain of fragments. The password is the secret key of the
//! credential that signed the request, in both directions.
//!
//! ```text
//! offset  size  field
//! 0       32    salt, random
//! 32      1     algorithm: 0 Argon2id + AES-256-GCM, 1 Argon2id + ChaCha20-Poly1305, 2 PBKDF2 + AES-256-GCM
//! 33      8     nonce prefix, random
//! 41      …     fragments: at most 16,384 bytes of text, sealed, and a tag of 16 bytes
//! ```
//!
//! The nonce of fragment `n`, counted from 1, is the prefix and `n` as 32 bits, little endian. The associated
//! data of a fragment is a flag, 0x80 for the last fragment and 0 for the others, and the tag of an empty
//! text sealed under number 0, which binds every fragment to its header and is itself not sent.
//!
//! # Invariants
//!
//! 1. Every algorithm is read; algorithm 0 is written, because every client reads it.
//! 2. A body that was cut after a fragment, or goes on after its last one, does not open.
//! 3. At most [`KEY_DERIVATIONS_MAX`] derivations run at once, on threads of their own: each takes 64 MiB and
//!    some 50 ms. Further calls wait their turn; the bound on requests bounds them.
//!
//! What is not here: which bodies are sealed; each call says so itself.

use std::sync::Arc;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::ChaCha20Poly1305;
use rand::RngCore;
use sha2::Sha256;
use tokio::sync::Semaphore;

/// Key derivations under way at once; each takes 64 MiB, so at most 128 MiB together.
pub(crate) const KEY_DERIVATIONS_MAX: usize = 2;

const SALT_BYTES: usize = 32;
const NONCE_PREFIX_BYTES: usize = 8;
const HEADER_BYTES: usize = SALT_BYTES + 1 + NONCE_PREFIX_BYTES;
const FRAGMENT_BYTES: usize = 16 * 1024;
const TAG_BYTES: usize = 16;
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 1;
const ARGON2_LANES: u32 = 4;
const PBKDF2_ROUNDS: u32 = 8192;

/// Flag of a fragment that another one follows.
const FLAG_MORE: u8 = 0x00;
/// Flag of the last fragment.
const FLAG_LAST: u8 = 0x80;

/// Why a sealed body does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealedError {
    /// The header is not whole.
    #[error("a sealed body has {HEADER_BYTES} bytes of header, this one has {0} bytes")]
    Short(usize),
    /// The algorithm is not one of the three.
    #[error("sealed bodies have algorithm 0, 1 or 2, this one has {0}")]
    Algorithm(u8),
    /// A fragment is not authentic: another password, a changed byte, or a cut.
    #[error("the sealed body does not open with the secret key of this request")]
    Forged,
}

/// Seals and opens, a few at a time.
pub(crate) struct Sealing {
    permits: Arc<Semaphore>,
}

impl Default for Sealing {
    fn default() -> Sealing {
        Sealing { permits: Arc::new(Semaphore::new(KEY_DERIVATIONS_MAX)) }
    }
}

impl Sealing {
    /// Seals a body for the holder of `password`.
    pub(crate) async fn seal(&self, password: &str, text: Vec<u8>) -> Vec<u8> {
        let password = password.to_owned();
        self.on_own_thread(move || seal(&password, &text)).await
    }

    /// Opens a body that the holder of `password` sealed.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) async fn open(&self, password: &str, sealed: bytes::Bytes) -> Result<Vec<u8>, SealedError> {
        let password = password.to_owned();
        self.on_own_thread(move || open(&password, &sealed)).await
    }

    async fn on_own_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
        // The permit goes along: a caller that leaves does not let another derivation start beside this one.
        let work = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        work.await.expect("sealing does not panic")
    }
}

/// Seals under algorithm 0 with a fresh salt and nonce prefix.
fn seal(password: &str, text: &[u8]) -> Vec<u8> {
    let mut header = [0; HEADER_BYTES];
    rand::rng().fill_bytes(&mut header);
    header[SALT_BYTES] = 0;
    seal_under(password, header, text).expect("algorithm 0 is known")
}

/// Seals under a given header.
fn seal_under(password: &str, header: [u8; HEADER_BYTES], text: &[u8]) -> Result<Vec<u8>, SealedError> {
    let chain = Chain::new(password, &header)?;
    let mut sealed =
        Vec::with_capacity(HEADER_BYTES + text.len() + TAG_BYTES * (text.len() / FRAGMENT_BYTES + 1));
    sealed.extend_from_slice(&header);
    let fragments = text.len().div_ceil(FRAGMENT_BYTES).max(1);
    for number in 1..=fragments {
        let start = (number - 1) * FRAGMENT_BYTES;
        let fragment = &text[start..text.len().min(start + FRAGMENT_BYTES)];
        sealed.extend(chain.seal(number, number == fragments, fragment));
    }
    Ok(sealed)
}

/// Opens a sealed body, whole.
fn open(password: &str, sealed: &[u8]) -> Result<Vec<u8>, SealedError> {
    let Some((header, body)) = sealed.split_first_chunk::<HEADER_BYTES>() else {
        return Err(SealedError::Short(sealed.len()));
    };
    let chain = Chain::new(password, header)?;
    let fragments = body.len().div_ceil(FRAGMENT_BYTES + TAG_BYTES).max(1);
    let mut text = Vec::with_capacity(body.len());
    for number in 1..=fragments {
        let start = (number - 1) * (FRAGMENT_BYTES + TAG_BYTES);
        let fragment = &body[start..body.len().min(start + FRAGMENT_BYTES + TAG_BYTES)];
        let opened = chain.open(number, number == fragments, fragment)?;
        // Only the whole text may be empty: an empty last fragment after full ones is not what a writer makes.
        if opened.is_empty() && fragments > 1 {
            return Err(SealedError::Forged);
        }
        text.extend(opened);
    }
    Ok(text)
}

/// The cipher of one body and what its fragments are bound to.
struct Chain {
    cipher: Cipher,
    nonce_prefix: [u8; NONCE_PREFIX_BYTES],
    /// Tag of the empty text under number 0.
    binding: Vec<u8>,
}

enum Cipher {
    Aes(Box<Aes256Gcm>),
    ChaCha(Box<ChaCha20Poly1305>),
}

impl Chain {
    fn new(password: &str, header: &[u8; HEADER_BYTES]) -> Result<Chain, SealedError> {
        let salt = &header[..SALT_BYTES];
        let cipher = match header[SALT_BYTES] {
            0 => Cipher::Aes(Box::new(Aes256Gcm::new(&argon2_key(password, salt).into()))),
            1 => Cipher::ChaCha(Box::new(ChaCha20Poly1305::new(&argon2_key(password, salt).into()))),
            2 => Cipher::Aes(Box::new(Aes256Gcm::new(&pbkdf2_key(password, salt).into()))),
            other => return Err(SealedError::Algorithm(other)),
        };
        let mut nonce_prefix = [0; NONCE_PREFIX_BYTES];
        nonce_prefix.copy_from_slice(&header[SALT_BYTES + 1..]);
        let mut chain = Chain { cipher, nonce_prefix, binding: Vec::new() };
        chain.binding = chain.encrypt(0, Payload { msg: &[], aad: &[] });
        Ok(chain)
    }

    fn seal(&self, number: usize, is_last: bool, text: &[u8]) -> Vec<u8> {
        self.encrypt(number, Payload { msg: text, aad: &self.associated(is_last) })
    }

    fn open(&self, number: usize, is_last: bool, sealed: &[u8]) -> Result<Vec<u8>, SealedError> {
        let nonce = self.nonce(number);
        let payload = Payload { msg: sealed, aad: &self.associated(is_last) };
        let opened = match &self.cipher {
            Cipher::Aes(cipher) => cipher.decrypt(&nonce.into(), payload),
            Cipher::ChaCha(cipher) => cipher.decrypt(&nonce.into(), payload),
        };
        opened.map_err(|_| SealedError::Forged)
    }

    fn encrypt(&self, number: usize, payload: Payload<'_, '_>) -> Vec<u8> {
        let nonce = self.nonce(number);
        let sealed = match &self.cipher {
            Cipher::Aes(cipher) => cipher.encrypt(&nonce.into(), payload),
            Cipher::ChaCha(cipher) => cipher.encrypt(&nonce.into(), payload),
        };
        sealed.expect("a fragment is shorter than what a cipher takes")
    }

    fn nonce(&self, number: usize) -> [u8; 12] {
        let number = u32::try_from(number).expect("a body of 1 MiB has 64 fragments");
        let mut nonce = [0; 12];
        nonce[..NONCE_PREFIX_BYTES].copy_from_slice(&self.nonce_prefix);
        nonce[NONCE_PREFIX_BYTES..].copy_from_slice(&number.to_le_bytes());
        nonce
    }

    fn associated(&self, is_last: bool) -> Vec<u8> {
        let mut associated = vec![if is_last { FLAG_LAST } else { FLAG_MORE }];
        associated.extend_from_slice(&self.binding);
        associated
    }
}

fn argon2_key(password: &str, salt: &[u8]) -> [u8; 32] {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, Some(32));
    let argon2 =
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params.expect("the parameters are in range"));
    let mut key = [0; 32];
    argon2
        .hash_password_into(password.as_bytes(), salt, &mut key)
        .expect("salt and key have fitting lengths");
    key
}

fn pbkdf2_key(password: &str, salt: &[u8]) -> [u8; 32] {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, PBKDF2_ROUNDS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
    use sha2::{Digest, Sha256};

    use super::{FRAGMENT_BYTES, HEADER_BYTES, SealedError, TAG_BYTES, open, seal, seal_under};

    const PASSWORD: &str = "minioadmin";
    const TEXT: &[u8] = br#"{"secretKey":"s3cretpw","status":"enabled"}"#;

    /// Salt 00 01 … 1f, the algorithm, nonce prefix a0 … a7.
    fn header(algorithm: u8) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        for (index, byte) in header.iter_mut().enumerate() {
            *byte = match index {
                0..32 => u8::try_from(index).unwrap(),
                32 => algorithm,
                _ => 0xa0 + u8::try_from(index - 33).unwrap(),
            };
        }
        header
    }

    const SEALED: [&str; 3] = [
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00a0a1a2a3a4a5a6a71395e886b639e978df4861394f648fad4441a63e002928c805287ebb4926e692588de2d837d45fab8966d04e424db064bced36bc076a721c18b012",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f01a0a1a2a3a4a5a6a719520afa7e34f0aa18db3b2ca55dbf7097b02a36b4b248d77c079aafdbd99bb0e5b55d0315ea93b80f23241a6d94346cc360e057f41da446bb35c5",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f02a0a1a2a3a4a5a6a74a723102714fbccc1a169c37bc1267859cd3cbacb4d8fa5a0f2dca74ae7cf137c70e6cad51230cd49b042fa775f0acc9be2e8adcf5053a24f60bad",
    ];

    #[test]
    fn a_known_text_seals_to_the_bytes_that_clients_make_and_opens_again() {
        for (algorithm, expected) in (0..).zip(SEALED) {
            let sealed = seal_under(PASSWORD, header(algorithm), TEXT).unwrap();

            assert_eq!(hex::encode(&sealed), expected, "algorithm {algorithm}");
            assert_eq!(open(PASSWORD, &sealed).as_deref(), Ok(TEXT), "algorithm {algorithm}");
        }
    }

    #[test]
    fn a_body_that_a_client_sealed_opens() {
        let sealed = "dbcc09d733b8e6686b8e3ce551812a6282d9d6638acc71ad5a8244a907e3430300aea029357ada17c91a794d8fa2a6\
                      cb5f9b9d6551c9a4caec0939d1e3997417ec7ca1d75f52e469ebed5f078470b01eada7bca8cc576733014584a05ee0\
                      71500e0e9a24";
        assert_eq!(open(PASSWORD, &hex::decode(sealed).unwrap()).as_deref(), Ok(TEXT));
    }

    #[test]
    fn texts_of_every_number_of_fragments_seal_to_the_known_digests() {
        let known = [
            (0, 0, "efa260faf40c839e6cf4e2b46ac0c1a2f5a78a134c93879f2f22d8f7f696f13b"),
            (0, 1, "95488ff0fdc239e39144e6b5cb811c2a818962e535c6f5b6b679ded7aa1e75d3"),
            (0, 16384, "5331052f9d52ff42344fb528578ba1bb1d0e972f8a16255ff58331b864466e0f"),
            (0, 16385, "34f43804e313e57028eab36c125818fc8a2d940e0ec75267f9f69dd3fd351f3e"),
            (0, 32769, "e1886aa55b2dee2de807362dc2216b678f27d89a87fc35fe529f32c514fe4255"),
            (0, 40000, "05431b05b60f430f9933262cff62f757da03790b9d763dc1b30a7132a2f63914"),
            (1, 0, "547929daa6afa62ed471ae70865e8f80cbc3290a15955560ea2af4167cd70b3c"),
            (1, 16384, "75ac52dae069f3bc8a4e1dbd4e182456877e165dc5d4ceb38fd81288cd03be30"),
            (1, 16385, "46e95b3bf221351032751ee7a7b72bd29a915a5d1cb80fc7e908d1a28498eed1"),
            (1, 40000, "986e24324ce5edf53be9df2fc9c93afdc8ff84681a9b185c0070b02dd082f91a"),
            (2, 0, "6cbfeb7ec4e1ef7bf4fbab95182c212d5738782f2401a5f54fe54c358a8a2ec6"),
            (2, 16384, "78b2b4ad924aa4fef777e278b09a1aeaa9239d1d8494ef268f5fc9e035d9e021"),
            (2, 16385, "0f6ce523c69e7ac480c9e2e43c59f079a5f1c991388ad016d180b2ad3dac1b7d"),
            (2, 40000, "5f02984047d6d50ce9a90ae08f10a59373db1cd2638d926cdd87ff7ad13cd558"),
        ];
        for (algorithm, length, digest) in known {
            let text: Vec<u8> = (0..length).map(|index: usize| u8::try_from(index % 251).unwrap()).collect();

            let sealed = seal_under(PASSWORD, header(algorithm), &text).unwrap();

            let length_expected = HEADER_BYTES + length + TAG_BYTES * length.div_ceil(FRAGMENT_BYTES).max(1);
            assert_eq!(sealed.len(), length_expected, "algorithm {algorithm}, {length} bytes");
            assert_eq!(hex::encode(Sha256::digest(&sealed)), digest, "algorithm {algorithm}, {length} bytes");
            assert_eq!(open(PASSWORD, &sealed), Ok(text), "algorithm {algorithm}, {length} bytes");
        }
    }

    #[test]
    fn what_is_no_sealed_body_is_refused_with_the_reason() {
        assert_eq!(open(PASSWORD, &[0; 40]), Err(SealedError::Short(40)));
        assert_eq!(open(PASSWORD, &[3; 60]), Err(SealedError::Algorithm(3)));
        assert_eq!(open("another", &hex::decode(SEALED[2]).unwrap()), Err(SealedError::Forged));
        assert_eq!(open(PASSWORD, &header(2)), Err(SealedError::Forged), "a header without a fragment");
    }

    #[test]
    fn a_body_cut_after_a_fragment_or_continued_does_not_open() {
        let text = vec![7; 2 * FRAGMENT_BYTES];
        let sealed = seal_under(PASSWORD, header(2), &text).unwrap();

        let cut = &sealed[..HEADER_BYTES + FRAGMENT_BYTES + TAG_BYTES];
        let continued = [&sealed[..], &sealed[HEADER_BYTES..]].concat();

        assert_eq!(open(PASSWORD, cut), Err(SealedError::Forged));
        assert_eq!(open(PASSWORD, &continued), Err(SealedError::Forged));
    }

    #[test]
    fn two_seals_of_one_text_share_no_salt() {
        let (first, second) = (seal(PASSWORD, TEXT), seal(PASSWORD, TEXT));
        assert_ne!(first[..32], second[..32]);
        assert_eq!(open(PASSWORD, &first).as_deref(), Ok(TEXT));
        assert_eq!(open(PASSWORD, &second).as_deref(), Ok(TEXT));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Algorithm 2 stands for all: the fragments are the same, its derivation is cheap.
        #[test]
        fn a_text_of_any_length_near_a_border_opens_again_and_a_changed_byte_never(
            fragments in 0usize..4, around in 0usize..5, at in any::<proptest::sample::Index>(), bit in 0u8..8,
        ) {
            let text = vec![0x5a; (fragments * FRAGMENT_BYTES + around).saturating_sub(2)];
            let mut sealed = seal_under(PASSWORD, header(2), &text).unwrap();
            prop_assert_eq!(open(PASSWORD, &sealed), Ok(text));

            let at = HEADER_BYTES + at.index(sealed.len() - HEADER_BYTES);
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(open(PASSWORD, &sealed), Err(SealedError::Forged));
        }
    }
}
