//! What a request means: a selector without an operation touches nothing.

use crate::testing::Server;

#[tokio::test]
async fn a_selector_without_an_operation_never_reaches_the_base_operation() {
    let server = Server::with_album().await;
    server.put("/empty-bucket").send().await.expect(200);
    server.put("/album/k").body("x").send().await.expect(200);
    let before = server.changes().await;
    for selector in ["publicAccessBlock", "ownershipControls", "metrics", "policy", "versioning"] {
        let answer = server.delete(&format!("/empty-bucket?{selector}")).send().await;
        assert_eq!(answer.error(), (501, "NotImplemented".to_owned()), "{selector}");
        let answer = server.delete(&format!("/no-such-bucket?{selector}")).send().await;
        assert_eq!(answer.error(), (404, "NoSuchBucket".to_owned()), "{selector}");
    }
    // Rules go, never the bucket; MinIO deletes it.
    server.delete("/empty-bucket?notification").send().await.expect(204);
    let answer = server.delete("/no-such-bucket?notification").send().await;
    assert_eq!(answer.error(), (404, "NoSuchBucket".to_owned()));
    server.head("/empty-bucket").send().await.expect(200);
    for selector in ["annotation", "encryption", "renameObject", "tagging", "retention", "acl"] {
        for call in
            [server.put(&format!("/album/k?{selector}")), server.delete(&format!("/album/k?{selector}"))]
        {
            assert_eq!(call.body("y").send().await.error(), (501, "NotImplemented".to_owned()), "{selector}");
        }
    }
    let answer = server.get("/album?session").send().await;
    assert_eq!(answer.error(), (501, "NotImplemented".to_owned()));
    assert_eq!(server.changes().await, before);
    assert_eq!(server.get("/album/k").send().await.body, "x");
}

#[tokio::test]
async fn what_s3_does_not_know_is_ignored_or_not_allowed() {
    let server = Server::with_album().await;
    server.put("/album/k?x-id=PutObject").body("x").send().await.expect(200);
    let answer = server.post("/album/k").send().await;
    assert_eq!(answer.error(), (405, "MethodNotAllowed".to_owned()));
    assert!(!answer.header("allow").is_empty());
    assert_eq!(server.put("/").send().await.error(), (405, "MethodNotAllowed".to_owned()));
}

#[tokio::test]
async fn settings_nobody_set_are_read_as_s3_does() {
    let server = Server::with_album().await;
    server.put("/album/k").body("x").send().await.expect(200);
    for (selector, code) in [
        ("policy", "NoSuchBucketPolicy"),
        ("tagging", "NoSuchTagSet"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("cors", "NoSuchCORSConfiguration"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
        ("ownershipControls", "OwnershipControlsNotFoundError"),
    ] {
        assert_eq!(server.get(&format!("/album?{selector}")).send().await.error(), (404, code.to_owned()));
    }
    for target in ["/album?versioning", "/album?accelerate", "/album?logging", "/album/k?tagging"] {
        server.get(target).send().await.expect(200);
    }
    assert_eq!(server.get("/album?requestPayment").send().await.element("Payer"), "BucketOwner");
    assert_eq!(server.get("/album?policyStatus").send().await.element("IsPublic"), "false");
    for target in ["/album?acl", "/album/k?acl"] {
        assert_eq!(server.get(target).send().await.expect(200).element("Permission"), "FULL_CONTROL");
    }
    assert_eq!(server.get("/album/none?tagging").send().await.error(), (404, "NoSuchKey".to_owned()));
}

#[tokio::test]
async fn an_unknown_version_of_the_admin_api_is_426_and_nobody_may_use_it() {
    let server = Server::start().await;
    assert_eq!(server.get("/minio/admin/v2/info").send().await.status.as_u16(), 426);
    assert_eq!(server.get("/minio/admin/v3/info").anonymous().send().await.status.as_u16(), 403);
    server.get("/minio/health/live").anonymous().send().await.expect(200);
}
