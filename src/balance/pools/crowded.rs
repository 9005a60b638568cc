//! Tests of pools whose backends may take no more, beside a model that looks at everybody.

#![cfg(test)]

use std::collections::HashMap;
use std::time::Duration;

use super::*;

/// A backend as it is known from outside.
#[derive(Clone, Copy, Debug)]
struct Known {
    tier: u8,
    max: Option<u32>,
    weight: u32,
    state: Administration,
}

/// One that waits, as it is known from outside.
struct Waiting {
    ticket: Ticket,
    tried: Vec<BackendId>,
    key: Key,
}

/// One pool under random use.
struct Simulation {
    rng: Rng,
    now: Time,
    pools: Pools,
    known: Vec<Known>,
    leases: Vec<Lease>,
    waiting: HashMap<u64, Waiting>,
    queue_max: usize,
    next: u64,
}

fn id(backend: usize) -> BackendId {
    BackendId::new(0, backend as u16)
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut rng = Rng::new(seed);
        let known: Vec<_> = (0..=rng.below(5))
            .map(|_| Known {
                tier: rng.below(3) as u8,
                max: rng.chance(3, 4).then(|| 1 + rng.below(3) as u32),
                weight: rng.below(4) as u32,
                state: Administration::Ready,
            })
            .collect();
        let backend = |known: &Known| config::Backend {
            port: 1,
            weight: known.weight,
            max_connections: known.max,
            tier: known.tier,
            ..config::Backend::default()
        };
        let queue_max = rng.below(12) as usize;
        let config = config::Pool {
            backends: known.iter().map(backend).collect(),
            server_retry: 1 + rng.below(2) as u32,
            max_queue: queue_max as u32,
            slow_start: rng.chance(1, 2).then_some(Duration::from_millis(500)),
            ..config::Pool::default()
        };
        let mut pools = Pools::new(&[config], Time::START);
        pools.seed(seed);
        let (now, leases, waiting) = (Time::START, Vec::new(), HashMap::new());
        Simulation { rng, now, pools, known, leases, waiting, queue_max, next: 0 }
    }

    fn lives(&self, backend: usize) -> bool {
        let known = self.known[backend];
        self.pools.health(id(backend)) == State::Up && known.state == Administration::Ready && known.weight > 0
    }

    fn has_room(&self, backend: usize) -> bool {
        self.known[backend].max.is_none_or(|max| self.pools.load(id(backend)) < max)
    }

    /// Those that may be given to one who is bound to nobody: of the first tier with one that lives and was not tried.
    fn eligible(&self, tried: &[BackendId]) -> Vec<usize> {
        let all = (0..self.known.len()).filter(|&backend| self.lives(backend) && !tried.contains(&id(backend)));
        let serving =
            (0..self.known.len()).filter(|&backend| self.lives(backend)).map(|backend| self.known[backend].tier).min();
        let all: Vec<_> = all.collect();
        let tiers = all.iter().map(|&backend| self.known[backend].tier);
        let tier = tiers.clone().find(|tier| Some(*tier) == serving).or_else(|| tiers.min());
        all.into_iter().filter(|&backend| Some(self.known[backend].tier) == tier).collect()
    }

    fn some_backend(&mut self) -> usize {
        self.rng.below(self.known.len() as u64) as usize
    }

    fn ask(&mut self) {
        let key = match self.rng.below(3) {
            0 => Key::Backend(self.some_backend() as u16),
            _ => Key::None,
        };
        let mut tried: Vec<_> = (0..self.rng.below(3)).map(|_| id(self.some_backend())).collect();
        tried.dedup();
        let (who, waited) = (Seeker(self.next), self.waiting.len());
        self.next += 1;
        let (eligible, before) = (self.eligible(&tried), self.pools.waiting(0));
        let home = match key {
            Key::Backend(backend) => Some(usize::from(backend)),
            _ => None,
        };
        let home = home.filter(|&home| {
            let up = self.pools.health(id(home)) == State::Up && self.known[home].state != Administration::Maintenance;
            let is_on_trial =
                !self.pools.pools[0].backend(home as u16).health.is_proven() && self.pools.load(id(home)) > 0;
            up && !is_on_trial && !tried.contains(&id(home))
        });
        let free = eligible.iter().any(|&backend| self.has_room(backend));
        match self.pools.pick(&Ask { key, tried: &tried, who, ..Ask::any(0) }, self.now) {
            Picked::Lease(lease) => {
                let backend = lease.backend().backend();
                match home {
                    Some(home) => assert_eq!(backend, home),
                    None => assert!(eligible.contains(&backend), "{backend} of {eligible:?}"),
                }
                self.leases.push(lease);
            }
            Picked::Queued(ticket) => {
                assert!(before < self.queue_max);
                match home {
                    Some(home) => assert!(!self.has_room(home), "{home} has room"),
                    None => assert!(!free && !eligible.is_empty(), "{eligible:?} might serve"),
                }
                self.waiting.insert(who.0, Waiting { ticket, tried, key });
            }
            Picked::Full => assert_eq!(waited, self.queue_max, "others could wait"),
            Picked::Nobody => assert!(home.is_none() && eligible.is_empty(), "{home:?} or {eligible:?} live"),
        }
    }

    fn release(&mut self) {
        let Some(nth) = self.rng.below(self.leases.len() as u64 + 1).checked_sub(1) else { return };
        let lease = self.leases.swap_remove(nth as usize);
        let outcome = match self.rng.below(6) {
            0 => Outcome::Failure(Failure::Refused),
            1 => Outcome::Neutral,
            _ => Outcome::Success,
        };
        self.pools.release(lease, outcome, self.now);
    }

    fn change(&mut self) {
        let (backend, now) = (self.some_backend(), self.now);
        match self.rng.below(4) {
            0 => {
                let state = [Administration::Ready, Administration::Drain, Administration::Maintenance];
                let state = state[self.rng.below(3) as usize];
                self.known[backend].state = state;
                self.pools.administer(id(backend), state, now);
            }
            1 => {
                let weight = self.rng.below(4) as u16;
                self.known[backend].weight = weight.into();
                self.pools.reweigh(id(backend), weight, now);
            }
            2 => self.pools.observe(id(backend), Outcome::Failure(Failure::Reset), now),
            _ => {
                self.pools.begin_trial(id(backend), now);
                self.pools.end_trial(id(backend), Ok(()), now);
            }
        }
    }

    /// Passes on what those get who wait.
    fn call_up(&mut self) {
        let mut last = None;
        while let Some(Call { who, number, lease }) = self.pools.next_call() {
            let Some(waiting) = self.waiting.remove(&who.0) else {
                lease.into_iter().for_each(|lease| self.pools.release(lease, Outcome::Neutral, self.now));
                continue;
            };
            assert_eq!(waiting.ticket.number(), number);
            if let Some(lease) = lease {
                assert!(!waiting.tried.contains(&lease.backend()), "it was tried");
                if waiting.ticket.bound.is_none() {
                    assert!(
                        !waiting.tried.is_empty() || last.is_none_or(|last| last < number),
                        "{number} was overtaken"
                    );
                    last = last.max(Some(number)).filter(|_| waiting.tried.is_empty()).or(last);
                }
                self.leases.push(lease);
                continue;
            }
            let Waiting { tried, key, .. } = waiting;
            let ask = Ask { key, tried: &tried, who, place: Some(number), ..Ask::any(0) };
            match self.pools.pick(&ask, self.now) {
                Picked::Lease(lease) => self.leases.push(lease),
                Picked::Queued(ticket) => {
                    assert_eq!(ticket.number(), number, "it lost its place");
                    self.waiting.insert(who.0, Waiting { ticket, tried, key });
                }
                Picked::Full => panic!("it was in the queue before"),
                Picked::Nobody => assert!(self.eligible(&tried).is_empty()),
            }
        }
    }

    fn give_up(&mut self) {
        let Some(&who) = self.waiting.keys().min_by_key(|who| (**who).wrapping_mul(0x9e37_79b9)) else { return };
        let waiting = self.waiting.remove(&who).expect("it was found");
        self.pools.leave(waiting.ticket);
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(self.rng.below(60));
        match self.rng.below(12) {
            0..5 => self.ask(),
            5..9 => self.release(),
            9 => self.change(),
            10 => self.give_up(),
            _ => {}
        }
        self.call_up();
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.pools.waiting(0), self.waiting.len());
        for backend in 0..self.known.len() {
            let load = self.pools.load(id(backend));
            assert_eq!(self.leases.iter().filter(|lease| lease.backend() == id(backend)).count(), load as usize);
            assert!(self.known[backend].max.is_none_or(|max| load <= max), "{backend} has {load} leases");
        }
        for waiting in self.waiting.values() {
            match waiting.ticket.bound {
                Some(home) => assert!(!self.has_room(home.into()), "one waits for {home}, which has room"),
                None => {
                    let eligible = self.eligible(&waiting.tried);
                    let free = eligible.iter().any(|&backend| self.has_room(backend));
                    assert!(!free && !eligible.is_empty(), "one waits, and {eligible:?} might serve it");
                }
            }
        }
    }
}

