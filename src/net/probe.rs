//! `Probe`: a connection of its own that finds out whether a backend serves.
//!
//! Events only mark it. The calls are made by [`Probe::advance`]: connect, say what the script says, and listen until it
//! knows enough.

use std::io;
use std::net::SocketAddr;

use mio::event::Event;
use mio::{Registry, Token};

use super::addresses::Addresses;
use super::failure::failure_of;
use super::stream::Stream;
use crate::balance::{BackendId, Failure};
use crate::base::timer::Timer;
use crate::config::{Health, Pool, ProxyVersion};
use crate::protocol::probe::{Script, Verdict};
use crate::protocol::proxy_header;
use crate::session::{Outcome, Readiness};

/// The most probes in flight: what they may take of the descriptors.
pub const PROBES_MAX: usize = 64;

/// So many bytes of an answer are read at once.
const READ_BYTES: usize = 4 * 1024;

/// One probe in flight.
pub struct Probe {
    backend: BackendId,
    step: u8,
    /// The position of its address, and how many are left behind it.
    position: u8,
    left: u8,
    stream: Stream,
    script: Script,
    /// Its deadline.
    pub timer: Option<Timer>,
}

impl Probe {
    /// Asks for a connection to a backend of this pool, at the address that is `step` steps behind the preferred one.
    ///
    /// # Errors
    /// What the system says at once.
    pub fn start(backend: BackendId, step: u8, addresses: &Addresses, pool: &Pool) -> Result<Probe, Failure> {
        let (address, position, left) = addresses.get_probed(backend, step, pool.health.as_ref());
        let stream = Stream::connect(address, pool).map_err(|error| failure_of(&error))?;
        let default = Health::default();
        let health = pool.health.as_ref().unwrap_or(&default);
        let authority = health.authority(&pool.backends[backend.backend()]);
        let script = Script::new(&health.check, &authority, header(health.send_proxy, &stream, address));
        Ok(Probe { backend, step, position, left, stream, script, timer: None })
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

    /// Takes note of an event.
    pub fn mark(&mut self, event: &Event) {
        self.stream.mark(event);
    }

    /// Goes on after an event, as far as that leads: to what is known of the backend, or to `None`.
    pub fn advance(&mut self) -> Option<Result<(), Failure>> {
        let mut verdict = self.script.verdict();
        if verdict == Verdict::Good {
            // Otherwise a call tells how connecting ended, or what the backend said before it broke off.
            if let Outcome::Failed(failure) = self.stream.finish_connect() {
                return Some(Err(failure));
            }
        }
        // The script takes so many bytes, and then ends it.
        while verdict == Verdict::More {
            verdict = match self.stream.readiness() {
                Readiness { writable: true, .. } if !self.script.unsent().is_empty() => self.say(),
                Readiness { readable: true, .. } => self.hear(),
                _ => return None,
            };
        }
        match verdict {
            Verdict::Bad(failure) => Some(Err(failure)),
            _ => Some(Ok(())),
        }
    }

    fn say(&mut self) -> Verdict {
        match self.stream.write(self.script.unsent()) {
            Outcome::Bytes { count, .. } => self.script.sent(count),
            // What it said before it broke off tells more.
            Outcome::Failed(failure) => match self.hear() {
                Verdict::More | Verdict::Bad(Failure::Ended) => Verdict::Bad(failure),
                verdict => verdict,
            },
            _ => Verdict::More,
        }
    }

    fn hear(&mut self) -> Verdict {
        let mut room = [0; READ_BYTES];
        match self.stream.read(&mut room) {
            Outcome::Bytes { count, .. } => self.script.receive(&room[..count]),
            Outcome::Ended => Verdict::Bad(self.script.ended()),
            Outcome::Failed(failure) => Verdict::Bad(failure),
            _ => Verdict::More,
        }
    }

    /// Why it is given up when its time is over.
    pub fn timed_out(&self) -> Failure {
        self.script.timed_out()
    }

    /// The address that proved good, where it is not the preferred one.
    pub fn proved(&self, addresses: &mut Addresses) {
        if self.step > 0 {
            addresses.prefer_probed(self.backend, self.position);
        }
    }

    /// The step of the next alternative of the same backend, if there is one.
    pub fn next_step(&self) -> Option<u8> {
        (self.left > 0).then(|| self.step + 1)
    }
}

/// Who probes: whoever takes headers of the PROXY protocol from us takes nothing without one.
fn header(version: Option<ProxyVersion>, stream: &Stream, destination: SocketAddr) -> Vec<u8> {
    let mut header = Vec::new();
    match (version, stream.local_address()) {
        (Some(ProxyVersion::V2), _) => proxy_header::write_local(&mut header),
        // Version 1 has no word for a connection of the proxy's own.
        (Some(version), Ok(source)) => proxy_header::write(version, source, destination, &mut header),
        (None, _) | (_, Err(_)) => {}
    }
    header
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.script.ends_in_order() {
            self.stream.reset_on_drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;
    use crate::config::parse;
    use crate::net::addresses::Alternatives;

    /// What is known of a backend that accepts, does this, and breaks off before it hears anything.
    fn met_with(check: &str, say: &[u8]) -> Option<Result<(), Failure>> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let text = format!(
            "listeners: [{{ name: a, listen: 1.2.3.4:0, pool: p }}]\n\
             pools: {{ p: {{ backends: [a:1], health: {{ {check} }} }} }}"
        );
        let config = parse("f", &text).expect("it is right");
        let addresses = Addresses::new(vec![vec![Alternatives::new(vec![address])]]);
        let mut poll = Poll::new().expect("descriptors are left");
        let mut probe = Probe::start(BackendId::new(0, 0), 0, &addresses, &config.pools[0]).expect("somebody listens");
        let (mut backend, _) = listener.accept().expect("it connects");
        backend.write_all(say).expect("there is room");
        socket2::SockRef::from(&backend).set_linger(Some(Duration::ZERO)).expect("a socket takes it");
        drop(backend);
        probe.register(poll.registry(), Token(0)).expect("there is room");
        let mut events = Events::with_capacity(1);
        while events.is_empty() {
            poll.poll(&mut events, None).expect("it goes on");
        }
        events.iter().for_each(|event| probe.mark(event));
        probe.advance()
    }

    #[test]
    fn what_a_backend_said_before_it_broke_off_tells_more_than_that_it_did() {
        let busy = b"HTTP/1.1 503 Busy\r\n\r\n";
        assert_eq!(met_with("type: http", busy), Some(Err(Failure::Status(503))));
        assert_eq!(met_with("type: http", b""), Some(Err(Failure::Reset)));
        assert_eq!(met_with("type: http", b"HTTP/1.1 200"), Some(Err(Failure::Reset)));
        assert_eq!(met_with("type: smtp", b"421 busy\r\n"), Some(Err(Failure::Status(421))));
        assert_eq!(met_with("type: smtp", b""), Some(Err(Failure::Reset)));
        assert_eq!(met_with("type: tcp", b""), Some(Err(Failure::Reset)));
        assert_eq!(met_with("type: exchange, expect: SSH", b"SSH"), Some(Ok(())));
    }
}
