//! Replay: reads the journal and builds the index.
//!
//! From the manifest, where there is one: first the segments of its table, in any order, where the last writer wins;
//! then the chain from its anchor. Without one the chain is read from its first frame. Epochs are found by walking
//! back from the identity: the first frame of each names the one before. They are then read forward. A frame of the
//! chain is applied once it is proven durable: by a decision that kept it, or by a later frame that says so. The last
//! frame may be of undecided fate; [`crate::recovery`] decides it.

use crate::chain::{Chain, Heads};
use crate::error::OpenError;
use crate::format::{EpochLog, Identity};
use crate::frame::{Kind, Shared};
use crate::index::{FramePlace, Graves};
use crate::manifest::Manifest;
use crate::reader::FrameReader;
use crate::record;
use crate::segment::first_address;
use crate::set::Set;

/// Reads the journal into the set's index and answers where its proven part ends.
pub(crate) fn replay(
    set: &Set,
    identity: &Identity,
    manifest: Option<&Manifest>,
) -> Result<Chain, OpenError> {
    let logs = epochs(set, identity, manifest.map(|manifest| manifest.log))?;
    let mut reader = FrameReader::new(set);
    let mut chain = Chain::begin(logs[0]);
    if let Some(manifest) = manifest {
        rebuild(set, &mut reader, manifest)?;
        chain = manifest.chain();
    }
    for (nth, log) in logs.iter().enumerate() {
        if let Some(before) = nth.checked_sub(1) {
            chain.enter(*log, Some(logs[before]));
        }
        let kept = logs.get(nth + 1).map(|next| next.kept_batch);
        replay_epoch(set, &mut reader, &mut chain, kept)?;
    }
    Ok(chain)
}

/// Reads the segments of the table, each from its first frame to its end.
fn rebuild(set: &Set, reader: &mut FrameReader<'_>, manifest: &Manifest) -> Result<(), OpenError> {
    let mut graves = Graves::default();
    set.index.write().floor = manifest.floor;
    let mut batch = 0;
    for row in manifest.table.rows() {
        let mut address = first_address(row.number);
        while address.offset < row.end {
            let (shared, metadata) = reader.known(row, address).ok_or_else(|| {
                let reason = format!("the frame at {address} is damaged on every drive present");
                missing(set, batch.max(row.first_batch), &reason)
            })?;
            batch = shared.batch;
            if let Kind::Commits | Kind::Copies = shared.kind {
                let mut index = set.index.write();
                index
                    .restore(place_of(&shared), &metadata, shared.kind, &mut graves)
                    .map_err(|_| malformed(set, shared.batch))?;
            }
            address.offset += shared.slot_bytes;
        }
    }
    let mut index = set.index.write();
    index.last_sequence = index.last_sequence.max(manifest.last_sequence);
    Ok(())
}

fn place_of(shared: &Shared) -> FramePlace {
    FramePlace { batch: shared.batch, address: shared.address, meta_bytes: shared.meta_bytes }
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
            let frame = member.read_frame(&log.nonce, log.start).ok()??;
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
    rest.first_chunk::<{ EpochLog::BYTES }>().map(EpochLog::decode)
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

fn apply(set: &Set, chain: &mut Chain, proven: Option<(Shared, Vec<u8>)>) -> Result<(), OpenError> {
    let Some((shared, metadata)) = proven else {
        return Ok(());
    };
    apply_batch(set, &shared, &metadata)?;
    chain.pass(&shared, record::span(&metadata, shared.kind));
    Ok(())
}

/// Applies a durable batch to the index.
pub(crate) fn apply_batch(set: &Set, shared: &Shared, metadata: &[u8]) -> Result<(), OpenError> {
    let mut index = set.index.write();
    let applied = match shared.kind {
        Kind::Commits => index.apply(place_of(shared), metadata),
        Kind::Copies => index.relocate(place_of(shared), metadata),
        Kind::EpochStart | Kind::Seal => Ok(()),
    };
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
