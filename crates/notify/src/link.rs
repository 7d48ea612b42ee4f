//! The connection of a target: made at the first delivery or probe, shared by all that are under way, made
//! anew after it broke.
//!
//! # Bounds
//!
//! Connecting takes at most [`CONNECT_MS`], an exchange over the connection at most [`EXCHANGE_MS`]. Whoever
//! comes while a connection is being made waits for that one and shares its failure, so a target that is away
//! costs a delivery one try, however many are under way.
//!
//! A connection over which an exchange took too long is given up: what was asked over it may still happen, and
//! nothing may be sent behind it. When to try again is the relay's matter.

mod batch;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use parking_lot::Mutex;
use store::Future;
use tidings_store as store;

pub(crate) use self::batch::{BATCH_RECORDS, Taken, all, only};
use crate::target::{KeyKind, KeySpec, Outcome, TargetSettings};

/// Entries that a store is asked to look at in one exchange while it forgets a bucket.
pub(crate) const FORGET_PAGE: usize = 1000;

/// How long connecting may take, logging in included.
pub(crate) const CONNECT_MS: u64 = 5000;

/// How long an exchange may take: a record and its acknowledgement, or a probe.
pub(crate) const EXCHANGE_MS: u64 = 10_000;

/// Why an exchange failed. Each holds a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is of no more use.
    Connection(String),
    /// The other side works and does not take records: a missing table, a full disk, a missing right.
    State(String),
    /// The other side does not take this record.
    Record(String),
    /// The other side does not take this record, and the connection is of no more use.
    RecordAndConnection(String),
}

impl Fault {
    fn is_of_a_record(&self) -> bool {
        matches!(self, Fault::Record(_) | Fault::RecordAndConnection(_))
    }

    fn ends_connection(&self) -> bool {
        matches!(self, Fault::Connection(_) | Fault::RecordAndConnection(_))
    }

    /// What is wrong.
    pub(crate) fn reason(self) -> String {
        match self {
            Fault::Connection(reason)
            | Fault::State(reason)
            | Fault::Record(reason)
            | Fault::RecordAndConnection(reason) => reason,
        }
    }
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Outcome {
        if fault.is_of_a_record() { Outcome::Refused(fault.reason()) } else { Outcome::Away(fault.reason()) }
    }
}

/// See the module header. `C` is a handle: its clones are one connection.
pub(crate) struct Link<C> {
    connect: Arc<dyn Fn() -> Future<'static, Result<C, String>> + Send + Sync>,
    current: Mutex<Option<Attempt<C>>>,
}

type Attempt<C> = Shared<Future<'static, Result<C, String>>>;

impl<C: Clone + Send + Sync + 'static> Link<C> {
    /// A link without connection; contacts nothing.
    pub(crate) fn new(
        connect: impl Fn() -> Future<'static, Result<C, String>> + Send + Sync + 'static,
    ) -> Link<C> {
        Link { connect: Arc::new(connect), current: Mutex::new(None) }
    }

    /// Does something over the connection, which is made if there is none.
    pub(crate) async fn exchange<T, F>(&self, work: impl FnOnce(C) -> F) -> Result<T, Fault>
    where
        F: std::future::Future<Output = Result<T, Fault>>,
    {
        let attempt = self.attempt();
        let connection = match attempt.clone().await {
            Ok(connection) => connection,
            Err(reason) => {
                self.give_up(&attempt);
                return Err(Fault::Connection(reason));
            }
        };
        let limit = Duration::from_millis(EXCHANGE_MS);
        let result = tokio::time::timeout(limit, work(connection)).await;
        let result =
            result.unwrap_or_else(|_| Err(Fault::Connection(format!("no answer within {EXCHANGE_MS} ms"))));
        if result.as_ref().is_err_and(Fault::ends_connection) {
            self.give_up(&attempt);
        }
        result
    }

    /// Delivers over the connection.
    pub(crate) async fn deliver<F>(&self, work: impl FnOnce(C) -> F) -> Outcome
    where
        F: std::future::Future<Output = Result<(), Fault>>,
    {
        self.exchange(work).await.map_or_else(Outcome::from, |()| Outcome::Acknowledged)
    }

    /// Finds out over the connection whether the other side is well. The error is a clause.
    pub(crate) async fn probe<F>(&self, work: impl FnOnce(C) -> F) -> Result<(), String>
    where
        F: std::future::Future<Output = Result<(), Fault>>,
    {
        self.exchange(work).await.map_err(Fault::reason)
    }

    /// The connection there is or the one being made, else a new one.
    fn attempt(&self) -> Attempt<C> {
        let mut current = self.current.lock();
        let attempt = current.get_or_insert_with(|| {
            let connecting = (self.connect)();
            let limited = async move {
                let limit = Duration::from_millis(CONNECT_MS);
                let late = |_| Err(format!("no connection within {CONNECT_MS} ms"));
                tokio::time::timeout(limit, connecting).await.unwrap_or_else(late)
            };
            let limited: Future<'static, _> = Box::pin(limited);
            limited.shared()
        });
        attempt.clone()
    }

    /// The next exchange makes another connection, unless somebody did already.
    fn give_up(&self, attempt: &Attempt<C>) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|current| current.ptr_eq(attempt)) {
            *current = None;
        }
    }
}

