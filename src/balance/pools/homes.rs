//! Pools without failover: whoever belongs to a backend gets that one or none.

#![cfg(test)]

use std::time::Duration;

use super::*;
use crate::base::rng::Rng;
use crate::config::affinity::{Mark, Table};
use crate::config::balance::{Balance, HashBalance};
use crate::config::{Affinity, Backend};

const MARK: Mark = Mark::Source { prefix_v4: 32, prefix_v6: 64 };

fn pools(backends: usize, tiers: &[u8], balance: Balance) -> Pools {
    let table = Table { mark: MARK, ttl: Duration::from_secs(3_600), entries_max: 100, failback: Default::default() };
    let tier = |position: usize| tiers.get(position).copied().unwrap_or_default();
    let backend = |position| Backend { port: 1, weight: 1, tier: tier(position), ..Backend::default() };
    let pool = config::Pool {
        backends: (0..backends).map(backend).collect(),
        affinity: Some(Affinity::Table(table)),
        server_retry: 1,
        balance,
        failover: false,
        ..config::Pool::default()
    };
    Pools::new(&[pool], Time::START)
}

fn served(pools: &mut Pools, key: Key) -> Option<BackendId> {
    let lease = pools.lend(0, key, &[], Time::START)?;
    let id = lease.backend();
    pools.release(lease, Outcome::Neutral, Time::START);
    Some(id)
}

fn take_down(pools: &mut Pools, id: BackendId) {
    pools.observe(id, Outcome::Failure(Failure::Refused), Time::START);
    assert_eq!(pools.health(id), State::Down);
}

fn bring_up(pools: &mut Pools, id: BackendId) {
    assert!(pools.begin_trial(id, Time::START));
    pools.end_trial(id, Ok(()), Time::START);
}

#[test]
fn whoever_belongs_to_a_backend_gets_that_one_or_none_through_all_outages_for_any_seed() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut pools = pools(1 + rng.below(4) as usize, &[], Balance::RoundRobin);
        let ids: Vec<_> = pools.ids().collect();
        let mut homes: Vec<Option<BackendId>> = vec![None; 8];
        for _ in 0..200 {
            let id = ids[rng.below(ids.len() as u64) as usize];
            match (rng.below(3), pools.health(id)) {
                (0, State::Up) => take_down(&mut pools, id),
                (0, _) => bring_up(&mut pools, id),
                _ => {
                    let client = rng.below(8) as usize;
                    let served = served(&mut pools, Key::Bound(client as u64));
                    let any = ids.iter().any(|id| pools.health(*id) == State::Up);
                    match homes[client] {
                        None => assert_eq!(served.is_some(), any, "seed {seed}"),
                        Some(home) if pools.health(home) == State::Up => assert_eq!(served, Some(home), "seed {seed}"),
                        Some(_) => assert_eq!(served, None, "seed {seed}"),
                    }
                    homes[client] = homes[client].or(served);
                }
            }
            assert_eq!(pools.is_deserted(0), pools.is_down(0), "seed {seed}");
        }
    }
}

#[test]
fn whoever_a_cookie_leads_to_one_that_is_down_gets_nobody_and_whom_none_leads_gets_another() {
    let mut pools = pools(2, &[], Balance::RoundRobin);
    let ids: Vec<_> = pools.ids().collect();
    take_down(&mut pools, ids[0]);
    assert_eq!(served(&mut pools, Key::Backend(0)), None);
    assert_eq!(served(&mut pools, Key::None), Some(ids[1]));
    assert_eq!(served(&mut pools, Key::Backend(7)), Some(ids[1]), "there is no such backend");
    bring_up(&mut pools, ids[0]);
    assert_eq!(served(&mut pools, Key::Backend(0)), Some(ids[0]));
}

fn hashed(pools: &mut Pools, hash: u64) -> Option<BackendId> {
    match pools.pick(&Ask { hash: Some(hash), ..Ask::any(0) }, Time::START) {
        Picked::Lease(lease) => {
            let id = lease.backend();
            pools.release(lease, Outcome::Neutral, Time::START);
            Some(id)
        }
        _ => None,
    }
}

#[test]
fn whoever_a_hash_leads_to_one_that_is_down_gets_nobody_and_all_others_stay_where_they_are() {
    let mut pools = pools(4, &[], Balance::Hash(HashBalance::default()));
    let hashes: Vec<u64> = (0..100).map(|number| crate::base::stable_hash::stable_hash(&[&[number]])).collect();
    let before: Vec<_> = hashes.iter().map(|hash| hashed(&mut pools, *hash).expect("all are up")).collect();
    let down = before[0];
    take_down(&mut pools, down);
    for (hash, home) in hashes.iter().zip(&before) {
        assert_eq!(hashed(&mut pools, *hash), Some(*home).filter(|home| *home != down));
    }
    pools.administer(down, Administration::Maintenance, Time::START);
    assert!(hashes.iter().all(|hash| hashed(&mut pools, *hash).is_some()), "the administrator moves them");
}

#[test]
fn a_hash_leads_to_the_first_tier_alone() {
    let mut pools = pools(3, &[0, 1, 1], Balance::Hash(HashBalance::default()));
    let first = pools.ids().next().expect("there are three");
    assert!((0..50).all(|hash| hashed(&mut pools, hash << 58) == Some(first)));
    take_down(&mut pools, first);
    assert!((0..50).all(|hash| hashed(&mut pools, hash << 58).is_none()) && !pools.is_deserted(0));
}
