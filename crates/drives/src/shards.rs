//! Shards: large bodies, staged on all drives before a commit names them.
//!
//! A body is cut into stripes of k blocks of 64 KiB; m parity blocks are computed; block c of every stripe
//! goes to the file of column c, one file a drive. Every block carries a CRC64 seeded with the body's id, its
//! column and its number: an intact block in the wrong place does not pass. A body is finished when file and
//! folder are synced on at least q voters, and its location says which.
//!
//! Bounds: a stage holds at most two buffers of [`STRIPES_PER_BUFFER`] stripes, one filling and one being
//! written; a read holds one. Memory does not grow with the body.
//!
//! What is not here: collecting what a crash left behind; such files name an earlier epoch.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use store::{ByteStream, EngineError, Future, Location, Stage};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::digest::crc64;
use crate::drive::{ShardReader, ShardWriter, is_full};
use crate::location::{Place, ShardId};
use crate::set::Set;

/// Bytes of a block: 64 KiB.
const BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of a block's checksum, which stands before it.
const CRC_BYTES: usize = 8;

/// Stripes encoded, written or read at a time: 512 KiB a drive.
const STRIPES_PER_BUFFER: usize = 8;

/// Bytes of a shard file's header.
const HEADER_BYTES: usize = 128;

const MAGIC: &[u8; 8] = b"TIDINGSH";

/// Tells the sequencer that a drive failed.
pub(crate) type Faults = Arc<dyn Fn(usize, String) + Send + Sync>;

/// Bodies that are being read, and which of them are to be removed when that ends.
#[derive(Default)]
pub(crate) struct Pins {
    pinned: Mutex<HashMap<ShardId, Pinned>>,
}

#[derive(Default)]
struct Pinned {
    readers: usize,
    reclaimed: bool,
}

/// Keeps a body's files while it lives.
struct Pin {
    set: Arc<Set>,
    pins: Arc<Pins>,
    id: ShardId,
}

impl Pin {
    fn new(set: Arc<Set>, pins: Arc<Pins>, id: ShardId) -> Pin {
        pins.pinned.lock().entry(id).or_default().readers += 1;
        Pin { set, pins, id }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let reclaimed = {
            let mut pinned = self.pins.pinned.lock();
            let Some(entry) = pinned.get_mut(&self.id) else {
                return;
            };
            entry.readers -= 1;
            let reclaimed = entry.reclaimed;
            if entry.readers == 0 {
                pinned.remove(&self.id).is_some_and(|_| reclaimed)
            } else {
                false
            }
        };
        if reclaimed {
            remove(&self.set, self.id);
        }
    }
}

/// Removes a body's files, now or when the last reader is gone; blocks.
pub(crate) fn reclaim(set: &Set, pins: &Pins, location: &Location) -> Result<(), EngineError> {
    let place = Place::from_location(location).ok_or_else(|| no_such(location))?;
    if let Some(pinned) = pins.pinned.lock().get_mut(&place.id) {
        pinned.reclaimed = true;
        return Ok(());
    }
    remove(set, place.id);
    Ok(())
}

fn remove(set: &Set, id: ShardId) {
    for member in set.online() {
        let removed = member.drive().and_then(|drive| drive.remove_shard(id));
        if let Err(error) = removed {
            tracing::warn!(drive = %member.path, shard = %id.to_name(), %error, "A shard was not removed and stays as garbage.");
        }
    }
}

fn no_such(location: &Location) -> EngineError {
    EngineError::NoSuchLocation {
        location: location.clone(),
    }
}

fn block_crc(id: ShardId, column: usize, number: u64, block: &[u8]) -> u64 {
    crc64(&[
        &id.to_bytes(),
        &[u8::try_from(column).expect("at most 16 columns")],
        &number.to_le_bytes(),
        block,
    ])
}

