//! The S3 protocol as pure functions: signatures, XML, error codes, ranges, checksums, framing.
//!
//! Nothing here reads a socket, a clock or a file, and nothing remembers a request: what a function
//! needs it is given, and what it finds out it returns. The gateway brings the HTTP library and
//! shows its headers through [`Headers`]. One thing has threads, and no runtime:
//! [`digest::Md5Pool`], since MD5 costs more than all else an upload asks for.
//!
//! # Invariants
//!
//! 1. No input makes a function panic or allocate without a bound; each bound is a constant beside
//!    the code that keeps it.
//! 2. A request that breaks the protocol becomes a [`Refusal`], which names the S3 error code the
//!    client is answered with.
//! 3. Secrets are compared in constant time and never printed.
//!
//! What is not here: which operation a request means, who may do it, and what a bucket or an object
//! is.

pub mod address;
pub mod checksum;
pub mod condition;
pub mod copy_source;
pub mod digest;
pub mod error;
pub mod etag;
pub mod headers;
pub mod percent;
pub mod range;
pub mod scheme;
pub mod sigv2;
pub mod sigv4;
pub mod time;
pub mod xml;

pub use error::{ErrorBody, ErrorCode, Refusal};
pub use headers::Headers;
