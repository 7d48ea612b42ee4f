//! Redundancy as operators see it: short when a drive is emptied, whole again after its heal, proved by verifying.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::eventually;
use crate::support::server::{Server, binary, run_to_end};

/// A series of the cluster page for the first set; `None` when it is not there.
pub(super) async fn metric(server: &Server, series: &str) -> Option<f64> {
    let url = format!("{}/minio/v2/metrics/cluster", server.endpoint());
    let page = reqwest::get(url).await.unwrap().text().await.unwrap();
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

/// Verifies, by the running server or its drives while it is stopped; the exit status and what was said.
async fn verify(server: &Server, is_running: bool) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.arg("verify").env("TIDINGS_ACCESS_KEY", "minioadmin").env("TIDINGS_SECRET_KEY", "minioadmin");
    if is_running {
        command.args(["--endpoint", &server.endpoint()]);
    } else {
        command.arg(server.home().join("d{1...4}"));
    }
    let (status, said) = run_to_end(command).await;
    (status.code(), said)
}

fn empty(drive: &Path) {
    fs::remove_dir_all(drive).unwrap();
    fs::create_dir(drive).unwrap();
}

#[tokio::test]
async fn an_emptied_drive_makes_everything_short_until_it_is_healed_and_damage_is_found_by_verifying() {
    let mut server = Server::over(4).with("MINIO_PROMETHEUS_AUTH_TYPE", "public").started().await;
    let client = server.client();
    client.create_bucket("album").await;
    for number in 0..20 {
        client.put(&format!("/album/small-{number}"), "rose".repeat(300)).await.expect_success("put");
        let large = format!("/album/large-{number}");
        client.put(&large, "rose".repeat(100_000 + number)).await.expect_success("put");
    }
    assert_eq!(metric(&server, "tidings_objects_short{").await, Some(0.0));
    assert_eq!(metric(&server, "tidings_objects_whole{").await, Some(41.0));
    assert!(server.stop().await.success());
    empty(&server.drive(2));

    server.start().await;
    let short = metric(&server, "tidings_objects_short{").await;
    assert!(short > Some(0.0), "{short:?} objects are short beside an empty drive");
    eventually("everything to be whole again", || async {
        let short = metric(&server, "tidings_objects_short{").await;
        let healed = metric(&server, "tidings_heal_drives_total{").await;
        (short == Some(0.0) && healed == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(metric(&server, "tidings_objects{pool=\"0\",outlives_drives=\"2\"").await, Some(41.0));
    assert!(metric(&server, "minio_heal_objects_heal_total{").await >= Some(40.0));
    assert_eq!(metric(&server, "minio_heal_objects_errors_total{").await, Some(0.0));
    let (status, said) = verify(&server, true).await;
    assert_eq!(status, Some(0), "{said}");

    assert!(server.stop().await.success());
    let (status, said) = verify(&server, false).await;
    assert_eq!(status, Some(0), "{said}");

    // More than the scrub repairs meanwhile.
    server.start().await;
    fs::remove_dir_all(server.drive(3).join("shard")).unwrap();
    let (status, said) = verify(&server, true).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("d3: album/large-7"), "{said}");
    for number in 0..20 {
        client.get(&format!("/album/large-{number}")).await.expect_success("get");
    }
}
