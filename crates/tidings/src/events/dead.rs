//! `tidings events dead`: the records that a target refuses for what they hold.

use http::Method;
use serde_json::Value;
use tidings_s3::time::iso8601_ms;

use super::{ask, say};
use crate::cli::{DeadCommand, Letters};
use crate::client::Client;

/// Dead letters asked for at once: as many as the server tells.
const PAGE: usize = 1000;

pub(super) async fn run(client: &Client, command: &DeadCommand, json: bool) -> Result<(), String> {
    match command {
        DeadCommand::List(of) => {
            for letter in list(client, &of.target).await? {
                if json {
                    say(&letter);
                } else {
                    say(format_args!("{}", sentence(&letter)));
                }
            }
            Ok(())
        }
        DeadCommand::Show(letters) => {
            each(client, letters, async |target, sequencer| {
                let fields = [("target", target), ("sequencer", sequencer)];
                let letter = ask(client, Method::GET, "dead/letter", &fields).await?;
                if json {
                    say(&letter);
                } else {
                    say(format_args!("{}\n{:#}", sentence(&letter), letter["record"]));
                }
                Ok(())
            })
            .await
        }
        DeadCommand::Resend(letters) => {
            each(client, letters, async |target, sequencer| {
                let fields = [("target", target), ("sequencer", sequencer)];
                let said = ask(client, Method::POST, "dead/resend", &fields).await?;
                match said["acknowledged"].as_bool() {
                    Some(true) => {
                        say(format_args!("{sequencer} was taken."));
                        Ok(())
                    }
                    _ => Err(format!("{sequencer} is kept: {}", said["reason"].as_str().unwrap_or_default())),
                }
            })
            .await
        }
        DeadCommand::Drop(letters) => {
            each(client, letters, async |target, sequencer| {
                ask(client, Method::POST, "dead/drop", &[("target", target), ("sequencer", sequencer)])
                    .await?;
                say(format_args!("{sequencer} is gone."));
                Ok(())
            })
            .await
        }
    }
}

/// Does something with each of the letters, also after one that fails; those are told at the end.
async fn each(
    client: &Client,
    letters: &Letters,
    act: impl AsyncFn(&str, &str) -> Result<(), String>,
) -> Result<(), String> {
    let mut sequencers = letters.sequencers.clone();
    if letters.all {
        let all = list(client, &letters.of.target).await?;
        sequencers.extend(all.iter().filter_map(|letter| letter["sequencer"].as_str().map(str::to_owned)));
    }
    let mut failed = Vec::new();
    for sequencer in &sequencers {
        if let Err(reason) = act(&letters.of.target, sequencer).await {
            failed.push(reason);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// All dead letters of a target.
async fn list(client: &Client, target: &str) -> Result<Vec<Value>, String> {
    let mut letters: Vec<Value> = Vec::new();
    loop {
        let after = letters.last().and_then(|letter| letter["sequencer"].as_str()).unwrap_or("0").to_owned();
        let said = ask(client, Method::GET, "dead", &[("target", target), ("after", &after)]).await?;
        let page = said["letters"].as_array().ok_or("the answer names no letters")?;
        letters.extend(page.iter().cloned());
        if page.len() < PAGE {
            return Ok(letters);
        }
    }
}

/// A dead letter for people: which, since when, what, why.
fn sentence(letter: &Value) -> String {
    let text = |name: &str| letter[name].as_str().unwrap_or_default();
    let died = i64::try_from(letter["died_ms"].as_u64().unwrap_or(0)).unwrap_or(i64::MAX);
    format!(
        "{}  {}  {}  {}/{}  refused {} times: {}",
        text("sequencer"),
        iso8601_ms(died),
        text("event"),
        text("bucket"),
        text("key").escape_debug(),
        letter["tries"],
        text("reason").escape_debug(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sentence;

    #[test]
    fn a_dead_letter_is_told_in_one_line() {
        let letter = json!({ "sequencer": "18E9FFCB5B1B2AD0", "died_ms": 1, "event": "s3:ObjectCreated:Put",
            "bucket": "album", "key": "a\nb", "tries": 10, "reason": "it answered 422" });
        assert_eq!(
            sentence(&letter),
            "18E9FFCB5B1B2AD0  1970-01-01T00:00:00.001Z  s3:ObjectCreated:Put  album/a\\nb  refused 10 times: it answered 422"
        );
    }
}
