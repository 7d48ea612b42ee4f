//! The body of a request: its framing taken off, its length kept, its digests compared at the end.
//!
//! A body is read by one operation, piece by piece, as fast as that operation takes it: nothing is read
//! ahead. What is wrong with a body is found at its end at the latest, so nothing of it may become visible
//! before [`Body::next`] has returned `None` and its digests were verified.
//!
//! # Bounds
//!
//! One frame of the connection at a time is held here. A client that sends nothing for
//! [`STALL_SECONDS_MAX`] is refused. Of a body that nobody wanted [`DRAIN_BYTES_MAX`] are read, so that the
//! client sees the answer and not a reset; what is longer ends the connection.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::time::timeout;

use s3::checksum::{Checksum, ChecksumAlgorithm};
use s3::digest::{BodyDigest, Expected};
use s3::sigv4::{ChunkChain, ChunkDecoder, ChunkFraming, ChunkMode, Payload, announced_trailer};
use s3::{ErrorCode, Headers as _, Refusal};
use tidings_s3 as s3;

use crate::RequestBody;
use crate::context::Fields;
use crate::error::Failure;

/// How long a client may send nothing, in seconds.
pub(crate) const STALL_SECONDS_MAX: u64 = 60;

/// How much of an unwanted body is read before the answer, in bytes: 256 KiB.
const DRAIN_BYTES_MAX: usize = 256 * 1024;

/// How long that may take, in milliseconds.
const DRAIN_MS_MAX: u64 = 500;

/// The body of one request.
pub(crate) struct Body {
    /// Behind a lock only so that a request can be shared between threads; it is reached through `&mut`.
    source: Mutex<RequestBody>,
    payload: Payload,
    decoder: Option<Box<ChunkDecoder>>,
    trailer_algorithm: Option<ChecksumAlgorithm>,
    trailer: Option<Checksum>,
    /// Framed bytes that were read and not yet decoded.
    framed: Bytes,
    content_length: Option<u64>,
    decoded_length: Option<u64>,
    received: u64,
    is_announced: bool,
    awaits_continue: bool,
    is_ended: bool,
    is_cut: bool,
}

