//! The bytes of a body on their way in: small ones gathered, larger ones staged.
//!
//! A received body never leaks. A [`ContentWriter`] that is dropped abandons its stage; a [`Content`] that
//! is dropped unused leaves its location with the store, which gives it back beside its next commit. Once a
//! batch that names the location has gone out, the location is the batch's: only a definite refusal returns
//! it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::batch::Batch;
use crate::engine::{Committed, Engine, EngineError, Location, PartitionId, Stage, StageHint};
use crate::error::Error;
use crate::names::BucketName;
use crate::store::Store;

/// Bodies up to this many bytes live in the journal beside their metadata: 128 KiB.
pub const INLINE_BYTES_MAX: usize = 128 * 1024;

/// A body being received. Dropping it abandons what was staged.
pub struct ContentWriter {
    engine: Arc<dyn Engine>,
    /// That of the bucket the body is for.
    partition: PartitionId,
    abandoned: Arc<Abandoned>,
    announced_bytes: Option<u64>,
    size_bytes: u64,
    gathered: BytesMut,
    stage: Option<Box<dyn Stage>>,
}

/// A received body that no commit names yet.
#[derive(Debug)]
pub struct Content {
    pub(crate) size_bytes: u64,
    pub(crate) inline: Bytes,
    pub(crate) staged: Option<Staged>,
}

/// Where an object's bytes are: the staged bodies with their sizes in order, then the inline bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) staged: Vec<(Location, u64)>,
    pub(crate) inline: Bytes,
}

impl Store {
    /// Opens a place for a body. `size_bytes` is what the client announced, if it did.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`.
    pub async fn receive(
        &self,
        bucket: &BucketName,
        size_bytes: Option<u64>,
    ) -> Result<ContentWriter, Error> {
        let partition = self.bucket(bucket)?.partition;
        self.reclaim_abandoned().await;
        let fits_inline =
            size_bytes.and_then(|size| usize::try_from(size).ok()).filter(|&size| size <= INLINE_BYTES_MAX);
        Ok(ContentWriter {
            engine: Arc::clone(&self.engine),
            partition,
            abandoned: Arc::clone(&self.abandoned),
            announced_bytes: size_bytes,
            size_bytes: 0,
            gathered: BytesMut::with_capacity(fits_inline.unwrap_or(0)),
            stage: None,
        })
    }

    /// Gives back a received body that will not be used, at once. Dropping it does so too, with the next
    /// commit.
    pub async fn discard(&self, content: Content) {
        drop(content);
        self.reclaim_abandoned().await;
    }

    /// Commits a batch that names a received body. From here on the body is the batch's: only a definite
    /// refusal returns it to who holds the content.
    pub(crate) async fn commit_naming(
        &self,
        content: &mut Content,
        partition: PartitionId,
        batch: Batch,
    ) -> Result<Committed, EngineError> {
        if let Some(staged) = &mut content.staged {
            staged.is_ours = false;
        }
        let answer = self.commit(partition, batch).await;
        // An engine that ended may have taken the batch before it did.
        let may_be_named =
            matches!(&answer, Ok(_) | Err(EngineError::OutcomeUnknown { .. } | EngineError::Closed));
        if let Some(staged) = &mut content.staged {
            staged.is_ours = !may_be_named;
        }
        answer
    }
}

impl ContentWriter {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// What the engine refuses (quorum, space).
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.size_bytes += bytes.len() as u64;
        let expected_bytes = self.size_bytes.max(self.announced_bytes.unwrap_or(0));
        if self.stage.is_none() && expected_bytes <= INLINE_BYTES_MAX as u64 {
            self.gathered.extend_from_slice(&bytes);
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered).freeze();
        let stage = match &mut self.stage {
            Some(stage) => stage,
            None => {
                let hint = StageHint { size_bytes: self.announced_bytes };
                self.stage.insert(self.engine.stage(self.partition, hint).await?)
            }
        };
        for bytes in [gathered, bytes] {
            if !bytes.is_empty() {
                stage.write(bytes).await?;
            }
        }
        Ok(())
    }

    /// Ends the body; what was staged is durable on return.
    ///
    /// # Errors
    ///
    /// What the engine refuses (quorum, space).
    pub async fn finish(self) -> Result<Content, Error> {
        let staged = match self.stage {
            None => None,
            Some(stage) => {
                let location = stage.finish().await?;
                Some(Staged { location, is_ours: true, abandoned: self.abandoned })
            }
        };
        Ok(Content { size_bytes: self.size_bytes, inline: self.gathered.freeze(), staged })
    }
}

