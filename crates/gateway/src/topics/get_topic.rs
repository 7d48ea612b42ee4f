//! GetTopic: a topic in Ceph's older form, whose answer has no namespace.

use std::sync::Arc;

use iam::Permit;
use s3::xml::Writer;
use tidings_iam as iam;
use tidings_s3 as s3;

use super::{Action, Call, Refused, answer};
use crate::Gateway;
use crate::respond::Reply;

/// GetTopic. Ceph's manual, "Get Topic Information", which deprecates it for GetTopicAttributes.
pub(super) const ACTION: Action = Action {
    name: "GetTopic",
    permission: "sns:GetTopic",
    run: |call, permit, gateway| Box::pin(run(call, permit, gateway)),
};

async fn run(call: &Call, _permit: Permit, gateway: &Arc<Gateway>) -> Result<Reply, Refused> {
    let topic = gateway.setup.configuration.topic(&call.topic_name()?).ok_or_else(Refused::no_topic)?;
    let mut writer = Writer::document("GetTopicResponse");
    writer.open("GetTopicResult");
    writer.open("Topic");
    answer::write_topic(&mut writer, &topic, &gateway.setup.region);
    writer.close();
    writer.close();
    Ok(answer::end(writer, &call.request_id))
}
