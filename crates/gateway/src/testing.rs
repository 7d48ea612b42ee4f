//! A gateway over the memory engine, and requests to it as a client would sign and send them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};

use notify::target::{TargetId, TargetSettings};
use notify::testing::memory::MemoryTarget;
use s3::checksum::{ChecksumAlgorithm, Hasher};
use s3::sigv4::{ChunkEncoder, ChunkMode, Request as Wire, RequestSigner, UNSIGNED_PAYLOAD};
use sha2::{Digest as _, Sha256};
use store::testing::MemoryEngine;
use store::testing::fixture::HandClock;
use store::{
    Change, Clock as _, Engine as _, Heal, Healed, PartitionId, Sequence, SetReport, Store, Verification,
    Verify,
};
use tidings_iam as iam;
use tidings_notify as notify;
use tidings_s3 as s3;
use tidings_store as store;

use crate::config::Configuration;
use crate::{Gateway, Setup};

pub(crate) const ACCESS_KEY: &str = "minioadmin";
const HOST: &str = "s3.tidings.test:9000";
const NODE_ID: &str = "d444f13f2afa6f010ddf0fd86ddb73f14248127eccf414cd71c198fb9d273c24";

/// Heals where there are no drives: every key is whole.
fn heal_in_memory(engine: MemoryEngine) -> Arc<Heal> {
    Arc::new(move |task, told| {
        let scan = engine.scan(task.partition, task.range.clone(), 10_000);
        let page = tokio::runtime::Handle::current().block_on(scan).unwrap();
        let mut keys = page.into_iter().map(|(key, entry)| Healed {
            key,
            value: entry.value,
            before: Vec::new(),
            after: Vec::new(),
            is_lost: false,
        });
        if keys.all(|key| told(Some(key))) { Ok(()) } else { Err("it was ended".to_owned()) }
    })
}

/// A server without sockets: its clock stands at 2026-01-15T12:00:00Z.
pub(crate) struct Server {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) engine: MemoryEngine,
    pub(crate) clock: Arc<HandClock>,
    /// The target `arn:minio:sqs::1:memory`.
    pub(crate) target: MemoryTarget,
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::in_region("").await
    }

    pub(crate) async fn in_region(region: &str) -> Server {
        Server::made_of(region, Arc::new(|_| Ok(Verification::default())), heal_in_memory).await
    }

    /// A server whose drives are verified so.
    pub(crate) async fn verified_by(verify: Arc<Verify>) -> Server {
        Server::made_of("", verify, heal_in_memory).await
    }

    /// A server whose objects are healed so.
    pub(crate) async fn healed_by(heal: Arc<Heal>) -> Server {
        Server::made_of("", Arc::new(|_| Ok(Verification::default())), |_| heal).await
    }

    async fn made_of(
        region: &str,
        verify: Arc<Verify>,
        heal: impl FnOnce(MemoryEngine) -> Arc<Heal>,
    ) -> Server {
        let clock = Arc::new(HandClock::at_ms(1_768_478_400_000));
        let engine = MemoryEngine::with(clock.clone(), 1);
        let target = MemoryTarget::default();
        let notifier = MemoryTarget::notifier(&[("1", &target)], clock.clone());
        let store = Store::open(Arc::new(engine.clone()), notifier.clone(), clock.clone()).await.unwrap();
        let store = Arc::new(store);
        notifier.start(Arc::clone(&store));
        let target_id = TargetId { id: "1".to_owned(), kind: "memory" };
        let settings = vec![TargetSettings { target: target_id, values: BTreeMap::new() }];
        assert_eq!(notifier.apply(settings).await, []);
        let environment = Arc::new(BTreeMap::new());
        let configuration =
            Configuration::load(store.clone(), notifier.clone(), environment.clone()).await.unwrap();
        let gateway = Gateway::new(Setup {
            store,
            notifier,
            directory: iam::Directory::of_root(ACCESS_KEY, iam::Secret::new("minioadmin")).unwrap(),
            configuration,
            reports: Arc::new(|| vec![report()]),
            verify,
            heal: heal(engine.clone()),
            domains: vec!["s3.tidings.test".to_owned()],
            region: region.to_owned(),
            node_id: NODE_ID.to_owned(),
            endpoint: HOST.to_owned(),
            scheme: "http",
            environment,
            service: Arc::new(|_| {}),
        });
        Server { gateway, engine, clock, target }
    }

    /// A server with the bucket `album`.
    pub(crate) async fn with_album() -> Server {
        let server = Server::start().await;
        server.put("/album").send().await.expect(200);
        server
    }

    pub(crate) fn get(&self, target: &str) -> Call<'_> {
        self.call(Method::GET, target)
    }

    pub(crate) fn head(&self, target: &str) -> Call<'_> {
        self.call(Method::HEAD, target)
    }

    pub(crate) fn put(&self, target: &str) -> Call<'_> {
        self.call(Method::PUT, target)
    }

    pub(crate) fn post(&self, target: &str) -> Call<'_> {
        self.call(Method::POST, target)
    }

    pub(crate) fn delete(&self, target: &str) -> Call<'_> {
        self.call(Method::DELETE, target)
    }

    fn call(&self, method: Method, target: &str) -> Call<'_> {
        Call {
            server: self,
            method,
            target: target.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            secret: Some("minioadmin"),
            access_key: ACCESS_KEY,
            service: "s3",
            skew_s: 0,
            framing: None,
            payload_hash: None,
            spoil: None,
        }
    }

    /// Everything that was told, as `kind bucket/key`.
    pub(crate) async fn changes(&self) -> Vec<String> {
        self.told()
            .await
            .iter()
            .map(|change| format!("{:?} {}/{}", change.kind, change.bucket, change.key))
            .collect()
    }

    /// Everything that was told.
    pub(crate) async fn told(&self) -> Vec<Change> {
        let changes = self.engine.changes(PartitionId(0), Sequence::ZERO, 1000).await.unwrap();
        changes.into_iter().map(Arc::unwrap_or_clone).collect()
    }
}

