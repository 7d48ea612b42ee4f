//! Staging a body: encodes it as it comes and writes it to every drive.

use std::sync::Arc;

use bytes::Bytes;
use store::{EngineError, Future, Location, Stage};
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use super::{
    BLOCK_BYTES, Faults, HEADER_BYTES, STRIPES_PER_BUFFER, block_crc, blocking, joined, remove_aside,
};
use crate::digest::crc64;
use crate::drive::{ShardWriter, is_full, is_shortage};
use crate::location::{Place, ShardId};
use crate::set::Set;

const MAGIC: &[u8; 8] = b"TIDINGSH";

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

/// The files of a body being written. Removes them when dropped unfinished.
struct Files {
    set: Arc<Set>,
    faults: Faults,
    place: Place,
    /// By position.
    writers: Vec<Option<Box<dyn ShardWriter>>>,
    stripes: u64,
    /// When it was begun, in joinings: drives that joined since do not hold all of it.
    begun: u64,
    finished: bool,
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.finished {
            self.writers.clear();
            self.set.bodies.forget(self.place.id);
            remove_aside(&self.set, self.place.id);
        }
    }
}

impl Files {
    fn create(set: Arc<Set>, faults: Faults, epoch: u64) -> Result<Files, EngineError> {
        let place = Place {
            id: ShardId { random: rand::random(), epoch },
            size_bytes: 0,
            geometry: set.geometry,
            holders: 0,
        };
        let count = set.members.len();
        let begun = set.bodies.begin(place.id);
        let mut files = Files {
            set,
            faults,
            place,
            writers: (0..count).map(|_| None).collect(),
            stripes: 0,
            begun,
            finished: false,
        };
        let set = Arc::clone(&files.set);
        for member in set.written() {
            let column = files.place.column_on(member.position);
            let created =
                member.drive().and_then(|drive| drive.create_shard(files.place.id)).and_then(|mut writer| {
                    writer.append(&shard_header(set.id, &files.place, column))?;
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

    /// Goes on without a drive; no space on one is no space at all, and a shortage of ours is no fault of it.
    fn lose(&mut self, position: usize, error: &std::io::Error) -> Result<(), EngineError> {
        self.writers[position] = None;
        if !self.set.members[position].is_online() {
            // One that is being healed holds nobody up, and is given up for now.
            (self.faults)(position, format!("a shard could not be written: {error}"));
            return Ok(());
        }
        if is_full(error) {
            return Err(EngineError::Full);
        }
        if is_shortage(error) {
            let answered = self.writers.iter().flatten().count().min(self.set.geometry.write_quorum() - 1);
            return Err(EngineError::WriteQuorum { answered, needed: self.set.geometry.write_quorum() });
        }
        (self.faults)(position, format!("a shard could not be written: {error}"));
        Ok(())
    }

    fn check_quorum(&self) -> Result<(), EngineError> {
        let taking = self.set.online().filter(|member| self.writers[member.position].is_some());
        let (answered, needed) = (taking.count(), self.set.geometry.write_quorum());
        if answered < needed { Err(EngineError::WriteQuorum { answered, needed }) } else { Ok(()) }
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
                // One that is out by now, or was and is back, does not count.
                Some(Ok(writer))
                    if self.set.members[position].is_written()
                        && self.set.bodies.is_kept(position, self.begun) =>
                {
                    self.writers[position] = Some(writer);
                    self.place.holders |= 1 << position;
                }
                Some(Err(error)) => self.lose(position, &error)?,
                Some(Ok(_)) | None => {}
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
