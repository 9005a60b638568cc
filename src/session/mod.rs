//! The session: one client connection and the backend connection that serves it.
//!
//! A session is pure. It names the next system call ([`Session::next_io`]), somebody makes it, and the session takes
//! the outcome ([`Session::complete`]). It holds no socket and reads no clock.
//!
//! It moves bytes between two [`Pipe`]s as its protocol judges them, chooses backends, tries another one where the
//! first one failed and nothing is risked by it, and has a deadline in every phase.

mod attempt;
mod context;
pub mod door;
mod greeting;
mod io;
mod lending;
mod next;
pub mod pace;
pub mod phase;
pub mod record;

use std::net::SocketAddr;

use crate::balance::{BackendId, Failure, Outcome as Report};
use crate::base::pipe::Pipe;
use crate::base::time::Time;
use crate::config;
use crate::protocol::{AnyProtocol, Farewell, Parting, Protocol, Received, Stage, Step, Trouble, Wait};
use attempt::{Attempt, Origin};
pub use context::{Context, Core};
use door::Entry;
pub use io::{Io, Outcome, Part, Readiness, Side};
use phase::{Phase, Stall};
use record::{CloseReason, End, Record};

/// One client connection and the backend connection that serves it.
pub struct Session {
    phase: Phase,
    since: Time,
    request: Pipe,
    response: Pipe,
    protocol: AnyProtocol,
    client: SocketAddr,
    port: u16,
    /// Where the client connected to, if a proxy has said so; boxed, as most have none.
    destination: Option<Box<SocketAddr>>,
    listener: u16,
    /// What its client was counted under.
    entry: Entry,
    attempt: Attempt,
    tried: Vec<BackendId>,
    /// The one of them that only dropped an idle connection.
    last_resort: Option<BackendId>,
    parting: Option<Part>,
    /// The direction that moved last; the other one comes first.
    moved_last: Side,
    /// What the access log is told of the exchange that is under way.
    record: Option<Box<Record>>,
    /// When more of the request's body has to be here, where the listener wants a rate.
    pace: Option<Time>,
}

/// How bytes come into a pipe or leave it: through its buffer or past it.
type Move = fn(&mut Pipe, usize, Time);

impl Session {
    /// A client that has just been accepted at this port of the listener, and let in.
    pub fn admitted(entry: Entry, listener: u16, port: u16, client: SocketAddr, context: &mut Context) -> Session {
        let settings = &context.config.listeners[usize::from(listener)];
        let mut session = Session {
            phase: greeting::first_phase(settings, client),
            since: context.now,
            request: Pipe::new(context.now),
            response: Pipe::new(context.now),
            protocol: AnyProtocol::new(settings.protocol, client.ip()),
            client,
            port,
            destination: None,
            listener,
            entry,
            attempt: Attempt::none(),
            tried: Vec::new(),
            last_resort: None,
            parting: None,
            moved_last: Side::Backend,
            record: None,
            pace: None,
        };
        session.request.reserve(context.sites[usize::from(listener)].reserve_bytes);
        session.advance(context);
        session
    }

    /// Takes the outcome of the call that [`Session::next_io`] named.
    pub fn complete(&mut self, io: Io, outcome: Outcome, context: &mut Context) {
        let before = self.before(context);
        self.apply(io, outcome, context);
        if let Some(before) = before {
            self.keep_pace(before, io, outcome, context);
        }
        self.keep_record(context);
    }

