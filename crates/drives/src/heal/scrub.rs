//! Scrubbing: reads every copy of everything within a set time, and repairs what is not sound any more.
//!
//! It goes on all the time in small steps, at a rate that follows from what the drives hold. Where it is stands in a
//! small file on every drive that is in, so that a restart does not begin anew. A drive that returns damaged data often
//! is told to the operator.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Heal;
use super::pace::Ended;
use super::tally::Tally;
use super::walk::{Cursor, Target, Walk};
use crate::digest::crc64;
use crate::frame::Address;

/// The file that says where the scrub is.
const SCRUB_FILE: &str = "scrub";

/// Size of one of its two copies.
const COPY_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"TIDINGSC";

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
            self.scrub.state = Some(state);
            return Ok(());
        }
        let mut state = if ended { State { began: now, cursor: Cursor::start() } } else { state };
        let rate = self.scrub_rate();
        let since = *self.scrub.done.get_or_insert_with(Instant::now);
        let mut due = (since.elapsed().as_secs_f64() * rate as f64) as u64;
        let online = self.set.online();
        let targets = online.map(|member| Target { position: member.position, below: u64::MAX }).collect();
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
            Tally::add(&self.tally.scrubs, 1);
            tracing::info!("Every copy of everything was read and verified.");
        }
        Ok(())
    }

    /// Bytes a second on a drive: a quarter more than what the fullest holds needs.
    fn scrub_rate(&self) -> u64 {
        let used = self.set.online().filter_map(|member| {
            let space = member.drive().ok()?.space().ok()?;
            Some(space.total_bytes.saturating_sub(space.free_bytes))
        });
        let seconds = self.options.scrub_within.as_secs_f64().max(0.001);
        let rate = used.max().unwrap_or(0) as f64 * 1.25 / seconds;
        (rate as u64).max(self.options.scrub_bytes_per_second_min)
    }

    fn load_scrub(&self, now: u64) -> State {
        let saved = self.set.online().find_map(|member| {
            let file = member.drive().ok()?.load(SCRUB_FILE).ok()??;
            file.chunks(COPY_BYTES).find_map(decode)
        });
        saved.unwrap_or(State { began: now, cursor: Cursor::start() })
    }

    fn save_scrub(&mut self, state: &State) {
        let due = self.scrub.saved.is_none_or(|saved| saved.elapsed() >= SAVE_EVERY);
        if !due && state.cursor != Cursor::End {
            return;
        }
        self.scrub.saved = Some(Instant::now());
        let copy = encode(state);
        for member in self.set.online() {
            let saved = member.drive().and_then(|drive| {
                drive.check_present()?;
                drive.replace(SCRUB_FILE, &[&copy[..], &copy].concat())
            });
            if let Err(error) = saved {
                tracing::debug!(drive = %member.path, %error, "The place of the scrub was not written.");
            }
        }
    }
}

/// One copy of the file.
fn encode(state: &State) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(COPY_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&1u32.to_le_bytes());
    let (kind, numbers, key): (u32, [u64; 2], &[u8]) = match &state.cursor {
        Cursor::Frames { address, batch } => {
            let place = u64::from(address.segment) << 32 | u64::from(address.offset);
            (0, [place, batch.unwrap_or(0)], &[])
        }
        Cursor::Keys(key) => (1, [0, 0], key),
        Cursor::End => (2, [0, 0], &[]),
    };
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&state.began.to_le_bytes());
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    // A key that has no room is begun with again: its front sorts before it.
    let key = &key[..key.len().min(COPY_BYTES - 8 - bytes.len() - 4)];
    bytes.extend_from_slice(&u32::try_from(key.len()).expect("it has room in a block").to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.resize(COPY_BYTES - 8, 0);
    let crc = crc64(&[&bytes]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(copy: &[u8]) -> Option<State> {
    let (body, crc) = copy.split_last_chunk::<8>()?;
    if copy.len() != COPY_BYTES || &body[..8] != MAGIC || crc64(&[body]) != u64::from_le_bytes(*crc) {
        return None;
    }
    let short = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
    if short(8) != 1 {
        return None;
    }
    let cursor = match short(12) {
        0 => {
            let (place, batch) = (long(24), long(32));
            let address = Address { segment: (place >> 32) as u32, offset: place as u32 };
            Cursor::Frames { address, batch: (batch != 0).then_some(batch) }
        }
        1 => {
            let length = short(40) as usize;
            Cursor::Keys(Bytes::copy_from_slice(body.get(44..44 + length)?))
        }
        2 => Cursor::End,
        _ => return None,
    };
    Some(State { began: long(16), cursor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_scrub_is_read_back_and_damage_is_noticed() {
        let places = [
            Cursor::start(),
            Cursor::Frames { address: Address { segment: 7, offset: 8192 }, batch: Some(9) },
            Cursor::Keys(Bytes::from_static(b"oalbum\0rose")),
            Cursor::End,
        ];
        for cursor in places {
            let state = State { began: 1_700_000_000, cursor };
            let mut copy = encode(&state);
            assert_eq!((copy.len(), decode(&copy)), (COPY_BYTES, Some(state)));
            copy[30] ^= 1;
            assert_eq!(decode(&copy), None);
        }
    }
}
