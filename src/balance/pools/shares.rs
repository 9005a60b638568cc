//! Tests of the shares that backends get while leases are taken and given back in any order.

#![cfg(test)]

use super::*;
use crate::base::rng::Rng;

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
