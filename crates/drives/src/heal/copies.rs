//! Healing keys that somebody chose: looks at their copies in order, has what is not whole repaired, and looks again.
//!
//! Nothing is written here. What a drive lacks is told as damage, as by a read, and who repairs is called: that thread
//! alone writes. So a key is looked at before and after, and both is told.
//!
//! What is looked at of a key is the frame that holds its payload and the shards of its bodies, on every drive that is
//! written. One that is being healed is looked at as well and left to its own heal. While that goes on, or while the
//! set takes no writes, damages are told and not waited for.
//!
//! # Bounds
//!
//! [`PAGE_KEYS`] keys are known at a time. A repair is waited for at most [`REPAIR_WITHIN`] and as long as it takes to
//! write what is repaired at [`REPAIR_BYTES_PER_SECOND`]; then the key is told as it is.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{CopyState, HealTask, Healed, KeyRange, Seen};

use super::pace::Pace;
use super::verify::Looking;
use super::walk::Walk;
use crate::damage::Damage;
use crate::drive::BLOCK_BYTES;
use crate::index::{FramePlace, Stored, lookup};
use crate::location::Place;
use crate::rebuild::{Rebuilt, Sources, rebuild};
use crate::sequencer::Granted;
use crate::set::{Mode, Set};
use crate::shards::{Pin, Pins, shard_bytes};
use crate::windows::Windows;

/// Keys that are asked of the index at a time.
const PAGE_KEYS: usize = 256;

/// How long a repair may take before its bytes are written: the healer may be at something else.
const REPAIR_WITHIN: Duration = Duration::from_secs(60);

/// Bytes a second that are repaired on a drive at least: 8 MiB.
const REPAIR_BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;

/// How often it is asked meanwhile whether to go on.
const ASKED_EVERY: Duration = Duration::from_secs(1);

const ENDED: &str = "it was ended before every key was looked at";

/// Looks at the keys of `task.range`, at most so many bytes a second on each drive, and tells of each; blocks. See
/// [`store::Heal`].
///
/// # Errors
///
/// A clause for operators: it was ended, or the index could not be read. Not every key was looked at.
pub(crate) fn heal_keys(
    set: &Arc<Set>,
    pins: &Arc<Pins>,
    end: Granted,
    task: &HealTask,
    bytes_per_second: u64,
    told: &mut dyn FnMut(Option<Healed>) -> bool,
) -> Result<(), String> {
    let told = RefCell::new(told);
    let mut go_on = |_: Seen| (told.borrow_mut())(None);
    let rate = bytes_per_second.saturating_mul(set.online().count().max(1) as u64);
    // What it cannot read it finds; to take drives out for it is for those who repair.
    let mut walk = Walk::new(set, pins, &Arc::default(), Vec::new(), end, Box::new(|_, _| {}));
    walk.looking = Some(Looking::new(&mut go_on, Some(Pace::new(rate)), 0));
    let mut round = Round { walk, task };
    round.forget();
    let mut range = task.range.clone();
    loop {
        let page = lookup::scan(set, &range, PAGE_KEYS).map_err(unreadable)?;
        for (key, _) in &page {
            let healed = round.key(key)?;
            // What was not looked at to its end is not told.
            if !round.walk.may_go_on() || healed.is_some_and(|healed| !(told.borrow_mut())(Some(healed))) {
                return Err(ENDED.to_owned());
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE_KEYS => range = behind(last, range),
            _ => return Ok(()),
        }
    }
}

fn behind(key: &Bytes, range: KeyRange) -> KeyRange {
    KeyRange { start: [&key[..], &[0]].concat().into(), ..range }
}

fn unreadable(error: store::EngineError) -> String {
    format!("the index could not be read: {error}")
}

/// A look at keys, under way.
struct Round<'t> {
    walk: Walk<'t>,
    task: &'t HealTask,
}

/// What was seen of a key.
struct Look {
    value: Bytes,
    /// By position.
    states: Vec<CopyState>,
    /// What drives lack that are in.
    damages: Vec<Damage>,
    /// Bytes of the largest of it.
    damaged_bytes: u64,
    is_lost: bool,
    /// Whether something was not where the index said.
    is_stale: bool,
}

impl Look {
    fn note(&mut self, position: usize, state: CopyState) {
        self.states[position] = self.states[position].max(state);
    }
}

