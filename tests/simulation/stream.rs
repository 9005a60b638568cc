//! The simulated stream: a connection as the loop sees it, plain or like one that encrypts.
//!
//! A stream like TLS holds bytes back in both directions: it may owe bytes that it took, and give bytes after the
//! socket has none.

use std::collections::VecDeque;

use plb::session::{Outcome, Readiness};

use super::bug::Bug;
use super::kernel::{Edge, Given};
use super::turn::Owner;
use super::world::{Look, World};

/// The most bytes that a stream like TLS takes before it has sent what it owes.
const OWED_MAX: usize = 48;

/// One connection as the loop sees it.
pub struct Stream {
    pub wire: usize,
    pub owner: Owner,
    pub readiness: Readiness,
    pub reset_on_drop: bool,
    closing: bool,
    urgent: bool,
    look: Look,
    /// Read from the wire, not yet given.
    held: VecDeque<u8>,
    /// Taken, not yet written to the wire.
    owed: Vec<u8>,
}

impl Stream {
    pub fn accepted(wire: usize, look: Look) -> Stream {
        let readiness = Readiness { readable: true, writable: true, settled: true };
        Stream::new(wire, look, readiness, Owner::Retired)
    }

    pub fn connecting(wire: usize, look: Look, owner: Owner) -> Stream {
        Stream::new(wire, look, Readiness { readable: false, writable: true, settled: false }, owner)
    }

    fn new(wire: usize, look: Look, readiness: Readiness, owner: Owner) -> Stream {
        Stream {
            wire,
            owner,
            readiness,
            reset_on_drop: false,
            closing: false,
            urgent: false,
            look,
            held: VecDeque::new(),
            owed: Vec::new(),
        }
    }

    /// Owes this from the beginning.
    pub fn owing(self, owed: Vec<u8>) -> Stream {
        Stream { owed, ..self }
    }

    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    pub fn mark(&mut self, edge: Edge) {
        self.closing |= edge.closing;
        self.urgent |= edge.urgent;
        self.readiness.readable |= edge.readable || self.closing;
        self.readiness.writable |= edge.writable;
        self.readiness.settled = true;
    }

    /// What an all-knowing poll would say.
    pub fn truth(&self, world: &World) -> Readiness {
        let wire = &world.wires[self.wire];
        let state = wire.state();
        Readiness {
            readable: state.readable || !self.held.is_empty(),
            writable: state.writable && !wire.awaits_room(),
            settled: wire.is_settled(),
        }
    }

    pub fn read(&mut self, room: &mut [u8], world: &mut World, bug: Option<Bug>) -> Outcome {
        assert!(!room.is_empty(), "a read into no room");
        if self.look == Look::Tls {
            return self.read_held(room, world);
        }
        match world.wires[self.wire].read(room) {
            Given::Bytes(count) => {
                let closing = self.closing && bug != Some(Bug::ShortReadHidesTheEnd);
                self.readiness.readable = count == room.len() || closing;
                Outcome::Bytes { count, owes: false }
            }
            Given::End => Outcome::Ended,
            Given::Failed(failure) => Outcome::Failed(failure),
            Given::Blocked => self.blocked_read(),
        }
    }

    fn read_held(&mut self, room: &mut [u8], world: &mut World) -> Outcome {
        if self.held.is_empty() {
            let mut record = [0; 100];
            match world.wires[self.wire].read(&mut record) {
                Given::Bytes(count) => self.held.extend(&record[..count]),
                Given::End => return Outcome::Ended,
                Given::Failed(failure) => return Outcome::Failed(failure),
                Given::Blocked => return self.blocked_read(),
            }
        }
        let count = room.len().min(self.held.len()).min(1 + world.rng.below(60) as usize);
        for (place, byte) in room.iter_mut().zip(self.held.drain(..count)) {
            *place = byte;
        }
        Outcome::Bytes { count, owes: false }
    }

    fn blocked_read(&mut self) -> Outcome {
        self.readiness.readable = false;
        Outcome::Blocked
    }

