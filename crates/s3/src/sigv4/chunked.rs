//! `aws-chunked` bodies: the framing around the data, and the signatures inside the framing.
//!
//! ```text
//! signed             size;chunk-signature=hex CRLF data CRLF … 0;chunk-signature=hex CRLF CRLF
//! signed, trailer    … 0;chunk-signature=hex CRLF name:value CRLF x-amz-trailer-signature:hex CRLF CRLF
//! unsigned, trailer  size CRLF data CRLF … 0 CRLF name:value CRLF CRLF
//! ```
//!
//! Each chunk's signature covers the one before it, and the first covers the signature of the
//! request. The decoder hands data on as it comes, before the signature of its chunk is complete,
//! so a chunk may be of any size; nothing it handed on may become visible until
//! [`ChunkDecoder::finish`] has returned without an error.
//!
//! # Invariants
//!
//! 1. The data handed on is never longer than the decoded length announced.
//! 2. `finish` succeeds only after the chunk of length 0, its signature, and the trailer when one was
//!    announced. The blank line at the very end may be missing, since some clients leave it out.
//! 3. The outcome does not depend on how the body was split into reads.
//!
//! What is not here: comparing the trailer's checksum with the data (`digest`).

use bytes::{Buf as _, Bytes};
use sha2::{Digest as _, Sha256};

use super::{ALGORITHM, ChunkMode, EMPTY_SHA256, SigningKey, parse_signature};
use crate::checksum::{Checksum, ChecksumAlgorithm};
use crate::error::{ErrorCode, Refusal};
use crate::headers::Headers;

/// Longest line before a chunk, in bytes, its CRLF left out.
pub const CHUNK_HEADER_BYTES_MAX: usize = 4 * 1024;

/// Longest trailer, in bytes: one checksum and one signature take less than 200.
pub const TRAILER_BYTES_MAX: usize = 4 * 1024;

/// Most digits of a chunk's length; sixteen hexadecimal digits fill 64 bits.
const SIZE_DIGITS_MAX: usize = 16;

/// Signs or checks the chunks of one body, each over the signature before it.
#[derive(Debug, Clone)]
pub struct ChunkChain {
    key: SigningKey,
    /// Date and scope, as they stand in every string to sign.
    context: String,
    previous: [u8; 32],
}

impl ChunkChain {
    pub(super) fn new(key: SigningKey, amz_date: &str, scope: &str, seed: [u8; 32]) -> ChunkChain {
        ChunkChain { key, context: format!("{amz_date}\n{scope}"), previous: seed }
    }

    /// Signs a chunk whose data has this SHA-256 and moves the chain on.
    pub fn sign_chunk(&mut self, data_sha256: [u8; 32]) -> [u8; 32] {
        self.previous = self.key.sign(self.chunk_string(data_sha256).as_bytes());
        self.previous
    }

    /// Signs a trailer, given as canonical lines that each end with a line feed.
    pub fn sign_trailer(&self, lines: &str) -> [u8; 32] {
        self.key.sign(self.trailer_string(lines).as_bytes())
    }

    fn check_chunk(&mut self, data_sha256: [u8; 32], signature: [u8; 32]) -> Result<(), Refusal> {
        if !self.key.verify(self.chunk_string(data_sha256).as_bytes(), &signature) {
            return Err(ErrorCode::SignatureDoesNotMatch.into());
        }
        self.previous = signature;
        Ok(())
    }

    fn check_trailer(&self, lines: &str, signature: &[u8; 32]) -> Result<(), Refusal> {
        if !self.key.verify(self.trailer_string(lines).as_bytes(), signature) {
            return Err(ErrorCode::SignatureDoesNotMatch.into());
        }
        Ok(())
    }

    fn chunk_string(&self, data_sha256: [u8; 32]) -> String {
        let (context, previous, data) = (&self.context, hex::encode(self.previous), hex::encode(data_sha256));
        format!("{ALGORITHM}-PAYLOAD\n{context}\n{previous}\n{EMPTY_SHA256}\n{data}")
    }

