//! A real PostgreSQL: a table of records, a mirror of the bucket, passwords, TLS.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::Mutex;

use super::journey::{self, Held, Part, records};
use crate::support::parts::{of_nobody, part, setting, unique};

/// The tests stop and kill the one server there is, so they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// `host=localhost …` with these words added.
async fn connection(words: &str) -> String {
    let port = setting("POSTGRES_PORT").await;
    format!("host=localhost port={port} dbname=events user=tidings password=tidings-secret {words}")
}

fn table() -> String {
    unique("records").replace('-', "_")
}

async fn postgres(table: &str, format: &str) -> Part {
    Part {
        script: "postgres.sh",
        kind: "postgresql",
        env: "POSTGRES",
        settings: vec![
            ("CONNECTION_STRING", connection("sslmode=disable").await),
            ("TABLE", table.to_owned()),
            ("FORMAT", format.to_owned()),
        ],
        shape: records,
        held: rows(table.to_owned()),
    }
}

/// The records of a table in the order of their times; none before it is made.
fn rows(table: String) -> Held {
    Box::new(move || {
        let question = format!("select to_regclass('{table}')");
        let records = format!(
            "select event_data from {table} order by event_time, event_data #>> '{{Records,0,s3,object,sequencer}}'"
        );
        Box::pin(async move {
            if part("postgres.sh", &["ask", &question]).await.trim().is_empty() {
                return Vec::new();
            }
            let printed = part("postgres.sh", &["ask", &records]).await;
            printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        })
    })
}

async fn mirror(table: &str) -> BTreeMap<String, Value> {
    let question = format!("select to_regclass('{table}')");
    if part("postgres.sh", &["ask", &question]).await.trim().is_empty() {
        return BTreeMap::new();
    }
    let printed = part("postgres.sh", &["ask", &format!("select key, value from {table}")]).await;
    let rows = printed.lines().map(|line| line.split_once('\t').expect("a row has two columns"));
    rows.map(|(key, value)| (key.to_owned(), serde_json::from_str(value).unwrap())).collect()
}

#[tokio::test]
async fn a_table_in_postgres_gets_every_record_though_the_server_is_away_and_killed() {
    let _turn = TURN.lock().await;
    journey::every_record_arrives(&postgres(&table(), "access").await).await;
}

#[tokio::test]
async fn a_table_in_postgres_mirrors_the_bucket() {
    let _turn = TURN.lock().await;
    let table = table();
    part("postgres.sh", &["start"]).await;
    let create =
        format!("create table {table} (key varchar primary key, value jsonb, seen timestamp default now())");
    part("postgres.sh", &["ask", &create]).await;
    journey::the_bucket_is_mirrored(&postgres(&table, "namespace").await, || mirror(&table)).await;
}

#[tokio::test]
async fn with_a_wrong_password_records_wait_for_postgres() {
    let _turn = TURN.lock().await;
    let wrong = connection("sslmode=disable").await.replace("tidings-secret", "wrong-secret");
    let postgres = postgres(&table(), "access").await;
    journey::a_wrong_password_makes_records_wait(&postgres, &[("CONNECTION_STRING", &wrong)]).await;
}

#[tokio::test]
async fn a_record_arrives_in_postgres_over_tls_in_every_degree_of_trust() {
    let _turn = TURN.lock().await;
    let authority = setting("CA_CERT").await;
    let nobody = format!("sslmode=verify-ca sslrootcert={authority} hostaddr=127.0.0.1");
    for words in ["sslmode=require", "sslmode=verify-full", nobody.as_str()] {
        let connection = connection(words).await;
        let postgres = postgres(&table(), "access").await.with(&[("CONNECTION_STRING", &connection)]);
        journey::a_record_arrives(&postgres).await;
    }
}

/// A connection of the user whom a certificate lets in, and nothing else.
async fn certified(certificate: &str, key: &str, authority: &str) -> String {
    let port = setting("POSTGRES_PORT").await;
    format!(
        "postgres://client@localhost:{port}/events?sslmode=verify-full&sslrootcert={authority}&sslcert={certificate}\
         &sslkey={key}&application_name=store&search_path=public"
    )
}

#[tokio::test]
async fn a_client_certificate_is_enough_for_postgres() {
    let _turn = TURN.lock().await;
    let [certificate, key, authority] =
        [setting("CLIENT_CERT").await, setting("CLIENT_KEY").await, setting("CA_CERT").await];
    let connection = certified(&certificate, &key, &authority).await;
    let postgres = postgres(&table(), "access").await.with(&[("CONNECTION_STRING", &connection)]);
    journey::a_record_arrives(&postgres).await;
}

#[tokio::test]
async fn records_wait_for_postgres_with_a_certificate_that_nobody_signed_and_one_that_is_not_trusted() {
    let _turn = TURN.lock().await;
    let (_directory, [foreign, foreign_key]) = of_nobody().await;
    let [certificate, key, authority] =
        [setting("CLIENT_CERT").await, setting("CLIENT_KEY").await, setting("CA_CERT").await];
    let wrong = [
        (certified(&foreign, &foreign_key, &authority).await, "unknownca"),
        (certified(&certificate, &key, &foreign).await, "invalid peer certificate"),
        (connection(&format!("sslmode=verify-ca sslrootcert={foreign}")).await, "invalid peer certificate"),
    ];
    for (connection, reason) in wrong {
        let postgres = postgres(&table(), "access").await.with(&[("CONNECTION_STRING", &connection)]);
        let (_, log) = journey::a_sick_target(&postgres).await;
        assert!(log.to_lowercase().contains(reason), "{connection}: {log}");
    }
}

#[tokio::test]
async fn postgres_keeps_what_every_target_promises() {
    let _turn = TURN.lock().await;
    journey::promises_are_kept(&postgres(&table(), "access").await).await;
}

#[tokio::test]
async fn a_table_in_postgres_gets_all_of_a_backlog() {
    let _turn = TURN.lock().await;
    journey::a_backlog_arrives(&postgres(&table(), "access").await).await;
}

#[tokio::test]
async fn a_table_in_postgres_mirrors_a_bucket_by_a_backlog() {
    let _turn = TURN.lock().await;
    let table = table();
    let held = async || mirror(&table).await.into_values().collect();
    journey::a_backlog_is_mirrored(&postgres(&table, "namespace").await, held).await;
}

#[tokio::test]
async fn a_table_in_postgres_forgets_one_bucket_alone() {
    let _turn = TURN.lock().await;
    let table = table();
    let held = async || mirror(&table).await.into_values().collect();
    journey::one_bucket_is_forgotten(&postgres(&table, "namespace").await, held).await;
}
