//! What lies on a drive in memory: files, each with what of it would survive a power cut now.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// Bytes of a piece of a file that is kept.
const PIECE_BYTES: usize = 4096;

/// A file: pieces that are not all zero. Copies share them, and the table of them until one is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) pieces: Arc<BTreeMap<u64, Arc<[u8; PIECE_BYTES]>>>,
    /// Pieces that take no space.
    holes: BTreeSet<u64>,
}

/// Whether all of these bytes are zero, compared piece by piece.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(PIECE_BYTES).all(|piece| *piece == ZEROES[..piece.len()])
}

const ZEROES: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

impl Content {
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset + buffer.len() as u64 > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = 0;
        while at < buffer.len() {
            let place = offset + at as u64;
            let (piece, within) = (place / PIECE_BYTES as u64, (place % PIECE_BYTES as u64) as usize);
            let length = (PIECE_BYTES - within).min(buffer.len() - at);
            match self.pieces.get(&piece) {
                Some(bytes) => buffer[at..at + length].copy_from_slice(&bytes[within..within + length]),
                None => buffer[at..at + length].fill(0),
            }
            at += length;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.size = self.size.max(offset + bytes.len() as u64);
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at as u64;
            let (piece, within) = (place / PIECE_BYTES as u64, (place % PIECE_BYTES as u64) as usize);
            let length = (PIECE_BYTES - within).min(bytes.len() - at);
            let part = &bytes[at..at + length];
            self.holes.remove(&piece);
            if self.pieces.contains_key(&piece) || !is_zero(part) {
                let pieces = Arc::make_mut(&mut self.pieces);
                let kept = pieces.entry(piece).or_insert_with(|| Arc::new(ZEROES));
                Arc::make_mut(kept)[within..within + length].copy_from_slice(part);
            }
            at += length;
        }
    }

    /// Lets whole pieces of a range take no space.
    pub(super) fn punch(&mut self, offset: u64, length: u64) {
        let piece_bytes = PIECE_BYTES as u64;
        self.holes.extend(offset / piece_bytes..(offset + length) / piece_bytes);
    }

    /// Bytes it takes.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.size - (self.holes.len() * PIECE_BYTES) as u64
    }

    pub(super) fn all(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.size).expect("a test's file fits memory")];
        self.read(0, &mut bytes).expect("of its own size");
        bytes
    }
}

/// A file with what of it survives a power cut.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) current: Content,
    pub(super) durable: Content,
    pub(super) named: bool,
    /// What the medium has in place of what memory remembers, and where: until it is written over, or power is lost.
    pub(super) rotten: Option<(u64, Arc<[u8]>)>,
}

impl File {
    /// As the page cache has it.
    pub(super) fn read_cached(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.current.read(offset, buffer)
    }

    /// As the medium has it.
    pub(super) fn read_medium(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.current.read(offset, buffer)?;
        let Some((start, rotten)) = &self.rotten else { return Ok(()) };
        let read = offset..offset + buffer.len() as u64;
        for (place, byte) in (*start..).zip(rotten.iter()).filter(|(place, _)| read.contains(place)) {
            buffer[(place - offset) as usize] = *byte;
        }
        Ok(())
    }

    /// What is written over is not rotten any more.
    pub(super) fn note_written(&mut self, offset: u64, length: usize) {
        let written = offset..offset + length as u64;
        let is_over = |(start, rotten): &mut (u64, Arc<[u8]>)| {
            written.start < *start + rotten.len() as u64 && *start < written.end
        };
        self.rotten.take_if(is_over);
    }

    /// Forgets what memory had in place of what the medium has.
    pub(super) fn lose_cache(&mut self) {
        if let Some((start, rotten)) = self.rotten.take() {
            self.durable.write(start, &rotten);
        }
    }
}

/// What lies on the medium.
#[derive(Clone, Debug, Default)]
pub(super) struct Medium {
    pub(super) files: BTreeMap<String, File>,
    /// How often it was emptied: a file opened before is not that of the same name made since.
    pub(super) life: u64,
}
