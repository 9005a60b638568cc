//! `Pools`: the backends of every pool with their health and load, and the leases on them.
//!
//! A lease is taken by `pick` and given back by `release`, with what became of it. Load is the number of leases, and
//! nothing else changes it, so that it can neither leak nor underflow.

use std::collections::VecDeque;

use super::health::{Health, Source, State, Transition};
use super::policy::{Key, Policy};
use super::{BackendId, Failure, Outcome};
use crate::base::time::Time;
use crate::config;

/// Transitions that wait for the shell; beyond these the oldest are forgotten.
const TRANSITIONS_MAX: usize = 1_024;
/// The most pools, and the most backends of a pool: what a [`BackendId`] can name.
const POSITIONS_MAX: usize = 1 << 16;

/// The right to use one connection to a backend. Not given back, it counts as load for ever.
#[must_use = "a lease is given back with Pools::release"]
#[derive(Debug)]
pub struct Lease {
    backend: BackendId,
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
    transitions: VecDeque<Transition>,
}

#[derive(Debug)]
struct Pool {
    policy: Policy,
    backends: Vec<Backend>,
}

#[derive(Debug)]
struct Backend {
    health: Health,
    /// Leases held.
    load: u32,
    counters: Counters,
}

impl Pools {
    /// All backends are up and idle. Pools and backends beyond 65,536 are left out.
    pub fn new(pools: &[config::Pool], now: Time) -> Pools {
        debug_assert!(pools.len() <= POSITIONS_MAX, "checked with the configuration");
        let pools = (0..=u16::MAX).zip(pools).map(|(position, pool)| Pool::new(position, pool, now)).collect();
        Pools { pools, transitions: VecDeque::new() }
    }

    /// Chooses a backend of a pool that is up and not among the `tried`, and lends it; it is load from now on.
    ///
    /// `None` when there is no such backend (or pool).
    pub fn pick(&mut self, pool: usize, key: Key, tried: &[BackendId], _now: Time) -> Option<Lease> {
        let position = u16::try_from(pool).ok()?;
        let pool = self.pools.get_mut(pool)?;
        let chosen = pool.policy.pick(key, |backend| tried.contains(&BackendId::new(position, backend)))?;
        let backend = &mut pool.backends[usize::from(chosen)];
        debug_assert_eq!(backend.health.state(), State::Up);
        backend.load += 1;
        backend.counters.picked += 1;
        Some(Lease { backend: BackendId::new(position, chosen) })
    }

    /// Takes a session's experience while it goes on, as a success with the response head.
    ///
    /// What was reported here is not reported again with [`release`](Pools::release), where `Neutral` will do.
    pub fn observe(&mut self, id: BackendId, outcome: Outcome, now: Time) {
        let counters = &mut self.backend_mut(id).counters;
        match outcome {
            Outcome::Success => counters.successes += 1,
            Outcome::Failure(Failure::Local) | Outcome::Neutral => {}
            Outcome::Failure(_) => counters.failures += 1,
        }
        self.judge(id, Source::Session, outcome, now);
    }

    /// Takes a lease back, and what is to be said about the backend at the end.
    pub fn release(&mut self, lease: Lease, outcome: Outcome, now: Time) {
        let id = lease.backend;
        std::mem::forget(lease);
        let backend = self.backend_mut(id);
        debug_assert!(backend.load > 0, "a lease of other pools");
        backend.load = backend.load.saturating_sub(1);
        self.observe(id, outcome, now);
    }

    /// Notes that a probe of a backend that is down is in flight; false when none is wanted.
    pub fn begin_trial(&mut self, id: BackendId, _now: Time) -> bool {
        self.backend_mut(id).health.begin_trial()
    }

    /// Takes the result of a probe. A local failure says nothing: the backend is down as before.
    pub fn end_trial(&mut self, id: BackendId, result: Result<(), Failure>, now: Time) {
        let outcome = result.map_or_else(Outcome::Failure, |()| Outcome::Success);
        self.judge(id, Source::Probe, outcome, now);
    }

    /// The oldest transition that the shell has not taken yet.
    pub fn next_transition(&mut self) -> Option<Transition> {
        self.transitions.pop_front()
    }

    /// The leases held on a backend.
    pub fn load(&self, id: BackendId) -> u32 {
        self.backend(id).load
    }

    /// Where a backend stands.
    pub fn health(&self, id: BackendId) -> State {
        self.backend(id).health.state()
    }

    /// What happened to a backend since the start.
    pub fn counters(&self, id: BackendId) -> Counters {
        self.backend(id).counters
    }

    /// All backends of all pools, in the order of the configuration.
    pub fn ids(&self) -> impl Iterator<Item = BackendId> {
        (0..).zip(&self.pools).flat_map(|(pool, entry)| {
            (0..=u16::MAX).take(entry.backends.len()).map(move |backend| BackendId::new(pool, backend))
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

    /// Feeds the health of a backend, and moves it in or out of its pool's policy accordingly.
    fn judge(&mut self, id: BackendId, source: Source, outcome: Outcome, now: Time) {
        let pool = &mut self.pools[id.pool()];
        let health = &mut pool.backends[id.backend()].health;
        let Some(transition) = health.observe(source, outcome, now) else { return };
        match (transition.from, transition.to) {
            (_, State::Up) => pool.policy.enter(id.backend),
            (State::Up, _) => pool.policy.leave(id.backend),
            _ => {}
        }
        if self.transitions.len() == TRANSITIONS_MAX {
            self.transitions.pop_front();
        }
        self.transitions.push_back(transition);
    }

    /// Ids come from `pick` and `ids`, so that they are in range.
    fn backend(&self, id: BackendId) -> &Backend {
        &self.pools[id.pool()].backends[id.backend()]
    }

    fn backend_mut(&mut self, id: BackendId) -> &mut Backend {
        &mut self.pools[id.pool()].backends[id.backend()]
    }
}

impl Pool {
    fn new(position: u16, pool: &config::Pool, now: Time) -> Pool {
        debug_assert!(pool.backends.len() <= POSITIONS_MAX, "checked with the configuration");
        let ids = (0..=u16::MAX).zip(&pool.backends).map(|(backend, _)| BackendId::new(position, backend));
        let backends = ids.map(|id| Backend::new(Health::new(id, pool.server_retry, now))).collect::<Vec<_>>();
        let weights = pool.backends.iter().take(backends.len()).map(|backend| backend.weight);
        let weights = weights.map(|weight| u16::try_from(weight).unwrap_or(u16::MAX)).collect::<Vec<_>>();
        Pool { policy: Policy::new(pool.balance, &weights), backends }
    }
}

impl Backend {
    fn new(health: Health) -> Backend {
        Backend { health, load: 0, counters: Counters::default() }
    }
}
