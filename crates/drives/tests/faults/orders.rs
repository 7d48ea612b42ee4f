//! Every order in which four drives can complete the frames of two batches, each written or failed.
//!
//! The sequencer is one thread that hears events, and what races are the drives: so the orders of their outcomes are
//! all there is to explore. They are enumerated by a model of what must happen, and each is carried out on the real
//! sequencer and its writers, whose frames wait at gates until it is their turn. After every step the drives that
//! wait, the drives that are out and the commits that are answered are those of the model; and a crash then, with any
//! of the waiting frames on the medium, loses nothing that was answered.
//!
//! Drives that have done nothing yet are alike: of orders that differ in their names alone one is carried out.

#![allow(clippy::print_stdout, reason = "a run tells how much it looked at")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::poll;
use store::{EngineError, Sequence};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{LocalEngine, Patience};
use tokio::task::JoinHandle;

use crate::support::{
    Gated, body, get, offline, open_all, put, put_new, restarted, told, wait_until, with_small_segments,
};

const DRIVES: usize = 4;
const QUORUM: usize = 3;
const BATCHES: usize = 2;

/// Longest that anything here may take.
const WITHIN: Duration = Duration::from_secs(60);

/// A drive completes the frame that it has, written or failed.
type Step = (usize, bool);

/// Number of the first of them: before it is that which begins the epoch.
const FIRST: u64 = 2;

/// What must have happened after some steps.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Frames that each drive has written.
    written: [usize; DRIVES],
    failed: [bool; DRIVES],
    acknowledged: usize,
    /// Drives that are out: one that failed is when a quorum without it holds the batch that is under way, if one is.
    out: usize,
}

impl Model {
    /// A batch goes out when the one before is acknowledged.
    fn sent(&self) -> usize {
        (self.acknowledged + 1).min(BATCHES)
    }

    fn waits(&self, drive: usize) -> bool {
        !self.failed[drive] && self.written[drive] < self.sent()
    }

    /// With two drives failed the other two are no quorum.
    fn is_frozen(&self) -> bool {
        self.failures() > DRIVES - QUORUM
    }

    fn failures(&self) -> usize {
        self.failed.iter().filter(|failed| **failed).count()
    }

    fn after(mut self, (drive, is_written): Step) -> Model {
        self.failed[drive] = !is_written;
        self.written[drive] += usize::from(is_written);
        let holders = |model: &Model| {
            let holds = |drive: &usize| !model.failed[*drive] && model.written[*drive] > model.acknowledged;
            (0..DRIVES).filter(holds).count()
        };
        if self.acknowledged < self.sent() && holders(&self) >= QUORUM {
            self.acknowledged += 1;
            self.out = self.failures();
        }
        if self.acknowledged == BATCHES {
            self.out = self.failures();
        }
        self
    }

    /// Steps that can be next; of drives that are alike the first.
    fn steps(&self) -> Vec<Step> {
        if self.is_frozen() {
            return Vec::new();
        }
        let is_new = |drive: usize| self.written[drive] == 0 && !self.failed[drive];
        let first_new = (0..DRIVES).find(|drive| is_new(*drive));
        (0..DRIVES)
            .filter(|drive| self.waits(*drive) && (!is_new(*drive) || first_new == Some(*drive)))
            .flat_map(|drive| [(drive, true), (drive, false)])
            .collect()
    }
}

/// All orders, from the first step to where no drive waits or the set is frozen, in depth-first order.
fn all_orders() -> Vec<Vec<Step>> {
    let mut orders = Vec::new();
    let mut open = vec![(Vec::new(), Model::default())];
    while let Some((order, model)) = open.pop() {
        let steps = model.steps();
        if steps.is_empty() {
            orders.push(order);
            continue;
        }
        for step in steps {
            open.push(([&order[..], &[step]].concat(), model.clone().after(step)));
        }
    }
    orders
}

