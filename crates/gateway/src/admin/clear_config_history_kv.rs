//! `mc admin config history ALIAS --clear`: forgets one entry of the history, or `all`.

use http::Method;

use super::{Answer, Call};

pub(super) const CALL: Call = Call {
    method: Method::DELETE,
    path: "/clear-config-history-kv",
    run: |gateway, request| {
        Box::pin(async move {
            let forgotten = gateway.setup.configuration.forget(request.query("restoreId")).await;
            forgotten.map_err(|error| error.refusal())?;
            Ok(Answer::Empty)
        })
    },
};
