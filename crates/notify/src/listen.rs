//! Listeners: clients that follow changes over an open connection, from now on or from a [`Position`].
//!
//! A listener reads the same change log as the relays, so it misses nothing while it is connected. The server keeps
//! no cursor for it: one that was asked to begin at a position tells with each line the position behind it, and a
//! client that comes back with the last one it took goes on there, as long as the log still goes back so far. While
//! somebody listens, reads that its filter matches are kept in the log; nobody keeps those of the time between.
//! Listeners are as many as connections; each holds one page.

use std::fmt;
use std::str::FromStr;
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

/// A place in the change log: the sequence behind which to go on in each partition, in their order. A single one
/// stands for all.
///
/// As text: sequencers with commas between, `18E9FFCB5B1B2AD0` or `18E9FFCB5B1B2AD0,18E9FFCB5B1B2AD4`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position(Vec<Sequence>);

impl Position {
    /// Behind everything that happened before this time, milliseconds since 1970.
    pub fn at(time_ms: u64) -> Position {
        Position(vec![Sequence(time_ms.saturating_mul(1_000_000).saturating_sub(1))])
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Position, String> {
        let sequences = text.split(',').map(Sequence::from_sequencer).collect::<Option<Vec<_>>>();
        sequences.map(Position).ok_or_else(|| {
            format!("'{text}' is no place in the change log: a sequencer has 1 to 16 hexadecimal digits")
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, sequence) in self.0.iter().enumerate() {
            write!(f, "{}{}", if place == 0 { "" } else { "," }, sequence.to_sequencer())?;
        }
        Ok(())
    }
}

/// Why a listener cannot begin where it is asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// It is of a server with other drive sets.
    #[error(
        "The position names {given} places and this server has {sets} drive sets: it is of another server."
    )]
    OtherServer {
        /// Sequences in it.
        given: usize,
        /// Partitions here.
        sets: usize,
    },
    /// The log does not go back so far.
    #[error(
        "Changes after {from} are kept no longer, only those after {oldest}. Begin there, knowing that some were missed."
    )]
    NotKept {
        /// What was asked for, as a sequencer.
        from: String,
        /// Where it would be possible, as a sequencer.
        oldest: String,
    },
}

/// An open listener. Dropping it ends it.
pub struct Listener {
    notifier: Arc<Notifier>,
    filter: Arc<ListenFilter>,
    server: Arc<ServerIdentity>,
    store: Option<Arc<Store>>,
    /// How far each partition was read.
    read_to: Vec<(PartitionId, Sequence)>,
    /// Whether lines tell where to go on behind them.
    tells_position: bool,
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
            tells_position: false,
            notifier: Arc::clone(self),
            filter,
            server: Arc::clone(&self.identity),
            store,
            commits,
            backoff: Backoff::default(),
        }
    }

    /// Follows changes behind a position, first those that are durable already. Each line tells the position behind it
    /// as `Resume`, beside `Records`.
    ///
    /// A position ahead of the newest change is taken for it. Asks drives for their room: not for the path of every
    /// request.
    ///
    /// # Errors
    ///
    /// [`PositionError`].
    pub fn listen_from(
        self: &Arc<Self>,
        filter: ListenFilter,
        position: &Position,
    ) -> Result<Listener, PositionError> {
        let mut listener = self.listen(filter);
        listener.tells_position = true;
        let store = listener.store.clone();
        let (given, sets) = (position.0.len(), listener.read_to.len());
        if given != 1 && given != sets {
            return Err(PositionError::OtherServer { given, sets });
        }
        for (place, (partition, read_to)) in listener.read_to.iter_mut().enumerate() {
            let from = position.0[place.min(given - 1)];
            let kept_after = store.as_ref().map_or(Sequence::ZERO, |store| store.kept_after(*partition));
            if from < kept_after {
                let (from, oldest) = (from.to_sequencer(), kept_after.to_sequencer());
                return Err(PositionError::NotKept { from, oldest });
            }
            *read_to = from.min(*read_to);
        }
        Ok(listener)
    }
}

impl Listener {
    /// Whether each line tells the position behind it.
    pub fn tells_position(&self) -> bool {
        self.tells_position
    }

    /// Where the log is to be read on.
    pub fn position(&self) -> Position {
        Position(self.read_to.iter().map(|&(_, sequence)| sequence).collect())
    }

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

