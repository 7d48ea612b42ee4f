//! Objects: put, read whole and in part, shown, deleted.

use crate::testing::{ACCESS_KEY, Server};

#[tokio::test]
async fn an_object_comes_back_as_it_was_put_with_its_headers() {
    let server = Server::with_album().await;
    let put = server
        .put("/album/rose.txt")
        .body("hello")
        .header("content-type", "text/plain")
        .header("content-encoding", "gzip, aws-chunked")
        .header("cache-control", "no-cache")
        .header("x-amz-meta-Color", " red ")
        .header("x-amz-storage-class", "STANDARD_IA")
        .send()
        .await
        .expect(200);
    assert_eq!(put.header("etag"), "\"5d41402abc4b2a76b9719d911017c592\"");

    let get = server.get("/album/rose.txt").send().await.expect(200);
    assert_eq!(get.body, "hello");
    for (name, value) in [
        ("etag", "\"5d41402abc4b2a76b9719d911017c592\""),
        ("content-length", "5"),
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
        ("cache-control", "no-cache"),
        ("x-amz-meta-color", "red"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("last-modified", "Thu, 15 Jan 2026 12:00:00 GMT"),
        ("accept-ranges", "bytes"),
        ("server", "tidings"),
    ] {
        assert_eq!(get.header(name), value, "{name}");
    }

    let head = server.head("/album/rose.txt").send().await.expect(200);
    assert_eq!(head.body, "");
    assert_eq!(head.header("content-length"), "5");
    assert_eq!(head.header("x-amz-meta-color"), "red");
}

#[tokio::test]
async fn an_object_larger_than_the_journal_takes_streams_in_and_out() {
    let server = Server::with_album().await;
    let body: Vec<u8> = (0..5_000_000u32).map(|at| (at % 251) as u8).collect();
    server.put("/album/large").body(&body).send().await.expect(200);
    let get = server.get("/album/large").send().await.expect(200);
    assert!(get.body == body);
    let part = server.get("/album/large").header("range", "bytes=4999990-").send().await.expect(206);
    assert_eq!(part.body, body[4_999_990..]);
}

#[tokio::test]
async fn a_range_is_cut_out_and_one_beyond_the_object_is_refused() {
    let server = Server::with_album().await;
    server.put("/album/digits").body("0123456789").send().await.expect(200);
    for (range, bytes, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=5-", "56789", "bytes 5-9/10"),
        ("bytes=9-100", "9", "bytes 9-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
    ] {
        let answer = server.get("/album/digits").header("range", range).send().await.expect(206);
        assert_eq!((answer.text().as_str(), answer.header("content-range")), (bytes, content_range));
    }
    let whole = server.get("/album/digits").header("range", "bytes=0-1,3-4").send().await.expect(200);
    assert_eq!(whole.body, "0123456789");
    let beyond = server.get("/album/digits").header("range", "bytes=10-").send().await;
    assert_eq!(beyond.error(), (416, "InvalidRange".to_owned()));
    assert_eq!(beyond.header("content-range"), "bytes */10");
    assert_eq!(beyond.element("ActualObjectSize"), "10");
    let head = server.head("/album/digits").header("range", "bytes=0-3").send().await.expect(206);
    assert_eq!(head.header("content-length"), "4");
}

#[tokio::test]
async fn a_checksum_is_verified_kept_and_shown_only_when_asked_for_the_whole() {
    let server = Server::with_album().await;
    let put =
        server.put("/album/k").body("123456789").header("x-amz-checksum-crc32", "y/Q5Jg==").send().await;
    assert_eq!(put.expect(200).header("x-amz-checksum-crc32"), "y/Q5Jg==");

    let get = server.get("/album/k").send().await.expect(200);
    assert_eq!(get.header("x-amz-checksum-crc32"), "");
    let get = server.get("/album/k").header("x-amz-checksum-mode", "ENABLED").send().await.expect(200);
    assert_eq!(get.header("x-amz-checksum-crc32"), "y/Q5Jg==");
    assert_eq!(get.header("x-amz-checksum-type"), "FULL_OBJECT");
    let call = server.get("/album/k").header("x-amz-checksum-mode", "ENABLED").header("range", "bytes=0-1");
    assert_eq!(call.send().await.expect(206).header("x-amz-checksum-crc32"), "");
}

#[tokio::test]
async fn what_is_not_there_is_no_such_key_and_a_head_says_so_in_its_headers() {
    let server = Server::with_album().await;
    let get = server.get("/album/none").send().await;
    assert_eq!(get.error(), (404, "NoSuchKey".to_owned()));
    assert_eq!((get.element("Key"), get.element("BucketName")), ("none".to_owned(), "album".to_owned()));
    assert_eq!(get.element("RequestId"), get.header("x-amz-request-id"));
    let head = server.head("/album/none").send().await;
    assert_eq!(head.error(), (404, "NoSuchKey".to_owned()));
    assert_eq!(head.body, "");
}

#[tokio::test]
async fn versions_are_null_unknown_or_malformed() {
    let server = Server::with_album().await;
    server.put("/album/k").body("x").send().await.expect(200);
    assert_eq!(server.get("/album/k?versionId=null").send().await.expect(200).body, "x");
    let unknown = "/album/k?versionId=93098c56-0e80-4c1b-b2d6-6f3bd2ac5a07";
    assert_eq!(server.get(unknown).send().await.error(), (404, "NoSuchVersion".to_owned()));
    assert_eq!(server.get("/album/k?versionId=x").send().await.error(), (400, "InvalidArgument".to_owned()));
    server.delete(unknown).send().await.expect(204);
    server.head("/album/k").send().await.expect(200);
    server.delete("/album/k?versionId=null").send().await.expect(204);
    assert_eq!(server.get("/album/k").send().await.error().0, 404);
}

#[tokio::test]
async fn keys_are_opaque() {
    let server = Server::with_album().await;
    for path in [
        "/album//x",
        "/album/a//b",
        "/album/a/./b",
        "/album/a/../b",
        "/album/a/",
        "/album/%2B%20%25",
        "/album/a",
    ] {
        server.put(path).body(path).send().await.expect(200);
    }
    for path in [
        "/album//x",
        "/album/a//b",
        "/album/a/./b",
        "/album/a/../b",
        "/album/a/",
        "/album/%2B%20%25",
        "/album/a",
    ] {
        assert_eq!(server.get(path).send().await.expect(200).body, path);
    }
}

#[tokio::test]
async fn many_are_deleted_with_one_request_each_with_its_own_answer() {
    let server = Server::with_album().await;
    for key in ["a", "b", "c"] {
        server.put(&format!("/album/{key}")).body(key).send().await.expect(200);
    }
    let document = "<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object>\
                    <Object><Key>b</Key><ETag>wrong</ETag></Object>\
                    <Object><Key>c</Key><VersionId>x</VersionId></Object></Delete>";
    let answer = server.post("/album?delete").body(document).send().await;
    assert_eq!(answer.error(), (400, "MissingContentMD5".to_owned()));

    let answer = server.post("/album?delete").checked_body(document).send().await.expect(200);
    assert_eq!(answer.elements("Code"), ["PreconditionFailed", "NoSuchVersion"]);
    assert_eq!(answer.elements("Key"), ["a", "none", "b", "c"]);
    assert_eq!(server.get("/album?list-type=2").send().await.elements("Key"), ["b", "c"]);

    let quiet = "<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>";
    let answer = server.post("/album?delete").checked_body(quiet).send().await.expect(200);
    assert_eq!(answer.elements("Key"), [""; 0]);
}

#[tokio::test]
async fn a_presigned_url_reads_until_it_expires_and_may_replace_headers() {
    let server = Server::with_album().await;
    server.put("/album/k").body("x").send().await.expect(200);
    let target = "/album/k?response-content-type=text%2Fhtml";
    let answer = server.get(target).send_presigned(60).await.expect(200);
    assert_eq!(answer.header("content-type"), "text/html");
    let expired = server.get(target).skewed(-61).send_presigned(60).await;
    assert_eq!(expired.error(), (403, "AccessDenied".to_owned()));
    let head = server.head("/album/k").send_presigned(60).await;
    head.expect(200);
    server.put("/album/presigned").body("y").send_presigned(60).await.expect(200);
    assert_eq!(server.get("/album/presigned").send().await.body, "y");
}

#[tokio::test]
async fn what_a_presigned_url_asks_for_in_its_query_counts_like_a_header() {
    let server = Server::with_album().await;
    let target = "/album/k?x-amz-meta-color=red&x-amz-storage-class=REDUCED_REDUNDANCY\
                  &x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32";
    server.put(target).body("not empty").send_presigned(60).await.expect(200);
    let head = server.head("/album/k").send().await.expect(200);
    assert_eq!(
        (head.header("x-amz-meta-color"), head.header("x-amz-storage-class")),
        ("red", "REDUCED_REDUNDANCY")
    );

    let refused = [
        "x-amz-tagging=a%3Db",
        "x-amz-server-side-encryption=AES256",
        "X-Amz-Acl=public-read",
        "x-amz-copy-source=album%2Fk",
    ];
    for asked in refused {
        let answer = server.put(&format!("/album/other?{asked}")).body("x").send_presigned(60).await;
        assert_eq!(answer.error(), (501, "NotImplemented".to_owned()), "{asked}");
    }
    server.head("/album/other").send().await.expect(404);
}

#[tokio::test]
async fn a_change_tells_who_asked_from_where_and_for_what() {
    let server = Server::with_album().await;
    let put = server
        .put("/album/k")
        .body("hello")
        .header("user-agent", "lab/1.0")
        .header("x-forwarded-for", "10.0.0.1, 10.0.0.2")
        .send()
        .await
        .expect(200);
    server.delete("/album/k").send().await.expect(204);
    let told = server.told().await;
    let put_origin = told[1].origin.clone().unwrap();
    assert_eq!(put_origin.principal, ACCESS_KEY);
    assert_eq!(put_origin.source_host, "10.0.0.1");
    assert_eq!(put_origin.user_agent, "lab/1.0");
    assert_eq!(put_origin.request_id, put.header("x-amz-request-id"));
    assert_eq!(put_origin.endpoint, "http://s3.tidings.test:9000");
    assert_eq!(put_origin.response_length, None);
    let delete_origin = told[2].origin.clone().unwrap();
    assert_eq!(delete_origin.source_host, "127.0.0.1");
    assert_eq!(delete_origin.response_length, Some(0));
}
