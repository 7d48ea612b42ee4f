//! MQTT 3.1.1: one message a record, published as the topic is written, not retained.
//!
//! What acknowledges a record depends on `qos`. With 1 it is the broker's PUBACK, with 2 its PUBCOMP. With 0
//! the protocol has no acknowledgement: a record counts as delivered when it was written to the connection,
//! and one that was written to a connection that then breaks is lost. Whoever must not lose records sets 1 or 2.
//!
//! The session is clean and has a client id of its own. When the connection breaks, everything that was under
//! way counts as failed and the next delivery connects anew; how often that is tried is the relay's matter.
//!
//! Records are published one behind the other, many under way at once: a packet carries one message, and the client
//! library writes what gathered together.
//!
//! Source of keys: MinIO's MQTT target.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS, Transport};
use store::Future;
use tidings_store as store;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::record::{Carries, Form};
use crate::target::{Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings};
use crate::tls::TlsKeys;

/// The row of `TARGETS`.
pub(crate) const KIND: TargetKind = TargetKind {
    kind: "mqtt",
    subsystem: "notify_mqtt",
    env: "MQTT",
    help: "sends the records of changes to a topic of an MQTT broker",
    keys: &[
        KeySpec::new(
            "broker",
            "BROKER",
            KeyKind::Url,
            "address of the broker, such as tcp://localhost:1883; also ssl, tls, tcps, ws and wss",
        )
        .required(),
        KeySpec::new("topic", "TOPIC", KeyKind::Text, "the topic that records are published to").required(),
        KeySpec::new("username", "USERNAME", KeyKind::Text, "user name, when the broker wants one"),
        KeySpec::new("password", "PASSWORD", KeyKind::Text, "password of that user").secret(),
        KeySpec::new(
            "qos",
            "QOS",
            KeyKind::Number,
            "quality of service 0, 1 or 2; with 0 nothing is acknowledged",
        )
        .or("0"),
        KeySpec::new(
            "keep_alive_interval",
            "KEEP_ALIVE_INTERVAL",
            KeyKind::Duration,
            "keep-alive interval, at least 1s; 0s is 10s",
        )
        .or("0s"),
        KeySpec::new(
            "reconnect_interval",
            "RECONNECT_INTERVAL",
            KeyKind::Duration,
            "accepted for compatibility, tries back off by themselves",
        )
        .or("0s"),
        KeySpec::QUEUE_DIR,
        KeySpec::QUEUE_LIMIT,
        Form::KEY,
        Form::OPAQUE_DATA,
        KeySpec::COMMENT,
    ],
    check,
    connect: |settings, surroundings| Ok(Box::new(Mqtt::new(settings, surroundings)?)),
};

/// Messages under way at once, with QoS 0 and 1.
const IN_FLIGHT_MAX: usize = 64;

/// Messages under way at once, with QoS 2. Mosquitto confirms those beyond its `max_inflight_messages` (20, or
/// what its operator sets) and loses them: of 1,000 sent 64 at once, 320 reached a subscriber. MQTT 3.1.1 has
/// no way to ask for the bound, so it is the least there can be.
const EXACTLY_ONCE_IN_FLIGHT_MAX: usize = 1;

/// Numbers for messages under way. Many more than are under way at once, so that none is reused while the
/// broker still holds it.
const PACKET_IDS: u16 = 4096;

/// Largest message in bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long connecting may take.
const CONNECT_MS: u64 = 5000;

/// How long the broker may take to acknowledge.
const ACKNOWLEDGE_MS: u64 = 5000;

/// Keep-alive where none is set.
const KEEP_ALIVE_S: u64 = 10;

fn check(settings: &TargetSettings) -> Result<(), String> {
    settings.check_keys(KIND.keys)?;
    Broker::parse(settings.value("broker"))?;
    let qos = qos(settings)?;
    if qos == QoS::AtMostOnce && !settings.value("queue_dir").is_empty() {
        return Err("qos should be set to 1 or 2 if queue_dir is set".to_owned());
    }
    if settings.value("topic").contains(['+', '#', '\0']) {
        return Err("topic holds + or #, which only subscribers may use".to_owned());
    }
    form(settings)?;
    let keep_alive = settings.duration("keep_alive_interval");
    if !keep_alive.is_zero() && keep_alive < Duration::from_secs(1) {
        return Err(format!(
            "keep_alive_interval is {}, at least 1s is possible",
            settings.value("keep_alive_interval")
        ));
    }
    Ok(())
}

