//! The calls that a session names, made over simulated streams within a budget.

use std::collections::VecDeque;

use plb::balance::{BackendId, Failure};
use plb::base::arena::Id;
use plb::base::buffers::Buffer;
use plb::config::ProxyVersion;
use plb::protocol::{Reuse, proxy_header};
use plb::session::{Io, Outcome, Part, Side};

use super::super::bug::Bug;
use super::super::stream::Stream;
use super::super::world::{DESTINATION, World};
use super::{Owner, Pair, Plb, Verdict, readiness};

/// The most bytes a session moves in one turn.
const BYTES_MAX: usize = 8 * 1024;

/// Calls that move nothing which a session may make in one turn.
const BARREN_MAX: u32 = 14;

impl Plb {
    pub(super) fn run_one(&mut self, world: &mut World, id: Id<Pair>, pair: &mut Pair) -> Verdict {
        let (mut calls, mut bytes, mut barren) = (0, 0, 0);
        loop {
            self.discard_lost(pair);
            let io = pair.session.next_io(readiness(&self.streams, pair));
            match io {
                Io::Wait => {
                    let back = match self.bug {
                        Some(Bug::BuffersReturnedWithBytes) => pair.session.take_buffers(),
                        _ => pair.session.take_idle_buffers(),
                    };
                    self.take_back(back);
                    return Verdict::Waits;
                }
                Io::Close => {
                    self.clear(pair);
                    return Verdict::Over;
                }
                _ if self.bug == Some(Bug::NoBudget) => {}
                _ if calls >= self.calls_max || bytes >= BYTES_MAX => return Verdict::GoesOn,
                _ => {}
            }
            calls += 1;
            self.calls += 1;
            world.interleave();
            let outcome = self.perform(world, id, pair, io);
            world.trace(|| format!("{id:?} {io:?} -> {outcome:?}"));
            match (io, outcome) {
                (Io::Borrow, Outcome::Blocked) => {
                    self.take_back(pair.session.take_idle_buffers());
                    return Verdict::Starves;
                }
                (Io::Acquire { .. }, Outcome::Blocked) => return Verdict::GoesOn,
                (_, Outcome::Bytes { count, .. }) if count > 0 => {
                    bytes += if matches!(io, Io::Fill(_)) { 0 } else { count };
                    barren = 0;
                    self.moved = true;
                    match io {
                        Io::Read(Side::Client) | Io::Fill(Side::Client) => pair.moved[0] += count as u64,
                        Io::Write(Side::Client) | Io::Drain(Side::Client) => pair.moved[1] += count as u64,
                        _ => {}
                    }
                }
                _ => barren += 1,
            }
            assert!(barren <= BARREN_MAX, "a session spins: {io:?} -> {outcome:?} in {:?}", pair.session.phase());
            pair.session.complete(io, outcome, &mut self.core.context());
        }
    }

    fn perform(&mut self, world: &mut World, id: Id<Pair>, pair: &mut Pair, io: Io) -> Outcome {
        let bug = self.bug;
        match io {
            Io::Borrow => self.lend(pair),
            Io::Acquire { backend, reuse, address } => self.acquire(world, id, pair, backend, reuse, address),
            Io::Part(part) => self.part(world, pair, part),
            Io::Read(side) => match self.stream(pair, side) {
                Some(stream) => stream.read(pair.session.room(side), world, bug),
                None => panic!("a read from nobody"),
            },
            Io::Write(side) => match self.stream(pair, side) {
                Some(stream) => stream.write(pair.session.cleared(side), world),
                None => panic!("a write to nobody"),
            },
            Io::Flush(side) => match self.stream(pair, side) {
                Some(stream) => stream.flush(world, bug),
                None => panic!("a flush to nobody"),
            },
            Io::Fill(source) => self.fill(world, pair, source),
            Io::Drain(sink) => self.land(world, pair, sink),
            Io::Shutdown(side) => {
                self.stream(pair, side).expect("there is somebody to be told the end").shutdown(world);
                Outcome::Done
            }
            Io::FinishConnect => {
                let stream = self.stream(pair, Side::Backend).expect("a connection was asked for");
                world.wires[stream.wire].connect_error().map_or(Outcome::Done, Outcome::Failed)
            }
            Io::Wait | Io::Close => unreachable!("they end the run"),
        }
    }

