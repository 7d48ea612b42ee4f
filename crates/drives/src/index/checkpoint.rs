//! Checkpoints: when the memtable is frozen, who keeps the copies, and what replaces one that is lost.
//!
//! A checkpoint is due when the memtable is full, after [`QUIET`] without commits, and at a clean stop. The first one
//! makes the copies: nothing is on the drives before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::copies::{Copy, FLUSH_MAX, FLUSH_MAX_ALL, Frozen, Leaving, Origin};
use super::memtable::Memtable;
use super::statement::{Statement, Upto};
use super::{Index, Opened};
use crate::chain::Chain;
use crate::drive::Drive;
use crate::frame::Address;
use crate::live::Live;
use crate::set::Set;

/// Copies of the lower index.
const COPIES: usize = 2;

/// How long without commits until what memory holds is written.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// How long a drive on which a copy was lost is not asked to keep another, while there is one.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Longest a clean stop, or a start that reads more than memory holds, waits for the copies.
const WAIT_MAX: Duration = Duration::from_secs(60);

impl Index {
    /// Takes over what drives have: copies that follow the journal up to the same statement.
    pub(crate) fn take_over(&mut self, set: &Set, opened: Vec<Opened>) {
        let Some(Opened { statement, .. }) = opened.first() else {
            return;
        };
        self.upto = statement.upto.batch;
        self.last_sequence = statement.last_sequence;
        self.lower_sequence = statement.last_sequence;
        (self.floor, self.kept_bytes, self.keys) = (statement.floor, statement.kept_bytes, statement.keys);
        self.live = Live::decode(&statement.live).unwrap_or_default();
        self.active = Memtable::covering();
        for Opened { position, index, statement } in opened {
            self.flushes = self.flushes.max(statement.flush);
            if let Ok(drive) = set.members[position].drive() {
                self.copies.push(Copy::start(position, drive, Origin::Found(index, statement)));
            }
        }
        // From the first moment on: compaction may have something to give back at once.
        set.indexed_upto.store(self.durable_upto(), Ordering::Relaxed);
    }

    /// Whether the memtable is to be frozen.
    fn is_full(&self) -> bool {
        self.active.bytes() > self.memtable_bytes
    }

    /// Whether commits have to wait until a flush is over.
    pub(crate) fn is_over(&self) -> bool {
        self.active.bytes() > self.memtable_bytes.saturating_mul(2)
            && self.frozen.is_some()
            && !self.is_flushed()
    }

    /// Whether a drive has no space for what its copy is to hold.
    pub(crate) fn waits_for_space(&self) -> bool {
        self.copies.iter().any(Copy::waits_for_space)
    }

    /// Whether the copies hold what was frozen.
    fn is_flushed(&self) -> bool {
        if self.frozen.is_none() {
            return true;
        }
        // Asked of all: who takes too long is found here.
        let flush_max = self.flush_max();
        let late = self.copies.iter().filter(|copy| !copy.is_idle(flush_max)).count();
        late == 0 && self.is_held()
    }

    /// Whether a copy that can be read holds what was frozen.
    fn is_held(&self) -> bool {
        self.frozen.as_ref().is_none_or(|frozen| {
            self.copies.iter().any(|copy| copy.is_full() && copy.flushed() >= frozen.statement.flush)
        })
    }

    /// How long a flush may take.
    fn flush_max(&self) -> Duration {
        if self.is_held() { FLUSH_MAX } else { FLUSH_MAX_ALL }
    }

    /// Whether there is something that no copy was given.
    fn has_tail(&self) -> bool {
        self.frozen.as_ref().map_or(self.upto > 0, |frozen| frozen.statement.upto.batch < self.upto)
            && self.active.has_content()
    }

    /// Freezes the memtable and gives it to the copies.
    fn freeze(&mut self, statement: Statement) {
        self.release();
        self.flushes = statement.flush;
        let memtable = std::mem::replace(&mut self.active, Memtable::covering());
        let frozen = Arc::new(Frozen { memtable, statement });
        self.copies.iter().for_each(|copy| copy.flush(&frozen));
        self.frozen = Some(frozen);
    }

