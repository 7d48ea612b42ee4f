//! `tidings verify`: over the drives of a server that stopped, and of one that runs.

use std::process::Command;

use crate::support::server::{Server, binary, run_to_end};

/// Asks the server itself.
async fn verify_running(server: &Server, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(["verify", "--endpoint", &server.endpoint()]).args(flags);
    command.env("TIDINGS_ACCESS_KEY", "minioadmin").env("TIDINGS_SECRET_KEY", "minioadmin");
    let (status, said) = run_to_end(command).await;
    (status.code(), said)
}

async fn verify(server: &Server) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.arg("verify").arg(server.home().join("d{1...4}"));
    let (status, said) = run_to_end(command).await;
    (status.code(), said)
}

#[tokio::test]
async fn verify_says_whole_or_names_what_is_short_and_leaves_a_running_server_alone() {
    let mut server = Server::over(4).started().await;
    let client = server.client();
    client.create_bucket("album").await;
    client.put("/album/small", "rose".repeat(300)).await.expect_success("put");
    client.put("/album/large", "rose".repeat(300_000)).await.expect_success("put");

    let (status, said) = verify(&server).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("A server has these drives open"), "{said}");

    assert!(server.stop().await.success());
    let (status, said) = verify(&server).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("Everything is whole on every drive."), "{said}");

    std::fs::remove_dir_all(server.drive(3).join("shard")).unwrap();
    let (status, said) = verify(&server).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("d3: album/large"), "{said}");
    assert!(!said.contains("album/small"), "{said}");

    std::fs::remove_dir_all(server.drive(1)).unwrap();
    std::fs::remove_dir_all(server.drive(2)).unwrap();
    let (status, said) = verify(&server).await;
    assert_eq!(status, Some(2), "{said}");
}

#[tokio::test]
async fn a_running_server_verifies_its_own_drives_and_says_why_it_does_not() {
    let mut server = Server::over(4).started().await;
    let client = server.client();
    client.create_bucket("album").await;
    client.put("/album/small", "rose".repeat(300)).await.expect_success("put");
    client.put("/album/large", "rose".repeat(300_000)).await.expect_success("put");

    let (status, said) = verify_running(&server, &[]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("Everything is whole on every drive."), "{said}");
    let (status, said) = verify_running(&server, &["--json"]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.starts_with("{\"whole\":true,\"keys\":3,"), "{said}");

    let (status, said) = verify_running(&server, &["--secret-key", "something-else"]).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("403 SignatureDoesNotMatch"), "{said}");
    let (status, said) = verify_running(&server, &["/somewhere"]).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("not both"), "{said}");

    assert!(server.stop().await.success());
    let (status, said) = verify_running(&server, &[]).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("cannot be asked"), "{said}");
}
