//! Writing a frame: to every drive at once, until the write quorum holds it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::inbox::Heed;
use super::{Flight, Sequencer};
use crate::chain::Stream;
use crate::columns::{Layout, column_on};
use crate::digest::crc64;
use crate::drive::{BLOCK_BYTES, is_full, is_shortage};
use crate::frame::{Form, HEADER_BYTES, Header, Kind, Shared};
use crate::segment::first_address;
use crate::table::Span;
use crate::writer::Job;

/// How long a batch waits for space on drives that it needs.
const FULL_MAX: Duration = Duration::from_secs(1);

/// The set froze: fewer drives than the write quorum hold the batch.
pub(super) struct Frozen(pub(super) String);

/// What a frame is made of.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    pub kind: Kind,
    pub stream: Stream,
    pub metadata: &'a [u8],
    pub layout: &'a Layout,
    /// The sequences of its commits or copies.
    pub span: Option<Span>,
}

/// Why a batch was not made durable.
pub(super) enum Failure {
    Full,
    Frozen(Frozen),
}

impl Sequencer {
    pub(super) fn write_plain(&mut self, kind: Kind, metadata: &[u8]) -> Result<(), Frozen> {
        let layout = Layout { form: Form::Empty, places: Vec::new(), columns: Vec::new(), stripe_bytes: 0 };
        // A seal needs no segment of its own where the hot stream has none at the moment.
        let stream = if kind == Kind::Seal { self.last_stream } else { Stream::Hot };
        match self.write_batch(&Batch { kind, stream, metadata, layout: &layout, span: None }) {
            Ok(_) => Ok(()),
            Err(Failure::Frozen(frozen)) => Err(frozen),
            Err(Failure::Full) if kind == Kind::Seal => Ok(()),
            Err(Failure::Full) => Err(Frozen("no space is left for the first segment of the journal".into())),
        }
    }

    /// Writes one batch and returns when q voters hold it.
    pub(super) fn write_batch(&mut self, batch: &Batch<'_>) -> Result<Shared, Failure> {
        let Batch { kind, stream, metadata, layout, span } = *batch;
        let slot = (HEADER_BYTES + metadata.len() + layout.stripe_bytes).next_multiple_of(BLOCK_BYTES);
        let address = self.set.place(&self.chain.heads, stream, slot);
        let begins = address == first_address(address.segment);
        if begins {
            self.begin_segment(address.segment, kind, stream)?;
        }
        let shared = Shared {
            kind,
            form: layout.form,
            stream,
            address,
            slot_bytes: number(slot),
            epoch: self.chain.log.epoch,
            nonce: self.chain.log.nonce,
            batch: self.chain.next_batch,
            previous_hash: self.chain.last_hash,
            durable_upto: self.chain.next_batch - 1,
            time_ns: self.set.clock.now_ns().max(self.chain.time_ns),
            meta_bytes: number(metadata.len()),
            meta_crc: crc64(&[metadata]),
            stripe_bytes: number(layout.stripe_bytes),
        };
        self.dispatch(&shared, metadata, layout);
        self.await_quorum(shared.batch).map_err(Failure::Frozen)?;
        self.chain.pass(&shared, span);
        self.last_stream = stream;
        if begins {
            self.note_new_segment();
        }
        let behind = u64::from(address.offset) + slot as u64;
        if behind > self.set.segment_bytes(address.segment) / 2 && self.prepared == self.chain.heads.newest {
            self.prepared += 1;
            self.prepare_next();
        }
        Ok(shared)
    }

    /// Makes the segment that a stream begins. Nothing was written when this fails.
    ///
    /// Where space is short, commits leave the last one to copies: without one nothing could be compacted any more, and
    /// what deletes took would never come back. The first frame of an epoch leaves nothing: without it there is none.
    fn begin_segment(&mut self, number: u32, kind: Kind, stream: Stream) -> Result<(), Failure> {
        self.prepared = self.prepared.max(number);
        self.ensure_segment(number)?;
        let leaves_one = stream == Stream::Hot && kind != Kind::EpochStart;
        if leaves_one && self.set.room_left().shortness() > 0.0 {
            self.ensure_segment(number + 1)?;
        }
        Ok(())
    }

