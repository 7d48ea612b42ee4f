//! Which drives make the set: judges the identities, refuses what is foreign, finds the decision that holds.
//!
//! Nothing is written here before every drive was looked at. A decision (epoch, members) holds when the
//! write quorum of the members it names could have written it; the highest such one is taken.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use uuid::Uuid;

use crate::drive::Drive;
use crate::error::OpenError;
use crate::format::{EpochLog, FORMAT_FILE, Identity, Membership, Nonce};
use crate::lineup::Lineup;
use crate::looked::{Asked, Content};
use crate::quorum::Geometry;
use crate::segment;

/// Opens what is at a drive's path by now; called when the drive that was opened before is not there any more.
pub type Reopen = Arc<dyn Fn() -> io::Result<Arc<dyn Drive>> + Send + Sync>;

/// A drive as it was given: open, or why it is not.
pub struct Given {
    /// Where it is, for people.
    pub path: String,
    /// The drive.
    pub drive: io::Result<Arc<dyn Drive>>,
    /// How it is opened again.
    pub reopen: Reopen,
}

/// The set as its drives tell it.
pub(crate) struct Assembly {
    /// The decision that holds. Its position is that of any one drive.
    pub identity: Identity,
    /// The highest epoch any drive was part of.
    pub highest_epoch: u64,
    /// By position.
    pub places: Vec<Placed>,
}

/// What stands at a position of the set.
pub(crate) struct Placed {
    pub path: String,
    pub reopen: Reopen,
    /// `None` when it is absent. One that is not the set's is out, and may be healed.
    pub drive: Option<Arc<dyn Drive>>,
    /// Why it is out.
    pub out: Option<String>,
}

/// A drive that could be looked at.
struct Seen {
    /// Which of the given ones it is, from 0.
    nth: usize,
    path: String,
    reopen: Reopen,
    drive: Arc<dyn Drive>,
    content: Content,
}

/// A drive that could not.
struct Unusable {
    nth: usize,
    path: String,
    reopen: Reopen,
    error: io::Error,
}

/// Says which set the drives make; makes a new one of blank drives at its place of a line-up, none
/// without.
pub(crate) fn assemble(
    given: Vec<Asked>,
    parity: Option<usize>,
    lineup: Option<&Lineup>,
) -> Result<Assembly, OpenError> {
    let geometry = Geometry::of(given.len(), parity)?;
    let count = given.len();
    let mut seen = Vec::new();
    let mut unusable = Vec::new();
    for (nth, Asked { path, drive, reopen }) in given.into_iter().enumerate() {
        match drive {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(OpenError::InUse { path }),
            Err(error) => unusable.push(Unusable { nth, path, reopen, error }),
            Ok((drive, looked)) => {
                let content = looked.content(&path)?;
                seen.push(Seen { nth, path, reopen, drive, content });
            }
        }
    }
    let identities: Vec<(&str, &Identity)> = seen
        .iter()
        .filter_map(|seen| match &seen.content {
            Content::Ours(identity) => Some((seen.path.as_str(), &**identity)),
            Content::Blank | Content::Damaged => None,
        })
        .collect();
    check(&identities, count, parity)?;
    let highest_epoch = identities.iter().map(|(_, identity)| identity.log.epoch).max();
    match highest_epoch {
        Some(highest) if highest > 0 => {
            let identity = decision(&identities, geometry)?;
            Ok(place(identity, highest, seen, unusable))
        }
        begun => {
            let lineup = lineup.ok_or(OpenError::NoSet)?;
            if let Some(Unusable { path, error, .. }) = unusable.into_iter().next() {
                return Err(match unwritable(&path, error) {
                    OpenError::Io { path, source } => OpenError::Unusable { path, source },
                    refusal => refusal,
                });
            }
            if let Some(damaged) = seen.iter().find(|seen| matches!(seen.content, Content::Damaged)) {
                return Err(OpenError::Foreign {
                    path: damaged.path.clone(),
                    found: format!("a damaged {FORMAT_FILE}"),
                });
            }
            let template = begun.and_then(|_| identities.first()).map(|(_, identity)| (*identity).clone());
            form(seen, geometry, template, lineup)
        }
    }
}

/// Refuses drives of several sets, drives given twice, and another count or parity than the set was made with.
fn check(identities: &[(&str, &Identity)], count: usize, parity: Option<usize>) -> Result<(), OpenError> {
    let Some((first_path, _)) = identities.first() else {
        return Ok(());
    };
    let votes = |set: Uuid| identities.iter().filter(|(_, identity)| identity.set == set).count();
    let (other, set) = identities
        .iter()
        .map(|(path, identity)| (*path, identity.set))
        .max_by_key(|(_, set)| votes(*set))
        .unwrap_or((first_path, Uuid::nil()));
    for (path, identity) in identities {
        if identity.set != set {
            let (path, other) = ((*path).into(), other.into());
            return Err(OpenError::OtherSet { path, found: identity.set, other, expected: set });
        }
        if identity.members.len() != count {
            return Err(OpenError::WrongCount {
                given: count,
                expected: identity.members.len(),
                path: (*path).into(),
            });
        }
        if let Some(given) = parity
            && given != identity.geometry.parity
        {
            return Err(OpenError::WrongParity {
                given,
                expected: identity.geometry.parity,
                path: (*path).into(),
            });
        }
        let twin = identities.iter().find(|(twin, same)| twin != path && same.drive() == identity.drive());
        if let Some((twin, _)) = twin {
            return Err(OpenError::Duplicate { path: (*path).into(), other: (*twin).into() });
        }
    }
    Ok(())
}

