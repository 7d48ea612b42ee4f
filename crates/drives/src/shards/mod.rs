//! Shards: large bodies, staged on all drives before a commit names them.
//!
//! A body is cut into stripes of k blocks of 64 KiB; m parity blocks are computed; block c of every stripe
//! goes to column c, which lies on one drive: in a file of its own, or with a medium body in a volume. Every block
//! carries a CRC64 seeded with the body's id, its column and its number: an intact block in the wrong place does not
//! pass. A body is finished when file and folder are synced on at least q voters, and its location says which.
//!
//! Bounds: a buffer is [`BUFFER_BYTES`] of body, or one stripe where that is more, and its parity; or all of a body of
//! at most [`MEDIUM_BYTES_MAX`] whose size was announced. A stage holds three of them at most, of such a body one: one
//! filling, and for each drive one waiting and one being written. A read holds two at most: one being sent and the
//! next. Memory does not grow with the body.
//!
//! What is not here: collecting what a crash left behind; such files name an earlier epoch.

mod extent;
mod read;
mod stage;
mod volumes;

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
use crate::volumes::Range;
use volumes::punch;

pub(crate) use extent::{ExtentWriter, open_shard};
pub(crate) use read::read;
pub(crate) use stage::{ShardStage, shard_header};

/// Bytes of a block: 64 KiB.
const BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of a block's checksum, which stands before it.
pub(crate) const CRC_BYTES: usize = 8;

/// Bytes of a body that are written or read at a time: 1 MiB.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Bytes of the largest body that is one buffer, if its size was announced, so that it lies in a volume: 4 MiB.
const MEDIUM_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a shard file's header.
const HEADER_BYTES: usize = 128;

/// Bodies that are being read, and which of them are to be removed when that ends.
#[derive(Default)]
pub(crate) struct Pins {
    pinned: Mutex<HashMap<ShardId, Pinned>>,
}

struct Pinned {
    readers: usize,
    reclaimed: bool,
    /// Where it lies.
    place: Place,
}

impl Pins {
    /// Whether a body is being read.
    pub(crate) fn is_pinned(&self, id: ShardId) -> bool {
        self.pinned.lock().contains_key(&id)
    }

    /// Does something with the places of all bodies that are being read, while nobody begins or ends to read one.
    pub(crate) fn with_pinned<T>(&self, run: impl FnOnce(&mut dyn Iterator<Item = Place>) -> T) -> T {
        run(&mut self.pinned.lock().values().map(|pinned| pinned.place))
    }
}

/// Keeps a body's shards while it lives.
pub(crate) struct Pin {
    set: Arc<Set>,
    pins: Arc<Pins>,
    place: Place,
}

impl Pin {
    pub(crate) fn new(set: Arc<Set>, pins: Arc<Pins>, place: &Place) -> Pin {
        let unread = Pinned { readers: 0, reclaimed: false, place: *place };
        pins.pinned.lock().entry(place.id).or_insert(unread).readers += 1;
        Pin { set, pins, place: *place }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let removal = {
            let mut pinned = self.pins.pinned.lock();
            let Some(entry) = pinned.get_mut(&self.place.id) else {
                return;
            };
            entry.readers -= 1;
            if entry.readers > 0 {
                return;
            }
            let reclaimed = entry.reclaimed;
            pinned.remove(&self.place.id);
            reclaimed.then(|| Removal::begin(&self.set, &self.place))
        };
        if let Some(removal) = removal {
            removal.run_aside(&self.set);
        }
    }
}

/// Removes a body's shards, now or when the last reader is gone.
pub(crate) async fn reclaim(set: &Arc<Set>, pins: &Pins, location: &Location) -> Result<(), EngineError> {
    let place = Place::from_location(location).ok_or_else(|| no_such(location))?;
    set.bodies.forget(place.id);
    let removal = {
        let mut pinned = pins.pinned.lock();
        if let Some(entry) = pinned.get_mut(&place.id) {
            entry.reclaimed = true;
            return Ok(());
        }
        Removal::begin(set, &place)
    };
    removal.run(set).await;
    Ok(())
}

