//! A real MariaDB: a table of records, a mirror of the bucket, passwords, TLS.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::Mutex;

use super::journey::{self, Held, Part, records};
use crate::support::parts::{of_nobody, part, setting, unique};

/// The tests stop and kill the one server there is, so they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// `tidings:…@tcp(localhost:…)/events` with these parameters.
async fn dsn(parameters: &str) -> String {
    let port = setting("MYSQL_PORT").await;
    format!("tidings:tidings-secret@tcp(localhost:{port})/events?{parameters}")
}

fn table() -> String {
    unique("records").replace('-', "_")
}

async fn mariadb(table: &str, format: &str) -> Part {
    Part {
        script: "mariadb.sh",
        kind: "mysql",
        env: "MYSQL",
        settings: vec![
            ("DSN_STRING", dsn("timeout=5s").await),
            ("TABLE", table.to_owned()),
            ("FORMAT", format.to_owned()),
        ],
        shape: records,
        held: rows(table.to_owned()),
    }
}

/// The records of a table in the order of their sequencers; none before it is made.
fn rows(table: String) -> Held {
    Box::new(move || {
        let question = format!("show tables like '{table}'");
        let records = format!(
            "select event_data from {table} order by event_time, json_value(event_data, '$.Records[0].s3.object.sequencer')"
        );
        Box::pin(async move {
            if part("mariadb.sh", &["ask", &question]).await.trim().is_empty() {
                return Vec::new();
            }
            let printed = part("mariadb.sh", &["ask", &records]).await;
            printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        })
    })
}

async fn mirror(table: &str) -> BTreeMap<String, Value> {
    let question = format!("show tables like '{table}'");
    if part("mariadb.sh", &["ask", &question]).await.trim().is_empty() {
        return BTreeMap::new();
    }
    let printed = part("mariadb.sh", &["ask", &format!("select key_name, value from {table}")]).await;
    let rows = printed.lines().map(|line| line.split_once('\t').expect("a row has two columns"));
    rows.map(|(key, value)| (key.to_owned(), serde_json::from_str(value).unwrap())).collect()
}

#[tokio::test]
async fn a_table_in_mariadb_gets_every_record_though_the_server_is_away_and_killed() {
    let _turn = TURN.lock().await;
    journey::every_record_arrives(&mariadb(&table(), "access").await).await;
}

#[tokio::test]
async fn a_table_in_mariadb_mirrors_the_bucket() {
    let _turn = TURN.lock().await;
    let table = table();
    journey::the_bucket_is_mirrored(&mariadb(&table, "namespace").await, || mirror(&table)).await;
}

#[tokio::test]
async fn with_a_wrong_password_records_wait_for_mariadb() {
    let _turn = TURN.lock().await;
    let wrong = dsn("").await.replace("tidings-secret", "wrong-secret");
    let mariadb = mariadb(&table(), "access").await;
    journey::a_wrong_password_makes_records_wait(&mariadb, &[("DSN_STRING", &wrong)]).await;
}

#[tokio::test]
async fn a_record_arrives_in_mariadb_over_tls_in_every_degree_of_trust() {
    let _turn = TURN.lock().await;
    for parameters in ["tls=true", "tls=skip-verify", "tls=preferred"] {
        let dsn = dsn(parameters).await;
        let mariadb = mariadb(&table(), "access").await.with(&[("DSN_STRING", &dsn)]);
        journey::a_record_arrives(&mariadb).await;
    }
}

/// The parameters of a connection with a certificate; the DSN is read from its last slash.
fn with_certificate(certificate: &str, key: &str) -> String {
    format!("tls=true&ssl-cert={certificate}&ssl-key={key}").replace('/', "%2F")
}

/// A connection of the user who has to show a certificate.
async fn certified(parameters: &str) -> String {
    dsn(parameters).await.replacen("tidings:", "tidings-certified:", 1)
}

#[tokio::test]
async fn a_record_arrives_in_mariadb_with_a_client_certificate() {
    let _turn = TURN.lock().await;
    let parameters = with_certificate(&setting("CLIENT_CERT").await, &setting("CLIENT_KEY").await);
    let authority = setting("CA_CERT").await.replace('/', "%2F");
    let dsn = certified(&format!("{parameters}&ssl-ca={authority}")).await;
    journey::a_record_arrives(&mariadb(&table(), "access").await.with(&[("DSN_STRING", &dsn)])).await;
}

#[tokio::test]
async fn records_wait_for_mariadb_without_a_certificate_with_one_that_nobody_signed_and_one_that_is_not_trusted()
 {
    let _turn = TURN.lock().await;
    let (_directory, [foreign, key]) = of_nobody().await;
    let wrong = [
        (certified("tls=true").await, "access denied"),
        (certified(&with_certificate(&foreign, &key)).await, ""),
        (dsn(&format!("tls=true&ssl-ca={}", foreign.replace('/', "%2F"))).await, "certificate"),
    ];
    for (dsn, reason) in wrong {
        let mariadb = mariadb(&table(), "access").await.with(&[("DSN_STRING", &dsn)]);
        let (_, log) = journey::a_sick_target(&mariadb).await;
        assert!(log.to_lowercase().contains(reason), "{dsn}: {log}");
    }
}

#[tokio::test]
async fn mariadb_keeps_what_every_target_promises() {
    let _turn = TURN.lock().await;
    journey::promises_are_kept(&mariadb(&table(), "access").await).await;
}

#[tokio::test]
async fn a_table_in_mariadb_gets_all_of_a_backlog() {
    let _turn = TURN.lock().await;
    journey::a_backlog_arrives(&mariadb(&table(), "access").await).await;
}

#[tokio::test]
async fn a_table_in_mariadb_mirrors_a_bucket_by_a_backlog() {
    let _turn = TURN.lock().await;
    let table = table();
    let held = async || mirror(&table).await.into_values().collect();
    journey::a_backlog_is_mirrored(&mariadb(&table, "namespace").await, held).await;
}

#[tokio::test]
async fn a_table_in_mariadb_forgets_one_bucket_alone() {
    let _turn = TURN.lock().await;
    let table = table();
    let held = async || mirror(&table).await.into_values().collect();
    journey::one_bucket_is_forgotten(&mariadb(&table, "namespace").await, held).await;
}
