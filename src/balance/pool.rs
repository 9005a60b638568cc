//! `Pool`: the backends of one pool, and which of them may take the next client.
//!
//! A backend has a [`Seat`] in its tier, which follows from its health, its load and what the administrator says, and is
//! found anew after each change ([`Pool::settle`]): so whoever is chosen may be given the client, and nobody is looked at
//! who may not. Nothing here lends: `pools` does.

use std::iter::once;
use std::time::Duration;

use super::affinity::{Binding, Bindings, Key};
use super::health::{Health, Source, State, Transition};
use super::policy::Policy;
use super::pools::{Ask, Counters};
use super::queue::{Queue, Waiter};
use super::tier::{self, Seat, Tier};
use super::{Administration, BackendId, Outcome};
use crate::base::rng::Rng;
use crate::base::time::Time;
use crate::config::{self, Affinity};

/// While a backend starts slowly, weights count in such parts of one.
const SLOW_PARTS: u16 = 16;
/// In so many steps a backend that starts slowly gets to its weight.
const SLOW_STEPS: u32 = 20;
/// So many of those who wait are asked whether a backend will do that is free; the others are behind them anyway.
const ASKED_MAX: usize = 64;

/// What a pool has for one that asks.
pub(super) enum Found {
    /// This backend has room.
    Backend(u16),
    /// All that will do are full: this one, or any of them.
    Busy(Option<u16>),
    /// Nobody lives who would do.
    Nobody,
}

/// What a change made of a backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    /// One that takes no clients any more.
    Absent,
    /// Anything else.
    Other,
}

#[derive(Debug)]
pub(super) struct Pool {
    position: u16,
    backends: Vec<Backend>,
    /// In the order in which they serve; never empty.
    tiers: Vec<Tier>,
    /// Where its affinity has a table.
    bindings: Option<Bindings>,
    /// Where a client whose backend does not live gets no other one: everybody of the first tier, whether it lives or
    /// not, for those whom a hash leads.
    homes: Option<Policy>,
    /// How long a tier that lives again waits before it takes over.
    hold: Duration,
    /// How long a backend that lives again takes to get to its weight.
    slow_start: Option<Duration>,
    /// Those that have not got there, and when they are looked at next.
    slow: Vec<u16>,
    slow_next: Time,
}

/// What the key of a client says.
struct Own {
    backend: u16,
    /// It had no outage since.
    is_current: bool,
    /// Where the client returns.
    first: Option<u16>,
}

#[derive(Debug)]
pub(super) struct Backend {
    pub(super) health: Health,
    /// Leases held.
    pub(super) load: u32,
    pub(super) load_max: Option<u32>,
    pub(super) counters: Counters,
    pub(super) administration: Administration,
    weight: u16,
    /// The position of its tier.
    tier: usize,
    seat: Seat,
    /// Since when it serves again, while it has not got to its weight.
    back: Option<Time>,
}

impl Pool {
    pub(super) fn new(position: u16, config: &config::Pool, now: Time) -> Pool {
        let mut numbers: Vec<u8> = config.backends.iter().map(|backend| backend.tier).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let tiers = numbers.iter();
        let tiers = tiers.map(|_| Tier::new(Policy::new(&config.balance, &config.backends), config.backends.len()));
        let backends = (0..=u16::MAX).zip(&config.backends).map(|(backend, own)| {
            let id = BackendId::new(position, backend);
            let tier = numbers.binary_search(&own.tier).unwrap_or_default();
            Backend {
                health: Health::new(id, config, now),
                load: 0,
                load_max: own.max_connections.or(config.max_connections),
                counters: Counters::default(),
                administration: own.state,
                weight: u16::try_from(own.weight).unwrap_or(u16::MAX),
                tier,
                seat: Seat::Absent,
                back: None,
            }
        });
        let bindings = match &config.affinity {
            Some(Affinity::Table(table)) => Some(Bindings::new(table)),
            _ => None,
        };
        let homes = (!config.failover).then(|| Policy::new(&config.balance, &config.backends));
        let mut pool = Pool {
            position,
            backends: backends.collect(),
            tiers: tiers.collect(),
            bindings,
            homes,
            hold: Duration::ZERO,
            slow_start: config.slow_start,
            slow: Vec::new(),
            slow_next: now,
        };
        for backend in (0..=u16::MAX).take(pool.backends.len()) {
            pool.settle(backend, now);
            pool.house(backend);
        }
        // Whoever lives at the start has not come back.
        pool.hold = config.tier_hold.unwrap_or_default();
        pool
    }

