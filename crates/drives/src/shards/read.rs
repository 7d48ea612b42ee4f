//! Reading a body: verifies every block and rebuilds what is missing or damaged.
//!
//! A buffer of stripes is read by one read on each of k drives, all at once, and verified where it was read; its blocks
//! are handed out as they lie in the buffer. The next buffer is on its way while one is sent. A drive that fails or is
//! slow is replaced by another for this buffer, and asked last for those that follow.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use store::{ByteStream, EngineError, Location};

use super::{
    BLOCK_BYTES, CRC_BYTES, Pin, Pins, block_bytes, block_crc, block_offset, no_such, open_shard,
    stripes_per_buffer,
};
use crate::damage::Damage;
use crate::drive::ShardReader;
use crate::lane;
use crate::location::Place;
use crate::member::Member;
use crate::payload::is_silence;
use crate::set::Set;

/// Bytes from one block of a file to the next.
const RECORD_BYTES: u64 = (CRC_BYTES + BLOCK_BYTES) as u64;

/// Streams `range` of a body. Its first buffer is read when this returns.
pub(crate) async fn read(
    set: Arc<Set>,
    pins: Arc<Pins>,
    location: Location,
    range: Range<u64>,
) -> Result<ByteStream, EngineError> {
    let place = Place::from_location(&location).ok_or_else(|| no_such(&location))?;
    let range = range.start.min(place.size_bytes)..range.end.min(place.size_bytes);
    let pin = Pin::new(Arc::clone(&set), pins, &place);
    if !set.volumes.has(&place) {
        // It was removed since its place was looked up, and another body lies there.
        return Err(no_such(&location));
    }
    let readers = (0..place.geometry.drives()).map(|_| OnceLock::new()).collect();
    let body = Arc::new(Body { set, place, location, readers, doubtful: AtomicU16::new(0), _pin: pin });
    let mut reading = Reading { body, rest: range, blocks: VecDeque::new(), ahead: None };
    reading.blocks = reading.next_buffer().await?;
    reading.read_ahead();
    Ok(Box::pin(stream::unfold(reading, |mut reading| async move {
        while reading.blocks.is_empty() {
            match reading.ahead.take()?.await {
                Ok(blocks) => reading.blocks = blocks,
                Err(error) => return Some((Err(error), reading)),
            }
            reading.read_ahead();
        }
        reading.blocks.pop_front().map(|block| (Ok(block), reading))
    })))
}

/// What is left of a range of a body.
struct Reading {
    body: Arc<Body>,
    /// Not asked for yet.
    rest: Range<u64>,
    /// Read and not handed out yet.
    blocks: VecDeque<Bytes>,
    /// On its way.
    ahead: Option<BoxFuture<'static, Result<VecDeque<Bytes>, EngineError>>>,
}

impl Reading {
    /// The next bytes of the range: at most a buffer of stripes.
    fn next_buffer(&mut self) -> BoxFuture<'static, Result<VecDeque<Bytes>, EngineError>> {
        let geometry = self.body.place.geometry;
        let stripe_bytes = (geometry.data * BLOCK_BYTES) as u64;
        let first = self.rest.start / stripe_bytes;
        let end =
            self.rest.end.div_ceil(stripe_bytes).min(first + stripes_per_buffer(geometry, usize::MAX) as u64);
        let range = self.rest.start..self.rest.end.min(end * stripe_bytes);
        self.rest.start = range.end;
        let body = Arc::clone(&self.body);
        async move {
            let blocks =
                if range.is_empty() { body.fetch(0..0).await? } else { body.fetch(first..end).await? };
            Ok(cut(blocks, first * stripe_bytes, &range))
        }
        .boxed()
    }

    /// Begins to read what follows; its drives work on it while nobody waits for it.
    fn read_ahead(&mut self) {
        if self.rest.is_empty() {
            return;
        }
        let mut buffer = self.next_buffer();
        self.ahead = Some(match (&mut buffer).now_or_never() {
            Some(blocks) => ready(blocks).boxed(),
            None => buffer,
        });
    }
}

/// Of blocks that begin at `start` of a body, those of `range`.
fn cut(blocks: Vec<Bytes>, start: u64, range: &Range<u64>) -> VecDeque<Bytes> {
    let mut at = start;
    let mut kept = VecDeque::with_capacity(blocks.len());
    for block in blocks {
        let (from, until) = (range.start.max(at), range.end.min(at + block.len() as u64));
        if from < until {
            kept.push_back(block.slice((from - at) as usize..(until - at) as usize));
        }
        at += block.len() as u64;
    }
    kept
}

