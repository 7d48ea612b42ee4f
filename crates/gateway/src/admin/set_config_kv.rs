//! `mc admin config set ALIAS SUBSYSTEM[:TARGET] key=value …`: a sealed line; stored, then applied.

use http::Method;

use super::{Answer, Call};

pub(super) const CALL: Call = Call {
    method: Method::PUT,
    path: "/set-config-kv",
    run: |gateway, request| {
        Box::pin(async move {
            let text = request.sealed_text(gateway).await?;
            let changed = gateway.setup.configuration.set(&text).await;
            Ok(Answer::Changed(changed.map_err(|error| error.refusal())?))
        })
    },
};
