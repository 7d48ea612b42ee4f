//! The admin API: what `mc admin` asks, below `/minio/admin/v3`, and what `tidings` asks, below `/minio/tidings/v1`.
//!
//! One file for each call, one row for each file in [`CALLS`] or [`OWN_CALLS`]. Ours stand below MinIO's name
//! because no bucket can be called so. What arrives here is signed, whole and of an
//! administrator. Answers and errors are JSON; bodies that hold secrets are [`sealed`], both ways.
//!
//! # Invariants
//!
//! 1. The table is closed: a path outside it is 426 `XMinioAdminVersionMismatch`, which clients take for "this
//!    server does not know that".
//! 2. What cannot be done is never a 408, 429, 502 or 503: clients repeat those, ten times.
//!
//! What is not here: MinIO's streams (`log`, `trace`, realtime metrics); they are known by name and answer 501.

mod account_info;
mod clear_config_history_kv;
mod data_usage_info;
mod del_config_kv;
pub(crate) mod drives;
mod events;
mod export_config;
mod get_config_kv;
mod heal;
mod heal_status;
mod help_config_kv;
mod import_config;
mod info;
mod lines;
mod list_config_history_kv;
mod restore_config_history_kv;
mod sealed;
mod service;
mod set_config_kv;
mod storage_info;
pub(crate) mod usage;
pub mod verify;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, request};

use s3::{ErrorBody, ErrorCode, Refusal};
use tidings_s3 as s3;
use tokio::sync::Semaphore;

use crate::{Gateway, ResponseBody, respond as replies};
use sealed::Sealing;
use usage::Usage;

/// An authenticated admin request, whole.
pub(crate) struct AdminRequest {
    /// Method, path, query, headers.
    pub(crate) head: request::Parts,
    /// Whose call it is.
    pub(crate) api: Api,
    /// The path after that of the API.
    pub(crate) path: String,
    /// Decoded query, in order.
    pub(crate) query: Vec<(String, String)>,
    /// The body as sent, at most 1 MiB.
    pub(crate) body: Bytes,
    /// The client's address without port.
    pub(crate) source_host: String,
    /// The request's id, told in error documents: 16 upper-case hexadecimal digits.
    pub(crate) id: String,
    /// Secret of the credential that signed: the password of sealed bodies.
    pub(crate) secret: String,
}

impl AdminRequest {
    /// The first value of a query parameter, empty when it is absent.
    fn query(&self, name: &str) -> &str {
        self.query.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }

    /// The text of a sealed body.
    async fn sealed_text(&self, gateway: &Gateway) -> Result<String, Refusal> {
        let refuse = |reason: String| Refusal::with(ErrorCode::XMinioAdminConfigBadJSON, reason);
        let sealing = &gateway.admin.sealing;
        let text =
            sealing.open(&self.secret, self.body.clone()).await.map_err(|error| refuse(error.to_string()))?;
        String::from_utf8(text).map_err(|_| refuse("the sealed body is not text".to_owned()))
    }
}

/// Whose calls a path is among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// MinIO's, which `mc` and its libraries know.
    Minio,
    /// This server's own.
    Tidings,
}

impl Api {
    /// The API of a path and what is behind it; `None` for one that is in neither.
    pub(crate) fn of(path: &str) -> Option<(Api, &str)> {
        let bases = [(Api::Minio, "/minio/admin/v3"), (Api::Tidings, "/minio/tidings/v1")];
        bases.into_iter().find_map(|(api, base)| Some((api, path.strip_prefix(base)?)))
    }

    fn calls(self) -> &'static [Call] {
        match self {
            Api::Minio => CALLS,
            Api::Tidings => OWN_CALLS,
        }
    }
}

/// What the admin API keeps between calls.
pub(crate) struct AdminState {
    sealing: Sealing,
    /// How much the buckets hold.
    pub(crate) usage: Usage,
    /// When the gateway was made, milliseconds since 1970.
    pub(crate) started_ms: u64,
    /// Held by the verification that runs.
    verifying: Arc<Semaphore>,
    /// Heals that clients follow.
    heals: heal::Sequences,
}

impl AdminState {
    /// The state of a gateway that is being made.
    pub(crate) fn new(started_ms: u64) -> AdminState {
        AdminState {
            sealing: Sealing::default(),
            usage: Usage::default(),
            started_ms,
            verifying: Arc::new(Semaphore::new(1)),
            heals: heal::Sequences::default(),
        }
    }
}

