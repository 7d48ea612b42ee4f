//! Free ranges of blocks: what lies side by side is one range, and the smallest that is large enough is taken first.

use std::collections::{BTreeMap, BTreeSet};

use crate::location::Extent;

/// A number of blocks of 4 KiB.
pub(crate) type Blocks = u32;

/// Blocks of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub start: Extent,
    pub blocks: Blocks,
}

/// Ranges that do not touch.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    by_place: BTreeMap<Extent, Blocks>,
    by_size: BTreeSet<(Blocks, Extent)>,
    total: u64,
}

impl Ranges {
    /// Blocks of all of them.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Adds a range that overlaps none.
    pub(super) fn insert(&mut self, Range { mut start, mut blocks }: Range) {
        let before = self.by_place.range(..start).next_back().map(|(place, blocks)| (*place, *blocks));
        if let Some((place, length)) = before
            && place.volume == start.volume
            && place.block + length == start.block
        {
            self.remove(place, length);
            (start, blocks) = (place, length + blocks);
        }
        let behind = Extent { volume: start.volume, block: start.block + blocks };
        if let Some(length) = self.by_place.get(&behind).copied() {
            self.remove(behind, length);
            blocks += length;
        }
        self.add(start, blocks);
    }

    /// Takes so many blocks.
    pub(super) fn take(&mut self, blocks: Blocks) -> Option<Extent> {
        let least = (blocks, Extent { volume: 0, block: 0 });
        let (length, start) = *self.by_size.range(least..).next()?;
        self.remove(start, length);
        if length > blocks {
            self.add(Extent { volume: start.volume, block: start.block + blocks }, length - blocks);
        }
        Some(start)
    }

    /// Takes the largest range, or the end of it that has so many blocks.
    pub(super) fn take_largest(&mut self, blocks_max: u64) -> Option<Range> {
        let (length, start) = *self.by_size.last()?;
        self.remove(start, length);
        let taken = Blocks::try_from(blocks_max).unwrap_or(Blocks::MAX).min(length);
        if length > taken {
            self.add(start, length - taken);
        }
        let start = Extent { volume: start.volume, block: start.block + length - taken };
        Some(Range { start, blocks: taken })
    }

    fn add(&mut self, start: Extent, blocks: Blocks) {
        self.by_place.insert(start, blocks);
        self.by_size.insert((blocks, start));
        self.total += u64::from(blocks);
    }

    fn remove(&mut self, start: Extent, blocks: Blocks) {
        self.by_place.remove(&start);
        self.by_size.remove(&(blocks, start));
        self.total -= u64::from(blocks);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const VOLUMES: u32 = 3;
    const BLOCKS: Blocks = 40;

    fn blocks_of(range: Range) -> impl Iterator<Item = Extent> {
        let Extent { volume, block } = range.start;
        (block..block + range.blocks).map(move |block| Extent { volume, block })
    }

    proptest! {
        #[test]
        fn every_block_is_free_or_taken_once_and_neighbours_are_one_range(
            steps in proptest::collection::vec((0..3_u8, 1..BLOCKS, any::<prop::sample::Index>()), 1..200)
        ) {
            let mut ranges = Ranges::default();
            let mut free = BTreeSet::new();
            let mut taken: Vec<Range> = (0..VOLUMES)
                .map(|volume| Range { start: Extent { volume, block: 0 }, blocks: BLOCKS })
                .collect();
            for (step, blocks, which) in steps {
                match step {
                    0 if !taken.is_empty() => {
                        let range = taken.swap_remove(which.index(taken.len()));
                        free.extend(blocks_of(range));
                        ranges.insert(range);
                    }
                    1 => {
                        let fits = ranges.by_place.values().any(|length| *length >= blocks);
                        let start = ranges.take(blocks);
                        prop_assert_eq!(start.is_some(), fits);
                        taken.extend(start.map(|start| Range { start, blocks }));
                    }
                    _ => taken.extend(ranges.take_largest(u64::from(blocks))),
                }
                let held: Vec<Extent> = taken.iter().copied().flat_map(blocks_of).collect();
                free.retain(|extent| !held.contains(extent));
                let listed: Vec<Extent> = ranges
                    .by_place
                    .iter()
                    .flat_map(|(start, blocks)| blocks_of(Range { start: *start, blocks: *blocks }))
                    .collect();
                prop_assert_eq!(&listed, &free.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(held.len() + listed.len(), (VOLUMES * BLOCKS) as usize);
                prop_assert_eq!(ranges.total(), listed.len() as u64);
                prop_assert_eq!(ranges.by_size.len(), ranges.by_place.len());
                let touching = ranges.by_place.iter().any(|(start, blocks)| {
                    let behind = Extent { volume: start.volume, block: start.block + blocks };
                    ranges.by_place.contains_key(&behind)
                });
                prop_assert!(!touching);
            }
        }
    }
}
