//! The watch: looks whether the drives are there and how full they are, so that nobody who answers clients asks a drive
//! how it is.
//!
//! A drive whose directory was taken away would go on taking writes into files that nobody finds again: it is a fault,
//! and so is one that does not answer. What was seen last is what reports say.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::member::Member;
use crate::payload::is_silence;
use crate::room::Room;
use crate::set::Set;

/// The thread.
pub(crate) struct Watch {
    asked: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(set: Arc<Set>) -> Watch {
        let (asked, incoming) = sync_channel(1);
        let run = move || incoming.into_iter().for_each(|()| look(&set));
        let thread = std::thread::Builder::new().name("watch".into()).spawn(run);
        Watch { asked: Some(asked), thread: Some(thread.expect("the system gives a thread")) }
    }

    /// Asks for a look; returns at once.
    pub(crate) fn look(&self) {
        if let Some(asked) = &self.asked {
            // When one is asked for already, it has yet to come.
            let _ = asked.try_send(());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            // It panics only by a bug, and then its panic was printed; dropping goes on.
            let _ = thread.join();
        }
    }
}

fn look(set: &Set) {
    let (newest, size_bytes) = (set.closed.read().newest(), set.size_of_new());
    for member in set.written() {
        let seen = set.patiently(member.position, move |member| see(member, newest, size_bytes));
        // Silence was told by who noticed it.
        if let Err(error) = seen
            && !is_silence(&error)
        {
            set.fault(member.position, error.to_string());
        }
    }
    set.measure_room();
}

fn see(member: &Member, newest: u32, size_bytes: u64) -> io::Result<()> {
    let drive = member.drive()?;
    drive.check_present()?;
    member.note_space(drive.space()?);
    // Where space is ample they make no difference, and the folder may be a long one.
    let is_short = Room::of(member.free_segments(size_bytes)).shortness() > 0.0;
    member.note_ready(if is_short { drive.segments()?.ready(newest, size_bytes) } else { 0 });
    Ok(())
}
