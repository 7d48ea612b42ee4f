//! Reading an object's body: the inline bytes, or its staged bodies one after the other.
//!
//! A stream opens the next staged body when the one before has ended. An engine may have moved a body
//! since the object was looked up; while the key still has the very object that was asked for, its new
//! places are read. When it was replaced, the bytes are gone.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};

use crate::change::Sequence;
use crate::engine::{ByteStream, Engine, EngineError, KeyRange, Location, PartitionId};
use crate::error::Error;
use crate::object::Object;
use crate::schema;
use crate::store::Store;

/// How often the place of a moved body is asked for again.
const PLACE_TRIES_MAX: u32 = 3;

impl Store {
    /// Streams a range (bytes, end exclusive, within the object) of an object's body.
    ///
    /// # Errors
    ///
    /// `NoSuchKey` when the object was replaced and its bytes are gone, and what the engine says. Both may
    /// also end the stream of an object of several parts.
    pub async fn read(&self, object: &Object, range: Range<u64>) -> Result<ByteStream, Error> {
        let (pieces, inline) = pieces(object, range);
        let source = Source {
            engine: Arc::clone(&self.engine),
            partition: object.partition,
            record_key: schema::object_key(&object.bucket, &object.key),
            sequence: object.sequence,
        };
        let mut pieces = pieces.into_iter();
        // The first piece is opened now, so that an object that is gone is an error and no empty stream.
        let current = match pieces.next() {
            Some(first) => source.open(&first).await.map_err(|error| match error {
                EngineError::NoSuchLocation { .. } => {
                    Error::NoSuchKey { bucket: object.bucket.clone(), key: object.key.clone() }
                }
                error => Error::Engine(error),
            })?,
            None => Box::pin(stream::empty()),
        };
        let inline = Some(inline).filter(|inline| !inline.is_empty());
        let reading = Reading { source, current, pieces, inline };
        Ok(Box::pin(stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        })))
    }
}

impl Object {
    /// The bytes of a range, as for [`Store::read`], when all of them came with the object: nothing is to be read.
    pub fn inline(&self, range: Range<u64>) -> Option<Bytes> {
        let (staged, inline) = pieces(self, range);
        staged.is_empty().then_some(inline)
    }
}

/// A body being read: the piece that is open, those that come after it, the inline bytes at the end.
struct Reading {
    source: Source,
    current: ByteStream,
    pieces: std::vec::IntoIter<Piece>,
    inline: Option<Bytes>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            if let Some(bytes) = self.current.try_next().await? {
                return Ok(Some(bytes));
            }
            match self.pieces.next() {
                Some(piece) => self.current = self.source.open(&piece).await?,
                None => {
                    // A stream that has ended is not asked again after the inline bytes.
                    self.current = Box::pin(stream::empty());
                    return Ok(self.inline.take());
                }
            }
        }
    }
}

/// Part of a staged body.
struct Piece {
    /// Which of the object's locations.
    index: usize,
    location: Location,
    range: Range<u64>,
}

/// The pieces of the staged bodies that a range of the object covers, and what it covers of the inline
/// bytes behind them.
fn pieces(object: &Object, range: Range<u64>) -> (Vec<Piece>, Bytes) {
    let mut pieces = Vec::new();
    let mut begin = 0u64;
    for (index, (location, size_bytes)) in object.body.staged.iter().enumerate() {
        let end = begin + size_bytes;
        let covered = range.start.max(begin)..range.end.min(end);
        if !covered.is_empty() {
            let range = covered.start - begin..covered.end - begin;
            pieces.push(Piece { index, location: location.clone(), range });
        }
        begin = end;
    }
    let inline = &object.body.inline;
    let place =
        |at: u64| usize::try_from(at.saturating_sub(begin)).map_or(inline.len(), |at| at.min(inline.len()));
    let (start, end) = (place(range.start), place(range.end));
    (pieces, inline.slice(start..end.max(start)))
}

