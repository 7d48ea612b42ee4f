//! A set: its drives, who of them is in, and what is decided by writing their identities.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use store::{Clock, DriveReport, DriveState, SetReport};
use uuid::Uuid;

use crate::columns::Codec;
use crate::damage::Damages;
use crate::drive::{AlignedBytes, BLOCK_BYTES, Drive, Segment};
use crate::format::{FORMAT_FILE, Identity, Nonce};
use crate::frame::{Address, Frame, Header};
use crate::index::Index;
use crate::quorum::Geometry;
use crate::segment::{self, OpenSegment};

/// Segments of a drive that are kept open, with two descriptors each. Others are opened for a read.
const SEGMENTS_OPEN_MAX: usize = 16;

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
    pub geometry: Geometry,
    pub codec: Codec,
    /// In set order.
    pub members: Vec<Member>,
    /// The decision that holds: the epoch and its voters.
    pub identity: Mutex<Identity>,
    pub index: RwLock<Index>,
    pub mode: RwLock<Mode>,
    /// No space for another segment: only what gives space back is committed.
    pub full: AtomicBool,
    /// The highest epoch any drive was part of, or that was tried.
    pub highest_epoch: AtomicU64,
    /// Largest segment in bytes.
    pub largest_segment: u64,
    pub clock: Arc<dyn Clock>,
    /// What reads found broken.
    pub damages: Damages,
}

/// One place of a set and the drive that has it.
pub(crate) struct Member {
    pub position: usize,
    pub path: String,
    pub id: Uuid,
    /// `None` while it is absent.
    pub drive: Option<Arc<dyn Drive>>,
    /// Why it is not written and read; `None` while it is.
    out: RwLock<Option<String>>,
    online: AtomicBool,
    /// A write to it never came back: what its thread may still write must not meet a later one.
    hangs: AtomicBool,
    /// The last batch it holds.
    pub written: AtomicU64,
    /// At most [`SEGMENTS_OPEN_MAX`].
    segments: RwLock<BTreeMap<u32, Arc<OpenSegment>>>,
    /// Held while a segment is made, which one thread does at a time.
    making: Mutex<()>,
    /// The last reason an operator was told.
    told: Mutex<String>,
}

/// Fewer drives than the write quorum took a decision.
#[derive(Debug)]
pub(crate) struct Short {
    /// Drives that took it.
    pub answered: usize,
}

impl Member {
    pub(crate) fn new(
        position: usize,
        id: Uuid,
        path: String,
        drive: Option<Arc<dyn Drive>>,
        out: Option<String>,
    ) -> Member {
        let online = AtomicBool::new(drive.is_some() && out.is_none());
        Member {
            position,
            path,
            id,
            drive,
            out: RwLock::new(out),
            online,
            hangs: AtomicBool::new(false),
            written: AtomicU64::new(0),
            segments: RwLock::new(BTreeMap::new()),
            making: Mutex::new(()),
            told: Mutex::new(String::new()),
        }
    }

    /// Whether it is written and read as current.
    pub(crate) fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }

    /// Takes it out; the first reason stays.
    pub(crate) fn take_out(&self, reason: &str) {
        let mut out = self.out.write();
        if out.is_none() {
            *out = Some(reason.to_owned());
            // A drive that is asked again and again fails with the same words each time.
            let mut told = self.told.lock();
            if *told != reason {
                tracing::error!(drive = %self.path, reason, "A drive is out: it is neither written nor read.");
                reason.clone_into(&mut told);
            }
        }
        self.online.store(false, Ordering::Release);
    }

    /// Takes it out for as long as this process runs: a write to it never came back.
    pub(crate) fn leave_behind(&self, reason: &str) {
        self.hangs.store(true, Ordering::Release);
        self.take_out(reason);
    }

    /// Whether a write to it never came back.
    pub(crate) fn hangs(&self) -> bool {
        self.hangs.load(Ordering::Acquire)
    }

    /// Takes it in again: recovery found that it holds everything.
    pub(crate) fn take_in(&self) {
        *self.out.write() = None;
        self.online.store(true, Ordering::Release);
    }

    /// Why it is out.
    pub(crate) fn reason(&self) -> String {
        self.out.read().clone().unwrap_or_default()
    }

    /// The drive, or the error that it is absent.
    pub(crate) fn drive(&self) -> io::Result<&Arc<dyn Drive>> {
        self.drive.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the drive is absent"))
    }

    /// A segment that exists.
    pub(crate) fn segment(&self, number: u32) -> io::Result<Arc<OpenSegment>> {
        if let Some(segment) = self.segments.read().get(&number) {
            return Ok(Arc::clone(segment));
        }
        let file = self.drive()?.open_segment(number)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(self.keep_open(number, OpenSegment::found(file)))
    }

    /// Makes a segment with its header unless it exists.
    pub(crate) fn prepare_segment(&self, set: Uuid, number: u32, size_bytes: u64) -> io::Result<()> {
        let _one_at_a_time = self.making.lock();
        let open = self.segments.read().get(&number).map(Arc::clone);
        if let Some(open) = open {
            return self.write_segment_header(set, number, open.file());
        }
        let found = self.drive()?.open_segment(number)?.is_some();
        let file = self.drive()?.create_segment(number, size_bytes)?;
        self.write_segment_header(set, number, &*file)?;
        self.keep_open(number, if found { OpenSegment::found(file) } else { OpenSegment::made(file) });
        Ok(())
    }

    /// Writes a segment's header unless it is there: a crash may have come between the file and its header.
    fn write_segment_header(&self, set: Uuid, number: u32, file: &dyn Segment) -> io::Result<()> {
        let header = segment::header(set, self.id, number, file.size_bytes());
        let mut found = AlignedBytes::zeroed(BLOCK_BYTES);
        file.read_medium_at(0, &mut found)?;
        if found[..] == header[..] { Ok(()) } else { file.write_at(0, &header) }
    }

    /// Keeps a segment open, and closes the oldest when there are too many: those written to are the newest.
    fn keep_open(&self, number: u32, segment: OpenSegment) -> Arc<OpenSegment> {
        let mut segments = self.segments.write();
        let kept = Arc::clone(segments.entry(number).or_insert_with(|| Arc::new(segment)));
        while segments.len() > SEGMENTS_OPEN_MAX {
            segments.pop_first();
        }
        kept
    }

    /// Writes a frame; durable on return.
    pub(crate) fn write_frame(&self, address: Address, bytes: &[u8]) -> io::Result<()> {
        self.segment(address.segment)?.write_frame(u64::from(address.offset), bytes)
    }

    /// Reads a frame from the medium: `None` where there is none of this epoch.
    pub(crate) fn read_frame(&self, nonce: &Nonce, address: Address) -> io::Result<Option<Frame>> {
        let segment = match self.segment(address.segment) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.drive.is_some() => return Ok(None),
            other => other?,
        };
        let offset = u64::from(address.offset);
        if offset + BLOCK_BYTES as u64 > segment.file().size_bytes() {
            return Ok(None);
        }
        let mut block = AlignedBytes::zeroed(BLOCK_BYTES);
        segment.file().read_medium_at(offset, &mut block)?;
        let Some(header) = Header::decode(&block, nonce, address) else {
            return Ok(None);
        };
        if header.frame_bytes() > BLOCK_BYTES {
            let end = offset + header.frame_bytes() as u64;
            if end > segment.file().size_bytes() {
                return Ok(None);
            }
            block = AlignedBytes::zeroed(header.frame_bytes());
            segment.file().read_medium_at(offset, &mut block)?;
        }
        Ok(Some(Frame::of(header, &block)))
    }
}

