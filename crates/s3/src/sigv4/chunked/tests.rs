//! Tests of the framing: published vectors, every malformed case, and any split into reads.

use bytes::Bytes;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use sha2::{Digest as _, Sha256};

use super::{ChunkChain, ChunkDecoder, ChunkEncoder, ChunkFraming, ChunkMode, announced_trailer};
use crate::checksum::{Checksum, ChecksumAlgorithm};
use crate::error::ErrorCode;
use crate::sigv4::SigningKey;

const CRC32: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;
const MODES: [ChunkMode; 3] = [ChunkMode::Signed, ChunkMode::SignedTrailer, ChunkMode::UnsignedTrailer];

/// The chain of the published vectors, begun with this seed signature.
fn chain(seed: &str) -> ChunkChain {
    let key = SigningKey::derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20260115", "us-east-1", "s3");
    let mut signature = [0; 32];
    hex::decode_to_slice(seed, &mut signature).unwrap();
    ChunkChain::new(key, "20260115T120000Z", "20260115/us-east-1/s3/aws4_request", signature)
}

fn any_chain() -> ChunkChain {
    chain("ff90f2e8164b0cda2bd10baf8124dea5b641c7c42896a826603118b52b432298")
}

fn framing(mode: ChunkMode, chain: ChunkChain) -> ChunkFraming {
    match mode {
        ChunkMode::Signed => ChunkFraming::Signed { chain, trailer: None },
        ChunkMode::SignedTrailer => ChunkFraming::Signed { chain, trailer: Some(CRC32) },
        ChunkMode::UnsignedTrailer => ChunkFraming::Unsigned { trailer: CRC32 },
    }
}

fn crc32(base64: &str) -> Checksum {
    Checksum::parse(CRC32, base64).unwrap()
}

fn encode(mode: ChunkMode, chain: ChunkChain, chunks: &[&[u8]]) -> Vec<u8> {
    let mut encoder = ChunkEncoder::new(mode, Some(chain));
    let mut body = Vec::new();
    for chunk in chunks {
        body.extend_from_slice(&encoder.chunk(chunk));
    }
    body.extend_from_slice(&encoder.finish(Some(&crc32("98F9Uw=="))));
    body
}

type Decoded = Result<(Vec<u8>, Option<Checksum>), ErrorCode>;

/// Feeds a body in reads of the lengths given, over and over.
fn decode_in(mode: ChunkMode, body: &[u8], decoded_length: u64, reads: &[usize]) -> Decoded {
    let mut decoder = ChunkDecoder::new(framing(mode, any_chain()), decoded_length);
    let (mut rest, mut lengths, mut data) = (body, reads.iter().cycle(), Vec::new());
    while !rest.is_empty() {
        let length = (*lengths.next().unwrap()).clamp(1, rest.len());
        let mut input = Bytes::copy_from_slice(&rest[..length]);
        rest = &rest[length..];
        while let Some(piece) = decoder.decode(&mut input).map_err(|refusal| refusal.code)? {
            data.extend_from_slice(&piece);
        }
    }
    let checksum = decoder.finish().map_err(|refusal| refusal.code)?;
    Ok((data, checksum))
}

fn decode(mode: ChunkMode, body: &[u8], decoded_length: u64) -> Decoded {
    decode_in(mode, body, decoded_length, &[usize::MAX])
}

fn unsigned(body: &str, decoded_length: u64) -> Decoded {
    decode(ChunkMode::UnsignedTrailer, body.as_bytes(), decoded_length)
}

#[test]
fn each_form_is_encoded_as_published() {
    let data = b"tidings!".repeat(1024);
    for (mode, seed, length, sha256) in [
        (
            ChunkMode::Signed,
            "ff90f2e8164b0cda2bd10baf8124dea5b641c7c42896a826603118b52b432298",
            8457,
            "7f6bdc7f17dc12d79de22ffaef8eac325ce0a003622c6c707456ab5eb1c01028",
        ),
        (
            ChunkMode::SignedTrailer,
            "533e0071345bb8e8a6871887987a5ad73850e3bf6f78ce7b99d249e69f839b15",
            8578,
            "a20f7944cc6655ab65fd2f002b92e586e5670b91918a847e3dcc2d221f38ad80",
        ),
        (
            ChunkMode::UnsignedTrailer,
            "ee3364a2d3def6b60f4da1c42122362dbc6ca5f8311e6cbb8b9dc792d7b1c3cf",
            8245,
            "5597c4dbc597284806d61addc61090e3fdc3c0e6d5e625de09a72dc6cdca1bb9",
        ),
    ] {
        let body = encode(mode, chain(seed), &[&data, b"tail"]);

        assert_eq!((body.len(), hex::encode(Sha256::digest(&body)).as_str()), (length, sha256), "{mode:?}");
    }
}

