//! The inbox: where the sequencer hears, and how it is woken.
//!
//! Whoever sends wakes the sequencer only when it sleeps and heeds what is sent: while it waits for a batch to be
//! written, commits gather and cost no wake-up, since nothing could be done about them before.
//!
//! What bounds the queue: permits for commits, frames in flight for what drives answer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::Event;

/// What a sleeping sequencer is woken for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Heed {
    /// Everything.
    Everything = 1,
    /// Everything but commits.
    AllButCommits = 2,
}

/// Nothing needs to wake it: it looks before it sleeps.
const AWAKE: u8 = 0;

/// Wakes the sequencer. Its descriptor becomes readable when it rings: `eventfd(2)`.
pub(crate) struct Bell {
    heeds: AtomicU8,
    rings: OwnedFd,
}

impl Bell {
    /// Rings it.
    pub(crate) fn ring(&self) {
        // It fails only when it would overflow, and then it was heard often enough.
        let _ = rustix::io::write(&self.rings, &1u64.to_ne_bytes());
    }

    /// Sleeps until it rings, at most for `patience`. May wake early.
    pub(crate) fn wait(&self, patience: Duration) {
        let patience = Timespec::try_from(patience).expect("nobody is that patient");
        // An interrupted one is woken early.
        let _ = poll(&mut [PollFd::new(&self.rings, PollFlags::IN)], Some(&patience));
        // It fails when it did not ring.
        let _ = rustix::io::read(&self.rings, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.rings.as_fd()
    }
}

/// Sends to the sequencer.
#[derive(Clone)]
pub(crate) struct EventSender {
    queue: Sender<Event>,
    bell: Arc<Bell>,
}

impl EventSender {
    /// Sends; never waits.
    ///
    /// # Errors
    ///
    /// The sequencer is gone.
    pub(crate) fn send(&self, event: Event) -> Result<(), SendError<Event>> {
        let is_commit = matches!(event, Event::Commit(_));
        self.queue.send(event)?;
        // Against the fence of `sleep`: either it finds the event, or we find it asleep.
        fence(Ordering::SeqCst);
        let heeds = self.bell.heeds.load(Ordering::Relaxed);
        let is_heeded = heeds != AWAKE && !(is_commit && heeds == Heed::AllButCommits as u8);
        if is_heeded && self.bell.heeds.swap(AWAKE, Ordering::Relaxed) != AWAKE {
            self.bell.ring();
        }
        Ok(())
    }
}

/// The receiving end, owned by the sequencer.
pub(crate) struct Inbox {
    queue: Receiver<Event>,
    bell: Arc<Bell>,
}

/// An inbox and what sends to it.
pub(crate) fn inbox() -> (EventSender, Inbox) {
    let (sender, queue) = channel();
    let rings = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let rings = rings.expect("the system gives a descriptor");
    let bell = Arc::new(Bell { heeds: AtomicU8::new(AWAKE), rings });
    (EventSender { queue: sender, bell: Arc::clone(&bell) }, Inbox { queue, bell })
}

impl Inbox {
    /// What rings while [`Inbox::sleep`] sleeps.
    pub(crate) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// The next event that is there.
    pub(super) fn take(&self) -> Option<Event> {
        self.queue.try_recv().ok()
    }

    /// Sleeps by `sleep`, which the bell ends, unless there is an event: then answers it.
    pub(super) fn sleep(&self, heed: Heed, sleep: impl FnOnce(&Bell)) -> Option<Event> {
        self.bell.heeds.store(heed as u8, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let event = self.take();
        if event.is_none() {
            sleep(&self.bell);
        }
        self.bell.heeds.store(AWAKE, Ordering::Relaxed);
        event
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn fault(position: usize) -> Event {
        Event::Fault { position, reason: String::new() }
    }

    #[test]
    fn whatever_is_sent_while_it_goes_to_sleep_is_heard_at_once() {
        let (sender, inbox) = inbox();
        let rounds = 10_000;
        let sending = std::thread::spawn(move || {
            for position in 0..rounds {
                sender.send(fault(position)).unwrap();
            }
            sender
        });
        let began = Instant::now();
        for expected in 0..rounds {
            let event = loop {
                let sleep = |bell: &Bell| bell.wait(Duration::from_secs(60));
                if let Some(event) = inbox.take().or_else(|| inbox.sleep(Heed::AllButCommits, sleep)) {
                    break event;
                }
            };
            assert!(matches!(event, Event::Fault { position, .. } if position == expected));
        }
        assert!(began.elapsed() < Duration::from_secs(60), "a wake-up was lost");
        drop(sending.join().unwrap());
    }

    #[test]
    fn it_sleeps_on_through_what_it_does_not_heed() {
        let (sender, inbox) = inbox();
        let (heeded, unheeded) = (fault(1), commit());
        inbox.sleep(Heed::AllButCommits, |bell| {
            sender.send(unheeded).unwrap();
            assert_eq!(bell.heeds.load(Ordering::Relaxed), Heed::AllButCommits as u8);
            sender.send(heeded).unwrap();
            let began = Instant::now();
            bell.wait(Duration::from_secs(60));
            assert!(began.elapsed() < Duration::from_secs(30), "it was not woken");
        });
        assert!(matches!(inbox.take(), Some(Event::Commit(_))));
        assert!(matches!(inbox.take(), Some(Event::Fault { position: 1, .. })));
    }

    fn commit() -> Event {
        let permits = Arc::new(tokio::sync::Semaphore::new(1));
        Event::Commit(Box::new(crate::sequencer::Request {
            batch: store::Batch::default(),
            below: crate::index::lookup::Below::default(),
            reply: tokio::sync::oneshot::channel().0,
            since: Instant::now(),
            permit: permits.try_acquire_owned().unwrap(),
        }))
    }
}
