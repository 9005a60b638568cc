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
    /// Whether it has served since it last came up. A probe is a connect alone, and proves little.
    proven: bool,
    /// How often it went down; wraps.
    outages: u16,
    /// When it came up or went down.
    since: Time,
}

impl Health {
    /// A backend that is up; `failures_max` failures in a row take it out, at least one.
    pub fn new(backend: BackendId, failures_max: u32, now: Time) -> Health {
        Health {
            backend,
            state: State::Up,
            failures: 0,
            failures_max: failures_max.max(1),
            proven: true,
            outages: 0,
            since: now,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it has served since it last came up.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Tells apart the times between two outages.
    pub fn outages(&self) -> u16 {
        self.outages
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
                (self.failures, self.proven) = (0, true);
                None
            }
            (State::Up, Source::Session, Outcome::Failure(failure)) if failure != Failure::Local => {
                self.failures += 1;
                let too_many = self.failures >= self.failures_max || !self.proven;
                too_many.then(|| self.enter(State::Down, Reason::Failure(failure), now))
            }
            (State::Trial, Source::Probe, Outcome::Success) => {
                (self.failures, self.proven) = (0, false);
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
        if from == State::Up {
            self.outages = self.outages.wrapping_add(1);
        }
        Transition { backend: self.backend, from, to, reason, lasted, failures: self.failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: BackendId = BackendId::new(1, 2);
    const REFUSED: Outcome = Outcome::Failure(Failure::Refused);
    const LOCAL: Outcome = Outcome::Failure(Failure::Local);

    fn seconds(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    fn fail(health: &mut Health, at: u64) -> Option<Transition> {
        health.observe(Source::Session, REFUSED, seconds(at))
    }

    /// A backend that three failures take out, with two on its count or out of service.
    fn in_state(state: State) -> Health {
        let mut health = Health::new(ID, 3, seconds(0));
        let failures = if state == State::Up { 2 } else { 3 };
        for _ in 0..failures {
            fail(&mut health, 1);
        }
        if state == State::Trial {
            assert!(health.begin_trial());
        }
        assert_eq!(health.state(), state);
        health
    }

    #[test]
    fn every_state_takes_every_report_as_the_table_says() {
        use Outcome::{Neutral, Success};
        use Source::{Probe, Session};
        use State::{Down, Trial, Up};
        let table = [
            (Up, Session, Success, Up, 0, false),
            (Up, Session, REFUSED, Down, 3, true),
            (Up, Session, LOCAL, Up, 2, false),
            (Up, Session, Neutral, Up, 2, false),
            (Up, Probe, Success, Up, 2, false),
            (Up, Probe, REFUSED, Up, 2, false),
            (Up, Probe, LOCAL, Up, 2, false),
            (Up, Probe, Neutral, Up, 2, false),
            (Down, Session, Success, Down, 3, false),
            (Down, Session, REFUSED, Down, 3, false),
            (Down, Session, LOCAL, Down, 3, false),
            (Down, Session, Neutral, Down, 3, false),
            (Down, Probe, Success, Down, 3, false),
            (Down, Probe, REFUSED, Down, 3, false),
            (Down, Probe, LOCAL, Down, 3, false),
            (Down, Probe, Neutral, Down, 3, false),
            (Trial, Session, Success, Trial, 3, false),
            (Trial, Session, REFUSED, Trial, 3, false),
            (Trial, Session, LOCAL, Trial, 3, false),
            (Trial, Session, Neutral, Trial, 3, false),
            (Trial, Probe, Success, Up, 0, true),
            (Trial, Probe, REFUSED, Down, 3, true),
            (Trial, Probe, LOCAL, Down, 3, false),
            (Trial, Probe, Neutral, Down, 3, false),
        ];
        for row in table {
            let (from, source, outcome, to, failures, told) = row;
            let mut health = in_state(from);
            let transition = health.observe(source, outcome, seconds(9));
            assert_eq!((health.state(), health.failures), (to, failures), "{row:?}");
            let ends = transition.map(|transition| (transition.from, transition.to, transition.failures));
            assert_eq!(ends, told.then_some((from, to, failures)), "{row:?}");
        }
    }

    #[test]
    fn only_failures_in_a_row_take_a_backend_out() {
        let mut health = Health::new(ID, 3, seconds(0));
        for at in 0..20 {
            assert_eq!(fail(&mut health, at), None);
            assert_eq!(fail(&mut health, at), None);
            health.observe(Source::Session, Outcome::Success, seconds(at));
        }
        assert_eq!(fail(&mut health, 20), None);
        health.observe(Source::Session, Outcome::Neutral, seconds(20));
        assert_eq!(fail(&mut health, 20), None);
        health.observe(Source::Session, LOCAL, seconds(20));
        assert!(fail(&mut health, 20).is_some());
    }

    #[test]
    fn a_limit_of_one_or_none_takes_a_backend_out_at_the_first_failure() {
        for failures_max in [0, 1] {
            assert!(fail(&mut Health::new(ID, failures_max, seconds(0)), 1).is_some());
        }
    }

    #[test]
    fn after_a_probe_one_failure_takes_a_backend_out_and_a_success_clears_its_count() {
        for cleared in [false, true] {
            let mut health = in_state(State::Trial);
            health.observe(Source::Probe, Outcome::Success, seconds(2));
            if cleared {
                health.observe(Source::Session, Outcome::Success, seconds(3));
            }
            assert_eq!(fail(&mut health, 4).is_none(), cleared);
        }
    }

    #[test]
    fn a_trial_begins_only_when_a_backend_is_down_and_only_once() {
        assert!(!in_state(State::Up).begin_trial());
        assert!(in_state(State::Down).begin_trial());
        assert!(!in_state(State::Trial).begin_trial());
    }

    #[test]
    fn a_trial_that_fails_does_not_interrupt_the_outage() {
        let mut health = Health::new(ID, 1, seconds(0));
        let down = fail(&mut health, 12).expect("it goes down");
        assert_eq!((down.backend, down.lasted), (ID, Duration::from_secs(12)));
        assert!(health.begin_trial());
        let still = health.observe(Source::Probe, Outcome::Failure(Failure::TimedOut), seconds(20)).expect("told");
        assert_eq!((still.reason, still.lasted), (Reason::Failure(Failure::TimedOut), Duration::from_secs(8)));
        assert!(health.begin_trial());
        let up = health.observe(Source::Probe, Outcome::Success, seconds(27)).expect("it comes up");
        assert_eq!((up.reason, up.lasted), (Reason::ProbeSucceeded, Duration::from_secs(15)));
        assert_eq!(fail(&mut health, 30).map(|down| down.lasted), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_transition_reads_as_the_log_line_ends() {
        let lasted = Duration::from_millis(12_340);
        let refused = Reason::Failure(Failure::Refused);
        let down = Transition { backend: ID, from: State::Up, to: State::Down, reason: refused, lasted, failures: 5 };
        assert_eq!(down.to_string(), "down after 5 failures: connection refused (was up for 12.3s)");
        let once = Transition { failures: 1, ..down };
        assert_eq!(once.to_string(), "down after 1 failure: connection refused (was up for 12.3s)");
        let still = Transition { from: State::Trial, ..down };
        assert_eq!(still.to_string(), "still down: connection refused (for 12.3s)");
        let up = Transition { from: State::Trial, to: State::Up, reason: Reason::ProbeSucceeded, ..down };
        assert_eq!(up.to_string(), "up (was down for 12.3s)");
        assert_eq!(up.reason.to_string(), "probe succeeded");
    }
}
