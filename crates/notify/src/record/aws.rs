//! AWS's record, as Amazon S3 documents it: names without `s3:`, the rule's id, the bucket's owner, and nothing that
//! other stores added.
//!
//! Versions are AWS's: 2.3 for tagging and lifecycle, 2.1 for all else. What AWS has no event for (reads, retention, a
//! delete that found nothing) is told under MinIO's name without `s3:`.
//!
//! Source: Amazon S3 user guide, "Event message structure" and "Supported event types".

use bytes::Bytes;
use serde::Serialize;
use store::{Change, ChangeKind, VersionId};
use tidings_store as store;

use super::minio::{encoded_key, event_time, tells_object};
use crate::event::Event;
use crate::notifier::ServerIdentity;

/// What `eventSource` says in this form.
const SOURCE: &str = "aws:s3";

/// `{"Records":[r]}`.
pub(super) fn records(change: &Change, rule: &str, server: &ServerIdentity) -> Bytes {
    to_json(&Records { records: [record(change, rule, SOURCE, server)] })
}

/// Any value as JSON.
pub(super) fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("a record is made of strings and numbers").into()
}

#[derive(Serialize)]
pub(super) struct Records<R> {
    #[serde(rename = "Records")]
    pub(super) records: [R; 1],
}

/// AWS's record; CloudEvents carry it as data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record<'a> {
    event_version: &'static str,
    event_source: &'a str,
    aws_region: &'a str,
    event_time: String,
    event_name: &'static str,
    user_identity: Identity<'a>,
    request_parameters: Parameters<'a>,
    response_elements: Elements<'a>,
    s3: S3<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity<'a> {
    pub(super) principal_id: &'a str,
}

#[derive(Serialize)]
pub(super) struct Parameters<'a> {
    #[serde(rename = "sourceIPAddress")]
    pub(super) source_address: &'a str,
}

#[derive(Serialize)]
pub(super) struct Elements<'a> {
    #[serde(rename = "x-amz-request-id")]
    pub(super) request_id: &'a str,
    #[serde(rename = "x-amz-id-2")]
    pub(super) node_id: &'a str,
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
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectPart<'a> {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(rename = "eTag", skip_serializing_if = "Option::is_none")]
    etag: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    version_id: String,
    sequencer: String,
}

pub(super) fn record<'a>(
    change: &'a Change,
    rule: &'a str,
    source: &'a str,
    server: &'a ServerIdentity,
) -> Record<'a> {
    let origin = change.origin.as_ref();
    let (event_version, event_name) = event(change);
    let object = change.object.as_ref().filter(|_| tells_object(change.kind));
    Record {
        event_version,
        event_source: source,
        aws_region: region(change, server),
        event_time: event_time(change.time_ms),
        event_name,
        user_identity: Identity { principal_id: origin.map_or("", |origin| &origin.principal) },
        request_parameters: Parameters { source_address: origin.map_or("", |origin| &origin.source_host) },
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
                arn: format!("arn:aws:s3:::{}", change.bucket),
            },
            object: ObjectPart {
                key: encoded_key(&change.key),
                size: object.map(|object| object.size_bytes),
                etag: object.map(|object| object.etag.as_str()),
                version_id: version_id(change),
                sequencer: change.sequence.to_sequencer(),
            },
        },
    }
}

/// The region the request came to, else the server's: what it did itself happened there too.
pub(super) fn region<'a>(change: &'a Change, server: &'a ServerIdentity) -> &'a str {
    change.origin.as_ref().map_or(&server.region, |origin| &origin.region)
}

/// The version's id; empty where the bucket has no versions.
pub(super) fn version_id(change: &Change) -> String {
    match change.version {
        Some(version @ VersionId::Id(_)) => version.to_string(),
        Some(VersionId::Null) | None => String::new(),
    }
}

/// Version and name of the event. What lifecycle removed has a family of its own at AWS.
fn event(change: &Change) -> (&'static str, &'static str) {
    match (change.kind, change.origin.is_none()) {
        (ChangeKind::PutTagging, _) => ("2.3", "ObjectTagging:Put"),
        (ChangeKind::DeleteTagging, _) => ("2.3", "ObjectTagging:Delete"),
        (ChangeKind::Delete, true) | (ChangeKind::DeleteAllVersions | ChangeKind::DelMarkerExpiration, _) => {
            ("2.3", "LifecycleExpiration:Delete")
        }
        (ChangeKind::DeleteMarkerCreated, true) => ("2.3", "LifecycleExpiration:DeleteMarkerCreated"),
        (kind, _) => ("2.1", short_name(kind)),
    }
}

