//! `Health`: whether one backend may be given clients.
//!
//! ```text
//!             server_retry failures of sessions in a row, or
//!             fall failures of probes in a row
//!        Up ------------------------------------------------> Down
//!        ^                                                     |
//!        +-----------------------------------------------------+
//!             rise successes of probes in a row,
//!             once the ejection is over
//! ```
//!
//! Only probes end an outage: what sessions report that still run on a backend which is down changes nothing, and a probe
//! in flight changes nothing before it has told. A pool with `health` is probed all the time. The others probe what is
//! down only, by connecting to it; that proves little, so that a backend comes back on trial: its first failure takes it
//! out again, until a client's success has proved it.
//!
//! What failed clients is *ejected* for a time, whatever probes say, and for twice that time when it fails again sooner
//! than it was out. The machine tells when a probe is due; it must never read a clock or start one.

use std::fmt;
use std::time::Duration;

use super::{BackendId, Failure, Outcome};
use crate::base::time::Time;
use crate::config;
use crate::config::check::Check;
use crate::config::health::Initial;

/// Whether a backend is given clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It is given clients.
    Up,
    /// It failed too often, or did not succeed yet; no client.
    Down,
}

/// Who made the experience that is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A session that served a client.
    Session,
    /// A probe.
    Probe,
}

/// Why a state changed, or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Sessions failed, lastly in this way.
    SessionsFailed(Failure),
    /// Probes failed, lastly in this way.
    ProbesFailed(Failure),
    /// Probes succeeded.
    ProbesSucceeded,
}

/// A change of state, for the log: `Up` to `Down`, `Down` to `Up`, or, with a probe that failed, `Down` to `Down`.
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
    /// How many failures or successes in a row that took.
    pub count: u32,
    /// How long it has been in the state before.
    pub lasted: Duration,
    /// How long it is out at least, whatever probes say.
    pub ejection: Duration,
}

impl fmt::Display for Transition {
    /// `down after 5 failures: connection refused (was up for 12.3s)`: the line of the log without the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, seconds) = (self.count, self.lasted.as_secs_f64());
        let plural = if count == 1 { "" } else { "s" };
        match (self.from, self.reason) {
            (State::Up, Reason::SessionsFailed(failure)) => {
                write!(f, "down after {count} failure{plural}: {failure} (was up for {seconds:.1}s)")?;
                write!(f, ", out for {:.1}s", self.ejection.as_secs_f64())
            }
            (State::Up, Reason::ProbesFailed(failure)) => {
                write!(f, "down after {count} failed probe{plural}: {failure} (was up for {seconds:.1}s)")
            }
            (State::Down, Reason::SessionsFailed(failure) | Reason::ProbesFailed(failure)) => {
                write!(f, "still down: {failure} (for {seconds:.1}s)")
            }
            (_, Reason::ProbesSucceeded) => write!(f, "up after {count} probe{plural} (was down for {seconds:.1}s)"),
        }
    }
}

/// What a pool asks of its backends.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// So many failures of sessions in a row take a backend out.
    server_retry: u32,
    /// Its first ejection, and the longest.
    ejection: Duration,
    ejection_max: Duration,
    /// The time between two probes, and the same while they are counted.
    interval: Duration,
    fast_interval: Duration,
    /// So many probes in a row that succeed bring it back.
    rise: u32,
    /// So many that fail take it out; `None`: one that is up is not probed.
    fall: Option<u32>,
    /// Whether a probe finds out as much as a client.
    proves: bool,
}

impl Rules {
    fn of(pool: &config::Pool) -> Rules {
        let health = pool.health.as_ref();
        Rules {
            server_retry: pool.server_retry.max(1),
            ejection: pool.timeout_cleanup,
            ejection_max: pool.timeout_cleanup_max.unwrap_or_default().max(pool.timeout_cleanup),
            interval: health.map_or(pool.timeout_cleanup, |health| health.interval),
            fast_interval: health.map_or(pool.timeout_cleanup, |health| health.fast_interval),
            rise: health.map_or(1, |health| health.rise.max(1)),
            fall: health.map(|health| health.fall.max(1)),
            proves: health.is_some_and(|health| health.check != Check::Tcp),
        }
    }
}

