//! PostgreSQL: an entry per object in a table, or a row per record.
//!
//! Statements are written one behind the other over each connection, so many are under way at once. Each is a
//! transaction of its own and carries any number of records, as arrays: those of a batch that go over one connection,
//! but what sets and what removes entries apart. A record counts as delivered when PostgreSQL answered that its
//! statement is committed. The server ends a statement before we give it up, so none happens after what followed it.
//!
//! The table is made when it is not there. Then `key` and `value`, or `event_time` and `event_data`, are what
//! MinIO makes; in a table that is there only these columns matter.
//!
//! Source of keys, tables and statements: MinIO's PostgreSQL target.

mod connection_string;

use std::sync::Arc;

use store::Future;
use tidings_store as store;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::error::{Error, SqlState};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::connection_string::Connection;
use crate::format::{Entry, Format};
use crate::link::{BATCH_RECORDS, EXCHANGE_MS, FORGET_PAGE, Fault, Link, Links, all, only};
use crate::record::Form;
use crate::target::{
    Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings,
    has_nothing_to_forget, in_full,
};
use crate::tls::Tls;

/// The row of `TARGETS`.
pub(crate) const KIND: TargetKind = TargetKind {
    kind: "postgresql",
    subsystem: "notify_postgres",
    env: "POSTGRES",
    help: "keeps the records of changes in a table of a PostgreSQL database",
    keys: &[
        KeySpec::new(
            "connection_string",
            "CONNECTION_STRING",
            KeyKind::Text,
            "where and as whom, such as \"host=localhost dbname=events user=u password=p sslmode=verify-full\", or a postgres:// URL; without sslmode it is require",
        )
        .required()
        .secret(),
        KeySpec::new(
            "table",
            "TABLE",
            KeyKind::Text,
            "the table that records go to, made when it is not there; a plain name or one in double quotes",
        )
        .required(),
        Format::KEY,
        Links::<Arc<Session>>::KEY,
        KeySpec::QUEUE_DIR,
        KeySpec::QUEUE_LIMIT,
        KeySpec::COMMENT,
    ],
    check,
    connect: |settings, surroundings| Ok(Box::new(PostgreSql::new(settings, surroundings)?)),
};

/// Statements under way at once on a connection.
const PIPELINED_MAX: usize = 16;

/// When the server ends a statement.
const STATEMENT_MS: u64 = EXCHANGE_MS - 1000;

fn check(settings: &TargetSettings) -> Result<(), String> {
    settings.check_keys(KIND.keys)?;
    Connection::parse(settings.value("connection_string"))?;
    Format::of(settings)?;
    let table = settings.value("table");
    if !is_table(table) {
        return Err(format!(
            "table is {table}, a table is a name of letters, digits, _ and $, or any name in double quotes"
        ));
    }
    Ok(())
}

/// A name that can stand in a statement as it is.
fn is_table(name: &str) -> bool {
    if let Some(inner) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        return !inner.is_empty() && !inner.contains('\0') && !inner.replace("\"\"", "").contains('"');
    }
    let is_first = |character: char| character.is_alphabetic() || character == '_';
    name.starts_with(is_first)
        && name.chars().all(|character| is_first(character) || character.is_ascii_digit() || character == '$')
}

struct PostgreSql {
    format: Format,
    /// That of [`Statements`].
    forget: Option<String>,
    links: Links<Arc<Session>>,
}

impl PostgreSql {
    fn new(settings: &TargetSettings, surroundings: &Surroundings) -> Result<PostgreSql, String> {
        let Connection { mut config, tls } = Connection::parse(settings.value("connection_string"))?;
        if config.get_application_name().is_none() {
            config.application_name("tidings");
        }
        // The client library wants a way to encrypt also where it will not.
        let unused = Tls { check: crate::tls::Check::All, authority: None, own: None };
        let tls = MakeRustlsConnect::new(tls.unwrap_or(unused).client_config(surroundings)?);
        let format = Format::of(settings)?;
        let statements = Statements::of(format, settings.value("table"));
        let (forget, statements) = (statements.forget.clone(), Arc::new(statements));
        let links = Links::new(settings, || {
            let (config, tls, statements) = (config.clone(), tls.clone(), Arc::clone(&statements));
            Link::new(move || Box::pin(Session::begin(config.clone(), tls.clone(), Arc::clone(&statements))))
        });
        Ok(PostgreSql { format, forget, links })
    }
}

/// What is said to the server. Each placeholder is an array of texts, which the server casts.
#[derive(Debug, PartialEq, Eq)]
struct Statements {
    create: String,
    /// Takes keys and records, or times and records.
    set: String,
    /// Takes keys.
    remove: Option<String>,
    /// Takes one key and one beginning of keys: of the page behind the key it removes what begins so, and gives the
    /// page's last key, if it has any.
    forget: Option<String>,
}