impl Round<'_> {
    /// Looks at a key and has it repaired; `None` when it is gone.
    fn key(&mut self, key: &Bytes) -> Result<Option<Healed>, String> {
        let Some(before) = self.look(key)? else {
            return Ok(None);
        };
        let (mut after, mut is_lost) = (before.states.clone(), before.is_lost);
        if !self.task.is_dry_run && !is_lost && !before.damages.is_empty() {
            self.repair(&before);
            match self.look(key)? {
                Some(look) => (after, is_lost) = (look.states, look.is_lost),
                None => return Ok(None),
            }
        }
        Ok(Some(Healed { key: key.clone(), value: before.value, before: before.states, after, is_lost }))
    }

    /// How the drives hold what a key names by now; `None` when it is gone.
    fn look(&mut self, key: &Bytes) -> Result<Option<Look>, String> {
        let set = Arc::clone(&self.walk.set);
        let get = || lookup::get(&set, key).map_err(unreadable);
        let mut stored = get()?;
        while let Some(found) = stored {
            let look = self.look_at(&found);
            if look.damages.is_empty() && !look.is_lost && !look.is_stale {
                return Ok(Some(look));
            }
            // Compaction may have moved it meanwhile, or somebody replaced it.
            stored = get()?;
            if stored.as_ref().is_some_and(|now| now.is_at(&found) && now.locations == found.locations) {
                return Ok(Some(look));
            }
        }
        Ok(None)
    }

    fn look_at(&mut self, stored: &Stored) -> Look {
        let state = |written| if written { CopyState::Whole } else { CopyState::Offline };
        let mut look = Look {
            value: stored.value.clone(),
            states: self.walk.set.members.iter().map(|member| state(member.is_written())).collect(),
            damages: Vec::new(),
            damaged_bytes: 0,
            is_lost: false,
            is_stale: false,
        };
        if let Some(extent) = stored.extent {
            self.look_at_frame(&extent.frame, &mut look);
        }
        for place in stored.locations.iter().filter_map(Place::from_location) {
            self.look_at_body(&place, &mut look);
        }
        look
    }

    fn look_at_frame(&mut self, frame: &FramePlace, look: &mut Look) {
        let (set, is_deep) = (Arc::clone(&self.walk.set), self.task.is_deep);
        let found = self.walk.reference(frame.address).filter(|shared| shared.batch == frame.batch);
        let Some(shared) = found else {
            set.written().for_each(|member| look.note(member.position, CopyState::Missing));
            look.is_lost = true;
            return;
        };
        let mut lacking = Vec::new();
        for member in set.written() {
            let position = member.position;
            // A drive that is in may be behind with its last frames.
            if member.is_online() && member.written.load(Ordering::Acquire) < shared.batch {
                continue;
            }
            let state = self.walk.copy_of_frame(position, &shared, is_deep);
            look.note(position, state);
            if state != CopyState::Whole && member.is_online() {
                lacking.push(position);
                let (batch, address) = (shared.batch, shared.address);
                look.damages.push(Damage::Frame { position, batch, address });
            }
        }
        if !lacking.is_empty() {
            let frames = self.walk.frames_on(set.online(), &shared);
            let sources = Sources { shared: &shared, frames: &frames };
            look.is_lost |= !matches!(rebuild(&set.codec, &sources, &lacking), Rebuilt::Whole(_));
        }
    }

    fn look_at_body(&mut self, place: &Place, look: &mut Look) {
        let set = Arc::clone(&self.walk.set);
        let _pin = Pin::new(Arc::clone(&set), Arc::clone(&self.walk.pins), place);
        if !set.volumes.has(place) {
            look.is_stale = true;
            return;
        }
        let mut lacking = 0;
        for member in set.written() {
            let state = self.walk.copy_of_body(place, member.position, self.task.is_deep);
            look.note(member.position, state);
            if state != CopyState::Whole && member.is_online() {
                lacking += 1;
                let location = place.to_location();
                look.damages.push(Damage::Shard { position: member.position, location });
                look.damaged_bytes = look.damaged_bytes.max(shard_bytes(place));
            }
        }
        let away = set.members.len() - set.online().count();
        if lacking > 0 && lacking + away > place.geometry.parity {
            look.is_lost |= !self.walk.is_rebuildable(place);
        }
    }

    /// Has what was seen repaired, and waits for it.
    fn repair(&mut self, look: &Look) {
        let set = Arc::clone(&self.walk.set);
        for damage in &look.damages {
            set.damages.tell(damage.clone());
        }
        let writing = Duration::from_secs(look.damaged_bytes / REPAIR_BYTES_PER_SECOND);
        let deadline = Instant::now() + REPAIR_WITHIN + writing;
        while repairs_now(&set) && Instant::now() < deadline {
            if set.damages.await_settled(&look.damages, ASKED_EVERY) || !self.walk.may_go_on() {
                break;
            }
        }
        self.forget();
    }

    /// Forgets what was read of frames: it was written since.
    fn forget(&mut self) {
        // Keys lie here and there: no more is read of a drive than is asked for.
        self.walk.frames.windows = Windows::new(self.walk.set.members.len(), BLOCK_BYTES);
    }
}

/// Whether damages are repaired at the moment.
fn repairs_now(set: &Set) -> bool {
    *set.mode.read() == Mode::Writable && !set.members.iter().any(|member| member.is_joining())
}
