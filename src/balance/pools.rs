//! `Pools`: the backends of every pool with their health and load, and the leases on them.
//!
//! A lease is taken by `pick`, or handed to whoever has waited longest, and given back by `release`, with what became of
//! it. Load is the number of leases, and nothing else changes it, so that it can neither leak nor underflow.

use std::collections::VecDeque;

use super::affinity::Key;
use super::health::{Source, State, Transition};
use super::pool::{Found, Pool};
use super::queue::{Queue, Ticket, Waiter};
use super::{Administration, BackendId, Failure, Outcome, Seeker};
use crate::base::rng::Rng;
use crate::base::time::Time;
use crate::config;

/// Transitions that wait for the shell, besides those of [`TRANSITIONS_PER_BACKEND_MAX`]; beyond these the oldest are
/// forgotten.
const TRANSITIONS_MAX: usize = 1_024;
/// What a backend may go through in a turn, after which the shell takes all transitions: a probe brings it back, and a
/// client's failure takes it out again.
const TRANSITIONS_PER_BACKEND_MAX: usize = 2;
/// Failures that wait for the shell; beyond these the oldest are forgotten.
const FAILURES_MAX: usize = 256;
/// The most pools, and the most backends of a pool: what a [`BackendId`] can name.
const POSITIONS_MAX: usize = 1 << 16;

/// The right to use one connection to a backend. Not given back, it counts as load for ever.
#[must_use = "a lease is given back with Pools::release"]
#[derive(Debug)]
pub struct Lease {
    backend: BackendId,
    /// The outage after which it was taken: a failure that began before one says nothing about the time after it.
    outages: u16,
}

impl Lease {
    /// Whose.
    pub fn backend(&self) -> BackendId {
        self.backend
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        debug_assert!(std::thread::panicking(), "the lease on {:?} was dropped instead of released", self.backend);
    }
}

/// What a pool is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The position of the pool.
    pub pool: usize,
    /// What leads the client back to a backend.
    pub key: Key,
    /// What the backend is chosen by where that is a hash.
    pub hash: Option<u64>,
    /// The backends that will not do, each once.
    pub tried: &'a [BackendId],
    /// Who asks: it is called when its turn has come.
    pub who: Seeker,
    /// The number of the ticket that it had before: it keeps its place.
    pub place: Option<u64>,
}

impl Ask<'_> {
    /// Any backend of a pool will do.
    pub fn any(pool: usize) -> Ask<'static> {
        Ask { pool, key: Key::None, hash: None, tried: &[], who: Seeker(0), place: None }
    }
}

/// What a pool answers.
#[derive(Debug)]
pub enum Picked {
    /// A backend, which is load from now on.
    Lease(Lease),
    /// All that would do are full: a place in the queue.
    Queued(Ticket),
    /// The queue is full, too.
    Full,
    /// No backend that would do lives.
    Nobody,
}

/// It is the turn of one that waits.
#[derive(Debug)]
pub struct Call {
    /// Who.
    pub who: Seeker,
    /// The number of its ticket.
    pub number: u64,
    /// What it waited for. `None`: that will not come, or something better may be had; it is to ask again.
    pub lease: Option<Lease>,
}

/// What happened to a backend since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Leases taken.
    pub picked: u64,
    /// Successes that sessions reported.
    pub successes: u64,
    /// Failures that sessions reported, without local ones.
    pub failures: u64,
}

/// All pools.
#[derive(Debug)]
pub struct Pools {
    pools: Vec<Pool>,
    /// Of each pool.
    queues: Vec<Queue>,
    transitions: VecDeque<Transition>,
    transitions_max: usize,
    failures: VecDeque<(BackendId, Failure)>,
    /// At most one for each that waits.
    calls: VecDeque<Call>,
    tickets: u64,
    rng: Rng,
}

