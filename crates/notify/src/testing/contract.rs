//! What every kind of target promises, as a suite that each runs against something that receives.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
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

    /// A body with which it refuses this record for what it holds, if there is one.
    fn poison(&self, delivery: &Delivery) -> Option<Bytes> {
        let _ = delivery;
        None
    }
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
    together(target, receiver).await;
    with_one_that_is_poisoned(target, receiver).await;
    away_and_back(target, receiver).await;
    if target.batch_max() > 1 {
        away_within_a_batch(target, receiver).await;
    }
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

/// Records of a batch where the target takes more than one, else side by side.
const TOGETHER: usize = 10;

fn batch(name: &str, records: usize) -> Vec<Delivery> {
    (0..records).map(|number| delivery(&format!("{name}/{number}"))).collect()
}

/// How often each record of a batch is there, byte for byte.
async fn arrivals(batch: &[Delivery], receiver: &dyn Receiver) -> Vec<usize> {
    let received = receiver.received().await;
    let times = |sent: &Delivery| received.iter().filter(|body| **body == sent.body).count();
    batch.iter().map(times).collect()
}

async fn together(target: &dyn Target, receiver: &dyn Receiver) {
    let batch = batch("together", target.batch_max().max(TOGETHER));
    let outcomes = target.deliver_batch(batch.clone()).await;
    assert_eq!(
        outcomes,
        vec![Outcome::Acknowledged; batch.len()],
        "a batch is acknowledged record by record"
    );
    assert_eq!(arrivals(&batch, receiver).await, vec![1; batch.len()], "each record of a batch arrives once");
    assert_eq!(target.deliver_batch(Vec::new()).await, [], "a batch may be empty");
}

async fn with_one_that_is_poisoned(target: &dyn Target, receiver: &dyn Receiver) {
    for place in [0, TOGETHER / 2, TOGETHER - 1] {
        let mut batch = batch(&format!("poisoned/{place}"), TOGETHER);
        let Some(poison) = receiver.poison(&batch[place]) else { return };
        batch[place].body = poison;
        let outcomes = target.deliver_batch(batch.clone()).await;
        assert!(
            matches!(outcomes[place], Outcome::Refused(_)),
            "the poisoned record is refused: {outcomes:?}"
        );
        batch.remove(place);
        let others = outcomes.iter().filter(|outcome| **outcome == Outcome::Acknowledged).count();
        assert_eq!(others, batch.len(), "the others are acknowledged: {outcomes:?}");
        assert_eq!(arrivals(&batch, receiver).await, vec![1; batch.len()], "the others arrive once");
    }
}

async fn away_within_a_batch(target: &dyn Target, receiver: &dyn Receiver) {
    let batch = batch("within", target.batch_max());
    let (outcomes, ()) = join(target.deliver_batch(batch.clone()), receiver.leave()).await;
    receiver.come_back().await;
    let arrived = arrivals(&batch, receiver).await;
    let mut owed = Vec::new();
    for ((sent, outcome), times) in batch.iter().zip(outcomes).zip(arrived) {
        match outcome {
            Outcome::Acknowledged => assert_eq!(times, 1, "{} is acknowledged, so it is there", sent.key),
            Outcome::Away(_) => owed.push(sent.clone()),
            Outcome::Refused(reason) => panic!("no record is refused because the target left: {reason}"),
        }
    }
    let again = async {
        while target.deliver_batch(owed.clone()).await.contains(&Outcome::Acknowledged) == owed.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(NOTICE, again).await.is_ok(), "what did not arrive is taken later");
    assert!(arrivals(&batch, receiver).await.iter().all(|times| *times >= 1), "nothing of a batch is lost");
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
