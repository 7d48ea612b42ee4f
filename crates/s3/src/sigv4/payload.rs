//! What a signature says of the body: its hash, nothing, or that it comes in chunks.

use crate::error::{ErrorCode, Refusal};

/// The word that stands for a body the signature does not cover.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The hash of an empty body, as bodyless requests send it.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The body as `x-amz-content-sha256` announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// It must hash to this SHA-256.
    Sha256([u8; 32]),
    /// The signature does not cover it.
    Unsigned,
    /// It is framed in chunks (`aws-chunked`).
    Chunked(ChunkMode),
}

/// The three forms of `aws-chunked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkMode {
    /// Each chunk is signed: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    Signed,
    /// Each chunk and the trailer are signed: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`.
    SignedTrailer,
    /// Nothing is signed, a checksum follows: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer,
}

impl ChunkMode {
    /// The keyword of `x-amz-content-sha256`.
    pub const fn keyword(self) -> &'static str {
        match self {
            ChunkMode::Signed => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            ChunkMode::SignedTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            ChunkMode::UnsignedTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        }
    }

    /// Whether a trailer follows the last chunk.
    pub const fn has_trailer(self) -> bool {
        !matches!(self, ChunkMode::Signed)
    }
}

impl Payload {
    /// Reads the value of `x-amz-content-sha256`. Also for requests without credentials, whose body
    /// may come in unsigned chunks.
    ///
    /// # Errors
    ///
    /// `XAmzContentSHA256Mismatch` when it is neither 64 hexadecimal digits nor a keyword;
    /// `NotImplemented` for chunks signed with asymmetric keys.
    pub fn parse(value: &str) -> Result<Payload, Refusal> {
        let chunked = [ChunkMode::Signed, ChunkMode::SignedTrailer, ChunkMode::UnsignedTrailer];
        if value == UNSIGNED_PAYLOAD {
            return Ok(Payload::Unsigned);
        }
        if let Some(mode) = chunked.into_iter().find(|mode| mode.keyword() == value) {
            return Ok(Payload::Chunked(mode));
        }
        if value.starts_with("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") {
            return Err(Refusal::with(
                ErrorCode::NotImplemented,
                "AWS4-ECDSA-P256-SHA256 is not implemented.",
            ));
        }
        let mut hash = [0; 32];
        hex::decode_to_slice(value, &mut hash).map_err(|_| {
            Refusal::with(
                ErrorCode::XAmzContentSHA256Mismatch,
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING keyword, or a valid sha256 value.",
            )
        })?;
        Ok(Payload::Sha256(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::{ChunkMode, EMPTY_SHA256, Payload, UNSIGNED_PAYLOAD};
    use crate::error::ErrorCode;

    #[test]
    fn a_hash_and_each_keyword_are_told_apart() {
        assert!(matches!(Payload::parse(EMPTY_SHA256), Ok(Payload::Sha256([0xe3, 0xb0, ..]))));
        assert_eq!(Payload::parse(UNSIGNED_PAYLOAD), Ok(Payload::Unsigned));
        for mode in [ChunkMode::Signed, ChunkMode::SignedTrailer, ChunkMode::UnsignedTrailer] {
            assert_eq!(Payload::parse(mode.keyword()), Ok(Payload::Chunked(mode)));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let code = |value| Payload::parse(value).unwrap_err().code;

        assert_eq!(code("e3b0"), ErrorCode::XAmzContentSHA256Mismatch);
        assert_eq!(code(""), ErrorCode::XAmzContentSHA256Mismatch);
        assert_eq!(code("unsigned-payload"), ErrorCode::XAmzContentSHA256Mismatch);
        assert_eq!(code("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"), ErrorCode::NotImplemented);
    }
}
