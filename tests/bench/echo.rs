//! The limit of HTTP: a hyper server that does nothing, under the same generator.
//!
//! `GET /N` answers N bytes, any other request reads its body and answers none. It runs as a process of its
//! own, on a runtime with as many threads as the server's.

use std::convert::Infallible;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::Outcome;
use crate::connection::Connection;
use crate::load::{Prepared, drive};
use crate::options::{LARGE, Options};
use crate::requests::{Body, Signer};
use crate::server::{Process, free_port};
use crate::table::{Report, Row};

/// The argument that makes this program the echo server; its port follows.
pub(crate) const FLAG: &str = "--serve-echo";

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest answer, in bytes; all answers are pieces of one buffer.
const ANSWER_BYTES_MAX: usize = LARGE;

/// Serves until it is killed.
///
/// # Errors
///
/// The port is taken.
pub(crate) fn serve(port: &str) -> Outcome<()> {
    let address = format!("127.0.0.1:{port}");
    let bytes = Body::noise(ANSWER_BYTES_MAX).bytes().clone();
    tokio::runtime::Runtime::new()?.block_on(async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, bytes.clone()));
                // The client has gone: its business.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn answer(request: Request<Incoming>, bytes: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let wanted: usize = match *request.method() {
        Method::GET => request.uri().path()[1..].parse().unwrap_or(0),
        _ => 0,
    };
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(Response::new(Full::new(bytes.slice(..wanted.min(bytes.len())))))
}

/// Measures the echo server where the server is measured too.
///
/// # Errors
///
/// It cannot be started.
pub(crate) async fn measure(options: &Options, report: &mut Report) -> Outcome<()> {
    let port = free_port()?;
    let echo = Echo(Command::new(std::env::current_exe()?).args([FLAG, &port.to_string()]).spawn()?);
    let process = Process(echo.0.id());
    let authority = format!("127.0.0.1:{port}");
    let gives_up = Instant::now() + PATIENCE;
    while Connection::open(&authority).await.is_err() {
        if Instant::now() > gives_up {
            return Err("the echo server does not answer".into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let signer = Signer::new(&authority);
    for size_bytes in options.sizes() {
        let body = Body::noise(size_bytes);
        let target = format!("/{size_bytes}");
        for clients in options.clients(size_bytes) {
            for (name, method, body) in
                [("echo PUT", Method::PUT, &body), ("echo GET", Method::GET, &Body::none())]
            {
                let count = options.requests_max(size_bytes, clients);
                let requests: Outcome<Vec<_>> =
                    (0..count).map(|_| signer.request(method.clone(), &target, body)).collect();
                let cpu = process.cpu_seconds()?;
                let prepared = Prepared::new(requests?);
                let measured = drive(&authority, clients, options.seconds, prepared).await?;
                let mut row = Row::new(name, size_bytes, clients, &measured);
                row.cpu_s = Some(process.cpu_seconds()? - cpu);
                report.add(row);
            }
        }
    }
    Ok(())
}

/// The process, which ends with this value.
struct Echo(Child);

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
