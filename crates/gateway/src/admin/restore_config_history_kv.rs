//! `mc admin config restore ALIAS ID`: sets again what an entry of the history set.

use http::Method;

use super::{Answer, Call};

pub(super) const CALL: Call = Call {
    method: Method::PUT,
    path: "/restore-config-history-kv",
    run: |gateway, request| {
        Box::pin(async move {
            let restored = gateway.setup.configuration.restore(request.query("restoreId")).await;
            Ok(Answer::Changed(restored.map_err(|error| error.refusal())?))
        })
    },
};
