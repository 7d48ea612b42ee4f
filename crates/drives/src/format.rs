//! A drive's identity: the file `format`.
//!
//! It says which set the drive belongs to, and holds the set's decisions: the epoch, who belongs to it, and
//! where the journal of the epoch begins. A decision counts when the write quorum of the members it names
//! holds it. Its bytes are tabled in `docs/formats.md`.

use uuid::Uuid;

use crate::fields::Fields;
use crate::frame::Address;
use crate::quorum::Geometry;
use crate::sealed::{seal, sound_copies};

/// Name of the file in the root of a drive.
pub(crate) const FORMAT_FILE: &str = "format";

/// Version of the format this code writes; it reads no other.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Size of one copy in bytes; the file holds two.
const COPY_BYTES: usize = 4096;

/// Where a copy lists the sets of the server: their number as two bytes, then their ids.
const SETS_AT: usize = 1024;

const MAGIC: &[u8; 8] = b"TIDINGSF";

/// The secret of an epoch: without it bytes are no frame of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nonce(pub [u8; 16]);

impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// An epoch's part of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochLog {
    /// Its number; 0 is the set while it is being made.
    pub epoch: u64,
    /// Its secret.
    pub nonce: Nonce,
    /// The last batch kept from before it.
    pub kept_batch: u64,
    /// That batch's hash.
    pub kept_hash: u64,
    /// Where its first frame stands.
    pub start: Address,
}

/// A place in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    /// The drive that has it.
    pub drive: Uuid,
    /// Whether it belongs to the epoch: it has missed nothing.
    pub voter: bool,
    /// The first batch it was written: everything before reached it by healing.
    pub joined_batch: u64,
}

/// What a drive says of itself and its set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The set.
    pub set: Uuid,
    /// Its place in it.
    pub position: usize,
    /// Data and parity of the set.
    pub geometry: Geometry,
    /// Counts membership commits within the epoch.
    pub revision: u64,
    /// The epoch.
    pub log: EpochLog,
    /// The latest epoch before it that has frames, if any.
    pub previous: Option<EpochLog>,
    /// All places of the set, in order.
    pub members: Vec<Membership>,
    /// The sets of the server in the order they were added, this one among them; empty for this one alone.
    pub sets: Vec<Uuid>,
}

/// What was found in a drive's `format`.
#[derive(Debug)]
pub(crate) enum Found {
    /// A sound identity.
    Sound(Box<Identity>),
    /// Neither copy is sound.
    Damaged,
    /// Written in a newer format.
    Newer(u32),
}

impl Identity {
    /// The drive this identity is written on.
    pub(crate) fn drive(&self) -> Uuid {
        self.members[self.position].drive
    }

    /// The file's content: two copies.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.set.as_bytes());
        bytes.extend_from_slice(self.drive().as_bytes());
        for number in [self.position, self.geometry.data, self.geometry.parity, self.members.len()] {
            bytes.extend_from_slice(
                &u16::try_from(number).expect("a set has at most 16 drives").to_le_bytes(),
            );
        }
        bytes.extend_from_slice(&self.revision.to_le_bytes());
        bytes.extend_from_slice(&self.log.encode());
        bytes.push(u8::from(self.previous.is_some()));
        bytes.extend_from_slice(&self.previous.unwrap_or(self.log).encode());
        for member in &self.members {
            bytes.extend_from_slice(member.drive.as_bytes());
            bytes.push(u8::from(member.voter));
            bytes.extend_from_slice(&member.joined_batch.to_le_bytes());
        }
        bytes.resize(SETS_AT, 0);
        let sets = u16::try_from(self.sets.len()).expect("a server has at most 128 sets");
        bytes.extend_from_slice(&sets.to_le_bytes());
        for set in &self.sets {
            bytes.extend_from_slice(set.as_bytes());
        }
        seal(bytes, COPY_BYTES)
    }

    /// Reads a file's content: the later one of its sound copies.
    pub(crate) fn decode(file: &[u8]) -> Found {
        let mut newer = None;
        let mut sound: Option<Identity> = None;
        for said in sound_copies(file, MAGIC, COPY_BYTES) {
            match Fields::of(said).short() {
                Some(FORMAT_VERSION) => {}
                version => {
                    newer = version;
                    continue;
                }
            }
            if let Some(identity) = decode_said(said)
                && sound.as_ref().is_none_or(|known| known.rank() < identity.rank())
            {
                sound = Some(identity);
            }
        }
        match (newer, sound) {
            (Some(version), _) => Found::Newer(version),
            (None, Some(identity)) => Found::Sound(Box::new(identity)),
            (None, None) => Found::Damaged,
        }
    }

    /// Later decisions rank higher.
    pub(crate) fn rank(&self) -> (u64, u64) {
        (self.log.epoch, self.revision)
    }
}

