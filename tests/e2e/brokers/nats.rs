//! Real NATS servers: a stream, plain subjects, every way to log in.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::Mutex as Turn;

use super::journey::{self, Held, Part};
use crate::support::parts::{of_nobody, part, setting, unique};

/// The tests stop and kill the servers there are, so they take turns.
static TURN: Turn<()> = Turn::const_new(());

async fn nats(subject: &str, port: &'static str, settings: &[(&'static str, &str)], held: Held) -> Part {
    part("nats.sh", &["start"]).await;
    let part = Part {
        script: "nats.sh",
        kind: "nats",
        env: "NATS",
        settings: vec![
            ("ADDRESS", format!("localhost:{}", setting(port).await)),
            ("SUBJECT", subject.to_owned()),
        ],
        shape: Value::clone,
        held,
    };
    part.with(settings)
}

const PASSWORD: [(&str, &str); 2] = [("USERNAME", "tidings"), ("PASSWORD", "tidings-secret")];

async fn client() -> async_nats::Client {
    let options = async_nats::ConnectOptions::new();
    let address = format!("127.0.0.1:{}", setting("NATS_PORT").await);
    options
        .user_and_password("tidings".to_owned(), "tidings-secret".to_owned())
        .connect(address)
        .await
        .unwrap()
}

/// A target of a stream that is made.
async fn stream() -> Part {
    let name = unique("records");
    let held = {
        let name = name.clone();
        move || {
            let name = name.clone();
            let reading: tidings_store::Future<'static, _> = Box::pin(async move { kept(&name).await });
            reading
        }
    };
    let settings = [PASSWORD[0], PASSWORD[1], ("JETSTREAM", "on")];
    let nats = nats(&name, "NATS_PORT", &settings, Box::new(held)).await;
    let config = async_nats::jetstream::stream::Config {
        name: name.clone(),
        subjects: vec![name],
        ..Default::default()
    };
    async_nats::jetstream::new(client().await).create_stream(config).await.unwrap();
    nats
}

/// What a stream holds, in its order.
async fn kept(name: &str) -> Vec<Value> {
    let mut stream = async_nats::jetstream::new(client().await).get_stream(name).await.unwrap();
    let messages = stream.info().await.unwrap().state.last_sequence;
    let mut kept = Vec::new();
    for sequence in 1..=messages {
        let message = stream.get_raw_message(sequence).await.unwrap();
        kept.push(serde_json::from_slice(&message.payload).unwrap());
    }
    kept
}

#[tokio::test]
async fn a_stream_in_nats_gets_every_record_though_the_server_is_away_and_killed() {
    let _turn = TURN.lock().await;
    journey::every_record_arrives(&stream().await).await;
}

#[tokio::test]
async fn with_a_wrong_password_records_wait_for_nats() {
    let _turn = TURN.lock().await;
    journey::a_wrong_password_makes_records_wait(&stream().await, &[("PASSWORD", "wrong-secret")]).await;
}

#[tokio::test]
async fn nats_keeps_what_every_target_promises() {
    let _turn = TURN.lock().await;
    journey::promises_are_kept(&stream().await).await;
}

/// What subscribers to a subject get from now on.
async fn overheard(options: async_nats::ConnectOptions, port: &'static str, subject: &str) -> Held {
    let address = format!("localhost:{}", setting(port).await);
    let client = options.connect(address).await.unwrap();
    let mut subscriber = client.subscribe(subject.to_owned()).await.unwrap();
    client.flush().await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    tokio::spawn(async move {
        // The client ends its connection when it is dropped.
        let _client = client;
        while let Some(message) = subscriber.next().await {
            hearing.lock().unwrap().push(serde_json::from_slice(&message.payload).unwrap());
        }
    });
    Box::new(move || {
        let heard = heard.lock().unwrap().clone();
        Box::pin(async move { heard })
    })
}

fn own_options() -> async_nats::ConnectOptions {
    async_nats::ConnectOptions::new()
}

#[tokio::test]
async fn subscribers_of_a_subject_in_nats_get_what_happens() {
    let _turn = TURN.lock().await;
    part("nats.sh", &["start"]).await;
    let subject = unique("open.records");
    let options = own_options().user_and_password("tidings".to_owned(), "tidings-secret".to_owned());
    let held = overheard(options, "NATS_PORT", &subject).await;
    journey::a_record_arrives(&nats(&subject, "NATS_PORT", &PASSWORD, held).await).await;
}

#[tokio::test]
async fn a_user_of_nats_who_may_only_publish_is_enough() {
    let _turn = TURN.lock().await;
    part("nats.sh", &["start"]).await;
    let subject = unique("open.records");
    let options = own_options().user_and_password("tidings".to_owned(), "tidings-secret".to_owned());
    let held = overheard(options, "NATS_PORT", &subject).await;
    let settings = [("USERNAME", "tidings-publisher"), PASSWORD[1]];
    journey::a_record_arrives(&nats(&subject, "NATS_PORT", &settings, held).await).await;
}