fn report() -> SetReport {
    SetReport {
        id: "c9886d4a-1826-4d65-8c3e-707713a57098".to_owned(),
        drives: Vec::new(),
        data: 1,
        parity: 0,
        write_quorum: 1,
        read_quorum: 1,
        writable: true,
        readable: true,
        heal: store::HealReport::default(),
    }
}

/// A request to be signed and sent.
pub(crate) struct Call<'s> {
    server: &'s Server,
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    secret: Option<&'static str>,
    access_key: &'static str,
    service: &'static str,
    skew_s: i64,
    framing: Option<(ChunkMode, ChecksumAlgorithm)>,
    payload_hash: Option<String>,
    spoil: Option<fn(Vec<u8>) -> Vec<u8>>,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Bytes::copy_from_slice(body.as_ref());
        self
    }

    /// A body with its `Content-MD5`.
    pub(crate) fn checked_body(self, body: &str) -> Self {
        use base64::Engine as _;
        let mut digest = s3::digest::BodyDigest::new(false, None);
        digest.update(body.as_bytes());
        let md5 = base64::engine::general_purpose::STANDARD.encode(digest.finish().md5);
        self.header("content-md5", &md5).body(body)
    }

    pub(crate) fn anonymous(mut self) -> Self {
        self.secret = None;
        self
    }

    pub(crate) fn secret(mut self, secret: &'static str) -> Self {
        self.secret = Some(secret);
        self
    }

    pub(crate) fn access_key(mut self, access_key: &'static str) -> Self {
        self.access_key = access_key;
        self
    }

    /// Signs for another service than S3.
    pub(crate) fn service(mut self, service: &'static str) -> Self {
        self.service = service;
        self
    }

    /// Signs as of so many seconds after the server's clock.
    pub(crate) fn skewed(mut self, seconds: i64) -> Self {
        self.skew_s = seconds;
        self
    }

    /// Sends the body as `aws-chunked`, in chunks of 64 KiB.
    pub(crate) fn chunked(mut self, mode: ChunkMode, trailer: ChecksumAlgorithm) -> Self {
        self.framing = Some((mode, trailer));
        self
    }

    pub(crate) fn payload_hash(mut self, hash: &str) -> Self {
        self.payload_hash = Some(hash.to_owned());
        self
    }

    /// Changes the body after it was signed and framed.
    pub(crate) fn spoiled(mut self, spoil: fn(Vec<u8>) -> Vec<u8>) -> Self {
        self.spoil = Some(spoil);
        self
    }

    pub(crate) async fn send(mut self) -> Answer {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        if !self.headers.iter().any(|(name, _)| name == "host") {
            self.headers.push(("host".to_owned(), HOST.to_owned()));
        }
        if let Some((mode, trailer)) = self.framing {
            self.headers.push(("x-amz-decoded-content-length".to_owned(), self.body.len().to_string()));
            if mode.has_trailer() {
                self.headers.push(("x-amz-trailer".to_owned(), trailer.header().to_owned()));
            }
        }
        let hash = match (&self.payload_hash, self.framing) {
            (Some(hash), _) => hash.clone(),
            (None, Some((mode, _))) => mode.keyword().to_owned(),
            (None, None) => hex::encode(Sha256::digest(&self.body)),
        };
        let mut chain = None;
        if let Some(secret) = self.secret {
            let signer = RequestSigner {
                access_key: self.access_key,
                secret_key: secret,
                session_token: None,
                region: "us-east-1",
                service: self.service,
            };
            let wire =
                Wire { method: self.method.as_str(), path: &path, query: &query, headers: &self.headers };
            let now_s = i64::try_from(self.server.clock.now_ns() / 1_000_000_000).unwrap() + self.skew_s;
            let signed = signer.sign(&wire, &hash, now_s).unwrap();
            self.headers.extend(signed.headers.into_iter().map(|(name, value)| (name.to_owned(), value)));
            chain = Some(signed.chunk_chain);
        } else if self.framing.is_some() {
            self.headers.push(("x-amz-content-sha256".to_owned(), hash));
        }
        let mut body = self.body.to_vec();
        if let Some((mode, trailer)) = self.framing {
            let mut encoder = ChunkEncoder::new(mode, chain);
            let mut framed: Vec<u8> = body.chunks(64 * 1024).flat_map(|chunk| encoder.chunk(chunk)).collect();
            let mut hasher = Hasher::new(trailer);
            hasher.update(&body);
            framed.extend(encoder.finish(Some(&hasher.finish())));
            body = framed;
        }
        if let Some(spoil) = self.spoil {
            body = spoil(body);
        }
        self.wire(&path, &query, body).await
    }

    /// Sends the request as a presigned URL.
    pub(crate) async fn send_presigned(self, expires_s: u32) -> Answer {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let headers = vec![("host".to_owned(), HOST.to_owned())];
        let wire = Wire { method: self.method.as_str(), path, query, headers: &headers };
        let signer = RequestSigner {
            access_key: self.access_key,
            secret_key: self.secret.unwrap_or_default(),
            session_token: None,
            region: "us-east-1",
            service: "s3",
        };
        let now_s = i64::try_from(self.server.clock.now_ns() / 1_000_000_000).unwrap() + self.skew_s;
        let query = signer.presign(&wire, expires_s, now_s).unwrap();
        let (path, body) = (path.to_owned(), self.body.to_vec());
        let call = Call { headers, ..self };
        call.wire(&path, &query, body).await
    }

    async fn wire(self, path: &str, query: &str, body: Vec<u8>) -> Answer {
        let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let mut request = http::Request::builder().method(self.method).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let has_length = self.headers.iter().any(|(name, _)| name == "content-length");
        if !has_length {
            request = request.header("content-length", body.len());
        }
        // Two frames, so that nothing depends on a body coming in one.
        let (first, second) = body.split_at(body.len() / 2);
        let body = Full::new(Bytes::copy_from_slice(first)).map_err(|never| match never {}).boxed_unsync();
        let frames = futures_util::stream::iter([
            Ok(http_body::Frame::data(body.collect().await.expect("a whole body").to_bytes())),
            Ok(http_body::Frame::data(Bytes::copy_from_slice(second))),
        ]);
        let request = request.body(http_body_util::StreamBody::new(frames).boxed_unsync()).unwrap();
        let peer = SocketAddr::from(([127, 0, 0, 1], 4711));
        let reply = self.server.gateway.respond(request, peer).await;
        let (head, body) = reply.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Answer { status: head.status, headers: head.headers, body }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Panics with the whole answer unless the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// Status and code of an error.
    pub(crate) fn error(&self) -> (u16, String) {
        let code = match self.element("Code") {
            code if code.is_empty() => self.header("x-minio-error-code").to_owned(),
            code => code,
        };
        (self.status.as_u16(), code)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first element of this name; empty when there is none.
    pub(crate) fn element(&self, name: &str) -> String {
        self.elements(name).into_iter().next().unwrap_or_default()
    }

    /// The texts of all elements of this name.
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        text.split(&open)
            .skip(1)
            .map(|rest| rest.split(&close).next().unwrap_or_default().replace("&#34;", "\""))
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The answer to a signed request without a body, for answers that do not end.
pub(crate) async fn streamed(
    server: &Server,
    method: Method,
    target: &str,
) -> http::Response<crate::ResponseBody> {
    let request = wire_request(server, method, target);
    let request =
        request.map(|()| http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync());
    server.gateway.respond(request, SocketAddr::from(([127, 0, 0, 1], 1))).await
}

/// A signed request without a body.
fn wire_request(server: &Server, method: Method, target: &str) -> http::Request<()> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = vec![("host".to_owned(), HOST.to_owned())];
    let wire = Wire { method: method.as_str(), path, query, headers: &headers };
    let signer = RequestSigner {
        access_key: ACCESS_KEY,
        secret_key: "minioadmin",
        session_token: None,
        region: "us-east-1",
        service: "s3",
    };
    let now_s = i64::try_from(server.clock.now_ns() / 1_000_000_000).unwrap();
    let signed = signer.sign(&wire, UNSIGNED_PAYLOAD, now_s).unwrap();
    let mut request = http::Request::builder().method(&method).uri(target).header("host", HOST);
    for (name, value) in signed.headers {
        request = request.header(name, value);
    }
    request.body(()).unwrap()
}

/// The word for a body whose hash is not signed.
pub(crate) const UNSIGNED: &str = UNSIGNED_PAYLOAD;
