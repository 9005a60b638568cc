//! `Health`: whether one backend may be given clients.
//!
//! ```text
//!            server_retry failures in a row
//!      Up ----------------------------------> Down <---+
//!      ^                                       |       |
//!      |                            begin_trial|       | the probe failed
//!      |  the probe succeeded                  v       |
//!      +------------------------------------ Trial ----+
//! ```
//!
//! Only a probe ends an outage: what sessions report that still run on a backend which is down changes nothing. A
//! probe merely connects, and a connection alone proves little; so a backend comes back with all but one of its
//! failures on its count, which a success of a client clears. It must never read a clock or start a probe.

use std::fmt;
use std::time::Duration;

use super::{BackendId, Failure, Outcome};
use crate::base::time::Time;

/// Whether a backend is given clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It is given clients.
    Up,
    /// It failed too often; no client.
    Down,
    /// It is down and a probe is in flight; no client.
    Trial,
}

/// Who made the experience that is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A session that served a client.
    Session,
    /// A probe.
    Probe,
}

/// Why a state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A session or a probe failed, lastly in this way.
    Failure(Failure),
    /// A probe succeeded.
    ProbeSucceeded,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Failure(failure) => failure.fmt(f),
            Reason::ProbeSucceeded => f.write_str("probe succeeded"),
        }
    }
}

/// A change of state, for the log: `Up` to `Down`, `Trial` to `Up`, or `Trial` back to `Down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Whose.
    pub backend: BackendId,
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// How long it had been up, or out of service: trials do not interrupt an outage.
    pub lasted: Duration,
    /// Failures in a row on its count now.
    pub failures: u32,
}

impl fmt::Display for Transition {
    /// `down after 5 failures: connection refused (was up for 12.3s)`: the line of the log without the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.lasted.as_secs_f64();
        match (self.from, self.to) {
            (_, State::Up) => write!(f, "up (was down for {seconds:.1}s)"),
            (State::Up, _) => {
                let plural = if self.failures == 1 { "" } else { "s" };
                let (failures, reason) = (self.failures, self.reason);
                write!(f, "down after {failures} failure{plural}: {reason} (was up for {seconds:.1}s)")
            }
            _ => write!(f, "still down: {} (for {seconds:.1}s)", self.reason),
        }
    }
}

/// The health of one backend.
#[derive(Debug)]
pub struct Health {
    backend: BackendId,
    state: State,
    /// Failures in a row; never above `failures_max`.
    failures: u32,
    /// So many take it out.
    failures_max: u32,
    /// When it came up or went down.
    since: Time,
}

impl Health {
    /// A backend that is up; `failures_max` failures in a row take it out, at least one.
    pub fn new(backend: BackendId, failures_max: u32, now: Time) -> Health {
        Health { backend, state: State::Up, failures: 0, failures_max: failures_max.max(1), since: now }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Notes that a probe has been sent; false when none was wanted, because it is up or another is in flight.
    pub fn begin_trial(&mut self) -> bool {
        let wanted = self.state == State::Down;
        if wanted {
            self.state = State::Trial;
        }
        wanted
    }

    /// Takes an experience with the backend into account.
    pub fn observe(&mut self, source: Source, outcome: Outcome, now: Time) -> Option<Transition> {
        match (self.state, source, outcome) {
            (State::Up, Source::Session, Outcome::Success) => {
                self.failures = 0;
                None
            }
            (State::Up, Source::Session, Outcome::Failure(failure)) if failure != Failure::Local => {
                self.failures += 1;
                let too_many = self.failures >= self.failures_max;
                too_many.then(|| self.enter(State::Down, Reason::Failure(failure), now))
            }
            (State::Trial, Source::Probe, Outcome::Success) => {
                self.failures = self.failures_max - 1;
                Some(self.enter(State::Up, Reason::ProbeSucceeded, now))
            }
            (State::Trial, Source::Probe, Outcome::Failure(failure)) if failure != Failure::Local => {
                Some(self.enter(State::Down, Reason::Failure(failure), now))
            }
            // The probe told nothing; the next one may.
            (State::Trial, Source::Probe, _) => {
                self.state = State::Down;
                None
            }
            (State::Up | State::Down | State::Trial, _, _) => None,
        }
    }

    fn enter(&mut self, to: State, reason: Reason, now: Time) -> Transition {
        let from = std::mem::replace(&mut self.state, to);
        let lasted = now.since(self.since);
        if from == State::Up || to == State::Up {
            self.since = now;
        }
        Transition { backend: self.backend, from, to, reason, lasted, failures: self.failures }
    }
}
