//! `tidings events`, against a running server.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::eventually;
use crate::support::server::{Server, binary, run_to_end};

/// The command line of `tidings events …`, as root of a server.
fn events(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["events", "--endpoint", &server.endpoint()]).args(arguments);
    command.env("TIDINGS_ACCESS_KEY", "minioadmin").env("TIDINGS_SECRET_KEY", "minioadmin");
    command
}

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
