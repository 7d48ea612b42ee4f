//! One message of MD5 on its way: its words, the pieces it is made of, its padding.
//!
//! Pieces come as they were received, of any length. What is left of one that does not fill a block waits in
//! a buffer and is completed by the next, so that all that is ever hashed is whole blocks, of the buffer or of
//! a piece as it lies.
//!
//! # Invariants
//!
//! 1. While the buffer holds part of a block, the piece is used up.
//! 2. A message holds one piece: [`Message::feed`] is for one whose [`blocks`](Message::blocks) are empty.

use std::borrow::{Borrow, BorrowMut};

use bytes::{Buf as _, Bytes};

use super::lanes::{Blocks, INITIAL_WORDS, LANES_MAX, compress};

const BLOCK_BYTES: usize = 64;

/// One message on its way to its MD5.
#[derive(Debug)]
pub(super) struct Message {
    words: [u32; 4],
    /// The part of a block that came last, or the last blocks with their padding.
    buffer: [u8; 2 * BLOCK_BYTES],
    buffered_bytes: usize,
    piece: Bytes,
    length_bytes: u64,
}

impl Default for Message {
    /// A message without bytes.
    fn default() -> Message {
        Message {
            words: INITIAL_WORDS,
            buffer: [0; 2 * BLOCK_BYTES],
            buffered_bytes: 0,
            piece: Bytes::new(),
            length_bytes: 0,
        }
    }
}

impl Message {
    /// How many bytes the message has so far.
    #[cfg(test)]
    pub(super) fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// Takes the next piece.
    pub(super) fn feed(&mut self, piece: Bytes) {
        debug_assert!(self.blocks().is_empty() && self.piece.is_empty());
        self.length_bytes = self.length_bytes.wrapping_add(piece.len() as u64);
        self.piece = piece;
        self.settle();
    }

    /// Ends the message: what is left to hash are its last blocks. RFC 1321 §3.1, §3.2.
    pub(super) fn end(&mut self) {
        debug_assert!(self.blocks().is_empty() && self.piece.is_empty());
        const LENGTH_BYTES: usize = 8;
        let fits_one = self.buffered_bytes < BLOCK_BYTES - LENGTH_BYTES;
        let end = if fits_one { BLOCK_BYTES } else { 2 * BLOCK_BYTES };
        self.buffer[self.buffered_bytes] = 0x80;
        self.buffer[self.buffered_bytes + 1..end - LENGTH_BYTES].fill(0);
        let length_bits = self.length_bytes.wrapping_mul(8);
        self.buffer[end - LENGTH_BYTES..end].copy_from_slice(&length_bits.to_le_bytes());
        self.buffered_bytes = end;
    }

    /// What can be hashed next; none when the message waits for a piece or its end, or has ended.
    pub(super) fn blocks(&self) -> Blocks<'_> {
        let bytes =
            if self.buffered_bytes > 0 { &self.buffer[..self.buffered_bytes] } else { &self.piece[..] };
        bytes.as_chunks().0
    }

    /// The MD5, when the message has ended and none of its blocks are left.
    pub(super) fn digest(&self) -> [u8; 16] {
        debug_assert!(self.blocks().is_empty());
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }

    /// Takes away blocks that were hashed.
    fn advance(&mut self, words: [u32; 4], blocks: usize) {
        self.words = words;
        if self.buffered_bytes > 0 {
            self.buffer.copy_within(blocks * BLOCK_BYTES.., 0);
            self.buffered_bytes -= blocks * BLOCK_BYTES;
        } else {
            self.piece.advance(blocks * BLOCK_BYTES);
        }
        self.settle();
    }

    /// Fills the buffer to a whole block, or empties a piece shorter than one into it.
    fn settle(&mut self) {
        let wanted = match self.buffered_bytes {
            0 if self.piece.len() >= BLOCK_BYTES => 0,
            buffered => BLOCK_BYTES.saturating_sub(buffered),
        };
        let taken = wanted.min(self.piece.len());
        let end = self.buffered_bytes + taken;
        self.piece.copy_to_slice(&mut self.buffer[self.buffered_bytes..end]);
        self.buffered_bytes = end;
        if self.piece.is_empty() {
            // Gives back the buffer it was received in.
            self.piece = Bytes::new();
        }
    }
}

