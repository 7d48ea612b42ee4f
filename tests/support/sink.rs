//! A webhook that remembers what it got.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// One delivery.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<String>,
    /// Every header, by its name in lower case.
    pub(crate) headers: std::collections::BTreeMap<String, String>,
    pub(crate) body: serde_json::Value,
    /// The same as it came.
    pub(crate) bytes: Bytes,
}

impl Delivery {
    /// `s3:ObjectCreated:Put photos/rose.jpg`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.text("/EventName"), self.text("/Key"))
    }

    /// A text of the record by JSON pointer; empty when it is not there.
    pub(crate) fn text(&self, pointer: &str) -> String {
        self.body.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    }

    /// The order of the change.
    pub(crate) fn sequencer(&self) -> String {
        self.text("/Records/0/s3/object/sequencer")
    }
}

/// A webhook on a free port, or on the port it had before.
pub(crate) struct Sink {
    address: std::net::SocketAddr,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    /// Records of this object (`bucket/key`) are answered 422.
    refused: Arc<Mutex<Option<String>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Sink {
    pub(crate) async fn start() -> Sink {
        Sink::start_on(0).await
    }

    /// On a port that a target was told before anybody listened there.
    pub(crate) async fn start_on(port: u16) -> Sink {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let deliveries = Arc::new(Mutex::new(Vec::new()));
        let refused = Arc::default();
        let (kept, refuse) = (Arc::clone(&deliveries), Arc::clone(&refused));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, refuse) = (Arc::clone(&kept), Arc::clone(&refuse));
                let service =
                    service_fn(move |request| answer(request, Arc::clone(&kept), Arc::clone(&refuse)));
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Sink { address, deliveries, refused, accepting }
    }

    /// Refuses the records of this object (`bucket/key`) from now on, or of none.
    pub(crate) fn refuse(&self, object: Option<&str>) {
        *self.refused.lock().unwrap() = object.map(str::to_owned);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    /// Waits until as many deliveries came, and gives them all.
    pub(crate) async fn received(&self, count: usize) -> Vec<Delivery> {
        super::eventually(&format!("{count} deliveries"), || async {
            let deliveries = self.deliveries();
            (deliveries.len() >= count).then_some(deliveries)
        })
        .await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    kept: Arc<Mutex<Vec<Delivery>>>,
    refused: Arc<Mutex<Option<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (authorization, content_type) = (header("authorization"), header("content-type"));
    let all = request.headers().iter();
    let headers = all.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let mut response = Response::new(Full::default());
    // A body that was cut off is not a delivery: a server that was killed while it sent repeats it.
    match request.into_body().collect().await {
        Ok(body) => {
            let bytes = body.to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            // Only MinIO's form has a key there.
            let refused = refused.lock().unwrap().clone();
            if refused.is_some() && body["Key"].as_str() == refused.as_deref() {
                *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            } else {
                kept.lock().unwrap().push(Delivery { authorization, content_type, headers, body, bytes });
            }
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}