impl EpochLog {
    /// Encoded size in bytes.
    pub(crate) const BYTES: usize = 48;

    /// As in `format` and in the first frame of an epoch.
    pub(crate) fn encode(&self) -> [u8; EpochLog::BYTES] {
        let mut bytes = [0; EpochLog::BYTES];
        bytes[..8].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.nonce.0);
        bytes[24..32].copy_from_slice(&self.kept_batch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.kept_hash.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.start.segment.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.start.offset.to_le_bytes());
        bytes
    }

    /// Takes what [`EpochLog::encode`] wrote; `None` where the bytes end before it does.
    pub(crate) fn take(fields: &mut Fields<'_>) -> Option<EpochLog> {
        Some(EpochLog {
            epoch: fields.long()?,
            nonce: Nonce(fields.array()?),
            kept_batch: fields.long()?,
            kept_hash: fields.long()?,
            start: fields.address()?,
        })
    }
}

/// What a copy says; places in it count from behind the magic.
fn decode_said(said: &[u8]) -> Option<Identity> {
    let mut fields = Fields::of(said.get(16 - MAGIC.len()..)?);
    let set = fields.uuid()?;
    let drive = fields.uuid()?;
    let position = usize::from(fields.half()?);
    let geometry = Geometry { data: usize::from(fields.half()?), parity: usize::from(fields.half()?) };
    let count = usize::from(fields.half()?);
    let revision = fields.long()?;
    let log = EpochLog::take(&mut fields)?;
    let has_previous = fields.byte()? == 1;
    let previous = EpochLog::take(&mut fields)?;
    if count != geometry.drives() || count > Geometry::DRIVES_MAX || position >= count || geometry.data == 0 {
        return None;
    }
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        members.push(Membership {
            drive: fields.uuid()?,
            voter: fields.byte()? == 1,
            joined_batch: fields.long()?,
        });
    }
    let mut sets = Fields::of(said.get(SETS_AT - MAGIC.len()..)?);
    let sets = (0..sets.half()?).map(|_| sets.uuid()).collect::<Option<Vec<Uuid>>>()?;
    (members[position].drive == drive).then_some(Identity {
        set,
        position,
        geometry,
        revision,
        log,
        previous: has_previous.then_some(previous),
        members,
        sets,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn identity() -> Identity {
        let log = EpochLog {
            epoch: 3,
            nonce: Nonce([7; 16]),
            kept_batch: 41,
            kept_hash: 99,
            start: Address { segment: 2, offset: 8192 },
        };
        Identity {
            set: Uuid::from_u128(1),
            position: 1,
            geometry: Geometry { data: 2, parity: 2 },
            revision: 5,
            log,
            previous: Some(EpochLog { epoch: 2, ..log }),
            members: (0..4)
                .map(|n| Membership { drive: Uuid::from_u128(10 + n), voter: n != 3, joined_batch: 0 })
                .collect(),
            sets: vec![Uuid::from_u128(1), Uuid::from_u128(2)],
        }
    }

    #[test]
    fn the_sets_of_a_server_are_listed_where_the_documentation_says_and_most_fit() {
        let file = identity().encode();
        assert_eq!(file[1024..1026], [2, 0]);
        assert_eq!(file[1042..1058], *Uuid::from_u128(2).as_bytes());
        let most = (0..crate::sets::SETS_MAX as u128).map(Uuid::from_u128).collect();
        let most = Identity { sets: most, ..identity() };
        let Found::Sound(read) = Identity::decode(&most.encode()) else { panic!("it is sound") };
        assert_eq!(*read, most);
    }

    #[test]
    fn an_identity_is_read_back_even_when_one_of_its_copies_is_damaged() {
        for copy in [0, 4096] {
            let mut file = identity().encode();
            file[copy + 40] ^= 1;
            let Found::Sound(read) = Identity::decode(&file) else { panic!("copy {copy}") };
            assert_eq!(*read, identity());
        }
    }

    #[test]
    fn an_identity_with_both_copies_damaged_is_not_guessed_at() {
        let mut file = identity().encode();
        file[100] ^= 1;
        file[4096 + 4000] ^= 1;
        assert!(matches!(Identity::decode(&file), Found::Damaged));
        assert!(matches!(Identity::decode(b""), Found::Damaged));
    }

    #[test]
    fn the_nonce_is_never_printed() {
        assert!(!format!("{:?}", identity()).contains("7, 7"));
    }
}
