//! Requests that are wrong: each has the right code, and nothing changed.

use s3::checksum::ChecksumAlgorithm::Crc32;
use s3::sigv4::ChunkMode;
use tidings_s3 as s3;

use crate::testing::{Answer, Server, UNSIGNED};

/// Asserts what a request answered, and that nothing was told but the creation of `album`.
async fn refused(server: &Server, answer: Answer, status: u16, code: &str) {
    assert_eq!(answer.error(), (status, code.to_owned()), "{}", answer.text());
    assert_eq!(server.changes().await, ["BucketCreated album/"]);
    assert_eq!(server.get("/album?list-type=2").send().await.expect(200).element("KeyCount"), "0");
    assert_eq!(server.engine.unnamed_body_count(), 0);
}

#[tokio::test]
async fn a_wrong_secret_is_a_signature_that_does_not_match() {
    let server = Server::with_album().await;
    let answer = server.put("/album/k").body("x").secret("not the secret").send().await;
    assert!(!answer.element("StringToSign").is_empty(), "{}", answer.text());
    refused(&server, answer, 403, "SignatureDoesNotMatch").await;
}

#[tokio::test]
async fn an_unknown_access_key_is_named_as_such() {
    let server = Server::with_album().await;
    let answer = server.put("/album/k").body("x").access_key("nobody").send().await;
    refused(&server, answer, 403, "InvalidAccessKeyId").await;
}

#[tokio::test]
async fn a_clock_more_than_a_quarter_of_an_hour_off_is_skewed_either_way() {
    let server = Server::with_album().await;
    for seconds in [901, -901] {
        let answer = server.put("/album/k").body("x").skewed(seconds).send().await;
        refused(&server, answer, 403, "RequestTimeTooSkewed").await;
    }
    server.put("/album/k").body("x").skewed(-890).send().await.expect(200);
}

#[tokio::test]
async fn digests_that_do_not_fit_the_body_are_refused_each_with_its_code() {
    let server = Server::with_album().await;
    let answer =
        server.put("/album/k").body("x").header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==").send().await;
    refused(&server, answer, 400, "BadDigest").await;
    let answer = server.put("/album/k").body("x").header("content-md5", "short").send().await;
    refused(&server, answer, 400, "InvalidDigest").await;
    let answer = server.put("/album/k").body("x").header("x-amz-checksum-crc32", "AAAAAA==").send().await;
    refused(&server, answer, 400, "BadDigest").await;
    let answer = server.put("/album/k").body("x").spoiled(|_| b"y".to_vec()).send().await;
    refused(&server, answer, 400, "XAmzContentSHA256Mismatch").await;
}

