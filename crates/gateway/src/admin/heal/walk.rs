//! The walk of a sequence: every bucket below its path, and the objects in it, one after the other, on a thread that
//! may block.

use std::sync::Arc;

use store::{Bucket, Heal, HealTask, Objects, SetReport, Store};
use tidings_store as store;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::item::Item;
use super::sequence::Sequence;
use crate::Gateway;

/// A walk and what it needs.
pub(super) struct Walk {
    sequence: Arc<Sequence>,
    store: Arc<Store>,
    heal: Arc<Heal>,
    reports: Arc<dyn Fn() -> Vec<SetReport> + Send + Sync>,
    closing: CancellationToken,
}

impl Walk {
    pub(super) fn new(gateway: &Gateway, sequence: Arc<Sequence>) -> Walk {
        Walk {
            sequence,
            store: Arc::clone(&gateway.setup.store),
            heal: Arc::clone(&gateway.setup.heal),
            reports: Arc::clone(&gateway.setup.reports),
            closing: gateway.closing(),
        }
    }

    /// Walks to the end, or until the sequence is stopped; blocks.
    pub(super) fn run(&self) {
        let wanted = |bucket: &Arc<Bucket>| {
            self.sequence.scope.bucket.as_ref().is_none_or(|name| *name == bucket.name)
                && self.is_in_pool(pool_of(bucket))
        };
        let walked = self.store.buckets().iter().filter(|bucket| wanted(bucket)).try_for_each(|bucket| {
            let pool = pool_of(bucket);
            let set = &(self.reports)()[pool];
            self.add(Item::bucket(&bucket.name, pool, set)).and_then(|()| self.objects(bucket, pool))
        });
        self.sequence.end(walked, self.store.clock().now_ms());
    }

    fn is_in_pool(&self, pool: usize) -> bool {
        let Settings { pool: only, set, .. } = self.sequence.settings;
        // A pool is one set.
        only.is_none_or(|only| only == pool) && set.is_none_or(|set| set == 0)
    }

    fn objects(&self, bucket: &Bucket, pool: usize) -> Result<(), String> {
        let (prefix, settings) = (&*self.sequence.scope.prefix, &self.sequence.settings);
        let objects = match settings.recursive {
            true => Objects::Below(prefix),
            false if prefix.is_empty() => return Ok(()),
            false => Objects::Only(prefix),
        };
        // A bucket that was removed meanwhile holds nothing.
        let Ok((partition, range)) = self.store.keys_of(&bucket.name, objects) else {
            return Ok(());
        };
        let is_deep = settings.scan_mode == Settings::DEEP;
        let task = HealTask { partition, range, is_deep, is_dry_run: settings.dry_run };
        let mut unreadable = None;
        let healed = (self.heal)(&task, &mut |healed| {
            let Some(healed) = healed else {
                return self.sequence.goes_on(&self.closing);
            };
            match healed.object(&bucket.name) {
                Ok(object) => self.add(Item::object(&bucket.name, pool, object, healed)).is_ok(),
                Err(error) => {
                    unreadable = Some(error.to_string());
                    false
                }
            }
        });
        unreadable.map_or(healed, Err)
    }

    fn add(&self, item: Item) -> Result<(), String> {
        match self.sequence.add(item, &self.closing) {
            true => Ok(()),
            false => Err("it was stopped".to_owned()),
        }
    }
}

/// The number of a bucket's set.
fn pool_of(bucket: &Bucket) -> usize {
    usize::try_from(bucket.partition.0).expect("a set has a small number")
}
