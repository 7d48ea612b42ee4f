//! `mc admin heal -r ALIAS/BUCKET[/PREFIX]`: begins a heal sequence, tells what it came upon since it was last asked,
//! or stops it.
//!
//! | call | answers |
//! |---|---|
//! | `POST /heal/[BUCKET[/PREFIX]]`, settings as its body | the token of a sequence |
//! | `POST …?forceStart=true` | the same, in place of one that runs |
//! | `POST …?clientToken=` | how it stands, and its items, each once |
//! | `POST …?forceStop=true` | the token of what was stopped |
//!
//! A sequence looks at the objects below its path one after the other ([`walk`]): whether every drive holds its part,
//! and with `scanMode` 2 every byte of it. What is not whole is repaired and looked at again, unless it is a dry run.
//! `remove`, `recreate` and `updateParity` change nothing: no object is half there, none is in an older form, and what
//! is lost is for its owner to delete.
//!
//! What is not here: uploads, settings and what belongs to targets. The scrub looks after those as after everything.

mod item;
mod known;
mod sequence;
mod walk;

use std::sync::Arc;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use s3::{ErrorCode, Refusal, percent};
use store::BucketName;
use tidings_s3 as s3;
use tidings_store as store;

use super::{AdminRequest, Answer, Call};
use crate::Gateway;
pub(super) use known::Sequences;
use sequence::{Found, Sequence};
use walk::Walk;

pub(super) const CALL: Call =
    Call { method: Method::POST, path: "/heal/", run: |gateway, request| Box::pin(heal(gateway, request)) };

/// What a client asks of a sequence, told back as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Settings {
    recursive: bool,
    dry_run: bool,
    remove: bool,
    recreate: bool,
    scan_mode: u8,
    update_parity: bool,
    #[serde(rename = "nolock")]
    no_lock: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<usize>,
}

impl Settings {
    /// Every byte is read back.
    const DEEP: u8 = 2;

    fn parse(body: &[u8]) -> Result<Settings, Refusal> {
        let settings: Settings = serde_json::from_slice(body)
            .map_err(|error| Refusal::with(ErrorCode::XMinioMalformedJSON, error.to_string()))?;
        match settings.scan_mode {
            0..=Settings::DEEP => Ok(settings),
            other => Err(argument(format!("scanMode is 1 or 2, not {other}"))),
        }
    }
}

/// The path of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    /// `None` for all buckets.
    bucket: Option<BucketName>,
    /// What the keys begin with.
    prefix: String,
}

impl Scope {
    /// Of a call's path, behind `/heal/`.
    fn parse(path: &str) -> Result<Scope, Refusal> {
        let path = percent::decode(path)?;
        let path = std::str::from_utf8(&path).map_err(|_| ErrorCode::InvalidURI)?;
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let bucket = match bucket {
            "" => None,
            name => Some(BucketName::new(name).ok_or(ErrorCode::InvalidBucketName)?),
        };
        Ok(Scope { bucket, prefix: prefix.to_owned() })
    }

    /// Whether an object may lie below both.
    fn overlaps(&self, other: &Scope) -> bool {
        let is_same_bucket = match (&self.bucket, &other.bucket) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        is_same_bucket && (self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix))
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.bucket {
            Some(bucket) => write!(f, "{bucket}/{}", self.prefix),
            None => f.write_str("all buckets"),
        }
    }
}

