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
