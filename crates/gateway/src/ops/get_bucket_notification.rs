//! GetBucketNotificationConfiguration: the rules of a bucket, those whose target is there; with an id, that one.

use std::sync::Arc;

use iam::Permit;
use notify::rule::Rule;
use s3::ErrorCode;
use s3::xml::Writer;
use tidings_iam as iam;
use tidings_notify as notify;
use tidings_s3 as s3;

use crate::context::Request;
use crate::error::Failure;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// GetBucketNotificationConfiguration. S3 API reference, "GetBucketNotificationConfiguration".
pub(crate) const OPERATION: Operation = Operation {
    name: "GetBucketNotificationConfiguration",
    route: Route::bucket("GET").query("notification"),
    action: "s3:GetBucketNotification",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    let bucket = gateway.setup.store.bucket(request.bucket())?;
    let id = request.query("notification").unwrap_or_default();
    let mut rules = gateway.setup.notifier.rules_of(&bucket).rules;
    if !id.is_empty() {
        rules.retain(|rule| rule.id == id);
        if rules.is_empty() {
            return Err(Failure::with(ErrorCode::NoSuchKey, "The bucket has no notification of this id."));
        }
    }
    let mut writer = Writer::s3_fragment("NotificationConfiguration");
    for rule in &rules {
        write_rule(&mut writer, rule);
    }
    Ok(respond::xml(writer.finish()))
}

fn write_rule(writer: &mut Writer, rule: &Rule) {
    let is_topic = rule.target.is_topic();
    writer.open(if is_topic { "TopicConfiguration" } else { "QueueConfiguration" });
    writer.text("Id", &rule.id);
    let ends = [("prefix", &rule.prefix), ("suffix", &rule.suffix), ("regex", &rule.filter.regex)];
    let ends = ends.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    let parts: [(&'static str, Vec<(String, String)>); 3] = [
        ("S3Key", ends.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()),
        ("S3Metadata", rule.filter.metadata.clone()),
        ("S3Tags", rule.filter.tags.clone()),
    ];
    if parts.iter().any(|(_, rules)| !rules.is_empty()) {
        writer.open("Filter");
        for (part, rules) in parts.into_iter().filter(|(_, rules)| !rules.is_empty()) {
            write_filters(writer, part, &rules);
        }
        writer.close();
    }
    for event in &rule.events {
        writer.text("Event", event.as_str());
    }
    writer.text(if is_topic { "Topic" } else { "Queue" }, &rule.target.to_string());
    writer.close();
}

fn write_filters(writer: &mut Writer, part: &'static str, rules: &[(String, String)]) {
    writer.open(part);
    for (name, value) in rules {
        writer.open("FilterRule");
        writer.text("Name", name);
        writer.text("Value", value);
        writer.close();
    }
    writer.close();
}
