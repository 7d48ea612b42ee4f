//! What frames mean that are not read in the order of the journal: copies, and all of them when the index is rebuilt.
//!
//! The last writer wins, by the sequence that a record was given when it was first committed. A delete therefore
//! leaves a [grave](super::graves) while the start runs: a put that is read later and is older stays dead. Where there
//! are more graves than memory is to hold, all of it is read again for other keys: whatever is taken in twice changes
//! nothing, and is counted once.
//!
//! Within a commit the order of its mutations counts. A delete in a copy stands alone, after its commit was taken
//! apart: it leaves alone what has its own sequence, which its commit wrote after it.

use bytes::Bytes;
use store::Sequence;

use super::graves::Graves;
use super::lookup::Below;
use super::{FramePlace, Index, Malformed, Stored, View, places_of};
use crate::frame::Kind;
use crate::live::Weight;
use crate::record::{self, Recorded};

impl Index {
    /// Takes in a frame in no particular order. On an error nothing changed.
    pub(crate) fn restore(
        &mut self,
        frame: FramePlace,
        metadata: &[u8],
        kind: Kind,
        graves: &mut Graves,
        below: &Below,
    ) -> Result<(), Malformed> {
        for commit in record::decode(metadata).ok_or(Malformed)? {
            if graves.is_first_pass() {
                for place in places_of(frame, metadata, &commit) {
                    self.set_change(place, below);
                }
            }
            for mutation in commit.mutations {
                let context = (kind, below);
                self.restore_mutation(frame, commit.sequence, mutation, context, graves);
            }
            self.last_sequence = self.last_sequence.max(commit.sequence);
        }
        Ok(())
    }

    fn restore_mutation(
        &mut self,
        frame: FramePlace,
        sequence: Sequence,
        mutation: Recorded<'_>,
        (kind, below): (Kind, &Below),
        graves: &mut Graves,
    ) {
        let segment = frame.address.segment;
        let falls = |stored: &Stored| {
            stored.sequence < sequence || (kind == Kind::Commits && stored.sequence == sequence)
        };
        match mutation {
            Recorded::Put { key, value, locations, extent } => {
                if graves.is_first_pass() {
                    self.live.put(segment);
                }
                if !graves.takes(key) {
                    return;
                }
                let later = self.current(key, below).is_some_and(|stored| stored.sequence > sequence);
                if !later && !graves.covers(key, sequence) {
                    self.set_key(key, Stored::of(frame, sequence, value, locations, extent), below);
                }
            }
            Recorded::Delete(key) => {
                if graves.is_first_pass() {
                    self.live.grave(segment, Weight::of_grave(key));
                }
                if !graves.takes(key) {
                    return;
                }
                if self.current(key, below).is_some_and(|stored| falls(&stored)) {
                    self.remove_key(key, below);
                }
                graves.bury_key(key, sequence);
            }
            Recorded::DeletePrefix(prefix) => {
                if graves.is_first_pass() {
                    self.live.grave(segment, Weight::of_grave(prefix));
                }
                if !graves.takes_any_under(prefix) {
                    return;
                }
                let under: Vec<Bytes> = View { index: self, below }.under(prefix).collect();
                // What an earlier pass took in is settled: its commit may have written it after the prefix was removed.
                for key in under.iter().filter(|key| graves.takes(key)) {
                    if self.current(key, below).is_some_and(|stored| falls(&stored)) {
                        self.remove_key(key, below);
                    }
                }
                graves.bury_prefix(prefix, sequence);
            }
        }
    }

    /// Takes in copies, whole: what still is as it was when it was copied lies there from now on. On an error nothing
    /// changed.
    pub(crate) fn relocate(
        &mut self,
        frame: FramePlace,
        metadata: &[u8],
        below: &Below,
    ) -> Result<(), Malformed> {
        let segment = frame.address.segment;
        for commit in record::decode(metadata).ok_or(Malformed)? {
            for place in places_of(frame, metadata, &commit) {
                if self.current_change(place.sequence, below).is_some() {
                    self.set_change(place, below);
                }
            }
            for mutation in commit.mutations {
                match mutation {
                    Recorded::Put { key, value, locations, extent } => {
                        self.live.put(segment);
                        if self.current(key, below).is_some_and(|stored| stored.sequence == commit.sequence) {
                            let stored = Stored::of(frame, commit.sequence, value, locations, extent);
                            self.set_key(key, stored, below);
                        }
                    }
                    Recorded::Delete(key) | Recorded::DeletePrefix(key) => {
                        self.live.grave(segment, Weight::of_grave(key));
                    }
                }
            }
        }
        self.upto = self.upto.max(frame.batch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use store::{KeyRange, Mutation, Put};

    use super::*;
    use crate::frame::Address;
    use crate::record::Metadata;

    /// Numbers by a seed.
    struct Luck(u64);

    impl Luck {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }

        fn mutation(&mut self) -> Mutation {
            let folder = self.below(3);
            let key = Bytes::from(format!("{folder}/{}", self.below(5)));
            match self.below(5) {
                0 => Mutation::Delete(key),
                1 => Mutation::DeletePrefix(Bytes::from(format!("{folder}/"))),
                _ => Mutation::Put(Put { key, ..Put::default() }),
            }
        }
    }

    fn apply(plain: &mut BTreeMap<Bytes, Sequence>, sequence: Sequence, mutation: &Mutation) {
        match mutation {
            Mutation::Put(put) => {
                plain.insert(put.key.clone(), sequence);
            }
            Mutation::Delete(key) => {
                plain.remove(key);
            }
            Mutation::DeletePrefix(prefix) => plain.retain(|key, _| !key.starts_with(prefix)),
        }
    }

    #[test]
    fn frames_that_are_read_in_any_order_and_in_any_number_of_passes_leave_what_was_written_last() {
        let mut luck = Luck(20_261_122);
        for round in 0..300 {
            let (mut plain, mut frames) = (BTreeMap::new(), Vec::new());
            for sequence in (1..=30).map(Sequence) {
                let mutations: Vec<Mutation> = (0..1 + luck.below(3)).map(|_| luck.mutation()).collect();
                mutations.iter().for_each(|mutation| apply(&mut plain, sequence, mutation));
                let mut metadata = Metadata::new();
                metadata.push(sequence, &mutations, &[]);
                frames
                    .insert(luck.below(frames.len() as u64 + 1) as usize, (sequence.0, metadata.finish(&[])));
            }
            // With memory for all deletes, and for three of them.
            for bytes_max in [usize::MAX, 200] {
                let (mut index, mut graves) = (Index::default(), Graves::bounded(bytes_max));
                loop {
                    for (batch, metadata) in &frames {
                        let address = Address { segment: *batch as u32, offset: 4096 };
                        let frame = FramePlace { batch: *batch, address, meta_bytes: metadata.len() as u32 };
                        index
                            .restore(frame, metadata, Kind::Commits, &mut graves, &Below::default())
                            .unwrap();
                    }
                    if !graves.next_pass() {
                        break;
                    }
                }
                let found = index.part(&KeyRange::prefix(b""), usize::MAX).alone();
                let found: BTreeMap<Bytes, Sequence> =
                    found.into_iter().map(|(key, entry)| (key, entry.sequence)).collect();
                assert_eq!(found, plain, "round {round}, {bytes_max} bytes");
                assert_eq!(index.count(), plain.len() as u64, "round {round}, {bytes_max} bytes");
            }
        }
    }
}
