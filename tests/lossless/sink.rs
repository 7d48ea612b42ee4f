//! The webhook that a row's records go to: it notes what it took, in that order, and is as sick as the row wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::consumer;
use crate::judge::Told;

/// Every so manyth delivery goes wrong while the webhook is sick.
const SICK_EVERY: usize = 40;

/// How long it hangs before it cuts the connection.
const HANGS: Duration = Duration::from_millis(300);

/// What it does with deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Takes them, and answers so much later.
    Slow(Duration),
    /// Takes them, but now and then one is answered 500, the next 429, the next not at all, and not taken.
    Fails,
    /// Takes them, but now and then cuts the connection instead of saying so.
    Cuts,
}

/// See the module header.
pub(crate) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    told: Mutex<Vec<Told>>,
    mood: Mutex<Mood>,
    deliveries: AtomicUsize,
}

impl Sink {
    /// Listens at an address, `127.0.0.1:0` for any free port.
    pub(crate) async fn start(address: &str) -> Sink {
        let shared = Arc::new(Shared {
            told: Mutex::default(),
            mood: Mutex::new(Mood::Well),
            deliveries: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind(address).await.unwrap();
        let mut sink = Sink { address: listener.local_addr().unwrap(), shared, accepting: None };
        sink.accept(listener);
        sink
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.shared.told.lock().unwrap().clone()
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// Nobody listens any more, and every connection is cut.
    pub(crate) async fn leave(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // The port is free when the task is gone.
            let _ = accepting.await;
        }
    }

    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accept(listener);
    }

    fn accept(&mut self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(tokio::spawn(async move {
            // Dropped with this task, and the connections with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        }));
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    // A connection that the server or this webhook cut is what rows are about.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The connection is cut without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the webhook cuts the connection")
    }
}

impl std::error::Error for Cut {}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Cut> {
    // A body that was cut off is not a delivery: a server that was killed while it sent repeats it.
    let body = request.into_body().collect().await.map_err(|_| Cut)?.to_bytes();
    let mood = *shared.mood.lock().unwrap();
    let number = shared.deliveries.fetch_add(1, Ordering::Relaxed);
    let turn = number.is_multiple_of(SICK_EVERY).then_some(number / SICK_EVERY);
    if let (Mood::Fails, Some(turn)) = (mood, turn) {
        return match turn % 3 {
            0 => Ok(of_status(StatusCode::INTERNAL_SERVER_ERROR)),
            1 => Ok(of_status(StatusCode::TOO_MANY_REQUESTS)),
            _ => {
                tokio::time::sleep(HANGS).await;
                Err(Cut)
            }
        };
    }
    if body.is_empty() {
        // MinIO probes a webhook with an empty request.
        return Ok(of_status(StatusCode::OK));
    }
    shared.told.lock().unwrap().push(consumer::told(&body));
    match (mood, turn) {
        (Mood::Cuts, Some(_)) => return Err(Cut),
        (Mood::Slow(by), _) => tokio::time::sleep(by).await,
        _ => {}
    }
    Ok(of_status(StatusCode::OK))
}

fn of_status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
