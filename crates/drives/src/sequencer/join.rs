//! Membership while the set is in use: a drive is given a place, is written, is made a voter.
//!
//! Healing asks, the sequencer decides: it alone writes identities, and knows where the journal ends. It serves a wish
//! between two batches, so that every batch before is durable and none is under way on the write quorum.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::inbox::Heed;
use super::write::Frozen;
use super::{Event, Sequencer};
use crate::drive::{is_full, is_shortage};
use crate::format::{FORMAT_FILE, Identity, Membership};
use crate::manifest::MANIFEST_FILE;
use crate::member::Member;
use crate::table::SegmentTable;

/// How long a drive may take for the frames in flight on it before it is made a voter. Commits wait meanwhile.
const ADMISSION_MAX: Duration = Duration::from_millis(500);

/// What healing asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    /// A place of the set, free for a drive that is no voter.
    Adopt { position: usize, drive: Uuid },
    /// That the drive of a place is written every frame from the next batch on.
    Join { position: usize },
    /// That a drive that holds everything is a voter.
    Admit { position: usize },
    /// That the identity of the drive of a place is written again: what is on it is damaged or of an earlier decision.
    Restate { position: usize },
    /// That a drive is healed while the set has too few voters to write. Nothing is decided and nothing is written to
    /// it: the journal stands still.
    Shelter { position: usize },
    /// That the voters that are there and the drives so healed go on together.
    Rescue,
    /// Nothing: where the journal ends.
    Look,
}

/// A wish that came true.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    /// The decision that holds.
    pub identity: Identity,
    /// The batch that comes next.
    pub next_batch: u64,
    /// The segments that hold what is before it.
    pub table: SegmentTable,
}

/// Where the answer to a wish goes; why not, as a clause for operators.
pub(crate) type Answer = Sender<Result<Granted, String>>;

impl Sequencer {
    /// Serves the wishes that wait.
    pub(super) fn grant(&mut self) {
        while let Some((wish, answer)) = self.wishes.pop_front() {
            let granted = if !self.is_writable() {
                match wish {
                    Wish::Shelter { position } => self.shelter(position),
                    Wish::Rescue => self.rescue(),
                    Wish::Look => Ok(()),
                    _ => Err("the set takes no writes".to_owned()),
                }
            } else if !self.failed.is_empty() {
                Err("another drive is about to go out".to_owned())
            } else {
                match wish {
                    Wish::Adopt { position, drive } => self.adopt(position, drive),
                    Wish::Join { position } => self.join(position),
                    Wish::Admit { position } => self.admit(position),
                    Wish::Restate { position } => self.restate(position),
                    Wish::Look => Ok(()),
                    Wish::Shelter { .. } | Wish::Rescue => Err("the set takes writes again".to_owned()),
                }
            };
            let granted = granted.map(|()| Granted {
                identity: self.set.identity.lock().clone(),
                next_batch: self.chain.next_batch,
                table: self.chain.table.clone(),
            });
            // Nobody listens any more when healing was stopped.
            let _ = answer.send(granted);
        }
    }

    fn adopt(&mut self, position: usize, drive: Uuid) -> Result<(), String> {
        let mut identity = self.set.identity.lock().clone();
        if self.set.members[position].is_written() || identity.members[position].voter {
            return Err("its place is taken".to_owned());
        }
        identity.members[position] = Membership { drive, voter: false, joined_batch: 0 };
        let positions = self.set.online().map(|member| member.position).collect();
        self.take_decision(identity, positions).map(|_| ())
    }

    fn join(&mut self, position: usize) -> Result<(), String> {
        let member = &self.set.members[position];
        let membership = self.set.identity.lock().members[position];
        if member.is_written() || membership.voter || membership.drive != member.id() {
            return Err("its place is taken".to_owned());
        }
        self.set.join(position, self.chain.next_batch - 1);
        self.joined[position] = self.chain.next_batch;
        self.flights[position].clear();
        self.writers.start(position);
        Ok(())
    }

