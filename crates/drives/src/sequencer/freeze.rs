//! Freezing and recovering: what happens in the running process when a batch falls short of the quorum.

use std::io;
use std::time::Instant;

use super::inbox::Heed;
use super::write::Frozen;
use super::{SEAL_AFTER, Sequencer};
use crate::error::OpenError;
use crate::format::Identity;
use crate::index::checkpoint;
use crate::looked::{Content, Looked};
use crate::manifest;
use crate::member::Member;
use crate::recovery::{self, Outcome, set_mode};
use crate::replay::{apply, missing, restore_index};
use crate::set::Mode;

impl Sequencer {
    /// Stops writing in this epoch. Recovery is tried at once and then every second.
    pub(super) fn freeze(&mut self, frozen: &Frozen) {
        set_mode(&self.set, Mode::ReadOnly(frozen.0.clone()));
        self.keeping.drop_draft();
        self.end_joinings("the set stopped taking writes while it was healed");
        self.recover();
    }

    /// Decides the last batch and begins a new epoch, if enough drives work.
    pub(super) fn recover(&mut self) {
        self.last_retry = Instant::now();
        if !self.drain_flights() {
            return;
        }
        self.ask_again();
        let is_unreadable = self.set.index.read().is_unreadable();
        if is_unreadable && let Err(error) = self.rebuild_index() {
            set_mode(&self.set, Mode::ReadOnly(format!("the index cannot be rebuilt: {error}")));
            return;
        }
        if !is_unreadable && self.set.online().count() < self.set.geometry.write_quorum() {
            return;
        }
        self.failed.clear();
        self.writers.stop();
        let settled = recovery::settle(&self.set, self.chain.clone());
        if is_unreadable && settled.is_ok() {
            // The last batch is in it now, or its keys are known to be undecided.
            checkpoint::rebuilt(&self.set);
        }
        let mode = match settled {
            Ok(Outcome::Writable(chain)) => {
                // Only now: where voters fail again and again, what is healed meanwhile is what the set goes on with.
                self.end_joinings("the set recovered while it was healed");
                self.chain = *chain;
                self.begin_epoch().err()
            }
            Ok(Outcome::ReadOnly(_, reason)) => Some(reason),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = mode {
            set_mode(&self.set, Mode::ReadOnly(reason));
        }
    }

    /// Reads the journal into a new index, because no copy of the old one can be read.
    fn rebuild_index(&mut self) -> Result<(), OpenError> {
        tracing::warn!(set = %self.set.id, "No copy of the index can be read: it is rebuilt from the journal.");
        let identity = self.set.identity.lock().clone();
        let manifest = manifest::newest(&self.set)?;
        let mut chain = restore_index(&self.set, &identity, manifest.as_ref())?;
        // The journal need not prove the last batch. It was acknowledged all the same, and is not up for decision.
        while chain.next_batch < self.chain.next_batch {
            let next = recovery::next_batch(&self.set, &chain)
                .ok_or_else(|| missing(&self.set, chain.next_batch, "its metadata is on no drive present"))?;
            apply(&self.set, &mut chain, Some(next))?;
        }
        self.chain = chain;
        Ok(())
    }

    /// Takes voters in again that only failed since the last decision, or were not there, if they are by now: what
    /// they hold is then read from the medium and verified, not believed.
    fn ask_again(&self) {
        let identity = self.set.identity.lock().clone();
        for (member, membership) in self.set.members.iter().zip(&identity.members) {
            if member.is_joining() || member.id() != membership.drive {
                // Healing has it: it is not the drive that the decision names, or it lacks something.
                continue;
            }
            let present = match self.set.patiently(member.position, |member| member.drive()?.check_present())
            {
                Err(_) if membership.voter && !member.is_used() => self.find_again(member, &identity),
                present => present,
            };
            match present {
                Ok(()) if membership.voter && !member.hangs() => member.take_in(),
                Ok(()) => {}
                Err(error) => member.take_out(&error.to_string()),
            }
        }
    }

    /// Opens what is at the path of a voter by now, if that is the voter: the drive of that place, with a decision
    /// no later than the one that holds.
    fn find_again(&self, member: &Member, identity: &Identity) -> io::Result<()> {
        let (set, rank) = (self.set.id, identity.rank());
        let id = identity.members[member.position].drive;
        self.set.patiently(member.position, move |member| {
            let drive = member.look_again()?;
            match Looked::at(&*drive)?.content(&member.path) {
                Ok(Content::Ours(own)) if own.set == set && own.drive() == id && own.rank() <= rank => {
                    drive.claim()
                }
                _ => Err(io::Error::new(io::ErrorKind::NotFound, "another drive is at its path")),
            }
        })
    }

    /// Waits until no frame is in flight; a drive that hangs is left behind. `false` when the engine stops.
    pub(super) fn drain_flights(&mut self) -> bool {
        let deadline = Instant::now() + self.set.patience.read().frame;
        while self.flights.iter().any(|flights| !flights.is_empty()) {
            if Instant::now() > deadline {
                self.leave_hanging();
                return true;
            }
            self.hear_within(SEAL_AFTER, Heed::AllButCommits);
            if self.stopping.is_some() {
                return false;
            }
        }
        true
    }

    /// Drives with a frame in flight are not waited for any more. What their threads still write is of an epoch
    /// they are no voters of when the next one begins.
    pub(super) fn leave_hanging(&mut self) {
        for position in 0..self.flights.len() {
            if self.flights[position].is_empty() {
                continue;
            }
            self.set.members[position].leave_behind("it hangs with a frame in flight");
            self.flights[position].clear();
            self.writers.abandon(position);
        }
    }
}
