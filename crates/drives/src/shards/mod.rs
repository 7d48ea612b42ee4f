//! Shards: large bodies, staged on all drives before a commit names them.
//!
//! A body is cut into stripes of k blocks of 64 KiB; m parity blocks are computed; block c of every stripe
//! goes to the file of column c, one file a drive. Every block carries a CRC64 seeded with the body's id, its
//! column and its number: an intact block in the wrong place does not pass. A body is finished when file and
//! folder are synced on at least q voters, and its location says which.
//!
//! Bounds: a buffer is [`BUFFER_BYTES`] of body, or one stripe where that is more, and its parity. A stage holds three
//! of them at most: one filling, and for each drive one waiting and one being written. A read holds two at most: one
//! being sent and the next. Memory does not grow with the body.
//!
//! What is not here: collecting what a crash left behind; such files name an earlier epoch.

mod read;
mod stage;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use store::{EngineError, Location};
use tokio::runtime::Handle;

use crate::digest::crc64;
use crate::lane;
use crate::location::{Place, ShardId};
use crate::member::Member;
use crate::quorum::Geometry;
use crate::set::Set;

pub(crate) use read::read;
pub(crate) use stage::{ShardStage, shard_header};

/// Bytes of a block: 64 KiB.
const BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of a block's checksum, which stands before it.
pub(crate) const CRC_BYTES: usize = 8;

/// Bytes of a body that are written or read at a time: 1 MiB.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Bytes of a shard file's header.
const HEADER_BYTES: usize = 128;

/// Bodies that are being read, and which of them are to be removed when that ends.
#[derive(Default)]
pub(crate) struct Pins {
    pinned: Mutex<HashMap<ShardId, Pinned>>,
}

#[derive(Default)]
struct Pinned {
    readers: usize,
    reclaimed: bool,
}

impl Pins {
    /// Whether a body is being read.
    pub(crate) fn is_pinned(&self, id: ShardId) -> bool {
        self.pinned.lock().contains_key(&id)
    }
}

/// Keeps a body's files while it lives.
pub(crate) struct Pin {
    set: Arc<Set>,
    pins: Arc<Pins>,
    id: ShardId,
}

impl Pin {
    pub(crate) fn new(set: Arc<Set>, pins: Arc<Pins>, id: ShardId) -> Pin {
        pins.pinned.lock().entry(id).or_default().readers += 1;
        Pin { set, pins, id }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let reclaimed = {
            let mut pinned = self.pins.pinned.lock();
            let Some(entry) = pinned.get_mut(&self.id) else {
                return;
            };
            entry.readers -= 1;
            let reclaimed = entry.reclaimed;
            if entry.readers == 0 { pinned.remove(&self.id).is_some_and(|_| reclaimed) } else { false }
        };
        if reclaimed {
            remove_aside(&self.set, self.id);
        }
    }
}

/// Removes a body's files, now or when the last reader is gone.
pub(crate) async fn reclaim(set: &Arc<Set>, pins: &Pins, location: &Location) -> Result<(), EngineError> {
    let place = Place::from_location(location).ok_or_else(|| no_such(location))?;
    set.bodies.forget(place.id);
    if let Some(pinned) = pins.pinned.lock().get_mut(&place.id) {
        pinned.reclaimed = true;
        return Ok(());
    }
    remove(set, place.id).await;
    Ok(())
}

/// Removes a body's files from all drives at once.
async fn remove(set: &Arc<Set>, id: ShardId) {
    let removals = set.written().map(|member| async move {
        let removed = lane::write(set, member.position, move |member| member.drive()?.remove_shard(id)).await;
        tell_removal(member, id, removed);
    });
    join_all(removals).await;
}

/// Removes a body's files where that may wait: a dropped stream must not hold its runtime up. A thread that has none,
/// as the healer's, waits.
fn remove_aside(set: &Arc<Set>, id: ShardId) {
    if let Ok(runtime) = Handle::try_current() {
        let set = Arc::clone(set);
        runtime.spawn(async move { remove(&set, id).await });
        return;
    }
    for member in set.written() {
        tell_removal(member, id, member.drive().and_then(|drive| drive.remove_shard(id)));
    }
}

fn tell_removal(member: &Member, id: ShardId, removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(drive = %member.path, shard = %id.to_name(), %error, "A shard was not removed and stays as garbage.");
    }
}

fn no_such(location: &Location) -> EngineError {
    EngineError::NoSuchLocation { location: location.clone() }
}

/// Stripes of a body.
pub(crate) fn stripes(place: &Place) -> u64 {
    place.size_bytes.div_ceil((place.geometry.data * BLOCK_BYTES) as u64)
}

/// Length of the blocks of a stripe.
pub(crate) fn block_bytes(place: &Place, stripe: u64) -> usize {
    let whole = (place.geometry.data * BLOCK_BYTES) as u64;
    let stripe_bytes = (place.size_bytes - stripe * whole).min(whole);
    usize::try_from(stripe_bytes).expect("a stripe fits memory").div_ceil(place.geometry.data)
}

/// Where the block of a stripe begins in a shard, with its checksum.
pub(crate) fn block_offset(stripe: u64) -> u64 {
    HEADER_BYTES as u64 + stripe * (CRC_BYTES + BLOCK_BYTES) as u64
}

/// Size of a shard file.
pub(crate) fn shard_bytes(place: &Place) -> u64 {
    match stripes(place).checked_sub(1) {
        Some(last) => block_offset(last) + (CRC_BYTES + block_bytes(place, last)) as u64,
        None => HEADER_BYTES as u64,
    }
}

pub(crate) fn block_crc(id: ShardId, column: usize, number: u64, block: &[u8]) -> u64 {
    crc64(&[
        &id.to_bytes(),
        &[u8::try_from(column).expect("at most 16 columns")],
        &number.to_le_bytes(),
        block,
    ])
}

fn stripes_per_buffer(geometry: Geometry) -> usize {
    (BUFFER_BYTES / (geometry.data * BLOCK_BYTES)).max(1)
}
