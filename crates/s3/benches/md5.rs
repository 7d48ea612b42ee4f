//! What MD5 costs, alone and in lock step on a pool.
//!
//! `cargo bench -p tidings-s3 --bench md5` prints, for 1 to 64 streams, how fast the pool hashes them together
//! and how fast md-5 does on as many threads; each figure is the best of several rounds, taken in turn, per
//! second of the clock and per second of processor time.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::Instant;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use tidings_s3::digest::Md5Pool;

const ROUNDS: usize = 3;

/// What is hashed in a round, in bytes: 1 GiB, enough for a clock of processor time that counts in hundredths
/// of a second.
const ROUND_BYTES: usize = 1 << 30;

/// All bodies of a round that are hashed at once, in bytes: 64 MiB.
const BODIES_BYTES: usize = 64 << 20;

/// How uploads come over a connection: 64 KiB at a time.
const PIECE_BYTES: usize = 64 * 1024;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Bytes a second of the clock, and of processor time.
#[derive(Clone, Copy, Default)]
struct Rate {
    clock: f64,
    processor: f64,
}

impl Rate {
    fn of(work: impl Fn()) -> Rate {
        let (began, processor_began_s) = (Instant::now(), processor_s());
        for _ in 0..ROUND_BYTES / BODIES_BYTES {
            work();
        }
        let gb = ROUND_BYTES as f64 / 1e9;
        let processor_s = processor_s() - processor_began_s;
        Rate { clock: gb / began.elapsed().as_secs_f64(), processor: gb / processor_s }
    }

    fn best(self, other: Rate) -> Rate {
        Rate { clock: self.clock.max(other.clock), processor: self.processor.max(other.processor) }
    }
}

/// Processor time of all threads so far, user and system, in seconds; 0 where /proc does not tell it.
fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Hashes the bodies with md-5, on as many threads as there are cores.
fn md_5(cores: usize, bodies: &[Bytes]) {
    thread::scope(|scope| {
        for first in 0..cores.min(bodies.len()) {
            scope.spawn(move || {
                for body in bodies.iter().skip(first).step_by(cores) {
                    black_box(Md5::digest(body));
                }
            });
        }
    });
}

/// Hashes the bodies on the pool. One thread writes all of them, as tasks of a runtime do.
fn pooled(pool: &Md5Pool, bodies: &[Bytes]) {
    let mut writes: Vec<_> = bodies
        .iter()
        .map(|body| {
            let mut stream = pool.stream();
            Box::pin(async move {
                for at in (0..body.len()).step_by(PIECE_BYTES) {
                    stream.write(body.slice(at..body.len().min(at + PIECE_BYTES))).await;
                }
                black_box(stream.digest().await)
            })
        })
        .collect();
    wait(std::future::poll_fn(|context| {
        writes.retain_mut(|write| write.as_mut().poll(context).is_pending());
        if writes.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }));
}

fn main() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores");
    println!("{:>8} {:>24} {:>24} {:>14}", "", "md-5, GB/s", "pool, GB/s", "ratio");
    println!(
        "{:>8} {:>12}{:>12} {:>12}{:>12} {:>7}{:>7}",
        "streams", "clock", "processor", "clock", "processor", "clock", "proc."
    );
    for streams in [1, 2, 4, 8, 16, 64] {
        let body_bytes = BODIES_BYTES / streams;
        let bodies: Vec<Bytes> = (0..streams).map(|_| Bytes::from(vec![7; body_bytes])).collect();
        let pool = Md5Pool::of_all_cores();
        let (mut alone, mut together) = (Rate::default(), Rate::default());
        for _ in 0..ROUNDS {
            alone = alone.best(Rate::of(|| md_5(cores, &bodies)));
            together = together.best(Rate::of(|| pooled(&pool, &bodies)));
        }
        println!(
            "{streams:>8} {:>12.2}{:>12.2} {:>12.2}{:>12.2} {:>7.2}{:>7.2}",
            alone.clock,
            alone.processor,
            together.clock,
            together.processor,
            together.clock / alone.clock,
            together.processor / alone.processor
        );
    }
}