impl Set {
    /// Drives that are written and read.
    pub(crate) fn online(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_online())
    }

    /// Size of a segment: that of the smallest of its files where there are any, else what it will be made with.
    pub(crate) fn segment_bytes(&self, number: u32) -> u64 {
        self.online()
            .filter_map(|member| member.segment(number).ok())
            .map(|segment| segment.file().size_bytes())
            .min()
            .unwrap_or_else(|| segment::segment_bytes(number, self.largest_segment))
    }

    /// Where a frame of `slot_bytes` goes when the next free place is `next`: a frame never crosses a segment.
    pub(crate) fn place(&self, next: Address, slot_bytes: usize) -> Address {
        if u64::from(next.offset) + slot_bytes as u64 <= self.segment_bytes(next.segment) {
            next
        } else {
            segment::first_address(next.segment + 1)
        }
    }

    /// Writes a decision to the drives of `positions`, who are its voters, each atomically and durably.
    ///
    /// The decision is written again without those that fail, until all that remain hold the same one; then those
    /// are out. Without a decision they stay, and what they hold is read. Only positions that `may_decide`
    /// are written: voters that lack an acknowledged batch must
    /// not outvote those that have it.
    ///
    /// # Errors
    ///
    /// [`Short`] when fewer than the write quorum remain, or they may not decide. What was written then
    /// counts for nothing, since a
    /// decision counts when the quorum of its voters holds it.
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

    /// The drives that did not take it, and why. Each is asked on a thread of its own: one that hangs holds nothing up.
    fn write_identities(&self, identity: &Identity, positions: &[usize]) -> Vec<(usize, String)> {
        let (answers, incoming) = channel();
        for &position in positions {
            let copy = Identity { position, ..identity.clone() };
            let drive = self.members[position].drive().map(Arc::clone);
            let answers = answers.clone();
            std::thread::spawn(move || {
                let written = drive.and_then(|drive| drive.replace(FORMAT_FILE, &copy.encode()));
                // Nobody listens any more when it took too long.
                let _ = answers.send((position, written));
            });
        }
        drop(answers);
        let deadline = Instant::now() + IDENTITY_MAX;
        let mut failed = Vec::new();
        let mut silent = positions.to_vec();
        while let Ok((position, written)) =
            incoming.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            silent.retain(|silent| *silent != position);
            if let Err(error) = written {
                failed.push((position, format!("its identity could not be written: {error}")));
            }
        }
        for position in silent {
            let reason = "it hangs while its identity is written";
            self.members[position].leave_behind(reason);
            failed.push((position, reason.to_owned()));
        }
        failed
    }

    /// What the drives report of themselves.
    pub(crate) fn report(&self) -> SetReport {
        let drives: Vec<DriveReport> = self
            .members
            .iter()
            .map(|member| {
                let space = member.drive.as_ref().and_then(|drive| drive.space().ok()).unwrap_or_default();
                DriveReport {
                    path: member.path.clone(),
                    id: if member.drive.is_some() { member.id.to_string() } else { String::new() },
                    state: if member.is_online() { DriveState::Online } else { DriveState::Offline },
                    reason: member.reason(),
                    total_bytes: space.total_bytes,
                    free_bytes: space.free_bytes,
                    inodes: (space.inodes_used, space.inodes_free),
                    durable: member.drive.as_ref().is_some_and(|drive| drive.durable()),
                }
            })
            .collect();
        let readable = self.online().count() >= self.geometry.read_quorum()
            && !self.index.read().has_undecided(&[], None);
        SetReport {
            deployment_id: self.id.to_string(),
            drives,
            data: self.geometry.data,
            parity: self.geometry.parity,
            write_quorum: self.geometry.write_quorum(),
            read_quorum: self.geometry.read_quorum(),
            writable: *self.mode.read() == Mode::Writable,
            readable,
        }
    }
}
