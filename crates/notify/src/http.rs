//! The HTTP client of targets that are HTTP servers.
//!
//! HTTP/1.1, a connection for each request under way. What a server answers is read to a bound, so that the connection
//! can be used again and an answer without end costs nothing but its connection.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use rustls::ClientConfig;

use crate::target::in_full;

/// Who we are.
pub(crate) const USER_AGENT: &str = concat!("tidings/", env!("CARGO_PKG_VERSION"));

/// How long a connection may take.
pub(crate) const CONNECT_MS: u64 = 5000;

/// Redirects followed for one record.
const REDIRECTS_MAX: usize = 10;

/// How much of an answer is read, in bytes.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A client that sends these headers with every request, waits so long for an answer, its body included, and keeps so
/// many connections.
///
/// # Errors
///
/// A clause.
pub(crate) fn client(
    tls: ClientConfig,
    headers: HeaderMap,
    answer_ms: u64,
    connections: usize,
) -> Result<Client, String> {
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .user_agent(USER_AGENT)
        .default_headers(headers)
        .redirect(Policy::custom(|attempt| {
            if keeps_body(attempt.status()) && attempt.previous().len() <= REDIRECTS_MAX {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }))
        .connect_timeout(Duration::from_millis(CONNECT_MS))
        .timeout(Duration::from_millis(answer_ms))
        .pool_max_idle_per_host(connections);
    client.build().map_err(|error| format!("no client can be made: {}", in_full(&error)))
}

/// Whether an answer is a redirect that keeps method and body, as only these two do.
pub(crate) fn keeps_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
}

/// The body of an answer, cut where it is longer than anybody needs.
pub(crate) async fn text_of(answer: &mut Response) -> String {
    let mut read = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        read.extend_from_slice(&chunk);
        if read.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}
