//! A lane: how the foreground asks one drive, so that a drive that hangs costs a bounded number of threads and nobody's
//! time for ever.
//!
//! Every question runs on a blocking thread of its own under a deadline. A drive that misses it is a fault, told to
//! the sequencer, and the asker goes on without the answer; the thread stays behind until the drive gives it back.
//!
//! # Bounds
//!
//! 1. At most [`PLACES`] questions are under way on a drive in each direction. Who finds all places taken waits for
//!    one, at most the deadline, which is then no fault of the drive.
//! 2. With at most m of 16 drives hanging, no more than half of the blocking threads a runtime has (512) are lost.
//! 3. A read that got no answer within [`Patience::hedge`] is also asked of others, while these have half of their
//!    places free: where all are busy, more questions would only make them slower.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::member::Member;
use crate::sequencer::{Event, EventSender};
use crate::set::Set;

/// Questions under way on a drive in one direction.
pub(crate) const PLACES: usize = 32;

/// How long drives may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a read, before the drive is out.
    pub read: Duration,
    /// For a read, before the others are asked as well.
    pub hedge: Duration,
    /// For a frame of the journal, before the drive is out.
    pub frame: Duration,
    /// For making a shard, an append to it or its sync, before the drive is out.
    pub write: Duration,
}

impl Patience {
    /// Five seconds for a read, hedged after 50 milliseconds, and for a frame; ten for a write, behind which a device
    /// may first have to finish what others wrote.
    pub const DEFAULT: Patience = Patience {
        read: Duration::from_secs(5),
        hedge: Duration::from_millis(50),
        frame: Duration::from_secs(5),
        write: Duration::from_secs(10),
    };
}

/// The places of one drive in one direction.
#[derive(Debug)]
pub(crate) struct Lane {
    places: Arc<Semaphore>,
    under_way: Arc<UnderWay>,
}

/// How many threads hold the drive.
#[derive(Debug, Default)]
struct UnderWay {
    count: Mutex<usize>,
    fell: Condvar,
}

/// A place, taken.
struct Place {
    under_way: Arc<UnderWay>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(lane: &Lane, permit: OwnedSemaphorePermit) -> Place {
        *lane.under_way.count.lock() += 1;
        Place { under_way: Arc::clone(&lane.under_way), _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.under_way.count.lock() -= 1;
        self.under_way.fell.notify_all();
    }
}

impl Default for Lane {
    fn default() -> Lane {
        Lane { places: Arc::new(Semaphore::new(PLACES)), under_way: Arc::default() }
    }
}

impl Lane {
    fn has_room(&self) -> bool {
        self.places.available_permits() >= PLACES / 2
    }

    /// Waits until no thread holds the drive any more, at most `patience`.
    pub(crate) fn drain(&self, patience: Duration) {
        let mut count = self.under_way.count.lock();
        self.under_way.fell.wait_while_for(&mut count, |count| *count > 0, patience);
    }
}

/// Reads from the drive at `position`.
///
/// # Errors
///
/// What the drive says, or `TimedOut`.
pub(crate) async fn read<T: Send + 'static>(
    set: &Arc<Set>,
    position: usize,
    run: impl FnOnce(&Member) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let deadline = set.patience.read().read;
    ask(set, position, &set.members[position].reads, deadline, "a read", run).await
}

/// Writes to or removes from the drive at `position`, outside the journal.
///
/// # Errors
///
/// What the drive says, or `TimedOut`; then it may still happen.
pub(crate) async fn write<T: Send + 'static>(
    set: &Arc<Set>,
    position: usize,
    run: impl FnOnce(&Member) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let deadline = set.patience.read().write;
    let member = &set.members[position];
    let user = member.user();
    let run = move |member: &Member| {
        let _user = user;
        run(member)
    };
    ask(set, position, &member.writes, deadline, "a write to a shard", run).await
}