    fn trailer_string(&self, lines: &str) -> String {
        let (context, previous) = (&self.context, hex::encode(self.previous));
        format!("{ALGORITHM}-TRAILER\n{context}\n{previous}\n{}", hex::encode(Sha256::digest(lines)))
    }
}

/// Which of the three forms a body has, with what is needed to check it.
#[derive(Debug)]
pub enum ChunkFraming {
    /// Signed chunks; with a trailer when one is announced.
    Signed {
        /// Begun with the signature of the request.
        chain: ChunkChain,
        /// The checksum the trailer will hold; `None` for the form without a trailer.
        trailer: Option<ChecksumAlgorithm>,
    },
    /// Unsigned chunks and a trailer.
    Unsigned {
        /// The checksum the trailer will hold.
        trailer: ChecksumAlgorithm,
    },
}

/// The checksum that the header `x-amz-trailer` announces.
///
/// # Errors
///
/// `MalformedTrailerError` without the header; `InvalidRequest` when it names anything but one
/// supported checksum header.
pub fn announced_trailer(headers: &dyn Headers) -> Result<ChecksumAlgorithm, Refusal> {
    let announced = headers.text("x-amz-trailer").ok_or(ErrorCode::MalformedTrailerError)?;
    ChecksumAlgorithm::from_header(announced).ok_or_else(|| {
        let message = "The value specified in the x-amz-trailer header is not supported.";
        Refusal::with(ErrorCode::InvalidRequest, message)
    })
}

/// Takes the framing off one body.
#[derive(Debug)]
pub struct ChunkDecoder {
    chain: Option<ChunkChain>,
    announced: Option<ChecksumAlgorithm>,
    decoded_length: u64,
    decoded: u64,
    state: State,
    /// The line that is being read.
    line: Vec<u8>,
    hash: Sha256,
    signature: [u8; 32],
    trailer: Trailer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the line that holds a chunk's length.
    Size,
    /// In the data of a chunk, with this many bytes to come.
    Data(u64),
    /// At the line end after a chunk's data.
    DataEnd,
    /// In the lines after the chunk of length 0.
    Trailer,
    /// After the blank line.
    End,
}

#[derive(Debug, Default)]
struct Trailer {
    /// All lines read, for the bound.
    bytes: usize,
    /// What the signature covers: name, colon, value, line feed.
    canonical: String,
    checksum: Option<Checksum>,
    is_verified: bool,
}

impl ChunkDecoder {
    /// A decoder for a body of `decoded_length` bytes of data (`x-amz-decoded-content-length`).
    pub fn new(framing: ChunkFraming, decoded_length: u64) -> ChunkDecoder {
        let (chain, announced) = match framing {
            ChunkFraming::Signed { chain, trailer } => (Some(chain), trailer),
            ChunkFraming::Unsigned { trailer } => (None, Some(trailer)),
        };
        ChunkDecoder {
            chain,
            announced,
            decoded_length,
            decoded: 0,
            state: State::Size,
            line: Vec::with_capacity(96),
            hash: Sha256::new(),
            signature: [0; 32],
            trailer: Trailer::default(),
        }
    }

