//! The server: owns everything, and turns.
//!
//! ```text
//! poll ▶ mark ▶ expire ▶ accept ▶ run ▶ reap ▶ report ▶ call up ▶ obey ▶ write ▶ poll …
//! ```
//! Events only mark; a stream or a session is freed in `reap` and nowhere else; the clock is read once a turn.

mod accept;
mod health;
mod idle;
mod run;
mod setup;
mod stop;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Poll};

use crate::balance::BackendId;
use crate::base::arena::{Arena, Id};
use crate::base::buffers::Buffers;
use crate::base::time::Time;
use crate::base::timer::TimerWheel;
use crate::config::{Config, LogTarget};
use crate::daemon::Supervision;
use crate::daemon::daemonize::Readiness;
use crate::daemon::signals::{Signals, set_dispositions};
use crate::log::Logs;
use crate::log::outlet::Pace;
use crate::net::driver::{Driver, Pair};
use crate::net::idle::Idle;
use crate::net::kernel_pipe::KernelPipes;
use crate::net::listener::Listener;
use crate::net::probe::Probe;
use crate::net::stream::{Owner, Stream};
use crate::net::token::Source;
use crate::session::Core;
use crate::start::{Bound, Confined, StartError, supervise};

/// The most events that one poll gives.
const EVENTS_MAX: usize = 512;

/// How long free buffers wait for a borrower.
const TRIM: Duration = Duration::from_secs(1);

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// The deadline of a session.
    Session(Id<Pair>),
    /// The oldest idle connection to a backend may be too old.
    Idle(BackendId),
    /// A backend is to be probed.
    ProbeDue(BackendId),
    /// The deadline of a probe.
    Probe(Id<Probe>),
    /// Accepting goes on.
    Resume,
    /// Descriptors may have been freed elsewhere.
    Relieve,
    /// Buffers that nobody needed are given up.
    Trim,
    /// Whoever had begun to connect before a stop is in the backlog.
    LastCall,
    /// Log lines that could not be written are tried again.
    Log,
    /// The time for a graceful stop is over.
    Shutdown,
    /// The service manager wants a sign of life.
    Watchdog,
}

/// What the server counts.
#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    accepted: u64,
    /// Events for what is not there any more.
    stale: u64,
    panics: u64,
    pauses: u64,
    fullnesses: u64,
    lacks: u64,
}

/// The balancer.
pub struct Server {
    poll: Poll,
    events: Events,
    start: Instant,
    core: Core,
    driver: Driver,
    pairs: Arena<Pair>,
    /// Sessions that can go on.
    runnable: VecDeque<Id<Pair>>,
    /// Sessions that wait for buffers, first come, first served.
    starving: VecDeque<Id<Pair>>,
    /// Sessions that wait for a descriptor, first come, first served.
    lacking: VecDeque<Id<Pair>>,
    /// Sessions that ended in this turn.
    finished: Vec<Id<Pair>>,
    /// Idle connections that an event came for.
    disturbed: Vec<Id<Stream>>,
    wheel: TimerWheel<Alarm>,
    due: Vec<Alarm>,
    listeners: Vec<Option<Listener>>,
    /// Backends that are to be probed, first come, first served.
    probes_due: VecDeque<BackendId>,
    probes: Arena<Probe>,
    /// Probes that an event came for.
    stirred: Vec<Id<Probe>>,
    signals: Signals,
    asked: Vec<u32>,
    /// During a stop, no listener is closed before.
    last_call: Time,
    /// Whether clients wait for others to leave.
    is_full: bool,
    /// Whether a further try of those who lack a descriptor is filed.
    relieving: bool,
    /// Whether a trim of the buffers is filed.
    trimming: bool,
    logs: Logs,
    /// Whether it is filed when to try the logs again.
    retrying: bool,
    stats: Stats,
    supervision: Supervision,
}

/// Binds, gives up every privilege, and serves until it is told to stop.
///
/// `readiness` belongs to a daemon whose parent waits.
///
/// # Errors
/// What the system refuses at the start. Once it serves, nothing ends it but a signal.
pub fn run(config: Config, readiness: Option<Readiness>) -> Result<(), StartError> {
    let is_elsewhere = config.log_file != LogTarget::Standard;
    set_dispositions().map_err(|error| StartError::new("cannot set up signals", error))?;
    let logs = Logs::open(&config).map_err(|(step, error)| StartError::new(step, error));
    let outcome = logs.and_then(|logs| start(config, logs, readiness)).and_then(Server::serve);
    if let (Err(error), true) = (&outcome, is_elsewhere) {
        log::error!("plb: {error}");
    }
    outcome
}

/// The ports come first, so that a second instance fails there and stays away from the pid file.
fn start(config: Config, logs: Logs, readiness: Option<Readiness>) -> Result<Server, StartError> {
    let bound = Bound::new(config)?;
    let supervision = supervise(&bound.config, readiness)?;
    Server::new(bound.confine()?, logs, supervision)
}

