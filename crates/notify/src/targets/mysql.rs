//! MySQL and MariaDB: an entry per object in a table, or a row per record.
//!
//! The protocol answers one statement after the other, so as many records are with the server at once as there are
//! connections; others stand in line behind them. Each statement is a transaction of its own: a record counts as
//! delivered when the server answered that it is committed.
//!
//! The table is made when it is not there. Then it has the columns MinIO makes, `key_name`, `key_hash`, `value`, or
//! `event_time`, `event_data`; in a table that is there only these columns matter. MariaDB takes no generated column as
//! primary key: there `key_hash` is unique instead.
//!
//! Source of keys, tables and statements: MinIO's MySQL target.

mod dsn;

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, Opts, OptsBuilder, Params, Statement};
use store::Future;
use tidings_store as store;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::Mutex;

use self::dsn::{Dsn, Encryption};
use crate::format::{Entry, Format};
use crate::link::{Fault, Link, Links};
use crate::record::Form;
use crate::target::{
    Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings, in_full,
};
use crate::tls;

/// The row of `TARGETS`.
pub(crate) const KIND: TargetKind = TargetKind {
    kind: "mysql",
    subsystem: "notify_mysql",
    env: "MYSQL",
    help: "keeps the records of changes in a table of a MySQL or MariaDB database",
    keys: &[
        KeySpec::new(
            "dsn_string",
            "DSN_STRING",
            KeyKind::Text,
            "where and as whom, such as \"user:password@tcp(localhost:3306)/events?tls=true\"",
        )
        .required()
        .secret(),
        KeySpec::new(
            "table",
            "TABLE",
            KeyKind::Text,
            "the table that records go to, made when it is not there; a plain name or one in backticks",
        )
        .required(),
        Format::KEY,
        Links::<Arc<Session>>::KEY,
        KeySpec::QUEUE_DIR,
        KeySpec::QUEUE_LIMIT,
        KeySpec::COMMENT,
    ],
    check,
    connect: |settings, surroundings| Ok(Box::new(MySql::new(settings, surroundings)?)),
};

/// Deliveries under way at once on a connection: one is with the server, the others stand in line.
const IN_LINE_MAX: usize = 4;

/// What each connection begins with: our commits are the statements', and no statement waits for a lock until we have
/// given it up and sent what follows it.
const BEGINNING: [&str; 2] = ["SET autocommit = 1", "SET innodb_lock_wait_timeout = 5"];

/// The codes of the server's errors. <https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html>
mod code {
    pub(super) const SYNTAX: u16 = 1064;
    pub(super) const NO_SUCH_TABLE: u16 = 1146;
    /// What the columns do not take: null, a duplicate, a number, a time, a character, too long a text, no JSON, and
    /// what a condition of the table forbids, in MySQL and in MariaDB.
    pub(super) const OF_THE_DATA: [u16; 10] = [1048, 1062, 1153, 1264, 1292, 1366, 1406, 3140, 3819, 4025];
    /// The server goes, was told to take no writes, or has no such table any more.
    pub(super) const OF_THE_CONNECTION: [u16; 6] = [1053, NO_SUCH_TABLE, 1243, 1290, 1836, 1927];
}

fn check(settings: &TargetSettings) -> Result<(), String> {
    settings.check_keys(KIND.keys)?;
    Dsn::parse(settings.value("dsn_string"))?;
    Format::of(settings)?;
    let table = settings.value("table");
    if !is_table(table) {
        return Err(format!(
            "table is {table}, a table is a name of letters, digits, _ and $, or any name in backticks"
        ));
    }
    Ok(())
}

/// A name that can stand in a statement as it is; that of the database may stand before it.
fn is_table(name: &str) -> bool {
    let is_plain = |part: &str| {
        let is_letter = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
        !part.is_empty() && part.chars().all(is_letter)
    };
    if let Some(inner) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
        return !inner.is_empty() && !inner.contains('\0') && !inner.replace("``", "").contains('`');
    }
    name.split('.').count() <= 2 && name.split('.').all(is_plain)
}

struct MySql {
    format: Format,
    links: Links<Arc<Session>>,
}

impl MySql {
    fn new(settings: &TargetSettings, surroundings: &Surroundings) -> Result<MySql, String> {
        let Dsn { options, encryption } = Dsn::parse(settings.value("dsn_string"))?;
        let format = Format::of(settings)?;
        let beginning = Arc::new(Beginning {
            options,
            encryption,
            trusted_pem: tls::trusted_pem(surroundings),
            statements: Statements::of(format, settings.value("table")),
        });
        let links = Links::new(settings, || {
            let beginning = Arc::clone(&beginning);
            Link::new(move || Box::pin(Session::begin(Arc::clone(&beginning))))
        });
        Ok(MySql { format, links })
    }
}

