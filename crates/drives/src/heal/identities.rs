//! Identities: the scrub reads the `format` of every drive that is in and holds it against what the set decided.
//!
//! One that is damaged in either copy, or says an earlier decision because the write of a later one was lost, is
//! written again. That is the sequencer's to do: it alone writes what is decided. An identity of another drive or set
//! is never written over: the drive is out, as one that is not there.

use std::time::Instant;

use super::pace::{Ended, pause};
use super::walk::Walk;
use super::{ADMISSION_EVERY, Heal};
use crate::format::{FORMAT_FILE, Found, Identity};
use crate::member::Member;
use crate::sequencer::Wish;

/// What a drive says of itself.
#[derive(Debug, PartialEq, Eq)]
enum Says {
    /// What is decided, or what is being decided meanwhile.
    Truth,
    /// Less than that, or nothing that is sound.
    Less,
    /// That it is another drive, or of another set.
    Other,
}

/// What a file says on the drive that was decided to have the place of `decided`.
fn says(file: &[u8], decided: &Identity) -> Says {
    if file == decided.encode() {
        return Says::Truth;
    }
    match Identity::decode(file) {
        Found::Newer(_) => Says::Other,
        Found::Sound(own) if own.set != decided.set || own.drive() != decided.drive() => Says::Other,
        Found::Sound(own) if own.rank() > decided.rank() => Says::Truth,
        Found::Sound(_) | Found::Damaged => Says::Less,
    }
}

impl Heal {
    /// Reads the identity of every drive that is in, and has those written again that are not what was decided.
    pub(super) fn scrub_identities(&self, walk: &Walk<'_>) -> Result<(), Ended> {
        let positions: Vec<usize> = self.set.online().map(|member| member.position).collect();
        for position in positions {
            match self.look_at_identity(position) {
                Says::Truth => {}
                Says::Less => {
                    let restated = self.restate(position)?;
                    walk.note_damage(&[position], "the identity", restated);
                }
                Says::Other => {
                    walk.note_damage(&[position], "the identity", false);
                    self.set.fault(position, "its identity is that of another drive".to_owned());
                }
            }
        }
        Ok(())
    }

    fn look_at_identity(&self, position: usize) -> Says {
        let decided = || Identity { position, ..self.set.identity.lock().clone() };
        loop {
            let before = decided();
            let load = |member: &Member| member.drive()?.load_medium(FORMAT_FILE);
            // A drive that cannot be read, or lacks the file, is told elsewhere.
            let Some(file) = self.set.patiently(position, load).ok().flatten() else {
                return Says::Truth;
            };
            // What was decided meanwhile may have been written before or after it was read.
            if decided() == before {
                return says(&file, &before);
            }
        }
    }

    /// Has the identity of a drive written again; whether it was. Waits while a drive is on its way out, for so long
    /// as that may take; one that has no space keeps what it has until the next round.
    fn restate(&self, position: usize) -> Result<bool, Ended> {
        let deadline = Instant::now() + self.set.patience.read().frame;
        while self.is_writable() && self.set.members[position].is_online() && Instant::now() < deadline {
            if self.ask(Wish::Restate { position }).is_ok() {
                return Ok(true);
            }
            pause(ADMISSION_EVERY, &self.stop)?;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::format::tests::identity as decided;

    #[test]
    fn damage_and_earlier_decisions_are_less_and_what_is_another_drives_is_never_ours_to_write_over() {
        let file = decided().encode();
        let flipped = |places: &[usize]| {
            let mut file = file.clone();
            places.iter().for_each(|at| file[*at] ^= 1);
            file
        };
        assert_eq!(says(&file, &decided()), Says::Truth);
        for damaged in
            [flipped(&[70]), flipped(&[4096 + 70]), flipped(&[70, 4096 + 70]), file[..4096].to_vec()]
        {
            assert_eq!(says(&damaged, &decided()), Says::Less);
        }
        let of = |identity: Identity| says(&identity.encode(), &decided());
        assert_eq!(of(Identity { revision: 4, ..decided() }), Says::Less);
        assert_eq!(of(Identity { revision: 6, ..decided() }), Says::Truth);
        assert_eq!(of(Identity { position: 2, ..decided() }), Says::Other);
        assert_eq!(of(Identity { set: Uuid::from_u128(2), ..decided() }), Says::Other);
    }
}
