//! PutBucketNotificationConfiguration: the rules of a bucket, whole. In force for every change sequenced
//! after it; no rule at all removes them.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use iam::Permit;
use notify::rule::{RawConfiguration, RawRule, RuleError};
use s3::ErrorCode;
use s3::xml::{BODY_BYTES_MAX, NotificationConfiguration, NotificationKind};
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
    let document = request.body.document(&request.head.headers, BODY_BYTES_MAX).await?;
    if document.bytes.is_empty() {
        return Err(ErrorCode::MissingContentLength.into());
    }
    let raw = raw(NotificationConfiguration::parse(&document.bytes)?);
    let rules = gateway.setup.notifier.check_rules(&raw)?;
    let text = (!rules.rules.is_empty()).then(|| Bytes::from(rules.encode()));
    let bucket = request.bucket().clone();
    let store = Arc::clone(&gateway.setup.store);
    gateway.to_the_end(async move { store.set_document(&bucket, Bucket::NOTIFICATION, text).await }).await?;
    Ok(respond::empty(StatusCode::OK))
}

/// The configuration as the notifier checks it.
fn raw(sent: NotificationConfiguration) -> RawConfiguration {
    let has = |kind| sent.rules.iter().any(|rule| rule.kind == kind);
    let (has_topic, has_lambda) = (has(NotificationKind::Topic), has(NotificationKind::CloudFunction));
    let queues = sent.rules.into_iter().filter(|rule| rule.kind == NotificationKind::Queue);
    let rules = queues.map(|rule| RawRule {
        id: rule.id,
        arn: rule.arn,
        events: rule.events,
        filters: rule.filters.into_iter().map(|filter| (filter.name, filter.value)).collect(),
    });
    RawConfiguration { rules: rules.collect(), has_topic, has_lambda }
}

impl From<RuleError> for Failure {
    fn from(error: RuleError) -> Failure {
        let code = ErrorCode::ALL.iter().copied().find(|code| code.row().name == error.code());
        Failure::with(code.unwrap_or(ErrorCode::InvalidArgument), error.to_string())
    }
}
