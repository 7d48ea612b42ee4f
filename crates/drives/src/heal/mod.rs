//! Healing: brings drives up that missed something or are blank, repairs what reads and scrubbing find broken, and
//! removes what nothing names.
//!
//! # How a drive is healed
//!
//! 1. A drive that is out is looked for at its path, once a second, longer after each failure. A blank one is given
//!    the place by a decision of the others, and then its identity.
//! 2. It joins: from a batch on it gets every frame, and every shard that is staged.
//! 3. Everything older is walked over ([`walk`]): what verifies in its place is kept, what does not is rebuilt from
//!    the others. So a heal that was interrupted goes on where it was, and nothing that a stale drive brings back
//!    counts for more than what it can prove. What objects lack on the most drives is rebuilt first.
//! 4. Whatever else lies on it is removed ([`census`]).
//! 5. When it holds everything, also what commits named meanwhile, a decision of the others and it makes it a voter.
//!
//! With too few voters left for a decision, drives are healed in the same way while nothing is written, and the set
//! goes on with them (`docs/formats.md`).
//!
//! One thread does all of this, one thing at a time: several drives are healed in one walk, which reads what they lack
//! once. It keeps to a bandwidth of its own. A drive that fails here is the sequencer's to take out.

mod census;
mod copies;
mod frames;
mod identities;
mod pace;
mod returning;
mod scrub;
mod shards;
mod stock;
mod tally;
mod verify;
mod walk;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use store::{Sequence, Share};

use crate::bodies::Positions;
use crate::damage::Damage;
use crate::location::Place;
use crate::sequencer::{Event, EventSender, Granted, Wish};
use crate::set::Set;
use crate::shards::{Pins, give_space_back};
pub(crate) use copies::heal_keys;
use pace::{Ended, Pace, pause};
use returning::Returning;
use scrub::Scrub;
use tally::Run;
pub(crate) use tally::Tally;
pub(crate) use verify::verify;
use walk::{Cursor, Target, Walk};

/// How often it is asked whether a healed drive can be a voter, while it cannot.
const ADMISSION_EVERY: Duration = Duration::from_millis(20);

/// Damages repaired before other work gets its turn.
const REPAIRS_MAX: usize = 64;

/// How a set heals itself.
#[derive(Clone, Debug)]
pub struct Healing {
    /// Bytes a second that are looked at or rebuilt on a drive while it is healed. 128 MiB.
    pub bytes_per_second: u64,
    /// How often it is looked for a drive that is out. One second.
    pub look_every: Duration,
    /// Longest pause before a drive that failed again and again is given another try. Five minutes.
    pub pause_max: Duration,
    /// In which time every copy is read and verified. 30 days.
    pub scrub_within: Duration,
    /// Bytes a second that are scrubbed on a drive at least, so that small sets are done in hours. 64 KiB.
    pub scrub_bytes_per_second_min: u64,
    /// How long after the start, and after each time, bodies that no key names are looked for, and keys without
    /// their bodies. Ten minutes, then daily.
    pub orphans_after: Duration,
}

impl Default for Healing {
    fn default() -> Healing {
        Healing {
            bytes_per_second: 128 * 1024 * 1024,
            look_every: Duration::from_secs(1),
            pause_max: Duration::from_secs(300),
            scrub_within: Duration::from_secs(30 * 24 * 3600),
            scrub_bytes_per_second_min: 64 * 1024,
            orphans_after: Duration::from_secs(600),
        }
    }
}

/// The thread that heals a set.
pub(crate) struct Healer {
    set: Arc<Set>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Healer {
    pub(crate) fn start(
        set: Arc<Set>,
        pins: Arc<Pins>,
        tally: Arc<Tally>,
        events: EventSender,
        options: Healing,
    ) -> Healer {
        // Where the scrub is is known when it goes on.
        *tally.scrub.lock() = (Share { done: 0, total: 1 }, 0);
        let (stop, stopped) = channel();
        let own = Arc::clone(&set);
        let heal = Heal {
            returning: Returning::new(set.members.len(), options.look_every, options.pause_max),
            scrub: Scrub::default(),
            census_due: Instant::now() + options.orphans_after,
            joined: (0..set.members.len()).map(|position| Target::of(position, 0)).collect(),
            joinings: 0,
            has_hope: false,
            set,
            pins,
            tally,
            events,
            options,
            stop: stopped,
        };
        let thread = std::thread::Builder::new()
            .name("heal".into())
            .spawn(move || heal.run())
            .expect("the system gives a thread");
        Healer { set: own, stop: Some(stop), thread: Some(thread) }
    }

    /// Stops it, between two of its reads and writes.
    pub(crate) fn stop(&mut self) {
        self.stop = None;
        self.set.damages.close();
        if let Some(thread) = self.thread.take() {
            // It panics only by a bug, and then its panic was printed; stopping goes on.
            let _ = thread.join();
        }
    }
}

/// What the thread keeps.
struct Heal {
    set: Arc<Set>,
    pins: Arc<Pins>,
    tally: Arc<Tally>,
    events: EventSender,
    options: Healing,
    stop: Receiver<()>,
    returning: Returning,
    scrub: Scrub,
    census_due: Instant,
    /// By position, what its drive lacked when it joined last.
    joined: Vec<Target>,
    /// How often a drive joined.
    joinings: u64,
    /// Whether a drive came in while something counted as lost.
    has_hope: bool,
}

impl Heal {
    fn run(mut self) {
        let mut rest = self.options.look_every;
        while self.rest(rest).is_ok() {
            rest = self.options.look_every;
            match self.turn() {
                Ok(()) => {}
                Err(Ended::Stopped) => return,
                Err(Ended::Changed) => rest = Duration::ZERO,
                Err(Ended::Broken { reason, .. }) => self.give_up(&reason),
            }
        }
    }

