//! The bytes of a body on their way in: small ones gathered, larger ones staged.

use bytes::Bytes;

use crate::engine::{Location, Stage};
use crate::error::Error;
use crate::store::Store;

/// Bodies up to this many bytes live in the journal beside their metadata: 128 KiB.
pub const INLINE_BYTES_MAX: usize = 128 * 1024;

/// A body being received. Dropping it abandons what was staged.
pub struct ContentWriter {
    _stage: Option<Box<dyn Stage>>,
}

/// A received body that no commit names yet.
#[derive(Debug)]
pub struct Content {
    pub(crate) size_bytes: u64,
    pub(crate) inline: Bytes,
    pub(crate) location: Option<Location>,
}

/// Where an object's bytes are, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) inline: Bytes,
    pub(crate) staged: Vec<(Location, u64)>,
}

impl Store {
    /// Opens a place for a body. `size_bytes` is what the client announced, if it did.
    pub async fn receive(&self, bucket: &crate::names::BucketName, size_bytes: Option<u64>) -> Result<ContentWriter, Error> {
        todo!()
    }
}

impl ContentWriter {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// What the engine refuses (quorum, space).
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        todo!()
    }

    /// Ends the body; what was staged is durable on return.
    ///
    /// # Errors
    ///
    /// What the engine refuses (quorum, space).
    pub async fn finish(self) -> Result<Content, Error> {
        todo!()
    }
}