    /// Takes framing from the front of `input` and returns the next piece of data, a slice of it.
    ///
    /// `None` means that `input` is used up and more of the body is needed, or that the body is
    /// complete. Call it again with the rest of `input` after each piece.
    ///
    /// # Errors
    ///
    /// `BadRequest` when the framing is broken; `SignatureDoesNotMatch` for a chunk or a trailer that
    /// is not what was signed; `ExcessData` when there is more data than announced or anything after
    /// the end; `IncompleteBody` when the last chunk comes before all data; `MalformedTrailerError`
    /// and `BadDigest` for the trailer.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Refusal> {
        while !input.is_empty() {
            match self.state {
                State::Data(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let data = input.split_to(length);
                    self.take_data(&data, left);
                    return Ok(Some(data));
                }
                State::End => return Err(ErrorCode::ExcessData.into()),
                State::Size | State::DataEnd | State::Trailer => {
                    if self.fill_line(input)? {
                        let line = std::mem::take(&mut self.line);
                        self.take_line(&line)?;
                        self.line = line;
                        self.line.clear();
                    }
                }
            }
        }
        Ok(None)
    }

    /// Ends the body and returns the checksum of its trailer, when one was announced.
    ///
    /// # Errors
    ///
    /// `IncompleteBody` when the body ends before the chunk of length 0 or inside a line;
    /// `MalformedTrailerError` when the announced trailer or its signature is missing.
    pub fn finish(self) -> Result<Option<Checksum>, Refusal> {
        let at_line_start = self.line.is_empty();
        match self.state {
            State::End => Ok(self.trailer.checksum),
            // The blank line is missing, and everything that counts was there.
            State::Trailer if at_line_start => {
                self.check_trailer_complete()?;
                Ok(self.trailer.checksum)
            }
            _ => Err(ErrorCode::IncompleteBody.into()),
        }
    }

    fn take_data(&mut self, data: &[u8], left: u64) {
        if self.chain.is_some() {
            self.hash.update(data);
        }
        let length = data.len() as u64;
        self.decoded += length;
        self.state = if left == length { State::DataEnd } else { State::Data(left - length) };
    }

    /// Moves bytes into the line; true when it is complete, its CRLF taken off.
    ///
    /// In the trailer a line feed alone does not end a line: minio-go sends one before the CRLF.
    fn fill_line(&mut self, input: &mut Bytes) -> Result<bool, Refusal> {
        let content_bytes_max = match self.state {
            State::DataEnd => 0,
            _ => CHUNK_HEADER_BYTES_MAX,
        };
        while !input.is_empty() {
            // The CRLF itself takes two more.
            let room = content_bytes_max + 2 - self.line.len();
            let window = &input[..input.len().min(room)];
            let end = window.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(window.len(), |at| at + 1);
            self.line.extend_from_slice(&window[..taken]);
            input.advance(taken);
            if self.line.ends_with(b"\r\n") {
                self.line.truncate(self.line.len() - 2);
                return Ok(true);
            }
            let ends_wrongly = end.is_some() && self.state != State::Trailer;
            if ends_wrongly || self.line.len() == content_bytes_max + 2 {
                return Err(malformed());
            }
        }
        Ok(false)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        match self.state {
            State::Size => self.take_size(line),
            State::DataEnd if line.is_empty() => self.end_chunk(),
            State::Trailer => self.take_trailer_line(line),
            State::DataEnd | State::Data(_) | State::End => Err(malformed()),
        }
    }

    fn take_size(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let line = std::str::from_utf8(line).map_err(|_| malformed())?;
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let is_size = (1..=SIZE_DIGITS_MAX).contains(&size.len())
            && size.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_size {
            return Err(malformed());
        }
        let size = u64::from_str_radix(size, 16).map_err(|_| malformed())?;
        if self.chain.is_some() {
            let signature = extension.strip_prefix("chunk-signature=").and_then(parse_signature);
            self.signature = signature.ok_or_else(malformed)?;
        }
        if size > self.decoded_length - self.decoded {
            return Err(ErrorCode::ExcessData.into());
        }
        if size > 0 {
            self.state = State::Data(size);
            return Ok(());
        }
        if self.decoded < self.decoded_length {
            return Err(ErrorCode::IncompleteBody.into());
        }
        self.end_chunk()?;
        self.state = State::Trailer;
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), Refusal> {
        if let Some(chain) = &mut self.chain {
            chain.check_chunk(self.hash.finalize_reset().into(), self.signature)?;
        }
        self.state = State::Size;
        Ok(())
    }

    fn take_trailer_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.is_empty() {
            self.check_trailer_complete()?;
            self.state = State::End;
            return Ok(());
        }
        self.trailer.bytes += line.len();
        if self.trailer.bytes > TRAILER_BYTES_MAX {
            return Err(malformed_trailer());
        }
        let line = std::str::from_utf8(line).map_err(|_| malformed_trailer())?;
        let (name, value) = line.split_once(':').ok_or_else(malformed_trailer)?;
        // Blanks only: trimming more would let a damaged line end pass for one.
        let blanks = [' ', '\t'];
        let (name, value) = (name.trim_matches(blanks).to_ascii_lowercase(), value.trim_matches(blanks));
        if name == "x-amz-trailer-signature" {
            return self.take_trailer_signature(value);
        }
        let value = value.strip_suffix('\n').unwrap_or(value).trim_matches(blanks);
        if value.contains('\n') {
            return Err(malformed_trailer());
        }
        let announced = self.announced.filter(|algorithm| name == algorithm.header());
        let Some(algorithm) =
            announced.filter(|_| self.trailer.checksum.is_none() && !self.trailer.is_verified)
        else {
            return Err(malformed_trailer());
        };
        self.trailer.canonical = format!("{name}:{value}\n");
        self.trailer.checksum = Some(Checksum::parse(algorithm, value).ok_or(ErrorCode::BadDigest)?);
        Ok(())
    }

    fn take_trailer_signature(&mut self, value: &str) -> Result<(), Refusal> {
        let Some(chain) =
            self.chain.as_ref().filter(|_| self.trailer.checksum.is_some() && !self.trailer.is_verified)
        else {
            return Err(malformed_trailer());
        };
        let signature = parse_signature(value).ok_or(ErrorCode::SignatureDoesNotMatch)?;
        chain.check_trailer(&self.trailer.canonical, &signature)?;
        self.trailer.is_verified = true;
        Ok(())
    }

    fn check_trailer_complete(&self) -> Result<(), Refusal> {
        let checksum_missing = self.announced.is_some() && self.trailer.checksum.is_none();
        let signature_missing = self.announced.is_some() && self.chain.is_some() && !self.trailer.is_verified;
        if checksum_missing || signature_missing { Err(malformed_trailer()) } else { Ok(()) }
    }
}

