//! Questions to the rows below memory: of one copy, and of the other as well when the first is silent.
//!
//! A copy that cannot be read is out, and so is one that stays silent for [`SILENT_MAX`] after another that was asked
//! later has answered, or is silent for [`ANSWER_MAX`]: where a machine stalls, all are silent, none of them is broken,
//! and they go on in any order. Questions are asked where blocking is allowed, by way of [`super::desk`].

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_all;
use store::{Batch, EngineError, Entry, KeyRange, Mutation, Precondition, Sequence};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::copies::{Asked, Lower};
pub(crate) use super::desk::Effort;
use super::memtable::Found;
use super::ordered::Snapshot;
use super::rows::{CHANGES, KEYS, change_key, decode_change, decode_stored, end_in_table, in_table};
use super::{ChangePlace, ChangesPart, Index, Stored};
use crate::record::{self, Recorded};
use crate::set::Set;

/// How long a copy may be silent before another is asked as well, and again when that one has answered.
const SILENT_MAX: Duration = Duration::from_secs(2);

/// Longest a question waits for its answer. A copy that was silent for so long is out.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Keys below an empty prefix that are looked for: those found may be removed until the batch is judged.
const WITNESSES_MAX: usize = 16;

/// What memory makes of a question.
pub(crate) enum Prepared<P, T> {
    /// It has the answer.
    Done(T),
    /// What lies below has to be asked.
    Below(P),
}

/// Asks memory, and then what lies below.
///
/// # Errors
///
/// Those of `prepare`; [`EngineError::ReadQuorum`] while no copy can be read.
pub(crate) async fn ask<P: Send + 'static, T: Send + 'static>(
    set: &Arc<Set>,
    effort: Effort,
    prepare: impl Fn(&Index) -> Result<Prepared<P, T>, EngineError>,
    finish: impl Fn(P, &dyn Snapshot) -> io::Result<T> + Copy + Send + 'static,
) -> Result<T, EngineError> {
    let mut silent = Silent(Vec::new());
    let mut deadline = Instant::now() + ANSWER_MAX;
    loop {
        let (prepared, lower) = {
            let index = set.index.read();
            if index.is_unreadable() {
                return Err(EngineError::ReadQuorum { answered: 0, needed: 1 });
            }
            match prepare(&index)? {
                Prepared::Done(answer) => return Ok(answer),
                // Under the same lock: what memory says and what lies below are of one moment.
                Prepared::Below(prepared) => (prepared, index.lower_but(&silent.copies())),
            }
        };
        let mut patience = deadline;
        if let Some(lower) = lower {
            silent.ask(lower, effort, prepared, finish).await;
            patience = Instant::now() + SILENT_MAX;
            deadline = deadline.max(patience);
        }
        match timeout_at(patience, silent.answer()).await {
            Ok(Some(answer)) => return answer,
            Ok(None) => {}
            Err(_) if patience < deadline => {}
            Err(_) => return Err(silent.give_up()),
        }
    }
}

/// Copies that were asked and have not answered yet, in the order in which they were asked.
struct Silent<T>(Vec<(Asked, oneshot::Receiver<io::Result<T>>)>);