/// Where to ask again for a body that has moved.
struct Source {
    engine: Arc<dyn Engine>,
    partition: PartitionId,
    record_key: Bytes,
    sequence: Sequence,
}

impl Source {
    /// Opens a piece; `NoSuchLocation` when the object is no longer the current one of its key.
    async fn open(&self, piece: &Piece) -> Result<ByteStream, EngineError> {
        let mut location = piece.location.clone();
        let mut tries = 1;
        loop {
            match self.engine.read(&location, piece.range.clone()).await {
                Err(EngineError::NoSuchLocation { .. }) if tries < PLACE_TRIES_MAX => {}
                opened => return opened,
            }
            tries += 1;
            location = match self.current_location(piece.index).await? {
                Some(current) => current,
                None => return Err(EngineError::NoSuchLocation { location }),
            };
        }
    }

    async fn current_location(&self, index: usize) -> Result<Option<Location>, EngineError> {
        let range = KeyRange::only(&self.record_key);
        let entry = self.engine.scan(self.partition, range, 1).await?.pop().map(|(_, entry)| entry);
        let same = entry.filter(|entry| entry.sequence == self.sequence);
        Ok(same.and_then(|entry| entry.locations.into_iter().nth(index)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use crate::engine::EngineError;
    use crate::error::Error;
    use crate::testing::fixture::{Fixture, key};

    fn body(size_bytes: usize) -> Vec<u8> {
        (0..size_bytes).map(|at| (at / 7 % 251) as u8).collect()
    }

    #[tokio::test]
    async fn any_range_of_an_inline_and_of_a_staged_body_is_read() {
        let fixture = Fixture::new().await;
        for size_bytes in [10, 200_000] {
            let body = body(size_bytes);
            let object = fixture.put("rose.jpg", &body).await;
            assert_eq!(fixture.object("rose.jpg").await.unwrap().body, object.body);
            for (start, end) in [(0, size_bytes), (0, 1), (3, 7), (size_bytes - 1, size_bytes), (4, 4)] {
                let read = fixture.range(&object, start as u64..end as u64).await;
                assert_eq!(read, body[start..end], "{start}..{end} of {size_bytes}");
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_was_moved_is_found_at_its_new_place() {
        let fixture = Fixture::new().await;
        let object = fixture.put("rose.jpg", &body(200_000)).await;
        fixture.engine.move_bodies();
        assert_eq!(fixture.body(&object).await, body(200_000));
    }

    #[tokio::test]
    async fn a_body_that_was_replaced_is_gone_but_for_who_reads_it_already() {
        let fixture = Fixture::new().await;
        let object = fixture.put("rose.jpg", &body(200_000)).await;
        let open = fixture.store.read(&object, 0..200_000).await.unwrap();
        fixture.put("rose.jpg", &body(300_000)).await;

        let refused = fixture.store.read(&object, 0..200_000).await.err();
        let gone = Error::NoSuchKey { bucket: fixture.album.clone(), key: key("rose.jpg") };
        assert_eq!(refused, Some(gone));
        let chunks: Vec<_> = open.try_collect().await.unwrap();
        assert_eq!(chunks.concat(), body(200_000));
    }

    #[tokio::test]
    async fn a_replaced_object_of_several_parts_ends_its_stream_with_an_error() {
        let fixture = Fixture::new().await;
        let object = crate::complete::tests::complete(&fixture, "film", &[5 << 20, 5 << 20, 10]).await;
        let mut open = fixture.store.read(&object, 0..object.size_bytes).await.unwrap();
        assert!(open.try_next().await.unwrap().is_some());
        fixture.put("film", b"other").await;
        let mut read_bytes = 0;
        let error = loop {
            match open.try_next().await {
                Ok(Some(bytes)) => read_bytes += bytes.len(),
                Ok(None) => panic!("the stream ended after {read_bytes} bytes as if it were whole"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, EngineError::NoSuchLocation { .. }), "{error}");
        assert!(read_bytes < 5 << 20);
        assert_eq!(open.try_next().await, Ok(None));
    }
}
