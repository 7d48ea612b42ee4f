//! Replay: reads the journal and builds the index.
//!
//! What a copy of the index on a drive has is not read again. From the manifest, where there is one: first the
//! segments of its table, in any order, where the last writer wins; then the chain from its anchor. Without one the
//! chain is read from its first frame. Epochs are found by walking back from the identity: the first frame of each
//! names the one before. They are then read forward. A frame of the chain is applied once it is proven durable: by a
//! decision that kept it, or by a later frame that says so. The last frame may be of undecided fate;
//! [`crate::recovery`] decides it.

use std::cmp::Reverse;
use std::time::Duration;

use crate::chain::{Chain, Heads};
use crate::error::OpenError;
use crate::fields::Fields;
use crate::format::{EpochLog, Identity};
use crate::frame::{Kind, Shared};
use crate::index::{self, FramePlace, Graves, Opened, Statement, checkpoint, lookup};
use crate::manifest::Manifest;
use crate::member::Member;
use crate::reader::FrameReader;
use crate::record;
use crate::segment::first_address;
use crate::set::Set;

/// Longest a start waits for the drives to open the copies of the index they have.
const INDEXES_MAX: Duration = Duration::from_secs(10);

/// Reads the journal into the set's index, as far as the copies on the drives lack it, and answers where its proven
/// part ends.
pub(crate) fn replay(
    set: &Set,
    identity: &Identity,
    manifest: Option<&Manifest>,
) -> Result<Chain, OpenError> {
    let logs = epochs(set, identity, manifest.map(|manifest| manifest.log))?;
    let keepers = set.online().filter(|member| member.keeps_indexes());
    let keepers = keepers.filter_map(|member| Some((member.position, member.drive().ok()?)));
    let opened = index::open(keepers.collect(), INDEXES_MAX);
    let good = sound(set, &logs, manifest, opened);
    set.index.write().take_over(set, good);
    match read_on(set, &logs, manifest) {
        // A copy that opened may still turn out to be damaged.
        Err(_) if set.index.read().is_unreadable() => {
            let chain = restore_index(set, identity, manifest)?;
            checkpoint::rebuilt(set);
            Ok(chain)
        }
        read => read,
    }
}

/// Reads the whole journal into an empty index, which is not asked before [`checkpoint::rebuilt`]: it lacks the last
/// batch as long as that is not decided.
pub(crate) fn restore_index(
    set: &Set,
    identity: &Identity,
    manifest: Option<&Manifest>,
) -> Result<Chain, OpenError> {
    let logs = epochs(set, identity, manifest.map(|manifest| manifest.log))?;
    checkpoint::begin_rebuild(set);
    read_on(set, &logs, manifest)
}

/// Of the copies that drives have, those that follow this journal and were written last, at most two. A crash may leave
/// one a flush behind the other: then it is made anew, since what a memtable has to hide is another thing for each.
fn sound(set: &Set, logs: &[EpochLog], manifest: Option<&Manifest>, opened: Vec<Opened>) -> Vec<Opened> {
    let (mut good, foreign): (Vec<Opened>, Vec<Opened>) =
        opened.into_iter().partition(|opened| is_on_chain(set, logs, manifest, &opened.statement));
    for opened in foreign {
        let drive = &set.members[opened.position].path;
        tracing::warn!(drive, "An index that does not follow the journal of this set is not used.");
    }
    good.sort_by_key(|opened| Reverse(opened.statement.upto.batch));
    let last = good.first().map(|opened| opened.statement.clone());
    good.retain(|opened| Some(&opened.statement) == last.as_ref());
    good.truncate(2);
    good
}

