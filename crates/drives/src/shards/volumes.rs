//! What is done to volumes on the drives: they are made, and what is free in them is given back.

use std::io;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::drive::{BLOCK_BYTES, is_full, is_shortage};
use crate::lane;
use crate::location::Place;
use crate::member::Member;
use crate::payload::is_silence;
use crate::set::Set;
use crate::volumes::{Given, Range};

/// An extent for a body, if a volume has room. Makes another volume beside, when little is left.
pub(super) fn give(set: &Arc<Set>, place: &Place) -> Option<Given> {
    let (given, wanted) = set.volumes.give(place, set.is_short());
    if let Some(number) = wanted {
        let set = Arc::clone(set);
        tokio::spawn(async move {
            let is_made = make(&set, number).await;
            set.volumes.end_making(number, is_made);
        });
    }
    given
}

/// Makes a volume on all drives; whether each has it that could.
async fn make(set: &Arc<Set>, number: u32) -> bool {
    let makings = set.written().map(|member| async move {
        let made =
            lane::write(set, member.position, move |member| member.make_volume(number).map(drop)).await;
        (member, made)
    });
    let mut is_made = true;
    for (member, made) in join_all(makings).await {
        match made {
            Ok(()) => {}
            Err(error) if is_full(&error) || is_shortage(&error) => is_made = false,
            // It was told when it missed its deadline.
            Err(error) if is_silence(&error) => {}
            Err(error) => set.fault(member.position, format!("a volume could not be made: {error}")),
        }
    }
    is_made
}

/// Gives a free range back to the file system of a drive, which may lack the volume.
pub(super) fn punch(member: &Member, range: Range) -> io::Result<()> {
    let length = u64::from(range.blocks) * BLOCK_BYTES as u64;
    let volume = member.find_volume(range.start.volume)?;
    volume.map_or(Ok(()), |volume| volume.punch(range.start.offset(), length))
}
