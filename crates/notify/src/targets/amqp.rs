//! AMQP 0-9-1, as RabbitMQ speaks it: one message a record, to an exchange that is declared first.
//!
//! A record counts as delivered when the broker has confirmed it, whatever `publisher_confirms` says: without a
//! confirmation a message that is written to a connection which then breaks is lost, and nobody knows. With
//! `mandatory=on` a message that no queue takes counts as failed, and the record waits until one does; without it such
//! a message is confirmed and gone, as the broker's protocol has it.
//!
//! One channel carries all that is under way. When the broker closes it everything under way has failed, and the
//! next delivery connects and declares anew.
//!
//! Source of keys and of the message: MinIO's AMQP target, which declares the exchange before every message.

use std::path::PathBuf;
use std::sync::Arc;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use percent_encoding::percent_decode_str;
use store::Future;
use tidings_store as store;

use crate::link::{CONNECT_MS, Fault, Link};
use crate::record::{Carries, Form};
use crate::target::{
    Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings, in_full,
};
use crate::tls::{Tls, TlsKeys};

/// The row of `TARGETS`.
pub(crate) const KIND: TargetKind = TargetKind {
    kind: "amqp",
    subsystem: "notify_amqp",
    env: "AMQP",
    help: "publishes the records of changes to an exchange of an AMQP 0-9-1 broker",
    keys: &[
        KeySpec::new(
            "url",
            "URL",
            KeyKind::Url,
            "address of the broker, such as amqp://user:password@localhost:5672/vhost; amqps with TLS",
        )
        .required()
        .secret(),
        KeySpec::new(
            "exchange",
            "EXCHANGE",
            KeyKind::Text,
            "the exchange, declared when connecting; empty for the default one",
        ),
        KeySpec::new(
            "exchange_type",
            "EXCHANGE_TYPE",
            KeyKind::Text,
            "direct, fanout, topic, headers or one of a plugin; empty is direct",
        ),
        KeySpec::new("routing_key", "ROUTING_KEY", KeyKind::Text, "routing key of each message"),
        KeySpec::new(
            "mandatory",
            "MANDATORY",
            KeyKind::Switch,
            "whether a message that no queue takes has failed",
        )
        .or("off"),
        KeySpec::new(
            "durable",
            "DURABLE",
            KeyKind::Switch,
            "whether the exchange outlives the broker's restart",
        )
        .or("off"),
        KeySpec::new("no_wait", "NO_WAIT", KeyKind::Switch, "do not wait until the exchange is declared")
            .or("off"),
        KeySpec::new(
            "internal",
            "INTERNAL",
            KeyKind::Switch,
            "whether the exchange is internal; brokers take no message for one",
        )
        .or("off"),
        KeySpec::new(
            "auto_deleted",
            "AUTO_DELETED",
            KeyKind::Switch,
            "whether the exchange goes with its last queue",
        )
        .or("off"),
        KeySpec::new(
            "immediate",
            "IMMEDIATE",
            KeyKind::Switch,
            "ask for a waiting consumer, which RabbitMQ refuses",
        )
        .or("off"),
        KeySpec::new(
            "delivery_mode",
            "DELIVERY_MODE",
            KeyKind::Number,
            "1 for transient messages, 2 for persistent ones; 0 says nothing",
        )
        .or("0"),
        KeySpec::new(
            "publisher_confirms",
            "PUBLISHING_CONFIRMS",
            KeyKind::Switch,
            "accepted for compatibility: every record waits for the broker's confirmation",
        )
        .or("off"),
        KeySpec::QUEUE_DIR,
        KeySpec::QUEUE_LIMIT,
        Form::KEY,
        Form::OPAQUE_DATA,
        KeySpec::COMMENT,
    ],
    check,
    connect: |settings, surroundings| Ok(Box::new(Amqp::new(settings, surroundings)?)),
};

/// What the header of a CloudEvent's attribute begins with. AMQP protocol binding for CloudEvents 1.0.2, §3.1.3; what
/// it calls application properties are headers in AMQP 0-9-1.
const ATTRIBUTE: &str = "cloudEvents_";