/// The event's name without `s3:`.
pub(super) fn short_name(kind: ChangeKind) -> &'static str {
    let name = Event::of(kind).as_str();
    name.strip_prefix("s3:").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use store::{Change, ChangeKind};
    use tidings_store as store;

    use super::records;
    use crate::record::testing::{put, server, text, version};

    fn told(change: &Change) -> String {
        text(records(change, "testConfigRule", &server()))
    }

    /// From the name on, which is where records of a kind differ.
    fn name_on(change: &Change) -> String {
        let told = told(change);
        told[told.find(r#""eventName""#).unwrap()..told.find(r#""userIdentity""#).unwrap()].to_owned()
            + &told[told.find(r#""object""#).unwrap()..]
    }

    #[test]
    fn a_put_is_told_byte_for_byte_as_aws_documents_it() {
        let expected = concat!(
            r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"eu-west-1","eventTime":"#,
            r#""2026-11-21T07:46:15.358Z","eventName":"ObjectCreated:Put","userIdentity":{"principalId":"alice"},"#,
            r#""requestParameters":{"sourceIPAddress":"192.0.2.7"},"responseElements":{"x-amz-request-id":"#,
            r#""18E9FFCB5AEB848F","x-amz-id-2":"d444f13f"},"s3":{"s3SchemaVersion":"1.0","configurationId":"#,
            r#""testConfigRule","bucket":{"name":"album","ownerIdentity":{"principalId":"02d6176d"},"arn":"#,
            r#""arn:aws:s3:::album"},"object":{"key":"dir%2Fa+b%26c","size":5,"eTag":"#,
            r#""5d41402abc4b2a76b9719d911017c592","sequencer":"18E9FFCB5B1B2AD0"}}}]}"#,
        );
        assert_eq!(told(&put()), expected);
    }

    #[test]
    fn an_empty_object_has_its_size_and_a_version_its_id() {
        let mut change = Change { version: Some(version()), ..put() };
        change.object.as_mut().unwrap().size_bytes = 0;
        assert_eq!(
            name_on(&change),
            concat!(
                r#""eventName":"ObjectCreated:Put","object":{"key":"dir%2Fa+b%26c","size":0,"eTag":"#,
                r#""5d41402abc4b2a76b9719d911017c592","versionId":"93098c56-7e16-4fce-a071-1c6d1dd40cdc","#,
                r#""sequencer":"18E9FFCB5B1B2AD0"}}}]}"#
            )
        );
    }

    #[test]
    fn a_removal_tells_the_key_and_what_lifecycle_removed_has_a_family_of_its_own() {
        let rest = r#""object":{"key":"dir%2Fa+b%26c","sequencer":"18E9FFCB5B1B2AD0"}}}]}"#;
        let delete = Change { kind: ChangeKind::Delete, ..put() };
        assert_eq!(name_on(&delete), format!(r#""eventName":"ObjectRemoved:Delete",{rest}"#));
        let expiry = Change { origin: None, ..delete };
        assert_eq!(name_on(&expiry), format!(r#""eventName":"LifecycleExpiration:Delete",{rest}"#));
        assert!(
            told(&expiry).contains(r#"{"eventVersion":"2.3","eventSource":"aws:s3","awsRegion":"eu-west-1""#)
        );
        let marker = Change { kind: ChangeKind::DeleteMarkerCreated, ..put() };
        assert_eq!(name_on(&marker), format!(r#""eventName":"ObjectRemoved:DeleteMarkerCreated",{rest}"#));
    }

    #[test]
    fn names_are_aws_s_where_it_has_the_event_and_minios_where_it_has_not() {
        let name = |kind| {
            let told = told(&Change { kind, ..put() });
            let name = told.split(r#""eventName":""#).nth(1).unwrap().split('"').next().unwrap();
            name.to_owned()
        };
        assert_eq!(name(ChangeKind::PutTagging), "ObjectTagging:Put");
        assert_eq!(name(ChangeKind::DeleteTagging), "ObjectTagging:Delete");
        assert_eq!(name(ChangeKind::CompleteMultipartUpload), "ObjectCreated:CompleteMultipartUpload");
        assert_eq!(name(ChangeKind::Get), "ObjectAccessed:Get");
        assert_eq!(name(ChangeKind::NoOp), "ObjectRemoved:NoOP");
    }
}
