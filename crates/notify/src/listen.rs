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
        let events = events.iter().map(|name| Event::parse(name).ok_or(RuleError::UnknownEvent));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        let prefix = at_most_one(prefixes, RuleError::RepeatedPrefix)?;
        let suffix = at_most_one(suffixes, RuleError::RepeatedSuffix)?;
        Ok(ListenFilter { bucket, kinds: KindSet::of(&events), keys: KeyPattern::new(prefix, suffix) })
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
    commits: watch::Receiver<u64>,
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
        let commits = self.commits.subscribe();
        let store = self.store.load_full();
        let read_to = store.iter().flat_map(|store| {
            store.partitions().iter().map(|&partition| (partition, store.newest(partition)))
        });
        Listener {
            read_to: read_to.collect(),
            notifier: Arc::clone(self),
            filter,
            server: Arc::clone(&self.identity),
            store,
            commits,
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
            self.commits.borrow_and_update();
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
            if !has_more && self.commits.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn take(&mut self, place: usize, changes: &[Change]) -> Vec<Bytes> {
        if let Some(last) = changes.last() {
            self.read_to[place].1 = last.sequence;
        }
        let wanted =
            changes.iter().filter(|change| self.filter.matches(&change.bucket, change.kind, &change.key));
        wanted.map(|change| listen_line(change, &self.server)).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.notifier.listeners.rcu(|listeners| {
            listeners.iter().filter(|filter| !Arc::ptr_eq(filter, &self.filter)).cloned().collect::<Vec<_>>()
        });
    }
}

#[cfg(test)]
mod tests {
    use store::testing::fixture::{bucket, key};
    use store::{ChangeKind, Recorder};
    use tidings_store as store;

    use super::ListenFilter;
    use crate::rule::RuleError;
    use crate::testing::scene::{Scene, within};

    fn filter(
        of: Option<&str>,
        events: &[&str],
        prefixes: &[&str],
        suffixes: &[&str],
    ) -> Result<ListenFilter, RuleError> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        ListenFilter::check(of.map(bucket), &owned(events), &owned(prefixes), &owned(suffixes))
    }

    fn keys(lines: &[bytes::Bytes]) -> Vec<String> {
        let keys = lines.iter().map(|line| {
            assert_eq!(line.last(), Some(&b'\n'));
            let told: serde_json::Value = serde_json::from_slice(line).unwrap();
            told["Records"][0]["s3"]["object"]["key"].as_str().unwrap().to_owned()
        });
        keys.collect()
    }

    #[tokio::test]
    async fn a_listener_is_told_what_matches_from_now_on_with_the_key_as_it_is() {
        let scene = Scene::new(&[]).await;
        scene.put("images/before.jpg").await;
        let wanted = filter(Some("album"), &["s3:ObjectCreated:*"], &["images/"], &[".jpg"]).unwrap();
        let mut listener = scene.notifier.listen(wanted);

        scene.put_all(&["images/rose 1.jpg", "images/rose.png", "rose.jpg", "images/rose 2.jpg"]).await;
        let mut told = Vec::new();
        while told.len() < 2 {
            told.extend(keys(&within(listener.next()).await));
        }

        assert_eq!(told, ["images/rose 1.jpg", "images/rose 2.jpg"]);
    }

    #[tokio::test]
    async fn a_listener_that_waits_is_woken() {
        let scene = Scene::new(&[]).await;
        let mut listener = scene.notifier.listen(filter(None, &["s3:ObjectCreated:*"], &[], &[]).unwrap());
        let waiting = tokio::spawn(async move { keys(&listener.next().await) });
        tokio::task::yield_now().await;

        scene.put("a").await;

        assert_eq!(within(waiting).await.unwrap(), ["a"]);
    }

    #[tokio::test]
    async fn reads_are_awaited_while_somebody_listens_for_them_and_no_longer() {
        let scene = Scene::new(&[]).await;
        let album = scene.store.bucket(&scene.album).unwrap();
        let awaited = |kind| scene.notifier.is_awaited(&album, kind, &key("a"));

        let before = awaited(ChangeKind::Get);
        let listener = scene.notifier.listen(filter(None, &["s3:ObjectAccessed:Get"], &[], &[]).unwrap());
        let during = (awaited(ChangeKind::Get), awaited(ChangeKind::Head));
        drop(listener);

        assert_eq!((before, during, awaited(ChangeKind::Get)), (false, (true, false), false));
    }

    #[test]
    fn each_fault_of_a_filter_has_its_own_answer() {
        let faults = [
            filter(None, &["s3:Nothing"], &[], &[]),
            filter(None, &["s3:ObjectCreated:*"], &["a", "b"], &[]),
            filter(None, &["s3:ObjectCreated:*"], &[], &["a", "b"]),
            filter(None, &["s3:ObjectCreated:*"], &["../a"], &[]),
        ];
        assert_eq!(
            faults.map(Result::unwrap_err),
            [
                RuleError::UnknownEvent,
                RuleError::RepeatedPrefix,
                RuleError::RepeatedSuffix,
                RuleError::BadFilterValue
            ]
        );
    }
}
