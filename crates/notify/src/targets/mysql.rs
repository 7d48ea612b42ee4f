//! MySQL and MariaDB: an entry per object in a table, or a row per record.
//!
//! The protocol answers one statement after the other, so as many records are with the server at once as there are
//! connections; others stand in line behind them. Each statement is a transaction of its own and carries any number of
//! records: those of a batch that go over one connection, but what sets and what removes rows apart. A record counts as
//! delivered when the server answered that its statement is committed. A batch whose statement is longer than
//! the server takes is halved.
//!
//! The table is made when it is not there. Then it has the columns MinIO makes, `key_name`, `key_hash`, `value`, or
//! `event_time`, `event_data`; in a table that is there only these columns matter. MariaDB takes no generated column as
//! primary key: there `key_hash` is unique instead.
//!
//! Source of keys, tables and statements: MinIO's MySQL target.

mod dsn;
mod statements;

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, Opts, OptsBuilder};
use store::Future;
use tidings_store as store;
use tokio::sync::{Mutex, MutexGuard};

use self::dsn::{Dsn, Encryption};
use self::statements::Statements;
use crate::format::{Entry, Format};
use crate::link::{BATCH_RECORDS, Fault, Link, Links, all, only};
use crate::pem;
use crate::record::Form;
use crate::target::{
    Delivery, KeyKind, KeySpec, Outcome, Surroundings, Target, TargetKind, TargetSettings,
    has_nothing_to_forget, in_full,
};

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
            "where and as whom, such as \"user:password@tcp(localhost:3306)/events?tls=true\"; ssl-ca, ssl-cert and ssl-key name PEM files, with %2F for each slash",
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

/// How often a statement is run that loses to another transaction: two of ours that insert next to one another can.
const DEADLOCK_TRIES: u32 = 5;

/// What each connection begins with: our commits are the statements', and no statement waits for a lock until we have
/// given it up and sent what follows it.
const BEGINNING: [&str; 2] = ["SET autocommit = 1", "SET innodb_lock_wait_timeout = 5"];

/// The codes of the server's errors. <https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html>
mod code {
    /// Another transaction won; ours was rolled back.
    pub(super) const DEADLOCK: u16 = 1213;
    pub(super) const SYNTAX: u16 = 1064;
    pub(super) const NO_SUCH_TABLE: u16 = 1146;
    /// The server closes the connection behind it.
    pub(super) const TOO_LONG: u16 = 1153;
    /// What the columns do not take: null, a duplicate, a number, a time, a character, too long a text, no JSON, and
    /// what a condition of the table forbids, in MySQL and in MariaDB.
    pub(super) const OF_THE_DATA: [u16; 9] = [1048, 1062, 1264, 1292, 1366, 1406, 3140, 3819, 4025];
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
            trusted_pem: pem::trusted_pem(surroundings),
            statements: Arc::new(Statements::of(format, settings.value("table"))),
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
    encryption: Option<Encryption>,
    trusted_pem: String,
    statements: Arc<Statements>,
}

impl Beginning {
    async fn connect(&self) -> Result<Conn, Error> {
        let clear = || Conn::new(Opts::from(self.options.clone()));
        let Some(encryption) = &self.encryption else {
            return clear().await;
        };
        let options = self.options.clone().ssl_opts(Some(encryption.options(&self.trusted_pem)));
        match Conn::new(Opts::from(options)).await {
            Err(Error::Driver(DriverError::NoClientSslFlagFromServer)) if encryption.falls_back => {
                clear().await
            }
            connected => connected,
        }
    }
}

/// A connection. It is taken for each statement and comes back when that was answered: a statement that was given up
/// takes its connection along, since the next answer would be its own.
struct Session {
    connection: Mutex<Option<Conn>>,
    statements: Arc<Statements>,
    /// Bytes of the longest statement that the server takes.
    statement_max: usize,
}

impl Session {
    /// Connects, makes the table if it is not there, and has statements prepared and forgotten: a table whose columns
    /// are others shows here.
    async fn begin(beginning: Arc<Beginning>) -> Result<Arc<Session>, String> {
        let told = |error: Error| told(&error);
        let statements = &beginning.statements;
        let mut connection = beginning.connect().await.map_err(told)?;
        for statement in BEGINNING {
            connection.query_drop(statement).await.map_err(told)?;
        }
        let set = statements.set(&["(?, ?)".to_owned()]);
        match try_out(&mut connection, &set).await {
            Err(error) if code_of(&error) == Some(code::NO_SUCH_TABLE) => {
                match connection.query_drop(&statements.create).await {
                    Err(error) if code_of(&error) == Some(code::SYNTAX) => {
                        connection.query_drop(&statements.create_in_mariadb).await.map_err(told)?;
                    }
                    created => created.map_err(told)?,
                }
                try_out(&mut connection, &set).await.map_err(told)?;
            }
            tried => tried.map_err(told)?,
        }
        if let Some(remove) = statements.remove(&["?".to_owned()]) {
            try_out(&mut connection, &remove).await.map_err(told)?;
        }
        let packet_max: Option<usize> =
            connection.query_first("SELECT @@max_allowed_packet").await.map_err(told)?;
        Ok(Arc::new(Session {
            connection: Mutex::new(Some(connection)),
            statements: Arc::clone(statements),
            // A byte says that it is a statement.
            statement_max: packet_max.unwrap_or(usize::MAX) - 1,
        }))
    }