async fn ask<T: Send + 'static>(
    set: &Arc<Set>,
    position: usize,
    lane: &Lane,
    deadline: Duration,
    what: &'static str,
    run: impl FnOnce(&Member) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let Ok(permit) = timeout(deadline, Arc::clone(&lane.places).acquire_owned()).await else {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "the drive is busy"));
    };
    let place = Place::new(lane, permit.expect("places are never closed"));
    let shared = Arc::clone(set);
    let answer = spawn_blocking(move || {
        let answer = run(&shared.members[position]);
        // Who waits for the place may open the drive again at once.
        drop(shared);
        drop(place);
        answer
    });
    let terms = Terms { position, what, deadline, due: Instant::now() + deadline };
    Question { events: set.events.clone(), terms, answer: Some(answer) }.answer().await
}

/// Who was asked what, and until when.
#[derive(Clone, Copy)]
struct Terms {
    position: usize,
    what: &'static str,
    deadline: Duration,
    due: Instant,
}

impl Terms {
    async fn hold<T>(self, events: &EventSender, answer: &mut JoinHandle<io::Result<T>>) -> io::Result<T> {
        match timeout_at(self.due, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Ok(Err(_)) => Err(io::Error::other("the runtime ended")),
            Err(_) => {
                let reason = format!("it did not answer {} within {:?}", self.what, self.deadline);
                // The sequencer is gone only when the engine is.
                let _ = events.send(Event::Fault { position: self.position, reason });
                Err(io::Error::new(io::ErrorKind::TimedOut, "the drive hangs"))
            }
        }
    }
}

/// A question that was put to a drive. Its deadline holds also when the asker goes away.
struct Question<T: Send + 'static> {
    events: EventSender,
    terms: Terms,
    /// `None` when it is over.
    answer: Option<JoinHandle<io::Result<T>>>,
}

impl<T: Send + 'static> Question<T> {
    async fn answer(mut self) -> io::Result<T> {
        let answer = self.answer.as_mut().expect("it is over only on return");
        let answered = self.terms.hold(&self.events, answer).await;
        self.answer = None;
        answered
    }
}

impl<T: Send + 'static> Drop for Question<T> {
    fn drop(&mut self) {
        let Some(mut answer) = self.answer.take().filter(|answer| !answer.is_finished()) else {
            return;
        };
        if let Ok(runtime) = Handle::try_current() {
            let (events, terms) = (self.events.clone(), self.terms);
            // Nobody wants the answer any more, only to know that there is one.
            runtime.spawn(async move { terms.hold(&events, &mut answer).await.map(drop) });
        }
    }
}

/// Whether every one of these drives has half of its places for reads free.
pub(crate) fn have_room(set: &Set, positions: impl IntoIterator<Item = usize>) -> bool {
    positions.into_iter().all(|position| set.members[position].reads.has_room())
}

/// Waits until another drive should be asked: after each hedging time in which nothing came.
pub(crate) async fn hedge_due(set: &Set) {
    let patience = set.patience.read().hedge;
    sleep(patience).await;
}

/// Asks drives one after the other, the next one when one fails or is slow, and gives the first answer, and the errors
/// that came before it.
pub(crate) async fn first<T: Send + 'static>(
    set: &Arc<Set>,
    positions: impl IntoIterator<Item = usize>,
    run: impl Fn(&Member) -> io::Result<T> + Clone + Send + 'static,
) -> (Option<T>, Vec<(usize, io::Error)>) {
    let mut rest = positions.into_iter().peekable();
    let mut failures = Vec::new();
    let mut asked = FuturesUnordered::new();
    let ask = |position: usize| {
        let run = run.clone();
        async move { (position, read(set, position, run).await) }
    };
    asked.extend(rest.next().map(ask));
    loop {
        tokio::select! {
            biased;
            answer = asked.next() => match answer {
                Some((_, Ok(answer))) => return (Some(answer), failures),
                Some((position, Err(error))) => {
                    failures.push((position, error));
                    asked.extend(rest.next().map(ask));
                }
                None => return (None, failures),
            },
            () = hedge_due(set), if rest.peek().is_some() => {
                if have_room(set, rest.peek().copied()) {
                    asked.extend(rest.next().map(ask));
                }
            }
        }
    }
}
