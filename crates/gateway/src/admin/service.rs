//! `mc admin service restart|stop ALIAS`: answers, then the process drains and does it.
//!
//! Clients take the time of this call for the time of the restart, and the answer must have left before the
//! connection is cut: the process itself waits for that.

use http::Method;
use serde_json::{Value, json};

use s3::{ErrorCode, Refusal};
use tidings_s3 as s3;

use super::{Answer, Call};
use crate::ServiceAction;

pub(super) const CALL: Call = Call {
    method: Method::POST,
    path: "/service",
    run: |gateway, request| {
        Box::pin(async move {
            let name = request.query("action");
            let action = parse(name)?;
            let is_dry_run = request.query("dry-run") == "true";
            if !is_dry_run {
                tracing::info!(action = name, "the process was asked to restart or stop");
                (gateway.setup.service)(action);
            }
            Ok(Answer::Json(document(name, is_dry_run, &gateway.setup.endpoint)))
        })
    },
};

fn parse(name: &str) -> Result<ServiceAction, Refusal> {
    match name {
        "restart" => Ok(ServiceAction::Restart),
        "stop" => Ok(ServiceAction::Stop),
        "freeze" | "unfreeze" => {
            Err(Refusal::with(ErrorCode::NotImplemented, format!("this build cannot {name} its requests")))
        }
        _ => Err(Refusal::with(ErrorCode::XMinioAdminInvalidArgument, "the action is restart or stop")),
    }
}

fn document(action: &str, is_dry_run: bool, endpoint: &str) -> Value {
    json!({ "action": action, "dryRun": is_dry_run, "results": [{ "host": endpoint }] })
}

#[cfg(test)]
mod tests {
    use super::{ServiceAction, document, parse};

    #[test]
    fn restart_and_stop_are_done_and_nothing_else() {
        assert_eq!(parse("restart"), Ok(ServiceAction::Restart));
        assert_eq!(parse("stop"), Ok(ServiceAction::Stop));
        assert_eq!(parse("freeze").unwrap_err().status, 501);
        assert_eq!(parse("").unwrap_err().status, 400);
    }

    #[test]
    fn the_answer_has_a_result_for_this_server() {
        assert_eq!(
            document("restart", false, "127.0.0.1:9000").to_string(),
            r#"{"action":"restart","dryRun":false,"results":[{"host":"127.0.0.1:9000"}]}"#
        );
    }
}
