//! The memory target: keeps what it is given, and fails, refuses or blocks on command.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use store::{Clock, Future};
use tidings_store as store;
use tokio::sync::watch;

use crate::format::Entry;
use crate::notifier::{Notifier, ServerIdentity};
use crate::target::{Delivery, Outcome, Target, TargetSettings};

/// What a [`MemoryTarget`] does with the next deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Takes them.
    #[default]
    Well,
    /// Takes none: it is away.
    Away,
    /// Answers none until the mood changes, then does what the new mood says.
    Blocked,
    /// Takes none, as if something were wrong with each.
    Refuses,
    /// Takes them and says that it did not, as when an acknowledgement is lost.
    TakesAndDenies,
}

/// A target in memory. Clones share everything.
#[derive(Clone)]
pub struct MemoryTarget {
    received: Arc<Mutex<Vec<Delivery>>>,
    count: watch::Sender<usize>,
    tries: watch::Sender<usize>,
    mood: watch::Sender<Mood>,
    refused: Arc<Mutex<Vec<String>>>,
    /// The newest record of each key that is there, when it keeps entries.
    entries: Arc<Mutex<Option<BTreeMap<String, Delivery>>>>,
    batch_max: usize,
    /// How many records each batch had.
    batches: Arc<Mutex<Vec<usize>>>,
    /// After so many records more it is away.
    leaves_after: Arc<Mutex<Option<usize>>>,
}

impl Default for MemoryTarget {
    fn default() -> MemoryTarget {
        MemoryTarget {
            received: Arc::default(),
            count: watch::Sender::new(0),
            tries: watch::Sender::new(0),
            mood: watch::Sender::new(Mood::Well),
            refused: Arc::default(),
            entries: Arc::default(),
            batch_max: 1,
            batches: Arc::default(),
            leaves_after: Arc::default(),
        }
    }
}

impl MemoryTarget {
    /// The same that keeps an entry per object, as a table does.
    pub fn keeping_entries(self) -> MemoryTarget {
        self.lose_entries();
        self
    }

    /// The entries it keeps, by key (`bucket/key`).
    pub fn entries(&self) -> BTreeMap<String, Delivery> {
        self.entries.lock().clone().unwrap_or_default()
    }

    /// Loses its entries, as a table does that somebody emptied.
    pub fn lose_entries(&self) {
        *self.entries.lock() = Some(BTreeMap::new());
    }

    /// One that is given so many records at once.
    pub fn taking_batches_of(records: usize) -> MemoryTarget {
        MemoryTarget { batch_max: records, ..MemoryTarget::default() }
    }

    /// How many records each batch had, in the order of their beginnings.
    pub fn batches(&self) -> Vec<usize> {
        self.batches.lock().clone()
    }

    /// Takes so many records more, then is away.
    pub fn leave_after(&self, records: usize) {
        *self.leaves_after.lock() = Some(records);
    }

    /// Changes what it does, also with deliveries that are blocked.
    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// From now on refuses the records of these keys (`bucket/key`), and of no other.
    pub fn refuse(&self, keys: &[&str]) {
        *self.refused.lock() = keys.iter().map(|&key| key.to_owned()).collect();
    }

    /// Everything it took, in order.
    pub fn received(&self) -> Vec<Delivery> {
        self.received.lock().clone()
    }

    /// Waits until it took so many records, and gives them all.
    pub async fn wait_for(&self, records: usize) -> Vec<Delivery> {
        let mut count = self.count.subscribe();
        count.wait_for(|&count| count >= records).await.expect("the target holds the sender");
        self.received()
    }

    /// Deliveries tried so far, successful or not.
    pub fn tries(&self) -> usize {
        *self.tries.borrow()
    }

    /// Waits until so many deliveries were tried, successful or not.
    pub async fn wait_for_tries(&self, tries: usize) {
        let mut tried = self.tries.subscribe();
        tried.wait_for(|&tried| tried >= tries).await.expect("the target holds the sender");
    }