impl Content {
    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Bytes that are their own place: nothing is staged for them.
    pub(crate) fn of_inline(inline: Bytes, size_bytes: u64) -> Content {
        Content { size_bytes, inline, staged: None }
    }

    /// Where the staged body is, for the batch that names it.
    pub(crate) fn locations(&self) -> Vec<Location> {
        self.staged.iter().map(|staged| staged.location.clone()).collect()
    }
}

/// A staged body. Dropped while it is ours, it is abandoned.
#[derive(Debug)]
pub(crate) struct Staged {
    location: Location,
    /// Whether no batch that names it has gone out.
    is_ours: bool,
    abandoned: Arc<Abandoned>,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.is_ours {
            self.abandoned.0.lock().push(self.location.clone());
        }
    }
}

/// Staged bodies that were dropped unused and wait to be given back.
///
/// Every body received and every commit empties it, so it never holds more than the bodies that were in
/// flight at once.
#[derive(Debug, Default)]
pub(crate) struct Abandoned(Mutex<Vec<Location>>);

impl Abandoned {
    pub(crate) fn take(&self) -> Vec<Location> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::INLINE_BYTES_MAX;
    use crate::engine::EngineError;
    use crate::error::Error;
    use crate::testing::fixture::Fixture;

    #[tokio::test]
    async fn a_body_is_inline_up_to_its_bound_whatever_was_announced() {
        let fixture = Fixture::new().await;
        for (size_bytes, staged) in [(0, 0), (INLINE_BYTES_MAX, 0), (INLINE_BYTES_MAX + 1, 1)] {
            let mut writer = fixture.store.receive(&fixture.album, None).await.unwrap();
            for chunk in vec![7; size_bytes].chunks(1000) {
                writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            let content = writer.finish().await.unwrap();
            assert_eq!(content.size_bytes(), size_bytes as u64);
            assert_eq!(fixture.engine.body_count(), staged, "{size_bytes} bytes");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_used_is_given_back() {
        let fixture = Fixture::new().await;
        drop(fixture.content(&[1; 200_000]).await);
        assert_eq!(fixture.engine.body_count(), 1);
        fixture.put("rose.jpg", b"ab").await;
        assert_eq!(fixture.engine.body_count(), 0);

        let content = fixture.content(&[1; 200_000]).await;
        fixture.store.discard(content).await;
        assert_eq!(fixture.engine.body_count(), 0);
    }

    #[tokio::test]
    async fn a_refused_put_gives_its_body_back_and_one_of_unknown_outcome_does_not() {
        let fixture = Fixture::new().await;
        let unknown = EngineError::OutcomeUnknown { reason: "short of quorum".to_owned() };
        for (error, kept) in [(EngineError::Full, 0), (unknown, 1), (EngineError::Closed, 2)] {
            let put = fixture.to_put("rose.jpg", &[1; 200_000]).await;
            fixture.engine.fail_commits([error.clone()]);
            assert_eq!(fixture.store.put_object(put).await.unwrap_err(), Error::Engine(error));
            assert_eq!(fixture.engine.body_count(), kept);
        }
    }

    #[tokio::test]
    async fn a_body_that_is_replaced_or_deleted_is_given_back() {
        let fixture = Fixture::new().await;
        fixture.put("rose.jpg", &[1; 200_000]).await;
        fixture.put("rose.jpg", &[2; 300_000]).await;
        assert_eq!(fixture.engine.body_count(), 1);
        fixture.delete("rose.jpg").await.unwrap();
        assert_eq!(fixture.engine.body_count(), 0);
    }
}
