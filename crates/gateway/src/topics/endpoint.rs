//! From a topic's attributes to the settings of a target.
//!
//! | scheme | target | what the topic's name is there |
//! |---|---|---|
//! | `http`, `https` | webhook | not told |
//! | `kafka` | Kafka | the topic |
//! | `amqp`, `amqps` | AMQP, to an exchange that must be there | the routing key |
//! | `mqtt`, `mqtts` | MQTT, with `mqtt-qos` 1 unless set | the topic |
//! | `nats` | NATS | the subject |
//! | `redis`, `rediss` | Redis | the key of a list |
//!
//! `verify-ssl`, `ca-location` and what is said of retries and ages hold for every scheme.

use std::collections::BTreeMap;

use notify::{Form, KeySpec, TargetId, TargetSettings, retries, topic};
use tidings_notify as notify;

use super::Topic;

/// The parts of `scheme://user:password@host:port/path`.
struct Endpoint<'a> {
    scheme: &'a str,
    /// Decoded.
    login: Option<(String, String)>,
    host: &'a str,
    port: Option<u16>,
}

type Values = BTreeMap<&'static str, String>;

/// The settings of a topic that has an endpoint.
///
/// # Errors
///
/// A sentence that names the attribute. It does not quote the endpoint, which may hold a password.
pub(super) fn settings(topic: &Topic) -> Result<TargetSettings, String> {
    let url = topic.value("push-endpoint");
    let endpoint = Endpoint::parse(url).ok_or(
        "push-endpoint looks like scheme://host:port, with one of the schemes http, https, kafka, amqp, amqps, mqtt, \
         mqtts, nats, redis and rediss.",
    )?;
    let (kind, mut values) = match endpoint.scheme {
        "http" | "https" => ("webhook", Values::from([("endpoint", url.to_owned())])),
        "kafka" => ("kafka", kafka(topic, endpoint)),
        "amqp" | "amqps" => ("amqp", amqp(topic, url)?),
        "mqtt" | "mqtts" => ("mqtt", mqtt(topic, endpoint)),
        "nats" => ("nats", nats(topic, endpoint)),
        "redis" | "rediss" => ("redis", redis(topic, endpoint)),
        _ => return Err("push-endpoint has a scheme that no target of this server has.".to_owned()),
    };
    let is_cloudevent = topic.value("cloudevents").eq_ignore_ascii_case("true");
    if is_cloudevent && (kind != "webhook" || !matches!(topic.value("record_format"), "" | "ceph")) {
        return Err(
            "cloudevents is for http endpoints and Ceph's form: elsewhere record_format says it.".to_owned()
        );
    }
    let form = Some(topic.value("record_format")).filter(|form| !form.is_empty()).unwrap_or("ceph");
    let seconds = |attribute: &str| match topic.value(attribute) {
        "" => None,
        seconds => Some(format!("{seconds}s")),
    };
    let age = seconds("time_to_live").unwrap_or_else(|| KeySpec::WAIT_AGE.default.to_owned());
    let skips = topic.value("verify-ssl").eq_ignore_ascii_case("false");
    values.extend([
        (KeySpec::WAIT_AGE.name, age),
        (retries::MAX_RETRIES, topic.value("max_retries").to_owned()),
        (retries::RETRY_PAUSE, seconds("retry_sleep_duration").unwrap_or_default()),
        (topic::ENDPOINT_KIND, kind.to_owned()),
        (topic::CA_LOCATION, topic.value("ca-location").to_owned()),
        (topic::SKIP_VERIFY, if skips { "on" } else { "off" }.to_owned()),
        (Form::KEY.name, form.to_owned()),
        (Form::OPAQUE_DATA.name, topic.value("OpaqueData").to_owned()),
        (Form::CLOUDEVENTS, if is_cloudevent { "on" } else { "off" }.to_owned()),
    ]);
    let target = TargetId { id: topic.name.clone(), kind: topic::KIND };
    Ok(TargetSettings { target, values })
}

/// Whether an endpoint names a user.
pub(super) fn has_secret(url: &str) -> bool {
    Endpoint::parse(url).is_some_and(|endpoint| endpoint.login.is_some())
}

