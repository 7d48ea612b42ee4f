//! The answers of topics: SNS's XML, whose namespace every answer has but GetTopic's.

use http::StatusCode;

use s3::xml::Writer;
use tidings_s3 as s3;

use super::attribute::UNSET;
use super::{Refused, Topic, endpoint};
use crate::respond::{self, Reply};

/// The namespace of SNS's documents.
pub(super) const NAMESPACE: &str = "https://sns.amazonaws.com/doc/2010-03-31/";

/// Begins an answer.
pub(super) fn begin(root: &'static str) -> Writer {
    Writer::fragment(root, NAMESPACE)
}

/// Ends an answer with the id of its request.
pub(super) fn end(mut writer: Writer, request_id: &str) -> Reply {
    writer.open("ResponseMetadata");
    writer.text("RequestId", request_id);
    writer.close();
    respond::xml(writer.finish())
}

/// The answer to a call that was refused, as SNS's clients read it.
pub(super) fn refused(refused: &Refused, request_id: &str) -> Reply {
    let mut writer = begin("ErrorResponse");
    writer.open("Error");
    writer.text("Type", if refused.status < 500 { "Sender" } else { "Receiver" });
    writer.text("Code", refused.code);
    writer.text("Message", &refused.message);
    writer.close();
    writer.text("RequestId", request_id);
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond::whole(status, "application/xml", writer.finish().into())
}

/// What `EndPoint` holds, in order; user and password are never shown.
fn endpoint_members(topic: &Topic) -> [(&'static str, String); 8] {
    let address = topic.value("push-endpoint");
    let apart = ["push-endpoint", "OpaqueData", "Policy", "persistent"];
    let rest = topic.attributes.iter().filter(|(name, _)| !apart.contains(&name.as_str()));
    let arguments: Vec<String> = rest.map(|(name, value)| format!("{name}={value}")).collect();
    let or = |name: &str, default: &str| match topic.value(name) {
        "" => default.to_owned(),
        value => value.to_ascii_lowercase(),
    };
    [
        ("EndpointAddress", endpoint::without_secret(address)),
        ("EndpointArgs", arguments.join("&")),
        ("EndpointTopic", topic.name.clone()),
        ("HasStoredSecret", endpoint::has_secret(address).to_string()),
        ("Persistent", or("persistent", "false")),
        ("TimeToLive", or("time_to_live", UNSET)),
        ("MaxRetries", or("max_retries", UNSET)),
        ("RetrySleepDuration", or("retry_sleep_duration", UNSET)),
    ]
}

/// `EndPoint` as a JSON string.
pub(super) fn endpoint_json(topic: &Topic) -> String {
    let members = endpoint_members(topic).into_iter().map(|(name, value)| {
        let value = match name {
            "HasStoredSecret" | "Persistent" => serde_json::Value::Bool(value == "true"),
            _ => value.into(),
        };
        (name.to_owned(), value)
    });
    serde_json::Value::Object(members.collect()).to_string()
}

/// Writes a topic's members into the open element.
pub(super) fn write_topic(writer: &mut Writer, topic: &Topic, region: &str) {
    writer.text("User", &topic.owner);
    writer.text("Name", &topic.name);
    writer.open("EndPoint");
    for (name, value) in endpoint_members(topic) {
        writer.text(name, &value);
    }
    writer.close();
    writer.text("TopicArn", &topic.arn(region));
    writer.text("OpaqueData", topic.value("OpaqueData"));
    writer.text("Policy", topic.value("Policy"));
}
