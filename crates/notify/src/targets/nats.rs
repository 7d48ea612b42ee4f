//! NATS: one message a record, published as the subject is written; into a JetStream stream when asked for.
//!
//! With `jetstream=on` a record counts as delivered when the stream has acknowledged it. Plain NATS keeps nothing
//! and has no acknowledgement: a record counts as delivered when the server has taken it, which shows when a message
//! that we sent to ourselves behind it comes back. Who subscribes at that moment gets it, nobody else ever will. A user
//! who may not have an inbox cannot tell: then that holds for the first record of a session, and those after it count
//! when they are written to the connection.
//!
//! A session ends when its connection does, and everything under way has failed. The client library then tries once
//! by itself to reconnect, in vain or for nobody; the next delivery begins another session.
//!
//! Messages are written one behind the other, many under way at once, and the client library flushes what gathered in
//! one write; a message of several records would be another format.
//!
//! Source of keys: MinIO's NATS target. NATS Streaming, which `streaming` turns on there, ended in 2023 and is refused.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectOptions, Event, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use rustls::ClientConfig;
use store::Future;
use tidings_store as store;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::link::{CONNECT_MS, EXCHANGE_MS, Fault, Link};
use crate::record::{Carries, Form};
use crate::target::{
    Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings, in_full,
};
use crate::tls::TlsKeys;

/// The row of `TARGETS`.
pub(crate) const KIND: TargetKind = TargetKind {
    kind: "nats",
    subsystem: "notify_nats",
    env: "NATS",
    help: "publishes the records of changes to a subject of a NATS server",
    keys: &[
        KeySpec::new("address", "ADDRESS", KeyKind::Csv, "address of the server, such as localhost:4222")
            .required(),
        KeySpec::new("subject", "SUBJECT", KeyKind::Text, "the subject that records are published to")
            .required(),
        KeySpec::new("username", "USERNAME", KeyKind::Text, "user name, when the server wants one"),
        KeySpec::new("password", "PASSWORD", KeyKind::Text, "password of that user").secret(),
        KeySpec::new("token", "TOKEN", KeyKind::Text, "token, when the server wants one").secret(),
        KeySpec::new(
            "user_credentials",
            "USER_CREDENTIALS",
            KeyKind::Path,
            "a file of credentials (.creds), read at each connection",
        ),
        KeySpec::new(
            "nkey_seed",
            "NKEY_SEED",
            KeyKind::Path,
            "a file with the seed of an nkey, read at each connection",
        ),
        KeySpec::new("tls", "TLS", KeyKind::Switch, "whether the connection must be encrypted").or("off"),
        KeySpec::new(
            "tls_skip_verify",
            "TLS_SKIP_VERIFY",
            KeyKind::Switch,
            "trust the server's certificate without verification",
        )
        .or("off"),
        KeySpec::new(
            "tls_handshake_first",
            "TLS_HANDSHAKE_FIRST",
            KeyKind::Switch,
            "encrypt before the server says anything, as it must be configured to",
        )
        .or("off"),
        KeySpec::new(
            "cert_authority",
            "CERT_AUTHORITY",
            KeyKind::Path,
            "the roots to trust instead of the system's, a PEM file",
        ),
        KeySpec::new("client_cert", "CLIENT_CERT", KeyKind::Path, "client certificate for mTLS, a PEM file"),
        KeySpec::new(
            "client_key",
            "CLIENT_KEY",
            KeyKind::Path,
            "private key of the client certificate, a PEM file",
        ),
        KeySpec::new(
            "ping_interval",
            "PING_INTERVAL",
            KeyKind::Duration,
            "how often a silent connection is checked; 0s is 60s",
        )
        .or("0s"),
        KeySpec::new(
            "jetstream",
            "JETSTREAM",
            KeyKind::Switch,
            "whether a stream, which must exist, acknowledges records",
        )
        .or("off"),
        KeySpec::new(
            "streaming",
            "STREAMING",
            KeyKind::Switch,
            "NATS Streaming, which ended in 2023: only off is possible",
        )
        .or("off"),
        KeySpec::new("streaming_async", "STREAMING_ASYNC", KeyKind::Switch, "accepted for compatibility")
            .or("off"),
        KeySpec::new(
            "streaming_max_pub_acks_in_flight",
            "STREAMING_MAX_PUB_ACKS_IN_FLIGHT",
            KeyKind::Number,
            "accepted for compatibility",
        )
        .or("0"),
        KeySpec::new(
            "streaming_cluster_id",
            "STREAMING_CLUSTER_ID",
            KeyKind::Text,
            "accepted for compatibility",
        ),
        KeySpec::QUEUE_DIR,
        KeySpec::QUEUE_LIMIT,
        Form::KEY,
        Form::OPAQUE_DATA,
        KeySpec::COMMENT,
    ],
    check,
    connect: |settings, surroundings| Ok(Box::new(Nats::new(settings, surroundings)?)),
};

