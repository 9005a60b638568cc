//! The load generator: a closed loop of exchanges over a fixed number of connections, every answer checked.
//!
//! It is bounded in count and in time; one wrong byte, early end or refused connection is an error.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::interrupt;
use crate::messages;
use crate::receive::{BUFFER_BYTES, Source, discard, receive};

/// The longest that one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// A run with this many errors is given up.
const ERRORS_MAX: u64 = 100;
/// Clients come from this many loopback addresses, so that none runs out of ports to closed connections' TIME_WAIT.
const SOURCE_COUNT: u32 = 8;
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 16);
/// The most of a long body that one call takes.
const DISCARD_BYTES: usize = 1 << 20;

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// One GET and its response.
    Http(Visitor),
    /// A few bytes and the same bytes back.
    Echo,
    /// One GET and its response with a body of so many bytes, which are counted and thrown away.
    Bulk(u64),
}

/// What those who GET ask for, and whether cookies come with the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visitor {
    /// The same again and again; no cookie comes.
    Plain,
    /// Each of so many hosts in turn; no cookie comes.
    Wandering(u16),
    /// The same, and a cookie comes every time, for it is never sent.
    Forgetful,
    /// The same with the cookie that came with a connection's first answer; no other comes.
    Faithful,
}

/// What becomes of a connection after its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It makes the next exchange.
    KeepAlive,
    /// It ends in order, and the next exchange has a connection of its own.
    Single,
    /// It stays open and idle, and the next exchange has a connection of its own.
    Held,
    /// It does not read the answer that has begun, and the next exchange has a connection of its own.
    Stalled,
}

/// The connections of one client population.
pub struct Load {
    target: SocketAddr,
    speech: Speech,
    life: Life,
    parallel: u64,
    poll: Poll,
    connections: Slab<Connection>,
    /// The kept connections that have no exchange.
    resting: Vec<usize>,
    opened: u32,
    started: u64,
    finished: u64,
    goal: u64,
    errors: u64,
    first_error: Option<String>,
    /// What is sent, in turn.
    messages: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    state: State,
    received: Vec<u8>,
    /// What has not come yet of a long body whose head has come.
    missing: Option<u64>,
    /// What it sends instead of what all send.
    message: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Answering,
    /// The answer is whole; the end of the connection is awaited.
    Ending,
    Idle,
    /// The answer has begun and is not read.
    Stalled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    Finished,
}

impl Load {
    /// Clients of `target`, `parallel` exchanges at a time; nothing is opened yet.
    pub fn new(target: SocketAddr, speech: Speech, life: Life, parallel: u64) -> Result<Load, String> {
        Ok(Load {
            target,
            speech,
            life,
            parallel,
            poll: Poll::new().map_err(|error| format!("poll: {error}"))?,
            connections: Slab::new(),
            resting: Vec::new(),
            opened: 0,
            started: 0,
            finished: 0,
            goal: 0,
            errors: 0,
            first_error: None,
            messages: messages(speech, life),
            buffer: vec![0; if matches!(speech, Speech::Bulk(_)) { DISCARD_BYTES } else { BUFFER_BYTES }],
        })
    }

    /// Makes `count` exchanges; an error when any of them, or an idle connection, failed.
    pub fn run(&mut self, count: u64) -> Result<(), String> {
        let limit = Instant::now() + RUN_LIMIT;
        let mut events = Events::with_capacity(1024);
        self.goal += count;
        self.fill();
        while self.finished < self.goal && self.errors < ERRORS_MAX {
            match self.poll.poll(&mut events, Some(Duration::from_millis(100))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(format!("poll: {error}")),
                _ => events.iter().for_each(|event| self.handle(event)),
            }
            if interrupt::requested() {
                return Err("interrupted".to_string());
            }
            if Instant::now() > limit {
                let missing = self.goal - self.finished;
                return Err(format!("{missing} exchanges are missing after {} s", RUN_LIMIT.as_secs()));
            }
        }
        self.outcome()
    }

    fn outcome(&self) -> Result<(), String> {
        match &self.first_error {
            Some(text) => Err(format!("{} errors, the first: {text}", self.errors)),
            None => Ok(()),
        }
    }

    /// Takes note of what has happened meanwhile; an error when an idle connection failed.
    pub fn look(&mut self) -> Result<(), String> {
        let mut events = Events::with_capacity(1024);
        self.poll.poll(&mut events, Some(Duration::ZERO)).map_err(|error| format!("poll: {error}"))?;
        events.iter().for_each(|event| self.handle(event));
        self.outcome()
    }

