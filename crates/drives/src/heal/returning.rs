//! Drives that come back: looks for what is at the path of a drive that is out, and lets it join.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::walk::Target;
use super::{Heal, Run};
use crate::drive::Drive;
use crate::format::{FORMAT_FILE, Membership};
use crate::looked::{Content, Looked};
use crate::segment;
use crate::sequencer::Wish;
use crate::set::Mode;

/// How many times as long as one that is absent a drive that failed is left alone at most while the set takes no
/// writes.
const URGENT_TIMES: u32 = 8;

/// A drive that was in for so long since it was healed is not held to have failed again.
const PROVEN_AFTER: Duration = Duration::from_secs(600);

/// When each drive is looked for next.
pub(super) struct Returning {
    every: Duration,
    pause_max: Duration,
    tries: Vec<Try>,
}

#[derive(Clone, Copy)]
struct Try {
    /// When it was looked for last, and how long it is left alone since.
    looked: Instant,
    pause: Duration,
    failures: u32,
    healed: Option<Instant>,
}

impl Returning {
    pub(super) fn new(drives: usize, every: Duration, pause_max: Duration) -> Returning {
        let first = Try { looked: Instant::now(), pause: Duration::ZERO, failures: 0, healed: None };
        Returning { every, pause_max, tries: vec![first; drives] }
    }

    /// Whether it is time for a look. While the set takes no writes, nothing is gained by patience.
    fn is_due(&self, position: usize, is_urgent: bool) -> bool {
        let Try { looked, pause, .. } = self.tries[position];
        let pause = if is_urgent { pause.min(self.every * URGENT_TIMES) } else { pause };
        looked.elapsed() >= pause
    }

    /// Whether a drive came in, or tried to, and has not been in for long since.
    fn is_unproven(&self, position: usize) -> bool {
        let Try { failures, healed, .. } = self.tries[position];
        failures > 0 && healed.is_none_or(|healed| healed.elapsed() <= PROVEN_AFTER)
    }

    /// Puts the next look off; longer each time when the drive was there.
    pub(super) fn failed(&mut self, position: usize) {
        let (every, pause_max) = (self.every, self.pause_max);
        let tried = &mut self.tries[position];
        if tried.healed.take().is_some_and(|healed| healed.elapsed() > PROVEN_AFTER) {
            tried.failures = 0;
        }
        tried.looked = Instant::now();
        tried.pause = (every * (1 << tried.failures.min(16))).min(pause_max);
        tried.failures += 1;
    }

    fn absent(&mut self, position: usize) {
        let tried = &mut self.tries[position];
        (tried.looked, tried.pause) = (Instant::now(), self.every);
    }

    pub(super) fn healed(&mut self, position: usize) {
        self.tries[position].healed = Some(Instant::now());
    }
}

impl Heal {
    /// Looks for every drive that is out and due, and lets those join that can be healed.
    ///
    /// What is being healed begins anew when a drive joins: meanwhile one that has failed waits for the end of that, or
    /// one that fails again and again would keep it from ever coming.
    pub(super) fn look(&mut self) {
        let is_healing = self.set.members.iter().any(|member| member.is_joining());
        let writable = self.is_writable();
        if !writable && !self.may_rescue() {
            return;
        }
        for position in 0..self.set.members.len() {
            let member = &self.set.members[position];
            let is_voter = self.set.identity.lock().members[position].voter;
            // A voter that is out is the sequencer's to take out by a decision. Without enough of them for that,
            // another drive may be in its place.
            if member.is_written()
                || (is_voter && writable)
                || !self.returning.is_due(position, !writable)
                || (is_healing && self.returning.is_unproven(position))
                || member.is_used()
            {
                continue;
            }
            match self.bring_in(position) {
                Ok(()) => self.returning.failed(position),
                Err(Obstacle::Absent(reason)) => {
                    self.set.members[position].explain(&reason);
                    self.returning.absent(position);
                }
                Err(Obstacle::Refused(reason)) => {
                    self.set.members[position].explain(&reason);
                    self.returning.failed(position);
                }
                // It is asked again as soon as the set takes decisions.
                Err(Obstacle::NotNow) => self.returning.absent(position),
            }
        }
    }

