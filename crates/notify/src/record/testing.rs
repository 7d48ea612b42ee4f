//! One change and one server, told in every form.

use bytes::Bytes;
use store::{BucketName, Change, ChangeKind, ObjectSummary, Origin, Sequence, VersionId};
use tidings_store as store;

use crate::notifier::ServerIdentity;

pub(super) fn server() -> ServerIdentity {
    ServerIdentity {
        deployment_id: "c9886d4a".to_owned(),
        node_id: "d444f13f".to_owned(),
        region: "eu-west-1".to_owned(),
        owner_id: "02d6176d".to_owned(),
        ..ServerIdentity::default()
    }
}

pub(super) fn version() -> VersionId {
    VersionId::parse("93098c56-7e16-4fce-a071-1c6d1dd40cdc").unwrap()
}

pub(super) fn put() -> Change {
    let metadata = [("X-Amz-Meta-Color", "red"), ("content-type", "text/plain")];
    Change {
        sequence: Sequence::from_sequencer("18E9FFCB5B1B2AD0").unwrap(),
        time_ms: 1_795_247_175_358,
        kind: ChangeKind::Put,
        bucket: BucketName::new("album").unwrap(),
        key: "dir/a b&c".to_owned(),
        version: None,
        object: Some(ObjectSummary {
            size_bytes: 5,
            etag: "5d41402abc4b2a76b9719d911017c592".to_owned(),
            content_type: "text/plain".to_owned(),
            metadata: metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            tags: vec![],
        }),
        origin: Some(Origin {
            principal: "alice".to_owned(),
            source_host: "192.0.2.7".to_owned(),
            request_id: "18E9FFCB5AEB848F".to_owned(),
            region: "eu-west-1".to_owned(),
            ..Origin::default()
        }),
        targets: vec!["1:webhook".to_owned()],
        rules: vec!["r1".to_owned()],
    }
}

pub(super) fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