/// The highest decision that may have been taken by the write quorum of its voters.
fn decision(identities: &[(&str, &Identity)], geometry: Geometry) -> Result<Identity, OpenError> {
    let rank = Identity::rank;
    let geometry = identities.first().map_or(geometry, |(_, identity)| identity.geometry);
    let mut possible: Vec<&Identity> = Vec::new();
    for (_, candidate) in identities {
        let same = |identity: &Identity| {
            rank(identity) == rank(candidate)
                && identity.log == candidate.log
                && identity.members == candidate.members
        };
        let mut support = 0;
        for (position, member) in candidate.members.iter().enumerate().filter(|(_, member)| member.voter) {
            let present = identities
                .iter()
                .find(|(_, identity)| identity.position == position && identity.drive() == member.drive);
            // An absent voter may hold it; a present one shows what it holds.
            support += usize::from(
                present.is_none_or(|(_, identity)| same(identity) || rank(identity) > rank(candidate)),
            );
        }
        if support >= geometry.write_quorum() && !possible.iter().any(|known| same(known)) {
            possible.push(candidate);
        }
    }
    possible.sort_by_key(|identity| std::cmp::Reverse(rank(identity)));
    match possible.as_slice() {
        [] => Err(OpenError::Ambiguous { reason: "no epoch is held by enough of its drives".into() }),
        [one, other, ..] if rank(one) == rank(other) => {
            Err(OpenError::Ambiguous { reason: format!("epoch {} was begun twice", one.log.epoch) })
        }
        [highest, ..] => Ok((*highest).clone()),
    }
}

/// Puts each drive into its place. One that is no member of the set takes a free place, to be healed there: that of
/// its turn among the given ones if it is free, as when the set was made.
fn place(identity: Identity, highest_epoch: u64, seen: Vec<Seen>, unusable: Vec<Unusable>) -> Assembly {
    let mut places: Vec<Option<Placed>> = identity.members.iter().map(|_| None).collect();
    let mut homeless = Vec::new();
    for Seen { nth, path, reopen, drive, content } in seen {
        let reason = match content {
            Content::Ours(own) if identity.members[own.position].drive == own.drive() => {
                let out = (!identity.members[own.position].voter)
                    .then(|| "it missed writes while it was out, and waits to be healed".to_owned());
                places[own.position] = Some(Placed { path, reopen, drive: Some(drive), out });
                continue;
            }
            Content::Ours(_) => "another drive has taken its place",
            Content::Blank => "it is blank, and waits to be healed",
            Content::Damaged => "its identity is damaged, and it waits to be healed",
        };
        homeless.push((nth, Placed { path, reopen, drive: Some(drive), out: Some(reason.to_owned()) }));
    }
    for Unusable { nth, path, reopen, error } in unusable {
        let out = Some(format!("it cannot be used: {error}"));
        homeless.push((nth, Placed { path, reopen, drive: None, out }));
    }
    let mut others = Vec::new();
    for (nth, placed) in homeless {
        if places[nth].is_none() {
            places[nth] = Some(placed);
        } else {
            others.push(placed);
        }
    }
    let mut others = others.into_iter();
    let places = places
        .into_iter()
        .map(|place| {
            place.unwrap_or_else(|| others.next().expect("as many drives were given as the set has places"))
        })
        .collect();
    Assembly { identity, highest_epoch, places }
}

/// Makes a new set, or goes on making one: every drive gets epoch 0, which nothing was ever written in.
fn form(
    seen: Vec<Seen>,
    geometry: Geometry,
    begun: Option<Identity>,
    lineup: &Lineup,
) -> Result<Assembly, OpenError> {
    let template = begun.unwrap_or_else(|| Identity {
        set: lineup.id(),
        sets: lineup.recorded(),
        position: 0,
        geometry,
        revision: 0,
        log: EpochLog {
            epoch: 0,
            nonce: Nonce(rand::random()),
            kept_batch: 0,
            kept_hash: 0,
            start: segment::first_address(0),
        },
        previous: None,
        members: (0..geometry.drives())
            .map(|_| Membership { drive: Uuid::new_v4(), voter: true, joined_batch: 0 })
            .collect(),
    });
    let taken: HashSet<usize> = seen.iter().filter_map(|seen| position_of(&seen.content)).collect();
    let mut free = (0..geometry.drives()).filter(|position| !taken.contains(position));
    let mut places: Vec<Option<Placed>> = template.members.iter().map(|_| None).collect();
    for seen in seen {
        let position = match position_of(&seen.content) {
            Some(position) => position,
            None => {
                let position = free.next().expect("as many drives as places");
                let identity = Identity { position, ..template.clone() };
                seen.drive
                    .replace(FORMAT_FILE, &identity.encode())
                    .map_err(|error| unwritable(&seen.path, error))?;
                position
            }
        };
        places[position] =
            Some(Placed { path: seen.path, reopen: seen.reopen, drive: Some(seen.drive), out: None });
    }
    let places = places.into_iter().map(|place| place.expect("every place has a drive")).collect();
    Ok(Assembly { identity: template, highest_epoch: 0, places })
}

fn position_of(content: &Content) -> Option<usize> {
    match content {
        Content::Ours(identity) => Some(identity.position),
        Content::Blank | Content::Damaged => None,
    }
}

/// The refusal for a drive that cannot be written.
pub(crate) fn unwritable(path: &str, source: io::Error) -> OpenError {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::Unwritable { path: path.into(), uid: rustix::process::getuid().as_raw(), source }
        }
        _ => OpenError::Io { path: path.into(), source },
    }
}