/// Whether the journal has the batch up to which an index says that it follows, where it says: in a segment of the
/// table, or in an epoch of the chain behind the anchor; and all that comes behind it. Of a segment that is gone a
/// delete may be what hides a put that the index has.
fn is_on_chain(set: &Set, logs: &[EpochLog], manifest: Option<&Manifest>, statement: &Statement) -> bool {
    let upto = statement.upto;
    let is_it = |shared: &Shared| shared.batch == upto.batch && shared.hash() == upto.hash;
    let in_table = manifest.filter(|manifest| upto.batch < manifest.next_batch).map(|manifest| {
        let row = manifest.table.rows().find(|row| row.number == upto.address.segment);
        let row = row.filter(|row| upto.address.offset < row.end);
        row.and_then(|row| FrameReader::new(set).known(row, upto.address))
            .is_some_and(|(shared, _)| is_it(&shared))
    });
    let in_chain = || {
        logs.iter().enumerate().any(|(nth, log)| {
            let kept = logs.get(nth + 1).is_none_or(|next| upto.batch <= next.kept_batch);
            let read = |member: &Member| set.read_frame(member.position, log.nonce, upto.address);
            let mut frames = set.online().filter_map(|member| read(member).ok().flatten());
            kept && frames.any(|frame| is_it(&frame.header.shared))
        })
    };
    let has_rest = manifest.is_none_or(|manifest| upto.batch >= manifest.left_upto);
    statement.set == set.id && upto.batch > 0 && has_rest && in_table.unwrap_or_else(in_chain)
}

/// Reads what the index lacks: the segments of the table, then the chain from the anchor.
fn read_on(set: &Set, logs: &[EpochLog], manifest: Option<&Manifest>) -> Result<Chain, OpenError> {
    let mut reader = FrameReader::new(set);
    let mut chain = Chain::begin(logs[0]);
    if let Some(manifest) = manifest {
        read_table(set, &mut reader, manifest)?;
        chain = manifest.chain();
    }
    for (nth, log) in logs.iter().enumerate() {
        if let Some(before) = nth.checked_sub(1) {
            chain.enter(*log, Some(logs[before]));
        }
        let kept = logs.get(nth + 1).map(|next| next.kept_batch);
        replay_epoch(set, &mut reader, &mut chain, kept)?;
    }
    set.index.write().forget_recent();
    Ok(chain)
}

/// Reads the segments of the table as far as the index lacks them: once, and again for the keys that were left out as
/// long as deletes are more than memory is to hold.
fn read_table(set: &Set, reader: &mut FrameReader<'_>, manifest: &Manifest) -> Result<(), OpenError> {
    let mut graves = Graves::bounded(set.graves_bytes);
    let upto = {
        let mut index = set.index.write();
        index.floor = index.floor.max(manifest.floor);
        index.upto()
    };
    loop {
        read_rows(set, reader, manifest, upto, &mut graves)?;
        if !graves.next_pass() {
            break;
        }
    }
    let mut index = set.index.write();
    index.last_sequence = index.last_sequence.max(manifest.last_sequence);
    index.pass(manifest.next_batch - 1);
    Ok(())
}

/// Reads the segments of the table, each from its first frame to its end, from behind batch `upto`.
fn read_rows(
    set: &Set,
    reader: &mut FrameReader<'_>,
    manifest: &Manifest,
    upto: u64,
    graves: &mut Graves,
) -> Result<(), OpenError> {
    let mut batch = 0;
    for row in manifest.table.rows().filter(|row| row.last_batch > upto) {
        let mut address = first_address(row.number);
        while address.offset < row.end {
            let (shared, metadata) = reader.known(row, address).ok_or_else(|| {
                let reason = format!("the frame at {address} is damaged on every drive present");
                missing(set, batch.max(row.first_batch), &reason)
            })?;
            batch = shared.batch;
            if matches!(shared.kind, Kind::Commits | Kind::Copies) && batch > upto {
                let below = lookup::below(set, &metadata).map_err(|_| unreadable(set, batch))?;
                let mut index = set.index.write();
                index
                    .restore(FramePlace::of(&shared), &metadata, shared.kind, graves, &below)
                    .map_err(|_| malformed(set, shared.batch))?;
                drop(index);
                checkpoint::when_full(set, None);
                checkpoint::wait_for_room(set);
            }
            address.offset += shared.slot_bytes;
        }
    }
    Ok(())
}