    /// Makes a drive a voter that holds every batch up to the last, and every shard that a key names.
    fn admit(&mut self, position: usize) -> Result<(), String> {
        let deadline = Instant::now() + ADMISSION_MAX;
        while !self.flights[position].is_empty() {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err("it is behind with its frames".to_owned());
            }
            self.hear_within(rest, Heed::AllButCommits);
        }
        let member = &self.set.members[position];
        if !member.is_joining() {
            return Err(member.reason());
        }
        if member.written.load(Ordering::Acquire) + 1 < self.chain.next_batch {
            return Err("it is behind with its frames".to_owned());
        }
        if self.set.bodies.is_short_on(position) {
            return Err("commits named bodies that it lacks".to_owned());
        }
        self.give_manifest(position)?;
        let mut identity = self.set.identity.lock().clone();
        identity.members[position].joined_batch = self.joined[position];
        let mut positions: Vec<usize> = self.set.online().map(|member| member.position).collect();
        positions.push(position);
        let decided = self.take_decision(identity, positions)?;
        if !decided.members[position].voter {
            return Err("its identity could not be written".to_owned());
        }
        self.set.members[position].take_in();
        Ok(())
    }

    /// Writes the manifest to a drive that is about to be a voter.
    fn give_manifest(&self, position: usize) -> Result<(), String> {
        let file = self.keeping.file();
        self.set
            .patiently(position, move |member| member.drive()?.replace(MANIFEST_FILE, &file))
            .map_err(|error| format!("its manifest could not be written: {error}"))
    }

    /// Writes the decision that holds to a drive that is in, and nothing new: it counts as often as before.
    fn restate(&mut self, position: usize) -> Result<(), String> {
        if !self.set.members[position].is_online() {
            return Err("it is out".to_owned());
        }
        let file = Identity { position, ..self.set.identity.lock().clone() }.encode();
        let write = move |member: &Member| {
            let drive = member.drive()?;
            drive.check_present()?;
            drive.replace(FORMAT_FILE, &file)
        };
        self.set.patiently(position, write).map_err(|error| {
            let reason = format!("its identity could not be written: {error}");
            if !is_full(&error) && !is_shortage(&error) {
                self.note_failure(position, reason.clone());
            }
            reason
        })
    }

    fn shelter(&mut self, position: usize) -> Result<(), String> {
        let (able, quorum) = (self.set.able().count(), self.set.geometry.write_quorum());
        if able < self.set.geometry.read_quorum() || able >= quorum {
            return Err("it is of no use".to_owned());
        }
        if self.set.members[position].is_written() {
            return Err("its place is taken".to_owned());
        }
        // A set that was opened for reading has shown nobody its segments yet.
        self.publish_table();
        self.set.join(position, self.chain.next_batch - 1);
        self.joined[position] = self.chain.next_batch;
        Ok(())
    }

    /// Goes on with the voters that are there and drives that were healed from them, which take the places of others.
    ///
    /// With as many voters as a read needs, every acknowledged batch is on one of them: a read needs k, and at most
    /// n − q ≤ k − 1 of the drives that had a vote can lack it. The last one is judged as ever: the new drives are
    /// asked for nothing, and count as drives that may have held it. A drive of the old ones that returns is no voter
    /// of what is decided here.
    fn rescue(&mut self) -> Result<(), String> {
        let before = self.set.identity.lock().clone();
        let mut identity = before.clone();
        let joining: Vec<usize> = self
            .set
            .members
            .iter()
            .filter(|member| member.is_joining())
            .map(|member| member.position)
            .collect();
        for position in &joining {
            self.give_manifest(*position)?;
        }
        for position in &joining {
            let drive = self.set.members[*position].id();
            let joined_batch = self.chain.next_batch + 1;
            identity.members[*position] = Membership { drive, voter: true, joined_batch };
        }
        *self.set.identity.lock() = identity;
        for position in &joining {
            self.set.members[*position].take_in();
        }
        self.recover();
        if self.is_writable() {
            return Ok(());
        }
        let mut current = self.set.identity.lock();
        if current.rank() == before.rank() {
            // Nothing was decided.
            *current = before;
            for position in &joining {
                self.set.members[*position].take_out("too few drives are there to go on with it");
            }
        }
        Err("nothing could be decided".to_owned())
    }

    /// Decides by the drives of `positions`. Falling short of it freezes the set: some drives hold what was not
    /// decided.
    fn take_decision(&mut self, mut identity: Identity, positions: Vec<usize>) -> Result<Identity, String> {
        let quorum = self.set.geometry.write_quorum();
        let acknowledged = self.chain.next_batch - 1;
        let set = std::sync::Arc::clone(&self.set);
        let may_decide = |positions: &[usize]| {
            let holds = |position: &&usize| {
                let member = &set.members[**position];
                member.written.load(Ordering::Acquire) >= acknowledged
            };
            positions.iter().filter(holds).count() >= quorum
        };
        if positions.len() < quorum || !may_decide(&positions) {
            return Err("too few drives hold the last batch yet".to_owned());
        }
        identity.revision += 1;
        let decided = set.decide(identity, positions, may_decide);
        self.drop_writers();
        decided.map_err(|short| {
            let reason = format!("{} drives took a decision on a place", short.answered);
            self.freeze(&Frozen(reason.clone()));
            reason
        })
    }

    /// Ends a joining: the drive failed, or the set froze. It is looked for again.
    pub(super) fn end_joining(&mut self, position: usize, reason: &str) {
        self.set.members[position].take_out(reason);
        self.drop_writers();
    }

    /// Ends all joinings.
    pub(super) fn end_joinings(&mut self, reason: &str) {
        for position in 0..self.flights.len() {
            if self.set.members[position].is_joining() {
                self.end_joining(position, reason);
            }
        }
    }

    /// Lets go of the threads of drives that are out.
    pub(super) fn drop_writers(&mut self) {
        for position in 0..self.flights.len() {
            if !self.set.members[position].is_written() {
                self.flights[position].clear();
                self.writers.abandon(position);
            }
        }
    }
}

impl Event {
    /// A wish and where its answer will come.
    pub(crate) fn wish(wish: Wish) -> (Event, std::sync::mpsc::Receiver<Result<Granted, String>>) {
        let (answer, granted) = std::sync::mpsc::channel();
        (Event::Wish { wish, answer }, granted)
    }
}