    fn take_back(&mut self, buffers: [Option<Buffer>; 2]) {
        buffers.into_iter().flatten().for_each(|buffer| self.buffers.give_back(buffer));
    }

    pub(super) fn clear(&mut self, pair: &mut Pair) {
        self.take_back(pair.session.take_buffers());
        for flight in pair.flights.iter_mut().filter_map(Option::take) {
            self.discard(flight);
        }
    }

    fn discard_lost(&mut self, pair: &mut Pair) {
        for side in [Side::Client, Side::Backend] {
            let lost = pair.flights[side as usize].take_if(|_| pair.session.in_flight(side) == 0);
            lost.into_iter().for_each(|flight| self.discard(flight));
        }
    }

    fn discard(&mut self, flight: VecDeque<u8>) {
        self.kernel_pipes.in_use -= usize::from(self.bug != Some(Bug::FlightIsNotDiscarded));
        if self.bug == Some(Bug::DirtyPipeIsReused) {
            self.kernel_pipes.free.push(flight);
        }
    }

    fn fill(&mut self, world: &mut World, pair: &mut Pair, source: Side) -> Outcome {
        let bug = self.bug;
        let room = self.stream(pair, source.other()).expect("there is a sink").has_room(world, bug);
        if !room {
            return Outcome::Full;
        }
        let urgent_too = bug == Some(Bug::SplicesUrgentData);
        let able = [Side::Client, Side::Backend].map(|side| {
            let stream = self.stream(pair, side).expect("both sides are there");
            stream.is_plain() || urgent_too && stream.is_of_plain_look()
        });
        let lacks = self.kernel_pipes.in_use >= self.kernel_pipes.in_use_max || world.rng.chance(1, 40);
        if lacks || able != [true; 2] {
            return Outcome::Unable;
        }
        let credit = pair.session.credit(source).saturating_add(u64::from(bug == Some(Bug::FillsPastTheCredit)));
        let most = if world.rng.chance(1, 2) { 1 + world.rng.below(80_000) } else { 1 << 20 };
        let most = credit.min(most) as usize;
        let stream = self.stream(pair, source).expect("there is a source");
        let (outcome, bytes) = stream.take_off(most, world);
        if let Outcome::Bytes { .. } = outcome {
            let mut flight = self.kernel_pipes.free.pop().unwrap_or_default();
            flight.extend(bytes);
            self.kernel_pipes.in_use += 1;
            let before = pair.flights[source as usize].replace(flight);
            assert!(before.is_none(), "bytes took off while others were in flight");
        }
        outcome
    }

    fn land(&mut self, world: &mut World, pair: &mut Pair, sink: Side) -> Outcome {
        let bug = self.bug;
        let mut flight = pair.flights[sink.other() as usize].take().expect("something is in flight");
        let outcome = self.stream(pair, sink).expect("there is a sink").land(&mut flight, world, bug);
        match outcome {
            Outcome::Bytes { count, .. } => self.spliced += count as u64,
            Outcome::Failed(_) => return self.lose(flight, outcome),
            _ => {}
        }
        match flight.is_empty() {
            true => {
                self.kernel_pipes.in_use -= 1;
                self.kernel_pipes.free.push(flight);
            }
            false => pair.flights[sink.other() as usize] = Some(flight),
        }
        outcome
    }

    fn lose(&mut self, flight: VecDeque<u8>, outcome: Outcome) -> Outcome {
        self.discard(flight);
        outcome
    }

    fn stream(&mut self, pair: &Pair, side: Side) -> Option<&mut Stream> {
        self.streams.get_mut(pair.stream(side)?)
    }

    fn lend(&mut self, pair: &mut Pair) -> Outcome {
        if !self.starving.is_empty() {
            return Outcome::Blocked;
        }
        if pair.session.borrow(&mut self.buffers) { Outcome::Done } else { Outcome::Blocked }
    }

