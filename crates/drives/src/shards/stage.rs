//! Staging a body: encodes it as it comes and writes it to every drive.
//!
//! Bytes are copied once, to where they lie in the files. Each drive has a task of its own that appends one buffer at a
//! time and syncs at the end. A body of one buffer goes into a volume where one has room, by one write on each drive. A
//! drive that fails or misses its deadline is a fault; the body goes on while q drives are left.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use store::{EngineError, Future, Location, Stage, StageHint};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use super::extent::write_extent;
use super::volumes::give;
use super::{BLOCK_BYTES, CRC_BYTES, HEADER_BYTES, block_crc, remove, stripes_per_buffer};
use crate::digest::crc64;
use crate::drive::{ShardWriter, is_full, is_shortage};
use crate::lane;
use crate::location::{Place, ShardId};
use crate::member::Member;
use crate::payload::is_silence;
use crate::set::Set;
use crate::volumes::Given;

const MAGIC: &[u8; 8] = b"TIDINGSH";

/// Buffers that wait behind the one a drive is writing.
const BUFFERS_WAITING_MAX: usize = 1;

/// The header of a shard.
pub(crate) fn shard_header(set: Uuid, place: &Place, column: usize) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    bytes[12] = u8::try_from(column).expect("at most 16 columns");
    bytes[13] = u8::try_from(place.geometry.data).expect("at most 16 columns");
    bytes[14] = u8::try_from(place.geometry.parity).expect("at most 16 columns");
    bytes[16..32].copy_from_slice(set.as_bytes());
    bytes[32..48].copy_from_slice(&place.id.to_bytes());
    bytes[48..52].copy_from_slice(&u32::try_from(BLOCK_BYTES).expect("64 KiB").to_le_bytes());
    let crc = crc64(&[&bytes[..HEADER_BYTES - 8]]);
    bytes[HEADER_BYTES - 8..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Stripes being filled, as they will lie in the files.
struct Stripes {
    /// By column: what its file gets next.
    columns: Vec<Vec<u8>>,
    /// Where the blocks of the stripe being filled begin in each column.
    stripe_start: usize,
    /// Bytes of the body in it.
    stripe_filled: usize,
    /// Its number.
    number: u64,
    /// Whole stripes gathered.
    gathered: usize,
}

impl Stripes {
    fn new(set: &Set, place: &Place, column_bytes: usize) -> Stripes {
        let column = |column| {
            let mut bytes = Vec::with_capacity(HEADER_BYTES + column_bytes);
            bytes.extend_from_slice(&shard_header(set.id, place, column));
            bytes
        };
        let columns = (0..place.geometry.drives()).map(column).collect();
        Stripes { columns, stripe_start: HEADER_BYTES, stripe_filled: 0, number: 0, gathered: 0 }
    }

    /// Whether nothing was handed on yet.
    fn is_whole(&self) -> bool {
        self.number == self.gathered as u64
    }

    /// Takes what fits into the stripe being filled, and gives back the rest.
    fn fill<'a>(&mut self, data: usize, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while !rest.is_empty() && self.stripe_filled < data * BLOCK_BYTES {
            let (column, within) = (self.stripe_filled / BLOCK_BYTES, self.stripe_filled % BLOCK_BYTES);
            let column = &mut self.columns[column];
            if within == 0 {
                column.extend_from_slice(&[0; CRC_BYTES]);
            }
            let (taken, after) = rest.split_at(rest.len().min(BLOCK_BYTES - within));
            column.extend_from_slice(taken);
            self.stripe_filled += taken.len();
            rest = after;
        }
        rest
    }

    /// Ends the stripe being filled: parity and checksums.
    fn seal(&mut self, set: &Set, place: &Place) {
        let data = place.geometry.data;
        let block_bytes = self.stripe_filled.div_ceil(data);
        if self.stripe_filled < data * BLOCK_BYTES {
            self.level(data, block_bytes);
        }
        let end = self.stripe_start + CRC_BYTES + block_bytes;
        for column in &mut self.columns[data..] {
            column.resize(end, 0);
        }
        let (filled, parity) = self.columns.split_at_mut(data);
        let begin = self.stripe_start + CRC_BYTES;
        let blocks: Vec<&[u8]> = filled.iter().map(|column| &column[begin..end]).collect();
        let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(|column| &mut column[begin..end]).collect();
        set.codec.encode_blocks(&blocks, &mut parity);
        for (nth, column) in self.columns.iter_mut().enumerate() {
            let crc = block_crc(place.id, nth, self.number, &column[begin..end]);
            column[self.stripe_start..begin].copy_from_slice(&crc.to_le_bytes());
        }
        self.stripe_start = end;
        self.stripe_filled = 0;
        self.number += 1;
        self.gathered += 1;
    }

    /// Cuts the last stripe of a body, which is shorter, into equal blocks.
    fn level(&mut self, data: usize, block_bytes: usize) {
        let mut stripe = Vec::with_capacity(data * block_bytes);
        for column in &mut self.columns[..data] {
            stripe.extend_from_slice(column.get(self.stripe_start + CRC_BYTES..).unwrap_or_default());
            column.truncate(self.stripe_start);
        }
        stripe.resize(data * block_bytes, 0);
        for (column, block) in self.columns[..data].iter_mut().zip(stripe.chunks(block_bytes)) {
            column.extend_from_slice(&[0; CRC_BYTES]);
            column.extend_from_slice(block);
        }
    }

    /// The gathered bytes of every column, and room for `column_bytes` more.
    fn take(&mut self, column_bytes: usize) -> Vec<Vec<u8>> {
        self.stripe_start = 0;
        self.gathered = 0;
        self.columns
            .iter_mut()
            .map(|column| std::mem::replace(column, Vec::with_capacity(column_bytes)))
            .collect()
    }
}