    /// Lets go of what the copies hold.
    fn release(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            self.lower_sequence = frozen.statement.last_sequence;
            self.generation += 1;
        }
    }

    /// Makes the copies when nothing was ever written to one.
    fn begin_copies(&mut self, set: &Set) {
        self.leaving.retain(|leaving| !leaving.has_ended());
        while self.copies.len() < COPIES
            && let Some((position, drive)) = self.place_for_copy(set)
        {
            self.copies.push(Copy::start(position, drive, Origin::Empty));
        }
    }

    /// A drive for another copy: one on which none was lost, if there is one.
    fn place_for_copy(&self, set: &Set) -> Option<(usize, Arc<dyn Drive>)> {
        let taken = |position| {
            self.copies.iter().any(|copy| copy.position == position)
                || self.leaving.iter().any(|leaving| leaving.position == position)
        };
        let mut places: Vec<usize> = set
            .online()
            .map(|member| member.position)
            .filter(|position| !taken(*position) && set.members[*position].keeps_indexes())
            .collect();
        places.sort_by_key(|position| self.lost_at.get(*position).copied().flatten());
        let place = places.into_iter().find(|position| {
            let lost_at = self.lost_at.get(*position).copied().flatten();
            self.copies.is_empty() || lost_at.is_none_or(|lost_at| lost_at.elapsed() > AGAIN_AFTER)
        })?;
        Some((place, set.members[place].drive().ok()?))
    }

    /// Parts with copies that are out, and begins others.
    fn tend(&mut self, set: &Set) {
        let flush_max = self.flush_max();
        for copy in &self.copies {
            let member = &set.members[copy.position];
            if !member.is_online() {
                copy.take_out(&format!("its drive is out: {}", member.reason()));
            }
            copy.is_idle(flush_max);
        }
        self.leaving.retain(|leaving| !leaving.has_ended());
        let (out, kept): (Vec<Copy>, Vec<Copy>) =
            std::mem::take(&mut self.copies).into_iter().partition(Copy::is_out);
        self.copies = kept;
        for copy in out {
            let reason = copy.reason().unwrap_or_default();
            tracing::warn!(drive = %set.members[copy.position].path, %reason, "A copy of the index is lost.");
            self.lost_at.resize(set.members.len(), None);
            self.lost_at[copy.position] = Some(Instant::now());
            self.leaving.push(copy.part());
        }
        if self.copies.len() >= COPIES {
            return;
        }
        if self.is_bottom() {
            // All of it is in memory: others are begun with it.
            if let Some(frozen) = self.frozen.clone().filter(|_| self.copies.is_empty()) {
                self.begin_copies(set);
                self.copies.iter().for_each(|copy| copy.flush(&frozen));
            }
        } else if self.is_flushed()
            && let Some(lower) = self.lower()
            && let Some((position, drive)) = self.place_for_copy(set)
        {
            tracing::info!(drive = drive.path(), "Another copy of the index is filled.");
            self.copies.push(Copy::start(position, drive, Origin::Other(lower.snapshot)));
        }
    }

    /// The last batch that every copy holds durably: what lies in the journal up to it is not needed for a start.
    /// `u64::MAX` while there is none.
    fn durable_upto(&self) -> u64 {
        self.copies.iter().map(Copy::durable_upto).min().unwrap_or(u64::MAX)
    }

    /// Forgets everything, to be rebuilt from the journal.
    fn reset(&mut self) {
        for copy in std::mem::take(&mut self.copies) {
            copy.take_out("it is made anew from the journal");
            self.leaving.push(copy.part());
        }
        let fresh = Index::bounded(self.memtable_bytes);
        let before = std::mem::replace(self, fresh);
        self.leaving = before.leaving;
        self.lost_at = before.lost_at;
        self.undecided = before.undecided;
        self.generation = before.generation + 1;
        self.flushes = before.flushes;
        self.rebuilding = true;
    }
}

/// Freezes the memtable if it is full and the copies are ready for it.
pub(crate) fn when_full(set: &Set, chain: Option<&Chain>) {
    let mut index = set.index.write();
    if index.is_full() {
        begin(&mut index, set, chain);
    }
}

/// Freezes the memtable if there is anything in it, and lets go of what the copies hold.
pub(crate) fn when_quiet(set: &Set, chain: &Chain) {
    let mut index = set.index.write();
    if index.has_tail() {
        begin(&mut index, set, Some(chain));
    } else if index.frozen.is_some() && index.is_flushed() {
        index.release();
    }
}

fn begin(index: &mut Index, set: &Set, chain: Option<&Chain>) {
    if index.is_bottom() && index.copies.is_empty() {
        index.begin_copies(set);
    }
    if !index.copies.is_empty()
        && index.is_flushed()
        && let Some(statement) = state(index, set, chain)
    {
        index.freeze(statement);
    }
}

/// What can be said at the end of the chain; without one, of an index that is being rebuilt.
fn state(index: &Index, set: &Set, chain: Option<&Chain>) -> Option<Statement> {
    let upto = match chain {
        Some(chain) => {
            let last = chain.recent.back()?;
            Upto { batch: last.batch, hash: chain.last_hash, address: last.address }
        }
        None => Upto { batch: 0, hash: 0, address: Address { segment: 0, offset: 0 } },
    };
    Some(Statement {
        set: set.id,
        flush: index.flushes + 1,
        upto,
        last_sequence: index.last_sequence,
        floor: index.floor,
        kept_bytes: index.kept_bytes,
        keys: index.keys,
        live: index.live.encode(),
    })
}

/// Parts with copies that are out, and begins others.
pub(crate) fn tend(set: &Set) {
    let mut index = set.index.write();
    index.tend(set);
    set.indexed_upto.store(index.durable_upto(), Ordering::Relaxed);
}

/// Waits until the memtable is no larger than it may be: a start reads the journal faster than copies are written.
pub(crate) fn wait_for_room(set: &Set) {
    wait(set, |index| !index.is_over());
}

/// Writes what memory holds and waits for it, then stops the threads of the copies.
pub(crate) fn stop(set: &Set, chain: Option<&Chain>) {
    if let Some(chain) = chain {
        wait(set, Index::is_flushed);
        when_quiet(set, chain);
        wait(set, Index::is_flushed);
    }
    let leaving: Vec<Leaving> = {
        let mut index = set.index.write();
        let copies = std::mem::take(&mut index.copies);
        copies.into_iter().map(Copy::part).chain(std::mem::take(&mut index.leaving)).collect()
    };
    leaving.into_iter().for_each(Leaving::wait);
}

fn wait(set: &Set, until: impl Fn(&Index) -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    // One that waits for space waits for people.
    let is_over = |index: &Index| index.waits_for_space() || until(index);
    while !is_over(&set.index.read()) && Instant::now() < deadline {
        tend(set);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Begins to rebuild: nothing is answered until [`rebuilt`].
pub(crate) fn begin_rebuild(set: &Set) {
    set.index.write().reset();
}

/// Ends a rebuild.
pub(crate) fn rebuilt(set: &Set) {
    set.index.write().rebuilding = false;
}