    pub fn write(&mut self, bytes: &[u8], world: &mut World) -> Outcome {
        assert!(!bytes.is_empty(), "a write of nothing");
        if self.look == Look::Plain {
            return if self.owes() { self.write_behind_owed(bytes, world) } else { self.write_plain(bytes, world) };
        }
        if !world.wires[self.wire].is_settled() {
            return self.blocked_write();
        }
        let room = OWED_MAX.saturating_sub(self.owed.len());
        let count = bytes.len().min(room);
        self.owed.extend_from_slice(&bytes[..count]);
        match self.send_owed(world) {
            Outcome::Failed(failure) => Outcome::Failed(failure),
            _ if count == 0 => Outcome::Blocked,
            _ => Outcome::Bytes { count, owes: self.owes() },
        }
    }

    /// One call may send some of what is owed, all of it and nothing else, or more.
    fn write_behind_owed(&mut self, bytes: &[u8], world: &mut World) -> Outcome {
        let before = self.owed.len();
        match self.send_owed(world) {
            Outcome::Done if world.rng.chance(1, 3) => Outcome::Bytes { count: 0, owes: false },
            Outcome::Done => match self.write_plain(bytes, world) {
                Outcome::Blocked => Outcome::Bytes { count: 0, owes: false },
                other => other,
            },
            Outcome::Blocked if self.owed.len() < before => Outcome::Bytes { count: 0, owes: true },
            other => other,
        }
    }

    fn write_plain(&mut self, bytes: &[u8], world: &mut World) -> Outcome {
        match world.wires[self.wire].write(bytes, &mut world.rng) {
            Given::Bytes(count) => Outcome::Bytes { count, owes: false },
            Given::Failed(failure) => self.broken(failure),
            Given::Blocked | Given::End => self.blocked_write(),
        }
    }

    pub fn flush(&mut self, world: &mut World, bug: Option<Bug>) -> Outcome {
        if bug == Some(Bug::OwedBytesAreNotFlushed) {
            self.owed.clear();
            return Outcome::Done;
        }
        self.send_owed(world)
    }

    fn send_owed(&mut self, world: &mut World) -> Outcome {
        while self.owes() {
            match world.wires[self.wire].write(&self.owed, &mut world.rng) {
                Given::Bytes(count) => drop(self.owed.drain(..count)),
                Given::Failed(failure) => return self.broken(failure),
                Given::Blocked | Given::End => return self.blocked_write(),
            }
        }
        Outcome::Done
    }

    /// Whether bytes can go past a buffer, from it or to it.
    pub fn is_plain(&self) -> bool {
        self.look == Look::Plain && !self.urgent
    }

    pub fn is_of_plain_look(&self) -> bool {
        self.look == Look::Plain
    }

    pub fn has_room(&mut self, world: &mut World, bug: Option<Bug>) -> bool {
        let wire = &mut world.wires[self.wire];
        self.readiness.writable = wire.has_room(&mut world.rng);
        if bug == Some(Bug::FullWithoutAnEdge) {
            wire.hush();
        }
        self.readiness.writable
    }

    /// The bytes that took off.
    pub fn take_off(&mut self, most: usize, world: &mut World) -> (Outcome, VecDeque<u8>) {
        let (bytes, given) = world.wires[self.wire].splice(most, &mut world.rng);
        let outcome = match given {
            Given::Bytes(count) => Outcome::Bytes { count, owes: false },
            Given::End => Outcome::Ended,
            Given::Failed(failure) => Outcome::Failed(failure),
            Given::Blocked => self.blocked_read(),
        };
        (outcome, bytes.into())
    }

    pub fn land(&mut self, flight: &mut VecDeque<u8>, world: &mut World, bug: Option<Bug>) -> Outcome {
        let outcome = self.write_plain(flight.make_contiguous(), world);
        if let Outcome::Bytes { count, .. } = outcome {
            flight.drain(..count);
            if bug == Some(Bug::FlightIsCutShort) && !flight.is_empty() {
                let count = count + flight.len();
                flight.clear();
                return Outcome::Bytes { count, owes: false };
            }
        }
        outcome
    }

    fn blocked_write(&mut self) -> Outcome {
        self.readiness.writable = false;
        Outcome::Blocked
    }

    fn broken(&mut self, failure: plb::balance::Failure) -> Outcome {
        self.readiness.readable = true;
        self.closing = true;
        Outcome::Failed(failure)
    }

    pub fn shutdown(&mut self, world: &mut World) {
        assert!(!self.owes(), "an end was sent before bytes that are owed");
        world.wires[self.wire].shutdown();
    }
}