fn shard_header(set: &Set, place: &Place, column: usize) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    bytes[12] = u8::try_from(column).expect("at most 16 columns");
    bytes[13] = u8::try_from(place.geometry.data).expect("at most 16 columns");
    bytes[14] = u8::try_from(place.geometry.parity).expect("at most 16 columns");
    bytes[16..32].copy_from_slice(set.id.as_bytes());
    bytes[32..48].copy_from_slice(&place.id.to_bytes());
    bytes[48..52].copy_from_slice(&u32::try_from(BLOCK_BYTES).expect("64 KiB").to_le_bytes());
    let crc = crc64(&[&bytes[..HEADER_BYTES - 8]]);
    bytes[HEADER_BYTES - 8..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The files of a body being written. Removes them when dropped unfinished.
struct Files {
    set: Arc<Set>,
    faults: Faults,
    place: Place,
    /// By position.
    writers: Vec<Option<Box<dyn ShardWriter>>>,
    stripes: u64,
    finished: bool,
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.finished {
            self.writers.clear();
            remove(&self.set, self.place.id);
        }
    }
}

impl Files {
    fn create(set: Arc<Set>, faults: Faults, epoch: u64) -> Result<Files, EngineError> {
        let place = Place {
            id: ShardId {
                random: rand::random(),
                epoch,
            },
            size_bytes: 0,
            geometry: set.geometry,
            holders: 0,
        };
        let count = set.members.len();
        let mut files = Files {
            set,
            faults,
            place,
            writers: (0..count).map(|_| None).collect(),
            stripes: 0,
            finished: false,
        };
        let set = Arc::clone(&files.set);
        for member in set.online() {
            let column = files.place.column_on(member.position);
            let created = member
                .drive()
                .and_then(|drive| drive.create_shard(files.place.id))
                .and_then(|mut writer| {
                    writer.append(&shard_header(&set, &files.place, column))?;
                    Ok(writer)
                });
            match created {
                Ok(writer) => files.writers[member.position] = Some(writer),
                Err(error) => files.lose(member.position, &error)?,
            }
        }
        files.check_quorum()?;
        Ok(files)
    }

    /// Goes on without a drive; no space on one is no space at all.
    fn lose(&mut self, position: usize, error: &std::io::Error) -> Result<(), EngineError> {
        self.writers[position] = None;
        if is_full(error) {
            return Err(EngineError::Full);
        }
        (self.faults)(position, format!("a shard could not be written: {error}"));
        Ok(())
    }

    fn check_quorum(&self) -> Result<(), EngineError> {
        let (answered, needed) = (
            self.writers.iter().flatten().count(),
            self.set.geometry.write_quorum(),
        );
        if answered < needed {
            Err(EngineError::WriteQuorum { answered, needed })
        } else {
            Ok(())
        }
    }

    /// Encodes and appends whole stripes, or the body's last bytes; blocks.
    fn append(&mut self, body: &[u8]) -> Result<(), EngineError> {
        let geometry = self.place.geometry;
        let mut output: Vec<Vec<u8>> = vec![Vec::new(); geometry.drives()];
        for stripe in body.chunks(geometry.data * BLOCK_BYTES) {
            let block_bytes = stripe.len().div_ceil(geometry.data);
            let mut columns: Vec<Vec<u8>> = stripe.chunks(block_bytes).map(<[u8]>::to_vec).collect();
            columns.resize(geometry.drives(), Vec::new());
            for column in &mut columns {
                column.resize(block_bytes, 0);
            }
            self.set.codec.encode(&mut columns);
            for (column, (output, block)) in output.iter_mut().zip(&columns).enumerate() {
                output
                    .extend_from_slice(&block_crc(self.place.id, column, self.stripes, block).to_le_bytes());
                output.extend_from_slice(block);
            }
            self.stripes += 1;
        }
        self.place.size_bytes += body.len() as u64;
        for position in 0..self.writers.len() {
            let Some(writer) = &mut self.writers[position] else {
                continue;
            };
            if let Err(error) = writer.append(&output[self.place.column_on(position)]) {
                self.lose(position, &error)?;
            }
        }
        self.check_quorum()
    }

    /// Makes everything durable, all drives at once; blocks.
    fn finish(mut self) -> Result<Location, EngineError> {
        let writers = std::mem::take(&mut self.writers);
        let results: Vec<_> = std::thread::scope(|scope| {
            let syncs: Vec<_> = writers
                .into_iter()
                .map(|writer| writer.map(|mut writer| scope.spawn(move || writer.sync().map(|()| writer))))
                .collect();
            syncs
                .into_iter()
                .map(|sync| sync.map(|sync| sync.join().expect("a sync does not panic")))
                .collect()
        });
        self.writers = (0..results.len()).map(|_| None).collect();
        for (position, result) in results.into_iter().enumerate() {
            match result {
                Some(Ok(writer)) => {
                    self.writers[position] = Some(writer);
                    self.place.holders |= 1 << position;
                }
                Some(Err(error)) => self.lose(position, &error)?,
                None => {}
            }
        }
        self.check_quorum()?;
        self.finished = true;
        Ok(self.place.to_location())
    }
}

