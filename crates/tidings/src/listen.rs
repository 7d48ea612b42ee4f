//! The listener: sockets, TLS, HTTP/1.1 and HTTP/2, and the orderly end of all of them.
//!
//! A port is taken before the drives are opened, so that a port in use is told at once, and opened after
//! everything else: until then nobody can connect, and from then on every request is answered fully.
//!
//! # Bounds
//!
//! [`CONNECTIONS_MAX`] connections, fewer where the limit of open files is lower; who comes after waits in
//! the kernel's queue. A connection that has not sent a whole request head in time is closed, as is one that
//! is silent too long between requests. A peer that takes no bytes for [`UNACKNOWLEDGED_MS_MAX`] is dropped
//! by the kernel. A client that stops in the middle of a body is the gateway's to end.
//!
//! Absent: HTTP/3, the PROXY protocol.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use tidings_gateway as gateway;

use crate::config::{Address, Timeouts};
use crate::fatal::Fatal;

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Open files that are left to drives and targets when connections are counted out.
const FILES_KEPT: u64 = 512;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;

/// Largest head of an HTTP/1.1 request, and the most that is read ahead of a body, in bytes: 256 KiB.
const HTTP1_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Largest head of an HTTP/2 request, in bytes: 64 KiB, eight times what S3 allows in headers.
const HTTP2_HEADER_BYTES_MAX: u32 = 64 * 1024;

/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 256;

/// What a client may send on one HTTP/2 stream, and on all of a connection, before we read it, in bytes.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// How often a silent HTTP/2 peer is asked whether it is there, and how long it may take to answer.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a peer may leave sent bytes unacknowledged, in milliseconds: ten minutes, MinIO's default.
const UNACKNOWLEDGED_MS_MAX: u32 = 10 * 60 * 1000;

/// How long accepting rests after the system refused a connection (no more open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Ports that are taken and not yet open.
#[derive(Debug)]
pub struct Reserved {
    sockets: Vec<TcpSocket>,
    addresses: Vec<SocketAddr>,
}

impl Reserved {
    /// Takes the port of an address, on every interface it names.
    ///
    /// # Errors
    ///
    /// [`Fatal`]: the name does not resolve, or somebody else has the port.
    pub fn take(address: &Address) -> Result<Reserved, Fatal> {
        let shown = format!("{}:{}", address.host, address.port);
        let failed = |reason: String| {
            Fatal::new(format!("Unable to listen on {shown}"), reason)
                .remedy("End the other program, or choose another address with --address.")
        };
        let wanted = address.resolve().map_err(|error| failed(error.to_string()))?;
        let mut reserved = Reserved { sockets: Vec::new(), addresses: Vec::new() };
        let mut failure = "the name has no address".to_owned();
        for mut address in wanted {
            // Port 0 is chosen once: the other interfaces follow the first.
            if let (0, Some(first)) = (address.port(), reserved.addresses.first()) {
                address.set_port(first.port());
            }
            match bind(address) {
                Ok((socket, bound)) => {
                    reserved.sockets.push(socket);
                    reserved.addresses.push(bound);
                    // The IPv6 wildcard listens for IPv4 as well.
                    if bound.ip().is_unspecified() {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    return Err(failed(format!("the port is in use ({error})")));
                }
                Err(error) => failure = error.to_string(),
            }
        }
        if reserved.sockets.is_empty() { Err(failed(failure)) } else { Ok(reserved) }
    }

    /// What was taken, the port known.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn open(self) -> std::io::Result<Vec<TcpListener>> {
        self.sockets.into_iter().map(|socket| socket.listen(BACKLOG)).collect()
    }
}

fn bind(address: SocketAddr) -> std::io::Result<(TcpSocket, SocketAddr)> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    // A restart finds connections of its predecessor that the kernel has not forgotten yet.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let bound = socket.local_addr()?;
    Ok((socket, bound))
}

/// Open ports and their connections.
pub struct Listener {
    tasks: TaskTracker,
    gateway: Arc<gateway::Gateway>,
    /// No new connections and requests.
    ending: CancellationToken,
    /// What is still going on is cut.
    cutting: CancellationToken,
}

/// What every connection needs.
#[derive(Clone)]
struct Shared {
    gateway: Arc<gateway::Gateway>,
    tls: Option<TlsAcceptor>,
    protocol: Arc<auto::Builder<TokioExecutor>>,
    timeouts: Timeouts,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    ending: CancellationToken,
    cutting: CancellationToken,
}

impl Listener {
    /// Opens the ports. From here on requests are answered.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn open(
        reserved: Reserved,
        tls: Option<Arc<ServerConfig>>,
        gateway: Arc<gateway::Gateway>,
        timeouts: Timeouts,
    ) -> std::io::Result<Listener> {
        let (tasks, ending, cutting) =
            (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let shared = Shared {
            gateway: Arc::clone(&gateway),
            tls: tls.map(TlsAcceptor::from),
            protocol: Arc::new(protocol(timeouts)),
            timeouts,
            permits: Arc::new(Semaphore::new(connections_max())),
            tasks: tasks.clone(),
            ending: ending.clone(),
            cutting: cutting.clone(),
        };
        for listener in reserved.open()? {
            tasks.spawn(accept(listener, shared.clone()));
        }
        tasks.close();
        Ok(Listener { tasks, gateway, ending, cutting })
    }

    /// Ends the listener: the ports close, idle connections close, streams of events end, other requests
    /// go on for at most `patience` and are cut then.
    pub async fn drain(self, patience: Duration) {
        self.ending.cancel();
        self.gateway.close_streams();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(seconds = patience.as_secs(), "Requests that were still going on are cut.");
            self.cutting.cancel();
            self.tasks.wait().await;
        }
    }
}

