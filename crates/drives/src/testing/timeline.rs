//! A recorded machine: what its drives were asked, when they answered, and every state a crash may leave.
//!
//! At a moment, what a drive has answered as durable is there. What is under way, and what was answered without
//! being durable (appended bytes, a new name, a removal), may be there in any part: each sector of it kept or
//! lost, whatever became of the others and in whichever order they were written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::change::Change;
use super::drive::FaultyDrive;
use super::medium::Medium;
use super::power::{Power, mix};

/// How long a call waits for calls of other drives, so that several are under way at once.
const OVERLAP_MAX: Duration = Duration::from_millis(2);

/// What is known of a run, in the order it happened.
#[derive(Debug, Default)]
pub struct Timeline {
    entries: Mutex<Entries>,
    began: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<Entry>,
    /// Calls begun, by drive.
    begun: BTreeMap<String, u64>,
    calls: usize,
}

#[derive(Clone, Debug)]
enum Entry {
    Began { call: usize, drive: String, change: Arc<Change> },
    Ended { call: usize },
    Noted(u64),
}

/// A call that has begun and not answered.
pub(super) struct Underway {
    timeline: Arc<Timeline>,
    call: usize,
}

impl Timeline {
    /// Writes down something the test saw, such as an acknowledgement.
    pub fn note(&self, what: u64) {
        self.entries.lock().list.push(Entry::Noted(what));
    }

    pub(super) fn begin(self: &Arc<Timeline>, drive: &str, change: &Change) -> Underway {
        let mut entries = self.entries.lock();
        let call = entries.calls;
        entries.calls += 1;
        entries.list.push(Entry::Began { call, drive: drive.to_owned(), change: Arc::new(change.clone()) });
        let mine = entries.begun.entry(drive.to_owned()).or_default();
        *mine += 1;
        let mine = *mine;
        self.began.notify_all();
        let deadline = Instant::now() + OVERLAP_MAX;
        while entries.begun.values().any(|begun| *begun < mine)
            && !self.began.wait_until(&mut entries, deadline).timed_out()
        {}
        Underway { timeline: Arc::clone(self), call }
    }

    /// Every moment of the run on these drives, from the first call to the last: a crash between any two entries.
    pub fn moments(&self, drives: &[&str]) -> Vec<Moment> {
        let mut moment = Moment {
            paths: drives.iter().map(|drive| (*drive).to_owned()).collect(),
            sure: vec![Medium::default(); drives.len()],
            sure_print: 0,
            open: Vec::new(),
            notes: Vec::new(),
        };
        let mut moments = vec![moment.clone()];
        for entry in &self.entries.lock().list {
            moment.pass(entry);
            moments.push(moment.clone());
        }
        moments
    }
}

impl Underway {
    pub(super) fn end(self) {
        self.timeline.entries.lock().list.push(Entry::Ended { call: self.call });
    }
}

/// A point of a run at which the machine may crash.
#[derive(Clone, Debug)]
pub struct Moment {
    paths: Vec<String>,
    /// What is durable, by drive.
    sure: Vec<Medium>,
    /// Tells what is durable apart from what is at other moments.
    sure_print: u64,
    /// What may be there or not, in the order it began.
    open: Vec<Open>,
    notes: Vec<u64>,
}

/// A change that need not be there.
#[derive(Clone, Debug)]
struct Open {
    call: usize,
    drive: usize,
    change: Arc<Change>,
    answered: bool,
    /// The calls that had answered when a sync of the same file began.
    covers: Vec<usize>,
}

impl Moment {
    /// What had been noted by then.
    pub fn notes(&self) -> &[u64] {
        &self.notes
    }

    /// Changes that may be there or not.
    pub fn open_changes(&self) -> usize {
        self.open.len()
    }

    fn pass(&mut self, entry: &Entry) {
        match entry {
            Entry::Noted(what) => self.notes.push(*what),
            Entry::Began { call, drive, change } => {
                let Some(drive) = self.paths.iter().position(|path| path == drive) else { return };
                let covers = match **change {
                    Change::Sync { .. } => self.answered_before(drive, change.name()),
                    _ => Vec::new(),
                };
                let change = Arc::clone(change);
                self.open.push(Open { call: *call, drive, change, answered: false, covers });
            }
            Entry::Ended { call } => self.answer(*call),
        }
    }

    fn answered_before(&self, drive: usize, name: &str) -> Vec<usize> {
        let answered = self
            .open
            .iter()
            .filter(|open| open.answered && open.drive == drive && open.change.name() == name);
        answered.map(|open| open.call).collect()
    }

    fn answer(&mut self, call: usize) {
        let Some(at) = self.open.iter().position(|open| open.call == call) else { return };
        match *self.open[at].change {
            Change::MakeShard { .. } | Change::Append { .. } | Change::Remove { .. } => {
                self.open[at].answered = true;
            }
            Change::Sync { .. } => {
                let sync = self.open.remove(at);
                let (settled, open) = std::mem::take(&mut self.open)
                    .into_iter()
                    .partition(|open| sync.covers.contains(&open.call));
                self.open = open;
                settled.into_iter().for_each(|settled| self.settle(&settled));
            }
            Change::Empty => {
                let emptied = self.open.remove(at);
                self.open.retain(|open| open.drive != emptied.drive || open.call > call);
                self.settle(&emptied);
            }
            Change::Write { .. }
            | Change::Replace { .. }
            | Change::MakeSegment { .. }
            | Change::Punch { .. }
            | Change::Rename { .. } => {
                let done = self.open.remove(at);
                self.settle(&done);
            }
        }
    }

    fn settle(&mut self, done: &Open) {
        done.change.apply(&mut self.sure[done.drive], |_| true);
        self.sure_print ^= print_of(done.call, WHOLE);
    }

    /// One state of the drives a crash at this moment may leave: of the open changes those are there, whole, whose
    /// bit is set in `whole`, and those of `torn` in part, as `luck` says. Also a number that is the same for the
    /// same state, whichever moment it is of.
    pub fn state(&self, whole: u64, torn: u64, luck: u64) -> (Vec<FaultyDrive>, u64) {
        let mut media = self.sure.clone();
        let mut print = self.sure_print;
        for (nth, open) in self.open.iter().enumerate() {
            let bit = 1_u64.checked_shl(u32::try_from(nth).unwrap_or(u32::MAX)).unwrap_or(0);
            let sectors = open.change.sectors();
            let medium = &mut media[open.drive];
            if torn & bit != 0 && sectors > 1 {
                let is_kept =
                    |sector: usize| mix(luck ^ mix((open.call as u64) << 20 | sector as u64)) & 1 == 0;
                open.change.apply(medium, is_kept);
                let kept = (0..sectors).filter(|sector| is_kept(*sector));
                let part = kept.clone().fold(0, |part, sector| mix(part ^ mix(sector as u64)));
                match kept.count() {
                    0 => {}
                    all if all == sectors => print ^= print_of(open.call, WHOLE),
                    _ => print ^= print_of(open.call, part),
                }
            } else if whole & bit != 0 {
                open.change.apply(medium, |_| true);
                print ^= print_of(open.call, WHOLE);
            }
        }
        let power = Power::steady();
        let drives =
            self.paths.iter().zip(media).map(|(path, medium)| FaultyDrive::found(path, medium, &power));
        (drives.collect(), print)
    }
}

/// What stands in a print for a change that is there whole.
const WHOLE: u64 = 1;

fn print_of(call: usize, kept: u64) -> u64 {
    mix(mix(call as u64) ^ kept)
}
