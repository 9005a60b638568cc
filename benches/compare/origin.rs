//! The origins: a child process that answers every request with one fixed response and echoes on other ports.
//!
//! It listens on loopback ports that the kernel chooses, prints them as one line, and ends with its standard input, of
//! which each line is the id of a process that ends with it.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::thread;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::messages::{self, Received};
use crate::process::{self, LOAD_CPU, Orphan, Process};
use crate::receive::{BUFFER_BYTES, Source, receive};

/// The number of echo addresses: that many times the local ports of one before a balancer runs out of them.
pub const ECHO_COUNT: usize = 4;
/// The most of a long body that one call sends: small enough for a processor's cache.
const BULK_BYTES: usize = 256 * 1024;
/// Each listener has an address of its own, counted from here.
const FIRST_HOST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
/// The internal argument that makes this program the origin; the number of addresses where it answers requests follows.
pub const ARGUMENT: &str = "--origin";

/// The running origins; dropping them ends them.
#[derive(Debug)]
pub struct Origin {
    /// Where requests are answered.
    pub web: Vec<SocketAddr>,
    /// Where bytes are echoed.
    pub echoes: Vec<SocketAddr>,
    process: Process,
}

impl Origin {
    /// Starts this program once more as the origin and waits for its addresses, of which `count` answer requests.
    pub fn start(count: u16) -> Result<Origin, String> {
        Origin::try_start(count).map_err(|error| format!("the origin does not start: {error}"))
    }

    /// Ends process `id`, should this one be killed: also one that has given up root, which the system would not end.
    pub fn outlive(&mut self, id: u32) -> io::Result<()> {
        writeln!(self.process.child().stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?, "{id}")
    }

    fn try_start(count: u16) -> io::Result<Origin> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).arg(count.to_string());
        let mut process =
            Process::start(&command, LOAD_CPU, Orphan::Knows, [Stdio::piped(), Stdio::piped(), Stdio::inherit()])?;
        let mut line = String::new();
        BufReader::new(process.child().stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
        let addresses = line.split_whitespace().map(str::parse).collect::<Result<Vec<SocketAddr>, _>>();
        match addresses.map_err(io::Error::other)?.split_at_checked(usize::from(count)) {
            Some((web, echoes)) if echoes.len() == ECHO_COUNT => {
                Ok(Origin { web: web.to_vec(), echoes: echoes.to_vec(), process })
            }
            _ => Err(io::Error::other(format!("it said {line:?}"))),
        }
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Http,
    Echo,
}

struct Connection {
    stream: TcpStream,
    service: Service,
    pending: Vec<u8>,
    /// What has not been sent yet of a long body.
    owed: u64,
}

struct Server {
    poll: Poll,
    listeners: Vec<(TcpListener, Service)>,
    connections: Slab<Connection>,
    response: Vec<u8>,
    bulk: Vec<u8>,
    buffer: Vec<u8>,
}

/// Whether a connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Stay,
    Close,
}

/// Serves requests at so many addresses until standard input ends; what the child process does.
pub fn serve(arguments: &[OsString]) -> io::Result<()> {
    let [count] = arguments else { return Err(io::Error::other("the number of addresses is missing")) };
    let mut server = Server::bind(count.to_string_lossy().parse().map_err(io::Error::other)?)?;
    println!("{}", server.addresses()?.join(" "));
    thread::spawn(|| {
        // The parent writes whom it wants to be ended; the end of its pipe, however it came about, is the signal to leave.
        let mut text = String::new();
        let _ = io::stdin().read_to_string(&mut text);
        text.lines().filter_map(|id| id.parse().ok()).for_each(process::ask_to_end);
        std::process::exit(0);
    });
    let mut events = Events::with_capacity(1024);
    loop {
        server.turn(&mut events)?;
    }
}

impl Server {
    fn bind(count: usize) -> io::Result<Server> {
        let services = [Service::Http].repeat(count).into_iter().chain([Service::Echo; ECHO_COUNT]);
        let poll = Poll::new()?;
        let mut listeners = Vec::new();
        for (index, service) in services.enumerate() {
            let host = Ipv4Addr::from(u32::from(FIRST_HOST) + index as u32);
            let mut listener = TcpListener::bind(SocketAddr::from((host, 0)))?;
            poll.registry().register(&mut listener, Token(index), Interest::READABLE)?;
            listeners.push((listener, service));
        }
        let (response, bulk, buffer) = (messages::response(), vec![b'b'; BULK_BYTES], vec![0; BUFFER_BYTES]);
        Ok(Server { poll, listeners, connections: Slab::new(), response, bulk, buffer })
    }

    fn addresses(&self) -> io::Result<Vec<String>> {
        self.listeners.iter().map(|(listener, _)| Ok(listener.local_addr()?.to_string())).collect()
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in events.iter() {
            match event.token().0.checked_sub(self.listeners.len()) {
                None => self.accept(event.token().0)?,
                Some(key) => self.serve(key, event),
            }
        }
        Ok(())
    }

    fn accept(&mut self, index: usize) -> io::Result<()> {
        let first_token = self.listeners.len();
        let (listener, service) = &self.listeners[index];
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let entry = self.connections.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(first_token + entry.key()), interest)?;
            stream.set_nodelay(true)?;
            entry.insert(Connection { stream, service: *service, pending: Vec::new(), owed: 0 });
        }
    }

    fn serve(&mut self, key: usize, event: &Event) {
        let connection = &mut self.connections[key];
        let source = receive(&mut connection.stream, event, &mut self.buffer, &mut connection.pending);
        let next = connection.answer(&self.response, &self.bulk);
        if next == Next::Close || !matches!(source, Ok(Source::Open)) {
            self.connections.remove(key);
        }
    }
}

impl Connection {
    /// Answers all that has come as a whole; an error of the client's is answered with the end of the connection.
    fn answer(&mut self, response: &[u8], bulk: &[u8]) -> Next {
        loop {
            if self.pay(bulk).is_err() {
                return Next::Close;
            }
            if self.owed > 0 || self.pending.is_empty() {
                return Next::Stay;
            }
            let head;
            let (length, message, next) = match self.service {
                Service::Echo => (self.pending.len(), &self.pending[..], Next::Stay),
                Service::Http => match messages::read_request(&self.pending) {
                    Ok(Received::Part) => return Next::Stay,
                    Ok(Received::Request(length)) => (length, response, Next::Stay),
                    Ok(Received::LastRequest) => (self.pending.len(), response, Next::Close),
                    Ok(Received::BulkRequest { length, bytes }) => {
                        self.owed = bytes;
                        head = messages::response_head(bytes);
                        (length, &head[..], Next::Stay)
                    }
                    Ok(Received::MirrorRequest(length)) => {
                        head = [&messages::response_head(length as u64), &self.pending[..length]].concat();
                        (length, &head[..], Next::Stay)
                    }
                    Err(_) => return Next::Close,
                },
            };
            // Messages are far smaller than a send buffer: one that does not fit is a fault, which the client sees.
            if !matches!(self.stream.write(message), Ok(count) if count == message.len()) || next == Next::Close {
                return Next::Close;
            }
            self.pending.drain(..length);
        }
    }

    /// Sends what the socket takes of a long body.
    fn pay(&mut self, bulk: &[u8]) -> io::Result<()> {
        while self.owed > 0 {
            let length = bulk.len().min(usize::try_from(self.owed).unwrap_or(usize::MAX));
            match self.stream.write(&bulk[..length]) {
                Ok(count) => self.owed -= count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
