//! Start, refusal to start, restart, stop.

use std::process::Command;

use reqwest::Method;

use crate::support::eventually;
use crate::support::server::{Server, binary, free_port, run_to_end};

#[tokio::test]
async fn a_server_that_is_told_to_stop_leaves_with_0_and_has_everything_when_it_starts_again() {
    let mut server = Server::over(4).started().await;
    let client = server.client();
    client.create_bucket("album").await;
    let large = vec![7u8; 3 << 20];
    client.put("/album/small", "ab").await.expect_success("put");
    client.put("/album/large", large.clone()).await.expect_success("put");

    let left = server.stop().await;
    assert_eq!(left.code(), Some(0));

    server.start().await;
    assert_eq!(client.get("/album/small").await.body, "ab");
    assert_eq!(client.get("/album/large").await.body, large);
}

#[tokio::test]
async fn a_restart_by_the_admin_api_answers_first_and_keeps_the_process_id() {
    let server = Server::over(4).started().await;
    let client = server.client();
    client.create_bucket("album").await;
    let pid = server.pid();

    let restart = "/minio/admin/v3/service?action=restart&dry-run=false&type=2";
    let answer = client.send(Method::POST, restart, &[], "").await.expect_success("restart");

    assert!(answer.text().contains("\"action\":\"restart\""), "{}", answer.text());
    let starts = |log: String| log.matches("API: ").count();
    eventually("the second start", || async {
        (starts(std::fs::read_to_string(server.log()).unwrap()) >= 2).then_some(())
    })
    .await;
    eventually("the bucket to be there after the restart", || async {
        client.try_send(Method::HEAD, "/album", &[], "").await.ok().filter(|answer| answer.status == 200)
    })
    .await;
    assert_eq!(server.pid(), pid);
    assert!(std::fs::exists(format!("/proc/{pid}")).unwrap());
}

#[tokio::test]
async fn a_drive_with_somebody_elses_files_is_refused_before_anything_is_written() {
    for (name, hint) in [(".minio.sys", "mc mirror"), ("holiday.jpg", "holiday.jpg")] {
        let server = Server::over(4);
        std::fs::create_dir_all(server.drive(2).join(name)).unwrap();

        let (status, said) = run_to_end(server.command()).await;

        assert_eq!(status.code(), Some(1), "{said}");
        let log = std::fs::read_to_string(server.log()).unwrap_or_default() + &said;
        assert!(log.contains(hint) && log.contains("d2"), "the refusal of {name} does not name it: {log}");
        let written: Vec<_> = [1, 3, 4]
            .into_iter()
            .filter(|&number| {
                std::fs::read_dir(server.drive(number)).is_ok_and(|mut entries| entries.next().is_some())
            })
            .collect();
        assert_eq!(written, Vec::<usize>::new(), "drives written to before {name} was refused");
        let kept: Vec<_> =
            std::fs::read_dir(server.drive(2)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(kept, [name]);
    }
}

#[tokio::test]
async fn lost_and_found_on_a_drive_is_no_reason_to_refuse_it() {
    let server = Server::over(4);
    std::fs::create_dir_all(server.drive(1).join("lost+found")).unwrap();

    server.started().await.client().create_bucket("album").await;
}

#[tokio::test]
async fn without_drives_and_without_a_disks_folder_help_is_shown_and_the_status_is_1() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["server"][..]] {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().env("HOME", home.path()).current_dir(home.path());

        let (status, said) = run_to_end(command).await;

        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("Usage"), "{said}");
    }
}

#[tokio::test]
async fn the_folder_disks_holds_the_drives_when_none_are_named() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("disks")).unwrap();
    let port = free_port();
    let mut command = Command::new(binary());
    command.args(["--address", &format!("127.0.0.1:{port}")]).env_clear().env("HOME", home.path());
    command.current_dir(home.path()).stderr(std::process::Stdio::null());

    let mut child = command.spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}/minio/health/live");
    eventually("the server to answer", || async { reqwest::get(&url).await.ok() }).await;
    let mut drives: Vec<_> = std::fs::read_dir(home.path().join("disks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    drives.sort();
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!(drives, ["d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8"]);
}

#[tokio::test]
async fn keys_that_are_too_short_stop_the_start_with_a_hint_that_names_both_variables() {
    let server = Server::over(4).with("MINIO_ROOT_USER", "ab").with("MINIO_ROOT_PASSWORD", "short");

    let (status, said) = run_to_end(server.command()).await;

    let log = std::fs::read_to_string(server.log()).unwrap_or_default() + &said;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("MINIO_ROOT_USER") && log.contains("MINIO_ROOT_PASSWORD"), "{log}");
}

#[tokio::test]
async fn a_tidings_variable_wins_over_its_minio_twin() {
    let server = Server::over(4)
        .with("MINIO_ROOT_USER", "somebody-else")
        .with("MINIO_ROOT_PASSWORD", "something-else")
        .with("TIDINGS_ROOT_USER", "minioadmin")
        .with("TIDINGS_ROOT_PASSWORD", "minioadmin")
        .started()
        .await;

    server.client().create_bucket("album").await;
}
