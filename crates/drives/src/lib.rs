//! The local engine: keeps everything of a set of drives in one journal, erasure-coded, and survives what
//! drives do.
//!
//! [`LocalEngine`] implements [`store::Engine`]. A commit becomes a frame of the journal on every drive, small
//! bodies as columns in it; large bodies are staged as shards before the commit that names them. The index is
//! a cache of the journal, in memory and on two drives. The bytes on a drive are tabled in `docs/formats.md`.
//!
//! # Invariants
//!
//! 1. A commit is acknowledged when q = k+1 drives (k without parity) hold it, synced.
//! 2. A drive that missed anything is out by a decision of the others, and never read as current.
//! 3. What the drives present do not prove unacknowledged is never cut.

mod assemble;
mod bodies;
mod chain;
mod changes;
pub mod columns;
mod compaction;
pub mod damage;
mod digest;
pub mod directory;
pub mod drive;
mod engine;
mod errand;
mod error;
mod fields;
mod format;
mod frame;
mod heal;
pub mod huge_pages;
mod index;
mod judge;
mod keeper;
mod lane;
mod lineup;
mod live;
pub mod location;
mod looked;
mod manifest;
mod member;
mod offline;
mod open;
mod payload;
pub mod quorum;
mod reader;
mod rebuild;
mod record;
mod recovery;
mod replay;
mod room;
mod sealed;
mod segment;
mod sequencer;
mod set;
pub mod sets;
mod shards;
mod slice;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod volumes;
mod watch;
mod windows;
mod writer;

pub use assemble::{Given, Reopen};
pub use engine::{LocalEngine, Options};
pub use error::OpenError;
pub use frame::Address;
pub use heal::Healing;
pub use index::Retention;
pub use index::ordered::{OrderedIndex, Row, Rows, Snapshot};
pub use lane::Patience;
pub use offline::{verify_directories, verify_drives};
pub use open::Tuning;
pub use quorum::Geometry;
pub use sets::Sets;
pub use writer::Io;
