//! Listings, in all their versions.

use crate::testing::Server;

async fn with_keys(keys: &[&str]) -> Server {
    let server = Server::with_album().await;
    for key in keys {
        let path = s3::percent::encode_path(key.as_bytes());
        server.put(&format!("/album/{path}")).body("x").send().await.expect(200);
    }
    server
}

use tidings_s3 as s3;

#[tokio::test]
async fn the_second_version_pages_by_token_and_counts_prefixes_as_keys() {
    let server = with_keys(&["a", "b/1", "b/2", "c", "d/1"]).await;
    let target = "/album?list-type=2&delimiter=%2F&max-keys=2";
    let page = server.get(target).send().await.expect(200);
    assert_eq!(
        (page.elements("Key"), page.elements("KeyCount")),
        (vec!["a".to_owned()], vec!["2".to_owned()])
    );
    assert_eq!(page.element("IsTruncated"), "true");
    assert!(page.text().contains("<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>"));

    let token = page.element("NextContinuationToken");
    let page = server.get(&format!("{target}&continuation-token={token}")).send().await.expect(200);
    assert_eq!(page.elements("Key"), ["c"]);
    assert_eq!(page.element("IsTruncated"), "false");
    assert!(page.text().contains("<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>"));
}

#[tokio::test]
async fn the_first_version_pages_by_marker() {
    let server = with_keys(&["a", "b", "c"]).await;
    let page = server.get("/album?max-keys=2").send().await.expect(200);
    assert_eq!(
        (page.elements("Key"), page.element("NextMarker")),
        (vec!["a".into(), "b".into()], "b".to_owned())
    );
    let page = server.get("/album?max-keys=2&marker=b").send().await.expect(200);
    assert_eq!((page.elements("Key"), page.element("NextMarker")), (vec!["c".to_owned()], String::new()));
    assert_eq!(page.element("Marker"), "b");
}

#[tokio::test]
async fn keys_are_encoded_only_when_asked_and_a_space_never_as_a_plus() {
    let server = with_keys(&["foo+1/b r", "x<&>'\""]).await;
    let page = server.get("/album?list-type=2&encoding-type=url").send().await.expect(200);
    assert_eq!(page.elements("Key"), ["foo%2B1/b%20r", "x%3C%26%3E%27%22"]);
    let page = server.get("/album?list-type=2").send().await.expect(200);
    assert_eq!(page.element("Key"), "foo+1/b r");
    let bad = server.get("/album?encoding-type=rot13").send().await;
    assert_eq!(bad.error(), (400, "InvalidArgument".to_owned()));
}

#[tokio::test]
async fn page_sizes_are_capped_and_nonsense_is_refused() {
    let server = with_keys(&["a"]).await;
    assert_eq!(server.get("/album?max-keys=5000").send().await.expect(200).element("MaxKeys"), "1000");
    let none = server.get("/album?max-keys=0").send().await.expect(200);
    assert_eq!((none.elements("Key").len(), none.element("IsTruncated").as_str()), (0, "false"));
    for bad in ["-1", "many"] {
        let answer = server.get(&format!("/album?max-keys={bad}")).send().await;
        assert_eq!(answer.error(), (400, "InvalidArgument".to_owned()), "{bad}");
    }
    let answer = server.get("/album?list-type=2&continuation-token=%21").send().await;
    assert_eq!(answer.error(), (400, "InvalidArgument".to_owned()));
    assert_eq!(server.get("/no-such-bucket").send().await.error(), (404, "NoSuchBucket".to_owned()));
}

#[tokio::test]
async fn versions_of_a_bucket_without_versioning_are_null_and_latest() {
    let server = with_keys(&["a", "b"]).await;
    let page = server.get("/album?versions").send().await.expect(200);
    assert_eq!(page.elements("Key"), ["a", "b"]);
    assert_eq!(page.elements("VersionId"), ["null", "null"]);
    assert_eq!(page.elements("IsLatest"), ["true", "true"]);
    let page = server.get("/album?versions&max-keys=1").send().await.expect(200);
    assert_eq!(
        (page.element("NextKeyMarker"), page.element("NextVersionIdMarker")),
        ("a".into(), "null".into())
    );
    let bad = server.get("/album?versions&version-id-marker=null").send().await;
    assert_eq!(bad.error(), (400, "InvalidArgument".to_owned()));
}
