//! MinIO's record, version 2.0, byte for byte: the order of its fields, what is left out, how it is escaped.
//!
//! `docs/events.md` tells every field with its source. One thing differs from MinIO's on purpose: the
//! sequencer is the change's place in the order of all changes rather than the object's time, so every event
//! of a version has its own, and it always has 16 digits.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use store::{Change, ChangeKind, Origin};
use tidings_store as store;
use time::OffsetDateTime;

use super::json::to_json;
use crate::event::Event;
use crate::notifier::ServerIdentity;

/// What targets get: `{"EventName":…,"Key":"bucket/key","Records":[r]}`.
pub fn envelope(change: &Change, server: &ServerIdentity) -> Bytes {
    let key = path(change);
    let envelope = Envelope {
        event_name: Event::of(change.kind).as_str(),
        key: &key,
        records: [record(change, server, encoded_key(&change.key))],
    };
    to_json(&envelope).into()
}

/// `{"Records":[r]}`, without name and key beside it.
pub fn records(change: &Change, server: &ServerIdentity) -> Bytes {
    to_json(&Records { records: [record(change, server, encoded_key(&change.key))], resume: None }).into()
}

/// `[{"Event":[r],"EventTime":"…"}]`, an array of one.
pub fn log(change: &Change, server: &ServerIdentity) -> Bytes {
    let event = [record(change, server, encoded_key(&change.key))];
    to_json(&[Logged { event, event_time: event_time(change.time_ms) }]).into()
}

/// The record by itself.
pub fn bare(change: &Change, server: &ServerIdentity) -> Bytes {
    to_json(&record(change, server, encoded_key(&change.key))).into()
}

/// What listeners get: `{"Records":[r]}` with the key as it is, and a line end; with a `Resume` beside the records for
/// those who asked to begin at a position.
pub fn listen_line(change: &Change, server: &ServerIdentity, resume: Option<String>) -> Bytes {
    let mut line = to_json(&Records { records: [record(change, server, change.key.clone())], resume });
    line.push(b'\n');
    line.into()
}

/// `bucket/key`, not encoded: the envelope's `Key`, and the message key of targets that have one.
pub fn path(change: &Change) -> String {
    format!("{}/{}", change.bucket, change.key)
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "EventName")]
    event_name: &'static str,
    #[serde(rename = "Key")]
    key: &'a str,
    #[serde(rename = "Records")]
    records: [Record<'a>; 1],
}

#[derive(Serialize)]
struct Records<'a> {
    #[serde(rename = "Records")]
    records: [Record<'a>; 1],
    #[serde(rename = "Resume", skip_serializing_if = "Option::is_none")]
    resume: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Logged<'a> {
    event: [Record<'a>; 1],
    event_time: String,
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
    /// `null` for what the server did itself.
    request_parameters: Option<StringMap<'a>>,
    response_elements: StringMap<'a>,
    s3: S3<'a>,
    source: Source<'a>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    principal_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct S3<'a> {
    #[serde(rename = "s3SchemaVersion")]
    schema_version: &'static str,
    configuration_id: &'static str,
    bucket: BucketPart<'a>,
    object: ObjectPart<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BucketPart<'a> {
    name: &'a str,
    /// The caller again, as MinIO says it, not the bucket's owner.
    owner_identity: Identity<'a>,
    arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectPart<'a> {
    key: String,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(rename = "eTag", skip_serializing_if = "str::is_empty")]
    etag: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    content_type: &'a str,
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    user_metadata: StringMap<'a>,
    #[serde(skip_serializing_if = "String::is_empty")]
    version_id: String,
    sequencer: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    host: &'a str,
    port: &'static str,
    user_agent: &'a str,
}

/// A map of strings in the order it was built.
#[derive(Default)]
struct StringMap<'a>(Vec<(&'a str, std::borrow::Cow<'a, str>)>);

impl StringMap<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for StringMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn record<'a>(change: &'a Change, server: &'a ServerIdentity, key: String) -> Record<'a> {
    let origin = change.origin.as_ref();
    let caller = Identity { principal_id: origin.map_or("", |origin| &origin.principal) };
    Record {
        event_version: "2.0",
        event_source: "minio:s3",
        aws_region: origin.map_or("", |origin| &origin.region),
        event_time: event_time(change.time_ms),
        event_name: Event::of(change.kind).as_str(),
        user_identity: caller,
        request_parameters: origin.map(request_parameters),
        response_elements: response_elements(origin, server),
        s3: S3 {
            schema_version: "1.0",
            configuration_id: "Config",
            bucket: BucketPart {
                name: change.bucket.as_str(),
                owner_identity: caller,
                arn: format!("arn:aws:s3:::{}", change.bucket),
            },
            object: object_part(change, key),
        },
        source: Source {
            host: origin.map_or_else(|| host_and_port(&server.endpoint), |origin| &origin.source_host),
            port: "",
            user_agent: origin.map_or_else(|| internal_agent(change.kind), |origin| &origin.user_agent),
        },
    }
}

fn request_parameters(origin: &Origin) -> StringMap<'_> {
    let mut parameters = vec![("principalId", origin.principal.as_str().into())];
    if let Some(range) = &origin.range {
        parameters.push(("range", range.into()));
    }
    parameters.push(("region", origin.region.as_str().into()));
    parameters.push(("sourceIPAddress", origin.source_host.as_str().into()));
    StringMap(parameters)
}