const TLS_KEYS: TlsKeys =
    TlsKeys { certificate: "client_cert", private_key: "client_key", authority: "cert_authority" };

/// Messages under way at once.
const IN_FLIGHT_MAX: usize = 256;

/// How the client library's inboxes begin.
const INBOXES: &str = "_INBOX.";

/// Ping interval where none is set.
const PING_MS: u64 = 60_000;

fn form(settings: &TargetSettings) -> Result<Form, String> {
    Form::of(settings, Form::MinioEnvelope, Carries::BodyOnly)
}

fn check(settings: &TargetSettings) -> Result<(), String> {
    settings.check_keys(KIND.keys)?;
    form(settings)?;
    settings.address("address")?;
    let subject = settings.value("subject");
    if subject.contains(char::is_whitespace) || subject.split('.').any(str::is_empty) {
        return Err(format!("subject is {subject}, a subject is words with dots between them"));
    }
    if subject.split('.').any(|word| matches!(word, "*" | ">")) {
        return Err("subject holds * or >, which only subscribers may use".to_owned());
    }
    if settings.is_on("streaming") {
        return Err(
            "streaming is on; NATS Streaming ended in 2023, jetstream is what came after it".to_owned()
        );
    }
    Login::of(settings)?;
    TLS_KEYS.check(settings)
}

/// How to log in.
#[derive(Clone, PartialEq, Eq)]
enum Login {
    Anonymous,
    Password(String, String),
    Token(String),
    /// A file of credentials.
    Credentials(PathBuf),
    /// A file with a seed.
    Nkey(PathBuf),
}

impl Login {
    fn of(settings: &TargetSettings) -> Result<Login, String> {
        let value = |key| Some(settings.value(key).to_owned()).filter(|value| !value.is_empty());
        let password = match (value("username"), value("password")) {
            (Some(user), Some(password)) => Some(Login::Password(user, password)),
            (None, None) => None,
            _ => return Err("username and password must both be set or neither".to_owned()),
        };
        let ways = [
            password,
            value("token").map(Login::Token),
            settings.path("user_credentials").map(Login::Credentials),
            settings.path("nkey_seed").map(Login::Nkey),
        ];
        let mut ways = ways.into_iter().flatten();
        match (ways.next(), ways.next()) {
            (way, None) => Ok(way.unwrap_or(Login::Anonymous)),
            _ => Err("of username, token, user_credentials and nkey_seed one can be set".to_owned()),
        }
    }

    async fn into_options(self, options: ConnectOptions) -> Result<ConnectOptions, String> {
        let read = async |file: &PathBuf| {
            let text = tokio::fs::read_to_string(file).await;
            text.map_err(|error| format!("{} cannot be read: {error}", file.display()))
        };
        Ok(match self {
            Login::Anonymous => options,
            Login::Password(user, password) => options.user_and_password(user, password),
            Login::Token(token) => options.token(token),
            Login::Credentials(file) => options
                .credentials(&read(&file).await?)
                .map_err(|error| format!("{} holds no credentials: {error}", file.display()))?,
            Login::Nkey(file) => {
                let text = read(&file).await?;
                // Seeds of users begin so; a file may hold comments and the public key beside.
                let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
                let seed = seed.ok_or_else(|| format!("{} holds no seed of a user", file.display()))?;
                options.nkey(seed.to_owned())
            }
        })
    }
}

struct Nats {
    form: Form,
    subject: Subject,
    jetstream: bool,
    link: Link<Arc<Session>>,
}

/// What it takes to begin a session.
#[derive(Clone)]
struct Beginning {
    address: String,
    login: Login,
    tls: ClientConfig,
    must_encrypt: bool,
    encrypts_first: bool,
    ping: Duration,
}

impl Nats {
    fn new(settings: &TargetSettings, surroundings: &Surroundings) -> Result<Nats, String> {
        let ping = settings.duration("ping_interval");
        let beginning = Beginning {
            address: settings.value("address").to_owned(),
            login: Login::of(settings)?,
            tls: TLS_KEYS.of(settings).client_config(surroundings)?,
            must_encrypt: settings.is_on("tls"),
            encrypts_first: settings.is_on("tls_handshake_first"),
            ping: if ping.is_zero() { Duration::from_millis(PING_MS) } else { ping },
        };
        Ok(Nats {
            form: form(settings)?,
            subject: settings.value("subject").into(),
            jetstream: settings.is_on("jetstream"),
            link: Link::new(move || Box::pin(Session::begin(beginning.clone()))),
        })
    }
}

