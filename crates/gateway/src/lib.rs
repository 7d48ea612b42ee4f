//! Every HTTP surface: S3 operations, the admin API, health, metrics, the listen stream.
//!
//! [`Gateway::respond`] is the path of a request: route, authenticate, authorize, operate, respond, in that
//! order and in one place. No middleware stack hides it.

mod access;
pub mod admin;
mod authenticate;
mod authorize;
mod body;
pub mod config;
mod context;
mod error;
mod health;
mod metadata;
mod metrics;
mod ops;
mod receive;
mod respond;
mod route;
mod signing_keys;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod topics;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use tokio_util::sync::CancellationToken;

use iam::Caller;
use s3::ErrorCode;
use tidings_iam as iam;
use tidings_notify as notify;
use tidings_s3 as s3;
use tidings_store as store;

use crate::access::Accesses;
use crate::admin::{AdminRequest, Api};
use crate::context::{Request, RequestIds};
use crate::error::Failure;
use crate::route::Routed;
use crate::signing_keys::SigningKeys;
use crate::work::Work;

pub use crate::authorize::OWNER_ID;
pub use crate::config::configuration_page;
pub use crate::route::operations_table;

/// Any failure of a body, for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, as the listener hands it over.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// The body of a response. An error ends the connection before its declared length: the client sees a cut.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// What `mc admin service` asks of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceAction {
    /// Answer, drain, re-execute: same PID, arguments, environment.
    Restart,
    /// Answer, drain, exit 0.
    Stop,
}

/// What a gateway is made of. The parts are made by `tidings`, which wires and decides nothing.
pub struct Setup {
    /// The store.
    pub store: Arc<store::Store>,
    /// The notifier, which is the store's recorder.
    pub notifier: Arc<notify::Notifier>,
    /// Who exists.
    pub directory: iam::Directory,
    /// The configuration system: stored settings under the environment's.
    pub configuration: Arc<config::Configuration>,
    /// How the drives are.
    pub reports: Arc<dyn Fn() -> Vec<store::SetReport> + Send + Sync>,
    /// Reads back every copy of everything.
    pub verify: Arc<store::Verify>,
    /// Has what is not whole of chosen objects repaired.
    pub heal: Arc<store::Heal>,
    /// Domains for virtual-host style, lower case (`MINIO_DOMAIN`).
    pub domains: Vec<String>,
    /// The region, empty when none is configured.
    pub region: String,
    /// 64 hex digits, `x-amz-id-2`.
    pub node_id: String,
    /// `host:port` this server tells of itself in admin info and records.
    pub endpoint: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Environment for the configuration's overrides and admin info, as at start.
    pub environment: Arc<std::collections::BTreeMap<String, String>>,
    /// Asks the process to restart or stop, after the answer is on its way.
    pub service: Arc<dyn Fn(ServiceAction) + Send + Sync>,
}

/// Every HTTP surface of one server.
pub struct Gateway {
    pub(crate) setup: Setup,
    pub(crate) request_ids: RequestIds,
    pub(crate) accesses: Accesses,
    pub(crate) signing_keys: SigningKeys,
    pub(crate) admin: admin::AdminState,
    pub(crate) counters: metrics::Counters,
    pub(crate) signature: respond::Signature,
    /// The URL this server tells of itself in records.
    pub(crate) url: String,
    pub(crate) md5: s3::digest::Md5Pool,
    closing: CancellationToken,
}

/// Which surface a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Surface {
    Health,
    Metrics,
    Admin,
    S3,
}

impl Gateway {
    /// Makes the gateway.
    pub fn new(setup: Setup) -> Arc<Gateway> {
        let admin = admin::AdminState::new(setup.store.clock().now_ms());
        Arc::new(Gateway {
            signature: respond::Signature::new(&setup.node_id, &setup.region),
            url: format!("{}://{}", setup.scheme, setup.endpoint),
            setup,
            request_ids: RequestIds::default(),
            accesses: Accesses::default(),
            signing_keys: SigningKeys::default(),
            admin,
            counters: metrics::Counters::default(),
            md5: s3::digest::Md5Pool::of_all_cores(),
            closing: CancellationToken::new(),
        })
    }

    /// Answers one request. Never fails: every failure has its response.
    pub async fn respond(
        self: &Arc<Self>,
        request: http::Request<RequestBody>,
        peer: SocketAddr,
    ) -> Response<ResponseBody> {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        let mut request = Request::new(self, head, body, peer);
        let answer = match surface(request.head.uri.path()) {
            Surface::Health => Ok(health::respond(self, &request.head)),
            Surface::Metrics => Ok(metrics::respond(self, &request.head).await),
            Surface::Admin => self.serve_admin(&mut request).await,
            Surface::S3 => self.serve_s3(&mut request).await,
        };
        request.body.drain().await;
        let mut reply = answer.unwrap_or_else(|failure| respond::failure(self, &request, failure));
        respond::complete(self, &request, &mut reply);
        self.count(&request, &reply, began.elapsed());
        reply
    }

