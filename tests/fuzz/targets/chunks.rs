//! An `aws-chunked` body is decoded or refused, however it is cut: no panic, no more data than announced.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidings_s3::checksum::ChecksumAlgorithm;
use tidings_s3::sigv4::{ChunkDecoder, ChunkFraming};

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (decoded_length, piece_bytes, body) = input;
    let framing = ChunkFraming::Unsigned { trailer: ChecksumAlgorithm::Crc32 };
    let mut decoder = ChunkDecoder::new(framing, u64::from(decoded_length));
    let mut decoded = 0;
    for piece in body.chunks(usize::from(piece_bytes).max(1)) {
        let mut piece = Bytes::copy_from_slice(piece);
        while !piece.is_empty() {
            match decoder.decode(&mut piece) {
                Ok(Some(data)) => decoded += data.len(),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(decoded <= usize::from(decoded_length));
    if decoder.finish().is_ok() {
        assert_eq!(decoded, usize::from(decoded_length));
    }
});
