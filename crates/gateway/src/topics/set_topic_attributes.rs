//! SetTopicAttributes: one attribute of a topic.

use std::sync::Arc;

use iam::Permit;
use tidings_iam as iam;

use super::{Action, Call, Refused, answer, create_topic};
use crate::Gateway;
use crate::respond::Reply;

/// SetTopicAttributes. Ceph's manual, "Set Topic Attributes"; Amazon SNS API reference, "SetTopicAttributes".
pub(super) const ACTION: Action = Action {
    name: "SetTopicAttributes",
    permission: "sns:SetTopicAttributes",
    run: |call, permit, gateway| Box::pin(run(call, permit, gateway)),
};

async fn run(call: &Call, _permit: Permit, gateway: &Arc<Gateway>) -> Result<Reply, Refused> {
    let topic_name = call.topic_name()?;
    let name = call.required("AttributeName")?.to_owned();
    let value = call.parameter("AttributeValue").unwrap_or_default().to_owned();
    let server = Arc::clone(gateway);
    let set = async move {
        let change = |topic: &mut super::Topic| {
            topic.set(&name, &value).map_err(Refused::argument)?;
            create_topic::check(topic, &server)
        };
        server.setup.configuration.change_topic(&topic_name, change).await
    };
    if !gateway.to_the_end(set).await? {
        return Err(Refused::no_topic());
    }
    Ok(answer::end(answer::begin("SetTopicAttributesResponse"), &call.request_id))
}