/// Messages under way at once.
const IN_FLIGHT_MAX: usize = 256;

/// Longest name of an exchange, and longest routing key, in bytes: AMQP's short string.
const NAME_BYTES_MAX: usize = 255;

fn check(settings: &TargetSettings) -> Result<(), String> {
    settings.check_keys(KIND.keys)?;
    uri(settings)?;
    for key in ["exchange", "exchange_type", "routing_key"] {
        if settings.value(key).len() > NAME_BYTES_MAX {
            return Err(format!("{key} is longer than {NAME_BYTES_MAX} bytes"));
        }
    }
    if settings.number("delivery_mode") > 2 {
        return Err(format!("delivery_mode is {}, known are 0, 1 and 2", settings.value("delivery_mode")));
    }
    form(settings)?;
    tls(settings)?;
    Ok(())
}

fn form(settings: &TargetSettings) -> Result<Form, String> {
    Form::of(settings, Form::MinioEnvelope, Carries::Attributes)
}

/// The client library's error would quote the URL, and with it the password.
fn uri(settings: &TargetSettings) -> Result<AMQPUri, String> {
    let fault = |_| "url is no AMQP URL, one looks like amqp://user:password@host:5672/vhost".to_owned();
    let mut uri: AMQPUri = settings.value("url").parse().map_err(fault)?;
    uri.query.connection_timeout.get_or_insert(CONNECT_MS);
    Ok(uri)
}

/// Whom to trust and who we are, as RabbitMQ's Go client takes them from the URL's query.
fn tls(settings: &TargetSettings) -> Result<Tls, String> {
    let query = settings.value("url").split_once('?').map_or("", |(_, query)| query);
    let path = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        let value = percent_decode_str(value).decode_utf8().ok().filter(|value| !value.is_empty());
        value.map(|path| PathBuf::from(&*path))
    };
    let own = match (path("certfile"), path("keyfile")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("url must have both certfile and keyfile or neither".to_owned()),
    };
    Ok(Tls { authority: path("cacertfile"), own, ..TlsKeys::default().of(settings) })
}

struct Amqp {
    form: Form,
    publication: Publication,
    link: Link<Arc<Session>>,
}

/// What every message has.
#[derive(Clone)]
struct Publication {
    exchange: String,
    routing_key: String,
    options: BasicPublishOptions,
    properties: BasicProperties,
}

impl Publication {
    fn of(settings: &TargetSettings, form: &Form) -> Publication {
        let options = BasicPublishOptions {
            mandatory: settings.is_on("mandatory"),
            immediate: settings.is_on("immediate"),
        };
        let mut properties = BasicProperties::default().with_content_type(form.content_type().into());
        if let Ok(mode @ 1..) = u8::try_from(settings.number("delivery_mode")) {
            properties = properties.with_delivery_mode(mode);
        }
        Publication {
            exchange: settings.value("exchange").to_owned(),
            routing_key: settings.value("routing_key").to_owned(),
            options,
            properties,
        }
    }