    /// A notifier whose targets of kind `memory` are those of `targets`, by their id.
    pub fn notifier(targets: &[(&str, &MemoryTarget)], clock: Arc<dyn Clock>) -> Arc<Notifier> {
        let targets: Vec<(String, MemoryTarget)> =
            targets.iter().map(|&(id, target)| (id.to_owned(), target.clone())).collect();
        let make = move |settings: &TargetSettings, _: &_| {
            let found = targets.iter().find(|(id, _)| *id == settings.target.id);
            let target = found.map(|(_, target)| Box::new(target.clone()) as Box<dyn Target>);
            target.ok_or_else(|| format!("there is no target in memory of the id {}", settings.target.id))
        };
        Notifier::with_targets(ServerIdentity::default(), clock, Arc::new(make))
    }

    /// Whether it is gone with the record before.
    fn has_left(&self) -> bool {
        let mut left = self.leaves_after.lock();
        if *left == Some(0) {
            *left = None;
            self.set(Mood::Away);
            return true;
        }
        *left = left.map(|records| records - 1);
        false
    }

    fn take(&self, delivery: Delivery) {
        if let Some(entries) = &mut *self.entries.lock() {
            match Entry::of(delivery.event) {
                Entry::Set => _ = entries.insert(delivery.key.clone(), delivery.clone()),
                Entry::Remove => _ = entries.remove(&delivery.key),
            }
        }
        self.received.lock().push(delivery);
        self.count.send_modify(|count| *count += 1);
    }
}

impl Target for MemoryTarget {
    fn in_flight_max(&self) -> usize {
        8
    }

    fn batch_max(&self) -> usize {
        self.batch_max
    }

    fn deliver_batch(&self, batch: Vec<Delivery>) -> Future<'_, Vec<Outcome>> {
        self.batches.lock().push(batch.len());
        Box::pin(async move {
            let mut outcomes = Vec::new();
            for delivery in batch {
                outcomes.push(self.deliver(delivery).await);
            }
            outcomes
        })
    }

    fn probe(&self) -> Future<'_, Result<(), String>> {
        let found = if *self.mood.borrow() == Mood::Away { Err("it is away".to_owned()) } else { Ok(()) };
        Box::pin(async { found })
    }

    fn forget<'a>(&'a self, bucket: &'a str) -> Future<'a, Result<(), String>> {
        Box::pin(async move {
            let mut entries = self.entries.lock();
            let entries = entries.as_mut().ok_or_else(|| "it keeps no entries per object".to_owned())?;
            entries.retain(|key, _| !key.strip_prefix(bucket).is_some_and(|rest| rest.starts_with('/')));
            Ok(())
        })
    }

    fn deliver(&self, delivery: Delivery) -> Future<'_, Outcome> {
        Box::pin(async move {
            self.tries.send_modify(|tries| *tries += 1);
            let mut moods = self.mood.subscribe();
            let mood =
                *moods.wait_for(|&mood| mood != Mood::Blocked).await.expect("the target holds the sender");
            if self.refused.lock().contains(&delivery.key) {
                return Outcome::Refused("it was told to".to_owned());
            }
            match mood {
                Mood::Away | Mood::Blocked => Outcome::Away("it is away".to_owned()),
                Mood::Refuses => Outcome::Refused("it refuses everything".to_owned()),
                Mood::TakesAndDenies => {
                    self.take(delivery);
                    Outcome::Away("the acknowledgement was lost".to_owned())
                }
                Mood::Well if self.has_left() => Outcome::Away("it has left".to_owned()),
                Mood::Well => {
                    self.take(delivery);
                    Outcome::Acknowledged
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use store::Future;
    use tidings_store as store;

    use super::{MemoryTarget, Mood};
    use crate::target::Delivery;
    use crate::testing::contract::{self, Receiver};

    impl Receiver for MemoryTarget {
        fn received(&self) -> Future<'_, Vec<Bytes>> {
            let received = MemoryTarget::received(self);
            Box::pin(async { received.into_iter().map(|delivery| delivery.body).collect() })
        }

        fn leave(&self) -> Future<'_, ()> {
            Box::pin(async { self.set(Mood::Away) })
        }

        fn come_back(&self) -> Future<'_, ()> {
            Box::pin(async { self.set(Mood::Well) })
        }

        fn poison(&self, delivery: &Delivery) -> Option<Bytes> {
            self.refuse(&[&delivery.key]);
            Some(delivery.body.clone())
        }
    }

    #[tokio::test]
    async fn the_memory_target_keeps_what_every_target_promises() {
        for target in [MemoryTarget::default(), MemoryTarget::taking_batches_of(20)] {
            contract::run(&target, &target).await;
        }
    }
}
