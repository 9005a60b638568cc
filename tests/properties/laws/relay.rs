//! plb's session between a client and backends that are nothing but bytes: no socket, no clock, no chance.
//!
//! It makes the calls that the session names, splits what is sent where it is told to, and keeps every byte that leaves.
//! It must never look into a message.

use plb::base::buffers::Buffers;
use plb::config::Config;
use plb::protocol::Reuse;
use plb::session::record::CloseReason;
use plb::session::{Core, Io, Outcome, Part, Readiness, Session, Side};

/// What somebody sends, in pieces.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    bytes: Vec<u8>,
    /// Places after which what follows comes later.
    splits: Vec<usize>,
    end: End,
    taken: usize,
    told_end: bool,
    pausing: bool,
}

/// When somebody ends after the last byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    #[default]
    Never,
    AtOnce,
    /// When nothing else can happen any more.
    AtLast,
}

impl Feed {
    /// All of it at once, and then the end.
    pub fn whole(bytes: &[u8]) -> Feed {
        Feed { bytes: bytes.to_vec(), end: End::AtOnce, ..Feed::default() }
    }

    /// All of it at once, and more may come.
    pub fn open(bytes: Vec<u8>) -> Feed {
        Feed { bytes, ..Feed::default() }
    }

    /// All of it in pieces, and then the end.
    pub fn split(bytes: &[u8], splits: &[usize]) -> Feed {
        Feed { splits: splits.to_vec(), ..Feed::whole(bytes) }
    }

    /// The same with another end.
    pub fn ending(self, end: End) -> Feed {
        Feed { end, ..self }
    }

    fn has_news(&self) -> bool {
        self.taken < self.bytes.len() || (self.end == End::AtOnce && !self.told_end)
    }

    /// Whether something arrives now that was held back.
    fn wake(&mut self) -> bool {
        std::mem::take(&mut self.pausing) && self.has_news()
    }

    fn is_readable(&self) -> bool {
        self.has_news() && !self.pausing
    }

    fn read(&mut self, room: &mut [u8]) -> Outcome {
        if !self.is_readable() {
            return Outcome::Blocked;
        }
        let next = self.splits.iter().copied().find(|&split| split > self.taken).unwrap_or(usize::MAX);
        let end = self.bytes.len().min(next).min(self.taken + room.len());
        let count = end - self.taken;
        if count == 0 {
            self.told_end = true;
            return Outcome::Ended;
        }
        room[..count].copy_from_slice(&self.bytes[self.taken..end]);
        self.taken = end;
        self.pausing = end == next;
        Outcome::Bytes { count, owes: false }
    }
}

/// What a backend says on one of its connections when it has received so much.
pub type Script<'a> = &'a dyn Fn(usize, &[u8]) -> Feed;

/// What was sent to a backend in one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The number of the connection, in the order in which they were made.
    pub connection: usize,
    pub bytes: Vec<u8>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To backends, by exchange.
    pub requests: Vec<Sent>,
    pub to_client: Vec<u8>,
    pub end: CloseReason,
}

struct Connection {
    received: Vec<u8>,
    feed: Feed,
}

/// A client's connection from its first byte to its last.
pub struct Relay<'a> {
    core: Core,
    buffers: Buffers,
    client: Feed,
    script: Script<'a>,
    connections: Vec<Connection>,
    current: Option<usize>,
    idle: Vec<usize>,
    outgoing: Outgoing,
}

