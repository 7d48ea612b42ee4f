//! One body on its way through the pool: its owner writes pieces, a worker hashes them.
//!
//! # Bounds
//!
//! A body is handed over in portions of [`PORTION_BYTES`]; one shorter than [`WORTH_BYTES`] is hashed by its
//! owner. At most [`QUEUE_BYTES_MAX`], and the piece with which
//! that is passed, wait to be hashed: then [`Md5Stream::write`] waits until half of it is. Pieces are counted,
//! not copied, a small one as [`PIECE_BYTES_MIN`], which bounds their number too.

use std::borrow::{Borrow, BorrowMut};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;

use super::message::{self, Message};
use super::pool::Md5Pool;

/// How much of a body is handed over at once, in bytes: 64 KiB, a tenth of a millisecond of MD5.
pub(super) const PORTION_BYTES: usize = 64 * 1024;

/// From which size on a body is handed over at all, in bytes: 16 KiB. Waking and being woken cost 7 us of
/// processor time, its MD5 27 us; in lock step with fifteen others both together cost it 9.
pub(super) const WORTH_BYTES: usize = 16 * 1024;

/// How much of a body may wait to be hashed, in bytes: 2 MiB, three milliseconds of MD5.
pub(super) const QUEUE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What a piece counts at least, in bytes.
const PIECE_BYTES_MIN: usize = 512;

/// The MD5 of one body, computed by a [`Md5Pool`]. Dropping it abandons the body.
#[derive(Debug)]
pub struct Md5Stream {
    pool: Md5Pool,
    feed: Arc<Mutex<Feed>>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    is_handed_over: bool,
}

/// What owner and worker share of a body.
#[derive(Debug)]
struct Feed {
    pieces: VecDeque<Bytes>,
    /// Bytes of the pieces, and of the one that is being hashed.
    queued_bytes: usize,
    /// Here while no worker has it.
    message: Option<Message>,
    is_ended: bool,
    is_abandoned: bool,
    digest: Option<[u8; 16]>,
    /// Of the owner, while it waits for room or for the digest.
    waker: Option<Waker>,
}

impl Md5Stream {
    pub(super) fn new(pool: Md5Pool) -> Md5Stream {
        let feed = Feed {
            pieces: VecDeque::new(),
            queued_bytes: 0,
            message: Some(Message::default()),
            is_ended: false,
            is_abandoned: false,
            digest: None,
            waker: None,
        };
        let feed = Arc::new(Mutex::new(feed));
        Md5Stream { pool, feed, gathered: Vec::new(), gathered_bytes: 0, is_handed_over: false }
    }

    /// Adds bytes; waits while too many of the body are not hashed yet.
    ///
    /// The bytes are taken at once, whether or not the wait is seen to its end.
    pub async fn write(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.gathered_bytes += cost(&bytes);
        self.gathered.push(bytes);
        if self.gathered_bytes < PORTION_BYTES {
            return;
        }
        self.hand_over(false);
        poll_fn(|context| {
            let mut feed = lock(&self.feed);
            if feed.queued_bytes < QUEUE_BYTES_MAX {
                return Poll::Ready(());
            }
            feed.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The MD5 of all bytes added.
    pub async fn digest(mut self) -> [u8; 16] {
        if !self.is_handed_over && self.gathered_bytes < WORTH_BYTES {
            return message::digest(mem::take(&mut self.gathered));
        }
        self.hand_over(true);
        poll_fn(|context| {
            let mut feed = lock(&self.feed);
            if let Some(digest) = feed.digest {
                return Poll::Ready(digest);
            }
            feed.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn hand_over(&mut self, is_ended: bool) {
        self.is_handed_over = true;
        let mut feed = lock(&self.feed);
        feed.pieces.extend(self.gathered.drain(..));
        feed.queued_bytes += mem::take(&mut self.gathered_bytes);
        feed.is_ended = is_ended;
        let message = feed.message.take();
        drop(feed);
        if let Some(message) = message {
            let feed = Arc::clone(&self.feed);
            self.pool.put(Lane { feed, message, piece_bytes: 0, has_ended: false });
        }
    }
}

impl Drop for Md5Stream {
    fn drop(&mut self) {
        let mut feed = lock(&self.feed);
        feed.is_abandoned = true;
        feed.pieces.clear();
        feed.message = None;
        feed.waker = None;
    }
}

/// A body in the hands of the pool.
#[derive(Debug)]
pub(super) struct Lane {
    feed: Arc<Mutex<Feed>>,
    message: Message,
    /// What the piece counts that is being hashed.
    piece_bytes: usize,
    has_ended: bool,
}

impl Lane {
    /// Sees to it that there are blocks to hash. `false` when there are none: the body waits for its owner, is
    /// hashed to its end, or was abandoned, and the pool is done with it.
    pub(super) fn refill(&mut self) -> bool {
        while self.message.blocks().is_empty() {
            match self.next() {
                Next::Piece(piece) => {
                    self.piece_bytes = cost(&piece);
                    self.message.feed(piece);
                }
                Next::End => {
                    self.message.end();
                    self.has_ended = true;
                }
                Next::Nothing => return false,
            }
        }
        true
    }

    /// Settles what was hashed, and takes what is to be hashed next.
    fn next(&mut self) -> Next {
        let mut feed = lock(&self.feed);
        feed.queued_bytes -= mem::take(&mut self.piece_bytes);
        if feed.is_abandoned {
            return Next::Nothing;
        }
        let next = match feed.pieces.pop_front() {
            Some(piece) => Next::Piece(piece),
            None if !feed.is_ended => {
                feed.message = Some(mem::take(&mut self.message));
                Next::Nothing
            }
            None if !self.has_ended => Next::End,
            None => {
                feed.digest = Some(self.message.digest());
                Next::Nothing
            }
        };
        // The owner waits for room or, once it has ended the body, for the digest.
        let is_awaited = match feed.is_ended {
            false => feed.queued_bytes <= QUEUE_BYTES_MAX / 2,
            true => feed.digest.is_some(),
        };
        if is_awaited && let Some(waker) = feed.waker.take() {
            drop(feed);
            waker.wake();
        }
        next
    }

    #[cfg(test)]
    pub(super) fn length_bytes(&self) -> u64 {
        self.message.length_bytes()
    }
}

/// What a worker does next for a body.
enum Next {
    Piece(Bytes),
    End,
    Nothing,
}

impl Borrow<Message> for Lane {
    fn borrow(&self) -> &Message {
        &self.message
    }
}

impl BorrowMut<Message> for Lane {
    fn borrow_mut(&mut self) -> &mut Message {
        &mut self.message
    }
}

fn cost(piece: &Bytes) -> usize {
    piece.len().max(PIECE_BYTES_MIN)
}

fn lock(feed: &Mutex<Feed>) -> MutexGuard<'_, Feed> {
    // Nothing under this lock is left half done by a panic.
    feed.lock().unwrap_or_else(PoisonError::into_inner)
}
