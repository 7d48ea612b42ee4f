//! Webhook: one HTTP POST a record; any 2xx acknowledges it.
//!
//! Records of different keys are posted side by side over [`IN_FLIGHT_MAX`] connections of the target's own, and those
//! that are ready together one behind the other in one write, as many as the endpoint answers quickly
//! ([`post`](crate::post)): each is a request of its own and has an outcome of its own. A redirect is followed only
//! where it keeps method and body (307, 308): after any other the record would be lost in a GET. Proxies are taken from
//! the environment. An endpoint behind a proxy, with credentials in its URL or that redirected once is posted to with
//! the client of [`http`], which can do all that, sends one at a time over each connection and costs the server more.
//!
//! Source of keys, headers and limits: MinIO's webhook target.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use hyper_util::client::proxy::matcher::Matcher;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Client, StatusCode, Url};
use store::Future;
use tidings_store as store;
use tokio::net::TcpStream;

use crate::http::{self, CONNECT_MS};
use crate::post::{Answer, Letter, Post, Reply};
use crate::record::{Carries, Form};
use crate::target::{
    Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings, in_full,
};
use crate::tls::TlsKeys;

/// The row of `TARGETS`.
pub(crate) const KIND: TargetKind = TargetKind {
    kind: "webhook",
    subsystem: "notify_webhook",
    env: "WEBHOOK",
    help: "posts the records of changes to an HTTP server",
    keys: &[
        KeySpec::new(
            "endpoint",
            "ENDPOINT",
            KeyKind::Url,
            "URL that each record is posted to, such as https://localhost:8080/events",
        )
        .required(),
        KeySpec::new(
            "auth_token",
            "AUTH_TOKEN",
            KeyKind::Text,
            "one word is sent as a bearer token, two words are sent as they are, e.g. \"Basic dXNlcjpwdw==\"",
        )
        .secret(),
        KeySpec::QUEUE_DIR,
        KeySpec::QUEUE_LIMIT,
        KeySpec::new("client_cert", "CLIENT_CERT", KeyKind::Path, "client certificate for mTLS, a PEM file"),
        KeySpec::new(
            "client_key",
            "CLIENT_KEY",
            KeyKind::Path,
            "private key of the client certificate, a PEM file",
        ),
        Form::KEY,
        Form::OPAQUE_DATA,
        KeySpec::COMMENT,
    ],
    check,
    connect: |settings, surroundings| {
        Ok(Box::new(Webhook::new(settings, surroundings, &Matcher::from_system())?))
    },
};

const TLS_KEYS: TlsKeys = TlsKeys { certificate: "client_cert", private_key: "client_key", authority: "" };

/// Deliveries under way at once, each over a connection.
const IN_FLIGHT_MAX: usize = 32;

/// How long the answer may take, its body included; of records that travel together, the last one's.
const ANSWER_MS: u64 = 60_000;

/// How much of a refusal's body is quoted, in characters.
const QUOTE_CHARS_MAX: usize = 120;

fn check(settings: &TargetSettings) -> Result<(), String> {
    settings.check_keys(KIND.keys)?;
    endpoint(settings)?;
    authorization(settings)?;
    form(settings)?;
    TLS_KEYS.check(settings)
}

fn endpoint(settings: &TargetSettings) -> Result<Url, String> {
    let url =
        Url::parse(settings.value("endpoint")).map_err(|error| format!("endpoint is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("endpoint has the scheme {}, http and https are known", url.scheme()));
    }
    Ok(url)
}

/// One word is a bearer token, two are sent as they are, more are not sent.
fn authorization(settings: &TargetSettings) -> Result<Option<HeaderValue>, String> {
    let words: Vec<&str> = settings.value("auth_token").split_whitespace().collect();
    let text = match words[..] {
        [token] => format!("Bearer {token}"),
        [scheme, credentials] => format!("{scheme} {credentials}"),
        _ => return Ok(None),
    };
    // The error would quote the value.
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "auth_token holds characters that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn form(settings: &TargetSettings) -> Result<Form, String> {
    Form::of(settings, Form::MinioEnvelope, Carries::Attributes)
}

/// An attribute's header. HTTP protocol binding for CloudEvents 1.0.2, §3.1.3.
fn attribute_header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
    let value = HeaderValue::from_str(&utf8_percent_encode(value, ENCODED).to_string()).ok()?;
    Some((HeaderName::try_from(format!("ce-{name}")).ok()?, value))
}

/// Headers of a record.
type Attributes = Vec<(HeaderName, HeaderValue)>;

fn attributes(delivery: &Delivery) -> Attributes {
    delivery.attributes.iter().filter_map(|(name, value)| attribute_header(name, value)).collect()
}