    fn acquire(
        &mut self,
        world: &mut World,
        id: Id<Pair>,
        pair: &mut Pair,
        backend: BackendId,
        reuse: Reuse,
        address: u8,
    ) -> Outcome {
        assert!(pair.backend.is_none(), "a second connection for one session");
        let number = self.number(backend);
        let idle = &mut self.idle[number];
        let found = match self.bug {
            _ if reuse == Reuse::Fresh => None,
            Some(Bug::IdleConnectionIsUsedTwice) => idle.last().copied(),
            _ => idle.pop(),
        };
        if let Some((found, _)) = found {
            let stream = self.streams.get_mut(found).expect("what is parked is there");
            assert!(matches!(stream.owner, Owner::Idle(_)), "an idle connection was used by two sessions");
            stream.owner = Owner::Session(id, Side::Backend);
            pair.backend = Some(found);
            return Outcome::Reused;
        }
        self.make_way(backend);
        match world.connect(number, address) {
            Ok((wire, alternatives)) => {
                let stream = Stream::connecting(wire, world.profile.tls[1], Owner::Session(id, Side::Backend));
                let stream = stream.owing(self.announce(world, pair, wire));
                let stream = self.streams.insert(stream);
                world.register(wire, stream);
                pair.backend = Some(stream);
                Outcome::Started { alternatives }
            }
            Err(Failure::Local) => self.make_room(world),
            Err(failure) => Outcome::Failed(failure),
        }
    }

    fn make_way(&mut self, backend: BackendId) {
        let (number, pools) = (self.number(backend), &self.core.pools);
        let Some(max) = pools.load_max(backend).filter(|_| self.bug != Some(Bug::NoWayIsMade)) else { return };
        let idle_max = max.saturating_sub(pools.load(backend)) as usize;
        while self.idle[number].len() > idle_max {
            let (evicted, _) = self.idle[number].remove(0);
            self.retire(evicted);
        }
    }

    /// What plb says of its client on a new wire to a backend, which is to be told what the world knows.
    fn announce(&mut self, world: &mut World, pair: &Pair, wire: usize) -> Vec<u8> {
        let (mut header, mut expected) = (Vec::new(), Vec::new());
        if world.profile.announces {
            let (client, told) = pair.session.ends();
            assert!(told.is_some() == world.profile.announced, "{told:?}");
            proxy_header::write(ProxyVersion::V2, client, told.unwrap_or(DESTINATION), &mut header);
            let client = self.streams.get(pair.client).expect("it has a client").wire;
            proxy_header::write(ProxyVersion::V2, world.profile.addresses(client)[1], DESTINATION, &mut expected);
        }
        world.wires[wire].expected = expected.into();
        header
    }

    fn make_room(&mut self, world: &mut World) -> Outcome {
        match self.idle.iter_mut().find(|idle| !idle.is_empty()) {
            Some(idle) => {
                let (evicted, _) = idle.remove(0);
                self.retire(evicted);
                Outcome::Blocked
            }
            None if self.bug == Some(Bug::OwnLackIsBlamed) => Outcome::Failed(Failure::Refused),
            // Nobody has one to spare: who waits has one soon, or never.
            None if world.rng.chance(1, 2) => Outcome::Blocked,
            None => Outcome::Failed(Failure::Local),
        }
    }

    fn part(&mut self, world: &mut World, pair: &mut Pair, part: Part) -> Outcome {
        match (pair.backend.take(), part) {
            (Some(id), Part::Park(backend)) => self.park(world, id, backend),
            (Some(id), Part::Discard) => self.retire(id),
            (None, _) => {}
        }
        Outcome::Done
    }

    fn park(&mut self, world: &mut World, id: Id<Stream>, backend: BackendId) {
        let bug = self.bug;
        let stream = self.streams.get_mut(id).expect("a session's stream is there");
        assert!(!stream.owes(), "parked while it owes bytes");
        assert!(!world.profile.announces, "parked for others, and announced as somebody");
        let quiet = bug == Some(Bug::ParkedWhileReadable)
            || !stream.readiness.readable
            || stream.read(&mut [0], world, bug) == Outcome::Blocked;
        if !quiet {
            return self.retire(id);
        }
        stream.owner = Owner::Idle(backend);
        let number = self.number(backend);
        self.idle[number].push((id, self.core.now));
        if !std::mem::replace(&mut self.watched[number], true) {
            self.newly_idle.push(backend);
        }
    }
}
