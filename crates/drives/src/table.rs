//! The table of segments: which of them hold the journal, and what each may hold.
//!
//! It follows the chain, and stands in the manifest: a start that has no index reads the segments of the table,
//! and a segment that is not in it is nobody's.

use std::collections::BTreeMap;

use store::Sequence;

use crate::chain::{Chain, Stream};
use crate::frame::Shared;

/// First and last of some sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub first: Sequence,
    pub last: Sequence,
}

impl Span {
    /// The span of these sequences; `None` when there are none.
    pub(crate) fn of(sequences: impl IntoIterator<Item = Sequence>) -> Option<Span> {
        sequences.into_iter().fold(None, |span, sequence| {
            let one = Span { first: sequence, last: sequence };
            Some(span.map_or(one, |span: Span| span.joined(one)))
        })
    }

    fn joined(self, other: Span) -> Span {
        Span { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// A segment of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub number: u32,
    pub stream: Stream,
    /// Where its last frame ends.
    pub end: u32,
    pub first_batch: u64,
    pub last_batch: u64,
    /// The sequences of its commits and copies; `None` when it has none.
    pub span: Option<Span>,
}

/// The segments that are in use and written no more, for compaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closed {
    /// By number.
    pub rows: Vec<Row>,
    /// The segment that copies are written to.
    pub cold_head: Option<u32>,
    /// The segment that commits are written to.
    pub hot_head: Option<u32>,
}

impl Closed {
    /// As it stands at the end of a chain.
    pub(crate) fn of(chain: &Chain) -> Closed {
        let heads = chain.heads;
        let rows = chain.table.rows().filter(|row| !heads.has(row.number)).copied().collect();
        let head = |stream| heads.of(stream).map(|head| head.segment);
        Closed { rows, cold_head: head(Stream::Cold), hot_head: head(Stream::Hot) }
    }

    /// The segment that was begun last; 0 for none.
    pub(crate) fn newest(&self) -> u32 {
        let last = self.rows.last().map(|row| row.number);
        [last, self.cold_head, self.hot_head].into_iter().flatten().max().unwrap_or(0)
    }

    /// Whether a segment holds something of the journal: not once it is being retired.
    pub(crate) fn is_in_use(&self, number: u32) -> bool {
        self.cold_head == Some(number)
            || self.hot_head == Some(number)
            || self.rows.binary_search_by_key(&number, |row| row.number).is_ok()
    }

    /// The segments that may hold records older than one of a closed segment: these, and that of the copies, which
    /// come in no order.
    pub(crate) fn with_cold_head(&self) -> impl Iterator<Item = Row> {
        let anything = Span { first: Sequence::ZERO, last: Sequence(u64::MAX) };
        let head = self.cold_head.map(|number| Row {
            number,
            stream: Stream::Cold,
            end: 0,
            first_batch: 0,
            last_batch: 0,
            span: Some(anything),
        });
        self.rows.iter().copied().chain(head)
    }
}

/// See the module header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentTable {
    rows: BTreeMap<u32, Row>,
}

impl SegmentTable {
    /// The table of these rows.
    pub(crate) fn of(rows: impl IntoIterator<Item = Row>) -> SegmentTable {
        SegmentTable { rows: rows.into_iter().map(|row| (row.number, row)).collect() }
    }

    /// By number, ascending.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Row> {
        self.rows.get(&number)
    }

    /// The first segment from a number on.
    pub(crate) fn from(&self, number: u32) -> Option<&Row> {
        self.rows.range(number..).next().map(|(_, row)| row)
    }

    pub(crate) fn remove(&mut self, number: u32) {
        self.rows.remove(&number);
    }

    /// Takes a batch in.
    pub(crate) fn pass(&mut self, shared: &Shared, span: Option<Span>) {
        let end = shared.address.offset + shared.slot_bytes;
        let row = self.rows.entry(shared.address.segment).or_insert(Row {
            number: shared.address.segment,
            stream: shared.stream,
            end,
            first_batch: shared.batch,
            last_batch: shared.batch,
            span: None,
        });
        row.end = end;
        row.last_batch = shared.batch;
        row.span = match (row.span, span) {
            (Some(one), Some(other)) => Some(one.joined(other)),
            (one, other) => one.or(other),
        };
    }
}
