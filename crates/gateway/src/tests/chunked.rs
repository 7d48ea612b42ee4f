//! Bodies in chunks, and how chunks leave no trace.

use s3::checksum::ChecksumAlgorithm::{Crc32, Crc64Nvme};
use s3::sigv4::ChunkMode;
use tidings_s3 as s3;

use crate::testing::Server;

#[tokio::test]
async fn every_form_of_chunks_stores_the_data_and_keeps_the_trailers_checksum() {
    let server = Server::with_album().await;
    let body = vec![b'a'; 200_000];
    for (mode, has_checksum) in
        [(ChunkMode::Signed, false), (ChunkMode::SignedTrailer, true), (ChunkMode::UnsignedTrailer, true)]
    {
        let call = server.put("/album/k").body(&body).header("content-encoding", "aws-chunked");
        call.chunked(mode, Crc64Nvme).send().await.expect(200);
        let get = server.get("/album/k").header("x-amz-checksum-mode", "ENABLED").send().await.expect(200);
        assert!(get.body == body, "{mode:?}");
        assert_eq!(get.header("content-encoding"), "");
        assert_eq!(!get.header("x-amz-checksum-crc64nvme").is_empty(), has_checksum, "{mode:?}");
    }
}

#[tokio::test]
async fn an_empty_object_may_come_in_chunks_too() {
    let server = Server::with_album().await;
    for mode in [ChunkMode::Signed, ChunkMode::SignedTrailer, ChunkMode::UnsignedTrailer] {
        server.put("/album/k").chunked(mode, Crc32).send().await.expect(200);
    }
    assert_eq!(server.get("/album/k").send().await.expect(200).body, "");
}

#[tokio::test]
async fn chunks_without_their_decoded_length_lack_a_length() {
    let server = Server::with_album().await;
    let answer = server.put("/album/k").body("x").payload_hash(ChunkMode::Signed.keyword()).send().await;
    assert_eq!(answer.error(), (411, "MissingContentLength".to_owned()));
}

#[tokio::test]
async fn a_trailer_that_does_not_fit_the_data_is_a_bad_digest() {
    let server = Server::with_album().await;
    let call = server.put("/album/k").body("hello").chunked(ChunkMode::UnsignedTrailer, Crc32);
    let answer = call
        .spoiled(|body| String::from_utf8(body).unwrap().replacen("hello", "jello", 1).into_bytes())
        .send()
        .await;
    assert_eq!(answer.error(), (400, "BadDigest".to_owned()));
    assert_eq!(server.get("/album/k").send().await.error().0, 404);
}
