//! `Stream`: one connection, what is known of its readiness, and whom it serves.
//!
//! Events set readiness, calls that block clear it. A plain read that is shorter than its room clears it too, for it
//! emptied the socket: that saves the call that would say EAGAIN. Not so once the socket has been seen closed for
//! reading, in error or with urgent data: an end that arrives with data gives no second edge, and an urgent byte
//! shortens a read while bytes remain.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::failure::failure_of;
use super::idle::Slot;
use super::kernel_pipe::{Flight, KernelPipes, TakeOff};
use super::socket;
use crate::balance::BackendId;
use crate::base::arena::Id;
use crate::config::Pool;
use crate::net::driver::Pair;
use crate::session::{Outcome, Readiness, Side};

/// mio's poll(2) build hears of a socket again only after a call on it has blocked; and only Linux tells of urgent data.
const SHORT_READ_IS_LAST: bool =
    cfg!(all(any(target_os = "linux", target_os = "android"), not(mio_unsupported_force_poll_poll)));

/// Whom a stream serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A side of a session.
    Session(Id<Pair>, Side),
    /// Nobody: it is parked in the idle set.
    Idle(Slot),
    /// Nobody: it is dropped when the turn ends.
    Retired,
}

/// Whether small segments may still wait for an acknowledgement (RFC 896).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nagle {
    /// They may; nothing was sent, and the first segment never waits.
    Unsent,
    /// They may, and the next one would.
    Sent,
    /// It is as it is to stay: `TCP_NODELAY` is set, or is not to be.
    Settled,
}

/// One connection.
pub struct Stream {
    socket: TcpStream,
    owner: Owner,
    readiness: Readiness,
    /// An end, an error or urgent data was seen: short reads mean nothing any more.
    closing: bool,
    /// Urgent data was seen: splice(2) stops before it and says EAGAIN for good, where a read goes past it.
    urgent: bool,
    nagle: Nagle,
    /// What the peer is sent before anything else; a session knows that it is owed.
    preface: Vec<u8>,
    /// The backend's address that is on trial, when it is not the preferred one.
    alternative: Option<(BackendId, u8)>,
}

impl Stream {
    /// An accepted connection. It inherited its options, and its first bytes may be there already.
    pub fn accepted(socket: TcpStream) -> Stream {
        let readiness = Readiness { readable: true, writable: true, settled: true };
        Stream::new(socket, readiness, Nagle::Settled)
    }

    /// Asks for a connection to a backend of this pool.
    ///
    /// # Errors
    /// The system refuses at once: descriptors or ports ran out, or there is no way there.
    pub fn connect(address: SocketAddr, pool: &Pool) -> io::Result<Stream> {
        // A write is tried before any event: over a short way the connection stands by then.
        let readiness = Readiness { readable: false, writable: true, settled: false };
        let nagle = if pool.socket.nodelay { Nagle::Unsent } else { Nagle::Settled };
        Ok(Stream::new(socket::connect(address, pool)?, readiness, nagle))
    }

    fn new(socket: TcpStream, readiness: Readiness, nagle: Nagle) -> Stream {
        Stream {
            socket,
            owner: Owner::Retired,
            readiness,
            closing: false,
            urgent: false,
            nagle,
            preface: Vec::new(),
            alternative: None,
        }
    }

