//! Opening a set: from drives as they were given to a sequencer that is ready to run.
//!
//! A drive that hangs keeps no set from being opened. All are asked at once, three times: to be opened, for what they
//! hold, and to be taken into use; each time those that say nothing within [`OPEN_MAX`] are gone on without. What is
//! read afterwards has the deadlines of a set that is in use.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use store::{Clock, Sequence, SystemClock};
use tokio::sync::watch;
use uuid::Uuid;

use crate::assemble::{Assembly, Placed, assemble, unwritable};
use crate::bodies::Bodies;
use crate::chain::Chain;
use crate::columns::Codec;
use crate::damage::Damages;
use crate::drive::{Drive, Space};
use crate::errand;
use crate::error::OpenError;
use crate::heal::Healing;
use crate::index::{GRAVES_BYTES_MAX, Index, Retention, checkpoint, memtable_bytes_on, reserve_bytes};
use crate::lane::Patience;
use crate::lineup::Lineup;
use crate::looked::Asked;
use crate::manifest;
use crate::member::Member;
use crate::recovery::{self, Outcome, set_mode};
use crate::replay::{apply, replay, restore_index};
use crate::segment::{SEGMENT_BYTES_MIN, Sizes, largest_segment};
use crate::sequencer::{EventSender, Inbox, Sequencer, inbox};
use crate::set::{Mode, Set};
use crate::table::Closed;
use crate::time::StepWatch;
use crate::volumes::Volumes;
use crate::writer::{Io, RestingRing};

/// How long a drive may take to be opened, to say what it holds, and to be taken into use, for each of them.
pub(crate) const OPEN_MAX: Duration = Duration::from_secs(10);

/// What operators and tests change.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Size of every segment, in bytes: at least that of the largest frame, and a block.
    pub segment_bytes: Option<u64>,
    /// Size at which the memtable is frozen, in bytes: what is written more is in the index on two drives.
    pub memtable_bytes: Option<usize>,
    /// Bytes of deletes that are kept in memory while the index is rebuilt; 32 MiB for `None`. With more of them the
    /// journal is read several times.
    pub graves_bytes: Option<usize>,
    /// Changes that are kept though nobody waits for them.
    pub retention: Retention,
    /// How it heals.
    pub healing: Healing,
    /// How its journal is written.
    pub io: Io,
    /// How long a drive may take for each step of the opening; ten seconds for `None`.
    pub open_within: Option<Duration>,
}

/// Opens the set, recovers it, and begins an epoch if enough drives are there. The ring is for the thread that runs the
/// sequencer.
pub(crate) fn open_set(
    given: Vec<Asked>,
    parity: Option<usize>,
    lineup: Lineup,
    clock: Arc<dyn Clock>,
    tuning: Tuning,
    incoming: Inbox,
    events: EventSender,
) -> Result<(Arc<Set>, Sequencer, Option<RestingRing>), OpenError> {
    let assembly = assemble(given, parity, Some(&lineup))?;
    let set = Arc::new(set_of(assembly, lineup.recorded(), clock, events.clone(), &tuning, Drive::claim)?);
    check_readable(&set)?;
    tell(&set);
    let ring = tuning.io.ring(&set);
    let identity = set.identity.lock().clone();
    let manifest = manifest::newest(&set)?;
    let chain = replay(&set, &identity, manifest.as_ref())?;
    set.steps.note_frame(chain.time_ns);
    for member in &set.members {
        member.written.store(chain.next_batch - 1, Ordering::Release);
    }
    let sequencer = match recovery::settle(&set, chain)? {
        Outcome::Writable(chain) => {
            let mut sequencer = Sequencer::new(Arc::clone(&set), *chain, manifest, incoming, events);
            if let Err(reason) = sequencer.begin_epoch() {
                set_mode(&set, Mode::ReadOnly(reason));
            }
            sequencer
        }
        Outcome::ReadOnly(chain, reason) => {
            set_mode(&set, Mode::ReadOnly(reason));
            Sequencer::new(Arc::clone(&set), *chain, manifest, incoming, events)
        }
    };
    Ok((set, sequencer, ring))
}

