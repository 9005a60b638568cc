//! The simulated loop: plb's turn over simulated streams, with the rules that the server follows, and the deliberate
//! bugs that break one of them each.
//!
//! It decides nothing about sessions or peers.

mod driver;
mod ledger;

use std::collections::VecDeque;
use std::time::Duration;

use plb::balance::{BackendId, Call, Outcome, Seeker, State};
use plb::base::arena::{Arena, Id};
use plb::base::buffers::Buffers;
use plb::base::time::Time;
use plb::base::timer::{Timer, TimerWheel};
use plb::config::{AccessFormat, Config, LogTarget};
use plb::protocol::Stage;
use plb::session::record::CloseReason;
use plb::session::{Core, Io, Readiness, Session, Side};

use super::bug::Bug;
use super::kernel::Edge;
use super::stream::Stream;
use super::world::World;
use ledger::Ledger;

/// Whom a stream serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Session(Id<Pair>, Side),
    Idle(BackendId),
    Retired,
}

/// A session with its streams, its timer and its place in the queues.
pub struct Pair {
    pub session: Session,
    client: Id<Stream>,
    backend: Option<Id<Stream>>,
    flights: [Option<VecDeque<u8>>; 2],
    timer: Option<Timer>,
    filed: Time,
    queued: bool,
    /// The calls of all sessions when it was queued.
    queued_at: u64,
    starved: bool,
    /// The bytes that were read from the client and written to it.
    moved: [u64; 2],
}

/// Pipes of the kernel; the bytes in one that is free are a bug.
struct KernelPipes {
    free: Vec<VecDeque<u8>>,
    in_use: usize,
    in_use_max: usize,
}

#[derive(Clone, Copy)]
enum Alarm {
    Session(Id<Pair>),
    Idle(BackendId),
    Revive(BackendId),
}