impl Statements {
    fn of(format: Format, table: &str) -> Statements {
        match format {
            Format::Namespace => Statements {
                create: format!("CREATE TABLE IF NOT EXISTS {table} (key VARCHAR PRIMARY KEY, value JSONB)"),
                set: format!(
                    "INSERT INTO {table} (key, value) \
                     SELECT r.key, r.value::jsonb FROM unnest($1::text[], $2::text[]) AS r (key, value) \
                     ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value"
                ),
                remove: Some(format!("DELETE FROM {table} WHERE key = ANY ($1::text[])")),
                // A page is one of all keys, in whatever order the column's collation has them: only that is indexed.
                forget: Some(format!(
                    "WITH page AS (SELECT key FROM {table} WHERE key > $1 ORDER BY key LIMIT {FORGET_PAGE}), \
                     gone AS (DELETE FROM {table} WHERE key IN (SELECT key FROM page) \
                     AND left(key, length($2)) = $2 COLLATE \"C\") \
                     SELECT max(key)::text FROM page"
                )),
            },
            Format::Access => Statements {
                create: format!(
                    "CREATE TABLE IF NOT EXISTS {table} \
                     (event_time TIMESTAMP WITH TIME ZONE NOT NULL, event_data JSONB)"
                ),
                set: format!(
                    "INSERT INTO {table} (event_time, event_data) \
                     SELECT r.time::timestamptz, r.record::jsonb FROM unnest($1::text[], $2::text[]) AS r (time, record)"
                ),
                remove: None,
                forget: None,
            },
        }
    }
}

/// A connection with what it has prepared.
struct Session {
    client: Client,
    set: Statement,
    remove: Option<Statement>,
}

impl Session {
    /// Connects, makes the table if it is not there, and prepares the statements: a table whose columns are others
    /// shows here.
    async fn begin(
        config: Config,
        tls: MakeRustlsConnect,
        statements: Arc<Statements>,
    ) -> Result<Arc<Session>, String> {
        let (client, connection) = config.connect(tls).await.map_err(|error| told(&error))?;
        // Ends when the client is dropped. What it ends with is told to whoever waits.
        tokio::spawn(connection);
        let limit = format!("SET statement_timeout = {STATEMENT_MS}");
        client.batch_execute(&limit).await.map_err(|error| told(&error))?;
        let set = match client.prepare(&statements.set).await {
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                create(&client, &statements.create).await.map_err(|error| told(&error))?;
                client.prepare(&statements.set).await
            }
            prepared => prepared,
        };
        let set = set.map_err(|error| told(&error))?;
        let remove = match &statements.remove {
            Some(remove) => Some(client.prepare(remove).await.map_err(|error| told(&error))?),
            None => None,
        };
        Ok(Arc::new(Session { client, set, remove }))
    }

    /// Keeps records of different keys in one statement: all of them set entries, or all remove them.
    async fn keep(&self, format: Format, entry: Entry, records: &[Delivery]) -> Result<(), Error> {
        let keys: Vec<&str> = records.iter().map(|record| record.key.as_str()).collect();
        if let (Entry::Remove, Some(remove)) = (entry, &self.remove) {
            return self.client.execute(remove, &[&keys]).await.map(drop);
        }
        let bodies =
            records.iter().map(|record| std::str::from_utf8(&record.body).expect("a record is JSON"));
        let bodies: Vec<&str> = bodies.collect();
        match format {
            Format::Namespace => self.client.execute(&self.set, &[&keys, &bodies]).await?,
            Format::Access => {
                let times: Vec<String> = records.iter().map(time_of).collect();
                self.client.execute(&self.set, &[&times, &bodies]).await?
            }
        };
        Ok(())
    }
}

/// Two connections may make the table at once; that one of them is told it exists is no failure.
async fn create(client: &Client, statement: &str) -> Result<(), Error> {
    match client.batch_execute(statement).await {
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(()),
        result => result,
    }
}

/// The record's time as PostgreSQL reads it.
fn time_of(delivery: &Delivery) -> String {
    delivery.time().format(&Rfc3339).expect("a time of these centuries can be written")
}

/// Removes what begins with a prefix from the page behind a key; the page's last key.
async fn forget_page(
    session: Arc<Session>,
    statement: &str,
    after: &str,
    prefix: &str,
) -> Result<Option<String>, Fault> {
    let rows = session.client.query_typed(statement, &[(&after, Type::TEXT), (&prefix, Type::TEXT)]).await;
    let rows = rows.map_err(|error| fault(&error))?;
    let last = rows.first().map_or(Ok(None), |row| row.try_get(0));
    last.map_err(|error| fault(&error))
}

/// An error with its causes, on one line.
fn told(error: &Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => in_full(error),
    }
}

