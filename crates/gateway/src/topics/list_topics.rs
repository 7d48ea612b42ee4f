//! ListTopics: all of them, by name; there are so few that one answer holds them.

use std::sync::Arc;

use iam::Permit;
use tidings_iam as iam;

use super::{Action, Call, Refused, answer};
use crate::Gateway;
use crate::respond::Reply;

/// ListTopics. Ceph's manual, "List Topics"; Amazon SNS API reference, "ListTopics".
pub(super) const ACTION: Action = Action {
    name: "ListTopics",
    permission: "sns:ListTopics",
    run: |call, permit, gateway| Box::pin(run(call, permit, gateway)),
};

async fn run(call: &Call, _permit: Permit, gateway: &Arc<Gateway>) -> Result<Reply, Refused> {
    let mut writer = answer::begin("ListTopicsResponse");
    writer.open("ListTopicsResult");
    writer.open("Topics");
    for topic in gateway.setup.configuration.topics() {
        writer.open("member");
        answer::write_topic(&mut writer, &topic, &gateway.setup.region);
        writer.close();
    }
    writer.close();
    writer.close();
    Ok(answer::end(writer, &call.request_id))
}
