//! The window: changes a relay has read and that are not acknowledged yet.
//!
//! # Invariants
//!
//! 1. At most one change of a key is under way; the next one of that key follows its acknowledgement.
//! 2. [`Window::acknowledged`] never reaches a change that is in the window.
//! 3. A change leaves only when it is done with: acknowledged, durably a dead letter, or counted in a gap.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

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
    unacknowledged: BTreeMap<Sequence, Waiting>,
    /// The newest change that is done with.
    finished: Sequence,
    /// Bytes of all changes in the window, by [`change_bytes`].
    bytes: u64,
    keys: HashMap<Arc<str>, KeyQueue>,
    /// Keys whose first change may be tried, the longest waiting first.
    ready: VecDeque<Arc<str>>,
    /// Keys whose first change was refused, by when it may be tried again. Apart from the others, because every event
    /// of a relay asks for the first of these times.
    put_off: BTreeSet<(Instant, Arc<str>)>,
}

struct Waiting {
    key: Arc<str>,
    /// When it happened, milliseconds since 1970.
    time_ms: u64,
    bytes: u64,
}

#[derive(Default)]
struct KeyQueue {
    /// The first is the one under way, or the next to be.
    changes: VecDeque<Arc<Change>>,
    /// Whether the first was tried before.
    was_tried: bool,
    /// How often a try of the first failed, of those that count.
    failures: u32,
    backoff: Backoff,
    /// When the first is put off: until when.
    not_before: Option<Instant>,
}

/// What a change counts against bounds in bytes: its texts, and 64 for its numbers.
pub(crate) fn change_bytes(change: &Change) -> u64 {
    let object = change.object.iter().flat_map(|object| {
        let metadata = object.metadata.iter().map(|(name, value)| name.len() + value.len());
        metadata.chain([object.etag.len(), object.content_type.len()])
    });
    let origin = change.origin.iter().flat_map(|origin| {
        let texts = [&origin.principal, &origin.source_host, &origin.user_agent, &origin.request_id];
        let more = [&origin.region, &origin.endpoint];
        texts.into_iter().chain(more).chain(&origin.range).map(String::len)
    });
    let names = [change.bucket.as_str().len(), change.key.len(), 64];
    let targets = change.targets.iter().map(String::len);
    names.into_iter().chain(object).chain(origin).chain(targets).sum::<usize>() as u64
}

