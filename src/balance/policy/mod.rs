//! The algorithms that choose one backend of a pool, and the one `enum` that tells them apart.
//!
//! A policy knows the backends by their positions and hears who comes and goes, with which weight and load; what makes a
//! backend come and go is the pool's business, never its own.

mod first;
mod hash;
mod least_connections;
mod random;
pub(super) mod round_robin;
mod tournament;

use crate::base::rng::Rng;
use crate::config::{Backend, Balance};
use first::First;
use hash::Hash;
use least_connections::LeastConnections;
use random::Random;
use round_robin::RoundRobin;

/// The algorithm of one pool with its state. Everything costs O(log n) at most, but for what [`Hash`] says.
#[derive(Debug)]
pub enum Policy {
    /// Smooth weighted round robin.
    RoundRobin(RoundRobin),
    /// The least load for the weight.
    LeastConnections(LeastConnections),
    /// The better one of two that are drawn.
    Random(Random),
    /// Always the same one for what is alike.
    Hash(Hash),
    /// The first one there is.
    First(First),
}

impl Policy {
    /// The algorithm of a pool with these backends; nobody takes part yet.
    pub fn new(balance: &Balance, backends: &[Backend]) -> Policy {
        match balance {
            Balance::RoundRobin => Policy::RoundRobin(RoundRobin::new(backends.len())),
            Balance::LeastConnections => Policy::LeastConnections(LeastConnections::new(backends.len())),
            Balance::Random => Policy::Random(Random::new(backends.len())),
            Balance::Hash(balance) => Policy::Hash(Hash::new(balance, backends)),
            Balance::First => Policy::First(First::default()),
        }
    }

    /// A backend takes part from now on; with a weight of 0 it does not.
    pub fn enter(&mut self, backend: u16, weight: u16) {
        self.reweigh(backend, weight);
    }

    /// A backend takes part no longer.
    pub fn leave(&mut self, backend: u16) {
        self.reweigh(backend, 0);
    }

    /// The weight of a backend that takes part is another one now.
    pub fn reweigh(&mut self, backend: u16, weight: u16) {
        match self {
            Policy::RoundRobin(round_robin) => round_robin.weigh(backend, weight),
            Policy::LeastConnections(least_connections) => least_connections.weigh(backend, weight),
            Policy::Random(random) => random.weigh(backend, weight),
            Policy::Hash(hash) => hash.weigh(backend, weight),
            Policy::First(first) => first.weigh(backend, weight),
        }
    }

    /// A backend, whether it takes part or not, has so many leases now.
    pub fn set_load(&mut self, backend: u16, load: u32) {
        match self {
            Policy::RoundRobin(_) | Policy::First(_) => {}
            Policy::LeastConnections(least_connections) => least_connections.set_load(backend, load),
            Policy::Random(random) => random.set_load(backend, load),
            Policy::Hash(hash) => hash.set_load(backend, load),
        }
    }