impl Server {
    /// A server for what is bound and confined:
    ///
    /// ```
    /// # use plb::{daemon::Supervision, log::Logs, server::Server, start::{Bound, StartError}};
    /// fn serve(bound: Bound, logs: Logs, watchers: Supervision) -> Result<(), StartError> {
    ///     Server::new(bound.confine()?, logs, watchers)?.serve()
    /// }
    /// ```
    /// Serving with privileges does not compile:
    ///
    /// ```compile_fail,E0308
    /// # use plb::{daemon::Supervision, log::Logs, server::Server, start::{Bound, StartError}};
    /// fn serve(bound: Bound, logs: Logs, watchers: Supervision) -> Result<(), StartError> {
    ///     Server::new(bound, logs, watchers)?.serve()
    /// }
    /// ```
    ///
    /// # Errors
    /// Descriptors or memory ran out.
    pub fn new(confined: Confined, logs: Logs, supervision: Supervision) -> Result<Server, StartError> {
        let Bound { config, mut listeners, addresses, descriptors } = confined.into_parts();
        let setup = |error: io::Error| StartError::new("cannot set up the event loop", error);
        let poll = Poll::new().map_err(setup)?;
        let registry = poll.registry().try_clone().map_err(setup)?;
        let signals = Signals::install(&registry, |position| Source::Signal(position).into()).map_err(setup)?;
        for (position, listener) in (0..).zip(&mut listeners) {
            listener.register(&registry, Source::Listener(position).into()).map_err(setup)?;
        }
        let buffers = Buffers::new(config.buffer_memory);
        setup::announce(&config, &listeners, &descriptors, &buffers);
        let counts = config.pools.iter().map(|pool| pool.backends.len());
        let idle = Idle::new(counts, descriptors.idle_max as usize);
        // Capacity costs no memory until it is used; and when nothing else is allocated while clients are served, the
        // buffers that are given up lie side by side and go back to the system.
        let clients = config.max_clients as usize;
        let core = setup::core_of(config);
        Ok(Server {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            start: Instant::now(),
            driver: Driver {
                registry,
                streams: Arena::with_capacity(2 * clients),
                idle,
                buffers,
                kernel_pipes: KernelPipes::new(descriptors.kernel_pipes),
                hungry: 0,
                addresses,
                retired: Vec::with_capacity(2 * clients),
                parked: 0,
                newly_idle: Vec::with_capacity(EVENTS_MAX),
            },
            core,
            pairs: Arena::with_capacity(clients),
            runnable: VecDeque::with_capacity(clients),
            starving: VecDeque::new(),
            lacking: VecDeque::new(),
            finished: Vec::with_capacity(clients),
            disturbed: Vec::with_capacity(EVENTS_MAX),
            wheel: TimerWheel::with_capacity(clients, Time::START),
            due: Vec::with_capacity(EVENTS_MAX),
            listeners: listeners.into_iter().map(Some).collect(),
            probes_due: VecDeque::new(),
            probes: Arena::with_capacity(0),
            stirred: Vec::new(),
            signals,
            asked: Vec::new(),
            last_call: Time::START,
            is_full: false,
            relieving: false,
            trimming: false,
            logs,
            retrying: false,
            stats: Stats::default(),
            supervision,
        })
    }

