//! Threads that compute the MD5 of bodies, as many of them in lock step as the processor has lanes.
//!
//! A stream that has bytes to hash is ready. A worker takes ready streams into its lanes, advances all of them
//! by what they have in common, and puts back those that have run dry; a stream that is alone is hashed alone.
//! Lanes are filled before threads are woken: eight streams on one thread cost a core what one of them would,
//! and leave the other cores to the rest of the server.
//!
//! # Bounds
//!
//! There are at most as many workers as the pool was made for; they start when they are first needed. Without
//! work they are parked and nothing wakes them. When all lanes are taken and more streams are ready, every
//! [`TURN_BLOCKS_MAX`] a stream gives its lane to the one that waits longest. What a stream may hold is
//! stated in `stream`.
//!
//! What is not here: how blocks are hashed (`lanes`), how a body becomes blocks (`message`).

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::lanes::lanes;
use super::message;
use super::stream::{Lane, Md5Stream};

/// How much of each of its streams a worker hashes before it looks for others, in blocks: 64 KiB, about a tenth
/// of a millisecond.
const TURN_BLOCKS_MAX: usize = 1024;

/// Hashes bodies on threads of its own, which end when the pool and the last of its streams are dropped.
#[derive(Clone)]
pub struct Md5Pool {
    open: Arc<Open>,
}

impl Md5Pool {
    /// A pool of at most `workers_max` threads; with none, bodies are hashed where they are written.
    pub fn new(workers_max: usize) -> Md5Pool {
        let shared = Shared { workers_max, queue: Mutex::default(), woken: Condvar::new() };
        Md5Pool { open: Arc::new(Open { shared: Arc::new(shared) }) }
    }

    /// A pool of a thread for each core.
    pub fn of_all_cores() -> Md5Pool {
        Md5Pool::new(thread::available_parallelism().map_or(1, usize::from))
    }

    /// Begins a body.
    pub fn stream(&self) -> Md5Stream {
        Md5Stream::new(self.clone())
    }

    /// Makes a stream ready.
    pub(super) fn put(&self, lane: Lane) {
        self.open.shared.put(lane);
    }
}

impl fmt::Debug for Md5Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Md5Pool").field("workers_max", &self.open.shared.workers_max).finish()
    }
}

/// Held by the pool and its streams, not by its workers: without it they end.
struct Open {
    shared: Arc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.queue().is_closing = true;
        self.shared.woken.notify_all();
    }
}

struct Shared {
    workers_max: usize,
    queue: Mutex<Queue>,
    woken: Condvar,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Lane>,
    /// Lanes without a stream, of the workers that are awake.
    free_lanes: usize,
    workers: usize,
    parked: usize,
    /// Workers that were woken and have not noticed it yet. They count as awake, not as parked.
    woken: usize,
    is_closing: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under this lock is left half done by a panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(self: &Arc<Shared>, lane: Lane) {
        let mut queue = self.queue();
        queue.ready.push_back(lane);
        if queue.free_lanes >= queue.ready.len() {
            // Whoever has the lane takes the stream at its next turn.
        } else if queue.parked > 0 {
            queue.parked -= 1;
            queue.woken += 1;
            queue.free_lanes += lanes();
            self.woken.notify_one();
        } else if queue.workers < self.workers_max && self.start(queue.workers) {
            queue.workers += 1;
            queue.free_lanes += lanes();
        } else if queue.workers == 0 {
            let alone = queue.ready.pop_back();
            drop(queue);
            Worker::new(self).finish(alone);
        }
    }

    /// Whether another thread could be started.
    fn start(self: &Arc<Shared>, number: usize) -> bool {
        let worker = Worker::new(self);
        thread::Builder::new().name(format!("md5-{number}")).spawn(|| worker.run()).is_ok()
    }
}

struct Worker {
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    /// How many of its lanes the queue believes to be taken.
    taken: usize,
}

impl Worker {
    fn new(shared: &Arc<Shared>) -> Worker {
        Worker { shared: Arc::clone(shared), lanes: Vec::with_capacity(lanes()), taken: 0 }
    }

    fn run(mut self) {
        while self.take() {
            self.turn();
        }
    }