/// A body being staged.
pub(crate) struct ShardStage {
    /// Here while nothing is being written.
    files: Option<Files>,
    /// The buffer before, being written.
    writing: Option<JoinHandle<Result<Files, EngineError>>>,
    buffer: Vec<u8>,
    buffer_bytes: usize,
}

impl ShardStage {
    pub(crate) async fn open(set: Arc<Set>, faults: Faults) -> Result<ShardStage, EngineError> {
        let epoch = set.identity.lock().log.epoch;
        let buffer_bytes = set.geometry.data * BLOCK_BYTES * STRIPES_PER_BUFFER;
        let files = blocking(move || Files::create(set, faults, epoch)).await?;
        Ok(ShardStage {
            files: Some(files),
            writing: None,
            buffer: Vec::with_capacity(buffer_bytes),
            buffer_bytes,
        })
    }

    /// The files, when what is being written is written.
    async fn files(&mut self) -> Result<Files, EngineError> {
        match self.writing.take() {
            Some(writing) => joined(writing.await)?,
            None => self.files.take().ok_or(EngineError::Closed),
        }
    }

    async fn flush(&mut self) -> Result<(), EngineError> {
        let mut files = self.files().await?;
        let body = std::mem::replace(&mut self.buffer, Vec::with_capacity(self.buffer_bytes));
        self.writing = Some(spawn_blocking(move || files.append(&body).map(|()| files)));
        Ok(())
    }
}

impl Stage for ShardStage {
    fn write(&mut self, bytes: Bytes) -> Future<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let taken = rest.len().min(self.buffer_bytes - self.buffer.len());
                self.buffer.extend_from_slice(&rest[..taken]);
                rest = &rest[taken..];
                if self.buffer.len() == self.buffer_bytes {
                    self.flush().await?;
                }
            }
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> Future<'static, Result<Location, EngineError>> {
        Box::pin(async move {
            let mut files = self.files().await?;
            let body = std::mem::take(&mut self.buffer);
            blocking(move || {
                if !body.is_empty() {
                    files.append(&body)?;
                }
                files.finish()
            })
            .await
        })
    }
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    joined(spawn_blocking(run).await)?
}

/// A task that ended otherwise than by returning was cut off by the runtime's end.
fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, EngineError> {
    result.map_err(|error| {
        if error.is_panic() {
            std::panic::resume_unwind(error.into_panic())
        } else {
            EngineError::Closed
        }
    })
}

/// A body being read.
struct ShardRead {
    set: Arc<Set>,
    place: Place,
    /// By column.
    readers: Vec<Option<Arc<dyn ShardReader>>>,
    range: Range<u64>,
    _pin: Pin,
}

/// Streams `range` of a body.
pub(crate) async fn read(
    set: Arc<Set>,
    pins: Arc<Pins>,
    location: Location,
    range: Range<u64>,
) -> Result<ByteStream, EngineError> {
    let place = Place::from_location(&location).ok_or_else(|| no_such(&location))?;
    let range = range.start.min(place.size_bytes)..range.end.min(place.size_bytes);
    let pin = Pin::new(Arc::clone(&set), pins, place.id);
    let read = blocking(move || {
        let readers = open_readers(&set, &place, &location)?;
        Ok(ShardRead {
            set,
            place,
            readers,
            range,
            _pin: pin,
        })
    })
    .await?;
    Ok(Box::pin(stream::unfold(Some(read), |read| async move {
        let mut read = read.filter(|read| read.range.start < read.range.end)?;
        let step = blocking(move || {
            let bytes = read.next_chunk()?;
            Ok((bytes, read))
        });
        Some(match step.await {
            Ok((bytes, read)) => (Ok(bytes), Some(read)),
            Err(error) => (Err(error), None),
        })
    })))
}

