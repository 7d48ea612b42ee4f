//! The window: changes a relay has read and that are not acknowledged yet.
//!
//! # Invariants
//!
//! 1. At most one change of a key is under way; the next one of that key follows its acknowledgement.
//! 2. [`Window::acknowledged`] never reaches a change that is in the window.
//! 3. A change leaves only by its acknowledgement.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use store::{Change, Sequence};
use tidings_store as store;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::record::minio::path;

/// Changes of its own that a relay holds at once. A change is 1 to 10 KB, so this is 10 MB at worst; it also
/// bounds what is sent again after a crash.
pub(crate) const WINDOW_CHANGES_MAX: usize = 1000;

/// See the module header.
pub(crate) struct Window {
    /// Everything at or before it was read from the log.
    read_to: Sequence,
    /// When each happened, milliseconds since 1970.
    unacknowledged: BTreeMap<Sequence, u64>,
    keys: HashMap<Arc<str>, KeyQueue>,
    /// Keys whose first change is not under way, the longest waiting first.
    ready: VecDeque<Arc<str>>,
}

#[derive(Default)]
struct KeyQueue {
    /// The first is the one under way, or the next to be.
    changes: VecDeque<Change>,
    backoff: Backoff,
    /// After a refusal: not to be tried before.
    not_before: Option<Instant>,
}

impl Window {
    /// An empty window of a relay whose cursor is `acknowledged`.
    pub(crate) fn new(acknowledged: Sequence) -> Window {
        Window {
            read_to: acknowledged,
            unacknowledged: BTreeMap::new(),
            keys: HashMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// Where to read on.
    pub(crate) fn read_to(&self) -> Sequence {
        self.read_to
    }

    /// How many changes of its own may be taken in.
    pub(crate) fn room(&self) -> usize {
        WINDOW_CHANGES_MAX.saturating_sub(self.unacknowledged.len())
    }

    /// Changes in the window.
    pub(crate) fn len(&self) -> usize {
        self.unacknowledged.len()
    }

    /// When the oldest change in the window happened, milliseconds since 1970.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.unacknowledged.first_key_value().map(|(_, &time_ms)| time_ms)
    }

    /// Everything at or before it is acknowledged or was never this target's.
    pub(crate) fn acknowledged(&self) -> Sequence {
        match self.unacknowledged.first_key_value() {
            Some((first, _)) => Sequence(first.0 - 1),
            None => self.read_to,
        }
    }

    /// Passes a change that is not this target's.
    pub(crate) fn pass(&mut self, sequence: Sequence) {
        debug_assert!(sequence > self.read_to, "the log is read in order");
        self.read_to = sequence;
    }

    /// Takes in a change.
    pub(crate) fn push(&mut self, change: Change) {
        self.pass(change.sequence);
        self.unacknowledged.insert(change.sequence, change.time_ms);
        let key: Arc<str> = Arc::from(path(&change));
        let queue = self.keys.entry(Arc::clone(&key)).or_default();
        if queue.changes.is_empty() {
            self.ready.push_back(key);
        }
        queue.changes.push_back(change);
    }

    /// The next change to deliver, now under way. `None` when every key has one under way or waits.
    pub(crate) fn start(&mut self, now: Instant) -> Option<(Arc<str>, &Change)> {
        let is_due = |key: &Arc<str>| self.keys[key].not_before.is_none_or(|time| time <= now);
        let place = self.ready.iter().position(is_due)?;
        let key = self.ready.remove(place).expect("the place was found just now");
        let change = self.keys[&key].changes.front().expect("a ready key has a change");
        Some((key, change))
    }

    /// When the first refused key that is not due yet will be.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        let times = self.ready.iter().filter_map(|key| self.keys[key].not_before);
        times.filter(|&time| time > now).min()
    }

    /// The change of a key that was under way is acknowledged.
    pub(crate) fn acknowledge(&mut self, key: &Arc<str>) {
        let queue = self.keys.get_mut(key).expect("a key under way is in the window");
        let change = queue.changes.pop_front().expect("a key under way has a change");
        self.unacknowledged.remove(&change.sequence);
        queue.backoff.reset();
        queue.not_before = None;
        if queue.changes.is_empty() {
            self.keys.remove(key);
        } else {
            self.ready.push_back(Arc::clone(key));
        }
    }

    /// The change of a key that was under way must be tried again, before the others that wait.
    pub(crate) fn put_back(&mut self, key: Arc<str>) {
        self.ready.push_front(key);
    }

    /// The change of a key that was under way was refused: again after a while, and others first.
    ///
    /// Returns how often it was refused in a row.
    pub(crate) fn put_off(&mut self, key: Arc<str>, now: Instant) -> u32 {
        let queue = self.keys.get_mut(&key).expect("a key under way is in the window");
        queue.not_before = Some(now + queue.backoff.next_delay());
        let refusals = queue.backoff.failures();
        self.ready.push_back(key);
        refusals
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::{BucketName, Change, ChangeKind, Sequence};
    use tidings_store as store;
    use tokio::time::Instant;

    use super::Window;

    fn change(sequence: u64, key: &str) -> Change {
        Change {
            sequence: Sequence(sequence),
            time_ms: 0,
            kind: ChangeKind::Put,
            bucket: BucketName::new("b").unwrap(),
            key: key.to_owned(),
            version: None,
            object: None,
            origin: None,
            targets: vec![],
        }
    }

    fn start(window: &mut Window) -> Option<(Arc<str>, u64)> {
        window.start(Instant::now()).map(|(key, change)| (key, change.sequence.0))
    }

    fn started(window: &mut Window) -> Vec<(Arc<str>, u64)> {
        std::iter::from_fn(|| start(window)).collect()
    }

    #[test]
    fn one_change_of_a_key_is_under_way_and_the_next_follows_its_acknowledgement() {
        let mut window = Window::new(Sequence(5));
        for (sequence, key) in [(6, "a"), (7, "a"), (8, "b")] {
            window.push(change(sequence, key));
        }
        assert_eq!(started(&mut window), [(Arc::from("b/a"), 6), (Arc::from("b/b"), 8)]);
        window.acknowledge(&Arc::from("b/a"));
        assert_eq!(started(&mut window), [(Arc::from("b/a"), 7)]);
    }

    #[test]
    fn the_cursor_stays_before_the_first_change_that_is_not_acknowledged() {
        let mut window = Window::new(Sequence(5));
        window.push(change(10, "a"));
        window.push(change(20, "b"));
        window.pass(Sequence(30));
        started(&mut window);
        let mut cursors = vec![window.acknowledged()];
        for key in ["b/b", "b/a"] {
            window.acknowledge(&Arc::from(key));
            cursors.push(window.acknowledged());
        }
        assert_eq!(cursors, [Sequence(9), Sequence(9), Sequence(30)]);
    }

    #[test]
    fn what_failed_goes_first_and_what_was_refused_lets_others_pass() {
        let mut window = Window::new(Sequence(0));
        for (sequence, key) in [(1, "a"), (2, "b")] {
            window.push(change(sequence, key));
        }
        let (a, _) = start(&mut window).unwrap();
        window.put_back(a);
        let (a, _) = start(&mut window).unwrap();
        assert_eq!(&*a, "b/a");

        let now = Instant::now();
        assert_eq!(window.put_off(a, now), 1);
        assert_eq!(started(&mut window), [(Arc::from("b/b"), 2)]);
        let due = window.next_due(now).unwrap();
        assert_eq!(window.start(due).map(|(key, _)| key), Some(Arc::from("b/a")));
    }
}
