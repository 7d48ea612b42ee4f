//! DeleteTopic: that there was none is no error. Rules that name it stay, match nothing and are not shown.

use std::sync::Arc;

use iam::Permit;
use tidings_iam as iam;

use super::{Action, Call, Refused, answer};
use crate::Gateway;
use crate::respond::Reply;

/// DeleteTopic. Ceph's manual, "Delete Topic"; Amazon SNS API reference, "DeleteTopic".
pub(super) const ACTION: Action = Action {
    name: "DeleteTopic",
    permission: "sns:DeleteTopic",
    run: |call, permit, gateway| Box::pin(run(call, permit, gateway)),
};

async fn run(call: &Call, _permit: Permit, gateway: &Arc<Gateway>) -> Result<Reply, Refused> {
    let name = call.topic_name()?;
    let configuration = Arc::clone(&gateway.setup.configuration);
    gateway.to_the_end(async move { configuration.remove_topic(&name).await }).await?;
    Ok(answer::end(answer::begin("DeleteTopicResponse"), &call.request_id))
}
