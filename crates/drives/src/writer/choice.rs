//! How the journal is written: what operators chose, and what the kernel permits.

#[cfg(any(test, feature = "testing"))]
use std::io::{Write, stderr};

use super::ring::{RestingRing, refusal};
use crate::set::Set;

/// How frames of the journal are written. Decision record 9 compares the two ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// Through io_uring where the kernel has it and permits it, else as with [`Io::Threads`].
    #[default]
    Auto,
    /// As [`Io::Auto`], and an operator who asked for it is warned where it cannot be.
    Uring,
    /// By a thread for each drive.
    Threads,
}

impl Io {
    /// The ring that a set is to be written through, if any. Says in the log what was chosen.
    pub(crate) fn ring(self, set: &Set) -> Option<RestingRing> {
        if self == Io::Threads {
            tracing::info!(set = %set.id, "The journal is written by a thread for each drive.");
            return None;
        }
        match RestingRing::open(set.members.len()) {
            Ok(ring) => {
                tracing::info!(set = %set.id, "The journal is written through io_uring.");
                Some(ring)
            }
            Err(error) => {
                let reason = refusal(&error);
                if self == Io::Uring {
                    tracing::warn!(set = %set.id, reason, "The journal is written by a thread for each drive.");
                } else {
                    tracing::info!(set = %set.id, reason, "The journal is written by a thread for each drive.");
                }
                None
            }
        }
    }
}

/// [`Io::Uring`], for tests of it; where the kernel refuses a ring, says past the harness that they run by threads.
#[cfg(any(test, feature = "testing"))]
pub fn ring_here() -> Io {
    let Err(error) = RestingRing::open(1) else { return Io::Uring };
    // Not by a macro: the harness shows what those print of failing tests alone.
    let line = format!("NOT RUN OVER io_uring, but over threads: {}\n", refusal(&error));
    // The test runs all the same.
    let _ = stderr().write_all(line.as_bytes());
    Io::Threads
}
