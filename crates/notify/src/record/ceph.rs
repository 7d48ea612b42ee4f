//! Ceph's record, version 2.2: the key as it is, microseconds, metadata and tags as lists, `eventId` and `opaqueData`.
//! Every field is always there.
//!
//! Two things differ on purpose. The sequencer is this server's, which is comparable as text; Ceph's is not. Size and
//! entity tag of what was removed are 0 and empty: the change of a removal does not carry them. A bucket has no other
//! id than the deployment's and its name.
//!
//! Source: Ceph's manual, "Bucket Notifications", and the values its gateway sends.

use bytes::Bytes;
use serde::Serialize;
use store::{Change, ObjectSummary};
use tidings_store as store;

use super::aws::{Elements, Identity, Parameters, Records, region, short_name, to_json, version_id};
use super::minio::{self, tells_object};
use crate::notifier::ServerIdentity;

const SOURCE: &str = "ceph:s3";

/// `{"Records":[r]}`.
pub(super) fn records(change: &Change, rule: &str, opaque_data: &str, server: &ServerIdentity) -> Bytes {
    to_json(&Records { records: [record(change, rule, opaque_data, server)] })
}

/// What Ceph sends beside the body when a topic asks for CloudEvents. Its id is made unique by the sequencer: one
/// request can delete a thousand objects.
pub(super) fn attributes(change: &Change, server: &ServerIdentity) -> Vec<(&'static str, String)> {
    vec![
        ("specversion", "1.0".to_owned()),
        ("type", format!("com.amazonaws.{}", short_name(change.kind))),
        ("time", event_time(change.time_ms)),
        ("id", super::cloudevents::id(change, server)),
        ("source", format!("{SOURCE}.{}.{}", region(change, server), change.bucket)),
        ("subject", change.key.clone()),
    ]
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    event_version: &'static str,
    event_source: &'static str,
    aws_region: &'a str,
    event_time: String,
    event_name: &'static str,
    user_identity: Identity<'a>,
    request_parameters: Parameters<'a>,
    response_elements: Elements<'a>,
    s3: S3<'a>,
    event_id: String,
    opaque_data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct S3<'a> {
    #[serde(rename = "s3SchemaVersion")]
    schema_version: &'static str,
    configuration_id: &'a str,
    bucket: BucketPart<'a>,
    object: ObjectPart<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BucketPart<'a> {
    name: &'a str,
    owner_identity: Identity<'a>,
    arn: String,
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectPart<'a> {
    key: &'a str,
    size: u64,
    #[serde(rename = "eTag")]
    etag: &'a str,
    version_id: String,
    sequencer: String,
    metadata: Vec<Pair<'a>>,
    tags: Vec<Pair<'a>>,
}

#[derive(Serialize)]
struct Pair<'a> {
    key: String,
    val: &'a str,
}

fn record<'a>(
    change: &'a Change,
    rule: &'a str,
    opaque_data: &'a str,
    server: &'a ServerIdentity,
) -> Record<'a> {
    let origin = change.origin.as_ref();
    let region = region(change, server);
    let object = change.object.as_ref().filter(|_| tells_object(change.kind));
    let etag = object.map_or("", |object| &object.etag);
    Record {
        event_version: "2.2",
        event_source: SOURCE,
        aws_region: region,
        event_time: event_time(change.time_ms),
        event_name: short_name(change.kind),
        user_identity: Identity { principal_id: origin.map_or("", |origin| &origin.principal) },
        // Ceph has the field and leaves it empty.
        request_parameters: Parameters { source_address: "" },
        response_elements: Elements {
            request_id: origin.map_or("", |origin| &origin.request_id),
            node_id: &server.node_id,
        },
        s3: S3 {
            schema_version: "1.0",
            configuration_id: rule,
            bucket: BucketPart {
                name: change.bucket.as_str(),
                owner_identity: Identity { principal_id: &server.owner_id },
                arn: format!("arn:aws:s3:{region}::{}", change.bucket),
                id: format!("{}.{}", server.deployment_id, change.bucket),
            },
            object: ObjectPart {
                key: &change.key,
                size: object.map_or(0, |object| object.size_bytes),
                etag,
                version_id: version_id(change),
                sequencer: change.sequence.to_sequencer(),
                metadata: object.map(metadata).unwrap_or_default(),
                tags: object.map(tags).unwrap_or_default(),
            },
        },
        event_id: format!("{:010}.{:06}.{etag}", change.time_ms / 1000, change.time_ms % 1000 * 1000),
        opaque_data,
    }
}