#[test]
fn no_limit_is_exceeded_and_nobody_waits_in_vain_or_is_overtaken_for_any_seed() {
    for seed in 0..1_000 {
        let run = || {
            let mut simulation = Simulation::new(seed);
            (0..600).for_each(|_| simulation.step());
            while let Some(lease) = simulation.leases.pop() {
                simulation.pools.release(lease, Outcome::Neutral, simulation.now);
                simulation.call_up();
            }
            (0..simulation.known.len()).for_each(|backend| assert_eq!(simulation.pools.load(id(backend)), 0));
        };
        assert!(std::panic::catch_unwind(run).is_ok(), "seed {seed}: see above");
    }
}

/// A pool of two backends, of which only the second one can serve besides, after `change`.
fn pools(change: impl FnOnce(&mut config::Pool)) -> Pools {
    let backend = config::Backend { port: 1, weight: 1, ..config::Backend::default() };
    let mut config =
        config::Pool { backends: vec![backend.clone(), backend], server_retry: 1, ..config::Pool::default() };
    change(&mut config);
    Pools::new(&[config], Time::START)
}

fn shares(pools: &mut Pools, count: u32, now: Time) -> u32 {
    let mut first = 0;
    for _ in 0..count {
        let lease = pools.lend(0, Key::None, &[], now).expect("somebody lives");
        first += u32::from(lease.backend() == id(0));
        pools.release(lease, Outcome::Success, now);
    }
    first
}

