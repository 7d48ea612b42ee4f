//! `mc admin config history ALIAS [--count N]`: the newest texts, oldest first, sealed.

use http::Method;

use s3::{ErrorCode, Refusal, time};
use serde_json::json;
use tidings_s3 as s3;

use super::{Answer, Call};

pub(super) const CALL: Call = Call {
    method: Method::GET,
    path: "/list-config-history-kv",
    run: |gateway, request| {
        Box::pin(async move {
            let count = request.query("count");
            let count = match count.parse::<usize>() {
                Ok(count) if count > 0 => count,
                _ if count.is_empty() => COUNT_DEFAULT,
                _ => {
                    return Err(Refusal::with(
                        ErrorCode::XMinioAdminInvalidArgument,
                        "count takes a whole number above 0",
                    ));
                }
            };
            let entries =
                gateway.setup.configuration.history(count).await.map_err(|error| error.refusal())?;
            let rows = entries.into_iter().map(|entry| {
                let created_ms = i64::try_from(entry.created_ms).unwrap_or(i64::MAX);
                json!({
                    "restoreId": entry.id,
                    "createTime": time::iso8601_ms(created_ms),
                    "data": entry.text,
                })
            });
            Ok(Answer::Sealed(serde_json::Value::from_iter(rows).to_string()))
        })
    },
};

/// Entries of an answer when the request names no number, as clients ask for.
const COUNT_DEFAULT: usize = 10;
