//! `mc admin config set ALIAS [SUBSYSTEM] [--env]` without a value: what can be set.

use http::Method;

use super::{Answer, Call};

pub(super) const CALL: Call = Call {
    method: Method::GET,
    path: "/help-config-kv",
    run: |gateway, request| {
        Box::pin(async move {
            let as_environment = request.query.iter().any(|(name, _)| name == "env");
            let (subsystem, key) = (request.query("subSys"), request.query("key"));
            let help = gateway.setup.configuration.help(subsystem, key, as_environment);
            let help = help.map_err(|error| error.refusal())?;
            Ok(Answer::Json(serde_json::to_value(help).expect("help is text and switches")))
        })
    },
};
