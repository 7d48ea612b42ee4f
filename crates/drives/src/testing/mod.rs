//! The faulty drive: a drive in memory with every fault a drive can have.
//!
//! Drives of one machine share a [`Power`]. It counts the steps that change something (writes, syncs,
//! renames) and can fail at any one of them: the step under way is torn, every sector of it kept or lost as
//! the seed says, and so is every byte not synced before. [`FaultyDrive::restarted`] gives the drive as it is
//! found when power returns.
//!
//! # What is modelled
//!
//! A sector (512 bytes) is written whole or not at all. A durable write and a replaced file are durable
//! when they returned. Bytes appended and not synced, and names whose folder is not synced, may each be
//! there or not. A removed file may come back.
//!
//! Besides losing power once, a machine can be recorded: a [`Timeline`] knows what every drive was asked and
//! when it answered, and gives every legal state of the drives at every moment.

mod change;
mod drive;
mod file;
mod gate;
mod limited;
mod medium;
mod power;
mod timeline;
mod wrapped;

pub use crate::index::memory::MemoryIndex;
pub use crate::writer::ring_here;
pub use drive::FaultyDrive;
pub use gate::Waiting;
pub use limited::{Written, given_limited};
pub use power::Power;
pub use timeline::{Moment, Timeline};
pub use wrapped::WrappedDrive;