/// An endpoint without user and password, for people.
pub(super) fn without_secret(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

impl Endpoint<'_> {
    fn parse(url: &str) -> Option<Endpoint<'_>> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split('/').next()?;
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        let login = match login {
            None => None,
            Some(login) => {
                let (user, password) = login.split_once(':')?;
                Some((decoded(user)?, decoded(password)?))
            }
        };
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (host, None),
        };
        (!host.is_empty()).then_some(Endpoint { scheme, login, host, port })
    }

    fn address(&self, default_port: u16) -> String {
        format!("{}:{}", self.host, self.port.unwrap_or(default_port))
    }
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(tidings_s3::percent::decode(text).ok()?.into_owned()).ok()
}

fn is_on(topic: &Topic, attribute: &str) -> String {
    if topic.value(attribute).eq_ignore_ascii_case("true") { "on" } else { "off" }.to_owned()
}

fn kafka(topic: &Topic, endpoint: Endpoint<'_>) -> Values {
    let mechanism = match topic.value("mechanism") {
        "SCRAM-SHA-256" => "sha256",
        "SCRAM-SHA-512" => "sha512",
        _ => "plain",
    };
    let mut values = Values::from([
        ("brokers", endpoint.address(9092)),
        ("topic", topic.name.clone()),
        ("tls", is_on(topic, "use-ssl")),
        ("sasl_mechanism", mechanism.to_owned()),
    ]);
    if let Some((user, password)) = endpoint.login {
        let login = [("sasl", "on".to_owned()), ("sasl_username", user), ("sasl_password", password)];
        values.extend(login);
    }
    values
}

fn amqp(topic: &Topic, url: &str) -> Result<Values, String> {
    let exchange = topic.value("amqp-exchange");
    if exchange.is_empty() {
        return Err("amqp-exchange is required for an endpoint of AMQP.".to_owned());
    }
    let is_routable = topic.value("amqp-ack-level") == "routable";
    Ok(Values::from([
        ("url", url.to_owned()),
        ("exchange", exchange.to_owned()),
        ("exchange_type", "topic".to_owned()),
        ("exchange_exists", "on".to_owned()),
        ("routing_key", topic.name.clone()),
        ("mandatory", if is_routable { "on" } else { "off" }.to_owned()),
    ]))
}

fn mqtt(topic: &Topic, endpoint: Endpoint<'_>) -> Values {
    let (scheme, port) = if endpoint.scheme == "mqtts" { ("ssl", 8883) } else { ("tcp", 1883) };
    let qos = Some(topic.value("mqtt-qos")).filter(|qos| !qos.is_empty()).unwrap_or("1");
    let mut values = Values::from([
        ("broker", format!("{scheme}://{}", endpoint.address(port))),
        ("topic", topic.name.clone()),
        ("qos", qos.to_owned()),
    ]);
    if let Some((user, password)) = endpoint.login {
        values.extend([("username", user), ("password", password)]);
    }
    values
}

fn nats(topic: &Topic, endpoint: Endpoint<'_>) -> Values {
    let mut values = Values::from([
        ("address", endpoint.address(4222)),
        ("subject", topic.name.clone()),
        ("tls", is_on(topic, "use-ssl")),
    ]);
    if let Some((user, password)) = endpoint.login {
        values.extend([("username", user), ("password", password)]);
    }
    values
}