    fn bring_in(&mut self, position: usize) -> Result<(), Obstacle> {
        let set = Arc::clone(&self.set);
        let member = &set.members[position];
        let found = set.patiently(position, |member| {
            let drive = member.look_again()?;
            Ok((Looked::at(&*drive)?.content(&member.path), drive))
        });
        let (content, drive) = match found {
            Ok((Ok(content), drive)) => (content, drive),
            Ok((Err(refusal), _)) => return Err(Obstacle::Refused(refusal.to_string())),
            Err(error) => return Err(Obstacle::Absent(describe(&error))),
        };
        let known = set.identity.lock().members[position].drive;
        let id = match self.recognise(position, &content, &*drive)? {
            true => known,
            false => Uuid::new_v4(),
        };
        let failed = |error: io::Error| Obstacle::Refused(format!("it cannot be written: {error}"));
        let writable = self.is_writable();
        if id == known && set.identity.lock().members[position].voter {
            // It is the voter itself: the sequencer asks it again.
            return Err(Obstacle::NotNow);
        }
        if id != known {
            let mut identity = set.identity.lock().clone();
            if writable {
                let granted = self.ask(Wish::Adopt { position, drive: id }).map_err(|_| Obstacle::NotNow)?;
                identity = granted.identity;
            }
            // With too few voters nothing is decided before it is healed: until then this names a drive without a vote.
            identity.members[position] = Membership { drive: id, voter: false, joined_batch: 0 };
            identity.position = position;
            member.exchange(id, Some(Arc::clone(&drive)));
            // Before anything else: with anything on it and no identity it would be a foreign drive.
            drive.replace(FORMAT_FILE, &identity.encode()).map_err(failed)?;
        }
        drive.claim().map_err(failed)?;
        member.exchange(id, Some(Arc::clone(&drive)));
        self.remove_unknown_segments(position, &*drive).map_err(failed)?;
        // From its joining on nothing counts as whole before it was walked over.
        *self.tally.run.lock() = Run { began_ns: set.clock.now_ns(), walks: 1, ..Run::default() };
        let wish = if writable { Wish::Join { position } } else { Wish::Shelter { position } };
        let granted = self.ask(wish).map_err(|_| Obstacle::NotNow)?;
        self.joinings += 1;
        self.joined[position] = Target { position, below: granted.next_batch, joining: self.joinings };
        tracing::info!(drive = %member.path, "A drive is back and is being healed.");
        Ok(())
    }

    /// Whether the set takes writes.
    pub(super) fn is_writable(&self) -> bool {
        *self.set.mode.read() == Mode::Writable
    }

    /// Whether voters are missing to write, and those that are there have everything.
    fn may_rescue(&self) -> bool {
        let able = self.set.able().count();
        (self.set.geometry.read_quorum()..self.set.geometry.write_quorum()).contains(&able)
    }

    /// Whether a drive has its place already; `false` when it is to be given it.
    fn recognise(&self, position: usize, content: &Content, drive: &dyn Drive) -> Result<bool, Obstacle> {
        let identity = self.set.identity.lock().clone();
        match content {
            Content::Blank if self.is_bare_mount_point(drive) => {
                Err(Obstacle::Absent("nothing is mounted at its path".into()))
            }
            Content::Blank => Ok(false),
            Content::Ours(own) if own.set != self.set.id => {
                Err(Obstacle::Refused(format!("it belongs to another set, {}", own.set)))
            }
            Content::Ours(own) => {
                match identity.members.iter().position(|member| member.drive == own.drive()) {
                    Some(place) if place == position => Ok(true),
                    Some(place) => Err(Obstacle::Refused(format!(
                        "it is drive {} of the set, at another's path",
                        place + 1
                    ))),
                    // Another drive had taken its place, and is gone too.
                    None => Ok(false),
                }
            }
            Content::Damaged if holds_segments_of(drive, self.set.id) => Ok(false),
            Content::Damaged => {
                Err(Obstacle::Refused("its identity is damaged, and nothing else says whose it is".into()))
            }
        }
    }

    /// Whether a drive is a directory of the file system above it, while others are file systems of their own: to
    /// fill that one instead would be no service.
    fn is_bare_mount_point(&self, drive: &dyn Drive) -> bool {
        let is_mount = |drive: &dyn Drive| drive.is_mount() == Some(true);
        let others_are = self.set.online().any(|member| member.drive().is_ok_and(|drive| is_mount(&*drive)));
        drive.is_mount() == Some(false) && others_are
    }

    /// Removes the segments that no other drive has, and those of another size: frames are never written into them.
    fn remove_unknown_segments(&self, position: usize, drive: &dyn Drive) -> io::Result<()> {
        for number in drive.segments()?.numbers {
            let sizes: Vec<u64> = self
                .set
                .online()
                .filter_map(|member| Some(member.segment(number).ok()?.file().size_bytes()))
                .collect();
            let own = drive.open_segment(number)?.map(|segment| segment.size_bytes());
            if sizes.is_empty() || own.is_none_or(|own| sizes.iter().any(|size| *size > own)) {
                drive.remove_segment(number)?;
            }
        }
        debug_assert!(!self.set.members[position].is_written(), "it is not written before it joined");
        Ok(())
    }
}

/// Why a drive does not join now.
enum Obstacle {
    /// It is not there.
    Absent(String),
    /// It is there and cannot be used.
    Refused(String),
    /// The set takes no decisions.
    NotNow,
}

fn describe(error: &io::Error) -> String {
    format!("it cannot be used: {error}")
}

/// Whether the header of one of its segments says that it belongs to a set.
fn holds_segments_of(drive: &dyn Drive, set: Uuid) -> bool {
    let numbers = drive.segments().unwrap_or_default().numbers;
    numbers.into_iter().any(|number| {
        drive
            .open_segment(number)
            .ok()
            .flatten()
            .is_some_and(|segment| segment::set_of(&*segment) == Some(set))
    })
}