/// A body being read.
struct Body {
    set: Arc<Set>,
    place: Place,
    location: Location,
    /// By column, opened when first read.
    readers: Vec<OnceLock<Arc<dyn ShardReader>>>,
    /// A bit for each column whose drive failed or was slow.
    doubtful: AtomicU16,
    _pin: Pin,
}

/// A column's blocks of a buffer of stripes.
struct Part {
    bytes: Bytes,
    /// For each stripe, whether its block matches its checksum.
    sound: Vec<bool>,
}

impl Body {
    /// Size of a stripe's data.
    fn stripe_bytes(&self, number: u64) -> usize {
        let whole = (self.place.geometry.data * BLOCK_BYTES) as u64;
        (self.place.size_bytes - number * whole).min(whole) as usize
    }

    /// Columns whose drives are in, the likeliest first. Also those that the location does not name: healing may have
    /// put the shard there since.
    fn columns(&self) -> Vec<usize> {
        let doubtful = self.doubtful.load(Ordering::Relaxed);
        let is_in = |column: &usize| {
            self.set.members.get(self.place.drive_of(*column)).is_some_and(|member| member.is_online())
        };
        let mut columns: Vec<usize> = (0..self.place.geometry.drives()).filter(is_in).collect();
        columns.sort_by_key(|&column| {
            let named = self.place.holders & (1 << self.place.drive_of(column)) != 0;
            (doubtful & (1 << column) != 0, !named, column)
        });
        columns
    }

    fn doubt(&self, column: usize) {
        self.doubtful.fetch_or(1 << column, Ordering::Relaxed);
    }

    /// The data blocks of these stripes, in order, each without the zeroes it was filled up with.
    async fn fetch(self: Arc<Self>, stripes: Range<u64>) -> Result<Vec<Bytes>, EngineError> {
        let columns = self.columns();
        let (answered, needed) = (columns.len(), self.place.geometry.read_quorum());
        if answered < needed {
            return Err(EngineError::ReadQuorum { answered, needed });
        }
        let mut buffer = Buffer::new(&self, stripes.clone());
        let mut rest = columns.into_iter().peekable();
        let ask = |column: usize| {
            let (body, stripes) = (Arc::clone(&self), stripes.clone());
            let position = self.place.drive_of(column);
            let part = lane::read(&self.set, position, move |member| body.read_part(member, column, stripes));
            part.map(move |part| (column, part))
        };
        let mut asked: FuturesUnordered<_> = rest.by_ref().take(needed).map(ask).collect();
        loop {
            tokio::select! {
                biased;
                answer = asked.next() => match answer {
                    Some((column, part)) => {
                        if !buffer.take(column, part) {
                            asked.extend(rest.next().map(ask));
                        }
                        if let Some(blocks) = buffer.blocks() {
                            buffer.tell();
                            return Ok(blocks);
                        }
                    }
                    None => return Err(buffer.why_not()),
                },
                () = lane::hedge_due(&self.set), if rest.peek().is_some() => {
                    let others = rest.peek().map(|column| self.place.drive_of(*column));
                    if lane::have_room(&self.set, others) {
                        buffer.doubt_silent();
                        asked.extend(rest.next().map(ask));
                    }
                }
            }
        }
    }

    /// Reads and verifies a column's blocks; blocks.
    fn read_part(&self, member: &Member, column: usize, stripes: Range<u64>) -> io::Result<Part> {
        let reader = match self.readers[column].get() {
            Some(reader) => reader,
            None => {
                let opened = open_shard(member, &self.place)?.ok_or(io::ErrorKind::NotFound)?;
                self.readers[column].get_or_init(|| opened)
            }
        };
        let Some(last) = stripes.clone().last() else {
            return Ok(Part { bytes: Bytes::new(), sound: Vec::new() });
        };
        let records = ((last - stripes.start) * RECORD_BYTES) as usize;
        let mut bytes = vec![0; records + CRC_BYTES + block_bytes(&self.place, last)];
        let offset = block_offset(stripes.start);
        if reader.read_at(offset, &mut bytes).is_err() {
            // One sector that cannot be read must not cost the blocks around it.
            for (nth, record) in bytes.chunks_mut(RECORD_BYTES as usize).enumerate() {
                if reader.read_at(offset + nth as u64 * RECORD_BYTES, record).is_err() {
                    record.fill(0);
                }
            }
        }
        let is_sound = |(number, record): (u64, &[u8])| {
            let (crc, block) = record.split_at(CRC_BYTES);
            block_crc(self.place.id, column, number, block).to_le_bytes() == crc
        };
        let sound = stripes.zip(bytes.chunks(RECORD_BYTES as usize)).map(is_sound).collect();
        Ok(Part { bytes: bytes.into(), sound })
    }
}

