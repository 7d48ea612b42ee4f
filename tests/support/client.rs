//! An S3 client that is nothing but signed requests: what is sent is what the test says.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use sha2::{Digest, Sha256};
use tidings_s3::sigv4::{Request, RequestSigner};

use super::xml;

/// A client with the root's default keys, unless it was given others.
#[derive(Clone)]
pub(crate) struct Client {
    endpoint: String,
    access_key: String,
    secret_key: String,
    http: reqwest::Client,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The status and the error code of the body, as `503 SlowDownWrite`; `200 ` for a success.
    pub(crate) fn outcome(&self) -> String {
        let code = if self.status.is_success() { String::new() } else { xml::text(self.text(), "Code") };
        format!("{} {code}", self.status.as_u16())
    }

    /// A header as text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The answer, if it is a success; fails the test otherwise.
    pub(crate) fn expect_success(self, what: &str) -> Answer {
        assert!(self.status.is_success(), "{what}: {} {}", self.status, self.text());
        self
    }
}

impl Client {
    pub(crate) fn new(endpoint: &str) -> Client {
        Client::with_keys(endpoint, "minioadmin", "minioadmin")
    }

    pub(crate) fn with_keys(endpoint: &str, access_key: &str, secret_key: &str) -> Client {
        let (access_key, secret_key) = (access_key.to_owned(), secret_key.to_owned());
        Client { endpoint: endpoint.to_owned(), access_key, secret_key, http: reqwest::Client::new() }
    }

    /// Sends a signed request; `target` is path and query, percent-encoded.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> reqwest::Result<Answer> {
        let body = body.into();
        let hash = hex::encode(Sha256::digest(&body));
        // An empty body has a length too: a PUT without one is refused.
        let length = body.len().to_string();
        let request = self.signed(method, target, headers, &hash).header("content-length", length);
        let answer = request.body(body).send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.bytes().await? })
    }

    /// A request signed for a payload hash, without its body.
    pub(crate) fn signed(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        payload_hash: &str,
    ) -> reqwest::RequestBuilder {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let host = self.endpoint.split_once("://").expect("an endpoint is a URL").1;
        let mut fields = vec![("host".to_owned(), host.to_owned())];
        fields.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let signer = RequestSigner {
            access_key: &self.access_key,
            secret_key: &self.secret_key,
            session_token: None,
            region: "us-east-1",
            service: "s3",
        };
        let request = Request { method: method.as_str(), path, query, headers: &fields };
        let signed = signer.sign(&request, payload_hash, now_s()).unwrap();
        let mut builder = self.http.request(method, format!("{}{target}", self.endpoint));
        for (name, value) in &fields[1..] {
            builder = builder.header(name, value);
        }
        for (name, value) in &signed.headers {
            builder = builder.header(*name, value);
        }
        builder
    }

    /// As [`Client::try_send`], for requests that get an answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.try_send(method, target, headers, body).await.unwrap()
    }

    pub(crate) async fn create_bucket(&self, bucket: &str) {
        self.send(Method::PUT, &format!("/{bucket}"), &[], "").await.expect_success("create bucket");
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Method::PUT, path, &[], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], "").await
    }

    /// Announces events of a bucket to a target; `filter` is rules as `("suffix", ".jpg")`.
    pub(crate) async fn announce(
        &self,
        bucket: &str,
        events: &[&str],
        filter: &[(&str, &str)],
        arn: &str,
    ) -> Answer {
        let events: String = events.iter().map(|event| format!("<Event>{event}</Event>")).collect();
        let rules: String = filter
            .iter()
            .map(|(name, value)| {
                format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>")
            })
            .collect();
        let document = format!(
            "<NotificationConfiguration><QueueConfiguration><Queue>{arn}</Queue>{events}\
             <Filter><S3Key>{rules}</S3Key></Filter></QueueConfiguration></NotificationConfiguration>"
        );
        self.send(Method::PUT, &format!("/{bucket}?notification"), &[], document).await
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a client outside the server signs with the machine's clock")]
fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}