struct Webhook {
    /// Absent where the endpoint is not one for it.
    post: Option<Post>,
    /// The endpoint redirected: it is the client's now.
    is_redirected: AtomicBool,
    client: Client,
    endpoint: Url,
    form: Form,
}

impl Webhook {
    fn new(
        settings: &TargetSettings,
        surroundings: &Surroundings,
        proxies: &Matcher,
    ) -> Result<Webhook, String> {
        let (form, endpoint) = (form(settings)?, endpoint(settings)?);
        let content_type = HeaderValue::from_static(form.content_type());
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
        if let Some(value) = authorization(settings)? {
            headers.insert(AUTHORIZATION, value);
        }
        let tls = TLS_KEYS.of(settings).client_config(surroundings)?;
        let client = http::client(tls.clone(), headers.clone(), ANSWER_MS, IN_FLIGHT_MAX)?;
        // What the client says of itself.
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(USER_AGENT, HeaderValue::from_static(http::USER_AGENT));
        let post = Post::new(&endpoint, proxies, tls, headers, ANSWER_MS, IN_FLIGHT_MAX);
        Ok(Webhook { post, is_redirected: AtomicBool::new(false), client, endpoint, form })
    }

    /// What posts to the endpoint, where it is one for it and did not redirect.
    fn post(&self) -> Option<&Post> {
        self.post.as_ref().filter(|_| !self.is_redirected.load(Ordering::Relaxed))
    }

    async fn deliver_together(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        let attributes: Vec<_> = batch.iter().map(attributes).collect();
        let Some(post) = self.post() else {
            let sent = batch.into_iter().zip(attributes);
            let sending = sent.map(|(delivery, attributes)| self.send_by_client(delivery.body, attributes));
            return join_all(sending).await.into_iter().map(outcome).collect();
        };
        let letters = batch.iter().zip(&attributes);
        let letters: Vec<_> =
            letters.map(|(delivery, further)| Letter { body: &delivery.body, further }).collect();
        let replies = post.send(&letters).await;
        drop(letters);
        let sent = batch.into_iter().zip(attributes).zip(replies);
        let followed =
            sent.map(|((delivery, attributes), reply)| self.follow(reply, delivery.body, attributes));
        join_all(followed).await.into_iter().map(outcome).collect()
    }

    /// The reply, or that of where it leads to.
    async fn follow(&self, reply: Reply, body: Bytes, attributes: Attributes) -> Reply {
        match reply {
            Ok(answer) if http::keeps_body(answer.status) => {
                self.is_redirected.store(true, Ordering::Relaxed);
                // Rare, and large: apart, so that the other records need not hold room for it.
                Box::pin(self.send_by_client(body, attributes)).await
            }
            reply => reply,
        }
    }

    async fn send_by_client(&self, body: Bytes, attributes: Attributes) -> Reply {
        let post = self.client.post(self.endpoint.clone()).headers(HeaderMap::from_iter(attributes));
        let answer = post.body(body).send().await;
        let mut answer = answer.map_err(|error| in_full(&error.without_url()))?;
        Ok(Answer { status: answer.status(), text: http::text_of(&mut answer).await })
    }
}

/// What a reply says of the record, or of the endpoint.
fn outcome(reply: Reply) -> Outcome {
    let Answer { status, text } = match reply {
        Ok(answer) => answer,
        Err(reason) => return Outcome::Away(reason),
    };
    if status.is_success() {
        return Outcome::Acknowledged;
    }
    let quote: String = text.trim().chars().take(QUOTE_CHARS_MAX).collect();
    let reason = format!("it answered {status} {quote}").trim_end().to_owned();
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Outcome::Refused(reason),
        _ => Outcome::Away(reason),
    }
}

impl Target for Webhook {
    fn form(&self) -> Form {
        self.form.clone()
    }

    fn in_flight_max(&self) -> usize {
        IN_FLIGHT_MAX
    }

    fn batch_max(&self) -> usize {
        self.post().map_or(1, Post::depth)
    }

    /// A bare TCP connection, as MinIO does: an endpoint must not be surprised by a request without record.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(async {
            let host = self.endpoint.host_str().expect("an endpoint has a host").trim_matches(['[', ']']);
            let port = self.endpoint.port_or_known_default().expect("http and https have a port");
            let connecting =
                tokio::time::timeout(Duration::from_millis(CONNECT_MS), TcpStream::connect((host, port)));
            match connecting.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("{host}:{port} cannot be reached: {error}")),
                Err(_) => Err(format!("{host}:{port} did not answer within {CONNECT_MS} ms")),
            }
        })
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        Box::pin(async { self.deliver_together(vec![delivery]).await.remove(0) })
    }

    fn deliver_batch(&self, batch: Vec<Delivery>) -> Future<'_, Vec<Outcome>> {
        Box::pin(self.deliver_together(batch))
    }
}

#[cfg(test)]
mod tests;