fn unreadable(set: &Set, batch: u64) -> OpenError {
    missing(set, batch, "no copy of the index can be read")
}

fn malformed(set: &Set, batch: u64) -> OpenError {
    missing(set, batch, "its metadata has a sound checksum and no known form")
}

/// All epochs that have frames, from that of the anchor on, oldest first; the last is the current one, which may have
/// none.
fn epochs(set: &Set, identity: &Identity, anchor: Option<EpochLog>) -> Result<Vec<EpochLog>, OpenError> {
    let mut logs = vec![identity.log];
    let mut previous = identity.previous;
    // What is before the anchor may be retired, the first frame of its epoch too.
    while anchor.is_none_or(|anchor| logs.last() != Some(&anchor)) {
        let Some(log) = previous else {
            if anchor.is_none() {
                break;
            }
            return Err(OpenError::Ambiguous {
                reason: "the manifest names an epoch that did not lead to this one".into(),
            });
        };
        logs.push(log);
        if anchor == Some(log) {
            break;
        }
        let first = set.online().find_map(|member| {
            let frame = set.read_frame(member.position, log.nonce, log.start).ok()??;
            (frame.header.shared.kind == Kind::EpochStart).then_some(frame.metadata).flatten()
        });
        let first = first
            .ok_or_else(|| missing(set, log.kept_batch + 1, "the first frame of its epoch is damaged"))?;
        previous = decode_epoch_start(&first);
    }
    logs.reverse();
    Ok(logs)
}

/// The metadata of an epoch's first frame: the epoch before it.
pub(crate) fn encode_epoch_start(previous: Option<EpochLog>) -> Vec<u8> {
    let mut bytes = vec![u8::from(previous.is_some())];
    if let Some(log) = previous {
        bytes.extend_from_slice(&log.encode());
    }
    bytes
}

fn decode_epoch_start(metadata: &[u8]) -> Option<EpochLog> {
    let (_, rest) = metadata.split_first()?;
    EpochLog::take(&mut Fields::of(rest))
}

fn replay_epoch(
    set: &Set,
    reader: &mut FrameReader<'_>,
    chain: &mut Chain,
    kept: Option<u64>,
) -> Result<(), OpenError> {
    // Found, and not yet proven durable.
    let mut pending: Option<(Shared, Vec<u8>)> = None;
    loop {
        let mut next = chain.clone_end();
        if let Some((shared, _)) = &pending {
            next.pass(shared);
        }
        if kept.is_some_and(|kept| next.batch > kept) {
            // Everything up to the decision is proven; the rest of the epoch is void.
            return apply(set, chain, pending);
        }
        match reader.find(&chain.log.nonce, &next) {
            Some((shared, metadata)) => {
                apply(set, chain, pending.take())?;
                pending = Some((shared, metadata));
            }
            None if kept.is_some() => {
                return Err(missing(set, next.batch, "its frames are damaged on every drive present"));
            }
            None => {
                if let Some(later) = reader.find_later(&chain.log.nonce, &next) {
                    let reason =
                        format!("its frames are damaged on every drive present, and batch {later} follows");
                    return Err(missing(set, next.batch, &reason));
                }
                return Ok(());
            }
        }
    }
}

/// Applies a batch that is durable, if there is one, and passes it.
pub(crate) fn apply(
    set: &Set,
    chain: &mut Chain,
    proven: Option<(Shared, Vec<u8>)>,
) -> Result<(), OpenError> {
    let Some((shared, metadata)) = proven else {
        return Ok(());
    };
    apply_batch(set, &shared, &metadata)?;
    chain.pass(&shared, record::span(&metadata, shared.kind));
    checkpoint::when_full(set, Some(chain));
    checkpoint::wait_for_room(set);
    Ok(())
}

