//! Looking at drives that no server has open: everything on them is read and verified, nothing is changed.

use std::path::PathBuf;
use std::sync::Arc;

use store::{Seen, Verification};

use crate::assemble::Given;
use crate::engine::open_directories;
use crate::error::OpenError;
use crate::heal;
use crate::looked::Asked;
use crate::open::{OPEN_MAX, open_for_reading};
use crate::sequencer::Granted;
use crate::shards::Pins;

/// Reads every copy of everything on the drives of a set. `told` hears what is short and how far it is, and ends it by
/// answering `false`; blocks.
///
/// # Errors
///
/// [`OpenError`]: as when a server opens them; a drive that a server has open is [`OpenError::InUse`], blank ones are
/// [`OpenError::NoSet`]. [`OpenError::Unread`] when not everything was looked at.
pub fn verify_directories(
    drives: &[PathBuf],
    told: &mut dyn FnMut(Seen) -> bool,
) -> Result<Verification, OpenError> {
    let mut asked = Vec::with_capacity(drives.len());
    open_directories(drives, &mut asked)?;
    verify(asked, told)
}

/// As [`verify_directories`], on drives of any kind.
///
/// # Errors
///
/// As [`verify_directories`].
pub fn verify_drives(
    given: Vec<Given>,
    told: &mut dyn FnMut(Seen) -> bool,
) -> Result<Verification, OpenError> {
    verify(Asked::all(given, OPEN_MAX), told)
}

fn verify(asked: Vec<Asked>, told: &mut dyn FnMut(Seen) -> bool) -> Result<Verification, OpenError> {
    let (set, chain) = open_for_reading(asked)?;
    let identity = set.identity.lock().clone();
    let end = Granted { identity, next_batch: chain.next_batch, table: chain.table };
    // Nobody else uses the drives: at their own pace.
    let found = heal::verify(&set, &Arc::<Pins>::default(), end, None, told);
    found.map_err(|reason| OpenError::Unread { reason })
}