    /// Waits, or until somebody waits for a repair, unless the engine stops.
    fn rest(&self, rest: Duration) -> Result<(), Ended> {
        self.set.damages.await_call(rest);
        pause(Duration::ZERO, &self.stop)
    }

    /// Everything that is due, the most pressing first.
    fn turn(&mut self) -> Result<(), Ended> {
        self.look();
        if self.set.members.iter().any(|member| member.is_joining()) {
            self.heal()?;
        }
        if !self.is_writable() {
            return Ok(());
        }
        if self.has_hope {
            self.look_for_lost()?;
        }
        self.take_stock()?;
        give_space_back(&self.set);
        self.repair()?;
        self.heal_shorts(Sequence::ZERO)?;
        self.scrub()?;
        if Instant::now() >= self.census_due {
            self.census_due = Instant::now() + self.options.orphans_after.max(census::EVERY_MIN);
            self.census()?;
        }
        Ok(())
    }

    /// Asks the sequencer for something, and waits for the answer.
    fn ask(&self, wish: Wish) -> Result<Granted, String> {
        let (event, granted) = Event::wish(wish);
        self.events.send(event).map_err(|_| "the engine stops".to_owned())?;
        granted.recv().map_err(|_| "the engine stops".to_owned())?
    }

    fn walk(&self, targets: Vec<Target>) -> Result<Walk<'static>, String> {
        let end = self.ask(Wish::Look)?;
        let events = self.events.clone();
        let fault = Box::new(move |position, reason| {
            // The sequencer is gone only when the engine is.
            let _ = events.send(Event::Fault { position, reason });
        });
        Ok(Walk::new(&self.set, &self.pins, &self.tally, targets, end, fault))
    }

    fn joining(&self) -> Vec<Target> {
        let joining = self.set.members.iter().filter(|member| member.is_joining());
        joining.map(|member| self.joined[member.position]).collect()
    }

    /// Heals the drives that joined, all of them in one walk, until they are voters or something else comes up.
    fn heal(&mut self) -> Result<(), Ended> {
        let targets = self.joining();
        let began = self.set.index.read().last_sequence;
        let Ok(mut walk) = self.walk(targets.clone()) else {
            return Ok(());
        };
        let mut run =
            Run { began_ns: self.set.clock.now_ns(), walks: targets.len() as u64, ..Run::default() };
        for degree in (1..=targets.len()).rev() {
            walk.degree = degree;
            *self.tally.run.lock() = run;
            self.go_over(&mut walk, Cursor::start())?;
            run.share = walk.share(&Cursor::End);
            run.walked += 1;
        }
        *self.tally.run.lock() = run;
        self.sweep(&targets)?;
        if self.is_writable() {
            for target in &targets {
                self.admit(target.position, began)?;
            }
        } else if self.set.able().count() + targets.len() >= self.set.geometry.write_quorum() {
            self.rescue(&targets);
        }
        Ok(())
    }

    /// Lets the set go on with the drives that were healed while it had too few voters to write.
    fn rescue(&mut self, targets: &[Target]) {
        match self.ask(Wish::Rescue) {
            Ok(_) => {
                tracing::info!("The set goes on with the drives that were healed.");
                Tally::add(&self.tally.drives_healed, targets.len() as u64);
                self.has_hope |= self.tally.has_lost();
                // What the last batch named was not known to be kept while they were healed.
                self.census_due = Instant::now();
            }
            Err(reason) => {
                for target in targets {
                    self.set.members[target.position].explain(&reason);
                    self.returning.failed(target.position);
                }
            }
        }
    }

    /// Walks to the end, while the same drives are being healed. One that failed and joined again, which may be before
    /// any further batch was written, is another one: what was written to it may be gone.
    fn go_over(&mut self, walk: &mut Walk<'_>, from: Cursor) -> Result<(), Ended> {
        let joining = self.joining();
        let mut pace = Pace::new(self.options.bytes_per_second);
        let mut cursor = from;
        while cursor != Cursor::End {
            cursor = walk.step(cursor)?;
            self.tally.run.lock().advance(walk, &cursor);
            pace.pass(walk.stepped(), &self.stop)?;
            self.look();
            if self.joining() != joining {
                return Err(Ended::Changed);
            }
        }
        Ok(())
    }

