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
const WRITERS: usize = 32;

/// Acknowledged writes before each kill: enough that every writer is in the middle of something.
const WRITES_BETWEEN_KILLS: usize = 150;

/// Bodies in the order a writer puts them, in bytes: in the journal replicated, whole in a column, split over all
/// columns, and in shards.
const SIZES: [usize; 8] = [10, 1_000, 10, 20_000, 10, 1_000, 100_000, 300_000];

/// A body that no other key has any piece of: lines of its key, the last one cut.
fn body(key: &str, number: usize) -> String {
    let mut body = format!("{key}\n").repeat(SIZES[number % SIZES.len()] / (key.len() + 1) + 1);
    body.truncate(SIZES[number % SIZES.len()]);
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_ten_times_under_load_every_acknowledged_put_is_there_and_announced_and_nothing_else_is() {
    killed_under_load(10, "auto").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_where_threads_write_the_journal_nothing_is_lost_either() {
    killed_under_load(3, "threads").await;
}

mod long {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn killed_a_hundred_times_under_load_nothing_is_lost_and_nothing_invented() {
        super::killed_under_load(100, "auto").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn killed_a_hundred_times_where_threads_write_the_journal_nothing_is_lost_either() {
        super::killed_under_load(100, "threads").await;
    }
}

/// `io` is how the journal is written: `TIDINGS_IO`.
async fn killed_under_load(kills: usize, io: &str) {
    let sink = Sink::start().await;
    let mut server = Server::over(4)
        .with("MINIO_NOTIFY_WEBHOOK_ENABLE_A", "on")
        .with("MINIO_NOTIFY_WEBHOOK_ENDPOINT_A", &sink.url())
        .with("TIDINGS_IO", io)
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
    /// Which of its writer's puts a key is.
    acknowledged: Mutex<BTreeMap<String, usize>>,
    count: AtomicUsize,
    is_ending: AtomicBool,
}

/// Puts one object after the other, each under a key of its own; waits while the server is down.
async fn write(writer: usize, client: Client, load: Arc<Load>, mut up: watch::Receiver<bool>) {
    for number in 0.. {
        if load.is_ending.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("w{writer}/{number}");
        match client.try_send(Method::PUT, &format!("/album/{key}"), &[], body(&key, number)).await {
            Ok(answer) if answer.status == 200 => {
                load.acknowledged.lock().unwrap().insert(key, number);
                load.count.fetch_add(1, Ordering::Relaxed);
            }
            _ => drop(up.wait_for(|up| *up).await.unwrap()),
        }
    }
}

/// Every acknowledged put is there and announced; whatever was announced is there.
async fn judge(client: &Client, sink: &Sink, acknowledged: BTreeMap<String, usize>) {
    let wanted: BTreeSet<String> = acknowledged.keys().map(|key| format!("album/{key}")).collect();
    eventually("every acknowledged put to be announced", || async {
        let announced: BTreeSet<String> =
            sink.deliveries().iter().map(|delivery| delivery.text("/Key")).collect();
        wanted.is_subset(&announced).then_some(())
    })
    .await;
    for (key, number) in &acknowledged {
        let found = client.get(&format!("/album/{key}")).await.body;
        assert!(
            found == body(key, *number).as_bytes(),
            "{key} was acknowledged, and has {} bytes",
            found.len()
        );
    }
    let announced: BTreeSet<String> =
        sink.deliveries().iter().map(|delivery| delivery.text("/Key")).collect();
    for key in announced.difference(&wanted) {
        let name = key.strip_prefix("album/").unwrap();
        let number = name.rsplit('/').next().unwrap().parse().unwrap();
        let answer = client.get(&format!("/{key}")).await;
        assert_eq!(answer.status, 200, "{key} was announced and is not there");
        assert!(answer.body == body(name, number).as_bytes(), "{key} is torn");
    }
    println!(
        "{} acknowledged, {} announced, {} deliveries, 0 lost, 0 torn",
        wanted.len(),
        announced.len(),
        sink.deliveries().len()
    );
}