impl<T: Send + 'static> Silent<T> {
    fn copies(&self) -> Vec<&Asked> {
        self.0.iter().map(|(copy, _)| copy).collect()
    }

    async fn ask<P: Send + 'static>(
        &mut self,
        copy: Lower,
        effort: Effort,
        prepared: P,
        finish: impl Fn(P, &dyn Snapshot) -> io::Result<T> + Send + 'static,
    ) {
        let (answer, answered) = oneshot::channel();
        let Lower { snapshot, asked } = copy;
        let question = move || {
            let found = finish(prepared, &*snapshot);
            drop(snapshot);
            // Nobody waits any more when it took too long.
            let _ = answer.send(found);
        };
        asked.desk().leave(effort, question).await;
        self.0.push((asked, answered));
    }

    /// Waits for one that answers; `None` when it could not, and is out.
    async fn answer(&mut self) -> Option<Result<T, EngineError>> {
        if self.0.is_empty() {
            return Some(Err(EngineError::ReadQuorum { answered: 0, needed: 1 }));
        }
        let (answer, at, _) = select_all(self.0.iter_mut().map(|(_, answered)| answered)).await;
        match answer {
            Ok(Ok(answer)) => {
                if at > 0 {
                    self.0.truncate(at);
                    tokio::spawn(Silent(std::mem::take(&mut self.0)).judge());
                }
                Some(Ok(answer))
            }
            Ok(Err(error)) => {
                let (copy, _) = self.0.remove(at);
                copy.take_out(&cannot_be_read(&error));
                None
            }
            Err(_) => Some(Err(EngineError::Closed)),
        }
    }

    /// Takes out those that stay silent now that one which was asked later has answered.
    async fn judge(self) {
        let patience = Instant::now() + SILENT_MAX;
        for (copy, answered) in self.0 {
            match timeout_at(patience, answered).await {
                Ok(Ok(Err(error))) => copy.take_out(&cannot_be_read(&error)),
                // What the engine dropped when it was closed says nothing of its copy.
                Ok(Ok(Ok(_)) | Err(_)) => {}
                Err(_) => copy.take_out("another one answers sooner, though it was asked later"),
            }
        }
    }

    /// Takes out all of them; answers that.
    fn give_up(self) -> EngineError {
        for (copy, _) in self.0 {
            copy.take_out("it takes too long for an answer");
        }
        EngineError::ReadQuorum { answered: 0, needed: 1 }
    }
}

fn cannot_be_read(error: &io::Error) -> String {
    format!("it cannot be read: {error}")
}

/// The value of a key below memory; blocks.
pub(crate) fn value_of(below: &dyn Snapshot, key: &[u8]) -> io::Result<Option<Arc<Stored>>> {
    let row = below.get(&in_table(KEYS, key))?;
    row.map(|value| decode_stored(&value).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)))
        .transpose()
}

/// Places of up to `limit` changes after a sequence: those below, and those of memory that follow them; blocks.
pub(crate) fn changes_after(
    below: &dyn Snapshot,
    after: Sequence,
    limit: usize,
    mut memory: ChangesPart,
) -> io::Result<Vec<ChangePlace>> {
    let mut places = Vec::new();
    for row in below.range(&change_key(Sequence(after.0.saturating_add(1))), &[CHANGES + 1]) {
        let (key, value) = row?;
        let place = decode_change(&key, &value).ok_or(io::ErrorKind::InvalidData)?;
        while let Some((_, newer)) = memory.pop_front_if(|(sequence, _)| *sequence < place.sequence) {
            places.extend(newer);
        }
        if places.len() >= limit {
            break;
        }
        match memory.pop_front_if(|(sequence, _)| *sequence == place.sequence) {
            Some((_, newer)) => places.extend(newer),
            None => places.push(place),
        }
    }
    places.extend(memory.into_iter().filter_map(|(_, place)| place));
    places.truncate(limit);
    Ok(places)
}

/// Asks as [`ask`] does, where blocking is allowed and nothing else waits for the answer.
fn ask_blocking<P, T>(
    set: &Set,
    prepare: impl Fn(&Index) -> Prepared<P, T>,
    finish: impl Fn(P, &dyn Snapshot) -> io::Result<T>,
) -> Result<T, EngineError> {
    loop {
        let (prepared, lower) = {
            let index = set.index.read();
            match prepare(&index) {
                Prepared::Done(answer) => return Ok(answer),
                Prepared::Below(prepared) => (prepared, index.lower()),
            }
        };
        let lower = lower.ok_or(EngineError::ReadQuorum { answered: 0, needed: 1 })?;
        match finish(prepared, &*lower.snapshot) {
            Ok(answer) => return Ok(answer),
            Err(error) => lower.asked.take_out(&cannot_be_read(&error)),
        }
    }
}

/// The current value of a key; blocks.
pub(crate) fn get(set: &Set, key: &[u8]) -> Result<Option<Arc<Stored>>, EngineError> {
    let prepare = |index: &Index| match index.get(key) {
        Found::Stored(stored) => Prepared::Done(Some(stored)),
        Found::Removed => Prepared::Done(None),
        Found::Below => Prepared::Below(()),
    };
    ask_blocking(set, prepare, |(), below| value_of(below, key))
}