/// What a drive gets next.
struct Job {
    bytes: Vec<u8>,
    /// Nothing follows: it is synced.
    last: bool,
    /// Where it goes; `None` for the file.
    given: Option<Given>,
}

/// The shard of one drive and the task that writes it.
struct Shard {
    position: usize,
    jobs: mpsc::Sender<Job>,
    task: JoinHandle<io::Result<()>>,
}

impl Shard {
    fn start(set: &Arc<Set>, position: usize, id: ShardId) -> Shard {
        let (jobs, incoming) = mpsc::channel(BUFFERS_WAITING_MAX);
        let task = tokio::spawn(write(Arc::clone(set), position, id, incoming));
        Shard { position, jobs, task }
    }
}

/// Writes one drive's shard. Ends early with an error, or when nobody gives it jobs any more.
async fn write(set: Arc<Set>, position: usize, id: ShardId, mut jobs: mpsc::Receiver<Job>) -> io::Result<()> {
    let mut writer: Option<Box<dyn ShardWriter>> = None;
    while let Some(Job { bytes, last, given }) = jobs.recv().await {
        if let Some(given) = given {
            return lane::write(&set, position, move |member| write_given(member, given, &bytes)).await;
        }
        let written = lane::write(&set, position, move |member| {
            let drive = member.drive()?;
            member.check_room(&*drive, bytes.len() as u64)?;
            let mut writer = match writer {
                Some(writer) => writer,
                None => drive.create_shard(id)?,
            };
            writer.append(&bytes)?;
            if last {
                writer.sync()?;
            }
            Ok(writer)
        });
        writer = Some(written.await?);
        if last {
            return Ok(());
        }
    }
    Err(io::Error::other("the body was abandoned"))
}

fn write_given(member: &Member, given: Given, bytes: &[u8]) -> io::Result<()> {
    if given.is_hollow {
        member.check_room(&*member.drive()?, bytes.len() as u64)?;
    }
    write_extent(member, given.extent, bytes)
}