impl<'a> Relay<'a> {
    /// plb with this configuration, one client that sends this, and backends that follow the script.
    pub fn new(config: &Config, client: Feed, script: Script<'a>) -> Relay<'a> {
        Relay {
            core: Core::new(config.clone(), super::DATE.to_string()),
            buffers: Buffers::new(1 << 20),
            client,
            script,
            connections: Vec::new(),
            current: None,
            idle: Vec::new(),
            outgoing: Outgoing { requests: Vec::new(), to_client: Vec::new(), end: CloseReason::Finished },
        }
    }

    /// Runs it to its end. Panics when it has none.
    pub fn run(mut self) -> Outgoing {
        let client = "192.0.2.7:5000".parse().expect("it is an address");
        let mut session = Session::new(0, 80, client, &mut self.core.context());
        let splits: usize = self.client.splits.len() + 1;
        for _ in 0..10_000 + 100 * splits {
            match session.next_io(self.readiness()) {
                Io::Close => {
                    session.take_buffers().into_iter().flatten().for_each(|buffer| self.buffers.give_back(buffer));
                    self.outgoing.end = session.close_reason();
                    return self.outgoing;
                }
                Io::Wait => {
                    session.take_idle_buffers().into_iter().flatten().for_each(|buffer| self.buffers.give_back(buffer));
                    assert!(self.wake(), "nothing will ever happen: {:?}", self.outgoing);
                }
                io => {
                    let outcome = self.perform(&mut session, io);
                    session.complete(io, outcome, &mut self.core.context());
                }
            }
        }
        panic!("no end: {:?}", self.outgoing);
    }

    fn backend(&mut self) -> &mut Connection {
        &mut self.connections[self.current.expect("there is a connection to the backend")]
    }

    fn readiness(&self) -> [Readiness; 2] {
        let backend = self.current.map(|number| &self.connections[number].feed);
        let ready = |readable| Readiness { readable, writable: true, settled: true };
        [ready(self.client.is_readable()), ready(backend.is_some_and(Feed::is_readable))]
    }

    /// Time passes: what was held back arrives.
    fn wake(&mut self) -> bool {
        let woken = self.client.wake();
        let Some(number) = self.current else { return woken };
        let backend = &mut self.connections[number].feed;
        if backend.wake() || woken {
            return true;
        }
        let ends = backend.end == End::AtLast;
        backend.end = if ends { End::AtOnce } else { backend.end };
        ends
    }

    fn perform(&mut self, session: &mut Session, io: Io) -> Outcome {
        match io {
            Io::Borrow => {
                assert!(session.borrow(&mut self.buffers), "there are enough buffers");
                Outcome::Done
            }
            Io::Acquire { reuse, .. } => self.acquire(reuse),
            Io::Read(Side::Client) => self.client.read(session.room(Side::Client)),
            Io::Read(Side::Backend) => self.backend().feed.read(session.room(Side::Backend)),
            Io::Write(side) => self.write(side, session.cleared(side)),
            Io::Part(part) => {
                let number = self.current.take().expect("there is a connection to the backend");
                // As the driver does it: what has something to say is not parked.
                if matches!(part, Part::Park(_)) && !self.connections[number].feed.has_news() {
                    self.idle.push(number);
                }
                Outcome::Done
            }
            Io::Fill(_) => Outcome::Unable,
            Io::FinishConnect | Io::Flush(_) | Io::Shutdown(_) => Outcome::Done,
            Io::Drain(_) | Io::Wait | Io::Close => unreachable!("{io:?}"),
        }
    }

    fn acquire(&mut self, reuse: Reuse) -> Outcome {
        let found = match reuse {
            Reuse::Idle => self.idle.pop(),
            Reuse::Fresh => None,
        };
        let number = found.unwrap_or(self.connections.len());
        if found.is_none() {
            self.connections.push(Connection { received: Vec::new(), feed: (self.script)(number, b"") });
        }
        self.current = Some(number);
        self.outgoing.requests.push(Sent { connection: number, bytes: Vec::new() });
        if found.is_some() { Outcome::Reused } else { Outcome::Started { alternatives: 0 } }
    }

    fn write(&mut self, side: Side, bytes: &[u8]) -> Outcome {
        match side {
            Side::Client => self.outgoing.to_client.extend_from_slice(bytes),
            Side::Backend => {
                let number = self.current.expect("there is a connection to the backend");
                let Connection { received, feed } = &mut self.connections[number];
                received.extend_from_slice(bytes);
                // The script says all that was said so far, and perhaps more.
                *feed = Feed { taken: feed.taken, told_end: feed.told_end, ..(self.script)(number, received) };
                self.outgoing.requests.last_mut().expect("an exchange began").bytes.extend_from_slice(bytes);
            }
        }
        Outcome::Bytes { count: bytes.len(), owes: false }
    }
}
