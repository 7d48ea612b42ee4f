//! Who exists and what they may do, as a value that is asked and never waited for.
//!
//! A request is authenticated against the [`Directory`] and authorized by [`evaluate`], which returns
//! a [`Permit`]. Operations take a permit, and nothing but `evaluate` makes one, so an operation
//! that nobody authorized does not compile.
//!
//! Today there is one identity: root, whose keys come from the environment. It may do everything, and
//! a caller without credentials nothing. Users, groups, policies and temporary credentials take their
//! place beside it, behind the same two calls.
//!
//! What is not here: signatures (`s3`), and where identities are stored.

mod directory;
mod evaluate;
mod secret;

pub use directory::{ACCESS_KEY_CHARS_MIN, CredentialError, Directory, Identity, SECRET_KEY_CHARS_MIN};
pub use evaluate::{Caller, Denied, Permit, Resource, evaluate};
pub use secret::Secret;