fn protocol(timeouts: Timeouts) -> auto::Builder<TokioExecutor> {
    // Header names stay in lower case, as S3 sends them: boto3 gives the names of user metadata as they come.
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        // In hyper this one timer covers both the silence before a head and the head itself.
        .header_read_timeout(timeouts.idle)
        .max_buf_size(HTTP1_BUFFER_BYTES_MAX);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HTTP2_HEADER_BYTES_MAX)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT);
    protocol
}

/// Raises the soft limit of open files to the hard one and leaves some to drives and targets.
fn connections_max() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where raising is refused, what is allowed now counts.
    let files = match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        Err(_) => getrlimit(Resource::Nofile).current,
    };
    let Some(files) = files else {
        return CONNECTIONS_MAX;
    };
    let for_connections = files.saturating_sub(FILES_KEPT).max(files / 2).max(1);
    usize::try_from(for_connections).map_or(CONNECTIONS_MAX, |files| files.min(CONNECTIONS_MAX))
}

async fn accept(listener: TcpListener, shared: Shared) {
    loop {
        // The place is taken first: who finds none waits in the kernel, not in our memory.
        let permit = tokio::select! {
            permit = Arc::clone(&shared.permits).acquire_owned() => permit.expect("the semaphore is never closed"),
            () = shared.ending.cancelled() => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.ending.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                shared.tasks.spawn(connection(stream, peer, shared.clone(), permit));
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether accepting failed because the peer had already gone.
fn is_the_peers(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// One connection from handshake to end. Its failures are the peer's business; they are told at `debug`.
async fn connection(stream: TcpStream, peer: SocketAddr, shared: Shared, _permit: OwnedSemaphorePermit) {
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| Ok(rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS_MAX)?))
        .and_then(|()| Ok(rustix::net::sockopt::set_socket_keepalive(&stream, true)?));
    if let Err(error) = tuned {
        tracing::debug!(%peer, %error, "A connection ended before it was used.");
        return;
    }
    let Some(tls) = &shared.tls else {
        return serve(stream, peer, &shared).await;
    };
    let handshake = tokio::time::timeout(shared.timeouts.read_header, tls.accept(stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = shared.ending.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => serve(stream, peer, &shared).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "A TLS handshake failed."),
        Err(_) => tracing::debug!(%peer, "A TLS handshake took too long."),
    }
}

/// Answers the requests of one connection.
async fn serve<S>(stream: S, peer: SocketAddr, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let has_asked = Arc::new(AtomicBool::new(false));
    let service = {
        let (gateway, has_asked) = (Arc::clone(&shared.gateway), Arc::clone(&has_asked));
        hyper::service::service_fn(move |request: Request<Incoming>| {
            has_asked.store(true, Ordering::Relaxed);
            let gateway = Arc::clone(&gateway);
            async move { Ok::<_, Infallible>(answer(request, peer, &gateway).await) }
        })
    };
    let mut connection = pin!(shared.protocol.serve_connection(TokioIo::new(stream), service));
    // hyper's own timer starts once it knows which protocol is spoken; this one covers the time before.
    let mut first_request = pin!(tokio::time::sleep(shared.timeouts.read_header));
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "A connection ended early.");
                }
                return;
            }
            () = shared.ending.cancelled(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shared.cutting.cancelled() => return,
            () = first_request.as_mut(), if !first_request.is_elapsed() => {
                if !has_asked.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    gateway: &Arc<gateway::Gateway>,
) -> Response<gateway::ResponseBody> {
    let request = request.map(|body| body.map_err(gateway::BoxError::from).boxed_unsync());
    gateway.respond(request, peer).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> Address {
        Address { host: "127.0.0.1".to_owned(), port }
    }

    #[tokio::test]
    async fn a_port_somebody_listens_on_is_refused_before_anything_else() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let fatal = Reserved::take(&loopback(port)).unwrap_err();
        assert_eq!(fatal.what, format!("Unable to listen on 127.0.0.1:{port}"));
        assert!(fatal.reason.starts_with("the port is in use"), "{fatal}");
    }

    #[tokio::test]
    async fn a_reserved_port_is_not_open_yet() {
        let reserved = Reserved::take(&loopback(0)).unwrap();
        let refused = TcpStream::connect(reserved.addresses()[0]).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn every_interface_has_one_socket_for_both_families() {
        let reserved = Reserved::take(&Address { host: String::new(), port: 0 }).unwrap();
        assert_eq!(reserved.addresses().len(), 1);
        assert_ne!(reserved.addresses()[0].port(), 0);
    }
}
