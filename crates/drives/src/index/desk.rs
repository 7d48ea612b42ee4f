//! Questions to a copy of the index, gathered, so that a thread is woken for many of them.
//!
//! To look a key up takes a few microseconds, and to wake a thread for it three times as long. So the first who has a
//! question lets all others that are ready leave theirs beside it, and then sends for threads.
//!
//! Bounds: as many questions wait as requests are under way; [`THREADS_MAX`] threads at a time answer, and more than a
//! [`SHARE`] of questions brings more than one. Questions behind threads that hang wait: who asks has a deadline.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::yield_now;

/// Threads that answer at a time.
const THREADS_MAX: usize = 32;

/// Effort for which a thread is worth its while.
const SHARE: usize = 8;

type Question = Box<dyn FnOnce() + Send>;

/// How long a question takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// A few keys are looked up.
    Look,
    /// Rows are walked over.
    Walk,
}

/// What waits for threads.
#[derive(Default)]
pub(super) struct Desk(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<(Effort, Question)>,
    /// Somebody is about to send for threads.
    is_sent_for: bool,
    threads: usize,
}

impl Effort {
    /// That of looking up so many keys.
    pub(crate) fn of_keys(count: usize) -> Effort {
        if count < SHARE { Effort::Look } else { Effort::Walk }
    }

    fn weight(self) -> usize {
        match self {
            Effort::Look => 1,
            Effort::Walk => SHARE,
        }
    }
}

impl Desk {
    /// Leaves a question, which is answered where blocking is allowed, also when this is not waited for to its end.
    /// It is dropped unanswered where the runtime ends.
    pub(super) async fn leave(self: &Arc<Self>, effort: Effort, question: impl FnOnce() + Send + 'static) {
        let is_first = {
            let mut state = self.0.lock();
            state.waiting.push_back((effort, Box::new(question)));
            !std::mem::replace(&mut state.is_sent_for, true)
        };
        if is_first {
            let sending = Sending(Arc::clone(self));
            yield_now().await;
            drop(sending);
        }
    }

    /// As many questions as are a thread's share; none when none waits.
    fn take_share(&self) -> Vec<Question> {
        let mut state = self.0.lock();
        let (mut share, mut weight) = (Vec::new(), 0);
        while weight < SHARE
            && let Some((effort, question)) = state.waiting.pop_front()
        {
            weight += effort.weight();
            share.push(question);
        }
        share
    }
}

/// Sends for threads when it is dropped: who was the first may go away meanwhile.
struct Sending(Arc<Desk>);

impl Drop for Sending {
    fn drop(&mut self) {
        let runtime = Handle::try_current();
        let wanted = {
            let mut state = self.0.0.lock();
            state.is_sent_for = false;
            if runtime.is_err() {
                state.waiting.clear();
            }
            let weight: usize = state.waiting.iter().map(|(effort, _)| effort.weight()).sum();
            let wanted = weight.div_ceil(SHARE).min(THREADS_MAX - state.threads);
            state.threads += wanted;
            wanted
        };
        let Ok(runtime) = runtime else { return };
        for _ in 0..wanted {
            let thread = Thread(Arc::clone(&self.0));
            runtime.spawn_blocking(move || thread.answer());
        }
    }
}

/// A thread that answers, or will.
struct Thread(Arc<Desk>);

impl Thread {
    fn answer(self) {
        loop {
            let share = self.0.take_share();
            if share.is_empty() {
                return;
            }
            share.into_iter().for_each(|question| question());
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.0.lock().threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    async fn ask(desk: &Arc<Desk>, effort: Effort) -> std::thread::ThreadId {
        let (answer, answered) = oneshot::channel();
        let question = move || answer.send(std::thread::current().id()).expect("somebody waits");
        desk.leave(effort, question).await;
        timeout(SOON, answered).await.expect("it is answered in time").unwrap()
    }

    #[tokio::test]
    async fn questions_that_come_together_are_answered_by_few_threads() {
        let desk = Arc::new(Desk::default());
        let asked = (0..2 * SHARE).map(|_| {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move { ask(&desk, Effort::Look).await })
        });
        let mut threads = HashSet::new();
        for asked in asked.collect::<Vec<_>>() {
            threads.insert(asked.await.unwrap());
        }
        assert!(threads.len() <= 2, "{} threads", threads.len());
    }

    #[tokio::test]
    async fn one_that_takes_long_holds_no_later_one_up() {
        let desk = Arc::new(Desk::default());
        let (go, gone) = mpsc::channel::<()>();
        desk.leave(Effort::Walk, move || gone.recv().expect("it is let go")).await;
        ask(&desk, Effort::Look).await;
        go.send(()).unwrap();
    }

    #[tokio::test]
    async fn who_came_first_and_went_away_leaves_nobody_without_an_answer() {
        let desk = Arc::new(Desk::default());
        let mut first = Box::pin(desk.leave(Effort::Look, || ()));
        assert!(futures_util::poll!(&mut first).is_pending());
        let (answer, answered) = oneshot::channel();
        desk.leave(Effort::Look, move || answer.send(()).unwrap()).await;
        drop(first);
        timeout(SOON, answered).await.expect("it is answered in time").unwrap();
    }

    #[tokio::test]
    async fn no_more_threads_answer_than_are_allowed_and_all_questions_are_answered() {
        let desk = Arc::new(Desk::default());
        let (go, gone) = mpsc::channel::<()>();
        let gone = Arc::new(Mutex::new(gone));
        for _ in 0..THREADS_MAX {
            let gone = Arc::clone(&gone);
            desk.leave(Effort::Walk, move || gone.lock().recv().expect("it is let go")).await;
        }
        let (answer, mut answered) = oneshot::channel();
        desk.leave(Effort::Look, move || answer.send(()).unwrap()).await;
        assert_eq!(desk.0.lock().threads, THREADS_MAX);
        assert!(answered.try_recv().is_err());
        (0..THREADS_MAX).for_each(|_| go.send(()).unwrap());
        timeout(SOON, answered).await.expect("it is answered in time").unwrap();
    }
}
