//! A client of a running server, for the commands that ask one: signed requests, answers that come line by line.
//!
//! The endpoint and the keys come from flags, else from `TIDINGS_ENDPOINT`, `TIDINGS_ACCESS_KEY` and
//! `TIDINGS_SECRET_KEY`; what a server of this machine is started with is never taken. Redirects are not followed: a
//! request is signed for one host.

use std::error::Error;
use std::time::Duration;

use bytes::BytesMut;
use reqwest::{Certificate, Method, Response, StatusCode, Url, redirect::Policy};
use store::{Clock as _, SystemClock};
use tidings_s3::sigv4::{Request, RequestSigner};
use tidings_store as store;

use crate::cli::Remote;
use crate::environment::{Variables, first};

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing may come: what streams shows every second that it lives.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest line that is taken, in bytes. A verification names what a frame of 1 MiB holds, escaped.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How much of a refusal is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// SHA-256 of no bytes: the requests here have no body.
const NO_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The URL a command is to ask, if there is one: that of the flag, else of the environment.
pub fn endpoint<'a>(remote: &'a Remote, environment: &'a Variables) -> Option<&'a str> {
    remote.endpoint.as_deref().or_else(|| first(environment, &["TIDINGS_ENDPOINT"]))
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server cannot be reached, or its answer broke off: it may be there again later.
    #[error("{0}")]
    Away(String),
    /// The server answers with an error: asking again does not help where the status is of the 400s.
    #[error("{text}")]
    Refused {
        /// Of HTTP.
        status: StatusCode,
        /// Who answers, the status, the code and the message, a clause.
        text: String,
    },
}

impl From<AskError> for String {
    fn from(error: AskError) -> String {
        error.to_string()
    }
}

impl AskError {
    /// Whether the same request may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            AskError::Away(_) => true,
            AskError::Refused { status, .. } => status.is_server_error(),
        }
    }
}

/// One server and the keys to ask it with.
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    access_key: String,
    secret_key: String,
}

impl Client {
    /// A client of the server that flags and environment name. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// What is missing or cannot be used, a clause.
    pub fn new(remote: &Remote, environment: &Variables) -> Result<Client, String> {
        let endpoint = endpoint(remote, environment);
        let endpoint = endpoint.ok_or("there is no endpoint: give --endpoint URL or TIDINGS_ENDPOINT")?;
        let key = |flag: &Option<String>, name: &str, variable: &str| {
            let given = flag.as_deref().or_else(|| first(environment, &[variable])).map(str::to_owned);
            given.ok_or_else(|| format!("there is no key to sign with: give {name} or {variable}"))
        };
        let mut http = reqwest::Client::builder()
            .http1_only()
            .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(CONNECT_PATIENCE)
            .read_timeout(PATIENCE)
            .tls_danger_accept_invalid_certs(remote.insecure);
        if let Some(file) = &remote.ca {
            let failed = |error: &dyn Error| format!("{} cannot be used: {}", file.display(), in_full(error));
            let text = std::fs::read(file).map_err(|error| failed(&error))?;
            let authorities = Certificate::from_pem_bundle(&text).map_err(|error| failed(&error))?;
            if authorities.is_empty() {
                return Err(format!("{} holds no certificate", file.display()));
            }
            http = http.tls_certs_only(authorities);
        }
        Ok(Client {
            http: http.build().map_err(|error| format!("no client can be made: {}", in_full(&error)))?,
            endpoint: checked(endpoint)?,
            access_key: key(&remote.access_key, "--access-key", "TIDINGS_ACCESS_KEY")?,
            secret_key: key(&remote.secret_key, "--secret-key", "TIDINGS_SECRET_KEY")?,
        })
    }

    /// Sends a signed request without a body; its answer is lines. Path and query are percent-encoded.
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub async fn lines(&self, method: Method, path: &str, query: &str) -> Result<Lines, AskError> {
        Ok(Lines { answer: self.send(method, path, query).await?, rest: BytesMut::new() })
    }