impl Pools {
    /// All backends are idle. Pools and backends beyond 65,536 are left out.
    pub fn new(pools: &[config::Pool], now: Time) -> Pools {
        debug_assert!(pools.len() <= POSITIONS_MAX, "checked with the configuration");
        let queues = pools.iter().map(|pool| Queue::new(pool.max_queue as usize)).collect();
        let pools: Vec<_> = (0..=u16::MAX).zip(pools).map(|(position, pool)| Pool::new(position, pool, now)).collect();
        let backends: usize = pools.iter().map(|pool| pool.len()).sum();
        Pools {
            pools,
            queues,
            transitions: VecDeque::new(),
            transitions_max: TRANSITIONS_MAX + TRANSITIONS_PER_BACKEND_MAX * backends,
            failures: VecDeque::new(),
            calls: VecDeque::new(),
            tickets: 0,
            rng: Rng::new(0),
        }
    }

    /// Whatever is chosen by chance follows from this number.
    pub fn seed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    /// Chooses a backend of a pool that lives, has room and was not tried, and lends it. A client is led back to the
    /// backend that its key stands for, and waits for that one; where it does not live, the client is bound anew.
    pub fn pick(&mut self, ask: &Ask, now: Time) -> Picked {
        let Some(pool) = self.pools.get_mut(ask.pool) else { return Picked::Nobody };
        let bound = match pool.find(ask, &mut self.rng, now) {
            Found::Backend(backend) => return Picked::Lease(occupy(pool, backend, ask.key, now)),
            Found::Busy(bound) => bound,
            Found::Nobody => return Picked::Nobody,
        };
        // Who has waited already is not turned away when it has to ask again.
        if ask.place.is_none() && !self.queues[ask.pool].has_room() {
            return Picked::Full;
        }
        let number = ask.place.unwrap_or(self.tickets);
        self.tickets += u64::from(ask.place.is_none());
        let &Ask { key, hash, tried, who, .. } = ask;
        self.queues[ask.pool].join(bound, Waiter { number, who, key, hash, tried: tried.into() });
        Picked::Queued(Ticket { pool: pool.position(), bound, number })
    }

    /// As [`Pools::pick`], for one that does not wait.
    pub fn lend(&mut self, pool: usize, key: Key, tried: &[BackendId], now: Time) -> Option<Lease> {
        match self.pick(&Ask { key, tried, ..Ask::any(pool) }, now) {
            Picked::Lease(lease) => Some(lease),
            Picked::Queued(ticket) => {
                self.leave(ticket);
                None
            }
            Picked::Full | Picked::Nobody => None,
        }
    }

    /// Gives a place in a queue up; a call for it that was not taken yet is void.
    pub fn leave(&mut self, ticket: Ticket) {
        self.queues[usize::from(ticket.pool)].remove(&ticket);
    }

    /// The oldest call that the shell has not passed on yet.
    pub fn next_call(&mut self) -> Option<Call> {
        self.calls.pop_front()
    }

    /// Binds the client with a key that was learned from an answer to the backend that gave it.
    pub fn bind(&mut self, lease: &Lease, key: Key, now: Time) {
        self.pools[lease.backend.pool()].learn(key, lease.backend.backend, lease.outages, now);
    }

    /// Takes a session's experience while it goes on, as a success with the response head.
    ///
    /// What was reported here is not reported again with [`release`](Pools::release), where `Neutral` will do.
    pub fn observe(&mut self, id: BackendId, outcome: Outcome, now: Time) {
        let counters = &mut self.pools[id.pool()].backend_mut(id.backend).counters;
        match outcome {
            Outcome::Success => counters.successes += 1,
            Outcome::Failure(Failure::Local) | Outcome::Neutral => {}
            Outcome::Failure(failure) => {
                counters.failures += 1;
                if self.failures.len() >= FAILURES_MAX {
                    self.failures.pop_front();
                }
                self.failures.push_back((id, failure));
            }
        }
        self.judge(id, Source::Session, outcome, now);
    }

