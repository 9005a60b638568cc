//! The driver: makes the system calls that a session names, within a budget.
//!
//! It owns the streams, the idle set, the buffers and the kernel pipes. It decides nothing about a session; it never
//! frees a stream, but retires it until the turn ends, because events of this turn may still name it.

use std::io;
use std::net::Ipv4Addr;

use mio::Registry;
use nix::errno::Errno;

use super::addresses::Addresses;
use super::failure::{failure_of, is_lack_of_descriptors};
use super::idle::Idle;
use super::kernel_pipe::{Flight, KernelPipes};
use super::stream::{Owner, Stream};
use super::token::Source;
use crate::balance::{BackendId, Failure};
use crate::base::arena::{Arena, Id};
use crate::base::buffers::{Buffer, Buffers};
use crate::base::time::Time;
use crate::base::timer::Timer;
use crate::config::Pool;
use crate::protocol::{Reuse, proxy_header};
use crate::session::{Context, Io, Outcome, Part, Readiness, Session, Side};

/// The most calls a session makes in one turn.
const CALLS_MAX: u32 = 32;

/// The most bytes a session moves in one turn. For bulk within the kernel, 256 KiB to 4 MiB cost the same.
const BYTES_MAX: usize = 512 * 1024;

/// The least that takes off at once, however small the buffer of the sink is. The most is what a kernel pipe holds: with
/// a quarter of that, bulk costs half as much again.
const FLIGHT_BYTES_LEAST: usize = 16 * 1024;

/// A session with its two streams, its timer and its place in the queues.
pub struct Pair {
    /// The pure part.
    pub session: Session,
    /// The client's stream.
    pub client: Id<Stream>,
    /// The backend's, while there is one.
    pub backend: Option<Id<Stream>>,
    /// What is on its way to the other side, from the client and from the backend.
    pub flights: [Option<Flight>; 2],
    /// Its one entry in the wheel.
    pub timer: Option<Timer>,
    /// The moment of that entry.
    pub filed: Time,
    /// Whether it is in the run queue.
    pub queued: bool,
    /// Whether it waits for buffers.
    pub starved: bool,
    /// Whether it waits for a descriptor.
    pub lacks: bool,
}

impl Pair {
    fn stream(&self, side: Side) -> Option<Id<Stream>> {
        match side {
            Side::Client => Some(self.client),
            Side::Backend => self.backend,
        }
    }
}

/// How a run of a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It waits for an event or its deadline.
    Waits,
    /// It could go on, but others have their turn.
    GoesOn,
    /// It waits for buffers.
    Starves,
    /// It waits for a descriptor.
    Lacks,
    /// It is over.
    Over,
}

/// What the calls of sessions need.
pub struct Driver {
    /// Adds sockets to the poll.
    pub registry: Registry,
    /// All connections of sessions and of the idle set.
    pub streams: Arena<Stream>,
    /// Those that nobody uses.
    pub idle: Idle,
    /// The lender.
    pub buffers: Buffers,
    /// The lender of kernel pipes.
    pub kernel_pipes: KernelPipes,
    /// Whether somebody waits for buffers already: then nobody overtakes.
    pub hungry: usize,
    /// Where the backends are.
    pub addresses: Addresses,
    /// The streams to be dropped when the turn ends.
    pub retired: Vec<Id<Stream>>,
    /// Connections that became idle in this turn.
    pub parked: usize,
    /// The backends whose idle connections nobody looks after yet.
    pub newly_idle: Vec<BackendId>,
}

impl Driver {
    /// Runs a session until it waits, is over, or has used up its budget.
    pub fn run(&mut self, id: Id<Pair>, pair: &mut Pair, context: &mut Context) -> Verdict {
        let (mut calls, mut bytes) = (0, 0);
        loop {
            self.discard_lost(pair);
            let ready = self.readiness(pair);
            let io = pair.session.next_io(ready);
            match io {
                Io::Wait => {
                    self.take_back(pair.session.take_idle_buffers());
                    return Verdict::Waits;
                }
                Io::Close => {
                    // Not in `reap`: many sessions may end in one turn.
                    self.clear(pair);
                    return Verdict::Over;
                }
                _ if calls >= CALLS_MAX || bytes >= BYTES_MAX => return Verdict::GoesOn,
                _ => {}
            }
            calls += 1;
            let outcome = self.perform(id, pair, io, context);
            match (io, outcome) {
                (Io::Borrow, Outcome::Blocked) => {
                    // Who waits for buffers keeps none from the others: all of them may be waiting.
                    self.take_back(pair.session.take_idle_buffers());
                    return Verdict::Starves;
                }
                (Io::Acquire { .. }, Outcome::Blocked) => return Verdict::Lacks,
                // It counts when it lands, so that it does so in this turn.
                (Io::Fill(_), _) => {}
                (_, Outcome::Bytes { count, .. }) => bytes += count,
                _ => {}
            }
            pair.session.complete(io, outcome, context);
        }
    }

