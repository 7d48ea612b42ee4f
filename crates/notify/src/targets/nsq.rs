//! NSQ: one message a record, published to a topic of one nsqd.
//!
//! The protocol is spoken here, since its clients for Rust are not kept up: a greeting, an exchange of what both sides
//! can do, TLS if both want it, then `MPUB` after `MPUB`, each with the messages of a batch: all of them are published,
//! or none. nsqd answers in the order it was asked, so many are under way at once, and a record counts as delivered
//! when its `OK` came. nsqd keeps messages in memory before it writes them to disk; `--mem-queue-size=0` makes it write
//! them at once.
//!
//! Source: <https://nsq.io/clients/tcp_protocol_spec.html> for the protocol, MinIO's NSQ target for the keys. There TLS
//! trusts the roots of the system alone; here it trusts what every target does.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use rustls::ClientConfig;
use serde_json::{Value, json};
use store::Future;
use tidings_store as store;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::dial::{Dial, Stream};
use crate::link::{BATCH_RECORDS, Fault, Link, all, only};
use crate::record::{Carries, Form};
use crate::target::{Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings};
use crate::tls::TlsKeys;

/// The row of `TARGETS`.
pub(crate) const KIND: TargetKind = TargetKind {
    kind: "nsq",
    subsystem: "notify_nsq",
    env: "NSQ",
    help: "publishes the records of changes to a topic of an nsqd",
    keys: &[
        KeySpec::new(
            "nsqd_address",
            "NSQD_ADDRESS",
            KeyKind::Csv,
            "address of the nsqd, such as localhost:4150",
        )
        .required(),
        KeySpec::new("topic", "TOPIC", KeyKind::Text, "the topic that records are published to").required(),
        KeySpec::new("tls", "TLS", KeyKind::Switch, "whether the connection is encrypted").or("off"),
        KeySpec::new(
            "tls_skip_verify",
            "TLS_SKIP_VERIFY",
            KeyKind::Switch,
            "trust the server's certificate without verification",
        )
        .or("off"),
        KeySpec::QUEUE_DIR,
        KeySpec::QUEUE_LIMIT,
        Form::KEY,
        Form::OPAQUE_DATA,
        KeySpec::COMMENT,
    ],
    check,
    connect: |settings, surroundings| Ok(Box::new(Nsq::new(settings, surroundings)?)),
};

/// Messages under way at once.
const IN_FLIGHT_MAX: usize = 256;

/// Longest name of a topic, in bytes.
const TOPIC_BYTES_MAX: usize = 64;

/// Longest answer that is read, in bytes; nsqd's are of a few words.
const ANSWER_BYTES_MAX: u32 = 64 * 1024;

/// How often nsqd asks whether we are there.
const HEARTBEAT_MS: u64 = 30_000;

/// The version of the protocol, which is said first.
const GREETING: &[u8] = b"  V2";

fn form(settings: &TargetSettings) -> Result<Form, String> {
    Form::of(settings, Form::MinioEnvelope, Carries::BodyOnly)
}

fn check(settings: &TargetSettings) -> Result<(), String> {
    settings.check_keys(KIND.keys)?;
    form(settings)?;
    settings.address("nsqd_address")?;
    let topic = settings.value("topic");
    if !is_topic(topic) {
        return Err(format!(
            "topic is {topic}, a topic has 1 to {TOPIC_BYTES_MAX} letters, digits, . _ or -"
        ));
    }
    Ok(())
}

/// What nsqd takes for a topic; one that is not kept over a restart ends in `#ephemeral`.
fn is_topic(name: &str) -> bool {
    let plain = name.strip_suffix("#ephemeral").unwrap_or(name);
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() <= TOPIC_BYTES_MAX && !plain.is_empty() && plain.bytes().all(is_legal)
}

struct Nsq {
    form: Form,
    topic: String,
    link: Link<Arc<Session>>,
}

impl Nsq {
    fn new(settings: &TargetSettings, surroundings: &Surroundings) -> Result<Nsq, String> {
        let (host, port) = settings.address("nsqd_address")?;
        let tls = settings.is_on("tls").then(|| TlsKeys::default().of(settings).client_config(surroundings));
        let tls = tls.transpose()?.map(Arc::new);
        // nsqd encrypts after the first exchange, so the dial begins in the clear.
        let dial = Dial { host, port, tls: None };
        let link = Link::new(move || Box::pin(Session::begin(dial.clone(), tls.clone())));
        Ok(Nsq { form: form(settings)?, topic: settings.value("topic").to_owned(), link })
    }
}

/// What nsqd sends.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    Answer(Bytes),
    /// An error's code and, mostly, a reason.
    Error(String),
    Other,
}

