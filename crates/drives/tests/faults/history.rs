//! Histories: deeds that are numbered, the events that tell of them, and what they must leave behind.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use store::{Batch, Engine, EngineError, KeyRange, Mutation, Precondition, Put};
use tidings_drives::LocalEngine;

use crate::support::{SET, body, change, read, stage, told};

/// What a step of a history does; its number is in the event that tells of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// A small body, in the journal.
    Put(&'static str, usize),
    /// A body in shards.
    Stage(&'static str, usize),
    /// As `Put`, refused where the key is there.
    PutNew(&'static str, usize),
    Delete(&'static str),
    DeleteAll(&'static str),
    /// Two keys at once: both or none.
    PutBoth(&'static str, &'static str, usize),
}
use Deed::{Delete, DeleteAll, PutBoth, PutNew, Stage};

/// Keys and their bytes.
pub(crate) type Plain = BTreeMap<&'static str, Bytes>;

/// Deeds by their number.
pub(crate) type Deeds = BTreeMap<usize, Numbered>;

/// A deed with its number, which is that of its event, and the bytes it writes.
#[derive(Clone)]
pub(crate) struct Numbered {
    pub number: usize,
    pub deed: Deed,
    bytes: Bytes,
}

impl Numbered {
    pub(crate) fn of(number: usize, deed: Deed) -> Numbered {
        let size = match deed {
            Deed::Put(_, size) | PutNew(_, size) | Stage(_, size) | PutBoth(_, _, size) => size,
            Delete(_) | DeleteAll(_) => 0,
        };
        Numbered { number, deed, bytes: body(size, number) }
    }

    async fn batch(&self, engine: &LocalEngine) -> Result<Batch, EngineError> {
        let key = |key: &'static str| Bytes::from_static(key.as_bytes());
        let plain = |name: &'static str| {
            Mutation::Put(Put { key: key(name), payload: self.bytes.clone(), ..Put::default() })
        };
        let mut preconditions = Vec::new();
        let mutations = match self.deed {
            Deed::Put(name, _) => vec![plain(name)],
            Deed::PutNew(name, _) => {
                preconditions.push(Precondition::Absent(key(name)));
                vec![plain(name)]
            }
            Deed::PutBoth(one, other, _) => vec![plain(one), plain(other)],
            Deed::Stage(name, _) => {
                let location = stage(engine, &self.bytes).await?;
                vec![Mutation::Put(Put { key: key(name), locations: vec![location], ..Put::default() })]
            }
            Deed::Delete(name) => vec![Mutation::Delete(key(name))],
            Deed::DeleteAll(prefix) => vec![Mutation::DeletePrefix(key(prefix))],
        };
        let changes = vec![change(&self.number.to_string())];
        Ok(Batch { preconditions, mutations, changes, ..Batch::default() })
    }

    /// Does it; `note` is told its number as soon as it is acknowledged or refused.
    pub(crate) async fn run(&self, engine: &LocalEngine, note: impl FnOnce(u64)) -> Result<(), EngineError> {
        let batch = self.batch(engine).await?;
        match engine.commit(SET, batch).await {
            Ok(committed) => {
                note(self.number as u64);
                for location in committed.unnamed {
                    engine.reclaim(location).await?;
                }
            }
            Err(EngineError::Precondition { .. }) => note(REFUSED | self.number as u64),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn apply(&self, plain: &mut Plain) {
        match self.deed {
            Deed::Put(key, _) | Deed::PutNew(key, _) | Deed::Stage(key, _) => {
                plain.insert(key, self.bytes.clone());
            }
            Deed::PutBoth(one, other, _) => {
                plain.insert(one, self.bytes.clone());
                plain.insert(other, self.bytes.clone());
            }
            Deed::Delete(key) => {
                plain.remove(key);
            }
            Deed::DeleteAll(prefix) => plain.retain(|key, _| !key.starts_with(prefix)),
        }
    }
}

/// Marks in a note that the deed was refused, not acknowledged.
const REFUSED: u64 = 1 << 32;

/// Holds a set against what it tells: whatever was noted is told or, refused, is not; nothing is told twice; and the
/// keys under a prefix, as they are listed and with the bytes they have, are what the told deeds make of them.
pub(crate) async fn judge(
    engine: &LocalEngine,
    deeds: &Deeds,
    notes: &[u64],
    prefix: &'static str,
) -> Result<(), String> {
    let told: Vec<usize> = told(engine).await.iter().map(|number| number.parse().unwrap()).collect();
    let unique: BTreeSet<usize> = told.iter().copied().collect();
    if unique.len() != told.len() {
        return Err(format!("an event twice: {told:?}"));
    }
    for note in notes {
        let number = usize::try_from(note & !REFUSED).unwrap();
        let was_refused = note & REFUSED != 0;
        if unique.contains(&number) == was_refused {
            let wrong =
                if was_refused { "was refused and is told" } else { "was acknowledged and is not told" };
            return Err(format!("{:?} ({number}) {wrong}; told {told:?}", deeds[&number].deed));
        }
    }
    let mut plain = Plain::new();
    told.iter().for_each(|number| deeds[number].apply(&mut plain));
    plain.retain(|key, _| key.starts_with(prefix));
    let listed = engine
        .scan(SET, KeyRange::prefix(prefix.as_bytes()), 1000)
        .await
        .map_err(|error| error.to_string())?;
    let names: Vec<String> = listed.iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect();
    if !names.iter().map(String::as_str).eq(plain.keys().copied()) {
        return Err(format!("told {told:?}, which makes {:?}, and lists {names:?}", plain.keys()));
    }
    for (key, expected) in &plain {
        let entry = engine.get(SET, key.as_bytes()).await.map_err(|error| format!("{key}: {error}"))?;
        let entry = entry.ok_or_else(|| format!("{key} is listed and not there"))?;
        let bytes = match entry.locations.first() {
            Some(location) => read(engine, location, expected.len() as u64)
                .await
                .map_err(|error| format!("{key}: {error}"))?,
            None => entry.payload,
        };
        if bytes != expected {
            return Err(format!("{key} has other bytes than its last event says; told {told:?}"));
        }
    }
    Ok(())
}