/// Hashes as many blocks of each message as all of them have, at most `blocks_max`.
///
/// # Panics
///
/// As [`compress`]: with no message, and with more than there are lanes.
pub(super) fn advance<M: BorrowMut<Message>>(messages: &mut [M], blocks_max: usize) {
    let of_each = messages.iter().map(|message| message.borrow().blocks().len());
    let shared = of_each.min().unwrap_or(0).min(blocks_max);
    let count = messages.len();
    let mut words = [INITIAL_WORDS; LANES_MAX];
    let mut blocks: [Blocks<'_>; LANES_MAX] = [&[]; LANES_MAX];
    for (lane, message) in messages.iter().map(Borrow::borrow).enumerate() {
        words[lane] = message.words;
        blocks[lane] = &message.blocks()[..shared];
    }
    compress(&mut words[..count], &blocks[..count]);
    for (message, words) in messages.iter_mut().zip(words) {
        message.borrow_mut().advance(words, shared);
    }
}

/// The MD5 of a message that is there whole.
pub(super) fn digest(pieces: impl IntoIterator<Item = Bytes>) -> [u8; 16] {
    let mut message = Message::default();
    for piece in pieces {
        message.feed(piece);
        finish_blocks(&mut message);
    }
    message.end();
    finish_blocks(&mut message);
    message.digest()
}

fn finish_blocks(message: &mut Message) {
    while !message.blocks().is_empty() {
        advance(&mut [&mut *message], usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use md5::{Digest as _, Md5};
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{Message, advance, digest};
    use crate::digest::lanes::lanes;

    #[test]
    fn the_examples_of_the_rfc_have_the_digests_it_gives() {
        // RFC 1321, appendix A.5.
        let examples = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f",
            ),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ];
        for (text, expected) in examples {
            assert_eq!(hex::encode(digest([Bytes::from_static(text.as_bytes())])), expected, "{text}");
        }
    }

    #[test]
    fn a_message_of_every_length_around_a_block_is_padded_right() {
        for length in 0..=200 {
            let bytes = vec![7; length];
            let expected: [u8; 16] = Md5::digest(&bytes).into();
            assert_eq!(digest([bytes.into()]), expected, "{length} bytes");
        }
    }

    proptest! {
        /// Messages of any length, in pieces of any length, advanced together, whichever ends first: each has
        /// the MD5 that md-5 gives it.
        #[test]
        fn messages_in_lock_step_have_the_digests_they_have_alone(
            mut waiting in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8), 1..12),
            blocks_max in 1usize..20,
        ) {
            let expected: Vec<[u8; 16]> = waiting.iter().map(|it| Md5::digest(it.concat()).into()).collect();
            waiting.iter_mut().for_each(|pieces| pieces.reverse());
            let mut messages: Vec<(Message, bool)> = waiting.iter().map(|_| (Message::default(), false)).collect();
            loop {
                for ((message, has_ended), pieces) in messages.iter_mut().zip(&mut waiting) {
                    while message.blocks().is_empty() && !*has_ended {
                        match pieces.pop() {
                            Some(piece) => message.feed(piece.into()),
                            None => { message.end(); *has_ended = true; }
                        }
                    }
                }
                let mut ready: Vec<&mut Message> = messages.iter_mut()
                    .map(|(message, _)| message)
                    .filter(|message| !message.blocks().is_empty()).collect();
                if ready.is_empty() { break; }
                let together = ready.len().min(lanes());
                advance(&mut ready[..together], blocks_max);
            }
            let digests: Vec<[u8; 16]> = messages.iter().map(|(message, _)| message.digest()).collect();
            prop_assert_eq!(digests, expected);
        }
    }
}
