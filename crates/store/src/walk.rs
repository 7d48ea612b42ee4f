//! A walk over the names of one table of a bucket, in order, rolling groups into one step each.
//!
//! A walk costs what it returns: behind a group it goes on at the first name beyond it, and the pages it
//! asks the engine for grow while they are used whole and shrink while groups make most of them useless.

use bytes::Bytes;

use crate::engine::{Engine, Entry, KeyRange, PartitionId, successor};
use crate::error::Error;
use crate::schema;
use crate::store::SCAN_ENTRIES;

/// What to walk: names that begin with `prefix`, in the table whose keys are `table`, a name, a zero byte
/// and `suffix_bytes` more.
pub(crate) struct Walk<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) partition: PartitionId,
    pub(crate) table: Bytes,
    pub(crate) suffix_bytes: usize,
    pub(crate) prefix: &'a str,
    /// Names that hold this behind the prefix are rolled into groups; empty = none are.
    pub(crate) delimiter: &'a str,
}

/// Where to go on: after a name, or after one of its suffixes.
#[derive(Clone, Copy)]
pub(crate) struct After<'a> {
    pub(crate) name: &'a str,
    pub(crate) suffix: Option<&'a [u8]>,
}

/// One step of a walk.
#[derive(Debug)]
pub(crate) enum Step {
    /// An entry.
    Entry { name: String, suffix: Bytes, entry: Entry },
    /// All names that begin with this.
    Group(String),
}

/// Entries asked for first where there may be groups.
const FIRST_PAGE_ENTRIES: usize = 32;
/// Fewest entries asked for at once: the one that makes the group, and the next.
const PAGE_ENTRIES_MIN: usize = 2;

impl Walk<'_> {
    /// Up to `limit` steps, and whether there are more.
    pub(crate) async fn steps(&self, after: After<'_>, limit: usize) -> Result<(Vec<Step>, bool), Error> {
        let mut steps = Vec::new();
        // No name holds a zero byte; behind one the suffixes would be taken for names.
        if limit == 0 || self.prefix.contains('\0') {
            return Ok((steps, false));
        }
        let mut range = KeyRange::prefix(&self.key(self.prefix));
        range.start = range.start.max(self.start(after));
        let mut pace = if self.delimiter.is_empty() { SCAN_ENTRIES + 1 } else { FIRST_PAGE_ENTRIES };
        while range.end.as_ref().is_none_or(|end| range.start < *end) {
            // One beyond the limit tells whether there is more.
            let page_entries = pace.min((limit - steps.len()).saturating_add(1));
            let page = self.engine.scan(self.partition, range.clone(), page_entries).await?;
            let is_last = page.len() < page_entries;
            let mut group_ends_in_page = true;
            for (key, entry) in page {
                if key < range.start {
                    continue;
                }
                if steps.len() == limit {
                    return Ok((steps, true));
                }
                let (name, suffix) = schema::split_name(&key, self.table.len(), self.suffix_bytes)?;
                let group = self.group_of(name);
                group_ends_in_page = group.is_none();
                range.start = match group {
                    Some(group) => self.beyond(group),
                    None => schema::just_after(&key),
                };
                steps.push(match group {
                    Some(group) => Step::Group(group.to_owned()),
                    None => Step::Entry { name: name.to_owned(), suffix: key.slice_ref(suffix), entry },
                });
            }
            if is_last {
                return Ok((steps, false));
            }
            pace = if group_ends_in_page { pace * 2 } else { pace / 2 };
            pace = pace.clamp(PAGE_ENTRIES_MIN, SCAN_ENTRIES + 1);
        }
        Ok((steps, false))
    }

    /// The group a name belongs to: up to and including the first delimiter behind the prefix.
    fn group_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.delimiter.is_empty() {
            return None;
        }
        let at = name.get(self.prefix.len()..)?.find(self.delimiter)?;
        Some(&name[..self.prefix.len() + at + self.delimiter.len()])
    }

    /// First key to look at. After a group, that is the first name beyond it; a marker inside a group lets
    /// the group come again if names behind the marker are in it.
    fn start(&self, after: After<'_>) -> Bytes {
        let After { name, suffix } = after;
        if name.is_empty() {
            return self.table.clone();
        }
        if name.starts_with(self.prefix) && self.group_of(name) == Some(name) {
            return self.beyond(name);
        }
        let mut start = self.key(name);
        match suffix {
            // Keys grow behind a zero byte only by their suffix: this is the first key beyond all of them.
            None => start.push(1),
            Some(suffix) => {
                start.push(0);
                start.extend_from_slice(suffix);
                start.push(0);
            }
        }
        Bytes::from(start)
    }

    fn beyond(&self, group: &str) -> Bytes {
        successor(&self.key(group)).expect("a table's keys begin with a letter")
    }

    fn key(&self, name: &str) -> Vec<u8> {
        [&self.table[..], name.as_bytes()].concat()
    }
}