    /// The properties of a record's message.
    fn properties(&self, delivery: &Delivery) -> BasicProperties {
        let bucket = delivery.key.split('/').next().unwrap_or_default();
        let mut headers = FieldTable::default();
        for (name, value) in [("minio-bucket", bucket), ("minio-event", delivery.event.as_str())] {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        for (name, value) in &delivery.attributes {
            let value = AMQPValue::LongString(value.as_str().into());
            headers.insert(format!("{ATTRIBUTE}{name}").into(), value);
        }
        self.properties.clone().with_headers(headers)
    }
}

/// How the exchange is declared.
#[derive(Clone)]
struct Declaration {
    exchange: String,
    kind: ExchangeKind,
    options: ExchangeDeclareOptions,
}

impl Declaration {
    /// `None` for the default exchange, which is always there and cannot be declared.
    fn of(settings: &TargetSettings) -> Option<Declaration> {
        let kind = match settings.value("exchange_type") {
            "" | "direct" => ExchangeKind::Direct,
            "fanout" => ExchangeKind::Fanout,
            "headers" => ExchangeKind::Headers,
            "topic" => ExchangeKind::Topic,
            other => ExchangeKind::Custom(other.to_owned()),
        };
        let options = ExchangeDeclareOptions {
            // A topic's exchange must be there, however it was declared.
            passive: settings.is_on("exchange_exists"),
            durable: settings.is_on("durable"),
            auto_delete: settings.is_on("auto_deleted"),
            internal: settings.is_on("internal"),
            nowait: settings.is_on("no_wait"),
        };
        let exchange = settings.value("exchange").to_owned();
        (!exchange.is_empty()).then_some(Declaration { exchange, kind, options })
    }
}

impl Amqp {
    fn new(settings: &TargetSettings, surroundings: &Surroundings) -> Result<Amqp, String> {
        let (uri, declaration) = (uri(settings)?, Declaration::of(settings));
        let tls = RustlsConnector::from(tls(settings)?.client_config(surroundings)?);
        let link = Link::new(move || Box::pin(Session::begin(uri.clone(), tls.clone(), declaration.clone())));
        let form = form(settings)?;
        Ok(Amqp { publication: Publication::of(settings, &form), form, link })
    }
}

/// A connection with the channel that records go over.
struct Session {
    channel: Channel,
    connection: Connection,
}

impl Session {
    async fn begin(
        uri: AMQPUri,
        tls: RustlsConnector,
        declaration: Option<Declaration>,
    ) -> Result<Arc<Session>, String> {
        let told = |error: lapin::Error| in_full(&error);
        let properties = ConnectionProperties::default().with_connection_name("tidings".into());
        let runtime = lapin::runtime::default_runtime().map_err(told)?;
        // What the library would do by itself, but with our certificates and our check of the broker's.
        let connecting = Connection::connector(
            uri,
            runtime,
            async move |uri, runtime| {
                let address = (uri.authority.host.clone(), uri.authority.port);
                let stream = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs(address)).await?;
                Ok(match uri.scheme {
                    AMQPScheme::AMQP => stream,
                    AMQPScheme::AMQPS => stream.into_rustls(&tls, &uri.authority.host).await?,
                })
            },
            properties,
        );
        let connection = connecting.await.map_err(told)?;
        let channel = connection.create_channel().await.map_err(told)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(told)?;
        if let Some(Declaration { exchange, kind, options }) = declaration {
            let declaring = channel.exchange_declare(exchange.into(), kind, options, FieldTable::default());
            declaring.await.map_err(told)?;
        }
        Ok(Arc::new(Session { channel, connection }))
    }

    async fn publish(&self, publication: &Publication, delivery: &Delivery) -> Result<(), Fault> {
        let broken = |error: lapin::Error| Fault::Connection(in_full(&error));
        let (exchange, routing_key) = (publication.exchange.as_str(), publication.routing_key.as_str());
        let properties = publication.properties(delivery);
        let publishing = self.channel.basic_publish(
            exchange.into(),
            routing_key.into(),
            publication.options,
            &delivery.body,
            properties,
        );
        match publishing.await.map_err(broken)?.await.map_err(broken)? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(returned)) => {
                Err(Fault::State(format!("no queue took it: {}", returned.reply_text)))
            }
            Confirmation::Nack(_) => {
                Err(Fault::State("the broker did not take responsibility for it".to_owned()))
            }
            Confirmation::NotRequested => {
                Err(Fault::Connection("the channel does not confirm any more".to_owned()))
            }
        }
    }
}

impl Target for Amqp {
    fn form(&self) -> Form {
        self.form.clone()
    }

    fn in_flight_max(&self) -> usize {
        IN_FLIGHT_MAX
    }

    /// Connects and declares if need be, so that a wrong password and an exchange of another type show as well.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(self.link.probe(|session| async move {
            let is_there = session.connection.status().connected() && session.channel.status().connected();
            if is_there { Ok(()) } else { Err(Fault::Connection("the connection broke".to_owned())) }
        }))
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        let publication = self.publication.clone();
        Box::pin(
            self.link.deliver(move |session| async move { session.publish(&publication, &delivery).await }),
        )
    }
}