    /// Takes a session's buffers back.
    pub fn take_back(&mut self, buffers: [Option<Buffer>; 2]) {
        for buffer in buffers.into_iter().flatten() {
            self.buffers.give_back(buffer);
        }
    }

    /// Takes back whatever a session that is over was lent.
    pub fn clear(&mut self, pair: &mut Pair) {
        self.take_back(pair.session.take_buffers());
        for flight in pair.flights.iter_mut().filter_map(Option::take) {
            self.kernel_pipes.discard(flight);
        }
    }

    /// Discards the flights that the session has given up.
    fn discard_lost(&mut self, pair: &mut Pair) {
        for side in [Side::Client, Side::Backend] {
            let lost = pair.flights[side as usize].take_if(|_| pair.session.in_flight(side) == 0);
            lost.into_iter().for_each(|flight| self.kernel_pipes.discard(flight));
        }
    }

    /// Takes a stream out of service; it is dropped when the turn ends.
    pub fn retire(&mut self, id: Id<Stream>) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.set_owner(Owner::Retired);
            self.retired.push(id);
        }
    }

    /// What is known of the streams of both sides; nothing of one that is not there.
    pub fn readiness(&self, pair: &Pair) -> [Readiness; 2] {
        [Side::Client, Side::Backend].map(|side| {
            pair.stream(side).and_then(|id| self.streams.get(id)).map(Stream::readiness).unwrap_or_default()
        })
    }

    fn perform(&mut self, id: Id<Pair>, pair: &mut Pair, io: Io, context: &mut Context) -> Outcome {
        match io {
            Io::Borrow => self.lend(pair),
            Io::Acquire { backend, reuse, address } => self.acquire(id, pair, backend, reuse, address, context),
            Io::Part(part) => self.part(pair, part, context),
            Io::Read(side) => self.read(pair, side),
            Io::Write(side) => match self.stream(pair, side) {
                Some(stream) => stream.write(pair.session.cleared(side)),
                None => Outcome::Failed(Failure::Reset),
            },
            Io::Fill(source) => self.fill(pair, source),
            Io::Drain(sink) => self.drain(pair, sink),
            Io::Shutdown(side) => self.stream(pair, side).map_or(Outcome::Done, Stream::shutdown),
            Io::FinishConnect => match self.stream(pair, Side::Backend) {
                Some(stream) => stream.finish_connect(),
                None => Outcome::Failed(Failure::Reset),
            },
            Io::Flush(side) => self.stream(pair, side).map_or(Outcome::Done, Stream::flush),
            Io::Wait | Io::Close => Outcome::Done,
        }
    }

    fn stream(&mut self, pair: &Pair, side: Side) -> Option<&mut Stream> {
        self.streams.get_mut(pair.stream(side)?)
    }

    fn lend(&mut self, pair: &mut Pair) -> Outcome {
        // Nobody overtakes those who wait already.
        if self.hungry > 0 {
            return Outcome::Blocked;
        }
        if pair.session.borrow(&mut self.buffers) { Outcome::Done } else { Outcome::Blocked }
    }

    fn read(&mut self, pair: &mut Pair, side: Side) -> Outcome {
        let Some(stream) = self.stream(pair, side) else { return Outcome::Failed(Failure::Reset) };
        let outcome = stream.read(pair.session.room(side));
        if let (Outcome::Bytes { .. }, Some((backend, position))) = (outcome, stream.take_alternative()) {
            self.addresses.prefer(backend, position);
        }
        outcome
    }

    /// The sink is asked first, so that nothing is held for one that takes nothing: not even a kernel pipe.
    fn fill(&mut self, pair: &mut Pair, source: Side) -> Outcome {
        if !self.kernel_pipes.is_possible() {
            return Outcome::Unable;
        }
        let Some(sink) = self.stream(pair, source.other()) else { return Outcome::Unable };
        if !sink.has_room() {
            return Outcome::Full;
        }
        let room = sink.room_bytes();
        let room = room.min(self.kernel_pipes.flight_bytes_max()).max(FLIGHT_BYTES_LEAST);
        let bytes_max = pair.session.credit(source).min(room as u64) as usize;
        let Some(id) = pair.stream(source) else { return Outcome::Unable };
        let Some(stream) = self.streams.get_mut(id) else { return Outcome::Unable };
        let (outcome, flight) = stream.take_off(bytes_max, &mut self.kernel_pipes);
        pair.flights[source as usize] = flight;
        outcome
    }

    fn drain(&mut self, pair: &mut Pair, sink: Side) -> Outcome {
        let Some(stream) = pair.stream(sink).and_then(|id| self.streams.get_mut(id)) else {
            return Outcome::Failed(Failure::Reset);
        };
        let place = &mut pair.flights[sink.other() as usize];
        let Some(flight) = place.take() else { return Outcome::Failed(Failure::Reset) };
        let (outcome, left) = stream.land(flight, &mut self.kernel_pipes);
        *place = left;
        outcome
    }

    fn acquire(
        &mut self,
        id: Id<Pair>,
        pair: &mut Pair,
        backend: BackendId,
        reuse: Reuse,
        step: u8,
        context: &mut Context,
    ) -> Outcome {
        if reuse == Reuse::Idle {
            if let Some(found) = self.idle.take(backend) {
                if let Some(stream) = self.streams.get_mut(found) {
                    stream.set_owner(Owner::Session(id, Side::Backend));
                    pair.backend = Some(found);
                    return Outcome::Reused;
                }
            }
        }
        self.make_way(backend, context);
        let pool = &context.config.pools[backend.pool()];
        let mut connected = self.connect(id, backend, step, pool);
        if connected.as_ref().is_err_and(is_lack_of_descriptors) && self.kernel_pipes.close_free() {
            connected = self.connect(id, backend, step, pool);
        }
        match connected {
            Ok((stream, alternatives)) => {
                pair.backend = Some(stream);
                self.announce(pair, backend, context);
                Outcome::Started { alternatives }
            }
            Err(error) => self.unconnected(&error, backend, step, context),
        }
    }

    /// Lets a new connection begin with who the client is, where the pool says so.
    fn announce(&mut self, pair: &Pair, backend: BackendId, context: &Context) {
        let Some(version) = context.config.pools[backend.pool()].send_proxy else { return };
        let (client, told) = pair.session.ends();
        let local = || self.streams.get(pair.client)?.local_address().ok();
        // Without a header, the client could write one itself.
        let destination = told.or_else(local).unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
        let mut header = Vec::new();
        proxy_header::write(version, client, destination, &mut header);
        if let Some(stream) = self.stream(pair, Side::Backend) {
            stream.begin_with(header);
        }
    }

    /// Idle connections count for a backend that has a limit, too: one goes before another one comes.
    fn make_way(&mut self, backend: BackendId, context: &Context) {
        let Some(max) = context.pools.load_max(backend) else { return };
        let idle_max = max.saturating_sub(context.pools.load(backend));
        while self.idle.backend_len(backend) > idle_max {
            let Some(id) = self.idle.take(backend) else { return };
            if let Some(stream) = self.streams.get_mut(id) {
                // It is dropped later in the turn, and the backend is to hear of its end before.
                stream.shutdown();
            }
            self.retire(id);
        }
    }

    /// What follows when no connection could be asked for.
    fn unconnected(&mut self, error: &io::Error, backend: BackendId, step: u8, context: &mut Context) -> Outcome {
        let failure = failure_of(error);
        if let Some(evicted) = (failure == Failure::Local).then(|| self.idle.evict()).flatten() {
            self.retire(evicted);
            return Outcome::Blocked;
        }
        if is_lack_of_descriptors(error) {
            return Outcome::Blocked;
        }
        let (_, _, alternatives) = self.addresses.get(backend, step);
        if alternatives > 0 {
            return Outcome::NextAddress;
        }
        context.counters.exhausted += u64::from(failure == Failure::Local);
        Outcome::Failed(failure)
    }

    fn connect(&mut self, id: Id<Pair>, backend: BackendId, step: u8, pool: &Pool) -> io::Result<(Id<Stream>, u8)> {
        let (address, position, alternatives) = self.addresses.get(backend, step);
        let mut stream = Stream::connect(address, pool)?;
        stream.set_owner(Owner::Session(id, Side::Backend));
        if step > 0 {
            stream.set_alternative(backend, position);
        }
        Ok((self.insert(stream)?, alternatives))
    }

    /// Takes a stream in and adds it to the poll.
    ///
    /// # Errors
    /// The system lacks memory for it, whatever it says.
    pub fn insert(&mut self, stream: Stream) -> io::Result<Id<Stream>> {
        let id = self.streams.insert(stream);
        let stream = self.streams.get_mut(id).ok_or(Errno::ENOMEM)?;
        if stream.register(&self.registry, Source::Stream(id).into()).is_err() {
            self.retire(id);
            return Err(Errno::ENOMEM.into());
        }
        Ok(id)
    }

    /// Takes the backend's stream away from a session, to keep it or not.
    fn part(&mut self, pair: &mut Pair, part: Part, context: &Context) -> Outcome {
        match (pair.backend.take(), part) {
            (Some(id), Part::Park(backend)) => self.park(id, backend, context),
            (Some(id), Part::Discard) => self.retire(id),
            (None, _) => {}
        }
        Outcome::Done
    }

    fn park(&mut self, id: Id<Stream>, backend: BackendId, context: &Context) {
        let backend_max = context.config.pools[backend.pool()].idle_backend_max;
        if !self.idle.takes(backend_max) || !self.is_quiet(id) {
            return self.retire(id);
        }
        if let Some(superfluous) = self.idle.superfluous(backend, backend_max) {
            self.retire(superfluous);
        }
        self.parked += 1;
        let slot = self.idle.park(id, backend, context.now);
        if self.idle.watch(backend) {
            self.newly_idle.push(backend);
        }
        if let Some(stream) = self.streams.get_mut(id) {
            stream.set_owner(Owner::Idle(slot));
        }
    }

    /// Whether a stream has nothing to read. What it says beyond its answer makes it useless.
    fn is_quiet(&mut self, id: Id<Stream>) -> bool {
        let Some(stream) = self.streams.get_mut(id) else { return false };
        !stream.readiness().readable || stream.read(&mut [0]) == Outcome::Blocked
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use super::*;
    use crate::config::{ProtocolName, quick_start};
    use crate::net::addresses::Alternatives;
    use crate::session::Core;

    #[test]
    fn an_address_that_fails_at_once_does_not_keep_the_others_from_being_tried() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let good = listener.local_addr().expect("it is bound");
        // Nobody can be connected to by broadcast: the system says so at once.
        let alternatives = Alternatives::new(vec![SocketAddr::from((Ipv4Addr::BROADCAST, 1)), good]);
        let config = quick_start(ProtocolName::Tcp, "127.0.0.1:1", &["a:1".to_string()]).expect("it is right");
        let poll = mio::Poll::new().expect("descriptors are left");
        let mut driver = Driver {
            registry: poll.registry().try_clone().expect("descriptors are left"),
            streams: Arena::with_capacity(2),
            idle: Idle::new([1].into_iter(), 0),
            buffers: Buffers::new(0),
            kernel_pipes: KernelPipes::new(0),
            hungry: 0,
            addresses: Addresses::new(vec![vec![alternatives]]),
            retired: Vec::new(),
            parked: 0,
            newly_idle: Vec::new(),
        };
        let mut core = Core::new(config, String::new());
        let context = &mut core.context();
        let mut pair = Pair {
            session: Session::new(0, 80, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), context),
            client: Id::from_parts(u32::MAX, 0),
            backend: None,
            flights: [None, None],
            timer: None,
            filed: Time::NEVER,
            queued: false,
            starved: false,
            lacks: false,
        };
        assert_eq!(driver.run(Id::from_parts(0, 0), &mut pair, context), Verdict::Waits);
        assert!(pair.backend.is_some(), "{:?}", pair.session.phase());
        listener.accept().expect("the second address is asked");
        pair.session.close(crate::session::record::CloseReason::Killed, context);
    }
}
