//! One kept-alive HTTP/1.1 connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Outcome;

/// Most of a failure's text that is kept, in bytes.
const FAILURE_BYTES_MAX: usize = 400;

/// How long one answer may take: what takes longer is a failure, not a latency.
const PATIENCE: Duration = Duration::from_secs(120);

/// One kept-alive connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) async fn open(authority: &str) -> Outcome<Connection> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // A connection that breaks fails the exchange that uses it, which tells of it.
            let _ = connection.await;
        });
        Ok(Connection { sender })
    }

    /// Sends a request and reads the answer to its end, keeping none of it: the length of its body.
    ///
    /// # Errors
    ///
    /// A connection that broke, an answer that is no success.
    pub(crate) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Outcome<u64> {
        let mut answer = self.send(request).await?;
        let mut length = 0;
        while let Some(frame) = answer.body_mut().frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len) as u64;
        }
        Ok(length)
    }

    /// As [`Connection::exchange`], keeping head and body.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) async fn read(&mut self, request: Request<Full<Bytes>>) -> Outcome<Response<Bytes>> {
        let (head, body) = self.send(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Outcome<Response<Incoming>> {
        self.sender.ready().await?;
        let answer = tokio::time::timeout(PATIENCE, self.sender.send_request(request)).await??;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let mut said = BytesMut::new();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            said.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| &data[..]));
        }
        said.truncate(FAILURE_BYTES_MAX);
        Err(format!("{status}: {}", String::from_utf8_lossy(&said)).into())
    }
}