fn fault(error: &Error) -> Fault {
    let reason = told(error);
    let Some(code) = error.code().map(SqlState::code) else {
        return Fault::Connection(reason);
    };
    match (&code[..2], code) {
        // Data that the columns cannot take, a rule of the table that it breaks, a key longer than an index takes.
        ("22" | "23" | "54", _) => Fault::Record(reason),
        // The limit that was set on statements.
        (_, "57014") => Fault::State(reason),
        // A server that shuts down or became a replica; a table that is gone or is another one: with the next
        // connection it is made or looked at anew.
        ("08" | "57", _) | (_, "25006" | "42P01" | "0A000" | "26000") => Fault::Connection(reason),
        _ => Fault::State(reason),
    }
}

impl Target for PostgreSql {
    fn form(&self) -> Form {
        Form::MinioRecords
    }

    fn in_flight_max(&self) -> usize {
        self.links.len() * PIPELINED_MAX
    }

    fn batch_max(&self) -> usize {
        BATCH_RECORDS
    }

    /// Connects if need be, so that a wrong password and a table of other columns show as well.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(self.links.any().probe(|session| async move {
            session.client.batch_execute("SELECT 1").await.map_err(|error| fault(&error))
        }))
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        Box::pin(only(self.deliver_batch(vec![delivery])))
    }

    fn deliver_batch(&self, batch: Vec<Delivery>) -> Future<'_, Vec<Outcome>> {
        let format = self.format;
        let entry = move |record: &Delivery| format.entry(record.event);
        Box::pin(self.links.deliver_batch(batch, entry, move |session, entry, records| {
            Box::pin(async move {
                let kept = session.keep(format, entry, records).await;
                kept.map(|()| all(records)).map_err(|error| fault(&error))
            })
        }))
    }

    fn forget<'a>(&'a self, bucket: &'a str) -> Future<'a, Result<(), String>> {
        let Some(statement) = &self.forget else {
            return has_nothing_to_forget();
        };
        Box::pin(async move {
            let prefix = format!("{bucket}/");
            let mut after = Some(String::new());
            while let Some(key) = after {
                let page = |session| forget_page(session, statement, &key, &prefix);
                after = self.links.any().exchange(page).await.map_err(Fault::reason)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{KIND, PostgreSql, Statements, check, is_table};
    use crate::format::Format;
    use crate::target::{Surroundings, Target, TargetId, TargetSettings};

    fn settings(pairs: &[(&'static str, &str)]) -> TargetSettings {
        let pairs =
            [&[("connection_string", "host=db password=geheim"), ("table", "events")], pairs].concat();
        let values = pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        TargetSettings { target: TargetId { id: "1".to_owned(), kind: "postgresql" }, values }
    }

    #[test]
    fn tables_are_made_as_minio_makes_them() {
        let of = |format| Statements::of(format, "events").create;
        assert_eq!(
            [of(Format::Namespace), of(Format::Access)],
            [
                "CREATE TABLE IF NOT EXISTS events (key VARCHAR PRIMARY KEY, value JSONB)",
                "CREATE TABLE IF NOT EXISTS events (event_time TIMESTAMP WITH TIME ZONE NOT NULL, event_data JSONB)"
            ]
        );
    }

    #[test]
    fn a_table_is_a_plain_name_or_a_quoted_one() {
        let good = ["events", "_e$1", "Ereignisse_ä", r#""any; name""#, r#""a ""b"" c""#];
        assert!(good.iter().all(|name| is_table(name)));
        let bad =
            ["", "1e", "$e", "a b", "a;drop table b", "public.events", r#""""#, r#""a"b""#, "\"", "a\""];
        assert_eq!(bad.map(is_table), [false; 10]);
    }

    #[test]
    fn as_many_are_under_way_as_the_connections_take() {
        let in_flight = |connections: &str| {
            let settings = settings(&[("max_open_connections", connections)]);
            PostgreSql::new(&settings, &Surroundings::default()).unwrap().in_flight_max()
        };
        assert_eq!(["1", "2", "0", "1000"].map(in_flight), [16, 32, 256, 256]);
    }

    #[test]
    fn settings_that_cannot_work_are_told_by_the_name_of_their_key() {
        let told = |pairs: &[(&'static str, &str)]| check(&settings(pairs)).err().unwrap_or_default();
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[("connection_string", "")]), "connection_string is required and not set");
        assert_eq!(
            told(&[("connection_string", "host=db sslmode=on")]),
            "connection_string has sslmode=on, known are disable, allow, prefer, require, verify-ca and verify-full"
        );
        assert_eq!(
            told(&[("table", "a b")]),
            "table is a b, a table is a name of letters, digits, _ and $, or any name in double quotes"
        );
        assert_eq!(told(&[("format", "rows")]), "format is rows, known are namespace and access");
        assert_eq!(
            told(&[("max_open_connections", "-1")]),
            "max_open_connections is -1, which is not a whole number"
        );
        assert_eq!(
            KIND.keys.iter().filter(|key| key.is_secret).map(|key| key.name).collect::<Vec<_>>(),
            ["connection_string"]
        );
    }
}