impl Window {
    /// An empty window of a relay whose cursor is `acknowledged`.
    pub(crate) fn new(acknowledged: Sequence) -> Window {
        Window {
            read_to: acknowledged,
            unacknowledged: BTreeMap::new(),
            finished: acknowledged,
            bytes: 0,
            keys: HashMap::new(),
            ready: VecDeque::new(),
            put_off: BTreeSet::new(),
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

    /// Bytes of the changes in the window, by [`change_bytes`].
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The oldest change in the window, and when it happened, milliseconds since 1970.
    pub(crate) fn oldest(&self) -> Option<(Sequence, u64)> {
        self.unacknowledged.first_key_value().map(|(&sequence, waiting)| (sequence, waiting.time_ms))
    }

    /// Everything at or before it is acknowledged or was never this target's.
    pub(crate) fn acknowledged(&self) -> Sequence {
        match self.unacknowledged.first_key_value() {
            Some((first, _)) => Sequence(first.0 - 1),
            None => self.read_to,
        }
    }

    /// The newest change that is done with. What is older and in the window keeps the cursor from passing it.
    pub(crate) fn finished(&self) -> Sequence {
        self.finished
    }

    /// Passes a change that is not this target's.
    pub(crate) fn pass(&mut self, sequence: Sequence) {
        debug_assert!(sequence > self.read_to, "the log is read in order");
        self.read_to = sequence;
    }

    /// Takes in a change.
    pub(crate) fn push(&mut self, change: Arc<Change>) {
        self.pass(change.sequence);
        let key: Arc<str> = Arc::from(path(&change));
        let bytes = change_bytes(&change);
        self.bytes += bytes;
        let waiting = Waiting { key: Arc::clone(&key), time_ms: change.time_ms, bytes };
        self.unacknowledged.insert(change.sequence, waiting);
        let queue = self.keys.entry(Arc::clone(&key)).or_default();
        if queue.changes.is_empty() {
            self.ready.push_back(key);
        }
        queue.changes.push_back(change);
    }

    /// The next change to deliver, now under way, and whether it was tried before. `None` when every key has one
    /// under way, waits, or is held.
    pub(crate) fn start(
        &mut self,
        now: Instant,
        is_held: impl Fn(&Change) -> bool,
    ) -> Option<(Arc<str>, &Change, bool)> {
        self.recall(now);
        let is_free = |key: &Arc<str>| self.keys[key].changes.front().is_some_and(|change| !is_held(change));
        let place = self.ready.iter().position(is_free)?;
        let key = self.ready.remove(place).expect("the place was found just now");
        let queue = self.keys.get_mut(&key).expect("a ready key is in the window");
        let was_tried = std::mem::replace(&mut queue.was_tried, true);
        let change = queue.changes.front().expect("a ready key has a change");
        Some((key, change, was_tried))
    }

    /// The change of a key that is under way.
    pub(crate) fn under_way(&self, key: &Arc<str>) -> &Change {
        self.keys[key].changes.front().expect("a key under way has a change")
    }

    /// Lets what was put off until now be tried, before the others that wait.
    fn recall(&mut self, now: Instant) {
        let mut due = Vec::new();
        while self.put_off.first().is_some_and(|&(time, _)| time <= now) {
            let (_, key) = self.put_off.pop_first().expect("there is a first one");
            self.keys.get_mut(&key).expect("what is put off is in the window").not_before = None;
            due.push(key);
        }
        due.into_iter().rev().for_each(|key| self.ready.push_front(key));
    }

    /// When the first of those that are put off may be tried; `None` when it may be by now.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.put_off.first().map(|&(time, _)| time).filter(|&time| time > now)
    }

    /// The change of a key that was under way is done with, and leaves.
    pub(crate) fn finish(&mut self, key: &Arc<str>) {
        if self.leave(key).1 {
            self.ready.push_back(Arc::clone(key));
        }
    }

    /// Takes out the oldest change. Nothing may be under way.
    pub(crate) fn drop_oldest(&mut self) -> Option<Arc<Change>> {
        let key = Arc::clone(&self.unacknowledged.first_key_value()?.1.key);
        let put_off_until = self.keys[&key].not_before;
        let (change, has_more) = self.leave(&key);
        match put_off_until {
            Some(time) => {
                self.put_off.remove(&(time, Arc::clone(&key)));
                self.ready.extend(has_more.then_some(key));
            }
            None if !has_more => {
                let place = self.ready.iter().position(|ready| *ready == key);
                self.ready.remove(place.expect("a key that is not put off or under way is ready"));
            }
            None => {}
        }
        Some(change)
    }

    /// Takes out the first change of a key; whether the key has more.
    fn leave(&mut self, key: &Arc<str>) -> (Arc<Change>, bool) {
        let queue = self.keys.get_mut(key).expect("a key that is named is in the window");
        let change = queue.changes.pop_front().expect("a key in the window has a change");
        let waiting = self.unacknowledged.remove(&change.sequence);
        self.finished = self.finished.max(change.sequence);
        self.bytes -= waiting.map_or(0, |waiting| waiting.bytes);
        *queue = KeyQueue { changes: std::mem::take(&mut queue.changes), ..KeyQueue::default() };
        let has_more = !queue.changes.is_empty();
        if !has_more {
            self.keys.remove(key);
        }
        (change, has_more)
    }

    /// The change of a key that was under way must be tried again, before the others that wait.
    pub(crate) fn put_back(&mut self, key: Arc<str>) {
        self.ready.push_front(key);
    }

    /// The change of a key that is under way could not be delivered, and that counts: how often by now.
    pub(crate) fn count_failure(&mut self, key: &Arc<str>) -> u32 {
        let queue = self.keys.get_mut(key).expect("a key under way is in the window");
        queue.failures = queue.failures.saturating_add(1);
        queue.failures
    }

    /// The change of a key that was under way is to be tried again after a pause, of growing length where none
    /// is given, and others first.
    pub(crate) fn put_off(&mut self, key: Arc<str>, now: Instant, pause: Option<Duration>) {
        let queue = self.keys.get_mut(&key).expect("a key under way is in the window");
        let time = now + pause.unwrap_or_else(|| queue.backoff.next_delay());
        queue.not_before = Some(time);
        self.put_off.insert((time, key));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use store::{BucketName, Change, ChangeKind, Sequence};
    use tidings_store as store;
    use tokio::time::Instant;

    use super::Window;

    fn change(sequence: u64, key: &str) -> Arc<Change> {
        Arc::new(Change {
            sequence: Sequence(sequence),
            time_ms: 0,
            kind: ChangeKind::Put,
            bucket: BucketName::new("b").unwrap(),
            key: key.to_owned(),
            version: None,
            object: None,
            origin: None,
            targets: vec![],
            rules: vec![],
        })
    }

    fn start(window: &mut Window) -> Option<(Arc<str>, u64)> {
        window.start(Instant::now(), |_| false).map(|(key, change, _)| (key, change.sequence.0))
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
        window.finish(&Arc::from("b/a"));
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
            window.finish(&Arc::from(key));
            cursors.push(window.acknowledged());
        }
        assert_eq!(cursors, [Sequence(9), Sequence(9), Sequence(30)]);
    }

    #[test]
    fn what_waits_is_weighed_and_nothing_of_it_stays() {
        let mut window = Window::new(Sequence(0));
        for (sequence, key) in [(1, "a"), (2, "longer"), (3, "a")] {
            window.push(change(sequence, key));
        }
        assert_eq!((window.bytes(), window.oldest()), (3 * 64 + 3 + 8, Some((Sequence(1), 0))));
        while let Some((key, _)) = start(&mut window) {
            window.finish(&key);
        }
        assert_eq!((window.bytes(), window.oldest()), (0, None));
    }

    #[test]
    fn what_is_dropped_is_the_oldest_and_its_key_goes_on_with_the_next() {
        let mut window = Window::new(Sequence(0));
        for (sequence, key) in [(1, "a"), (2, "b"), (3, "a")] {
            window.push(change(sequence, key));
        }
        let dropped = [window.drop_oldest(), window.drop_oldest()];
        assert_eq!(dropped.map(|change| change.map(|change| change.sequence.0)), [Some(1), Some(2)]);
        assert_eq!((window.acknowledged(), window.len()), (Sequence(2), 1));
        assert_eq!(started(&mut window), [(Arc::from("b/a"), 3)]);
    }

    #[test]
    fn changes_of_a_bucket_that_is_held_wait() {
        let mut window = Window::new(Sequence(0));
        window.push(change(1, "a"));
        assert!(window.start(Instant::now(), |change| change.bucket.as_str() == "b").is_none());
        assert!(window.start(Instant::now(), |change| change.bucket.as_str() == "c").is_some());
    }

    #[test]
    fn failures_are_those_of_one_change_and_a_later_one_of_its_key_begins_anew() {
        let mut window = Window::new(Sequence(0));
        window.push(change(1, "a"));
        window.push(change(2, "a"));
        let (key, _) = start(&mut window).unwrap();
        assert_eq!([window.count_failure(&key), window.count_failure(&key)], [1, 2]);
        window.finish(&key);
        let (key, change, was_tried) = window.start(Instant::now(), |_| false).unwrap();
        assert_eq!((change.sequence, was_tried), (Sequence(2), false));
        assert_eq!(window.count_failure(&key), 1);
    }

    #[test]
    fn what_is_dropped_while_it_is_put_off_leaves_nothing_behind() {
        let mut window = Window::new(Sequence(0));
        for (sequence, key) in [(1, "a"), (2, "b"), (3, "a")] {
            window.push(change(sequence, key));
        }
        let now = Instant::now();
        for (key, _) in started(&mut window) {
            window.put_off(key, now, None);
        }
        for sequence in [1, 2] {
            assert_eq!(window.drop_oldest().map(|change| change.sequence.0), Some(sequence));
        }
        assert_eq!((window.next_due(now), started(&mut window)), (None, vec![(Arc::from("b/a"), 3)]));
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
        window.put_off(a, now, None);
        assert_eq!(started(&mut window), [(Arc::from("b/b"), 2)]);
        let due = window.next_due(now).unwrap();
        assert_eq!(window.start(due, |_| false).map(|(key, ..)| key), Some(Arc::from("b/a")));
    }

    #[test]
    fn what_was_put_off_goes_in_the_order_in_which_it_is_due() {
        let mut window = Window::new(Sequence(0));
        for (sequence, key) in [(1, "a"), (2, "b"), (3, "c")] {
            window.push(change(sequence, key));
        }
        let now = Instant::now();
        let keys: Vec<Arc<str>> = started(&mut window).into_iter().map(|(key, _)| key).collect();
        for (key, after_ms) in keys.iter().zip([3, 1, 2]) {
            window.put_off(Arc::clone(key), now, Some(Duration::from_millis(after_ms)));
        }
        let later = now + Duration::from_millis(3);
        let order: Vec<Arc<str>> =
            std::iter::from_fn(|| window.start(later, |_| false).map(|(key, ..)| key)).collect();
        assert_eq!(order.iter().map(|key| &**key).collect::<Vec<_>>(), ["b/b", "b/c", "b/a"]);
    }
}
