//! What the tests of a whole server share: a server in a process of its own, an S3 client that is nothing
//! but signed requests, a webhook that remembers what it got.

pub(crate) mod client;
pub(crate) mod parts;
pub(crate) mod server;
pub(crate) mod sink;
pub(crate) mod xml;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a test waits for something that should come at once on a machine that is busy, in seconds.
pub(crate) const PATIENCE_S: u64 = 60;

/// Asks again until the answer is `Some`, and fails the test with `what` when that takes too long.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let asked = asked_for(Duration::from_secs(PATIENCE_S), || {
        let answer = ask();
        async { answer.await.ok_or(()) }
    });
    asked.await.unwrap_or_else(|()| panic!("waited {PATIENCE_S} s in vain for {what}"))
}

/// Asks again for so long, until the answer is `Ok`: that, or the last one.
pub(crate) async fn asked_for<T, E, F: Future<Output = Result<T, E>>>(
    patience: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T, E> {
    let deadline = Instant::now() + patience;
    loop {
        match ask().await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => return answer,
        }
    }
}
