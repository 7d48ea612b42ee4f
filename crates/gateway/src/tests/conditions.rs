//! Conditional reads, writes and deletes.

use crate::testing::Server;

const TAG: &str = "\"5d41402abc4b2a76b9719d911017c592\"";

async fn with_hello() -> Server {
    let server = Server::with_album().await;
    server.put("/album/k").body("hello").send().await.expect(200);
    server
}

#[tokio::test]
async fn a_read_proceeds_is_not_modified_or_fails_by_its_conditions() {
    let server = with_hello().await;
    for (name, value, status) in [
        ("if-match", TAG, 200),
        ("if-match", "\"other\"", 412),
        ("if-none-match", TAG, 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", "Thu, 15 Jan 2026 12:00:00 GMT", 304),
        ("if-modified-since", "Thu, 15 Jan 2026 11:59:59 GMT", 200),
        ("if-unmodified-since", "Thu, 15 Jan 2026 11:59:59 GMT", 412),
        ("if-unmodified-since", "Thu, 15 Jan 2026 12:00:00 GMT", 200),
    ] {
        let answer = server.get("/album/k").header(name, value).send().await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {value}");
        assert_eq!(answer.header("etag"), TAG, "{name}: {value}");
        server.head("/album/k").header(name, value).send().await.expect(status);
    }
}

#[tokio::test]
async fn a_write_replaces_only_what_its_condition_names() {
    let server = with_hello().await;
    let answer = server.put("/album/k").body("new").header("if-none-match", "*").send().await;
    assert_eq!(answer.error(), (412, "PreconditionFailed".to_owned()));
    assert_eq!(answer.element("Condition"), "If-None-Match");
    let answer = server.put("/album/k").body("new").header("if-match", "\"other\"").send().await;
    assert_eq!(answer.error(), (412, "PreconditionFailed".to_owned()));
    let answer = server.put("/album/none").body("new").header("if-match", TAG).send().await;
    assert_eq!(answer.error(), (404, "NoSuchKey".to_owned()));
    assert_eq!(server.get("/album/k").send().await.body, "hello");

    server.put("/album/k").body("new").header("if-match", TAG).send().await.expect(200);
    server.put("/album/fresh").body("new").header("if-none-match", "*").send().await.expect(200);
    assert_eq!(server.get("/album/k").send().await.body, "new");
}

#[tokio::test]
async fn a_delete_takes_only_what_its_condition_names_and_nothing_is_no_error() {
    let server = with_hello().await;
    for (name, value) in [
        ("if-match", "\"other\""),
        ("x-amz-if-match-size", "6"),
        ("x-amz-if-match-last-modified-time", "Thu, 15 Jan 2026 11:59:59 GMT"),
    ] {
        let answer = server.delete("/album/k").header(name, value).send().await;
        assert_eq!(answer.error(), (412, "PreconditionFailed".to_owned()), "{name}");
    }
    server.delete("/album/none").header("if-match", TAG).send().await.expect(204);
    server
        .delete("/album/k")
        .header("if-match", TAG)
        .header("x-amz-if-match-size", "5")
        .send()
        .await
        .expect(204);
    assert_eq!(server.get("/album/k").send().await.error().0, 404);
}
