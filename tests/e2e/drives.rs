//! Drives that go away, come back, and hold damage.

use std::path::Path;

use reqwest::Method;

use crate::support::server::Server;

/// Objects of the sizes that take different ways: empty, inside the journal, split over its columns, staged.
fn objects() -> Vec<(String, Vec<u8>)> {
    [0, 1, 1000, 16 * 1024, 100 * 1024, 128 * 1024, 128 * 1024 + 1, 3 * 1024 * 1024 + 17]
        .into_iter()
        .map(|size: usize| {
            (format!("/album/object-{size}"), (0..size).map(|at| (at * 31 + size) as u8).collect())
        })
        .collect()
}

async fn server_with_objects() -> Server {
    let server = Server::over(4).started().await;
    let client = server.client();
    client.create_bucket("album").await;
    for (path, body) in objects() {
        client.put(&path, body).await.expect_success(&path);
    }
    server
}

async fn assert_everything_reads_back(server: &Server, when: &str) {
    for (path, body) in objects() {
        let answer = server.client().get(&path).await;
        assert_eq!(answer.outcome(), "200 ", "{path} {when}: {answer:?}");
        assert!(answer.body == body, "{path} {when} is not what was written");
    }
}

fn take_away(drive: &Path) {
    std::fs::rename(drive, drive.with_extension("away")).unwrap();
}

#[tokio::test]
async fn with_two_of_four_drives_gone_every_object_reads_back_and_a_write_says_why_it_cannot_be() {
    let pairs = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)];
    for (first, second) in pairs {
        let mut server = server_with_objects().await;
        assert_eq!(server.stop().await.code(), Some(0));
        take_away(&server.drive(first));
        take_away(&server.drive(second));

        server.start().await;

        assert_everything_reads_back(&server, &format!("without drives {first} and {second}")).await;
        let refused = server.client().put("/album/new", "ab").await;
        assert_eq!(refused.outcome(), "503 SlowDownWrite");
        assert!(refused.text().contains("2 drives answered, 3 are needed"), "{}", refused.text());
        assert!(!refused.header("retry-after").is_empty());
        assert_eq!(server.client().get("/album/new").await.outcome(), "404 NoSuchKey");
    }
}

#[tokio::test]
async fn with_two_of_four_drives_gone_while_it_runs_every_object_still_reads_back() {
    let server = server_with_objects().await;
    take_away(&server.drive(2));
    take_away(&server.drive(3));

    assert_everything_reads_back(&server, "after the drives went").await;
}

#[tokio::test]
async fn a_drive_that_missed_a_write_and_returns_stays_out_and_is_never_read_as_current() {
    let mut server = server_with_objects().await;
    let client = server.client();
    assert_eq!(server.stop().await.code(), Some(0));
    let away = server.drive(1).with_extension("away");
    take_away(&server.drive(1));

    server.start().await;
    client.put("/album/object-1000", "newer").await.expect_success("a write with one of four drives away");
    client.delete("/album/object-1").await.expect_success("a delete with one of four drives away");
    assert_eq!(server.stop().await.code(), Some(0));
    let _ = std::fs::remove_dir_all(server.drive(1));
    std::fs::rename(&away, server.drive(1)).unwrap();

    server.start().await;
    assert_eq!(client.get("/album/object-1000").await.body, "newer");
    assert_eq!(client.get("/album/object-1").await.outcome(), "404 NoSuchKey");
    let info = client.send(Method::GET, "/minio/admin/v3/info?metrics=false", &[], "").await;
    let info: serde_json::Value = serde_json::from_str(info.text()).unwrap();
    assert_eq!(info["backend"]["onlineDisks"], 3, "{info}");
    assert_eq!(info["backend"]["offlineDisks"], 1, "{info}");
}
