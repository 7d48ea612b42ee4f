//! A batch over the connections of a target: who takes which part of it, and what becomes of each record.
//!
//! A part that the other side refuses for what a record holds is halved until only that record is refused. So one bad
//! record among `n` costs at most `2 log2 n` exchanges more, and is refused by itself. When the other side is away, so
//! is all that was not taken yet.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use store::Future;
use tidings_store as store;

use super::{Fault, Link, Links};
use crate::target::{Delivery, Outcome};

/// Records that travel together to a kind which takes batches: a quarter of what a relay has in memory, so that some
/// are under way while others are rendered.
pub(crate) const BATCH_RECORDS: usize = 250;

/// What became of each record of a part, or why the part was not taken as a whole.
pub(crate) type Taken = Result<Vec<Outcome>, Fault>;

/// The whole of a part was taken.
pub(crate) fn all(records: &[Delivery]) -> Vec<Outcome> {
    vec![Outcome::Acknowledged; records.len()]
}

/// What became of the record of a batch that has but one.
pub(crate) async fn only(outcomes: Future<'_, Vec<Outcome>>) -> Outcome {
    outcomes.await.pop().expect("there is an outcome for each record")
}

impl<C: Clone + Send + Sync + 'static> Link<C> {
    /// Delivers a batch over the connection, as a whole or as few parts: an outcome for each record, in their order.
    pub(crate) async fn deliver_batch<'b, F>(
        &self,
        batch: &'b [Delivery],
        work: impl Fn(C, &'b [Delivery]) -> F,
    ) -> Vec<Outcome>
    where
        F: std::future::Future<Output = Taken>,
    {
        let mut outcomes = Vec::with_capacity(batch.len());
        // The next one is the last.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
            match self.exchange(|connection| work(connection, part)).await {
                Ok(of_each) => outcomes.extend(of_each),
                Err(fault) if fault.is_of_a_record() && part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(fault) if fault.is_of_a_record() => outcomes.push(fault.into()),
                Err(fault) => {
                    let outcome = Outcome::from(fault);
                    outcomes.resize(batch.len(), outcome);
                    return outcomes;
                }
            }
        }
        outcomes
    }
}

impl<C: Clone + Send + Sync + 'static> Links<C> {
    /// Delivers a batch, each record over the link of its key, together with those of its kind that go there too.
    pub(crate) async fn deliver_batch<K: Copy + Ord>(
        &self,
        batch: Vec<Delivery>,
        kind_of: impl Fn(&Delivery) -> K,
        work: impl for<'a> Fn(C, K, &'a [Delivery]) -> Future<'a, Taken>,
    ) -> Vec<Outcome> {
        let mut parts: BTreeMap<(usize, K), (Vec<usize>, Vec<Delivery>)> = BTreeMap::new();
        for (place, delivery) in batch.into_iter().enumerate() {
            let (places, part) = parts.entry((self.place_of(&delivery.key), kind_of(&delivery))).or_default();
            places.push(place);
            part.push(delivery);
        }
        let work = &work;
        let delivered = join_all(parts.into_iter().map(|((link, kind), (places, part))| async move {
            let outcomes =
                self.0[link].deliver_batch(&part, |connection, part| work(connection, kind, part)).await;
            places.into_iter().zip(outcomes)
        }));
        let mut outcomes: Vec<(usize, Outcome)> = delivered.await.into_iter().flatten().collect();
        outcomes.sort_unstable_by_key(|(place, _)| *place);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::{Taken, all};
    use crate::event::Event;
    use crate::link::{Fault, Link};
    use crate::target::{Delivery, Outcome};

    fn batch(names: &[&str]) -> Vec<Delivery> {
        let delivery = |name: &&str| Delivery {
            key: (*name).to_owned(),
            event: Event::GAP,
            time_ms: 0,
            body: "{}".into(),
            attributes: vec![],
        };
        names.iter().map(delivery).collect()
    }

    /// Refuses parts with a record called `poison`, is away for those that begin with one called `away`.
    fn take(part: &[Delivery]) -> Taken {
        if part[0].key == "away" {
            Err(Fault::State("it is full".to_owned()))
        } else if part.iter().any(|delivery| delivery.key == "poison") {
            Err(Fault::RecordAndConnection("too large".to_owned()))
        } else {
            Ok(all(part))
        }
    }

    /// What becomes of each record, and how many each exchange had.
    async fn delivered(names: &[&str]) -> (String, Vec<usize>) {
        let link = Link::new(|| Box::pin(async { Ok(()) }));
        let parts = Mutex::new(Vec::new());
        let batch = batch(names);
        let outcomes = link.deliver_batch(&batch, |(), part| {
            parts.lock().push(part.len());
            async move { take(part) }
        });
        let letter = |outcome: &Outcome| match outcome {
            Outcome::Acknowledged => 'k',
            Outcome::Away(_) => 'a',
            Outcome::Refused(_) => 'r',
        };
        let told = outcomes.await.iter().map(letter).collect();
        (told, parts.into_inner())
    }

    #[tokio::test]
    async fn a_batch_is_halved_until_only_the_record_at_fault_is_refused() {
        assert_eq!(delivered(&["1", "2", "3"]).await, ("kkk".to_owned(), vec![3]));
        assert_eq!(delivered(&["1", "2", "poison", "4"]).await, ("kkrk".to_owned(), vec![4, 2, 2, 1, 1]));
        assert_eq!(delivered(&["poison"; 3]).await, ("rrr".to_owned(), vec![3, 1, 2, 1, 1]));
        assert_eq!(delivered(&[]).await, (String::new(), vec![]));
    }

    #[tokio::test]
    async fn when_the_other_side_leaves_all_that_was_not_taken_is_away() {
        assert_eq!(delivered(&["1", "2", "away", "poison"]).await, ("kkaa".to_owned(), vec![4, 2, 2]));
    }
}
