//! `mc admin config import ALIAS < FILE`: sealed lines that replace everything stored. Clients are told to
//! restart the server, because some of the lines may need it.

use http::Method;

use super::{Answer, Call};

pub(super) const CALL: Call = Call {
    method: Method::PUT,
    path: "/config",
    run: |gateway, request| {
        Box::pin(async move {
            let text = request.sealed_text(gateway).await?;
            gateway.setup.configuration.import(&text).await.map_err(|error| error.refusal())?;
            Ok(Answer::Empty)
        })
    },
};
