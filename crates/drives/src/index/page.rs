//! Pages: what memory and the rows below it are together, at one moment.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use store::{Entry, KeyRange};

use super::memtable::Memtable;
use super::ordered::Snapshot;
use super::rows::{KEYS, decode_stored, end_in_table, in_table};
use super::{Index, Stored};

/// What memory says of a range, up to as many keys as a page has.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// In order; `None` hides the key below.
    entries: VecDeque<(Bytes, Option<Arc<Stored>>)>,
    /// Removed prefixes, by layer, in order.
    graves: [Vec<Bytes>; 2],
}

impl Index {
    /// What memory says of a range: `limit` keys that are there, and what lies between them.
    pub(crate) fn part(&self, range: &KeyRange, limit: usize) -> Part {
        let nothing = Memtable::default();
        let frozen = self.frozen.as_ref().map_or(&nothing, |frozen| &frozen.memtable);
        let mut newer = self.active.range(range).peekable();
        let mut older = frozen.range(range).filter(|(key, _)| !self.active.is_grave(key)).peekable();
        let mut part =
            Part { graves: [self.active.graves_in(range), frozen.graves_in(range)], ..Part::default() };
        let mut there = 0;
        while there < limit {
            let next = match (newer.peek(), older.peek()) {
                (None, None) => break,
                (Some((new, _)), Some((old, _))) if new == old => {
                    older.next();
                    newer.next()
                }
                (Some((new, _)), Some((old, _))) if old < new => older.next(),
                (None, Some(_)) => older.next(),
                (Some(_), _) => newer.next(),
            };
            let Some((key, stored)) = next else { break };
            there += usize::from(stored.is_some());
            part.entries.push_back((key.clone(), stored.clone()));
        }
        part
    }
}

impl Part {
    /// The page of a range when nothing lies below.
    pub(crate) fn alone(self) -> Vec<(Bytes, Entry)> {
        let there = self.entries.into_iter().filter_map(|(key, stored)| Some((key, stored?.entry())));
        there.collect()
    }

    /// The page of a range: up to `limit` entries of memory and of what lies below. Blocks.
    pub(crate) fn over(
        mut self,
        below: &dyn Snapshot,
        range: &KeyRange,
        limit: usize,
    ) -> io::Result<Vec<(Bytes, Entry)>> {
        let mut page = Vec::new();
        let (start, end) = (in_table(KEYS, &range.start), end_in_table(KEYS, range.end.as_deref()));
        for row in below.range(&start, &end) {
            let (row, value) = row?;
            let key = row.slice(1..);
            while page.len() < limit
                && let Some((memory, stored)) = self.entries.pop_front_if(|(memory, _)| *memory < key)
            {
                page.extend(stored.map(|stored| (memory, stored.entry())));
            }
            if page.len() >= limit {
                return Ok(page);
            }
            match self.entries.pop_front_if(|(memory, _)| *memory == key) {
                Some((key, stored)) => page.extend(stored.map(|stored| (key, stored.entry()))),
                None if self.is_grave(&key) => {}
                None => {
                    let stored = decode_stored(&value).ok_or(io::ErrorKind::InvalidData)?;
                    page.push((key, stored.entry()));
                }
            }
        }
        let rest = self.entries.into_iter().filter_map(|(key, stored)| Some((key, stored?.entry())));
        page.extend(rest.take(limit - page.len()));
        Ok(page)
    }

    fn is_grave(&self, key: &[u8]) -> bool {
        self.graves.iter().any(|graves| {
            let before = graves.partition_point(|grave| &grave[..] <= key);
            before.checked_sub(1).is_some_and(|last| key.starts_with(&graves[last]))
        })
    }
}
