//! The server's part in admission: clients are taken while there is room behind their door, and accepting rests when
//! descriptors run out.
//!
//! Who was taken comes before who waits: while a session lacks a descriptor, what is freed is for it.

use std::io;
use std::net::SocketAddr;

use log::Level;
use mio::net::TcpStream;

use super::{Alarm, Server, enqueue};
use crate::balance::Seeker;
use crate::base::arena::Id;
use crate::base::time::Time;
use crate::config::Listener;
use crate::net::driver::{Pair, Verdict};
use crate::net::listener::{Accepted, PAUSE};
use crate::net::stream::{Owner, Stream};
use crate::protocol::refusal::Cause;
use crate::session::door::{Admission, Refusal};
use crate::session::record::CloseReason;
use crate::session::{Core, Session, Side};

/// The most clients that one listener gives in one turn.
const ACCEPTS_MAX: usize = 64;

/// Counts a session that is over because a proxy did not say whom it forwards for, and tells of it: for the first time, and
/// then ever more rarely.
pub(super) fn note_unannounced(core: &mut Core, session: &Session) {
    let CloseReason::Unannounced(why) = session.close_reason() else { return };
    let times = core.refuse(session.listener(), Cause::ProxyHeader);
    if times.is_power_of_two() {
        let (name, proxy) = (&core.config.listeners[usize::from(session.listener())].name, session.client());
        log::info!("listener {name}: no PROXY header from {proxy}: {why} (so far {times} times)");
    }
}

impl Server {
    /// Whether another client may be taken.
    pub(super) fn has_room(&self) -> bool {
        !self.is_crowded() && self.lacking.is_empty()
    }

    /// When somebody may be taken from a backlog in which somebody waits; `None`: not before somebody leaves.
    pub(super) fn opens(&self) -> Option<Time> {
        let ready = self.listeners.iter().flatten().filter(|listener| self.has_room() && listener.is_ready());
        ready.filter_map(|listener| self.door_opens(listener.position())).min()
    }

    fn door_opens(&self, position: u16) -> Option<Time> {
        self.core.door.opens(position, self.core.stage, self.core.now)
    }

    fn is_crowded(&self) -> bool {
        self.pairs.len() >= self.core.config.max_clients as usize
    }

    /// Takes clients from the backlogs, a few from each, as long as there is room.
    pub(super) fn accept(&mut self) {
        self.note_fullness();
        for place in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_MAX {
                let Some(listener) = self.listeners[place].as_ref().filter(|listener| listener.is_ready()) else {
                    break;
                };
                let (position, port) = (listener.position(), listener.address().port());
                if !self.has_room() || self.door_opens(position).is_none_or(|opens| opens > self.core.now) {
                    self.note_full_door(position);
                    break;
                }
                let Some(listener) = &mut self.listeners[place] else { break };
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

    /// The same of one listener.
    fn note_full_door(&mut self, position: u16) {
        if let Some(times) = self.core.door.note_full(position).filter(|times| times.is_power_of_two()) {
            let listener = &self.core.config.listeners[usize::from(position)];
            let (name, clients) = (&listener.name, listener.clients_max.unwrap_or_default());
            log::warn!("listener {name}: max_clients ({clients}) are being served, others wait (so far {times} times)");
        }
    }

    /// Says who was refused: for the first time, and then ever more rarely; all of them to whoever wants to know more.
    pub(super) fn report_refusals(&mut self) {
        for Refusal { listener, client, cause, times } in self.core.door.refusals.drain(..) {
            let Listener { name, clients_per_address_max, .. } = &self.core.config.listeners[usize::from(listener)];
            let loud = |level| if times.is_power_of_two() { level } else { Level::Debug };
            if let (Cause::Crowd, Some(max)) = (cause, clients_per_address_max) {
                let what = "connections, more are reset";
                log::log!(
                    loud(Level::Warn),
                    "listener {name}: {client} has max_clients_per_address ({max}) {what} (so far {times} times)"
                );
            } else {
                let what = "is denied by access";
                log::log!(loud(Level::Info), "listener {name}: {client} {what} (so far {times} times)");
            }
        }
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
        let mut stream = Stream::accepted(socket);
        let entry = match self.core.context().receive(position, client) {
            Admission::Enter(entry) => entry,
            Admission::Close => {
                // What it has sent would make a reset of the end.
                stream.shutdown();
                return;
            }
            Admission::Reset => return stream.reset_on_drop(),
        };
        self.core.door.enter(position, self.core.now);
        let Ok(stream) = self.driver.insert(stream) else { return self.core.door.leave(position, entry) };
        self.stats.accepted += 1;
        // It may have to wait for a backend from the first moment.
        self.core.who = Seeker(self.pairs.next_id().to_bits());
        let pair = Pair {
            session: Session::admitted(entry, position, port, client, &mut self.core.context()),
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
