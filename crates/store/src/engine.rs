//! The engine: the one trait under the store, eight methods.
//!
//! Everything durable goes through here. An engine needs no runtime of its own: its methods return boxed
//! `Send` futures. What the methods promise is tested by `testing::contract`, which every engine runs.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;

use crate::batch::Batch;
use crate::change::{Change, Sequence};

/// A boxed future, so that [`Engine`] is object-safe.
pub type Future<'a, T> = Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;

/// Bytes of a body, verified before they are yielded. After an error nothing more comes.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + Send>>;

/// A unit of atomicity: the drive set's log in the local engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(pub u32);

/// A partition: the room it has at the moment, by which the store places new buckets, and how far its change log goes
/// back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Which.
    pub id: PartitionId,
    /// Bytes that can still be written, parity included; 0 while it takes no writes.
    pub free_bytes: u64,
    /// Bytes there are, parity included.
    pub total_bytes: u64,
    /// Every change after it is kept. Of those up to it only some are: what a target waited for.
    pub kept_after: Sequence,
}

/// Where staged bytes lie. Opaque above the engine; at most [`Location::BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Location(pub Vec<u8>);

impl Location {
    /// Largest encoded location an engine may return, in bytes: it is stored once per part of an object.
    pub const BYTES_MAX: usize = 48;
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Location(")?;
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// Where a store keeps everything. See the module header of `testing::contract` for the suite.
///
/// Every method that takes a partition answers [`EngineError::NoSuchPartition`] for one that is not there.
pub trait Engine: Send + Sync + 'static {
    /// Makes a batch durable, all or nothing, and gives its sequences.
    ///
    /// Preconditions are judged against everything committed before it, batches still in flight included; a
    /// refusal that rests on a batch in flight is answered only once that batch is durable. On return the
    /// batch is durable on the write quorum and visible to every later `get`, `scan` and `changes`.
    ///
    /// # Errors
    ///
    /// [`EngineError::Precondition`], [`EngineError::WriteQuorum`], [`EngineError::Full`],
    /// [`EngineError::TooLarge`], [`EngineError::NoSuchLocation`] for a body that was staged in another
    /// partition (nothing changed in all of these); [`EngineError::OutcomeUnknown`] (it may or may not have
    /// taken effect).
    fn commit(&self, partition: PartitionId, batch: Batch) -> Future<'_, Result<Committed, EngineError>>;

    /// The current value of a key with its payload, or `None`.
    fn get<'a>(
        &'a self,
        partition: PartitionId,
        key: &'a [u8],
    ) -> Future<'a, Result<Option<Entry>, EngineError>>;

    /// Up to `limit` entries of `range` in byte order of their keys, at one snapshot: every batch is wholly
    /// in or wholly out of a page. Payloads are not read: `Entry::payload` is empty.
    fn scan(
        &self,
        partition: PartitionId,
        range: KeyRange,
        limit: usize,
    ) -> Future<'_, Result<Vec<(Bytes, Entry)>, EngineError>>;

    /// Up to `limit` durable changes with a sequence greater than `after`, in order.
    ///
    /// An answer shorter than `limit` means that nothing more is durable at the moment. They are shared, because all
    /// who follow the log read the same ones.
    fn changes(
        &self,
        partition: PartitionId,
        after: Sequence,
        limit: usize,
    ) -> Future<'_, Result<Vec<Arc<Change>>, EngineError>>;

    /// Opens a place for a large body in a partition. What is written is invisible until a commit to that
    /// partition names its location.
    fn stage(
        &self,
        partition: PartitionId,
        hint: StageHint,
    ) -> Future<'_, Result<Box<dyn Stage>, EngineError>>;

    /// Streams `range` (bytes, end exclusive) of a staged and named body, verified and rebuilt where needed.
    ///
    /// The body stays readable until the stream is dropped, whatever `reclaim` is asked meanwhile.
    fn read<'a>(
        &'a self,
        location: &'a Location,
        range: Range<u64>,
    ) -> Future<'a, Result<ByteStream, EngineError>>;

    /// Gives back bytes that no commit names any more, once no open read or stage pins them.
    ///
    /// The caller has seen the commit that unnamed them succeed. Reclaiming twice is harmless.
    fn reclaim(&self, location: Location) -> Future<'_, Result<(), EngineError>>;

    /// The partitions of this engine and their room: never none, and the same ones in the same order for as
    /// long as it is open. It may ask drives for their room, so it is not for the path of every request.
    fn partitions(&self) -> Vec<Partition>;
}

