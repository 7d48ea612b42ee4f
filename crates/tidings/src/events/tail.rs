//! `tidings events tail`: each event as it happens, a line each.
//!
//! Every line of the server's stream tells where to go on behind it. When the connection is lost the next one begins
//! there: nothing is missed and nothing is told twice, for as long as the server keeps its changes.

use std::io::Write;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tidings_notify::Event;
use tidings_s3::percent::encode_component;
use tidings_store::{Clock as _, SystemClock};

use super::place::Place;
use crate::cli::Tail;
use crate::client::{AskError, Client};

/// How often the server shows that it lives, in seconds: an idle stream and a dead one are told apart.
const PING_S: u32 = 10;

/// Waits between attempts to connect again: from the first, doubling, to the last.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(10);

/// What `mc` calls some events.
const SHORT: [(&str, &str); 3] =
    [("put", "s3:ObjectCreated:*"), ("delete", "s3:ObjectRemoved:*"), ("get", "s3:ObjectAccessed:*")];

/// Follows events until the output is closed or the server refuses.
pub(super) async fn follow(client: &Client, tail: &Tail, json: bool) -> Result<(), String> {
    let events = events(&tail.events)?;
    let mut from = match &tail.from {
        Some(text) => Place::parse(text, SystemClock.now_ms())?.position(),
        None => "now".to_owned(),
    };
    let path = tail
        .bucket
        .as_ref()
        .map_or("/".to_owned(), |bucket| format!("/{}", encode_component(bucket.as_bytes())));
    let mut output = std::io::stdout();
    let mut again_after = None;
    loop {
        let query = query(tail, &events, &from);
        let ended = match client.lines(Method::GET, &path, &query).await {
            Ok(mut lines) => loop {
                let line = match lines.next().await {
                    Ok(Some(line)) => line,
                    Ok(None) => break AskError::Away("the server closed the stream".to_owned()),
                    Err(reason) => break AskError::Away(reason),
                };
                again_after = Some(AGAIN_AFTER);
                let told: Value = serde_json::from_str(&line)
                    .map_err(|error| format!("a line is not understood here: {error}"))?;
                let resume = told["Resume"].as_str();
                from = resume
                    .ok_or("this server does not tell where to go on: it is not a tidings server")?
                    .to_owned();
                if !tell(&mut output, &line, &told, json) {
                    return Ok(());
                }
            },
            Err(error) => error,
        };
        // What never worked is not tried again: the endpoint may be mistyped.
        let Some(wait) = again_after.filter(|_| ended.may_pass()) else {
            return Err(ended.to_string());
        };
        eprintln!("{ended}; it is asked again in {wait:?}.");
        tokio::time::sleep(wait).await;
        again_after = Some((wait * 2).min(AGAIN_AFTER_MAX));
    }
}

/// The events to ask for, in full, sorted and each once.
fn events(asked: &[String]) -> Result<Vec<&'static str>, String> {
    let default = ["put".to_owned(), "delete".to_owned()];
    let asked = if asked.is_empty() { &default[..] } else { asked };
    let mut events = Vec::new();
    for name in asked.iter().flat_map(|names| names.split(',')) {
        let full = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full);
        let event = Event::parse(full).ok_or_else(|| {
            format!("'{name}' is no event: put, delete, get, or a full name like s3:ObjectCreated:Put")
        })?;
        events.push(event.as_str());
    }
    events.sort_unstable();
    events.dedup();
    Ok(events)
}

/// What is asked of the stream.
fn query(tail: &Tail, events: &[&str], from: &str) -> String {
    let mut fields: Vec<(&str, &str)> = events.iter().map(|event| ("events", *event)).collect();
    fields.push(("from", from));
    let ping = PING_S.to_string();
    fields.push(("ping", &ping));
    fields.extend(tail.prefix.as_deref().map(|prefix| ("prefix", prefix)));
    fields.extend(tail.suffix.as_deref().map(|suffix| ("suffix", suffix)));
    super::query(&fields)
}

/// Prints an event; `false` when nobody reads the output any more.
fn tell(output: &mut impl Write, line: &str, told: &Value, json: bool) -> bool {
    let records = told["Records"].as_array();
    if records.is_none_or(Vec::is_empty) {
        return true;
    }
    let said = match json {
        true => writeln!(output, "{line}"),
        false => {
            records.into_iter().flatten().try_for_each(|record| writeln!(output, "{}", sentence(record)))
        }
    };
    said.and_then(|()| output.flush()).is_ok()
}

/// A record for people: when, where in the log, what, of which object, how large.
fn sentence(record: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &record["s3"]["object"];
    let version =
        object["versionId"].as_str().map(|version| format!(" version {version}")).unwrap_or_default();
    let size = object["size"].as_u64().map(|size| format!(" {size} B")).unwrap_or_default();
    // A key may hold what a terminal obeys.
    let key: String = text(&object["key"]).chars().flat_map(shown).collect();
    format!(
        "{}  {}  {}  {}/{key}{version}{size}",
        text(&record["eventTime"]),
        text(&object["sequencer"]),
        text(&record["eventName"]),
        text(&record["s3"]["bucket"]["name"]),
    )
}

fn shown(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_asked_for_in_full_sorted_and_each_once() {
        let asked = |names: &[&str]| events(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(asked(&[]).unwrap(), ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]);
        assert_eq!(asked(&["get,put", "put"]).unwrap(), ["s3:ObjectAccessed:*", "s3:ObjectCreated:*"]);
        assert!(asked(&["create"]).unwrap_err().contains("'create' is no event"));
    }

    #[test]
    fn the_query_is_sorted_and_encoded() {
        let tail =
            Tail { prefix: Some("a b/".to_owned()), suffix: Some(".jpg".to_owned()), ..Tail::default() };
        assert_eq!(
            query(&tail, &["s3:ObjectCreated:*", "s3:ObjectRemoved:*"], "now"),
            "events=s3%3AObjectCreated%3A%2A&events=s3%3AObjectRemoved%3A%2A&from=now&ping=10&prefix=a%20b%2F&suffix=.jpg"
        );
    }

    #[test]
    fn a_record_is_told_in_one_line_that_no_key_can_break() {
        let record = json!({
            "eventTime": "2026-11-21T07:46:15.358Z",
            "eventName": "s3:ObjectCreated:Put",
            "s3": {
                "bucket": { "name": "album" },
                "object": { "key": "rose\u{1b}[2J\n.jpg", "size": 5, "sequencer": "18E9FFCB5B1B2AD0" },
            },
        });
        let mut printed = Vec::new();
        assert!(tell(&mut printed, "{}", &json!({ "Records": [record] }), false));
        assert!(tell(&mut printed, "{}", &json!({ "Records": null, "Resume": "1" }), false));
        assert_eq!(
            String::from_utf8(printed).unwrap(),
            "2026-11-21T07:46:15.358Z  18E9FFCB5B1B2AD0  s3:ObjectCreated:Put  album/rose\\u{1b}[2J\\n.jpg 5 B\n"
        );
    }
}