/// A connection, until it breaks.
struct Session {
    client: Client,
    jetstream: Context,
    told: Arc<Told>,
    /// Whether a message to ourselves comes back.
    echoes: bool,
    /// Whether an echo came back that was sent after a record.
    is_proven: AtomicBool,
}

/// What the server said beside its answers.
#[derive(Default)]
struct Told {
    lost: CancellationToken,
    /// Why it does not take what we publish; empty while it does.
    denial: Mutex<String>,
    /// Who waits for a message to this inbox of ours. The server denies an inbox by naming it.
    inboxes: Mutex<HashMap<String, oneshot::Sender<()>>>,
}

impl Told {
    fn hear(&self, event: &Event) {
        match event {
            Event::Disconnected | Event::Closed => self.lost.cancel(),
            Event::ServerError(error) => self.hear_error(&error.to_string()),
            _ => {}
        }
    }

    fn hear_error(&self, text: &str) {
        let named = text.split('"').nth(1).unwrap_or_default();
        if !named.starts_with(INBOXES) {
            text.clone_into(&mut self.denial.lock());
        } else if let Some(waiting) = self.inboxes.lock().remove(named) {
            // Nobody waits any more when the delivery was dropped.
            let _ = waiting.send(());
        }
    }
}

/// What became of a message to ourselves. Either way the server has taken what was sent before it.
#[derive(PartialEq, Eq)]
enum Echo {
    Back,
    /// This user may not have an inbox.
    Denied,
}

impl Session {
    async fn begin(beginning: Beginning) -> Result<Arc<Session>, String> {
        let told = Arc::new(Told::default());
        let hearing = Arc::clone(&told);
        let options = ConnectOptions::new()
            .name("tidings")
            .connection_timeout(Duration::from_millis(CONNECT_MS))
            .ping_interval(beginning.ping)
            .max_reconnects(1)
            .ignore_discovered_servers()
            .tls_client_config(beginning.tls)
            .require_tls(beginning.must_encrypt)
            .event_callback(move |event| {
                hearing.hear(&event);
                std::future::ready(())
            });
        let options = if beginning.encrypts_first { options.tls_first() } else { options };
        let options = beginning.login.into_options(options).await?;
        let client = options.connect(&beginning.address).await.map_err(|error| in_full(&error))?;
        let mut jetstream = jetstream::new(client.clone());
        // The link gives up before.
        jetstream.set_timeout(Duration::from_millis(2 * EXCHANGE_MS));
        let mut session =
            Session { client, jetstream, told, echoes: true, is_proven: AtomicBool::new(false) };
        let echo = session.echo().await;
        session.echoes = echo.map_err(|_| "the connection broke".to_owned())? == Echo::Back;
        Ok(Arc::new(session))
    }

    /// Does something until the connection breaks or the server denies it.
    async fn unless_lost(
        &self,
        work: impl std::future::Future<Output = Result<(), Fault>>,
    ) -> Result<(), Fault> {
        let result = tokio::select! {
            () = self.told.lost.cancelled() => Err(Fault::Connection("the connection broke".to_owned())),
            result = work => result,
        };
        let denial = self.told.denial.lock().clone();
        // The connection goes, so that the next one finds out whether the server still denies.
        if denial.is_empty() { result } else { Err(Fault::Connection(denial)) }
    }

    async fn publish(&self, subject: Subject, body: Bytes) -> Result<(), Fault> {
        let published = self.client.publish(subject, body).await;
        published.map_err(|error| match error.kind() {
            async_nats::PublishErrorKind::MaxPayloadExceeded => Fault::Record(in_full(&error)),
            _ => Fault::Connection(in_full(&error)),
        })?;
        let is_proven = self.is_proven.load(Ordering::Relaxed);
        if !self.echoes && is_proven {
            return self.client.flush().await.map_err(|error| Fault::Connection(in_full(&error)));
        }
        self.echo().await?;
        if !is_proven {
            // That the server denies a subject is said before the echo, but heard by another task: after the first
            // record of a session a second echo leaves it the time.
            self.echo().await?;
            self.is_proven.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sends a message to ourselves and waits until it is back or denied.
    async fn echo(&self) -> Result<Echo, Fault> {
        let broken = |error: &dyn std::error::Error| Fault::Connection(in_full(error));
        let inbox = self.client.new_inbox();
        let (sender, denied) = oneshot::channel();
        self.told.inboxes.lock().insert(inbox.clone(), sender);
        let _forgotten = Forgotten(&self.told, inbox.clone());
        let mut returned = self.client.subscribe(inbox.clone()).await.map_err(|error| broken(&error))?;
        self.client.publish(inbox, Bytes::new()).await.map_err(|error| broken(&error))?;
        tokio::select! {
            Some(_) = returned.next() => Ok(Echo::Back),
            Ok(()) = denied => Ok(Echo::Denied),
            () = self.told.lost.cancelled() => Err(Fault::Connection("the connection broke".to_owned())),
            else => Err(Fault::Connection("the connection broke".to_owned())),
        }
    }

    async fn store(&self, subject: Subject, body: Bytes) -> Result<(), Fault> {
        let acknowledgement = self.jetstream.publish(subject, body).await.map_err(|error| fault(&error))?;
        acknowledgement.await.map(drop).map_err(|error| fault(&error))
    }
}

/// Forgets that somebody waits for a message to an inbox.
struct Forgotten<'a>(&'a Told, String);

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.0.inboxes.lock().remove(&self.1);
    }
}