    /// Adds it to the poll, once and for both directions.
    ///
    /// # Errors
    /// The system lacks memory for it.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        // An urgent byte ends a read early (tcp(7)): who is not told of it takes that for the last byte that came.
        // poll(2) would tell of it for as long as nobody reads beyond it.
        #[cfg(all(any(target_os = "linux", target_os = "android"), not(mio_unsupported_force_poll_poll)))]
        let interest = interest | Interest::PRIORITY;
        registry.register(&mut self.socket, token, interest)
    }

    /// Whom it serves.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// It serves somebody else from now on.
    pub fn set_owner(&mut self, owner: Owner) {
        self.owner = owner;
    }

    /// What is known of it.
    pub fn readiness(&self) -> Readiness {
        self.readiness
    }

    /// Takes note of an event.
    pub fn mark(&mut self, event: &Event) {
        self.urgent |= event.is_priority();
        self.closing |= event.is_read_closed() || event.is_error() || event.is_priority();
        self.readiness.readable |= event.is_readable() || self.closing;
        self.readiness.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.readiness.settled = true;
    }

    /// Reads into `room`, which is not empty.
    pub fn read(&mut self, room: &mut [u8]) -> Outcome {
        debug_assert!(!room.is_empty(), "a read into no room looks like an end");
        loop {
            return match self.socket.read(room) {
                Ok(0) => Outcome::Ended,
                Ok(count) => {
                    let emptied = SHORT_READ_IS_LAST && count < room.len() && !self.closing;
                    self.readiness.readable = !emptied;
                    Outcome::Bytes { count, owes: false }
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::NotConnected => {
                        self.readiness.readable = false;
                        Outcome::Blocked
                    }
                    _ => Outcome::Failed(failure_of(&error)),
                },
            };
        }
    }

    /// Sends this before anything else.
    pub fn begin_with(&mut self, preface: Vec<u8>) {
        self.preface = preface;
    }

    /// Writes from `bytes`, which are not empty; in one call with the preface, where that has not left yet.
    pub fn write(&mut self, bytes: &[u8]) -> Outcome {
        self.prepare_segment();
        loop {
            match self.send(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return self.written(outcome),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.preface.is_empty() {
            return self.socket.write(bytes);
        }
        let count = self.socket.write_vectored(&[IoSlice::new(&self.preface), IoSlice::new(bytes)])?;
        let behind = count.saturating_sub(self.preface.len());
        self.preface.drain(..count - behind);
        Ok(behind)
    }

    /// Writes what is left of the preface.
    pub fn flush(&mut self) -> Outcome {
        while !self.preface.is_empty() {
            match self.write(&[]) {
                Outcome::Bytes { .. } => {}
                other => return other,
            }
        }
        Outcome::Done
    }

    fn prepare_segment(&mut self) {
        self.nagle = match self.nagle {
            Nagle::Unsent => return,
            Nagle::Sent => {
                // Without it, segments are late but not lost.
                let _ = self.socket.set_nodelay(true);
                Nagle::Settled
            }
            Nagle::Settled => Nagle::Settled,
        }
    }

    fn written(&mut self, outcome: io::Result<usize>) -> Outcome {
        match outcome {
            Ok(count) => {
                if self.nagle == Nagle::Unsent {
                    self.nagle = Nagle::Sent;
                }
                Outcome::Bytes { count, owes: !self.preface.is_empty() }
            }
            // A send before the connection stands says EAGAIN on Linux and ENOTCONN on BSD.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                self.readiness.writable = false;
                Outcome::Blocked
            }
            Err(error) => {
                // What the peer said before it broke off can still be read.
                self.readiness.readable = true;
                self.closing = true;
                Outcome::Failed(failure_of(&error))
            }
        }
    }

    /// Whether the socket has room for a third of its buffer, which is what poll(2) calls writable. When it has not,
    /// the question itself makes an event come when it has.
    pub fn has_room(&mut self) -> bool {
        let mut asked = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        self.readiness.writable = poll(&mut asked, PollTimeout::ZERO) != Ok(0);
        self.readiness.writable
    }

    /// The bytes that it takes at once when it has room. The buffer grows as it is used, and asking costs nothing beside
    /// what is sent then.
    pub fn room_bytes(&self) -> usize {
        socket2::SockRef::from(&self.socket).send_buffer_size().unwrap_or(0) / 3
    }

    /// Lets up to `bytes_max` bytes take off. A short count means nothing: the pipe may have been full.
    pub fn take_off(&mut self, bytes_max: usize, pipes: &mut KernelPipes) -> (Outcome, Option<Flight>) {
        if self.urgent {
            return (Outcome::Unable, None);
        }
        let outcome = match pipes.take_off(&self.socket, bytes_max) {
            TakeOff::Flight(flight) => {
                return (Outcome::Bytes { count: flight.bytes(), owes: false }, Some(flight));
            }
            TakeOff::Ended => Outcome::Ended,
            TakeOff::Unable => Outcome::Unable,
            TakeOff::Failed(Errno::EAGAIN) => {
                self.readiness.readable = false;
                Outcome::Blocked
            }
            TakeOff::Failed(errno) => Outcome::Failed(failure_of(&errno.into())),
        };
        (outcome, None)
    }

    /// Lets a flight land, or a part of it.
    pub fn land(&mut self, flight: Flight, pipes: &mut KernelPipes) -> (Outcome, Option<Flight>) {
        debug_assert!(self.preface.is_empty(), "nothing overtakes the preface");
        self.prepare_segment();
        let (outcome, left) = pipes.land(flight, &self.socket);
        (self.written(outcome.map_err(io::Error::from)), left)
    }

    /// Where the peer has connected to.
    ///
    /// # Errors
    /// The system lacks memory for it.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Shuts down our sending.
    pub fn shutdown(&mut self) -> Outcome {
        // A peer that is gone already needs no end.
        let _ = self.socket.shutdown(Shutdown::Write);
        Outcome::Done
    }

    /// Asks how connecting ended, after an event came.
    pub fn finish_connect(&mut self) -> Outcome {
        match self.socket.take_error() {
            Ok(None) => Outcome::Done,
            Ok(Some(error)) | Err(error) => Outcome::Failed(failure_of(&error)),
        }
    }

    /// Makes the drop of this stream a reset instead of an end (`SO_LINGER` of zero).
    pub fn reset_on_drop(&self) {
        let _ = socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// This is an address that was not the preferred one.
    pub fn set_alternative(&mut self, backend: BackendId, position: u8) {
        self.alternative = Some((backend, position));
    }

    /// The alternative address that has proved good, told once.
    pub fn take_alternative(&mut self) -> Option<(BackendId, u8)> {
        self.alternative.take()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    #[test]
    fn a_preface_that_leaves_in_parts_leaves_once_and_first_and_is_not_counted() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        // More than any socket takes at once.
        let preface: Vec<u8> = (0..16 << 20).map(|place: u32| (place >> 8) as u8 ^ place as u8).collect();
        for request in [&b"hello"[..], b""] {
            let address = listener.local_addr().expect("it is bound");
            let mut stream = Stream::connect(address, &Pool::default()).expect("there is a way");
            let (mut peer, _) = listener.accept().expect("it connects");
            stream.begin_with(preface.clone());
            let first = if request.is_empty() { stream.flush() } else { stream.write(request) };
            let owing = Outcome::Bytes { count: 0, owes: true };
            assert!(matches!(first, Outcome::Blocked) || first == owing, "{first:?}");
            let reading = thread::spawn(move || {
                let mut received = Vec::new();
                peer.read_to_end(&mut received).map(|_| received)
            });
            loop {
                match if request.is_empty() { stream.flush() } else { stream.write(request) } {
                    Outcome::Blocked => thread::yield_now(),
                    outcome if outcome == owing => {}
                    Outcome::Bytes { count: 0, owes: false } => {}
                    outcome if request.is_empty() => break assert_eq!(outcome, Outcome::Done),
                    outcome => break assert_eq!(outcome, Outcome::Bytes { count: request.len(), owes: false }),
                }
            }
            drop(stream);
            let received = reading.join().expect("it does not panic").expect("an orderly end");
            assert!(received == [&preface, request].concat(), "{} bytes", received.len());
        }
    }
}