    fn apply(&mut self, io: Io, outcome: Outcome, context: &mut Context) {
        match (io, outcome) {
            (Io::Part(_), _) => self.parting = None,
            (Io::Fill(side), Outcome::Blocked) => self.source_mut(side).stay(context.now),
            (_, Outcome::Blocked) => {}
            (Io::Acquire { .. }, Outcome::Reused) => {
                self.attempt.origin = Origin::Idle;
                self.phase = Phase::Relay;
                self.record.iter_mut().for_each(|record| record.connected = Some(context.now));
            }
            (Io::Acquire { .. }, Outcome::Started { alternatives }) => self.started(alternatives, context),
            (Io::Acquire { .. }, Outcome::NextAddress) => self.attempt.address += 1,
            (Io::Acquire { .. } | Io::FinishConnect, Outcome::Failed(failure)) => self.backend_lost(failure, context),
            (Io::FinishConnect, _) => self.connected(context),
            (Io::Read(side), Outcome::Bytes { count, .. }) => self.received(side, Pipe::filled, count, context),
            (Io::Fill(side), Outcome::Bytes { count, .. }) => self.received(side, Pipe::take_off, count, context),
            // A connection that a write found broken reads as ended: Linux tells an error once.
            (Io::Read(Side::Backend) | Io::Fill(Side::Backend), Outcome::Ended) if self.request.sink_broken() => {
                self.backend_lost(Failure::Reset, context);
            }
            (Io::Read(side) | Io::Fill(side), Outcome::Ended) => self.ended(side, context),
            (Io::Fill(side), Outcome::Full) => self.source_mut(side).wait_for_sink(context.now),
            (Io::Fill(side), Outcome::Unable) => self.source_mut(side).ground(context.now),
            (Io::Write(side), Outcome::Bytes { count, owes }) => {
                match owes {
                    true => self.sink_mut(side).owe(),
                    false => self.sink_mut(side).settle(context.now),
                }
                self.sent(side, Pipe::drained, count, context);
            }
            (Io::Drain(side), Outcome::Bytes { count, .. }) => {
                context.counters.spliced_bytes += count as u64;
                self.sent(side, Pipe::land, count, context);
            }
            (
                Io::Read(Side::Client)
                | Io::Fill(Side::Client)
                | Io::Write(Side::Client)
                | Io::Drain(Side::Client)
                | Io::Flush(Side::Client),
                Outcome::Failed(_),
            ) => self.close(CloseReason::ClientGone, context),
            (Io::Read(Side::Backend) | Io::Fill(Side::Backend), Outcome::Failed(failure)) => {
                self.backend_lost(failure, context);
            }
            (Io::Write(Side::Backend) | Io::Flush(Side::Backend), Outcome::Failed(failure))
                if self.phase == Phase::Connecting =>
            {
                self.backend_lost(failure, context);
            }
            (Io::Write(Side::Backend) | Io::Drain(Side::Backend) | Io::Flush(Side::Backend), Outcome::Failed(_)) => {
                // It may have answered before it closed: what it said is still to be read, and then its end.
                self.request.break_sink();
                self.advance(context);
            }
            (Io::Flush(side), _) => self.flushed(side, context),
            (Io::Shutdown(Side::Backend), _) => self.request.shut(),
            (Io::Shutdown(Side::Client), _) => self.response.shut(),
            (_, _) => {}
        }
    }

    /// Its deadline may have passed. A session whose deadline has moved meanwhile is left alone.
    pub fn timed_out(&mut self, ready: [Readiness; 2], context: &mut Context) {
        let (deadline, stall) = self.stall(context.config, context.stage);
        if context.now < deadline {
            return;
        }
        match stall {
            Stall::Greeting if self.is_just_in_time(ready[0]) => self.since = context.now,
            Stall::Greeting => self.misses_client(context),
            // Its request has come just in time; it may have to wait for buffers.
            Stall::NextRequest | Stall::Request if self.is_just_in_time(ready[0]) => self.since = context.now,
            Stall::Request => {
                let step = self.apologize(Trouble::SlowClient, context);
                self.follow(step, context);
            }
            Stall::NextRequest | Stall::Linger => self.close(CloseReason::Idle, context),
            // The sink has room: just in time, or while we had no buffer to go on with.
            Stall::ClientSink if self.response.is_full() && ready[0].writable => self.go_on(Side::Client, context),
            Stall::Backend if self.request.is_full() && ready[1].writable => self.go_on(Side::Backend, context),
            Stall::ClientSink => self.close(CloseReason::TimedOut, context),
            Stall::Tunnel => {
                self.conclude(End::Idle);
                self.close(CloseReason::TimedOut, context);
            }
            // It has spoken: just in time, or while we had no buffer to listen with.
            Stall::Backend if self.is_spoken_to(ready[1]) => {
                if !self.has_buffers() {
                    self.backend_lost(Failure::Local, context);
                }
            }
            Stall::Queue => {
                self.release(Report::Neutral, context);
                let step = self.apologize(Trouble::Busy, context);
                self.follow(step, context);
            }
            // It was a descriptor of ours that it waited for.
            Stall::Backend if self.phase == Phase::Acquire => {
                context.counters.exhausted += 1;
                self.backend_lost(Failure::Local, context);
            }
            Stall::Backend => self.backend_lost(Failure::TimedOut, context),
        }
    }