/// A message of MQTT 3.1.1 has nothing but its body; version 5 brought properties.
fn form(settings: &TargetSettings) -> Result<Form, String> {
    Form::of(settings, Form::MinioEnvelope, Carries::BodyOnly)
}

fn qos(settings: &TargetSettings) -> Result<QoS, String> {
    match settings.number("qos") {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        other => Err(format!("qos is {other}, known are 0, 1 and 2")),
    }
}

fn in_flight_max(qos: QoS) -> usize {
    match qos {
        QoS::AtMostOnce | QoS::AtLeastOnce => IN_FLIGHT_MAX,
        QoS::ExactlyOnce => EXACTLY_ONCE_IN_FLIGHT_MAX,
    }
}

/// Where the broker is.
#[derive(Debug, PartialEq, Eq)]
struct Broker {
    channel: Channel,
    /// The host; for websockets the whole URL, as the client library wants it.
    address: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Broker {
    fn parse(url: &str) -> Result<Broker, String> {
        // Before anything is quoted: what stands before an @ is a password.
        if url.contains('@') {
            return Err("broker names a user; user and password have keys of their own".to_owned());
        }
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| format!("broker is {url}, a broker looks like tcp://host:1883"))?;
        let (channel, default_port) = match scheme {
            "tcp" => (Channel::Tcp, 1883),
            "ssl" | "tls" | "tcps" => (Channel::Tls, 8883),
            "ws" => (Channel::Ws, 80),
            "wss" => (Channel::Wss, 443),
            _ => {
                return Err(format!(
                    "broker has the scheme {scheme}, known are tcp, ssl, tls, tcps, ws and wss"
                ));
            }
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| format!("broker has the port {port}, which is none"))?)
            }
            _ => (authority, default_port),
        };
        if host.is_empty() {
            return Err("broker names no host".to_owned());
        }
        let address = match channel {
            Channel::Tcp | Channel::Tls => host.to_owned(),
            Channel::Ws | Channel::Wss => format!("{scheme}://{host}:{port}{path}"),
        };
        Ok(Broker { channel, address, port })
    }
}

fn options(settings: &TargetSettings, surroundings: &Surroundings) -> Result<MqttOptions, String> {
    let broker = Broker::parse(settings.value("broker"))?;
    let mut options = MqttOptions::new("", broker.address, broker.port);
    let config = || TlsKeys::default().of(settings).client_config(surroundings).map(Into::into);
    options.set_transport(match broker.channel {
        Channel::Tcp => Transport::Tcp,
        Channel::Tls => Transport::tls_with_config(config()?),
        Channel::Ws => Transport::Ws,
        Channel::Wss => Transport::wss_with_config(config()?),
    });
    let keep_alive = settings.duration("keep_alive_interval");
    options.set_keep_alive(if keep_alive.is_zero() { Duration::from_secs(KEEP_ALIVE_S) } else { keep_alive });
    options.set_clean_session(true);
    options.set_inflight(PACKET_IDS);
    options.set_max_packet_size(MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX);
    if !settings.value("username").is_empty() {
        options.set_credentials(settings.value("username"), settings.value("password"));
    }
    Ok(options)
}

struct Mqtt {
    options: MqttOptions,
    topic: String,
    form: Form,
    qos: QoS,
    session: Mutex<Option<Arc<Session>>>,
    /// One permit a message under way: several relays may share the target.
    turns: Semaphore,
}

impl Mqtt {
    fn new(settings: &TargetSettings, surroundings: &Surroundings) -> Result<Mqtt, String> {
        let qos = qos(settings)?;
        Ok(Mqtt {
            options: options(settings, surroundings)?,
            topic: settings.value("topic").to_owned(),
            form: form(settings)?,
            qos,
            session: Mutex::new(None),
            turns: Semaphore::new(in_flight_max(qos)),
        })
    }

    /// The session, begun if there is none or the last one ended.
    fn session(&self) -> Arc<Session> {
        let mut place = self.session.lock();
        if let Some(session) = &*place
            && !matches!(*session.state.borrow(), State::Ended(_))
        {
            return Arc::clone(session);
        }
        let mut options = self.options.clone();
        options.set_client_id(format!("tidings-{:016x}", rand::random::<u64>()));
        let session = Arc::new(Session::begin(options));
        *place = Some(Arc::clone(&session));
        session
    }