fn fall_and_rise(pools: &mut Pools, now: Time) {
    pools.observe(id(0), Outcome::Failure(Failure::Refused), now);
    assert!(pools.begin_trial(id(0), now));
    pools.end_trial(id(0), Ok(()), now);
}

#[test]
fn a_backend_that_comes_back_gets_to_its_share_slowly() {
    let mut pools = pools(|pool| pool.slow_start = Some(Duration::from_secs(10)));
    assert_eq!(shares(&mut pools, 100, Time::START), 50, "at the start nobody is slow");
    fall_and_rise(&mut pools, Time::START);
    let per_mille: Vec<u32> =
        [1, 5, 9, 10, 20].map(|second| shares(&mut pools, 1_000, Time::from_millis(second * 1_000))).into();
    assert!((20..=120).contains(&per_mille[0]), "{per_mille:?}");
    assert!((280..=370).contains(&per_mille[1]), "{per_mille:?}");
    assert!((440..=490).contains(&per_mille[2]), "{per_mille:?}");
    assert!(per_mille[3] >= 499 && per_mille[4] == 500, "{per_mille:?}");
}

#[test]
fn a_later_tier_serves_only_while_nobody_of_an_earlier_one_can_and_for_a_while_after() {
    let mut pools = pools(|pool| {
        pool.backends[1].tier = 5;
        pool.tier_hold = Some(Duration::from_secs(3));
    });
    assert_eq!(shares(&mut pools, 10, Time::START), 10);
    pools.observe(id(0), Outcome::Failure(Failure::Refused), Time::START);
    assert_eq!(shares(&mut pools, 10, Time::START), 0);
    assert!(pools.begin_trial(id(0), Time::START));
    pools.end_trial(id(0), Ok(()), Time::START);
    assert_eq!(shares(&mut pools, 10, Time::from_millis(2_999)), 0, "it is held back");
    assert_eq!(shares(&mut pools, 10, Time::from_millis(3_000)), 10);
    fall_and_rise(&mut pools, Time::from_millis(4_000));
    pools.observe(id(1), Outcome::Failure(Failure::Refused), Time::from_millis(4_000));
    assert_eq!(shares(&mut pools, 10, Time::from_millis(4_000)), 10, "there is nobody else");
}

