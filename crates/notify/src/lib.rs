//! From a change to an acknowledged delivery: rules, record forms, relays, targets.
//!
//! [`Notifier`] is the one thing others hold. It is the store's [`Recorder`]: asked which targets a change
//! is for while its batch is built, and woken when the batch is durable. Each target has a relay of its own,
//! a task that reads the change log after the target's cursor, renders records, delivers them, and moves the
//! cursor when the target has acknowledged. A sick target slows no other and no request.

pub mod notifier;
pub mod target;

pub use notifier::{Notifier, ServerIdentity};
pub use target::{KeyKind, KeySpec, TargetId, TargetKind, TargetReport, TargetSettings, TARGETS};
