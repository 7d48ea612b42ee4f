//! An answer of HTTP/1.1 or 1.0 as it arrives: where it ends, and whether its connection can be used again.
//!
//! Nothing here reads. Bytes go in as they came, in pieces of any size; what is behind the end of the answer is left.
//! Interim answers (1xx) are passed over.
//!
//! # Bounds
//!
//! The heads of an answer, of interim ones before it, and the trailers behind it have [`HEAD_BYTES_MAX`] together, a
//! head has [`HEADERS_MAX`] header lines, the line before a chunk [`CHUNK_LINE_BYTES_MAX`]; what is longer is a fault.
//! A body of more than [`ANSWER_BYTES_MAX`] is cut there, and its connection ends with it.
//!
//! Source: RFC 9112, §6.3 for the length, §7.1 for chunks, §9.3 for what persists.

use ::http::StatusCode;
use httparse::{EMPTY_HEADER, Header, Response, Status, parse_chunk_size};

use crate::http::ANSWER_BYTES_MAX;

/// See the module header.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// What was answered, its body cut where it is longer than anybody needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

/// What makes an answer unreadable: a clause.
pub(super) type Fault = &'static str;

/// See the module header.
pub(super) struct Arriving {
    next: Part,
    /// Bytes of heads and trailers so far.
    head_bytes: usize,
    /// Of the answer, when its head is there.
    status: Option<StatusCode>,
    text: Vec<u8>,
    /// Whether another answer can follow on the connection.
    keeps: bool,
    says_close: bool,
    is_1_1: bool,
}

/// What comes next.
#[derive(Clone, Copy)]
enum Part {
    Head,
    /// So many bytes of the body, the last ones.
    Rest(u64),
    ChunkLine,
    /// So many bytes of a chunk.
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// The body, until the connection ends.
    UntilEnd,
    Nothing,
}

impl Arriving {
    /// Nothing came yet.
    pub(super) fn new() -> Arriving {
        Arriving {
            next: Part::Head,
            head_bytes: 0,
            status: None,
            text: Vec::new(),
            keeps: true,
            says_close: false,
            is_1_1: false,
        }
    }

    /// Takes what it can use of what was read. Whether that is all of the answer.
    ///
    /// # Errors
    ///
    /// It is no answer, or breaks a bound.
    pub(super) fn take(&mut self, read: &mut Vec<u8>) -> Result<bool, Fault> {
        let mut rest = &read[..];
        while let Some(next) = self.take_part(&mut rest)? {
            self.next = next;
            if matches!(next, Part::Nothing) {
                break;
            }
        }
        let taken = read.len() - rest.len();
        read.drain(..taken);
        Ok(matches!(self.next, Part::Nothing))
    }

    /// Whether the answers to requests that were sent with its own can follow, as HTTP/1.1 has it.
    pub(super) fn persists(&self) -> bool {
        self.keeps && self.is_1_1
    }

    /// Whether the other side announced, as HTTP/1.1 has it, that it looks at nothing that was sent with its request.
    pub(super) fn closes(&self) -> bool {
        self.says_close && self.is_1_1
    }

    /// The answer, and whether another can follow on its connection, when all of it is there or nothing more will come.
    ///
    /// # Errors
    ///
    /// There should be more.
    pub(super) fn end(self) -> Result<(Answer, bool), Fault> {
        let is_whole = matches!(self.next, Part::Nothing | Part::UntilEnd);
        let status = self.status.filter(|_| is_whole).ok_or("the connection ended before its answer did")?;
        Ok((Answer { status, text: String::from_utf8_lossy(&self.text).into_owned() }, self.keeps))
    }

