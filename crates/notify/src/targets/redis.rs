//! Redis: an entry per object in a hash, or every record at the end of a list.
//!
//! One connection carries all that is under way: commands are written one behind the other and answered in that
//! order, so none waits for the answer to another. A command carries any number of records: a batch is one `RPUSH`, or
//! one `HSET` for what it sets and one `HDEL` for what it removes. A record counts as delivered when Redis answered its
//! command; whether it outlives a crash of Redis is a matter of that server's `appendfsync`.
//!
//! A key that holds another type than the format needs makes the target unusable until it is gone; that is found
//! out when connecting and told by every command after.
//!
//! Source of keys, commands and values: MinIO's Redis target. It knows no TLS; `tls` and `tls_skip_verify` are ours.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, ServerErrorKind};
use store::Future;
use tidings_store as store;

use crate::dial::Dial;
use crate::format::{Entry, Format};
use crate::link::{BATCH_RECORDS, FORGET_PAGE, Fault, Link, all, only};
use crate::record::{Carries, Form};
use crate::target::{
    Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings,
    has_nothing_to_forget,
};
use crate::tls::TlsKeys;

/// The row of `TARGETS`.
pub(crate) const KIND: TargetKind = TargetKind {
    kind: "redis",
    subsystem: "notify_redis",
    env: "REDIS",
    help: "keeps the records of changes in a Redis server",
    keys: &[
        KeySpec::new("address", "ADDRESS", KeyKind::Csv, "address of the server, such as localhost:6379")
            .required(),
        KeySpec::new("key", "KEY", KeyKind::Text, "the key of the hash or list that records go to")
            .required(),
        Format::KEY,
        Form::KEY,
        Form::OPAQUE_DATA,
        KeySpec::new("password", "PASSWORD", KeyKind::Text, "password, when the server wants one").secret(),
        KeySpec::new("user", "USER", KeyKind::Text, "user name, when the server has several"),
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
        KeySpec::COMMENT,
    ],
    check,
    connect: |settings, surroundings| Ok(Box::new(Redis::new(settings, surroundings)?)),
};

/// Commands under way at once.
const IN_FLIGHT_MAX: usize = 64;

/// What the connection is called in Redis's `CLIENT LIST`.
const CLIENT_NAME: &str = "tidings";

fn check(settings: &TargetSettings) -> Result<(), String> {
    settings.check_keys(KIND.keys)?;
    settings.address("address")?;
    form(settings)?;
    if !settings.value("user").is_empty() && settings.value("password").is_empty() {
        return Err("user is set and password is not".to_owned());
    }
    Ok(())
}

/// Another form than MinIO's is the same document in a hash and in a list.
fn form(settings: &TargetSettings) -> Result<Form, String> {
    let minio = match Format::of(settings)? {
        Format::Namespace => Form::MinioRecords,
        Format::Access => Form::MinioLog,
    };
    Form::of(settings, minio, Carries::BodyOnly)
}

struct Redis {
    link: Link<MultiplexedConnection>,
    key: Arc<str>,
    format: Format,
    form: Form,
}

impl Redis {
    fn new(settings: &TargetSettings, surroundings: &Surroundings) -> Result<Redis, String> {
        let (host, port) = settings.address("address")?;
        let tls = settings
            .is_on("tls")
            .then(|| TlsKeys::default().of(settings).client_config(surroundings))
            .transpose()?;
        let dial = Dial { host, port, tls: tls.map(Arc::new) };
        let (key, format): (Arc<str>, _) = (settings.value("key").into(), Format::of(settings)?);
        let mut login = RedisConnectionInfo::default();
        if !settings.value("user").is_empty() {
            login = login.set_username(settings.value("user"));
        }
        if !settings.value("password").is_empty() {
            login = login.set_password(settings.value("password"));
        }
        let link = {
            let key = Arc::clone(&key);
            Link::new(move || Box::pin(connect(dial.clone(), login.clone(), Arc::clone(&key), format)))
        };
        Ok(Redis { link, key, format, form: form(settings)? })
    }

