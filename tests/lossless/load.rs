//! The writers of a row, and what they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::log::Log;
use crate::support::client::{Answer, Client};
use crate::support::eventually;
use crate::writer::Writer;

/// How long a client waits for one answer; then it has none.
const ANSWER: Duration = Duration::from_secs(30);

/// What a client sends its tokens with.
pub(crate) const AGENT: &str = "tidings-lossless/";

/// What all writers of a row share.
pub(crate) struct Load {
    pub(crate) log: Log,
    pub(crate) bucket: String,
    client: Client,
    seed: u64,
    is_up: watch::Sender<bool>,
    is_ending: AtomicBool,
    is_clearing: AtomicBool,
    prefers_new: bool,
}

/// What became of a request.
pub(crate) enum Sent {
    Answered(Answer),
    /// It may have been carried out.
    Silence,
    /// Nobody took it.
    Never,
}

impl Load {
    /// `prefers_new` makes most writes objects of their own, which fill drives.
    pub(crate) fn new(client: Client, bucket: String, seed: u64, prefers_new: bool) -> Arc<Load> {
        Arc::new(Load {
            log: Log::new(),
            bucket,
            client,
            seed,
            is_up: watch::Sender::new(true),
            is_ending: AtomicBool::new(false),
            is_clearing: AtomicBool::new(false),
            prefers_new,
        })
    }

    /// Lets so many writers begin.
    pub(crate) fn begin(self: &Arc<Load>, writers: usize) -> Vec<JoinHandle<()>> {
        (0..writers)
            .map(|number| tokio::spawn(Writer::new(Arc::clone(self), number, self.seed).run()))
            .collect()
    }

    /// Lets them end after the operation they are at.
    pub(crate) async fn end(&self, writers: Vec<JoinHandle<()>>) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.is_up.send_replace(true);
        for writer in writers {
            writer.await.expect("a writer does not panic");
        }
    }

    /// Waits until so many more operations are acknowledged, however long that takes while it goes on.
    pub(crate) async fn acknowledged(&self, operations: usize) {
        let enough = self.log.acknowledged() + operations;
        loop {
            let before = self.log.acknowledged();
            if before >= enough {
                return;
            }
            eventually("acknowledged operations", || async {
                (self.log.acknowledged() > before).then_some(())
            })
            .await;
        }
    }

    /// Tells writers whether a server runs; they wait for one.
    pub(crate) fn set_up(&self, is_up: bool) {
        self.is_up.send_replace(is_up);
    }

    /// Lets writers delete most of the time, from now on or no longer.
    pub(crate) fn clear_away(&self, clears: bool) {
        self.is_clearing.store(clears, Ordering::Relaxed);
    }

    pub(crate) fn is_clearing(&self) -> bool {
        self.is_clearing.load(Ordering::Relaxed)
    }

    pub(crate) fn prefers_new(&self) -> bool {
        self.prefers_new
    }

    /// Waits until a server runs. Whether the writers go on.
    pub(crate) async fn goes_on(&self) -> bool {
        // The sender is never dropped: this load holds it.
        let _ = self.is_up.subscribe().wait_for(|is_up| *is_up).await;
        !self.is_ending.load(Ordering::Relaxed)
    }

    /// Sends a request that carries a token; `target` is path and query below the bucket.
    pub(crate) async fn send(
        &self,
        method: Method,
        target: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Sent {
        let (agent, target) = (format!("{AGENT}{token}"), format!("/{}{target}", self.bucket));
        let headers = [&[("user-agent", agent.as_str())], headers].concat();
        match tokio::time::timeout(ANSWER, self.client.try_send(method, &target, &headers, body)).await {
            Ok(Ok(answer)) => Sent::Answered(answer),
            Ok(Err(error)) if error.is_connect() => Sent::Never,
            Ok(Err(_)) | Err(_) => Sent::Silence,
        }
    }
}