    /// Takes one part, or as much of it as there is. What comes next; `None` when that takes more bytes.
    fn take_part(&mut self, rest: &mut &[u8]) -> Result<Option<Part>, Fault> {
        match self.next {
            Part::Head => self.take_head(rest),
            Part::Rest(0) | Part::Nothing => Ok(Some(Part::Nothing)),
            Part::Rest(left) => Ok(self.take_body(rest, left, Part::Rest)),
            Part::ChunkLine => take_chunk_line(rest),
            Part::Chunk(0) => Ok(Some(Part::ChunkEnd)),
            Part::Chunk(left) => Ok(self.take_body(rest, left, Part::Chunk)),
            Part::ChunkEnd => take_chunk_end(rest),
            Part::Trailers => self.take_trailer(rest),
            Part::UntilEnd => Ok(self.take_body(rest, u64::MAX, |_| Part::UntilEnd)),
        }
    }

    fn take_head(&mut self, rest: &mut &[u8]) -> Result<Option<Part>, Fault> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut head = Response::new(&mut headers);
        let parsed = head.parse(rest).map_err(|error| match error {
            httparse::Error::TooManyHeaders => "its answer has too many headers",
            _ => "what it answered is no HTTP",
        })?;
        let Status::Complete(length) = parsed else {
            self.check_head(rest.len())?;
            return Ok(None);
        };
        self.check_head(length)?;
        self.head_bytes += length;
        *rest = &rest[length..];
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or("what it answered has no status")?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(Part::Head));
        }
        self.status = Some(status);
        let is_1_1 = head.version == Some(1);
        self.is_1_1 = is_1_1;
        let has = |token| tokens(head.headers, "connection").any(|have| have.eq_ignore_ascii_case(token));
        self.says_close = has("close");
        self.keeps = !self.says_close && (is_1_1 || has("keep-alive"));
        self.body(status, is_1_1, head.headers).map(Some)
    }

    /// How the body after a head is delimited.
    fn body(&mut self, status: StatusCode, is_1_1: bool, headers: &[Header<'_>]) -> Result<Part, Fault> {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked for it: what follows is no HTTP.
            self.keeps = false;
            return Ok(Part::Nothing);
        }
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Part::Nothing);
        }
        let length = content_length(headers)?;
        let Some(coding) = tokens(headers, "transfer-encoding").last() else {
            self.keeps &= length.is_some();
            return Ok(length.map_or(Part::UntilEnd, Part::Rest));
        };
        let is_chunked = coding.eq_ignore_ascii_case("chunked");
        // With a length beside it, or of a server that does not know chunks, it is read but not trusted further.
        self.keeps &= is_chunked && is_1_1 && length.is_none();
        Ok(if is_chunked { Part::ChunkLine } else { Part::UntilEnd })
    }

    /// Takes of a body of which so much is left. What comes next, if what is left then does.
    fn take_body(&mut self, rest: &mut &[u8], left: u64, next: fn(u64) -> Part) -> Option<Part> {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let (body, behind) = rest.split_at(length);
        *rest = behind;
        let room = ANSWER_BYTES_MAX - self.text.len();
        self.text.extend_from_slice(&body[..length.min(room)]);
        if length > room {
            self.keeps = false;
            return Some(Part::Nothing);
        }
        (length > 0).then(|| next(left - length as u64))
    }

    fn take_trailer(&mut self, rest: &mut &[u8]) -> Result<Option<Part>, Fault> {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            self.check_head(rest.len())?;
            return Ok(None);
        };
        self.check_head(end + 1)?;
        self.head_bytes += end + 1;
        let (line, behind) = rest.split_at(end + 1);
        *rest = behind;
        Ok(Some(if matches!(line, b"\r\n" | b"\n") { Part::Nothing } else { Part::Trailers }))
    }

    fn check_head(&self, further: usize) -> Result<(), Fault> {
        let is_short = self.head_bytes + further <= HEAD_BYTES_MAX;
        is_short.then_some(()).ok_or("the head of its answer is too long")
    }
}

fn take_chunk_line(rest: &mut &[u8]) -> Result<Option<Part>, Fault> {
    match parse_chunk_size(rest) {
        Ok(Status::Complete((length, size))) => {
            *rest = &rest[length..];
            Ok(Some(if size == 0 { Part::Trailers } else { Part::Chunk(size) }))
        }
        Ok(Status::Partial) if rest.len() <= CHUNK_LINE_BYTES_MAX => Ok(None),
        Ok(Status::Partial) | Err(_) => Err("a chunk of its answer has no size"),
    }
}