impl Pair {
    fn stream(&self, side: Side) -> Option<Id<Stream>> {
        match side {
            Side::Client => Some(self.client),
            Side::Backend => self.backend,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Waits,
    GoesOn,
    Starves,
    Over,
}

/// plb over a simulated kernel.
pub struct Plb {
    core: Core,
    /// Whether the stage has just changed: deadlines that it brought forward may have passed already.
    stage_is_new: bool,
    streams: Arena<Stream>,
    pairs: Arena<Pair>,
    buffers: Buffers,
    kernel_pipes: KernelPipes,
    runnable: VecDeque<Id<Pair>>,
    starving: VecDeque<Id<Pair>>,
    finished: Vec<Id<Pair>>,
    retired: Vec<Id<Stream>>,
    newly_idle: Vec<BackendId>,
    /// The backends before those of each pool.
    before: Vec<usize>,
    /// The parked streams of each backend, the one that was used last at the end.
    idle: Vec<Vec<(Id<Stream>, Time)>>,
    watched: Vec<bool>,
    wheel: TimerWheel<Alarm>,
    bug: Option<Bug>,
    /// Calls of all sessions.
    pub calls: u64,
    calls_max: u32,
    /// Ids of streams that are gone, to be named in events once more.
    gone: Vec<Id<Stream>>,
    /// Whether something moved or changed in this turn.
    pub moved: bool,
    /// Bytes that went past the buffers.
    pub spliced: u64,
    /// Deadlines that were met by sessions, the quiet ones of idle clients left out.
    pub timeouts: u64,
    ledger: Ledger,
}

impl Plb {
    pub fn new(config: Config, calls_max: u32, bug: Option<Bug>) -> Plb {
        let counts: Vec<usize> = config.pools.iter().map(|pool| pool.backends.len()).collect();
        let backends = counts.iter().sum();
        let config = Bug::spoil(bug, config);
        Plb {
            streams: Arena::with_capacity(0),
            pairs: Arena::with_capacity(0),
            buffers: Buffers::new(config.buffer_memory),
            kernel_pipes: KernelPipes { free: Vec::new(), in_use: 0, in_use_max: config.kernel_pipes as usize },
            runnable: VecDeque::new(),
            starving: VecDeque::new(),
            finished: Vec::new(),
            retired: Vec::new(),
            newly_idle: Vec::new(),
            before: counts.iter().scan(0, |sum, count| Some(std::mem::replace(sum, *sum + count))).collect(),
            idle: vec![Vec::new(); backends],
            watched: vec![false; backends],
            wheel: TimerWheel::new(Time::START),
            bug,
            calls: 0,
            calls_max,
            gone: Vec::new(),
            moved: false,
            spliced: 0,
            timeouts: 0,
            ledger: Ledger::default(),
            stage_is_new: false,
            core: Core::new(
                // With this one, most is kept for the access log.
                Config { access_log: Some(LogTarget::Standard), access_log_format: AccessFormat::Combined, ..config },
                "Sun, 06 Nov 1994 08:49:37 GMT".to_string(),
            ),
        }
    }

    /// The number that the world knows a backend by.
    fn number(&self, backend: BackendId) -> usize {
        self.before[backend.pool()] + backend.backend()
    }

    /// One turn: mark, expire, accept, run, reap.
    pub fn turn(&mut self, world: &mut World) {
        self.core.now = world.now;
        self.moved = false;
        let mut events = world.poll();
        if !self.gone.is_empty() && world.rng.chance(1, 16) {
            let stale = self.gone[world.rng.below(self.gone.len() as u64) as usize];
            events.push((stale, usize::MAX, Edge { readable: true, writable: true, closing: true, urgent: false }));
        }
        self.moved |= !events.is_empty();
        for (id, wire, edge) in events {
            self.mark(world, id, wire, edge);
            if self.bug == Some(Bug::ReapsWithinTheTurn) {
                self.run(world);
                self.reap(world);
            }
        }
        self.expire(world);
        self.accept(world);
        self.run(world);
        self.reap(world);
        self.report(world);
        self.call_up();
        self.ledger.take(&mut self.core.records);
        self.check(world);
        self.stage_is_new = false;
    }

    /// When the loop has to turn again; `None` when it has no reason to.
    pub fn next(&self) -> Option<Time> {
        if self.runnable.is_empty() { self.wheel.next() } else { Some(self.core.now) }
    }

    pub fn sessions(&self) -> usize {
        self.pairs.len()
    }

    pub fn is_at_rest(&self) -> bool {
        self.pairs.is_empty() && self.wheel.is_empty()
    }

    /// The daemon is about to stop.
    pub fn drain(&mut self) {
        (self.core.stage, self.stage_is_new) = (Stage::Draining, true);
        let ids: Vec<_> = self.pairs.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.enqueue(id));
    }

    /// Ends a session from outside, as a bug in it or a second signal would.
    pub fn kill_one(&mut self, world: &mut World) {
        let ids: Vec<_> = self.pairs.iter().map(|(id, _)| id).collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[world.rng.below(ids.len() as u64) as usize];
        let pair = self.pairs.get_mut(id).expect("it was listed just now");
        if let Some(stream) = self.streams.get(pair.client) {
            world.trace(|| format!("kill session of wire {}", stream.wire));
        }
        if self.bug == Some(Bug::LeaseIsNotGivenBack) {
            self.finished.push(id);
            return;
        }
        pair.session.close(CloseReason::Killed, &mut self.core.context());
        self.enqueue(id);
    }

    // Mark.

    fn mark(&mut self, world: &mut World, id: Id<Stream>, wire: usize, edge: Edge) {
        if self.bug == Some(Bug::AnEdgeIsForgotten) && world.rng.chance(1, 8) {
            return;
        }
        let id = match self.bug {
            Some(Bug::StaleEventIsApplied) => {
                self.streams.iter().map(|(id, _)| id).find(|other| other.index() == id.index()).unwrap_or(id)
            }
            _ => id,
        };
        let Some(stream) = self.streams.get_mut(id) else {
            assert!(wire == usize::MAX, "an event of this turn named a stream that was freed already");
            return;
        };
        assert!(stream.wire == wire, "a stale event was acted upon");
        world.trace(|| format!("edge {wire} {edge:?}"));
        stream.mark(edge);
        let readable = stream.readiness.readable;
        match stream.owner {
            Owner::Session(pair, _) => self.enqueue(pair),
            Owner::Idle(backend) if readable && self.bug != Some(Bug::IdleEndIsIgnored) => {
                let number = self.number(backend);
                self.idle[number].retain(|&(parked, _)| parked != id);
                self.retire(id);
            }
            Owner::Idle(_) | Owner::Retired => {}
        }
    }

    fn enqueue(&mut self, id: Id<Pair>) {
        if let Some(pair) = self.pairs.get_mut(id).filter(|pair| !pair.queued) {
            pair.queued = true;
            pair.queued_at = self.calls;
            self.runnable.push_back(id);
        }
    }

    // Expire.

    fn expire(&mut self, world: &mut World) {
        let mut due = Vec::new();
        self.wheel.expire(self.core.now, &mut due);
        for alarm in due {
            match alarm {
                Alarm::Session(id) => self.time_out(world, id),
                Alarm::Idle(backend) => self.expire_idle(backend),
                Alarm::Revive(backend) => self.revive(world, backend),
            }
        }
    }

    fn time_out(&mut self, world: &mut World, id: Id<Pair>) {
        let Some(pair) = self.pairs.get_mut(id) else { return };
        pair.timer = None;
        let due = pair.session.deadline(&self.core.config, self.core.stage) <= self.core.now;
        if due && !pair.session.has_buffers() {
            pair.session.borrow(&mut self.buffers);
        }
        if due {
            world.trace(|| format!("timeout of {id:?} in {:?}", pair.session.phase()));
            self.timeouts += u64::from(!pair.session.is_idle());
        }
        let ready = readiness(&self.streams, pair);
        self.core.who = Seeker(id.to_bits());
        pair.session.timed_out(ready, &mut self.core.context());
        self.enqueue(id);
    }

    fn idle_timeout(&self, backend: BackendId) -> Duration {
        self.core.config.pools[backend.pool()].timeouts.idle
    }

    fn expire_idle(&mut self, backend: BackendId) {
        let (timeout, number) = (self.idle_timeout(backend), self.number(backend));
        while let Some(&(id, since)) = self.idle[number].first() {
            if since + timeout > self.core.now {
                self.wheel.insert(since + timeout, Alarm::Idle(backend));
                return;
            }
            self.idle[number].remove(0);
            self.retire(id);
        }
        self.watched[number] = false;
    }

    fn revive(&mut self, world: &mut World, backend: BackendId) {
        if self.core.pools.begin_trial(backend, self.core.now) {
            self.core.pools.end_trial(backend, world.probe(self.number(backend)), self.core.now);
        }
    }

    // Accept.

    fn accept(&mut self, world: &mut World) {
        while let Some(wire) = world.take_client(self.pairs.len()) {
            let id = self.streams.insert(Stream::accepted(wire, world.profile.tls[0]));
            world.register(wire, id);
            let [address, _] = world.profile.addresses(wire);
            self.core.who = Seeker(self.pairs.next_id().to_bits());
            let pair = Pair {
                session: Session::new(0, 80, address, &mut self.core.context()),
                client: id,
                backend: None,
                flights: [None, None],
                timer: None,
                filed: Time::NEVER,
                queued: false,
                queued_at: 0,
                starved: false,
                moved: [0; 2],
            };
            let pair = self.pairs.insert(pair);
            self.streams.get_mut(id).expect("just inserted").owner = Owner::Session(pair, Side::Client);
            world.trace(|| format!("accept wire {wire} as {pair:?}"));
            self.enqueue(pair);
            self.moved = true;
        }
    }

    // Run.

    fn run(&mut self, world: &mut World) {
        for _ in 0..self.runnable.len() {
            let Some(id) = self.runnable.pop_front() else { break };
            let fair = 2 * (u64::from(self.calls_max) + 1) * (self.pairs.len() as u64 + 1);
            // A session and all the rest of plb are used at once: it is lent out with its arena.
            let mut pairs = std::mem::replace(&mut self.pairs, Arena::with_capacity(0));
            let verdict = pairs.get_mut(id).map(|pair| {
                let waited = self.calls - pair.queued_at;
                assert!(waited <= fair, "a session waited {waited} calls of others for its turn");
                pair.queued = false;
                self.core.who = Seeker(id.to_bits());
                self.run_one(world, id, pair)
            });
            self.pairs = pairs;
            let Some(verdict) = verdict else { continue };
            match verdict {
                Verdict::Over => self.finished.push(id),
                Verdict::Waits => self.file(id),
                Verdict::GoesOn => {
                    self.file(id);
                    self.enqueue(id);
                }
                Verdict::Starves => {
                    self.starve(id);
                    self.file(id);
                }
            }
        }
        self.feed();
    }

    fn retire(&mut self, id: Id<Stream>) {
        self.streams.get_mut(id).expect("retired once").owner = Owner::Retired;
        self.retired.push(id);
    }

    fn file(&mut self, id: Id<Pair>) {
        let Some(pair) = self.pairs.get_mut(id) else { return };
        let deadline = pair.session.deadline(&self.core.config, self.core.stage);
        match pair.timer {
            Some(_) if deadline >= pair.filed || self.bug == Some(Bug::TimerIsNotRefiled) => return,
            Some(timer) => drop(self.wheel.remove(timer)),
            None => {}
        }
        pair.timer = Some(self.wheel.insert(deadline, Alarm::Session(id)));
        pair.filed = deadline;
    }

    fn starve(&mut self, id: Id<Pair>) {
        if let Some(pair) = self.pairs.get_mut(id).filter(|pair| !pair.starved) {
            pair.starved = true;
            self.starving.push_back(id);
        }
    }

    fn feed(&mut self) {
        if self.bug == Some(Bug::StarvingIsNeverWoken) {
            return;
        }
        while let Some(&id) = self.starving.front() {
            if let Some(pair) = self.pairs.get_mut(id) {
                if !pair.session.borrow(&mut self.buffers) {
                    break;
                }
                pair.starved = false;
            }
            self.starving.pop_front();
            self.enqueue(id);
        }
    }

    // Reap.

    fn reap(&mut self, world: &mut World) {
        for id in std::mem::take(&mut self.finished) {
            let Some(mut pair) = self.pairs.remove(id) else { continue };
            world.trace(|| format!("reap {id:?}: {:?}", pair.session.close_reason()));
            self.moved = true;
            if let Some(timer) = pair.timer {
                self.wheel.remove(timer);
            }
            self.ledger.take(&mut self.core.records);
            let wire = self.streams.get(pair.client).expect("its stream is there").wire;
            let [_, client] = world.profile.addresses(wire);
            if pair.session.client() == client {
                let announced = world.profile.announcement(wire).len() as u64;
                self.ledger.close(wire, [pair.moved[0] - announced, pair.moved[1]], world.profile.weather);
            }
            self.clear(&mut pair);
            let abrupt = match self.bug {
                Some(Bug::AbruptEndLooksClean) => false,
                Some(Bug::LeaseIsNotGivenBack) => true,
                _ => pair.session.close_reason().is_abrupt(),
            };
            for stream in [Some(pair.client), pair.backend].into_iter().flatten() {
                if abrupt {
                    self.streams.get_mut(stream).expect("its stream is there").reset_on_drop = true;
                }
                self.retire(stream);
            }
        }
        for id in std::mem::take(&mut self.retired) {
            let stream = self.streams.remove(id).expect("retired once");
            world.wires[stream.wire].close(stream.reset_on_drop, &mut world.rng);
            self.gone.push(id);
        }
        for backend in std::mem::take(&mut self.newly_idle) {
            let timeout = self.idle_timeout(backend);
            self.wheel.insert(self.core.now + timeout, Alarm::Idle(backend));
        }
        self.feed();
    }

    fn report(&mut self, world: &mut World) {
        while let Some(transition) = self.core.pools.next_transition() {
            world.trace(|| format!("{:?}: {transition}", transition.backend));
            if transition.to == State::Down {
                let backend = transition.backend;
                let number = self.number(backend);
                assert!(!world.is_healthy(number), "a healthy backend is {transition}");
                for (id, _) in std::mem::take(&mut self.idle[number]) {
                    self.retire(id);
                }
                let pause = self.core.config.pools[backend.pool()].timeout_cleanup;
                self.wheel.insert(self.core.now + pause, Alarm::Revive(backend));
            }
        }
    }

    fn call_up(&mut self) {
        while let Some(Call { who, number, lease }) = self.core.pools.next_call() {
            let id = Id::from_bits(who.0);
            self.core.who = who;
            let refused = match self.pairs.get_mut(id).filter(|_| self.bug != Some(Bug::NobodyIsCalled)) {
                Some(pair) => pair.session.called(number, lease, &mut self.core.context()),
                None => lease,
            };
            if let Some(lease) = refused {
                self.core.pools.release(lease, Outcome::Neutral, self.core.now);
            }
            self.enqueue(id);
            self.moved = true;
        }
    }

    // What must hold.

    fn check(&self, world: &World) {
        for backend in self.core.pools.ids() {
            // Whoever is still to part from one backend may have chosen the next one already.
            let stays = |pair: &Pair| !matches!(pair.session.next_io([Readiness::default(); 2]), Io::Part(_));
            let is_used =
                |pair: &Pair| pair.backend.is_some() && pair.session.backend() == Some(backend) && stays(pair);
            let used = self.pairs.iter().filter(|(_, pair)| is_used(pair));
            let (used, idle) = (used.count(), self.idle[self.number(backend)].len());
            let most = world.profile.connections_max.unwrap_or(u32::MAX) as usize;
            assert!(used + idle <= most, "{used} connections to {backend:?} and {idle} idle ones");
        }
        for (id, pair) in self.pairs.iter() {
            assert!(pair.timer.is_some(), "{id:?} has no timer");
            let deadline = pair.session.deadline(&self.core.config, self.core.stage);
            let phase = pair.session.phase();
            // A timer fires up to a millisecond late.
            let late = deadline + Duration::from_millis(1) <= self.core.now;
            assert!(!late || pair.queued || self.stage_is_new, "the deadline of {id:?} has passed in {phase:?}");
            // Whoever is queued is filed anew in the next turn, which begins at once.
            assert!(pair.queued || pair.filed <= deadline, "the timer of {id:?} is filed too late in {phase:?}");
        }
        let lent: usize = self.pairs.iter().map(|(_, pair)| pair.session.buffers_held()).sum();
        assert_eq!(lent, self.buffers.lent(), "a buffer was lost");
        let flights = self.pairs.iter().flat_map(|(_, pair)| pair.flights.iter().flatten()).count();
        assert_eq!(flights, self.kernel_pipes.in_use, "a kernel pipe was lost");
        for (id, pair) in self.pairs.iter().filter(|(_, pair)| !pair.queued) {
            let holds = pair.session.buffers_held() == 1 && pair.session.cleared(Side::Client).is_empty();
            assert!(!(pair.starved && holds), "{id:?} starves and keeps a buffer from others");
            for side in [Side::Client, Side::Backend] {
                let flight = pair.flights[side as usize].as_ref().map_or(0, VecDeque::len);
                assert_eq!(flight, pair.session.in_flight(side), "{id:?} and its kernel pipe disagree");
            }
        }
    }

    /// Nothing can happen any more but time: then whoever could go on was forgotten.
    pub fn check_stall(&self, world: &World) {
        for (id, pair) in self.pairs.iter() {
            let truth = [Some(pair.client), pair.backend].map(|id| {
                let stream = id.and_then(|id| self.streams.get(id));
                stream.map(|stream| stream.truth(world)).unwrap_or_default()
            });
            let io = pair.session.next_io(truth);
            let left = self.buffers.lent_max() - self.buffers.lent();
            // One behind the first of those who wait may need fewer than are left.
            let starves =
                pair.starved && (left < 2 - pair.session.buffers_held() || self.starving.front() != Some(&id));
            assert!(io == Io::Wait || starves, "{id:?} stalls in {:?}: {io:?} could be done", pair.session.phase());
        }
        for (id, _) in self.idle.iter().flatten() {
            let stream = self.streams.get(*id).expect("what is parked is there");
            assert!(!stream.truth(world).readable, "a connection is parked although it can be read");
        }
    }

    /// All clients are gone and all timers have fired.
    pub fn check_end(&self, world: &World) {
        self.ledger.check_end(world);
        for backend in self.core.pools.ids() {
            assert_eq!(self.core.pools.load(backend), 0, "a lease on {backend:?} was not given back");
            assert_eq!(self.core.pools.waiting(backend.pool()), 0, "somebody waits for {backend:?}");
        }
        assert_eq!(self.buffers.lent(), 0, "buffers were not returned");
        assert_eq!(self.kernel_pipes.in_use, 0, "kernel pipes were not returned");
        assert!(self.streams.is_empty(), "{} streams were not freed", self.streams.len());
        assert!(self.starving.is_empty() && self.runnable.is_empty(), "somebody is still queued");
    }
}

fn readiness(streams: &Arena<Stream>, pair: &Pair) -> [Readiness; 2] {
    [Some(pair.client), pair.backend].map(|id| {
        let stream = id.and_then(|id| streams.get(id));
        stream.map(|stream| stream.readiness).unwrap_or_default()
    })
}
