//! Frames: verifies the journal of the drives of a walk, and writes them what they lack.
//!
//! The journal is stepped through by the slots of its frames. What stands at a place is what the voters say: two that
//! agree, else the latest. A drive holds it if it has the same header, for itself, and all of it is sound. What drives
//! lack in a row is written in a row.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use store::CopyState;

use super::pace::Ended;
use super::tally::Tally;
use super::walk::Walk;
use crate::drive::{AlignedBytes, BLOCK_BYTES};
use crate::frame::{Address, Frame, Shared};
use crate::member::Member;
use crate::rebuild::{Rebuilt, Sources, rebuild};
use crate::record;
use crate::segment::first_address;
use crate::windows::Windows;

/// Bytes read from a drive at a time: 256 KiB.
const WINDOW_BYTES: usize = 256 * 1024;

/// Bytes of frames in a row that are gathered before they are written: 1 MiB.
const RUN_BYTES_MAX: usize = 1024 * 1024;

/// What a walk keeps of frames between its steps.
pub(super) struct Frames {
    pub windows: Windows,
    /// By position, what is to be written.
    runs: Vec<Option<Run>>,
    /// The segment that the targets have a file for.
    prepared: Option<u32>,
}

/// Frames in a row.
struct Run {
    start: Address,
    bytes: Vec<u8>,
}

impl Frames {
    pub(super) fn new(drives: usize) -> Frames {
        let windows = Windows::new(drives, WINDOW_BYTES);
        Frames { windows, runs: (0..drives).map(|_| None).collect(), prepared: None }
    }
}

