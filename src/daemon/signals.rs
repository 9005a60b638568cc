//! Signals, as bytes in pipes that the loop polls.
//!
//! A handler does nothing but write; what a signal means is decided between two turns.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use nix::sys::signal::SigSet;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;
use signal_hook::low_level::pipe;

/// What an administrator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Stop: gracefully at first, at once when asked again (SIGTERM, SIGINT).
    Stop,
    /// Log a summary (SIGUSR1).
    Summary,
    /// Load the configuration again (SIGHUP).
    Reload,
}

const REQUESTS: [(Request, &[i32]); 3] =
    [(Request::Stop, &[SIGTERM, SIGINT]), (Request::Summary, &[SIGUSR1]), (Request::Reload, &[SIGHUP])];

/// Undoes what a caller may have passed on: signals that are blocked would never arrive. And a log that reaches
/// `RLIMIT_FSIZE` must be an error of that log, where the signal would be the end of everything.
///
/// # Errors
/// The system has no such signal.
pub fn set_dispositions() -> io::Result<()> {
    SigSet::all().thread_unblock()?;
    flag::register(SIGXFSZ, Arc::<AtomicBool>::default()).map(drop)
}

/// The reading ends of the pipes, one a request.
pub struct Signals {
    pipes: Vec<UnixStream>,
}

impl Signals {
    /// Installs the handlers, and adds the pipes to the poll; `token` names the pipe at a position.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub fn install(registry: &Registry, token: impl Fn(u32) -> Token) -> io::Result<Signals> {
        let mut pipes = Vec::new();
        // None may come between a handler and what it is to do.
        SigSet::all().thread_block()?;
        for (position, (_, signals)) in (0..).zip(REQUESTS) {
            let (mut reader, writer) = UnixStream::pair()?;
            registry.register(&mut reader, token(position), Interest::READABLE)?;
            let writer = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(writer));
            for &signal in signals {
                pipe::register(signal, writer.try_clone()?)?;
            }
            pipes.push(reader);
        }
        SigSet::all().thread_unblock()?;
        Ok(Signals { pipes })
    }

    /// What was asked for through the pipe at this position, and how often since it was last read.
    pub fn take(&mut self, position: u32) -> Option<(Request, usize)> {
        let pipe = self.pipes.get_mut(position as usize)?;
        let mut count = 0;
        let mut bytes = [0; 64];
        loop {
            match pipe.read(&mut bytes) {
                Ok(read) if read > 0 => count += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return (count > 0).then(|| (REQUESTS[position as usize].0, count)),
            }
        }
    }
}