    pub(super) fn position(&self) -> u16 {
        self.position
    }

    pub(super) fn len(&self) -> usize {
        self.backends.len()
    }

    pub(super) fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Whether anybody lives who takes clients.
    pub(super) fn lives(&self) -> bool {
        self.tiers.iter().any(|tier| tier.live() > 0)
    }

    pub(super) fn backend(&self, backend: u16) -> &Backend {
        &self.backends[usize::from(backend)]
    }

    pub(super) fn backend_mut(&mut self, backend: u16) -> &mut Backend {
        &mut self.backends[usize::from(backend)]
    }

    /// Who may serve the one that asks.
    pub(super) fn find(&mut self, ask: &Ask, rng: &mut Rng, now: Time) -> Found {
        self.speed_up(now);
        let known = match self.home(ask, rng, now) {
            Some(home) if !self.backend(home).lives_for_bound() => return Found::Nobody,
            Some(home) => Some(home),
            None => self.known(ask, now),
        };
        match known {
            Some(backend) if self.backend(backend).has_room() => Found::Backend(backend),
            Some(backend) => Found::Busy(Some(backend)),
            None => self.choose(ask.hash, ask.tried, rng, now),
        }
    }

    /// One that waits for this backend, or for any, and may have one now, or is to ask again: taken out of the queue.
    pub(super) fn next_in_line(
        &mut self,
        line: &mut Queue,
        freed: u16,
        rng: &mut Rng,
        now: Time,
    ) -> Option<(Waiter, Option<u16>)> {
        let entry = self.backend(freed);
        let bound = line.first_bound(freed).filter(|_| entry.has_room() && entry.lives_for_bound());
        let first = line.general().front().map_or(u64::MAX, |waiter| waiter.number);
        if bound.is_none_or(|number| number > first) {
            if let Some((position, backend)) = self.next_of_general(line, rng, now) {
                return line.take_general(position).map(|waiter| (waiter, backend));
            }
        }
        bound.and_then(|_| line.take_bound(freed)).map(|waiter| (waiter, Some(freed)))
    }

    fn next_of_general(&mut self, line: &Queue, rng: &mut Rng, now: Time) -> Option<(usize, Option<u16>)> {
        if !self.tiers.iter().any(Tier::has_free) {
            return None;
        }
        let mut waiters = line.general().iter().enumerate().take(ASKED_MAX);
        waiters.find_map(|(position, waiter)| match self.find(&waiter.ask(self.position), rng, now) {
            Found::Backend(backend) => Some((position, Some(backend))),
            // Its client was bound meanwhile, by another connection, and waits for that backend.
            Found::Busy(Some(_)) => Some((position, None)),
            Found::Busy(None) | Found::Nobody => None,
        })
    }

    /// Takes out one that might wait in vain now: it is bound to this backend, which does not live for it, or it will do
    /// with any, and this one fell.
    pub(super) fn dismiss(&self, line: &mut Queue, backend: u16, became: Became) -> Option<Waiter> {
        let bound = (!self.backend(backend).lives_for_bound()).then(|| line.take_bound(backend)).flatten();
        bound.or_else(|| (became == Became::Absent).then(|| line.take_general(0)).flatten())
    }

    /// Counts a lease in, and tells after which outage of the backend it was taken.
    pub(super) fn take(&mut self, backend: u16, now: Time) -> u16 {
        let entry = self.backend_mut(backend);
        debug_assert!(entry.has_room(), "the limit of {backend} is exceeded");
        entry.load += 1;
        entry.counters.picked += 1;
        let outages = entry.health.outages();
        self.note_load(backend);
        self.settle(backend, now);
        outages
    }

    /// Counts a lease out, and tells after which outage the backend is now. To be settled.
    pub(super) fn give_back(&mut self, backend: u16) -> u16 {
        let entry = self.backend_mut(backend);
        debug_assert!(entry.load > 0, "a lease of other pools");
        entry.load = entry.load.saturating_sub(1);
        let outages = entry.health.outages();
        self.note_load(backend);
        outages
    }

    fn note_load(&mut self, backend: u16) {
        let &Backend { tier, load, .. } = self.backend(backend);
        self.tiers[tier].policy_mut().set_load(backend, load);
    }

