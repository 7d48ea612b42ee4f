//! What lives in each segment: how much of it a drive still needs.
//!
//! Fed by the index: a put lives until its key is replaced or removed, a change until nobody may ask for it. Bytes
//! are those of the densest packing, metadata plus a share of the payload, so that badly filled frames count as
//! garbage and are packed anew.

use std::collections::BTreeMap;

use store::{Location, Sequence};

use crate::table::Row;

/// Bytes of a commit around its mutations and changes, in the metadata.
const COMMIT_BYTES: u64 = 16;

/// Bytes of a segment's counters as an index states them.
const ROW_BYTES: usize = 60;

/// Bytes of what one record needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// On every drive.
    pub metadata: u64,
    /// Spread over the data columns.
    pub payload: u64,
}

impl Weight {
    /// Of a put.
    pub(crate) fn of_put(key: &[u8], value: &[u8], locations: &[Location], payload_bytes: u32) -> Weight {
        let locations: usize = locations.iter().map(|location| 4 + location.0.len()).sum();
        let extent = if payload_bytes == 0 { 1 } else { 18 };
        let metadata = COMMIT_BYTES + (13 + key.len() + value.len() + locations + extent) as u64;
        Weight { metadata, payload: u64::from(payload_bytes) }
    }

    /// Of a delete of a key or prefix.
    pub(crate) fn of_grave(key: &[u8]) -> Weight {
        Weight { metadata: COMMIT_BYTES + 5 + key.len() as u64, payload: 0 }
    }

    /// Of a change.
    pub(crate) fn of_change(encoded_bytes: u32) -> Weight {
        Weight { metadata: COMMIT_BYTES + 4 + u64::from(encoded_bytes), payload: 0 }
    }

    fn bytes(self, data_columns: usize) -> u64 {
        self.metadata + self.payload.div_ceil(data_columns as u64)
    }
}

/// Counters of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Of puts and changes that live.
    weight: Weight,
    /// Of deletes, which live while an older segment has a dead put.
    graves: Weight,
    /// Puts that were written.
    puts: u64,
    /// Puts and changes of them that live.
    live: u64,
    /// Puts of them that live.
    live_puts: u64,
}

/// See the module header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    segments: BTreeMap<u32, Counters>,
}

impl Live {
    fn at(&mut self, segment: u32) -> &mut Counters {
        self.segments.entry(segment).or_default()
    }