/// What it takes to begin a session.
struct Beginning {
    options: OptsBuilder,
    encryption: Encryption,
    trusted_pem: String,
    statements: Statements,
}

impl Beginning {
    async fn connect(&self) -> Result<Conn, Error> {
        let options = |encryption: Encryption| {
            Opts::from(self.options.clone().ssl_opts(encryption.options(&self.trusted_pem)))
        };
        match Conn::new(options(self.encryption)).await {
            Err(Error::Driver(DriverError::NoClientSslFlagFromServer))
                if self.encryption == Encryption::Preferred =>
            {
                Conn::new(options(Encryption::Never)).await
            }
            connected => connected,
        }
    }
}

/// What is said to the server.
#[derive(Debug, PartialEq, Eq)]
struct Statements {
    create: String,
    /// The same where a generated column can be no primary key.
    create_in_mariadb: String,
    /// Takes key and record, or time and record.
    set: String,
    /// Takes a key.
    remove: Option<String>,
}

impl Statements {
    fn of(format: Format, table: &str) -> Statements {
        let create = |columns: &str| format!("CREATE TABLE IF NOT EXISTS {table} ({columns})");
        match format {
            Format::Namespace => {
                let create_with = |key: &str| {
                    let columns = format!(
                        "key_name VARCHAR(3072) NOT NULL, key_hash CHAR(64) GENERATED ALWAYS AS (SHA2(key_name, 256)) STORED {key}, value JSON"
                    );
                    create(&columns) + " CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin ROW_FORMAT = Dynamic"
                };
                Statements {
                    create: create_with("NOT NULL PRIMARY KEY"),
                    create_in_mariadb: create_with("UNIQUE"),
                    set: format!(
                        "INSERT INTO {table} (key_name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)"
                    ),
                    remove: Some(format!("DELETE FROM {table} WHERE key_hash = SHA2(?, 256)")),
                }
            }
            Format::Access => {
                let create = create("event_time DATETIME NOT NULL, event_data JSON");
                Statements {
                    create_in_mariadb: create.clone(),
                    create,
                    set: format!("INSERT INTO {table} (event_time, event_data) VALUES (?, ?)"),
                    remove: None,
                }
            }
        }
    }
}

/// A connection with what it has prepared. It is taken for each statement and comes back when that was answered: a
/// statement that was given up takes its connection along, since the next answer would be its own.
struct Session(Mutex<Option<Prepared>>);

struct Prepared {
    connection: Conn,
    set: Statement,
    remove: Option<Statement>,
}

impl Session {
    /// Connects, makes the table if it is not there, and prepares the statements: a table whose columns are others
    /// shows here.
    async fn begin(beginning: Arc<Beginning>) -> Result<Arc<Session>, String> {
        let told = |error: Error| told(&error);
        let statements = &beginning.statements;
        let mut connection = beginning.connect().await.map_err(told)?;
        for statement in BEGINNING {
            connection.query_drop(statement).await.map_err(told)?;
        }
        let set = match connection.prep(&statements.set).await {
            Err(error) if code_of(&error) == Some(code::NO_SUCH_TABLE) => {
                match connection.query_drop(&statements.create).await {
                    Err(error) if code_of(&error) == Some(code::SYNTAX) => {
                        connection.query_drop(&statements.create_in_mariadb).await.map_err(told)?;
                    }
                    created => created.map_err(told)?,
                }
                connection.prep(&statements.set).await
            }
            prepared => prepared,
        };
        let set = set.map_err(told)?;
        let remove = match &statements.remove {
            Some(remove) => Some(connection.prep(remove).await.map_err(told)?),
            None => None,
        };
        Ok(Arc::new(Session(Mutex::new(Some(Prepared { connection, set, remove })))))
    }

    async fn keep(&self, format: Format, delivery: &Delivery) -> Result<(), Fault> {
        let (mut prepared, mut place) = self.take().await?;
        let record = &delivery.body[..];
        let (statement, parameters) = match (format, Entry::of(delivery.event), &prepared.remove) {
            (Format::Namespace, Entry::Remove, Some(remove)) => {
                (remove.clone(), Params::from((&delivery.key,)))
            }
            (Format::Namespace, ..) => (prepared.set.clone(), (&delivery.key, record).into()),
            (Format::Access, ..) => (prepared.set.clone(), (time_of(delivery), record).into()),
        };
        let result =
            prepared.connection.exec_drop(statement, parameters).await.map_err(|error| fault(&error));
        *place = Some(prepared);
        result
    }

