//! Work on the store that is driven to its end, also when the client it is done for goes away.
//!
//! A write that is abandoned halfway would leave what it committed untold. As long as somebody waits for it, it
//! runs in the waiting task: a task of its own would cost every write a copy of its state and a wake-up. Only
//! when it is dropped unfinished does it become one.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Work under way. Those who wait for the tracker wait for it, whoever drives it.
pub(crate) struct Work<T: Send + 'static> {
    /// `None` when it has ended.
    rest: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    runtime: Handle,
    tasks: TaskTracker,
    _token: TaskTrackerToken,
}

impl<T: Send + 'static> Work<T> {
    /// Begins work within a runtime.
    pub(crate) fn new(tasks: &TaskTracker, work: impl Future<Output = T> + Send + 'static) -> Work<T> {
        Work {
            rest: Some(Box::pin(work)),
            runtime: Handle::current(),
            tasks: tasks.clone(),
            _token: tasks.token(),
        }
    }
}

impl<T: Send + 'static> Future for Work<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile: work that panics is not polled again by whoever drops this.
        let mut rest = self.rest.take().expect("work that has ended is not polled");
        let polled = rest.as_mut().poll(context);
        if polled.is_pending() {
            self.rest = Some(rest);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Work<T> {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take() {
            // A runtime that is shutting down drops it, as it does all tasks.
            self.tasks.spawn_on(rest, &self.runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio_util::task::TaskTracker;

    use super::Work;

    #[tokio::test]
    async fn work_gives_its_result_to_who_waits_for_it() {
        let tasks = TaskTracker::new();
        assert_eq!(Work::new(&tasks, async { 7 }).await, 7);
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_ends_all_the_same_and_is_waited_for() {
        let tasks = TaskTracker::new();
        let (go, gone) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let work = Work::new(&tasks, async move {
            gone.await.unwrap();
            tell.send("done").unwrap();
        });
        let abandoned = tokio::time::timeout(Duration::ZERO, work).await;
        assert!(abandoned.is_err(), "it waits to be told to go on");
        assert_eq!(tasks.len(), 1);

        tasks.close();
        go.send(()).unwrap();
        tasks.wait().await;
        assert_eq!(told.await.unwrap(), "done");
    }

    #[tokio::test]
    async fn work_that_panics_is_over() {
        let tasks = TaskTracker::new();
        let work = Work::new(&tasks, async { panic!("a bug") });
        let outcome: Result<(), _> = tokio::spawn(work).await;
        assert!(outcome.unwrap_err().is_panic());
        assert!(tasks.is_empty());
    }
}