#[cfg(test)]
mod tests {
    use lapin::ExchangeKind;
    use tidings_store::ChangeKind;

    use super::{Declaration, KIND, Publication, check, tls};
    use crate::event::Event;
    use crate::record::Form;
    use crate::target::{Delivery, TargetId, TargetSettings};
    use crate::tls::{Check, Tls};

    fn settings(pairs: &[(&'static str, &str)]) -> TargetSettings {
        let pairs = [&[("url", "amqp://u:geheim@r:5672/v")], pairs].concat();
        let values = pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        TargetSettings { target: TargetId { id: "1".to_owned(), kind: "amqp" }, values }
    }

    #[test]
    fn a_message_says_what_it_is_without_being_opened() {
        let delivery = Delivery {
            key: "album/images/rose.jpg".to_owned(),
            event: Event::of(ChangeKind::Put),
            time_ms: 0,
            body: "{}".into(),
            attributes: vec![("id", "1".to_owned())],
        };
        let properties = Publication::of(&settings(&[("delivery_mode", "2")]), &Form::CloudEventsBinary)
            .properties(&delivery);
        let headers = properties.headers().as_ref().unwrap().inner().iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value.as_long_string().unwrap().to_string()))
            .collect();
        assert_eq!(
            headers,
            [
                ("cloudEvents_id", "1".to_owned()),
                ("minio-bucket", "album".to_owned()),
                ("minio-event", "s3:ObjectCreated:Put".to_owned())
            ]
        );
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(
            *Publication::of(&settings(&[]), &Form::MinioEnvelope).properties(&delivery).delivery_mode(),
            None
        );
    }

    #[test]
    fn an_exchange_is_declared_as_the_settings_say_and_the_default_one_is_not() {
        assert!(Declaration::of(&settings(&[])).is_none());
        let declaration = Declaration::of(&settings(&[
            ("exchange", "e"),
            ("exchange_type", "x-delayed"),
            ("durable", "on"),
        ]));
        let declaration = declaration.unwrap();
        assert_eq!(declaration.kind, ExchangeKind::Custom("x-delayed".to_owned()));
        assert!(
            declaration.options.durable && !declaration.options.auto_delete && !declaration.options.passive
        );
    }

    #[test]
    fn certificates_are_named_in_the_url_as_rabbitmqs_go_client_takes_them() {
        let of = |url: &str| tls(&settings(&[("url", url)])).unwrap();
        let named = of("amqps://r/v?heartbeat=5&cacertfile=/ca.pem&certfile=%2Fc.pem&keyfile=/k.pem");
        let own = Some(("/c.pem".into(), "/k.pem".into()));
        assert_eq!(named, Tls { check: Check::All, authority: Some("/ca.pem".into()), own });
        assert_eq!(of("amqps://r"), Tls { check: Check::All, authority: None, own: None });
    }

    #[test]
    fn settings_that_cannot_work_are_told_by_the_name_of_their_key() {
        let told = |pairs: &[(&'static str, &str)]| check(&settings(pairs)).err().unwrap_or_default();
        let fault = "url is no AMQP URL, one looks like amqp://user:password@host:5672/vhost";
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[("url", "")]), "url is required and not set");
        assert_eq!(told(&[("url", "http://u:geheim@r")]), fault);
        assert_eq!(told(&[("url", "u:geheim@r")]), fault);
        assert_eq!(
            told(&[("url", "amqps://r?certfile=/c.pem")]),
            "url must have both certfile and keyfile or neither"
        );
        assert_eq!(told(&[("delivery_mode", "3")]), "delivery_mode is 3, known are 0, 1 and 2");
        assert_eq!(told(&[("mandatory", "yes")]), "mandatory is yes, a switch is on or off");
        assert_eq!(told(&[("routing_key", &"k".repeat(256))]), "routing_key is longer than 255 bytes");
        assert_eq!(
            KIND.keys.iter().filter(|key| key.is_secret).map(|key| key.name).collect::<Vec<_>>(),
            ["url"]
        );
    }
}
