//! Every HTTP surface: S3 operations, the admin API, health, metrics, the listen stream.
//!
//! [`Gateway::respond`] is the path of a request: route, authenticate, authorize, operate, respond, in that
//! order and in one place. No middleware stack hides it.

pub mod admin;
pub mod config;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

use tidings_iam as iam;
use tidings_notify as notify;
use tidings_store as store;

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
    pub report: Arc<dyn Fn() -> store::SetReport + Send + Sync>,
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
}

impl Gateway {
    /// Makes the gateway.
    pub fn new(setup: Setup) -> Arc<Gateway> {
        Arc::new(Gateway { setup })
    }

    /// Answers one request. Never fails: every failure has its response.
    pub async fn respond(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        peer: SocketAddr,
    ) -> Response<ResponseBody> {
        let _ = (request, peer);
        todo!()
    }

    /// Waits for background work of answered requests (access changes), at most ten seconds.
    pub async fn drain(&self) {
        todo!()
    }
}