    /// Makes a segment on every drive that lacks it.
    fn ensure_segment(&mut self, number: u32) -> Result<(), Failure> {
        let size_bytes = self.set.size_of_new();
        // On threads of their own: a drive that hangs here must not hold the others up.
        let (answers, incoming) = channel();
        let mut asked: Vec<usize> = self.set.online().map(|member| member.position).collect();
        for &position in &asked {
            let (set, answers) = (Arc::clone(&self.set), answers.clone());
            let user = set.members[position].user();
            std::thread::spawn(move || {
                let made = set.members[position].prepare_segment(set.id, number, size_bytes);
                // The answer may be the last thing the engine waits for before its drives are opened again.
                drop((set, user));
                // Nobody listens any more when it took too long.
                let _ = answers.send((position, made));
            });
        }
        let deadline = Instant::now() + self.set.patience.read().frame;
        let mut full = false;
        while !asked.is_empty() {
            let Ok((position, made)) =
                incoming.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            else {
                break;
            };
            asked.retain(|asked| *asked != position);
            match made {
                Ok(()) => {}
                Err(error) if is_full(&error) || is_shortage(&error) => full = true,
                Err(error) => self.note_failure(position, format!("a segment could not be made: {error}")),
            }
        }
        for position in asked {
            self.note_failure(position, "it hangs while a segment is made".to_owned());
        }
        if full { Err(Failure::Full) } else { Ok(()) }
    }

    fn dispatch(&mut self, shared: &Shared, metadata: &[u8], layout: &Layout) {
        for position in 0..self.flights.len() {
            let failed = self.failed.iter().any(|(failed, _)| *failed == position);
            if failed || !self.writers.takes(position) {
                continue;
            }
            let column: &[u8] = match layout.form {
                Form::Empty => &[],
                Form::Replicated => &layout.columns[0],
                Form::Columns => &layout.columns[column_on(self.set.geometry, shared.batch, position)],
            };
            let header = Header {
                shared: shared.clone(),
                position: u16::try_from(position).expect("a set has at most 16 drives"),
                column_bytes: number(column.len()),
                column_crc: crc64(&[column]),
            };
            let mut frame = self.writers.memory(header.frame_bytes());
            header.write_to(&mut frame, metadata, column);
            self.flights[position].push_back(Flight {
                batch: shared.batch,
                bytes: frame.len(),
                since: Instant::now(),
            });
            self.writers.write(position, Job { batch: shared.batch, address: shared.address, frame });
        }
        self.writers.poll();
    }

    /// Waits until q voters hold the batch, and takes out those that failed meanwhile.
    fn await_quorum(&mut self, batch: u64) -> Result<(), Frozen> {
        let quorum = self.set.geometry.write_quorum();
        let began = Instant::now();
        loop {
            self.watch_lag();
            let failed = self.failed.len();
            let able = self.set.online().count() - failed;
            if able < quorum {
                return Err(Frozen(self.describe_failures(batch)));
            }
            let holds = |position: &usize| {
                self.set.members[*position].is_online()
                    && self.set.members[*position].written.load(Ordering::Acquire) >= batch
                    && !self.failed.iter().any(|(failed, _)| failed == position)
            };
            let holders = (0..self.flights.len()).filter(holds).count();
            if holders >= quorum {
                if failed == 0 {
                    return Ok(());
                }
                // The decision may have cost another drive: what counts is who holds the batch after it.
                self.expel()?;
                continue;
            }
            if self.set.is_stalled() && began.elapsed() > FULL_MAX {
                return Err(Frozen(format!("the drives have no space for batch {batch}")));
            }
            let patience = self.set.patience.read().frame / 10;
            self.hear_written(quorum - holders, patience, Heed::AllButCommits);
        }
    }

    fn describe_failures(&self, batch: u64) -> String {
        let failures: Vec<String> = self
            .failed
            .iter()
            .map(|(position, reason)| format!("{}: {reason}", self.set.members[*position].path))
            .collect();
        format!("batch {batch} is short of the write quorum ({})", failures.join("; "))
    }

    /// Takes the failed drives out by a decision of the others.
    ///
    /// Puts it off while fewer than the write quorum of the others hold what was acknowledged: the decision makes
    /// them the voters, and the next start must find that batch on enough of them.
    pub(super) fn expel(&mut self) -> Result<(), Frozen> {
        let quorum = self.set.geometry.write_quorum();
        let remaining: Vec<usize> = self
            .set
            .online()
            .map(|member| member.position)
            .filter(|position| !self.failed.iter().any(|(failed, _)| failed == position))
            .collect();
        if remaining.len() < quorum {
            return Err(Frozen(format!("{} drives are left", remaining.len())));
        }
        let acknowledged = self.chain.next_batch - 1;
        let may_decide = |positions: &[usize]| {
            let holds = |position: &&usize| {
                self.set.members[**position].written.load(Ordering::Acquire) >= acknowledged
            };
            positions.iter().filter(holds).count() >= quorum
        };
        if !may_decide(&remaining) {
            return Ok(());
        }
        let mut identity = self.set.identity.lock().clone();
        identity.revision += 1;
        // Without a decision they are voters still: recovery waits for what is in flight on them.
        self.set
            .decide(identity, remaining, may_decide)
            .map_err(|short| Frozen(format!("{} drives are left", short.answered)))?;
        for (position, reason) in std::mem::take(&mut self.failed) {
            self.set.members[position].take_out(&reason);
        }
        self.drop_writers();
        Ok(())
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("a frame is smaller than 4 GiB")
}
