//! `tidings events lag`: every target, what waits for it and how long.

use http::Method;
use serde_json::{Value, json};

use notify::TargetReport;
use tidings_notify as notify;

use super::super::{Answer, Call};

pub(in crate::admin) const CALL: Call = Call {
    method: Method::GET,
    path: "/events/targets",
    run: |gateway, _request| {
        Box::pin(async move {
            let reports = gateway.setup.notifier.reports().await;
            Ok(Answer::Json(json!({ "targets": reports.iter().map(document).collect::<Vec<_>>() })))
        })
    },
};

fn document(report: &TargetReport) -> Value {
    json!({
        "target": report.target.to_string(),
        "arn": report.arn,
        "online": report.is_online,
        "reason": report.reason,
        "paused": report.is_paused,
        "waiting": report.waiting,
        "waiting_bytes": report.waiting_bytes,
        "oldest": report.oldest.map(|sequence| sequence.to_sequencer()),
        "lag_ms": report.oldest_wait_ms,
        "in_progress": report.in_progress,
        "delivered": report.delivered,
        "failed": report.failed,
        "retried": report.retried,
        "dead_letters": report.dead_letters,
        "dropped": report.dropped,
    })
}