/// The ids are empty where no request was answered.
fn response_elements<'a>(origin: Option<&'a Origin>, server: &'a ServerIdentity) -> StringMap<'a> {
    let mut elements = Vec::with_capacity(5);
    if let Some(length) = origin.and_then(|origin| origin.response_length) {
        elements.push(("content-length", length.to_string().into()));
    }
    let (node_id, request_id, endpoint) = match origin {
        Some(origin) => (server.node_id.as_str(), origin.request_id.as_str(), origin.endpoint.as_str()),
        None => ("", "", server.endpoint.as_str()),
    };
    elements.push(("x-amz-id-2", node_id.into()));
    elements.push(("x-amz-request-id", request_id.into()));
    elements.push(("x-minio-deployment-id", server.deployment_id.as_str().into()));
    elements.push(("x-minio-origin-endpoint", endpoint.into()));
    StringMap(elements)
}

fn object_part(change: &Change, key: String) -> ObjectPart<'_> {
    let told = change.object.as_ref().filter(|_| tells_object(change.kind));
    ObjectPart {
        key,
        size: told.map_or(0, |object| object.size_bytes),
        etag: told.map_or("", |object| &object.etag),
        content_type: told.map_or("", |object| &object.content_type),
        user_metadata: told.map_or_else(StringMap::default, |object| {
            StringMap(
                object.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str().into())).collect(),
            )
        }),
        version_id: change.version.map_or_else(String::new, |version| version.to_string()),
        sequencer: change.sequence.to_sequencer(),
    }
}

/// Whether records of this kind tell size, ETag, content type and metadata.
pub(super) fn tells_object(kind: ChangeKind) -> bool {
    !matches!(kind, ChangeKind::Delete | ChangeKind::DeleteMarkerCreated | ChangeKind::NoOp)
}

/// The user agent of what the server did itself; today only lifecycle does anything.
fn internal_agent(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Delete
        | ChangeKind::DeleteMarkerCreated
        | ChangeKind::DeleteAllVersions
        | ChangeKind::DelMarkerExpiration => "Internal: [ILM-Expiry]",
        _ => "Internal",
    }
}

/// `127.0.0.1:9000` of `http://127.0.0.1:9000`.
fn host_and_port(endpoint: &str) -> &str {
    endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest)
}

/// As an HTML form encodes: a space is `+`, all but letters, digits and `-_.~` is percent-encoded.
pub(super) fn encoded_key(key: &str) -> String {
    const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encode(key.as_bytes(), FORM).map(|piece| if piece == "%20" { "+" } else { piece }).collect()
}

