//! `mc admin config export ALIAS`: every line, sealed; what is off is a comment.

use http::Method;

use super::{Answer, Call};

pub(super) const CALL: Call = Call {
    method: Method::GET,
    path: "/config",
    run: |gateway, _request| {
        Box::pin(async move { Ok(Answer::Sealed(gateway.setup.configuration.export())) })
    },
};
