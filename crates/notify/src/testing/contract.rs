//! What every kind of target promises, as a suite that each runs against something that receives.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use store::{ChangeKind, Future};
use tidings_store as store;

use crate::event::Event;
use crate::target::{Delivery, Outcome, Target};

/// What stands at the other end of a target.
pub trait Receiver: Send + Sync {
    /// The bodies it received so far, in any order.
    fn received(&self) -> Future<'_, Vec<Bytes>>;

    /// Goes away: connections break and new ones fail.
    fn leave(&self) -> Future<'_, ()>;

    /// Comes back under the same address.
    fn come_back(&self) -> Future<'_, ()>;
}

/// How long a target may take to notice that its receiver is away or back.
const NOTICE: Duration = Duration::from_secs(30);

/// Runs the suite. The receiver is there and has received nothing.
///
/// # Panics
///
/// When a promise is broken.
pub async fn run(target: &dyn Target, receiver: &dyn Receiver) {
    assert_eq!(target.probe().await, Ok(()), "a target that is there is found");
    assert_eq!(receiver.received().await, Vec::<Bytes>::new(), "a probe delivers nothing");

    assert_eq!(target.deliver(delivery("first")).await, Outcome::Acknowledged);
    assert_eq!(receiver.received().await, [body("first")], "what is acknowledged is there, byte for byte");

    many_side_by_side(target, receiver).await;
    away_and_back(target, receiver).await;
}

async fn many_side_by_side(target: &dyn Target, receiver: &dyn Receiver) {
    let names: Vec<String> = (0..target.in_flight_max()).map(|number| format!("many/{number}")).collect();
    let outcomes = join_all(names.iter().map(|name| target.deliver(delivery(name)))).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Acknowledged), "{outcomes:?}");

    let mut expected: Vec<Bytes> = names.iter().map(|name| body(name)).chain([body("first")]).collect();
    let mut received = receiver.received().await;
    expected.sort();
    received.sort();
    assert_eq!(received, expected, "everything arrives once");
}

async fn away_and_back(target: &dyn Target, receiver: &dyn Receiver) {
    receiver.leave().await;
    let outcome = tokio::time::timeout(NOTICE, target.deliver(delivery("away"))).await;
    assert!(
        matches!(outcome, Ok(Outcome::Away(_))),
        "a delivery to nobody fails in bounded time: {outcome:?}"
    );

    receiver.come_back().await;
    let again = async {
        while target.deliver(delivery("back")).await != Outcome::Acknowledged {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(NOTICE, again).await.is_ok(), "a target that is back is reached again");
    assert!(receiver.received().await.contains(&body("back")));
}

fn delivery(name: &str) -> Delivery {
    Delivery {
        key: format!("bucket/{name}"),
        event: Event::of(ChangeKind::Put),
        time_ms: 1_795_247_175_358,
        body: body(name),
        attributes: Vec::new(),
    }
}

fn body(name: &str) -> Bytes {
    Bytes::from(format!(r#"{{"Key":"bucket/{name}"}}"#))
}
