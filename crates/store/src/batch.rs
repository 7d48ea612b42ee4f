//! A batch: preconditions, mutations and the changes that tell of them, committed together or not at all.

use bytes::Bytes;

use crate::change::{Change, Sequence};
use crate::engine::Location;

/// What one commit does to one partition.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// All must hold; the first that does not is named in the refusal.
    pub preconditions: Vec<Precondition>,
    /// Applied in order.
    pub mutations: Vec<Mutation>,
    /// What happened, in order. The engine assigns `Change::sequence`; the one given is ignored.
    pub changes: Vec<Change>,
    /// Set on a batch that only moves cursors: it may wait a moment to ride on another batch.
    pub rides: bool,
    /// Set on a batch that moves cursors: every target has acknowledged what changes up to this sequence had for
    /// it. The engine need not keep them longer than it keeps changes that nobody waits for.
    pub released: Option<Sequence>,
}

/// A condition judged inside the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The key has a value.
    Exists(Bytes),
    /// The key has no value.
    Absent(Bytes),
    /// The key's value is the one written by the batch of this sequence.
    Unchanged(Bytes, Sequence),
    /// No key begins with this prefix.
    Empty(Bytes),
}

/// One mutation of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Writes a key.
    Put(Put),
    /// Removes a key; removing an absent one is no error.
    Delete(Bytes),
    /// Removes every key that begins with the prefix.
    DeletePrefix(Bytes),
}

/// A key and everything it owns from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The key, in the store's schema.
    pub key: Bytes,
    /// The small part that listings need; kept on every drive.
    pub value: Bytes,
    /// The large part, returned by `get` alone: headers and an inline body. Erasure-coded.
    pub payload: Bytes,
    /// Staged bodies the key owns from now on, in order. A location has exactly one owner.
    pub locations: Vec<Location>,
}