/// The health of one backend.
#[derive(Debug)]
pub struct Health {
    backend: BackendId,
    rules: Rules,
    state: State,
    /// When it came up or went down.
    since: Time,
    /// Failures of sessions in a row.
    failures: u32,
    /// Probes in a row that spoke against the state.
    probes: u32,
    /// Whether it has served since it last came up, or a probe has found out as much.
    proven: bool,
    /// How often it went down; wraps.
    outages: u16,
    /// How long its last ejection was; zero when that does not count any more.
    ejection: Duration,
    /// No probe brings it back before.
    ejected_until: Time,
    /// When the next probe is due, or the one that is in flight was.
    due: Time,
    /// A probe is in flight, since this outage.
    asked: Option<u16>,
}

impl Health {
    /// A backend of a pool, as it is at the start.
    pub fn new(backend: BackendId, pool: &config::Pool, now: Time) -> Health {
        let rules = Rules::of(pool);
        let (state, spread) = match pool.health.as_ref().map(|health| health.initial) {
            Some(Initial::Down) => (State::Down, rules.fast_interval),
            Some(Initial::Up) | None => (State::Up, rules.interval),
        };
        Health {
            backend,
            rules,
            state,
            since: now,
            failures: 0,
            probes: 0,
            proven: true,
            outages: 0,
            ejection: Duration::ZERO,
            ejected_until: now,
            due: now + spread.mul_f64(place(backend, pool.backends.len())),
            asked: None,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it has served since it last came up, or a probe has found out as much.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Tells apart the times between two outages.
    pub fn outages(&self) -> u16 {
        self.outages
    }

    /// When the next probe is due; `None` while one is in flight, and where none is wanted.
    pub fn next_probe(&self) -> Option<Time> {
        let wanted = self.state == State::Down || self.rules.fall.is_some();
        (wanted && self.asked.is_none()).then_some(self.due)
    }

    /// Notes that a probe is sent now; false when none was wanted, or another is in flight.
    pub fn begin_trial(&mut self, now: Time) -> bool {
        if self.next_probe().is_none() {
            return false;
        }
        self.asked = Some(self.outages);
        // Probes that could not be sent in time are left out, and not made up for: each backend keeps its own beat.
        let (late, beat) = (now.since(self.due).as_micros() as u64, self.rules.interval.as_micros() as u64);
        self.due = Time::from_micros(self.due.as_micros() + late - late % beat.max(1));
        true
    }

    /// Takes an experience with the backend into account.
    pub fn observe(&mut self, source: Source, outcome: Outcome, now: Time) -> Option<Transition> {
        match (source, outcome) {
            (Source::Probe, _) => {
                // What began before an outage says nothing about the time after it.
                let is_current = self.asked.take()? == self.outages;
                let transition = if is_current { self.probed(outcome, now) } else { None };
                self.schedule(now);
                transition
            }
            (Source::Session, Outcome::Success) if self.state == State::Up => {
                (self.failures, self.proven) = (0, true);
                None
            }
            (Source::Session, Outcome::Failure(failure)) if self.state == State::Up && failure != Failure::Local => {
                self.failures += 1;
                let too_many = self.failures >= self.rules.server_retry || !self.proven;
                too_many.then(|| self.eject(failure, now))
            }
            (Source::Session, _) => None,
        }
    }

    fn probed(&mut self, outcome: Outcome, now: Time) -> Option<Transition> {
        match (self.state, outcome) {
            // It told nothing; the next one may.
            (_, Outcome::Neutral | Outcome::Failure(Failure::Local)) => None,
            (State::Up, Outcome::Success) => {
                self.probes = 0;
                None
            }
            (State::Up, Outcome::Failure(failure)) => {
                self.probes += 1;
                let too_many = self.rules.fall.is_some_and(|fall| self.probes >= fall);
                too_many.then(|| self.enter(State::Down, Reason::ProbesFailed(failure), self.probes, now))
            }
            (State::Down, Outcome::Success) => {
                self.probes = (self.probes + 1).min(self.rules.rise);
                let enough = self.probes >= self.rules.rise && now >= self.ejected_until;
                enough.then(|| self.enter(State::Up, Reason::ProbesSucceeded, self.probes, now))
            }
            (State::Down, Outcome::Failure(failure)) => {
                self.probes = 0;
                Some(self.transition(State::Down, Reason::ProbesFailed(failure), 1, now))
            }
        }
    }

    /// Takes it out for what clients met.
    fn eject(&mut self, failure: Failure, now: Time) -> Transition {
        let mut transition = self.enter(State::Down, Reason::SessionsFailed(failure), self.failures, now);
        self.ejection = (2 * self.ejection).clamp(self.rules.ejection, self.rules.ejection_max);
        transition.ejection = self.ejection;
        match self.rules.fall {
            Some(_) => self.ejected_until = now + self.ejection,
            None => self.due = now + self.ejection,
        }
        transition
    }

    fn enter(&mut self, to: State, reason: Reason, count: u32, now: Time) -> Transition {
        let transition = self.transition(to, reason, count, now);
        match to {
            State::Up => self.proven = self.rules.proves || self.outages == 0,
            State::Down => {
                self.outages = self.outages.wrapping_add(1);
                if transition.lasted >= self.ejection {
                    self.ejection = Duration::ZERO;
                }
            }
        }
        (self.state, self.since, self.failures, self.probes) = (to, now, 0, 0);
        transition
    }

    fn transition(&self, to: State, reason: Reason, count: u32, now: Time) -> Transition {
        let (backend, from, lasted) = (self.backend, self.state, now.since(self.since));
        Transition { backend, from, to, reason, count, lasted, ejection: Duration::ZERO }
    }

    /// A probe is over: the next one follows on its beat, or at once when that has passed.
    fn schedule(&mut self, now: Time) {
        let Rules { interval, fast_interval, rise, .. } = self.rules;
        // One that is ejected has nothing to count any more.
        let is_counting = self.probes > 0 && (self.state == State::Up || self.probes < rise);
        let pace = if is_counting { fast_interval } else { interval };
        let next = self.due + pace;
        self.due = if next + pace < now { now } else { next };
        if now < self.ejected_until {
            self.due = self.due.min(self.ejected_until);
        }
    }
}

/// Where in the interval the first probe of a backend comes, from 0 to 1: those of one pool come evenly, and the pools do
/// not begin at once.
fn place(backend: BackendId, backends: usize) -> f64 {
    /// The golden ratio: its multiples are spread evenly, however many there are.
    const SHIFT: f64 = 0.618_033_988_749_894_9;
    (backend.backend() as f64 / backends.max(1) as f64 + backend.pool() as f64 * SHIFT).fract()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::config::check::HttpCheck;

    const ID: BackendId = BackendId::new(0, 0);
    const REFUSED: Outcome = Outcome::Failure(Failure::Refused);
    const LOCAL: Outcome = Outcome::Failure(Failure::Local);

    fn seconds(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    /// A pool of one backend that three failures take out, for 10 s to 40 s.
    fn pool(health: Option<config::Health>) -> config::Pool {
        config::Pool {
            backends: vec![config::Backend::default()],
            server_retry: 3,
            timeout_cleanup: Duration::from_secs(10),
            timeout_cleanup_max: Some(Duration::from_secs(40)),
            health,
            ..config::Pool::default()
        }
    }

    /// Two probes bring a backend up and four take it out.
    fn probed() -> config::Health {
        let (interval, fast_interval) = (Duration::from_secs(2), Duration::from_secs(1));
        config::Health { interval, fast_interval, timeout: fast_interval, fall: 4, ..config::Health::default() }
    }

    fn passive() -> Health {
        Health::new(ID, &pool(None), seconds(0))
    }

    fn active() -> Health {
        Health::new(ID, &pool(Some(probed())), seconds(0))
    }

    fn meet(health: &mut Health, outcome: Outcome, at: u64) -> Option<Transition> {
        health.observe(Source::Session, outcome, seconds(at))
    }

    fn probe(health: &mut Health, outcome: Outcome, at: u64) -> Option<Transition> {
        assert!(health.begin_trial(seconds(at)));
        health.observe(Source::Probe, outcome, seconds(at))
    }

    fn eject(health: &mut Health, at: u64) -> Transition {
        let down = (0..3).find_map(|_| meet(health, REFUSED, at)).expect("it goes down");
        assert_eq!((down.to, health.state()), (State::Down, State::Down));
        down
    }

    #[test]
    fn every_state_takes_every_report_as_the_table_says() {
        use Outcome::{Neutral, Success};
        use Source::{Probe, Session};
        use State::{Down, Up};
        // A backend that one more report of either kind changes; its counts of failures and of probes afterwards.
        let table = [
            (Up, Session, Success, Up, 0, 3),
            (Up, Session, REFUSED, Down, 0, 0),
            (Up, Session, LOCAL, Up, 2, 3),
            (Up, Session, Neutral, Up, 2, 3),
            (Up, Probe, Success, Up, 2, 0),
            (Up, Probe, REFUSED, Down, 0, 0),
            (Up, Probe, LOCAL, Up, 2, 3),
            (Up, Probe, Neutral, Up, 2, 3),
            (Down, Session, Success, Down, 0, 1),
            (Down, Session, REFUSED, Down, 0, 1),
            (Down, Session, LOCAL, Down, 0, 1),
            (Down, Session, Neutral, Down, 0, 1),
            (Down, Probe, Success, Up, 0, 0),
            (Down, Probe, REFUSED, Down, 0, 0),
            (Down, Probe, LOCAL, Down, 0, 1),
            (Down, Probe, Neutral, Down, 0, 1),
        ];
        for row in table {
            let (from, source, outcome, to, failures, probes) = row;
            let mut health = active();
            match from {
                Up => {
                    assert!((0..3).all(|_| probe(&mut health, REFUSED, 1).is_none()));
                    assert!((0..2).all(|_| meet(&mut health, REFUSED, 1).is_none()));
                }
                Down => {
                    assert!((0..4).any(|_| probe(&mut health, REFUSED, 1).is_some()));
                    assert_eq!(probe(&mut health, Success, 2), None);
                }
            }
            assert_eq!(health.state(), from, "{row:?}");
            assert!(source == Session || health.begin_trial(seconds(9)));
            let transition = health.observe(source, outcome, seconds(9));
            assert_eq!((health.state(), health.failures, health.probes), (to, failures, probes), "{row:?}");
            let still = (from, source, outcome) == (Down, Probe, REFUSED);
            let ends = transition.map(|transition| (transition.from, transition.to));
            assert_eq!(ends, (from != to || still).then_some((from, to)), "{row:?}");
        }
    }

    #[test]
    fn a_limit_of_one_or_none_takes_a_backend_out_at_the_first_failure() {
        for server_retry in [0, 1] {
            let pool = config::Pool { server_retry, ..pool(None) };
            assert!(meet(&mut Health::new(ID, &pool, seconds(0)), REFUSED, 1).is_some());
        }
    }

    #[test]
    fn after_a_connect_one_failure_takes_a_backend_out_until_a_client_was_served() {
        for cleared in [false, true] {
            let mut health = passive();
            eject(&mut health, 1);
            assert!(probe(&mut health, Outcome::Success, 11).is_some());
            assert!(!health.is_proven());
            if cleared {
                meet(&mut health, Outcome::Success, 12);
            }
            assert_eq!((health.is_proven(), meet(&mut health, REFUSED, 13).is_none()), (cleared, cleared));
        }
    }

    #[test]
    fn a_backend_without_a_health_section_is_probed_while_it_is_down_only() {
        let mut health = passive();
        assert_eq!((health.next_probe(), health.begin_trial(seconds(50))), (None, false));
        eject(&mut health, 50);
        assert_eq!(health.next_probe(), Some(seconds(60)));
        assert!(health.begin_trial(seconds(60)));
        assert_eq!((health.next_probe(), health.begin_trial(seconds(60))), (None, false), "one at a time");
        let still = health.observe(Source::Probe, REFUSED, seconds(61)).expect("it is told of");
        assert_eq!((still.from, still.to, still.lasted), (State::Down, State::Down, Duration::from_secs(11)));
        assert_eq!(health.next_probe(), Some(seconds(70)));
        let up = probe(&mut health, Outcome::Success, 70).expect("it comes up");
        assert_eq!((up.to, up.lasted), (State::Up, Duration::from_secs(20)), "probes do not interrupt an outage");
        assert_eq!(health.next_probe(), None);
    }

    #[test]
    fn a_backend_that_was_ejected_comes_back_by_probes_and_no_sooner_than_its_time_is_over() {
        let mut health = active();
        assert!(health.begin_trial(seconds(3)));
        eject(&mut health, 4);
        assert_eq!(health.observe(Source::Probe, Outcome::Success, seconds(5)), None);
        assert_eq!(health.probes, 0, "it began before the outage");
        for at in 5..14 {
            assert_eq!(probe(&mut health, Outcome::Success, at), None, "at {at} s");
        }
        assert_eq!(health.next_probe(), Some(seconds(14)), "the moment when it may come back");
        let up = probe(&mut health, Outcome::Success, 14).expect("its time is over");
        assert_eq!((up.to, up.count), (State::Up, 2));
    }

    #[test]
    fn an_ejection_doubles_while_outages_follow_soon_and_a_long_good_time_ends_that() {
        let mut health = passive();
        let mut at = 1;
        for expected in [10, 20, 40, 40] {
            let down = eject(&mut health, at);
            assert_eq!(down.ejection, Duration::from_secs(expected));
            assert_eq!(health.next_probe(), Some(seconds(at + expected)));
            at += expected;
            assert!(probe(&mut health, Outcome::Success, at).is_some());
            at += 5;
        }
        let later = at + 40;
        assert_eq!(eject(&mut health, later).ejection, Duration::from_secs(10));
    }

    #[test]
    fn a_backend_may_have_to_be_found_up_first() {
        let mut health =
            Health::new(ID, &pool(Some(config::Health { initial: Initial::Down, ..probed() })), seconds(0));
        assert_eq!((health.state(), health.next_probe()), (State::Down, Some(seconds(0))));
        assert_eq!(probe(&mut health, Outcome::Success, 0), None);
        assert_eq!(health.next_probe(), Some(seconds(1)));
        assert!(probe(&mut health, Outcome::Success, 1).is_some());
        assert!(health.is_proven(), "it has never failed anybody");
        assert_eq!((health.outages(), health.next_probe()), (0, Some(seconds(3))));
    }

    #[test]
    fn a_probe_that_did_not_come_in_time_is_left_out_and_the_beat_is_kept() {
        let mut health = active();
        health.due = Time::from_millis(500);
        assert!(health.begin_trial(Time::from_millis(9_700)));
        health.observe(Source::Probe, Outcome::Success, Time::from_millis(9_710));
        assert_eq!(health.next_probe(), Some(Time::from_millis(10_500)));
        assert!(health.begin_trial(Time::from_millis(10_500)));
        health.observe(Source::Probe, REFUSED, Time::from_millis(11_502));
        assert_eq!(health.next_probe(), Some(Time::from_millis(11_500)), "that one took its time");
    }

    #[test]
    fn the_first_probes_are_spread_over_the_interval_in_each_pool_and_over_all_pools() {
        let beat = probed().interval.as_micros() as u64;
        let pool = config::Pool { backends: vec![config::Backend::default(); 8], ..pool(Some(probed())) };
        let mut all = Vec::new();
        for position in 0..20 {
            let first = |backend| Health::new(BackendId::new(position, backend), &pool, seconds(0)).next_probe();
            let mut dues: Vec<u64> = (0..8).filter_map(first).map(Time::as_micros).collect();
            all.extend(dues.iter().copied());
            dues.sort_unstable();
            let gaps = dues.iter().zip(&dues[1..]).map(|(one, next)| next - one);
            assert!(gaps.into_iter().all(|gap| gap.abs_diff(beat / 8) < 10) && dues[7] < beat, "{dues:?}");
        }
        for window in 0..8 {
            let in_window = all.iter().filter(|&&due| due * 8 / beat == window).count();
            assert!((10..=30).contains(&in_window), "{in_window} of 160 in eighth {window}");
        }
    }

    #[test]
    fn a_transition_reads_as_the_log_line_ends() {
        let mut health = active();
        let said = |transition: Option<Transition>| transition.map(|transition| transition.to_string());
        assert_eq!(
            eject(&mut health, 12).to_string(),
            "down after 3 failures: connection refused (was up for 12.0s), out for 10.0s"
        );
        let timed_out = Outcome::Failure(Failure::TimedOut);
        assert_eq!(said(probe(&mut health, timed_out, 14)).as_deref(), Some("still down: timed out (for 2.0s)"));
        probe(&mut health, Outcome::Success, 23);
        assert_eq!(
            said(probe(&mut health, Outcome::Success, 24)).as_deref(),
            Some("up after 2 probes (was down for 12.0s)")
        );
        let down = (0..4).find_map(|_| said(probe(&mut health, timed_out, 25)));
        assert_eq!(down.as_deref(), Some("down after 4 failed probes: timed out (was up for 1.0s)"));
    }

    /// A backend under random use, beside what has been seen of it from outside.
    struct Simulation {
        rng: Rng,
        now: Time,
        pool: config::Pool,
        health: Health,
        /// What sessions and probes said since it came up or went down; what says nothing is not among it.
        met: Vec<bool>,
        found: Vec<bool>,
        /// Whether a probe is in flight, and whether it began before the last change.
        in_flight: Option<bool>,
        changed: Time,
        outages: u16,
        ejection: Duration,
        out_until: Time,
        proven: bool,
    }

    impl Simulation {
        fn new(seed: u64) -> Simulation {
            let mut rng = Rng::new(seed);
            let mut millis = |max| Duration::from_millis(1 + rng.below(max));
            let interval = millis(2_000);
            let fast_interval = millis(interval.as_millis() as u64 - 1).min(interval);
            let (timeout_cleanup, timeout_cleanup_max) = (millis(3_000), millis(20_000));
            let health = config::Health {
                interval,
                fast_interval,
                timeout: interval,
                rise: 1 + rng.below(4) as u32,
                fall: 1 + rng.below(4) as u32,
                initial: if rng.chance(1, 2) { Initial::Up } else { Initial::Down },
                check: if rng.chance(1, 2) { Check::Tcp } else { Check::Http(HttpCheck::default()) },
                ..config::Health::default()
            };
            let health = rng.chance(2, 3).then_some(health);
            let server_retry = 1 + rng.below(4) as u32;
            let pool = config::Pool {
                server_retry,
                timeout_cleanup,
                timeout_cleanup_max: Some(timeout_cleanup_max),
                ..pool(health)
            };
            Simulation {
                rng,
                now: Time::START,
                health: Health::new(ID, &pool, Time::START),
                pool,
                met: Vec::new(),
                found: Vec::new(),
                in_flight: None,
                changed: Time::START,
                outages: 0,
                ejection: Duration::ZERO,
                out_until: Time::START,
                proven: true,
            }
        }

        fn outcome(&mut self) -> Outcome {
            match self.rng.below(8) {
                0 => Outcome::Neutral,
                1 => LOCAL,
                2..5 => REFUSED,
                _ => Outcome::Success,
            }
        }

        /// The last so many reports are all of one kind.
        fn ends_in(reports: &[bool], count: u32, kind: bool) -> bool {
            let count = count as usize;
            reports.len() >= count && reports[reports.len() - count..].iter().all(|&report| report == kind)
        }

        /// Where it should be after a report.
        fn expected(&self, before: State, source: Source) -> State {
            let health = self.pool.health.as_ref();
            match (before, source) {
                (State::Up, Source::Session) => {
                    let limit = if self.proven { self.pool.server_retry } else { 1 };
                    if Self::ends_in(&self.met, limit, false) { State::Down } else { State::Up }
                }
                (State::Up, Source::Probe) => {
                    let is_out = health.is_some_and(|health| Self::ends_in(&self.found, health.fall, false));
                    if is_out { State::Down } else { State::Up }
                }
                (State::Down, Source::Probe) => {
                    let rise = health.map_or(1, |health| health.rise);
                    let is_back = Self::ends_in(&self.found, rise, true) && self.now >= self.out_until;
                    if is_back { State::Up } else { State::Down }
                }
                (State::Down, Source::Session) => State::Down,
            }
        }

        fn report(&mut self, source: Source, outcome: Outcome, is_current: bool) {
            let before = self.health.state();
            let said = match outcome {
                Outcome::Success => Some(true),
                REFUSED => Some(false),
                _ => None,
            };
            match source {
                Source::Session => self.met.extend(said),
                Source::Probe => self.found.extend(said.filter(|_| is_current)),
            }
            let said = said.filter(|_| is_current || source == Source::Session);
            let expected = if said.is_some() { self.expected(before, source) } else { before };
            let transition = self.health.observe(source, outcome, self.now);
            assert_eq!(self.health.state(), expected, "after {source:?} said {outcome:?}");
            let still = (before, source, said) == (State::Down, Source::Probe, Some(false));
            assert_eq!(transition.is_some(), before != expected || still);
            self.proven |= before == State::Up && source == Source::Session && said == Some(true);
            if let Some(transition) = transition {
                assert_eq!((transition.from, transition.to), (before, expected), "the chain is whole");
                assert_eq!(transition.lasted, self.now.since(self.changed));
                if before != expected {
                    self.change(transition);
                }
            }
            assert_eq!(self.health.is_proven(), self.proven);
        }

        fn change(&mut self, transition: Transition) {
            if transition.to == State::Up {
                let finds_out = self.pool.health.as_ref().is_some_and(|health| health.check != Check::Tcp);
                self.proven = self.outages == 0 || finds_out;
            } else {
                self.outages += 1;
                self.ejection = if transition.lasted >= self.ejection { Duration::ZERO } else { self.ejection };
                if matches!(transition.reason, Reason::SessionsFailed(_)) {
                    let (base, max) = (self.pool.timeout_cleanup, self.pool.timeout_cleanup_max.unwrap_or_default());
                    self.ejection = (self.ejection * 2).max(base).min(max.max(base));
                    assert_eq!(transition.ejection, self.ejection);
                    self.out_until = self.now + self.ejection;
                }
            }
            self.met.clear();
            self.found.clear();
            self.changed = self.now;
            self.in_flight = self.in_flight.map(|_| true);
        }

        /// Probes when it is time, or later.
        fn begin(&mut self) {
            let Some(due) = self.health.next_probe() else {
                let is_idle = self.pool.health.is_none() && self.health.state() == State::Up;
                assert!(is_idle || self.in_flight.is_some(), "somebody has to be probed");
                assert!(!self.health.begin_trial(self.now));
                return;
            };
            assert!(self.in_flight.is_none());
            if self.pool.health.is_none() {
                assert!(due >= self.out_until, "nothing brings it back sooner");
            }
            if self.now >= due {
                assert!(self.health.begin_trial(self.now));
                self.in_flight = Some(false);
            }
        }

        fn end(&mut self) {
            let Some(is_stale) = self.in_flight.take() else { return };
            let outcome = self.outcome();
            self.report(Source::Probe, outcome, !is_stale);
            if let Some(due) = self.health.next_probe() {
                let interval = self.pool.health.as_ref().map_or(self.pool.timeout_cleanup, |health| health.interval);
                assert!(due <= self.now + interval, "the next probe is not forgotten");
                assert!(due + interval >= self.now, "and none is made up for");
            }
        }

        fn step(&mut self) {
            let stalls = self.rng.chance(1, 50);
            let pause = self.rng.below(if stalls { 30_000 } else { 200 });
            self.now = self.now + Duration::from_millis(pause);
            match self.rng.below(3) {
                0 => {
                    let outcome = self.outcome();
                    self.report(Source::Session, outcome, true);
                }
                1 => self.begin(),
                _ => self.end(),
            }
            assert_eq!(self.health.outages(), self.outages);
        }
    }

    #[test]
    fn a_naive_model_agrees_on_every_transition_for_any_seed() {
        for seed in 0..400 {
            let run = || {
                let mut simulation = Simulation::new(seed);
                (0..1_500).for_each(|_| simulation.step());
                assert!(simulation.outages > 0 || simulation.pool.server_retry > 1, "something happened");
            };
            assert!(std::panic::catch_unwind(run).is_ok(), "seed {seed}: see above");
        }
    }
}