/// A buffer of stripes as far as it is read.
struct Buffer<'a> {
    body: &'a Body,
    stripes: Range<u64>,
    /// By column.
    parts: Vec<Option<Part>>,
    answered: usize,
    absent: usize,
    /// Columns whose file is absent or has blocks that are damaged.
    damaged: Vec<usize>,
}

impl Buffer<'_> {
    fn new(body: &Body, stripes: Range<u64>) -> Buffer<'_> {
        let parts = (0..body.place.geometry.drives()).map(|_| None).collect();
        Buffer { body, stripes, parts, answered: 0, absent: 0, damaged: Vec::new() }
    }

    /// Takes a drive's answer; `false` when another drive has to be asked.
    fn take(&mut self, column: usize, part: io::Result<Part>) -> bool {
        match part {
            Ok(part) => {
                let whole = part.sound.iter().all(|sound| *sound);
                self.answered += 1;
                self.parts[column] = Some(part);
                if whole {
                    return true;
                }
                self.damaged.push(column);
            }
            Err(error) if is_silence(&error) => self.body.doubt(column),
            Err(error) => {
                self.answered += 1;
                self.absent += usize::from(error.kind() == io::ErrorKind::NotFound);
                self.damaged.push(column);
                self.body.doubt(column);
            }
        }
        false
    }

    /// Those that did not answer yet are asked last from now on.
    fn doubt_silent(&self) {
        let silent = (0..self.parts.len()).filter(|&column| self.parts[column].is_none());
        let k = self.body.place.geometry.data;
        silent.filter(|column| *column < k).for_each(|column| self.body.doubt(column));
    }

    /// The data blocks, when every stripe has enough of its blocks.
    fn blocks(&self) -> Option<Vec<Bytes>> {
        let geometry = self.body.place.geometry;
        if self.parts.iter().flatten().count() < geometry.data {
            return None;
        }
        let mut blocks = Vec::with_capacity(geometry.data * self.stripes.clone().count());
        for (nth, number) in self.stripes.clone().enumerate() {
            let mut stripe: Vec<Option<Bytes>> =
                (0..geometry.drives()).map(|column| self.block(column, nth, number)).collect();
            if stripe[..geometry.data].iter().any(Option::is_none) {
                self.rebuild(&mut stripe)?;
            }
            let mut rest = self.body.stripe_bytes(number);
            for block in stripe.into_iter().take(geometry.data).flatten() {
                let length = rest.min(block.len());
                blocks.push(block.slice(..length));
                rest -= length;
            }
        }
        Some(blocks)
    }

    fn block(&self, column: usize, nth: usize, number: u64) -> Option<Bytes> {
        let part = self.parts[column].as_ref().filter(|part| part.sound[nth])?;
        let start = nth * RECORD_BYTES as usize + CRC_BYTES;
        Some(part.bytes.slice(start..start + block_bytes(&self.body.place, number)))
    }

    /// Computes the data blocks that are missing.
    fn rebuild(&self, stripe: &mut [Option<Bytes>]) -> Option<()> {
        let mut columns: Vec<Option<Vec<u8>>> =
            stripe.iter().map(|block| block.as_ref().map(|block| block.to_vec())).collect();
        if !self.body.set.codec.rebuild_data(&mut columns) {
            return None;
        }
        for (block, column) in stripe.iter_mut().zip(columns) {
            if block.is_none() {
                *block = column.map(Bytes::from);
            }
        }
        Some(())
    }

    /// Why there are too few blocks when all drives were asked.
    fn why_not(&self) -> EngineError {
        let geometry = self.body.place.geometry;
        let needed = geometry.read_quorum();
        // Too few cannot say that there is no such body: others may have it.
        if self.answered < needed {
            return EngineError::ReadQuorum { answered: self.answered, needed };
        }
        if self.absent == self.answered {
            return no_such(&self.body.location);
        }
        self.tell();
        let out = self.body.set.members.iter().filter(|member| !member.is_online()).count();
        let whole = self.answered - self.damaged.len();
        if self.damaged.len() + out <= geometry.parity {
            // The others did not answer: they may later.
            return EngineError::ReadQuorum { answered: whole, needed };
        }
        EngineError::Damaged { damaged: geometry.drives() - whole, parity: geometry.parity }
    }

    /// Tells of the damage that was found.
    fn tell(&self) {
        let Body { set, place, location, .. } = self.body;
        for &column in &self.damaged {
            let position = place.drive_of(column);
            if set.damages.tell(Damage::Shard { position, location: location.clone() }) {
                let drive = &set.members[position].path;
                tracing::warn!(%drive, shard = %place.id.to_name(), "A shard is damaged or absent; parity stands in.");
            }
        }
    }
}