fn metadata(object: &ObjectSummary) -> Vec<Pair<'_>> {
    let named = object.metadata.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let own = named.filter(|(name, _)| name.starts_with("x-amz-meta-"));
    own.map(|(key, val)| Pair { key, val }).collect()
}

fn tags(object: &ObjectSummary) -> Vec<Pair<'_>> {
    object.tags.iter().map(|(key, val)| Pair { key: key.clone(), val }).collect()
}

/// UTC with microseconds: `2026-11-21T07:46:15.358000Z`. Changes are timed in milliseconds.
fn event_time(time_ms: u64) -> String {
    let mut text = minio::event_time(time_ms);
    text.insert_str(text.len() - 1, "000");
    text
}

#[cfg(test)]
mod tests {
    use store::{Change, ChangeKind};
    use tidings_store as store;

    use super::{attributes, records};
    use crate::record::testing::{put, server, text, version};

    #[test]
    fn a_put_is_told_byte_for_byte_as_ceph_tells_it() {
        let mut change = Change { version: Some(version()), ..put() };
        change.object.as_mut().unwrap().tags = vec![("stage".to_owned(), "raw".to_owned())];
        let expected = concat!(
            r#"{"Records":[{"eventVersion":"2.2","eventSource":"ceph:s3","awsRegion":"eu-west-1","eventTime":"#,
            r#""2026-11-21T07:46:15.358000Z","eventName":"ObjectCreated:Put","userIdentity":{"principalId":"alice"},"#,
            r#""requestParameters":{"sourceIPAddress":""},"responseElements":{"x-amz-request-id":"18E9FFCB5AEB848F","#,
            r#""x-amz-id-2":"d444f13f"},"s3":{"s3SchemaVersion":"1.0","configurationId":"mynotif1","bucket":{"name":"#,
            r#""album","ownerIdentity":{"principalId":"02d6176d"},"arn":"arn:aws:s3:eu-west-1::album","id":"#,
            r#""c9886d4a.album"},"object":{"key":"dir/a b&c","size":5,"eTag":"5d41402abc4b2a76b9719d911017c592","#,
            r#""versionId":"93098c56-7e16-4fce-a071-1c6d1dd40cdc","sequencer":"18E9FFCB5B1B2AD0","metadata":"#,
            r#"[{"key":"x-amz-meta-color","val":"red"}],"tags":[{"key":"stage","val":"raw"}]}},"eventId":"#,
            r#""1795247175.358000.5d41402abc4b2a76b9719d911017c592","opaqueData":"me@example.com"}]}"#,
        );
        assert_eq!(text(records(&change, "mynotif1", "me@example.com", &server())), expected);
    }

    #[test]
    fn a_removal_has_every_field_too() {
        let told =
            text(records(&Change { kind: ChangeKind::Delete, object: None, ..put() }, "", "", &server()));
        let object = concat!(
            r#""object":{"key":"dir/a b&c","size":0,"eTag":"","versionId":"","sequencer":"18E9FFCB5B1B2AD0","#,
            r#""metadata":[],"tags":[]}},"eventId":"1795247175.358000.","opaqueData":""}]}"#
        );
        assert!(told.ends_with(object), "{told}");
        assert!(
            told.contains(r#""eventName":"ObjectRemoved:Delete""#)
                && told.contains(r#""configurationId":"""#)
        );
    }

    #[test]
    fn a_topic_that_asks_for_cloudevents_gets_cephs_headers() {
        let expected = [
            ("specversion", "1.0"),
            ("type", "com.amazonaws.ObjectCreated:Put"),
            ("time", "2026-11-21T07:46:15.358000Z"),
            ("id", "18E9FFCB5AEB848F.d444f13f.18E9FFCB5B1B2AD0"),
            ("source", "ceph:s3.eu-west-1.album"),
            ("subject", "dir/a b&c"),
        ];
        assert_eq!(attributes(&put(), &server()), expected.map(|(name, value)| (name, value.to_owned())));
    }
}
