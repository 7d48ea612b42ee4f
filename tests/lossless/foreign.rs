//! A server that is known by its endpoint alone: how it is looked at beforehand, and how a command restarts it.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;

use crate::options::Foreign;
use crate::sink::Sink;
use crate::support::asked_for;
use crate::support::client::{Answer, Client};
use crate::support::parts::unique;
use crate::support::xml;

/// How long a command that restarts a server may take.
const RESTARTS_WITHIN: Duration = Duration::from_secs(120);

/// How long a server may take until it answers again.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

/// How long the first record of a server may take.
const TELLS_WITHIN: Duration = Duration::from_secs(30);

/// What is asked for in every row.
pub(crate) const EVENTS: [&str; 2] = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"];

impl Foreign {
    pub(crate) fn client(&self) -> Client {
        Client::with_keys(&self.endpoint, &self.access_key, &self.secret_key)
    }

    /// Shows with one object that the server can be judged, so that what is not set up is not taken for a loss.
    ///
    /// # Errors
    ///
    /// A sentence: what does not work, and what the server said.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let client = self.client();
        self.expected(&client, Method::GET, "/", "", "list the buckets").await?;
        let sink = Sink::start(&self.sink).await?;
        let bucket = unique("lossless-check");
        self.expected(&client, Method::PUT, &format!("/{bucket}"), "", "create a bucket").await?;
        let outcome = self.told_of(&client, &bucket, &sink).await;
        client.delete(&format!("/{bucket}/one")).await;
        client.delete(&format!("/{bucket}")).await;
        outcome
    }

    async fn told_of(&self, client: &Client, bucket: &str, sink: &Sink) -> Result<(), String> {
        let Foreign { endpoint, arn, .. } = self;
        let answer = client.announce(bucket, &EVENTS, &[], arn).await;
        if !answer.status.is_success() {
            return Err(format!("{endpoint} takes no rule with the target {arn}: {}", said(&answer)));
        }
        self.expected(client, Method::PUT, &format!("/{bucket}/one"), "one", "put an object").await?;
        let looking = asked_for(TELLS_WITHIN, || async {
            let told = sink.told();
            if told.iter().any(|told| told.key == format!("{bucket}/one")) {
                return Ok(Ok(()));
            }
            let strange = told.into_iter().find(|told| told.key.is_empty()).ok_or(())?;
            Ok(Err(format!("what {endpoint} tells is not in MinIO's form: {}", strange.event)))
        });
        looking.await.unwrap_or_else(|()| {
            let (seconds, url) = (TELLS_WITHIN.as_secs(), sink.url());
            Err(format!(
                "{endpoint} told nothing of a put in {seconds} s; does the target {arn} name {url} as its endpoint?"
            ))
        })
    }

    /// Runs the command with `SIGNAL` in its environment.
    ///
    /// # Panics
    ///
    /// The row ends with a sentence when the command fails or does not return.
    pub(crate) async fn restart(&self, signal: &str) {
        let command = self.restart_command.as_ref().expect("rows that restart it have a command");
        let directory = tempfile::TempDir::new().unwrap();
        let output = directory.path().join("output");
        let file = File::create(&output).unwrap();
        let mut child = Command::new("sh");
        child.args(["-c", command]).env("SIGNAL", signal).stdin(Stdio::null());
        // The server that it starts outlives the checker, and holds none of its pipes; nor does it get its Ctrl-C.
        child.stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let mut child = child.spawn().unwrap();
        let ended = asked_for(RESTARTS_WITHIN, || std::future::ready(child.try_wait().unwrap().ok_or(())));
        let status = ended.await.unwrap_or_else(|()| {
            let seconds = RESTARTS_WITHIN.as_secs();
            panic!("the restart command has not ended after {seconds} s; it is to leave the server in the background")
        });
        let output = std::fs::read(&output).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        assert!(status.success(), "the restart command ended with {status}: {}", output.trim());
    }

    /// Waits until it answers.
    ///
    /// # Panics
    ///
    /// The row ends with a sentence when it does not.
    pub(crate) async fn answers(&self) {
        let client = self.client();
        let ask = || self.expected(&client, Method::GET, "/", "", "list the buckets");
        let seconds = ANSWERS_WITHIN.as_secs();
        let answered = asked_for(ANSWERS_WITHIN, ask).await;
        answered.unwrap_or_else(|sentence| panic!("{seconds} s after it was restarted: {sentence}"));
    }

    /// Sends a request that is to succeed.
    async fn expected(
        &self,
        client: &Client,
        method: Method,
        target: &str,
        body: &'static str,
        what: &str,
    ) -> Result<(), String> {
        let endpoint = &self.endpoint;
        match client.try_send(method, target, &[], body).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(format!("{endpoint} does not let the checker {what}: {}", said(&answer))),
            Err(error) if error.is_connect() => Err(format!("nobody answers at {endpoint}")),
            Err(error) => Err(format!("{endpoint} does not let the checker {what}: {error}")),
        }
    }
}

/// An answer that is no success, in a line.
fn said(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let message = if text.contains("<Message>") { xml::text(&text, "Message") } else { text.into_owned() };
    format!("{} {message}", answer.status.as_u16())
}