#[tokio::test]
async fn a_large_body_with_a_bad_digest_leaves_nothing_staged() {
    let server = Server::with_album().await;
    let body = vec![7; 3 * 1024 * 1024];
    let answer = server.put("/album/k").body(body).header("x-amz-checksum-crc32c", "AAAAAA==").send().await;
    refused(&server, answer, 400, "BadDigest").await;
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_incomplete() {
    let server = Server::with_album().await;
    let answer =
        server.put("/album/k").body("abc").payload_hash(UNSIGNED).header("content-length", "10").send().await;
    refused(&server, answer, 400, "IncompleteBody").await;
}

#[tokio::test]
async fn a_chunked_body_without_its_end_is_incomplete() {
    let server = Server::with_album().await;
    for mode in [ChunkMode::Signed, ChunkMode::SignedTrailer, ChunkMode::UnsignedTrailer] {
        let call = server.put("/album/k").body(vec![b'a'; 100_000]).chunked(mode, Crc32);
        // The whole first chunk stays, so the data is short.
        let answer = call
            .spoiled(|mut body| {
                body.truncate(66_000);
                body
            })
            .send()
            .await;
        refused(&server, answer, 400, "IncompleteBody").await;
    }
}

#[tokio::test]
async fn a_chunked_body_without_its_last_chunk_is_incomplete_although_all_data_came() {
    let server = Server::with_album().await;
    let call = server.put("/album/k").body(b"hello").chunked(ChunkMode::Signed, Crc32);
    let without_last = |mut body: Vec<u8>| {
        body.truncate(body.len() - 86);
        body
    };
    let answer = call.spoiled(without_last).send().await;
    refused(&server, answer, 400, "IncompleteBody").await;
}

#[tokio::test]
async fn a_changed_chunk_is_a_signature_that_does_not_match() {
    let server = Server::with_album().await;
    let call = server.put("/album/k").body(vec![b'a'; 100_000]).chunked(ChunkMode::Signed, Crc32);
    let answer = call
        .spoiled(|mut body| {
            body[90_000] ^= 1;
            body
        })
        .send()
        .await;
    refused(&server, answer, 403, "SignatureDoesNotMatch").await;
}

#[tokio::test]
async fn a_body_that_is_not_the_document_is_malformed() {
    let server = Server::with_album().await;
    for body in ["<Delete>", "not xml", "<Other/>", "<Delete></Delete>"] {
        let answer = server.post("/album?delete").checked_body(body).send().await;
        refused(&server, answer, 400, "MalformedXML").await;
    }
    let answer = server.put("/other-bucket").body("<CreateBucketConfiguration>").send().await;
    refused(&server, answer, 400, "MalformedXML").await;
}

#[tokio::test]
async fn rules_are_refused_with_the_codes_and_words_of_minio() {
    let server = Server::with_album().await;
    let rule = |event: &str, arn: &str, id: &str| {
        format!(
            "<QueueConfiguration><Id>{id}</Id><Event>{event}</Event><Queue>{arn}</Queue></QueueConfiguration>"
        )
    };
    let put = |rules: String| {
        let document = format!("<NotificationConfiguration>{rules}</NotificationConfiguration>");
        server.put("/album?notification").body(document).send()
    };
    let arn = "arn:minio:sqs::1:memory";
    let created = "s3:ObjectCreated:*";

    let answer = put(rule(created, "arn:minio:sqs::2:memory", "")).await;
    assert!(answer.text().contains("A specified destination ARN does not exist"), "{}", answer.text());
    refused(&server, answer, 400, "InvalidArgument").await;

    let answer = put(rule("s3:ObjectPainted:*", arn, "")).await;
    assert!(
        answer.text().contains("A specified event is not supported for notifications."),
        "{}",
        answer.text()
    );
    refused(&server, answer, 400, "InvalidArgument").await;

    let twice = rule(created, arn, "a") + &rule(created, arn, "a");
    let answer = put(twice).await;
    assert!(
        answer.text().contains("An object key name filtering rule defined with overlapping"),
        "{}",
        answer.text()
    );
    refused(&server, answer, 400, "InvalidArgument").await;

    let answer =
        put("<QueueConfiguration><Queue>arn:minio:sqs::1:memory</Queue></QueueConfiguration>".to_owned())
            .await;
    refused(&server, answer, 400, "MalformedXML").await;

    let answer = server.put("/album?notification").send().await;
    refused(&server, answer, 411, "MissingContentLength").await;
    assert!(!server.get("/album?notification").send().await.expect(200).text().contains("Queue"));
}

#[tokio::test]
async fn names_that_s3_does_not_allow_are_refused() {
    let server = Server::with_album().await;
    for name in ["al", "Album", "al_bum", "al..bum", "album-", "127.0.0.1", &"a".repeat(64)] {
        let answer = server.put(&format!("/{name}")).send().await;
        refused(&server, answer, 400, "InvalidBucketName").await;
    }
    let answer = server.put(&format!("/album/{}", "k".repeat(1025))).body("x").send().await;
    refused(&server, answer, 400, "KeyTooLongError").await;
    let answer = server.put("/album/%FF").body("x").send().await;
    refused(&server, answer, 400, "XMinioInvalidObjectName").await;
    let answer = server.put("/minio/k").body("x").send().await;
    refused(&server, answer, 403, "AllAccessDisabled").await;
}

#[tokio::test]
async fn what_would_be_stored_with_less_than_was_asked_is_not_stored() {
    let server = Server::with_album().await;
    for (name, value) in [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-acl", "public-read"),
        ("x-amz-write-offset-bytes", "0"),
    ] {
        let answer = server.put("/album/k").body("x").header(name, value).send().await;
        refused(&server, answer, 501, "NotImplemented").await;
    }
    let answer = server.put("/album/k").body("x").header("x-amz-storage-class", "ATTIC").send().await;
    refused(&server, answer, 400, "InvalidStorageClass").await;
    let answer = server.put("/album/k").body("x").header("x-amz-meta-a", &"v".repeat(2048)).send().await;
    refused(&server, answer, 400, "MetadataTooLarge").await;
}

#[tokio::test]
async fn nobody_in_particular_may_do_nothing() {
    let server = Server::with_album().await;
    let answer = server.put("/album/k").body("x").anonymous().send().await;
    refused(&server, answer, 403, "AccessDenied").await;
    let answer = server.get("/album").anonymous().send().await;
    refused(&server, answer, 403, "AccessDenied").await;
    let answer = server.get("/no-such-bucket").anonymous().send().await;
    refused(&server, answer, 403, "AccessDenied").await;
    let answer = server.put("/album/k").body("x").header("x-amz-expected-bucket-owner", "123").send().await;
    refused(&server, answer, 403, "AccessDenied").await;
}

#[tokio::test]
async fn version_two_of_the_signature_lets_in_who_knows_the_secret_and_nobody_else() {
    let server = Server::with_album().await;
    let put = |signature: &str| {
        let call =
            server.put("/album/k").body("x").anonymous().header("date", "Thu, 15 Jan 2026 12:00:00 GMT");
        call.header("authorization", &format!("AWS minioadmin:{signature}")).send()
    };
    let answer = put("c2ln").await;
    refused(&server, answer, 403, "SignatureDoesNotMatch").await;
    put("xUHU4BrhsMwkIzDLyElRmKGJzM0=").await.expect(200);

    let get = |expires: &str, signature: &str| {
        let query = format!("AWSAccessKeyId=minioadmin&Expires={expires}&Signature={signature}");
        server.get(&format!("/album/k?{query}")).anonymous().send()
    };
    assert_eq!(get("1768478460", "7Q22p7Q4HXi3Hp6Ly0IXjK%2F0LeI%3D").await.expect(200).body, "x");
    let later = get("1768478461", "7Q22p7Q4HXi3Hp6Ly0IXjK%2F0LeI%3D").await;
    assert_eq!(later.error(), (403, "SignatureDoesNotMatch".to_owned()));
    let over = get("1768478340", "zmpdiM8HLMYQgySpPtdd0%2BT0YTI%3D").await;
    assert_eq!(over.error(), (403, "AccessDenied".to_owned()));
}

#[tokio::test]
async fn lost_drives_answer_503_with_their_numbers() {
    let server = Server::with_album().await;
    server.engine.lose_quorum(2, 3);
    let answer = server.put("/album/k").body("x").send().await;
    server.engine.restore_quorum();
    assert_eq!(answer.header("retry-after"), "5");
    assert!(answer.text().contains("2 drives answered, 3 are needed"), "{}", answer.text());
    refused(&server, answer, 503, "SlowDownWrite").await;
}