/// UTC with milliseconds: `2026-11-21T07:46:15.358Z`.
pub(super) fn event_time(time_ms: u64) -> String {
    let nanos = i128::from(time_ms) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let ((year, month, day), (hour, minute, second, millis)) = (time.to_calendar_date(), time.to_hms_milli());
    let short = |number: u8| u32::from(number);
    let mut text = String::with_capacity(24);
    // Digit by digit: a record has one or two of these, and to format them by width was a tenth of rendering it.
    for (number, digits, end) in [
        (year.unsigned_abs(), 4, '-'),
        (short(month.into()), 2, '-'),
        (short(day), 2, 'T'),
        (short(hour), 2, ':'),
        (short(minute), 2, ':'),
        (short(second), 2, '.'),
        (u32::from(millis), 3, 'Z'),
    ] {
        text.extend(
            (0..digits).rev().filter_map(|place| char::from_digit(number / 10_u32.pow(place) % 10, 10)),
        );
        text.push(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use store::{BucketName, Change, ChangeKind, ObjectSummary, Origin, Sequence, VersionId};
    use tidings_store as store;

    use super::{bare, envelope, listen_line, log, records};
    use crate::notifier::ServerIdentity;

    fn server() -> ServerIdentity {
        ServerIdentity {
            deployment_id: "c9886d4a-1826-4d65-8c3e-707713a57098".to_owned(),
            node_id: "d444f13f2afa6f010ddf0fd86ddb73f14248127eccf414cd71c198fb9d273c24".to_owned(),
            endpoint: "http://127.0.0.1:23110".to_owned(),
            ..ServerIdentity::default()
        }
    }

    fn origin() -> Origin {
        Origin {
            principal: "minioadmin".to_owned(),
            source_host: "127.0.0.1".to_owned(),
            user_agent: "lab/1.0".to_owned(),
            request_id: "18E9FFCB5AEB848F".to_owned(),
            endpoint: "http://127.0.0.1:23110".to_owned(),
            ..Origin::default()
        }
    }

    fn put() -> Change {
        let metadata = [
            ("X-Amz-Meta-Color", "red"),
            ("X-Amz-Meta-N", "1"),
            ("cache-control", "no-cache"),
            ("content-disposition", "inline"),
            ("content-encoding", "gzip"),
            ("content-type", "text/plain"),
        ];
        Change {
            sequence: Sequence::from_sequencer("18E9FFCB5B1B2AD0").unwrap(),
            time_ms: 1_795_247_175_358,
            kind: ChangeKind::Put,
            bucket: BucketName::new("ev-plain").unwrap(),
            key: "dir/a b+c&d=ü中~'(!)*;.txt".to_owned(),
            version: None,
            object: Some(ObjectSummary {
                size_bytes: 5,
                etag: "5d41402abc4b2a76b9719d911017c592".to_owned(),
                content_type: "text/plain".to_owned(),
                metadata: metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
                tags: vec![],
            }),
            origin: Some(origin()),
            targets: vec!["P:webhook".to_owned()],
            rules: vec![],
        }
    }

    fn text(bytes: bytes::Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_put_is_told_byte_for_byte_as_minio_tells_it() {
        let expected = concat!(
            r#"{"EventName":"s3:ObjectCreated:Put","Key":"ev-plain/dir/a b+c\u0026d=ü中~'(!)*;.txt","Records":[{"#,
            r#""eventVersion":"2.0","eventSource":"minio:s3","awsRegion":"","eventTime":"2026-11-21T07:46:15.358Z","#,
            r#""eventName":"s3:ObjectCreated:Put","userIdentity":{"principalId":"minioadmin"},"requestParameters":"#,
            r#"{"principalId":"minioadmin","region":"","sourceIPAddress":"127.0.0.1"},"responseElements":{"x-amz-id-2":"#,
            r#""d444f13f2afa6f010ddf0fd86ddb73f14248127eccf414cd71c198fb9d273c24","x-amz-request-id":"18E9FFCB5AEB848F","#,
            r#""x-minio-deployment-id":"c9886d4a-1826-4d65-8c3e-707713a57098","x-minio-origin-endpoint":"#,
            r#""http://127.0.0.1:23110"},"s3":{"s3SchemaVersion":"1.0","configurationId":"Config","bucket":{"name":"#,
            r#""ev-plain","ownerIdentity":{"principalId":"minioadmin"},"arn":"arn:aws:s3:::ev-plain"},"object":{"key":"#,
            r#""dir%2Fa+b%2Bc%26d%3D%C3%BC%E4%B8%AD~%27%28%21%29%2A%3B.txt","size":5,"eTag":"#,
            r#""5d41402abc4b2a76b9719d911017c592","contentType":"text/plain","userMetadata":{"X-Amz-Meta-Color":"red","#,
            r#""X-Amz-Meta-N":"1","cache-control":"no-cache","content-disposition":"inline","content-encoding":"gzip","#,
            r#""content-type":"text/plain"},"sequencer":"18E9FFCB5B1B2AD0"}},"source":{"host":"127.0.0.1","port":"","#,
            r#""userAgent":"lab/1.0"}}]}"#,
        );
        assert_eq!(text(envelope(&put(), &server())), expected);
    }

    #[test]
    fn an_expiry_by_the_server_is_told_byte_for_byte_as_minio_tells_it() {
        let change = Change {
            sequence: Sequence::from_sequencer("18E9FFF810E8C993").unwrap(),
            time_ms: 1_795_247_368_372,
            kind: ChangeKind::Delete,
            bucket: BucketName::new("ev-ilm").unwrap(),
            key: "old/1".to_owned(),
            origin: None,
            ..put()
        };
        let expected = concat!(
            r#"{"EventName":"s3:ObjectRemoved:Delete","Key":"ev-ilm/old/1","Records":[{"eventVersion":"2.0","#,
            r#""eventSource":"minio:s3","awsRegion":"","eventTime":"2026-11-21T07:49:28.372Z","eventName":"#,
            r#""s3:ObjectRemoved:Delete","userIdentity":{"principalId":""},"requestParameters":null,"responseElements":"#,
            r#"{"x-amz-id-2":"","x-amz-request-id":"","x-minio-deployment-id":"c9886d4a-1826-4d65-8c3e-707713a57098","#,
            r#""x-minio-origin-endpoint":"http://127.0.0.1:23110"},"s3":{"s3SchemaVersion":"1.0","configurationId":"#,
            r#""Config","bucket":{"name":"ev-ilm","ownerIdentity":{"principalId":""},"arn":"arn:aws:s3:::ev-ilm"},"#,
            r#""object":{"key":"old%2F1","sequencer":"18E9FFF810E8C993"}},"source":{"host":"127.0.0.1:23110","port":"","#,
            r#""userAgent":"Internal: [ILM-Expiry]"}}]}"#,
        );
        assert_eq!(text(envelope(&change, &server())), expected);
    }

    #[test]
    fn a_created_bucket_is_told_to_listeners_byte_for_byte_as_minio_tells_it() {
        let origin = Origin {
            response_length: Some(0),
            user_agent: String::new(),
            request_id: "18EA00103A923A76".to_owned(),
            ..origin()
        };
        let change = Change {
            sequence: Sequence::from_sequencer("18EA00103B590C03").unwrap(),
            time_ms: 1_795_247_471_175,
            kind: ChangeKind::BucketCreated,
            bucket: BucketName::new("lzz").unwrap(),
            key: String::new(),
            object: None,
            origin: Some(origin),
            ..put()
        };
        let expected = concat!(
            r#"{"Records":[{"eventVersion":"2.0","eventSource":"minio:s3","awsRegion":"","eventTime":"#,
            r#""2026-11-21T07:51:11.175Z","eventName":"s3:BucketCreated:*","userIdentity":{"principalId":"minioadmin"},"#,
            r#""requestParameters":{"principalId":"minioadmin","region":"","sourceIPAddress":"127.0.0.1"},"#,
            r#""responseElements":{"content-length":"0","x-amz-id-2":"#,
            r#""d444f13f2afa6f010ddf0fd86ddb73f14248127eccf414cd71c198fb9d273c24","x-amz-request-id":"18EA00103A923A76","#,
            r#""x-minio-deployment-id":"c9886d4a-1826-4d65-8c3e-707713a57098","x-minio-origin-endpoint":"#,
            r#""http://127.0.0.1:23110"},"s3":{"s3SchemaVersion":"1.0","configurationId":"Config","bucket":{"name":"lzz","#,
            r#""ownerIdentity":{"principalId":"minioadmin"},"arn":"arn:aws:s3:::lzz"},"object":{"key":"","sequencer":"#,
            r#""18EA00103B590C03"}},"source":{"host":"127.0.0.1","port":"","userAgent":""}}]}"#,
            "\n",
        );
        assert_eq!(text(listen_line(&change, &server(), None)), expected);
    }

    #[test]
    fn a_listener_gets_the_key_as_it_is_and_a_table_gets_it_encoded() {
        assert!(
            text(listen_line(&put(), &server(), None))
                .contains(r#""object":{"key":"dir/a b+c\u0026d=ü中~'(!)*;.txt""#)
        );
        assert!(text(records(&put(), &server())).contains(r#""object":{"key":"dir%2Fa+b%2Bc"#));
        assert!(text(bare(&put(), &server())).starts_with(r#"{"eventVersion":"2.0""#));
    }

    #[test]
    fn a_list_gets_the_record_with_its_time_beside_it() {
        let told = text(log(&put(), &server()));
        let expected = format!(
            r#"[{{"Event":[{}],"EventTime":"2026-11-21T07:46:15.358Z"}}]"#,
            text(bare(&put(), &server()))
        );
        assert_eq!(told, expected);
    }

    #[test]
    fn a_ranged_read_tells_the_range_and_the_length_of_the_answer() {
        let origin = Origin {
            range: Some("bytes=1-2".to_owned()),
            response_length: Some(2),
            region: "eu".to_owned(),
            ..origin()
        };
        let told = text(bare(&Change { kind: ChangeKind::Get, origin: Some(origin), ..put() }, &server()));
        assert!(told.contains(
            r#""requestParameters":{"principalId":"minioadmin","range":"bytes=1-2","region":"eu","sourceIPAddress":"127.0.0.1"}"#
        ));
        assert!(told.contains(r#""responseElements":{"content-length":"2","x-amz-id-2""#));
        assert!(told.contains(r#""awsRegion":"eu""#));
    }

    #[test]
    fn an_empty_object_has_no_size_and_a_folder_names_the_null_version() {
        let mut change = Change { key: "folder/".to_owned(), version: Some(VersionId::Null), ..put() };
        change.object = Some(ObjectSummary {
            etag: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            ..ObjectSummary::default()
        });
        let told = text(bare(&change, &server()));
        assert!(told.contains(
            r#""object":{"key":"folder%2F","eTag":"d41d8cd98f00b204e9800998ecf8427e","versionId":"null","sequencer":"18E9FFCB5B1B2AD0"}"#
        ));
    }
}
