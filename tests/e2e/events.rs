//! `tidings events`, against a running server.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::eventually;
use crate::support::server::{Server, events, run_to_end};
use crate::support::sink::Sink;

/// A command that goes on, and the lines it printed so far.
struct Following {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Following {
    fn start(mut command: Command) -> Following {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Following { child, lines }
    }

    /// Waits until as many lines were printed, and gives them all.
    async fn printed(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} lines"), || async {
            let lines = self.lines.lock().unwrap().clone();
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last word of each line.
fn objects(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.split_whitespace().nth(3)).collect()
}

#[tokio::test]
async fn tail_tells_what_happened_a_while_ago_and_goes_on_after_the_server_was_killed() {
    let mut server = Server::over(4).started().await;
    let client = server.client();
    client.create_bucket("album").await;
    client.put("/album/before", "x").await.expect_success("put");
    client.put("/album/other", "x").await.expect_success("put");

    let arguments = ["tail", "--bucket", "album", "--from", "1h", "--prefix", "b"];
    let following = Following::start(events(&server, &arguments));
    following.printed(1).await;
    server.kill();
    server.start().await;
    client.put("/album/between", "x").await.expect_success("put");
    client.delete("/album/before").await.expect_success("delete");

    let lines = following.printed(3).await;
    assert_eq!(objects(&lines), ["album/before", "album/between", "album/before"], "{lines:?}");
    assert!(lines[2].contains("s3:ObjectRemoved:Delete"), "{lines:?}");
}

#[tokio::test]
async fn what_cannot_be_followed_is_said_and_not_tried_for_ever() {
    let mut server = Server::over(1).started().await;
    for (arguments, reason) in [
        (vec!["tail", "--bucket", "no-such-bucket"], "404 NoSuchBucket"),
        (vec!["tail", "--event", "created"], "'created' is no event"),
        (vec!["tail", "--from", "yesterday"], "a while ago like 10m"),
        (vec!["tail", "--secret-key", "something-else"], "403 SignatureDoesNotMatch"),
    ] {
        let (status, said) = run_to_end(events(&server, &arguments)).await;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    server.stop().await;
    let (status, said) = run_to_end(events(&server, &["tail"])).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("cannot be asked"), "{said}");
}

/// A server whose bucket `album` tells the sink, under the target `1:webhook`.
async fn telling(sink: &Sink) -> Server {
    let server = Server::over(4)
        .with("MINIO_NOTIFY_WEBHOOK_ENABLE_1", "on")
        .with("MINIO_NOTIFY_WEBHOOK_ENDPOINT_1", &sink.url())
        .started()
        .await;
    let client = server.client();
    client.create_bucket("album").await;
    let announced = client.announce("album", &["s3:ObjectCreated:*"], &[], "arn:minio:sqs::1:webhook").await;
    announced.expect_success("announce");
    server
}

/// Runs a command that succeeds; what it printed.
async fn said(server: &Server, arguments: &[&str]) -> String {
    let (status, said) = run_to_end(events(server, arguments)).await;
    assert!(status.success(), "{arguments:?}: {said}");
    said
}

/// The document of the only target.
async fn lag(server: &Server) -> serde_json::Value {
    serde_json::from_str(&said(server, &["lag", "--json"]).await).unwrap()
}

#[tokio::test]
async fn a_paused_target_waits_over_a_restart_is_resumed_and_is_sent_the_past_again() {
    let sink = Sink::start().await;
    let mut server = telling(&sink).await;
    let client = server.client();
    let target = ["--target", "arn:minio:sqs::1:webhook"];
    said(&server, &[&["pause"], &target[..]].concat()).await;
    for key in ["a", "b", "a"] {
        client.put(&format!("/album/{key}"), "x").await.expect_success("put");
    }
    server.kill();
    server.start().await;
    eventually("three changes to wait", || async { (lag(&server).await["waiting"] == 3).then_some(()) })
        .await;
    let table = said(&server, &["lag"]).await;
    assert!(table.contains("1:webhook  paused  3"), "{table}");
    assert_eq!(sink.deliveries().len(), 0);

    said(&server, &[&["resume"], &target[..]].concat()).await;
    let told = sink.received(3).await;
    let second = told.iter().map(|delivery| delivery.sequencer()).collect::<Vec<_>>();
    let replay = said(&server, &["replay", "--target", "1:webhook", "--from", "1h"]).await;
    assert!(replay.contains("is sent again what named it from"), "{replay}");
    let told = sink.received(6).await;
    let mut again = told[3..].iter().map(|delivery| delivery.sequencer()).collect::<Vec<_>>();
    again.sort();
    let mut first = second;
    first.sort();
    assert_eq!(again, first);
    let (status, refused) = run_to_end(events(&server, &["pause", "--target", "2:webhook"])).await;
    assert_eq!(status.code(), Some(1));
    assert!(refused.contains("There is no target 2:webhook"), "{refused}");
}

#[tokio::test]
async fn a_replay_by_the_rules_of_now_tells_what_happened_before_there_was_one() {
    let sink = Sink::start().await;
    let server = telling(&sink).await;
    let client = server.client();
    client.create_bucket("older").await;
    client.put("/older/a", "x").await.expect_success("put");
    client.put("/album/b", "x").await.expect_success("put");
    sink.received(1).await;
    let announced = client.announce("older", &["s3:ObjectCreated:*"], &[], "arn:minio:sqs::1:webhook").await;
    announced.expect_success("announce");

    let replay = ["replay", "--target", "1:webhook", "--from", "1h", "--rules"];
    said(&server, &[&replay[..], &["now"]].concat()).await;
    let told = sink.received(3).await;
    let mut keys: Vec<String> = told[1..].iter().map(|delivery| delivery.text("/Key")).collect();
    keys.sort();
    assert_eq!(keys, ["album/b", "older/a"]);
    let (status, refused) = run_to_end(events(&server, &[&replay[..], &["tomorrow"]].concat())).await;
    assert!(!status.success() && refused.contains("then, now"), "{refused}");
}

#[tokio::test]
async fn a_record_that_a_webhook_refuses_becomes_a_dead_letter_that_is_shown_sent_again_and_gone() {
    let sink = Sink::start().await;
    sink.refuse(Some("album/poison"));
    let server = telling(&sink).await;
    let client = server.client();
    for key in ["poison", "sound", "poison"] {
        client.put(&format!("/album/{key}"), "x").await.expect_success("put");
    }
    eventually("a dead letter", || async { (lag(&server).await["dead_letters"] == 1).then_some(()) }).await;

    let of = ["--target", "1:webhook"];
    let list = said(&server, &[&["dead", "list", "--json"], &of[..]].concat()).await;
    let letter: serde_json::Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
    let sequencer = letter["sequencer"].as_str().unwrap();
    assert!(letter["reason"].as_str().unwrap().contains("422"), "{list}");
    let shown = said(&server, &[&["dead", "show", sequencer, "--json"], &of[..]].concat()).await;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["record"]["s3"]["object"]["sequencer"], sequencer);

