//! A byte stream to a `host:port`, encrypted when the settings ask for it.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A stream of bytes both ways, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where to connect to, and how.
#[derive(Clone)]
pub(crate) struct Dial {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Absent for a connection in the clear.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Dial {
    /// Connects. Has no bound of its own in time.
    ///
    /// # Errors
    ///
    /// A clause that names host and port.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let stream = self.open().await?;
        match &self.tls {
            Some(config) => Ok(Box::new(self.encrypt(config, stream).await?)),
            None => Ok(Box::new(stream)),
        }
    }

    async fn open(&self) -> Result<TcpStream, String> {
        let (host, port) = (self.host.trim_matches(['[', ']']), self.port);
        let stream = TcpStream::connect((host, port)).await;
        let stream = stream.map_err(|error| format!("{host}:{port} cannot be reached: {error}"))?;
        // A record is one write; waiting to fill a packet only makes it late.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(stream)
    }

    /// TLS over a stream that is there.
    pub(crate) async fn encrypt<S: Stream>(
        &self,
        config: &Arc<ClientConfig>,
        stream: S,
    ) -> Result<tokio_rustls::client::TlsStream<S>, String> {
        let host = self.host.trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host} is no name that a certificate can have"))?;
        let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        connecting.await.map_err(|error| format!("TLS with {host}:{} fails: {error}", self.port))
    }
}