fn malformed() -> Refusal {
    Refusal::with(ErrorCode::BadRequest, "The chunked encoding of the body is malformed.")
}

fn malformed_trailer() -> Refusal {
    Refusal::new(ErrorCode::MalformedTrailerError)
}

/// Puts the framing around a body: the client's side.
#[derive(Debug)]
pub struct ChunkEncoder {
    mode: ChunkMode,
    chain: Option<ChunkChain>,
}

impl ChunkEncoder {
    /// An encoder for a mode; signed modes need the chain that signing the request returned.
    ///
    /// # Panics
    ///
    /// When a signed mode has no chain: the caller's own mistake.
    pub fn new(mode: ChunkMode, chain: Option<ChunkChain>) -> ChunkEncoder {
        assert!(mode == ChunkMode::UnsignedTrailer || chain.is_some(), "signed chunks need a chain");
        ChunkEncoder { mode, chain: chain.filter(|_| mode != ChunkMode::UnsignedTrailer) }
    }

    /// One chunk with its framing; `data` must not be empty, since the empty chunk ends the body.
    ///
    /// # Panics
    ///
    /// When `data` is empty: the caller's own mistake.
    pub fn chunk(&mut self, data: &[u8]) -> Vec<u8> {
        assert!(!data.is_empty(), "the empty chunk ends the body");
        let mut out = self.chunk_header(data).into_bytes();
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The end of the body, with the checksum in modes that have a trailer.
    ///
    /// # Panics
    ///
    /// When a mode with a trailer has no checksum: the caller's own mistake.
    pub fn finish(mut self, checksum: Option<&Checksum>) -> Vec<u8> {
        let mut out = self.chunk_header(&[]);
        if self.mode.has_trailer() {
            let checksum = checksum.expect("a mode with a trailer has a checksum");
            let line = format!("{}:{checksum}", checksum.algorithm().header());
            out.push_str(&format!("{line}\r\n"));
            if let Some(chain) = &self.chain {
                let signature = hex::encode(chain.sign_trailer(&format!("{line}\n")));
                out.push_str(&format!("x-amz-trailer-signature:{signature}\r\n"));
            }
        }
        out.push_str("\r\n");
        out.into_bytes()
    }

    fn chunk_header(&mut self, data: &[u8]) -> String {
        match &mut self.chain {
            Some(chain) => {
                let signature = hex::encode(chain.sign_chunk(Sha256::digest(data).into()));
                format!("{:x};chunk-signature={signature}\r\n", data.len())
            }
            None => format!("{:x}\r\n", data.len()),
        }
    }
}

#[cfg(test)]
mod tests;
