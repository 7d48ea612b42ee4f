//! CloudEvents 1.0: AWS's record as the data of an event, in one document or with the attributes beside it.
//!
//! Attributes follow the specification's adapter for S3. Three things go beyond it: the source is `tidings:s3`, which
//! the adapter asks of everybody who is not AWS; the id has the sequencer behind it, because one request can delete a
//! thousand objects and ids must differ; and the extension `sequence` is the sequencer.
//!
//! Source: CloudEvents 1.0.2, its adapter for AWS S3, its extension Sequence.

use bytes::Bytes;
use serde::Serialize;
use store::Change;
use tidings_store as store;

use super::Rendered;
use super::aws::{self, region, short_name, to_json};
use super::minio::{encoded_key, event_time};
use crate::notifier::ServerIdentity;

/// What `eventSource` of the data says, and what `source` begins with.
const SOURCE: &str = "tidings:s3";

/// A CloudEvent in JSON, its data in it.
pub(super) fn structured(change: &Change, rule: &str, server: &ServerIdentity) -> Bytes {
    let Attributes { id, source, kind, subject, time, sequence } = Attributes::of(change, server);
    to_json(&Event {
        specversion: "1.0",
        id,
        source,
        kind,
        subject,
        time,
        datacontenttype: "application/json",
        sequence,
        data: aws::record(change, rule, SOURCE, server),
    })
}

/// The data of a CloudEvent, and its attributes by name. Its content type is the message's.
pub(super) fn binary(change: &Change, rule: &str, server: &ServerIdentity) -> Rendered {
    let Attributes { id, source, kind, subject, time, sequence } = Attributes::of(change, server);
    let attributes = vec![
        ("specversion", "1.0".to_owned()),
        ("id", id),
        ("source", source),
        ("type", kind),
        ("subject", subject),
        ("time", time),
        ("sequence", sequence),
    ];
    Rendered { body: to_json(&aws::record(change, rule, SOURCE, server)), attributes }
}

/// Tells one event from every other of its source; a record that arrives again has the same.
pub(super) fn id(change: &Change, server: &ServerIdentity) -> String {
    let request_id = change.origin.as_ref().map_or("", |origin| &origin.request_id);
    format!("{request_id}.{}.{}", server.node_id, change.sequence.to_sequencer())
}

struct Attributes {
    id: String,
    source: String,
    kind: String,
    subject: String,
    time: String,
    sequence: String,
}

impl Attributes {
    fn of(change: &Change, server: &ServerIdentity) -> Attributes {
        Attributes {
            id: id(change, server),
            source: format!("{SOURCE}.{}.{}", region(change, server), change.bucket),
            kind: format!("com.amazonaws.s3.{}", short_name(change.kind)),
            subject: encoded_key(&change.key),
            time: event_time(change.time_ms),
            sequence: change.sequence.to_sequencer(),
        }
    }
}

#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    sequence: String,
    data: aws::Record<'a>,
}

#[cfg(test)]
mod tests {
    use store::{Change, ChangeKind};
    use tidings_store as store;

    use super::{binary, structured};
    use crate::record::testing::{put, server, text};

    const DATA: &str = concat!(
        r#"{"eventVersion":"2.1","eventSource":"tidings:s3","awsRegion":"eu-west-1","eventTime":"#,
        r#""2026-11-21T07:46:15.358Z","eventName":"ObjectCreated:Put","userIdentity":{"principalId":"alice"},"#,
        r#""requestParameters":{"sourceIPAddress":"192.0.2.7"},"responseElements":{"x-amz-request-id":"#,
        r#""18E9FFCB5AEB848F","x-amz-id-2":"d444f13f"},"s3":{"s3SchemaVersion":"1.0","configurationId":"r1","#,
        r#""bucket":{"name":"album","ownerIdentity":{"principalId":"02d6176d"},"arn":"arn:aws:s3:::album"},"#,
        r#""object":{"key":"dir%2Fa+b%26c","size":5,"eTag":"5d41402abc4b2a76b9719d911017c592","#,
        r#""sequencer":"18E9FFCB5B1B2AD0"}}}"#,
    );

    #[test]
    fn a_put_is_one_document_byte_for_byte() {
        let expected = concat!(
            r#"{"specversion":"1.0","id":"18E9FFCB5AEB848F.d444f13f.18E9FFCB5B1B2AD0","source":"#,
            r#""tidings:s3.eu-west-1.album","type":"com.amazonaws.s3.ObjectCreated:Put","subject":"dir%2Fa+b%26c","#,
            r#""time":"2026-11-21T07:46:15.358Z","datacontenttype":"application/json","sequence":"#,
            r#""18E9FFCB5B1B2AD0","data":"#,
        );
        assert_eq!(text(structured(&put(), "r1", &server())), format!("{expected}{DATA}}}"));
    }

    #[test]
    fn in_binary_mode_the_attributes_stand_beside_the_data() {
        let told = binary(&put(), "r1", &server());
        let expected = [
            ("specversion", "1.0"),
            ("id", "18E9FFCB5AEB848F.d444f13f.18E9FFCB5B1B2AD0"),
            ("source", "tidings:s3.eu-west-1.album"),
            ("type", "com.amazonaws.s3.ObjectCreated:Put"),
            ("subject", "dir%2Fa+b%26c"),
            ("time", "2026-11-21T07:46:15.358Z"),
            ("sequence", "18E9FFCB5B1B2AD0"),
        ];
        assert_eq!(told.attributes, expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(text(told.body), DATA);
    }

    #[test]
    fn a_removal_and_a_read_differ_in_type_and_data() {
        let begins = |kind| {
            let told = binary(&Change { kind, ..put() }, "", &server());
            (told.attributes[3].1.clone(), text(told.body).contains(r#""size":5"#))
        };
        assert_eq!(begins(ChangeKind::Delete), ("com.amazonaws.s3.ObjectRemoved:Delete".to_owned(), false));
        assert_eq!(begins(ChangeKind::Get), ("com.amazonaws.s3.ObjectAccessed:Get".to_owned(), true));
    }
}