#[test]
fn what_was_encoded_is_decoded_with_the_checksum_of_its_trailer() {
    for mode in MODES {
        let body = encode(mode, any_chain(), &[b"hello ", b"tidings"]);
        let checksum = mode.has_trailer().then(|| crc32("98F9Uw=="));

        assert_eq!(decode(mode, &body, 13), Ok((b"hello tidings".to_vec(), checksum)), "{mode:?}");
    }
}

#[test]
fn an_empty_object_is_only_its_end() {
    for mode in MODES {
        let body = encode(mode, any_chain(), &[]);

        assert_eq!(decode(mode, &body, 0).map(|(data, _)| data), Ok(vec![]), "{mode:?}");
    }
}

#[test]
fn a_body_cut_anywhere_before_its_last_blank_line_is_refused() {
    for mode in MODES {
        let body = encode(mode, any_chain(), &[b"hello ", b"tidings"]);
        for length in 0..body.len() {
            let blank_line_missing = length == body.len() - 2;
            assert_eq!(
                decode(mode, &body[..length], 13).is_ok(),
                blank_line_missing,
                "{mode:?} cut at {length}"
            );
        }
    }
}

#[test]
fn no_bit_of_a_signed_body_can_be_flipped() {
    for mode in [ChunkMode::Signed, ChunkMode::SignedTrailer] {
        let body = encode(mode, any_chain(), &[b"hello ", b"tidings"]);
        let whole = decode(mode, &body, 13);
        for bit in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Names and hexadecimal digits compare without regard to case, and only there a flip of
            // bit 5 means the same text.
            let case_only = body[bit / 8].is_ascii_alphabetic() && bit % 8 == 5;
            let decoded = decode(mode, &flipped, 13);
            assert!(decoded.is_err() || (case_only && decoded == whole), "{mode:?}, bit {bit}");
        }
    }
}

#[test]
fn a_tampered_chunk_or_trailer_does_not_match_its_signature() {
    let replaced = |mode, from: &[u8], to: &[u8]| {
        let mut body = encode(mode, any_chain(), &[b"hello tidings"]);
        let at = body.windows(from.len()).position(|window| window == from).unwrap();
        body[at..at + from.len()].copy_from_slice(to);
        decode(mode, &body, 13)
    };

    let refused = Err(ErrorCode::SignatureDoesNotMatch);
    assert_eq!(replaced(ChunkMode::Signed, b"tidings", b"tidingz"), refused);
    assert_eq!(replaced(ChunkMode::SignedTrailer, b"98F9Uw==", b"98F9Ug=="), refused);
}

#[test]
fn data_and_its_announced_length_must_agree() {
    let body = encode(ChunkMode::Signed, any_chain(), &[b"hello tidings"]);

    assert_eq!(decode(ChunkMode::Signed, &body, 14), Err(ErrorCode::IncompleteBody));
    assert_eq!(decode(ChunkMode::Signed, &body, 12), Err(ErrorCode::ExcessData));
    let followed = [body.as_slice(), b"x"].concat();
    assert_eq!(decode(ChunkMode::Signed, &followed, 13), Err(ErrorCode::ExcessData));
    assert_eq!(unsigned("5\r\nhello\r\n", 5), Err(ErrorCode::IncompleteBody));
}

#[test]
fn sizes_may_have_leading_zeroes_upper_case_and_extensions() {
    let expected = Ok((b"0123456789".to_vec(), Some(crc32("98F9Uw=="))));
    for size in ["a", "A", "000a", "000000000000000A", "a;name=value"] {
        let body = format!("{size}\r\n0123456789\r\n0\r\nX-Amz-Checksum-Crc32: 98F9Uw== \r\n\r\n");
        assert_eq!(unsigned(&body, 10), expected, "{size}");
    }
}

#[test]
fn broken_framing_is_a_bad_request() {
    let long_line = format!("5;{}\r\nhello\r\n", "x".repeat(5000));
    for body in [
        "5\nhello\n0\n\n",
        "\r\n",
        "x\r\nhello\r\n",
        "+5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "00000000000000005\r\nhello\r\n",
        "5\r\nhelloxx",
        "5\r\nhello\r\r\n",
        &long_line,
    ] {
        assert_eq!(unsigned(body, 5), Err(ErrorCode::BadRequest), "{body}");
    }
    assert_eq!(unsigned("ffffffffffffffff\r\n", 5), Err(ErrorCode::ExcessData));
    let missing_signature = decode(ChunkMode::Signed, b"5\r\nhello\r\n", 5);
    assert_eq!(missing_signature, Err(ErrorCode::BadRequest));
}

