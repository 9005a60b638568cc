//! The bare relay of exchanges: carries each message of a client to the next of many backends and its answer back.
//!
//! It parses nothing: what one read gives is a message. Connections to backends are kept and the last used one is taken
//! first, as balancers do, so that the kernel has the same work with it as with them.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::receive::BUFFER_BYTES;

/// The internal argument that makes this program the relay; the address that it listens on and those of the backends
/// follow.
pub const ARGUMENT: &str = "--shuttle";

const LISTENER: Token = Token(usize::MAX - 1);

struct Shuttle {
    poll: Poll,
    listener: TcpListener,
    backends: Vec<Backend>,
    /// Whose turn it is.
    next: usize,
    ends: Slab<End>,
    buffer: Vec<u8>,
}

struct Backend {
    address: SocketAddr,
    /// The kept connections that have no exchange.
    idle: Vec<usize>,
}

struct End {
    stream: TcpStream,
    /// The position of the backend that it leads to; none for a client's.
    backend: Option<usize>,
    /// The other end of the exchange.
    peer: Option<usize>,
    /// What is sent as soon as the connection stands.
    waiting: Vec<u8>,
}

/// Serves until it is killed; what the child process does.
pub fn serve(arguments: &[OsString]) -> io::Result<()> {
    let address = |text: &OsString| text.to_string_lossy().parse::<SocketAddr>().map_err(io::Error::other);
    let addresses = arguments.iter().map(address).collect::<io::Result<Vec<_>>>()?;
    let Some((&listen, backends)) = addresses.split_first() else { return Err(io::Error::other("no address")) };
    let (poll, mut listener) = (Poll::new()?, TcpListener::bind(listen)?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let backends = backends.iter().map(|&address| Backend { address, idle: Vec::new() }).collect();
    let mut shuttle = Shuttle { poll, listener, backends, next: 0, ends: Slab::new(), buffer: vec![0; BUFFER_BYTES] };
    let mut events = Events::with_capacity(512);
    loop {
        match shuttle.poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => shuttle.accept()?,
                Token(key) => shuttle.carry(key, event),
            }
        }
    }
}

impl Shuttle {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => drop(self.insert(stream, None)?),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn insert(&mut self, mut stream: TcpStream, backend: Option<usize>) -> io::Result<usize> {
        let entry = self.ends.vacant_entry();
        let key = entry.key();
        self.poll.registry().register(&mut stream, Token(key), Interest::READABLE | Interest::WRITABLE)?;
        stream.set_nodelay(true)?;
        entry.insert(End { stream, backend, peer: None, waiting: Vec::new() });
        Ok(key)
    }

    fn carry(&mut self, key: usize, event: &Event) {
        if self.try_carry(key).is_err() || event.is_read_closed() {
            self.end(key);
        }
    }

    fn try_carry(&mut self, key: usize) -> io::Result<()> {
        let Some(end) = self.ends.get_mut(key) else { return Ok(()) };
        if !end.waiting.is_empty() {
            let waiting = std::mem::take(&mut end.waiting);
            return end.stream.write_all(&waiting);
        }
        let count = match end.stream.read(&mut self.buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        match (end.backend, end.peer.take()) {
            (None, _) => self.send_on(key, count),
            (Some(backend), Some(client)) => {
                self.backends[backend].idle.push(key);
                self.ends[client].peer = None;
                self.ends[client].stream.write_all(&self.buffer[..count])
            }
            (Some(_), None) => Err(io::Error::other("bytes that nobody asked for")),
        }
    }

    /// Sends a client's message to the backend whose turn it is.
    fn send_on(&mut self, client: usize, count: usize) -> io::Result<()> {
        let position = self.next;
        self.next = (position + 1) % self.backends.len();
        let kept = self.backends[position].idle.pop();
        let key = match kept {
            Some(key) => key,
            None => self.insert(TcpStream::connect(self.backends[position].address)?, Some(position))?,
        };
        (self.ends[key].peer, self.ends[client].peer) = (Some(client), Some(key));
        match kept {
            Some(_) => self.ends[key].stream.write_all(&self.buffer[..count])?,
            None => self.ends[key].waiting = self.buffer[..count].to_vec(),
        }
        Ok(())
    }

    /// Ends a connection, and the one that has an exchange with it.
    fn end(&mut self, key: usize) {
        let Some(end) = self.ends.try_remove(key) else { return };
        if let Some(backend) = end.backend {
            self.backends[backend].idle.retain(|idle| *idle != key);
        }
        if let Some(peer) = end.peer {
            self.ends[peer].peer = None;
            self.end(peer);
        }
    }
}
