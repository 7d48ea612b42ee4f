//! Opening a set: from drives as they were given to a sequencer that is ready to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use parking_lot::{Mutex, RwLock};
use store::Clock;

use crate::assemble::{Assembly, Given, Placed, assemble, unwritable};
use crate::bodies::Bodies;
use crate::columns::Codec;
use crate::damage::Damages;
use crate::drive::is_full;
use crate::error::OpenError;
use crate::index::Index;
use crate::member::Member;
use crate::recovery::{self, Outcome, set_mode};
use crate::replay::replay;
use crate::segment::largest_segment;
use crate::sequencer::{Event, Sequencer};
use crate::set::{Mode, Set};

/// Opens the set, recovers it, and begins an epoch if enough drives are there.
pub(crate) fn open_set(
    given: Vec<Given>,
    parity: Option<usize>,
    clock: Arc<dyn Clock>,
    incoming: Receiver<Event>,
    events: Sender<Event>,
) -> Result<(Arc<Set>, Sequencer), OpenError> {
    let assembly = assemble(given, parity)?;
    let set = Arc::new(set_of(assembly, clock)?);
    let present = set.online().count();
    let needed = set.geometry.read_quorum();
    if present < needed {
        let missing: Vec<String> = set
            .members
            .iter()
            .filter(|member| !member.is_online())
            .map(|member| format!("{} ({})", member.path, member.reason()))
            .collect();
        return Err(OpenError::TooFewDrives { present, needed, missing: missing.join(", ") });
    }
    tell(&set);
    let identity = set.identity.lock().clone();
    let chain = replay(&set, &identity)?;
    for member in &set.members {
        member.written.store(chain.next_batch - 1, Ordering::Release);
    }
    let sequencer = match recovery::settle(&set, chain)? {
        Outcome::Writable(chain) => {
            let mut sequencer = Sequencer::new(Arc::clone(&set), *chain, incoming, events);
            if let Err(reason) = sequencer.begin_epoch() {
                set_mode(&set, Mode::ReadOnly(reason));
            }
            sequencer
        }
        Outcome::ReadOnly(chain, reason) => {
            set_mode(&set, Mode::ReadOnly(reason));
            Sequencer::new(Arc::clone(&set), *chain, incoming, events)
        }
    };
    Ok((set, sequencer))
}

/// Takes the drives into use.
fn set_of(assembly: Assembly, clock: Arc<dyn Clock>) -> Result<Set, OpenError> {
    let Assembly { identity, highest_epoch, places } = assembly;
    let mut members = Vec::with_capacity(places.len());
    let mut smallest = u64::MAX;
    for (position, Placed { path, reopen, drive, mut out }) in places.into_iter().enumerate() {
        if let Some(drive) = &drive
            && out.is_none()
        {
            match drive.claim() {
                Ok(()) => {}
                Err(error) if is_full(&error) => {}
                Err(error) => match unwritable(&path, error) {
                    refusal @ OpenError::Unwritable { .. } => return Err(refusal),
                    failure => out = Some(failure.to_string()),
                },
            }
            if let Ok(space) = drive.space() {
                smallest = smallest.min(space.total_bytes);
            }
        }
        members.push(Member::new(position, identity.members[position].drive, path, reopen, drive, out));
    }
    Ok(Set {
        id: identity.set,
        geometry: identity.geometry,
        codec: Codec::new(identity.geometry),
        members,
        identity: Mutex::new(identity),
        index: RwLock::new(Index::default()),
        mode: RwLock::new(Mode::ReadOnly("it is starting".into())),
        full: AtomicBool::new(false),
        highest_epoch: AtomicU64::new(highest_epoch),
        largest_segment: largest_segment(smallest),
        clock,
        damages: Damages::default(),
        bodies: Bodies::default(),
    })
}

/// Tells the operator what this set can and cannot survive.
fn tell(set: &Set) {
    let geometry = set.geometry;
    let spare = geometry.drives() - geometry.write_quorum();
    tracing::info!(
        set = %set.id,
        data = geometry.data,
        parity = geometry.parity,
        "The set takes writes with up to {spare} drives missing, and is read with up to {} missing.",
        geometry.parity
    );
    if geometry.drives() > 1 && spare == 0 {
        tracing::warn!(set = %set.id, "A set of this size takes no writes as soon as one drive is missing.");
    }
    for member in set.online() {
        if member.drive().is_ok_and(|drive| !drive.durable()) {
            tracing::warn!(drive = %member.path, "Nothing is known of how this file system survives a power cut: it is reported as not durable.");
        }
    }
    let device = |member: &Member| member.drive().ok().and_then(|drive| drive.device());
    let shared: Vec<&str> = set
        .online()
        .filter(|member| {
            device(member).is_some()
                && set
                    .online()
                    .any(|other| other.position != member.position && device(other) == device(member))
        })
        .map(|member| member.path.as_str())
        .collect();
    if !shared.is_empty() {
        tracing::warn!(drives = shared.join(", "), "These drives share a device: they fail together.");
    }
}
