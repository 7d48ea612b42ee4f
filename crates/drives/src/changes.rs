//! Reading changes where they lie: those that lie near each other are read at once.
//!
//! Compaction copies one segment after the other, in the order of what that gains: neighbours by their sequence may lie
//! in any order.

use std::ops::Range;
use std::sync::Arc;

use store::{Change, EngineError};

use crate::digest::crc64;
use crate::frame::{FRAME_BYTES_MAX, HEADER_BYTES};
use crate::index::ChangePlace;
use crate::lane;
use crate::member::Member;
use crate::payload::wrong_checksum;
use crate::record;
use crate::set::Set;

/// Most bytes that are read at once: as many as one frame may hold, so that no change is longer.
const RUN_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES;

/// The changes at these places, in their order. Any drive serves, the metadata is on all.
pub(crate) async fn read_changes(
    set: &Arc<Set>,
    places: &[ChangePlace],
) -> Result<Vec<Arc<Change>>, EngineError> {
    let mut changes = Vec::with_capacity(places.len());
    let mut rest = places;
    while let Some(first) = rest.first() {
        let (count, bytes) = run(rest);
        let (run, after) = rest.split_at(count);
        changes.extend(read_run(set, first.segment, bytes, run).await?.into_iter().map(Arc::new));
        rest = after;
    }
    Ok(changes)
}

/// How many of the next places are read at once, one at least, and from where to where.
fn run(places: &[ChangePlace]) -> (usize, Range<u32>) {
    let range = |place: &ChangePlace| place.offset..place.offset + place.length;
    let mut run = range(&places[0]);
    let mut count = 1;
    for place in places[1..].iter().take_while(|place| place.segment == places[0].segment) {
        let next = range(place);
        let wider = run.start.min(next.start)..run.end.max(next.end);
        if wider.len() > RUN_BYTES_MAX {
            break;
        }
        run = wider;
        count += 1;
    }
    (count, run)
}

async fn read_run(
    set: &Arc<Set>,
    segment: u32,
    bytes: Range<u32>,
    run: &[ChangePlace],
) -> Result<Vec<Change>, EngineError> {
    let online: Vec<usize> = set.online().map(|member| member.position).collect();
    let run: Arc<[ChangePlace]> = run.into();
    let read = move |member: &Member| {
        let mut buffer = vec![0; bytes.len()];
        member.segment(segment)?.file().read_at(u64::from(bytes.start), &mut buffer)?;
        let decoded: Option<Vec<Change>> =
            run.iter().map(|place| decode(&buffer, bytes.start, place)).collect();
        decoded.ok_or_else(wrong_checksum)
    };
    let (changes, failures) = lane::first(set, online, read).await;
    changes.ok_or_else(|| {
        let answered =
            failures.iter().filter(|(_, error)| error.kind() == std::io::ErrorKind::InvalidData).count();
        if answered < set.geometry.read_quorum() {
            return EngineError::ReadQuorum { answered, needed: set.geometry.read_quorum() };
        }
        EngineError::Damaged { damaged: set.geometry.drives(), parity: set.geometry.parity }
    })
}

fn decode(buffer: &[u8], base: u32, place: &ChangePlace) -> Option<Change> {
    let at = (place.offset - base) as usize;
    let bytes = buffer.get(at..at + place.length as usize)?;
    if crc64(&[bytes]) != place.crc {
        return None;
    }
    record::decode_change(bytes)
}

#[cfg(test)]
mod tests {
    use store::{Batch, BucketName, ChangeKind, Engine, PartitionId, Sequence, SystemClock};

    use super::*;
    use crate::index::lookup;
    use crate::testing::{FaultyDrive, Power};
    use crate::{LocalEngine, Tuning};

    fn change(key: String) -> Change {
        Change {
            sequence: Sequence::ZERO,
            time_ms: 0,
            kind: ChangeKind::Put,
            bucket: BucketName::new("album").unwrap(),
            key,
            version: None,
            object: None,
            origin: None,
            targets: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// Compaction took the segment of the last one before that of those in the middle.
    #[tokio::test(flavor = "multi_thread")]
    async fn changes_that_lie_in_another_order_than_their_sequences_are_read_in_that_of_these() {
        let drives = FaultyDrive::machine(4, &Power::steady());
        let given = drives.iter().map(FaultyDrive::given).collect();
        let engine = LocalEngine::open_tuned(given, None, Arc::new(SystemClock), Tuning::default()).unwrap();
        let changes = (0..5).map(|number| change(number.to_string())).collect();
        let batch = Batch { changes, ..Batch::default() };
        let committed = engine.commit(PartitionId(0), batch).await.unwrap();
        let place = |sequence| lookup::change(&engine.set, sequence).unwrap().expect("it was committed");
        let places: Vec<ChangePlace> = committed.changes.into_iter().map(place).collect();

        for order in [[0, 4, 1, 2, 3], [3, 4, 0, 2, 1], [4, 3, 2, 1, 0], [0, 1, 2, 3, 4]] {
            let places = order.map(|nth| places[nth]);
            let read = read_changes(&engine.set, &places).await.unwrap();
            let keys: Vec<String> = read.into_iter().map(|change| change.key.to_string()).collect();
            assert_eq!(keys, order.map(|nth| nth.to_string()));
        }
    }

    #[test]
    fn what_lies_too_far_apart_or_in_another_segment_is_read_by_itself() {
        let place = |segment, offset: usize| ChangePlace {
            sequence: Sequence::ZERO,
            crc: 0,
            segment,
            offset: offset.try_into().unwrap(),
            length: 100,
            has_targets: false,
        };
        let far = RUN_BYTES_MAX - 100;
        assert_eq!(run(&[place(1, 50), place(1, far + 50)]), (2, 50..150 + far as u32));
        assert_eq!(run(&[place(1, 50), place(1, far + 51)]), (1, 50..150));
        assert_eq!(run(&[place(1, far + 51), place(1, 50)]), (1, 51 + far as u32..151 + far as u32));
        assert_eq!(run(&[place(1, 50), place(1, 0), place(2, 0)]), (2, 0..150));
    }
}