/// What a call answers when it succeeds.
enum Answer {
    /// Status 200 and nothing else.
    Empty,
    /// A JSON document.
    Json(serde_json::Value),
    /// Text that only the caller may read.
    Sealed(String),
    /// A change of settings: whether all of it is in force.
    Changed(crate::config::Changed),
    /// JSON documents, one a line, as they come.
    Lines(ResponseBody),
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send + 'a>>;

/// One call.
struct Call {
    method: Method,
    /// Below that of its API. One that ends with a slash is that of everything below it.
    path: &'static str,
    run: for<'a> fn(&'a Gateway, &'a AdminRequest) -> Running<'a>,
}

impl Call {
    fn is_at(&self, path: &str) -> bool {
        if self.path.ends_with('/') { path.starts_with(self.path) } else { path == self.path }
    }
}

static CALLS: &[Call] = &[
    account_info::CALL,
    clear_config_history_kv::CALL,
    data_usage_info::CALL,
    del_config_kv::CALL,
    export_config::CALL,
    get_config_kv::CALL,
    heal::CALL,
    heal_status::CALL,
    help_config_kv::CALL,
    import_config::CALL,
    info::CALL,
    list_config_history_kv::CALL,
    restore_config_history_kv::CALL,
    service::CALL,
    set_config_kv::CALL,
    storage_info::CALL,
];

static OWN_CALLS: &[Call] = &[
    events::course::PAUSE,
    events::course::RESUME,
    events::course::REPLAY,
    events::resync::RESYNC,
    events::dead::LIST,
    events::dead::SHOW,
    events::dead::RESEND,
    events::dead::DROP,
    events::targets::CALL,
    verify::CALL,
];

/// Calls that clients know and this build does not have, by the first word of their path: 501.
const ABSENT: [&str; 11] = [
    "bandwidth",
    "healthinfo",
    "inspect-data",
    "log",
    "metrics",
    "netperf",
    "profile",
    "speedtest",
    "top",
    "trace",
    "update",
];

/// Header of a change of settings that is in force.
const APPLIED: HeaderName = HeaderName::from_static("x-minio-config-applied");

/// Answers an admin call; an unknown path is 426.
pub(crate) async fn respond(gateway: &Gateway, request: AdminRequest) -> Response<ResponseBody> {
    let mut calls = request.api.calls().iter();
    let call = calls.find(|call| call.method == request.head.method && call.is_at(&request.path));
    let answer = match call {
        Some(call) => (call.run)(gateway, &request).await,
        None if request.api == Api::Tidings => Err(ErrorCode::XMinioAdminVersionMismatch.into()),
        None => Err(absent(&request.path)),
    };
    match answer {
        Ok(Answer::Empty) => replies::empty(StatusCode::OK),
        Ok(Answer::Json(document)) => json(StatusCode::OK, document.to_string().into()),
        Ok(Answer::Sealed(text)) => {
            let sealed = gateway.admin.sealing.seal(&request.secret, text.into_bytes()).await;
            json(StatusCode::OK, sealed.into())
        }
        Ok(Answer::Changed(changed)) => {
            let mut reply = replies::empty(StatusCode::OK);
            if changed.is_applied {
                reply.headers_mut().insert(APPLIED, HeaderValue::from_static("true"));
            }
            reply
        }
        Ok(Answer::Lines(lines)) => {
            let mut reply = Response::new(lines);
            let headers = reply.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
            reply
        }
        Err(refusal) => refused(gateway, &request, &refusal),
    }
}

/// Sealed bodies say that they are JSON as well: so clients expect it.
fn json(status: StatusCode, body: Bytes) -> Response<ResponseBody> {
    replies::whole(status, "application/json", body)
}

fn refused(gateway: &Gateway, request: &AdminRequest, refusal: &Refusal) -> Response<ResponseBody> {
    let body = ErrorBody {
        refusal,
        key: None,
        bucket: None,
        resource: request.head.uri.path(),
        region: &gateway.setup.region,
        request_id: &request.id,
        host_id: &gateway.setup.node_id,
    };
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, body.to_json().into())
}

fn absent(path: &str) -> Refusal {
    let word = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match ABSENT.contains(&word) {
        true => Refusal::with(ErrorCode::NotImplemented, format!("this build has no admin call {word}")),
        false => Refusal::new(ErrorCode::XMinioAdminVersionMismatch),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ABSENT, CALLS, Call, OWN_CALLS, absent};
    use tidings_s3::ErrorCode;

    #[test]
    fn no_two_calls_share_method_and_path_and_none_is_called_absent() {
        for calls in [CALLS, OWN_CALLS] {
            let mut seen = BTreeSet::new();
            for Call { method, path, .. } in calls {
                assert!(seen.insert((method.as_str(), path)), "{method} {path} stands twice");
                assert!(path.starts_with('/'), "{path}");
                assert!(!ABSENT.contains(&path.trim_matches('/')), "{path}");
            }
        }
    }

    #[test]
    fn a_call_is_at_its_path_and_one_that_ends_with_a_slash_at_all_below() {
        let found = |path: &str| CALLS.iter().find(|call| call.is_at(path)).map(|call| call.path);
        assert_eq!(found("/info"), Some("/info"));
        assert_eq!(found("/info/more"), None);
        assert_eq!(["/heal/", "/heal/album/red/"].map(found), [Some("/heal/"); 2]);
        assert_eq!(found("/heal"), None);
    }

    #[test]
    fn a_known_call_that_is_not_built_is_501_and_any_other_426_neither_of_which_clients_repeat() {
        let codes = ["/trace", "/profile/start", "/nothing", "/info/more", ""].map(|path| absent(path).code);
        assert_eq!(codes[..2], [ErrorCode::NotImplemented; 2]);
        assert_eq!(codes[2..], [ErrorCode::XMinioAdminVersionMismatch; 3]);
    }
}
