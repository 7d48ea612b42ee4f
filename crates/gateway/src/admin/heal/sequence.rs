//! A sequence: one walk over the objects below a path, and what it found that its client has not heard yet.
//!
//! # Bounds
//!
//! [`ITEMS_WAITING_MAX`] items wait for the client; the walk waits then too, and is stopped when the client has not
//! asked for [`PATIENCE`].

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::item::Item;
use super::{Scope, Settings};

/// Items that a client may leave untaken: some 300 KiB for eight drives.
pub(super) const ITEMS_WAITING_MAX: usize = 1000;

/// How long a walk waits for a client that does not ask: an hour.
const PATIENCE: Duration = Duration::from_secs(3600);

/// One heal sequence.
pub(super) struct Sequence {
    pub(super) scope: Scope,
    pub(super) settings: Settings,
    /// Who has it may ask how it stands.
    pub(super) token: String,
    /// Where it was asked for.
    pub(super) client: String,
    /// Milliseconds since 1970.
    pub(super) started_ms: u64,
    state: Mutex<State>,
    /// The client took something, or it is to stop.
    stirred: Notify,
    patience: Duration,
}

#[derive(Default)]
struct State {
    items: VecDeque<(u64, Item)>,
    /// Items found so far.
    found: u64,
    /// Why it is to stop.
    stop: Option<String>,
    end: Option<End>,
}

#[derive(Clone)]
struct End {
    /// Milliseconds since 1970.
    at_ms: u64,
    /// Why not everything was looked at.
    reason: Option<String>,
}

/// What a client hears.
pub(super) struct Found {
    /// With their numbers, from 1.
    pub(super) items: Vec<(u64, Item)>,
    /// `None` while it runs; then why it ended before it was through, if it did.
    pub(super) end: Option<Option<String>>,
}

impl Sequence {
    pub(super) fn new(scope: Scope, settings: Settings, client: String, started_ms: u64) -> Sequence {
        Sequence {
            scope,
            settings,
            token: Uuid::new_v4().to_string(),
            client,
            started_ms,
            state: Mutex::default(),
            stirred: Notify::new(),
            patience: PATIENCE,
        }
    }

    /// What was found since this was last asked: each item once.
    pub(super) fn take(&self) -> Found {
        let mut state = self.state.lock();
        let found = Found {
            items: state.items.drain(..).collect(),
            end: state.end.as_ref().map(|end| end.reason.clone()),
        };
        self.stirred.notify_one();
        found
    }

    /// Adds an item, when there is room for it; whether to go on. Blocks, on a thread that may.
    pub(super) fn add(&self, item: Item, closing: &CancellationToken) -> bool {
        let runtime = Handle::current();
        while self.goes_on(closing) {
            let mut state = self.state.lock();
            if state.items.len() < ITEMS_WAITING_MAX {
                state.found += 1;
                let number = state.found;
                state.items.push_back((number, item));
                return true;
            }
            drop(state);
            let stirred = runtime.block_on(async {
                tokio::select! {
                    () = closing.cancelled() => Ok(()),
                    stirred = timeout(self.patience, self.stirred.notified()) => stirred,
                }
            });
            if stirred.is_err() {
                self.stop(&format!("nobody asked for {:?} what was found", self.patience));
            }
        }
        false
    }

    /// Whether the walk is to go on.
    pub(super) fn goes_on(&self, closing: &CancellationToken) -> bool {
        if closing.is_cancelled() {
            self.stop("the server is shutting down");
        }
        self.state.lock().stop.is_none()
    }

    /// Has the walk end soon; the first reason stays.
    pub(super) fn stop(&self, reason: &str) {
        self.state.lock().stop.get_or_insert_with(|| reason.to_owned());
        self.stirred.notify_one();
    }

    /// Notes that the walk is over, and why it did not come through.
    pub(super) fn end(&self, walked: Result<(), String>, at_ms: u64) {
        let mut state = self.state.lock();
        let reason = walked.err().map(|reason| state.stop.clone().unwrap_or(reason));
        state.end = Some(End { at_ms, reason });
    }

    /// Whether it has ended or is about to.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.end.is_some() || state.stop.is_some()
    }

    /// When it ended, milliseconds since 1970.
    pub(super) fn ended_ms(&self) -> Option<u64> {
        self.state.lock().end.as_ref().map(|end| end.at_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tidings_store::BucketName;
    use tokio_util::sync::CancellationToken;

    use super::{ITEMS_WAITING_MAX, Item, Scope, Sequence, Settings};
    use crate::admin::drives;

    fn sequence(patience: Duration) -> Arc<Sequence> {
        let scope = Scope::parse("album").unwrap();
        let sequence = Sequence::new(scope, Settings::default(), "127.0.0.1".to_owned(), 7);
        Arc::new(Sequence { patience, ..sequence })
    }

    /// A walk that finds one item more than may wait; whether it was to go on after each.
    fn walk(sequence: &Arc<Sequence>, closing: &CancellationToken) -> tokio::task::JoinHandle<Vec<bool>> {
        let (sequence, closing) = (Arc::clone(sequence), closing.clone());
        let item = Item::bucket(&BucketName::new("album").unwrap(), 0, &drives::sample());
        tokio::task::spawn_blocking(move || {
            let goes_on = (0..=ITEMS_WAITING_MAX).map(|_| sequence.add(item.clone(), &closing)).collect();
            sequence.end(Err("it was ended".to_owned()), 9);
            goes_on
        })
    }

    async fn full(sequence: &Sequence) {
        while sequence.state.lock().items.len() < ITEMS_WAITING_MAX {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn at_the_bound_the_walk_waits_until_the_client_asks_and_each_item_is_told_once() {
        let (sequence, closing) = (sequence(super::PATIENCE), CancellationToken::new());
        let walk = walk(&sequence, &closing);
        full(&sequence).await;
        let first = sequence.take();
        assert_eq!((first.items.len(), first.items[0].0, first.end), (ITEMS_WAITING_MAX, 1, None));
        assert_eq!(walk.await.unwrap(), vec![true; ITEMS_WAITING_MAX + 1]);
        let last = sequence.take();
        assert_eq!(last.items.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1001]);
        assert_eq!(last.end, Some(Some("it was ended".to_owned())));
        assert!(sequence.take().items.is_empty());
    }

    #[tokio::test]
    async fn a_walk_that_waits_ends_when_it_is_stopped_when_the_server_closes_and_when_nobody_asks() {
        type Ending = (Duration, fn(&Sequence, &CancellationToken), &'static str);
        let endings: [Ending; 3] = [
            (super::PATIENCE, |sequence, _| sequence.stop("an administrator stopped it"), "an administrator"),
            (super::PATIENCE, |_, closing| closing.cancel(), "the server is shutting down"),
            (Duration::from_millis(1), |_, _| {}, "nobody asked for 1ms"),
        ];
        for (patience, ending, reason) in endings {
            let (sequence, closing) = (sequence(patience), CancellationToken::new());
            let walk = walk(&sequence, &closing);
            full(&sequence).await;
            ending(&sequence, &closing);
            assert_eq!(walk.await.unwrap().last(), Some(&false));
            let said = sequence.take().end.unwrap().unwrap();
            assert!(said.contains(reason), "{said}");
            assert!(sequence.is_over() && sequence.ended_ms() == Some(9));
        }
    }
}