/// Several connections to one server; the deliveries of a key share one, so that they stay in order also where
/// one was given up and happens late.
pub(crate) struct Links<C>(Vec<Link<C>>);

impl<C: Clone + Send + Sync + 'static> Links<C> {
    /// The key that says how many, of every kind that has them.
    pub(crate) const KEY: KeySpec = KeySpec::new(
        "max_open_connections",
        "MAX_OPEN_CONNECTIONS",
        KeyKind::Number,
        "connections open at once; 0 is as many as are of use, 16",
    )
    .or("2");

    /// As many as the settings say, at most [`CONNECTIONS_MAX`].
    pub(crate) fn new(settings: &TargetSettings, link: impl Fn() -> Link<C>) -> Links<C> {
        let wanted = usize::try_from(settings.number(Self::KEY.name)).unwrap_or(CONNECTIONS_MAX);
        let connections = if wanted == 0 { CONNECTIONS_MAX } else { wanted.min(CONNECTIONS_MAX) };
        Links((0..connections).map(|_| link()).collect())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Any of them.
    pub(crate) fn any(&self) -> &Link<C> {
        &self.0[0]
    }

    /// Which is the one for a key, always the same.
    fn place_of(&self, key: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let place = hasher.finish() % self.0.len() as u64;
        usize::try_from(place).expect("a place in the list is a small number")
    }
}

/// More connections do not make one target faster.
const CONNECTIONS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use store::Future;
    use tidings_store as store;
    use tokio::time::Instant;

    use super::{CONNECT_MS, EXCHANGE_MS, Fault, Link};

    /// Connections are numbered; the first `failing` fail.
    fn link(failing: u32) -> (Link<u32>, Arc<AtomicU32>) {
        let made = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&made);
        let connect = move || -> Future<'static, _> {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if number < failing { Err(format!("connection {number} fails")) } else { Ok(number) }
            })
        };
        (Link::new(connect), made)
    }

    async fn number(link: &Link<u32>) -> Result<u32, Fault> {
        link.exchange(|number| async move { Ok(number) }).await
    }

    #[tokio::test(start_paused = true)]
    async fn all_share_a_connection_and_its_failure() {
        let (link, made) = link(1);
        let failed = join_all((0..50).map(|_| number(&link))).await;
        assert_eq!(failed, vec![Err(Fault::Connection("connection 0 fails".to_owned())); 50]);
        let well = join_all((0..50).map(|_| number(&link))).await;
        assert_eq!((well, made.load(Ordering::Relaxed)), (vec![Ok(1); 50], 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_connection_is_made_anew_and_one_that_says_no_is_kept() {
        let (link, _) = link(0);
        let no = |fault: Fault| link.exchange(|_| async move { Err::<(), _>(fault) });
        no(Fault::State("the table is full".to_owned())).await.unwrap_err();
        no(Fault::Record("too large".to_owned())).await.unwrap_err();
        assert_eq!(number(&link).await, Ok(0));
        no(Fault::Connection("reset".to_owned())).await.unwrap_err();
        assert_eq!(number(&link).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn neither_connecting_nor_an_exchange_takes_for_ever() {
        let begin = Instant::now();
        let silent: Link<u32> = Link::new(|| Box::pin(std::future::pending()));
        assert_eq!(
            number(&silent).await,
            Err(Fault::Connection(format!("no connection within {CONNECT_MS} ms")))
        );
        let (link, made) = link(0);
        let stuck: Result<(), _> = link.exchange(|_| std::future::pending()).await;
        assert_eq!(stuck, Err(Fault::Connection(format!("no answer within {EXCHANGE_MS} ms"))));
        assert_eq!(begin.elapsed().as_millis(), u128::from(CONNECT_MS + EXCHANGE_MS) + 1);
        assert_eq!((number(&link).await, made.load(Ordering::Relaxed)), (Ok(1), 2));
    }
}