    /// Counts an answered S3 request for the metrics.
    fn count(&self, request: &Request, reply: &Response<ResponseBody>, took: Duration) {
        if let Some(operation) = request.operation {
            let sent = respond::content_length(reply);
            self.counters.count(operation, reply.status().as_u16(), request.body.received(), sent, took);
        }
    }

    /// The path of an S3 request.
    async fn serve_s3(self: &Arc<Self>, request: &mut Request) -> Result<Response<ResponseBody>, Failure> {
        if topics::is_addressed(request) {
            return Ok(topics::respond(self, request).await);
        }
        let routed = route::route(request);
        if let Routed::Operation(operation) = &routed {
            request.operation = Some(operation.name);
        }
        // Clients ask where a bucket is before they know which region to sign for.
        let asks_region = request.query("location").is_some();
        let region = if asks_region { "" } else { &self.setup.region };
        request.caller = authenticate::authenticate(self, request, authenticate::SERVICE, region)?;
        request.check_address()?;
        match routed {
            Routed::Operation(operation) => {
                let permit = authorize::authorize(request, operation.action)?;
                (operation.run)(request, permit, self).await
            }
            Routed::NotImplemented { what } => {
                let _permit = authorize::authorize(request, "s3:*")?;
                if request.bucket_text().is_some() {
                    self.setup.store.bucket(request.bucket())?;
                }
                Err(route::not_implemented(what))
            }
            Routed::NoOperation => Err(route::no_operation(request)),
        }
    }

    /// The path of an admin request: signed, whole, its hash compared.
    async fn serve_admin(self: &Arc<Self>, request: &mut Request) -> Result<Response<ResponseBody>, Failure> {
        let (api, path) = Api::of(request.head.uri.path()).ok_or(ErrorCode::XMinioAdminVersionMismatch)?;
        let path = path.to_owned();
        request.caller = authenticate::authenticate(self, request, authenticate::SERVICE, "")?;
        let Caller::Identity(identity) = request.caller.clone() else {
            return Err(ErrorCode::AccessDenied.into());
        };
        // Which call it is decides on the exact action; all there are need an administrator.
        let _permit = authorize::allow(request, "admin:*", iam::Resource::Service)?;
        if request.header("x-amz-content-sha256").is_none() {
            return Err(ErrorCode::AccessDenied.into());
        }
        let document = request.body.document(&request.head.headers, ADMIN_BODY_BYTES_MAX).await?;
        let request = AdminRequest {
            head: request.head.clone(),
            api,
            path,
            query: request.query.clone(),
            body: document.bytes,
            source_host: request.source_host.clone(),
            id: request.id.clone(),
            secret: identity.secret.reveal().to_owned(),
        };
        Ok(admin::respond(self, request).await)
    }

    /// Ends the streams that have no end of their own (listeners), so that connections can close.
    pub fn close_streams(&self) {
        self.closing.cancel();
    }

    /// Ends listeners and waits for background work of answered requests (access changes), at most ten
    /// seconds.
    pub async fn drain(&self) {
        self.close_streams();
        self.accesses.drain(DRAIN_SECONDS_MAX).await;
    }

    /// Drives work on the store to its end, also when the client goes away meanwhile: a write that is
    /// abandoned halfway would leave what it committed untold.
    pub(crate) fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Work<T> {
        self.accesses.begin(work)
    }

    /// The token that is cancelled when endless streams are to end.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// The store's clock, nanoseconds since 1970.
    pub(crate) fn now_ns(&self) -> u64 {
        self.setup.store.clock().now_ns()
    }

    /// The store's clock, seconds since 1970.
    pub(crate) fn now_s(&self) -> i64 {
        i64::try_from(self.now_ns() / 1_000_000_000).unwrap_or(i64::MAX)
    }
}

/// Largest body of an admin call, in bytes: 1 MiB.
const ADMIN_BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long [`Gateway::drain`] waits, in seconds.
const DRAIN_SECONDS_MAX: u64 = 10;

fn surface(path: &str) -> Surface {
    let Some(path) = path.strip_prefix("/minio/") else {
        return Surface::S3;
    };
    if path.starts_with("health/") {
        Surface::Health
    } else if path.starts_with("v2/metrics/")
        || path.starts_with("metrics/v3")
        || path == "prometheus/metrics"
    {
        Surface::Metrics
    } else if path.starts_with("admin/") || path.starts_with("tidings/") {
        Surface::Admin
    } else {
        // `minio` is no bucket: who has authenticated is told so.
        Surface::S3
    }
}
