//! What checking a signature and unwrapping a chunked body cost.
//!
//! `cached_key` is the ordinary case: the server keeps the key derived for the day beside the secret.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidings_s3::sigv4::{
    ChunkDecoder, ChunkEncoder, ChunkFraming, ChunkMode, EMPTY_SHA256, Request, RequestSigner, Rules, Signed,
    SigningKey,
};

/// 2026-01-15T12:00:00Z.
const NOW_S: i64 = 1_768_478_400;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const RULES: Rules<'_> = Rules { now_s: NOW_S, region: "", service: "s3" };
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNK_COUNT: usize = 64;

fn signer() -> RequestSigner<'static> {
    RequestSigner {
        access_key: "TIDINGSEXAMPLEKEY01",
        secret_key: SECRET,
        session_token: None,
        region: "us-east-1",
        service: "s3",
    }
}

fn signature(criterion: &mut Criterion) {
    let host = vec![("host".to_owned(), "s3.tidings.test:9000".to_owned())];
    let (method, path, query) = ("GET", "/bucket/photos/2026/rose.jpg", "partNumber=1");
    let unsigned = Request { method, path, query, headers: &host };
    let added = signer().sign(&unsigned, EMPTY_SHA256, NOW_S).expect("the request is well-formed").headers;
    let mut headers = host.clone();
    headers.extend(added.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let request = Request { method, path, query, headers: &headers };
    let credential = Signed::from_header(&request, &RULES).expect("the request is signed").credential;
    let cached = SigningKey::of(SECRET, &credential);

    let mut group = criterion.benchmark_group("signature_check");
    group.bench_function("cached_key", |bencher| {
        bencher.iter(|| {
            let signed = Signed::from_header(black_box(&request), &RULES).expect("the request is signed");
            signed.verify(&request, &cached).expect("the signature is right");
        });
    });
    group.bench_function("derived_key", |bencher| {
        bencher.iter(|| {
            let signed = Signed::from_header(black_box(&request), &RULES).expect("the request is signed");
            let key = SigningKey::of(SECRET, &signed.credential);
            signed.verify(&request, &key).expect("the signature is right");
        });
    });
    group.finish();
}

fn chunks(criterion: &mut Criterion) {
    let host = vec![("host".to_owned(), "s3.tidings.test:9000".to_owned())];
    let unsigned = Request { method: "PUT", path: "/bucket/key", query: "", headers: &host };
    let chain = signer()
        .sign(&unsigned, ChunkMode::Signed.keyword(), NOW_S)
        .expect("the request is well-formed")
        .chunk_chain;
    let data = vec![7; CHUNK_BYTES];
    let mut encoder = ChunkEncoder::new(ChunkMode::Signed, Some(chain.clone()));
    let mut body = Vec::new();
    for _ in 0..CHUNK_COUNT {
        body.extend_from_slice(&encoder.chunk(&data));
    }
    body.extend_from_slice(&encoder.finish(None));
    let body = Bytes::from(body);
    let decoded_length = (CHUNK_BYTES * CHUNK_COUNT) as u64;

    let mut group = criterion.benchmark_group("chunk_decode");
    group.throughput(Throughput::Bytes(decoded_length));
    group.bench_function("signed_64_kib_chunks", |bencher| {
        bencher.iter(|| {
            let framing = ChunkFraming::Signed { chain: chain.clone(), trailer: None };
            let mut decoder = ChunkDecoder::new(framing, decoded_length);
            let mut input = body.clone();
            while let Some(data) = decoder.decode(&mut input).expect("the body is well-formed") {
                black_box(data);
            }
            decoder.finish().expect("the body is complete");
        });
    });
    group.finish();
}

criterion_group!(benches, signature, chunks);
criterion_main!(benches);
