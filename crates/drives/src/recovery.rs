//! Recovery: decides the fate of the last batch, brings lagging drives up, begins a new epoch.
//!
//! Only one batch can be of undecided fate: a frame is built when the one before it is durable on the write
//! quorum, and says so. For that batch, H drives present hold it whole and X voters may hold it unseen.
//!
//! - H + X < q: it was never acknowledged. It is cut.
//! - Else, if k drives give it back: it is completed on every voter present, then kept.
//! - Else nothing is decided: the set opens for reading, and the keys of the batch are answered with
//!   [`store::EngineError::Undecided`] until an absent drive returns.
//!
//! What was decided is written to the identities of at least q voters, with a new epoch and its secret,
//! before anything of it is visible. From then on a drive that was away cannot contradict it: it is no voter.
//! The argument that this needs no second copy of the kept batch is in `docs/formats.md`.

use std::io;

use store::EngineError;

use crate::chain::{Chain, Placed, RECENT_FRAMES_MAX, Stream};
use crate::drive::{AlignedBytes, BLOCK_BYTES};
use crate::error::OpenError;
use crate::format::{EpochLog, Identity, Nonce};
use crate::frame::{Form, Frame, Kind, Shared};
use crate::index::{Touched, touched};
use crate::payload::is_silence;
use crate::rebuild::{Rebuilt, Sources, rebuild};
use crate::record;
use crate::replay::{apply_batch, missing};
use crate::set::{Mode, Set};

/// How recovery ended.
pub(crate) enum Outcome {
    /// A new epoch holds; its first frame is yet to be written.
    Writable(Box<Chain>),
    /// Too few drives to decide anything: the set is read as far as it is proven.
    ReadOnly(Box<Chain>, String),
}

/// The last batch and who holds it.
struct Last {
    shared: Shared,
    metadata: Vec<u8>,
    /// Positions of the drives that hold it whole.
    holders: Vec<usize>,
}

/// Decides, completes and begins a new epoch over the voters that are online.
pub(crate) fn settle(set: &Set, mut chain: Chain) -> Result<Outcome, OpenError> {
    let identity = set.identity.lock().clone();
    let quorum = set.geometry.write_quorum();
    let last = find_last(set, &chain);
    let present = set.online().count();
    let unseen = identity
        .members
        .iter()
        .enumerate()
        .filter(|(position, member)| {
            member.voter && (!set.members[*position].is_online() || member.joined_batch > chain.next_batch)
        })
        .count();
    let mut undecided = Vec::new();
    let mut reason =
        (present < quorum).then(|| format!("{present} of {quorum} drives needed to write are there"));
    let mut kept = None;
    if let Some(last) = last
        && last.holders.len() + unseen >= quorum
    {
        // Also of one that is kept, until it is applied: it may have been acknowledged before a crash.
        undecided = touched_by(&last);
        if present >= quorum && rebuildable(set, &last) {
            kept = Some(last);
        } else {
            reason.get_or_insert_with(|| {
                missing(set, last.shared.batch, "too few drives hold its columns").to_string()
            });
        }
    }
    set.index.write().set_undecided(undecided);
    if let Some(reason) = reason {
        return Ok(Outcome::ReadOnly(Box::new(chain), reason));
    }
    let proven = chain.clone();
    if let Some(last) = &kept {
        chain.pass(&last.shared, record::span(&last.metadata, last.shared.kind));
    }
    catch_up(set, &chain);
    let positions: Vec<usize> = set.online().map(|member| member.position).collect();
    match begin_epoch(set, &identity, &chain, positions) {
        Ok(next) => {
            if let Some(last) = kept {
                tracing::info!(batch = last.shared.batch, "The last batch was kept: enough drives hold it.");
                set.bodies.lose_track();
                set.volumes.lose_track();
                apply_batch(set, &last.shared, &last.metadata)?;
                let mut index = set.index.write();
                index.forget_recent();
                set.recovered.send_replace(index.last_sequence);
                index.set_undecided(Vec::new());
            }
            Ok(Outcome::Writable(Box::new(next)))
        }
        // Without the new epoch the batch is as undecided as before.
        Err(error) => Ok(Outcome::ReadOnly(Box::new(proven), error.to_string())),
    }
}

fn touched_by(last: &Last) -> Vec<Touched> {
    // Copies change nothing that a reader sees.
    if last.shared.kind == Kind::Commits { touched(&last.metadata) } else { Vec::new() }
}

/// The batch behind the proven end, if any drive present has its metadata.
fn find_last(set: &Set, chain: &Chain) -> Option<Last> {
    let end = chain.clone_end();
    let mut found: Option<Last> = None;
    for address in end.heads.candidates() {
        for member in set.online() {
            let frame = match set.read_frame(member.position, chain.log.nonce, address) {
                Ok(Some(frame)) if end.is_next(&frame.header.shared) => frame,
                Ok(_) => continue,
                Err(error) => {
                    member.take_out(&format!("its journal cannot be read: {error}"));
                    continue;
                }
            };
            let whole = frame.is_whole();
            let Some(metadata) = frame.metadata else { continue };
            let last = found.get_or_insert_with(|| Last {
                shared: frame.header.shared,
                metadata,
                holders: Vec::new(),
            });
            if whole && !last.holders.contains(&member.position) {
                last.holders.push(member.position);
            }
        }
    }
    found
}