fn redis(topic: &Topic, endpoint: Endpoint<'_>) -> Values {
    let tls = if endpoint.scheme == "rediss" { "on" } else { "off" };
    let mut values = Values::from([
        ("address", endpoint.address(6379)),
        ("key", topic.name.clone()),
        ("format", "access".to_owned()),
        ("tls", tls.to_owned()),
    ]);
    if let Some((user, password)) = endpoint.login {
        values.extend([("user", user), ("password", password)]);
    }
    values
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{has_secret, settings, without_secret};
    use crate::topics::Topic;

    fn topic(attributes: &[(&str, &str)]) -> Topic {
        let mut topic =
            Topic { name: "uploads".to_owned(), owner: "root".to_owned(), attributes: BTreeMap::new() };
        for (name, value) in attributes {
            topic.set(name, value).unwrap();
        }
        topic
    }

    fn told(attributes: &[(&str, &str)], keys: &[&str]) -> Vec<String> {
        let settings = settings(&topic(attributes)).unwrap();
        keys.iter().map(|key| settings.value(key).to_owned()).collect()
    }

    #[test]
    fn each_scheme_makes_a_target_of_its_kind() {
        let keys = ["endpoint_kind", "brokers", "topic", "sasl", "sasl_username", "sasl_mechanism", "tls"];
        let kafka =
            [("push-endpoint", "kafka://u:p%40@k"), ("mechanism", "SCRAM-SHA-256"), ("use-ssl", "true")];
        assert_eq!(told(&kafka, &keys), ["kafka", "k:9092", "uploads", "on", "u", "sha256", "on"]);
        assert_eq!(told(&kafka, &["sasl_password"]), ["p@"]);
        let amqp = [("push-endpoint", "amqp://h/v"), ("amqp-exchange", "e"), ("amqp-ack-level", "routable")];
        let keys = ["endpoint_kind", "url", "exchange", "exchange_type", "routing_key", "mandatory"];
        assert_eq!(told(&amqp, &keys), ["amqp", "amqp://h/v", "e", "topic", "uploads", "on"]);
        let mqtt = [("push-endpoint", "mqtts://u:p@h")];
        assert_eq!(told(&mqtt, &["broker", "username", "qos"]), ["ssl://h:8883", "u", "1"]);
        assert_eq!(told(&[("push-endpoint", "nats://h:1")], &["address", "subject"]), ["h:1", "uploads"]);
        let redis = [("push-endpoint", "rediss://h")];
        assert_eq!(told(&redis, &["address", "key", "format", "tls"]), ["h:6379", "uploads", "access", "on"]);
    }

    #[test]
    fn records_are_in_cephs_form_unless_said_otherwise() {
        let http = ("push-endpoint", "http://h/p");
        let keys = ["endpoint_kind", "endpoint", "record_format", "opaque_data", "cloudevents"];
        let opaque = [http, ("OpaqueData", "me"), ("cloudevents", "True")];
        assert_eq!(told(&opaque, &keys), ["webhook", "http://h/p", "ceph", "me", "on"]);
        assert_eq!(told(&[http, ("record_format", "aws")], &keys[2..3]), ["aws"]);
    }

    #[test]
    fn what_is_not_said_of_retries_and_ages_is_as_for_every_target() {
        let http = ("push-endpoint", "http://h/p");
        let keys = ["wait_age", "max_retries", "retry_pause"];
        assert_eq!(told(&[http], &keys), [tidings_notify::KeySpec::WAIT_AGE.default, "", ""]);
        let none =
            [http, ("time_to_live", "None"), ("max_retries", "None"), ("retry_sleep_duration", "None")];
        assert_eq!(told(&none, &keys), told(&[http], &keys));
        let said = [http, ("time_to_live", "60"), ("max_retries", "3"), ("retry_sleep_duration", "5")];
        assert_eq!(told(&said, &keys), ["60s", "3", "5s"]);
        let zero = [http, ("time_to_live", "0"), ("max_retries", "0"), ("retry_sleep_duration", "0")];
        assert_eq!(told(&zero, &keys), ["0s", "0", "0s"]);
    }

    #[test]
    fn whom_a_topic_trusts_is_its_own_whatever_its_endpoint() {
        let amqp = ("amqp-exchange", "e");
        for url in ["https://h", "amqps://h", "kafka://h", "mqtts://h", "nats://h", "rediss://h"] {
            let own = [("push-endpoint", url), amqp, ("verify-ssl", "False"), ("ca-location", "own/ca.pem")];
            assert_eq!(told(&own, &["tls_skip_verify", "ca_location"]), ["on", "own/ca.pem"], "{url}");
            assert_eq!(told(&own[..2], &["tls_skip_verify", "ca_location"]), ["off", ""], "{url}");
        }
    }

    #[test]
    fn what_cannot_be_done_as_asked_is_refused_with_its_name() {
        let refused = |attributes: &[(&str, &str)]| {
            settings(&topic(attributes)).unwrap_err().split_whitespace().next().unwrap().to_owned()
        };
        for url in ["h", "ftp://h", "http://", "kafka://h:x", "http://user@h"] {
            assert_eq!(refused(&[("push-endpoint", url)]), "push-endpoint", "{url}");
        }
        assert_eq!(refused(&[("push-endpoint", "amqp://h")]), "amqp-exchange");
        assert_eq!(refused(&[("push-endpoint", "nats://h"), ("cloudevents", "true")]), "cloudevents");
    }

    #[test]
    fn an_endpoint_is_shown_without_its_user_and_password() {
        assert_eq!(without_secret("amqp://u:p@h:1/v"), "amqp://h:1/v");
        assert_eq!(without_secret("http://h/a@b"), "http://h/a@b");
        assert!(has_secret("amqp://u:p@h") && !has_secret("http://h/a@b"));
    }
}
