//! What an engine's drives report of themselves, for operators: admin info, health, metrics.
//!
//! Values only: the engine that has drives fills them in, surfaces show them.

use crate::heal::HealReport;

/// How one drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveState {
    /// Written and read.
    Online,
    /// Written, and not read before it holds everything. It counts for no quorum.
    Healing,
    /// Absent, or out after a failed write or a missed frame; never read as current.
    Offline,
}

/// One drive of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveReport {
    /// The directory as given at start, made absolute.
    pub path: String,
    /// The drive's identity, hexadecimal with dashes; empty while it is absent.
    pub id: String,
    /// Whether it takes part.
    pub state: DriveState,
    /// Why it is not online, a clause for the operator; empty when it is.
    pub reason: String,
    /// Size of its file system in bytes.
    pub total_bytes: u64,
    /// Bytes free on its file system.
    pub free_bytes: u64,
    /// Inodes used and free on its file system.
    pub inodes: (u64, u64),
    /// Whether a completed write survives power loss as far as the probe can tell.
    pub durable: bool,
}

/// One drive set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetReport {
    /// Identity of the set, a UUID. That of a server's first set is the deployment id that records and admin
    /// info tell.
    pub id: String,
    /// Its drives, in set order.
    pub drives: Vec<DriveReport>,
    /// Data shards k.
    pub data: usize,
    /// Parity shards m.
    pub parity: usize,
    /// Drives a write waits for: q.
    pub write_quorum: usize,
    /// Drives a read needs: k.
    pub read_quorum: usize,
    /// Whether writes are taken at the moment.
    pub writable: bool,
    /// Whether everything can be read at the moment.
    pub readable: bool,
    /// What is short of its parts, and what is done about it.
    pub heal: HealReport,
}
