//! Judges the preconditions of a batch against what is durable and what is about to be.
//!
//! The overlay holds what the batches of the frame being built do. A refusal that rests on it is a refusal
//! only once that frame is durable.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use store::{Batch, Location, Mutation, Precondition, Sequence};

use crate::index::View;

/// What batches in flight make of the keys they touch; `None` is a key they remove.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    keys: BTreeMap<Bytes, Option<Pending>>,
}

#[derive(Clone, Debug)]
struct Pending {
    sequence: Sequence,
    locations: Vec<Location>,
}

/// What was looked up for a batch is not enough any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LookAgain;

/// What the keys a batch touches owned before it.
#[derive(Default)]
struct Removed {
    keys: BTreeSet<Bytes>,
    locations: Vec<Location>,
}

impl Overlay {
    /// The first precondition of the batch that does not hold.
    ///
    /// # Errors
    ///
    /// [`LookAgain`] when what was looked up for it does not tell.
    pub(crate) fn refusal(&self, index: View<'_>, batch: &Batch) -> Result<Option<usize>, LookAgain> {
        for (nth, condition) in batch.preconditions.iter().enumerate() {
            if !self.holds(index, condition)? {
                return Ok(Some(nth));
            }
        }
        Ok(None)
    }

    fn holds(&self, index: View<'_>, condition: &Precondition) -> Result<bool, LookAgain> {
        Ok(match condition {
            Precondition::Exists(key) => self.current(index, key).is_some(),
            Precondition::Absent(key) => self.current(index, key).is_none(),
            Precondition::Unchanged(key, sequence) => self.current(index, key) == Some(*sequence),
            Precondition::Empty(prefix) => {
                let empty = !self.has_any(index, prefix);
                if empty && index.below.more {
                    return Err(LookAgain);
                }
                empty
            }
        })
    }

    fn current(&self, index: View<'_>, key: &[u8]) -> Option<Sequence> {
        match self.keys.get(key) {
            Some(pending) => pending.as_ref().map(|pending| pending.sequence),
            None => index.get(key).map(|stored| stored.sequence),
        }
    }

    fn has_any(&self, index: View<'_>, prefix: &[u8]) -> bool {
        self.under(prefix).any(|(_, pending)| pending.is_some())
            || index.under(prefix).any(|key| !self.keys.contains_key(&key))
    }

    fn under<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = (&'a Bytes, &'a Option<Pending>)> {
        self.keys.range(Bytes::copy_from_slice(prefix)..).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Takes the mutations of an accepted batch in and answers the locations it leaves without an owner.
    pub(crate) fn accept(
        &mut self,
        index: View<'_>,
        sequence: Sequence,
        mutations: &[Mutation],
    ) -> Vec<Location> {
        let mut removed = Removed::default();
        for mutation in mutations {
            match mutation {
                Mutation::Put(put) => {
                    let pending = Pending { sequence, locations: put.locations.clone() };
                    self.replace(index, put.key.clone(), Some(pending), &mut removed);
                }
                Mutation::Delete(key) => self.replace(index, key.clone(), None, &mut removed),
                Mutation::DeletePrefix(prefix) => {
                    let mut doomed: Vec<Bytes> = self.under(prefix).map(|(key, _)| key.clone()).collect();
                    doomed.extend(index.under(prefix));
                    for key in doomed {
                        self.replace(index, key, None, &mut removed);
                    }
                }
            }
        }
        // A location that moved from one key to another within the batch still has its owner.
        let named = |location: &Location| {
            mutations.iter().any(|mutation| match mutation {
                Mutation::Put(put) => put.locations.contains(location) && self.owns(&put.key, location),
                Mutation::Delete(_) | Mutation::DeletePrefix(_) => false,
            })
        };
        let mut removed = removed.locations;
        removed.retain(|location| !named(location));
        removed.sort_unstable();
        removed.dedup();
        removed
    }

    fn owns(&self, key: &Bytes, location: &Location) -> bool {
        matches!(self.keys.get(key), Some(Some(pending)) if pending.locations.contains(location))
    }

    fn replace(&mut self, index: View<'_>, key: Bytes, pending: Option<Pending>, removed: &mut Removed) {
        if !removed.keys.insert(key.clone()) {
            // What the batch itself wrote there before was never named by anything.
            self.keys.insert(key, pending);
            return;
        }
        let before = match self.keys.get(&key) {
            Some(before) => before.as_ref().map(|before| before.locations.clone()),
            None => index.get(&key).map(|stored| stored.locations.clone()),
        };
        removed.locations.extend(before.into_iter().flatten());
        self.keys.insert(key, pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;
    use crate::index::lookup::Below;
    use store::Put;

    fn put(key: &'static str, locations: &[u8]) -> Mutation {
        Mutation::Put(Put {
            key: Bytes::from_static(key.as_bytes()),
            locations: locations.iter().map(|byte| Location(vec![*byte])).collect(),
            ..Put::default()
        })
    }

    #[test]
    fn a_location_that_moves_to_another_key_keeps_its_owner_and_a_dropped_one_is_unnamed() {
        let mut overlay = Overlay::default();
        let (index, below) = (Index::default(), Below::default());
        let view = View { index: &index, below: &below };
        overlay.accept(view, Sequence(1), &[put("part/1", &[1]), put("part/2", &[2])]);
        let complete = [put("object", &[1]), Mutation::DeletePrefix(Bytes::from_static(b"part/"))];
        assert_eq!(overlay.accept(view, Sequence(2), &complete), [Location(vec![2])]);
        let condition = |condition| Batch { preconditions: vec![condition], ..Batch::default() };
        let empty = condition(Precondition::Empty(Bytes::from_static(b"part/")));
        assert_eq!(overlay.refusal(view, &empty), Ok(None));
        let unchanged = condition(Precondition::Unchanged(Bytes::from_static(b"object"), Sequence(1)));
        assert_eq!(overlay.refusal(view, &unchanged), Ok(Some(0)));
    }
}