    fn take(&mut self, place: usize, changes: &[Arc<Change>]) -> Vec<Bytes> {
        let mut lines = Vec::new();
        for change in changes {
            self.read_to[place].1 = change.sequence;
            if self.filter.matches(&change.bucket, change.kind, &change.key) {
                let behind = self.tells_position.then(|| self.position().to_string());
                lines.push(listen_line(change, &self.server, behind));
            }
        }
        lines
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
    use std::sync::Arc;

    use store::testing::MemoryEngine;
    use store::testing::fixture::{bucket, key};
    use store::{ChangeKind, PartitionId, Recorder, Sequence, SystemClock};
    use tidings_store as store;

    use super::{ListenFilter, Position, PositionError};
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

    /// The key that a line tells, and where its reader would go on.
    fn places(lines: &[bytes::Bytes]) -> Vec<(String, Position)> {
        let resumes = lines.iter().map(|line| {
            let told: serde_json::Value = serde_json::from_slice(line).unwrap();
            told["Resume"].as_str().unwrap().parse().unwrap()
        });
        keys(lines).into_iter().zip(resumes).collect()
    }

    #[tokio::test]
    async fn a_listener_that_comes_back_is_told_what_happened_meanwhile_and_nothing_twice() {
        let scene = Scene::new(&[]).await;
        let wanted = filter(Some("album"), &["s3:ObjectCreated:*"], &["a"], &[]).unwrap();
        let now = scene.notifier.listen(wanted.clone()).position();
        scene.put_all(&["a1", "b", "a2", "b", "a3"]).await;

        let mut first = scene.notifier.listen_from(wanted.clone(), &now).unwrap();
        let told = places(&within(first.next()).await);
        assert_eq!(told.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a1", "a2", "a3"]);
        drop(first);
        scene.put("a4").await;

        for (taken, left) in [(0, vec!["a2", "a3", "a4"]), (1, vec!["a3", "a4"]), (2, vec!["a4"])] {
            let mut again = scene.notifier.listen_from(wanted.clone(), &told[taken].1).unwrap();
            assert_eq!(keys(&within(again.next()).await), left);
        }
    }

    #[tokio::test]
    async fn a_listener_of_two_partitions_goes_on_in_each_where_it_was() {
        let engine = MemoryEngine::with(Arc::new(SystemClock), 2);
        engine.set_room(PartitionId(1), 0, 1);
        let album = Scene::over(engine, &[]).await.in_bucket("album").await;
        album.engine.set_room(PartitionId(1), 1, 1);
        let attic = album.in_bucket("attic").await;
        let wanted = filter(None, &["s3:ObjectCreated:*"], &[], &[]).unwrap();
        let now = album.notifier.listen(wanted.clone()).position();
        attic.put("first").await;
        album.put_all(&["a", "b"]).await;

        let mut told = Vec::new();
        let mut position = now;
        for _ in 0..3 {
            let mut listener = album.notifier.listen_from(wanted.clone(), &position).unwrap();
            let (key, behind) = places(&within(listener.next()).await).remove(0);
            told.push(key);
            position = behind;
        }
        told.sort();
        assert_eq!(told, ["a", "b", "first"]);
        let three = "1,2,3".parse().unwrap();
        let refused = album.notifier.listen_from(wanted, &three).map(|_| ()).unwrap_err();
        assert_eq!(refused, PositionError::OtherServer { given: 3, sets: 2 });
    }

    #[tokio::test]
    async fn a_listener_is_told_when_the_log_does_not_go_back_so_far() {
        let scene = Scene::new(&[]).await;
        scene.put("a").await;
        let kept_after = Sequence(1 << 40);
        scene.engine.forget_changes_upto(kept_after);
        let wanted = filter(None, &["s3:ObjectCreated:*"], &[], &[]).unwrap();

        let refused = scene.notifier.listen_from(wanted.clone(), &Position::at(0)).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains(&kept_after.to_sequencer()), "{refused}");
        let just = kept_after.to_sequencer().parse().unwrap();
        let mut listener = scene.notifier.listen_from(wanted, &just).unwrap();
        assert_eq!(keys(&within(listener.next()).await), ["a"]);
    }

    #[test]
    fn a_position_is_read_as_it_is_written() {
        for text in ["18E9FFCB5B1B2AD0", "18E9FFCB5B1B2AD0,0000000000000001"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for wrong in ["", "now", "1,", "12345678123456781"] {
            assert!(wrong.parse::<Position>().unwrap_err().contains("hexadecimal"), "{wrong}");
        }
        assert_eq!(Position::at(1).to_string(), "00000000000F423F");
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