    /// Serves until it is told to stop, and has stopped.
    ///
    /// # Errors
    /// The poll itself fails, which it does for a bug only.
    pub fn serve(mut self) -> Result<(), StartError> {
        log::info!("plb: serving");
        self.tell_ready().map_err(|error| StartError::new("cannot go into the background", error))?;
        self.logs.set_pace(Pace::EachTurn);
        self.arrange_probes();
        while !self.is_over() {
            self.turn().map_err(|error| StartError::new("the event loop failed", error))?;
        }
        log::info!("plb: stopped");
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let rest = self.rest();
        match self.poll.poll(&mut self.events, rest) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => self.core.tick(self.start.elapsed(), http_date),
        }
        self.mark();
        self.expire();
        self.accept();
        self.run();
        self.reap();
        self.report();
        self.call_up();
        self.obey();
        self.write();
        Ok(())
    }

    /// How long the poll may sleep.
    fn rest(&self) -> Option<Duration> {
        if !self.runnable.is_empty() || self.has_probes_to_start() {
            return Some(Duration::ZERO);
        }
        let next = [self.opens(), self.wheel.next()].into_iter().flatten().min();
        next.map(|next| next.since(self.core.now))
    }

    /// Takes note of all events. Nothing is freed and no byte moves.
    fn mark(&mut self) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match Source::from(event.token()) {
                Source::Stream(id) => match self.driver.streams.get_mut(id) {
                    Some(stream) => {
                        stream.mark(event);
                        match stream.owner() {
                            Owner::Session(pair, _) => enqueue(&mut self.pairs, &mut self.runnable, pair),
                            Owner::Idle(_) if stream.readiness().readable => self.disturbed.push(id),
                            Owner::Idle(_) | Owner::Retired => {}
                        }
                    }
                    None => self.stats.stale += 1,
                },
                Source::Listener(position) => {
                    if let Some(Some(listener)) = self.listeners.get_mut(position as usize) {
                        listener.mark();
                    }
                }
                Source::Probe(id) => match self.probes.get_mut(id) {
                    Some(probe) => {
                        probe.mark(event);
                        self.stirred.push(id);
                    }
                    None => self.stats.stale += 1,
                },
                Source::Signal(position) => self.asked.push(position),
            }
        }
        self.events = events;
        self.drop_disturbed();
        self.conclude_probes();
    }

    /// Acts on the timers that are due.
    fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(self.core.now, &mut due);
        for alarm in due.drain(..) {
            match alarm {
                Alarm::Session(id) => self.time_out(id),
                Alarm::Idle(backend) => self.expire_idle(backend),
                Alarm::ProbeDue(backend) => self.probes_due.push_back(backend),
                Alarm::Probe(id) => self.time_out_probe(id),
                Alarm::Resume => self.listeners.iter_mut().flatten().for_each(Listener::resume),
                Alarm::Relieve => {
                    self.relieving = false;
                    self.relieve(usize::MAX);
                }
                Alarm::Trim => self.trim(),
                Alarm::LastCall => self.look_again(),
                Alarm::Log => {
                    self.retrying = false;
                    self.logs.retry();
                }
                Alarm::Shutdown => self.cut_off(),
                Alarm::Watchdog => self.feed_watchdog(),
            }
        }
        self.due = due;
        self.start_probes();
    }

    fn time_out(&mut self, id: Id<Pair>) {
        let Some(pair) = self.pairs.get_mut(id) else { return };
        pair.timer = None;
        let due = pair.session.deadline(&self.core.config, self.core.stage) <= self.core.now;
        if due && !pair.session.has_buffers() {
            // What it has to say needs a buffer.
            pair.session.borrow(&mut self.driver.buffers);
        }
        let ready = self.driver.readiness(pair);
        self.act(id, |session, context| session.timed_out(ready, context));
    }

    fn trim(&mut self) {
        self.trimming = self.driver.buffers.trim();
        if self.trimming {
            self.wheel.insert(self.core.now + TRIM, Alarm::Trim);
        }
    }

    /// Frees what ended in this turn.
    fn reap(&mut self) {
        for id in self.finished.drain(..) {
            let Some(mut pair) = self.pairs.remove(id) else { continue };
            accept::note_unannounced(&mut self.core, &pair.session);
            self.core.door.leave(pair.session.listener(), pair.session.take_entry());
            if pair.lacks {
                self.lacking.retain(|other| *other != id);
            }
            if let Some(timer) = pair.timer {
                self.wheel.remove(timer);
            }
            self.driver.clear(&mut pair);
            for stream in [Some(pair.client), pair.backend].into_iter().flatten() {
                if pair.session.close_reason().is_abrupt() {
                    self.driver.streams.get(stream).into_iter().for_each(Stream::reset_on_drop);
                }
                self.driver.retire(stream);
            }
        }
        let freed = self.driver.retired.len();
        for id in self.driver.retired.drain(..) {
            self.driver.streams.remove(id);
        }
        let parked = std::mem::take(&mut self.driver.parked);
        self.relieve(freed + parked);
        if freed > 0 {
            self.listeners.iter_mut().flatten().for_each(Listener::resume);
        }
        for backend in self.driver.newly_idle.drain(..) {
            let timeout = self.core.config.pools[backend.pool()].timeouts.idle;
            self.wheel.insert(self.core.now + timeout, Alarm::Idle(backend));
        }
        self.feed();
        if !self.trimming && self.driver.buffers.has_free() {
            self.trimming = true;
            self.wheel.insert(self.core.now + TRIM, Alarm::Trim);
        }
    }

    /// Writes the log lines of this turn. What cannot be written now is tried again, in a while.
    fn write(&mut self) {
        self.logs.write(&mut self.core.records, &self.core.config, self.core.now);
        if let Some(pause) = self.logs.pause().filter(|_| !self.retrying) {
            self.retrying = true;
            self.wheel.insert(self.core.now + pause, Alarm::Log);
        }
    }
}

fn http_date() -> String {
    httpdate::fmt_http_date(SystemTime::now())
}

/// Queues a session, once.
fn enqueue(pairs: &mut Arena<Pair>, runnable: &mut VecDeque<Id<Pair>>, id: Id<Pair>) {
    if let Some(pair) = pairs.get_mut(id).filter(|pair| !pair.queued) {
        pair.queued = true;
        runnable.push_back(id);
    }
}