/// Up to `limit` entries of a range, without payloads; blocks.
pub(crate) fn scan(set: &Set, range: &KeyRange, limit: usize) -> Result<Vec<(Bytes, Entry)>, EngineError> {
    let prepare = |index: &Index| {
        let part = index.part(range, limit);
        if index.is_bottom() { Prepared::Done(part.alone()) } else { Prepared::Below(part) }
    };
    ask_blocking(set, prepare, |part, below| part.over(below, range, limit))
}

/// Where a change lies; `None` when it is gone; blocks.
pub(crate) fn change(set: &Set, sequence: Sequence) -> Result<Option<ChangePlace>, EngineError> {
    let prepare = |index: &Index| match index.change(sequence) {
        Some(place) => Prepared::Done(place),
        None if index.has_changes_below(Sequence(sequence.0.saturating_sub(1))) => Prepared::Below(()),
        None => Prepared::Done(None),
    };
    ask_blocking(set, prepare, |(), below| {
        let key = change_key(sequence);
        let row = below.get(&key)?;
        row.map(|value| decode_change(&key, &value).ok_or_else(|| io::ErrorKind::InvalidData.into()))
            .transpose()
    })
}

/// Places of up to `limit` changes after a sequence; blocks.
pub(crate) fn places_after(
    set: &Set,
    after: Sequence,
    limit: usize,
) -> Result<Vec<ChangePlace>, EngineError> {
    let prepare = |index: &Index| {
        let part = index.changes_part(after, limit);
        if index.has_changes_below(after) {
            Prepared::Below(part)
        } else {
            Prepared::Done(part.into_iter().filter_map(|(_, place)| place).collect())
        }
    };
    ask_blocking(set, prepare, |part, below| changes_after(below, after, limit, part))
}

/// What lies below the keys and changes of a frame's metadata; blocks.
pub(crate) fn below(set: &Set, metadata: &[u8]) -> Result<Below, EngineError> {
    let prepare = |index: &Index| Wanted::of_record(index, metadata);
    ask_blocking(set, prepare, |wanted, below| wanted.look_up(set, below))
}

/// What lies below the keys that a batch touches, as of a generation of the memtables.
#[derive(Debug, Default)]
pub(crate) struct Below {
    pub generation: u64,
    pub keys: BTreeMap<Bytes, Arc<Stored>>,
    pub changes: BTreeMap<Sequence, ChangePlace>,
    /// Whether keys of a prefix that has to be empty were left out.
    pub more: bool,
}

impl Below {
    /// Takes in what was looked up for another batch of the same generation.
    pub(crate) fn absorb(&mut self, other: Below) {
        self.generation = other.generation;
        self.keys.extend(other.keys);
        self.changes.extend(other.changes);
    }
}

/// What lies below keys and changes that are to be copied; blocks.
pub(crate) fn below_copies(set: &Set, keys: &[Bytes], changes: &[Sequence]) -> Result<Below, EngineError> {
    let prepare = |index: &Index| {
        let generation = index.generation();
        if index.is_bottom() {
            return Prepared::Done(Below { generation, ..Below::default() });
        }
        let keys = keys.iter().filter(|key| matches!(index.get(key), Found::Below)).cloned().collect();
        let changes = changes.iter().filter(|sequence| !index.has_change(**sequence)).copied().collect();
        Prepared::Below(Wanted { generation, keys, changes, ..Wanted::default() })
    };
    ask_blocking(set, prepare, |wanted, below| wanted.look_up(set, below))
}

/// What a batch has to know of what lies below.
#[derive(Default)]
pub(crate) struct Wanted {
    generation: u64,
    keys: Vec<Bytes>,
    changes: Vec<Sequence>,
    /// Prefixes of which one key that is there is enough.
    empty: Vec<Bytes>,
    /// Prefixes of which all keys are wanted.
    whole: Vec<Bytes>,
}

