//! MinIO's record, version 2.0, byte for byte: the order of its fields, what is left out, how it is escaped.
//!
//! `docs/events.md` tells every field with its source. One thing differs from MinIO's on purpose: the
//! sequencer is the change's place in the order of all changes rather than the object's time, so every event
//! of a version has its own, and it always has 16 digits.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use store::{Change, ChangeKind, Origin};
use tidings_store as store;
use time::OffsetDateTime;

use super::json::{Object, object};
use crate::event::Event;
use crate::notifier::ServerIdentity;

/// What targets get: `{"EventName":…,"Key":"bucket/key","Records":[r]}`.
pub fn envelope(change: &Change, server: &ServerIdentity) -> Bytes {
    let key = encoded_key(&change.key);
    let envelope = object(|envelope| {
        envelope.text("EventName", Event::of(change.kind).as_str());
        envelope.text("Key", &path(change));
        envelope.array_of("Records", |record| write(record, change, server, &key));
    });
    envelope.into()
}

/// `{"Records":[r]}`, without name and key beside it.
pub fn records(change: &Change, server: &ServerIdentity) -> Bytes {
    let key = encoded_key(&change.key);
    object(|records| records.array_of("Records", |record| write(record, change, server, &key))).into()
}

/// `[{"Event":[r],"EventTime":"…"}]`, an array of one.
pub fn log(change: &Change, server: &ServerIdentity) -> Bytes {
    let key = encoded_key(&change.key);
    let logged = object(|logged| {
        logged.array_of("Event", |record| write(record, change, server, &key));
        logged.text("EventTime", &event_time(change.time_ms));
    });
    [&b"["[..], &logged, b"]"].concat().into()
}

/// The record by itself.
pub fn bare(change: &Change, server: &ServerIdentity) -> Bytes {
    let key = encoded_key(&change.key);
    object(|record| write(record, change, server, &key)).into()
}

/// What listeners get: `{"Records":[r]}` with the key as it is, and a line end; with a `Resume` beside the records for
/// those who asked to begin at a position.
pub fn listen_line(change: &Change, server: &ServerIdentity, resume: Option<String>) -> Bytes {
    let mut line = object(|line| {
        line.array_of("Records", |record| write(record, change, server, &change.key));
        if let Some(resume) = resume {
            line.text("Resume", &resume);
        }
    });
    line.push(b'\n');
    line.into()
}

/// `bucket/key`, not encoded: the envelope's `Key`, and the message key of targets that have one.
pub fn path(change: &Change) -> String {
    [change.bucket.as_str(), "/", &change.key].concat()
}

/// The record, whose object's key is told so.
fn write(record: &mut Object<'_>, change: &Change, server: &ServerIdentity, key: &str) {
    let origin = change.origin.as_ref();
    let caller = origin.map_or("", |origin| &origin.principal);
    record.text("eventVersion", "2.0");
    record.text("eventSource", "minio:s3");
    record.text("awsRegion", origin.map_or("", |origin| &origin.region));
    record.text("eventTime", &event_time(change.time_ms));
    record.text("eventName", Event::of(change.kind).as_str());
    record.object("userIdentity", |identity| identity.text("principalId", caller));
    match origin {
        Some(origin) => record.object("requestParameters", |part| write_request(part, origin)),
        // What the server did itself.
        None => record.null("requestParameters"),
    }
    record.object("responseElements", |part| write_response(part, origin, server));
    record.object("s3", |s3| {
        s3.text("s3SchemaVersion", "1.0");
        s3.text("configurationId", "Config");
        s3.object("bucket", |bucket| {
            bucket.text("name", change.bucket.as_str());
            // The caller again, as MinIO says it, not the bucket's owner.
            bucket.object("ownerIdentity", |identity| identity.text("principalId", caller));
            bucket.text("arn", &["arn:aws:s3:::", change.bucket.as_str()].concat());
        });
        s3.object("object", |part| write_object(part, change, key));
    });
    record.object("source", |source| {
        let internal = || internal_agent(change.kind);
        source.text(
            "host",
            origin.map_or_else(|| host_and_port(&server.endpoint), |origin| &origin.source_host),
        );
        source.text("port", "");
        source.text("userAgent", origin.map_or_else(internal, |origin| &origin.user_agent));
    });
}

fn write_request(part: &mut Object<'_>, origin: &Origin) {
    part.text("principalId", &origin.principal);
    if let Some(range) = &origin.range {
        part.text("range", range);
    }
    part.text("region", &origin.region);
    part.text("sourceIPAddress", &origin.source_host);
}

/// The ids are empty where no request was answered.
fn write_response(part: &mut Object<'_>, origin: Option<&Origin>, server: &ServerIdentity) {
    if let Some(length) = origin.and_then(|origin| origin.response_length) {
        part.text("content-length", &length.to_string());
    }
    let (node_id, request_id, endpoint) = match origin {
        Some(origin) => (server.node_id.as_str(), origin.request_id.as_str(), origin.endpoint.as_str()),
        None => ("", "", server.endpoint.as_str()),
    };
    part.text("x-amz-id-2", node_id);
    part.text("x-amz-request-id", request_id);
    part.text("x-minio-deployment-id", &server.deployment_id);
    part.text("x-minio-origin-endpoint", endpoint);
}

fn write_object(part: &mut Object<'_>, change: &Change, key: &str) {
    part.text("key", key);
    if let Some(object) = change.object.as_ref().filter(|_| tells_object(change.kind)) {
        if object.size_bytes > 0 {
            part.number("size", object.size_bytes);
        }
        if !object.etag.is_empty() {
            part.text("eTag", &object.etag);
        }
        if !object.content_type.is_empty() {
            part.text("contentType", &object.content_type);
        }
        if !object.metadata.is_empty() {
            part.object("userMetadata", |metadata| {
                object.metadata.iter().for_each(|(name, value)| metadata.entry(name, value));
            });
        }
    }
    if let Some(version) = change.version {
        part.text("versionId", &version.to_string());
    }
    part.text("sequencer", &change.sequence.to_sequencer());
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

/// By how much most keys grow at most when they are encoded, in bytes; others are moved once more.
const ENCODED_MORE_USUAL: usize = 32;

/// As an HTML form encodes: a space is `+`, all but letters, digits and `-_.~` is percent-encoded.
pub(super) fn encoded_key(key: &str) -> String {
    const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let mut encoded = String::with_capacity(key.len() + ENCODED_MORE_USUAL);
    encoded
        .extend(percent_encode(key.as_bytes(), FORM).map(|piece| if piece == "%20" { "+" } else { piece }));
    encoded
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