#[test]
fn who_drains_serves_those_who_are_bound_to_it_and_maintenance_nobody() {
    let mut pools = pools(|pool| pool.backends[0].state = Administration::Drain);
    let serves = |pools: &mut Pools, key| {
        let lease = pools.lend(0, key, &[], Time::START).expect("somebody lives");
        let backend = lease.backend();
        pools.release(lease, Outcome::Neutral, Time::START);
        backend
    };
    assert_eq!(shares(&mut pools, 10, Time::START), 0);
    assert_eq!(serves(&mut pools, Key::Backend(0)), id(0));
    pools.administer(id(0), Administration::Maintenance, Time::START);
    assert_eq!(serves(&mut pools, Key::Backend(0)), id(1));
    pools.administer(id(0), Administration::Ready, Time::START);
    assert_eq!(shares(&mut pools, 10, Time::START), 5);
    pools.reweigh(id(0), 0, Time::START);
    assert_eq!((shares(&mut pools, 10, Time::START), serves(&mut pools, Key::Backend(0))), (0, id(0)));
    pools.reweigh(id(0), 4, Time::START);
    assert_eq!(shares(&mut pools, 10, Time::START), 8);
}

#[test]
fn a_client_of_the_table_waits_for_its_own_backend_and_for_another_one_when_that_goes_down() {
    let mark = config::affinity::Mark::BasicAuth;
    let table =
        config::affinity::Table { mark, ttl: Duration::from_secs(9), entries_max: 9, failback: Default::default() };
    let mut pools = pools(|pool| {
        pool.max_connections = Some(1);
        pool.affinity = Some(config::Affinity::Table(table));
    });
    let ask = |who| Ask { key: Key::Bound(7), who: Seeker(who), ..Ask::any(0) };
    let Picked::Lease(lease) = pools.pick(&ask(0), Time::START) else { panic!("somebody is free") };
    let home = lease.backend();
    let Picked::Queued(ticket) = pools.pick(&ask(1), Time::START) else { panic!("its own backend is full") };
    pools.observe(home, Outcome::Failure(Failure::Refused), Time::START);
    let call = pools.next_call().expect("it is not coming back soon");
    assert_eq!((call.who, call.number), (Seeker(1), ticket.number()));
    assert!(call.lease.is_none());
    let again = Ask { place: Some(ticket.number()), ..ask(1) };
    let Picked::Lease(other) = pools.pick(&again, Time::START) else { panic!("the other one is free") };
    assert_ne!(other.backend(), home);
    [lease, other].into_iter().for_each(|lease| pools.release(lease, Outcome::Neutral, Time::START));
}

#[test]
fn a_client_that_is_to_return_does_not_wait_for_a_full_backend_while_it_has_a_place_elsewhere() {
    let mark = config::affinity::Mark::BasicAuth;
    let failback = config::affinity::Failback::Return;
    let table = config::affinity::Table { mark, ttl: Duration::from_secs(9), entries_max: 9, failback };
    let mut pools = pools(|pool| {
        pool.max_connections = Some(1);
        pool.affinity = Some(config::Affinity::Table(table));
    });
    let now = Time::START;
    let visit = |pools: &mut Pools| {
        let lease = pools.lend(0, Key::Bound(7), &[], now).expect("somebody is free");
        let backend = lease.backend();
        pools.release(lease, Outcome::Success, now);
        backend
    };
    let home = visit(&mut pools);
    pools.observe(home, Outcome::Failure(Failure::Refused), now);
    let refuge = visit(&mut pools);
    assert!(pools.begin_trial(home, now));
    pools.end_trial(home, Ok(()), now);
    pools.observe(home, Outcome::Success, now);
    let other = pools.lend(0, Key::Backend(home.backend), &[], now).expect("it is free");
    assert_eq!((visit(&mut pools), refuge != home), (refuge, true));
    pools.release(other, Outcome::Success, now);
    assert_eq!(visit(&mut pools), home);
}

#[test]
fn nobody_waits_for_a_later_tier_while_one_that_is_held_back_has_room() {
    let mut pools = pools(|pool| {
        pool.backends[1].tier = 1;
        pool.max_connections = Some(1);
        pool.tier_hold = Some(Duration::from_secs(3_600));
    });
    let ask = |who| Ask { who: Seeker(who), ..Ask::any(0) };
    pools.observe(id(0), Outcome::Failure(Failure::Refused), Time::START);
    let Picked::Lease(first) = pools.pick(&ask(0), Time::START) else { panic!("the second one is free") };
    let Picked::Queued(ticket) = pools.pick(&ask(1), Time::START) else { panic!("the second one is full") };
    assert!(pools.begin_trial(id(0), Time::START));
    pools.end_trial(id(0), Ok(()), Time::START);
    let call = pools.next_call().expect("somebody has room");
    let second = call.lease.expect("it need not ask again");
    assert_eq!((call.number, second.backend(), first.backend()), (ticket.number(), id(0), id(1)));
    [first, second].into_iter().for_each(|lease| pools.release(lease, Outcome::Success, Time::START));
    assert_eq!(shares(&mut pools, 10, Time::START), 0, "nobody has to wait, so that it is held back");
}