async fn heal(gateway: &Gateway, request: &AdminRequest) -> Result<Answer, Refusal> {
    let scope = Scope::parse(request.path.trim_start_matches(CALL.path))?;
    let (known, now_ms) = (&gateway.admin.heals, gateway.setup.store.clock().now_ms());
    let (is_start_forced, is_stop) =
        (request.query("forceStart") == "true", request.query("forceStop") == "true");
    // Who began one by force asks with the same flag how it stands.
    if !request.query("clientToken").is_empty() {
        let sequence = known.of(&scope, request.query("clientToken"), now_ms)?;
        return Ok(Answer::Json(status(&sequence, &sequence.take(), gateway)));
    }
    if is_start_forced && is_stop {
        return Err(argument("forceStart and forceStop exclude one another".to_owned()));
    }
    if is_stop {
        // Without one that runs nothing is left to be done.
        let stopped = known.stop(&scope, now_ms);
        return Ok(Answer::Json(stopped.map_or_else(|| started("unknown", "", now_ms), |one| begun(&one))));
    }
    let settings = Settings::parse(&request.body)?;
    if let Some(bucket) = &scope.bucket {
        gateway.setup.store.bucket(bucket).map_err(|_| ErrorCode::NoSuchBucket)?;
    }
    let sequence = Sequence::new(scope, settings, request.source_host.clone(), now_ms);
    let sequence = known.start(sequence, is_start_forced, now_ms)?;
    let walk = Walk::new(gateway, Arc::clone(&sequence));
    tokio::task::spawn_blocking(move || walk.run());
    Ok(Answer::Json(begun(&sequence)))
}

fn argument(reason: String) -> Refusal {
    Refusal::with(ErrorCode::XMinioAdminInvalidArgument, reason)
}

fn begun(sequence: &Sequence) -> Value {
    started(&sequence.token, &sequence.client, sequence.started_ms)
}

fn started(token: &str, client: &str, at_ms: u64) -> Value {
    json!({ "clientToken": token, "clientAddress": client, "startTime": time(at_ms) })
}

fn status(sequence: &Sequence, found: &Found, gateway: &Gateway) -> Value {
    let (summary, detail) = match &found.end {
        None => ("running", None),
        Some(None) => ("finished", None),
        Some(Some(reason)) => ("stopped", Some(reason)),
    };
    let mut document = json!({
        "Summary": summary,
        "StartTime": time(sequence.started_ms),
        "Settings": sequence.settings,
    });
    if let Some(reason) = detail {
        document["Detail"] = json!(reason);
    }
    if !found.items.is_empty() {
        let sets = (gateway.setup.reports)();
        let items = found.items.iter().map(|(number, item)| item.document(*number, &sets[item.pool]));
        document["Items"] = items.collect();
    }
    document
}

fn time(at_ms: u64) -> String {
    s3::time::iso8601_ms(i64::try_from(at_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Scope, Settings};
    use tidings_s3::ErrorCode;

    #[test]
    fn settings_are_told_back_as_they_were_sent() {
        let sent = concat!(
            r#"{"recursive":true,"dryRun":false,"remove":false,"recreate":false,"scanMode":1,"#,
            r#""updateParity":false,"nolock":false}"#
        );
        let settings = Settings::parse(sent.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&settings).unwrap(), sent);
        let one_pool = Settings::parse(br#"{"pool":1,"set":0}"#).unwrap();
        assert_eq!((one_pool.pool, one_pool.set, one_pool.recursive), (Some(1), Some(0), false));
        let code = |body: &[u8]| Settings::parse(body).unwrap_err().code;
        assert_eq!(code(b""), ErrorCode::XMinioMalformedJSON);
        assert_eq!(code(br#"{"scanMode":3}"#), ErrorCode::XMinioAdminInvalidArgument);
    }

    #[test]
    fn paths_overlap_where_an_object_may_lie_below_both() {
        let scope = |path| Scope::parse(path).unwrap();
        assert_eq!(scope("album/r%20d/rose").to_string(), "album/r d/rose");
        assert_eq!((scope("album"), scope("").bucket), (scope("album/"), None));
        for (one, other, overlap) in [
            ("", "album/red", true),
            ("album", "album/red", true),
            ("album/re", "album/red", true),
            ("album/red", "album/blue", false),
            ("album", "album10", false),
        ] {
            assert_eq!(scope(one).overlaps(&scope(other)), overlap, "{one} and {other}");
            assert_eq!(scope(other).overlaps(&scope(one)), overlap, "{other} and {one}");
        }
        assert_eq!(Scope::parse("a%00b").unwrap_err().code, ErrorCode::InvalidBucketName);
        assert_eq!(Scope::parse("album/%ff").unwrap_err().code, ErrorCode::InvalidURI);
    }
}
