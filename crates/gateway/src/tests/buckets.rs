//! Buckets: created, listed, found, deleted.

use crate::testing::Server;

#[tokio::test]
async fn a_bucket_is_created_found_listed_and_deleted() {
    let server = Server::start().await;
    assert_eq!(server.put("/album").send().await.expect(200).header("location"), "/album");
    server.head("/album").send().await.expect(200);
    assert_eq!(server.get("/album?location").send().await.expect(200).element("LocationConstraint"), "");
    assert_eq!(server.get("/").send().await.expect(200).elements("Name"), ["album"]);
    server.delete("/album").send().await.expect(204);
    assert_eq!(server.head("/album").send().await.error(), (404, "NoSuchBucket".to_owned()));
    assert_eq!(server.changes().await, ["BucketCreated album/", "BucketRemoved album/"]);
}

#[tokio::test]
async fn a_bucket_that_is_there_is_yours_already() {
    let server = Server::with_album().await;
    assert_eq!(server.put("/album").send().await.error(), (409, "BucketAlreadyOwnedByYou".to_owned()));
    server.put("/album").header("x-minio-force-create", "true").send().await.expect(200);
}

#[tokio::test]
async fn a_bucket_with_an_object_stays_unless_force_deletes_both() {
    let server = Server::with_album().await;
    server.put("/album/k").body("x").send().await.expect(200);
    assert_eq!(server.delete("/album").send().await.error(), (409, "BucketNotEmpty".to_owned()));
    server.delete("/album").header("x-minio-force-delete", "true").send().await.expect(204);
    let told = ["BucketCreated album/", "Put album/k", "Delete album/k", "BucketRemoved album/"];
    assert_eq!(server.changes().await, told);
}

#[tokio::test]
async fn buckets_are_listed_in_pages_when_asked() {
    let server = Server::start().await;
    for name in ["photos-a", "photos-b", "photos-c", "texts"] {
        server.put(&format!("/{name}")).send().await.expect(200);
    }
    let page = server.get("/?max-buckets=2&prefix=photos").send().await.expect(200);
    assert_eq!(page.elements("Name"), ["photos-a", "photos-b"]);
    let token = page.element("ContinuationToken");
    let page = server.get(&format!("/?max-buckets=2&prefix=photos&continuation-token={token}")).send().await;
    assert_eq!(page.elements("Name"), ["photos-c"]);
    assert_eq!(page.element("ContinuationToken"), "");
}

#[tokio::test]
async fn a_region_that_is_configured_is_told_and_must_be_signed_for() {
    let server = Server::in_region("eu-north-1").await;
    let answer = server.put("/album").send().await;
    assert_eq!(answer.error(), (400, "AuthorizationHeaderMalformed".to_owned()));
    assert_eq!(answer.element("Region"), "eu-north-1");
}

#[tokio::test]
async fn a_bucket_has_a_host_name_of_its_own() {
    let server = Server::with_album().await;
    server.put("/a%2Fb").header("host", "album.s3.tidings.test:9000").body("x").send().await.expect(200);
    assert_eq!(server.get("/album/a/b").send().await.expect(200).body, "x");
}