    /// Takes what an answer says about the backend of a lease that is kept: a failure, only of one without an outage since.
    pub fn hear(&mut self, lease: &Lease, outcome: Outcome, now: Time) {
        let id = lease.backend;
        let is_current = self.pools[id.pool()].backend(id.backend).health.outages() == lease.outages;
        let says_something = is_current || outcome == Outcome::Success;
        self.observe(id, if says_something { outcome } else { Outcome::Neutral }, now);
    }

    /// Takes a lease back, and what is to be said about the backend at the end. Whoever has waited longest gets the room.
    pub fn release(&mut self, lease: Lease, outcome: Outcome, now: Time) {
        let (id, outages) = (lease.backend, lease.outages);
        std::mem::forget(lease);
        let is_current = self.pools[id.pool()].give_back(id.backend) == outages;
        self.observe(id, if is_current { outcome } else { Outcome::Neutral }, now);
    }

    /// When a backend is to be probed next; `None` while it is being probed, and where nobody wants to know.
    pub fn next_probe(&self, id: BackendId) -> Option<Time> {
        self.pools[id.pool()].next_probe(id.backend)
    }

    /// Notes that a probe of a backend is in flight; false when none is wanted.
    pub fn begin_trial(&mut self, id: BackendId, now: Time) -> bool {
        self.next_probe(id).is_some() && self.pools[id.pool()].backend_mut(id.backend).health.begin_trial(now)
    }

    /// Takes the result of a probe. A local failure says nothing.
    pub fn end_trial(&mut self, id: BackendId, result: Result<(), Failure>, now: Time) {
        let outcome = result.map_or_else(Outcome::Failure, |()| Outcome::Success);
        self.judge(id, Source::Probe, outcome, now);
    }

    /// The administrator's word on a backend.
    pub fn administer(&mut self, id: BackendId, administration: Administration, now: Time) {
        self.pools[id.pool()].administer(id.backend, administration, now);
        self.settle(id, now);
    }

    /// What the administrator says of a backend.
    pub fn administration(&self, id: BackendId) -> Administration {
        self.pools[id.pool()].backend(id.backend).administration
    }

    /// Gives a backend another weight, 0 to 256.
    pub fn reweigh(&mut self, id: BackendId, weight: u16, now: Time) {
        self.pools[id.pool()].reweigh(id.backend, weight, now);
        self.settle(id, now);
    }

    /// The oldest transition that the shell has not taken yet.
    pub fn next_transition(&mut self) -> Option<Transition> {
        self.transitions.pop_front()
    }

    /// The oldest failure that the shell has not taken yet.
    pub fn next_failure(&mut self) -> Option<(BackendId, Failure)> {
        self.failures.pop_front()
    }

    /// Whether no backend of a pool is up.
    pub fn is_down(&self, pool: usize) -> bool {
        self.pools[pool].backends().iter().all(|backend| backend.health.state() != State::Up)
    }

    /// Whether no backend of a pool takes clients, other than those that are bound to it.
    pub fn is_deserted(&self, pool: usize) -> bool {
        !self.pools[pool].lives()
    }

    /// The leases held on a backend.
    pub fn load(&self, id: BackendId) -> u32 {
        self.pools[id.pool()].backend(id.backend).load
    }

    /// The number of clients that wait for a backend of a pool.
    pub fn waiting(&self, pool: usize) -> usize {
        self.queues[pool].len()
    }

    /// The most leases that are held on a backend; `None` is no limit.
    pub fn load_max(&self, id: BackendId) -> Option<u32> {
        self.pools[id.pool()].backend(id.backend).load_max
    }

    /// Where a backend stands.
    pub fn health(&self, id: BackendId) -> State {
        self.pools[id.pool()].backend(id.backend).health.state()
    }

    /// What happened to a backend since the start.
    pub fn counters(&self, id: BackendId) -> Counters {
        self.pools[id.pool()].backend(id.backend).counters
    }