    /// Starts exchanges until as many run as may.
    fn fill(&mut self) {
        while self.started < self.goal && self.started - self.finished < self.parallel && self.errors < ERRORS_MAX {
            self.started += 1;
            let outcome = match self.resting.pop() {
                Some(key) => {
                    self.connections[key].send(next(&self.messages, self.started)).map_err(|error| (Some(key), error))
                }
                None => self.open().map_err(|error| (None, error)),
            };
            if let Err((key, error)) = outcome {
                key.map(|key| self.connections.remove(key));
                self.finished += 1;
                self.note(format!("start: {error}"));
            }
        }
    }

    fn open(&mut self) -> io::Result<()> {
        let source = Ipv4Addr::from(u32::from(FIRST_SOURCE) + self.opened % SOURCE_COUNT);
        self.opened = self.opened.wrapping_add(1);
        let mut stream = connect(source, self.target)?;
        let entry = self.connections.vacant_entry();
        self.poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE | Interest::WRITABLE)?;
        let (state, received) = (State::Connecting, Vec::new());
        entry.insert(Connection { stream, state, received, missing: None, message: None });
        Ok(())
    }

    /// One event: epoll reports a descriptor once a batch, so the key is always that of the connection it was for.
    fn handle(&mut self, event: &Event) {
        let key = event.token().0;
        let connection = &mut self.connections[key];
        let was_idle = matches!(connection.state, State::Idle | State::Stalled);
        let outcome = match connection.state {
            State::Connecting => connection.connected(event, next(&self.messages, key as u64)),
            _ => connection.advance(event, self.speech, self.life, &mut self.buffer),
        };
        match outcome {
            Ok(Progress::Waiting) => return,
            Ok(Progress::Finished) => self.settle(key),
            Err(text) => {
                self.connections.remove(key);
                self.note(text);
                if was_idle {
                    self.resting.retain(|resting| *resting != key);
                    return;
                }
            }
        }
        self.finished += 1;
        self.fill();
    }

    /// Puts a connection away after its exchange.
    fn settle(&mut self, key: usize) {
        match self.life {
            Life::KeepAlive => self.resting.push(key),
            Life::Single => drop(self.connections.remove(key)),
            Life::Held => self.connections[key].received = Vec::new(),
            Life::Stalled => {}
        }
    }

    fn note(&mut self, text: String) {
        self.errors += 1;
        self.first_error.get_or_insert(text);
    }
}

impl Connection {
    fn connected(&mut self, event: &Event, message: &[u8]) -> Result<Progress, String> {
        if event.is_writable() || event.is_error() {
            self.send(message).map_err(|error| format!("connect: {error}"))?;
        }
        Ok(Progress::Waiting)
    }

    fn advance(&mut self, event: &Event, speech: Speech, life: Life, buffer: &mut [u8]) -> Result<Progress, String> {
        match (self.state, speech, life) {
            (State::Answering | State::Stalled, _, Life::Stalled) => return self.stalled(event),
            (State::Answering, Speech::Bulk(bytes), _) => return self.discard_answer(bytes, buffer),
            _ => {}
        }
        let before = self.received.len();
        let source = receive(&mut self.stream, event, buffer, &mut self.received)
            .map_err(|error| format!("receive: {error}"))?;
        match (self.state, source) {
            (State::Answering, _) => self.answered(source, speech, life),
            (State::Ending, _) if self.received.len() > before => Err("bytes after the answer".to_string()),
            (State::Ending, Source::Ended) => Ok(Progress::Finished),
            (State::Idle, Source::Ended) => Err("an idle connection was ended".to_string()),
            (State::Idle, Source::Open) if self.received.len() > before => Err("bytes while idle".to_string()),
            _ => Ok(Progress::Waiting),
        }
    }

    fn answered(&mut self, source: Source, speech: Speech, life: Life) -> Result<Progress, String> {
        let is_whole = match speech {
            Speech::Http(visitor) => match messages::whole_response(&self.received)? {
                Some(head) => {
                    self.message = judge_cookie(visitor, self.message.take(), head.cookie)?;
                    true
                }
                None => false,
            },
            Speech::Echo => messages::is_whole(&self.received, messages::ECHO)?,
            Speech::Bulk(_) => unreachable!("it is discarded"),
        };
        let ends_first = life == Life::Single && matches!(speech, Speech::Http(_));
        match (is_whole, source, life) {
            (false, Source::Open, _) => Ok(Progress::Waiting),
            (true, Source::Ended, _) if ends_first => Ok(Progress::Finished),
            (_, Source::Ended, _) => Err("the connection was ended early".to_string()),
            (true, Source::Open, Life::Single) => {
                self.state = State::Ending;
                if speech == Speech::Echo {
                    self.stream.shutdown(Shutdown::Write).map_err(|error| format!("shutdown: {error}"))?;
                }
                Ok(Progress::Waiting)
            }
            (true, Source::Open, Life::KeepAlive | Life::Held | Life::Stalled) => {
                self.state = State::Idle;
                Ok(Progress::Finished)
            }
        }
    }

