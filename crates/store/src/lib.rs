//! What buckets, versions, uploads and changes *mean*, written once over one engine trait.
//!
//! [`Store`] is the façade every surface calls. It knows nothing of HTTP, XML, drives or brokers: it turns
//! a call into one [`Batch`] for one partition and lets the [`Engine`] make it durable together with the
//! [`Change`] that tells of it.
//!
//! # Invariants
//!
//! 1. A commit names one partition; nothing here needs two partitions to change together.
//! 2. The change is part of the commit: an object without its change, or a change without its object,
//!    cannot exist.
//! 3. Staged bytes are nothing until a commit names them.
//! 4. Preconditions are checked inside the commit. Whoever reads first and writes after passes what it
//!    read as a precondition and begins again when that no longer holds.
//! 5. A target is a cursor over the change log. Which targets a change is for is decided while its batch is
//!    built, under the bucket's rules as of the assigned sequence (the bucket record is a precondition).

pub mod batch;
pub mod bucket;
pub mod change;
pub mod clock;
pub mod complete;
pub mod content;
pub mod copies;
pub mod current;
pub mod cursor;
pub mod dead;
pub mod delete;
pub mod engine;
pub mod error;
pub mod gap;
pub mod heal;
pub mod listing;
pub mod multipart;
pub mod names;
pub mod object;
pub mod pause;
pub mod precondition;
pub mod read;
pub mod recorder;
pub mod schema;
pub mod set;
pub mod setting;
pub mod store;
pub mod summary;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verification;
mod walk;
mod write;

pub use batch::{Batch, Mutation, Precondition, Put};
pub use bucket::Bucket;
pub use change::{Change, ChangeKind, ObjectSummary, Origin, Sequence};
pub use clock::{Clock, SystemClock};
pub use content::{Content, ContentWriter};
pub use copies::{CopyState, Heal, HealTask, Healed, HealedObject, Objects};
pub use current::CurrentPage;
pub use dead::DeadLetter;
pub use engine::{
    ByteStream, Committed, Engine, EngineError, Entry, Future, KeyRange, Location, Partition, PartitionId,
    Stage, StageHint,
};
pub use error::Error;
pub use gap::Gap;
pub use heal::{HealReport, Share};
pub use names::{BucketName, ObjectKey, UploadId, VersionId};
pub use object::{ETag, Object, ObjectHeaders};
pub use precondition::{EntityMatch, WriteCondition};
pub use recorder::{Recipients, Recorder, Silent};
pub use set::{DriveReport, DriveState, SetReport};
pub use store::Store;
pub use verification::{Absent, Finding, Progress, Seen, Verification, Verify};