    /// Binds a client that was given its key by this backend.
    pub(super) fn learn(&mut self, key: Key, backend: u16, outages: u16, now: Time) {
        if let (Key::Bound(hash), Some(bindings)) = (key, &mut self.bindings) {
            bindings.learn(hash, Binding { backend, outages }, now);
        }
    }

    /// Binds a client that was given this backend.
    pub(super) fn bind(&mut self, key: Key, backend: u16, outages: u16, now: Time) {
        if let (Key::Bound(hash), Some(bindings)) = (key, &mut self.bindings) {
            bindings.bind(hash, Binding { backend, outages }, now);
        }
    }

    /// Feeds the health of a backend. To be settled.
    pub(super) fn observe(&mut self, backend: u16, source: Source, outcome: Outcome, now: Time) -> Option<Transition> {
        let transition = self.backend_mut(backend).health.observe(source, outcome, now)?;
        if transition.to == State::Up {
            self.start_slowly(backend, now);
        }
        Some(transition)
    }

    /// When a backend is to be probed next, if it is. In maintenance it may well not be there.
    pub(super) fn next_probe(&self, backend: u16) -> Option<Time> {
        let entry = self.backend(backend);
        entry.health.next_probe().filter(|_| entry.administration != Administration::Maintenance)
    }

    /// Takes the administrator's word. To be settled.
    pub(super) fn administer(&mut self, backend: u16, administration: Administration, now: Time) {
        let before = std::mem::replace(&mut self.backend_mut(backend).administration, administration);
        if (before, administration) == (Administration::Maintenance, Administration::Ready) {
            self.start_slowly(backend, now);
        }
    }

    /// Gives a backend another weight. To be settled.
    pub(super) fn reweigh(&mut self, backend: u16, weight: u16, now: Time) {
        self.backend_mut(backend).weight = weight;
        self.house(backend);
        if weight > 0 && self.backend(backend).seat == Seat::Open {
            let (tier, weight) = (self.backend(backend).tier, self.weight(backend, now));
            self.tiers[tier].policy_mut().reweigh(backend, weight);
        }
    }

    /// Finds the seat of a backend anew.
    pub(super) fn settle(&mut self, backend: u16, now: Time) -> Became {
        let entry = self.backend(backend);
        let (from, to, tier) = (entry.seat, entry.right_seat(), entry.tier);
        if from == to {
            return Became::Other;
        }
        let weight = self.weight(backend, now);
        self.tiers[tier].seat(backend, weight, from, to, self.hold, now);
        self.backend_mut(backend).seat = to;
        if to == Seat::Absent { Became::Absent } else { Became::Other }
    }

    /// Gives a backend of the first tier its share of those whom a hash leads.
    fn house(&mut self, backend: u16) {
        let &Backend { tier, weight, .. } = self.backend(backend);
        if let Some(homes) = self.homes.as_mut().filter(|_| tier == 0) {
            homes.reweigh(backend, weight);
        }
    }

    /// The backend that alone will do, living or not, where clients are not to get another one than theirs.
    fn home(&mut self, ask: &Ask, rng: &mut Rng, now: Time) -> Option<u16> {
        let homes = self.homes.as_mut()?;
        let hashed = ask.hash.and_then(|hash| {
            // The administrator's word moves them all the same.
            homes.pick(Some(hash), rng, |backend| {
                self.backends[usize::from(backend)].administration != Administration::Ready
            })
        });
        self.own(ask.key, now).map(|own| own.backend).or(hashed)
    }

    /// What a key says.
    fn own(&mut self, key: Key, now: Time) -> Option<Own> {
        match key {
            Key::None => None,
            Key::Backend(backend) => {
                (usize::from(backend) < self.backends.len()).then_some(Own { backend, is_current: true, first: None })
            }
            Key::Bound(hash) => {
                let (Binding { backend, outages }, first) = self.bindings.as_mut()?.find(hash, now)?;
                Some(Own { backend, is_current: self.backend(backend).health.outages() == outages, first })
            }
        }
    }