    /// Lets the answer wait.
    fn stalled(&mut self, event: &Event) -> Result<Progress, String> {
        if event.is_error() || event.is_read_closed() {
            return Err("a connection was ended whose answer was not read".to_string());
        }
        let begins = self.state == State::Answering && event.is_readable();
        self.state = if begins { State::Stalled } else { self.state };
        Ok(if begins { Progress::Finished } else { Progress::Waiting })
    }

    /// Takes what has come of an answer with a body of so many bytes.
    fn discard_answer(&mut self, bytes: u64, buffer: &mut [u8]) -> Result<Progress, String> {
        loop {
            let taken = match self.missing {
                None => self.stream.read(&mut buffer[..BUFFER_BYTES]),
                Some(_) => discard(&self.stream, buffer),
            };
            let count = match taken {
                Ok(0) => return Err(format!("the connection was ended early, {:?} bytes are missing", self.missing)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Waiting),
                Err(error) => return Err(format!("receive: {error}")),
            };
            self.missing = match self.missing {
                Some(missing) => Some(less(missing, count)?),
                None => {
                    self.received.extend_from_slice(&buffer[..count]);
                    let head = messages::read_response_head(&self.received, bytes)?;
                    head.map(|head| less(bytes, self.received.len() - head.length)).transpose()?
                }
            };
            if self.missing == Some(0) {
                self.state = State::Idle;
                return Ok(Progress::Finished);
            }
        }
    }

    /// Sends the one message of an exchange; it is far smaller than a send buffer, so a part of it is a fault.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let message = self.message.as_deref().unwrap_or(message);
        self.received.clear();
        self.missing = None;
        self.state = State::Answering;
        match self.stream.write(message)? {
            count if count == message.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

/// What a visitor sends from now on instead of what all send, `own` so far: the faithful keep the cookie of their first
/// answer. An error when the answer `set` a cookie where it should not, or none where it should.
fn judge_cookie(visitor: Visitor, own: Option<Vec<u8>>, set: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    match (visitor, set) {
        (Visitor::Faithful, Some(cookie)) if own.is_none() => Ok(Some(messages::request_with_cookie(cookie))),
        (Visitor::Faithful, None) if own.is_some() => Ok(own),
        (Visitor::Forgetful, Some(_)) | (Visitor::Plain | Visitor::Wandering(_), None) => Ok(own),
        (_, Some(cookie)) => Err(format!("a cookie is set that was not to be: {cookie}")),
        (_, None) => Err("no cookie is set".to_string()),
    }
}

/// What clients send in their exchanges, in turn.
fn messages(speech: Speech, life: Life) -> Vec<Vec<u8>> {
    match (speech, life) {
        (Speech::Echo, _) => vec![messages::ECHO.to_vec()],
        (Speech::Bulk(bytes), _) => vec![messages::bulk_request(bytes)],
        (Speech::Http(_), Life::Single) => vec![messages::LAST_REQUEST.to_vec()],
        (Speech::Http(Visitor::Wandering(hosts)), _) => {
            (0..hosts).map(|position| messages::request(&messages::host(position))).collect()
        }
        (Speech::Http(_), _) => vec![messages::request(&messages::host(0))],
    }
}

/// The message whose turn it is.
fn next(messages: &[Vec<u8>], turn: u64) -> &[u8] {
    &messages[(turn % messages.len() as u64) as usize]
}

/// What is missing of a body after `count` more bytes of it.
fn less(missing: u64, count: usize) -> Result<u64, String> {
    missing.checked_sub(count as u64).ok_or_else(|| "bytes after the answer".to_string())
}

/// A connection that is under way from `source` to `target`.
fn connect(source: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    // The port is chosen at connect, for this target alone: ip(7), IP_BIND_ADDRESS_NO_PORT.
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    Ok(TcpStream::from_std(socket.into()))
}
