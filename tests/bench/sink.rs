//! A webhook that answers at once or after a delay, and judges the order of what it gets.
//!
//! It runs as a process of its own, on one thread: a loop over epoll that takes what came on a connection with one
//! read, notes what it needs to judge when it is asked, and answers all requests that were whole by then with one
//! write, or each by itself when it answers after a delay. What a user's webhook costs its machine is not the server's
//! doing, so as little as can be of it is in the figures.
//!
//! `POST` is a delivery of MinIO's envelope; `GET` tells what came so far as three numbers: records, records whose
//! sequencer is not greater than the last one of their key, and of those the ones that came before. A request has a
//! length and no pieces, and a client reads its answers: whatever else comes ends its connection.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hyper::Method;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::Outcome;
use crate::beside::Beside;
use crate::connection::Connection;
use crate::requests::{Body, Signer};
use crate::server::Process;

/// The argument that makes this program the sink; its port and its delay in milliseconds follow.
pub(crate) const FLAG: &str = "--serve-sink";

/// What came, in its order: the key of each record, and its sequencer.
#[derive(Default)]
struct Received(Vec<(Box<str>, u64)>);

impl Received {
    /// Notes a record; to judge it is left for later.
    fn take(&mut self, body: &str) {
        // It is the last thing in a record.
        let sequencer = body.rsplit_once("\"sequencer\":\"").and_then(|(_, rest)| to_quote(rest));
        let sequencer = sequencer.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let key = body.split_once("\"Key\":\"").and_then(|(_, rest)| to_quote(rest));
        if let (Some(key), Some(sequencer)) = (key, sequencer) {
            self.0.push((key.into(), sequencer));
        }
    }

    /// What it tells of them, as three numbers.
    fn judged(&self) -> String {
        // The sequencers of everything, each of which is of one record: what comes again is no disorder.
        let (mut seen, mut newest) = (HashSet::new(), HashMap::new());
        let (mut disordered, mut repeated) = (0, 0);
        for (key, sequencer) in &self.0 {
            repeated += u64::from(!seen.insert(sequencer));
            let newest = newest.entry(key).or_insert(0);
            disordered += u64::from(sequencer <= newest);
            *newest = *sequencer.max(newest);
        }
        format!("{} {disordered} {repeated}", self.0.len())
    }
}

fn to_quote(text: &str) -> Option<&str> {
    text.split('"').next()
}

/// What epoll calls the listener; connections are counted from one.
const LISTENER: u64 = 0;

/// Events taken at once.
const EVENTS_MAX: usize = 64;

/// A request, its head included, in bytes. One that is longer ends its connection.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// The answer to a delivery.
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A connection, and what was read of its next request.
struct Caller {
    stream: TcpStream,
    read: Box<[u8]>,
    filled: usize,
}

/// The loop's state.
struct Serving {
    epoll: OwnedFd,
    listener: TcpListener,
    delay: Duration,
    accepted: u64,
    callers: HashMap<u64, Caller>,
    /// Deliveries that are answered later: when, and whose. The delay is one, so they are due in their order.
    due: VecDeque<(Instant, u64)>,
    received: Received,
}

/// Serves until it is killed.
///
/// # Errors
///
/// The port is taken.
pub(crate) fn serve(port: &str, delay_ms: &str) -> Outcome<()> {
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let delay = Duration::from_millis(delay_ms.parse()?);
    let (callers, due, received) = (HashMap::new(), VecDeque::new(), Received::default());
    let mut serving = Serving { epoll, listener, delay, accepted: 0, callers, due, received };
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        serving.wait(&mut events)?;
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => serving.accept()?,
                caller => serving.hear(caller),
            }
        }
        serving.answer_due();
    }
}

impl Serving {
    /// Waits until something came or an answer is due.
    fn wait(&self, events: &mut Vec<epoll::Event>) -> Outcome<()> {
        let until = self.due.front().map(|(time, _)| time.saturating_duration_since(Instant::now()));
        let until = until.map(Timespec::try_from).transpose()?;
        match epoll::wait(&self.epoll, spare_capacity(events), until.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(&mut self) -> Outcome<()> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.accepted += 1;
        let name = epoll::EventData::new_u64(self.accepted);
        epoll::add(&self.epoll, &stream, name, epoll::EventFlags::IN)?;
        let read = vec![0; REQUEST_BYTES_MAX].into_boxed_slice();
        self.callers.insert(self.accepted, Caller { stream, read, filled: 0 });
        Ok(())
    }

    /// Reads once, and takes the requests that are whole by then.
    fn hear(&mut self, name: u64) {
        let Some(caller) = self.callers.get_mut(&name) else {
            return;
        };
        match caller.stream.read(&mut caller.read[caller.filled..]) {
            Ok(length @ 1..) => caller.filled += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            // It ended, or what it sent is too long.
            Ok(0) | Err(_) => {
                self.callers.remove(&name);
                return;
            }
        }
        let (mut answers, mut taken) = (Vec::new(), 0);
        while let Some((method, body, length)) = request(&caller.read[taken..caller.filled]) {
            match method {
                "GET" => {
                    let told = self.received.judged();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", told.len());
                    answers.extend_from_slice(head.as_bytes());
                    answers.extend_from_slice(told.as_bytes());
                }
                _ => {
                    self.received.take(body);
                    match self.delay.is_zero() {
                        true => answers.extend_from_slice(TAKEN),
                        false => self.due.push_back((Instant::now() + self.delay, name)),
                    }
                }
            }
            taken += length;
        }
        caller.read.copy_within(taken..caller.filled, 0);
        caller.filled -= taken;
        if !answers.is_empty() {
            self.answer(name, &answers);
        }
    }

    fn answer_due(&mut self) {
        while let Some((_, name)) = self.due.pop_front_if(|(time, _)| *time <= Instant::now()) {
            self.answer(name, TAKEN);
        }
    }

    fn answer(&mut self, name: u64, answer: &[u8]) {
        if let Some(caller) = self.callers.get_mut(&name)
            && caller.stream.write_all(answer).is_err()
        {
            self.callers.remove(&name);
        }
    }
}

/// Method and body of the first request, if it is there as a whole, and how many bytes it has.
fn request(read: &[u8]) -> Option<(&str, &str, usize)> {
    let head_end = read.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&read[..head_end]).ok()?;
    let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap_or(0))
    });
    let end = head_end + length.unwrap_or(0);
    let body = std::str::from_utf8(read.get(head_end..end)?).ok()?;
    Some((head.split(' ').next()?, body, end))
}

/// The process, which ends with this value.
pub(crate) struct Sink(Beside);

impl Sink {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    ///
    /// It does not.
    pub(crate) async fn start(delay_ms: u64) -> Outcome<Sink> {
        Ok(Sink(Beside::start(FLAG, &[delay_ms.to_string()]).await?))
    }

    /// Its process.
    pub(crate) fn process(&self) -> Process {
        self.0.process()
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.0.authority
    }

    /// Records that came, those out of order, those that came before.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub(crate) async fn received(&self) -> Outcome<[u64; 3]> {
        let mut connection = Connection::open(self.authority()).await?;
        let request = Signer::new(self.authority()).request(Method::GET, "/", &Body::none())?;
        let told = String::from_utf8(connection.read(request).await?.into_body().to_vec())?;
        let mut numbers = [0; 3];
        for (number, text) in numbers.iter_mut().zip(told.split(' ')) {
            *number = text.parse()?;
        }
        Ok(numbers)
    }
}
