//! The server's part in admission: clients are taken while there is room, and accepting rests when descriptors run out.
//!
//! Who was taken comes before who waits: while a session lacks a descriptor, what is freed is for it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;

use super::{Alarm, Server, enqueue};
use crate::balance::Seeker;
use crate::base::arena::Id;
use crate::base::time::Time;
use crate::net::driver::{Pair, Verdict};
use crate::net::listener::{Accepted, PAUSE};
use crate::net::stream::{Owner, Stream};
use crate::protocol::refusal::Cause;
use crate::session::{Core, Session, Side};

/// The most clients that one listener gives in one turn.
const ACCEPTS_MAX: usize = 64;

/// Counts a connection of a proxy that did not say whom it forwards for, and tells of it: for the first time, and then
/// ever more rarely.
pub(super) fn note_unannounced(core: &mut Core, position: u16, proxy: SocketAddr, why: &str) {
    let times = core.refuse(position, Cause::ProxyHeader);
    if times.is_power_of_two() {
        let name = &core.config.listeners[usize::from(position)].name;
        log::info!("listener {name}: no PROXY header from {proxy}: {why} (so far {times} times)");
    }
}

impl Server {
    /// Whether another client may be taken.
    pub(super) fn has_room(&self) -> bool {
        !self.is_crowded() && self.lacking.is_empty()
    }

    fn is_crowded(&self) -> bool {
        self.pairs.len() >= self.core.config.max_clients as usize
    }

    /// Takes clients from the backlogs, a few from each, as long as there is room.
    pub(super) fn accept(&mut self) {
        self.note_fullness();
        for place in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_MAX {
                let room = self.has_room();
                let Some(listener) = &mut self.listeners[place] else { break };
                if !room || !listener.is_ready() {
                    break;
                }
                let (position, port) = (listener.position(), listener.address().port());
                match listener.accept() {
                    Accepted::Client(socket, client) => self.admit(position, port, socket, client),
                    Accepted::Nobody => break,
                    Accepted::Gone => {}
                    Accepted::Exhausted(error) => {
                        listener.pause();
                        self.pause(&error);
                        break;
                    }
                }
            }
        }
    }

    /// Whether this client may have one more connection to the listener.
    fn lets_in(&mut self, position: u16, client: IpAddr) -> bool {
        let listener = &self.core.config.listeners[usize::from(position)];
        if self.crowd.enter(position, listener, client) {
            return true;
        }
        let max = listener.clients_per_address_max.unwrap_or_default();
        let times = self.core.refuse(position, Cause::Crowd);
        // Once for the first time, and then ever more rarely.
        if times.is_power_of_two() {
            let name = &self.core.config.listeners[usize::from(position)].name;
            log::warn!(
                "listener {name}: {client} has max_clients_per_address ({max}) connections, more are reset \
                 (so far {times} times)"
            );
        }
        false
    }

    /// Says that clients have to wait: for the first time, and then ever more rarely.
    fn note_fullness(&mut self) {
        let is_full = self.is_crowded() && self.listeners.iter().flatten().any(|listener| listener.is_ready());
        if is_full && !self.is_full {
            self.stats.fullnesses += 1;
            if self.stats.fullnesses.is_power_of_two() {
                let (clients, times) = (self.core.config.max_clients, self.stats.fullnesses);
                log::warn!("max_clients ({clients}) are being served, others wait (so far {times} times)");
            }
        }
        self.is_full = is_full;
    }

    /// Descriptors ran out: accepting goes on when one was freed, or soon. Idle connections are not given up for new
    /// clients: those who are being served may need them.
    fn pause(&mut self, error: &io::Error) {
        self.stats.pauses += 1;
        self.wheel.insert(self.core.now + PAUSE, Alarm::Resume);
        // Once for the first time, and then ever more rarely.
        if self.stats.pauses.is_power_of_two() {
            log::warn!("cannot accept clients for the moment: {error} (so far {} times)", self.stats.pauses);
        }
    }

    /// Keeps the line of those who wait for a descriptor: who has tried in vain keeps its place.
    pub(super) fn note_lack(&mut self, id: Id<Pair>, verdict: Option<Verdict>) {
        let lacks = verdict == Some(Verdict::Lacks);
        if lacks && !std::mem::replace(&mut self.relieving, true) {
            self.wheel.insert(self.core.now + PAUSE, Alarm::Relieve);
        }
        let Some(pair) = self.pairs.get_mut(id) else { return };
        match (std::mem::replace(&mut pair.lacks, lacks), lacks) {
            (false, true) => {
                self.lacking.push_back(id);
                self.stats.lacks += 1;
                if self.stats.lacks.is_power_of_two() {
                    let times = self.stats.lacks;
                    log::warn!("descriptors ran out, a connection to a backend waits for one (so far {times} times)");
                }
            }
            (true, false) => self.lacking.retain(|other| *other != id),
            _ => {}
        }
    }

    /// So many descriptors or idle connections may be had: the first in the line try again.
    pub(super) fn relieve(&mut self, count: usize) {
        for &id in self.lacking.iter().take(count) {
            enqueue(&mut self.pairs, &mut self.runnable, id);
        }
    }

    fn admit(&mut self, position: u16, port: u16, socket: TcpStream, client: SocketAddr) {
        let stream = Stream::accepted(socket);
        if !self.lets_in(position, client.ip()) {
            // Whoever has too much is left nothing: no answer, and no connection that ends slowly.
            return stream.reset_on_drop();
        }
        let Ok(stream) = self.driver.insert(stream) else {
            let listener = &self.core.config.listeners[usize::from(position)];
            return self.crowd.leave(position, listener, client.ip());
        };
        self.stats.accepted += 1;
        // It may have to wait for a backend from the first moment.
        self.core.who = Seeker(self.pairs.next_id().to_bits());
        let pair = Pair {
            session: Session::new(position, port, client, &mut self.core.context()),
            client: stream,
            backend: None,
            flights: [None, None],
            timer: None,
            filed: Time::NEVER,
            queued: false,
            starved: false,
            lacks: false,
        };
        let id = self.pairs.insert(pair);
        if let Some(stream) = self.driver.streams.get_mut(stream) {
            stream.set_owner(Owner::Session(id, Side::Client));
        }
        enqueue(&mut self.pairs, &mut self.runnable, id);
    }
}