#[test]
fn a_client_that_waits_with_two_connections_gets_to_one_backend_with_both() {
    let mark = config::affinity::Mark::BasicAuth;
    let table =
        config::affinity::Table { mark, ttl: Duration::from_secs(9), entries_max: 9, failback: Default::default() };
    let mut pools = pools(|pool| {
        pool.max_connections = Some(1);
        pool.affinity = Some(config::Affinity::Table(table));
    });
    let now = Time::START;
    let strangers = [(); 2].map(|()| pools.lend(0, Key::None, &[], now).expect("somebody is free"));
    let ask = |who, place| Ask { key: Key::Bound(7), who: Seeker(who), place, ..Ask::any(0) };
    let numbers = [1, 2].map(|who| match pools.pick(&ask(who, None), now) {
        Picked::Queued(ticket) => ticket.number(),
        other => panic!("all are full, but: {other:?}"),
    });
    let [one, other] = strangers;
    pools.release(one, Outcome::Success, now);
    let call = pools.next_call().expect("one has room");
    let home = call.lease.expect("it need not ask again");
    assert_eq!(call.number, numbers[0]);
    pools.release(other, Outcome::Success, now);
    let call = pools.next_call().expect("it is to wait for its own backend");
    assert_eq!((call.number, call.lease.is_none()), (numbers[1], true));
    let Picked::Queued(_ticket) = pools.pick(&ask(2, Some(numbers[1])), now) else { panic!("its backend is full") };
    let backend = home.backend();
    pools.release(home, Outcome::Success, now);
    let call = pools.next_call().expect("its own backend has room");
    let lease = call.lease.expect("it need not ask again");
    assert_eq!((call.number, lease.backend()), (numbers[1], backend));
    pools.release(lease, Outcome::Success, now);
}

/// How often each backend is picked when so many leases are held at a time, and given back in any order.
fn shares_of_churn(seed: u64, weights: &[u32], max: Option<u32>, held: usize, picks: usize) -> Vec<f64> {
    let backend = |&weight: &u32| config::Backend { port: 1, weight, ..config::Backend::default() };
    let backends = weights.iter().map(backend).collect();
    let pool = config::Pool { backends, max_connections: max, ..config::Pool::default() };
    let (mut pools, mut rng, mut leases) = (Pools::new(&[pool], Time::START), Rng::new(seed), Vec::new());
    for _ in 0..picks {
        leases.extend(pools.lend(0, Key::None, &[], Time::START));
        while leases.len() > rng.below(held as u64) as usize {
            let lease = leases.swap_remove(rng.below(leases.len() as u64) as usize);
            pools.release(lease, Outcome::Success, Time::START);
        }
    }
    leases.drain(..).for_each(|lease| pools.release(lease, Outcome::Success, Time::START));
    let picked: Vec<_> = pools.ids().map(|id| pools.counters(id).picked as f64).collect();
    let sum: f64 = picked.iter().sum();
    picked.iter().map(|picked| picked / sum).collect()
}

#[test]
fn weights_are_met_while_there_is_room_and_equals_share_alike_when_they_are_full_now_and_then_for_any_seed() {
    for seed in 0..10 {
        for (weights, max, held) in
            [(&[1, 2, 4][..], None, 9), (&[1, 2, 4], Some(4), 4), (&[1, 1, 1], Some(1), 3), (&[1; 6], Some(1), 4)]
        {
            let sum: u32 = weights.iter().sum();
            let shares = shares_of_churn(seed, weights, max, held, 5_000);
            for (share, &weight) in shares.iter().zip(weights) {
                let expected = f64::from(weight) / f64::from(sum);
                assert!((share - expected).abs() < 0.05 * expected, "seed {seed}: {shares:?} of {weights:?}, {max:?}");
            }
        }
    }
}
