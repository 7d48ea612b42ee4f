//! The façade: buckets, and what every other operation needs to build its batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::bucket::Bucket;
use crate::change::Origin;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::error::Error;
use crate::names::BucketName;
use crate::recorder::Recorder;

/// What buckets, objects and uploads mean, over one engine. One per server; shared by reference.
pub struct Store {
    engine: Arc<dyn Engine>,
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
    buckets: RwLock<BTreeMap<BucketName, Arc<Bucket>>>,
}

impl Store {
    /// Opens the store: every bucket and its rules are loaded on return.
    pub async fn open(engine: Arc<dyn Engine>, recorder: Arc<dyn Recorder>, clock: Arc<dyn Clock>) -> Result<Store, Error> {
        todo!()
    }

    /// All buckets, sorted by name.
    pub fn buckets(&self) -> Vec<Arc<Bucket>> {
        todo!()
    }

    /// A bucket.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`.
    pub fn bucket(&self, name: &BucketName) -> Result<Arc<Bucket>, Error> {
        todo!()
    }

    /// Creates a bucket.
    ///
    /// # Errors
    ///
    /// `BucketExists`.
    pub async fn create_bucket(&self, name: BucketName, origin: Origin) -> Result<Arc<Bucket>, Error> {
        todo!()
    }

    /// Removes an empty bucket, its documents and its open uploads.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, `BucketNotEmpty`.
    pub async fn delete_bucket(&self, name: &BucketName, origin: Origin) -> Result<(), Error> {
        todo!()
    }

    /// Sets or removes a configuration document of a bucket. In force for everything sequenced after it.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`.
    pub async fn set_document(&self, name: &BucketName, document: &str, text: Option<Bytes>) -> Result<(), Error> {
        todo!()
    }

    /// The recorder.
    pub fn recorder(&self) -> &dyn Recorder {
        &*self.recorder
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}
