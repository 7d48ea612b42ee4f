//! `mc admin config reset ALIAS SUBSYSTEM[:TARGET] [key …]`: sealed, in the body of a DELETE.

use http::Method;

use super::{Answer, Call};

pub(super) const CALL: Call = Call {
    method: Method::DELETE,
    path: "/del-config-kv",
    run: |gateway, request| {
        Box::pin(async move {
            let text = request.sealed_text(gateway).await?;
            let changed = gateway.setup.configuration.reset(&text).await;
            Ok(Answer::Changed(changed.map_err(|error| error.refusal())?))
        })
    },
};
