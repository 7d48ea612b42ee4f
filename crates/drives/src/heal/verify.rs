//! Verifying: a walk that looks at every copy of everything, changes nothing, and says what is short.
//!
//! What it says is bounded ([`Verification::FINDINGS_MAX`]); everything is counted.

use std::sync::Arc;

use store::verification::name_of;
use store::{Finding, Verification};

use super::pace::Ended;
use super::walk::{Cursor, Target, Walk};
use crate::frame::{Frame, Shared};
use crate::index::lookup;
use crate::location::Place;
use crate::rebuild::{Rebuilt, Sources, rebuild};
use crate::record::{self, Recorded};
use crate::sequencer::Granted;
use crate::set::Set;
use crate::shards::Pins;

/// How far a verification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read back so far.
    pub bytes: u64,
    /// Keys looked at so far, after all frames.
    pub keys: u64,
    /// Keys of the set.
    pub keys_total: u64,
    /// Frames and bodies that are short or lost so far.
    pub findings: u64,
}

/// Looks at every copy of everything that lies before `end`. `told` hears of it after every step and ends it by
/// answering `false`; blocks.
pub(crate) fn verify(
    set: &Arc<Set>,
    pins: &Arc<Pins>,
    end: Granted,
    told: &mut dyn FnMut(&Progress) -> bool,
) -> Verification {
    let online = set.online();
    let targets = online.map(|member| Target { position: member.position, below: u64::MAX }).collect();
    // What it cannot read it finds; to take drives out for it is for those who repair.
    let fault = Box::new(|_, _| {});
    Walk::new(set, pins, &Arc::default(), targets, end, fault).look(told)
}

impl Walk {
    fn look(mut self, told: &mut dyn FnMut(&Progress) -> bool) -> Verification {
        let absent = self.set.members.iter().filter(|member| !member.is_online());
        let absent = absent.map(|member| (member.path.clone(), member.reason())).collect();
        self.looking = Some(Verification { absent, ..Verification::default() });
        let mut progress = Progress { keys_total: self.set.index.read().count(), ..Progress::default() };
        let mut cursor = Cursor::start();
        while cursor != Cursor::End {
            cursor = match self.step(cursor.clone()) {
                Ok(next) => next,
                Err(Ended::Broken(what)) => {
                    let drives = self.set.online().map(|member| member.path.clone()).collect();
                    self.find(Finding { what, names: Vec::new(), drives, is_lost: true });
                    Cursor::Keys(bytes::Bytes::new())
                }
                Err(Ended::Stopped | Ended::Changed) => break,
            };
            progress.bytes += self.stepped();
            progress.keys = self.keys();
            progress.findings = self.looking.as_ref().map_or(0, |found| found.short + found.lost);
            if !told(&progress) {
                break;
            }
        }
        Verification { bytes: progress.bytes, keys: progress.keys, ..self.looking.unwrap_or_default() }
    }

    fn find(&mut self, finding: Finding) {
        if let Some(found) = &mut self.looking {
            found.find(finding);
        }
    }

    fn paths(&self, positions: &[usize]) -> Vec<String> {
        positions.iter().map(|position| self.set.members[*position].path.clone()).collect()
    }

    /// Notes a frame that was looked at, and who lacks it.
    pub(super) fn note_frame(&mut self, shared: &Shared, lacking: &[usize]) {
        if let Some(found) = &mut self.looking {
            found.frames += 1;
        }
        if lacking.is_empty() {
            return;
        }
        let set = Arc::clone(&self.set);
        let frames: Vec<(usize, Frame)> = set
            .online()
            .filter_map(|member| {
                let frame = self.frames.windows.frame(&set, member.position, shared.address)?;
                (frame.header.shared == *shared).then_some((member.position, frame))
            })
            .collect();
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
            .take(Finding::NAMES_MAX)
            .map(|(key, _)| name_of(key))
            .collect()
    }

    /// Notes a body that was looked at, and who lacks it.
    pub(super) fn note_body(&mut self, key: Option<&[u8]>, place: &Place, lacking: &[usize]) {
        if let Some(found) = &mut self.looking {
            found.bodies += 1;
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