impl Wanted {
    /// What memory does not know of the keys of a batch.
    pub(crate) fn of(index: &Index, batch: &Batch) -> Prepared<Wanted, Below> {
        let mut wanted = Wanted { generation: index.generation(), ..Wanted::default() };
        if index.is_bottom() {
            return Prepared::Done(Below { generation: wanted.generation, ..Below::default() });
        }
        let mut key = |key: &Bytes| {
            if matches!(index.get(key), Found::Below) {
                wanted.keys.push(key.clone());
            }
        };
        for condition in &batch.preconditions {
            match condition {
                Precondition::Exists(name) | Precondition::Absent(name) => key(name),
                Precondition::Unchanged(name, _) => key(name),
                Precondition::Empty(prefix) => wanted.empty.push(prefix.clone()),
            }
        }
        for mutation in &batch.mutations {
            match mutation {
                Mutation::Put(put) => key(&put.key),
                Mutation::Delete(name) => key(name),
                Mutation::DeletePrefix(prefix) => wanted.whole.push(prefix.clone()),
            }
        }
        if wanted.keys.is_empty() && wanted.empty.is_empty() && wanted.whole.is_empty() {
            return Prepared::Done(Below { generation: wanted.generation, ..Below::default() });
        }
        Prepared::Below(wanted)
    }

    /// What memory does not know of the keys and changes that a frame names.
    fn of_record(index: &Index, metadata: &[u8]) -> Prepared<Wanted, Below> {
        let mut wanted = Wanted { generation: index.generation(), ..Wanted::default() };
        if index.is_bottom() {
            return Prepared::Done(Below { generation: wanted.generation, ..Below::default() });
        }
        // What is malformed is found by who applies it.
        for commit in record::decode(metadata).unwrap_or_default() {
            let count = commit.changes.len() as u64;
            let first = commit.sequence.0.saturating_sub(count) + 1;
            wanted.changes.extend((first..first + count).map(Sequence));
            for mutation in commit.mutations {
                match mutation {
                    Recorded::Put { key, .. } | Recorded::Delete(key) => {
                        if matches!(index.get(key), Found::Below) {
                            wanted.keys.push(Bytes::copy_from_slice(key));
                        }
                    }
                    Recorded::DeletePrefix(prefix) => wanted.whole.push(Bytes::copy_from_slice(prefix)),
                }
            }
        }
        let below = |sequence: &Sequence| index.has_changes_below(Sequence(sequence.0.saturating_sub(1)));
        wanted.changes.retain(|sequence| !index.has_change(*sequence) && below(sequence));
        Prepared::Below(wanted)
    }

    /// Looks it up; blocks.
    pub(crate) fn look_up(self, set: &Set, below: &dyn Snapshot) -> io::Result<Below> {
        let mut found = Below { generation: self.generation, ..Below::default() };
        for key in self.keys {
            if let Some(stored) = value_of(below, &key)? {
                found.keys.insert(key, stored);
            }
        }
        for sequence in self.changes {
            let key = change_key(sequence);
            if let Some(value) = below.get(&key)? {
                let place = decode_change(&key, &value).ok_or(io::ErrorKind::InvalidData)?;
                found.changes.insert(sequence, place);
            }
        }
        for prefix in self.whole {
            for row in under(below, &prefix) {
                let (key, stored) = row?;
                found.keys.insert(key, stored);
            }
        }
        for prefix in self.empty {
            let mut witnesses = 0;
            for row in under(below, &prefix) {
                let (key, stored) = row?;
                // Hidden keys stay hidden, or become keys of memory, as long as the generation stays.
                if matches!(set.index.read().get(&key), Found::Below) {
                    if witnesses == WITNESSES_MAX {
                        found.more = true;
                        break;
                    }
                    witnesses += 1;
                    found.keys.insert(key, stored);
                }
            }
        }
        Ok(found)
    }
}

fn under<'a>(
    below: &'a dyn Snapshot,
    prefix: &[u8],
) -> impl Iterator<Item = io::Result<(Bytes, Arc<Stored>)>> + 'a {
    let range = KeyRange::prefix(prefix);
    let rows = below.range(&in_table(KEYS, &range.start), &end_in_table(KEYS, range.end.as_deref()));
    rows.map(|row| {
        let (key, value) = row?;
        Ok((key.slice(1..), decode_stored(&value).ok_or(io::ErrorKind::InvalidData)?))
    })
}
