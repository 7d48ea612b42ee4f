//! The limit of HTTP: a hyper server that does nothing, under the same generator.
//!
//! `GET /N` answers N bytes, any other request reads its body and answers none. It runs as a process of its
//! own, on a runtime with as many threads as the server's.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::Outcome;
use crate::beside::Beside;
use crate::load::{Prepared, drive};
use crate::options::{LARGE, Options};
use crate::requests::{Body, Signer};
use crate::table::{Report, Row};

/// The argument that makes this program the echo server; its port follows.
pub(crate) const FLAG: &str = "--serve-echo";

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
    let echo = Beside::start(FLAG, &[]).await?;
    let (process, authority) = (echo.process(), &echo.authority);
    let signer = Signer::new(authority);
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
                let measured = drive(authority, clients, options.seconds, prepared).await?;
                let mut row = Row::new(name, size_bytes, clients, &measured);
                row.cpu_s = Some(process.cpu_seconds()? - cpu);
                report.add(row);
            }
        }
    }
    Ok(())
}