impl Walk<'_> {
    /// Looks at the frame at an address, or at the first of the next segment that is in use: where the next one stands,
    /// and what its batch is at least. `None` behind the last segment.
    pub(super) fn next_frame(
        &mut self,
        address: Address,
        batch: Option<u64>,
    ) -> Result<Option<(Address, u64)>, Ended> {
        let Some(row) = self.end.table.from(address.segment).copied() else {
            return Ok(None);
        };
        let behind = Ok(Some((first_address(row.number + 1), batch.unwrap_or(1))));
        let address = if row.number == address.segment { address } else { first_address(row.number) };
        let is_gone = || !self.set.closed.read().is_in_use(row.number);
        if address.offset >= row.end || is_gone() {
            return behind;
        }
        self.prepare(row.number);
        let batches = row.first_batch..=row.last_batch;
        let Some(shared) = self.reference(address).filter(|shared| batches.contains(&shared.batch)) else {
            if !self.set.closed.read().is_in_use(row.number) {
                return behind;
            }
            let reason = format!("the frame at {address} is damaged on every drive");
            return Err(Ended::Broken { segment: row.number, reason });
        };
        self.frame(&shared)?;
        let next = Address { offset: address.offset + shared.slot_bytes, ..address };
        Ok(Some((next, shared.batch + 1)))
    }

    /// Makes the file of a segment, or its header, where that is missing or damaged.
    pub(super) fn prepare(&mut self, segment: u32) {
        if self.frames.prepared == Some(segment) || self.looking.is_some() {
            return;
        }
        self.flush();
        self.frames.prepared = Some(segment);
        let set = Arc::clone(&self.set);
        for target in self.targets.clone() {
            let (id, size_bytes) = (set.id, set.segment_bytes(segment));
            let prepare = move |member: &Member| {
                let had = member.has_segment(id, segment);
                if had { Ok(had) } else { member.prepare_segment(id, segment, size_bytes).map(|()| had) }
            };
            match set.patiently(target.position, prepare) {
                Ok(true) => {}
                Ok(false) => self.note_damage(&[target.position], &format!("segment {segment}"), true),
                Err(error) => self.fail(target.position, &format!("segment {segment}"), &error),
            }
        }
    }

    /// What stands at an address.
    pub(super) fn reference(&mut self, address: Address) -> Option<Shared> {
        let set = Arc::clone(&self.set);
        let mut found: Option<Shared> = None;
        for member in set.online() {
            let Some(header) = self.frames.windows.header(&set, member.position, address) else {
                continue;
            };
            let shared = header.shared;
            match &found {
                Some(known) if *known == shared => return found,
                Some(known) if (known.epoch, known.batch) >= (shared.epoch, shared.batch) => {}
                _ => found = Some(shared),
            }
        }
        found
    }

    /// Verifies one frame on the targets and rebuilds it where it is not sound.
    pub(super) fn frame(&mut self, shared: &Shared) -> Result<(), Ended> {
        let set = Arc::clone(&self.set);
        let mut lacking = Vec::new();
        for target in self.targets.clone() {
            let member = &set.members[target.position];
            // A drive that is in may be behind with its last frames.
            let late = member.is_online() && member.written.load(Ordering::Acquire) < shared.batch;
            if shared.batch >= target.below || late {
                continue;
            }
            self.count(u64::from(shared.slot_bytes) / self.targets.len() as u64);
            self.look_on(u64::from(shared.slot_bytes));
            if !self.has_whole(target.position, shared) {
                lacking.push(target.position);
            }
        }
        // Its segment may have been retired meanwhile: then it is nobody's, and no drive lacks it.
        if !lacking.is_empty() && !set.closed.read().is_in_use(shared.address.segment) {
            return Ok(());
        }
        if self.looking.is_some() {
            self.note_frame(shared, &lacking);
            return Ok(());
        }
        if lacking.len() >= self.degree { self.restore(shared, &lacking) } else { Ok(()) }
    }

    /// How a drive holds a batch's frame: whether it is there, or all of it is sound.
    pub(super) fn copy_of_frame(&mut self, position: usize, shared: &Shared, is_deep: bool) -> CopyState {
        let set = Arc::clone(&self.set);
        if self.frames.windows.bytes(&set, position, shared.address, BLOCK_BYTES).is_none() {
            return CopyState::Missing;
        }
        let is_sound = if is_deep {
            self.look_on(u64::from(shared.slot_bytes));
            self.frame_on(position, shared).is_some_and(|frame| frame.is_whole())
        } else {
            let header = self.frames.windows.header(&set, position, shared.address);
            header.is_some_and(|header| header.shared == *shared)
        };
        if is_sound { CopyState::Whole } else { CopyState::Damaged }
    }

    /// Whether a drive has a batch's frame, all of it sound.
    fn has_whole(&mut self, position: usize, shared: &Shared) -> bool {
        let mut is_whole = self.frame_on(position, shared).is_some_and(|frame| frame.is_whole());
        if !is_whole && self.set.members[position].is_online() {
            // A drive that was behind may have been written the frame after its place was read ahead.
            self.frames.windows.forget(position);
            is_whole = self.frame_on(position, shared).is_some_and(|frame| frame.is_whole());
        }
        is_whole
    }

    /// A batch's frame on a drive, with those of its parts that are sound.
    fn frame_on(&mut self, position: usize, shared: &Shared) -> Option<Frame> {
        let windows = &mut self.frames.windows;
        let header = windows.header(&self.set, position, shared.address)?;
        if header.shared == *shared { windows.frame(&self.set, header) } else { None }
    }

    /// By position, a batch's frames on those drives that have one. A part of it may be sound where others are not.
    pub(super) fn frames_on<'m>(
        &mut self,
        members: impl Iterator<Item = &'m Member>,
        shared: &Shared,
    ) -> Vec<(usize, Frame)> {
        members
            .filter_map(|member| Some((member.position, self.frame_on(member.position, shared)?)))
            .collect()
    }

    fn restore(&mut self, shared: &Shared, lacking: &[usize]) -> Result<(), Ended> {
        let set = Arc::clone(&self.set);
        let frames = self.frames_on(set.written(), shared);
        let what = format!("batch {} at {}", shared.batch, shared.address);
        match rebuild(&set.codec, &Sources { shared, frames: &frames }, lacking) {
            Rebuilt::Whole(rebuilt) => {
                self.note_damage(lacking, &what, true);
                let metadata = frames.iter().find_map(|(_, frame)| frame.metadata.as_deref());
                Tally::add(&self.tally.objects_healed, metadata.map_or(0, record::puts));
                for (position, frame) in rebuilt {
                    self.append(position, shared, &frame);
                }
            }
            Rebuilt::Hollow(rebuilt) => {
                self.note_damage(lacking, &what, false);
                self.quarantine(shared, &frames);
                // One that is in keeps what it has; one that joins gets what there is, for the sake of the rest.
                for (position, frame) in rebuilt {
                    let has_metadata =
                        frames.iter().any(|(holder, frame)| *holder == position && frame.metadata.is_some());
                    if !has_metadata {
                        self.append(position, shared, &frame);
                    }
                }
                self.note_lost(what);
            }
            Rebuilt::Lost => {
                self.note_damage(lacking, &what, false);
                self.note_lost(what);
                let reason = format!("batch {} is damaged on every drive", shared.batch);
                return Err(Ended::Broken { segment: shared.address.segment, reason });
            }
        }
        Ok(())
    }

    /// Keeps what is left of a frame for a person to look at.
    fn quarantine(&mut self, shared: &Shared, frames: &[(usize, Frame)]) {
        let set = Arc::clone(&self.set);
        for (position, frame) in frames.iter().filter(|(_, frame)| frame.column.is_none()) {
            let length = frame.header.frame_bytes();
            let Some(bytes) = self.frames.windows.bytes(&set, *position, shared.address, length) else {
                continue;
            };
            let name = format!("frame-{:08}-{:010}", shared.address.segment, shared.address.offset);
            let (bytes, file) = (bytes.to_vec(), name.clone());
            let keep = move |member: &Member| member.drive()?.quarantine(&file, &bytes);
            let kept = set.patiently(*position, keep);
            if let Err(error) = kept {
                tracing::warn!(name, %error, "What is left of a damaged frame could not be kept.");
            }
        }
    }

    fn append(&mut self, position: usize, shared: &Shared, frame: &[u8]) {
        let joins = self.frames.runs[position].as_ref().is_some_and(|run| {
            run.start.segment == shared.address.segment
                && run.start.offset as usize + run.bytes.len() == shared.address.offset as usize
                && run.bytes.len() + frame.len() <= RUN_BYTES_MAX
        });
        if !joins {
            self.flush_drive(position);
        }
        let run = self.frames.runs[position].get_or_insert(Run { start: shared.address, bytes: Vec::new() });
        run.bytes.extend_from_slice(frame);
        run.bytes.resize(run.bytes.len() + shared.slot_bytes as usize - frame.len(), 0);
    }

    /// Writes what was gathered.
    pub(super) fn flush(&mut self) {
        for position in 0..self.frames.runs.len() {
            self.flush_drive(position);
        }
    }

    fn flush_drive(&mut self, position: usize) {
        let Some(run) = self.frames.runs[position].take() else {
            return;
        };
        debug_assert!(run.bytes.len().is_multiple_of(BLOCK_BYTES), "frames are whole blocks");
        let mut bytes = AlignedBytes::zeroed(run.bytes.len());
        bytes.copy_from_slice(&run.bytes);
        let (start, length) = (run.start, bytes.len() as u64);
        let set = Arc::clone(&self.set);
        // A segment that was retired meanwhile may be another one by now.
        let write = move |member: &Member| {
            member.while_none_is_retired(|| {
                let is_in_use = set.closed.read().is_in_use(start.segment);
                if is_in_use { member.write_frame(start, &bytes) } else { Ok(()) }
            })
        };
        let written = self.set.patiently(position, write);
        self.frames.windows.forget(position);
        match written {
            Ok(()) => {
                Tally::add(&self.tally.bytes_healed, length);
                self.tally.touch(&*self.set.clock);
            }
            Err(error) => self.fail(position, &start.to_string(), &error),
        }
    }
}
