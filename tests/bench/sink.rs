//! A webhook that answers at once or after a delay, and judges the order of what it gets.
//!
//! It runs as a process of its own, on one thread. `POST` is a delivery of MinIO's envelope; `GET` tells what came so
//! far as three numbers: records, records whose sequencer is not greater than the last one of their key, and of those
//! the ones that came before.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use crate::Outcome;
use crate::beside::Beside;
use crate::connection::Connection;
use crate::requests::{Body, Signer};
use crate::server::Process;

/// The argument that makes this program the sink; its port and its delay in milliseconds follow.
pub(crate) const FLAG: &str = "--serve-sink";

/// What came, by key.
#[derive(Default)]
struct Received {
    records: u64,
    disordered: u64,
    repeated: u64,
    newest: HashMap<String, u64>,
    /// The sequencers of everything, each of which is of one record: what comes again is no disorder.
    seen: HashSet<u64>,
}

impl Received {
    fn take(&mut self, body: &str) {
        let sequencer =
            text(body, "\"sequencer\":\"").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let (Some(key), Some(sequencer)) = (text(body, "\"Key\":\""), sequencer) else {
            return;
        };
        self.records += 1;
        if !self.seen.insert(sequencer) {
            self.repeated += 1;
        }
        match self.newest.get_mut(key) {
            Some(newest) if sequencer <= *newest => self.disordered += 1,
            Some(newest) => *newest = sequencer,
            None => drop(self.newest.insert(key.to_owned(), sequencer)),
        }
    }
}

/// The text behind a mark, to the next quote.
fn text<'a>(body: &'a str, mark: &str) -> Option<&'a str> {
    body.split_once(mark)?.1.split('"').next()
}

/// Serves until it is killed.
///
/// # Errors
///
/// The port is taken.
pub(crate) fn serve(port: &str, delay_ms: &str) -> Outcome<()> {
    let (address, delay) = (format!("127.0.0.1:{port}"), Duration::from_millis(delay_ms.parse()?));
    let received = Rc::<RefCell<Received>>::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let received = Rc::clone(&received);
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| answer(request, delay, Rc::clone(&received)));
                // The client has gone: its business.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn answer(
    request: Request<Incoming>,
    delay: Duration,
    received: Rc<RefCell<Received>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::GET {
        let received = received.borrow();
        let told = format!("{} {} {}", received.records, received.disordered, received.repeated);
        return Ok(Response::new(Full::from(told)));
    }
    if let Ok(body) = request.into_body().collect().await
        && let Ok(text) = std::str::from_utf8(&body.to_bytes())
    {
        received.borrow_mut().take(text);
    }
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    Ok(Response::new(Full::default()))
}

/// The process, which ends with this value.
pub(crate) struct Sink(Beside);

impl Sink {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    ///
    /// It does not.
    pub(crate) async fn start(delay_ms: u64) -> Outcome<Sink> {
        Ok(Sink(Beside::start(FLAG, &[delay_ms.to_string()]).await?))
    }

    /// Its process.
    pub(crate) fn process(&self) -> Process {
        self.0.process()
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.0.authority
    }

    /// Records that came, those out of order, those that came before.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub(crate) async fn received(&self) -> Outcome<[u64; 3]> {
        let mut connection = Connection::open(self.authority()).await?;
        let request = Signer::new(self.authority()).request(Method::GET, "/", &Body::none())?;
        let told = String::from_utf8(connection.read(request).await?.into_body().to_vec())?;
        let mut numbers = [0; 3];
        for (number, text) in numbers.iter_mut().zip(told.split(' ')) {
            *number = text.parse()?;
        }
        Ok(numbers)
    }
}
