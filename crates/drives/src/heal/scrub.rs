//! Scrubbing: reads every copy of everything within a set time, and repairs what is not sound any more.
//!
//! At the end of a round come the manifests, which are written anew where one is damaged, and the
//! [`identities`](super::identities).
//!
//! It goes on all the time in small steps, at a rate that follows from what the drives hold. Where it is stands in a
//! small file on every drive that is in, so that a restart does not begin anew. A drive that returns damaged data often
//! is told to the operator.

use std::time::{Duration, Instant};

use bytes::Bytes;
use store::Share;

use super::Heal;
use super::pace::Ended;
use super::tally::Tally;
use super::walk::{Cursor, Target, Walk};
use crate::fields::{Fields, push_field};
use crate::frame::Address;
use crate::manifest::{self, MANIFEST_FILE};
use crate::member::Member;
use crate::sealed::{seal, sound_copies};
use crate::sequencer::Event;

/// The file that says where the scrub is.
const SCRUB_FILE: &str = "scrub";

/// Size of one of its two copies.
const COPY_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"TIDINGSC";

const VERSION: u32 = 1;

/// Steps of a scrub that are done in one turn at most.
const STEPS_MAX: usize = 64;

/// How often its place is written.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Where the scrub is.
#[derive(Default)]
pub(super) struct Scrub {
    state: Option<State>,
    /// Up to when what is due was done.
    done: Option<Instant>,
    saved: Option<Instant>,
}

/// One round over everything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// Seconds since 1970.
    began: u64,
    cursor: Cursor,
    /// When a round was last over, seconds since 1970; zero if none ever was.
    ended: u64,
}

impl Heal {
    /// Does what of the scrub is due.
    pub(super) fn scrub(&mut self) -> Result<(), Ended> {
        let now = self.set.clock.now_ns() / 1_000_000_000;
        let round = self.options.scrub_within.as_secs();
        let state = match self.scrub.state.take() {
            Some(state) => state,
            None => self.load_scrub(now),
        };
        let ended = state.cursor == Cursor::End;
        if ended && now < state.began.saturating_add(round) {
            *self.tally.scrub.lock() = (Share::default(), state.ended);
            self.scrub.state = Some(state);
            return Ok(());
        }
        let mut state = if ended { State { began: now, cursor: Cursor::start(), ..state } } else { state };
        let rate = self.scrub_rate();
        let since = *self.scrub.done.get_or_insert_with(Instant::now);
        let mut due = (since.elapsed().as_secs_f64() * rate as f64) as u64;
        let online = self.set.online();
        let targets = online.map(|member| Target::of(member.position, u64::MAX)).collect();
        let walk = if due == 0 { None } else { self.walk(targets).ok() };
        let Some(mut walk) = walk else {
            self.scrub.state = Some(state);
            return Ok(());
        };
        self.scrub.done = Some(Instant::now());
        let result = self.scrub_steps(&mut walk, &mut state, &mut due);
        // What was done too much is done less the next time.
        let ahead = Duration::from_secs_f64(walk.ahead as f64 / rate as f64);
        self.scrub.done = self.scrub.done.map(|done| done + ahead);
        if state.cursor == Cursor::End {
            state.ended = now;
        }
        *self.tally.scrub.lock() = (walk.share(&state.cursor), state.ended);
        self.save_scrub(&state);
        self.scrub.state = Some(state);
        result
    }

    fn scrub_steps(&mut self, walk: &mut Walk<'_>, state: &mut State, due: &mut u64) -> Result<(), Ended> {
        for _ in 0..STEPS_MAX {
            if *due == 0 || state.cursor == Cursor::End {
                break;
            }
            state.cursor = match walk.step(state.cursor.clone()) {
                Ok(next) => next,
                Err(Ended::Broken { segment, reason }) => {
                    // The next start would say the same; what other segments and bodies hold is looked at all the same.
                    tracing::error!(%reason, "The journal is damaged beyond what parity makes up for.");
                    Cursor::behind(segment)
                }
                Err(other) => return Err(other),
            };
            Tally::add(&self.tally.bytes_scrubbed, walk.stepped());
            self.tally.touch(&*self.set.clock);
            walk.ahead = walk.stepped().saturating_sub(*due);
            *due = due.saturating_sub(walk.stepped());
            self.look();
            if self.set.members.iter().any(|member| member.is_joining()) {
                return Err(Ended::Changed);
            }
        }
        if state.cursor == Cursor::End {
            self.scrub_manifests(walk);
            self.scrub_identities(walk)?;
            Tally::add(&self.tally.scrubs, 1);
            tracing::info!("Every copy of everything was read and verified.");
        }
        Ok(())
    }