    /// The backend that the key stands for, while it lives for those who are bound to it and was not tried.
    fn known(&mut self, ask: &Ask, now: Time) -> Option<u16> {
        let Own { backend, is_current, first } = self.own(ask.key, now)?;
        let lives = |backend: &u16| self.backend(*backend).lives_for_bound() && !self.was_tried(*backend, ask.tried);
        // A binding is younger than the outage, a cookie or a first backend may be older: these find out nothing for the
        // others. And who has a place does not wait for the one that it had first.
        let is_proven = |backend: &u16| lives(backend) && !self.backend(*backend).is_on_trial();
        let first = first.filter(|backend| is_proven(backend) && self.backend(*backend).has_room());
        let is_bound = matches!(ask.key, Key::Bound(_));
        let own = Some(backend).filter(|_| is_current || self.homes.is_some());
        first.or(own.filter(|backend| if is_bound { lives(backend) } else { is_proven(backend) }))
    }

    /// Chooses for one that is bound to nobody.
    fn choose(&mut self, hash: Option<u64>, tried: &[BackendId], rng: &mut Rng, now: Time) -> Found {
        let Some(serving) = tier::serving(&self.tiers, now) else { return Found::Nobody };
        let position = self.position;
        let was_tried = |backend: u16| tried.contains(&BackendId::new(position, backend));
        let mut waits = false;
        // Nobody waits while a tier is held back that has room. The later ones stand in where all of these were tried.
        for tier in once(serving).chain(0..serving).chain(serving + 1..self.tiers.len()) {
            if waits && tier > serving {
                break;
            }
            if let Some(backend) = self.tiers[tier].pick(hash, rng, was_tried) {
                return Found::Backend(backend);
            }
            let tried = tried.iter().filter(|id| id.pool() == usize::from(position));
            let tried = tried.map(|id| self.backend(id.backend)).filter(|entry| entry.tier == tier);
            waits |= self.tiers[tier].live() > tried.filter(|entry| entry.seat != Seat::Absent).count();
        }
        if waits { Found::Busy(None) } else { Found::Nobody }
    }

    fn was_tried(&self, backend: u16, tried: &[BackendId]) -> bool {
        tried.contains(&BackendId::new(self.position, backend))
    }

    /// Its weight at this moment, as its policy takes it; not zero.
    fn weight(&self, backend: u16, now: Time) -> u16 {
        let &Backend { weight, back, .. } = self.backend(backend);
        let Some(slow_start) = self.slow_start else { return weight.max(1) };
        let whole = u128::from(weight) * u128::from(SLOW_PARTS);
        let grown = match back {
            Some(back) => whole * now.since(back).as_millis() / slow_start.as_millis().max(1),
            None => whole,
        };
        grown.min(whole).max(1) as u16
    }

    fn start_slowly(&mut self, backend: u16, now: Time) {
        if self.slow_start.is_none() {
            return;
        }
        self.backend_mut(backend).back = Some(now);
        if !self.slow.contains(&backend) {
            self.slow.push(backend);
        }
    }

    /// Brings those nearer to their weights that start slowly.
    fn speed_up(&mut self, now: Time) {
        let Some(slow_start) = self.slow_start.filter(|_| !self.slow.is_empty() && self.slow_next <= now) else {
            return;
        };
        self.slow_next = now + slow_start / SLOW_STEPS;
        for backend in std::mem::take(&mut self.slow) {
            let entry = self.backend_mut(backend);
            match entry.back.is_some_and(|back| now.since(back) < slow_start) {
                true => self.slow.push(backend),
                false => entry.back = None,
            }
            let &Backend { tier, seat, .. } = self.backend(backend);
            if seat == Seat::Open {
                let weight = self.weight(backend, now);
                self.tiers[tier].policy_mut().reweigh(backend, weight);
            }
        }
    }
}

impl Backend {
    fn has_room(&self) -> bool {
        self.load_max.is_none_or(|max| self.load < max)
    }

    /// Whether a client finds out whether it serves.
    fn is_on_trial(&self) -> bool {
        !self.health.is_proven() && self.load > 0
    }

    /// Whether clients are led back to it.
    fn lives_for_bound(&self) -> bool {
        self.health.state() == State::Up && self.administration != Administration::Maintenance
    }

    /// The seat that it has a right to.
    fn right_seat(&self) -> Seat {
        let lives = self.health.state() == State::Up && self.administration == Administration::Ready && self.weight > 0;
        match lives {
            false => Seat::Absent,
            true if !self.has_room() => Seat::Full,
            true if self.is_on_trial() => Seat::Spare,
            true => Seat::Open,
        }
    }
}