    /// What is said for records of different keys: a command for each of what they do.
    fn commands(&self, records: &[Delivery]) -> Pipeline {
        let (mut set, mut remove, mut push) = (Vec::new(), Vec::new(), Vec::new());
        for Delivery { key, event, body, .. } in records {
            match (self.format, Entry::of(*event)) {
                (Format::Namespace, Entry::Set) => set.extend([key.as_bytes(), body]),
                (Format::Namespace, Entry::Remove) => remove.push(key.as_bytes()),
                (Format::Access, _) => push.push(&body[..]),
            }
        }
        let mut commands = Pipeline::new();
        for (name, arguments) in [("HSET", set), ("HDEL", remove), ("RPUSH", push)] {
            if !arguments.is_empty() {
                commands.cmd(name).arg(&*self.key).arg(arguments).ignore();
            }
        }
        commands
    }
}

/// The names of a bucket's fields as a pattern, in which nothing of the bucket's name is special.
fn pattern(bucket: &str) -> String {
    let is_special = |character: char| matches!(character, '*' | '?' | '[' | ']' | '^' | '-' | '\\');
    let escape = |character| is_special(character).then_some('\\').into_iter().chain([character]);
    bucket.chars().flat_map(escape).collect::<String>() + "/*"
}

/// Removes the fields that a pattern finds in a part of a hash; where to go on, 0 at the end.
async fn forget_page(
    mut connection: MultiplexedConnection,
    key: &str,
    pattern: &str,
    cursor: u64,
) -> Result<u64, Fault> {
    let mut scan = redis::cmd("HSCAN");
    scan.arg(key).arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(FORGET_PAGE);
    let scanned = scan.query_async(&mut connection).await;
    // Fields and their values in turn.
    let (cursor, found): (u64, Vec<Vec<u8>>) = scanned.map_err(|error| fault(&error))?;
    let fields: Vec<Vec<u8>> = found.into_iter().step_by(2).collect();
    if !fields.is_empty() {
        let removed = redis::cmd("HDEL").arg(key).arg(fields).exec_async(&mut connection).await;
        removed.map_err(|error| fault(&error))?;
    }
    Ok(cursor)
}

/// A connection that is logged in and has seen that the key can be used.
async fn connect(
    dial: Dial,
    login: RedisConnectionInfo,
    key: Arc<str>,
    format: Format,
) -> Result<MultiplexedConnection, String> {
    let told = |error: RedisError| error.to_string();
    let stream = dial.connect().await?;
    // The link bounds every exchange.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let opened = MultiplexedConnection::new_with_config(&login, stream, config).await;
    let (mut connection, driver) = opened.map_err(told)?;
    // Ends when the last handle of the connection is gone.
    tokio::spawn(driver);
    redis::cmd("CLIENT").arg("SETNAME").arg(CLIENT_NAME).exec_async(&mut connection).await.map_err(told)?;
    let kind: String = redis::cmd("TYPE").arg(&*key).query_async(&mut connection).await.map_err(told)?;
    let needed = match format {
        Format::Namespace => "hash",
        Format::Access => "list",
    };
    if kind != "none" && kind != needed {
        return Err(format!("the key {key} holds a {kind}, this format needs a {needed}"));
    }
    Ok(connection)
}

/// What Redis answers to a command is about its own state, never about a record: it takes any bytes up to
/// 512 MiB.
fn fault(error: &RedisError) -> Fault {
    let reason = error.to_string();
    match error.kind() {
        // A server that became a replica: the address may lead to another one by now.
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
            Fault::Connection(reason)
        }
        ErrorKind::Server(_) | ErrorKind::Extension => Fault::State(reason),
        _ => Fault::Connection(reason),
    }
}

impl Target for Redis {
    fn form(&self) -> Form {
        self.form.clone()
    }

    fn in_flight_max(&self) -> usize {
        IN_FLIGHT_MAX
    }

