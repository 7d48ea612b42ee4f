//! `mc admin config get ALIAS SUBSYSTEM[:TARGET]`: the lines of what is stored, sealed.

use http::Method;

use super::{Answer, Call};

pub(super) const CALL: Call = Call {
    method: Method::GET,
    path: "/get-config-kv",
    run: |gateway, request| {
        Box::pin(async move {
            let text = gateway.setup.configuration.get(request.query("key"));
            Ok(Answer::Sealed(text.map_err(|error| error.refusal())?))
        })
    },
};