    /// All backends of all pools, in the order of the configuration.
    pub fn ids(&self) -> impl Iterator<Item = BackendId> {
        (0..).zip(&self.pools).flat_map(|(pool, entry)| {
            (0..=u16::MAX).take(entry.len()).map(move |backend| BackendId::new(pool, backend))
        })
    }

    /// The number of pools.
    pub fn len(&self) -> usize {
        self.pools.len()
    }

    /// Whether there is no pool.
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    /// Feeds the health of a backend, and draws the conclusions.
    fn judge(&mut self, id: BackendId, source: Source, outcome: Outcome, now: Time) {
        if let Some(transition) = self.pools[id.pool()].observe(id.backend, source, outcome, now) {
            if self.transitions.len() >= self.transitions_max {
                self.transitions.pop_front();
            }
            self.transitions.push_back(transition);
        }
        self.settle(id, now);
    }

    /// Seats a backend according to what it is now, and serves those who wait for that.
    fn settle(&mut self, id: BackendId, now: Time) {
        let (pool, queue) = (&mut self.pools[id.pool()], &mut self.queues[id.pool()]);
        let fell = pool.settle(id.backend, now);
        if queue.len() == 0 {
            return;
        }
        while let Some(waiter) = pool.dismiss(queue, id.backend, fell) {
            // What it waited for may never come; it keeps its place.
            self.calls.push_back(Call { who: waiter.who, number: waiter.number, lease: None });
        }
        while let Some((waiter, backend)) = pool.next_in_line(queue, id.backend, &mut self.rng, now) {
            let lease = backend.map(|backend| occupy(pool, backend, waiter.key, now));
            self.calls.push_back(Call { who: waiter.who, number: waiter.number, lease });
        }
    }
}

/// Lends a backend that has room.
fn occupy(pool: &mut Pool, backend: u16, key: Key, now: Time) -> Lease {
    let outages = pool.take(backend, now);
    pool.bind(key, backend, outages, now);
    Lease { backend: BackendId::new(pool.position(), backend), outages }
}

mod crowded;