pub(crate) type Answer = JoinHandle<Result<Sequence, EngineError>>;

/// A set with three commits under way: one in the first batch; in the second one that makes a key, and one that is
/// refused because of it.
struct Run {
    /// In front: on a panic the gates open before the engine waits for what is in flight.
    drives: Gated,
    engine: Arc<LocalEngine>,
    answers: Vec<Answer>,
}

const KEYS: [&str; 3] = ["first", "new", "new"];

/// Sends a commit off; it is in the sequencer's queue on return.
pub(crate) async fn send(
    commit: impl Future<Output = Result<Sequence, EngineError>> + Send + 'static,
) -> Answer {
    let mut commit = Box::pin(commit);
    assert!(poll!(&mut commit).is_pending());
    tokio::spawn(commit)
}

impl Run {
    async fn begin() -> Run {
        let drives = Gated(with_small_segments(FaultyDrive::machine(DRIVES, &Power::steady())));
        let engine = open_all(&drives).unwrap();
        // A frame waits at its gate while crashes are looked at, on a busy machine for longer than a drive may take.
        engine.set_patience(Patience { frame: Duration::from_secs(600), ..Patience::DEFAULT });
        drives.iter().for_each(|drive| drive.gate_frames(true));
        let first = Arc::clone(&engine);
        let mut answers = vec![send(async move { put(&first, KEYS[0], body(20_000, 0)).await }).await];
        wait_until(|| drives.iter().all(|drive| drive.waiting().is_some())).await;
        for seed in [1, 2] {
            let engine = Arc::clone(&engine);
            let commit = async move { put_new(&engine, KEYS[seed], body(20_000, seed)).await };
            answers.push(send(commit).await);
        }
        Run { drives, engine, answers }
    }

    /// Whether everything is as the model says.
    fn is_at(&self, model: &Model) -> bool {
        if model.is_frozen() {
            return true;
        }
        let waits_as_expected = |drive: usize| {
            let expected = if model.waits(drive) { FIRST + model.written[drive] as u64 } else { 0 };
            waiting_batch(&self.drives[drive]) == expected
        };
        let out = offline(&self.engine).len();
        // A failure may be heard after those who make the quorum: the drive is then out with the next batch.
        let is_heard_later = out < model.out && model.acknowledged < BATCHES;
        (0..DRIVES).all(waits_as_expected)
            && (out == model.out || is_heard_later)
            && (self.answers[0].is_finished(), self.answers[1].is_finished())
                == (model.acknowledged > 0, model.acknowledged > 1)
            && self.answers[2].is_finished() == (model.acknowledged > 1)
    }

    /// Waits until everything is as the model says, and says what is not.
    async fn reaches(&self, model: &Model, steps: &[Step]) {
        let since = Instant::now();
        while !self.is_at(model) {
            let waits: Vec<u64> = self.drives.iter().map(waiting_batch).collect();
            let answered: Vec<bool> = self.answers.iter().map(Answer::is_finished).collect();
            let out = offline(&self.engine);
            assert!(since.elapsed() < WITHIN, "{steps:?}: {model:?}, {waits:?}, {answered:?}, {out:?}");
            soon(since).await;
        }
    }

    /// A crash now, with any of the waiting frames on the medium: what was answered stands.
    async fn crash(&self, model: &Model) -> u64 {
        let waiting: Vec<usize> = (0..DRIVES).filter(|drive| model.waits(*drive)).collect();
        for landed in 0..1_u32 << waiting.len() {
            let drives = restarted(&self.drives);
            for (nth, drive) in waiting.iter().enumerate() {
                if landed >> nth & 1 == 1
                    && let Some(frame) = self.drives[*drive].waiting()
                {
                    drives[*drive].damage(&frame.file, frame.offset, &frame.bytes);
                }
            }
            let engine = open_all(&drives).unwrap();
            let told = told(&engine).await;
            assert!(told == KEYS[..told.len()] && told.len() <= BATCHES, "{model:?}: {told:?}");
            assert!(told.len() >= model.acknowledged, "{model:?}, landed {landed:b}: {told:?}");
            for (seed, key) in KEYS[..told.len()].iter().enumerate() {
                assert!(get(&engine, key).await == Ok(Some(body(20_000, seed))), "{model:?}: {key}");
            }
        }
        1 << waiting.len()
    }

