//! A closed loop: so many connections, each sending its next request when it has its answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::task::LocalSet;

use crate::Outcome;
use crate::connection::Connection;

/// What a cell did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Requests that were answered with success.
    pub(crate) operations: usize,
    /// Requests that were not.
    pub(crate) failures: usize,
    /// From the first request to the last answer, in seconds.
    pub(crate) seconds: f64,
    /// Bytes of bodies that came back.
    pub(crate) received: u64,
    latencies_us: Vec<u32>,
}

impl Measured {
    /// Successes in a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    /// Counts one operation; the first that fails is told. Whether it succeeded.
    fn note(&mut self, number: usize, outcome: Outcome<u64>, took: Duration) -> bool {
        match outcome {
            Ok(received) => {
                self.operations += 1;
                self.received += received;
                self.latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
                true
            }
            Err(error) => {
                if self.failures == 0 {
                    eprintln!("operation {number} failed: {error}");
                }
                self.failures += 1;
                false
            }
        }
    }

    /// The latency that this part of the answers kept, in milliseconds.
    pub(crate) fn percentile_ms(&self, part: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let at = (part * last as f64).round() as usize;
        self.latencies_us.get(at).map_or(0.0, |us| f64::from(*us) / 1000.0)
    }
}

/// One step of a loop: does the operation of this number, gives the bytes that came back, or `None` when
/// there is no operation of that number.
pub(crate) trait Operation {
    /// Does the operation numbered so, over one connection.
    async fn run(&self, connection: &mut Connection, number: usize) -> Outcome<u64>;

    /// How many operations there are.
    fn count(&self) -> usize;
}

/// Requests built before the clock starts, each sent once, in their order.
pub(crate) struct Prepared(RefCell<Vec<Option<Request<Full<Bytes>>>>>);

impl Prepared {
    /// Takes requests.
    pub(crate) fn new(requests: impl IntoIterator<Item = Request<Full<Bytes>>>) -> Prepared {
        Prepared(RefCell::new(requests.into_iter().map(Some).collect()))
    }
}

impl Operation for Prepared {
    async fn run(&self, connection: &mut Connection, number: usize) -> Outcome<u64> {
        let request = self.0.borrow_mut()[number].take().ok_or("a prepared request is sent once")?;
        connection.exchange(request).await
    }

    fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

/// What the connections of a cell share.
struct Shared<O> {
    operation: O,
    next: Cell<usize>,
    measured: RefCell<Measured>,
    ends: Instant,
}

/// Runs operations from `clients` connections until they are used up or the time is over. Operations are begun
/// in their order, so those that ran are the first ones.
///
/// # Errors
///
/// Connections that cannot be opened. An operation that fails is counted; the first is told.
pub(crate) async fn drive<O: Operation + 'static>(
    authority: &str,
    clients: usize,
    seconds: f64,
    operation: O,
) -> Outcome<Measured> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(Connection::open(authority).await?);
    }
    let count = operation.count();
    let measured = Measured { latencies_us: Vec::with_capacity(count), ..Measured::default() };
    let began = Instant::now();
    let ends = began + Duration::from_secs_f64(seconds);
    let shared = Rc::new(Shared { operation, next: Cell::new(0), measured: RefCell::new(measured), ends });
    let local = LocalSet::new();
    for connection in connections {
        local.spawn_local(client(connection, authority.to_owned(), Rc::clone(&shared)));
    }
    local.await;
    let mut measured = shared.measured.take();
    measured.seconds = began.elapsed().as_secs_f64();
    measured.latencies_us.sort_unstable();
    Ok(measured)
}

async fn client<O: Operation>(mut connection: Connection, authority: String, shared: Rc<Shared<O>>) {
    let count = shared.operation.count();
    loop {
        let number = shared.next.get();
        let began = Instant::now();
        if number >= count || began >= shared.ends {
            return;
        }
        shared.next.set(number + 1);
        let outcome = shared.operation.run(&mut connection, number).await;
        if shared.measured.borrow_mut().note(number, outcome, began.elapsed()) {
            continue;
        }
        match Connection::open(&authority).await {
            Ok(opened) => connection = opened,
            Err(_) => return,
        }
    }
}