#[tokio::test]
async fn records_wait_when_the_user_of_nats_may_not_publish_them() {
    let _turn = TURN.lock().await;
    let settings = [("USERNAME", "tidings-publisher"), PASSWORD[1]];
    let held: Held = Box::new(|| Box::pin(async { Vec::new() }));
    let nats = nats(&unique("closed.records"), "NATS_PORT", &settings, held).await;
    let (_, log) = journey::a_sick_target(&nats).await;
    assert!(log.to_lowercase().contains("permissions violation"), "{log}");
}

#[tokio::test]
async fn a_record_arrives_in_nats_over_tls_with_a_token() {
    let _turn = TURN.lock().await;
    part("nats.sh", &["start"]).await;
    let subject = unique("records");
    let authority = setting("CA_CERT").await;
    let options = own_options().token("tidings-token".to_owned()).add_root_certificates(authority.into());
    let held = overheard(options, "NATS_TLS_PORT", &subject).await;
    let settings = [("TOKEN", "tidings-token"), ("TLS", "on")];
    journey::a_record_arrives(&nats(&subject, "NATS_TLS_PORT", &settings, held).await).await;
}

#[tokio::test]
async fn a_record_arrives_in_nats_with_an_nkey_and_a_client_certificate() {
    let _turn = TURN.lock().await;
    part("nats.sh", &["start"]).await;
    let subject = unique("records");
    let [authority, certificate, key] =
        [setting("CA_CERT").await, setting("CLIENT_CERT").await, setting("CLIENT_KEY").await];
    let seed = file_of_nats("user.nk").await;
    let options = own_options()
        .nkey(std::fs::read_to_string(&seed).unwrap().trim().to_owned())
        .add_root_certificates(authority.clone().into())
        .add_client_certificate(certificate.clone().into(), key.clone().into());
    let held = overheard(options, "NATS_NKEY_PORT", &subject).await;
    let settings = [
        ("NKEY_SEED", seed.as_str()),
        ("TLS", "on"),
        ("CERT_AUTHORITY", &authority),
        ("CLIENT_CERT", &certificate),
        ("CLIENT_KEY", &key),
    ];
    journey::a_record_arrives(&nats(&subject, "NATS_NKEY_PORT", &settings, held).await).await;
}

#[tokio::test]
async fn a_record_arrives_in_nats_with_a_file_of_credentials() {
    let _turn = TURN.lock().await;
    part("nats.sh", &["start"]).await;
    let subject = unique("records");
    let credentials = file_of_nats("user.creds").await;
    let options = own_options().credentials_file(&credentials).await.unwrap();
    let held = overheard(options, "NATS_ACCOUNT_PORT", &subject).await;
    let settings = [("USER_CREDENTIALS", credentials.as_str())];
    journey::a_record_arrives(&nats(&subject, "NATS_ACCOUNT_PORT", &settings, held).await).await;
}

/// A target of the server that encrypts before it says anything.
async fn encrypting_first(subject: &str, held: Held) -> Part {
    let files = [setting("CLIENT_CERT").await, setting("CLIENT_KEY").await];
    let settings = [
        ("TOKEN", "tidings-token"),
        ("TLS", "on"),
        ("TLS_HANDSHAKE_FIRST", "on"),
        ("CLIENT_CERT", files[0].as_str()),
        ("CLIENT_KEY", files[1].as_str()),
    ];
    nats(subject, "NATS_FIRST_PORT", &settings, held).await
}

#[tokio::test]
async fn a_record_arrives_in_nats_that_encrypts_before_it_says_anything() {
    let _turn = TURN.lock().await;
    part("nats.sh", &["start"]).await;
    let subject = unique("records");
    let options = own_options()
        .token("tidings-token".to_owned())
        .tls_first()
        .add_root_certificates(setting("CA_CERT").await.into())
        .add_client_certificate(setting("CLIENT_CERT").await.into(), setting("CLIENT_KEY").await.into());
    let held = overheard(options, "NATS_FIRST_PORT", &subject).await;
    journey::a_record_arrives(&encrypting_first(&subject, held).await).await;
}

#[tokio::test]
async fn records_wait_for_nats_with_a_certificate_that_nobody_signed_and_one_that_is_not_trusted() {
    let _turn = TURN.lock().await;
    let (_directory, [certificate, key]) = of_nobody().await;
    let own = [("CLIENT_CERT", certificate.as_str()), ("CLIENT_KEY", key.as_str())];
    let trusted = [("CERT_AUTHORITY", certificate.as_str())];
    for (wrong, reason) in [(&own[..], "unknownca"), (&trusted[..], "invalid peer certificate")] {
        let held: Held = Box::new(|| Box::pin(async { Vec::new() }));
        let nats = encrypting_first("records", held).await.with(wrong);
        let (_, log) = journey::a_sick_target(&nats).await;
        assert!(log.to_lowercase().contains(reason), "{wrong:?}: {log}");
    }
}

async fn file_of_nats(name: &str) -> String {
    format!("{}/nats/keys/{name}", setting("PARTS").await)
}