#[test]
fn the_trailer_is_the_one_announced_and_nothing_else() {
    let trailer = |lines: &str| unsigned(&format!("0\r\n{lines}\r\n"), 0).map(|(_, checksum)| checksum);

    assert_eq!(trailer("x-amz-checksum-crc32:98F9Uw==\r\n"), Ok(Some(crc32("98F9Uw=="))));
    let too_long = format!("x-amz-checksum-crc32:{}\r\n", "A".repeat(4050));
    for lines in [
        "",
        "x-amz-checksum-sha1:98F9Uw==\r\n",
        "x-amz-checksum-crc32:98F9Uw==\r\nx-amz-meta-a:b\r\n",
        "x-amz-checksum-crc32:98F9Uw==\r\nx-amz-checksum-crc32:98F9Uw==\r\n",
        "x-amz-checksum-crc32:98F9Uw==\r\nx-amz-trailer-signature:00\r\n",
        "no colon\r\n",
    ] {
        assert_eq!(trailer(lines), Err(ErrorCode::MalformedTrailerError), "{lines}");
    }
    assert!(trailer(&too_long).is_err());
    assert_eq!(trailer("x-amz-checksum-crc32:bad\r\n"), Err(ErrorCode::BadDigest));
}

#[test]
fn a_line_feed_before_the_end_of_a_trailer_line_is_accepted_as_minio_go_sends_it() {
    let mut body = encode(ChunkMode::SignedTrailer, any_chain(), &[b"hello tidings"]);
    let checksum_end = body.windows(4).position(|window| window == b"==\r\n").unwrap() + 2;
    body.insert(checksum_end, b'\n');

    let expected = Ok((b"hello tidings".to_vec(), Some(crc32("98F9Uw=="))));
    assert_eq!(decode(ChunkMode::SignedTrailer, &body, 13), expected);
    let unsigned_body = "d\r\nhello tidings\r\n0\r\nx-amz-checksum-crc32:98F9Uw==\n\r\n\r\n";
    assert_eq!(unsigned(unsigned_body, 13), expected);
    let two_lines_in_one = "0\r\nx-amz-checksum-crc32:98F9Uw==\nx-amz-meta-a:b\r\n\r\n";
    assert_eq!(unsigned(two_lines_in_one, 0), Err(ErrorCode::MalformedTrailerError));
}

#[test]
fn an_announcement_names_one_checksum_this_server_has() {
    let announced =
        |headers: &[(&str, &str)]| announced_trailer(&headers.to_vec()).map_err(|refusal| refusal.code);

    assert_eq!(announced(&[("x-amz-trailer", "x-amz-checksum-crc32")]), Ok(CRC32));
    assert_eq!(announced(&[]), Err(ErrorCode::MalformedTrailerError));
    assert_eq!(announced(&[("x-amz-trailer", "x-amz-checksum-md5")]), Err(ErrorCode::InvalidRequest));
    assert_eq!(announced(&[("x-amz-trailer", "x-amz-meta-a")]), Err(ErrorCode::InvalidRequest));
}

proptest! {
    /// However a body is cut into reads, the outcome is the same.
    #[test]
    fn the_outcome_does_not_depend_on_the_reads(
        mode in prop::sample::select(MODES.to_vec()),
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..4),
        reads in prop::collection::vec(1usize..50, 1..9),
        broken_at in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let pieces: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let mut body = encode(mode, any_chain(), &pieces);
        let data = chunks.concat();
        if let Some(at) = broken_at {
            let at = at.index(body.len());
            body[at] ^= 1;
        }
        let whole = decode(mode, &body, data.len() as u64);
        let split = decode_in(mode, &body, data.len() as u64, &reads);
        prop_assert_eq!(&split, &whole);
        if broken_at.is_none() {
            prop_assert_eq!(whole.map(|(decoded, _)| decoded), Ok(data));
        }
    }

    /// No bytes make the decoder panic or hand on more than was announced.
    #[test]
    fn any_bytes_are_decoded_or_refused(
        mode in prop::sample::select(MODES.to_vec()),
        body in "([0-9a-f]{1,3}(;chunk-signature=[0-9a-f]{64})?\r\n|\r\n|[ -~]{0,9}|x-amz-checksum-crc32:){0,12}",
        decoded_length in 0u64..40,
    ) {
        if let Ok((data, _)) = decode(mode, body.as_bytes(), decoded_length) {
            prop_assert!(data.len() as u64 <= decoded_length);
        }
    }
}