    /// Sends a signed request without a body; its answer is one JSON document, null where there is none. Path and
    /// query are percent-encoded.
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub async fn document(
        &self,
        method: Method,
        path: &str,
        query: &str,
    ) -> Result<serde_json::Value, AskError> {
        let mut answer = self.send(method, path, query).await?;
        let mut text = Vec::new();
        let broke = |error: reqwest::Error| {
            AskError::Away(format!("the answer broke off: {}", in_full(&error.without_url())))
        };
        while let Some(chunk) = answer.chunk().await.map_err(broke)? {
            text.extend_from_slice(&chunk);
            if text.len() > LINE_BYTES_MAX {
                return Err(AskError::Away(format!("the answer has more than {LINE_BYTES_MAX} bytes")));
            }
        }
        if text.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        let document = serde_json::from_slice(&text);
        document.map_err(|error| AskError::Away(format!("the answer is not understood here: {error}")))
    }

    async fn send(&self, method: Method, path: &str, query: &str) -> Result<Response, AskError> {
        let host = self.host();
        let fields = vec![("host".to_owned(), host.clone())];
        let request = Request { method: method.as_str(), path, query, headers: &fields };
        let signer = RequestSigner {
            access_key: &self.access_key,
            secret_key: &self.secret_key,
            session_token: None,
            region: "us-east-1",
            service: "s3",
        };
        let now_s = i64::try_from(SystemClock.now_ms() / 1000).unwrap_or(i64::MAX);
        let signed = signer
            .sign(&request, NO_BODY, now_s)
            .map_err(|refusal| AskError::Away(refusal.message.to_string()))?;
        let mut url = self.endpoint.clone();
        url.set_path(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        let headers = signed.headers.iter();
        let sent =
            headers.fold(self.http.request(method, url), |sent, (name, value)| sent.header(*name, value));
        let answer = sent.send().await.map_err(|error| {
            AskError::Away(format!("{} cannot be asked: {}", self.endpoint, in_full(&error.without_url())))
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        Err(AskError::Refused {
            status,
            text: format!("{} answers {}", self.endpoint, refusal(answer).await),
        })
    }

    /// The host as it is sent and signed: without the port that goes without saying.
    fn host(&self) -> String {
        let host = self.endpoint.host_str().unwrap_or_default();
        self.endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

/// The URL of a server, which is nothing but scheme, host and port.
fn checked(endpoint: &str) -> Result<Url, String> {
    let url = Url::parse(endpoint).map_err(|error| format!("'{endpoint}' is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("'{endpoint}' is not of the form http://host:port or https://host:port"));
    }
    if url.path() != "/" || url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err("the endpoint is more than http://host:port or https://host:port".to_owned());
    }
    Ok(url)
}

/// The status of a refusal, and what its document says: JSON from the admin API, XML from operations of S3.
async fn refusal(mut answer: Response) -> String {
    let status: StatusCode = answer.status();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > REFUSAL_BYTES_MAX {
            break;
        }
    }
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let field = |name: &str| document[name].as_str().map(str::to_owned).or_else(|| element(&text, name));
    match (field("Code"), field("Message")) {
        (Some(code), Some(message)) => format!("{} {code}: {message}", status.as_u16()),
        _ => status.to_string(),
    }
}

/// The text of the first element of this name in a flat document, with the five entities of XML put back.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&apos;", "'"), ("&amp;", "&")];
    Some(entities.iter().fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain)))
}

/// An error with its causes: what reqwest says by itself is mostly that there was one.
fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// An answer that comes line by line.
pub struct Lines {
    answer: Response,
    /// What came and was not taken yet.
    rest: BytesMut,
}

impl Lines {
    /// The next line that says something; `None` when the answer is over.
    ///
    /// # Errors
    ///
    /// That the connection broke, that nothing came for a minute, or that a line has no end, a clause.
    pub async fn next(&mut self) -> Result<Option<String>, String> {
        let mut searched = 0;
        loop {
            if let Some(found) = self.rest[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.rest.split_to(searched + found + 1);
                searched = 0;
                let line = String::from_utf8_lossy(&line);
                // A blank is a sign of life.
                if !line.trim().is_empty() {
                    return Ok(Some(line.trim().to_owned()));
                }
                continue;
            }
            searched = self.rest.len();
            if searched > LINE_BYTES_MAX {
                return Err(format!("a line of the answer has more than {LINE_BYTES_MAX} bytes"));
            }
            let more = self.answer.chunk().await;
            match more.map_err(|error| format!("the answer broke off: {}", in_full(&error.without_url())))? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None if self.rest.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => return Err("the answer broke off within a line".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Flags;
    use crate::{Server, Settings};

    fn remote(endpoint: &str) -> Remote {
        Remote { endpoint: Some(endpoint.to_owned()), ..Remote::default() }
    }

    fn keys() -> Variables {
        let keys = [("TIDINGS_ACCESS_KEY", "a"), ("TIDINGS_SECRET_KEY", "s")];
        keys.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn host(endpoint: &str) -> Result<String, String> {
        Client::new(&remote(endpoint), &keys()).map(|client| client.host())
    }

    #[test]
    fn an_endpoint_is_scheme_host_and_port_and_the_port_that_goes_without_saying_is_not_sent() {
        crate::install_crypto();
        assert_eq!(host("http://a.example:9000").as_deref(), Ok("a.example:9000"));
        assert_eq!(host("https://a.example:443/").as_deref(), Ok("a.example"));
        assert_eq!(host("http://[::1]:9010").as_deref(), Ok("[::1]:9010"));
        for refused in ["a.example:9000", "ftp://a", "http://a/b", "http://a?b", "http://user:word@a"] {
            assert!(host(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn flags_stand_above_the_variables_of_clients_and_those_of_servers_are_not_read() {
        crate::install_crypto();
        let mut environment = keys();
        environment.insert("TIDINGS_ENDPOINT".to_owned(), "http://a:1".to_owned());
        let client = Client::new(&Remote::default(), &environment).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!((client.host().as_str(), client.access_key.as_str()), ("a:1", "a"));
        let flags = Remote { access_key: Some("b".to_owned()), ..remote("http://c:2") };
        let client = Client::new(&flags, &environment).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!((client.host().as_str(), client.access_key.as_str()), ("c:2", "b"));

        let servers = [("MINIO_ROOT_USER", "a"), ("MINIO_ROOT_PASSWORD", "s")];
        let servers = servers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let why = Client::new(&remote("http://a:1"), &servers).err();
        assert_eq!(
            why.as_deref(),
            Some("there is no key to sign with: give --access-key or TIDINGS_ACCESS_KEY")
        );
    }

    #[tokio::test]
    async fn lines_are_cut_where_they_end_and_blanks_say_nothing() {
        let lines =
            |body: &'static str| Lines { answer: http::Response::new(body).into(), rest: BytesMut::new() };
        let mut answer = lines(" one\n\n \ntwo\n ");
        assert_eq!(answer.next().await, Ok(Some("one".to_owned())));
        assert_eq!(answer.next().await, Ok(Some("two".to_owned())));
        assert_eq!(answer.next().await, Ok(None));
        assert!(lines("half").next().await.is_err());
    }

    /// What a server over four fresh drives with a certificate of its own answers.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_certificate_is_checked_against_the_authorities_that_are_given_or_not_at_all() {
        crate::install_crypto();
        let home = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let ca = home.path().join("public.crt");
        std::fs::write(&ca, made.cert.pem()).unwrap();
        std::fs::write(home.path().join("private.key"), made.signing_key.serialize_pem()).unwrap();
        let certs_dir = Some(home.path().display().to_string());
        let flags = Flags { address: Some("127.0.0.1:0".to_owned()), certs_dir, ..Flags::default() };
        let drives = [format!("{}/d{{1...4}}", home.path().display())];
        let settings = Settings::new(&flags, &drives, Variables::new()).unwrap().expect("drives are given");
        let server = Server::start(settings).await.unwrap();

        let root = Remote {
            access_key: Some("minioadmin".to_owned()),
            secret_key: Some("minioadmin".to_owned()),
            ..remote(&format!("https://{}", server.address()))
        };
        let ask = async |remote: Remote| -> Result<String, String> {
            let client = Client::new(&remote, &Variables::new())?;
            let mut lines = client.lines(Method::POST, "/minio/tidings/v1/verify", "").await?;
            let mut last = String::new();
            while let Some(line) = lines.next().await? {
                last = line;
            }
            Ok(last)
        };
        let why = ask(root.clone()).await.unwrap_err();
        assert!(why.contains("certificate"), "{why}");
        for trusting in [Remote { ca: Some(ca), ..root.clone() }, Remote { insecure: true, ..root.clone() }] {
            let last = ask(trusting).await.unwrap();
            assert!(last.starts_with("{\"sum\":"), "{last}");
        }
        let missing = Remote { ca: Some(home.path().join("none.crt")), ..root };
        assert!(ask(missing).await.unwrap_err().contains("none.crt cannot be used"));
        server.stop().await;
    }
}
