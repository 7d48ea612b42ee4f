//! Listeners: clients that follow changes over an open connection, from now on.
//!
//! A listener reads the same change log as the relays, so it misses nothing while it is connected; it has no
//! cursor, so what happens while it is not connected is not told later. While somebody listens, reads that
//! its filter matches are kept in the log. Listeners are as many as connections; each holds one page.

use std::sync::Arc;

use bytes::Bytes;
use store::{BucketName, Change, ChangeKind, PartitionId, Sequence, Store};
use tidings_store as store;
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::event::{Event, KindSet};
use crate::notifier::{Notifier, ServerIdentity};
use crate::pattern::{KeyPattern, is_filter_value};
use crate::record::minio::listen_line;
use crate::rule::RuleError;

/// Changes a listener takes from the log at once: at most so many lines are handed out together.
const PAGE_CHANGES: usize = 256;

/// What a listener asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenFilter {
    bucket: Option<BucketName>,
    kinds: KindSet,
    keys: KeyPattern,
}

impl ListenFilter {
    /// Checks what a client asks for: `bucket` or all of them, any of `events`, keys of at most one prefix and
    /// at most one suffix. Without events nothing is told.
    ///
    /// # Errors
    ///
    /// `UnknownEvent`, `RepeatedPrefix`, `RepeatedSuffix`, `BadFilterValue`.
    pub fn check(
        bucket: Option<BucketName>,
        events: &[String],
        prefixes: &[String],
        suffixes: &[String],
    ) -> Result<ListenFilter, RuleError> {
        let events = events
            .iter()
            .map(|name| Event::parse(name).ok_or(RuleError::UnknownEvent));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        let prefix = at_most_one(prefixes, RuleError::RepeatedPrefix)?;
        let suffix = at_most_one(suffixes, RuleError::RepeatedSuffix)?;
        Ok(ListenFilter {
            bucket,
            kinds: KindSet::of(&events),
            keys: KeyPattern::new(prefix, suffix),
        })
    }

    /// Whether a change is asked for.
    pub(crate) fn matches(&self, bucket: &BucketName, kind: ChangeKind, key: &str) -> bool {
        self.bucket.as_ref().is_none_or(|wanted| wanted == bucket)
            && self.kinds.contains(kind)
            && self.keys.matches(key)
    }
}

fn at_most_one(values: &[String], repeated: RuleError) -> Result<&str, RuleError> {
    match values {
        [] => Ok(""),
        [value] if is_filter_value(value) => Ok(value),
        [_] => Err(RuleError::BadFilterValue),
        _ => Err(repeated),
    }
}

/// An open listener. Dropping it ends it.
pub struct Listener {
    notifier: Arc<Notifier>,
    filter: Arc<ListenFilter>,
    server: Arc<ServerIdentity>,
    store: Option<Arc<Store>>,
    /// How far each partition was read.
    read_to: Vec<(PartitionId, Sequence)>,
    newest: watch::Receiver<Sequence>,
    backoff: Backoff,
}

impl Notifier {
    /// Follows changes that become durable from now on. Before [`Notifier::start`] and after
    /// [`Notifier::shutdown`] nothing is told.
    pub fn listen(self: &Arc<Self>, filter: ListenFilter) -> Listener {
        let filter = Arc::new(filter);
        self.listeners.rcu(|listeners| {
            let mut listeners = Vec::clone(listeners);
            listeners.push(Arc::clone(&filter));
            listeners
        });
        let newest = self.newest.subscribe();
        let store = self.store.load_full();
        let read_to = store.iter().flat_map(|store| {
            store
                .partitions()
                .into_iter()
                .map(|partition| (partition, store.newest(partition)))
        });
        Listener {
            read_to: read_to.collect(),
            notifier: Arc::clone(self),
            filter,
            server: Arc::clone(&self.identity),
            store,
            newest,
            backoff: Backoff::default(),
        }
    }
}

impl Listener {
    /// The next lines, in order, at least one and at most 256: `{"Records":[r]}` with the key as it is, and a line end.
    ///
    /// Waits until there is one. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> Vec<Bytes> {
        let Some(store) = self.store.clone() else {
            return std::future::pending().await;
        };
        loop {
            self.newest.borrow_and_update();
            let mut has_more = false;
            for place in 0..self.read_to.len() {
                let (partition, after) = self.read_to[place];
                match store.changes(partition, after, PAGE_CHANGES).await {
                    Ok(changes) => {
                        self.backoff.reset();
                        has_more |= changes.len() == PAGE_CHANGES;
                        let lines = self.take(place, &changes);
                        if !lines.is_empty() {
                            return lines;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the change log cannot be read for a listener, it tries again");
                        tokio::time::sleep(self.backoff.next_delay()).await;
                        has_more = true;
                    }
                }
            }
            if !has_more && self.newest.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn take(&mut self, place: usize, changes: &[Change]) -> Vec<Bytes> {
        if let Some(last) = changes.last() {
            self.read_to[place].1 = last.sequence;
        }
        let wanted = changes
            .iter()
            .filter(|change| self.filter.matches(&change.bucket, change.kind, &change.key));
        wanted.map(|change| listen_line(change, &self.server)).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.notifier.listeners.rcu(|listeners| {
            listeners
                .iter()
                .filter(|filter| !Arc::ptr_eq(filter, &self.filter))
                .cloned()
                .collect::<Vec<_>>()
        });
    }
}
