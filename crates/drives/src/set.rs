//! A set: its drives, who of them is in, and what is decided by writing their identities.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use store::{Clock, DriveReport, DriveState, EngineError, HealReport, Sequence, SetReport};
use tokio::sync::watch;
use uuid::Uuid;

use crate::bodies::{Bodies, Positions};
use crate::chain::{Heads, Stream};
use crate::columns::Codec;
use crate::damage::Damages;
use crate::drive::Space;
use crate::errand;
use crate::format::{FORMAT_FILE, Identity, Nonce};
use crate::frame::{Address, Frame};
use crate::index::{Index, Retention};
use crate::lane::Patience;
use crate::member::Member;
use crate::payload::is_silence;
use crate::quorum::Geometry;
use crate::room::Room;
use crate::segment::Sizes;
use crate::sequencer::{Event, EventSender};
use crate::table::Closed;
use crate::time::StepWatch;
use crate::volumes::Volumes;

/// Time a drive may take to write its identity before it counts as failed.
const IDENTITY_MAX: Duration = Duration::from_secs(5);

/// What commits meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are taken.
    Writable,
    /// They are refused: too few drives, or a batch of undecided fate. The reason is a clause for operators.
    ReadOnly(String),
}

/// A set of drives that is open.
pub(crate) struct Set {
    pub id: Uuid,
    /// The sets of the server as every epoch records them: see [`Identity::sets`].
    pub sets: Vec<Uuid>,
    pub geometry: Geometry,
    pub codec: Codec,
    /// In set order.
    pub members: Vec<Arc<Member>>,
    /// The decision that holds: the epoch and its voters.
    pub identity: Mutex<Identity>,
    pub index: RwLock<Index>,
    pub mode: RwLock<Mode>,
    /// No space for another segment: only what gives space back is committed.
    pub full: AtomicBool,
    /// The last sequence of what recovery kept while the set was in use: no commit was answered for it.
    pub recovered: watch::Sender<Sequence>,
    /// So many more segments fit on the fullest drive: see [`Set::room_left`].
    pub room: AtomicU64,
    /// The segments that compaction may take.
    pub closed: RwLock<Closed>,
    /// Every index on a drive holds all batches up to this one: what they lack must not be retired.
    pub indexed_upto: AtomicU64,
    /// The highest epoch any drive was part of, or that was tried.
    pub highest_epoch: AtomicU64,
    /// How many of the changes that nobody waits for it keeps.
    pub retention: Retention,
    /// Bytes of deletes that are kept while the journal is read in no particular order.
    pub graves_bytes: usize,
    /// Sizes of its segments.
    pub sizes: Sizes,
    pub clock: Arc<dyn Clock>,
    /// Whether the clock can be believed.
    pub steps: StepWatch,
    /// What reads found broken.
    pub damages: Damages,
    /// Bodies on their way into commits.
    pub bodies: Bodies,
    /// Where medium ones lie.
    pub volumes: Volumes,
    /// How long drives may take.
    pub patience: RwLock<Patience>,
    /// Where faults are told: the sequencer.
    pub events: EventSender,
}

/// Fewer drives than the write quorum took a decision.
#[derive(Debug)]
pub(crate) struct Short {
    /// Drives that took it.
    pub answered: usize,
}

impl Set {
    /// Drives that are written and read.
    pub(crate) fn online(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().map(|member| &**member).filter(|member| member.is_online())
    }

    /// Those of them that took the last decision they were given.
    pub(crate) fn able(&self) -> impl Iterator<Item = &Member> {
        self.online().filter(|member| member.is_able())
    }

    /// Whether enough drives are there to read anything.
    pub(crate) fn check_readable(&self) -> Result<(), EngineError> {
        let (answered, needed) = (self.online().count(), self.geometry.read_quorum());
        if answered < needed { Err(EngineError::ReadQuorum { answered, needed }) } else { Ok(()) }
    }

    /// Drives that get every frame and every new shard: those that are written and read, and those that are joining.
    pub(crate) fn written(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().map(|member| &**member).filter(|member| member.is_written())
    }

    /// The positions of the drives for which it holds.
    pub(crate) fn positions(&self, holds: impl Fn(&Member) -> bool) -> Positions {
        let chosen = self.members.iter().filter(|member| holds(member));
        chosen.fold(0, |positions, member| positions | 1 << member.position)
    }

    /// Lets the drive of a position be written; it holds every batch up to `written`, or will.
    pub(crate) fn join(&self, position: usize, written: u64) {
        self.bodies.join(position);
        self.members[position].join(written);
    }