impl Body {
    /// Takes a body as the listener hands it over.
    pub(crate) fn new(headers: &HeaderMap, source: RequestBody) -> Body {
        let fields = Fields(headers);
        let number = |name| fields.text(name).and_then(|text| text.parse().ok());
        Body {
            payload: Payload::Unsigned,
            decoder: None,
            trailer_algorithm: None,
            trailer: None,
            framed: Bytes::new(),
            content_length: number(CONTENT_LENGTH.as_str()),
            decoded_length: None,
            received: 0,
            is_announced: headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING),
            awaits_continue: headers.contains_key(EXPECT),
            is_ended: source.is_end_stream(),
            is_cut: false,
            source: Mutex::new(source),
        }
    }

    /// Says how the body is framed, as the request announced it; `chain` signs chunks.
    ///
    /// # Errors
    ///
    /// `MissingContentLength` for chunks without `x-amz-decoded-content-length`; those of
    /// [`announced_trailer`]; `AccessDenied` for signed chunks of an unsigned request.
    pub(crate) fn frame(
        &mut self,
        headers: &HeaderMap,
        payload: Payload,
        chain: Option<ChunkChain>,
    ) -> Result<(), Refusal> {
        self.payload = payload;
        let Payload::Chunked(mode) = payload else {
            return Ok(());
        };
        let fields = Fields(headers);
        let decoded = fields.text("x-amz-decoded-content-length").and_then(|text| text.parse().ok());
        let decoded_length = decoded.ok_or(ErrorCode::MissingContentLength)?;
        let trailer = if mode.has_trailer() { Some(announced_trailer(&fields)?) } else { None };
        let framing = match (mode, chain, trailer) {
            (ChunkMode::UnsignedTrailer, _, Some(trailer)) => ChunkFraming::Unsigned { trailer },
            (ChunkMode::Signed | ChunkMode::SignedTrailer, Some(chain), trailer) => {
                ChunkFraming::Signed { chain, trailer }
            }
            _ => return Err(ErrorCode::AccessDenied.into()),
        };
        self.decoder = Some(Box::new(ChunkDecoder::new(framing, decoded_length)));
        self.trailer_algorithm = trailer;
        self.decoded_length = Some(decoded_length);
        Ok(())
    }

    /// The length of the data in bytes, when the client told it.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        self.decoded_length.or(self.content_length)
    }

    /// Whether a body was announced at all. A PUT of HTTP/1 without a length and without chunks has none,
    /// and may have lost it.
    pub(crate) fn is_announced(&self, version: Version) -> bool {
        self.is_announced || version >= Version::HTTP_2
    }

    /// What the request promises of the body; a trailer's checksum is known at its end.
    ///
    /// # Errors
    ///
    /// `InvalidDigest`, `BadDigest`, `InvalidRequest` for headers that are malformed or contradict.
    pub(crate) fn expected(&self, headers: &HeaderMap) -> Result<Expected, Refusal> {
        let expected = Expected::from_headers(&Fields(headers), self.payload)?;
        if expected.checksum.is_some() && self.trailer_algorithm.is_some() {
            let message =
                "Expecting a single x-amz-checksum- header. Multiple checksum types are not allowed.";
            return Err(Refusal::with(ErrorCode::InvalidRequest, message));
        }
        Ok(expected)
    }

    /// The algorithm of the checksum that the trailer will hold.
    pub(crate) fn trailer_algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.trailer_algorithm
    }

    /// How many bytes were read, framing included.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The checksum of the trailer, once the body has ended.
    pub(crate) fn trailer(&self) -> Option<Checksum> {
        self.trailer
    }

    /// The next piece of data; `None` when the body has ended and was complete.
    ///
    /// # Errors
    ///
    /// `IncompleteBody` when it ends too early, `RequestTimeout` when the client stalls, and what the
    /// chunks are refused for.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let next = self.decode_next().await;
        self.is_cut |= next.is_err();
        next
    }

    async fn decode_next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(decoder) = &mut self.decoder
                && !self.framed.is_empty()
                && let Some(data) = decoder.decode(&mut self.framed)?
            {
                return Ok(Some(data));
            }
            match self.read().await? {
                Some(bytes) if self.decoder.is_none() => return Ok(Some(bytes)),
                Some(bytes) => self.framed = bytes,
                None => {
                    if let Some(decoder) = self.decoder.take() {
                        self.trailer = decoder.finish()?;
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// The next bytes as they came over the wire.
    async fn read(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if self.is_ended {
                let is_short = self.content_length.is_some_and(|length| self.received < length);
                return if is_short { Err(ErrorCode::IncompleteBody.into()) } else { Ok(None) };
            }
            let frame = self.source.get_mut().frame();
            let Ok(frame) = timeout(Duration::from_secs(STALL_SECONDS_MAX), frame).await else {
                return Err(ErrorCode::RequestTimeout.into());
            };
            match frame {
                None => self.is_ended = true,
                // The connection broke: who is still there to read it learns what was missing.
                Some(Err(_)) => return Err(ErrorCode::IncompleteBody.into()),
                Some(Ok(frame)) => {
                    // Trailers of HTTP itself say nothing here.
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        self.received += data.len() as u64;
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body of a request whose body is a document, its digests compared.
    ///
    /// # Errors
    ///
    /// `EntityTooLarge` beyond `bytes_max`; those of [`Body::next`] and of [`Expected::verify`].
    pub(crate) async fn document(
        &mut self,
        headers: &HeaderMap,
        bytes_max: usize,
    ) -> Result<Document, Failure> {
        let too_large =
            || Refusal::new(ErrorCode::EntityTooLarge).element("MaxSizeAllowed", bytes_max.to_string());
        if self.size_bytes().is_some_and(|size| size > bytes_max as u64) {
            return Err(too_large().into());
        }
        let mut expected = self.expected(headers)?;
        let mut digest = BodyDigest::for_expected(&expected, self.trailer_algorithm);
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            if bytes.len() + piece.len() > bytes_max {
                return Err(too_large().into());
            }
            digest.update(&piece);
            bytes.extend_from_slice(&piece);
        }
        expected.checksum = expected.checksum.or(self.trailer);
        expected.verify(&digest.finish())?;
        Ok(Document { is_checked: expected.has_body_check(), bytes: bytes.into() })
    }

    /// Reads what is left of a body that nobody wanted, within the bounds of this module.
    ///
    /// A client that waits for `100 Continue` is not told to go on.
    pub(crate) async fn drain(&mut self) {
        let mut left = DRAIN_BYTES_MAX;
        let drained = async {
            while !self.is_ended && !self.is_cut && !self.awaits_continue && left > 0 {
                match self.source.get_mut().frame().await {
                    None => self.is_ended = true,
                    Some(Err(_)) => self.is_cut = true,
                    Some(Ok(frame)) => left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len)),
                }
                self.is_ended |= self.source.get_mut().is_end_stream();
            }
        };
        // What did not come in time ends the connection: `must_close` says so.
        let _ = timeout(Duration::from_millis(DRAIN_MS_MAX), drained).await;
    }

    /// Whether the connection cannot serve another request, since the body was not read to its end.
    pub(crate) fn must_close(&self) -> bool {
        !self.is_ended
    }
}

/// The body of a request whose body is a document.
pub(crate) struct Document {
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// Whether the request sent an MD5 or a checksum of it.
    pub(crate) is_checked: bool,
}