    let resend = [&["dead", "resend", "--all"], &of[..]].concat();
    let (status, kept) = run_to_end(events(&server, &resend)).await;
    assert_eq!(status.code(), Some(1), "{kept}");
    assert!(kept.contains("is kept: ") && kept.contains("422"), "{kept}");
    sink.refuse(None);
    said(&server, &resend).await;
    eventually("both records of the key", || async {
        let keys: Vec<String> = sink.deliveries().iter().map(|delivery| delivery.text("/Key")).collect();
        (keys.iter().filter(|key| *key == "album/poison").count() == 2).then_some(())
    })
    .await;
    let (status, gone) = run_to_end(events(&server, &[&["dead", "drop", sequencer], &of[..]].concat())).await;
    assert_eq!(status.code(), Some(1), "{gone}");
    assert!(gone.contains(&format!("has no dead letter {sequencer}")), "{gone}");
}

#[tokio::test]
async fn a_bucket_cannot_be_rebuilt_in_a_target_without_entries_or_without_a_rule_and_nothing_is_held_up() {
    let sink = Sink::start().await;
    let server = telling(&sink).await;
    let client = server.client();
    client.create_bucket("untold").await;
    for (bucket, reason) in [
        (
            "album",
            "1:webhook has only a part of album: 1:webhook cannot be used: it keeps no entries per object",
        ),
        ("untold", "No rule of the bucket untold tells 1:webhook of anything"),
        ("no-such-bucket", "404 NoSuchBucket"),
    ] {
        let arguments = ["resync", "--target", "1:webhook", "--bucket", bucket];
        let (status, said) = run_to_end(events(&server, &arguments)).await;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    client.put("/album/a", "x").await.expect_success("put");
    sink.received(1).await;
}