/// Applies a durable batch to the index, unless that has it; blocks.
pub(crate) fn apply_batch(set: &Set, shared: &Shared, metadata: &[u8]) -> Result<(), OpenError> {
    if shared.batch <= set.index.read().upto() {
        return Ok(());
    }
    let below = lookup::below(set, metadata).map_err(|_| unreadable(set, shared.batch))?;
    let mut index = set.index.write();
    let applied = match shared.kind {
        Kind::Commits => index.apply(FramePlace::of(shared), metadata, &below),
        Kind::Copies => index.relocate(FramePlace::of(shared), metadata, &below),
        Kind::EpochStart | Kind::Seal => Ok(()),
    };
    index.pass(shared.batch);
    applied.map_err(|_| malformed(set, shared.batch))
}

/// The refusal for a batch that must exist: names it, and the drives that might hold it.
pub(crate) fn missing(set: &Set, batch: u64, reason: &str) -> OpenError {
    let away: Vec<String> = set
        .members
        .iter()
        .filter(|member| !member.is_online())
        .map(|member| format!("drive {} at {} ({})", member.position + 1, member.path, member.reason()))
        .collect();
    let drives = if away.is_empty() { "none, all are present".to_owned() } else { away.join(", ") };
    OpenError::MissingBatch { batch, reason: reason.to_owned(), drives }
}

/// The end of a chain, without its memory of frames.
pub(crate) struct End {
    pub batch: u64,
    pub hash: u64,
    pub heads: Heads,
}

impl End {
    fn pass(&mut self, shared: &Shared) {
        self.batch = shared.batch + 1;
        self.hash = shared.hash();
        self.heads.pass(shared);
    }

    /// Whether a frame continues the chain.
    pub(crate) fn is_next(&self, shared: &Shared) -> bool {
        shared.batch == self.batch && shared.previous_hash == self.hash
    }
}

impl Chain {
    /// Its end.
    pub(crate) fn clone_end(&self) -> End {
        End { batch: self.next_batch, hash: self.last_hash, heads: self.heads }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use store::{Batch, Engine, Mutation, PartitionId, Put, SystemClock};

    use super::*;
    use crate::testing::{FaultyDrive, Power};
    use crate::{LocalEngine, Tuning, manifest};

    /// What a delete hid that lay there would be back.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_index_that_ends_before_a_segment_did_that_left_the_table_is_not_believed() {
        let drives = FaultyDrive::machine(4, &Power::steady());
        drives.iter().for_each(FaultyDrive::keep_indexes);
        let open = || {
            let given = drives.iter().map(FaultyDrive::given).collect();
            LocalEngine::open_tuned(given, None, Arc::new(SystemClock), Tuning::default()).unwrap()
        };
        let engine = open();
        let put = Mutation::Put(Put { key: Bytes::from_static(b"rose"), ..Put::default() });
        let batch = Batch { mutations: vec![put], ..Batch::default() };
        engine.commit(PartitionId(0), batch).await.unwrap();
        engine.shutdown().await;
        drop(engine);

        let engine = open();
        let set = &engine.set;
        let manifest = manifest::newest(set).unwrap().expect("a clean stop writes one");
        let logs = epochs(set, &set.identity.lock().clone(), Some(manifest.log)).unwrap();
        let keepers = set.online().map(|member| (member.position, member.drive().unwrap()));
        let opened = index::open(keepers.collect(), INDEXES_MAX);
        let statement = &opened.first().expect("two drives keep a copy").statement;
        let is_believed = |left_upto| {
            let manifest = Manifest { left_upto, ..manifest.clone() };
            is_on_chain(set, &logs, Some(&manifest), statement)
        };
        let upto = statement.upto.batch;
        assert!(upto > 0 && is_believed(0) && is_believed(upto) && !is_believed(upto + 1));
    }
}