    /// Hashes what a stream has, in the thread that is here.
    fn finish(mut self, lane: Option<Lane>) {
        self.lanes.extend(lane);
        while !self.lanes.is_empty() {
            self.turn();
        }
    }

    /// Fills the lanes, waiting while there is nothing to fill them with; `false` when the pool is closed.
    fn take(&mut self) -> bool {
        let mut queue = self.shared.queue();
        queue.free_lanes += self.taken - self.lanes.len();
        loop {
            if self.lanes.len() == lanes()
                && let Some(waiting) = queue.ready.pop_front()
            {
                queue.ready.push_back(self.lanes.remove(0));
                self.lanes.push(waiting);
            }
            while self.lanes.len() < lanes()
                && let Some(waiting) = queue.ready.pop_front()
            {
                queue.free_lanes -= 1;
                self.lanes.push(waiting);
            }
            self.taken = self.lanes.len();
            if self.taken > 0 {
                return true;
            }
            queue.free_lanes -= lanes();
            queue.parked += 1;
            while queue.woken == 0 {
                if queue.is_closing {
                    return false;
                }
                queue = self.shared.woken.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.woken -= 1;
        }
    }

    /// Hashes a piece of each stream, and lets go of those that have none.
    fn turn(&mut self) {
        self.lanes.retain_mut(Lane::refill);
        if !self.lanes.is_empty() {
            message::advance(&mut self.lanes, TURN_BLOCKS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use md5::{Digest as _, Md5};
    use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, proptest};

    use super::{Md5Pool, Worker};
    use crate::digest::lanes::lanes;
    use crate::digest::stream::{Md5Stream, PORTION_BYTES, QUEUE_BYTES_MAX, WORTH_BYTES};
    use crate::digest::testing::{Woken, until, wait};

    /// A pool whose only worker is the test itself.
    fn by_hand() -> (Md5Pool, Worker) {
        let pool = Md5Pool::new(1);
        let mut queue = pool.open.shared.queue();
        (queue.workers, queue.free_lanes) = (1, lanes());
        drop(queue);
        let worker = Worker::new(&pool.open.shared);
        (pool, worker)
    }

    fn write_now(stream: &mut Md5Stream, bytes: Bytes) -> Poll<()> {
        pin!(stream.write(bytes)).as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn md5(bytes: &[u8]) -> [u8; 16] {
        Md5::digest(bytes).into()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Bodies of any length, written in pieces of any length in any order among one another, have the MD5
        /// that md-5 gives them, whatever the number of threads.
        #[test]
        fn bodies_written_at_once_have_the_digests_they_have_alone(
            lengths in prop::collection::vec(0usize..200_000, 1..20),
            order in prop::collection::vec((any::<prop::sample::Index>(), 1usize..100_000), 0..60),
            workers_max in 0usize..4,
        ) {
            let pool = Md5Pool::new(workers_max);
            let bodies: Vec<Bytes> = lengths.iter().enumerate()
                .map(|(seed, length)| (0..*length).map(|at| ((at * (seed + 3)) >> 3) as u8).collect())
                .collect();
            let mut writes: Vec<(Md5Stream, Bytes)> =
                bodies.iter().map(|body| (pool.stream(), body.clone())).collect();
            for (index, length) in order {
                let (stream, rest) = &mut writes[index.index(lengths.len())];
                let piece = rest.split_to(length.min(rest.len()));
                wait(stream.write(piece));
            }
            for ((mut stream, rest), body) in writes.into_iter().zip(bodies) {
                wait(stream.write(rest));
                prop_assert_eq!(wait(stream.digest()), md5(&body));
            }
        }
    }

    #[test]
    fn more_streams_than_lanes_all_come_to_their_end() {
        let body = Bytes::from(vec![3; 1 << 20]);
        let pool = Md5Pool::new(2);
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    let mut stream = pool.stream();
                    for piece in body.chunks(100_000) {
                        wait(stream.write(body.slice_ref(piece)));
                    }
                    assert_eq!(wait(stream.digest()), md5(&body));
                });
            }
        });
    }

    #[test]
    fn ready_streams_share_one_worker_until_its_lanes_are_full() {
        let pool = Md5Pool::new(0);
        let mut queue = pool.open.shared.queue();
        (queue.workers, queue.parked) = (2, 2);
        drop(queue);
        let mut streams: Vec<Md5Stream> = (0..=lanes()).map(|_| pool.stream()).collect();

        let woken: Vec<usize> = streams
            .iter_mut()
            .map(|stream| {
                let _ = write_now(stream, Bytes::from(vec![0; PORTION_BYTES]));
                pool.open.shared.queue().woken
            })
            .collect();

        let expected: Vec<usize> = (0..=lanes()).map(|before| 1 + before / lanes()).collect();
        assert_eq!(woken, expected);
    }

    #[test]
    fn a_stream_that_waits_gets_a_lane_while_others_still_have_bytes() {
        let (pool, mut worker) = by_hand();
        let mut streams: Vec<Md5Stream> = (0..=lanes()).map(|_| pool.stream()).collect();
        for stream in &mut streams {
            let _ = write_now(stream, Bytes::from(vec![0; 4 * PORTION_BYTES]));
        }
        assert!(worker.take());
        let first = worker.lanes[0].length_bytes();
        worker.turn();
        assert!(worker.take());

        assert_eq!((first, worker.lanes.len()), (0, lanes()));
        assert_eq!(worker.lanes[lanes() - 1].length_bytes(), 0, "the one that waited is there");
        assert_eq!(pool.open.shared.queue().ready.len(), 1, "and one of the others waits");
        worker.lanes.clear();
    }

    #[test]
    fn a_stream_at_its_bound_waits_until_half_of_it_is_hashed() {
        let (pool, mut worker) = by_hand();
        let mut stream = pool.stream();
        let piece = Bytes::from(vec![1; QUEUE_BYTES_MAX / 4]);
        for _ in 0..3 {
            assert_eq!(write_now(&mut stream, piece.clone()), Poll::Ready(()));
        }
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut write = Box::pin(stream.write(piece.clone()));
        assert_eq!(write.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);

        let mut turns = 0;
        while !woken.was_used() {
            assert!(worker.take());
            worker.turn();
            turns += 1;
        }

        let turns_of_a_piece = piece.len() / (super::TURN_BLOCKS_MAX * 64);
        assert_eq!(turns, 2 * turns_of_a_piece + 1, "the second of four is done when the third is taken");
        assert_eq!(write.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(()));
        drop(write);
        worker.lanes.clear();
    }

    #[test]
    fn a_stream_that_is_dropped_gives_its_bytes_back() {
        let pool = Md5Pool::new(1);
        let bytes = Bytes::from(vec![1; QUEUE_BYTES_MAX / 2]);
        let mut stream = pool.stream();
        wait(stream.write(bytes.clone()));
        wait(stream.write(bytes.clone()));

        drop(stream);

        until(|| bytes.is_unique());
        let mut next = pool.stream();
        wait(next.write(bytes.clone()));
        assert_eq!(wait(next.digest()), md5(&bytes), "the worker is free for others");
    }

    #[test]
    fn threads_end_when_the_pool_and_its_streams_are_gone() {
        let pool = Md5Pool::new(2);
        let shared = Arc::downgrade(&pool.open.shared);
        let mut stream = pool.stream();
        let body = Bytes::from(vec![1; 3 * PORTION_BYTES]);
        drop(pool);
        wait(stream.write(body.clone()));
        assert_eq!(wait(stream.digest()), md5(&body), "a stream outlives the pool it was begun with");

        until(|| shared.strong_count() == 0);
    }

    #[test]
    fn a_pool_starts_no_thread_for_bodies_that_are_not_worth_it() {
        let pool = Md5Pool::new(2);
        let mut stream = pool.stream();
        wait(stream.write(Bytes::from(vec![1; WORTH_BYTES - 1])));
        wait(stream.digest());
        assert_eq!(pool.open.shared.queue().workers, 0);

        let mut stream = pool.stream();
        wait(stream.write(Bytes::from(vec![1; WORTH_BYTES])));
        wait(stream.digest());
        assert_eq!(pool.open.shared.queue().workers, 1);
    }
}