mod homes;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::rng::Rng;

    const ALL_FAILURES: [Failure; 9] = [
        Failure::Refused,
        Failure::Unreachable,
        Failure::Reset,
        Failure::Ended,
        Failure::TimedOut,
        Failure::Malformed,
        Failure::Status(503),
        Failure::Unexpected,
        Failure::Local,
    ];

    fn pool(server_retry: u32, weights: &[u32]) -> config::Pool {
        let backend = |&weight: &u32| config::Backend { port: 1, weight, ..config::Backend::default() };
        config::Pool { backends: weights.iter().map(backend).collect(), server_retry, ..config::Pool::default() }
    }

    fn pools(server_retry: u32, weights: &[u32]) -> Pools {
        Pools::new(&[pool(server_retry, weights)], Time::START)
    }

    fn take_down(pools: &mut Pools, id: BackendId) {
        while pools.health(id) == State::Up {
            pools.observe(id, Outcome::Failure(Failure::Refused), Time::START);
        }
    }

    /// Pools under random use, beside what is known of them from outside.
    struct Simulation {
        rng: Rng,
        now: Time,
        pools: Pools,
        ids: Vec<BackendId>,
        leases: Vec<Lease>,
    }

    impl Simulation {
        fn new(seed: u64) -> Simulation {
            let mut rng = Rng::new(seed);
            let configs: Vec<_> = (0..=rng.below(3))
                .map(|_| {
                    let weights: Vec<_> = (0..=rng.below(6)).map(|_| 1 + rng.below(5) as u32).collect();
                    pool(1 + rng.below(4) as u32, &weights)
                })
                .collect();
            let pools = Pools::new(&configs, Time::START);
            let ids: Vec<_> = pools.ids().collect();
            assert_eq!(ids.len(), configs.iter().map(|config| config.backends.len()).sum::<usize>());
            Simulation { rng, now: Time::START, pools, ids, leases: Vec::new() }
        }

        fn some_id(&mut self) -> BackendId {
            self.ids[self.rng.below(self.ids.len() as u64) as usize]
        }

        fn some_failure(&mut self) -> Failure {
            ALL_FAILURES[self.rng.below(9) as usize]
        }

        fn some_outcome(&mut self) -> Outcome {
            match self.rng.below(4) {
                0 => Outcome::Neutral,
                1 => Outcome::Success,
                _ => Outcome::Failure(self.some_failure()),
            }
        }

        fn pick(&mut self) {
            let position = self.some_id().pool();
            let tried: Vec<_> = (0..self.rng.below(4)).map(|_| self.some_id()).collect();
            let picked = self.pools.lend(position, Key::None, &tried, self.now);
            let allowed =
                |id: &BackendId| id.pool() == position && self.pools.health(*id) == State::Up && !tried.contains(id);
            match &picked {
                Some(lease) => assert!(allowed(&lease.backend()), "{:?} was not to be picked", lease.backend()),
                None => assert!(!self.ids.iter().any(allowed), "a backend that might serve was not found"),
            }
            self.leases.extend(picked);
        }

        fn release(&mut self) {
            let Some(nth) = self.rng.below(self.leases.len() as u64 + 1).checked_sub(1) else { return };
            let outcome = self.some_outcome();
            self.pools.release(self.leases.swap_remove(nth as usize), outcome, self.now);
        }

        fn probe(&mut self) {
            let id = self.some_id();
            let wanted = self.pools.next_probe(id).is_some();
            assert_eq!(self.pools.begin_trial(id, self.now), wanted);
            if self.pools.health(id) != State::Up && self.rng.chance(1, 2) {
                let result = if self.rng.chance(1, 2) { Ok(()) } else { Err(self.some_failure()) };
                self.pools.end_trial(id, result, self.now);
                let expected = if result.is_ok() { State::Up } else { State::Down };
                assert_eq!(self.pools.health(id), expected);
            }
        }

        fn step(&mut self) {
            self.now = self.now + Duration::from_millis(self.rng.below(100));
            match self.rng.below(10) {
                0..4 => self.pick(),
                4..7 => self.release(),
                7 => {
                    let (id, outcome) = (self.some_id(), self.some_outcome());
                    self.pools.observe(id, outcome, self.now);
                }
                _ => self.probe(),
            }
            for &id in &self.ids {
                let held = self.leases.iter().filter(|lease| lease.backend() == id).count();
                assert_eq!(self.pools.load(id) as usize, held, "the load of {id:?}");
            }
        }

        fn end(mut self) {
            while let Some(lease) = self.leases.pop() {
                self.pools.release(lease, Outcome::Neutral, self.now);
            }
            assert!(self.ids.iter().all(|&id| self.pools.load(id) == 0));
            let mut states = vec![State::Up; self.ids.len()];
            while let Some(transition) = self.pools.next_transition() {
                let nth = self.ids.iter().position(|&id| id == transition.backend).expect("a known backend");
                let in_service = |state| state == State::Up;
                assert_eq!(in_service(states[nth]), in_service(transition.from), "{transition:?}");
                states[nth] = transition.to;
            }
            for (&id, &state) in self.ids.iter().zip(&states) {
                assert_eq!(state == State::Up, self.pools.health(id) == State::Up, "no transition was lost");
            }
        }
    }

    #[test]
    fn no_down_or_tried_backend_is_picked_and_every_lease_is_counted_for_any_seed() {
        for seed in 0..200 {
            let run = || {
                let mut simulation = Simulation::new(seed);
                (0..1_000).for_each(|_| simulation.step());
                simulation.end();
            };
            assert!(std::panic::catch_unwind(run).is_ok(), "seed {seed}: see above");
        }
    }

    #[test]
    fn nobody_is_probed_in_maintenance_and_nobody_is_picked_before_probes_have_found_it() {
        let initial = config::health::Initial::Down;
        let health = Some(config::Health { rise: 1, initial, ..config::Health::default() });
        let mut pools = Pools::new(&[config::Pool { health, ..pool(1, &[1]) }], Time::START);
        let id = BackendId::new(0, 0);
        pools.administer(id, Administration::Maintenance, Time::START);
        assert_eq!((pools.next_probe(id), pools.begin_trial(id, Time::START)), (None, false));
        pools.administer(id, Administration::Ready, Time::START);
        assert!(matches!(pools.pick(&Ask::any(0), Time::START), Picked::Nobody));
        assert!(pools.next_probe(id).is_some() && pools.begin_trial(id, Time::START));
        pools.end_trial(id, Ok(()), Time::START);
        let lease = pools.lend(0, Key::None, &[], Time::START).expect("it is up");
        pools.release(lease, Outcome::Neutral, Time::START);
    }

    #[test]
    fn a_backend_on_trial_is_never_picked() {
        let mut pools = pools(1, &[1]);
        let id = BackendId::new(0, 0);
        take_down(&mut pools, id);
        assert!(pools.begin_trial(id, Time::START));
        assert!(pools.lend(0, Key::None, &[], Time::START).is_none());
        pools.end_trial(id, Ok(()), Time::START);
        let lease = pools.lend(0, Key::None, &[], Time::START).expect("it is up");
        pools.release(lease, Outcome::Neutral, Time::START);
    }

    #[test]
    fn a_backend_that_was_down_gets_its_share_again_without_a_burst() {
        let mut pools = pools(2, &[1, 1, 2]);
        let id = BackendId::new(0, 2);
        let serve = |pools: &mut Pools, count: u32| {
            let mut hits = 0;
            for _ in 0..count {
                let lease = pools.lend(0, Key::None, &[], Time::START).expect("others are up");
                hits += u32::from(lease.backend() == id);
                pools.release(lease, Outcome::Success, Time::START);
            }
            hits
        };
        assert_eq!(serve(&mut pools, 40), 20);
        take_down(&mut pools, id);
        assert_eq!(serve(&mut pools, 1_000), 0);
        assert!(pools.begin_trial(id, Time::START));
        pools.end_trial(id, Ok(()), Time::START);
        let first = serve(&mut pools, 8);
        assert!((3..=5).contains(&first), "{first} of the first 8");
        assert_eq!(serve(&mut pools, 40), 20);
    }

    #[test]
    fn what_sessions_report_is_counted_and_local_failures_are_not() {
        let mut pools = pools(3, &[1]);
        let id = BackendId::new(0, 0);
        for outcome in [Outcome::Success, Outcome::Failure(Failure::Ended), Outcome::Neutral] {
            let lease = pools.lend(0, Key::None, &[], Time::START).expect("it is up");
            pools.release(lease, outcome, Time::START);
        }
        pools.observe(id, Outcome::Success, Time::START);
        pools.observe(id, Outcome::Failure(Failure::Local), Time::START);
        assert_eq!(pools.counters(id), Counters { picked: 3, successes: 2, failures: 1 });
    }

    #[test]
    fn transitions_nobody_takes_do_not_pile_up() {
        let mut pools = pools(1, &[1]);
        let id = BackendId::new(0, 0);
        for turn in 0..TRANSITIONS_MAX as u64 {
            pools.observe(id, Outcome::Failure(Failure::Reset), Time::from_millis(turn));
            assert!(pools.begin_trial(id, Time::from_millis(turn)));
            pools.end_trial(id, Ok(()), Time::from_millis(turn));
        }
        let told: Vec<_> = std::iter::from_fn(|| pools.next_transition()).collect();
        assert_eq!(told.len(), TRANSITIONS_MAX + TRANSITIONS_PER_BACKEND_MAX);
        assert_eq!(told.last().map(|transition| transition.to), Some(State::Up), "the latest are kept");
    }

    #[test]
    fn one_client_at_a_time_finds_out_whether_a_backend_that_came_back_serves() {
        let mut pools = pools(1, &[1, 1]);
        let [first, second] = [0, 1].map(|backend| BackendId::new(0, backend));
        take_down(&mut pools, first);
        assert!(pools.begin_trial(first, Time::START));
        pools.end_trial(first, Ok(()), Time::START);
        let mut leases: Vec<_> = (0..8).filter_map(|_| pools.lend(0, Key::None, &[], Time::START)).collect();
        assert_eq!((pools.load(first), pools.load(second)), (1, 7));
        let alone = pools.lend(0, Key::None, &[second], Time::START).expect("there is no better one");
        assert_eq!(alone.backend(), first);
        pools.release(alone, Outcome::Neutral, Time::START);
        pools.observe(first, Outcome::Success, Time::START);
        leases.extend((0..8).filter_map(|_| pools.lend(0, Key::None, &[], Time::START)));
        assert!(pools.load(first) >= 4, "it has proved itself");
        leases.into_iter().for_each(|lease| pools.release(lease, Outcome::Neutral, Time::START));
    }

    #[test]
    fn a_failure_that_began_before_an_outage_says_nothing_about_the_time_after_it() {
        let mut pools = pools(1, &[1]);
        let id = BackendId::new(0, 0);
        let old = pools.lend(0, Key::None, &[], Time::START).expect("it is up");
        take_down(&mut pools, id);
        assert!(pools.begin_trial(id, Time::START));
        pools.end_trial(id, Ok(()), Time::START);
        pools.release(old, Outcome::Failure(Failure::TimedOut), Time::START);
        assert_eq!(pools.health(id), State::Up);
        let new = pools.lend(0, Key::None, &[], Time::START).expect("it is up");
        pools.release(new, Outcome::Failure(Failure::TimedOut), Time::START);
        assert_eq!(pools.health(id), State::Down);
    }

    #[test]
    fn a_status_that_answers_what_was_asked_before_an_outage_is_no_failure_after_it() {
        let mut pools = pools(1, &[1]);
        let id = BackendId::new(0, 0);
        let old = pools.lend(0, Key::None, &[], Time::START).expect("it is up");
        take_down(&mut pools, id);
        assert!(pools.begin_trial(id, Time::START));
        pools.end_trial(id, Ok(()), Time::START);
        pools.hear(&old, Outcome::Failure(Failure::Status(500)), Time::START);
        assert_eq!(pools.health(id), State::Up);
        let new = pools.lend(0, Key::None, &[], Time::START).expect("it is up");
        pools.hear(&new, Outcome::Failure(Failure::Status(500)), Time::START);
        assert_eq!(pools.health(id), State::Down);
        [old, new].into_iter().for_each(|lease| pools.release(lease, Outcome::Neutral, Time::START));
    }

    #[test]
    fn each_of_very_many_backends_that_go_down_at_once_is_told_of() {
        let mut pools = pools(1, &[1; 3_000]);
        pools.ids().collect::<Vec<_>>().into_iter().for_each(|id| take_down(&mut pools, id));
        assert_eq!(std::iter::from_fn(|| pools.next_transition()).count(), 3_000);
    }

    #[test]
    fn a_pool_that_does_not_exist_lends_nothing() {
        let mut pools = pools(1, &[1]);
        assert!(pools.lend(1, Key::None, &[], Time::START).is_none());
        assert!(pools.lend(usize::MAX, Key::None, &[], Time::START).is_none());
        assert_eq!((pools.len(), pools.is_empty()), (1, false));
    }

    #[test]
    fn a_lease_is_small() {
        assert!(size_of::<Option<Lease>>() <= 8);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "dropped instead of released")]
    fn a_lease_that_is_dropped_panics_in_debug_builds() {
        drop(pools(1, &[1]).lend(0, Key::None, &[], Time::START));
    }
}