    /// The wait for a sink that has room begins anew, unless it is a buffer of ours that is waited for.
    fn go_on(&mut self, sink: Side, context: &mut Context) {
        match self.has_buffers() {
            true => self.sink_mut(sink).touch(context.now),
            false => self.backend_lost(Failure::Local, context),
        }
    }

    /// The moment at which [`Session::timed_out`] is to be called.
    pub fn deadline(&self, config: &config::Config, stage: Stage) -> Time {
        self.stall(config, stage).0
    }

    /// Ends the session without ceremony. Its lease is given back; nobody is blamed.
    pub fn close(&mut self, reason: CloseReason, context: &mut Context) {
        self.release(Report::Neutral, context);
        self.conclude(reason.into());
        self.file_record(context);
        context.counters.aborted += u64::from(reason.is_abrupt());
        self.phase = Phase::Closed(reason);
        self.parting = None;
    }

    /// Why it ended; `Finished` while it has not.
    pub fn close_reason(&self) -> CloseReason {
        match self.phase {
            Phase::Closed(reason) => reason,
            _ => CloseReason::Finished,
        }
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The client's address.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// The position of the listener that it came to.
    pub fn listener(&self) -> u16 {
        self.listener
    }

    /// Whether it waits for a client that has nothing under way.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Waiting && self.request.is_empty() && self.response.is_empty()
    }

    /// The room for what this side sends.
    pub fn room(&mut self, side: Side) -> &mut [u8] {
        self.source_mut(side).room()
    }

    /// What this side is to be sent.
    pub fn cleared(&self, side: Side) -> &[u8] {
        match side {
            Side::Client => self.response.cleared(),
            Side::Backend => self.request.cleared(),
        }
    }

    /// How many bytes more may come from this side past the buffer.
    pub fn credit(&self, side: Side) -> u64 {
        self.source(side).credit()
    }

    /// How many bytes of this side are in flight to the other one.
    pub fn in_flight(&self, side: Side) -> usize {
        self.source(side).in_flight()
    }

    // What became of it.

    fn started(&mut self, alternatives: u8, context: &Context) {
        self.attempt.origin = Origin::Fresh;
        self.attempt.alternatives = alternatives;
        if self.attempt.lease.as_ref().is_some_and(|lease| context.announces(lease.backend())) {
            self.request.owe();
        }
        self.phase = Phase::Connecting;
    }

    fn flushed(&mut self, side: Side, context: &mut Context) {
        self.sink_mut(side).settle(context.now);
        if side == Side::Backend {
            self.connected(context);
        }
        self.drained(context);
    }

    fn received(&mut self, side: Side, take: Move, count: usize, context: &mut Context) {
        self.record.iter_mut().for_each(|record| record.receive(side, count, context.now));
        match (side, self.phase) {
            (Side::Client, Phase::Linger(_)) => {
                self.request.filled(count, context.now);
                self.request.clear();
                return;
            }
            (Side::Client, _) => {
                let wait = self.protocol.waits_for();
                if self.phase == Phase::Waiting && wait == Wait::NextRequest {
                    self.since = context.now;
                }
                let moved = self.request.moved();
                take(&mut self.request, count, context.now);
                if wait.received() != Received::Part {
                    // What is sent ahead is no progress of this request, and gives nobody more time to answer it.
                    self.request.touch(moved);
                }
            }
            (Side::Backend, _) => {
                take(&mut self.response, count, context.now);
                self.attempt.heard = true;
                if !self.awaits_verdict(context) {
                    self.request.release();
                }
                self.connected(context);
            }
        }
        self.moved_last = side;
        self.advance(context);
    }

    fn sent(&mut self, side: Side, give: Move, count: usize, context: &mut Context) {
        let drained = match side {
            Side::Backend => {
                give(&mut self.request, count, context.now);
                context.counters.request_bytes += count as u64;
                self.moved_last = Side::Client;
                self.connected(context);
                !self.request.has_cleared()
            }
            Side::Client => {
                give(&mut self.response, count, context.now);
                context.counters.response_bytes += count as u64;
                self.moved_last = Side::Backend;
                !self.response.has_cleared()
            }
        };
        if drained {
            self.drained(context);
        }
    }

