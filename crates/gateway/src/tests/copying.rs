//! Copies: of objects, onto themselves, into parts.

use crate::testing::Server;

async fn with_source() -> Server {
    let server = Server::with_album().await;
    let put = server.put("/album/source").body("hello").header("x-amz-meta-color", "red");
    put.header("content-type", "text/plain")
        .header("x-amz-checksum-crc32", "NhCmhg==")
        .send()
        .await
        .expect(200);
    server
}

#[tokio::test]
async fn a_copy_has_the_bytes_the_metadata_and_the_checksum_of_its_source() {
    let server = with_source().await;
    let answer =
        server.put("/album/copy").header("x-amz-copy-source", "/album/source").send().await.expect(200);
    assert_eq!(answer.element("ETag"), "\"5d41402abc4b2a76b9719d911017c592\"");
    assert_eq!(answer.element("ChecksumCRC32"), "NhCmhg==");
    let get = server.get("/album/copy").send().await.expect(200);
    assert_eq!((get.text().as_str(), get.header("x-amz-meta-color")), ("hello", "red"));

    let told = server.told().await;
    let origin = told[2].origin.clone().unwrap();
    assert_eq!(origin.response_length, Some(answer.body.len() as u64));
    assert_eq!(server.changes().await[2], "Copy album/copy");
}

#[tokio::test]
async fn a_copy_may_replace_the_metadata_and_onto_itself_must_change_something() {
    let server = with_source().await;
    let onto_itself = |directive: &'static str| {
        let call = server.put("/album/source").header("x-amz-copy-source", "album/source");
        call.header("x-amz-metadata-directive", directive).header("x-amz-meta-color", "blue").send()
    };
    assert_eq!(onto_itself("COPY").await.error(), (400, "InvalidRequest".to_owned()));
    assert_eq!(onto_itself("MIX").await.error(), (400, "InvalidArgument".to_owned()));
    onto_itself("REPLACE").await.expect(200);
    let head = server.head("/album/source").send().await.expect(200);
    assert_eq!(
        (head.header("x-amz-meta-color"), head.header("content-type")),
        ("blue", "binary/octet-stream")
    );
}

#[tokio::test]
async fn a_copy_from_nothing_or_under_a_condition_that_fails_copies_nothing() {
    let server = with_source().await;
    let copy = |source: &str, name: &str, value: &str| {
        server.put("/album/copy").header("x-amz-copy-source", source).header(name, value).send()
    };
    assert_eq!(copy("/album/none", "x-a", "b").await.error(), (404, "NoSuchKey".to_owned()));
    assert_eq!(copy("/no-such-bucket/k", "x-a", "b").await.error(), (404, "NoSuchBucket".to_owned()));
    assert_eq!(copy("nothing", "x-a", "b").await.error(), (400, "InvalidArgument".to_owned()));
    for (name, value) in [
        ("x-amz-copy-source-if-match", "\"other\""),
        ("x-amz-copy-source-if-none-match", "\"5d41402abc4b2a76b9719d911017c592\""),
    ] {
        assert_eq!(copy("/album/source", name, value).await.error(), (412, "PreconditionFailed".to_owned()));
    }
    server.put("/album/taken").body("x").send().await.expect(200);
    let onto_taken = server.put("/album/taken").header("x-amz-copy-source", "/album/source");
    let answer = onto_taken.header("if-none-match", "*").send().await;
    assert_eq!(answer.error(), (412, "PreconditionFailed".to_owned()));
    assert_eq!(server.get("/album/copy").send().await.error().0, 404);
}
