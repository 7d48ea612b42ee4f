//! The server killed under load, from outside: nothing acknowledged is lost, nothing announced is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::Method;
use tokio::sync::watch;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::sink::Sink;

/// Writers at once.
const WRITERS: usize = 16;

/// Acknowledged writes before each kill: enough that every writer is in the middle of something.
const WRITES_BETWEEN_KILLS: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_ten_times_under_load_every_acknowledged_put_is_there_and_announced_and_nothing_else_is() {
    killed_under_load(10).await;
}

mod long {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn killed_a_hundred_times_under_load_nothing_is_lost_and_nothing_invented() {
        super::killed_under_load(100).await;
    }
}

async fn killed_under_load(kills: usize) {
    let sink = Sink::start().await;
    let mut server = Server::over(4)
        .with("MINIO_NOTIFY_WEBHOOK_ENABLE_A", "on")
        .with("MINIO_NOTIFY_WEBHOOK_ENDPOINT_A", &sink.url())
        .started()
        .await;
    let client = server.client();
    client.create_bucket("album").await;
    let announced = client.announce("album", &["s3:ObjectCreated:*"], &[], "arn:minio:sqs::A:webhook").await;
    announced.expect_success("announce");

    let load = Arc::new(Load::default());
    let (is_up, up) = watch::channel(true);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(writer, client.clone(), Arc::clone(&load), up.clone())))
        .collect();
    for kill in 1..=kills {
        let enough = load.count.load(Ordering::Relaxed) + WRITES_BETWEEN_KILLS;
        eventually("acknowledged writes", || async {
            (load.count.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
        is_up.send_replace(false);
        server.kill();
        println!("kill {kill}: {} writes acknowledged", load.count.load(Ordering::Relaxed));
        server.start().await;
        is_up.send_replace(true);
    }
    load.is_ending.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }

    let acknowledged = load.acknowledged.lock().unwrap().clone();
    judge(&client, &sink, acknowledged).await;
}

/// What the writers share.
#[derive(Default)]
struct Load {
    /// Bodies by key.
    acknowledged: Mutex<BTreeMap<String, String>>,
    count: AtomicUsize,
    is_ending: AtomicBool,
}

/// Puts one object after the other, each under a key of its own; waits while the server is down.
async fn write(writer: usize, client: Client, load: Arc<Load>, mut up: watch::Receiver<bool>) {
    for number in 0.. {
        if load.is_ending.load(Ordering::Relaxed) {
            return;
        }
        let (key, body) = (format!("w{writer}/{number}"), format!("{writer}-{number}"));
        match client.try_send(Method::PUT, &format!("/album/{key}"), &[], body.clone()).await {
            Ok(answer) if answer.status == 200 => {
                load.acknowledged.lock().unwrap().insert(key, body);
                load.count.fetch_add(1, Ordering::Relaxed);
            }
            _ => drop(up.wait_for(|up| *up).await.unwrap()),
        }
    }
}

/// Every acknowledged put is there and announced; whatever was announced is there.
async fn judge(client: &Client, sink: &Sink, acknowledged: BTreeMap<String, String>) {
    let wanted: BTreeSet<String> = acknowledged.keys().map(|key| format!("album/{key}")).collect();
    eventually("every acknowledged put to be announced", || async {
        let announced: BTreeSet<String> =
            sink.deliveries().iter().map(|delivery| delivery.text("/Key")).collect();
        wanted.is_subset(&announced).then_some(())
    })
    .await;
    for (key, body) in &acknowledged {
        assert_eq!(
            client.get(&format!("/album/{key}")).await.body,
            body.as_bytes(),
            "{key} was acknowledged"
        );
    }
    let announced: BTreeSet<String> =
        sink.deliveries().iter().map(|delivery| delivery.text("/Key")).collect();
    for key in announced.difference(&wanted) {
        let answer = client.send(Method::HEAD, &format!("/{key}"), &[], "").await;
        assert_eq!(answer.status, 200, "{key} was announced and is not there");
    }
    println!(
        "{} acknowledged, {} announced, {} deliveries, 0 lost",
        wanted.len(),
        announced.len(),
        sink.deliveries().len()
    );
}