/// Reads a frame: four bytes of length, four of kind, the rest.
async fn read_frame(reader: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Frame> {
    let length = reader.read_u32().await?;
    let kind = reader.read_u32().await?;
    if !(4..=ANSWER_BYTES_MAX).contains(&length) {
        return Err(std::io::Error::other(format!("nsqd sent a frame of {length} bytes")));
    }
    let mut text = vec![0; length as usize - 4];
    reader.read_exact(&mut text).await?;
    Ok(match kind {
        0 => Frame::Answer(text.into()),
        1 => Frame::Error(String::from_utf8_lossy(&text).into_owned()),
        _ => Frame::Other,
    })
}

/// A command with a body: its line, four bytes of length, the body.
fn command(line: &str, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(line.len() + 5 + body.len());
    bytes.put_slice(line.as_bytes());
    bytes.put_u8(b'\n');
    bytes.put_u32(u32::try_from(body.len()).expect("a body is shorter than 4 GiB"));
    bytes.put_slice(body);
    bytes.freeze()
}

/// The body of `MPUB`: how many messages, then each behind its length.
fn messages(records: &[Delivery]) -> Bytes {
    let length = |bytes: usize| u32::try_from(bytes).expect("a batch is shorter than 4 GiB");
    let mut body = BytesMut::new();
    body.put_u32(length(records.len()));
    for record in records {
        body.put_u32(length(record.body.len()));
        body.put_slice(&record.body);
    }
    body.freeze()
}

type Answer = Result<(), Fault>;

/// A connection to nsqd.
struct Session {
    /// Absent while something is written, and for good when that was given up half written.
    writer: tokio::sync::Mutex<Option<WriteHalf<Box<dyn Stream>>>>,
    /// Who waits for an answer, in the order nsqd was asked.
    waiting: Arc<Mutex<VecDeque<oneshot::Sender<Answer>>>>,
    /// Ends the reader.
    end: CancellationToken,
}

impl Session {
    async fn begin(dial: Dial, tls: Option<Arc<ClientConfig>>) -> Result<Arc<Session>, String> {
        let mut stream = dial.connect().await?;
        let told = |error: std::io::Error| format!("nsqd does not answer as one: {error}");
        stream.write_all(GREETING).await.map_err(told)?;
        let identity = json!({
            "client_id": "tidings",
            "feature_negotiation": true,
            "heartbeat_interval": HEARTBEAT_MS,
            "tls_v1": tls.is_some(),
            "user_agent": concat!("tidings/", env!("CARGO_PKG_VERSION")),
        });
        stream.write_all(&command("IDENTIFY", identity.to_string().as_bytes())).await.map_err(told)?;
        let features = match read_frame(&mut stream).await.map_err(told)? {
            Frame::Answer(features) => serde_json::from_slice(&features).unwrap_or(Value::Null),
            Frame::Error(reason) => return Err(reason),
            Frame::Other => Value::Null,
        };
        if let Some(config) = tls {
            if features["tls_v1"] != true {
                return Err("nsqd does not encrypt".to_owned());
            }
            stream = Box::new(dial.encrypt(&config, stream).await?);
            if read_frame(&mut stream).await.map_err(told)? != Frame::Answer(Bytes::from_static(b"OK")) {
                return Err("nsqd does not answer as one once it encrypts".to_owned());
            }
        }
        if features["auth_required"] == true {
            return Err("nsqd wants a secret, which this kind of target has no key for".to_owned());
        }
        Ok(Session::over(stream))
    }

    fn over(stream: Box<dyn Stream>) -> Arc<Session> {
        let (reader, writer) = tokio::io::split(stream);
        let session = Arc::new(Session {
            writer: tokio::sync::Mutex::new(Some(writer)),
            waiting: Arc::default(),
            end: CancellationToken::new(),
        });
        tokio::spawn(listen(reader, Arc::downgrade(&session), session.end.clone()));
        session
    }

    async fn publish(&self, topic: &str, records: &[Delivery]) -> Answer {
        let (sender, answer) = oneshot::channel();
        let messages = command(&format!("MPUB {topic}"), &messages(records));
        self.write(&messages, Some(sender)).await.map_err(Fault::Connection)?;
        answer.await.unwrap_or_else(|_| Err(Fault::Connection("the connection broke".to_owned())))
    }

    /// Writes a whole command. What is given up half written leaves no way to write on.
    async fn write(&self, bytes: &[u8], waits: Option<oneshot::Sender<Answer>>) -> Result<(), String> {
        let mut place = self.writer.lock().await;
        let mut writer = place.take().ok_or("the connection broke")?;
        // Under the lock, so that the order of `waiting` is that of the commands.
        self.waiting.lock().extend(waits);
        writer.write_all(bytes).await.map_err(|error| error.to_string())?;
        writer.flush().await.map_err(|error| error.to_string())?;
        *place = Some(writer);
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Hands answers to who waits for them and answers heartbeats, until the connection breaks or nobody needs it; then
/// everybody who waits has failed.
async fn listen(
    mut reader: ReadHalf<Box<dyn Stream>>,
    session: std::sync::Weak<Session>,
    end: CancellationToken,
) {
    loop {
        let frame = tokio::select! {
            () = end.cancelled() => return,
            frame = read_frame(&mut reader) => frame,
        };
        let Some(session) = session.upgrade() else { return };
        let answer = match frame {
            Ok(Frame::Answer(text)) if &text[..] == b"_heartbeat_" => {
                // That it cannot be written shows at the next read.
                let _ = session.write(b"NOP\n", None).await;
                continue;
            }
            Ok(Frame::Answer(_)) => Ok(()),
            Ok(Frame::Error(reason)) => Err(fault(reason)),
            Ok(Frame::Other) => continue,
            Err(_) => {
                // First nobody asks any more, then nobody waits.
                *session.writer.lock().await = None;
                session.waiting.lock().clear();
                return;
            }
        };
        let waiting = session.waiting.lock().pop_front();
        if let Some(waiting) = waiting {
            // Nobody waits any more when the delivery was dropped.
            let _ = waiting.send(answer);
        }
    }
}

/// What an error of nsqd is about. After all but a failed publication it closes the connection.
fn fault(reason: String) -> Fault {
    match reason.split(' ').next().unwrap_or_default() {
        "E_BAD_MESSAGE" | "E_BAD_BODY" => Fault::RecordAndConnection(reason),
        "E_PUB_FAILED" | "E_MPUB_FAILED" => Fault::State(reason),
        _ => Fault::Connection(reason),
    }
}

impl Target for Nsq {
    fn form(&self) -> Form {
        self.form.clone()
    }

    fn in_flight_max(&self) -> usize {
        IN_FLIGHT_MAX
    }

    /// Connects if need be; an idle connection shows with nsqd's heartbeats whether it is one.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(
            self.link.probe(|session| async move {
                session.write(b"NOP\n", None).await.map_err(Fault::Connection)
            }),
        )
    }

    fn batch_max(&self) -> usize {
        BATCH_RECORDS
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        Box::pin(only(self.deliver_batch(vec![delivery])))
    }

    fn deliver_batch(&self, batch: Vec<Delivery>) -> Future<'_, Vec<Outcome>> {
        Box::pin(async move {
            let publish = |session: Arc<Session>, records| async move {
                session.publish(&self.topic, records).await.map(|()| all(records))
            };
            self.link.deliver_batch(&batch, publish).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Frame, check, command, fault, is_topic, messages, read_frame};
    use crate::event::Event;
    use crate::target::{Delivery, TargetId, TargetSettings};

    #[tokio::test]
    async fn frames_and_commands_are_those_of_the_protocol() {
        assert_eq!(&command("PUB events", b"{}")[..], b"PUB events\n\0\0\0\x02{}");
        let record = |body: &'static str| Delivery {
            key: String::new(),
            event: Event::GAP,
            time_ms: 0,
            body: body.into(),
            attributes: vec![],
        };
        let both = messages(&[record("{}"), record("[1]")]);
        assert_eq!(&both[..], b"\0\0\0\x02\0\0\0\x02{}\0\0\0\x03[1]");
        let mut sent = &b"\0\0\0\x06\0\0\0\0OK\0\0\0\x11\0\0\0\x01E_BAD_TOPIC x\0\0\0\x04\0\0\0\x02"[..];
        let mut frames = Vec::new();
        while let Ok(frame) = read_frame(&mut sent).await {
            frames.push(frame);
        }
        let error = Frame::Error("E_BAD_TOPIC x".to_owned());
        assert_eq!(frames, [Frame::Answer("OK".into()), error, Frame::Other]);
    }

    #[tokio::test]
    async fn a_frame_longer_than_any_answer_is_none() {
        let told = read_frame(&mut &b"\x7f\xff\xff\xff\0\0\0\0"[..]).await.unwrap_err();
        assert_eq!(told.to_string(), "nsqd sent a frame of 2147483647 bytes");
        assert!(read_frame(&mut &b"\0\0\0\x03\0\0\0\0"[..]).await.is_err());
    }

    #[test]
    fn an_error_tells_whether_the_record_the_topic_or_the_connection_is_at_fault() {
        let of = |reason: &str| fault(reason.to_owned());
        assert!(matches!(of("E_BAD_MESSAGE message too big 5 > 4"), Fault::RecordAndConnection(_)));
        assert!(matches!(of("E_PUB_FAILED PUB failed exiting"), Fault::State(_)));
        assert!(matches!(of("E_INVALID cannot PUB in current state"), Fault::Connection(_)));
    }

    #[test]
    fn settings_that_cannot_work_are_told_by_the_name_of_their_key() {
        let told = |pairs: &[(&'static str, &str)]| {
            let pairs = [&[("nsqd_address", "n:4150"), ("topic", "events")], pairs].concat();
            let values = pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
            let target = TargetId { id: "1".to_owned(), kind: "nsq" };
            check(&TargetSettings { target, values }).err().unwrap_or_default()
        };
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[("nsqd_address", "n")]), "nsqd_address is n, an address looks like host:1234");
        assert_eq!(told(&[("topic", "a b")]), "topic is a b, a topic has 1 to 64 letters, digits, . _ or -");
        assert_eq!(told(&[("tls", "1")]), "tls is 1, a switch is on or off");
        assert!(is_topic("events#ephemeral") && !is_topic("#ephemeral") && !is_topic("a#b"));
    }
}
