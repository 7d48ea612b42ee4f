//! How a gap is told: `{"EventName":"tidings:Gap","Key":"bucket/","Records":[g]}`, g telling what is missing.
//!
//! Stores get what they get of other records: `{"Records":[g]}` or `[{"Event":[g],"EventTime":"…"}]`. Every form of
//! record but MinIO's own has gaps in the envelope above, so that no consumer takes one for a change.

use bytes::Bytes;
use serde::Serialize;
use store::{BucketName, Gap};
use tidings_store as store;

use super::Form;
use super::json::to_json;
use super::minio::event_time;
use crate::event::Event;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    event_name: &'static str,
    key: String,
    records: [Missing; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Records {
    records: [Missing; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Logged {
    event: [Missing; 1],
    event_time: String,
}

/// What is missing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Missing {
    event_name: &'static str,
    bucket: String,
    first: String,
    last: String,
    count: u64,
    first_time: String,
    last_time: String,
}

/// Renders a gap of a bucket. The answer is one JSON document without a line end.
pub fn render(form: &Form, bucket: &BucketName, gap: &Gap) -> Bytes {
    let event_name = Event::GAP.as_str();
    let missing = Missing {
        event_name,
        bucket: bucket.to_string(),
        first: gap.first.to_sequencer(),
        last: gap.last.to_sequencer(),
        count: gap.changes,
        first_time: event_time(gap.first_ms),
        last_time: event_time(gap.last_ms),
    };
    let json = match form {
        Form::MinioRecords => to_json(&Records { records: [missing] }),
        Form::MinioLog => to_json(&[Logged { event: [missing], event_time: event_time(gap.last_ms) }]),
        Form::MinioBare => to_json(&missing),
        _ => to_json(&Envelope { event_name, key: format!("{bucket}/"), records: [missing] }),
    };
    json.into()
}

#[cfg(test)]
mod tests {
    use store::{BucketName, Gap, Sequence};
    use tidings_store as store;

    use super::{Form, render};

    #[test]
    fn a_gap_is_told_in_the_documented_form() {
        let gap = Gap {
            first: Sequence(0x18E9),
            last: Sequence(0x18EA),
            changes: 2,
            first_ms: 1_795_247_175_358,
            last_ms: 1_795_247_175_359,
        };
        let missing = concat!(
            r#"{"eventName":"tidings:Gap","bucket":"album","first":"00000000000018E9","last":"00000000000018EA","#,
            r#""count":2,"firstTime":"2026-11-21T07:46:15.358Z","lastTime":"2026-11-21T07:46:15.359Z"}"#
        );
        let album = BucketName::new("album").unwrap();
        let told = |form| String::from_utf8(render(&form, &album, &gap).to_vec()).unwrap();
        let envelope = r#"{"EventName":"tidings:Gap","Key":"album/","Records":["#;
        assert_eq!(told(Form::MinioEnvelope), format!("{envelope}{missing}]}}"));
        assert_eq!(told(Form::Aws), told(Form::MinioEnvelope));
        assert_eq!(told(Form::MinioRecords), format!(r#"{{"Records":[{missing}]}}"#));
        let time = "2026-11-21T07:46:15.359Z";
        assert_eq!(told(Form::MinioLog), format!(r#"[{{"Event":[{missing}],"EventTime":"{time}"}}]"#));
        assert_eq!(told(Form::MinioBare), missing);
    }
}