    async fn ping(&self) -> Result<(), Fault> {
        let (mut prepared, mut place) = self.take().await?;
        let result = prepared.connection.ping().await.map_err(|error| fault(&error));
        *place = Some(prepared);
        result
    }

    /// The connection, and where it is to be put back.
    async fn take(&self) -> Result<(Prepared, tokio::sync::MutexGuard<'_, Option<Prepared>>), Fault> {
        let mut place = self.0.lock().await;
        let prepared = place.take();
        Ok((prepared.ok_or_else(|| Fault::Connection("a statement was given up".to_owned()))?, place))
    }
}

/// The record's time as MySQL reads it.
fn time_of(delivery: &Delivery) -> String {
    let nanos = i128::from(delivery.time_ms) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
    time.format(format).expect("a time of these centuries can be written")
}

fn code_of(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
    }
}

fn told(error: &Error) -> String {
    match error {
        Error::Server(error) => format!("{} ({})", error.message, error.code),
        Error::Io(error) => in_full(error),
        error => error.to_string(),
    }
}

fn fault(error: &Error) -> Fault {
    let reason = told(error);
    match code_of(error) {
        Some(code) if code::OF_THE_DATA.contains(&code) => Fault::Record(reason),
        Some(code) if !code::OF_THE_CONNECTION.contains(&code) => Fault::State(reason),
        _ => Fault::Connection(reason),
    }
}

impl Target for MySql {
    fn form(&self) -> Form {
        Form::MinioRecords
    }

    fn in_flight_max(&self) -> usize {
        self.links.len() * IN_LINE_MAX
    }

    /// Connects if need be, so that a wrong password and a table of other columns show as well.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(self.links.any().probe(|session| async move { session.ping().await }))
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        let (format, link) = (self.format, self.links.of(&delivery.key));
        Box::pin(link.deliver(move |session| async move { session.keep(format, &delivery).await }))
    }
}

#[cfg(test)]
mod tests {
    use tidings_store::ChangeKind;

    use super::{KIND, Statements, check, is_table, time_of};
    use crate::event::Event;
    use crate::format::Format;
    use crate::target::{Delivery, TargetId, TargetSettings};

    fn settings(pairs: &[(&'static str, &str)]) -> TargetSettings {
        let pairs = [&[("dsn_string", "u:geheim@tcp(db:3306)/e"), ("table", "events")], pairs].concat();
        let values = pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        TargetSettings { target: TargetId { id: "1".to_owned(), kind: "mysql" }, values }
    }

    #[test]
    fn tables_are_made_as_minio_makes_them() {
        let of = |format| Statements::of(format, "events").create;
        assert_eq!(
            [of(Format::Namespace), of(Format::Access)],
            [
                "CREATE TABLE IF NOT EXISTS events (key_name VARCHAR(3072) NOT NULL, key_hash CHAR(64) GENERATED ALWAYS AS (SHA2(key_name, 256)) STORED NOT NULL PRIMARY KEY, value JSON) CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin ROW_FORMAT = Dynamic",
                "CREATE TABLE IF NOT EXISTS events (event_time DATETIME NOT NULL, event_data JSON)"
            ]
        );
    }

    #[test]
    fn a_table_is_a_plain_name_or_a_quoted_one() {
        let good = ["events", "1e", "shop.events", "`any; name`", "`a ``b`` c`"];
        assert!(good.iter().all(|name| is_table(name)));
        assert_eq!(["", "a b", "a;b", "a.b.c", "``", "`a`b`", "a`"].map(is_table), [false; 7]);
    }

    #[test]
    fn a_time_is_told_in_utc() {
        let delivery = Delivery {
            key: String::new(),
            event: Event::of(ChangeKind::Put),
            time_ms: 1_795_247_175_358,
            body: "{}".into(),
            attributes: vec![],
        };
        assert_eq!(time_of(&delivery), "2026-11-21 07:46:15.358");
    }

    #[test]
    fn settings_that_cannot_work_are_told_by_the_name_of_their_key() {
        let told = |pairs: &[(&'static str, &str)]| check(&settings(pairs)).err().unwrap_or_default();
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[("dsn_string", "")]), "dsn_string is required and not set");
        assert_eq!(
            told(&[("dsn_string", "u:geheim@db")]),
            "dsn_string is none, one looks like user:password@tcp(host:3306)/database"
        );
        assert_eq!(
            told(&[("table", "a b")]),
            "table is a b, a table is a name of letters, digits, _ and $, or any name in backticks"
        );
        assert_eq!(told(&[("format", "rows")]), "format is rows, known are namespace and access");
        assert_eq!(
            KIND.keys.iter().filter(|key| key.is_secret).map(|key| key.name).collect::<Vec<_>>(),
            ["dsn_string"]
        );
    }
}