    async fn publish(&self, delivery: Delivery) -> Outcome {
        let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
        let session = self.session();
        if let Err(reason) = session.connected().await {
            return Outcome::Away(reason);
        }
        let acknowledged = match session.publish(&self.topic, self.qos, &delivery) {
            Ok(acknowledged) => acknowledged,
            Err(reason) => return Outcome::Away(reason),
        };
        match tokio::time::timeout(Duration::from_millis(ACKNOWLEDGE_MS), acknowledged).await {
            Ok(Ok(())) => Outcome::Acknowledged,
            Ok(Err(_)) => Outcome::Away(session.reason()),
            Err(_) => {
                session.end.cancel();
                Outcome::Away(format!("the broker did not acknowledge within {ACKNOWLEDGE_MS} ms"))
            }
        }
    }
}

impl Target for Mqtt {
    fn form(&self) -> Form {
        self.form.clone()
    }

    fn in_flight_max(&self) -> usize {
        in_flight_max(self.qos)
    }

    /// Connects, so that a wrong password shows as well.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(async {
            let session = self.session();
            session.connected().await
        })
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        Box::pin(self.publish(delivery))
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        if let Some(session) = self.session.lock().take() {
            session.end.cancel();
        }
    }
}

#[derive(Clone, Debug)]
enum State {
    Connecting,
    Connected,
    /// Why.
    Ended(String),
}

/// One connection to the broker, from its beginning to its end.
struct Session {
    client: AsyncClient,
    under_way: Arc<Mutex<UnderWay>>,
    state: watch::Receiver<State>,
    end: CancellationToken,
}

/// Who waits for which acknowledgement.
#[derive(Default)]
struct UnderWay {
    /// Handed to the client in this order and not numbered yet.
    handed: VecDeque<oneshot::Sender<()>>,
    /// By packet id.
    numbered: HashMap<u16, oneshot::Sender<()>>,
}

impl Session {
    fn begin(options: MqttOptions) -> Session {
        let (client, event_loop) = AsyncClient::new(options, IN_FLIGHT_MAX);
        let (state_sender, state) = watch::channel(State::Connecting);
        let under_way = Arc::new(Mutex::new(UnderWay::default()));
        let end = CancellationToken::new();
        tokio::spawn(drive(event_loop, Arc::clone(&under_way), state_sender, end.clone()));
        Session { client, under_way, state, end }
    }

    /// Waits until the broker has accepted the connection.
    async fn connected(&self) -> Result<(), String> {
        let mut state = self.state.clone();
        let waiting = state.wait_for(|state| !matches!(state, State::Connecting));
        match tokio::time::timeout(Duration::from_millis(2 * CONNECT_MS), waiting).await {
            Ok(Ok(state)) => match &*state {
                State::Ended(reason) => Err(reason.clone()),
                State::Connected | State::Connecting => Ok(()),
            },
            Ok(Err(_)) => Err("the connection ended".to_owned()),
            Err(_) => {
                self.end.cancel();
                Err(format!("the broker did not accept the connection within {} ms", 2 * CONNECT_MS))
            }
        }
    }

    /// Hands a message to the client; the answer resolves when it is acknowledged and fails when the session
    /// ends before.
    fn publish(&self, topic: &str, qos: QoS, delivery: &Delivery) -> Result<oneshot::Receiver<()>, String> {
        let (sender, receiver) = oneshot::channel();
        // Under the lock, so that the order of `handed` is that of the client's queue.
        let mut under_way = self.under_way.lock();
        // A session that ends says so first and lets go of who waits after: one of both is seen here.
        if matches!(*self.state.borrow(), State::Ended(_)) {
            return Err(self.reason());
        }
        let handed = self.client.try_publish(topic, qos, false, &delivery.body[..]);
        handed.map_err(|error| format!("the message cannot be queued: {error}"))?;
        under_way.handed.push_back(sender);
        Ok(receiver)
    }

    fn reason(&self) -> String {
        match &*self.state.borrow() {
            State::Ended(reason) => reason.clone(),
            State::Connecting | State::Connected => "the connection ended".to_owned(),
        }
    }
}