    /// Chooses among those that take part and are not refused, who should be few. The hash is of what the pool is
    /// balanced by, where it is by something.
    pub fn pick(&mut self, hash: Option<u64>, rng: &mut Rng, refused: impl Fn(u16) -> bool) -> Option<u16> {
        match self {
            Policy::RoundRobin(round_robin) => round_robin.pick(refused),
            Policy::LeastConnections(least_connections) => least_connections.pick(refused),
            Policy::Random(random) => random.pick(rng, refused),
            Policy::Hash(circle) => circle.pick(hash, rng, refused),
            Policy::First(first) => first.pick(refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HashBalance, ProtocolName, quick_start};

    /// Each algorithm, and the hash with a bound besides.
    fn every_balance() -> Vec<Balance> {
        let bounded = HashBalance { load_factor: Some(125), ..HashBalance::default() };
        vec![
            Balance::RoundRobin,
            Balance::LeastConnections,
            Balance::Random,
            Balance::Hash(HashBalance::default()),
            Balance::Hash(bounded),
            Balance::First,
        ]
    }

    pub(super) fn backends(names: impl IntoIterator<Item = String>) -> Vec<Backend> {
        let pool = quick_start(ProtocolName::Tcp, "1", &["a:1".to_string()]).expect("it is right").pools.remove(0);
        names.into_iter().map(|name| Backend { name, ..pool.backends[0].clone() }).collect()
    }

    /// A policy under random use, beside what is known of it from outside.
    struct Simulation {
        rng: Rng,
        policy: Policy,
        weights: Vec<u16>,
        loads: Vec<u32>,
    }

    impl Simulation {
        fn new(balance: &Balance, seed: u64) -> Simulation {
            let mut rng = Rng::new(seed);
            let count = rng.below(12) as usize;
            let policy = Policy::new(balance, &backends((0..count).map(|backend| format!("b{backend}"))));
            Simulation { rng, policy, weights: vec![0; count], loads: vec![0; count] }
        }

        fn step(&mut self) {
            let some = |rng: &mut Rng, count: usize| rng.below(count as u64) as u16;
            let action = self.rng.below(8);
            if action >= 4 || self.weights.is_empty() {
                let tried = (0..self.rng.below(4)).map(|_| some(&mut self.rng, 12)).collect::<Vec<_>>();
                return self.pick(&tried);
            }
            let backend = some(&mut self.rng, self.weights.len());
            let (weight, load) = (&mut self.weights[usize::from(backend)], &mut self.loads[usize::from(backend)]);
            match (action, *weight) {
                (0, 0) | (1, 1..) => {
                    *weight = 1 + self.rng.below(256) as u16;
                    match action {
                        0 => self.policy.enter(backend, *weight),
                        _ => self.policy.reweigh(backend, *weight),
                    }
                }
                (2, 1..) => {
                    *weight = 0;
                    self.policy.leave(backend);
                }
                _ => {
                    *load = self.rng.below(10) as u32;
                    self.policy.set_load(backend, *load);
                }
            }
        }

        fn pick(&mut self, tried: &[u16]) {
            let hash = self.rng.chance(1, 2).then(|| self.rng.next_u64());
            let picked = self.policy.pick(hash, &mut self.rng, |backend| tried.contains(&backend));
            let mut able =
                (0..).zip(&self.weights).filter(|(backend, weight)| **weight > 0 && !tried.contains(backend));
            match picked {
                None => assert_eq!(able.next(), None, "somebody might have served"),
                Some(picked) => {
                    assert!(able.any(|(backend, _)| backend == picked), "{picked} was not to be picked");
                    self.loads[usize::from(picked)] += 1;
                    self.policy.set_load(picked, self.loads[usize::from(picked)]);
                }
            }
        }
    }

    #[test]
    fn somebody_who_takes_part_and_is_not_refused_is_picked_whenever_there_is_one_for_any_seed() {
        for (balance, seed) in every_balance().iter().flat_map(|balance| (0..200).map(move |seed| (balance, seed))) {
            let run = || {
                let mut simulation = Simulation::new(balance, seed);
                (0..500).for_each(|_| simulation.step());
            };
            assert!(std::panic::catch_unwind(run).is_ok(), "{balance:?}, seed {seed}: see above");
        }
    }

    #[test]
    fn a_weight_of_nothing_never_enters() {
        for balance in every_balance() {
            let mut policy = Policy::new(&balance, &backends(["a".to_string(), "b".to_string()]));
            let pick = |policy: &mut Policy| policy.pick(Some(1), &mut Rng::default(), |_| false);
            policy.enter(0, 0);
            assert_eq!(pick(&mut policy), None, "{balance:?}");
            policy.enter(1, 3);
            assert_eq!(pick(&mut policy), Some(1), "{balance:?}");
            policy.reweigh(1, 0);
            assert_eq!(pick(&mut policy), None, "{balance:?}");
        }
    }
}
