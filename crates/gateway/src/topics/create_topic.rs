//! CreateTopic: a topic of this name and these attributes, also where there was one.

use std::collections::BTreeMap;
use std::sync::Arc;

use iam::Permit;
use notify::topic::is_name;
use tidings_iam as iam;
use tidings_notify as notify;

use super::{Action, Call, Refused, Topic, answer, attribute, endpoint};
use crate::Gateway;
use crate::respond::Reply;

/// CreateTopic. Ceph's manual, "Create a Topic"; Amazon SNS API reference, "CreateTopic".
pub(super) const ACTION: Action = Action {
    name: "CreateTopic",
    permission: "sns:CreateTopic",
    run: |call, permit, gateway| Box::pin(run(call, permit, gateway)),
};

async fn run(call: &Call, _permit: Permit, gateway: &Arc<Gateway>) -> Result<Reply, Refused> {
    let name = call.required("Name")?;
    if !is_name(name) {
        let message = "Name has 1 to 256 letters, digits, dashes, underscores or dots.";
        return Err(Refused::argument(message));
    }
    let mut topic = Topic { name: name.to_owned(), owner: call.caller.clone(), attributes: BTreeMap::new() };
    for (name, value) in attributes(call)? {
        topic.set(&name, &value).map_err(Refused::argument)?;
    }
    check(&topic, gateway)?;
    let arn = topic.arn(&gateway.setup.region);
    let configuration = Arc::clone(&gateway.setup.configuration);
    gateway.to_the_end(async move { configuration.put_topic(topic).await }).await?;

    let mut writer = answer::begin("CreateTopicResponse");
    writer.open("CreateTopicResult");
    writer.text("TopicArn", &arn);
    writer.close();
    Ok(answer::end(writer, &call.request_id))
}

/// Checks what a topic is to become.
///
/// # Errors
///
/// `InvalidArgument`; also for a user and a password in an endpoint when they came over a connection that anybody
/// between could read.
pub(super) fn check(topic: &Topic, gateway: &Gateway) -> Result<(), Refused> {
    if endpoint::has_secret(topic.value("push-endpoint")) && gateway.setup.scheme != "https" {
        return Err(Refused::argument(
            "A push-endpoint with user and password is taken over TLS only. Call this server over https, or make a \
             target with `mc admin config set`, which encrypts what it sends.",
        ));
    }
    let Some(settings) = topic.settings().map_err(Refused::argument)? else {
        return Ok(());
    };
    let fault = |reason| Refused::argument(format!("The endpoint cannot work: {reason}."));
    gateway.setup.notifier.check_topic(&settings).map_err(fault)
}

/// The attributes of a call: `Attributes.entry.N.key` with `.value`, any N in any order, and plain ones.
fn attributes(call: &Call) -> Result<Vec<(String, String)>, Refused> {
    let mut numbered: BTreeMap<&str, (Option<&str>, &str)> = BTreeMap::new();
    let mut plain = Vec::new();
    for (name, value) in &call.parameters {
        let entry = name.strip_prefix("Attributes.entry.").and_then(|rest| rest.split_once('.'));
        match entry {
            Some((number, "key")) => numbered.entry(number).or_default().0 = Some(value),
            Some((number, "value")) => numbered.entry(number).or_default().1 = value,
            _ if attribute::is_one(name) => plain.push((name.clone(), value.clone())),
            _ => {}
        }
    }
    for (number, (name, value)) in numbered {
        let nameless = || Refused::argument(format!("Attributes.entry.{number} has no key."));
        plain.push((name.ok_or_else(nameless)?.to_owned(), value.to_owned()));
    }
    Ok(plain)
}
