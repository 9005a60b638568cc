//! `Listener`: a bound address, and when clients are taken from its backlog.
//!
//! That a socket is readable stays remembered while clients are not taken, so that nobody is forgotten in the backlog.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::failure::failure_of;
use super::socket::set_watch;
use crate::balance::Failure;
use crate::config::{self, ListenAddress};

/// How long accepting rests after descriptors ran out.
pub const PAUSE: Duration = Duration::from_millis(100);

/// A bound address of a listener.
pub struct Listener {
    socket: TcpListener,
    position: u16,
    address: SocketAddr,
    readable: bool,
    /// Whether accepting rests.
    paused: bool,
}

/// What the backlog gave.
pub enum Accepted {
    /// A client.
    Client(TcpStream, SocketAddr),
    /// Nobody waits.
    Nobody,
    /// The client that waited is gone already.
    Gone,
    /// Descriptors or memory ran out.
    Exhausted(io::Error),
}

impl Listener {
    /// Binds an address of the listener `own` at `position`.
    ///
    /// # Errors
    /// The address is in use, not ours, or its family is unknown to this host.
    pub fn bind(position: u16, listen: ListenAddress, own: &config::Listener) -> io::Result<Listener> {
        let domain = Domain::for_address(listen.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // Connections of a former process that linger in TIME_WAIT do not keep the port; a live listener does.
        socket.set_reuse_address(true)?;
        if listen.address.is_ipv6() {
            socket.set_only_v6(listen.v6_only)?;
        }
        // Linux and the BSDs let accepted sockets inherit these options.
        socket.set_tcp_nodelay(own.socket.nodelay)?;
        set_watch(SockRef::from(&socket), &own.socket)?;
        socket.bind(&listen.address.into())?;
        socket.listen(i32::try_from(own.backlog).unwrap_or(i32::MAX))?;
        let socket = TcpListener::from_std(socket.into());
        let address = socket.local_addr()?;
        Ok(Listener { socket, position, address, readable: false, paused: false })
    }

    /// Adds it to the poll.
    ///
    /// # Errors
    /// The system lacks memory for it.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// Lets nobody begin to connect any more: newcomers are refused. Who has begun can still be accepted, while closing
    /// would reset him.
    ///
    /// On Linux a socket that is bound to an interface is not there for what comes by another one, and it is no matter
    /// that this one does not exist (socket(7), `SO_BINDTODEVICE`; by index, and without privilege since 5.7). Elsewhere
    /// there is nothing like that.
    pub fn turn_away(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let nowhere = std::num::NonZeroU32::new(i32::MAX as u32);
            // Without it, those are lost that come at the moment when it is closed.
            let _ = socket2::SockRef::from(&self.socket).bind_device_by_index_v4(nowhere);
        }
    }

    /// Takes it out of the poll: a description that somebody else shares would keep firing.
    pub fn deregister(&mut self, registry: &Registry) {
        // It is dropped next, whatever the answer.
        let _ = registry.deregister(&mut self.socket);
    }

    /// The position of its listener in the configuration.
    pub fn position(&self) -> u16 {
        self.position
    }

    /// Where it is bound, with the port that the kernel chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Somebody may wait in the backlog.
    pub fn mark(&mut self) {
        self.readable = true;
    }

    /// Whether clients are to be taken now.
    pub fn is_ready(&self) -> bool {
        self.readable && !self.paused
    }

    /// Whether the backlog was empty when it was last looked into.
    pub fn is_empty(&self) -> bool {
        !self.readable
    }

    /// Accepting rests until it is resumed.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Accepting goes on.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// Takes the first client of the backlog.
    pub fn accept(&mut self) -> Accepted {
        match self.socket.accept() {
            Ok((socket, client)) => Accepted::Client(socket, client),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Accepted::Nobody
            }
            Err(error) if failure_of(&error) == Failure::Local => Accepted::Exhausted(error),
            // Linux passes on what the network said of a client that is gone (accept(2), "Error handling").
            Err(_) => Accepted::Gone,
        }
    }
}