    /// All that was cleared for a side has left.
    fn drained(&mut self, context: &mut Context) {
        match self.phase {
            Phase::Greeting | Phase::Closed(_) => {}
            Phase::Linger(_) => self.since = context.now,
            Phase::Waiting => {
                self.since = context.now;
                self.advance(context);
            }
            Phase::Queued | Phase::Acquire | Phase::Connecting | Phase::Relay => self.advance(context),
        }
    }

    fn ended(&mut self, side: Side, context: &mut Context) {
        match side {
            // Whoever waits and says no more has mostly given up, unless the protocol is one in which ends are said so.
            Side::Client if self.phase == Phase::Queued && self.protocol.waits_for() != Wait::Tunnel => {
                return self.close(CloseReason::ClientGone, context);
            }
            Side::Client => self.request.end_source(),
            Side::Backend => self.response.end_source(),
        }
        if !matches!(self.phase, Phase::Linger(_)) {
            self.advance(context);
        }
    }

    /// The pipe that begins at a side.
    fn source(&self, side: Side) -> &Pipe {
        match side {
            Side::Client => &self.request,
            Side::Backend => &self.response,
        }
    }

    fn source_mut(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.request,
            Side::Backend => &mut self.response,
        }
    }

    /// The pipe that ends at a side.
    fn sink_mut(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.response,
            Side::Backend => &mut self.request,
        }
    }

    fn connected(&mut self, context: &mut Context) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Relay;
            self.request.touch(context.now);
            self.record.iter_mut().for_each(|record| record.connected = Some(context.now));
        }
    }

    fn advance(&mut self, context: &mut Context) {
        if self.phase == Phase::Greeting && !self.meets_client(context) {
            return;
        }
        let step = self.judge(context);
        self.follow(step, context);
    }

    /// Does what the protocol said, until it has nothing more to say.
    fn follow(&mut self, first: Step, context: &mut Context) {
        let mut step = first;
        loop {
            match step {
                Step::Continue => return,
                Step::Connect(selection) => {
                    step = self.connect(selection, context);
                    continue;
                }
                Step::Answered { outcome, learned } => {
                    self.attempt.answered = true;
                    self.request.release();
                    self.since = context.now;
                    if let Some(lease) = &self.attempt.lease {
                        context.pools.hear(lease, outcome, context.now);
                        context.pools.bind(lease, learned, context.now);
                    }
                }
                Step::Recycle { parting } => self.recycle(parting, context),
                Step::Fail(failure) => {
                    step = self.retry_or_apologize(failure, context);
                    continue;
                }
                Step::Finish(farewell) => return self.finish(farewell, context),
                Step::Abort => return self.close(CloseReason::Aborted, context),
            }
            step = self.judge(context);
        }
    }

    fn recycle(&mut self, parting: Parting, context: &mut Context) {
        self.leave_backend(parting, context);
        self.request.drop_cleared();
        self.request.renew_sink();
        // What the backend said beyond its answer must not become the answer to the next request.
        self.response.discard(self.response.pending().len());
        self.response.renew_source();
        self.response.touch(context.now);
        self.phase = Phase::Waiting;
        self.since = context.now;
        self.conclude_well();
    }

    fn finish(&mut self, farewell: Farewell, context: &mut Context) {
        self.leave_backend(Parting::Drop, context);
        self.conclude_well();
        self.request.clear();
        self.request.renew_sink();
        // The client may have had longer for the head: it is not cut off sooner now.
        self.response.touch(context.now);
        self.phase = Phase::Linger(farewell);
        self.since = context.now;
        self.keep_record(context);
    }

    /// The exchange with the backend is over, if there is one, or the wait for it.
    fn leave_backend(&mut self, parting: Parting, context: &mut Context) {
        let Some(backend) = self.backend() else { return self.release(Report::Neutral, context) };
        context.counters.exchanges += u64::from(self.attempt.answered);
        self.release(Report::Neutral, context);
        self.parting = Some(match parting {
            // What was announced on it is this client, and nobody else.
            Parting::Keep if !context.announces(backend) => Part::Park(backend),
            Parting::Keep | Parting::Drop => Part::Discard,
        });
    }
}