    /// Tells the sequencer that a drive failed.
    pub(crate) fn fault(&self, position: usize, reason: String) {
        // The sequencer is gone only when the engine is.
        let _ = self.events.send(Event::Fault { position, reason });
    }

    /// Asks a drive something on a thread that is not the asker's, under the deadline of a write. One that misses it is
    /// a fault.
    ///
    /// # Errors
    ///
    /// What the drive says, or `TimedOut`; then it may still happen.
    pub(crate) fn patiently<T: Send + 'static>(
        &self,
        position: usize,
        run: impl FnOnce(&Member) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let patience = self.patience.read().write;
        let member = Arc::clone(&self.members[position]);
        let user = member.user();
        let answer = errand::run(&self.members[position].overdue, patience, move || {
            let _user = user;
            run(&member)
        });
        if answer.as_ref().is_err_and(is_silence) {
            self.fault(position, format!("it did not answer within {patience:?}"));
        }
        answer
    }

    /// Does the same on several drives at once, each on a thread of its own: one that hangs holds no other up. What
    /// each says, as they come; behind those, `None` for each that says nothing within `patience`.
    pub(crate) fn on_each(
        &self,
        positions: &[usize],
        patience: Duration,
        step: impl Fn(&Member) -> io::Result<()> + Send + Sync + 'static,
    ) -> Vec<(usize, Option<io::Result<()>>)> {
        let step = Arc::new(step);
        let (answers, incoming) = channel();
        for &position in positions {
            let (member, step, answers) =
                (Arc::clone(&self.members[position]), Arc::clone(&step), answers.clone());
            let user = member.user();
            let failed = answers.clone();
            let sent = errand::send_on(move |done| {
                let answered = step(&member);
                // The answer may be the last thing the engine waits for before its drives are opened again.
                drop((member, step, user));
                done();
                // Nobody listens any more when it took too long.
                let _ = answers.send((position, answered));
            });
            if let Err(error) = sent {
                // It is heard below.
                let _ = failed.send((position, Err(error)));
            }
        }
        drop(answers);
        let deadline = Instant::now() + patience;
        let (mut said, mut silent) = (Vec::new(), positions.to_vec());
        while let Ok((position, done)) =
            incoming.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            silent.retain(|silent| *silent != position);
            said.push((position, Some(done)));
        }
        said.extend(silent.into_iter().map(|position| (position, None)));
        said
    }

    /// Reads a frame of an epoch from the medium of a drive, patiently: `None` where there is none.
    pub(crate) fn read_frame(
        &self,
        position: usize,
        nonce: Nonce,
        address: Address,
    ) -> io::Result<Option<Frame>> {
        self.patiently(position, move |member| member.read_frame(address, |header| header.is_of(&nonce)))
    }

    /// Size of a segment: that of the smallest of its files where there are any, else what it will be made with.
    pub(crate) fn segment_bytes(&self, number: u32) -> u64 {
        let size_of = |member: &Member| match member.kept_segment(number) {
            Some(segment) => Some(segment.file().size_bytes()),
            None => {
                let find = move |member: &Member| Ok(member.segment(number)?.file().size_bytes());
                self.patiently(member.position, find).ok()
            }
        };
        self.online().filter_map(size_of).min().unwrap_or_else(|| self.size_of_new())
    }

    /// Whether nothing is taken that takes space: there is none for the journal or for the index.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire) || self.index.read().waits_for_space()
    }

    /// Whether a drive has no space for a frame it is being written.
    pub(crate) fn is_stalled(&self) -> bool {
        self.online().any(|member| member.stalled.load(Ordering::Acquire))
    }

    /// What is left on the fullest drive, by what was seen of each last.
    pub(crate) fn room_left(&self) -> Room {
        let full = self.full.load(Ordering::Relaxed);
        if full { Room::NONE } else { Room::of(self.room.load(Ordering::Relaxed)) }
    }

    /// Whether space is short at all.
    pub(crate) fn is_short(&self) -> bool {
        self.is_full() || self.room_left().shortness() > 0.0
    }

    /// States how many more segments the fullest drive has room for, by what was seen of each last.
    pub(crate) fn measure_room(&self) {
        let size_bytes = self.size_of_new();
        let known = self.online().filter(|member| member.space().total_bytes > 0);
        let room = known.map(|member| member.room_segments(size_bytes));
        self.room.store(room.min().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A segment was begun: so much less room is left until the drives are looked at again.
    pub(crate) fn note_segment_begun(&self) {
        // Only this thread and the watch write it, which knows better.
        self.room.store(self.room.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }

    /// Size of a segment that is made now.
    pub(crate) fn size_of_new(&self) -> u64 {
        self.sizes.of_new(self.index.read().live.bytes(self.geometry.data))
    }

    /// Where a frame of `slot_bytes` goes: to the head of its stream if it fits there, since a frame never crosses
    /// a segment, else first into a new one.
    pub(crate) fn place(&self, heads: &Heads, stream: Stream, slot_bytes: usize) -> Address {
        let fits =
            |head: &Address| u64::from(head.offset) + slot_bytes as u64 <= self.segment_bytes(head.segment);
        heads.of(stream).filter(fits).unwrap_or_else(|| heads.fresh())
    }

    /// Writes a decision to the drives of `positions`, who are its voters, each atomically and durably.
    ///
    /// The decision is written again without those that fail, until all that remain hold the same one; then those
    /// are out. Without a decision they stay, and what they hold is read. Only positions that `may_decide` are written:
    /// voters that lack an acknowledged batch must not outvote those that have it.
    ///
    /// # Errors
    ///
    /// [`Short`] when fewer than the write quorum remain, or they may not decide. What was written then counts for
    /// nothing, since a decision counts when the quorum of its voters holds it.
    pub(crate) fn decide(
        &self,
        mut identity: Identity,
        mut positions: Vec<usize>,
        may_decide: impl Fn(&[usize]) -> bool,
    ) -> Result<Identity, Short> {
        let mut failures: Vec<(usize, String)> = Vec::new();
        loop {
            if positions.len() < self.geometry.write_quorum() || !may_decide(&positions) {
                return Err(Short { answered: positions.len() });
            }
            for (position, member) in identity.members.iter_mut().enumerate() {
                member.voter = positions.contains(&position);
            }
            let failed = self.write_identities(&identity, &positions);
            if failed.is_empty() {
                *self.identity.lock() = identity.clone();
                for (position, reason) in failures {
                    self.members[position].take_out(&reason);
                }
                return Ok(identity);
            }
            positions.retain(|position| !failed.iter().any(|(failed, _)| failed == position));
            failures.extend(failed);
            identity.revision += 1;
        }
    }

    /// The drives that did not take it, and why.
    fn write_identities(&self, identity: &Identity, positions: &[usize]) -> Vec<(usize, String)> {
        let identity = identity.clone();
        let write = move |member: &Member| {
            let copy = Identity { position: member.position, ..identity.clone() };
            member.drive()?.replace(FORMAT_FILE, &copy.encode())
        };
        let mut failed = Vec::new();
        for (position, written) in self.on_each(positions, IDENTITY_MAX, write) {
            self.members[position].note_decision(matches!(written, Some(Ok(()))));
            match written {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    failed.push((position, format!("its identity could not be written: {error}")));
                }
                None => {
                    let reason = "it hangs while its identity is written";
                    self.members[position].leave_behind(reason);
                    failed.push((position, reason.to_owned()));
                }
            }
        }
        failed
    }

    /// Bytes free and in all on the drives that take part; none are free while no payload is taken.
    pub(crate) fn room(&self) -> (u64, u64) {
        let spaces = self.online().map(Member::space);
        let (free, total) =
            spaces.fold((0, 0), |(free, total), space| (free + space.free_bytes, total + space.total_bytes));
        let takes_writes = *self.mode.read() == Mode::Writable && !self.is_full();
        (if takes_writes { free } else { 0 }, total)
    }

    /// What the drives report of themselves.
    pub(crate) fn report(&self, heal: HealReport) -> SetReport {
        let drives: Vec<DriveReport> = self
            .members
            .iter()
            .map(|member| {
                let drive = member.drive().ok();
                let space = if drive.is_some() { member.space() } else { Space::default() };
                DriveReport {
                    path: member.path.clone(),
                    id: drive.as_ref().map(|_| member.id().to_string()).unwrap_or_default(),
                    state: match (member.is_online(), member.is_joining()) {
                        (true, _) => DriveState::Online,
                        (false, true) => DriveState::Healing,
                        (false, false) => DriveState::Offline,
                    },
                    reason: member.reason(),
                    total_bytes: space.total_bytes,
                    free_bytes: space.free_bytes,
                    inodes: (space.inodes_used, space.inodes_free),
                    durable: drive.is_some_and(|drive| drive.durable()),
                }
            })
            .collect();
        let known = {
            let index = self.index.read();
            !index.has_undecided() && !index.is_unreadable()
        };
        let readable = self.online().count() >= self.geometry.read_quorum() && known;
        SetReport {
            id: self.id.to_string(),
            drives,
            data: self.geometry.data,
            parity: self.geometry.parity,
            write_quorum: self.geometry.write_quorum(),
            read_quorum: self.geometry.read_quorum(),
            writable: *self.mode.read() == Mode::Writable,
            readable,
            heal,
        }
    }
}