/// A body being staged. Its files are removed when it is dropped unfinished.
pub(crate) struct ShardStage {
    set: Arc<Set>,
    place: Place,
    shards: Vec<Shard>,
    stripes: Stripes,
    stripes_per_buffer: usize,
    column_bytes: usize,
    /// When it was begun, in joinings: drives that joined since do not hold all of it.
    begun: u64,
    finished: bool,
}

impl ShardStage {
    pub(crate) fn open(set: &Arc<Set>, hint: StageHint) -> Result<ShardStage, EngineError> {
        let epoch = set.identity.lock().log.epoch;
        let geometry = set.geometry;
        let id = ShardId { random: rand::random(), epoch };
        let place = Place { id, extent: None, size_bytes: 0, geometry, holders: 0 };
        let announced = usize::try_from(hint.size_bytes.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let stripes_per_buffer = stripes_per_buffer(geometry, announced);
        let stripes = announced.div_ceil(geometry.data * BLOCK_BYTES).clamp(1, stripes_per_buffer);
        let column_bytes = stripes * (CRC_BYTES + BLOCK_BYTES);
        let mut stage = ShardStage {
            set: Arc::clone(set),
            place,
            shards: Vec::new(),
            stripes: Stripes::new(set, &place, column_bytes),
            stripes_per_buffer,
            column_bytes,
            begun: set.bodies.begin(place.id),
            finished: false,
        };
        stage.shards = set.written().map(|member| Shard::start(set, member.position, place.id)).collect();
        stage.check_quorum(|position| stage.shards.iter().any(|shard| shard.position == position))?;
        Ok(stage)
    }

    /// Whether enough of the drives that count take it, or took it.
    fn check_quorum(&self, takes: impl Fn(usize) -> bool) -> Result<(), EngineError> {
        let answered = self.set.online().filter(|member| takes(member.position)).count();
        let needed = self.set.geometry.write_quorum();
        if answered < needed { Err(EngineError::WriteQuorum { answered, needed }) } else { Ok(()) }
    }

    /// Goes on without a drive; no space on one is no space at all, and a shortage of ours is no fault of it. One that
    /// missed its deadline was told when it did, and one that was busy all the while is no fault.
    fn lose(&self, position: usize, error: &io::Error) -> Result<(), EngineError> {
        if is_silence(error) {
            self.set.volumes.haunt(&self.place);
        }
        if !self.set.members[position].is_online() {
            // One that is being healed holds nobody up, and is given up for now.
            self.set.fault(position, format!("a shard could not be written: {error}"));
            return Ok(());
        }
        if is_full(error) {
            return Err(EngineError::Full);
        }
        if is_shortage(error) {
            let needed = self.set.geometry.write_quorum();
            return Err(EngineError::WriteQuorum { answered: self.shards.len().min(needed - 1), needed });
        }
        if is_silence(error) {
            return Ok(());
        }
        self.set.fault(position, format!("a shard could not be written: {error}"));
        Ok(())
    }

    /// Hands every drive what was gathered for it: to lie in a volume, if that is all of a body and there is room. One
    /// whose task ended is lost.
    async fn flush(&mut self, last: bool) -> Result<(), EngineError> {
        let is_whole = last && self.stripes.is_whole();
        let given = if is_whole { give(&self.set, &self.place) } else { None };
        self.place.extent = given.map(|given| given.extent);
        let columns = self.stripes.take(if last { 0 } else { self.column_bytes });
        let mut left = Vec::with_capacity(self.shards.len());
        let mut columns: Vec<Option<Vec<u8>>> = columns.into_iter().map(Some).collect();
        for shard in std::mem::take(&mut self.shards) {
            let bytes = columns[self.place.column_on(shard.position)].take().unwrap_or_default();
            let job = Job { bytes, last, given };
            let is_online = self.set.members[shard.position].is_online();
            let taken = if is_online {
                shard.jobs.send(job).await.is_ok()
            } else {
                // One that is being healed is not waited for: it gets the body when it is healed.
                match shard.jobs.try_send(job) {
                    Err(mpsc::error::TrySendError::Full(_)) => continue,
                    sent => sent.is_ok(),
                }
            };
            if taken {
                left.push(shard);
            } else if let Err(error) = joined(shard.task.await) {
                self.lose(shard.position, &error)?;
            }
        }
        self.shards = left;
        self.check_quorum(|position| self.shards.iter().any(|shard| shard.position == position))
    }

    async fn end(&mut self) -> Result<Location, EngineError> {
        if self.stripes.stripe_filled > 0 {
            self.stripes.seal(&self.set, &self.place);
        }
        let handed_on = self.flush(true).await;
        if handed_on.is_err() {
            // Some drives may be writing it, and nobody waits for them.
            self.set.volumes.haunt(&self.place);
        }
        handed_on?;
        self.sync().await?;
        Ok(self.place.to_location())
    }

    /// Waits until every drive has its shard, synced; of those that are being healed only so long as hedging takes.
    async fn sync(&mut self) -> Result<(), EngineError> {
        let hedge = self.set.patience.read().hedge;
        let (voting, joining): (Vec<Shard>, Vec<Shard>) = std::mem::take(&mut self.shards)
            .into_iter()
            .partition(|shard| self.set.members[shard.position].is_online());
        let tasks = voting.into_iter().map(|shard| async move { (shard.position, joined(shard.task.await)) });
        let mut results = join_all(tasks).await;
        for shard in joining {
            match timeout(hedge, shard.task).await {
                Ok(result) => results.push((shard.position, joined(result))),
                Err(_) => self.set.volumes.haunt(&self.place),
            }
        }
        let mut full = Ok(());
        for (position, result) in results {
            let is_written = self.set.members[position].is_written();
            match result {
                // One that is out by now, or was and is back, does not count.
                Ok(()) if is_written && self.set.bodies.is_kept(position, self.begun) => {
                    self.place.holders |= 1 << position;
                }
                Ok(()) => {}
                Err(error) => full = full.and(self.lose(position, &error)),
            }
        }
        full?;
        self.check_quorum(|position| self.place.holders & (1 << position) != 0)
    }
}

impl Stage for ShardStage {
    fn write(&mut self, bytes: Bytes) -> Future<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let data = self.place.geometry.data;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                // A buffer is handed on when more comes, so that the last one goes with the sync.
                if self.stripes.gathered == self.stripes_per_buffer {
                    self.flush(false).await?;
                }
                rest = self.stripes.fill(data, rest);
                if self.stripes.stripe_filled == data * BLOCK_BYTES {
                    self.stripes.seal(&self.set, &self.place);
                }
            }
            self.place.size_bytes += bytes.len() as u64;
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> Future<'static, Result<Location, EngineError>> {
        Box::pin(async move {
            let (tell, told) = oneshot::channel();
            // It comes to its end also when nobody waits: what is written to an extent is known then.
            tokio::spawn(async move {
                let ended = self.end().await;
                self.finished = ended.is_ok();
                if tell.send(ended).is_err() {
                    self.finished = false;
                }
            });
            told.await.unwrap_or(Err(EngineError::Closed))
        })
    }
}

impl Drop for ShardStage {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.set.bodies.forget(self.place.id);
        // Without a runtime nothing writes any more, and what is left is found as garbage.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (set, place) = (Arc::clone(&self.set), self.place);
        let tasks: Vec<_> = self.shards.drain(..).map(|shard| shard.task).collect();
        runtime.spawn(async move {
            // What is being written is written first, or it would be there again.
            join_all(tasks).await;
            remove(&set, &place).await;
        });
    }
}

/// A task that ended otherwise than by returning was cut off by the runtime's end.
fn joined(result: Result<io::Result<()>, tokio::task::JoinError>) -> io::Result<()> {
    match result {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(io::Error::other(error)),
    }
}