fn open_readers(
    set: &Set,
    place: &Place,
    location: &Location,
) -> Result<Vec<Option<Arc<dyn ShardReader>>>, EngineError> {
    let mut readers: Vec<Option<Arc<dyn ShardReader>>> = vec![None; place.geometry.drives()];
    let (mut answered, mut absent) = (0, 0);
    for column in 0..readers.len() {
        let position = place.drive_of(column);
        let Some(member) = set.members.get(position).filter(|member| member.is_online()) else {
            continue;
        };
        if place.holders & (1 << position) == 0 {
            continue;
        }
        match member.drive().and_then(|drive| drive.open_shard(place.id)) {
            Ok(reader) => {
                answered += 1;
                absent += usize::from(reader.is_none());
                readers[column] = reader;
            }
            Err(error) => {
                tracing::warn!(drive = %member.path, %error, "A shard cannot be opened; parity stands in.")
            }
        }
    }
    let needed = place.geometry.read_quorum();
    if answered > 0 && absent == answered {
        return Err(no_such(location));
    }
    if answered < needed {
        return Err(EngineError::ReadQuorum { answered, needed });
    }
    Ok(readers)
}

impl ShardRead {
    /// The next bytes of the range: at most a buffer of stripes; blocks.
    fn next_chunk(&mut self) -> Result<Bytes, EngineError> {
        let stripe_bytes = (self.place.geometry.data * BLOCK_BYTES) as u64;
        let first = self.range.start / stripe_bytes;
        let last = (self.range.end - 1) / stripe_bytes;
        let end = (last + 1).min(first + STRIPES_PER_BUFFER as u64);
        let mut chunk = Vec::with_capacity(((end - first) * stripe_bytes) as usize);
        for number in first..end {
            self.read_stripe(number, &mut chunk)?;
        }
        let skipped = (self.range.start - first * stripe_bytes) as usize;
        let stop = (self.range.end - first * stripe_bytes).min(chunk.len() as u64) as usize;
        self.range.start = first * stripe_bytes + stop as u64;
        let mut bytes = Bytes::from(chunk);
        bytes.truncate(stop);
        Ok(bytes.split_off(skipped))
    }

    /// Appends a stripe's bytes, rebuilt where blocks are missing or damaged.
    fn read_stripe(&self, number: u64, chunk: &mut Vec<u8>) -> Result<(), EngineError> {
        let geometry = self.place.geometry;
        let whole = (geometry.data * BLOCK_BYTES) as u64;
        let stripe_bytes = (self.place.size_bytes - number * whole).min(whole) as usize;
        let block_bytes = stripe_bytes.div_ceil(geometry.data);
        let mut columns: Vec<Option<Vec<u8>>> = vec![None; geometry.drives()];
        for column in 0..geometry.data {
            columns[column] = self.read_block(column, number, block_bytes);
        }
        if columns[..geometry.data].iter().any(Option::is_none) {
            for column in geometry.data..geometry.drives() {
                columns[column] = self.read_block(column, number, block_bytes);
            }
            if !self.set.codec.rebuild_data(&mut columns) {
                let damaged = columns.iter().filter(|column| column.is_none()).count();
                return Err(EngineError::Damaged {
                    damaged,
                    parity: geometry.parity,
                });
            }
        }
        let end = chunk.len() + stripe_bytes;
        for column in columns.iter().take(geometry.data).flatten() {
            let rest = end - chunk.len();
            chunk.extend_from_slice(&column[..rest.min(column.len())]);
        }
        Ok(())
    }

    fn read_block(&self, column: usize, number: u64, block_bytes: usize) -> Option<Vec<u8>> {
        let reader = self.readers[column].as_ref()?;
        let offset = HEADER_BYTES as u64 + number * (CRC_BYTES + BLOCK_BYTES) as u64;
        let mut bytes = vec![0; CRC_BYTES + block_bytes];
        reader.read_at(offset, &mut bytes).ok()?;
        let block = bytes.split_off(CRC_BYTES);
        let crc = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        if block_crc(self.place.id, column, number, &block) == crc {
            return Some(block);
        }
        let drive = &self.set.members[self.place.drive_of(column)].path;
        tracing::warn!(%drive, shard = %self.place.id.to_name(), block = number, "A damaged block was found; parity stands in.");
        None
    }
}
