//! PutBucketNotificationConfiguration: the rules of a bucket, whole; of nothing but topics those that it names. In
//! force for every change sequenced after it; no rule at all removes them.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use iam::Permit;
use notify::rule::{RawConfiguration, RawRule, RuleError};
use s3::ErrorCode;
use s3::xml::{BODY_BYTES_MAX, FilterRule, NotificationConfiguration, NotificationKind};
use store::Bucket;
use tidings_iam as iam;
use tidings_notify as notify;
use tidings_s3 as s3;
use tidings_store as store;

use crate::context::Request;
use crate::error::Failure;
use crate::route::{Operation, Outcome, Route};
use crate::{Gateway, respond};

/// PutBucketNotificationConfiguration. S3 API reference, "PutBucketNotificationConfiguration".
pub(crate) const OPERATION: Operation = Operation {
    name: "PutBucketNotificationConfiguration",
    route: Route::bucket("PUT").query("notification"),
    action: "s3:PutBucketNotification",
    change: None,
    run: |request, permit, gateway| Box::pin(run(request, permit, gateway)),
};

async fn run(request: &mut Request, _permit: Permit, gateway: &Arc<Gateway>) -> Outcome {
    gateway.setup.store.bucket(request.bucket())?;
    if let Some(id) = request.query("notification").filter(|id| !id.is_empty()) {
        let message = "A rule is set by its Id in the document: the parameter has no value.";
        return Err(Failure::argument("notification", id, message));
    }
    let document = request.body.document(&request.head.headers, BODY_BYTES_MAX).await?;
    if document.bytes.is_empty() {
        return Err(ErrorCode::MissingContentLength.into());
    }
    let raw = raw(NotificationConfiguration::parse(&document.bytes)?);
    let (name, server) = (request.bucket().clone(), Arc::clone(gateway));
    let set = async move {
        let edit = |bucket: &Bucket| -> Result<Option<Bytes>, Failure> {
            let rules = server.setup.notifier.check_rules(&raw, Some(bucket))?;
            Ok((!rules.rules.is_empty()).then(|| Bytes::from(rules.encode())))
        };
        server.setup.store.edit_document(&name, Bucket::NOTIFICATION, edit).await
    };
    gateway.to_the_end(set).await?;
    Ok(respond::empty(StatusCode::OK))
}

/// The configuration as the notifier checks it.
fn raw(sent: NotificationConfiguration) -> RawConfiguration {
    let mut raw = RawConfiguration::default();
    for rule in sent.rules {
        let pairs = |rules: Vec<FilterRule>| {
            rules.into_iter().map(|rule| (rule.name, rule.value)).collect::<Vec<_>>()
        };
        let (kind, is_queue) = (rule.kind, rule.kind == NotificationKind::Queue);
        let rule = RawRule {
            id: rule.id,
            arn: rule.arn,
            events: rule.events,
            filters: pairs(rule.filters),
            // Queues have no such filters: MinIO ignores them.
            metadata: if is_queue { Vec::new() } else { pairs(rule.metadata) },
            tags: if is_queue { Vec::new() } else { pairs(rule.tags) },
        };
        match kind {
            NotificationKind::Queue => raw.rules.push(rule),
            NotificationKind::Topic => raw.topics.push(rule),
            NotificationKind::CloudFunction => raw.has_lambda = true,
        }
    }
    raw
}

impl From<RuleError> for Failure {
    fn from(error: RuleError) -> Failure {
        let code = ErrorCode::ALL.iter().copied().find(|code| code.row().name == error.code());
        Failure::with(code.unwrap_or(ErrorCode::InvalidArgument), error.to_string())
    }
}
