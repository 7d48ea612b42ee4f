//! Which sets make a server and in which order: read from the identities of the drives given, before anything is
//! written.
//!
//! Every identity lists the sets of its server as of the epoch it was written in, in the order they were added. The
//! list only ever grows at its end. The first set is the server: its id is the deployment id, and it holds the
//! settings. New sets are made before the epoch of the first set that lists them begins, so a set that the first one
//! lists was made, and may hold what was acknowledged: it is never made again on blank drives.

use uuid::Uuid;

use crate::error::OpenError;
use crate::format::Identity;
use crate::looked::{Asked, Content};
use crate::sets::SETS_MAX;

/// The sets of a server in order, and which of them one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lineup {
    pub sets: Vec<Uuid>,
    /// Its place among them, from 0.
    pub place: usize,
}

impl Lineup {
    /// Its own id.
    pub(crate) fn id(&self) -> Uuid {
        self.sets[self.place]
    }

    /// What its drives record: nothing for a set that is a server alone.
    pub(crate) fn recorded(&self) -> Vec<Uuid> {
        if self.sets.len() > 1 { self.sets.clone() } else { Vec::new() }
    }
}

/// What the drives of one set say before it is opened.
struct Found {
    /// One of its drives, for people.
    path: String,
    /// Its id and the sets it knows of, itself among them; `None` when no drive has an identity.
    known: Option<(Uuid, Vec<Uuid>)>,
}

/// Checks the sets given against what their drives know, and gives their ids in order; ids of new ones are drawn.
///
/// # Errors
///
/// [`OpenError`] for a set that is missing, out of its place, of another server, or not empty though it is new.
/// Nothing was written.
pub(crate) fn line_up(given: &[Vec<Asked>]) -> Result<Vec<Uuid>, OpenError> {
    if given.len() > SETS_MAX {
        return Err(OpenError::TooManySets { given: given.len(), limit: SETS_MAX });
    }
    let found: Vec<Found> = given.iter().map(|drives| look(drives)).collect::<Result<_, _>>()?;
    let Some((server, listed)) = found.first().and_then(|first| first.known.clone()) else {
        return match found.iter().find(|found| found.known.is_some()) {
            Some(old) => Err(OpenError::FirstSetNew { path: found[0].path.clone(), other: old.path.clone() }),
            None => Ok(found.iter().map(|_| Uuid::new_v4()).collect()),
        };
    };
    if listed[0] != server {
        let place = 1 + place_of(server, &listed);
        return Err(OpenError::SetOutOfPlace { path: found[0].path.clone(), place, given: 1 });
    }
    let mut ids = vec![server];
    for (place, set) in found.iter().enumerate().skip(1) {
        let id = match (&set.known, listed.get(place)) {
            (None, Some(&id)) => {
                return Err(OpenError::SetNotThere { path: set.path.clone(), number: place + 1, id });
            }
            (None, None) => intended(server, place, &found[place..]).unwrap_or_else(Uuid::new_v4),
            (Some((_, own)), _) if own[0] != server => {
                let (path, found, expected) = (set.path.clone(), own[0], server);
                return Err(OpenError::OtherServer { path, found, expected });
            }
            (Some((id, _)), Some(expected)) if id == expected => *id,
            // One that the first set does not list yet was made by a start that went no further.
            (Some((id, own)), None) if own.get(place) == Some(id) && own[..place] == ids[..] => *id,
            (Some((id, own)), _) => {
                let own = if listed.contains(id) { &listed } else { own };
                let path = set.path.clone();
                return Err(OpenError::SetOutOfPlace {
                    path,
                    place: 1 + place_of(*id, own),
                    given: place + 1,
                });
            }
        };
        ids.push(id);
    }
    if let Some(id) = listed.get(ids.len()) {
        return Err(OpenError::SetMissing { number: ids.len() + 1, of: listed.len(), id: *id });
    }
    Ok(ids)
}

/// The id a start drew for a new set that it did not come to make, as the sets behind it list it.
fn intended(server: Uuid, place: usize, behind: &[Found]) -> Option<Uuid> {
    let lists = behind.iter().filter_map(|found| found.known.as_ref()).map(|(_, own)| own);
    lists.filter(|own| own[0] == server).find_map(|own| own.get(place)).copied()
}

fn place_of(id: Uuid, sets: &[Uuid]) -> usize {
    sets.iter().position(|set| *set == id).unwrap_or(0)
}

/// What the drives of a set know. Drives of several sets are told apart when the set is opened; here the set that
/// most of them belong to counts.
fn look(given: &[Asked]) -> Result<Found, OpenError> {
    let mut identities: Vec<Box<Identity>> = Vec::new();
    for given in given {
        if let Ok((_, looked)) = &given.drive
            && let Content::Ours(identity) = looked.content(&given.path)?
        {
            identities.push(identity);
        }
    }
    let votes = |set: Uuid| identities.iter().filter(|identity| identity.set == set).count();
    let id = identities.iter().map(|identity| identity.set).max_by_key(|set| votes(*set));
    let known = id.map(|id| {
        let own = identities.iter().filter(|identity| identity.set == id);
        let longest = own.map(|identity| &identity.sets).max_by_key(|sets| sets.len());
        (id, longest.filter(|sets| !sets.is_empty()).cloned().unwrap_or_else(|| vec![id]))
    });
    Ok(Found { path: given.first().map(|given| given.path.clone()).unwrap_or_default(), known })
}