/// A large body being written.
///
/// Dropping it before `finish` abandons it.
pub trait Stage: Send {
    /// Appends bytes. Returns when they may be forgotten by the caller, not when they are durable.
    fn write(&mut self, bytes: Bytes) -> Future<'_, Result<(), EngineError>>;

    /// Makes the body durable on the write quorum and gives its location.
    fn finish(self: Box<Self>) -> Future<'static, Result<Location, EngineError>>;
}

/// What is known of a body before it comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageHint {
    /// Size in bytes, if the client told it.
    pub size_bytes: Option<u64>,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The sequence of the batch: that of its last change, or its own when it carries none.
    pub sequence: Sequence,
    /// The sequences of the batch's changes, in their order.
    pub changes: Vec<Sequence>,
    /// Locations that were named before this batch and are no longer: the caller reclaims them.
    pub unnamed: Vec<Location>,
}

/// A key's current value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The sequence of the batch that wrote it. `Precondition::Unchanged` compares it.
    pub sequence: Sequence,
    /// The small part, replicated with the metadata: what a listing needs.
    pub value: Bytes,
    /// The payload given with the put; empty from `scan`.
    pub payload: Bytes,
    /// The staged bodies this entry owns, in order.
    pub locations: Vec<Location>,
}

/// Keys from `start` (inclusive) to `end` (exclusive; `None` = no end).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// First key of the range.
    pub start: Bytes,
    /// First key beyond the range.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        KeyRange { start: Bytes::copy_from_slice(prefix), end: successor(prefix) }
    }

    /// This key alone.
    pub fn only(key: &Bytes) -> KeyRange {
        KeyRange { start: key.clone(), end: Some([key, &b"\0"[..]].concat().into()) }
    }

    /// Whether it is a range of one key, its start.
    pub fn is_one(&self) -> bool {
        let end = self.end.as_deref().and_then(|end| end.strip_suffix(b"\0"));
        end == Some(&self.start[..])
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_deref().is_none_or(|end| key < end)
    }
}

/// The first key that is greater than every key with this prefix; `None` if there is none.
pub fn successor(prefix: &[u8]) -> Option<Bytes> {
    let kept = prefix.iter().rposition(|&byte| byte != 0xff)? + 1;
    let mut end = prefix[..kept].to_vec();
    end[kept - 1] += 1;
    Some(Bytes::from(end))
}

/// Why an engine refused or failed. There is a variant where the store acts differently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Precondition number `index` of the batch did not hold. Nothing changed.
    #[error("precondition {index} does not hold")]
    Precondition {
        /// Position in `Batch::preconditions`.
        index: usize,
    },

    /// Too few drives can be written. Nothing was changed by this call.
    #[error("{answered} drives answered, {needed} are needed to write")]
    WriteQuorum {
        /// Drives that can be written.
        answered: usize,
        /// The write quorum.
        needed: usize,
    },

    /// Too few drives hold readable copies at the moment.
    #[error("{answered} drives answered, {needed} are needed to read")]
    ReadQuorum {
        /// Drives that could be read.
        answered: usize,
        /// Drives that are needed.
        needed: usize,
    },

    /// The batch went out but its fate is not known yet; it may or may not have taken effect.
    #[error("the outcome is not known: {reason}")]
    OutcomeUnknown {
        /// What happened, for the log.
        reason: String,
    },

    /// The key is touched by a batch whose fate is undecided until an absent drive returns.
    #[error("the key is part of a batch that is undecided until an absent drive returns")]
    Undecided,

    /// No space is left.
    #[error("no space is left on the drives")]
    Full,

    /// A batch is larger than the engine can commit at once.
    #[error("the batch has {size_bytes} bytes, at most {limit_bytes} can be committed at once")]
    TooLarge {
        /// Encoded size.
        size_bytes: usize,
        /// The engine's bound.
        limit_bytes: usize,
    },

    /// More copies are damaged than parity can repair. Retrying cannot help.
    #[error("{damaged} of the copies are damaged or missing, parity repairs {parity}")]
    Damaged {
        /// Shards or columns that failed their checksum or are missing.
        damaged: usize,
        /// Parity count.
        parity: usize,
    },

    /// The engine has no such partition.
    #[error("there is no partition {}", partition.0)]
    NoSuchPartition {
        /// The partition asked for.
        partition: PartitionId,
    },

    /// The location is not one this engine, or the partition asked, has.
    #[error("no staged body at {location:?}")]
    NoSuchLocation {
        /// The location asked for.
        location: Location,
    },

    /// The engine was shut down.
    #[error("the engine is shut down")]
    Closed,
}