fn fault(error: &PublishError) -> Fault {
    let reason = in_full(error);
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Fault::Record(reason),
        PublishErrorKind::StreamNotFound | PublishErrorKind::MaxAckPending => Fault::State(reason),
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Fault::Connection(reason),
        _ if told_by_stream(error) == Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) => {
            Fault::Record(reason)
        }
        _ => Fault::State(reason),
    }
}

/// The code of what a stream answered.
fn told_by_stream(error: &PublishError) -> Option<ErrorCode> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<jetstream::Error>().map(jetstream::Error::error_code)
}

impl Target for Nats {
    fn form(&self) -> Form {
        self.form.clone()
    }

    fn in_flight_max(&self) -> usize {
        IN_FLIGHT_MAX
    }

    /// Connects if need be, so that a wrong password shows as well; a missing stream shows at the first record.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(self.link.probe(|session| async move {
            session
                .unless_lost(async {
                    session.client.flush().await.map_err(|error| Fault::Connection(in_full(&error)))
                })
                .await
        }))
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        let (subject, jetstream) = (self.subject.clone(), self.jetstream);
        Box::pin(self.link.deliver(move |session| async move {
            let work = async {
                if jetstream {
                    session.store(subject, delivery.body).await
                } else {
                    session.publish(subject, delivery.body).await
                }
            };
            session.unless_lost(work).await
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{KIND, Login, check};
    use crate::target::{TargetId, TargetSettings};

    fn settings(pairs: &[(&'static str, &str)]) -> TargetSettings {
        let pairs = [&[("address", "n:4222"), ("subject", "events")], pairs].concat();
        let values = pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        TargetSettings { target: TargetId { id: "1".to_owned(), kind: "nats" }, values }
    }

    #[test]
    fn there_is_one_way_to_log_in() {
        let login = |pairs: &[(&'static str, &str)]| Login::of(&settings(pairs));
        assert!(login(&[]) == Ok(Login::Anonymous));
        assert!(login(&[("token", "t")]) == Ok(Login::Token("t".to_owned())));
        assert!(login(&[("nkey_seed", "/seed")]) == Ok(Login::Nkey("/seed".into())));
        let two = login(&[("token", "t"), ("user_credentials", "/u.creds")]);
        assert_eq!(two.err().unwrap(), "of username, token, user_credentials and nkey_seed one can be set");
        let half = login(&[("username", "u")]);
        assert_eq!(half.err().unwrap(), "username and password must both be set or neither");
    }

    #[test]
    fn settings_that_cannot_work_are_told_by_the_name_of_their_key() {
        let told = |pairs: &[(&'static str, &str)]| check(&settings(pairs)).err().unwrap_or_default();
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[("address", "n")]), "address is n, an address looks like host:1234");
        assert_eq!(told(&[("subject", "a b")]), "subject is a b, a subject is words with dots between them");
        assert_eq!(
            told(&[("subject", "a..b")]),
            "subject is a..b, a subject is words with dots between them"
        );
        assert_eq!(told(&[("subject", "a.>")]), "subject holds * or >, which only subscribers may use");
        assert_eq!(
            told(&[("streaming", "on")]),
            "streaming is on; NATS Streaming ended in 2023, jetstream is what came after it"
        );
        assert_eq!(told(&[("client_cert", "/c")]), "client_cert and client_key must both be set or neither");
        assert_eq!(told(&[("ping_interval", "5")]), "ping_interval is 5, a duration looks like 10s or 500ms");
        assert_eq!(
            KIND.keys.iter().filter(|key| key.is_secret).map(|key| key.name).collect::<Vec<_>>(),
            ["password", "token"]
        );
    }
}