/// Moves the connection until it breaks or is ended; then everything under way has failed.
async fn drive(
    mut event_loop: EventLoop,
    under_way: Arc<Mutex<UnderWay>>,
    state: watch::Sender<State>,
    end: CancellationToken,
) {
    let mut network = event_loop.network_options();
    network.set_connection_timeout(CONNECT_MS / 1000);
    event_loop.set_network_options(network);
    let reason = loop {
        let event = tokio::select! {
            () = end.cancelled() => break "the connection was closed".to_owned(),
            event = event_loop.poll() => event,
        };
        let acknowledged = match event {
            Err(error) => break error.to_string(),
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                state.send_replace(State::Connected);
                None
            }
            Ok(Event::Outgoing(Outgoing::Publish(packet_id))) => under_way.lock().number(packet_id),
            Ok(Event::Outgoing(Outgoing::AwaitAck(_))) => {
                break "the broker left messages unacknowledged".to_owned();
            }
            Ok(Event::Incoming(Packet::PubAck(packet))) => under_way.lock().numbered.remove(&packet.pkid),
            Ok(Event::Incoming(Packet::PubComp(packet))) => under_way.lock().numbered.remove(&packet.pkid),
            Ok(_) => None,
        };
        if let Some(waiting) = acknowledged {
            // Nobody waits any more when the delivery was dropped.
            let _ = waiting.send(());
        }
    };
    state.send_replace(State::Ended(reason));
    *under_way.lock() = UnderWay::default();
}

impl UnderWay {
    /// The message that was handed over first was written under this id. The id 0 means that nothing will
    /// acknowledge it: then whoever waits is the answer.
    fn number(&mut self, packet_id: u16) -> Option<oneshot::Sender<()>> {
        let waiting = self.handed.pop_front()?;
        if packet_id == 0 {
            return Some(waiting);
        }
        self.numbered.insert(packet_id, waiting);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Broker, Channel, check};
    use crate::target::{TargetId, TargetSettings};

    fn told(pairs: &[(&'static str, &str)]) -> String {
        let mut values = BTreeMap::from([("broker", "tcp://b:1883".to_owned()), ("topic", "t".to_owned())]);
        values.extend(pairs.iter().map(|&(key, value)| (key, value.to_owned())));
        let settings = TargetSettings { target: TargetId { id: "1".to_owned(), kind: "mqtt" }, values };
        check(&settings).err().unwrap_or_default()
    }

    #[test]
    fn a_broker_is_read_from_its_url() {
        let read = |url| Broker::parse(url).map(|broker| (broker.channel, broker.address, broker.port));
        assert_eq!(read("tcp://b"), Ok((Channel::Tcp, "b".to_owned(), 1883)));
        assert_eq!(read("ssl://b:1234"), Ok((Channel::Tls, "b".to_owned(), 1234)));
        assert_eq!(read("tls://[::1]/"), Ok((Channel::Tls, "[::1]".to_owned(), 8883)));
        assert_eq!(read("ws://b:29001/mqtt"), Ok((Channel::Ws, "ws://b:29001/mqtt".to_owned(), 29001)));
        assert_eq!(read("wss://b"), Ok((Channel::Wss, "wss://b:443".to_owned(), 443)));
    }

    #[test]
    fn settings_that_cannot_work_are_told_by_the_name_of_their_key() {
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[("broker", "b:1883")]), "broker is b:1883, a broker looks like tcp://host:1883");
        assert_eq!(
            told(&[("broker", "http://b")]),
            "broker has the scheme http, known are tcp, ssl, tls, tcps, ws and wss"
        );
        assert_eq!(
            told(&[("broker", "tcp://u:geheim@b")]),
            "broker names a user; user and password have keys of their own"
        );
        assert_eq!(told(&[("topic", "a/#")]), "topic holds + or #, which only subscribers may use");
        assert_eq!(told(&[("qos", "3")]), "qos is 3, known are 0, 1 and 2");
        assert_eq!(told(&[("queue_dir", "/q")]), "qos should be set to 1 or 2 if queue_dir is set");
        assert_eq!(told(&[("queue_dir", "/q"), ("qos", "1")]), "");
        assert_eq!(
            told(&[("keep_alive_interval", "500ms")]),
            "keep_alive_interval is 500ms, at least 1s is possible"
        );
    }
}
