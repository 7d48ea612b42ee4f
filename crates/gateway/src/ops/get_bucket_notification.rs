//! GetBucketNotificationConfiguration: the rules of a bucket, those whose target is there.

use std::sync::Arc;

use iam::Permit;
use notify::rule::Rule;
use s3::xml::Writer;
use tidings_iam as iam;
use tidings_notify as notify;
use tidings_s3 as s3;

use crate::context::Request;
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
    let mut writer = Writer::s3_fragment("NotificationConfiguration");
    for rule in &gateway.setup.notifier.rules_of(&bucket).rules {
        write_rule(&mut writer, rule);
    }
    Ok(respond::xml(writer.finish()))
}

fn write_rule(writer: &mut Writer, rule: &Rule) {
    writer.open("QueueConfiguration");
    writer.text("Id", &rule.id);
    let filters = [("prefix", &rule.prefix), ("suffix", &rule.suffix)];
    if filters.iter().any(|(_, value)| value.is_some()) {
        writer.open("Filter");
        writer.open("S3Key");
        for (name, value) in filters {
            if let Some(value) = value {
                writer.open("FilterRule");
                writer.text("Name", name);
                writer.text("Value", value);
                writer.close();
            }
        }
        writer.close();
        writer.close();
    }
    for event in &rule.events {
        writer.text("Event", event.as_str());
    }
    writer.text("Queue", &rule.target.to_string());
    writer.close();
}
