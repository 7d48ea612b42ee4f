//! Verifying: a walk that looks at every copy of everything, changes nothing, and tells what is short.
//!
//! What is found is told and not kept. It is told by one who may end it: after every mebibyte read, and with everything
//! that is found.

use std::sync::Arc;
use std::thread;

use store::verification::name_of;
use store::{Absent, Finding, Progress, Seen, Verification};

use super::pace::{Ended, Pace};
use super::walk::{Cursor, Target, Walk};
use crate::frame::Shared;
use crate::index::lookup;
use crate::location::Place;
use crate::rebuild::{Rebuilt, Sources, rebuild};
use crate::record::{self, Recorded};
use crate::sequencer::Granted;
use crate::set::Set;
use crate::shards::Pins;

/// Bytes read back between two tellings of progress: 1 MiB.
const TOLD_EVERY_BYTES: u64 = 1024 * 1024;

/// Looks at every copy of everything that lies before `end`, at most so many bytes a second on each drive. `told` hears
/// of it and ends it by answering `false`; blocks.
///
/// # Errors
///
/// A clause for operators: it was ended, or the index could not be read. Not everything was looked at.
pub(crate) fn verify(
    set: &Arc<Set>,
    pins: &Arc<Pins>,
    end: Granted,
    bytes_per_second: Option<u64>,
    told: &mut dyn FnMut(Seen) -> bool,
) -> Result<Verification, String> {
    let online = set.online();
    let targets: Vec<Target> = online.map(|member| Target::of(member.position, u64::MAX)).collect();
    let drives = targets.len() as u64;
    // What it cannot read it finds; to take drives out for it is for those who repair.
    let fault = Box::new(|_, _| {});
    let mut walk = Walk::new(set, pins, &Arc::default(), targets, end, fault);
    let pace = bytes_per_second.map(|rate| Pace::new(rate.saturating_mul(drives)));
    walk.looking = Some(Looking::new(told, pace, set.index.read().count()));
    walk.look()
}

/// A look at everything, under way.
pub(super) struct Looking<'t> {
    told: &'t mut dyn FnMut(Seen) -> bool,
    /// `None` when nobody else uses the drives.
    pace: Option<Pace>,
    found: Verification,
    keys_total: u64,
    /// Bytes that were read since progress was told.
    untold: u64,
    /// Whether who is told has ended it.
    is_over: bool,
}

impl<'t> Looking<'t> {
    /// At a look at so many keys; `told` hears how far it is and ends it.
    pub(super) fn new(
        told: &'t mut dyn FnMut(Seen) -> bool,
        pace: Option<Pace>,
        keys_total: u64,
    ) -> Looking<'t> {
        Looking { told, pace, found: Verification::default(), keys_total, untold: 0, is_over: false }
    }

    fn tell(&mut self, seen: Seen) {
        self.is_over = self.is_over || !(self.told)(seen);
    }

    fn tell_progress(&mut self) {
        let Verification { bytes, keys, short, lost, .. } = self.found;
        self.tell(Seen::Progress(Progress {
            bytes,
            keys,
            // Some may have come since.
            keys_total: self.keys_total.max(keys),
            findings: short + lost,
        }));
    }
}

