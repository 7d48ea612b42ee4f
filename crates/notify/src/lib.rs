//! From a change to an acknowledged delivery: rules, record forms, relays, targets.
//!
//! [`Notifier`] is the one thing others hold. It is the store's [`Recorder`](tidings_store::Recorder): asked
//! which targets a change is for while its batch is built, and woken when the batch is durable. Each target
//! has a relay of its own, a task that reads the change log after the target's cursor, renders records,
//! delivers them, and moves the cursor when the target has acknowledged. A sick target slows no other and no
//! request.

mod absent;
pub mod arn;
pub mod backoff;
pub mod bounds;
mod certificates;
pub mod control;
pub mod dead;
mod delivery;
#[cfg(feature = "dial")]
mod dial;
pub mod event;
pub mod filter;
pub mod format;
mod health;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "link")]
mod link;
pub mod listen;
mod matching;
pub mod notifier;
pub mod pattern;
#[cfg(feature = "pem")]
mod pem;
#[cfg(feature = "post")]
mod post;
pub mod record;
mod recorder;
mod relay;
pub mod resync;
pub mod retries;
pub mod rule;
mod rules_of_now;
mod running;
pub mod target;
mod targets;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(feature = "tls")]
mod tls;
pub mod topic;
mod topic_rule;
mod window;

pub use arn::Arn;
pub use control::{ControlError, ReplayBy, ReplayFrom, Replayed};
pub use dead::Resent;
pub use event::{Event, render_events};
pub use listen::{ListenFilter, Listener};
pub use notifier::{Notifier, ServerIdentity};
pub use pattern::KeyPattern;
pub use record::{Form, Rendered};
pub use resync::{Resync, Resynced};
pub use rule::{Configuration, RawConfiguration, RawRule, Rule, RuleError};
pub use target::{
    Delivery, KeyKind, KeySpec, Outcome, TARGETS, Target, TargetId, TargetKind, TargetReport, TargetSettings,
    Totals, render_keys, target_kind,
};