    /// Logs in if need be and pings, so that a wrong password and a key of another type show as well.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(self.link.probe(|mut connection| async move {
            redis::cmd("PING").exec_async(&mut connection).await.map_err(|error| fault(&error))
        }))
    }

    fn batch_max(&self) -> usize {
        BATCH_RECORDS
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        Box::pin(only(self.deliver_batch(vec![delivery])))
    }

    fn deliver_batch(&self, batch: Vec<Delivery>) -> Future<'_, Vec<Outcome>> {
        Box::pin(async move {
            let say = |mut connection, records| async move {
                let answered = self.commands(records).exec_async(&mut connection).await;
                answered.map(|()| all(records)).map_err(|error| fault(&error))
            };
            self.link.deliver_batch(&batch, say).await
        })
    }

    fn forget<'a>(&'a self, bucket: &'a str) -> Future<'a, Result<(), String>> {
        if self.format == Format::Access {
            return has_nothing_to_forget();
        }
        Box::pin(async move {
            let pattern = pattern(bucket);
            let mut cursor = 0;
            loop {
                let page = |connection| forget_page(connection, &self.key, &pattern, cursor);
                cursor = self.link.exchange(page).await.map_err(Fault::reason)?;
                if cursor == 0 {
                    return Ok(());
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tidings_store::ChangeKind;

    use super::{KIND, Redis, check, pattern};
    use crate::event::Event;
    use crate::record::Form;
    use crate::target::{Delivery, Surroundings, Target, TargetId, TargetSettings};

    fn settings(pairs: &[(&'static str, &str)]) -> TargetSettings {
        let pairs = [&[("address", "r:6379"), ("key", "events")], pairs].concat();
        let values = pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        TargetSettings { target: TargetId { id: "1".to_owned(), kind: "redis" }, values }
    }

    /// What is said for records of these names and kinds.
    fn sent(format: &str, records: &[(&str, ChangeKind)]) -> String {
        let target = Redis::new(&settings(&[("format", format)]), &Surroundings::default()).unwrap();
        let records = records.iter().map(|&(name, kind)| Delivery {
            key: format!("album/{name}"),
            event: Event::of(kind),
            time_ms: 0,
            body: "{}".into(),
            attributes: vec![],
        });
        let commands = target.commands(&records.collect::<Vec<_>>());
        String::from_utf8(commands.get_packed_pipeline()).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn a_hash_holds_what_is_there_and_a_list_holds_what_happened() {
        let set = "*4 $4 HSET $6 events $14 album/rose.jpg $2 {} ";
        let rose = |format, kind| sent(format, &[("rose.jpg", kind)]);
        assert_eq!(rose("namespace", ChangeKind::Put), set);
        assert_eq!(rose("namespace", ChangeKind::Delete), "*3 $4 HDEL $6 events $14 album/rose.jpg ");
        assert_eq!(rose("access", ChangeKind::Delete), "*3 $5 RPUSH $6 events $2 {} ");
    }

    #[test]
    fn a_batch_is_a_command_for_each_of_what_it_does() {
        let batch = [("a", ChangeKind::Put), ("b", ChangeKind::Delete), ("c", ChangeKind::Put)];
        let set = "*6 $4 HSET $6 events $7 album/a $2 {} $7 album/c $2 {} ";
        assert_eq!(sent("namespace", &batch), format!("{set}*3 $4 HDEL $6 events $7 album/b "));
        assert_eq!(sent("access", &batch), "*5 $5 RPUSH $6 events $2 {} $2 {} $2 {} ");
    }

    #[test]
    fn a_pattern_finds_the_fields_of_one_bucket() {
        assert_eq!([pattern("album"), pattern("a-b.c")], ["album/*", r"a\-b.c/*"]);
        assert_eq!(pattern(r"*?[^]\"), r"\*\?\[\^\]\\/*");
    }

    #[test]
    fn the_form_of_record_follows_the_format() {
        let form =
            |format| Redis::new(&settings(&[("format", format)]), &Surroundings::default()).unwrap().form();
        assert_eq!((form("namespace"), form("access")), (Form::MinioRecords, Form::MinioLog));
        let aws = settings(&[("format", "access"), ("record_format", "aws")]);
        assert_eq!(Redis::new(&aws, &Surroundings::default()).unwrap().form(), Form::Aws);
    }

    #[test]
    fn settings_that_cannot_work_are_told_by_the_name_of_their_key() {
        let told = |pairs: &[(&'static str, &str)]| check(&settings(pairs)).err().unwrap_or_default();
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[("address", "r")]), "address is r, an address looks like host:1234");
        assert_eq!(
            told(&[("address", "u:geheim@r:1")]),
            "address names a user; user and password have keys of their own"
        );
        assert_eq!(told(&[("key", "")]), "key is required and not set");
        assert_eq!(told(&[("format", "hash")]), "format is hash, known are namespace and access");
        assert_eq!(told(&[("user", "u")]), "user is set and password is not");
        assert_eq!(told(&[("tls", "yes")]), "tls is yes, a switch is on or off");
        assert_eq!(
            KIND.keys.iter().filter(|key| key.is_secret).map(|key| key.name).collect::<Vec<_>>(),
            ["password"]
        );
    }
}