/// The batch behind the proven end, as any drive present has its metadata.
pub(crate) fn next_batch(set: &Set, chain: &Chain) -> Option<(Shared, Vec<u8>)> {
    find_last(set, chain).map(|last| (last.shared, last.metadata))
}

/// The batch behind the proven end, where the write quorum holds it whole: it is as good as proven.
pub(crate) fn held_last(set: &Set, chain: &Chain) -> Option<(Shared, Vec<u8>)> {
    let last = find_last(set, chain)?;
    (last.holders.len() >= set.geometry.write_quorum()).then_some((last.shared, last.metadata))
}

/// Whether the drives that hold the batch give all of it back.
fn rebuildable(set: &Set, last: &Last) -> bool {
    match last.shared.form {
        Form::Empty | Form::Replicated => !last.holders.is_empty(),
        Form::Columns => last.holders.len() >= set.geometry.data,
    }
}

/// Writes to every online drive the frames it lacks at the end of the chain. One that cannot be brought up is
/// taken out.
///
/// A drive is written in order and one frame at a time, so what it lacks is a tail.
fn catch_up(set: &Set, chain: &Chain) {
    let lagging: Vec<(usize, Vec<Placed>)> = set
        .online()
        .map(|member| {
            let lacks = |placed: &&Placed| {
                let frame = set.read_frame(member.position, placed.nonce, placed.address);
                !frame.is_ok_and(|frame| frame.is_some_and(|frame| frame.is_whole()))
            };
            (member.position, chain.recent.iter().rev().take_while(lacks).copied().collect())
        })
        .collect();
    for (position, mut tail) in lagging {
        let member = &set.members[position];
        if tail.len() == RECENT_FRAMES_MAX {
            member.take_out("it lags by more than its log can be brought up by");
            continue;
        }
        tail.reverse();
        if !tail.is_empty() {
            tracing::info!(drive = %member.path, frames = tail.len(), "A drive lagged and is brought up.");
        }
        for placed in tail {
            let Some(frame) = rebuild_frame(set, &placed, position) else {
                member.take_out(&format!("batch {} cannot be rebuilt for it", placed.batch));
                break;
            };
            if let Err(error) = complete(set, &placed, position, frame) {
                let reason = format!("batch {} could not be written: {error}", placed.batch);
                // What may still be written must not meet a later frame.
                if is_silence(&error) {
                    member.leave_behind(&reason)
                } else {
                    member.take_out(&reason)
                }
                break;
            }
        }
        if member.is_online() {
            member.written.store(chain.next_batch - 1, std::sync::atomic::Ordering::Release);
        }
    }
}

/// Writes one frame to a drive that lacks it.
fn complete(set: &Set, placed: &Placed, position: usize, frame: AlignedBytes) -> io::Result<()> {
    let (id, address) = (set.id, placed.address);
    let size_bytes = set.segment_bytes(address.segment);
    set.patiently(position, move |member| {
        member.prepare_segment(id, address.segment, size_bytes)?;
        member.write_frame(address, &frame)
    })
}

/// The frame of a batch for one drive, from those of the others.
fn rebuild_frame(set: &Set, placed: &Placed, position: usize) -> Option<AlignedBytes> {
    let frames: Vec<(usize, Frame)> = set
        .online()
        .filter(|member| member.position != position)
        .filter_map(|member| {
            Some((member.position, set.read_frame(member.position, placed.nonce, placed.address).ok()??))
        })
        .filter(|(_, frame)| frame.header.shared.batch == placed.batch)
        .collect();
    let (_, whole) = frames.iter().find(|(_, frame)| frame.metadata.is_some())?;
    let sources = Sources { shared: &whole.header.shared, frames: &frames };
    match rebuild(&set.codec, &sources, &[position]) {
        Rebuilt::Whole(mut rebuilt) => rebuilt.pop().map(|(_, frame)| frame),
        Rebuilt::Hollow(_) | Rebuilt::Lost => None,
    }
}

/// Writes the identity of a new epoch to the drives of `positions`: they are its voters.
fn begin_epoch(
    set: &Set,
    identity: &Identity,
    chain: &Chain,
    positions: Vec<usize>,
) -> Result<Chain, EngineError> {
    let log = EpochLog {
        // One that was tried and fell short is on some drives: its number is not used again.
        epoch: set.highest_epoch.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1,
        nonce: Nonce(rand::random()),
        kept_batch: chain.next_batch - 1,
        kept_hash: chain.last_hash,
        start: set.place(&chain.heads, Stream::Hot, BLOCK_BYTES),
    };
    let (previous, sets) = (chain.latest_log(), set.sets.clone());
    let next = Identity { log, revision: 0, previous, sets, ..identity.clone() };
    let previous = next.previous;
    // All of them were brought up to the end of the chain.
    match set.decide(next, positions, |_| true) {
        Ok(_) => {
            let mut next = chain.clone();
            next.enter(log, previous);
            Ok(next)
        }
        Err(short) => {
            Err(EngineError::WriteQuorum { answered: short.answered, needed: set.geometry.write_quorum() })
        }
    }
}

/// States what commits meet from now on, and tells the operator when that changed.
pub(crate) fn set_mode(set: &Set, mode: Mode) {
    let mut current = set.mode.write();
    if *current == mode {
        return;
    }
    match &mode {
        Mode::Writable => tracing::info!(set = %set.id, "The set takes writes."),
        Mode::ReadOnly(reason) => tracing::error!(set = %set.id, %reason, "The set takes no writes."),
    }
    *current = mode;
}