    /// Lets everything go its way, and holds the answers against what is there in the end and after a restart.
    async fn end(self, order: &[Step]) {
        self.drives.iter().for_each(|drive| drive.gate_frames(false));
        let mut answers = Vec::new();
        for answer in self.answers {
            answers.push(answer.await.unwrap());
        }
        wait_until(|| self.engine.report().writable).await;
        let left = told(&self.engine).await;
        let count = |key: &str| left.iter().filter(|told| *told == key).count();
        match &answers[0] {
            Ok(_) => assert_eq!(count("first"), 1, "{order:?}: {answers:?}"),
            Err(EngineError::OutcomeUnknown { .. }) => {}
            Err(EngineError::WriteQuorum { .. }) => assert_eq!(count("first"), 0, "{order:?}: {answers:?}"),
            Err(error) => panic!("{order:?}: {error}"),
        }
        let made = answers[1..].iter().filter(|answer| answer.is_ok()).count();
        let refused =
            answers[1..].iter().any(|answer| matches!(answer, Err(EngineError::Precondition { .. })));
        assert!(count("new") <= 1 && made <= count("new"), "{order:?}: {answers:?}, {left:?}");
        assert!(!refused || count("new") == 1, "{order:?}: {answers:?}, {left:?}");
        drop(self.engine);
        let engine = open_all(&restarted(&self.drives)).unwrap();
        assert_eq!(told(&engine).await, left, "{order:?}");
    }
}

/// The batch whose frame waits; 0 when none does.
fn waiting_batch(drive: &FaultyDrive) -> u64 {
    drive.waiting().map_or(0, |waiting| waiting.batch)
}

/// Lets others go on: at first for as short as can be, since most comes in microseconds.
async fn soon(since: Instant) {
    if since.elapsed() < Duration::from_millis(5) {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Carries an order out; crashes are looked at behind the first `known` steps, which an earlier order had.
async fn carry_out(order: &[Step], known: usize) -> u64 {
    let run = Run::begin().await;
    let (mut model, mut crashes) = (Model::default(), 0);
    for (nth, step) in order.iter().enumerate() {
        run.drives[step.0].decide(step.1);
        model = model.after(*step);
        run.reaches(&model, &order[..=nth]).await;
        if nth >= known && !model.is_frozen() {
            crashes += run.crash(&model).await;
        }
    }
    run.end(order).await;
    crashes
}

/// Lets no further order begin when one failed.
struct Begun<'o>(&'o AtomicUsize, usize);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fetch_add(self.1, Ordering::Relaxed);
        }
    }
}

#[test]
fn in_every_order_in_which_drives_write_or_fail_answers_come_at_the_quorum_in_order_and_survive_a_crash() {
    let started = Instant::now();
    let orders = all_orders();
    let (next, crashes) = (AtomicUsize::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // A frozen set takes its time to recover: most of a run is waiting.
        for _ in 0..8 * std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let _begun = Begun(&next, orders.len());
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(order) = orders.get(at) else { return };
                    let before = at.checked_sub(1).map_or(&[][..], |before| &orders[before]);
                    let known = order.iter().zip(before).take_while(|(one, other)| one == other).count();
                    crashes.fetch_add(runtime.block_on(carry_out(order, known)), Ordering::Relaxed);
                }
            });
        }
    });
    let (orders, crashes) = (orders.len(), crashes.into_inner());
    println!("{orders} orders, {crashes} crashes, in {:.1} s", started.elapsed().as_secs_f64());
}
