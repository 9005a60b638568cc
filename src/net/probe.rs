//! `Probe`: a connection of its own that finds out whether a backend that is down lives again.

use std::io;

use mio::event::Event;
use mio::{Registry, Token};

use super::addresses::Addresses;
use super::failure::failure_of;
use super::stream::Stream;
use crate::balance::{BackendId, Failure};
use crate::base::timer::Timer;
use crate::config::Pool;
use crate::session::Outcome;

/// The most probes in flight: what they may take of the descriptors.
pub const PROBES_MAX: usize = 64;

/// One probe in flight.
pub struct Probe {
    backend: BackendId,
    step: u8,
    stream: Stream,
    /// Its deadline.
    pub timer: Option<Timer>,
}

impl Probe {
    /// Asks for a connection to a backend of this pool, at the address that is `step` steps behind the preferred one.
    ///
    /// # Errors
    /// What the system says at once.
    pub fn start(backend: BackendId, step: u8, addresses: &Addresses, pool: &Pool) -> Result<Probe, Failure> {
        let (address, _, _) = addresses.get(backend, step);
        let stream = Stream::connect(address, pool).map_err(|error| failure_of(&error))?;
        Ok(Probe { backend, step, stream, timer: None })
    }

    /// Adds it to the poll.
    ///
    /// # Errors
    /// The system lacks memory for it.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token)
    }

    /// Whom it concerns.
    pub fn backend(&self) -> BackendId {
        self.backend
    }

    /// What an event says: that the backend lives, or how connecting failed. `None` says that it goes on.
    pub fn settle(&mut self, event: &Event) -> Option<Result<(), Failure>> {
        self.stream.mark(event);
        match self.stream.finish_connect() {
            Outcome::Failed(failure) => Some(Err(failure)),
            _ => self.stream.readiness().writable.then_some(Ok(())),
        }
    }

    /// The address that proved good, where it is not the preferred one.
    pub fn proved(&self, addresses: &mut Addresses) {
        if self.step > 0 {
            let (_, position, _) = addresses.get(self.backend, self.step);
            addresses.prefer(self.backend, position);
        }
    }

    /// The step of the next alternative of the same backend, if there is one.
    pub fn next_step(&self, addresses: &Addresses) -> Option<u8> {
        let (_, _, left) = addresses.get(self.backend, self.step);
        (left > 0).then(|| self.step + 1)
    }
}
