//! How a change is told: the forms of a record.
//!
//! A form renders from the change alone and from what the server is called; it never reads the object. Which one a
//! target gets is its key `record_format`; MinIO's is the default of every kind.

mod aws;
mod ceph;
mod cloudevents;
pub mod gap;
mod json;
pub mod minio;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use bytes::Bytes;
use store::Change;
use tidings_store as store;

use crate::notifier::ServerIdentity;
use crate::target::{KeyKind, KeySpec, TargetSettings};

/// A form of record, with its outer shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// MinIO's record in `{"EventName","Key","Records":[r]}`: what queues, topics and webhooks get.
    MinioEnvelope,
    /// MinIO's record in `{"Records":[r]}`: what tables, indexes and hashes hold.
    MinioRecords,
    /// MinIO's record in `[{"Event":[r],"EventTime":"…"}]`: what a list in Redis holds.
    MinioLog,
    /// MinIO's record by itself.
    MinioBare,
    /// AWS's record in `{"Records":[r]}`.
    Aws,
    /// Ceph's record in `{"Records":[r]}`.
    Ceph {
        /// What the record holds as `opaqueData`.
        opaque_data: Arc<str>,
        /// Whether the message has the attributes of a CloudEvent as Ceph gives them.
        has_attributes: bool,
    },
    /// A CloudEvent in one JSON document.
    CloudEvents,
    /// A CloudEvent whose attributes stand beside its data.
    CloudEventsBinary,
}

/// What a kind of target can carry beside the body of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Headers or properties: a CloudEvent fits in both modes.
    Attributes,
    /// Nothing.
    BodyOnly,
}

/// A rendered record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One JSON document without a line end.
    pub body: Bytes,
    /// The attributes of a CloudEvent that stand beside its data, by their names in the specification; none in every
    /// other form.
    pub attributes: Vec<(&'static str, String)>,
}

impl Form {
    /// The key that chooses the form.
    pub const KEY: KeySpec = KeySpec::new(
        "record_format",
        "RECORD_FORMAT",
        KeyKind::Text,
        "form of the records: 'minio', 'aws', 'ceph', 'cloudevents', or 'cloudevents-binary' where messages have headers",
    )
    .or("minio");

    /// The key that says what Ceph's form holds as `opaqueData`.
    pub const OPAQUE_DATA: KeySpec = KeySpec::new(
        "opaque_data",
        "OPAQUE_DATA",
        KeyKind::Text,
        "text that every record of the form 'ceph' holds as opaqueData",
    );

    /// A value of settings that are made of a topic: whether messages in Ceph's form have CloudEvents' attributes.
    pub const CLOUDEVENTS: &str = "cloudevents";

    /// What the settings say; `minio` is what the kind sends by default.
    ///
    /// # Errors
    ///
    /// A sentence that names the key.
    pub fn of(settings: &TargetSettings, minio: Form, carries: Carries) -> Result<Form, String> {
        match (settings.value(Form::KEY.name), carries) {
            ("" | "minio", _) => Ok(minio),
            ("aws", _) => Ok(Form::Aws),
            ("ceph", _) => Ok(Form::Ceph {
                opaque_data: settings.value(Form::OPAQUE_DATA.name).into(),
                has_attributes: settings.is_on(Form::CLOUDEVENTS),
            }),
            ("cloudevents", _) => Ok(Form::CloudEvents),
            ("cloudevents-binary", Carries::Attributes) => Ok(Form::CloudEventsBinary),
            ("cloudevents-binary", Carries::BodyOnly) => Err(format!(
                "record_format is cloudevents-binary, and messages of {} have no headers that could carry it: \
                 cloudevents is possible",
                settings.target.kind
            )),
            (other, _) => Err(format!(
                "record_format is {other}, known are minio, aws, ceph, cloudevents and cloudevents-binary"
            )),
        }
    }

    /// Renders a change for a target (`id:type`).
    pub fn render(&self, change: &Change, target: &str, server: &ServerIdentity) -> Rendered {
        let rule = change.rule_of(target);
        let plain = |body| Rendered { body, attributes: Vec::new() };
        match self {
            Form::MinioEnvelope => plain(minio::envelope(change, server)),
            Form::MinioRecords => plain(minio::records(change, server)),
            Form::MinioLog => plain(minio::log(change, server)),
            Form::MinioBare => plain(minio::bare(change, server)),
            Form::Aws => plain(aws::records(change, rule, server)),
            Form::Ceph { opaque_data, has_attributes } => Rendered {
                body: ceph::records(change, rule, opaque_data, server),
                attributes: if *has_attributes { ceph::attributes(change, server) } else { Vec::new() },
            },
            Form::CloudEvents => plain(cloudevents::structured(change, rule, server)),
            Form::CloudEventsBinary => cloudevents::binary(change, rule, server),
        }
    }

    /// The media type of the body.
    pub fn content_type(&self) -> &'static str {
        match self {
            Form::CloudEvents => "application/cloudevents+json; charset=utf-8",
            _ => "application/json",
        }
    }

    /// Whether a consumer needs to be told the media type to know what it got.
    pub fn is_cloudevent(&self) -> bool {
        matches!(self, Form::CloudEvents | Form::CloudEventsBinary | Form::Ceph { has_attributes: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::{Carries, Form};
    use crate::target::{TargetId, TargetSettings};

    fn form(value: &str, carries: Carries) -> Result<Form, String> {
        let values = [("record_format", value.to_owned()), ("opaque_data", "me".to_owned())].into();
        let settings = TargetSettings { target: TargetId { id: "1".to_owned(), kind: "mqtt" }, values };
        Form::of(&settings, Form::MinioRecords, carries)
    }

    #[test]
    fn the_form_is_minios_unless_said_otherwise() {
        let ceph = Form::Ceph { opaque_data: "me".into(), has_attributes: false };
        assert_eq!(
            ["", "minio", "aws", "ceph", "cloudevents", "cloudevents-binary"].map(|value| form(
                value,
                Carries::Attributes
            )
            .unwrap()),
            [
                Form::MinioRecords,
                Form::MinioRecords,
                Form::Aws,
                ceph,
                Form::CloudEvents,
                Form::CloudEventsBinary
            ]
        );
    }

    #[test]
    fn a_form_that_is_unknown_or_does_not_fit_is_told_by_the_name_of_its_key() {
        assert_eq!(
            form("AWS", Carries::Attributes).unwrap_err(),
            "record_format is AWS, known are minio, aws, ceph, cloudevents and cloudevents-binary"
        );
        assert_eq!(
            form("cloudevents-binary", Carries::BodyOnly).unwrap_err(),
            "record_format is cloudevents-binary, and messages of mqtt have no headers that could carry it: \
             cloudevents is possible"
        );
    }
}