fn take_chunk_end(rest: &mut &[u8]) -> Result<Option<Part>, Fault> {
    let Some((end, behind)) = rest.split_at_checked(2) else {
        return Ok(None);
    };
    *rest = behind;
    if end != b"\r\n" {
        return Err("a chunk of its answer is longer than it says");
    }
    Ok(Some(Part::ChunkLine))
}

/// The elements of a list in all headers of a name, in their order.
fn tokens<'a>(headers: &'a [Header<'a>], name: &str) -> impl Iterator<Item = &'a str> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    let values = named.filter_map(|header| std::str::from_utf8(header.value).ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// The length that was told, as often as it was told.
fn content_length(headers: &[Header<'_>]) -> Result<Option<u64>, Fault> {
    const UNCLEAR: Fault = "the length of its answer is not clear";
    let mut lengths =
        headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length")).peekable();
    if lengths.peek().is_none() {
        return Ok(None);
    }
    let mut told = None;
    for token in tokens(headers, "content-length") {
        let digits = token.bytes().all(|byte| byte.is_ascii_digit()).then_some(token).ok_or(UNCLEAR)?;
        let length = digits.parse().map_err(|_| UNCLEAR)?;
        if told.replace(length).is_some_and(|before| before != length) {
            return Err(UNCLEAR);
        }
    }
    told.ok_or(UNCLEAR).map(Some)
}

#[cfg(test)]
mod tests {
    use super::{ANSWER_BYTES_MAX, Arriving, CHUNK_LINE_BYTES_MAX, Fault, HEAD_BYTES_MAX, HEADERS_MAX};

    /// What was read of pieces: status, body, whether the connection is kept, and how many bytes were left.
    type Heard = Result<(u16, String, bool, usize), Fault>;

    /// Takes pieces until the answer is whole, or the connection ends after them.
    fn heard<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Heard {
        let (mut arriving, mut read) = (Arriving::new(), Vec::new());
        let mut is_whole = false;
        for piece in pieces {
            read.extend_from_slice(piece);
            is_whole = is_whole || arriving.take(&mut read)?;
        }
        let (answer, keeps) = arriving.end()?;
        Ok((answer.status.as_u16(), answer.text, keeps, read.len()))
    }

    fn at_once(answer: &str) -> Heard {
        heard([answer.as_bytes()])
    }

    fn ok(text: &str, keeps: bool) -> Heard {
        Ok((200, text.to_owned(), keeps, 0))
    }

    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const CHUNKS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,Chunked\r\n\r\n\
        1;a=b\r\no\r\n001\r\nk\r\n0\r\nx: y\r\n\r\n";
    const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n\
        HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    const UNTIL_END: &str = "HTTP/1.1 200\r\n\r\nok";

    #[test]
    fn an_answer_is_the_same_wherever_it_is_torn() {
        for (answer, keeps) in [(LENGTH, true), (CHUNKS, true), (INTERIM, true), (UNTIL_END, false)] {
            assert_eq!(at_once(answer), ok("ok", keeps), "{answer}");
            assert_eq!(heard(answer.as_bytes().chunks(1)), ok("ok", keeps), "byte by byte: {answer}");
            for place in 1..answer.len() {
                let (before, after) = answer.as_bytes().split_at(place);
                assert_eq!(heard([before, after]), ok("ok", keeps), "torn at {place}: {answer}");
            }
        }
    }

    #[test]
    fn an_answer_that_ends_too_early_is_none_wherever_that_is() {
        for answer in [LENGTH, CHUNKS, INTERIM] {
            for length in 0..answer.len() {
                assert_eq!(
                    at_once(&answer[..length]),
                    Err("the connection ended before its answer did"),
                    "{length} bytes of {answer}"
                );
            }
        }
        assert!(at_once("HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn what_follows_an_answer_is_left() {
        for answer in [LENGTH, CHUNKS, INTERIM] {
            let more = [answer, "HTTP"].concat();
            assert_eq!(at_once(&more), Ok((200, "ok".to_owned(), true, 4)), "{answer}");
        }
    }

    #[test]
    fn a_connection_persists_where_both_say_so_and_the_end_of_the_answer_is_clear() {
        let answers = [
            ("HTTP/1.1 200 OK\r\nconnection: Upgrade, Close\r\ncontent-length: 2\r\n\r\nok", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", false),
            ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", true),
            (
                "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                false,
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\ncontent-length: 2\r\n\r\nok", true),
        ];
        for (answer, keeps) in answers {
            assert_eq!(at_once(answer), ok("ok", keeps), "{answer}");
        }
    }

    #[test]
    fn answers_without_a_body_end_with_their_head() {
        let answers = [
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, String::new(), true, 0))),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", Ok((304, String::new(), true, 0))),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ok("", true)),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Ok((101, String::new(), false, 0))),
        ];
        for (answer, expected) in answers {
            assert_eq!(at_once(answer), expected, "{answer}");
        }
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        let unclear = "the length of its answer is not clear";
        let answers = [
            ("SSH-2.0-OpenSSH_9.6\r\n", "what it answered is no HTTP"),
            ("HTTP/2.0 200 OK\r\n\r\n", "what it answered is no HTTP"),
            ("HTTP/1.1 099 Low\r\n\r\n", "what it answered has no status"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nok", unclear),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok", unclear),
            ("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok", unclear),
            ("HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n", unclear),
            ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", unclear),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
                "a chunk of its answer has no size",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nok\r\n",
                "a chunk of its answer is longer than it says",
            ),
        ];
        for (answer, fault) in answers {
            assert_eq!(at_once(answer), Err(fault), "{answer}");
        }
    }

    #[test]
    fn what_is_longer_than_its_bound_is_a_fault() {
        let long = "the head of its answer is too long";
        let line = |bytes: usize| format!("x: {}\r\n", "y".repeat(bytes));
        let head = format!("HTTP/1.1 200 OK\r\n{}", line(HEAD_BYTES_MAX));
        assert_eq!(at_once(&head), Err(long));
        assert_eq!(at_once(&format!("{head}\r\n")), Err(long), "a head that is whole");
        let interim = format!("HTTP/1.1 102 Processing\r\n{}\r\n", line(HEAD_BYTES_MAX / 4)).repeat(5);
        assert_eq!(at_once(&interim), Err(long), "interim answers without end");
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", line(1).repeat(HEADERS_MAX + 1));
        assert_eq!(at_once(&many), Err("its answer has too many headers"));
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let trailers = format!("{chunked}0\r\n{}", line(HEAD_BYTES_MAX / 4).repeat(5));
        assert_eq!(at_once(&trailers), Err(long), "trailers without end");
        assert_eq!(at_once(&format!("{chunked}0\r\n{}", "y".repeat(HEAD_BYTES_MAX))), Err(long));
        let chunk = format!("{chunked}1;{}", "y".repeat(CHUNK_LINE_BYTES_MAX));
        assert_eq!(at_once(&chunk), Err("a chunk of its answer has no size"));
    }

    #[test]
    fn a_body_that_is_too_long_is_cut_and_ends_its_connection() {
        let body = "y".repeat(ANSWER_BYTES_MAX);
        let long = format!("{body}z");
        let chunked = |body: &str| {
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
        };
        let sized = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let until_end = |body: &str| format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        for (whole, cut, keeps) in [
            (sized(&body), sized(&long), true),
            (chunked(&body), chunked(&long), true),
            (until_end(&body), until_end(&long), false),
        ] {
            assert_eq!(at_once(&whole), ok(&body, keeps));
            let cut = at_once(&cut).map(|(status, text, keeps, _)| (status, text == body, keeps));
            assert_eq!(cut, Ok((200, true, false)));
        }
    }
}
