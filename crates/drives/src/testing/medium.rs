//! What lies on a drive in memory: files, each with what of it would survive a power cut now.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes of a piece of a file that is kept.
const PIECE_BYTES: usize = 4096;

/// A file: pieces that are not all zero. Copies share them, and the table of them until one is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) pieces: Arc<BTreeMap<u64, Arc<[u8; PIECE_BYTES]>>>,
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
            if self.pieces.contains_key(&piece) || !is_zero(part) {
                let pieces = Arc::make_mut(&mut self.pieces);
                let kept = pieces.entry(piece).or_insert_with(|| Arc::new(ZEROES));
                Arc::make_mut(kept)[within..within + length].copy_from_slice(part);
            }
            at += length;
        }
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
}

/// What lies on the medium.
#[derive(Clone, Debug, Default)]
pub(super) struct Medium {
    pub(super) files: BTreeMap<String, File>,
    /// How often it was emptied: a file opened before is not that of the same name made since.
    pub(super) life: u64,
}
