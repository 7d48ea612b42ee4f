//! GetTopicAttributes: a topic as pairs of text.

use std::sync::Arc;

use iam::Permit;
use tidings_iam as iam;

use super::{Action, Call, Refused, answer};
use crate::Gateway;
use crate::respond::Reply;

/// GetTopicAttributes. Ceph's manual, "Get Topic Attributes"; Amazon SNS API reference, "GetTopicAttributes".
pub(super) const ACTION: Action = Action {
    name: "GetTopicAttributes",
    permission: "sns:GetTopicAttributes",
    run: |call, permit, gateway| Box::pin(run(call, permit, gateway)),
};

async fn run(call: &Call, _permit: Permit, gateway: &Arc<Gateway>) -> Result<Reply, Refused> {
    let topic = gateway.setup.configuration.topic(&call.topic_name()?).ok_or_else(Refused::no_topic)?;
    let mut writer = answer::begin("GetTopicAttributesResponse");
    writer.open("GetTopicAttributesResult");
    writer.open("Attributes");
    let entries = [
        ("User", topic.owner.clone()),
        ("Name", topic.name.clone()),
        ("EndPoint", answer::endpoint_json(&topic)),
        ("TopicArn", topic.arn(&gateway.setup.region)),
        ("OpaqueData", topic.value("OpaqueData").to_owned()),
        ("Policy", topic.value("Policy").to_owned()),
    ];
    for (key, value) in entries {
        writer.open("entry");
        writer.text("key", key);
        writer.text("value", &value);
        writer.close();
    }
    writer.close();
    writer.close();
    Ok(answer::end(writer, &call.request_id))
}
