//! `tidings events resync`: a target rebuilds what it keeps of a bucket.

use std::io::IsTerminal as _;

use http::Method;
use serde_json::Value;

use super::{BASE, query, say};
use crate::client::Client;

/// Runs it to its end; how far it is stands on standard error if that is a terminal.
///
/// # Errors
///
/// What the server says, an answer without an end, records that the target refused.
pub(super) async fn run(client: &Client, target: &str, bucket: &str, json: bool) -> Result<(), String> {
    let has_meter = !json && std::io::stderr().is_terminal();
    let query = query(&[("target", target), ("bucket", bucket)]);
    let mut lines = client.lines(Method::POST, &format!("{BASE}/resync"), &query).await?;
    while let Some(line) = lines.next().await? {
        if has_meter {
            eprint!("\r\x1b[K");
        }
        let line: Value = serde_json::from_str(&line).map_err(|error| {
            format!("the server answers with a line that is no JSON ({error}): is it another version?")
        })?;
        if let Some(reason) = line["failed"].as_str() {
            return Err(format!("{target} has only a part of {bucket}: {reason}"));
        }
        if let Some(sum) = line.get("sum") {
            say(if json { sum.to_string() } else { sentence(target, bucket, sum) });
            return match sum["refused"].as_u64() {
                Some(0) => Ok(()),
                _ => Err(format!("{target} refused {} records, the server's log tells why", sum["refused"])),
            };
        }
        if has_meter {
            eprint!("{} objects told", line["progress"]["told"]);
        }
    }
    Err(format!("the server's answer ended before its end: whether {target} has all of {bucket} is unknown"))
}

fn sentence(target: &str, bucket: &str, sum: &Value) -> String {
    let mut sentence = format!("{target} was told of {} objects of {bucket}.", sum["told"]);
    if sum["passed"] != 0 {
        sentence += &format!(" Of {} others no rule tells it.", sum["passed"]);
    }
    sentence
}