/// Removes the shards of a body that nobody reads.
async fn remove(set: &Arc<Set>, place: &Place) {
    Removal::begin(set, place).run(set).await;
}

/// What is left to be done for a body that is removed.
#[derive(Clone, Copy)]
enum Removal {
    /// Its files are there.
    Files(ShardId),
    /// Its extent is free; more may be than there should be.
    Extent,
}

impl Removal {
    /// Takes an extent back at once: with the pins locked, so that nobody finds it its body's and then another's.
    fn begin(set: &Set, place: &Place) -> Removal {
        if place.extent.is_none() {
            return Removal::Files(place.id);
        }
        set.volumes.give_back(place);
        Removal::Extent
    }

    /// On all drives at once.
    async fn run(self, set: &Arc<Set>) {
        match self {
            Removal::Files(id) => Errand::Remove(id).run_on_all(set).await,
            Removal::Extent => {
                while let Some(range) = set.volumes.surplus(set.is_short()) {
                    Errand::Punch(range).run_on_all(set).await;
                }
            }
        }
    }

    /// Where that may wait: a dropped stream must not hold its runtime up. A thread that has none, as the healer's,
    /// waits.
    fn run_aside(self, set: &Arc<Set>) {
        if let Ok(runtime) = Handle::try_current() {
            let set = Arc::clone(set);
            runtime.spawn(async move { self.run(&set).await });
        } else if let Removal::Files(id) = self {
            Errand::Remove(id).run_on_each(set);
        }
        // What is free beyond measure is found by the next removal.
    }
}

/// What every drive is asked for.
#[derive(Clone, Copy)]
enum Errand {
    /// To remove the file of a shard.
    Remove(ShardId),
    /// To give free space in a volume back to its file system.
    Punch(Range),
}

impl Errand {
    fn run(self, member: &Member) -> io::Result<()> {
        match self {
            Errand::Remove(id) => member.drive()?.remove_shard(id),
            Errand::Punch(range) => punch(member, range),
        }
    }

    async fn run_on_all(self, set: &Arc<Set>) {
        let runs = set.written().map(|member| async move {
            let done = lane::write(set, member.position, move |member| self.run(member)).await;
            self.tell(member, done);
        });
        join_all(runs).await;
        self.end(set);
    }

    /// One drive after the other; blocks.
    fn run_on_each(self, set: &Set) {
        for member in set.written() {
            self.tell(member, set.patiently(member.position, move |member| self.run(member)));
        }
        self.end(set);
    }

    fn end(self, set: &Set) {
        if let Errand::Punch(range) = self {
            set.volumes.end_punching(range);
        }
    }

    fn tell(self, member: &Member, done: io::Result<()>) {
        let Err(error) = done else {
            return;
        };
        let drive = &member.path;
        match self {
            Errand::Remove(id) => {
                tracing::warn!(%drive, shard = %id.to_name(), %error, "A shard was not removed and stays as garbage.");
            }
            Errand::Punch(_) => {
                tracing::warn!(%drive, %error, "Free space in a volume was not given back to the file system.");
            }
        }
    }
}

/// Gives what is free in the volumes beyond measure back to the file system, and all of it while space is short;
/// blocks.
pub(crate) fn give_space_back(set: &Set) {
    while let Some(range) = set.volumes.surplus(set.is_short()) {
        Errand::Punch(range).run_on_each(set);
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

/// Stripes of a buffer of a body, whose size may have been announced.
fn stripes_per_buffer(geometry: Geometry, announced: usize) -> usize {
    let buffer_bytes = if announced <= MEDIUM_BYTES_MAX { MEDIUM_BYTES_MAX } else { BUFFER_BYTES };
    (buffer_bytes / (geometry.data * BLOCK_BYTES)).max(1)
}
