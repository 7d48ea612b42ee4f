//! The webhook that a row's records go to: it notes what it took, in that order, and is as sick as the row wants.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
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
use crate::support::asked_for;
use crate::writer::origin_of;

/// Every so manyth delivery goes wrong while the webhook is sick.
const SICK_EVERY: usize = 40;

/// How long it hangs before it cuts the connection.
const HANGS: Duration = Duration::from_millis(300);

/// How long an address may still be taken.
const FREE_WITHIN: Duration = Duration::from_secs(5);

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
    /// The one bucket whose records are noted, and that of what is copied into it.
    only: OnceLock<String>,
}

impl Sink {
    /// Listens at an address, `127.0.0.1:0` for any free port.
    ///
    /// # Errors
    ///
    /// A sentence: nobody can listen there.
    pub(crate) async fn start(address: &str) -> Result<Sink, String> {
        let shared = Arc::new(Shared {
            told: Mutex::default(),
            mood: Mutex::new(Mood::Well),
            deliveries: AtomicUsize::new(0),
            only: OnceLock::new(),
        });
        let listener =
            bound(address).await.map_err(|error| format!("cannot listen at {address}: {error}"))?;
        let mut sink = Sink { address: listener.local_addr().unwrap(), shared, accepting: None };
        sink.accept(listener);
        Ok(sink)
    }

    /// Notes nothing but what is told of this bucket: a server that is not only the checker's tells its target of
    /// other buckets too, and late of those of an earlier row.
    pub(crate) fn listen_only_to(&self, bucket: &str) {
        self.shared.only.set(bucket.to_owned()).expect("a webhook listens to one row");
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
        let listener = bound(&self.address.to_string()).await.expect("the port is still free");
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

/// A listener; it waits for the webhook of the row before to be gone from there.
async fn bound(address: &str) -> std::io::Result<TcpListener> {
    let binding = asked_for(FREE_WITHIN, || async {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => Err(error),
            outcome => Ok(outcome),
        }
    });
    binding.await.flatten()
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
    let told = consumer::told(&body);
    if shared.only.get().is_none_or(|bucket| is_of(&told, bucket)) {
        shared.told.lock().unwrap().push(told);
    }
    match (mood, turn) {
        (Mood::Cuts, Some(_)) => return Err(Cut),
        (Mood::Slow(by), _) => tokio::time::sleep(by).await,
        _ => {}
    }
    Ok(of_status(StatusCode::OK))
}

/// Whether a record is of a bucket or of the one that its objects are copied from, or nobody can say of which.
fn is_of(told: &Told, bucket: &str) -> bool {
    let of = told.key.split_once('/').map_or("", |(of, _)| of);
    of.is_empty() || of == bucket || of == origin_of(bucket)
}

fn of_status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