    /// Keeps records of different keys in one statement: all of them set rows, or all remove them.
    async fn keep(&self, entry: Entry, records: &[Delivery]) -> Result<(), Fault> {
        let statement = self.statements.keep(entry, records);
        if statement.len() > self.statement_max {
            let (length, longest) = (statement.len(), self.statement_max);
            return Err(Fault::Record(format!(
                "its statement has {length} bytes, the server takes {longest}"
            )));
        }
        self.run(&statement).await.map(drop)
    }

    /// Removes the rows of a bucket from the page behind a hash; where that ends, if rows follow it.
    async fn forget_page(&self, after: &str, prefix: &str) -> Result<Option<String>, Fault> {
        let to = self.run(&self.statements.page_end(after)).await?;
        self.run(&self.statements.forget(after, to.as_deref(), prefix)).await?;
        Ok(to)
    }

    /// Runs a statement; the first text that it gives.
    async fn run(&self, statement: &str) -> Result<Option<String>, Fault> {
        let (mut connection, mut place) = self.take().await?;
        let mut tries = 1;
        let result = loop {
            match connection.query_first(statement).await {
                Err(error) if code_of(&error) == Some(code::DEADLOCK) && tries < DEADLOCK_TRIES => tries += 1,
                result => break result,
            }
        };
        *place = Some(connection);
        result.map_err(|error| fault(&error))
    }

    async fn ping(&self) -> Result<(), Fault> {
        let (mut connection, mut place) = self.take().await?;
        let result = connection.ping().await.map_err(|error| fault(&error));
        *place = Some(connection);
        result
    }

    /// The connection, and where it is to be put back.
    async fn take(&self) -> Result<(Conn, MutexGuard<'_, Option<Conn>>), Fault> {
        let mut place = self.connection.lock().await;
        let connection = place.take();
        Ok((connection.ok_or_else(|| Fault::Connection("a statement was given up".to_owned()))?, place))
    }
}

/// Finds out whether the server would run a statement.
async fn try_out(connection: &mut Conn, statement: &str) -> Result<(), Error> {
    let prepared = connection.prep(statement).await?;
    connection.close(prepared).await
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
        Some(code::TOO_LONG) => Fault::RecordAndConnection(reason),
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

    fn batch_max(&self) -> usize {
        BATCH_RECORDS
    }

    /// Connects if need be, so that a wrong password and a table of other columns show as well.
    fn probe(&self) -> Future<'_, Result<(), String>> {
        Box::pin(self.links.any().probe(|session| async move { session.ping().await }))
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        Box::pin(only(self.deliver_batch(vec![delivery])))
    }

    fn deliver_batch(&self, batch: Vec<Delivery>) -> Future<'_, Vec<Outcome>> {
        let format = self.format;
        let entry = move |record: &Delivery| format.entry(record.event);
        Box::pin(self.links.deliver_batch(batch, entry, |session, entry, records| {
            Box::pin(async move { session.keep(entry, records).await.map(|()| all(records)) })
        }))
    }

    fn forget<'a>(&'a self, bucket: &'a str) -> Future<'a, Result<(), String>> {
        if self.format == Format::Access {
            return has_nothing_to_forget();
        }
        Box::pin(async move {
            let prefix = format!("{bucket}/");
            let mut after = Some(String::new());
            while let Some(hash) = after {
                let page = |session: Arc<Session>| {
                    let (hash, prefix) = (&hash, &prefix);
                    async move { session.forget_page(hash, prefix).await }
                };
                after = self.links.any().exchange(page).await.map_err(Fault::reason)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{KIND, check, is_table};
    use crate::target::{TargetId, TargetSettings};

    fn settings(pairs: &[(&'static str, &str)]) -> TargetSettings {
        let pairs = [&[("dsn_string", "u:geheim@tcp(db:3306)/e"), ("table", "events")], pairs].concat();
        let values = pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        TargetSettings { target: TargetId { id: "1".to_owned(), kind: "mysql" }, values }
    }

    #[test]
    fn a_table_is_a_plain_name_or_a_quoted_one() {
        let good = ["events", "1e", "shop.events", "`any; name`", "`a ``b`` c`"];
        assert!(good.iter().all(|name| is_table(name)));
        assert_eq!(["", "a b", "a;b", "a.b.c", "``", "`a`b`", "a`"].map(is_table), [false; 7]);
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
