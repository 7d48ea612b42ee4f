//! `mc admin heal -r` by its protocol: drives lose files under a running server, and a sequence tells and repairs it.

use std::cell::RefCell;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::server::Server;

async fn post(client: &Client, target: &str, body: String) -> Value {
    let answer = client.send(Method::POST, &format!("/minio/admin/v3/heal/{target}"), &[], body).await;
    serde_json::from_str(answer.expect_success(target).text()).unwrap()
}

/// Heals what lies below a path, and tells what was found of each object: its name and the drives before and since, a
/// letter for each.
async fn heal(client: &Client, path: &str, scan: u8, is_dry_run: bool) -> Vec<(String, String, String)> {
    let settings = json!({ "recursive": true, "dryRun": is_dry_run, "scanMode": scan }).to_string();
    let begun = post(client, path, settings).await;
    let target = format!("{path}?clientToken={}", begun["clientToken"].as_str().unwrap());
    let items = RefCell::new(Vec::new());
    let status = eventually("the sequence to end", || async {
        let status = post(client, &target, String::new()).await;
        items.borrow_mut().extend(status["Items"].as_array().cloned().unwrap_or_default());
        (status["Summary"] != json!("running")).then_some(status)
    });
    assert_eq!(status.await["Summary"], json!("finished"));
    let items = items.take();
    let objects = items.iter().filter(|item| item["type"] == json!("object"));
    let name = |item: &Value| item["object"].as_str().unwrap().to_owned();
    objects.map(|item| (name(item), letters(&item["before"]), letters(&item["after"]))).collect()
}

fn letters(part: &Value) -> String {
    let drives = part["drives"].as_array().unwrap().iter();
    drives.map(|drive| drive["state"].as_str().unwrap().chars().next().unwrap()).collect()
}

/// The files of shards on a drive.
fn shards(drive: &Path) -> Vec<PathBuf> {
    let inside = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|found| found.unwrap().path());
    inside(drive.join("shard")).flat_map(inside).flat_map(inside).collect()
}

fn told(name: &str, before: &str, after: &str) -> (String, String, String) {
    (name.to_owned(), before.to_owned(), after.to_owned())
}

#[tokio::test]
async fn what_a_drive_lost_or_damaged_is_found_and_healed_below_the_path_and_nowhere_else() {
    let server = Server::over(4).with("MINIO_PROMETHEUS_AUTH_TYPE", "public").started().await;
    // The first round of the scrub would repair what is lost here; the next one is a month away.
    eventually("the first round of the scrub", async || {
        super::redundancy::metric(&server, "tidings_scrub_rounds_total").await.filter(|rounds| *rounds > 0.0)
    })
    .await;
    let client = server.client();
    client.create_bucket("album").await;
    client.put("/album/red/large", "rose".repeat(2_000_000)).await.expect_success("put");
    let first = shards(&server.drive(2));
    assert_eq!(first.len(), 1);
    client.put("/album/blue", "tulip".repeat(2_000_000)).await.expect_success("put");
    client.put("/album/red/small", "rose").await.expect_success("put");
    assert_eq!(
        heal(&client, "album", 2, false).await,
        [("blue", "oooo"), ("red/large", "oooo"), ("red/small", "oooo")]
            .map(|(name, all)| told(name, all, all))
    );

    // All shards of one drive, and a byte of another's.
    shards(&server.drive(3)).iter().for_each(|file| fs::remove_file(file).unwrap());
    let mut file = fs::File::options().write(true).open(&first[0]).unwrap();
    file.seek(SeekFrom::Start(70_000)).unwrap();
    file.write_all(b"flipped").unwrap();
    file.sync_all().unwrap();
    let dry = heal(&client, "album/red/", 2, true).await;
    assert_eq!(dry, [told("red/large", "ocmo", "ocmo"), told("red/small", "oooo", "oooo")]);
    let healed = heal(&client, "album/red/", 1, false).await;
    assert_eq!(healed, [told("red/large", "oomo", "oooo"), told("red/small", "oooo", "oooo")]);
    let healed = heal(&client, "album/red/", 2, false).await;
    assert_eq!(healed, [told("red/large", "ocoo", "oooo"), told("red/small", "oooo", "oooo")]);
    assert_eq!(shards(&server.drive(3)).len(), 1, "what lies beside the path was healed");
    assert_eq!(heal(&client, "album/blue", 1, false).await, [told("blue", "oomo", "oooo")]);
    let whole = heal(&client, "", 2, true).await;
    assert!(whole.iter().all(|(_, before, _)| before == "oooo"), "{whole:?}");
}