/// Reads what the drives hold and changes nothing, not even the last batch, which is taken where it is as good as
/// proven.
pub(crate) fn open_for_reading(given: Vec<Asked>) -> Result<(Arc<Set>, Chain), OpenError> {
    let assembly = assemble(given, None, None)?;
    // Nobody takes a drive out of a set that is only read.
    let (events, _) = inbox();
    // Of the journal alone, and in memory: a copy of the index would be opened for writing.
    let tuning = Tuning { memtable_bytes: Some(usize::MAX), ..Tuning::default() };
    let set = Arc::new(set_of(assembly, Vec::new(), Arc::new(SystemClock), events, &tuning, Drive::inspect)?);
    check_readable(&set)?;
    let identity = set.identity.lock().clone();
    let manifest = manifest::newest(&set)?;
    let mut chain = restore_index(&set, &identity, manifest.as_ref())?;
    let last = recovery::held_last(&set, &chain);
    apply(&set, &mut chain, last)?;
    checkpoint::rebuilt(&set);
    for member in &set.members {
        member.written.store(chain.next_batch - 1, Ordering::Release);
    }
    *set.closed.write() = Closed::of(&chain);
    Ok((set, chain))
}

/// Whether enough drives are there to read anything.
fn check_readable(set: &Set) -> Result<(), OpenError> {
    let (present, needed) = (set.online().count(), set.geometry.read_quorum());
    if present >= needed {
        return Ok(());
    }
    let missing: Vec<String> = set
        .members
        .iter()
        .filter(|member| !member.is_online())
        .map(|member| format!("{} ({})", member.path, member.reason()))
        .collect();
    Err(OpenError::TooFewDrives { present, needed, missing: missing.join(", ") })
}

/// Takes drives into use by `take`, all at once: the sizes of each, where it tells them.
fn take_all(
    places: &[Placed],
    patience: Duration,
    take: fn(&dyn Drive) -> io::Result<()>,
) -> Vec<io::Result<Option<Space>>> {
    let drive = |placed: &Placed| placed.drive.clone().filter(|_| placed.out.is_none());
    errand::run_on_each(places.iter().map(drive).collect::<Vec<_>>(), patience, move |drive| {
        let Some(drive) = drive else { return Ok(None) };
        take(&*drive)?;
        Ok(drive.space().ok())
    })
}

/// Takes the drives of a set among these into use, each by `take`.
fn set_of(
    assembly: Assembly,
    sets: Vec<Uuid>,
    clock: Arc<dyn Clock>,
    events: EventSender,
    tuning: &Tuning,
    take: fn(&dyn Drive) -> io::Result<()>,
) -> Result<Set, OpenError> {
    let Assembly { identity, highest_epoch, places } = assembly;
    let mut members = Vec::with_capacity(places.len());
    let taken = take_all(&places, tuning.open_within.unwrap_or(OPEN_MAX), take);
    let sizes = taken.iter().flatten().flatten().map(|space| space.total_bytes);
    let smallest = sizes.min().unwrap_or(u64::MAX);
    let memtable_bytes = tuning.memtable_bytes.unwrap_or_else(|| memtable_bytes_on(smallest));
    for ((position, placed), taken) in places.into_iter().enumerate().zip(taken) {
        let Placed { path, reopen, drive, mut out } = placed;
        let space = match taken {
            Ok(space) => space,
            Err(error) => match unwritable(&path, error) {
                refusal @ OpenError::Unwritable { .. } => return Err(refusal),
                failure => {
                    out = Some(failure.to_string());
                    None
                }
            },
        };
        let member = Member::new(position, identity.members[position].drive, path, reopen, drive, out);
        let member = member.with_reserve(reserve_bytes(memtable_bytes));
        space.into_iter().for_each(|space| member.note_space(space));
        members.push(Arc::new(member));
    }
    let sizes =
        tuning
            .segment_bytes
            .map_or(Sizes { smallest: SEGMENT_BYTES_MIN, largest: largest_segment(smallest) }, |size| {
                Sizes { smallest: size, largest: size }
            });
    Ok(Set {
        id: identity.set,
        sets,
        geometry: identity.geometry,
        codec: Codec::new(identity.geometry),
        members,
        identity: Mutex::new(identity),
        index: RwLock::new(Index::bounded(memtable_bytes)),
        mode: RwLock::new(Mode::ReadOnly("it is starting".into())),
        full: AtomicBool::new(false),
        recovered: watch::Sender::new(Sequence::ZERO),
        room: AtomicU64::new(u64::MAX),
        closed: RwLock::default(),
        indexed_upto: AtomicU64::new(u64::MAX),
        highest_epoch: AtomicU64::new(highest_epoch),
        retention: tuning.retention.on(smallest),
        graves_bytes: tuning.graves_bytes.unwrap_or(GRAVES_BYTES_MAX),
        sizes,
        steps: StepWatch::begin(clock.now_ns()),
        clock,
        damages: Damages::default(),
        bodies: Bodies::default(),
        volumes: Volumes::default(),
        patience: RwLock::new(Patience::DEFAULT),
        events,
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
    for member in set.members.iter().filter(|member| !member.is_online()) {
        tracing::error!(drive = %member.path, reason = member.reason(), "A drive is out: the set starts without it.");
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