    /// Makes a healed drive a voter, after what commits named since `began` is on it too.
    fn admit(&mut self, position: usize, began: Sequence) -> Result<(), Ended> {
        loop {
            self.heal_shorts(began)?;
            match self.ask(Wish::Admit { position }) {
                Ok(_) => break,
                Err(_) if self.set.members[position].is_joining() => pause(ADMISSION_EVERY, &self.stop)?,
                Err(_) => return Err(Ended::Changed),
            }
        }
        let drive = &self.set.members[position].path;
        tracing::info!(%drive, "A drive is healed: it holds everything and takes part again.");
        Tally::add(&self.tally.drives_healed, 1);
        self.has_hope |= self.tally.has_lost();
        self.returning.healed(position);
        Ok(())
    }

    /// Walks over everything on all drives: with one that came in what counted as lost may be rebuilt.
    fn look_for_lost(&mut self) -> Result<(), Ended> {
        let online = self.set.online();
        let targets = online.map(|member| Target::of(member.position, u64::MAX)).collect();
        let Ok(mut walk) = self.walk(targets) else {
            return Ok(());
        };
        self.tally.begin_again();
        let mut pace = Pace::new(self.options.bytes_per_second);
        let mut cursor = Cursor::start();
        while cursor != Cursor::End {
            cursor = match walk.step(cursor) {
                // What other segments and bodies hold is looked at all the same.
                Err(Ended::Broken { segment, .. }) => Cursor::behind(segment),
                stepped => stepped?,
            };
            pace.pass(walk.stepped(), &self.stop)?;
            self.look();
            if self.set.members.iter().any(|member| member.is_joining()) {
                return Err(Ended::Changed);
            }
        }
        self.tally.end_again();
        self.has_hope = false;
        Ok(())
    }

    /// Heals bodies that commits named while drives lacked them. When there were more than were kept count of, looks
    /// through all keys written after `since`.
    fn heal_shorts(&mut self, since: Sequence) -> Result<(), Ended> {
        let mut pace = Pace::new(self.options.bytes_per_second);
        let mut left = Vec::new();
        while let Some((place, lacking)) = self.set.bodies.take_short() {
            let targets = self.targets(lacking);
            let Ok(mut walk) = self.walk(Vec::new()) else {
                left.push((place, lacking));
                break;
            };
            walk.body(None, &place, &targets);
            if walk.unwritten != 0 {
                // Of drives that have no space for it; of one that failed it is asked when it is healed.
                left.push((place, walk.unwritten));
            }
            pace.pass(crate::shards::shard_bytes(&place), &self.stop)?;
        }
        left.into_iter().for_each(|(place, lacking)| self.set.bodies.tell_short(place, lacking));
        let dropped = self.set.bodies.take_dropped();
        if dropped == 0 {
            return Ok(());
        }
        let Ok(mut walk) = self.walk(self.targets(dropped)) else {
            self.set.bodies.drop_short(dropped);
            return Ok(());
        };
        walk.since = since;
        let looked_through = self.go_over(&mut walk, Cursor::keys());
        if looked_through.is_err() {
            self.set.bodies.drop_short(dropped);
        }
        looked_through
    }

    fn targets(&self, positions: Positions) -> Vec<Target> {
        (0..self.set.members.len())
            .filter(|position| positions >> position & 1 == 1)
            .map(|position| Target::of(position, 0))
            .collect()
    }

    /// Repairs what reads found broken.
    fn repair(&mut self) -> Result<(), Ended> {
        let mut pace = Pace::new(self.options.bytes_per_second);
        for _ in 0..REPAIRS_MAX {
            let Some(damage) = self.set.damages.take(Duration::ZERO) else {
                return Ok(());
            };
            let repaired = self.repair_one(&damage);
            self.set.damages.settle(&damage);
            if let Err(Ended::Broken { reason, .. }) = &repaired {
                tracing::error!(%reason, "What a read found damaged cannot be repaired.");
            }
            pace.pass(0, &self.stop)?;
        }
        Err(Ended::Changed)
    }

    fn repair_one(&mut self, damage: &Damage) -> Result<(), Ended> {
        let (Damage::Frame { position, .. } | Damage::Shard { position, .. }) = damage;
        let targets = vec![Target::of(*position, u64::MAX)];
        let Ok(mut walk) = self.walk(targets.clone()) else {
            return Ok(());
        };
        match damage {
            Damage::Frame { batch, address, .. } => {
                if let Some(shared) = walk.reference(*address).filter(|shared| shared.batch == *batch) {
                    walk.prepare(address.segment);
                    walk.frame(&shared)?;
                    walk.flush();
                }
            }
            Damage::Shard { location, .. } => {
                if let Some(place) = Place::from_location(location) {
                    walk.body(None, &place, &targets);
                }
            }
        }
        Ok(())
    }

    /// Ends the healing of drives for which a part of the journal cannot be had; it is tried again later.
    fn give_up(&mut self, reason: &str) {
        tracing::error!(%reason, "The journal is damaged beyond what parity makes up for.");
        for target in self.joining() {
            let reason = format!("it cannot be healed: {reason}");
            // The sequencer is gone only when the engine is.
            let _ = self.events.send(Event::Fault { position: target.position, reason });
            self.returning.failed(target.position);
        }
    }
}
