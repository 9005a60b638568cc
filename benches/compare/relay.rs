//! The bare relay of bytes: what is left of a balancer that decides nothing, as the floor of its cost.
//!
//! It splices all that comes, either way, between a client and a connection to the origin, through pipes of 1 MiB.

use std::ffi::OsString;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use slab::Slab;

/// The internal argument that makes this program the relay; the address that it listens on and that of the origin follow.
pub const ARGUMENT: &str = "--relay";

/// What a pipe holds.
const PIPE_BYTES: usize = 1 << 20;
const LISTENER: Token = Token(usize::MAX - 1);

struct Relay {
    poll: Poll,
    listener: TcpListener,
    origin: SocketAddr,
    pairs: Slab<Pair>,
}

/// A client, its connection to the origin, and what goes from each of them to the other.
struct Pair {
    streams: [TcpStream; 2],
    flows: [Flow; 2],
}

struct Flow {
    output: OwnedFd,
    input: OwnedFd,
    /// What the pipe holds.
    held: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The source has ended.
    Ending,
    /// The sink was told so.
    Ended,
}

/// Serves until it is killed; what the child process does.
pub fn serve(arguments: &[OsString]) -> io::Result<()> {
    let address = |text: &OsString| text.to_string_lossy().parse::<SocketAddr>().map_err(io::Error::other);
    let addresses = arguments.iter().map(address).collect::<io::Result<Vec<_>>>()?;
    let [listen, origin] = addresses[..] else { return Err(io::Error::other("two addresses are needed")) };
    let (poll, mut listener) = (Poll::new()?, TcpListener::bind(listen)?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = Relay { poll, listener, origin, pairs: Slab::new() };
    let mut events = Events::with_capacity(256);
    loop {
        match relay.poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => relay.accept()?,
                Token(token) => relay.pump(token / 2),
            }
        }
    }
}

impl Relay {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let entry = self.pairs.vacant_entry();
            let mut streams = [client, TcpStream::connect(self.origin)?];
            for (side, stream) in streams.iter_mut().enumerate() {
                let token = Token(entry.key() * 2 + side);
                self.poll.registry().register(stream, token, Interest::READABLE | Interest::WRITABLE)?;
                stream.set_nodelay(true)?;
            }
            entry.insert(Pair { streams, flows: [Flow::new()?, Flow::new()?] });
        }
    }

    fn pump(&mut self, key: usize) {
        // The events of both sides may have come at once, and the first have ended the pair.
        let Some(Pair { streams: [client, origin], flows: [up, down] }) = self.pairs.get_mut(key) else { return };
        let outcome = up.pump(client, origin).and_then(|()| down.pump(origin, client));
        if outcome.is_err() || (up.state, down.state) == (State::Ended, State::Ended) {
            self.pairs.remove(key);
        }
    }
}

impl Flow {
    fn new() -> io::Result<Flow> {
        let (output, input) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        fcntl(&input, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES as i32))?;
        Ok(Flow { output, input, held: 0, state: State::Open })
    }

    /// Moves what can be moved.
    fn pump(&mut self, source: &TcpStream, sink: &TcpStream) -> io::Result<()> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        loop {
            let filled = match self.state {
                State::Open => moved(splice(source, None, &self.input, None, PIPE_BYTES, flags))?,
                State::Ending | State::Ended => None,
            };
            if filled == Some(0) {
                self.state = State::Ending;
            }
            self.held += filled.unwrap_or(0);
            let drained = match self.held {
                0 => None,
                held => moved(splice(&self.output, None, sink, None, held, flags))?,
            };
            self.held -= drained.unwrap_or(0);
            if self.held == 0 && self.state == State::Ending {
                sink.shutdown(Shutdown::Write)?;
                self.state = State::Ended;
            }
            if filled.unwrap_or(0) == 0 && drained.is_none() {
                return Ok(());
            }
        }
    }
}

/// How much a call has moved; nothing when it would have to wait, be it for a connection that is still under way.
fn moved(result: nix::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(Errno::EAGAIN | Errno::ENOTCONN) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