    /// Reads the manifest of every drive. Where one is not whole another is asked for, which is written to all of them.
    fn scrub_manifests(&self, walk: &Walk<'_>) {
        let set = &self.set;
        let is_whole = |position: usize| {
            let loaded = set.patiently(position, |member| member.drive()?.load_medium(MANIFEST_FILE));
            // A drive that cannot be read is told elsewhere, and one that has none needs none.
            loaded.ok().flatten().is_none_or(|file| manifest::is_whole(&file, set.id))
        };
        let online = set.online().map(|member| member.position);
        let damaged: Vec<usize> = online.filter(|position| !is_whole(*position)).collect();
        if !damaged.is_empty() {
            walk.note_damage(&damaged, "the manifest", true);
            // The sequencer is gone only when the engine is.
            let _ = self.events.send(Event::Tattered);
        }
    }

    /// Bytes a second on a drive: a quarter more than what the fullest holds needs.
    fn scrub_rate(&self) -> u64 {
        let used = self.set.online().map(|member| {
            let space = member.space();
            space.total_bytes.saturating_sub(space.free_bytes)
        });
        let seconds = self.options.scrub_within.as_secs_f64().max(0.001);
        let rate = used.max().unwrap_or(0) as f64 * 1.25 / seconds;
        (rate as u64).max(self.options.scrub_bytes_per_second_min)
    }

    fn load_scrub(&self, now: u64) -> State {
        let saved = self.set.online().find_map(|member| {
            let load = |member: &Member| member.drive()?.load(SCRUB_FILE);
            let file = self.set.patiently(member.position, load).ok()??;
            sound_copies(&file, MAGIC, COPY_BYTES).find_map(decode)
        });
        saved.unwrap_or(State { began: now, cursor: Cursor::start(), ended: 0 })
    }

    fn save_scrub(&mut self, state: &State) {
        let due = self.scrub.saved.is_none_or(|saved| saved.elapsed() >= SAVE_EVERY);
        if !due && state.cursor != Cursor::End {
            return;
        }
        self.scrub.saved = Some(Instant::now());
        let file = encode(state);
        for member in self.set.online() {
            let file = file.clone();
            let save = move |member: &Member| {
                let drive = member.drive()?;
                drive.check_present()?;
                drive.replace(SCRUB_FILE, &file)
            };
            let saved = self.set.patiently(member.position, save);
            if let Err(error) = saved {
                tracing::debug!(drive = %member.path, %error, "The place of the scrub was not written.");
            }
        }
    }
}

/// The file's content.
fn encode(state: &State) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let (kind, numbers, key): (u32, [u64; 2], &[u8]) = match &state.cursor {
        Cursor::Frames { address, batch } => {
            let place = u64::from(address.segment) << 32 | u64::from(address.offset);
            (0, [place, batch.unwrap_or(0)], &[])
        }
        Cursor::Keys { start, seen } => (1, [*seen, 0], start),
        Cursor::End => (2, [0, 0], &[]),
    };
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&state.began.to_le_bytes());
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    // A key that has no room is begun with again: its front sorts before it.
    let room = COPY_BYTES - 8 - bytes.len() - 4 - 8;
    push_field(&mut bytes, &key[..key.len().min(room)]);
    bytes.extend_from_slice(&state.ended.to_le_bytes());
    seal(bytes, COPY_BYTES)
}

/// Reads what a copy says; `None` when it is of another version.
fn decode(said: &[u8]) -> Option<State> {
    let mut fields = Fields::of(said);
    if fields.short()? != VERSION {
        return None;
    }
    let kind = fields.short()?;
    let began = fields.long()?;
    let (place, batch, key) = (fields.long()?, fields.long()?, fields.field()?);
    let cursor = match kind {
        0 => {
            let address = Address { segment: (place >> 32) as u32, offset: place as u32 };
            Cursor::Frames { address, batch: (batch != 0).then_some(batch) }
        }
        1 => Cursor::Keys { start: Bytes::copy_from_slice(key), seen: place },
        2 => Cursor::End,
        _ => return None,
    };
    // Zeroes where it was not written yet.
    Some(State { began, cursor, ended: fields.long()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_scrub_is_read_back_from_either_copy() {
        let places = [
            Cursor::start(),
            Cursor::Frames { address: Address { segment: 7, offset: 8192 }, batch: Some(9) },
            Cursor::Keys { start: Bytes::from_static(b"oalbum\0rose"), seen: 12 },
            Cursor::End,
        ];
        for cursor in places {
            let state = State { began: 1_700_000_000, cursor, ended: 1_690_000_000 };
            let file = encode(&state);
            let read: Vec<_> = sound_copies(&file, MAGIC, COPY_BYTES).map(decode).collect();
            assert_eq!(read, [Some(state.clone()), Some(state)]);
        }
    }
}