    /// As an index states it: for each segment its number and seven counters.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.segments.len() * ROW_BYTES);
        for (number, counters) in &self.segments {
            bytes.extend_from_slice(&number.to_le_bytes());
            let Counters { weight, graves, puts, live, live_puts } = counters;
            for counter in
                [weight.metadata, weight.payload, graves.metadata, graves.payload, *puts, *live, *live_puts]
            {
                bytes.extend_from_slice(&counter.to_le_bytes());
            }
        }
        bytes
    }

    /// As [`Live::encode`] wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Live> {
        let mut segments = BTreeMap::new();
        for row in bytes.chunks(ROW_BYTES) {
            let row: &[u8; ROW_BYTES] = row.try_into().ok()?;
            let number = u32::from_le_bytes(row[..4].try_into().expect("four bytes"));
            let at = |nth: usize| {
                u64::from_le_bytes(row[4 + 8 * nth..12 + 8 * nth].try_into().expect("eight bytes"))
            };
            let counters = Counters {
                weight: Weight { metadata: at(0), payload: at(1) },
                graves: Weight { metadata: at(2), payload: at(3) },
                puts: at(4),
                live: at(5),
                live_puts: at(6),
            };
            segments.insert(number, counters);
        }
        Some(Live { segments })
    }

    /// A put was read or written.
    pub(crate) fn put(&mut self, segment: u32) {
        self.at(segment).puts += 1;
    }

    /// It is the state of its key.
    pub(crate) fn begin_put(&mut self, segment: u32, weight: Weight) {
        self.at(segment).live_puts += 1;
        self.begin(segment, weight);
    }

    /// It no longer is.
    pub(crate) fn end_put(&mut self, segment: u32, weight: Weight) {
        let counters = self.at(segment);
        counters.live_puts = counters.live_puts.saturating_sub(1);
        self.end(segment, weight);
    }

    /// A change may be asked for.
    pub(crate) fn begin(&mut self, segment: u32, weight: Weight) {
        let counters = self.at(segment);
        counters.live += 1;
        counters.weight.metadata += weight.metadata;
        counters.weight.payload += weight.payload;
    }

    /// It no longer is, or lies elsewhere.
    pub(crate) fn end(&mut self, segment: u32, weight: Weight) {
        let counters = self.at(segment);
        debug_assert!(counters.live > 0, "what ends has begun");
        counters.live = counters.live.saturating_sub(1);
        counters.weight.metadata = counters.weight.metadata.saturating_sub(weight.metadata);
        counters.weight.payload = counters.weight.payload.saturating_sub(weight.payload);
    }

    /// A delete was read or written.
    pub(crate) fn grave(&mut self, segment: u32, weight: Weight) {
        self.at(segment).graves.metadata += weight.metadata;
    }

    /// The segment was retired.
    pub(crate) fn forget(&mut self, segment: u32) {
        self.segments.remove(&segment);
    }

    /// Whether nothing of the segment is named by the index.
    pub(crate) fn is_dead(&self, segment: u32) -> bool {
        self.segments.get(&segment).is_none_or(|counters| counters.live == 0)
    }

    /// Whether the segment holds puts that are no state of their key.
    pub(crate) fn has_dead_puts(&self, segment: u32) -> bool {
        self.segments.get(&segment).is_some_and(|counters| counters.puts > counters.live_puts)
    }

    /// Bytes a drive needs of the segment; deletes count if they are still needed.
    pub(crate) fn bytes_in(&self, segment: u32, data_columns: usize, graves_count: bool) -> u64 {
        let Some(counters) = self.segments.get(&segment) else {
            return 0;
        };
        let graves = if graves_count { counters.graves.bytes(data_columns) } else { 0 };
        counters.weight.bytes(data_columns) + graves
    }

    /// Bytes a drive needs of all segments, without deletes.
    pub(crate) fn bytes(&self, data_columns: usize) -> u64 {
        self.segments.values().map(|counters| counters.weight.bytes(data_columns)).sum()
    }

    /// Of the segments that hold dead puts, the two with the oldest records.
    pub(crate) fn oldest_dead(&self, rows: impl IntoIterator<Item = Row>) -> OldestDead {
        let dead = rows.into_iter().filter(|row| self.has_dead_puts(row.number));
        let mut dead: Vec<(Sequence, u32)> =
            dead.filter_map(|row| Some((row.span?.first, row.number))).collect();
        dead.sort_unstable();
        dead.truncate(2);
        OldestDead(dead)
    }
}

/// See [`Live::oldest_dead`].
pub(crate) struct OldestDead(Vec<(Sequence, u32)>);

impl OldestDead {
    /// Whether a delete of this sequence in `segment` may still hide a put: one in another segment.
    pub(crate) fn needs(&self, segment: u32, sequence: Sequence) -> bool {
        self.0.iter().any(|(first, number)| *number != segment && *first < sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Stream;
    use crate::table::Span;

    fn row(number: u32, first: u64, last: u64) -> Row {
        let span = Some(Span { first: Sequence(first), last: Sequence(last) });
        Row { number, stream: Stream::Hot, end: 8192, first_batch: 1, last_batch: 1, span }
    }

    #[test]
    fn what_ends_leaves_nothing_behind() {
        let mut live = Live::default();
        let weight = Weight::of_put(b"key", b"value", &[], 1000);
        live.put(3);
        live.begin_put(3, weight);
        assert_eq!((live.is_dead(3), live.has_dead_puts(3)), (false, false));
        assert_eq!(live.bytes_in(3, 2, true), 16 + 13 + 8 + 18 + 500);
        live.end_put(3, weight);
        assert_eq!((live.is_dead(3), live.has_dead_puts(3), live.bytes(2)), (true, true, 0));
    }

    #[test]
    fn deletes_are_needed_while_a_segment_with_an_older_dead_put_is_there_and_no_longer() {
        let mut live = Live::default();
        live.put(1);
        live.grave(2, Weight::of_grave(b"key"));
        let rows = [row(1, 5, 9), row(2, 7, 20), row(3, 21, 30)];
        assert!(live.oldest_dead(rows).needs(2, Sequence(20)));
        assert!(!live.oldest_dead(rows).needs(2, Sequence(5)));
        live.forget(1);
        live.put(3);
        live.put(2);
        assert!(!live.oldest_dead(rows).needs(2, Sequence(20)));
    }
}