impl Walk<'_> {
    fn look(mut self) -> Result<Verification, String> {
        for member in self.set.members.iter().filter(|member| !member.is_online()) {
            let absent = Absent { drive: member.path.clone(), reason: member.reason() };
            if let Some(looking) = &mut self.looking {
                looking.found.absent.push(absent.clone());
                looking.tell(Seen::Absent(absent));
            }
        }
        let mut cursor = Cursor::start();
        while cursor != Cursor::End {
            cursor = match self.step(cursor) {
                Ok(next) => next,
                Err(Ended::Broken { segment, reason }) => {
                    let drives = self.set.online().map(|member| member.path.clone()).collect();
                    self.find(Finding { what: reason, names: Vec::new(), drives, is_lost: true });
                    Cursor::behind(segment)
                }
                Err(Ended::Stopped | Ended::Changed) => return Err("the index could not be read".to_owned()),
            };
            let keys = self.keys();
            if let Some(looking) = &mut self.looking {
                looking.found.keys = keys;
                looking.tell_progress();
                if looking.is_over {
                    return Err("it was ended before everything was looked at".to_owned());
                }
            }
        }
        Ok(self.looking.map(|looking| looking.found).unwrap_or_default())
    }

    /// Counts bytes that are about to be read, at the pace of who looks, and tells how far it is; whether to go on.
    /// Who rebuilds has a pace of their own.
    pub(super) fn look_on(&mut self, bytes: u64) -> bool {
        let Some(looking) = &mut self.looking else {
            return true;
        };
        looking.found.bytes += bytes;
        looking.untold += bytes;
        if looking.untold >= TOLD_EVERY_BYTES {
            let read = std::mem::take(&mut looking.untold);
            looking.tell_progress();
            if let Some(pace) = &mut looking.pace {
                thread::sleep(pace.wait(read));
            }
        }
        !looking.is_over
    }

    /// Asks who is told whether to go on.
    pub(super) fn may_go_on(&mut self) -> bool {
        self.looking.as_mut().is_none_or(|looking| {
            looking.tell_progress();
            !looking.is_over
        })
    }

    fn find(&mut self, finding: Finding) {
        if let Some(looking) = &mut self.looking {
            looking.found.count(&finding);
            looking.tell(Seen::Finding(finding));
        }
    }

    fn paths(&self, positions: &[usize]) -> Vec<String> {
        positions.iter().map(|position| self.set.members[*position].path.clone()).collect()
    }

    /// Notes a frame that was looked at, and who lacks it.
    pub(super) fn note_frame(&mut self, shared: &Shared, lacking: &[usize]) {
        if let Some(looking) = &mut self.looking {
            looking.found.frames += 1;
        }
        if lacking.is_empty() {
            return;
        }
        let set = Arc::clone(&self.set);
        let frames = self.frames_on(set.online(), shared);
        let is_lost =
            !matches!(rebuild(&set.codec, &Sources { shared, frames: &frames }, lacking), Rebuilt::Whole(_));
        let names = frames
            .iter()
            .find_map(|(_, frame)| frame.metadata.as_deref())
            .map(|metadata| self.living(metadata))
            .unwrap_or_default();
        let what = format!("batch {} at {}", shared.batch, shared.address);
        let drives = self.paths(lacking);
        self.find(Finding { what, names, drives, is_lost });
    }

    /// The names of what a frame's metadata puts and nothing replaced since.
    fn living(&self, metadata: &[u8]) -> Vec<String> {
        let commits = record::decode(metadata).unwrap_or_default();
        let puts = commits.iter().flat_map(|commit| {
            commit.mutations.iter().filter_map(|mutation| match mutation {
                Recorded::Put { key, .. } => Some((*key, commit.sequence)),
                Recorded::Delete(_) | Recorded::DeletePrefix(_) => None,
            })
        });
        let state = |key: &[u8]| lookup::get(&self.set, key).ok().flatten();
        puts.filter(|(key, sequence)| state(key).is_some_and(|stored| stored.sequence == *sequence))
            .map(|(key, _)| name_of(key))
            .collect()
    }

    /// Notes a body that was looked at, and who lacks it.
    pub(super) fn note_body(&mut self, key: Option<&[u8]>, place: &Place, lacking: &[usize]) {
        if let Some(looking) = &mut self.looking {
            looking.found.bodies += 1;
        }
        if lacking.is_empty() {
            return;
        }
        let is_lost = !self.is_rebuildable(place);
        let what = format!("body {}, {} bytes", place.id.to_name(), place.size_bytes);
        let drives = self.paths(lacking);
        self.find(Finding { what, names: key.map(name_of).into_iter().collect(), drives, is_lost });
    }
}
