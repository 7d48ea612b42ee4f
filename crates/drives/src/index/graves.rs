//! Graves: what was deleted and when, while the journal is read in no particular order.
//!
//! A grave is kept until everything was read, since an older put may come at any time. So that memory holds any number
//! of deletes, the keys are taken in ranges where there are too many: when the graves reach their bound, the upper half
//! of them is dropped, the rest of the pass takes only keys before those, and another pass over everything begins
//! there.
//!
//! Invariant: at the end of a pass every grave of a key in its range was kept since it was read.
//!
//! Bounds: [`GRAVES_BYTES_MAX`], about 250,000 deletes, and a pass for every half of that.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use store::Sequence;

/// Bytes of graves that are kept unless the set is opened otherwise: 32 MiB.
pub(crate) const GRAVES_BYTES_MAX: usize = 32 << 20;

/// Bytes of memory that a grave takes beside its key: its place in the map, its handle and what the allocator adds.
const GRAVE_BYTES: usize = 64;

/// See the module header.
#[derive(Debug)]
pub(crate) struct Graves {
    keys: HashMap<Bytes, Sequence>,
    prefixes: HashMap<Bytes, Sequence>,
    /// The lengths of the prefixes: so many are looked up for a key.
    lengths: BTreeSet<usize>,
    bytes: usize,
    bytes_max: usize,
    /// The pass takes keys from here on …
    start: Bytes,
    /// … up to this one, and all of them for `None`.
    end: Option<Bytes>,
    passes: u64,
}

impl Graves {
    /// None, of at most `bytes_max` at once; the first pass takes all keys.
    pub(crate) fn bounded(bytes_max: usize) -> Graves {
        Graves {
            keys: HashMap::new(),
            prefixes: HashMap::new(),
            lengths: BTreeSet::new(),
            bytes: 0,
            bytes_max,
            start: Bytes::new(),
            end: None,
            passes: 0,
        }
    }

    /// Whether what is counted is to be counted: it comes again in later passes.
    pub(super) fn is_first_pass(&self) -> bool {
        self.passes == 0
    }

    /// Everything was read: whether it has to be read again, for the keys that were left out.
    pub(crate) fn next_pass(&mut self) -> bool {
        let Some(start) = self.end.take() else {
            return false;
        };
        *self = Graves { start, passes: self.passes + 1, ..Graves::bounded(self.bytes_max) };
        true
    }

    /// Whether this pass is about a key.
    pub(super) fn takes(&self, key: &[u8]) -> bool {
        self.start <= key && self.end.as_ref().is_none_or(|end| key < end)
    }

    /// Whether this pass is about a key that begins so.
    pub(super) fn takes_any_under(&self, prefix: &[u8]) -> bool {
        self.takes(prefix) || self.start.starts_with(prefix)
    }

    pub(super) fn bury_key(&mut self, key: &[u8], sequence: Sequence) {
        self.bytes += bury(&mut self.keys, key, sequence);
        self.narrow();
    }

    pub(super) fn bury_prefix(&mut self, prefix: &[u8], sequence: Sequence) {
        self.bytes += bury(&mut self.prefixes, prefix, sequence);
        self.lengths.insert(prefix.len());
        self.narrow();
    }

    /// Whether a state of this sequence was deleted later.
    pub(super) fn covers(&self, key: &[u8], sequence: Sequence) -> bool {
        let buried = |graves: &HashMap<Bytes, Sequence>, key: &[u8]| {
            graves.get(key).is_some_and(|buried| *buried > sequence)
        };
        buried(&self.keys, key)
            || self.lengths.range(..=key.len()).any(|length| buried(&self.prefixes, &key[..*length]))
    }

    /// Leaves the upper half to the next pass when there are too many. A single one is kept however large it is.
    fn narrow(&mut self) {
        if self.bytes <= self.bytes_max {
            return;
        }
        let all = self.keys.keys().chain(self.prefixes.keys());
        // A prefix that the range begins under is needed in all of it.
        let mut above: Vec<Bytes> = all.filter(|key| **key > self.start).cloned().collect();
        if above.is_empty() {
            return;
        }
        let middle = above.len() / 2;
        let end = above.select_nth_unstable(middle).1.clone();
        self.keys.retain(|key, _| *key < end);
        self.prefixes.retain(|prefix, _| *prefix < end);
        self.lengths = self.prefixes.keys().map(Bytes::len).collect();
        self.bytes = self.keys.keys().chain(self.prefixes.keys()).map(|key| GRAVE_BYTES + key.len()).sum();
        self.end = Some(end);
    }
}

/// Bytes that it takes more.
fn bury(graves: &mut HashMap<Bytes, Sequence>, key: &[u8], sequence: Sequence) -> usize {
    if let Some(buried) = graves.get_mut(key) {
        *buried = sequence.max(*buried);
        return 0;
    }
    graves.insert(Bytes::copy_from_slice(key), sequence);
    GRAVE_BYTES + key.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for four graves of one byte.
    const FOUR: usize = 4 * (GRAVE_BYTES + 1);

    #[test]
    fn with_room_for_all_there_is_one_pass_and_a_later_delete_covers_an_earlier_put() {
        let mut graves = Graves::bounded(GRAVES_BYTES_MAX);
        graves.bury_key(b"a", Sequence(5));
        graves.bury_key(b"a", Sequence(3));
        graves.bury_prefix(b"b/", Sequence(7));
        assert!(graves.covers(b"a", Sequence(4)) && !graves.covers(b"a", Sequence(5)));
        assert!(graves.covers(b"b/x", Sequence(6)) && !graves.covers(b"b", Sequence(6)));
        assert!(!graves.next_pass());
    }

    #[test]
    fn without_room_every_key_has_its_graves_whole_in_one_of_the_passes() {
        let keys: Vec<[u8; 1]> = (b'a'..=b'z').rev().map(|letter| [letter]).collect();
        let mut graves = Graves::bounded(FOUR);
        let (mut done, mut passes) = (Vec::new(), 0);
        loop {
            passes += 1;
            for key in &keys {
                if graves.takes(key) {
                    graves.bury_key(key, Sequence(9));
                }
                assert!(graves.bytes <= FOUR, "{} bytes", graves.bytes);
            }
            let whole = keys.iter().filter(|key| graves.takes(&key[..]));
            for key in whole {
                assert!(graves.covers(key, Sequence(8)), "{key:?}");
                done.push(*key);
            }
            if !graves.next_pass() {
                break;
            }
        }
        done.sort_unstable();
        assert!(done.iter().rev().eq(&keys), "{done:?}");
        assert!((7..=26).contains(&passes), "{passes} passes");
    }

    #[test]
    fn a_prefix_counts_in_every_pass_that_takes_a_key_under_it() {
        let mut graves = Graves::bounded(FOUR);
        let mut found = 0;
        loop {
            for key in [&b"p"[..], b"pa", b"pb", b"pc", b"pd", b"pe", b"q"] {
                if key == b"p" && graves.takes_any_under(key) {
                    graves.bury_prefix(key, Sequence(9));
                } else if graves.takes(key) {
                    graves.bury_key(key, Sequence(1));
                }
            }
            for key in
                [b"pa", b"pb", b"pc", b"pd", b"pe", b"pz"].into_iter().filter(|key| graves.takes(&key[..]))
            {
                assert!(graves.covers(key, Sequence(8)), "{key:?}");
                found += 1;
            }
            if !graves.next_pass() {
                break;
            }
        }
        assert_eq!(found, 6);
    }
}
